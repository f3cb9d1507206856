//! Signatures of webhooks, by Standard Webhooks (<https://www.standardwebhooks.com>): HMAC-SHA256
//! over the identifier, the time and the body.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use crate::seal::random;

/// Marks a secret, so that scanners for leaked secrets can find it; the specification's own.
const PREFIX: &str = "whsec_";
/// The version of the signature's scheme.
const SCHEME: &str = "v1";

/// A secret that is none: it does not begin with `whsec_`, or what follows is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a webhook's secret")]
pub struct NotASecret;

/// Makes a secret of 256 bits; the specification asks for 192 to 512.
#[must_use]
pub fn generate() -> SecretString {
    SecretString::from(format!("{PREFIX}{}", STANDARD.encode(random::<32>())))
}

/// The signature of a message, as it stands in `webhook-signature`.
///
/// # Errors
/// When the secret is none.
pub fn sign(
    secret: &SecretString,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> Result<String, NotASecret> {
    let encoded = secret
        .expose_secret()
        .strip_prefix(PREFIX)
        .ok_or(NotASecret)?;
    let key = STANDARD.decode(encoded).map_err(|_| NotASecret)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{id}.{timestamp}.").as_bytes());
    context.update(body);
    Ok(format!(
        "{SCHEME},{}",
        STANDARD.encode(context.sign().as_ref())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_specifications_own_libraries() {
        // From the test suite that the specification's libraries share.
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = sign(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature.as_deref(),
            Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
    }

    #[test]
    fn secrets_are_long_marked_and_never_the_same() {
        let (a, b) = (generate(), generate());
        assert_ne!(a.expose_secret(), b.expose_secret());
        assert!(sign(&a, "msg_1", 1, b"{}").is_ok());
        assert_eq!(
            sign(&SecretString::from("tl_x"), "msg_1", 1, b"{}"),
            Err(NotASecret)
        );
    }
}
