//! Consumers that are interactive by name and a job by what they do.
//!
//! Who forgets to say that a job is one would have it use up the window and then everybody wait.
//! Whose calls have taken three quarters of a window by themselves are paced like bulk until they
//! have not: they would meet Microsoft's 429 next.

use super::Micros;

/// The part of a window, in percent, that makes a job of it.
const JOB_PERCENT: f64 = 75.0;

/// Calls of late: a sum that is forgotten at the pace of the window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    calls: f64,
    at: Micros,
}

impl Pace {
    pub(super) fn add(&mut self, now: Micros, window: Micros) {
        self.calls = self.calls(now, window) + 1.0;
        self.at = now;
    }

    /// Whether it is a job's, where so many calls fit into a window.
    pub(super) fn is_a_job(&self, now: Micros, window: Micros, fit: i64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "limits are small")]
        let fit = fit.max(1) as f64;
        let job = fit * JOB_PERCENT / 100.0;
        // What was forgotten since only makes it fewer.
        self.calls > job && self.calls(now, window) > job
    }

    pub(super) fn is_over(&self, now: Micros, window: Micros) -> bool {
        self.calls(now, window) < 1.0
    }

    fn calls(&self, now: Micros, window: Micros) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "it is a ratio of times")]
        let passed = now.saturating_sub(self.at) as f64 / window.max(1) as f64;
        self.calls * (-passed).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::super::SECOND;
    use super::*;

    #[test]
    fn a_job_is_known_by_its_pace() {
        let window = 300 * SECOND;
        let (mut steady, mut job) = (Pace::default(), Pace::default());
        for call in 0..3_000 {
            steady.add(call * SECOND / 10, window);
            job.add(call * SECOND / 100, window);
        }
        let now = 300 * SECOND;
        assert!(!steady.is_a_job(now, window, 6_000));
        assert!(!job.is_a_job(30 * SECOND, window, 6_000));
        for call in 3_000..5_000 {
            job.add(call * SECOND / 100, window);
        }
        assert!(job.is_a_job(50 * SECOND, window, 6_000));
        assert!(!job.is_a_job(350 * SECOND, window, 6_000));
    }
}
