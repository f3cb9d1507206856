//! The challenge of `WWW-Authenticate` (RFC 6750, section 3), as Dataverse writes it: with or
//! without quotation marks, and with claims in base64 for continuous access evaluation.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use url::Url;

/// A bearer challenge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Where to sign in.
    pub authorization_uri: Option<Url>,
    /// What the token is to be for.
    pub resource: Option<String>,
    /// Why the last token was refused.
    pub error: Option<String>,
    /// Claims to ask for, as JSON.
    pub claims: Option<String>,
}

impl Challenge {
    /// Reads the header. None when it is no bearer challenge.
    #[must_use]
    pub fn parse(header: &str) -> Option<Challenge> {
        let rest = header.trim();
        let scheme = rest.get(..6)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut challenge = Challenge::default();
        for (name, value) in parameters(&rest[6..]) {
            match name.to_ascii_lowercase().as_str() {
                "authorization_uri" | "authorization" => {
                    challenge.authorization_uri = Url::parse(&value).ok();
                }
                "resource_id" | "resource" => challenge.resource = Some(value),
                "error" => challenge.error = Some(value),
                "claims" => challenge.claims = claims(&value),
                _ => {}
            }
        }
        Some(challenge)
    }
}

/// `name=value` pairs, parted by commas outside quotation marks.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    while let Some((name, after)) = rest.split_once('=') {
        let (value, remaining) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        pairs.push((name.trim().to_owned(), value));
        rest = remaining.trim_start_matches([' ', ',']);
    }
    pairs
}

/// A quoted-string of RFC 9110, section 5.6.4; the rest begins after its closing mark.
fn quoted_string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn claims(text: &str) -> Option<String> {
    if text.trim_start().starts_with('{') {
        return Some(text.to_owned());
    }
    let bytes = STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')))
        .ok()?;
    let json = String::from_utf8(bytes).ok()?;
    serde_json::from_str::<serde_json::Value>(&json).ok()?;
    Some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dataverse_writes_it_without_quotation_marks() {
        let header = "Bearer authorization_uri=https://login.microsoftonline.com/8d2c/oauth2/authorize, \
                      resource_id=https://contoso.crm4.dynamics.com/";
        let challenge = Challenge::parse(header).expect("a challenge");
        assert_eq!(
            challenge.authorization_uri.expect("a URL").path(),
            "/8d2c/oauth2/authorize"
        );
        assert_eq!(
            challenge.resource.as_deref(),
            Some("https://contoso.crm4.dynamics.com/")
        );
    }

    #[test]
    fn claims_are_decoded() {
        let json = r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#;
        let header = format!(
            r#"Bearer realm="", authorization_uri="https://l.example/common/oauth2/authorize", error="insufficient_claims", claims="{}""#,
            STANDARD.encode(json)
        );
        let challenge = Challenge::parse(&header).expect("a challenge");
        assert_eq!(challenge.claims.as_deref(), Some(json));
        assert_eq!(challenge.error.as_deref(), Some("insufficient_claims"));
    }

    #[test]
    fn nonsense_is_no_challenge_and_never_a_panic() {
        for header in [
            "",
            "Basic realm=x",
            "Bear",
            "bearer",
            "Bearer =,\"",
            "Bearer a=\"b\\",
            "Béarer",
        ] {
            let challenge = Challenge::parse(header);
            assert!(
                challenge.is_none_or(|c| c.authorization_uri.is_none()),
                "{header}"
            );
        }
    }
}
