//! Why a token was not given, and what that means.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::callback::first_line;
use crate::codes;

/// A token request that failed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No answer came.
    #[error("no answer from the token service: {0}")]
    Transport(TransportFault),
    /// The token service said no.
    #[error("the token service refused: {0}")]
    Refused(Box<Refusal>),
    /// The certificate's key could not sign the request.
    #[error("the certificate's key could not sign the request")]
    Unsigned,
    /// Something answered that is not a token service.
    #[error("the answer (status {status}) is not one of a token service: {reason}")]
    Unintelligible {
        /// HTTP status.
        status: u16,
        /// What is wrong with it; never the body itself.
        reason: String,
    },
}

/// An OAuth error (RFC 6749, section 5.2) with Entra's additions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// OAuth's word.
    pub error: String,
    /// Entra's finer word.
    pub suberror: Option<String>,
    /// AADSTS numbers.
    pub error_codes: Vec<u32>,
    /// The first line of the description.
    pub description: String,
    /// For Microsoft's support.
    pub trace_id: Option<String>,
    /// For Microsoft's support.
    pub correlation_id: Option<String>,
    /// Microsoft's own time.
    pub timestamp: Option<String>,
    /// Claims to ask for when a person signs in again.
    pub claims: Option<String>,
    /// The pause that was asked for.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        for code in &self.error_codes {
            write!(f, " AADSTS{code}")?;
        }
        write!(f, " (status {})", self.status)
    }
}

/// What a failure means for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It will pass.
    Transient {
        /// The pause that was asked for.
        retry_after: Option<Duration>,
    },
    /// The settings are refused.
    Misconfigured,
    /// A person has to sign in again.
    NeedsConsent,
    /// Nobody answers.
    Unreachable,
}

impl TokenError {
    /// Judges by OAuth's `error`, by `suberror`, and by numbers only where the protocol leaves no
    /// other way: Entra says `invalid_grant` for a request loop too, which is none of the token's
    /// doing.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            TokenError::Transport(_) => Verdict::Unreachable,
            TokenError::Unsigned => Verdict::Misconfigured,
            TokenError::Unintelligible { status, .. }
                if (400..500).contains(status) && *status != 429 =>
            {
                Verdict::Misconfigured
            }
            TokenError::Unintelligible { .. } => Verdict::Transient { retry_after: None },
            TokenError::Refused(refusal) => refusal.verdict(),
        }
    }
}

impl TokenError {
    /// Whether the proof of who the application is was refused, and nothing else was looked at:
    /// another proof may do better, and a refresh token that came along was not spent. RFC 6749,
    /// section 5.2, has one word for it; Entra's numbers say it where that word is another.
    #[must_use]
    pub fn refuses_client(&self) -> bool {
        let proof = |code: &u32| {
            matches!(
                code,
                7_000_215 | 7_000_222 | 700_027 | 700_024 | 700_023 | 700_021 | 50_012 | 50_013
            )
        };
        match self {
            TokenError::Unsigned => true,
            TokenError::Refused(refusal) => {
                self.verdict() == Verdict::Misconfigured
                    && (refusal.error == "invalid_client" || refusal.error_codes.iter().any(proof))
            }
            _ => false,
        }
    }
}

impl Refusal {
    fn verdict(&self) -> Verdict {
        let transient = Verdict::Transient {
            retry_after: self.retry_after,
        };
        let passing = |code: &u32| codes::PASSING.contains(code);
        if self.status >= 500 || self.status == 429 || self.error_codes.iter().any(passing) {
            return transient;
        }
        match self.error.as_str() {
            "temporarily_unavailable" | "server_error" | "slow_down" => transient,
            "invalid_grant" => match self.suberror.as_deref() {
                // The token belongs to another client: the settings changed, not the consent.
                Some("client_mismatch") => Verdict::Misconfigured,
                _ => Verdict::NeedsConsent,
            },
            "interaction_required" | "login_required" | "consent_required" | "access_denied" => {
                Verdict::NeedsConsent
            }
            _ => Verdict::Misconfigured,
        }
    }

    /// The slug of the first number that is known.
    #[must_use]
    pub fn slug(&self) -> Option<&'static str> {
        self.error_codes
            .iter()
            .find_map(|code| codes::find(*code))
            .map(|known| known.slug)
    }

    /// Reads an error body. None when it is none.
    pub(crate) fn parse(
        status: u16,
        body: &[u8],
        retry_after: Option<Duration>,
    ) -> Option<Refusal> {
        let raw: RawError = serde_json::from_slice(body).ok()?;
        let description = raw.error_description.unwrap_or_default();
        let mut error_codes: Vec<u32> = raw.error_codes.unwrap_or_default();
        if error_codes.is_empty() {
            error_codes = codes::in_text(&description);
        }
        Some(Refusal {
            status,
            error: raw.error.chars().take(100).collect(),
            suberror: raw.suberror.filter(|word| !word.is_empty()),
            error_codes,
            description: first_line(&description),
            trace_id: raw.trace_id,
            correlation_id: raw.correlation_id,
            timestamp: raw.timestamp,
            claims: raw.claims,
            retry_after,
        })
    }
}

#[derive(Deserialize)]
struct RawError {
    error: String,
    error_description: Option<String>,
    error_codes: Option<Vec<u32>>,
    suberror: Option<String>,
    trace_id: Option<String>,
    correlation_id: Option<String>,
    timestamp: Option<String>,
    claims: Option<String>,
}

/// How the way to the token service failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TransportFault {
    /// Where it failed.
    pub kind: TransportKind,
    /// What the libraries said, without the address.
    pub detail: String,
    /// Whether the request may have arrived.
    pub reach: Reach,
}

/// How far a request that failed may have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No connection was made, so nothing was sent.
    Unsent,
    /// Nobody can tell.
    Unknown,
}

/// Where a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// The name did not resolve.
    Dns,
    /// No connection.
    Connect,
    /// No trust.
    Tls,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Cut,
    /// Something else.
    Other,
}

impl TransportFault {
    /// Tells the kind from an error of the HTTP client.
    pub(crate) fn of(error: reqwest::Error) -> Self {
        // The address may carry a tenant's name; what matters is said elsewhere.
        let error = error.without_url();
        let reach = match error.is_connect() || error.is_builder() {
            true => Reach::Unsent,
            false => Reach::Unknown,
        };
        let mut chain = vec![error.to_string()];
        let mut kind = if error.is_timeout() {
            TransportKind::Timeout
        } else if error.is_connect() {
            TransportKind::Connect
        } else if error.is_request() || error.is_body() || error.is_decode() {
            TransportKind::Cut
        } else {
            TransportKind::Other
        };
        let mut source = error.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            kind = refine(kind, inner, &text);
            if chain.last() != Some(&text) {
                chain.push(text);
            }
            source = inner.source();
        }
        Self {
            kind,
            detail: chain.join(": ").chars().take(500).collect(),
            reach,
        }
    }
}

fn refine(kind: TransportKind, error: &(dyn Error + 'static), text: &str) -> TransportKind {
    // The connector wraps rustls' error in an io::Error and the resolver's in a private type, so
    // the text is the only thing left to go by for these two.
    if text.contains("dns error") || text.contains("does not resolve") {
        return TransportKind::Dns;
    }
    let Some(io) = error.downcast_ref::<std::io::Error>() else {
        let tls = text.contains("certificate") || text.contains("TLS") || text.contains("tls");
        return if tls && kind != TransportKind::Dns {
            TransportKind::Tls
        } else {
            kind
        };
    };
    match io.kind() {
        std::io::ErrorKind::TimedOut => TransportKind::Timeout,
        std::io::ErrorKind::InvalidData => TransportKind::Tls,
        std::io::ErrorKind::ConnectionReset
        | std::io::ErrorKind::ConnectionAborted
        | std::io::ErrorKind::BrokenPipe
        | std::io::ErrorKind::UnexpectedEof => TransportKind::Cut,
        _ => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> TokenError {
        let parsed = Refusal::parse(status, body.as_bytes(), None).expect("an error body");
        TokenError::Refused(Box::new(parsed))
    }

    #[test]
    fn verdicts_follow_oauths_words() {
        for (status, body, verdict) in [
            (
                400,
                r#"{"error":"invalid_grant","error_codes":[700082]}"#,
                Verdict::NeedsConsent,
            ),
            (
                401,
                r#"{"error":"invalid_client","error_codes":[7000215]}"#,
                Verdict::Misconfigured,
            ),
            (
                400,
                r#"{"error":"interaction_required"}"#,
                Verdict::NeedsConsent,
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_codes":[50196]}"#,
                Verdict::Transient { retry_after: None },
            ),
            (
                503,
                r#"{"error":"invalid_grant"}"#,
                Verdict::Transient { retry_after: None },
            ),
            (
                429,
                r#"{"error":"invalid_client"}"#,
                Verdict::Transient { retry_after: None },
            ),
            (
                400,
                r#"{"error":"temporarily_unavailable"}"#,
                Verdict::Transient { retry_after: None },
            ),
            (
                400,
                r#"{"error":"unauthorized_client","error_codes":[700016]}"#,
                Verdict::Misconfigured,
            ),
            (
                400,
                r#"{"error":"invalid_grant","suberror":"client_mismatch"}"#,
                Verdict::Misconfigured,
            ),
            (400, r#"{"error":"something_new"}"#, Verdict::Misconfigured),
        ] {
            assert_eq!(refusal(status, body).verdict(), verdict, "{status} {body}");
        }
    }

    /// The codes that Microsoft's pages name, with the words that come with them.
    #[test]
    fn the_codes_that_operators_meet_are_judged() {
        let transient = Verdict::Transient { retry_after: None };
        let table: &[(u16, &str, &[u32], Verdict)] = &[
            (
                400,
                "unauthorized_client",
                &[700016, 700051, 7000112, 7000114],
                Verdict::Misconfigured,
            ),
            (
                400,
                "invalid_request",
                &[90002, 900023, 900144, 90014, 9002313, 90023, 901002],
                Verdict::Misconfigured,
            ),
            (
                401,
                "invalid_client",
                &[7000215, 7000222, 7000218, 700025, 700027, 50013],
                Verdict::Misconfigured,
            ),
            (
                400,
                "invalid_resource",
                &[500011, 50001, 650057, 650052],
                Verdict::Misconfigured,
            ),
            (
                400,
                "invalid_scope",
                &[70011, 28000],
                Verdict::Misconfigured,
            ),
            (
                400,
                "unsupported_grant_type",
                &[70003],
                Verdict::Misconfigured,
            ),
            (
                400,
                "invalid_grant",
                &[
                    65001, 50076, 50079, 50173, 700082, 70008, 700084, 54005, 70000, 50057, 50034,
                    50126, 50132, 50133, 50053, 50055, 50144, 50105, 53003, 70043, 50089,
                ],
                Verdict::NeedsConsent,
            ),
            (
                400,
                "interaction_required",
                &[
                    50076, 50079, 50078, 50074, 53000, 53001, 53003, 50131, 530032,
                ],
                Verdict::NeedsConsent,
            ),
            (400, "login_required", &[50058], Verdict::NeedsConsent),
            (400, "consent_required", &[65004], Verdict::NeedsConsent),
            // It passes by itself, whatever the word: the refresh token stays good.
            (
                400,
                "invalid_grant",
                &[50196, 90033, 90024, 50033],
                transient,
            ),
            (400, "temporarily_unavailable", &[90033, 90012], transient),
            (429, "invalid_request", &[90055], transient),
            (503, "server_error", &[90033, 90006, 90025], transient),
        ];
        for (status, error, codes, verdict) in table {
            for code in *codes {
                let body = format!(r#"{{"error":"{error}","error_codes":[{code}]}}"#);
                assert_eq!(
                    refusal(*status, &body).verdict(),
                    *verdict,
                    "{error} {code}"
                );
            }
        }
    }

    #[test]
    fn numbers_are_read_from_the_text_where_the_list_is_missing() {
        let body = r#"{"error":"invalid_client","error_description":"AADSTS7000222: The secret expired.\r\nTrace ID: x"}"#;
        let parsed = Refusal::parse(401, body.as_bytes(), None).expect("an error body");
        assert_eq!(parsed.slug(), Some("secret-expired"));
        assert_eq!(parsed.description, "AADSTS7000222: The secret expired.");
    }
}
