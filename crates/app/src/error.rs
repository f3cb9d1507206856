//! Why a use case did not do what it was asked, with a stable code for each reason.

use std::sync::Arc;
use std::time::Duration;

use tieline_core::{Account, Evidence, Language, OutOfRange};
use tieline_store::StoreError;

use crate::form::{Field, Finding};
use crate::help::{Explanation, explain, explain_plain};

/// Why a use case of the console, the API or the command line failed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There is no such thing.
    #[error("there is no such {what}")]
    NotFound {
        /// `account`, `consumer`, `user`, …
        what: &'static str,
    },
    /// The properties cannot be applied as they are.
    #[error("{}", describe(.0))]
    Invalid(Vec<Finding>),
    /// Somebody else changed the account meanwhile.
    #[error("somebody else changed the account meanwhile")]
    Stale {
        /// The account as it is now.
        current: Box<Account>,
        /// The properties that differ from what the form was based on.
        changed: Vec<Field>,
    },
    /// The e-mail address or the password is wrong; which of the two is not said.
    #[error("the e-mail address or the password is wrong")]
    SignInRefused,
    /// Too many attempts failed.
    #[error("too many attempts failed; try again in {} seconds", .retry_after.as_secs().max(1))]
    TooManyAttempts {
        /// When the next attempt is looked at.
        retry_after: Duration,
    },
    /// The user's role does not include this.
    #[error("your role does not include this")]
    Forbidden,
    /// A name, e-mail address or password that cannot be used.
    #[error("{}", explain_plain(.code, Language::English).cause)]
    Refused {
        /// Stable code with a text in every language.
        code: &'static str,
    },
    /// A number that is out of its range.
    #[error(transparent)]
    OutOfRange(OutOfRange),
    /// The database or the key ring failed.
    #[error("the database did not do its part: {0}")]
    Store(#[from] StoreError),
}

impl AppError {
    /// Stable code, the same in every language and on every surface.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            AppError::NotFound { .. } => "not-found",
            AppError::Invalid(_) => "invalid",
            AppError::Stale { .. } => "stale",
            AppError::SignInRefused => "sign-in-refused",
            AppError::TooManyAttempts { .. } => "too-many-attempts",
            AppError::Forbidden => "forbidden",
            AppError::Refused { code } => code,
            AppError::OutOfRange(_) => "number-out-of-range",
            AppError::Store(error) => error.code(),
        }
    }

    /// Cause and remedy in a language.
    #[must_use]
    pub fn explain(&self, language: Language) -> Explanation {
        match self {
            AppError::NotFound { what } => {
                explain("not-found", &[("what", (*what).to_owned())], language)
            }
            AppError::Invalid(findings) => findings.first().map_or_else(
                || explain_plain("invalid", language),
                |finding| finding.explain(language),
            ),
            AppError::TooManyAttempts { retry_after } => {
                let seconds = retry_after.as_secs().max(1).to_string();
                explain("too-many-attempts", &[("seconds", seconds)], language)
            }
            AppError::OutOfRange(OutOfRange { field, low, high }) => explain(
                "number-out-of-range",
                &[
                    ("field", (*field).to_owned()),
                    ("low", low.to_string()),
                    ("high", high.to_string()),
                ],
                language,
            ),
            AppError::Store(_) => explain_plain("database-unavailable", language),
            other => explain_plain(other.code(), language),
        }
    }
}

fn describe(findings: &[Finding]) -> String {
    let texts: Vec<String> = findings
        .iter()
        .filter(|finding| finding.is_error())
        .map(|finding| {
            format!(
                "{}: {}",
                finding.field.as_str(),
                finding.explain(Language::English).cause
            )
        })
        .collect();
    texts.join(" ")
}

/// Who is to blame for a call that did not reach Dynamics or came back refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The application that called.
    Consumer,
    /// We ourselves, or our set-up.
    Tieline,
    /// Microsoft's token service, or another one in its place.
    Entra,
    /// The organization.
    Dynamics,
}

impl Who {
    /// The word in headers and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Who::Consumer => "consumer",
            Who::Tieline => "tieline",
            Who::Entra => "entra",
            Who::Dynamics => "dynamics",
        }
    }
}

/// Why a call through the gateway cannot be made. It is never forwarded without a token.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    /// Who is to blame.
    pub who: Who,
    /// HTTP status that says it best.
    pub status: u16,
    /// Stable code.
    pub code: &'static str,
    /// One sentence for the engineer who reads the answer.
    pub detail: String,
    /// When another attempt may do better.
    pub retry_after: Option<Duration>,
    /// What Microsoft said, where it was asked.
    pub evidence: Option<Arc<Evidence>>,
}

impl Refused {
    /// A refusal without a time.
    #[must_use]
    #[cold]
    pub fn new(who: Who, status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            who,
            status,
            code,
            detail: detail.into(),
            retry_after: None,
            evidence: None,
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        // The cause goes to the log; the caller learns only that it was us.
        tracing::error!(error = %error, "the database failed a call through the gateway");
        Refused::new(
            Who::Tieline,
            503,
            "database-unavailable",
            "Tieline's database does not answer.",
        )
    }
}
