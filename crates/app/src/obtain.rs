//! One attempt to obtain a token, and what a failure of it means.
//!
//! The keeper and the test ladder both come here, so that a test says what a renewal would do.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use tieline_core::{ConnectionState, Evidence, GrantType, Language, Reason};
use tieline_entra::{
    ClientIdentity, Credential, Dialect, Endpoints, Resource, TokenAnswer, TokenClient, TokenError,
    Verdict,
};

use crate::error::{Refused, Who};
use crate::help::explain;
use crate::outbound::{Outbound, OutboundError};

/// Lifetime that is assumed when the answer names none and the token cannot be read: short enough
/// to be right with every server met so far (RFC 6749, section 5.1 lets it be left out).
const ASSUMED_LIFE: TimeDelta = TimeDelta::minutes(30);
/// Longest lifetime that is believed; with continuous access evaluation tokens live 28 hours.
const LONGEST_LIFE: TimeDelta = TimeDelta::hours(30);

/// Everything that an attempt needs.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) client_id: &'a str,
    pub(crate) secret: Option<SecretString>,
    pub(crate) api_url: &'a url::Url,
    pub(crate) grant: GrantType,
    /// The refresh token to use; not looked at for client credentials.
    pub(crate) refresh_token: Option<SecretString>,
    /// The one before it, kept until the new one has worked.
    pub(crate) previous: Option<SecretString>,
    /// Claims that a challenge asked for.
    pub(crate) claims: Option<String>,
}

/// A token that was obtained.
#[derive(Debug)]
pub(crate) struct Obtained {
    pub(crate) access_token: SecretString,
    pub(crate) refresh_token: Option<SecretString>,
    pub(crate) id_token: Option<SecretString>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) scope: Option<String>,
}

/// Why no token was obtained.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody has consented yet.
    NotConnected,
    /// The refresh token was issued to another client configuration.
    OtherClient,
    /// The settings cannot be used.
    Settings,
    /// We may not call, or cannot reach, the token service.
    Outbound(OutboundError),
    /// The token service refused or failed.
    Token(TokenError),
    /// The answer holds a token that no header can carry.
    UnusableToken,
}

impl Attempt<'_> {
    /// Asks for a token.
    pub(crate) async fn run(
        &self,
        tokens: &TokenClient,
        outbound: &Outbound,
        now: DateTime<Utc>,
    ) -> Result<Obtained, Failure> {
        outbound
            .admit(self.endpoints.token())
            .map_err(Failure::Outbound)?;
        let client = ClientIdentity {
            client_id: self.client_id.to_owned(),
            credential: self.secret.clone().map(Credential::Secret),
        };
        let resource = Resource::origin_of(self.api_url);
        let answer = match self.grant {
            GrantType::ClientCredentials => {
                tokens
                    .client_credentials(self.endpoints, &client, &resource)
                    .await
            }
            GrantType::AuthorizationCode => {
                let token = self.refresh_token.as_ref().ok_or(Failure::NotConnected)?;
                self.refresh(tokens, &client, &resource, token).await
            }
        };
        Obtained::of(answer.map_err(Failure::Token)?, now)
    }

    /// Refreshes, and falls back on the previous refresh token where that is known to be harmless:
    /// Entra does not revoke a used one, whereas a strictly rotating server would take its second
    /// use for theft and kill the grant.
    async fn refresh(
        &self,
        tokens: &TokenClient,
        client: &ClientIdentity,
        resource: &Resource,
        token: &SecretString,
    ) -> Result<TokenAnswer, TokenError> {
        let claims = self.claims.as_deref();
        let first = tokens
            .refresh(self.endpoints, client, resource, token, claims)
            .await;
        let entra = matches!(
            self.endpoints.dialect(),
            Dialect::EntraV1 | Dialect::EntraV2
        );
        match (&first, &self.previous) {
            (Err(error), Some(previous)) if entra && error.verdict() == Verdict::NeedsConsent => {
                let second = tokens
                    .refresh(self.endpoints, client, resource, previous, claims)
                    .await;
                // The first refusal is the one that tells: it is about the token in use.
                if second.is_ok() { second } else { first }
            }
            _ => first,
        }
    }
}

impl Obtained {
    /// Reads an answer. `now` is the moment before the request, so that a slow answer cannot make
    /// a token look younger than it is.
    pub(crate) fn of(answer: TokenAnswer, now: DateTime<Utc>) -> Result<Self, Failure> {
        let life = answer
            .expires_in
            .and_then(|life| TimeDelta::from_std(life).ok())
            .filter(|life| *life > TimeDelta::zero())
            .or_else(|| claimed_life(&answer.access_token, now))
            .unwrap_or(ASSUMED_LIFE)
            .min(LONGEST_LIFE);
        Ok(Self {
            access_token: answer.access_token,
            refresh_token: answer.refresh_token,
            id_token: answer.id_token,
            expires_at: now + life,
            scope: answer.scope,
        })
    }
}

fn claimed_life(token: &SecretString, now: DateTime<Utc>) -> Option<TimeDelta> {
    let expires_at = tieline_entra::claims::decode(token).ok()?.exp?;
    let life = expires_at - now;
    (life > TimeDelta::zero()).then_some(life)
}

// === what a failure means ===

impl Failure {
    /// Stable code with a text in every language.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Failure::NotConnected => "no-consent-yet",
            Failure::OtherClient => "consent-for-other-client",
            Failure::Settings => "settings-incomplete",
            Failure::Outbound(OutboundError::Unresolved { .. }) => "name-unresolved",
            Failure::Outbound(OutboundError::Connect { .. }) => "connection-refused",
            Failure::Outbound(_) => "url-not-allowed",
            Failure::UnusableToken => "token-unusable",
            Failure::Token(error) => token_error_code(error),
        }
    }

    /// The state of a connection that has no valid token left.
    pub(crate) fn state(&self) -> ConnectionState {
        match self {
            Failure::NotConnected => ConnectionState::NotConnected,
            Failure::OtherClient => ConnectionState::NeedsConsent,
            Failure::Settings | Failure::UnusableToken => ConnectionState::Misconfigured,
            Failure::Outbound(OutboundError::Unresolved { .. } | OutboundError::Connect { .. }) => {
                ConnectionState::Unreachable
            }
            Failure::Outbound(_) => ConnectionState::Misconfigured,
            Failure::Token(error) => match error.verdict() {
                Verdict::Transient { .. } | Verdict::Unreachable => ConnectionState::Unreachable,
                Verdict::Misconfigured => ConnectionState::Misconfigured,
                Verdict::NeedsConsent => ConnectionState::NeedsConsent,
            },
        }
    }

    /// Whether another attempt is pointless until something changed.
    pub(crate) fn is_dead(&self) -> bool {
        self.state() != ConnectionState::Unreachable
    }

    /// The pause that the token service asked for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Token(error) => match error.verdict() {
                Verdict::Transient { retry_after } => retry_after,
                _ => None,
            },
            _ => None,
        }
    }

    /// What was seen on the wire.
    pub(crate) fn evidence(&self) -> Evidence {
        match self {
            Failure::Token(TokenError::Refused(refusal)) => Evidence {
                host: None,
                error: Some(refusal.error.clone()),
                suberror: refusal.suberror.clone(),
                code: refusal
                    .error_codes
                    .first()
                    .map(|code| format!("AADSTS{code}")),
                message: Some(refusal.description.clone()),
                status: Some(refusal.status),
                trace_id: refusal.trace_id.clone(),
                correlation_id: refusal.correlation_id.clone(),
                timestamp: refusal.timestamp.clone(),
            },
            Failure::Token(TokenError::Transport(fault)) => Evidence {
                message: Some(fault.detail.clone()),
                ..Evidence::default()
            },
            Failure::Token(TokenError::Unintelligible { status, reason }) => Evidence {
                status: Some(*status),
                message: Some(reason.clone()),
                ..Evidence::default()
            },
            Failure::Outbound(error) => Evidence {
                message: Some(error.to_string()),
                ..Evidence::default()
            },
            _ => Evidence::default(),
        }
    }

    /// The reason as kept in the account's history.
    pub(crate) fn reason(&self) -> Reason {
        let evidence = self.evidence();
        let detail = match (evidence.code, evidence.message) {
            (Some(code), Some(message)) if !message.contains(&code) => format!("{code}: {message}"),
            (_, Some(message)) => message,
            (Some(code), None) => code,
            (None, None) => String::new(),
        };
        Reason::new(self.code(), detail)
    }

    /// The answer to a caller of the gateway.
    pub(crate) fn refused(&self, account_name: &str) -> Refused {
        let (who, status) = match self.state() {
            ConnectionState::Unreachable => (Who::Entra, 502),
            ConnectionState::NotConnected | ConnectionState::NeedsConsent => (Who::Entra, 503),
            _ => (Who::Tieline, 503),
        };
        let host = self.evidence().host.unwrap_or_default();
        let cause = explain(self.code(), &[("host", host)], Language::English).cause;
        Refused {
            who,
            status,
            code: self.code(),
            detail: format!("The account '{account_name}' has no valid token. {cause}"),
            retry_after: self.retry_after(),
            evidence: Some(Arc::new(self.evidence())),
        }
    }
}

/// The code of a token error: what Microsoft's number says where it says something, otherwise what
/// OAuth's own word says.
fn token_error_code(error: &TokenError) -> &'static str {
    use tieline_entra::TransportKind;
    match error {
        TokenError::Refused(refusal) => refusal.slug().unwrap_or(match error.verdict() {
            Verdict::Transient { .. } | Verdict::Unreachable => "token-service-busy",
            Verdict::Misconfigured => "token-refused",
            Verdict::NeedsConsent => "consent-lost",
        }),
        TokenError::Unintelligible { .. } => "token-service-unintelligible",
        TokenError::Transport(fault) => match fault.kind {
            TransportKind::Dns => "name-unresolved",
            TransportKind::Tls => "tls-failed",
            TransportKind::Timeout => "token-service-slow",
            TransportKind::Connect => "connection-refused",
            _ => "connection-cut",
        },
    }
}
