//! Whether the client is who it says: by secret, by certificate, or by an outside issuer.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::entra::application::{Application, Federated, Platform};
use crate::entra::certificate::Certificate;
use crate::entra::codes::Refusal;
use crate::entra::grant::instant;
use crate::entra::issue::Proof;
use crate::entra::params::Params;
use crate::entra::registration;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Clocks may differ by five minutes.
const SKEW_SECONDS: i64 = 300;

/// Client authentication by HTTP Basic: both halves are form-encoded first (RFC 6749, 2.3.1).
pub(crate) fn basic(headers: &HeaderMap, params: &mut Params) {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let Some((scheme, encoded)) = value.and_then(|value| value.split_once(' ')) else {
        return;
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((id, secret)) = text.as_deref().and_then(|text| text.split_once(':')) {
        params.set("client_id", form_decoded(id));
        params.set("client_secret", form_decoded(secret));
    }
}

fn form_decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8_lossy()
        .into_owned()
}

/// A client that shows who it is.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    pub(crate) application: &'a Application,
    pub(crate) params: &'a Params,
    /// Platform of the reply URL that the grant went through, where one is known.
    pub(crate) platform: Option<Platform>,
    /// What an assertion may name as its audience.
    pub(crate) audiences: &'a [String],
    pub(crate) now: DateTime<Utc>,
}

impl Client<'_> {
    /// How the client showed who it is.
    ///
    /// # Errors
    /// When it did not, or not truly.
    pub(crate) fn authenticate(&self) -> Result<Proof, Refusal> {
        let secret = self.params.get("client_secret");
        let assertion = self.params.get("client_assertion");
        let native = self.platform == Some(Platform::Native);
        match (secret, assertion) {
            (None, None) => {
                let keyless = native || self.platform == Some(Platform::SinglePage);
                if self.application.public() || keyless {
                    return Ok(Proof::Public);
                }
                Err(Refusal::of(7_000_218, &[]))
            }
            _ if self.application.public() || native => Err(Refusal::of(700_025, &[])),
            (_, Some(assertion)) => self.by_assertion(assertion),
            (Some(secret), None) => self.by_secret(secret),
        }
    }

    fn by_secret(&self, secret: &str) -> Result<Proof, Refusal> {
        let secrets = self.application.secrets();
        let mut same = secrets
            .iter()
            .filter(|known| known.value == secret && known.begun(self.now))
            .peekable();
        if same.peek().is_none() {
            return Err(registration::of(7_000_215, self.application));
        }
        if same.all(|known| known.over(self.now)) {
            return Err(registration::of(7_000_222, self.application));
        }
        Ok(Proof::Secret)
    }

    fn by_assertion(&self, assertion: &str) -> Result<Proof, Refusal> {
        if self.params.get("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(Refusal::missing("client_assertion_type"));
        }
        let jwt = Jwt::read(assertion)?;
        let client = self.application.client_id().to_string();
        let issuer = jwt.text("iss");
        if issuer != client && !self.application.federated.is_empty() {
            return self.by_federation(&jwt);
        }
        if issuer != client || jwt.text("sub") != client {
            return Err(Refusal::of(700_021, &[]));
        }
        let certificate = self.certificate(&jwt)?;
        jwt.verify(certificate)?;
        let audience = jwt.text("aud");
        if !self.audiences.iter().any(|known| known == audience) {
            return Err(Refusal::of(700_023, &[]));
        }
        self.in_time(&jwt)?;
        if jwt.text("jti").is_empty() {
            let reason = [("reason", "The assertion has no 'jti'.")];
            return Err(Refusal::of(50_027, &reason));
        }
        Ok(Proof::Certificate)
    }

    /// The registered certificate that the header names.
    fn certificate(&self, jwt: &Jwt) -> Result<&Certificate, Refusal> {
        // MSAL and others leave the padding on, which RFC 7515 takes off.
        let header = |name: &str| {
            jwt.header[name]
                .as_str()
                .map(|text| text.trim_end_matches('='))
        };
        let (sha256, sha1) = (header("x5t#S256"), header("x5t"));
        let named = |known: &&Certificate| {
            sha256 == Some(known.sha256.as_str()) || sha1 == Some(known.sha1.as_str())
        };
        let found = self.application.certificates.iter().find(named);
        let certificate = found.ok_or_else(|| {
            let thumbprint = sha256.or(sha1).unwrap_or_default();
            signature(&format!(
                "[Reason - The key was not found., Thumbprint of key used by client: \
                 '{thumbprint}']"
            ))
        })?;
        if certificate.not_after < self.now || certificate.not_before > self.now {
            return Err(signature(&format!(
                "[Reason - The key used is expired., Found key 'Start={}, End={}']",
                certificate.not_before, certificate.not_after
            )));
        }
        Ok(certificate)
    }

    fn in_time(&self, jwt: &Jwt) -> Result<(), Refusal> {
        let now = self.now.timestamp();
        let until = jwt.seconds("exp");
        let from = jwt.seconds("nbf");
        let good = until.is_some_and(|until| until > now - SKEW_SECONDS)
            && from.is_none_or(|from| from <= now + SKEW_SECONDS);
        if good {
            return Ok(());
        }
        let (now, from, until) = (
            instant(now),
            instant(from.unwrap_or_default()),
            instant(until.unwrap_or_default()),
        );
        let values = [
            ("now", now.as_str()),
            ("from", from.as_str()),
            ("until", until.as_str()),
        ];
        Err(Refusal::of(700_024, &values))
    }

    /// Issuer, subject and audience have to be the registered ones, to the letter.
    fn by_federation(&self, jwt: &Jwt) -> Result<Proof, Refusal> {
        let mut left: Vec<&Federated> = self.application.federated.iter().collect();
        for (code, name, claim) in [
            (700_211, "issuer", "iss"),
            (700_213, "subject", "sub"),
            (700_212, "audience", "aud"),
        ] {
            let presented = jwt.text(claim);
            left.retain(|known| {
                let seed = &known.seed;
                presented
                    == match claim {
                        "iss" => &seed.issuer,
                        "sub" => &seed.subject,
                        _ => &seed.audience,
                    }
            });
            if left.is_empty() {
                return Err(Refusal::of(code, &[(name, presented)]));
            }
        }
        let mut last = Ok(Proof::Certificate);
        for known in left {
            last = jwt.verify(&known.certificate).map(|()| Proof::Certificate);
            if last.is_ok() {
                break;
            }
        }
        last?;
        self.in_time(jwt)?;
        Ok(Proof::Certificate)
    }
}

/// A signed assertion (RFC 7519).
#[derive(Debug)]
struct Jwt {
    header: Value,
    claims: Value,
    signed: String,
    signature: Vec<u8>,
}

impl Jwt {
    fn read(text: &str) -> Result<Self, Refusal> {
        let malformed = || {
            let reason = [("reason", "The assertion is no signed JWT.")];
            Refusal::of(50_027, &reason)
        };
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let object = |part: &str| -> Result<Value, Refusal> {
            let parsed: Option<Value> = serde_json::from_slice(&decode(part)?).ok();
            parsed.filter(Value::is_object).ok_or_else(malformed)
        };
        Ok(Self {
            header: object(header)?,
            claims: object(claims)?,
            signed: format!("{header}.{claims}"),
            signature: decode(signature)?,
        })
    }

    /// A claim's text; of a list, the first.
    fn text(&self, name: &str) -> &str {
        let claim = &self.claims[name];
        claim.as_str().or(claim[0].as_str()).unwrap_or_default()
    }

    /// A moment; a number of seconds that need not be whole (RFC 7519, section 2).
    fn seconds(&self, name: &str) -> Option<i64> {
        let claim = &self.claims[name];
        let fraction = claim.as_f64().filter(|seconds| seconds.abs() < 1e12);
        claim.as_i64().or_else(|| {
            let text = format!("{:.0}", fraction?.floor());
            text.parse().ok()
        })
    }

    fn verify(&self, certificate: &Certificate) -> Result<(), Refusal> {
        let algorithm: &'static dyn VerificationAlgorithm = match self.header["alg"].as_str() {
            Some("RS256") => &RSA_PKCS1_2048_8192_SHA256,
            Some("PS256") => &RSA_PSS_2048_8192_SHA256,
            other => {
                let named = other.unwrap_or_default();
                let reason = format!("The algorithm '{named}' is not supported.");
                return Err(Refusal::of(50_027, &[("reason", &reason)]));
            }
        };
        UnparsedPublicKey::new(algorithm, &certificate.key)
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| signature("[Reason - The key was found, but the signature is invalid.]"))
    }
}

fn signature(reason: &str) -> Refusal {
    Refusal::of(700_027, &[("reason", reason)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_may_have_fractions_and_nothing_else() {
        let jwt = |exp: Value| Jwt {
            header: Value::Null,
            claims: serde_json::json!({ "exp": exp }),
            signed: String::new(),
            signature: Vec::new(),
        };
        assert_eq!(jwt(1.into()).seconds("exp"), Some(1));
        assert_eq!(jwt(1.75.into()).seconds("exp"), Some(1));
        assert_eq!(jwt(1e300.into()).seconds("exp"), None);
        assert_eq!(jwt("1".into()).seconds("exp"), None);
        assert_eq!(jwt(Value::Null).seconds("nbf"), None);
    }

    proptest::proptest! {
        #[test]
        fn broken_assertions_are_refused_calmly(text in "[A-Za-z0-9_.-]{0,80}") {
            let _ = Jwt::read(&text);
        }

        #[test]
        fn broken_credentials_are_ignored_calmly(text in "(Basic|Bearer|) ?[A-Za-z0-9+/=%:]{0,40}") {
            let mut headers = HeaderMap::new();
            if let Ok(value) = text.parse() {
                headers.insert(header::AUTHORIZATION, value);
            }
            basic(&headers, &mut Params::default());
        }
    }
}
