//! Passwords, by Argon2id with the first set of parameters that OWASP recommends.

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};

/// A password that could not be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password cannot be hashed")]
pub struct HashError;

/// Hashes a password, with a salt of its own, in the PHC string format.
///
/// # Errors
/// When the password is longer than Argon2 takes.
pub fn hash(password: &SecretString) -> Result<String, HashError> {
    let salt = SaltString::generate(&mut OsRng);
    let hash = argon2().hash_password(password.expose_secret().as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|_| HashError)
}

/// Whether a password fits a hash. The hash's own parameters count.
#[must_use]
pub fn verify(password: &SecretString, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        argon2()
            .verify_password(password.expose_secret().as_bytes(), &hash)
            .is_ok()
    })
}

fn argon2() -> Argon2<'static> {
    // 19 MiB, two passes, one lane.
    let params = Params::new(19 * 1024, 2, 1, None).expect("the parameters are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_fits_its_hash() {
        let password = SecretString::from("correct horse battery");
        let hashed = hash(&password).expect("a hash");
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify(&password, &hashed));
        assert!(!verify(&SecretString::from("correct horse"), &hashed));
        assert!(!verify(&password, "not a hash"));
        assert!(!verify(&password, ""));
    }
}
