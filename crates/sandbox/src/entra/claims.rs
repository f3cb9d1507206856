//! The `claims` parameter: what a client can do, and what a resource demanded of it.
//!
//! OpenID Connect Core, section 5.5, gives the form; Entra fills in the members.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::entra::codes::Refusal;
use crate::entra::directory::object_id;
use crate::entra::params::Params;

/// What a request's `claims` say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    /// The client understands claims challenges, and gets longer tokens for it.
    pub(crate) cae: bool,
    /// Authentication contexts that the token has to carry.
    pub(crate) acrs: Vec<String>,
    /// Policies that a refusal named: they are met by multifactor authentication.
    pub(crate) policies: bool,
    /// Only what was issued since then will do.
    pub(crate) not_before: Option<i64>,
}

impl Claims {
    /// Reads the parameter.
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub(crate) fn of(params: &Params) -> Result<Self, Refusal> {
        match params.get("claims") {
            None => Ok(Self::default()),
            Some(text) => {
                let parsed: Option<Value> = serde_json::from_str(text).ok();
                let parsed = parsed.filter(Value::is_object);
                let parsed = parsed.ok_or_else(|| Refusal::of(9_002_313, &[]))?;
                Ok(Self::read(&parsed["access_token"], &parsed["id_token"]))
            }
        }
    }

    fn read(access: &Value, id: &Value) -> Self {
        let capabilities = values(&access["xms_cc"]);
        let mut acrs = values(&access["acrs"]);
        acrs.extend(values(&id["acrs"]));
        // A challenge that names the capability instead of a context means the capability.
        let cp1 = |word: &String| word.eq_ignore_ascii_case("cp1");
        let cae = capabilities.iter().any(cp1) || acrs.iter().any(cp1);
        acrs.retain(|word| !cp1(word));
        let demanded = |name: &str| access.get(name).is_some() || id.get(name).is_some();
        let not_before = match &access["nbf"]["value"] {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        };
        Self {
            cae,
            acrs,
            policies: demanded("capolids") || demanded("polids"),
            not_before,
        }
    }

    /// Whether a second factor is what would satisfy them.
    pub(crate) fn demand_mfa(&self) -> bool {
        self.policies || !self.acrs.is_empty()
    }
}

/// `value` and `values` mean the same.
fn values(claim: &Value) -> Vec<String> {
    let list = claim["values"].as_array().into_iter().flatten();
    list.chain(claim.get("value"))
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

/// What the next authorization has to bring along after a refusal by policy.
pub(crate) fn policy_claims(code: u32) -> String {
    let policy = object_id(&format!("policy/{code}"));
    json!({"access_token": {"polids": {"essential": true, "values": [policy]}}}).to_string()
}

/// What a resource demands after an event: a token that is younger.
pub(crate) fn younger_than(seconds: i64) -> String {
    let value = seconds.to_string();
    json!({"access_token": {"nbf": {"essential": true, "value": value}}}).to_string()
}

/// The value of `WWW-Authenticate` with which a resource hands on a challenge.
pub(crate) fn challenge_header(origin: &str, claims: &str) -> String {
    format!(
        "Bearer realm=\"\", authorization_uri=\"{origin}/common/oauth2/authorize\", \
         error=\"insufficient_claims\", claims=\"{}\"",
        STANDARD.encode(claims)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Claims, Refusal> {
        let mut params = Params::default();
        params.set("claims", text.to_owned());
        Claims::of(&params)
    }

    #[test]
    fn a_capability_and_a_context_are_told_apart() {
        let text = r#"{"access_token":{"xms_cc":{"values":["cp1"]},"acrs":{"essential":true,"value":"c1"}}}"#;
        let claims = read(text).expect("claims");
        assert!(claims.cae && claims.demand_mfa());
        assert_eq!(claims.acrs, ["c1"]);
        let only = read(r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#).expect("claims");
        assert!(only.cae && !only.demand_mfa());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["[]", "cp1", "{", "1"] {
            assert_eq!(read(text).expect_err(text).code, 9_002_313);
        }
    }

    #[test]
    fn a_challenge_comes_back_as_it_was_given() {
        let claims = read(&younger_than(1_700_000_000)).expect("claims");
        assert_eq!(claims.not_before, Some(1_700_000_000));
        assert!(read(&policy_claims(50_076)).expect("claims").policies);
    }
}
