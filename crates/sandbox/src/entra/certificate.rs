//! X.509 certificates, as far as a client assertion needs them: key, thumbprints, validity.
//!
//! Nothing here trusts a certificate for what it says: it was registered, or it was not.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, NaiveDateTime, Utc};

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which certificates of version 1 leave out.
const EXPLICIT_0: u8 = 0xa0;

/// A certificate whose key may sign assertions.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    /// SubjectPublicKeyInfo, DER.
    pub(crate) key: Vec<u8>,
    /// SHA-1 of the certificate, as the header `x5t` has it (RFC 7515, section 4.1.7).
    pub(crate) sha1: String,
    /// SHA-256 of the certificate, as `x5t#S256` has it.
    pub(crate) sha256: String,
    pub(crate) not_before: DateTime<Utc>,
    pub(crate) not_after: DateTime<Utc>,
}

impl Certificate {
    /// Reads a PEM block (RFC 7468).
    ///
    /// # Errors
    /// With what is wrong, as the end of a sentence.
    pub(crate) fn parse(pem: &str) -> Result<Self, String> {
        let body: String = pem
            .lines()
            .map(str::trim)
            .skip_while(|line| !line.starts_with("-----BEGIN CERTIFICATE"))
            .skip(1)
            .take_while(|line| !line.starts_with("-----END"))
            .collect();
        if body.is_empty() {
            return Err("holds no block BEGIN CERTIFICATE".to_owned());
        }
        let der = STANDARD.decode(body);
        let der = der.map_err(|error| format!("is no base64: {error}"))?;
        let parsed = Self::of_der(&der);
        parsed.ok_or_else(|| "is no X.509 certificate with an RSA key".to_owned())
    }

    /// Walks to the validity and the key (RFC 5280, section 4.1).
    fn of_der(der: &[u8]) -> Option<Self> {
        let (certificate, _) = enter(der, SEQUENCE)?;
        let (mut rest, _) = enter(certificate, SEQUENCE)?;
        if rest.first() == Some(&EXPLICIT_0) {
            rest = skip(rest)?;
        }
        // Serial number, signature algorithm, issuer.
        for _ in 0..3 {
            rest = skip(rest)?;
        }
        let (validity, rest) = enter(rest, SEQUENCE)?;
        let (not_before, after) = time(validity)?;
        let (not_after, _) = time(after)?;
        let rest = skip(rest)?;
        let key = rest.get(..rest.len() - skip(rest)?.len())?;
        Some(Self {
            key: key.to_vec(),
            sha1: URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, der)),
            sha256: URL_SAFE_NO_PAD.encode(digest(&SHA256, der)),
            not_before,
            not_after,
        })
    }
}

/// Tag, content and what follows of the first element (X.690, distinguished encoding).
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, after) = rest.split_at_checked(count)?;
        length = bytes
            .iter()
            .fold(0, |length, byte| (length << 8) | usize::from(*byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

fn enter(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, after) = element(der)?;
    (tag == wanted).then_some((content, after))
}

fn skip(der: &[u8]) -> Option<&[u8]> {
    element(der).map(|(_, _, after)| after)
}

fn time(der: &[u8]) -> Option<(DateTime<Utc>, &[u8])> {
    let (tag, content, after) = element(der)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // Two digits are 1950 to 2049 (RFC 5280, section 4.1.2.5.1).
        UTC_TIME if text.get(..2)?.parse::<u8>().ok()? < 50 => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let at = NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%S").ok()?;
    Some((at.and_utc(), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_read_whole() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2020, 2, 3);
        params.not_after = rcgen::date_time_ymd(2060, 4, 5);
        let made = params.self_signed(&key).expect("a certificate");
        let read = Certificate::parse(&made.pem()).expect("read");
        assert_eq!(read.not_before.to_string(), "2020-02-03 00:00:00 UTC");
        assert_eq!(read.not_after.to_string(), "2060-04-05 00:00:00 UTC");
        assert_eq!(
            read.key,
            rcgen::PublicKeyData::subject_public_key_info(&key)
        );
        assert_eq!(
            read.sha256,
            URL_SAFE_NO_PAD.encode(digest(&SHA256, made.der()))
        );
    }

    proptest::proptest! {
        #[test]
        fn broken_certificates_are_refused_calmly(der in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Certificate::of_der(&der);
        }
    }

    #[test]
    fn what_is_no_certificate_says_so() {
        assert!(
            Certificate::parse("nonsense")
                .expect_err("no")
                .contains("BEGIN")
        );
        let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----";
        assert!(Certificate::parse(empty).expect_err("no").contains("X.509"));
    }
}
