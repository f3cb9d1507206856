//! The errors of the Web API, told apart.
//!
//! Source: Microsoft Dataverse documentation, "Compose HTTP requests and handle errors" and
//! "Web service error codes".

use std::error::Error;
use std::time::Duration;

use serde::Deserialize;

/// Longest message that is kept.
const MESSAGE_MAX: usize = 500;

/// A call of the Web API that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer came.
    #[error("no answer from the organization: {0}")]
    Transport(ApiTransport),
    /// The organization said no.
    #[error("the organization refused with status {}", .0.status)]
    Refused(Box<ApiRefusal>),
    /// What answered is not a Web API.
    #[error("the answer (status {status}) is not one of the Web API")]
    Unintelligible {
        /// HTTP status.
        status: u16,
    },
}

/// An error of the Web API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiRefusal {
    /// HTTP status.
    pub status: u16,
    /// Such as `0x80040217`.
    pub code: Option<String>,
    /// The message, bounded.
    pub message: Option<String>,
    /// For Microsoft's support.
    pub request_id: Option<String>,
    /// The pause that was asked for.
    pub retry_after: Option<Duration>,
    /// `WWW-Authenticate`.
    pub challenge: Option<String>,
}

/// A way that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ApiTransport {
    /// Whether time ran out.
    pub timed_out: bool,
    /// What the libraries said, without the address.
    pub detail: String,
}

/// What kind of failure it is, as the blocks of an IVR flow tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiClass {
    /// The token was not accepted.
    Authentication,
    /// The user may not.
    Permission,
    /// No such row or address.
    NotFound,
    /// The request is at fault.
    BadRequest,
    /// Service protection limits.
    Throttled,
    /// No answer in time.
    Timeout,
    /// No answer at all.
    Network,
    /// The organization is at fault.
    Server,
}

impl ApiError {
    /// The kind of failure.
    #[must_use]
    pub fn class(&self) -> ApiClass {
        match self {
            ApiError::Transport(fault) if fault.timed_out => ApiClass::Timeout,
            ApiError::Transport(_) => ApiClass::Network,
            ApiError::Refused(refusal) => class_of(refusal.status),
            ApiError::Unintelligible { status } if *status >= 500 => ApiClass::Server,
            ApiError::Unintelligible { .. } => ApiClass::NotFound,
        }
    }

    /// Stable code of the errors that a help text exists for.
    #[must_use]
    pub fn slug(&self) -> Option<&'static str> {
        let ApiError::Refused(refusal) = self else {
            return None;
        };
        match refusal.code.as_deref()?.to_ascii_lowercase().as_str() {
            "0x80072560" => Some("user-not-member"),
            "0x80040225" => Some("user-not-enabled"),
            "0x80040220" => Some("privilege-missing"),
            "0x8004a104" => Some("organization-disabled"),
            _ => None,
        }
    }

    /// The privilege that the message names as missing.
    #[must_use]
    pub fn missing_privilege(&self) -> Option<&str> {
        let ApiError::Refused(refusal) = self else {
            return None;
        };
        let message = refusal.message.as_deref()?;
        let at = message.find("prv")?;
        let rest = &message[at..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        Some(&rest[..end])
    }

    pub(crate) fn transport(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let timed_out = error.is_timeout();
        let mut texts = vec![error.to_string()];
        let mut source = error.source();
        while let Some(inner) = source {
            texts.push(inner.to_string());
            source = inner.source();
        }
        let detail = texts.join(": ").chars().take(MESSAGE_MAX).collect();
        ApiError::Transport(ApiTransport { timed_out, detail })
    }
}

impl ApiRefusal {
    /// Reads `{"error":{"code":…,"message":…}}` into the refusal.
    pub(crate) fn read(&mut self, body: &[u8]) -> bool {
        let Ok(document) = serde_json::from_slice::<Document>(body) else {
            return false;
        };
        self.code = document.error.code.filter(|code| !code.is_empty());
        self.message = document
            .error
            .message
            .map(|message| message.chars().take(MESSAGE_MAX).collect());
        true
    }
}

#[derive(Deserialize)]
struct Document {
    error: Inner,
}

#[derive(Deserialize)]
struct Inner {
    code: Option<String>,
    message: Option<String>,
}

fn class_of(status: u16) -> ApiClass {
    match status {
        401 => ApiClass::Authentication,
        403 => ApiClass::Permission,
        404 => ApiClass::NotFound,
        429 => ApiClass::Throttled,
        408 | 504 => ApiClass::Timeout,
        500.. => ApiClass::Server,
        _ => ApiClass::BadRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_privilege_is_named() {
        let mut refusal = ApiRefusal {
            status: 403,
            ..ApiRefusal::default()
        };
        assert!(refusal.read(br#"{"error":{"code":"0x80040220","message":"Principal user (Id=1, type=8), is missing prvReadincident privilege (Id=2) on OTC=112"}}"#));
        let error = ApiError::Refused(Box::new(refusal));
        assert_eq!(error.slug(), Some("privilege-missing"));
        assert_eq!(error.missing_privilege(), Some("prvReadincident"));
        assert_eq!(error.class(), ApiClass::Permission);
    }

    #[test]
    fn what_is_no_error_document_is_not_read_as_one() {
        let mut refusal = ApiRefusal::default();
        for body in ["", "<html>", "{}", r#"{"error":"invalid"}"#] {
            assert!(!refusal.read(body.as_bytes()), "{body}");
        }
    }
}
