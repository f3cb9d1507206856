//! The accounts that are in use: looked through and written down a part at a time, because there
//! may be a hundred thousand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::Micros;
use super::admission::{Standing, lock};

/// Accounts that are looked through at a time.
const STRIDE: usize = 4_096;

/// Every account with a state.
#[derive(Debug, Default)]
pub(super) struct Roll {
    /// Each stands here once.
    active: Mutex<Vec<Arc<Standing>>>,
    unwritten: Mutex<Unwritten>,
    /// The way through `active`.
    walk: Mutex<Walk>,
}

/// Accounts with something to be written down, in their order.
#[derive(Debug, Default)]
struct Unwritten {
    /// Those that other servers should hear of soon, because places are short.
    ahead: VecDeque<Arc<Standing>>,
    others: VecDeque<Arc<Standing>>,
}

/// Where an account stands among those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    No,
    Yes,
    Ahead,
}

/// How far a look through all accounts has come, and what it has seen.
#[derive(Debug, Default)]
struct Walk {
    at: usize,
    seen: Load,
}

/// What goes on at all accounts together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub(super) in_use: u32,
    pub(super) waiting: u32,
    pub(super) paused: u32,
}

impl Roll {
    /// Adds an account that has a state from now on.
    pub(super) fn add(&self, standing: Arc<Standing>) {
        lock(&self.active).push(standing);
    }

    pub(super) fn all(&self) -> Vec<Arc<Standing>> {
        lock(&self.active).clone()
    }

    /// Remembers an account that has something to be written down.
    pub(super) fn note(&self, standing: Arc<Standing>, noted: Noted) {
        let mut unwritten = lock(&self.unwritten);
        match noted {
            Noted::No => {}
            Noted::Yes => unwritten.others.push_back(standing),
            Noted::Ahead => unwritten.ahead.push_back(standing),
        }
    }

    /// How many accounts have something to be written down.
    pub(super) fn unwritten(&self) -> usize {
        let unwritten = lock(&self.unwritten);
        unwritten.ahead.len() + unwritten.others.len()
    }

    /// The next accounts with something to be written down.
    pub(super) fn next_unwritten(&self, most: usize) -> Vec<Arc<Standing>> {
        let unwritten = &mut *lock(&self.unwritten);
        let ahead = unwritten.ahead.len().min(most);
        let others = unwritten.others.len().min(most - ahead);
        let first = unwritten.ahead.drain(..ahead);
        first.chain(unwritten.others.drain(..others)).collect()
    }

    /// Looks through the accounts, [`STRIDE`] at a time: forgets what nobody would miss, and tells
    /// what goes on when it has been through all.
    pub(super) fn walk(&self, now: Micros) -> Option<Load> {
        let mut walk = lock(&self.walk);
        let slice: Vec<_> = {
            let active = lock(&self.active);
            let end = active.len().min(walk.at + STRIDE);
            active.get(walk.at..end).unwrap_or_default().to_vec()
        };
        let (mut kept, met) = (Vec::with_capacity(slice.len()), slice.len());
        for standing in slice {
            if standing.forget_if_idle(now) {
                continue;
            }
            let load = standing.look_at(|court, now| Load {
                in_use: court.gate.running(),
                waiting: u32::try_from(court.waiting()).unwrap_or(u32::MAX),
                paused: u32::from(court.paused_until > now),
            });
            walk.seen.add(load.unwrap_or_default());
            kept.push(standing);
        }
        let mut active = lock(&self.active);
        // Others only add to the end; who was forgotten and called again stands there anew.
        let end = walk.at + kept.len();
        if kept.len() < met {
            active.splice(walk.at..walk.at + met, kept);
        }
        walk.at = end;
        (end >= active.len()).then(|| std::mem::take(&mut *walk).seen)
    }
}

impl Load {
    fn add(&mut self, other: Self) {
        self.in_use += other.in_use;
        self.waiting = self.waiting.saturating_add(other.waiting);
        self.paused += other.paused;
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tieline_core::{AccountId, ConsumerLimits, SystemClock};

    use super::super::{SECOND, Terms, Wish};
    use super::*;
    use crate::fair::Fair;
    use crate::moment::Moment;

    /// Accounts, each of which was called once.
    async fn called(count: usize) -> Fair {
        let fair = Fair::new();
        let came = Moment::now(&SystemClock);
        let terms = Terms::of(&Wish::default(), &ConsumerLimits::default(), came);
        for _ in 0..count {
            let standing = fair.standing(AccountId::generate(DateTime::UNIX_EPOCH));
            drop(standing.admit(1, 10, &terms).await.expect("free"));
        }
        fair
    }

    #[tokio::test]
    async fn each_account_has_its_turn_to_be_written_down() {
        let fair = called(25).await;
        let roll = &fair.hub.roll;
        let turns = [10, 10, 5, 0];
        assert_eq!(turns.map(|_| roll.next_unwritten(10).len()), turns);
    }

    #[tokio::test]
    async fn more_accounts_than_a_stride_are_seen_and_forgotten_one_by_one() {
        let fair = called(STRIDE + 10).await;
        let roll = &fair.hub.roll;
        let now = fair.hub.now();
        assert!(roll.walk(now).is_none() && roll.walk(now).is_some());
        for standing in roll.next_unwritten(usize::MAX) {
            standing.take(|court, _| court.tallies = Default::default());
        }
        let later = now + 400 * SECOND;
        assert!(roll.walk(later).is_none());
        assert_eq!(roll.all().len(), 10);
        assert!(roll.walk(later).is_some() && roll.all().is_empty());
    }
}
