//! The present, read once for all that a call asks of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tieline_core::Clock;
use tokio::time::Instant;

/// A moment by both clocks. The wall's can be set forward and back; the other one only runs, but
/// stands still while the machine sleeps. A token ends when either says so.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// In milliseconds since 1970: every call asks, and dates go by way of the calendar.
    wall_ms: i64,
    pub(crate) steady: Instant,
}

impl Moment {
    /// The present moment.
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self {
            wall_ms: clock.now_ms(),
            steady: Instant::now(),
        }
    }

    pub(crate) fn new(wall: DateTime<Utc>, steady: Instant) -> Self {
        Self {
            wall_ms: wall.timestamp_millis(),
            steady,
        }
    }

    pub(crate) fn wall(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.wall_ms).unwrap_or_default()
    }

    pub(crate) fn wall_ms(self) -> i64 {
        self.wall_ms
    }

    /// A later moment, of which the steady clock has told already.
    pub(crate) fn later(self, steady: Instant) -> Self {
        let passed = steady.saturating_duration_since(self.steady).as_millis();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        Self {
            wall_ms: self.wall_ms.saturating_add(passed),
            steady,
        }
    }

    /// How long ago it was.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.steady.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_moment_is_later_by_both_clocks() {
        let (wall, steady) = (Utc::now(), Instant::now());
        let came = Moment::new(wall, steady);
        let later = came.later(steady + Duration::from_millis(1_500));
        assert_eq!(later.wall_ms() - came.wall_ms(), 1_500);
        assert_eq!(later.steady - came.steady, Duration::from_millis(1_500));
        // A steady clock does not run back, and nothing is made of it if it should.
        assert_eq!(later.later(steady).wall_ms(), later.wall_ms());
    }
}
