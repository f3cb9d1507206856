//! When a delivery is tried again, and when it is given up.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;
use tieline_core::{Delivery, DeliveryChannel, DeliveryState, NoticeType};
use tieline_store::Attempted;

/// Pauses after the first, second, … failure, in seconds: quick while it may be a hiccup, slow
/// when somebody has to be called. The last repeats.
const PAUSES: [i64; 11] = [
    2, 10, 60, 300, 1_200, 3_600, 7_200, 14_400, 21_600, 28_800, 28_800,
];
/// How long a delivery is tried: over a weekend.
pub(super) const PATIENCE: TimeDelta = TimeDelta::days(3);
/// The longest pause that a receiver may ask for. Whoever wants none at all answers 410.
const ASKED_MAX: TimeDelta = TimeDelta::hours(12);

/// What an attempt met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken.
    Taken {
        /// HTTP's or SMTP's status.
        status: Option<u16>,
    },
    /// There was an answer, and it was no.
    Refused {
        /// HTTP's or SMTP's status.
        status: u16,
        /// When the receiver wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// There was no answer.
    NotReached {
        /// Stable code of why.
        code: &'static str,
    },
    /// It can never be taken as it is.
    Impossible {
        /// Stable code of why.
        code: &'static str,
        /// SMTP's status, where there was one.
        status: Option<u16>,
    },
}

impl Outcome {
    /// Whether the receiver says that nobody is there any more (RFC 9110, section 15.5.11).
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Outcome::Refused { status: 410, .. })
    }

    fn code(&self) -> Option<&'static str> {
        match self {
            Outcome::Taken { .. } => None,
            Outcome::Refused { .. } => Some("delivery-refused"),
            Outcome::NotReached { code } | Outcome::Impossible { code, .. } => Some(code),
        }
    }

    fn status(&self) -> Option<u16> {
        match self {
            Outcome::Taken { status } | Outcome::Impossible { status, .. } => *status,
            Outcome::Refused { status, .. } => Some(*status),
            Outcome::NotReached { .. } => None,
        }
    }

    fn asked(&self) -> Option<TimeDelta> {
        match self {
            Outcome::Refused {
                retry_after: Some(pause),
                ..
            } => Some(
                TimeDelta::from_std(*pause)
                    .unwrap_or(ASKED_MAX)
                    .min(ASKED_MAX),
            ),
            _ => None,
        }
    }
}

/// What becomes of a delivery after an attempt.
pub(super) fn decide(delivery: &Delivery, outcome: &Outcome, now: DateTime<Utc>) -> Attempted {
    let mut attempted = Attempted {
        state: DeliveryState::Failed,
        next_at: None,
        status: outcome.status(),
        error: outcome.code(),
        paused_until: outcome.asked().map(|pause| now + pause),
    };
    if matches!(outcome, Outcome::Taken { .. }) {
        attempted.state = DeliveryState::Delivered;
        return attempted;
    }
    // Somebody looks on at a test: it is tried once, and tells nothing of later ones.
    let once = delivery.notice.notice_type == NoticeType::Test;
    let impossible = matches!(outcome, Outcome::Impossible { .. });
    if once || impossible || outcome.is_gone() {
        return attempted;
    }
    let deadline = delivery.created_at + PATIENCE;
    if now >= deadline {
        return attempted;
    }
    let pause = pause_after(delivery.attempts).max(outcome.asked().unwrap_or_default());
    attempted.state = DeliveryState::Pending;
    // The last attempt is made when the time is up, not before.
    attempted.next_at = Some((now + pause).min(deadline));
    attempted
}

/// Whether a webhook that was not reached is to be disabled: it has taken nothing for as long as
/// one delivery was tried.
pub(super) fn is_hopeless(
    delivery: &Delivery,
    attempted: &Attempted,
    last_success: Option<DateTime<Utc>>,
) -> bool {
    delivery.channel == DeliveryChannel::Webhook
        && delivery.notice.notice_type != NoticeType::Test
        && attempted.state == DeliveryState::Failed
        && last_success.is_none_or(|at| at < delivery.created_at)
}

/// The pause after so many earlier failures, and up to a quarter more, so that what failed
/// together is not tried together.
fn pause_after(failures: u32) -> TimeDelta {
    let at = usize::try_from(failures).unwrap_or(usize::MAX);
    let seconds = PAUSES.get(at).or(PAUSES.last()).copied().unwrap_or(60);
    let ms = seconds * 1_000;
    TimeDelta::milliseconds(ms + rand::rng().random_range(0..=ms / 4))
}

/// `Retry-After` as a pause: seconds or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some(
        (date.with_timezone(&Utc) - now)
            .to_std()
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tieline_core::{EventId, Notice, Reason};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn delivery(attempts: u32, created_at: DateTime<Utc>) -> Delivery {
        Delivery {
            seq: 1,
            channel: DeliveryChannel::Webhook,
            target: String::new(),
            notice: Notice {
                id: EventId::generate(created_at),
                notice_type: NoticeType::StateChanged,
                at: created_at,
                account_id: None,
                subject: String::new(),
                token_url: String::new(),
                user: None,
                from: None,
                from_since: None,
                to: None,
                since: None,
                reason: Reason::new("renewed", ""),
            },
            state: DeliveryState::Pending,
            attempts,
            created_at,
            next_at: None,
            last_at: None,
            last_status: None,
            last_error: None,
        }
    }

    const NO_ANSWER: Outcome = Outcome::NotReached {
        code: "delivery-unreachable",
    };

    fn refused(status: u16, seconds: Option<u64>) -> Outcome {
        Outcome::Refused {
            status,
            retry_after: seconds.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_delivery_is_tried_for_three_days_and_then_given_up() {
        let start = at("2026-11-23T08:00:00Z");
        let (mut now, mut attempts) = (start, 0);
        loop {
            let attempted = decide(&delivery(attempts, start), &NO_ANSWER, now);
            attempts += 1;
            match attempted.next_at {
                Some(next) => {
                    assert!(next > now && next <= start + PATIENCE, "{next}");
                    now = next;
                }
                None => break,
            }
        }
        assert_eq!(now, start + PATIENCE, "the last attempt is the latest");
        assert!((12..=18).contains(&attempts), "{attempts}");
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_within_reason() {
        let now = at("2026-11-23T08:00:00Z");
        let attempted = decide(&delivery(0, now), &refused(429, Some(90)), now);
        assert!(attempted.next_at >= Some(now + TimeDelta::seconds(90)));
        assert_eq!(
            attempted.paused_until,
            Some(now + TimeDelta::seconds(90)),
            "for everything"
        );
        let absurd = decide(&delivery(0, now), &refused(503, Some(u64::MAX)), now);
        assert_eq!(absurd.paused_until, Some(now + ASKED_MAX));
        assert_eq!(
            decide(&delivery(0, now), &refused(500, None), now).paused_until,
            None
        );
    }

    #[test]
    fn nobody_there_is_not_asked_again() {
        let now = at("2026-11-23T08:00:00Z");
        let gone = refused(410, None);
        assert!(gone.is_gone());
        let attempted = decide(&delivery(0, now), &gone, now);
        assert_eq!(
            (attempted.state, attempted.next_at),
            (DeliveryState::Failed, None)
        );
        for status in [400, 401, 404, 408, 429, 500, 503, 301] {
            let attempted = decide(&delivery(0, now), &refused(status, None), now);
            assert_eq!(attempted.state, DeliveryState::Pending, "{status}");
        }
    }

    #[test]
    fn a_webhook_is_hopeless_only_when_it_took_nothing_all_the_time() {
        let start = at("2026-11-23T08:00:00Z");
        let late = start + PATIENCE;
        let delivery = delivery(14, start);
        let attempted = decide(&delivery, &NO_ANSWER, late);
        assert!(is_hopeless(&delivery, &attempted, None));
        assert!(is_hopeless(
            &delivery,
            &attempted,
            Some(start - TimeDelta::hours(1))
        ));
        assert!(!is_hopeless(
            &delivery,
            &attempted,
            Some(start + TimeDelta::hours(1))
        ));
        let early = decide(&delivery, &NO_ANSWER, start);
        assert!(!is_hopeless(&delivery, &early, None));
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = at("2026-11-23T08:00:00Z");
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        let date = "Mon, 23 Nov 2026 08:01:00 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(60)));
        let past = "Mon, 23 Nov 2026 07:00:00 GMT";
        assert_eq!(retry_after(past, now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}
