//! When a token is renewed, and when an attempt is made again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Longest lead before expiry.
const LEAD: TimeDelta = TimeDelta::minutes(15);
/// Refresh tokens die after 90 days of silence; a daily renewal is far from that, and shows a
/// secret that stopped working within a day.
const KEEP_ALIVE: TimeDelta = TimeDelta::hours(24);
/// No plan reaches further than this; one that does was made while the clock was wrong.
pub(super) const FURTHEST_PLAN: TimeDelta = TimeDelta::hours(48);
/// First pause after a transient failure; doubles with each further one.
const FIRST_PAUSE_MS: i64 = 2_000;
/// Longest pause: a token service that is back must be noticed within a minute.
const LONGEST_PAUSE_MS: i64 = 45_000;
/// Longest pause where something answers that is no token service: it may be a proxy that has a
/// bad day, and it may be a wrong address.
const LONGEST_DOUBT_MS: i64 = 15 * 60_000;
/// An hour is the longest pause that Microsoft's own client obeys ("Client and server throttling"
/// of MSAL.NET).
const LONGEST_ASKED: TimeDelta = TimeDelta::hours(1);

/// How soon another attempt makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It will pass.
    Soon,
    /// It may pass, and more likely will not.
    Slow,
    /// Not before something changed.
    Never,
}

/// How long before its end a token of a given life is renewed.
pub(super) fn lead(life: TimeDelta) -> TimeDelta {
    LEAD.min(life / 2)
}

/// Whether an account is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// Callers came since the last renewal.
    Used,
    /// Nobody did.
    Idle,
}

/// When to renew a token: ahead of its expiry where the account is in use, otherwise daily.
pub(super) fn renew_at(
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    demand: Demand,
) -> DateTime<Utc> {
    if demand == Demand::Idle {
        return now + KEEP_ALIVE - spread(KEEP_ALIVE / 6);
    }
    let lead = lead(expires_at - now);
    expires_at - lead + spread(lead / 4)
}

/// When to try again after a failure; none where that makes no sense.
pub(super) fn retry_at(
    now: DateTime<Utc>,
    failures: i32,
    pace: Pace,
    asked: Option<Duration>,
) -> Option<DateTime<Utc>> {
    let longest = match pace {
        Pace::Soon => LONGEST_PAUSE_MS,
        Pace::Slow => LONGEST_DOUBT_MS,
        Pace::Never => return None,
    };
    let doublings = failures.clamp(0, 20);
    let pause = TimeDelta::milliseconds((FIRST_PAUSE_MS << doublings).min(longest));
    let jittered = pause / 2 + spread(pause / 2);
    let asked = asked
        .and_then(|pause| TimeDelta::from_std(pause).ok())
        .map_or(TimeDelta::zero(), |pause| pause.min(LONGEST_ASKED));
    Some(if asked > jittered {
        now + asked + spread(pause / 2)
    } else {
        now + jittered
    })
}

/// Whether a pause that ends at `until` still goes on. One that ends further away than any pause
/// was written while the clock was wrong.
pub(super) fn pause_goes_on(until: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    until > now && until <= now + LONGEST_ASKED * 2
}

/// A random share of a span, so that accounts made together are not renewed together.
pub(super) fn spread(span: TimeDelta) -> TimeDelta {
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

/// A random share of a short span.
pub(super) fn jitter(span: Duration) -> Duration {
    let span = TimeDelta::from_std(span).unwrap_or_default();
    spread(span).to_std().unwrap_or_default()
}

fn uuid_bits() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Each `RandomState` is keyed afresh; jitter needs to be spread, not secret.
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
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
                let when = renew_at(now, end, Demand::Used);
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
        let when = renew_at(now, now + TimeDelta::hours(1), Demand::Idle);
        assert!(when > now + TimeDelta::hours(19) && when <= now + TimeDelta::hours(24));
    }

    #[test]
    fn pauses_grow_are_bounded_and_differ() {
        let now = at("2026-11-23T08:00:00Z");
        let longest = now + TimeDelta::milliseconds(LONGEST_PAUSE_MS);
        for failures in [-1, 0, 3, 20, i32::MAX] {
            let when = retry_at(now, failures, Pace::Soon, None).expect("a time");
            assert!(when > now && when <= longest, "{failures}: {when}");
        }
        let different: std::collections::HashSet<_> = (0..50)
            .map(|_| retry_at(now, 9, Pace::Soon, None))
            .collect();
        assert!(different.len() > 10);
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_within_reason() {
        let now = at("2026-11-23T08:00:00Z");
        let asked = |pause| retry_at(now, 0, Pace::Soon, Some(Duration::from_secs(pause)));
        assert!(asked(60) >= Some(now + TimeDelta::seconds(60)));
        assert!(asked(u64::MAX / 4) <= Some(now + TimeDelta::hours(2)));
    }

    #[test]
    fn what_only_a_change_can_mend_is_not_tried_again_and_doubt_is_slow() {
        let now = at("2026-11-23T08:00:00Z");
        assert_eq!(retry_at(now, 0, Pace::Never, None), None);
        let slow = retry_at(now, 12, Pace::Slow, None).expect("a time");
        assert!(slow > now + TimeDelta::minutes(7));
        assert!(retry_at(now, 0, Pace::Slow, None) <= Some(now + TimeDelta::seconds(2)));
    }

    #[test]
    fn a_pause_from_a_wrong_future_is_over() {
        let now = at("2026-11-23T08:00:00Z");
        assert!(pause_goes_on(now + TimeDelta::minutes(59), now));
        assert!(!pause_goes_on(now - TimeDelta::seconds(1), now));
        assert!(!pause_goes_on(now + TimeDelta::days(100), now));
    }
}
