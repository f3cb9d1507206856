//! Users of the console, their roles and what a role may do.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::account::{UnknownWord, words};
use crate::ids::UserId;
use crate::language::Language;

words! {
    /// What a user is to this installation.
    Role {
        /// May do everything.
        Administrator => "administrator",
        /// May look at everything and run connection tests.
        Operator => "operator",
    }
}

/// What a use case may require.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// See accounts, consumers and history.
    View,
    /// Run a connection test.
    Test,
    /// Change accounts and consumers.
    Manage,
}

impl Role {
    /// Whether the role includes a right.
    #[must_use]
    pub fn may(self, right: Right) -> bool {
        match self {
            Role::Administrator => true,
            Role::Operator => matches!(right, Right::View | Right::Test),
        }
    }
}

/// An e-mail address as a sign-in name: compared without case, so kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Email(String);

/// A text that is no e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an e-mail address: something like name@example.com is expected")]
pub struct EmailProblem;

impl Email {
    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = EmailProblem;
    fn from_str(text: &str) -> Result<Self, EmailProblem> {
        let text = text.trim().to_lowercase();
        // RFC 5321 bounds an address at 254 octets; more checking than this refuses real ones.
        let sound = text.len() <= 254
            && !text.chars().any(|c| c.is_whitespace() || c.is_control())
            && text.split_once('@').is_some_and(|(local, domain)| {
                !local.is_empty() && !domain.is_empty() && !domain.contains('@')
            });
        if sound {
            Ok(Self(text))
        } else {
            Err(EmailProblem)
        }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A person who signs in to the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The identifier.
    pub id: UserId,
    /// The sign-in name.
    pub email: Email,
    /// What they may do.
    pub role: Role,
    /// The language they chose; none while the browser decides.
    pub language: Option<Language>,
    /// When they were added.
    pub created_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_without_case() {
        assert_eq!(
            "Admin@Example.COM".parse::<Email>(),
            " admin@example.com".parse()
        );
        for wrong in ["", "admin", "@x", "a@", "a b@c", "a@b@c"] {
            assert!(wrong.parse::<Email>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_operator_may_not_change_things() {
        assert!(Role::Operator.may(Right::Test));
        assert!(!Role::Operator.may(Right::Manage));
        assert!(Role::Administrator.may(Right::Manage));
    }
}
