//! Signing and reading access tokens (RFC 7519, RS256).

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use rcgen::{CertificateParams, DnType};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::SandboxError;
use crate::state::State;

const KEY: &str = "signing-key";
const CERTIFICATE: &str = "signing-certificate";

/// The key that signs tokens, and the certificate that publishes it.
pub(crate) struct SigningKey {
    pair: RsaKeyPair,
    certificate: Vec<u8>,
    kid: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

/// Who a good access token speaks for.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) tenant: Uuid,
    pub(crate) object_id: Option<Uuid>,
    pub(crate) application: Option<Uuid>,
    /// Whether it is an application without a person.
    pub(crate) app_only: bool,
    pub(crate) audience: String,
    /// Identifier of the token.
    pub(crate) id: String,
    /// Whether the client declared that it understands claims challenges.
    pub(crate) understands_challenges: bool,
    /// How much had happened to the person when the token was issued.
    pub(crate) critical: u32,
}

impl SigningKey {
    pub(crate) fn load_or_create(state: &State, now: DateTime<Utc>) -> Result<Self, SandboxError> {
        let pkcs8 = match state.setting(KEY)? {
            Some(kept) => kept,
            None => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                let made: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
                    aws_lc_rs::encoding::AsDer::as_der(&pair).map_err(failed)?;
                let made = made.as_ref().to_vec();
                state.set_setting(KEY, &made)?;
                made
            }
        };
        let pair = RsaKeyPair::from_pkcs8(&pkcs8).map_err(failed)?;
        let certificate = match state.setting(CERTIFICATE)? {
            Some(kept) => kept,
            None => {
                let made = certificate(&pkcs8, now)?;
                state.set_setting(CERTIFICATE, &made)?;
                made
            }
        };
        // Entra names its keys by the thumbprint of their certificate.
        let thumbprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
        let kid = URL_SAFE_NO_PAD.encode(thumbprint.as_ref());
        Ok(Self {
            pair,
            certificate,
            kid,
        })
    }

    /// A signed token.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": "RS256", "x5t": self.kid, "kid": self.kid});
        let text = format!("{}.{}", encode(&header), encode(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signed = self.pair.sign(
            &signature::RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            text.as_bytes(),
            &mut signature,
        );
        // Signing fails only for want of memory; an unsigned token is refused like any bad one.
        if signed.is_err() {
            signature.clear();
        }
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Who a token speaks for; none when it is not ours, not good yet, or not good any more.
    pub(crate) fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Caller> {
        let claims = self.claims(token)?;
        let seconds = now.timestamp();
        if claims["exp"].as_i64()? <= seconds || claims["nbf"].as_i64()? > seconds + 300 {
            return None;
        }
        let id = |name: &str| claims[name].as_str().and_then(|text| text.parse().ok());
        let capabilities = claims["xms_cc"].as_array().into_iter().flatten();
        Some(Caller {
            tenant: id("tid")?,
            object_id: id("oid"),
            application: id("appid"),
            app_only: claims["idtyp"] == "app",
            audience: claims["aud"].as_str()?.to_owned(),
            id: claims["uti"].as_str().unwrap_or_default().to_owned(),
            understands_challenges: capabilities.into_iter().any(|word| *word == "cp1"),
            critical: critical(&claims["rh"]).unwrap_or_default(),
        })
    }

    /// What a token says that this key signed, whatever the time.
    pub(crate) fn claims(&self, token: &str) -> Option<Value> {
        let (text, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(
            &signature::RSA_PKCS1_2048_8192_SHA256,
            self.pair.public_key().as_ref(),
        );
        public.verify(text.as_bytes(), &signature).ok()?;
        let claims = URL_SAFE_NO_PAD.decode(text.split_once('.')?.1).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// The public key as a JWK (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        let public = self.pair.public_key();
        json!({
            "kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid,
            "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
            "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
            "x5c": [STANDARD.encode(&self.certificate)],
        })
    }
}

/// The claim by which Entra itself checks a token again: here it holds how much had happened to the
/// person when the token was issued.
pub(crate) fn recheck(critical: u32) -> String {
    format!("1.{critical}.")
}

fn critical(claim: &Value) -> Option<u32> {
    claim.as_str()?.split('.').nth(1)?.parse().ok()
}

/// A token without a signature, as Entra's v1 endpoint gives id tokens.
pub(crate) fn unsigned(claims: &Value) -> String {
    format!(
        "{}.{}.",
        encode(&json!({"typ": "JWT", "alg": "none"})),
        encode(claims)
    )
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn certificate(pkcs8: &[u8], now: DateTime<Utc>) -> Result<Vec<u8>, SandboxError> {
    use chrono::Datelike as _;
    let key = rcgen::KeyPair::try_from(pkcs8).map_err(failed)?;
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "accounts.accesscontrol.windows.net");
    params.not_before = rcgen::date_time_ymd(now.year() - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(now.year() + 10, 1, 1);
    Ok(params.self_signed(&key).map_err(failed)?.der().to_vec())
}

fn failed(error: impl std::fmt::Display) -> SandboxError {
    SandboxError::Certificates(error.to_string())
}
