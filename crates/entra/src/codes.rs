//! AADSTS codes that an operator meets, and the slug that chooses the help text.
//!
//! Microsoft says that numbers may change and that programs should branch on OAuth's `error` and
//! `suberror`; so these choose words, and a verdict only where the protocol has no other way.
//! Source: Microsoft Entra documentation, "Authentication and authorization error codes".

/// A code and its slug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AadstsCode {
    /// The number.
    pub code: u32,
    /// Stable, kebab-case.
    pub slug: &'static str,
}

macro_rules! catalogue {
    ($($slug:literal: $($code:literal)+;)+) => {
        /// Every code that is known, by slug.
        pub const CATALOGUE: &[AadstsCode] =
            &[$($(AadstsCode { code: $code, slug: $slug },)+)+];
    };
}

catalogue! {
    "reply-url-mismatch": 50011;
    "application-unknown": 700016 700051;
    "tenant-unknown": 90002 900023 90019;
    "secret-wrong": 7000215 70002;
    "secret-expired": 7000222;
    "secret-missing": 7000218 7000216;
    "client-public": 700025;
    "certificate-unknown": 700027;
    "assertion-invalid": 50013 500133 700021 700024 700023;
    "application-disabled": 7000112 7000114;
    "resource-unknown": 500011 50001;
    "permission-not-requested": 650057 650056;
    "service-not-subscribed": 650052;
    "consent-missing": 65001;
    "consent-denied": 65004;
    "consent-admin-needed": 90094 90095;
    "user-not-assigned": 50105 501051;
    "user-of-other-tenant": 50020 90072;
    "tenant-needed": 50194 50059 9001023;
    "mfa-required": 50076 50079 50078 50074 50072;
    "policy-blocked": 53003 50131 530032 530035;
    "device-required": 53000 53001 50097;
    "user-locked": 50053;
    "password-expired": 50055 50144;
    "user-disabled": 50057;
    "user-unknown": 50126 50034;
    "refresh-token-revoked": 50173 50132 50133;
    "refresh-token-expired": 700082 70008;
    "refresh-token-of-spa": 700084;
    "code-spent": 54005 501481 700005 50089;
    "token-not-accepted": 70000;
    "request-loop": 50196;
    "token-service-busy": 90055 90033 90006 50033 50087 90012 90024 90025;
    "session-missing": 50058;
    "grant-not-allowed": 70003 7000113;
    "scope-invalid": 70011 90009;
    "sign-in-frequency": 70043 70044;
    "request-malformed": 900144 90014 9002313 90023 901002 900561 90013;
    "wrong-cloud": 90038 900382 900384;
}

/// Codes of trouble that passes by itself, whatever OAuth's word beside them: Microsoft's service
/// in trouble or its tenant throttled, and the loop that 50196 takes a busy client for.
pub(crate) const PASSING: [u32; 9] = [
    50196, 50033, 50087, 90006, 90012, 90024, 90025, 90033, 90055,
];

/// Finds a code.
#[must_use]
pub fn find(code: u32) -> Option<&'static AadstsCode> {
    CATALOGUE.iter().find(|known| known.code == code)
}

/// The catalogue's own copy of a slug.
#[must_use]
pub fn slug(text: &str) -> Option<&'static str> {
    CATALOGUE
        .iter()
        .map(|known| known.slug)
        .find(|known| *known == text)
}

/// Whether a slug means that a person has to consent again.
#[must_use]
pub fn needs_consent(slug: &str) -> bool {
    matches!(
        slug,
        "consent-missing"
            | "consent-denied"
            | "consent-admin-needed"
            | "mfa-required"
            | "policy-blocked"
            | "device-required"
            | "password-expired"
            | "user-disabled"
            | "user-unknown"
            | "user-locked"
            | "user-not-assigned"
            | "refresh-token-revoked"
            | "refresh-token-expired"
            | "refresh-token-of-spa"
            | "code-spent"
            | "token-not-accepted"
            | "sign-in-frequency"
            | "session-missing"
    )
}

/// The numbers named in a text, in order.
#[must_use]
pub fn in_text(text: &str) -> Vec<u32> {
    let mut codes = Vec::new();
    for part in text.split("AADSTS").skip(1) {
        let digits: String = part
            .chars()
            .take_while(char::is_ascii_digit)
            .take(9)
            .collect();
        if let Ok(code) = digits.parse::<u32>()
            && !codes.contains(&code)
        {
            codes.push(code);
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_stands_twice() {
        let mut codes: Vec<u32> = CATALOGUE.iter().map(|known| known.code).collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
        assert_eq!(
            find(7_000_222).map(|known| known.slug),
            Some("secret-expired")
        );
    }

    #[test]
    fn numbers_are_found_in_prose() {
        assert_eq!(
            in_text("AADSTS70002: x. AADSTS70008: y AADSTS70008 AADSTSx"),
            [70002, 70008]
        );
        assert_eq!(in_text("AADSTS99999999999999"), [999_999_999]);
        assert!(in_text("").is_empty());
    }
}
