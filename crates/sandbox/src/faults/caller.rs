//! Whose request it is, read off without believing it: a fault is no authorization.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use uuid::Uuid;

use crate::World;
use crate::control::entra;
use crate::faults::fault::Side;
use crate::serve::BODY_MAX;

/// What is known of a request before anybody answers it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) side: Side,
    pub(crate) method: Method,
    /// Without percent-encoding.
    pub(crate) path: String,
    pub(crate) application: Option<Uuid>,
    pub(crate) upn: Option<String>,
    pub(crate) object: Option<Uuid>,
}

/// Nobody's token is longer; whatever is, is not decoded.
const TOKEN_MAX: usize = 64 << 10;

impl Seen {
    /// A request of which nothing but its address is known.
    pub(crate) fn anonymous(method: Method, path: &str) -> Self {
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        Self {
            side: Side::of(&decoded),
            method,
            path: decoded.into_owned(),
            application: None,
            upn: None,
            object: None,
        }
    }

    /// Whether a user principal name or an object id is this user's.
    pub(crate) fn is_user(&self, user: &str) -> bool {
        let by_name = self
            .upn
            .as_ref()
            .is_some_and(|upn| upn.eq_ignore_ascii_case(user));
        by_name || (self.object.is_some() && self.object == user.parse().ok())
    }

    /// Reads a request. Of the bodies only the small forms of the token endpoint are read; the
    /// request that comes back is whole.
    pub(crate) async fn of(world: &World, request: Request) -> Result<(Self, Request), TooLarge> {
        let mut seen = Self::anonymous(request.method().clone(), request.uri().path());
        if seen.side == Side::Dataverse {
            seen.read_bearer(request.headers());
            return Ok((seen, request));
        }
        let (parts, body) = request.into_parts();
        let mut pairs = Pairs::of(parts.uri.query().unwrap_or_default().as_bytes());
        let request = if has_form(&parts.method, &parts.uri, &parts.headers) {
            let body = axum::body::to_bytes(body, BODY_MAX).await;
            let body: Bytes = body.map_err(|_| TooLarge)?;
            pairs.0.extend(Pairs::of(&body).0);
            Request::from_parts(parts, Body::from(body))
        } else {
            Request::from_parts(parts, body)
        };
        seen.read_pairs(world, &pairs, request.headers());
        Ok((seen, request))
    }

    fn read_pairs(&mut self, world: &World, pairs: &Pairs, headers: &HeaderMap) {
        let client = pairs.get("client_id").and_then(|id| id.parse().ok());
        self.application = client.or_else(|| basic_user(headers)?.parse().ok());
        let named = pairs.get("username").or_else(|| pairs.get("login_hint"));
        self.upn = named
            .map(str::to_owned)
            .or_else(|| entra::user_of_grant(world, &|name| pairs.get(name).map(str::to_owned)));
    }

    fn read_bearer(&mut self, headers: &HeaderMap) {
        let Some(claims) = bearer_claims(headers) else {
            return;
        };
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let id = |name: &str| text(name).and_then(|text| text.parse().ok());
        self.application = id("appid").or_else(|| id("azp"));
        self.object = id("oid");
        self.upn = ["upn", "preferred_username", "unique_name"]
            .into_iter()
            .find_map(text)
            .map(str::to_owned);
    }
}

/// The body of a token request is larger than anything here takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TooLarge;

fn has_form(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let path = uri.path().to_ascii_lowercase();
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    method == Method::POST
        && (path.ends_with("/token") || path.ends_with("/devicecode"))
        && kind
            .to_ascii_lowercase()
            .starts_with("application/x-www-form-urlencoded")
}

fn after_scheme<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (said, rest) = value.split_once(' ')?;
    said.eq_ignore_ascii_case(scheme).then_some(rest.trim())
}

fn basic_user(headers: &HeaderMap) -> Option<String> {
    let decoded = STANDARD.decode(after_scheme(headers, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, _) = text.split_once(':')?;
    Some(
        percent_encoding::percent_decode_str(user)
            .decode_utf8_lossy()
            .into_owned(),
    )
}

fn bearer_claims(headers: &HeaderMap) -> Option<Value> {
    let token = after_scheme(headers, "bearer")?;
    if token.len() > TOKEN_MAX {
        return None;
    }
    let payload = token.split('.').nth(1)?;
    let decoded = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&decoded).ok()
}

/// Names and values of a query and a form.
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn of(bytes: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(bytes).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn broken_tokens_are_nobodys() {
        for token in ["", "a.b.c", "....", "x", "é.é.é"] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()).unwrap();
            headers.insert(header::AUTHORIZATION, value);
            let mut seen = Seen::anonymous(Method::GET, "/api/data/v9.2/");
            seen.read_bearer(&headers);
            assert!(seen.application.is_none() && seen.upn.is_none());
        }
    }

    #[test]
    fn a_user_is_known_by_name_and_by_object_id() {
        let claims = r#"{"appid":"3b8f4c1d-7c0a-4c62-8f0e-52a6b9d1e7f4","upn":"Megan@contoso.example","oid":"6f0c2b7e-3f0e-4f7a-9a53-8d1c5a2e4b10"}"#;
        let token = format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims));
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("bearer {token}")).unwrap();
        headers.insert(header::AUTHORIZATION, value);
        let mut seen = Seen::anonymous(Method::GET, "/api/data/v9.2/");
        seen.read_bearer(&headers);
        assert!(seen.is_user("megan@contoso.example"));
        assert!(seen.is_user("6F0C2B7E-3F0E-4F7A-9A53-8D1C5A2E4B10"));
        assert!(!seen.is_user("alex@contoso.example") && !seen.is_user(""));
        assert!(seen.application.is_some());
    }
}
