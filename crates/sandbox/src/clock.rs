//! The sandbox's present moment: a function of the caller's, and how far it was moved since.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

/// The years between which the clock can be moved: certificates, dates in tokens and the texts of
/// answers all have four digits for them.
const YEARS: std::ops::Range<i32> = 1990..2200;

/// Where the sandbox's present moment comes from. Its clones are moved together.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    base: Box<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    /// How far the clock was moved, in nanoseconds. It is forgotten with the process.
    offset: AtomicI64,
}

/// The clock cannot be moved that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the clock can be moved between the years 1990 and 2199 only")]
pub struct TooFar;

impl Clock {
    /// A clock that asks a function.
    pub fn new(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            base: Box::new(now),
            offset: AtomicI64::new(0),
        }))
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        let base = (self.0.base)();
        base.checked_add_signed(self.offset()).unwrap_or(base)
    }

    /// How far it was moved.
    #[must_use]
    pub fn offset(&self) -> TimeDelta {
        TimeDelta::nanoseconds(self.0.offset.load(Ordering::Relaxed))
    }

    /// Moves it forward, or back.
    ///
    /// # Errors
    /// When it would leave the years it can show.
    pub fn shift(&self, by: TimeDelta) -> Result<(), TooFar> {
        let base = (self.0.base)();
        let moved = |offset: i64| {
            let offset = offset.checked_add(by.num_nanoseconds()?)?;
            allowed(base, offset).then_some(offset)
        };
        let changed = self
            .0
            .offset
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
        changed.map(|_| ()).map_err(|_| TooFar)
    }

    /// Moves it to a moment; it goes on from there.
    ///
    /// # Errors
    /// When the moment is in a year that it cannot show.
    pub fn set(&self, to: DateTime<Utc>) -> Result<(), TooFar> {
        let base = (self.0.base)();
        let offset = to.signed_duration_since(base).num_nanoseconds();
        let offset = offset
            .filter(|offset| allowed(base, *offset))
            .ok_or(TooFar)?;
        self.0.offset.store(offset, Ordering::Relaxed);
        Ok(())
    }

    /// Puts it back.
    pub fn reset(&self) {
        self.0.offset.store(0, Ordering::Relaxed);
    }
}

fn allowed(base: DateTime<Utc>, offset: i64) -> bool {
    use chrono::Datelike as _;
    let moved = base.checked_add_signed(TimeDelta::nanoseconds(offset));
    moved.is_some_and(|moment| YEARS.contains(&moment.year()))
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000, 0).unwrap()
    }

    #[test]
    fn clones_are_moved_together_and_put_back() {
        let clock = Clock::new(noon);
        let other = clock.clone();
        clock.shift(TimeDelta::days(91)).unwrap();
        other.shift(TimeDelta::days(-1)).unwrap();
        assert_eq!(other.now() - noon(), TimeDelta::days(90));
        clock.reset();
        assert_eq!(other.now(), noon());
    }

    #[test]
    fn it_is_not_moved_out_of_its_years() {
        let clock = Clock::new(noon);
        assert_eq!(clock.shift(TimeDelta::MAX), Err(TooFar));
        assert_eq!(clock.shift(TimeDelta::days(-365 * 100)), Err(TooFar));
        assert_eq!(clock.set(DateTime::<Utc>::MAX_UTC), Err(TooFar));
        assert_eq!(clock.now(), noon());
        clock.set(noon() + TimeDelta::hours(3)).unwrap();
        assert_eq!(clock.offset(), TimeDelta::hours(3));
    }
}
