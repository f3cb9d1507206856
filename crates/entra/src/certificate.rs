//! The certificate by which an application proves who it is: read, made, and used to sign.
//!
//! Microsoft documents the assertion on the page "Microsoft identity platform application
//! authentication certificate credentials": PS256, the certificate named by `x5t#S256`, the token
//! endpoint as the audience, and an identifier of its own for every one.

use std::fmt;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeDelta, Utc};
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use zeroize::Zeroize as _;

/// How long an assertion is good: as long as Microsoft's own clients make it, so that a clock that
/// goes wrong by some minutes does no harm.
const ASSERTION_LIFE: TimeDelta = TimeDelta::minutes(10);
/// Shortest key that is accepted, in bytes of its modulus: Entra takes 2048 bits and more.
const MODULUS_MIN: usize = 256;
/// Most that is read: key and chain are a few kilobytes.
const PEM_MAX: usize = 64 * 1024;

/// A certificate with its private key.
pub struct ClientCertificate {
    key: RsaKeyPair,
    pem: SecretString,
    der: Vec<u8>,
    subject: String,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
}

/// Why a text is no certificate with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// No block with a certificate.
    #[error("there is no certificate in it")]
    CertificateMissing,
    /// A certificate that cannot be read.
    #[error("the certificate cannot be read")]
    CertificateMalformed,
    /// No block with a private key.
    #[error("there is no private key in it")]
    KeyMissing,
    /// The key is encrypted.
    #[error("the private key is encrypted")]
    KeyEncrypted,
    /// A key of another kind, or broken.
    #[error("the private key is not an RSA key of 2048 bits or more")]
    KeyNotRsa,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    KeyDiffers,
    /// Far more than a key and a chain.
    #[error("it is larger than 64 kilobytes")]
    TooLong,
    /// No key could be made.
    #[error("no key could be made")]
    NotMade,
}

impl CertificateProblem {
    /// Every problem.
    pub const ALL: [Self; 8] = [
        Self::CertificateMissing,
        Self::CertificateMalformed,
        Self::KeyMissing,
        Self::KeyEncrypted,
        Self::KeyNotRsa,
        Self::KeyDiffers,
        Self::TooLong,
        Self::NotMade,
    ];

    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::CertificateMissing => "certificate-missing",
            Self::CertificateMalformed => "certificate-malformed",
            Self::KeyMissing => "certificate-key-missing",
            Self::KeyEncrypted => "certificate-key-encrypted",
            Self::KeyNotRsa => "certificate-key-not-rsa",
            Self::KeyDiffers => "certificate-key-differs",
            Self::TooLong => "certificate-too-long",
            Self::NotMade => "certificate-not-made",
        }
    }
}

impl ClientCertificate {
    /// Reads PEM blocks (RFC 7468): a private key (PKCS #8 or PKCS #1) and its certificate, in
    /// either order; of a chain, the certificate that belongs to the key.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn parse(pem: &SecretString) -> Result<Self, CertificateProblem> {
        let text = pem.expose_secret();
        if text.len() > PEM_MAX {
            return Err(CertificateProblem::TooLong);
        }
        let (mut key, mut chain) = (None, Vec::new());
        for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            let (kind, mut der) = block.map_err(|_| CertificateProblem::CertificateMalformed)?;
            match kind {
                SectionKind::Certificate => chain.push(der),
                SectionKind::PrivateKey => {
                    key = Some(RsaKeyPair::from_pkcs8(&der));
                    der.zeroize();
                }
                SectionKind::RsaPrivateKey => {
                    key = Some(RsaKeyPair::from_der(&der));
                    der.zeroize();
                }
                SectionKind::EcPrivateKey => return Err(CertificateProblem::KeyNotRsa),
                _ => {}
            }
        }
        if text.contains("ENCRYPTED") {
            return Err(CertificateProblem::KeyEncrypted);
        }
        if chain.is_empty() {
            return Err(CertificateProblem::CertificateMissing);
        }
        let key = key.ok_or(CertificateProblem::KeyMissing)?;
        let key = key.map_err(|_| CertificateProblem::KeyNotRsa)?;
        if key.public_modulus_len() < MODULUS_MIN {
            return Err(CertificateProblem::KeyNotRsa);
        }
        Self::of_chain(key, chain, pem)
    }

    fn of_chain(
        key: RsaKeyPair,
        chain: Vec<Vec<u8>>,
        pem: &SecretString,
    ) -> Result<Self, CertificateProblem> {
        let moment = |seconds| {
            DateTime::from_timestamp(seconds, 0).ok_or(CertificateProblem::CertificateMalformed)
        };
        for der in chain {
            let (_, read) = x509_parser::parse_x509_certificate(&der)
                .map_err(|_| CertificateProblem::CertificateMalformed)?;
            if read.public_key().subject_public_key.data.as_ref() != key.public_key().as_ref() {
                continue;
            }
            let validity = read.validity();
            let (not_before, not_after) = (
                moment(validity.not_before.timestamp())?,
                moment(validity.not_after.timestamp())?,
            );
            let subject = read.subject().to_string();
            return Ok(Self {
                key,
                pem: pem.clone(),
                der,
                subject,
                not_before,
                not_after,
            });
        }
        Err(CertificateProblem::KeyDiffers)
    }

    /// Makes a key and a certificate that is signed with it. Takes a good part of a second.
    ///
    /// # Errors
    /// When the library cannot make a key.
    pub fn generate(
        name: &str,
        now: DateTime<Utc>,
        life: Days,
    ) -> Result<Self, CertificateProblem> {
        let failed = |_| CertificateProblem::NotMade;
        let key =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072)
                .map_err(failed)?;
        let mut parameters = rcgen::CertificateParams::default();
        let mut subject = rcgen::DistinguishedName::new();
        subject.push(rcgen::DnType::CommonName, name);
        parameters.distinguished_name = subject;
        parameters.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        // From yesterday on, because Microsoft's clock is not ours.
        let (year, month, day) = date(now.date_naive() - Days::new(1))?;
        parameters.not_before = rcgen::date_time_ymd(year, month, day);
        let (year, month, day) = date(now.date_naive() + life)?;
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        let mut secret = key.serialize_pem();
        secret.push_str(&certificate.pem());
        Self::parse(&SecretString::from(secret))
    }

    /// Key and certificate, to be sealed.
    #[must_use]
    pub fn pem(&self) -> &SecretString {
        &self.pem
    }

    /// The certificate alone, which is public.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        let text = STANDARD.encode(&self.der);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            // RFC 7468, section 2: lines of 64 characters; base64 is ASCII.
            let (line, after) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = after;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// SHA-1 of the certificate in hexadecimal, as the Azure portal shows it.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der);
        hash.as_ref()
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect()
    }

    /// Whose it is, as it says itself.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// When it begins to be valid.
    #[must_use]
    pub fn not_before(&self) -> DateTime<Utc> {
        self.not_before
    }

    /// When it stops being valid.
    #[must_use]
    pub fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }

    /// A signed assertion that the application is who it says. None when the key cannot sign.
    #[must_use]
    pub fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: DateTime<Utc>,
    ) -> Option<SecretString> {
        let hash = digest(&SHA256, &self.der);
        let header = json!({
            "alg": "PS256",
            "typ": "JWT",
            "x5t#S256": URL_SAFE_NO_PAD.encode(hash.as_ref()),
        });
        let claims = json!({
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": uuid::Uuid::new_v4().to_string(),
            "nbf": now.timestamp(),
            "iat": now.timestamp(),
            "exp": (now + ASSERTION_LIFE).timestamp(),
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PSS_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .ok()?;
        let signature = URL_SAFE_NO_PAD.encode(signature);
        Some(SecretString::from(format!("{signed}.{signature}")))
    }
}

/// Year, month and day, as rcgen takes them.
fn date(day: NaiveDate) -> Result<(i32, u8, u8), CertificateProblem> {
    let field = |value: u32| u8::try_from(value).map_err(|_| CertificateProblem::NotMade);
    Ok((day.year(), field(day.month())?, field(day.day())?))
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("subject", &self.subject)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};

    fn now() -> DateTime<Utc> {
        "2026-11-23T08:00:00Z".parse().expect("a time")
    }

    fn made() -> ClientCertificate {
        ClientCertificate::generate("Contoso Sales", now(), Days::new(365)).expect("a certificate")
    }

    #[test]
    fn a_generated_certificate_signs_what_its_public_half_verifies() {
        let certificate = made();
        assert_eq!(
            certificate.not_after().to_string(),
            "2027-11-23 00:00:00 UTC"
        );
        assert!(certificate.not_before() < now());
        assert_eq!(certificate.subject(), "CN=Contoso Sales");
        let (first, second) = (
            certificate.assertion("app", "https://login.example/token", now()),
            certificate.assertion("app", "https://login.example/token", now()),
        );
        let (first, second) = (first.expect("signed"), second.expect("signed"));
        assert_ne!(first.expose_secret(), second.expose_secret());
        let (signed, signature) = first.expose_secret().rsplit_once('.').expect("three parts");
        let public = UnparsedPublicKey::new(
            &RSA_PSS_2048_8192_SHA256,
            certificate.key.public_key().as_ref(),
        );
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        assert!(public.verify(signed.as_bytes(), &signature).is_ok());
        let claims = signed.split_once('.').expect("two parts").1;
        let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
        let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
        assert_eq!(claims["aud"], "https://login.example/token");
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&"app".into(), &"app".into())
        );
    }

    #[test]
    fn what_was_written_is_read_again_in_either_order() {
        let certificate = made();
        let whole = certificate.pem().expose_secret().to_owned();
        let at = whole.find("-----BEGIN CERTIFICATE").expect("a certificate");
        let turned = format!("{}{}", &whole[at..], &whole[..at]);
        let again = ClientCertificate::parse(&SecretString::from(turned)).expect("read");
        assert_eq!(again.thumbprint(), certificate.thumbprint());
        assert_eq!(again.certificate_pem(), certificate.certificate_pem());
        assert!(!format!("{again:?}").contains("PRIVATE"));
        let public = certificate.certificate_pem();
        assert!(!public.contains("PRIVATE"));
        let problem = |text: &str| {
            ClientCertificate::parse(&SecretString::from(text.to_owned())).expect_err("a problem")
        };
        assert_eq!(problem(&public), CertificateProblem::KeyMissing);
        assert_eq!(
            problem(&whole[..at]),
            CertificateProblem::CertificateMissing
        );
        assert_eq!(problem("hello"), CertificateProblem::CertificateMissing);
        let other = made().certificate_pem();
        assert_eq!(
            problem(&format!("{}{other}", &whole[..at])),
            CertificateProblem::KeyDiffers
        );
    }
}
