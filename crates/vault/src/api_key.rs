//! API keys of consumers.
//!
//! A key is 256 random bits, so a plain SHA-256 is enough to store it by: there is nothing to
//! guess that a slow hash would protect. The gateway computes it when a key comes for the first
//! time, and recognizes the key by a [`Glance`] from then on.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use siphasher::sip128::SipHasher24;

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

/// Recognizes keys within a process: a pseudorandom function (SipHash-2-4 with 128 bits) whose own
/// key nobody outside the process can know, so that nobody can look for a second text of the same
/// value. It is never stored.
pub struct Glance(SipHasher24);

impl Glance {
    /// One with a key of its own.
    #[must_use]
    pub fn new() -> Self {
        Self(SipHasher24::new_with_key(&random()))
    }

    /// What a key is recognized by.
    #[must_use]
    pub fn of(&self, key: &str) -> u128 {
        self.0.hash(key.as_bytes()).as_u128()
    }
}

impl Default for Glance {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Glance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Glance").finish_non_exhaustive()
    }
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

    #[test]
    fn a_glance_recognizes_a_key_in_its_own_process_only() {
        let (here, there) = (Glance::new(), Glance::new());
        assert_eq!(here.of("tl_1"), here.of("tl_1"));
        assert_ne!(here.of("tl_1"), here.of("tl_2"));
        assert_ne!(here.of("tl_1"), there.of("tl_1"));
    }
}
