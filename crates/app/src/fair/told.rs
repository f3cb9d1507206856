//! What an answer of Dynamics tells about limits.
//!
//! <https://learn.microsoft.com/power-apps/developer/data-platform/api-limits>: the headers with
//! what is left are meant for diagnosis and are per web server; `Retry-After` is what binds.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, header};
use serde_json::Value;

use super::lane::Left;
use super::{Micros, SECOND};

const REQUESTS_LEFT: HeaderName =
    HeaderName::from_static("x-ms-ratelimit-burst-remaining-xrm-requests");
const TIME_LEFT: HeaderName = HeaderName::from_static("x-ms-ratelimit-time-remaining-xrm-requests");
/// Azure's cookie says which web server answered.
const AFFINITY: &str = "ARRAffinity";
/// A pause that is longer is not believed: Microsoft's windows are five minutes.
const PAUSE_MAX: Micros = 3_600 * SECOND;

/// Which limit was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The number of requests in a window.
    Requests,
    /// Their combined time of execution.
    Time,
    /// Requests at once.
    Concurrency,
    /// It is not said, or it is no limit but trouble (503).
    Unknown,
}

impl Limit {
    /// The word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Limit::Requests => "requests",
            Limit::Time => "time",
            Limit::Concurrency => "concurrency",
            Limit::Unknown => "unknown",
        }
    }
}

/// What an answer tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    pub(super) server: u64,
    pub(super) left: Left,
    /// The answer asks to come back later.
    pub(super) refusal: Option<Refusal>,
}

/// An answer that says *not now*.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) limit: Limit,
    /// How long to stay away; none when it is not said.
    pub(super) pause: Option<Micros>,
    /// What the message says of the limit: so many requests in so many seconds.
    pub(super) rule: Option<(u64, u64)>,
}

impl Told {
    /// Reads status and headers.
    #[must_use]
    pub fn read(status: u16, headers: &HeaderMap, now: impl FnOnce() -> DateTime<Utc>) -> Self {
        let left = Left {
            requests: millionths(headers, &REQUESTS_LEFT).map(|number| number / SECOND),
            time: millionths(headers, &TIME_LEFT),
        };
        let refusal = match status {
            // Nothing else asks to come back later, and looks for a field cost every answer.
            429 | 503 => refused(status, left, retry_after(headers, now)),
            _ => None,
        };
        Self {
            server: server(headers),
            left,
            refusal,
        }
    }

    /// Reads the body of a refusal, where it is at hand: it names the limit.
    #[must_use]
    pub fn with_body(mut self, body: &[u8]) -> Self {
        let Some(refusal) = &mut self.refusal else {
            return self;
        };
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return self;
        };
        let text = |member: &str| body["error"][member].as_str().unwrap_or_default();
        refusal.limit = match text("code").to_ascii_lowercase().as_str() {
            "0x80072322" => Limit::Requests,
            "0x80072321" => Limit::Time,
            "0x80072326" => Limit::Concurrency,
            _ => refusal.limit,
        };
        if refusal.limit == Limit::Requests {
            refusal.rule = rule(text("message"));
        }
        self
    }

    /// How long the answer asks to stay away.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        self.refusal?.pause.map(Duration::from_micros)
    }

    /// Whether it says *not now*.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.refusal.is_some()
    }
}

/// What an answer of these two asks for.
fn refused(status: u16, left: Left, pause: Option<Micros>) -> Option<Refusal> {
    let limit = match status {
        429 => limit_of(left),
        // A 503 without a time is a failure like others.
        _ if pause.is_some() => Limit::Unknown,
        _ => return None,
    };
    Some(Refusal {
        limit,
        pause,
        rule: None,
    })
}

/// Without the body, what is left says which limit it was.
fn limit_of(left: Left) -> Limit {
    match (left.requests, left.time) {
        (Some(0), _) => Limit::Requests,
        (_, Some(0)) => Limit::Time,
        (Some(_), Some(_)) => Limit::Concurrency,
        _ => Limit::Unknown,
    }
}

/// "Number of requests exceeded the limit of 6000 over time window of 300 seconds."
fn rule(message: &str) -> Option<(u64, u64)> {
    let after = |mark: &str| {
        let rest = message.split_once(mark)?.1;
        let digits: String = rest
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == ',')
            .filter(char::is_ascii_digit)
            .collect();
        digits.parse::<u64>().ok().filter(|number| *number > 0)
    };
    Some((after("limit of ")?, after("window of ")?))
}

/// As live answers write numbers: `5999`, `1,199.87`.
/// In millionths, so that seconds are microseconds; less than nothing is nothing.
fn millionths(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let value = headers.get(name)?.as_bytes();
    plain(value).or_else(|| {
        let text = std::str::from_utf8(value).ok()?.trim().replace(',', "");
        let number = text.parse::<f64>().ok()?;
        number.is_finite().then(|| whole(number * 1e6))
    })
}

/// The same for nothing but digits, commas and a point: every answer has two of these, and to read
/// any number that there may be takes ten times as long.
fn plain(value: &[u8]) -> Option<u64> {
    let (mut number, mut digits, mut after) = (0_u64, 0, None);
    for byte in value {
        match (byte, &mut after) {
            (b'0'..=b'9', _) if digits == 12 => return None,
            (b'0'..=b'9', None) => {
                number = number * 10 + u64::from(byte - b'0');
                digits += 1;
            }
            (b'0'..=b'9', Some(after)) if *after == 6 => return None,
            (b'0'..=b'9', Some(after)) => {
                number = number * 10 + u64::from(byte - b'0');
                *after += 1;
            }
            (b',', None) => {}
            (b'.', None) => after = Some(0),
            _ => return None,
        }
    }
    let scale = 10_u64.pow(6 - after.unwrap_or_default());
    (digits > 0).then_some(number * scale)
}

fn whole(number: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits"
    )]
    let whole = number.clamp(0.0, 1e15) as u64;
    whole
}

/// Seconds, or a date (RFC 9110, section 10.2.3). The date is compared with the answer's own, so
/// that our clock does not matter.
fn retry_after(headers: &HeaderMap, now: impl FnOnce() -> DateTime<Utc>) -> Option<Micros> {
    if let Some(pause) = millionths(headers, &header::RETRY_AFTER) {
        return Some(pause.min(PAUSE_MAX));
    }
    let date = |name: header::HeaderName| {
        let text = headers.get(name)?.to_str().ok()?;
        DateTime::parse_from_rfc2822(text).ok()
    };
    let until = date(header::RETRY_AFTER)?;
    let from = date(header::DATE).unwrap_or_else(|| now().fixed_offset());
    let pause = (until - from).num_microseconds().unwrap_or_default();
    Some(u64::try_from(pause).unwrap_or_default().min(PAUSE_MAX))
}

/// Which web server it was, as a number that says nothing else.
fn server(headers: &HeaderMap) -> u64 {
    let cookies = headers.get_all(header::SET_COOKIE).iter();
    let value = cookies
        .filter_map(|cookie| cookie.to_str().ok())
        .filter_map(|cookie| cookie.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim() == AFFINITY)
        .map(|(_, value)| value);
    value.map_or(0, |value| {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish().max(1)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const REQUESTS: &str = "x-ms-ratelimit-burst-remaining-xrm-requests";
    const TIME: &str = "x-ms-ratelimit-time-remaining-xrm-requests";

    fn told(status: u16, fields: &[(&str, &'static str)]) -> Told {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_static(value));
        }
        Told::read(status, &headers, || DateTime::UNIX_EPOCH)
    }

    #[test]
    fn headers_are_read_as_live_answers_write_them() {
        let told = told(
            200,
            &[
                (REQUESTS, "5,998"),
                (TIME, "1,199.87"),
                ("set-cookie", "ARRAffinity=abc; Path=/"),
            ],
        );
        assert_eq!(told.left.requests, Some(5_998));
        assert_eq!(told.left.time, Some(1_199_870_000));
        assert!(told.server != 0 && told.refusal.is_none());
    }

    #[test]
    fn what_is_read_at_a_glance_is_what_any_number_would_be() {
        for (text, number) in [
            ("5999", Some(5_999_000_000)),
            ("1,199.87", Some(1_199_870_000)),
            ("0.5", Some(500_000)),
            ("0", Some(0)),
            ("3.", Some(3_000_000)),
            ("999999999999", Some(999_999_999_999_000_000)),
            ("0.123456", Some(123_456)),
            ("", None),
            (".5", None),
            ("1.2.3", None),
            ("0.1234567", None),
            ("1e3", None),
            (" 7", None),
            ("-1", None),
        ] {
            assert_eq!(plain(text.as_bytes()), number, "{text}");
        }
        for odd in ["1e3", " 1000 ", "1000.0000000"] {
            let told = told(200, &[(REQUESTS, odd)]);
            assert_eq!(told.left.requests, Some(1_000), "{odd}");
        }
    }

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let pause = |value| told(429, &[("retry-after", value)]).pause();
        assert_eq!(pause("20"), Some(Duration::from_secs(20)));
        assert_eq!(pause("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(pause("-3"), Some(Duration::ZERO));
        assert_eq!(pause("soon"), None);
        let date = told(
            503,
            &[
                ("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT"),
                ("date", "Wed, 21 Oct 2015 07:28:00 GMT"),
            ],
        );
        assert_eq!(date.pause(), Some(Duration::from_secs(30)));
        assert!(!told(503, &[]).is_refusal());
        assert!(told(429, &[]).is_refusal());
    }

    #[test]
    fn the_body_names_the_limit() {
        let body = serde_json::json!({"error": {"code": "0x80072322", "message":
            "Number of requests exceeded the limit of 6000 over time window of 300 seconds."}});
        let body = body.to_string();
        let told_429 = told(429, &[]).with_body(body.as_bytes());
        let refusal = told_429.refusal.unwrap();
        assert_eq!(refusal.limit, Limit::Requests);
        assert_eq!(refusal.rule, Some((6_000, 300)));
        let none = told(429, &[]).with_body(b"<html>").refusal.unwrap();
        assert_eq!((none.limit, none.rule), (Limit::Unknown, None));
        let left = [(REQUESTS, "17"), (TIME, "0")];
        let refusal = told(429, &left).refusal.unwrap();
        assert_eq!(refusal.limit, Limit::Time);
    }
}
