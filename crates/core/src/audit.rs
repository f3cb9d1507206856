//! The audit log: who did what to which thing, when.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{AuditId, UserId};

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// A signed-in person.
    User {
        /// The user.
        id: UserId,
        /// Their sign-in name at that time.
        email: String,
    },
    /// A command run on the server's machine.
    Command {
        /// The operating system's name for who ran it, where known.
        account: String,
    },
    /// Tieline itself.
    System,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::User { email, .. } => f.write_str(email),
            Actor::Command { account } => write!(f, "{account} (command line)"),
            Actor::System => f.write_str("tieline"),
        }
    }
}

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Its identifier.
    pub id: AuditId,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// What was done: `account_added`, `account_changed`, `signed_in`, …
    pub operation: String,
    /// What it was done to, by kind and name, such as `account` and `Contoso Sales`.
    pub item_kind: String,
    /// The item's identifier, where it has one.
    pub item_id: Option<String>,
    /// The item's name at that time.
    pub item_name: String,
    /// Which properties changed; never their secret values.
    pub detail: serde_json::Value,
}
