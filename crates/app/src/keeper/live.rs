//! A token as callers get it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapAny;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use triomphe::ThinArc;

use super::bearer::{Bearer, Form};
use super::timing;
use crate::moment::Moment;

/// A token is not handed out in its last minute: the call that carries it takes time too, and
/// Microsoft's clock is not ours.
const MARGIN: Duration = Duration::from_secs(60);
/// How far a stored token may seem to come from the future before our own clock is doubted.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// A valid access token. Cheap to clone.
///
/// What is known of it and its bytes lie side by side: a call to one of very many accounts finds
/// neither in the processor's caches, and waits once instead of twice.
#[derive(Clone)]
pub struct LiveToken(Inner);

type Inner = ThinArc<Life, u8>;

/// What is known of a token.
struct Life {
    form: Form,
    /// Whether somebody has noticed that its renewal is due.
    noticed: AtomicBool,
    generation: i64,
    /// In milliseconds since 1970, as in the database: every call asks, and differences of dates go
    /// by way of the calendar.
    obtained_at: i64,
    expires_at: i64,
    /// When it ends by the steady clock.
    ends: Instant,
    /// When its renewal is due by the steady clock.
    due: Instant,
}

/// A place for a token; who looks takes no lock.
#[derive(Default)]
pub(super) struct LiveCell(ArcSwapAny<Option<Inner>>);

impl LiveCell {
    pub(super) fn get(&self) -> Option<LiveToken> {
        self.0.load_full().map(LiveToken)
    }

    pub(super) fn store(&self, token: Option<LiveToken>) {
        self.0.store(token.map(|LiveToken(inner)| inner));
    }
}

impl fmt::Debug for LiveCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// How a token is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    AsText,
    /// In less room, where that can be.
    Packed,
}

impl LiveToken {
    /// None when the token holds characters that a header cannot.
    pub(super) fn new(
        token: &SecretString,
        generation: i64,
        obtained_at: DateTime<Utc>,
        expires_at: DateTime<Utc>,
        now: Moment,
        kept: Kept,
    ) -> Option<Self> {
        let token = token.expose_secret();
        HeaderValue::from_bytes(token.as_bytes()).ok()?;
        let life = expires_at - obtained_at;
        let left = (expires_at - now.wall()).min(life).max(TimeDelta::zero());
        let until_due = (left - timing::lead(life)).max(TimeDelta::zero());
        let after = |span: TimeDelta| now.steady + span.to_std().unwrap_or_default();
        let packed = match kept {
            Kept::AsText => None,
            Kept::Packed => Form::packed(token),
        };
        let (form, bytes) = packed.unwrap_or_else(|| (Form::TEXT, token.as_bytes().to_vec()));
        let life = Life {
            form,
            noticed: AtomicBool::new(false),
            generation,
            obtained_at: obtained_at.timestamp_millis(),
            expires_at: expires_at.timestamp_millis(),
            ends: after(left),
            due: after(until_due),
        };
        Some(Self(ThinArc::from_header_and_slice(life, &bytes)))
    }

    /// A token that is kept nowhere, for a test of settings.
    pub(crate) fn unkept(
        token: &SecretString,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> Option<Self> {
        let moment = Moment::new(now, Instant::now());
        Self::new(token, 0, now, expires_at, moment, Kept::AsText)
    }

    /// The token, to be written into a head.
    #[must_use]
    pub fn token(&self) -> Bearer<'_> {
        Bearer::of(self.life().form, &self.0.slice)
    }

    fn life(&self) -> &Life {
        &self.0.header.header
    }

    /// The value of the `Authorization` header, where a header is made and not written.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        let mut value = b"Bearer ".to_vec();
        self.token().append_to(&mut value);
        // It could be one when the token came.
        let mut value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        value
    }

    /// Counts renewals of the account.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.life().generation
    }

    /// When it stops being valid.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        moment(self.life().expires_at)
    }

    /// When it was obtained.
    pub(super) fn obtained_at(&self) -> DateTime<Utc> {
        moment(self.life().obtained_at)
    }

    /// The token itself, for control calls.
    pub(crate) fn secret(&self) -> SecretString {
        SecretString::from(self.token().to_text())
    }

    /// Whether it may still be handed out. A token that lives shorter than twice the margin is
    /// handed out for half of its life, or it could never be used.
    pub(super) fn is_fresh(&self, now: Moment) -> bool {
        let life = milliseconds(self.life().expires_at - self.life().obtained_at);
        self.has_left(MARGIN.min(life / 2), now)
    }

    /// Whether it is valid at all; served while renewals fail.
    pub(super) fn is_valid(&self, now: Moment) -> bool {
        self.has_left(Duration::ZERO, now)
    }

    /// Whether it was obtained before `now`, by a clock that has not been set back since.
    pub(super) fn is_of_the_past(&self, now: Moment) -> bool {
        self.obtained_at() <= now.wall() + CLOCK_TOLERANCE
    }

    /// Whether its renewal is due. Says so once.
    pub(super) fn falls_due(&self, now: Moment) -> bool {
        now.steady >= self.life().due && !self.life().noticed.swap(true, Ordering::Relaxed)
    }

    /// Whether more than this is left by both clocks.
    fn has_left(&self, least: Duration, now: Moment) -> bool {
        let steady = self.life().ends.saturating_duration_since(now.steady);
        let wall = milliseconds(self.life().expires_at - now.wall_ms());
        steady.min(wall) > least
    }
}

/// A span of time; none when it is negative.
fn milliseconds(span: i64) -> Duration {
    Duration::from_millis(u64::try_from(span).unwrap_or_default())
}

fn moment(milliseconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(milliseconds).unwrap_or_default()
}

impl fmt::Debug for LiveToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveToken")
            .field("generation", &self.life().generation)
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, steady: u64, start: Instant) -> Moment {
        let epoch: DateTime<Utc> = "2026-11-23T08:00:00Z".parse().expect("a date");
        Moment::new(
            epoch + TimeDelta::seconds(wall),
            start + Duration::from_secs(steady),
        )
    }

    fn token(life: i64, now: Moment) -> LiveToken {
        let text = SecretString::from("eyJhbGciOi");
        let end = now.wall() + TimeDelta::seconds(life);
        LiveToken::new(&text, 3, now.wall(), end, now, Kept::Packed).expect("a header")
    }

    #[test]
    fn a_token_is_fresh_until_its_last_minute_and_never_printed() {
        let start = Instant::now();
        let live = token(300, at(0, 0, start));
        assert!(live.is_fresh(at(239, 239, start)));
        assert!(!live.is_fresh(at(241, 241, start)));
        assert!(live.is_valid(at(299, 299, start)));
        assert!(!live.is_valid(at(300, 300, start)));
        assert!(!format!("{live:?} {:?}", live.header_value()).contains("eyJ"));
        assert_eq!(live.secret().expose_secret(), "eyJhbGciOi");
    }

    #[test]
    fn a_token_that_lives_shorter_than_the_margin_is_used_for_half_of_its_life() {
        let start = Instant::now();
        let live = token(30, at(0, 0, start));
        assert!(live.is_fresh(at(14, 14, start)));
        assert!(!live.is_fresh(at(16, 16, start)));
        assert!(live.is_valid(at(29, 29, start)));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_lengthen_a_life() {
        let start = Instant::now();
        let century = 100 * 24 * 3600;
        let live = token(3600, at(century, 0, start));
        assert!(live.is_fresh(at(60, 60, start)));
        assert!(!live.is_valid(at(3600, 3600, start)));
        // What another process wrote in that future is not believed.
        let stored = token(3600, at(century, 0, start));
        assert!(!stored.is_of_the_past(at(0, 0, start)));
    }

    #[test]
    fn a_machine_that_slept_does_not_either() {
        let start = Instant::now();
        let live = token(3600, at(0, 0, start));
        assert!(!live.is_valid(at(4000, 10, start)));
    }

    #[test]
    fn its_renewal_falls_due_once() {
        let start = Instant::now();
        let live = token(3600, at(0, 0, start));
        assert!(!live.falls_due(at(2000, 2000, start)));
        assert!(live.falls_due(at(3000, 3000, start)));
        assert!(!live.falls_due(at(3001, 3001, start)));
    }

    #[test]
    fn a_token_that_is_no_header_is_refused() {
        let now = at(0, 0, Instant::now());
        let text = SecretString::from("a\r\nb");
        assert!(LiveToken::new(&text, 1, now.wall(), now.wall(), now, Kept::AsText).is_none());
    }
}
