//! What decides, for one account, who may call now: pause, places, windows and queue in one.
//!
//! Nothing here waits, and time is an argument: hours are simulated in milliseconds.

use super::few::Few;
use super::gate::{Gate, Hungry};
use super::lane::{Lane, Room};
use super::pace::Pace;
use super::queue::{Flow, Queue, Ticket};
use super::told::{Limit, Refusal, Told};
use super::window::Spent;
use super::{Class, Micros, Rules, SECOND};

/// Web servers that are told apart; more than that count as one.
const LANES_MAX: usize = 64;
/// Calls that wait for one account: each holds a connection.
const WAITING_MAX: usize = 4_000;
/// Calls of one consumer that wait.
const WAITING_EACH: u32 = 1_000;
/// After so long without an answer, an estimate is worth a call that tries it.
const STALE: Micros = 5 * SECOND;
/// A refusal without a time: Microsoft's samples wait two to the power of the attempt, in seconds.
const PAUSE_UNKNOWN: Micros = SECOND;
const PAUSE_UNKNOWN_MAX: u32 = 6;

/// A call that asks to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) flow: Flow,
    pub(super) share: u8,
    pub(super) class: Class,
    /// It goes elsewhere when it cannot go by then.
    pub(super) give_up: Micros,
}

/// Whether it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    Wait,
    /// It cannot go before it gives up; it may by then.
    Paused(Micros),
    Full(Micros),
}

/// What a consumer did since the last time that it was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) bulk: u32,
    /// Turned away by us.
    pub(super) refused: u32,
    /// Refused by Microsoft, hidden or not.
    pub(super) throttled: u32,
    pub(super) waited: Micros,
}

/// An account's state.
#[derive(Debug)]
pub(super) struct Court {
    pub(super) rules: Rules,
    /// Servers of ours that share the account.
    pub(super) sharers: u32,
    pub(super) gate: Gate,
    pub(super) queue: Queue,
    /// Web servers.
    lanes: Few<u64, Lane>,
    pub(super) paused_until: Micros,
    /// Microsoft has refused a call for what was used. Until then an organization that never says
    /// what is left, such as one on premises, is not taken to have limits.
    refused_once: bool,
    /// Refusals without a time, in a row.
    untold: u32,
    /// Mean time of a call of bulk.
    each: Micros,
    pub(super) answered_at: Micros,
    /// All the time that was paused.
    pub(super) throttled: Micros,
    pub(super) tallies: Few<Flow, Tally>,
    paces: Few<Flow, Pace>,
}

impl Court {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            sharers: 1,
            gate: Gate::new(),
            queue: Queue::default(),
            lanes: Few::default(),
            paused_until: 0,
            refused_once: false,
            untold: 0,
            each: 0,
            answered_at: 0,
            throttled: 0,
            tallies: Few::default(),
            paces: Few::default(),
        }
    }

    /// Places of this server: the account's, shared with the others of ours.
    pub(super) fn bound(&self) -> u32 {
        (self.rules.concurrency / self.sharers.max(1)).max(1)
    }

    pub(super) fn ask(&mut self, now: Micros, ask: &Ask, ticket: Ticket) -> Verdict {
        let Ask {
            flow, share, class, ..
        } = *ask;
        if self.paused_until > ask.give_up {
            self.tally(flow).refused += 1;
            return Verdict::Paused(self.paused_until);
        }
        self.gate.grow(now, self.bound());
        let first = match class {
            Class::Interactive => self.queue.waiting(class) == 0,
            Class::Bulk => self.waiting() == 0,
        };
        if first && self.may_go(now, class) {
            self.enter(flow, class);
            return Verdict::Go;
        }
        if class == Class::Bulk
            && let Some(at) = self.bulk_fits(now).filter(|at| *at > ask.give_up)
        {
            self.tally(flow).refused += 1;
            return Verdict::Paused(at);
        }
        let full =
            self.waiting() >= WAITING_MAX || self.queue.waiting_of(class, flow) >= WAITING_EACH;
        if full {
            self.tally(flow).refused += 1;
            return Verdict::Full(now + self.drains_in());
        }
        self.queue.push(ticket, class, flow, share);
        Verdict::Wait
    }

    /// Lets go who may; gives the time at which another look is worth it.
    pub(super) fn pump(
        &mut self,
        now: Micros,
        mut granted: impl FnMut(Ticket) -> Option<(Flow, Class)>,
    ) -> Option<Micros> {
        loop {
            if self.waiting() == 0 {
                return None;
            }
            if now < self.paused_until {
                return Some(self.paused_until);
            }
            self.gate.grow(now, self.bound());
            let bulk = self.queue.waiting(Class::Bulk) > 0 && self.may_go(now, Class::Bulk);
            let interactive = self.gate.may_enter(Class::Interactive, self.bound());
            let turn = self.queue.turn(|class| match class {
                Class::Interactive => interactive,
                Class::Bulk => bulk,
            });
            let Some(ticket) = turn.and_then(|class| self.queue.pop(class)) else {
                // Places come back with answers, and answers look again; room comes with time.
                let fits = self.bulk_fits(now).unwrap_or(now + SECOND);
                return Some(fits.clamp(now + SECOND / 100, now + SECOND));
            };
            // Who has hung up meanwhile is passed over.
            if let Some((flow, class)) = granted(ticket) {
                self.enter(flow, class);
            }
        }
    }

    /// How a consumer's call is treated, by what the consumer did of late.
    pub(super) fn class_of(&self, now: Micros, flow: Flow, class: Class) -> Class {
        let window = self.rules.window;
        let limited = || self.refused_once || self.lanes.iter().any(|(_, lane)| lane.is_told());
        let pace = self.paces.get(flow);
        match pace.filter(|_| class == Class::Interactive && limited()) {
            Some(pace) if pace.is_a_job(now, window, self.fits_a_window(now)) => Class::Bulk,
            _ => class,
        }
    }

    /// Calls that fit into a window, at all web servers that are known.
    fn fits_a_window(&self, now: Micros) -> i64 {
        let ours = |(_, lane): (u64, &Lane)| lane.requests(&self.rules, now).ours.max(0);
        let all: i64 = self.lanes.iter().map(ours).sum();
        let one = i64::try_from(self.rules.requests).unwrap_or(i64::MAX);
        if all > 0 { all } else { one }
    }

    fn note_pace(&mut self, now: Micros, flow: Flow) {
        let window = self.rules.window;
        if self.paces.len() >= 256 {
            self.paces.retain(|_, pace| !pace.is_over(now, window));
        }
        let pace = self.paces.entry(flow, Pace::default);
        pace.add(now, window);
    }

    fn enter(&mut self, flow: Flow, class: Class) {
        self.gate.enter(class);
        let tally = self.tally(flow);
        tally.calls += 1;
        tally.bulk += u32::from(class == Class::Bulk);
    }

    fn may_go(&mut self, now: Micros, class: Class) -> bool {
        if now < self.paused_until || !self.gate.may_enter(class, self.bound()) {
            return false;
        }
        class == Class::Interactive || self.bulk_fits(now).is_none()
    }

    /// When a call of bulk fits into the windows; none when it does now. The fullest web server
    /// counts: which one gets a call is not ours to choose.
    fn bulk_fits(&mut self, now: Micros) -> Option<Micros> {
        let rules = &self.rules;
        let lanes = u64::try_from(self.lanes.len()).unwrap_or(u64::MAX).max(1);
        let under_way = u64::from(self.gate.running()).div_ceil(lanes);
        let each = self.each;
        let mut latest = None;
        for lane in self.lanes.values_mut() {
            if !self.refused_once && !lane.is_told() {
                continue;
            }
            lane.advance(rules, now);
            latest = latest.max(lane.bulk_fits(rules, now, under_way, each));
        }
        let idle = now.saturating_sub(self.answered_at) > STALE && self.gate.running() == 0;
        if idle { None } else { latest }
    }

    /// A call was answered.
    pub(super) fn answered(
        &mut self,
        now: Micros,
        begun: Micros,
        flow: Flow,
        class: Class,
        told: &Told,
    ) {
        let under_way = self.gate.running();
        self.gate.leave(class);
        self.answered_at = now;
        let took = now.saturating_sub(begun);
        let spent = match told.refusal {
            // What was refused was not carried out.
            Some(_) => Spent::default(),
            None => Spent {
                requests: 1,
                busy: took,
            },
        };
        if class == Class::Bulk && told.refusal.is_none() {
            self.each = if self.each == 0 {
                took
            } else {
                self.each - self.each / 8 + took / 8
            };
        }
        self.count(now, class, spent, told);
        if told.refusal.is_none() {
            self.note_pace(now, flow);
        }
        match told.refusal {
            Some(refusal) => self.refused(now, begun, flow, under_way, refusal),
            None => {
                self.untold = 0;
                self.climb(now, class);
            }
        }
    }

    fn count(&mut self, now: Micros, class: Class, spent: Spent, told: &Told) {
        let rules = self.rules;
        let mut server = told.server;
        if self.lanes.get(server).is_none() {
            let gone = |lane: &Lane| now.saturating_sub(lane.seen) > rules.window;
            self.lanes.retain(|_, lane| !gone(lane));
            if self.lanes.len() >= LANES_MAX {
                server = 0;
            }
        }
        let lane = self.lanes.entry(server, || Lane::new(now));
        lane.advance(&rules, now);
        lane.answered(&rules, now, class, spent, told.left);
    }

    fn refused(
        &mut self,
        now: Micros,
        begun: Micros,
        flow: Flow,
        under_way: u32,
        refusal: Refusal,
    ) {
        self.tally(flow).throttled += 1;
        match refusal.limit {
            Limit::Concurrency => self.gate.refused(begun, now, under_way),
            Limit::Requests | Limit::Time => self.refused_once = true,
            Limit::Unknown => {}
        }
        if let Some((requests, seconds)) = refusal.rule {
            // Microsoft's own words; they may change, and the pages ask not to rely on numbers.
            self.rules.requests = requests.min(1_000_000_000);
            self.rules.window = seconds.clamp(1, 3_600) * SECOND;
        }
        let pause = refusal.pause.unwrap_or_else(|| {
            self.untold = (self.untold + 1).min(PAUSE_UNKNOWN_MAX);
            PAUSE_UNKNOWN << self.untold
        });
        self.pause(now, now + pause);
    }

    /// Stops everyone until then; a later end stands.
    pub(super) fn pause(&mut self, now: Micros, until: Micros) {
        if until > self.paused_until {
            self.throttled += until - self.paused_until.max(now).min(until);
            self.paused_until = until;
        }
    }

    fn climb(&mut self, now: Micros, class: Class) {
        if class != Class::Bulk {
            return;
        }
        let waiting = self.queue.waiting(Class::Bulk) > 0;
        let held_back = now < self.paused_until || self.bulk_fits(now).is_some();
        let full = self.gate.running_of(Class::Bulk) + 1 >= self.gate.level();
        let hungry = if waiting && full && !held_back {
            Hungry::Yes
        } else {
            Hungry::No
        };
        let bound = self.bound();
        self.gate.climb().answered(now, hungry, bound);
    }

    /// A call ended without an answer.
    pub(super) fn dropped(&mut self, class: Class) {
        self.gate.leave(class);
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting(Class::Interactive) + self.queue.waiting(Class::Bulk)
    }

    pub(super) fn tally(&mut self, flow: Flow) -> &mut Tally {
        self.tallies.entry(flow, Tally::default)
    }

    /// A guess at when a full queue has room again.
    fn drains_in(&self) -> Micros {
        let places = u64::from(self.gate.allowed(self.bound()));
        let waiting = u64::try_from(self.waiting()).unwrap_or(u64::MAX);
        let each = self.each.max(SECOND / 10);
        (waiting.saturating_mul(each) / places.max(1)).clamp(SECOND, 60 * SECOND)
    }

    /// What is left at all web servers together: requests and time.
    pub(super) fn room(&mut self, now: Micros) -> Option<(Room, Room)> {
        let rules = self.rules;
        let mut all: Option<(Room, Room)> = None;
        for lane in self.lanes.values_mut().filter(|lane| lane.is_told()) {
            lane.advance(&rules, now);
            let rooms = (lane.requests(&rules, now), lane.time(&rules, now));
            all = Some(match all {
                None => rooms,
                Some(sum) => (add(sum.0, rooms.0), add(sum.1, rooms.1)),
            });
        }
        all
    }

    pub(super) fn web_servers(&self) -> usize {
        self.lanes.len()
    }

    /// Whether something goes on.
    pub(super) fn is_busy(&self, now: Micros) -> bool {
        self.gate.running() > 0 || self.waiting() > 0 || self.paused_until > now
    }

    /// Whether places are short, or may be so soon: it matters then how many servers share them.
    pub(super) fn is_short(&self, now: Micros) -> bool {
        self.waiting() > 0 || self.paused_until > now || self.gate.running() > self.bound() / 4
    }

    /// Whether nothing would be lost if it were forgotten.
    pub(super) fn is_idle(&self, now: Micros) -> bool {
        self.waiting() == 0
            && self.gate.running() == 0
            && now >= self.paused_until
            && self.tallies.is_empty()
            && now.saturating_sub(self.answered_at) > self.rules.window + SECOND
    }
}

fn add(a: Room, b: Room) -> Room {
    Room {
        left: a.left + b.left,
        ours: a.ours + b.ours,
        reserved: a.reserved + b.reserved,
    }
}

#[cfg(test)]
#[path = "court_tests.rs"]
mod tests;
