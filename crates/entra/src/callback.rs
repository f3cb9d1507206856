//! What comes back with the redirect (RFC 6749, sections 4.1.2 and 4.1.2.1).

use secrecy::SecretString;

use crate::codes;

/// Longest text of a description that is kept.
const DESCRIPTION_MAX: usize = 500;

/// The parameters of the redirect, told apart.
#[derive(Debug)]
pub enum Callback {
    /// A code.
    Code {
        /// To be redeemed once.
        code: SecretString,
        /// As sent.
        state: String,
        /// Whether an administrator consented for everybody (v1).
        admin_consent: bool,
    },
    /// An administrator's consent, without a code.
    AdminConsent {
        /// Whether it was given.
        granted: bool,
        /// Where.
        tenant: Option<String>,
        /// As sent.
        state: String,
    },
    /// An error.
    Denied {
        /// OAuth's word.
        error: String,
        /// The first line of the description.
        description: String,
        /// AADSTS numbers found in it.
        codes: Vec<u32>,
        /// As sent, where it came back.
        state: Option<String>,
    },
    /// None of these.
    Malformed,
}

impl Callback {
    /// Reads the query of the redirect.
    #[must_use]
    pub fn parse(query: &str) -> Callback {
        let query = query.trim_start_matches('?');
        let find = |name: &str| {
            url::form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
                .filter(|value| !value.is_empty())
        };
        let state = find("state");
        let admin = find("admin_consent").is_some_and(|word| word.eq_ignore_ascii_case("true"));
        if let Some(error) = find("error") {
            let full = find("error_description").unwrap_or_default();
            return Callback::Denied {
                error: error.chars().take(100).collect(),
                codes: codes::in_text(&full),
                description: first_line(&full),
                state,
            };
        }
        match (find("code"), state) {
            (Some(code), Some(state)) => Callback::Code {
                code: SecretString::from(code),
                state,
                admin_consent: admin,
            },
            (None, Some(state)) if find("admin_consent").is_some() => Callback::AdminConsent {
                granted: admin,
                tenant: find("tenant"),
                state,
            },
            _ => Callback::Malformed,
        }
    }

    /// The state that came back.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        match self {
            Callback::Code { state, .. } | Callback::AdminConsent { state, .. } => Some(state),
            Callback::Denied { state, .. } => state.as_deref(),
            Callback::Malformed => None,
        }
    }
}

/// Entra puts trace id, correlation id and time on lines of their own.
pub(crate) fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars()
        .filter(|c| !c.is_control())
        .take(DESCRIPTION_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_needs_a_state() {
        assert!(matches!(
            Callback::parse("code=0.A&state=s&session_state=x"),
            Callback::Code {
                admin_consent: false,
                ..
            }
        ));
        assert!(matches!(Callback::parse("code=0.A"), Callback::Malformed));
        assert!(matches!(Callback::parse(""), Callback::Malformed));
    }

    #[test]
    fn a_refusal_tells_its_number() {
        let query = "error=access_denied&error_description=AADSTS65004%3a+User+declined+to+consent\
                     %0d%0aTrace+ID%3a+1&state=s";
        let Callback::Denied {
            error,
            description,
            codes,
            state,
        } = Callback::parse(query)
        else {
            panic!("denied");
        };
        assert_eq!(
            (error.as_str(), codes, state.as_deref()),
            ("access_denied", vec![65004], Some("s"))
        );
        assert_eq!(description, "AADSTS65004: User declined to consent");
    }

    #[test]
    fn an_administrators_consent_comes_without_a_code() {
        assert!(matches!(
            Callback::parse("admin_consent=True&tenant=t&state=s"),
            Callback::AdminConsent { granted: true, .. }
        ));
        assert!(matches!(
            Callback::parse("error=permission_denied&admin_consent=True&state=s"),
            Callback::Denied { .. }
        ));
    }
}
