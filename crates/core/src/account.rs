//! The integration account: one connection to one organization of Dynamics 365.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::credential::{CredentialInfo, CredentialSlot};
use crate::ids::{AccountId, WorkspaceId};
use crate::state::Connection;

/// A word that is not one of a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} '{word}': one of {expected} is expected")]
pub struct UnknownWord {
    /// What the word should have named.
    pub what: &'static str,
    /// The word as given.
    pub word: String,
    /// The words that are known.
    pub expected: String,
}

/// A closed list of words that is spelled the same in code, in the API and in the database.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok($name::$variant),)+
                    _ => Err(UnknownWord {
                        what: stringify!($name),
                        word: word.to_owned(),
                        expected: [$($word),+].join(", "),
                    }),
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What an account connects to.
    AccountType {
        /// Microsoft Dynamics 365 over the Dataverse Web API.
        MicrosoftDynamics365 => "microsoft_dynamics_365",
    }
}

words! {
    /// How an account obtains its tokens (RFC 6749, section 1.3).
    GrantType {
        /// A person consents once; a refresh token keeps the connection alive.
        AuthorizationCode => "authorization_code",
        /// The application acts as itself, as an application user of the organization.
        ClientCredentials => "client_credentials",
    }
}

words! {
    /// Whether a refresh token that may have been spent is sent once more (RFC 9700, section
    /// 4.14.2: a server that rotates takes a second use for theft and ends the whole grant).
    RefreshTokenRotation {
        /// By what is known of the server.
        Auto => "auto",
        /// It is: the server is known not to punish it.
        Lenient => "lenient",
        /// It never is.
        Strict => "strict",
    }
}

words! {
    /// What a token service was seen to do with refresh tokens. Later ones outweigh earlier ones.
    RotationSeen {
        /// It answers without a new one, or with the same.
        Keeps => "keeps",
        /// It gives a new one with a renewal.
        Rotates => "rotates",
        /// It refused one that had been sent before.
        Punishes => "punishes",
    }
}

/// Longest name of an account or consumer, in characters.
const NAME_MAX: usize = 100;

/// The name of an account: 1–100 characters, trimmed, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AccountName(String);

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Nothing is left after trimming.
    #[error("a name is needed")]
    Empty,
    /// Too long.
    #[error("the name is longer than 100 characters")]
    TooLong,
    /// Line breaks, tabs and their kin.
    #[error("the name holds a control character, such as a line break")]
    ControlCharacter,
}

impl AccountName {
    /// The name as shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which names are compared: two names that differ only in case are the same.
    #[must_use]
    pub fn key(&self) -> String {
        Self::key_of(&self.0)
    }

    /// [`AccountName::key`] of a text that may not be a name, as found in a request's path.
    #[must_use]
    pub fn key_of(text: &str) -> String {
        text.trim().to_lowercase()
    }
}

impl FromStr for AccountName {
    type Err = NameProblem;
    fn from_str(text: &str) -> Result<Self, NameProblem> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NameProblem::Empty);
        }
        if text.chars().count() > NAME_MAX {
            return Err(NameProblem::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NameProblem::ControlCharacter);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of a secret without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInfo {
    /// When it was set.
    pub set_at: DateTime<Utc>,
    /// When Microsoft will stop accepting it, as told by the administrator.
    pub expires_on: Option<NaiveDate>,
}

/// Who consented, when, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentInfo {
    /// The user principal name; none when the refresh token was pasted and says nothing.
    pub user: Option<String>,
    /// When the refresh token was obtained or pasted.
    pub at: DateTime<Utc>,
    /// The tenant that issued it.
    pub tenant: Option<String>,
    /// The origin of the organization that it was asked for.
    pub organization: String,
}

/// An integration account, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its identifier; other systems refer to the account by it or by name.
    pub id: AccountId,
    /// The contact centre it belongs to.
    pub workspace_id: WorkspaceId,
    /// What it connects to.
    pub account_type: AccountType,
    /// Unique in the workspace without regard to case.
    pub name: AccountName,
    /// Whether callers that name no account get this one.
    pub is_default: bool,
    /// OAuth 2.0 authorization endpoint.
    pub authorization_url: String,
    /// OAuth 2.0 token endpoint.
    pub token_url: String,
    /// Base of the Web API.
    pub api_url: String,
    /// Application (client) ID.
    pub client_id: String,
    /// How tokens are obtained.
    pub grant: GrantType,
    /// Whether a used refresh token may be sent once more.
    pub rotation: RefreshTokenRotation,
    /// Whether and when the client secret was set.
    pub client_secret: Option<SecretInfo>,
    /// Every credential, the client secret among them, in the order of their places.
    pub credentials: Vec<CredentialInfo>,
    /// Whose consent is in use; none before the first.
    pub consent: Option<ConsentInfo>,
    /// Free text for administrators.
    pub notes: String,
    /// How the connection is doing.
    pub connection: Connection,
    /// When and by whom it was added.
    pub created_at: DateTime<Utc>,
    /// Name of the user or command that added it.
    pub created_by: String,
    /// When and by whom it was last changed.
    pub changed_at: DateTime<Utc>,
    /// Name of the user or command that changed it last.
    pub changed_by: String,
    /// Counts changes of the settings; an update names the version it saw.
    pub version: i64,
}

impl Account {
    /// The credential in a place.
    #[must_use]
    pub fn credential(&self, slot: CredentialSlot) -> Option<&CredentialInfo> {
        self.credentials.iter().find(|info| info.slot == slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        let name: AccountName = "  Contoso Sales ".parse().expect("a name");
        assert_eq!(name.as_str(), "Contoso Sales");
        assert_eq!("   ".parse::<AccountName>(), Err(NameProblem::Empty));
        assert!("営".repeat(100).parse::<AccountName>().is_ok());
        assert_eq!(
            "営".repeat(101).parse::<AccountName>(),
            Err(NameProblem::TooLong)
        );
        assert_eq!(
            "a\nb".parse::<AccountName>(),
            Err(NameProblem::ControlCharacter)
        );
    }

    #[test]
    fn names_compare_without_case_beyond_ascii() {
        let a: AccountName = "ÉCOLE Straße".parse().expect("a name");
        let b: AccountName = "école straße".parse().expect("a name");
        assert_eq!(a.key(), b.key());
    }

    #[test]
    fn an_unknown_word_names_the_known_ones() {
        let error = "password".parse::<GrantType>().expect_err("unknown");
        assert!(error.to_string().contains("client_credentials"), "{error}");
    }
}
