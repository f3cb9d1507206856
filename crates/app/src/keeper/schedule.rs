//! When a token is renewed, and the task that does it ahead of time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{Keeper, Need};

/// Longest lead before expiry.
const LEAD: TimeDelta = TimeDelta::minutes(15);
/// Refresh tokens die after 90 days of silence; a daily renewal is far from that, and shows a
/// secret that stopped working within a day.
const KEEP_ALIVE: TimeDelta = TimeDelta::hours(24);
/// First pause after a transient failure; doubles with each further one.
const FIRST_PAUSE_MS: i64 = 2_000;
/// Longest pause: a token service that is back must be noticed within a minute.
const LONGEST_PAUSE_MS: i64 = 45_000;
/// How often the schedule looks at what is due. The look is one indexed query.
const TICK: Duration = Duration::from_secs(1);
/// Accounts taken from the schedule at a time.
const BATCH: i64 = 256;
/// Renewals of the schedule that run side by side: a bound on what an outage can cause.
const CONCURRENCY: usize = 16;

/// When to renew a token: ahead of its expiry where the account is in use, otherwise daily.
pub(super) fn renew_at(now: DateTime<Utc>, expires_at: DateTime<Utc>, used: bool) -> DateTime<Utc> {
    if !used {
        return now + KEEP_ALIVE - spread(KEEP_ALIVE / 6);
    }
    let life = expires_at - now;
    let lead = LEAD.min(life / 2);
    expires_at - lead + spread(lead / 4)
}

/// When to try again after a transient failure.
pub(super) fn retry_at(
    now: DateTime<Utc>,
    failures: i32,
    asked: Option<Duration>,
) -> DateTime<Utc> {
    let doublings = failures.clamp(0, 10);
    let pause = (FIRST_PAUSE_MS << doublings).min(LONGEST_PAUSE_MS);
    let pause = TimeDelta::milliseconds(pause);
    let jittered = pause / 2 + spread(pause / 2);
    // An hour is the longest pause that Microsoft's own client obeys.
    let asked = asked
        .and_then(|pause| TimeDelta::from_std(pause).ok())
        .map_or(TimeDelta::zero(), |pause| pause.min(TimeDelta::hours(1)));
    now + if asked > jittered {
        asked + spread(pause / 2)
    } else {
        jittered
    }
}

/// A random share of a span, so that accounts made together are not renewed together.
fn spread(span: TimeDelta) -> TimeDelta {
    let ms = span.num_milliseconds().max(0);
    // Fifty-three bits of a random 64, as a fraction: no modulo bias worth speaking of.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction needs no more than 53 bits"
    )]
    let fraction = (uuid_bits() >> 11) as f64 / (1_u64 << 53) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the product is below the span"
    )]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a span in milliseconds is below 2^53"
    )]
    TimeDelta::milliseconds((ms as f64 * fraction) as i64)
}

fn uuid_bits() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Each `RandomState` is keyed afresh; jitter needs to be spread, not secret.
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

impl Keeper {
    /// Renews what is due until `stop` is cancelled.
    pub(crate) async fn run_schedule(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
            }
            let due = match self.0.store.tokens_due(self.0.clock.now(), BATCH).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(%error, "the renewals that are due could not be read");
                    continue;
                }
            };
            let renewals = futures_util::stream::iter(due)
                .map(|account| self.join_flight(account, Need::Due))
                .buffer_unordered(CONCURRENCY)
                // Each failure is recorded and logged where it happened.
                .for_each(|_| std::future::ready(()));
            tokio::select! {
                () = stop.cancelled() => return,
                () = renewals => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a date")
    }

    #[test]
    fn a_used_token_is_renewed_well_before_it_ends() {
        let now = at("2026-11-23T08:00:00Z");
        for minutes in [2, 5, 60, 75, 28 * 60] {
            let end = now + TimeDelta::minutes(minutes);
            let lead = LEAD.min(TimeDelta::minutes(minutes) / 2);
            for _ in 0..100 {
                let when = renew_at(now, end, true);
                assert!(
                    when >= end - lead && when <= end - lead * 3 / 4,
                    "{minutes}: {when}"
                );
            }
        }
    }

    #[test]
    fn an_unused_account_is_kept_alive_daily() {
        let now = at("2026-11-23T08:00:00Z");
        let when = renew_at(now, now + TimeDelta::hours(1), false);
        assert!(when > now + TimeDelta::hours(19) && when <= now + TimeDelta::hours(24));
    }

    #[test]
    fn pauses_grow_are_bounded_and_differ() {
        let now = at("2026-11-23T08:00:00Z");
        let longest = now + TimeDelta::milliseconds(LONGEST_PAUSE_MS);
        for failures in [-1, 0, 3, 20, i32::MAX] {
            let when = retry_at(now, failures, None);
            assert!(when > now && when <= longest, "{failures}: {when}");
        }
        let different: std::collections::HashSet<_> =
            (0..50).map(|_| retry_at(now, 9, None)).collect();
        assert!(different.len() > 10);
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_within_reason() {
        let now = at("2026-11-23T08:00:00Z");
        assert!(retry_at(now, 0, Some(Duration::from_secs(60))) >= now + TimeDelta::seconds(60));
        let absurd = retry_at(now, 0, Some(Duration::from_secs(u64::MAX / 4)));
        assert!(absurd <= now + TimeDelta::hours(2));
    }
}
