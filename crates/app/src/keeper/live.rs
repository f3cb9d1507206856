//! A token as callers get it.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// A token is not handed out in its last minute: the call that carries it takes time too, and
/// Microsoft's clock is not ours.
const MARGIN: TimeDelta = TimeDelta::seconds(60);

/// A valid access token.
pub struct LiveToken {
    header: HeaderValue,
    generation: i64,
    expires_at: DateTime<Utc>,
}

impl LiveToken {
    /// Makes the header of RFC 6750, section 2.1. None when the token holds characters that a
    /// header cannot.
    pub(crate) fn new(
        token: &SecretString,
        generation: i64,
        expires_at: DateTime<Utc>,
    ) -> Option<Self> {
        let mut header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).ok()?;
        header.set_sensitive(true);
        Some(Self {
            header,
            generation,
            expires_at,
        })
    }

    /// The value of the `Authorization` header.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.header
    }

    /// Counts renewals of the account.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// When it stops being valid.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.expires_at
    }

    /// The token itself, for control calls.
    pub(crate) fn secret(&self) -> SecretString {
        let text = self.header.to_str().unwrap_or_default();
        SecretString::from(text.trim_start_matches("Bearer "))
    }

    /// Whether it may still be handed out. A token that lives shorter than the margin is handed
    /// out for half of what is left, or it could never be used.
    pub(crate) fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        self.expires_at - now > MARGIN
    }

    /// Whether it is valid at all; served while renewals fail.
    pub(crate) fn is_valid(&self, now: DateTime<Utc>) -> bool {
        self.expires_at > now
    }
}

impl fmt::Debug for LiveToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveToken")
            .field("generation", &self.generation)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_fresh_until_its_last_minute_and_never_printed() {
        let now = Utc::now();
        let token = SecretString::from("eyJhbGciOi");
        let live = LiveToken::new(&token, 3, now + TimeDelta::seconds(90)).expect("a header");
        assert!(live.is_fresh(now));
        assert!(!live.is_fresh(now + TimeDelta::seconds(30)));
        assert!(live.is_valid(now + TimeDelta::seconds(89)));
        assert!(!live.is_valid(now + TimeDelta::seconds(90)));
        assert!(!format!("{live:?} {:?}", live.header_value()).contains("eyJ"));
        assert_eq!(live.secret().expose_secret(), "eyJhbGciOi");
    }

    #[test]
    fn a_token_that_is_no_header_is_refused() {
        assert!(LiveToken::new(&SecretString::from("a\r\nb"), 1, Utc::now()).is_none());
    }
}
