//! A consumer's own rate: the generic cell rate algorithm (ITU-T I.371), which is a token bucket
//! that needs one number.

use super::{Micros, SECOND};

/// When the next call would be on time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rate {
    due: Micros,
}

impl Rate {
    /// Takes a place, and says how long to wait for it; refuses when that would be longer than
    /// `patience`, and then says how long it would have been.
    pub(super) fn reserve(
        &mut self,
        now: Micros,
        per_second: f64,
        burst: u32,
        patience: Micros,
    ) -> Result<Micros, Micros> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rate is between a thousandth and a million"
        )]
        let each = (SECOND as f64 / per_second.clamp(0.001, 1_000_000.0)) as Micros;
        let slack = each.saturating_mul(u64::from(burst.saturating_sub(1)));
        let due = self.due.max(now);
        let wait = due.saturating_sub(now).saturating_sub(slack);
        if wait > patience {
            return Err(wait);
        }
        self.due = due + each;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut rate = Rate::default();
        let now = 1_000 * SECOND;
        for _ in 0..5 {
            assert_eq!(rate.reserve(now, 10.0, 5, 0), Ok(0));
        }
        assert_eq!(rate.reserve(now, 10.0, 5, 0), Err(SECOND / 10));
        // Who may wait gets a place, and the next one a later place.
        assert_eq!(rate.reserve(now, 10.0, 5, SECOND), Ok(SECOND / 10));
        assert_eq!(rate.reserve(now, 10.0, 5, SECOND), Ok(SECOND / 5));
        assert_eq!(rate.reserve(now + 10 * SECOND, 10.0, 5, 0), Ok(0));
    }

    #[test]
    fn in_an_hour_there_are_no_more_than_the_rate_allows() {
        let mut rate = Rate::default();
        let calls = (0..3_600 * 50)
            .filter(|tick| rate.reserve(tick * SECOND / 50, 2.5, 10, 0).is_ok())
            .count();
        assert!((9_000..=9_010).contains(&calls), "{calls}");
    }
}
