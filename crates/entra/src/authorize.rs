//! The authorization request (RFC 6749, section 4.1.1) with PKCE (RFC 7636).

use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::client::Resource;
use crate::endpoints::{Dialect, Endpoints};

/// A proof key: the verifier stays here, the challenge goes to the authorization endpoint.
#[derive(Debug)]
pub struct Pkce {
    /// Sent with the code.
    pub verifier: SecretString,
    /// Its SHA-256, base64url (method `S256`).
    pub challenge: String,
}

impl Pkce {
    /// A new proof key.
    #[must_use]
    pub fn generate() -> Self {
        let verifier = random_token();
        let hash = digest::digest(&digest::SHA256, verifier.expose_secret().as_bytes());
        Self {
            challenge: URL_SAFE_NO_PAD.encode(hash),
            verifier,
        }
    }
}

/// 256 random bits in base64url, for states, nonces and verifiers.
#[must_use]
pub fn random_token() -> SecretString {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).expect("the operating system gives random numbers");
    SecretString::from(URL_SAFE_NO_PAD.encode(bytes))
}

/// What the person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// Which account to use.
    SelectAccount,
    /// An administrator's consent for everybody.
    AdminConsent,
    /// Consent again.
    Consent,
    /// Sign-in again.
    Login,
}

/// An authorization request. It never carries a secret.
#[derive(Debug)]
pub struct AuthorizationRequest<'a> {
    /// Where.
    pub endpoints: &'a Endpoints,
    /// Application (client) ID.
    pub client_id: &'a str,
    /// Exactly as registered.
    pub redirect_uri: &'a str,
    /// What the token will be for.
    pub resource: &'a Resource,
    /// Comes back unchanged.
    pub state: &'a str,
    /// Comes back in the id token.
    pub nonce: &'a str,
    /// From [`Pkce`].
    pub challenge: &'a str,
    /// What the person is asked.
    pub prompt: Prompt,
    /// A user name to fill in.
    pub login_hint: Option<&'a str>,
    /// Claims of a challenge.
    pub claims: Option<&'a str>,
}

impl AuthorizationRequest<'_> {
    /// The address to send the browser to. Parameters that already stand on the endpoint stay
    /// (RFC 6749, section 3.1).
    #[must_use]
    pub fn url(&self) -> Url {
        let dialect = self.endpoints.dialect();
        if dialect == Dialect::EntraV2 && self.prompt == Prompt::AdminConsent {
            return self.admin_consent_url();
        }
        let mut url = self.endpoints.authorization().clone();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("client_id", self.client_id)
                .append_pair("response_type", "code")
                .append_pair("redirect_uri", self.redirect_uri)
                .append_pair("response_mode", "query")
                .append_pair("state", self.state)
                .append_pair("nonce", self.nonce)
                .append_pair("code_challenge", self.challenge)
                .append_pair("code_challenge_method", "S256");
            if let Some(scope) = self.resource.scope(dialect) {
                query.append_pair("scope", &scope);
            }
            if let Some(resource) = self.resource.parameter(dialect) {
                query.append_pair("resource", resource);
            }
            if let Some(prompt) = self.prompt_word() {
                query.append_pair("prompt", prompt);
            }
            if let Some(hint) = self.login_hint {
                query.append_pair("login_hint", hint);
            }
            if let Some(claims) = self.claims {
                query.append_pair("claims", claims);
            }
        }
        url
    }

    /// The page of v2 where an administrator consents for everybody. It gives no code.
    fn admin_consent_url(&self) -> Url {
        let mut url = self.endpoints.authorization().clone();
        let tenant = self.endpoints.tenant().unwrap_or("organizations");
        // This page refuses `common`.
        let tenant = if tenant.eq_ignore_ascii_case("common") {
            "organizations"
        } else {
            tenant
        };
        url.set_path(&format!("/{tenant}/v2.0/adminconsent"));
        url.set_query(None);
        url.query_pairs_mut()
            .append_pair("client_id", self.client_id)
            .append_pair("scope", &format!("{}/.default", self.resource.origin()))
            .append_pair("redirect_uri", self.redirect_uri)
            .append_pair("state", self.state);
        url
    }

    fn prompt_word(&self) -> Option<&'static str> {
        let entra = matches!(
            self.endpoints.dialect(),
            Dialect::EntraV1 | Dialect::EntraV2
        );
        match self.prompt {
            Prompt::SelectAccount => entra.then_some("select_account"),
            Prompt::AdminConsent => entra.then_some("admin_consent"),
            Prompt::Consent => Some("consent"),
            Prompt::Login => Some("login"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const T: &str = "8d2c0f1e-3b57-4a3e-9a0b-5f7a2f5b1c01";

    fn ask(dialect: Dialect, prompt: Prompt) -> (Url, HashMap<String, String>) {
        let authority = Url::parse("https://login.microsoftonline.com").expect("a URL");
        let endpoints = Endpoints::for_tenant(&authority, T, dialect);
        let api = Url::parse("https://contoso.crm4.dynamics.com/api/data/v9.0").expect("a URL");
        let resource = Resource::origin_of(&api);
        let url = AuthorizationRequest {
            endpoints: &endpoints,
            client_id: "client",
            redirect_uri: "https://t.example/admin/msdynamicscallback.html",
            resource: &resource,
            state: "s&=+",
            nonce: "n",
            challenge: "c",
            prompt,
            login_hint: None,
            claims: None,
        }
        .url();
        let pairs = url.query_pairs().into_owned().collect();
        (url, pairs)
    }

    #[test]
    fn v1_asks_for_the_resource_and_v2_for_a_scope() {
        let (_, v1) = ask(Dialect::EntraV1, Prompt::SelectAccount);
        assert_eq!(v1["resource"], "https://contoso.crm4.dynamics.com");
        assert!(!v1.contains_key("scope"));
        assert_eq!(
            (v1["prompt"].as_str(), v1["state"].as_str()),
            ("select_account", "s&=+")
        );
        assert_eq!(v1["code_challenge_method"], "S256");
        let (_, v2) = ask(Dialect::EntraV2, Prompt::SelectAccount);
        assert!(!v2.contains_key("resource"));
        let scope = &v2["scope"];
        assert!(
            scope.contains("https://contoso.crm4.dynamics.com/.default"),
            "{scope}"
        );
        assert!(scope.contains("offline_access"), "{scope}");
    }

    #[test]
    fn an_administrators_consent_has_its_own_ways() {
        let (_, v1) = ask(Dialect::EntraV1, Prompt::AdminConsent);
        assert_eq!(v1["prompt"], "admin_consent");
        let (url, v2) = ask(Dialect::EntraV2, Prompt::AdminConsent);
        assert_eq!(url.path(), format!("/{T}/v2.0/adminconsent"));
        assert!(!v2.contains_key("response_type"));
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let pkce = Pkce::generate();
        let length = pkce.verifier.expose_secret().len();
        assert!((43..=128).contains(&length));
        let hash = digest::digest(&digest::SHA256, pkce.verifier.expose_secret().as_bytes());
        assert_eq!(pkce.challenge, URL_SAFE_NO_PAD.encode(hash));
        assert_ne!(pkce.challenge, Pkce::generate().challenge);
    }
}
