//! Who goes next: interactive calls before bulk, and within a class consumers by their shares.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1996): a call gets a tag when it comes, and the
//! lowest tag goes first. A consumer's tags advance by one over its share for each call, and never
//! fall behind those being served: who was silent gains nothing, and who sends a thousand at once
//! waits for itself only. When nobody waits any more, all are equal again.

use std::collections::BTreeMap;

use super::Class;
use super::few::Few;
use crate::maps::HashMap;

/// What a call costs a consumer of share one.
const COST: u64 = 1 << 20;
/// When interactive calls never end, one call in so many is still of bulk.
const BULK_TURN: u32 = 16;

/// A consumer, to the queue.
pub(super) type Flow = u128;
/// A call that waits.
pub(super) type Ticket = u64;

/// Calls of one class. None while nobody waits, as at most accounts: who comes then goes at once,
/// and owes nothing to those who come later.
#[derive(Debug, Default)]
struct Line(Option<Box<Waiting>>);

/// Calls in their order.
#[derive(Debug, Default)]
struct Waiting {
    order: BTreeMap<(u64, Ticket), Flow>,
    tags: HashMap<Ticket, u64>,
    flows: Few<Flow, Tally>,
    /// The tag of the call that was served last.
    served: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    next: u64,
    waiting: u32,
}

impl Line {
    fn push(&mut self, ticket: Ticket, flow: Flow, share: u8) {
        self.0.get_or_insert_default().push(ticket, flow, share);
    }

    fn pop(&mut self) -> Option<Ticket> {
        let ticket = self.0.as_mut()?.pop();
        self.close();
        ticket
    }

    fn remove(&mut self, ticket: Ticket) -> bool {
        let removed = self
            .0
            .as_mut()
            .is_some_and(|waiting| waiting.remove(ticket));
        self.close();
        removed
    }

    /// Forgets who has waited when nobody does any more.
    fn close(&mut self) {
        self.0.take_if(|waiting| waiting.order.is_empty());
    }

    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.order.len())
    }
}

impl Waiting {
    fn tag(&mut self, flow: Flow, share: u8) -> u64 {
        let served = self.served;
        let tally = self.flows.entry(flow, Tally::default);
        let tag = tally.next.max(served);
        tally.next = tag + COST / u64::from(share.max(1));
        tally.waiting += 1;
        tag
    }

    fn push(&mut self, ticket: Ticket, flow: Flow, share: u8) {
        let tag = self.tag(flow, share);
        self.order.insert((tag, ticket), flow);
        self.tags.insert(ticket, tag);
    }

    fn pop(&mut self) -> Option<Ticket> {
        let ((tag, ticket), flow) = self.order.pop_first()?;
        self.served = self.served.max(tag);
        self.left(ticket, flow);
        self.sweep();
        Some(ticket)
    }

    fn remove(&mut self, ticket: Ticket) -> bool {
        let Some(tag) = self.tags.get(&ticket).copied() else {
            return false;
        };
        if let Some(flow) = self.order.remove(&(tag, ticket)) {
            self.left(ticket, flow);
        }
        true
    }

    fn left(&mut self, ticket: Ticket, flow: Flow) {
        self.tags.remove(&ticket);
        if let Some(tally) = self.flows.get_mut(flow) {
            tally.waiting = tally.waiting.saturating_sub(1);
        }
    }

    /// Forgets consumers that have nothing to wait for and nothing to make up for.
    fn sweep(&mut self) {
        if self.flows.len() > 64 {
            let served = self.served;
            self.flows
                .retain(|_, tally| tally.waiting > 0 || tally.next > served);
        }
    }
}

/// The calls that wait at an account.
#[derive(Debug, Default)]
pub(super) struct Queue {
    interactive: Line,
    /// Made with the first call of bulk.
    bulk: Option<Box<Line>>,
    interactive_in_a_row: u32,
}

impl Queue {
    fn line(&self, class: Class) -> Option<&Line> {
        match class {
            Class::Interactive => Some(&self.interactive),
            Class::Bulk => self.bulk.as_deref(),
        }
    }

    fn line_mut(&mut self, class: Class) -> &mut Line {
        match class {
            Class::Interactive => &mut self.interactive,
            Class::Bulk => self.bulk.get_or_insert_default(),
        }
    }

    pub(super) fn push(&mut self, ticket: Ticket, class: Class, flow: Flow, share: u8) {
        self.line_mut(class).push(ticket, flow, share);
    }

    pub(super) fn waiting(&self, class: Class) -> usize {
        self.line(class).map_or(0, Line::len)
    }

    pub(super) fn waiting_of(&self, class: Class, flow: Flow) -> u32 {
        let waiting = self.line(class).and_then(|line| line.0.as_ref());
        let tally = waiting.and_then(|waiting| waiting.flows.get(flow));
        tally.map_or(0, |tally| tally.waiting)
    }

    /// Takes a call out that does not wait any more.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        self.interactive.remove(ticket)
            || self.bulk.as_mut().is_some_and(|line| line.remove(ticket))
    }

    /// The class whose turn it is, of those that may go.
    pub(super) fn turn(&self, may_go: impl Fn(Class) -> bool) -> Option<Class> {
        let ready = |class| self.waiting(class) > 0 && may_go(class);
        let interactive = ready(Class::Interactive);
        let overdue = self.interactive_in_a_row >= BULK_TURN - 1;
        if (!interactive || overdue) && ready(Class::Bulk) {
            return Some(Class::Bulk);
        }
        interactive.then_some(Class::Interactive)
    }

    pub(super) fn pop(&mut self, class: Class) -> Option<Ticket> {
        match class {
            Class::Interactive if self.waiting(Class::Bulk) > 0 => self.interactive_in_a_row += 1,
            Class::Interactive => {}
            Class::Bulk => self.interactive_in_a_row = 0,
        }
        self.line_mut(class).pop()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How often each consumer is served when all have more to send than goes.
    fn served(shares: &[u8], rounds: u64) -> Vec<u64> {
        let mut queue = Queue::default();
        let mut owner = HashMap::default();
        let (mut ticket, mut counts) = (0, vec![0; shares.len()]);
        let mut send = |queue: &mut Queue, owner: &mut HashMap<_, _>, flow: usize| {
            ticket += 1;
            owner.insert(ticket, flow);
            queue.push(ticket, Class::Bulk, flow as u128, shares[flow]);
        };
        for flow in 0..shares.len() {
            for _ in 0..=flow * 7 {
                send(&mut queue, &mut owner, flow);
            }
        }
        for _ in 0..rounds {
            let flow = owner[&queue.pop(Class::Bulk).unwrap()];
            counts[flow] += 1;
            send(&mut queue, &mut owner, flow);
        }
        counts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn consumers_are_served_by_their_shares(shares in prop::collection::vec(1_u8..=100, 2..6)) {
            let rounds = 5_000;
            let all: u64 = shares.iter().map(|share| u64::from(*share)).sum();
            for (share, count) in shares.iter().zip(served(&shares, rounds)) {
                let due = rounds * u64::from(*share) / all;
                let apart = due.abs_diff(count);
                prop_assert!(apart <= due / 50 + 100, "share {share}: {count}, due {due}");
            }
        }
    }

    #[test]
    fn interactive_goes_first_and_bulk_still_goes() {
        let mut queue = Queue::default();
        for ticket in 0..320 {
            let class = if ticket % 2 == 0 {
                Class::Bulk
            } else {
                Class::Interactive
            };
            queue.push(ticket, class, 1, 10);
        }
        let mut classes = Vec::new();
        while let Some(class) = queue.turn(|_| true) {
            queue.pop(class).unwrap();
            classes.push(class);
        }
        let early = &classes[..160];
        let bulk = early.iter().filter(|class| **class == Class::Bulk).count();
        assert_eq!(bulk, 10);
        assert_eq!(classes.len(), 320);
    }

    #[test]
    fn who_was_silent_waits_for_nobody_and_gains_nothing() {
        let mut queue = Queue::default();
        for ticket in 0..1_000 {
            queue.push(ticket, Class::Bulk, 1, 10);
        }
        for _ in 0..500 {
            queue.pop(Class::Bulk);
        }
        for ticket in 1_000..1_100 {
            queue.push(ticket, Class::Bulk, 2, 10);
        }
        let next: Vec<u64> = (0..100).filter_map(|_| queue.pop(Class::Bulk)).collect();
        let newcomer = next.iter().filter(|ticket| **ticket >= 1_000).count();
        assert!((45..=55).contains(&newcomer), "{newcomer}");
    }

    #[test]
    fn who_hangs_up_leaves() {
        let mut queue = Queue::default();
        queue.push(1, Class::Interactive, 1, 1);
        queue.push(2, Class::Interactive, 1, 1);
        assert!(queue.remove(1) && !queue.remove(1));
        assert_eq!(queue.waiting_of(Class::Interactive, 1), 1);
        assert_eq!(queue.pop(Class::Interactive), Some(2));
        assert_eq!(queue.pop(Class::Interactive), None);
    }
}
