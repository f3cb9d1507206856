//! The properties of an account as somebody typed them, and what we find when we read them.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tieline_core::{Account, CredentialSlot, GrantType, Language, RefreshTokenRotation};

use crate::help::{Explanation, explain};

/// A property of an account, by the name it has in forms, in the API and in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// `name`
    Name,
    /// `default`
    #[serde(rename = "default")]
    DefaultAccount,
    /// `authorization_url`
    AuthorizationUrl,
    /// `token_url`
    TokenUrl,
    /// `api_url`
    ApiUrl,
    /// `client_id`
    ClientId,
    /// `client_secret`
    ClientSecret,
    /// `secret_expires_on`
    SecretExpiresOn,
    /// `next_client_secret`
    NextClientSecret,
    /// `next_secret_expires_on`
    NextSecretExpiresOn,
    /// `client_certificate`
    ClientCertificate,
    /// `next_client_certificate`
    NextClientCertificate,
    /// `refresh_token`
    RefreshToken,
    /// `grant`
    Grant,
    /// `refresh_token_rotation`
    RefreshTokenRotation,
    /// `notes`
    Notes,
}

impl Field {
    /// Every property, in the order of the form.
    pub const ALL: [Field; 16] = [
        Field::Name,
        Field::DefaultAccount,
        Field::AuthorizationUrl,
        Field::TokenUrl,
        Field::ApiUrl,
        Field::ClientId,
        Field::ClientSecret,
        Field::SecretExpiresOn,
        Field::NextClientSecret,
        Field::NextSecretExpiresOn,
        Field::ClientCertificate,
        Field::NextClientCertificate,
        Field::RefreshToken,
        Field::Grant,
        Field::RefreshTokenRotation,
        Field::Notes,
    ];

    /// Whether a credential stands here, which is never shown.
    #[must_use]
    pub fn is_credential(self) -> bool {
        CredentialSlot::ALL
            .iter()
            .any(|slot| Field::from(*slot) == self)
    }

    /// The name in forms and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Field::Name => "name",
            Field::DefaultAccount => "default",
            Field::AuthorizationUrl => "authorization_url",
            Field::TokenUrl => "token_url",
            Field::ApiUrl => "api_url",
            Field::ClientId => "client_id",
            Field::ClientSecret => "client_secret",
            Field::SecretExpiresOn => "secret_expires_on",
            Field::NextClientSecret => "next_client_secret",
            Field::NextSecretExpiresOn => "next_secret_expires_on",
            Field::ClientCertificate => "client_certificate",
            Field::NextClientCertificate => "next_client_certificate",
            Field::RefreshToken => "refresh_token",
            Field::Grant => "grant",
            Field::RefreshTokenRotation => "refresh_token_rotation",
            Field::Notes => "notes",
        }
    }
}

/// Whether a finding stops an Apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The settings cannot be applied like this.
    Error,
    /// They can, but somebody should look.
    Warning,
}

/// Something found at one property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The property.
    pub field: Field,
    /// How bad it is.
    pub severity: Severity,
    /// Stable code; chooses the text.
    pub code: &'static str,
    /// Values that the text names.
    pub args: Vec<(&'static str, String)>,
}

impl Finding {
    /// A finding that stops an Apply.
    #[must_use]
    pub fn error(field: Field, code: &'static str) -> Self {
        Self {
            field,
            severity: Severity::Error,
            code,
            args: Vec::new(),
        }
    }

    /// A finding that does not.
    #[must_use]
    pub fn warning(field: Field, code: &'static str) -> Self {
        Self {
            field,
            severity: Severity::Warning,
            code,
            args: Vec::new(),
        }
    }

    /// Adds a value that the text names.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.args.push((name, value.into()));
        self
    }

    /// Cause and remedy in a language.
    #[must_use]
    pub fn explain(&self, language: Language) -> Explanation {
        explain(self.code, &self.args, language)
    }

    /// Whether it stops an Apply.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The properties as typed: right or wrong, complete or not.
#[derive(Debug, Clone, Default)]
pub struct AccountForm {
    /// Name.
    pub name: String,
    /// Default account.
    pub is_default: bool,
    /// Authorization URL.
    pub authorization_url: String,
    /// Token URL.
    pub token_url: String,
    /// API URL.
    pub api_url: String,
    /// Client ID.
    pub client_id: String,
    /// Client secret; none keeps the one that is set.
    pub client_secret: Option<SecretString>,
    /// When the secret expires, as `YYYY-MM-DD`; empty when not known.
    pub secret_expires_on: String,
    /// The secret that takes over; none keeps the one that is set.
    pub next_client_secret: Option<SecretString>,
    /// When that one expires, as `YYYY-MM-DD`; empty when not known.
    pub next_secret_expires_on: String,
    /// Certificate and private key as PEM; none keeps what is set.
    pub client_certificate: Option<SecretString>,
    /// The same of the certificate that takes over.
    pub next_client_certificate: Option<SecretString>,
    /// Credentials that are to be removed. Where another waits to take over, it does.
    pub remove: Vec<CredentialSlot>,
    /// A refresh token pasted for a move from elsewhere; none keeps the one that is set.
    pub refresh_token: Option<SecretString>,
    /// How tokens are obtained; none is the usual consent.
    pub grant: Option<GrantType>,
    /// Whether a used refresh token may be sent once more; none is by what is known of the server.
    pub rotation: Option<RefreshTokenRotation>,
    /// Notes.
    pub notes: String,
}

/// The field in which a credential stands.
impl From<CredentialSlot> for Field {
    fn from(slot: CredentialSlot) -> Self {
        match slot {
            CredentialSlot::ClientSecret => Field::ClientSecret,
            CredentialSlot::NextClientSecret => Field::NextClientSecret,
            CredentialSlot::ClientCertificate => Field::ClientCertificate,
            CredentialSlot::NextClientCertificate => Field::NextClientCertificate,
        }
    }
}

impl AccountForm {
    /// The form that shows an account as it is saved. Secrets stay where they are.
    #[must_use]
    pub fn of(account: &Account) -> Self {
        Self {
            name: account.name.as_str().to_owned(),
            is_default: account.is_default,
            authorization_url: account.authorization_url.clone(),
            token_url: account.token_url.clone(),
            api_url: account.api_url.clone(),
            client_id: account.client_id.clone(),
            client_secret: None,
            secret_expires_on: account
                .client_secret
                .as_ref()
                .and_then(|secret| secret.expires_on)
                .map(|date| date.to_string())
                .unwrap_or_default(),
            next_client_secret: None,
            next_secret_expires_on: account
                .credential(CredentialSlot::NextClientSecret)
                .and_then(|secret| secret.expires_on)
                .map(|date| date.to_string())
                .unwrap_or_default(),
            client_certificate: None,
            next_client_certificate: None,
            remove: Vec::new(),
            refresh_token: None,
            grant: Some(account.grant),
            rotation: Some(account.rotation),
            notes: account.notes.clone(),
        }
    }

    /// How tokens are obtained.
    #[must_use]
    pub fn grant(&self) -> GrantType {
        self.grant.unwrap_or(GrantType::AuthorizationCode)
    }

    /// Whether a used refresh token may be sent once more.
    #[must_use]
    pub fn rotation(&self) -> RefreshTokenRotation {
        self.rotation.unwrap_or(RefreshTokenRotation::Auto)
    }

    /// The credential typed into a place.
    #[must_use]
    pub fn typed_credential(&self, slot: CredentialSlot) -> Option<&SecretString> {
        match slot {
            CredentialSlot::ClientSecret => self.client_secret.as_ref(),
            CredentialSlot::NextClientSecret => self.next_client_secret.as_ref(),
            CredentialSlot::ClientCertificate => self.client_certificate.as_ref(),
            CredentialSlot::NextClientCertificate => self.next_client_certificate.as_ref(),
        }
    }

    /// Every credential that was typed, without the white space that copying brings along.
    pub(crate) fn typed_credentials(&self) -> Vec<(CredentialSlot, SecretString)> {
        let slots = CredentialSlot::ALL.iter().copied();
        let typed = slots.filter_map(|slot| Some((slot, self.typed_credential(slot)?)));
        let trimmed = |text: &SecretString| SecretString::from(text.expose_secret().trim());
        typed.map(|(slot, text)| (slot, trimmed(text))).collect()
    }

    /// The properties in which two forms differ; a secret that is set differs from one kept.
    #[must_use]
    pub fn differences(&self, other: &AccountForm) -> Vec<Field> {
        let credential = |slot: CredentialSlot| {
            self.typed_credential(slot).is_some()
                || other.typed_credential(slot).is_some()
                || self.remove.contains(&slot) != other.remove.contains(&slot)
        };
        let pairs: [(Field, bool); 16] = [
            (Field::Name, self.name.trim() != other.name.trim()),
            (Field::DefaultAccount, self.is_default != other.is_default),
            (
                Field::AuthorizationUrl,
                self.authorization_url.trim() != other.authorization_url.trim(),
            ),
            (
                Field::TokenUrl,
                self.token_url.trim() != other.token_url.trim(),
            ),
            (Field::ApiUrl, self.api_url.trim() != other.api_url.trim()),
            (
                Field::ClientId,
                self.client_id.trim() != other.client_id.trim(),
            ),
            (
                Field::ClientSecret,
                credential(CredentialSlot::ClientSecret),
            ),
            (
                Field::SecretExpiresOn,
                self.secret_expires_on.trim() != other.secret_expires_on.trim(),
            ),
            (
                Field::NextClientSecret,
                credential(CredentialSlot::NextClientSecret),
            ),
            (
                Field::NextSecretExpiresOn,
                self.next_secret_expires_on.trim() != other.next_secret_expires_on.trim(),
            ),
            (
                Field::ClientCertificate,
                credential(CredentialSlot::ClientCertificate),
            ),
            (
                Field::NextClientCertificate,
                credential(CredentialSlot::NextClientCertificate),
            ),
            (
                Field::RefreshToken,
                self.refresh_token.is_some() || other.refresh_token.is_some(),
            ),
            (Field::Grant, self.grant() != other.grant()),
            (
                Field::RefreshTokenRotation,
                self.rotation() != other.rotation(),
            ),
            (Field::Notes, self.notes != other.notes),
        ];
        pairs
            .into_iter()
            .filter_map(|(field, differs)| differs.then_some(field))
            .collect()
    }

    /// The text of a property, for those that are text and no secret.
    #[must_use]
    pub fn text(&self, field: Field) -> String {
        match field {
            Field::Name => self.name.clone(),
            Field::DefaultAccount => self.is_default.to_string(),
            Field::AuthorizationUrl => self.authorization_url.clone(),
            Field::TokenUrl => self.token_url.clone(),
            Field::ApiUrl => self.api_url.clone(),
            Field::ClientId => self.client_id.clone(),
            Field::SecretExpiresOn => self.secret_expires_on.clone(),
            Field::Grant => self.grant().as_str().to_owned(),
            Field::RefreshTokenRotation => self.rotation().as_str().to_owned(),
            Field::Notes => self.notes.clone(),
            Field::NextSecretExpiresOn => self.next_secret_expires_on.clone(),
            Field::ClientSecret
            | Field::NextClientSecret
            | Field::ClientCertificate
            | Field::NextClientCertificate
            | Field::RefreshToken => String::new(),
        }
    }
}

/// An account that was saved, and what should be looked at all the same.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The account as saved.
    pub account: Account,
    /// Findings that did not stop the Apply.
    pub warnings: Vec<Finding>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_secret_is_no_difference_and_a_typed_one_is() {
        let saved = AccountForm {
            name: "Contoso".into(),
            ..AccountForm::default()
        };
        let mut typed = saved.clone();
        typed.name = " Contoso ".into();
        assert!(typed.differences(&saved).is_empty());
        typed.client_secret = Some(SecretString::from("new"));
        assert_eq!(typed.differences(&saved), [Field::ClientSecret]);
    }

    #[test]
    fn a_form_does_not_print_its_secrets() {
        let form = AccountForm {
            client_secret: Some(SecretString::from("hunter2+")),
            refresh_token: Some(SecretString::from("0.AXoA")),
            ..AccountForm::default()
        };
        let printed = format!("{form:?}");
        assert!(
            !printed.contains("hunter2") && !printed.contains("AXoA"),
            "{printed}"
        );
    }
}
