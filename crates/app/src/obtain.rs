//! One attempt to obtain a token, and what a failure of it means.
//!
//! The keeper and the test ladder both come here, so that a test says what a renewal would do.

mod evidence;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use tieline_core::{ConnectionState, CredentialSlot, Evidence, GrantType, Language, Reason};
use tieline_entra::{
    ClientIdentity, Credential, Endpoints, Reach, Refusal, Resource, TokenAnswer, TokenClient,
    TokenError, TransportKind, Verdict,
};

use crate::error::{Refused, Who};
use crate::help::explain;
use crate::keeper::{Ending, Pace};
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
    /// The one before it, kept until the new one has worked; only for a server that is known not
    /// to punish its use.
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
    pub(crate) obtained_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) scope: Option<String>,
    pub(crate) spent: WhichToken,
}

/// Which of two refresh tokens brought new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhichToken {
    /// The one in use.
    Present,
    /// The one before it.
    Previous,
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
    /// The refresh token was sent, no answer is known, and a second use would end the grant.
    Unanswered {
        /// How the request ended.
        detail: String,
    },
    /// The token service is in trouble; it was not asked.
    ServiceDown {
        /// What the last one who asked met.
        code: &'static str,
        /// What was seen then.
        evidence: Box<Evidence>,
        /// When it is asked again.
        retry_after: Duration,
    },
    /// Our own database failed before anything was sent.
    Database,
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
    ) -> (Result<TokenAnswer, TokenError>, WhichToken) {
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
                let answer = tokens
                    .client_credentials(self.endpoints, &client, &resource)
                    .await;
                (answer, WhichToken::Present)
            }
        }
    }

    /// Refreshes, and falls back on the previous refresh token where one was given.
    async fn refresh(
        &self,
        tokens: &TokenClient,
        client: &ClientIdentity,
        resource: &Resource,
        token: &SecretString,
    ) -> (Result<TokenAnswer, TokenError>, WhichToken) {
        let claims = self.claims.as_deref();
        let first = tokens
            .refresh(self.endpoints, client, resource, token, claims)
            .await;
        if let (Err(TokenError::Refused(refusal)), Some(previous)) = (&first, &self.previous)
            && refusal.error == "invalid_grant"
        {
            let second = tokens
                .refresh(self.endpoints, client, resource, previous, claims)
                .await;
            // Otherwise the first refusal is the one that tells: it is about the token in use.
            if second.is_ok() {
                return (second, WhichToken::Previous);
            }
        }
        (first, WhichToken::Present)
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
    Answer: Future<Output = (Result<TokenAnswer, TokenError>, WhichToken)>,
{
    let read = |answer, spent| {
        let mut obtained = Obtained::of(answer, now)?;
        obtained.spent = spent;
        Ok(obtained)
    };
    if credentials.is_empty() {
        let (answer, spent) = ask(None).await;
        return read(answer.map_err(Failure::Token)?, spent);
    }
    let mut refused = Vec::new();
    for Offered { slot, credential } in credentials {
        let (answer, spent) = ask(Some(credential)).await;
        match answer {
            Ok(answer) => {
                let mut obtained = read(answer, spent)?;
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
            .or_else(|| claimed_life(&answer.access_token))
            .unwrap_or(ASSUMED_LIFE)
            .min(LONGEST_LIFE);
        Ok(Self {
            by: None,
            refused: Vec::new(),
            access_token: answer.access_token,
            refresh_token: answer.refresh_token,
            id_token: answer.id_token,
            obtained_at: now,
            expires_at: now + life,
            scope: answer.scope,
            spent: WhichToken::Present,
        })
    }
}

/// The life that a token claims, by its issuer's clock alone: ours may be wrong.
fn claimed_life(token: &SecretString) -> Option<TimeDelta> {
    let claims = tieline_entra::claims::decode(token).ok()?;
    let life = claims.exp? - claims.iat.or(claims.nbf)?;
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
            Failure::Unanswered { .. } => "renewal-unanswered",
            Failure::ServiceDown { code, .. } => code,
            Failure::Database => "database-unavailable",
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
            Failure::OtherClient | Failure::Unanswered { .. } => ConnectionState::NeedsConsent,
            Failure::ServiceDown { .. } | Failure::Database => ConnectionState::Unreachable,
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
        self.pace() == Pace::Never
    }

    /// How soon another attempt makes sense.
    pub(crate) fn pace(&self) -> Pace {
        match self {
            // Not a word of OAuth: a proxy in between, or a wrong address. Nothing that would
            // change here tells when a proxy is well again.
            Failure::Token(TokenError::Unintelligible { .. }) => Pace::Slow,
            _ if self.state() == ConnectionState::Unreachable => Pace::Soon,
            _ => Pace::Never,
        }
    }

    /// How the request ended, as far as the refresh token goes.
    pub(crate) fn ending(&self) -> Ending {
        match self {
            Failure::Token(TokenError::Transport(fault)) if fault.reach == Reach::Unsent => {
                Ending::Unsent
            }
            Failure::Token(TokenError::Transport(_)) | Failure::Unanswered { .. } => {
                Ending::Unknown
            }
            Failure::Token(TokenError::Refused(refusal)) => ending_of(refusal),
            // What is no success was not processed; a success that cannot be read was.
            Failure::Token(TokenError::Unintelligible { status, .. }) => match status {
                300..500 => Ending::Refused,
                _ => Ending::Unknown,
            },
            // The token service gave tokens; whether they are stored is another question.
            Failure::UnusableToken | Failure::Credentials(_) => Ending::Refused,
            Failure::Token(TokenError::Unsigned) => Ending::Unsent,
            Failure::NotConnected
            | Failure::OtherClient
            | Failure::Settings
            | Failure::Outbound(_)
            | Failure::ServiceDown { .. }
            | Failure::Database => Ending::Unsent,
        }
    }

    /// Whether the trouble is the token service's rather than this account's.
    pub(crate) fn is_of_service(&self) -> bool {
        match self {
            Failure::Token(TokenError::Transport(_)) | Failure::ServiceDown { .. } => true,
            Failure::Token(TokenError::Refused(refusal)) => {
                refusal.status == 429 || refusal.status >= 500
            }
            Failure::Token(TokenError::Unintelligible { status, .. }) => *status >= 500,
            _ => false,
        }
    }

    /// Whether it may be over in a second: an answer or an end came at once, and nobody asked for
    /// a pause.
    pub(crate) fn is_stumble(&self) -> bool {
        match self {
            Failure::Token(TokenError::Transport(fault)) => fault.kind != TransportKind::Timeout,
            Failure::Token(TokenError::Refused(refusal)) => {
                refusal.status >= 500 && refusal.retry_after.is_none()
            }
            _ => false,
        }
    }

    /// Whether the refresh token was refused.
    pub(crate) fn is_invalid_grant(&self) -> bool {
        matches!(self, Failure::Token(TokenError::Refused(refusal))
            if refusal.error == "invalid_grant" && self.state() == ConnectionState::NeedsConsent)
    }

    /// Claims that a person has to meet.
    pub(crate) fn claims(&self) -> Option<String> {
        match self {
            Failure::Token(TokenError::Refused(refusal))
                if self.state() == ConnectionState::NeedsConsent =>
            {
                refusal.claims.clone()
            }
            _ => None,
        }
    }

    /// The pause that was asked for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Token(error) => match error.verdict() {
                Verdict::Transient { retry_after } => retry_after,
                _ => None,
            },
            Failure::ServiceDown { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// What was seen on the wire.
    pub(crate) fn evidence(&self) -> Evidence {
        match self {
            Failure::Token(error) => evidence::of(error),
            Failure::Credentials(refused) => evidence::of_all(refused),
            Failure::Outbound(error) => Evidence {
                message: Some(error.to_string()),
                ..Evidence::default()
            },
            Failure::Unanswered { detail } => Evidence {
                message: Some(detail.clone()),
                ..Evidence::default()
            },
            Failure::ServiceDown { evidence, .. } => Evidence::clone(evidence),
            _ => Evidence::default(),
        }
    }

    /// The reason as kept in the account's history.
    pub(crate) fn reason(&self) -> Reason {
        let detail = match self {
            // What was said of each names its code already.
            Failure::Credentials(refused) if refused.len() > 1 => {
                self.evidence().message.unwrap_or_default()
            }
            _ => evidence::detail(self.evidence()),
        };
        Reason::new(self.code(), detail)
    }

    /// The answer to a caller of the gateway.
    pub(crate) fn refused(&self, account_name: &str) -> Refused {
        let (who, status) = match self.state() {
            // Who is told when to come again is told 503 (RFC 9110, section 15.6.4).
            _ if matches!(self, Failure::Database) => (Who::Tieline, 503),
            ConnectionState::Unreachable => (Who::Entra, 503),
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

/// What an error says of the refresh token. 429 and 503 say that the request was not taken; other
/// errors of the server itself say nothing of how far it came before.
fn ending_of(refusal: &Refusal) -> Ending {
    match (refusal.status, refusal.error.as_str()) {
        (429 | 503, _) => Ending::Refused,
        (500.., _) | (_, "server_error") => Ending::Unknown,
        _ => Ending::Refused,
    }
}

/// A code as kept in an account's history, as static text.
pub(crate) fn stable_code(code: &str) -> &'static str {
    const LOCAL: [&str; 19] = [
        "credentials-refused",
        "certificate-not-signing",
        "no-consent-yet",
        "consent-for-other-client",
        "settings-incomplete",
        "consent-lost",
        "renewal-unanswered",
        "token-unusable",
        "url-not-allowed",
        "name-unresolved",
        "connection-refused",
        "connection-cut",
        "tls-failed",
        "token-service-slow",
        "token-service-busy",
        "token-service-unintelligible",
        "database-unavailable",
        "token-refused",
        "consented",
    ];
    LOCAL
        .into_iter()
        .find(|known| *known == code)
        .or_else(|| tieline_entra::codes::slug(code))
        .unwrap_or("token-refused")
}

/// The code of a token error: what Microsoft's number says where it says something, otherwise what
/// OAuth's own word says.
fn token_error_code(error: &TokenError) -> &'static str {
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
