//! The faults that are armed, and which of them a request meets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::faults::caller::Seen;
use crate::faults::fault::{Effect, Fault, Moment, Rhythm};

/// Nobody arms so many by hand; a loop that forgot to clear would.
const MOST: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Mutex<Armory>,
    /// Whether there is any, so that requests of an idle sandbox take no lock.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Armory {
    last_id: u64,
    list: Vec<Armed>,
}

#[derive(Debug, Clone)]
struct Armed {
    id: u64,
    fault: Fault,
    since: DateTime<Utc>,
    /// Requests that it was for, and those of them that it struck.
    matched: u64,
    struck: u64,
    chance: Chance,
}

/// Too many are armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// What one request meets: delays add up, and of the rest the one that was armed first strikes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) before: Duration,
    pub(crate) after: Duration,
    pub(crate) effect: Option<Effect>,
    /// Numbers of the faults that struck.
    pub(crate) struck: Vec<u64>,
}

impl Faults {
    /// Arms a fault, and says its number.
    pub(crate) fn arm(&self, fault: Fault, now: DateTime<Utc>) -> Result<u64, Full> {
        let mut armory = self.lock();
        if armory.list.len() >= MOST {
            armory.list.retain(|armed| !armed.is_over(now));
        }
        if armory.list.len() >= MOST {
            return Err(Full);
        }
        armory.last_id += 1;
        let id = armory.last_id;
        let chance = match fault.extent.rhythm {
            Rhythm::Chance { seed, .. } => Chance(seed),
            Rhythm::Each | Rhythm::EveryNth(_) => Chance(0),
        };
        armory.list.push(Armed {
            id,
            fault,
            since: now,
            matched: 0,
            struck: 0,
            chance,
        });
        self.any.store(true, Ordering::Release);
        Ok(id)
    }

    /// Takes one away. False when there is none of that number.
    pub(crate) fn disarm(&self, id: u64) -> bool {
        let mut armory = self.lock();
        let before = armory.list.len();
        armory.list.retain(|armed| armed.id != id);
        self.any.store(!armory.list.is_empty(), Ordering::Release);
        armory.list.len() < before
    }

    /// Takes away those of a name, and says how many there were.
    pub(crate) fn disarm_named(&self, name: &str) -> usize {
        let mut armory = self.lock();
        let before = armory.list.len();
        armory
            .list
            .retain(|armed| armed.fault.name.as_deref() != Some(name));
        self.any.store(!armory.list.is_empty(), Ordering::Release);
        before - armory.list.len()
    }

    pub(crate) fn clear(&self) {
        self.lock().list.clear();
        self.any.store(false, Ordering::Release);
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// All of them, as the control API shows them; the last one armed comes last.
    pub(crate) fn list(&self, now: DateTime<Utc>) -> Vec<Value> {
        let armory = self.lock();
        armory.list.iter().map(|armed| armed.shown(now)).collect()
    }

    pub(crate) fn find(&self, id: u64, now: DateTime<Utc>) -> Option<Value> {
        let armory = self.lock();
        let found = armory.list.iter().find(|armed| armed.id == id)?;
        Some(found.shown(now))
    }

    /// What a request meets; it is counted by this.
    pub(crate) fn judge(&self, seen: &Seen, now: DateTime<Utc>) -> Verdict {
        let mut verdict = Verdict::default();
        if self.is_empty() {
            return verdict;
        }
        for armed in &mut self.lock().list {
            let delays = matches!(armed.fault.effect, Effect::Delay { .. });
            let useless = !delays && verdict.effect.is_some();
            if useless || armed.is_over(now) || !armed.fault.target.matches(seen) {
                continue;
            }
            if !armed.strikes() {
                continue;
            }
            verdict.struck.push(armed.id);
            match &armed.fault.effect {
                Effect::Delay { pause, moment } => match moment {
                    Moment::Before => verdict.before += *pause,
                    Moment::After => verdict.after += *pause,
                },
                other => verdict.effect = Some(other.clone()),
            }
        }
        verdict
    }

    fn lock(&self) -> MutexGuard<'_, Armory> {
        // Nothing that could panic runs while it is held.
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Armed {
    fn is_over(&self, now: DateTime<Utc>) -> bool {
        let extent = &self.fault.extent;
        let by_count = extent.requests.is_some_and(|most| self.struck >= most);
        // A clock that is moved back does not make a fault last longer than its time.
        let by_time = extent.span.is_some_and(|span| now - self.since >= span);
        by_count || by_time
    }

    /// Whether the next matching request is struck.
    fn strikes(&mut self) -> bool {
        let extent = &self.fault.extent;
        self.matched += 1;
        let Some(counted) = self.matched.checked_sub(extent.skip).filter(|n| *n > 0) else {
            return false;
        };
        let strikes = match extent.rhythm {
            Rhythm::Each => true,
            Rhythm::EveryNth(nth) => counted % nth.max(1) == 0,
            Rhythm::Chance { share, .. } => self.chance.next() < share,
        };
        self.struck += u64::from(strikes);
        strikes
    }

    fn shown(&self, now: DateTime<Utc>) -> Value {
        let extent = &self.fault.extent;
        let left = extent.requests.map(|most| most.saturating_sub(self.struck));
        let ends = extent
            .span
            .and_then(|span| self.since.checked_add_signed(span));
        json!({
            "id": self.id,
            "state": if self.is_over(now) { "over" } else { "armed" },
            "fault": self.fault.written,
            "since": self.since,
            "ends_at": ends,
            "matched": self.matched,
            "struck": self.struck,
            "requests_left": left,
        })
    }
}

/// SplitMix64: a generator that is the same on every machine and in every version, so that a
/// scenario of today strikes the same requests tomorrow.
#[derive(Debug, Clone, Copy)]
struct Chance(u64);

impl Chance {
    /// A number from 0 to below 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper 53 bits are exactly what the number's mantissa holds.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let share = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Method;
    use chrono::TimeDelta;

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000, 0).unwrap()
    }

    fn seen(path: &str) -> Seen {
        Seen::anonymous(Method::GET, path)
    }

    fn armed(faults: &[Value]) -> Faults {
        let all = Faults::default();
        for value in faults {
            let fault = Fault::read(value, "").unwrap();
            all.arm(fault, noon()).unwrap();
        }
        all
    }

    fn pattern(faults: &Faults, count: usize) -> String {
        let strikes = |_| {
            let verdict = faults.judge(&seen("/api/data/v9.2/contacts"), noon());
            if verdict.struck.is_empty() { '.' } else { 'x' }
        };
        (0..count).map(strikes).collect()
    }

    #[test]
    fn a_count_a_beginning_and_a_rhythm_are_kept() {
        let faults = armed(&[json!({"kind": "drop", "requests": 2})]);
        assert_eq!(pattern(&faults, 4), "xx..");
        let faults = armed(&[json!({"kind": "drop", "skip": 2, "every": 3, "requests": 2})]);
        assert_eq!(pattern(&faults, 12), "....x..x....");
    }

    #[test]
    fn chance_repeats_itself() {
        let one = json!({"kind": "drop", "probability": 0.3, "seed": 7});
        let first = pattern(&armed(std::slice::from_ref(&one)), 200);
        assert_eq!(first, pattern(&armed(&[one]), 200));
        let struck = first.matches('x').count();
        assert!((40..80).contains(&struck), "{struck}");
        let other = armed(&[json!({"kind": "drop", "probability": 0.3, "seed": 8})]);
        assert_ne!(first, pattern(&other, 200));
    }

    #[test]
    fn time_ends_a_fault() {
        let faults = armed(&[json!({"kind": "drop", "for": "1m"})]);
        let at = |seconds| {
            let now = noon() + TimeDelta::seconds(seconds);
            faults.judge(&seen("/"), now).effect.is_some()
        };
        assert!(at(0) && at(59) && !at(60));
        assert_eq!(
            faults.list(noon() + TimeDelta::seconds(61))[0]["state"],
            "over"
        );
    }

    #[test]
    fn delays_add_up_and_the_first_of_the_rest_strikes() {
        let faults = armed(&[
            json!({"kind": "delay", "ms": 5}),
            json!({"kind": "status", "status": 502, "requests": 1}),
            json!({"kind": "delay", "ms": 7}),
            json!({"kind": "drop", "requests": 1}),
        ]);
        let first = faults.judge(&seen("/"), noon());
        assert_eq!(first.before, Duration::from_millis(12));
        assert_eq!(first.struck, [1, 2, 3]);
        let second = faults.judge(&seen("/"), noon());
        assert_eq!(
            second.effect,
            Some(Effect::Drop {
                moment: Moment::Before
            })
        );
    }

    #[test]
    fn a_loop_that_forgets_to_clear_is_stopped() {
        let faults = Faults::default();
        let fault = Fault::read(&json!({"kind": "drop", "for": "1s"}), "").unwrap();
        for _ in 0..MOST {
            faults.arm(fault.clone(), noon()).unwrap();
        }
        assert_eq!(faults.arm(fault.clone(), noon()), Err(Full));
        let later = noon() + TimeDelta::seconds(2);
        assert!(faults.arm(fault, later).is_ok());
    }
}
