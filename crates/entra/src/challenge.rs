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
    /// Reads the header. One value may hold several challenges, of several schemes (RFC 9110,
    /// section 11.6.1); the bearer challenge that asks for claims says more than one that does not.
    /// None when there is no bearer challenge.
    #[must_use]
    pub fn parse(header: &str) -> Option<Challenge> {
        let mut all = bearer_challenges(header);
        let told = all.iter().position(|challenge| challenge.claims.is_some());
        let chosen = told.unwrap_or(0);
        (chosen < all.len()).then(|| all.swap_remove(chosen))
    }

    fn note(&mut self, name: &str, value: String) {
        match name.to_ascii_lowercase().as_str() {
            "authorization_uri" | "authorization" => {
                self.authorization_uri = Url::parse(&value).ok();
            }
            "resource_id" | "resource" => self.resource = Some(value),
            "error" => self.error = Some(value),
            "claims" => self.claims = claims(&value),
            _ => {}
        }
    }
}

/// What stands between two commas outside quotation marks.
struct Element<'a> {
    /// The scheme, where a challenge begins.
    scheme: Option<&'a str>,
    parameter: Option<(&'a str, String)>,
}

fn bearer_challenges(header: &str) -> Vec<Challenge> {
    let mut all = Vec::new();
    let mut present: Option<Challenge> = None;
    for Element { scheme, parameter } in elements(header) {
        if let Some(scheme) = scheme {
            all.extend(present.take());
            present = scheme
                .eq_ignore_ascii_case("bearer")
                .then(Challenge::default);
        }
        // Parameters of another scheme are none of ours.
        if let (Some(challenge), Some((name, value))) = (&mut present, parameter) {
            challenge.note(name, value);
        }
    }
    all.extend(present);
    all
}

/// Commas part the parameters of a challenge as well as challenges. What tells them apart is the
/// scheme: a word of its own before a parameter's name, or without any parameter.
fn elements(header: &str) -> Vec<Element<'_>> {
    let mut found = Vec::new();
    let mut rest = begin(header);
    while !rest.is_empty() {
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        let words = rest[..end].trim();
        let Some(after) = rest[end..].strip_prefix('=') else {
            found.push(Element {
                scheme: words.split_whitespace().next(),
                parameter: None,
            });
            rest = begin(&rest[end..]);
            continue;
        };
        let (value, remaining) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        let name = words.split_whitespace().next_back().unwrap_or_default();
        found.push(Element {
            scheme: words.split_whitespace().next().filter(|_| words != name),
            parameter: Some((name, value)),
        });
        rest = begin(remaining);
    }
    found
}

/// Empty elements of a list are passed over (RFC 9110, section 5.6.1.2).
fn begin(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', ','])
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

    const CLAIMS: &str = r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#;

    #[test]
    fn the_challenge_for_claims_is_found_wherever_it_stands_in_a_joined_header() {
        let claims = STANDARD.encode(CLAIMS);
        let plain = "Bearer authorization_uri=https://login.example/8d2c/oauth2/authorize, \
                     resource_id=https://contoso.crm4.dynamics.com/";
        let asking =
            format!(r#"bearer realm="a, \"b\"", error="insufficient_claims", claims="{claims}""#);
        for header in [
            format!("{plain}, {asking}"),
            format!("{asking}, {plain}"),
            format!("{plain},{asking},Basic realm=\"c\""),
            format!("Negotiate, {asking}"),
            format!("Negotiate YWJj==, , {plain}, {asking}"),
            format!("Bearer, {asking}"),
            format!("{plain},\tBearer\terror=insufficient_claims,claims = \"{claims}\""),
        ] {
            let challenge = Challenge::parse(&header).expect("a challenge");
            assert_eq!(challenge.claims.as_deref(), Some(CLAIMS), "{header}");
            assert_eq!(challenge.error.as_deref(), Some("insufficient_claims"));
            assert!(challenge.authorization_uri.is_none(), "{header}");
        }
    }

    #[test]
    fn without_claims_the_first_bearer_challenge_counts() {
        let header =
            "Basic realm=\"x\", Bearer resource_id=https://a.example/, Bearer resource_id=b";
        let challenge = Challenge::parse(header).expect("a challenge");
        assert_eq!(challenge.resource.as_deref(), Some("https://a.example/"));
    }

    #[test]
    fn what_another_scheme_says_is_not_ours() {
        let claims = STANDARD.encode(CLAIMS);
        assert_eq!(
            Challenge::parse("Negotiate, Basic realm=\"Bearer a=b\""),
            None
        );
        let header = format!("Bearer error=invalid_token, DPoP claims=\"{claims}\"");
        let challenge = Challenge::parse(&header).expect("a challenge");
        assert_eq!(challenge.claims, None);
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
