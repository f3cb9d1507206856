//! The token endpoint (RFC 6749, sections 4.1.3, 4.4.2 and 6).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::certificate::ClientCertificate;
use crate::endpoints::{Dialect, Endpoints};
use crate::error::{Refusal, TokenError, TransportFault};

/// Largest answer that is read: real ones are a few kilobytes.
const ANSWER_MAX: usize = 1024 * 1024;
/// Longest lifetime that is believed; beyond it the number is nonsense.
const LIFE_MAX: u64 = 366 * 24 * 3600;

/// RFC 7523, section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How an application proves who it is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credential {
    /// A client secret, sent in the form.
    Secret(SecretString),
    /// A certificate, whose key signs an assertion for every request (RFC 7523, section 2.2).
    Certificate(Arc<ClientCertificate>),
}

/// An application.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// Application (client) ID.
    pub client_id: String,
    /// Its proof.
    pub credential: Option<Credential>,
    /// The present moment, for proofs that are good for a while only.
    pub now: DateTime<Utc>,
}

/// What a token is for: the origin of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource(String);

impl Resource {
    /// The resource of an API URL. The path is no part of it: with it, Entra knows no such resource.
    #[must_use]
    pub fn origin_of(api_url: &Url) -> Resource {
        Resource(api_url.origin().ascii_serialization())
    }

    /// The origin, without a slash at the end.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0
    }

    /// The `resource` parameter, where the dialect has one.
    pub(crate) fn parameter(&self, dialect: Dialect) -> Option<&str> {
        matches!(dialect, Dialect::EntraV1 | Dialect::Adfs).then_some(self.0.as_str())
    }

    /// The `scope` parameter of a person's consent, where the dialect has one.
    pub(crate) fn scope(&self, dialect: Dialect) -> Option<String> {
        match dialect {
            Dialect::EntraV2 => Some(format!("{}/.default offline_access openid profile", self.0)),
            Dialect::Other => Some("openid offline_access".to_owned()),
            Dialect::EntraV1 | Dialect::Adfs => None,
        }
    }

    /// The `scope` parameter of an application's own grant: `.default` is the only form allowed.
    fn app_scope(&self, dialect: Dialect) -> Option<String> {
        (dialect == Dialect::EntraV2).then(|| format!("{}/.default", self.0))
    }
}

/// A code to redeem.
#[derive(Debug, Clone, Copy)]
pub struct CodeRedemption<'a> {
    /// The code.
    pub code: &'a SecretString,
    /// As in the authorization request.
    pub redirect_uri: &'a str,
    /// From PKCE.
    pub verifier: &'a SecretString,
}

/// What the token endpoint gave.
#[derive(Debug)]
pub struct TokenAnswer {
    /// The access token.
    pub access_token: SecretString,
    /// A refresh token, new or first.
    pub refresh_token: Option<SecretString>,
    /// An id token.
    pub id_token: Option<SecretString>,
    /// How long the access token lives; none when not said, or absurd.
    pub expires_in: Option<Duration>,
    /// What was granted.
    pub scope: Option<String>,
}

/// Asks token endpoints. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TokenClient {
    http: reqwest::Client,
}

/// The form, ready to be sent.
struct Form(Vec<(&'static str, String)>);

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl TokenClient {
    /// A client on an HTTP client that follows no redirects.
    #[must_use]
    pub fn new(http: reqwest::Client) -> Self {
        Self { http }
    }

    /// Redeems a code.
    ///
    /// # Errors
    /// When no token is given.
    pub async fn redeem_code(
        &self,
        endpoints: &Endpoints,
        client: &ClientIdentity,
        resource: &Resource,
        redemption: CodeRedemption<'_>,
    ) -> Result<TokenAnswer, TokenError> {
        let mut form = Form::new("authorization_code", client, endpoints)?;
        form.add("code", redemption.code.expose_secret());
        form.add("redirect_uri", redemption.redirect_uri);
        form.add("code_verifier", redemption.verifier.expose_secret());
        form.add_some("resource", resource.parameter(endpoints.dialect()));
        form.add_some("scope", resource.scope(endpoints.dialect()).as_deref());
        self.ask(endpoints, form).await
    }

    /// Trades a refresh token.
    ///
    /// # Errors
    /// When no token is given.
    pub async fn refresh(
        &self,
        endpoints: &Endpoints,
        client: &ClientIdentity,
        resource: &Resource,
        refresh_token: &SecretString,
        claims: Option<&str>,
    ) -> Result<TokenAnswer, TokenError> {
        let mut form = Form::new("refresh_token", client, endpoints)?;
        form.add("refresh_token", refresh_token.expose_secret());
        form.add_some("resource", resource.parameter(endpoints.dialect()));
        if endpoints.dialect() == Dialect::EntraV2 {
            form.add_some("scope", resource.scope(Dialect::EntraV2).as_deref());
        }
        form.add_some("claims", claims);
        self.ask(endpoints, form).await
    }

    /// Obtains a token for the application itself.
    ///
    /// # Errors
    /// When no token is given.
    pub async fn client_credentials(
        &self,
        endpoints: &Endpoints,
        client: &ClientIdentity,
        resource: &Resource,
    ) -> Result<TokenAnswer, TokenError> {
        let mut form = Form::new("client_credentials", client, endpoints)?;
        form.add_some("resource", resource.parameter(endpoints.dialect()));
        form.add_some("scope", resource.app_scope(endpoints.dialect()).as_deref());
        self.ask(endpoints, form).await
    }

    async fn ask(&self, endpoints: &Endpoints, form: Form) -> Result<TokenAnswer, TokenError> {
        let transport = |error| TokenError::Transport(TransportFault::of(error));
        let response = self
            .http
            .post(endpoints.token().clone())
            .header(ACCEPT, "application/json")
            // Comes back as the correlation id, by which Microsoft's support finds the request.
            .header("client-request-id", uuid::Uuid::new_v4().to_string())
            .header("return-client-request-id", "true")
            .form(&form.0)
            .send()
            .await
            .map_err(transport)?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let html = is_html(response.headers());
        let body = bounded(response, status).await?;
        understand(status, &body, retry_after, html)
    }
}

impl Form {
    fn new(
        grant: &str,
        client: &ClientIdentity,
        endpoints: &Endpoints,
    ) -> Result<Self, TokenError> {
        let mut form = Form(vec![
            ("grant_type", grant.to_owned()),
            ("client_id", client.client_id.clone()),
        ]);
        match &client.credential {
            Some(Credential::Secret(secret)) => {
                form.add("client_secret", secret.expose_secret());
            }
            Some(Credential::Certificate(certificate)) => {
                let audience = endpoints.token().as_str();
                let assertion = certificate
                    .assertion(&client.client_id, audience, client.now)
                    .ok_or(TokenError::Unsigned)?;
                form.add("client_assertion_type", ASSERTION_TYPE);
                form.add("client_assertion", assertion.expose_secret());
            }
            None => {}
        }
        Ok(form)
    }

    fn add(&mut self, name: &'static str, value: &str) {
        self.0.push((name, value.to_owned()));
    }

    fn add_some(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

// === the answer ===

#[derive(Deserialize)]
struct RawAnswer {
    access_token: SecretString,
    refresh_token: Option<SecretString>,
    id_token: Option<SecretString>,
    expires_in: Option<Value>,
    scope: Option<Value>,
}

async fn bounded(mut response: reqwest::Response, status: u16) -> Result<Vec<u8>, TokenError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_MAX => {
                body.extend_from_slice(&chunk)
            }
            Ok(Some(_)) => {
                let reason = "it is larger than a megabyte".to_owned();
                return Err(TokenError::Unintelligible { status, reason });
            }
            Ok(None) => return Ok(body),
            Err(error) => return Err(TokenError::Transport(TransportFault::of(error))),
        }
    }
}

fn understand(
    status: u16,
    body: &[u8],
    retry_after: Option<Duration>,
    html: bool,
) -> Result<TokenAnswer, TokenError> {
    // Some servers answer errors with status 200.
    if let Some(refusal) = Refusal::parse(status, body, retry_after) {
        return Err(TokenError::Refused(Box::new(refusal)));
    }
    if status == 429 || status >= 500 {
        let refusal = Refusal {
            status,
            error: "temporarily_unavailable".to_owned(),
            retry_after,
            ..Refusal::default()
        };
        return Err(TokenError::Refused(Box::new(refusal)));
    }
    let unintelligible = |reason: &str| TokenError::Unintelligible {
        status,
        reason: reason.to_owned(),
    };
    if html {
        return Err(unintelligible("it is a web page"));
    }
    if !(200..300).contains(&status) {
        return Err(unintelligible("it has no OAuth error"));
    }
    let raw: RawAnswer = serde_json::from_slice(body)
        .map_err(|_| unintelligible("it is not JSON with an access token"))?;
    if raw.access_token.expose_secret().is_empty() {
        return Err(unintelligible("its access token is empty"));
    }
    Ok(TokenAnswer {
        access_token: raw.access_token,
        refresh_token: raw
            .refresh_token
            .filter(|token| !token.expose_secret().is_empty()),
        id_token: raw
            .id_token
            .filter(|token| !token.expose_secret().is_empty()),
        expires_in: raw.expires_in.as_ref().and_then(seconds),
        scope: raw
            .scope
            .as_ref()
            .and_then(Value::as_str)
            .map(str::to_owned),
    })
}

/// v1 writes numbers as strings, v2 as numbers.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::String(text) => text.trim().parse::<u64>().ok()?,
        Value::Number(number) => number.as_u64()?,
        _ => return None,
    };
    (1..=LIFE_MAX)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

/// `Retry-After` in seconds; the form with a date is not used by Microsoft.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

fn is_html(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .trim_start()
                .to_ascii_lowercase()
                .starts_with("text/html")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_the_answer_are_read() {
        let v1 = br#"{"token_type":"Bearer","scope":"user_impersonation","expires_in":"3599","access_token":"a","refresh_token":"r"}"#;
        let answer = understand(200, v1, None, false).expect("an answer");
        assert_eq!(answer.expires_in, Some(Duration::from_secs(3599)));
        let v2 = br#"{"token_type":"Bearer","expires_in":3599,"access_token":"a"}"#;
        let answer = understand(200, v2, None, false).expect("an answer");
        assert_eq!(answer.expires_in, Some(Duration::from_secs(3599)));
        assert!(answer.refresh_token.is_none());
    }

    #[test]
    fn absurd_lifetimes_are_not_believed() {
        for text in [
            "-1",
            "0",
            "\"\"",
            "\"soon\"",
            "1e99",
            "99999999999",
            "null",
            "[]",
        ] {
            let body = format!(r#"{{"access_token":"a","expires_in":{text}}}"#);
            let answer = understand(200, body.as_bytes(), None, false).expect("an answer");
            assert_eq!(answer.expires_in, None, "{text}");
        }
    }

    #[test]
    fn what_is_no_token_service_is_told_apart() {
        let kind = |status, body: &str, html| match understand(status, body.as_bytes(), None, html)
        {
            Ok(_) => "token",
            Err(TokenError::Refused(_)) => "refused",
            Err(TokenError::Unintelligible { .. }) => "unintelligible",
            Err(TokenError::Transport(_)) => "transport",
            Err(TokenError::Unsigned) => "unsigned",
        };
        assert_eq!(kind(200, "<html>", true), "unintelligible");
        assert_eq!(kind(404, "not found", false), "unintelligible");
        assert_eq!(kind(302, "", false), "unintelligible");
        assert_eq!(kind(503, "<html>", true), "refused");
        assert_eq!(kind(200, r#"{"error":"invalid_grant"}"#, false), "refused");
        assert_eq!(kind(200, r#"{"access_token":""}"#, false), "unintelligible");
    }

    #[test]
    fn a_form_does_not_print_its_values() {
        let identity = ClientIdentity {
            client_id: "c".into(),
            credential: Some(Credential::Secret(SecretString::from("hunter2"))),
            now: DateTime::UNIX_EPOCH,
        };
        let tenant = "https://login.microsoftonline.com/contoso.example/oauth2";
        let endpoints =
            Endpoints::parse(&format!("{tenant}/authorize"), &format!("{tenant}/token"));
        let endpoints = endpoints.expect("endpoints").value;
        let form = Form::new("refresh_token", &identity, &endpoints).expect("a form");
        let printed = format!("{form:?}");
        assert!(!printed.contains("hunter2") && printed.contains("client_secret"));
    }
}
