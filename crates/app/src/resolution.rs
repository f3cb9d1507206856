//! What would change the state of a connection, in a word for machines. The sentence for people is
//! the remedy of the reason's text.

use tieline_core::{Connection, ConnectionState};

/// Who or what has to move before a connection works again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Nobody: it works.
    None,
    /// Time: the keeper tries again by itself.
    Time,
    /// Somebody signs in and consents.
    Consent,
    /// A new secret or certificate.
    Credential,
    /// Other settings of the account.
    Settings,
    /// An administrator of the tenant changes something at Microsoft; then a consent or a test.
    Tenant,
}

impl Resolution {
    /// What would change a connection's state.
    #[must_use]
    pub fn of(connection: &Connection) -> Self {
        match (connection.state, connection.reason.code.as_str()) {
            (ConnectionState::Connected, _) => Resolution::None,
            (ConnectionState::Unreachable, _) => Resolution::Time,
            (_, code) => Self::of_code(code),
        }
    }

    fn of_code(code: &str) -> Self {
        match code {
            "secret-wrong"
            | "secret-expired"
            | "secret-missing"
            | "client-public"
            | "certificate-unknown"
            | "certificate-expired"
            | "credentials-refused"
            | "certificate-not-signing"
            | "assertion-invalid" => Resolution::Credential,
            "application-disabled"
            | "user-disabled"
            | "user-locked"
            | "user-not-assigned"
            | "policy-blocked"
            | "permission-not-requested"
            | "service-not-subscribed"
            | "password-expired" => Resolution::Tenant,
            "token-service-busy"
            | "token-service-slow"
            | "request-loop"
            | "name-unresolved"
            | "connection-refused"
            | "connection-cut"
            | "tls-failed"
            | "database-unavailable" => Resolution::Time,
            "no-consent-yet"
            | "consent-for-other-client"
            | "consent-lost"
            | "renewal-unanswered" => Resolution::Consent,
            code if tieline_entra::codes::needs_consent(code) => Resolution::Consent,
            _ => Resolution::Settings,
        }
    }

    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Resolution::None => "none",
            Resolution::Time => "time",
            Resolution::Consent => "consent",
            Resolution::Credential => "credential",
            Resolution::Settings => "settings",
            Resolution::Tenant => "tenant",
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use tieline_core::Reason;

    use super::*;

    #[test]
    fn every_kind_of_trouble_says_what_would_end_it() {
        let of = |state, code| {
            let since = DateTime::<Utc>::UNIX_EPOCH;
            Resolution::of(&Connection {
                state,
                since,
                reason: Reason::new(code, ""),
                next_attempt_at: None,
            })
        };
        use ConnectionState as S;
        for (state, code, expected) in [
            (S::Connected, "renewed", Resolution::None),
            (S::Degraded, "token-service-busy", Resolution::Time),
            (S::Degraded, "secret-expired", Resolution::Credential),
            (
                S::Misconfigured,
                "application-unknown",
                Resolution::Settings,
            ),
            (S::NeedsConsent, "mfa-required", Resolution::Consent),
            (S::NeedsConsent, "renewal-unanswered", Resolution::Consent),
            (S::NeedsConsent, "user-disabled", Resolution::Tenant),
            (S::NotConnected, "no-consent-yet", Resolution::Consent),
            (S::Unreachable, "name-unresolved", Resolution::Time),
        ] {
            assert_eq!(of(state, code), expected, "{state} {code}");
        }
    }
}
