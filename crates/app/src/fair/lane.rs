//! One web server of an organization: what it still lets through.
//!
//! Microsoft's limits hold per user and web server. Which server answered stands in the affinity
//! cookie that it sets, and what it has left in two headers of every answer. Both say the truth of
//! a moment that others – other programs, other servers of ours – have had their part in; between
//! two answers our own window says what was spent and what has left since.

use super::window::{Spent, Window};
use super::{Class, Micros, Rules};

/// What of a budget is ours: all of it, less what others use.
#[derive(Debug, Default)]
struct Budget {
    told: Option<Told>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    /// What was left, and what of ours was in the window: the part of the limit that is ours.
    ours: i64,
    at: Micros,
    /// The most that `ours` has been of late: what others use will have left a window later.
    most: i64,
    /// The most that was ever left. At the edges of a window our count lags behind Microsoft's, and
    /// time as we measure it is longer than theirs: the sum of both must not pass for a limit.
    top: i64,
}

impl Budget {
    /// Takes note of what was left, when `own` of ours was in the window.
    fn told(&mut self, left: i64, own: i64, now: Micros, window: Micros) {
        let top = self.told.map_or(left, |told| told.top.max(left));
        // The call that tells is counted already: one more was left before it.
        let ours = left.saturating_add(own).min(top.saturating_add(1));
        let most = match self.told {
            None => ours,
            // Limits can be lowered as well: what was once possible is forgotten within a window.
            Some(told) => {
                let passed = now.saturating_sub(told.at);
                ours.max(told.most - part(told.most - ours, passed, window))
            }
        };
        self.told = Some(Told {
            ours,
            at: now,
            most,
            top,
        });
    }

    /// The part of the limit that is ours by now.
    fn ours(&self, now: Micros, window: Micros, unknown: i64) -> i64 {
        match self.told {
            None => unknown,
            Some(told) => {
                told.ours + part(told.most - told.ours, now.saturating_sub(told.at), window)
            }
        }
    }
}

/// The part of a number that a time is of the window.
fn part(number: i64, time: Micros, window: Micros) -> i64 {
    if number == 0 || time >= window {
        return number;
    }
    let whole = i128::from(number) * i128::from(time) / i128::from(window.max(1));
    i64::try_from(whole).unwrap_or(number)
}

/// How much room there is, and how much of it is for interactive calls alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) left: i64,
    pub(super) ours: i64,
    pub(super) reserved: i64,
}

impl Room {
    fn of(ours: i64, own: i64, interactive: i64, percent: u8) -> Self {
        let share = ours.max(0) * i64::from(percent) / 100;
        // A fifth more than interactive calls have used of late: they come in gusts.
        let wanted = share.max(interactive + interactive / 5);
        let floor = (ours.max(0) / 100).max(1);
        Self {
            left: ours - own,
            ours,
            reserved: (wanted - interactive).max(floor),
        }
    }

    /// What bulk is short of, when that much of what is under way is not counted yet.
    fn missing(self, under_way: i64) -> i64 {
        (self.reserved + under_way + 1 - self.left).max(0)
    }
}

/// A web server.
#[derive(Debug)]
pub(super) struct Lane {
    window: Window,
    requests: Budget,
    time: Budget,
    pub(super) seen: Micros,
}

/// What a web server said of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Left {
    pub(super) requests: Option<u64>,
    pub(super) time: Option<Micros>,
}

impl Lane {
    pub(super) fn new(now: Micros) -> Self {
        Self {
            window: Window::default(),
            requests: Budget::default(),
            time: Budget::default(),
            seen: now,
        }
    }

    /// Whether it has said what is left.
    pub(super) fn is_told(&self) -> bool {
        self.requests.told.is_some() || self.time.told.is_some()
    }

    pub(super) fn advance(&mut self, rules: &Rules, now: Micros) {
        self.window.advance(rules.window, now);
    }

    /// Counts an answer, and believes what it says.
    pub(super) fn answered(
        &mut self,
        rules: &Rules,
        now: Micros,
        class: Class,
        spent: Spent,
        left: Left,
    ) {
        self.seen = now;
        self.window.add(rules.window, now, class, spent);
        let own = self.window.all();
        if let Some(requests) = left.requests {
            let (left, own) = (signed(requests), signed(own.requests));
            self.requests.told(left, own, now, rules.window);
        }
        if let Some(time) = left.time {
            let (left, own) = (signed(time), signed(own.busy));
            self.time.told(left, own, now, rules.window);
        }
    }

    pub(super) fn requests(&self, rules: &Rules, now: Micros) -> Room {
        let ours = self
            .requests
            .ours(now, rules.window, signed(rules.requests));
        let (own, interactive) = (self.window.all(), self.window.of(Class::Interactive));
        let (own, interactive) = (signed(own.requests), signed(interactive.requests));
        Room::of(ours, own, interactive, rules.reserve_percent)
    }

    pub(super) fn time(&self, rules: &Rules, now: Micros) -> Room {
        let ours = self.time.ours(now, rules.window, signed(rules.execution));
        let (own, interactive) = (self.window.all(), self.window.of(Class::Interactive));
        let (own, interactive) = (signed(own.busy), signed(interactive.busy));
        Room::of(ours, own, interactive, rules.reserve_percent)
    }

    /// When one more call of bulk fits in: none when it does now. `under_way` are calls, on
    /// average, that this server has not answered yet, and `each` is what one takes.
    pub(super) fn bulk_fits(
        &self,
        rules: &Rules,
        now: Micros,
        under_way: u64,
        each: Micros,
    ) -> Option<Micros> {
        let requests = self.requests(rules, now).missing(signed(under_way));
        let busy = under_way.saturating_mul(each);
        let time = self.time(rules, now).missing(signed(busy));
        let when = |missing: i64, of: fn(Spent) -> u64| {
            let missing = u64::try_from(missing).ok().filter(|missing| *missing > 0)?;
            // What others use cannot be seen leaving: another look, soon.
            let soon = now + rules.window / 100;
            Some(self.window.frees(rules.window, missing, of).unwrap_or(soon))
        };
        let requests = when(requests, |spent| spent.requests);
        requests.max(when(time, |spent| spent.busy))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::super::SECOND;
    use super::*;

    const ONE: Spent = Spent {
        requests: 1,
        busy: 10_000,
    };

    fn spend(lane: &mut Lane, rules: &Rules, now: Micros, left: u64) {
        let left = Left {
            requests: Some(left),
            time: None,
        };
        lane.answered(rules, now, Class::Bulk, ONE, left);
    }

    #[test]
    fn what_others_use_is_seen_and_comes_back_within_a_window() {
        let rules = Rules::default();
        let mut lane = Lane::new(0);
        spend(&mut lane, &rules, SECOND, 5_999);
        assert_eq!(lane.requests(&rules, SECOND).left, 5_999);
        // Somebody else has spent 2,999 meanwhile.
        spend(&mut lane, &rules, 2 * SECOND, 2_999);
        assert_eq!(lane.requests(&rules, 2 * SECOND).left, 2_999);
        let later = lane.requests(&rules, 152 * SECOND).left;
        assert!((4_400..4_600).contains(&later), "{later}");
        lane.advance(&rules, 400 * SECOND);
        assert!(lane.requests(&rules, 400 * SECOND).left >= 5_990);
    }

    #[test]
    fn limits_that_were_lowered_are_believed_at_once() {
        let rules = Rules::default();
        let mut lane = Lane::new(0);
        spend(&mut lane, &rules, SECOND, 5_999);
        spend(&mut lane, &rules, 2 * SECOND, 58);
        let room = lane.requests(&rules, 2 * SECOND);
        assert_eq!((room.left, room.ours), (58, 60));
        assert!(room.reserved <= 4, "{room:?}");
    }

    #[test]
    fn interactive_calls_keep_what_they_have_used_of_late() {
        let rules = Rules::default();
        let mut lane = Lane::new(0);
        for call in 0..1_000 {
            let left = Left {
                requests: Some(5_999 - call),
                time: None,
            };
            lane.answered(&rules, call * SECOND / 10, Class::Interactive, ONE, left);
        }
        let room = lane.requests(&rules, 100 * SECOND);
        assert_eq!((room.left, room.reserved), (5_000, 200));
    }
}
