//! One attempt to obtain a token, and what a failure of it means.
//!
//! The keeper and the test ladder both come here, so that a test says what a renewal would do.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use tieline_core::{ConnectionState, CredentialSlot, Evidence, GrantType, Language, Reason};
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
    /// The application's credentials, in the order in which they are tried.
    pub(crate) credentials: Vec<Offered>,
    pub(crate) api_url: &'a url::Url,
    pub(crate) grant: GrantType,
    /// The refresh token to use; not looked at for client credentials.
    pub(crate) refresh_token: Option<SecretString>,
    /// The one before it, kept until the new one has worked.
    pub(crate) previous: Option<SecretString>,
    /// Claims that a challenge asked for.
    pub(crate) claims: Option<String>,
}

/// One of the application's credentials.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) slot: CredentialSlot,
    pub(crate) credential: Credential,
}

/// A credential that the token service did not accept.
#[derive(Debug)]
pub(crate) struct RefusedCredential {
    pub(crate) slot: CredentialSlot,
    pub(crate) error: TokenError,
}

/// A token that was obtained.
#[derive(Debug)]
pub(crate) struct Obtained {
    /// The credential that worked; none where the application has none.
    pub(crate) by: Option<CredentialSlot>,
    /// Those that were refused before it.
    pub(crate) refused: Vec<RefusedCredential>,
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
    /// The token service refused every credential that there is.
    Credentials(Vec<RefusedCredential>),
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
        if self.grant == GrantType::AuthorizationCode && self.refresh_token.is_none() {
            return Err(Failure::NotConnected);
        }
        let ask = |credential| self.ask(tokens, credential, now);
        first_accepted(self.credentials.clone(), ask, now).await
    }

    async fn ask(
        &self,
        tokens: &TokenClient,
        credential: Option<Credential>,
        now: DateTime<Utc>,
    ) -> Result<TokenAnswer, TokenError> {
        let client = ClientIdentity {
            client_id: self.client_id.to_owned(),
            credential,
            now,
        };
        let resource = Resource::origin_of(self.api_url);
        match (self.grant, &self.refresh_token) {
            (GrantType::AuthorizationCode, Some(token)) => {
                self.refresh(tokens, &client, &resource, token).await
            }
            _ => {
                tokens
                    .client_credentials(self.endpoints, &client, &resource)
                    .await
            }
        }
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

/// Asks with one credential after the other in the same attempt, so that nobody waits for a second
/// one. A proof of the client that is refused is looked at before what came with it, so neither a
/// refresh token nor a code is spent by it.
pub(crate) async fn first_accepted<Answer>(
    credentials: Vec<Offered>,
    ask: impl Fn(Option<Credential>) -> Answer,
    now: DateTime<Utc>,
) -> Result<Obtained, Failure>
where
    Answer: Future<Output = Result<TokenAnswer, TokenError>>,
{
    if credentials.is_empty() {
        let answer = ask(None).await.map_err(Failure::Token)?;
        return Obtained::of(answer, now);
    }
    let mut refused = Vec::new();
    for Offered { slot, credential } in credentials {
        match ask(Some(credential)).await {
            Ok(answer) => {
                let mut obtained = Obtained::of(answer, now)?;
                obtained.by = Some(slot);
                obtained.refused = refused;
                return Ok(obtained);
            }
            Err(error) if error.refuses_client() => {
                refused.push(RefusedCredential { slot, error });
            }
            Err(error) => return Err(Failure::Token(error)),
        }
    }
    Err(Failure::Credentials(refused))
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
            by: None,
            refused: Vec::new(),
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
            // A lone refusal tells more by itself.
            Failure::Credentials(refused) => match refused.as_slice() {
                [only] => token_error_code(&only.error),
                _ => "credentials-refused",
            },
        }
    }

    /// The state of a connection that has no valid token left.
    pub(crate) fn state(&self) -> ConnectionState {
        match self {
            Failure::NotConnected => ConnectionState::NotConnected,
            Failure::OtherClient => ConnectionState::NeedsConsent,
            Failure::Settings | Failure::UnusableToken | Failure::Credentials(_) => {
                ConnectionState::Misconfigured
            }
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
            Failure::Token(error) => evidence_of(error),
            Failure::Credentials(refused) => evidence_of_all(refused),
            Failure::Outbound(error) => Evidence {
                message: Some(error.to_string()),
                ..Evidence::default()
            },
            _ => Evidence::default(),
        }
    }

    /// The reason as kept in the account's history.
    pub(crate) fn reason(&self) -> Reason {
        let detail = match self {
            Failure::Token(error) => detail_of(error),
            Failure::Credentials(refused) if refused.len() == 1 => {
                refused.iter().map(|only| detail_of(&only.error)).collect()
            }
            _ => self.evidence().message.unwrap_or_default(),
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

fn evidence_of(error: &TokenError) -> Evidence {
    match error {
        TokenError::Refused(refusal) => Evidence {
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
        TokenError::Transport(fault) => Evidence {
            message: Some(fault.detail.clone()),
            ..Evidence::default()
        },
        TokenError::Unintelligible { status, reason } => Evidence {
            status: Some(*status),
            message: Some(reason.clone()),
            ..Evidence::default()
        },
        TokenError::Unsigned => Evidence {
            message: Some(error.to_string()),
            ..Evidence::default()
        },
    }
}

/// What was said of each of several credentials; the ids are those of the last request.
fn evidence_of_all(refused: &[RefusedCredential]) -> Evidence {
    if let [only] = refused {
        return evidence_of(&only.error);
    }
    let said: Vec<String> = refused
        .iter()
        .map(|one| format!("{}: {}", one.slot, detail_of(&one.error)))
        .collect();
    let mut evidence = refused
        .last()
        .map(|one| evidence_of(&one.error))
        .unwrap_or_default();
    evidence.message = Some(said.join(" | "));
    let mut codes: Vec<String> = refused
        .iter()
        .filter_map(|one| evidence_of(&one.error).code)
        .collect();
    codes.dedup();
    evidence.code = (!codes.is_empty()).then(|| codes.join(", "));
    evidence
}

/// A code and what was said, the one not twice.
fn detail_of(error: &TokenError) -> String {
    let evidence = evidence_of(error);
    match (evidence.code, evidence.message) {
        (Some(code), Some(message)) if !message.contains(&code) => format!("{code}: {message}"),
        (_, Some(message)) => message,
        (Some(code), None) => code,
        (None, None) => String::new(),
    }
}

impl RefusedCredential {
    /// Why, as it is kept with the credential.
    pub(crate) fn reason(&self) -> Reason {
        Reason::new(token_error_code(&self.error), detail_of(&self.error))
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
        TokenError::Unsigned => "certificate-not-signing",
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
