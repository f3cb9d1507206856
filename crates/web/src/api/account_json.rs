//! An account as JSON, both ways.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tieline_app::{AccountForm, Finding, Resolution, TimedEvent, explain_reason};
use tieline_core::{Account, CredentialSlot, GrantType, Language, Reason, RefreshTokenRotation};
use utoipa::ToSchema;

use crate::api::body::Known;
use crate::api::credentials::{CertificateJson, CredentialJson, SecretJson};
use crate::api::problem::FieldProblem;

/// An integration account. Secrets are never in it, only whether they are set.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountJson {
    /// ULID.
    pub(crate) id: String,
    /// What it connects to.
    #[serde(rename = "type")]
    #[schema(example = "microsoft_dynamics_365")]
    account_type: &'static str,
    /// Unique in the workspace without regard to case, 1 to 100 characters.
    pub(crate) name: String,
    /// Whether it is used when a caller names none.
    default: bool,
    /// Where people consent.
    authorization_url: String,
    /// Where tokens come from.
    token_url: String,
    /// The organization's Web API, such as `https://contoso.crm.dynamics.com/api/data/v9.2`.
    api_url: String,
    /// Application (client) ID.
    client_id: String,
    /// How tokens are obtained: `authorization_code` or `client_credentials`.
    grant: &'static str,
    /// Whether a used refresh token may be sent again: `auto`, `lenient` or `strict`.
    refresh_token_rotation: &'static str,
    /// Free text.
    notes: String,
    /// The client secret, never itself.
    client_secret: SecretJson,
    /// The secret that takes over when the first one no longer works, never itself.
    next_client_secret: SecretJson,
    /// The certificate, without its key.
    client_certificate: CertificateJson,
    /// The certificate that takes over, without its key.
    next_client_certificate: CertificateJson,
    /// Every secret and certificate in the order in which they are tried.
    credentials: Vec<CredentialJson>,
    /// The consent, never its token.
    refresh_token: ConsentJson,
    /// `not_connected`, `connected`, `degraded`, `needs_consent`, `misconfigured`, `unreachable`.
    state: &'static str,
    /// Since when, UTC.
    state_since: String,
    /// Why.
    state_reason: ReasonJson,
    /// What would change it: `none`, `time`, `consent`, `credential`, `settings` or `tenant` (an
    /// administrator of the tenant, at Microsoft).
    state_changes_with: &'static str,
    /// When the keeper tries again by itself, UTC; null where it does not.
    next_attempt_at: Option<String>,
    /// Grows with every change; send it back with one.
    pub(crate) version: i64,
    created_at: String,
    created_by: String,
    changed_at: String,
    changed_by: String,
}

/// Who consented, and to what.
#[derive(Debug, Serialize, ToSchema)]
struct ConsentJson {
    set: bool,
    /// Who signed in, where known.
    consented_by: Option<String>,
    consented_at: Option<String>,
    /// Tenant, where known.
    tenant: Option<String>,
    /// Origin of the organization.
    organization: Option<String>,
}

/// Why an account is in its state.
#[derive(Debug, Serialize, ToSchema)]
struct ReasonJson {
    /// Stable code.
    code: String,
    /// What was said by whom, for engineers.
    detail: String,
    /// The same in plain words.
    cause: String,
    /// What to do; empty when there is nothing to do.
    remedy: String,
}

impl ReasonJson {
    fn of(reason: &Reason, account: &Account, language: Language) -> Self {
        let text = explain_reason(reason, account, language);
        Self {
            code: reason.code.clone(),
            detail: reason.detail.clone(),
            cause: text.cause,
            remedy: text.remedy,
        }
    }
}

impl AccountJson {
    pub(crate) fn of(account: &Account, language: Language) -> Self {
        let consent = account.consent.as_ref();
        Self {
            id: account.id.to_string(),
            account_type: account.account_type.as_str(),
            name: account.name.to_string(),
            default: account.is_default,
            authorization_url: account.authorization_url.clone(),
            token_url: account.token_url.clone(),
            api_url: account.api_url.clone(),
            client_id: account.client_id.clone(),
            grant: account.grant.as_str(),
            refresh_token_rotation: account.rotation.as_str(),
            notes: account.notes.clone(),
            client_secret: SecretJson::of(account, CredentialSlot::ClientSecret),
            next_client_secret: SecretJson::of(account, CredentialSlot::NextClientSecret),
            client_certificate: CertificateJson::of(account, CredentialSlot::ClientCertificate),
            next_client_certificate: CertificateJson::of(
                account,
                CredentialSlot::NextClientCertificate,
            ),
            credentials: CredentialJson::all(account, language),
            refresh_token: ConsentJson {
                set: consent.is_some(),
                consented_by: consent.and_then(|consent| consent.user.clone()),
                consented_at: consent.map(|consent| time(consent.at)),
                tenant: consent.and_then(|consent| consent.tenant.clone()),
                organization: consent.map(|consent| consent.organization.clone()),
            },
            state: account.connection.state.as_str(),
            state_since: time(account.connection.since),
            state_reason: ReasonJson::of(&account.connection.reason, account, language),
            state_changes_with: Resolution::of(&account.connection).as_str(),
            next_attempt_at: account.connection.next_attempt_at.map(time),
            version: account.version,
            created_at: time(account.created_at),
            created_by: account.created_by.clone(),
            changed_at: time(account.changed_at),
            changed_by: account.changed_by.clone(),
        }
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// An account that was saved, and what should be looked at all the same.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppliedJson {
    #[serde(flatten)]
    pub(crate) account: AccountJson,
    /// Findings that did not stop the change.
    warnings: Vec<FieldProblem>,
}

impl AppliedJson {
    pub(crate) fn of(account: &Account, warnings: &[Finding], language: Language) -> Self {
        Self {
            account: AccountJson::of(account, language),
            warnings: warnings
                .iter()
                .map(|finding| FieldProblem::of(finding, language))
                .collect(),
        }
    }
}

/// A change of an account's state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventJson {
    id: String,
    at: String,
    /// When the next change came; null for the latest.
    until: Option<String>,
    /// The state before; null for the first. The same as `to` where only the reason changed.
    from: Option<&'static str>,
    to: &'static str,
    reason: ReasonJson,
}

impl EventJson {
    pub(crate) fn of(timed: &TimedEvent, account: &Account, language: Language) -> Self {
        let event = &timed.event;
        Self {
            until: timed.until.map(time),
            id: event.id.to_string(),
            at: time(event.at),
            from: event.from.map(tieline_core::ConnectionState::as_str),
            to: event.to.as_str(),
            reason: ReasonJson::of(&event.reason, account, language),
        }
    }
}

/// A secret as it comes in: a text sets it. What the API itself shows in its place, or null, keeps
/// the one that is set, so that an account can be read, changed and sent back.
#[derive(Debug)]
enum SecretInput {
    Set(SecretString),
    Keep { expires_on: Option<String> },
}

impl<'de> Deserialize<'de> for SecretInput {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Text(String),
            Shown { expires_on: Option<String> },
            Other(serde::de::IgnoredAny),
        }
        match Raw::deserialize(source)? {
            Raw::Text(text) => Ok(SecretInput::Set(SecretString::from(text))),
            Raw::Shown { expires_on } => Ok(SecretInput::Keep { expires_on }),
            Raw::Other(_) => Err(serde::de::Error::custom(
                "expected a text, or null to keep what is set",
            )),
        }
    }
}

/// The properties of an account as they are sent. Those that are absent keep their value; for a
/// new account they are empty.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct Properties {
    /// `microsoft_dynamics_365`, and nothing else today.
    #[serde(rename = "type")]
    #[schema(example = "microsoft_dynamics_365")]
    account_type: Option<String>,
    name: Option<String>,
    default: Option<bool>,
    authorization_url: Option<String>,
    token_url: Option<String>,
    api_url: Option<String>,
    client_id: Option<String>,
    /// Write-only. Null keeps the one that is set.
    #[schema(value_type = Option<String>)]
    client_secret: Option<SecretInput>,
    /// When the secret expires, `YYYY-MM-DD`; empty when not known.
    secret_expires_on: Option<String>,
    /// Write-only: the secret that takes over. Null keeps the one that is set.
    #[schema(value_type = Option<String>)]
    next_client_secret: Option<SecretInput>,
    /// When that one expires, `YYYY-MM-DD`; empty when not known.
    next_secret_expires_on: Option<String>,
    /// Write-only: certificate and private key as PEM. Null keeps what is set.
    #[schema(value_type = Option<String>)]
    client_certificate: Option<SecretInput>,
    /// Write-only: the certificate that takes over, with its private key.
    #[schema(value_type = Option<String>)]
    next_client_certificate: Option<SecretInput>,
    /// Credentials to remove: `client_secret`, `next_client_secret`, `client_certificate`,
    /// `next_client_certificate`. Where another waits to take over, it takes the place.
    #[schema(value_type = Option<Vec<String>>)]
    remove_credentials: Option<Vec<CredentialSlot>>,
    /// Write-only, for a move from elsewhere. Null keeps the one that is set.
    #[schema(value_type = Option<String>)]
    refresh_token: Option<SecretInput>,
    #[schema(example = "authorization_code", value_type = Option<String>)]
    grant: Option<GrantType>,
    #[schema(example = "auto", value_type = Option<String>)]
    refresh_token_rotation: Option<RefreshTokenRotation>,
    notes: Option<String>,
    /// The version that the change is based on; a change meanwhile is then refused.
    pub(crate) version: Option<i64>,
    /// For a test: the account whose secrets fill what is absent.
    pub(crate) account: Option<String>,
}

impl Known for Properties {
    // Those from `id` on are what the API shows; they come back with an account that was read,
    // and are not taken from there.
    const PROPERTIES: &'static [&'static str] = &[
        "type",
        "name",
        "default",
        "authorization_url",
        "token_url",
        "api_url",
        "client_id",
        "client_secret",
        "secret_expires_on",
        "next_client_secret",
        "next_secret_expires_on",
        "client_certificate",
        "next_client_certificate",
        "remove_credentials",
        "refresh_token",
        "grant",
        "refresh_token_rotation",
        "notes",
        "version",
        "account",
        "id",
        "credentials",
        "state",
        "state_since",
        "state_reason",
        "state_changes_with",
        "next_attempt_at",
        "created_at",
        "created_by",
        "changed_at",
        "changed_by",
        "warnings",
    ];
}

impl Properties {
    /// Whether the type, where it is given, is one that exists.
    pub(crate) fn type_known(&self) -> bool {
        self.account_type
            .as_deref()
            .is_none_or(|word| word.parse::<tieline_core::AccountType>().is_ok())
    }

    /// The properties over those of a form.
    pub(crate) fn over(self, base: AccountForm) -> AccountForm {
        let (client_secret, shown_expiry) = match self.client_secret {
            Some(SecretInput::Set(secret)) => (Some(secret), None),
            Some(SecretInput::Keep { expires_on }) => (None, expires_on),
            None => (None, None),
        };
        let (next_client_secret, next_shown_expiry) = match self.next_client_secret {
            Some(SecretInput::Set(secret)) => (Some(secret), None),
            Some(SecretInput::Keep { expires_on }) => (None, expires_on),
            None => (None, None),
        };
        let set = |input: Option<SecretInput>| match input {
            Some(SecretInput::Set(secret)) => Some(secret),
            _ => None,
        };
        let refresh_token = match self.refresh_token {
            Some(SecretInput::Set(token)) => Some(token),
            _ => None,
        };
        AccountForm {
            name: self.name.unwrap_or(base.name),
            is_default: self.default.unwrap_or(base.is_default),
            authorization_url: self.authorization_url.unwrap_or(base.authorization_url),
            token_url: self.token_url.unwrap_or(base.token_url),
            api_url: self.api_url.unwrap_or(base.api_url),
            client_id: self.client_id.unwrap_or(base.client_id),
            // A new secret has its own expiry: the old one's date is not carried over.
            secret_expires_on: self.secret_expires_on.or(shown_expiry).unwrap_or_else(|| {
                if client_secret.is_some() {
                    String::new()
                } else {
                    base.secret_expires_on
                }
            }),
            client_secret,
            refresh_token,
            grant: self.grant.or(base.grant),
            rotation: self.refresh_token_rotation.or(base.rotation),
            notes: self.notes.unwrap_or(base.notes),
            next_secret_expires_on: self
                .next_secret_expires_on
                .or(next_shown_expiry)
                .unwrap_or_else(|| {
                    if next_client_secret.is_some() {
                        String::new()
                    } else {
                        base.next_secret_expires_on
                    }
                }),
            next_client_secret,
            client_certificate: set(self.client_certificate),
            next_client_certificate: set(self.next_client_certificate),
            remove: self.remove_credentials.unwrap_or(base.remove),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn properties(text: &str) -> Properties {
        serde_json::from_str(text).expect("properties")
    }

    #[test]
    fn a_secret_is_set_by_text_and_kept_by_what_the_api_shows() {
        let form = properties(r#"{"client_secret": "a+b"}"#).over(AccountForm::default());
        assert_eq!(form.client_secret.expect("a secret").expose_secret(), "a+b");

        let shown = r#"{"client_secret": {"set": true, "set_at": null, "expires_on": "2027-01-31"},
                        "refresh_token": {"set": true}}"#;
        let form = properties(shown).over(AccountForm::default());
        assert!(form.client_secret.is_none() && form.refresh_token.is_none());
        assert_eq!(form.secret_expires_on, "2027-01-31");

        assert!(
            properties(r#"{"client_secret": null}"#)
                .over(AccountForm::default())
                .client_secret
                .is_none()
        );
        assert!(serde_json::from_str::<Properties>(r#"{"client_secret": 7}"#).is_err());
    }

    #[test]
    fn what_is_absent_keeps_its_value() {
        let base = AccountForm {
            name: "Contoso".into(),
            notes: "old".into(),
            ..AccountForm::default()
        };
        let form = properties(r#"{"notes": ""}"#).over(base);
        assert_eq!((form.name.as_str(), form.notes.as_str()), ("Contoso", ""));
    }
}
