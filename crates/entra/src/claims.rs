//! The claims of a token that came straight from the token endpoint over TLS.
//!
//! They are decoded, not verified: OpenID Connect Core, section 3.1.3.7 lets a client rely on TLS
//! there. They serve explanations, never admission.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// What a token says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Whom it is for.
    pub aud: Vec<String>,
    /// Who issued it.
    pub iss: Option<String>,
    /// When it ends.
    pub exp: Option<DateTime<Utc>>,
    /// When it was issued.
    pub iat: Option<DateTime<Utc>>,
    /// When it begins.
    pub nbf: Option<DateTime<Utc>>,
    /// The tenant.
    pub tid: Option<String>,
    /// The user's or application's object.
    pub oid: Option<String>,
    /// The user's sign-in name.
    pub upn: Option<String>,
    /// The user's name.
    pub name: Option<String>,
    /// The application it was issued to.
    pub appid: Option<String>,
    /// Delegated permissions.
    pub scp: Vec<String>,
    /// Application permissions.
    pub roles: Vec<String>,
    /// As sent with the authorization request.
    pub nonce: Option<String>,
    /// `app` for an application's own token.
    pub idtyp: Option<String>,
    /// Version of the token's format.
    pub ver: Option<String>,
}

/// Why a token could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// It is not a JWT; that is allowed.
    #[error("the token is opaque")]
    Opaque,
    /// It looks like a JWT and is none.
    #[error("the token's payload is not readable")]
    Malformed,
}

/// Decodes a JWT's payload.
///
/// # Errors
/// When the token is opaque or malformed.
pub fn decode(token: &SecretString) -> Result<Claims, ClaimsError> {
    let mut parts = token.expose_secret().split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(ClaimsError::Opaque);
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .map_err(|_| ClaimsError::Malformed)?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| ClaimsError::Malformed)?;
    if value.is_object() {
        Ok(claims_of(&value))
    } else {
        Err(ClaimsError::Malformed)
    }
}

fn claims_of(value: &Value) -> Claims {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let first = |names: &[&str]| names.iter().find_map(|name| text(name));
    Claims {
        aud: list(value.get("aud")),
        iss: text("iss"),
        exp: date(value.get("exp")),
        iat: date(value.get("iat")),
        nbf: date(value.get("nbf")),
        tid: text("tid"),
        oid: text("oid"),
        upn: first(&["upn", "preferred_username", "unique_name", "email"]),
        name: text("name"),
        appid: first(&["appid", "azp"]),
        scp: text("scp")
            .map(|words| words.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default(),
        roles: list(value.get("roles")),
        nonce: text("nonce"),
        idtyp: text("idtyp"),
        ver: text("ver"),
    }
}

fn list(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// A NumericDate of RFC 7519, which may be written as a string.
fn date(value: Option<&Value>) -> Option<DateTime<Utc>> {
    let seconds = match value? {
        Value::Number(number) => number.as_i64().or_else(|| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "fractions of a second don't matter"
            )]
            number.as_f64().map(|seconds| seconds as i64)
        })?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    DateTime::from_timestamp(seconds, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> SecretString {
        SecretString::from(format!("e30.{}.", URL_SAFE_NO_PAD.encode(payload)))
    }

    #[test]
    fn both_versions_are_read() {
        let v1 = decode(&token(r#"{"aud":"https://o/","upn":"a@b","appid":"c","exp":1700000000,"scp":"user_impersonation"}"#)).expect("claims");
        assert_eq!(
            (v1.upn.as_deref(), v1.appid.as_deref()),
            (Some("a@b"), Some("c"))
        );
        assert_eq!(v1.scp, ["user_impersonation"]);
        let v2 = decode(&token(
            r#"{"aud":["x"],"preferred_username":"a@b","azp":"c","exp":"1700000000"}"#,
        ))
        .expect("claims");
        assert_eq!((v2.upn, v2.appid, v2.exp), (v1.upn, v1.appid, v1.exp));
    }

    #[test]
    fn opaque_and_broken_tokens_are_told_apart() {
        assert_eq!(
            decode(&SecretString::from("0.AXoA")),
            Err(ClaimsError::Opaque)
        );
        assert_eq!(
            decode(&SecretString::from("a.!.c")),
            Err(ClaimsError::Malformed)
        );
        assert_eq!(decode(&token("[]")), Err(ClaimsError::Malformed));
        assert_eq!(decode(&token("{")), Err(ClaimsError::Malformed));
    }
}
