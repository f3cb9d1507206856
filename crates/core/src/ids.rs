//! Typed identifiers.
//!
//! All are ULIDs (26 characters of Crockford's base 32): they sort by time of creation, which
//! keeps database indexes compact, and they carry no meaning that a caller could guess.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// A text that is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier: 26 letters and digits are expected")]
pub struct IdProblem;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Ulid);

        impl $name {
            /// A new identifier, stamped with `now`; the rest is random.
            #[must_use]
            pub fn generate(now: DateTime<Utc>) -> Self {
                Self(Ulid::from_datetime(now.into()))
            }

            /// The number that it is, which sorts as its text does.
            #[must_use]
            pub fn as_u128(self) -> u128 {
                self.0.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdProblem;
            fn from_str(text: &str) -> Result<Self, IdProblem> {
                Ulid::from_string(text).map(Self).map_err(|_| IdProblem)
            }
        }
    )+};
}

id! {
    /// A contact centre served by this installation.
    WorkspaceId,
    /// An integration account.
    AccountId,
    /// One entry of an account's history.
    EventId,
    /// A form that has not been applied yet.
    DraftId,
    /// An application that may use accounts.
    ConsumerId,
    /// One API key of a consumer.
    ApiKeyId,
    /// A person who signs in to the console.
    UserId,
    /// A signed-in browser.
    SessionId,
    /// One run of the test ladder.
    TestId,
    /// One entry of the audit log.
    AuditId,
    /// An address that is told of events.
    WebhookId,
}

impl WorkspaceId {
    /// The workspace that exists from the start.
    pub const DEFAULT: WorkspaceId = WorkspaceId(Ulid(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = AccountId::generate(Utc::now());
        assert_eq!(id.to_string().parse::<AccountId>(), Ok(id));
        assert_eq!(id.to_string().len(), 26);
    }

    #[test]
    fn later_identifiers_sort_after_earlier_ones() {
        let now = Utc::now();
        let later = now + chrono::TimeDelta::milliseconds(2);
        assert!(AccountId::generate(now) < AccountId::generate(later));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!("contoso".parse::<AccountId>(), Err(IdProblem));
        assert_eq!("".parse::<UserId>(), Err(IdProblem));
    }
}
