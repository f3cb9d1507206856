//! API keys of consumers.
//!
//! A key is 256 random bits, so a plain SHA-256 is enough to store it by: there is nothing to
//! guess that a slow hash would protect, and the gateway computes it on every call.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use crate::seal::random;

/// Marks our keys, so that scanners for leaked secrets can find them.
const PREFIX: &str = "tl_";
/// Characters that are kept to tell keys apart: the mark and five more.
const SHOWN: usize = 8;

/// A new key.
#[derive(Debug)]
pub struct ApiKey {
    /// The key, to be shown once.
    pub key: SecretString,
    /// What is stored.
    pub hash: [u8; 32],
    /// Its first characters.
    pub prefix: String,
}

/// Makes a key.
#[must_use]
pub fn generate() -> ApiKey {
    let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()));
    let prefix = text.chars().take(SHOWN).collect();
    ApiKey {
        hash: hash(&text),
        prefix,
        key: SecretString::from(text),
    }
}

/// The hash by which a key is stored and found.
#[must_use]
pub fn hash(key: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_key_is_found_by_its_hash() {
        let key = generate();
        assert_eq!(hash(key.key.expose_secret()), key.hash);
        assert_eq!(key.key.expose_secret().len(), 46);
        assert!(key.key.expose_secret().starts_with(&key.prefix));
        assert_ne!(key.hash, generate().hash);
    }
}
