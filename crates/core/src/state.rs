//! The state of a connection, and its history.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::account::{UnknownWord, words};
use crate::ids::{AccountId, EventId};

words! {
    /// How an account's connection is doing.
    ///
    /// A credential is never deleted because a renewal failed: a state only says what is known.
    ConnectionState {
        /// No credential has been obtained yet.
        NotConnected => "not_connected",
        /// The last renewal worked.
        Connected => "connected",
        /// Renewals fail, but a valid access token is left and is being served.
        Degraded => "degraded",
        /// A person has to sign in and consent again.
        NeedsConsent => "needs_consent",
        /// The settings are refused: wrong secret, unknown application, unknown tenant.
        Misconfigured => "misconfigured",
        /// The token service cannot be reached or is out of order.
        Unreachable => "unreachable",
    }
}

/// Why a connection is in its state: a stable code, and a detail for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable, kebab-case; chooses the help text.
    pub code: String,
    /// What was observed, with secrets and tokens never in it. May be empty.
    pub detail: String,
}

impl Reason {
    /// A reason with a detail.
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
        }
    }
}

/// The present state, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The state.
    pub state: ConnectionState,
    /// When it was entered.
    pub since: DateTime<Utc>,
    /// Why.
    pub reason: Reason,
    /// When the keeper tries again by itself; none where only a change helps, or none is needed.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// One change of state, as kept in the account's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountEvent {
    /// Its identifier.
    pub id: EventId,
    /// Whose history this is.
    pub account_id: AccountId,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The state before; none for the first.
    pub from: Option<ConnectionState>,
    /// The state entered.
    pub to: ConnectionState,
    /// Why.
    pub reason: Reason,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for state in ConnectionState::ALL {
            assert_eq!(
                state.as_str().parse::<ConnectionState>().as_ref(),
                Ok(state)
            );
        }
        assert!("Connected".parse::<ConnectionState>().is_err());
    }
}
