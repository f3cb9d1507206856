//! Consumers: the applications that use accounts through the gateway.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, ApiKeyId, ConsumerId, WorkspaceId};
use crate::limits::ConsumerLimits;

/// Which accounts a consumer may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case")]
pub enum ConsumerGrant {
    /// Every account of the workspace, also those added later.
    AllAccounts,
    /// The accounts listed.
    Accounts {
        /// Their identifiers.
        accounts: Vec<AccountId>,
    },
}

impl ConsumerGrant {
    /// Whether the grant covers an account.
    #[must_use]
    pub fn covers(&self, account: AccountId) -> bool {
        match self {
            ConsumerGrant::AllAccounts => true,
            ConsumerGrant::Accounts { accounts } => accounts.contains(&account),
        }
    }
}

/// An application that may use accounts.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    /// Its identifier.
    pub id: ConsumerId,
    /// The contact centre it belongs to.
    pub workspace_id: WorkspaceId,
    /// Unique in the workspace without regard to case.
    pub name: String,
    /// What it may use.
    pub grant: ConsumerGrant,
    /// Its part in the limits of accounts.
    pub limits: ConsumerLimits,
    /// Its keys, revoked ones included.
    pub keys: Vec<ApiKeyInfo>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// What is known of an API key without having it: the key itself is stored only as a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyInfo {
    /// Its identifier.
    pub id: ApiKeyId,
    /// Its first characters, to tell keys apart.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stopped working.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_grant_covers_what_it_lists() {
        let (mine, other) = (
            AccountId::generate(Utc::now()),
            AccountId::generate(Utc::now()),
        );
        let grant = ConsumerGrant::Accounts {
            accounts: vec![mine],
        };
        assert!(grant.covers(mine) && !grant.covers(other));
        assert!(ConsumerGrant::AllAccounts.covers(other));
    }
}
