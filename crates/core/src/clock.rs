//! Time as an argument: below the binary nobody asks the operating system what time it is.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};

/// Where the present moment comes from.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> DateTime<Utc>;

    /// The same in milliseconds since 1970; for what is asked so often that a calendar is too dear.
    fn now_ms(&self) -> i64 {
        self.now().timestamp_millis()
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or_else(|before| -milliseconds(before.duration()), milliseconds)
    }
}

fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that stands still until it is told to move; for tests and rehearsals.
#[derive(Debug)]
pub struct ManualClock(Mutex<DateTime<Utc>>);

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: DateTime<Utc>) -> Self {
        Self(Mutex::new(start))
    }

    /// Moves the hands; a negative step moves them back.
    pub fn advance(&self, step: TimeDelta) {
        *self.lock() += step;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, DateTime<Utc>> {
        // A panic while holding the lock cannot leave a date half written.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_when_told() {
        let start = Utc::now();
        let clock = ManualClock::new(start);
        assert_eq!(clock.now(), start);
        clock.advance(TimeDelta::days(100));
        assert_eq!(clock.now(), start + TimeDelta::days(100));
        clock.advance(TimeDelta::days(-200));
        assert_eq!(clock.now(), start - TimeDelta::days(100));
    }

    #[test]
    fn milliseconds_are_the_same_moment() {
        let start = Utc::now();
        assert_eq!(ManualClock::new(start).now_ms(), start.timestamp_millis());
        let (before, now) = (SystemClock.now(), SystemClock.now_ms());
        let after = SystemClock.now();
        assert!((before.timestamp_millis()..=after.timestamp_millis()).contains(&now));
    }
}
