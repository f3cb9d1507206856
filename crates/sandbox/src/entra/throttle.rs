//! Who asks too often: refreshing in a tight loop, guessing passwords, polling without a pause.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// How many equal requests within how many seconds are a loop. Entra's own threshold is lower and
/// not published; nobody rehearses a hundred equal refreshes by accident.
const REFRESHES: (usize, i64) = (100, 300);
/// Smart lockout: ten wrong passwords lock the account for a minute (Entra's defaults).
const PASSWORDS: (usize, i64) = (10, 60);
/// A device polls every five seconds; a dozen polls in that time are a client that does not wait.
const POLLS: (usize, i64) = (12, 5);

/// Forgetting goes through all of them, so it is done only now and then.
const SWEEP: usize = 256;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    Refresh,
    WrongPassword,
    Poll,
}

impl Counted {
    fn limit(self) -> (usize, i64) {
        match self {
            Self::Refresh => REFRESHES,
            Self::WrongPassword => PASSWORDS,
            Self::Poll => POLLS,
        }
    }
}

/// Counts of what happened lately.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<Key, Times>>);

/// What is counted, and whose it is.
type Key = (Counted, Vec<u8>);
/// When it happened; seconds since 1970.
type Times = VecDeque<i64>;

impl Throttle {
    /// Counts one; whether that was one too many.
    pub(crate) fn count(&self, what: Counted, whose: &[u8], now: i64) -> bool {
        let (limit, seconds) = what.limit();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever was quiet for long enough is forgotten, so that this cannot grow for ever.
        if counts.len().is_multiple_of(SWEEP) {
            counts.retain(|(what, _), times| {
                times.back().is_some_and(|last| now - last < what.limit().1)
            });
        }
        let times = counts.entry((what, whose.to_vec())).or_default();
        while times.front().is_some_and(|first| now - first >= seconds) {
            times.pop_front();
        }
        times.push_back(now);
        if times.len() > limit + 1 {
            times.pop_front();
        }
        times.len() > limit
    }

    /// Whether the limit is reached, without counting.
    pub(crate) fn reached(&self, what: Counted, whose: &[u8], now: i64) -> bool {
        let (limit, seconds) = what.limit();
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = counts.get(&(what, whose.to_vec()));
        recent.is_some_and(|times| times.iter().filter(|at| now - **at < seconds).count() >= limit)
    }

    pub(crate) fn forget(&self, what: Counted, whose: &[u8]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(&(what, whose.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_noticed_and_forgotten() {
        let throttle = Throttle::default();
        for _ in 0..100 {
            assert!(!throttle.count(Counted::Refresh, b"a", 1_000));
        }
        assert!(throttle.count(Counted::Refresh, b"a", 1_000));
        assert!(!throttle.count(Counted::Refresh, b"b", 1_000));
        assert!(!throttle.count(Counted::Refresh, b"a", 1_300));
    }

    #[test]
    fn wrong_passwords_are_counted_apart() {
        let throttle = Throttle::default();
        for _ in 0..10 {
            throttle.count(Counted::WrongPassword, b"a", 5);
        }
        assert!(throttle.reached(Counted::WrongPassword, b"a", 6));
        assert!(!throttle.reached(Counted::WrongPassword, b"a", 65));
        throttle.forget(Counted::WrongPassword, b"a");
        assert!(!throttle.reached(Counted::WrongPassword, b"a", 6));
    }
}
