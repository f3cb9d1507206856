//! Random tokens that are stored by their hash: sessions and states of a consent.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use crate::api_key;
use crate::seal;

/// 256 random bits in base64url.
#[must_use]
pub fn random() -> SecretString {
    SecretString::from(URL_SAFE_NO_PAD.encode(self::random_bytes()))
}

/// The hash by which a token is stored and found.
#[must_use]
pub fn hash(token: &str) -> [u8; 32] {
    api_key::hash(token)
}

fn random_bytes() -> [u8; 32] {
    seal::random::<32>()
}
