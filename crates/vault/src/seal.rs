//! Envelope encryption with AES-256-GCM (NIST SP 800-38D).
//!
//! Every secret has a key of its own, and that key is wrapped by a master key: rotation re-wraps
//! 32 bytes and leaves the secret alone, and no master key comes near the 2^32 random nonces that
//! AES-GCM allows. Both layers bind the same associated data.
//!
//! Layout: format (1) · master key id (8) · wrap nonce (12) · wrapped key and tag (48) ·
//! nonce (12) · ciphertext and tag.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::keys::{KeyId, KeyRing};

/// The only format so far.
const FORMAT: u8 = 1;
const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
const ID_LEN: usize = 8;
const WRAPPED_LEN: usize = KEY_LEN + TAG_LEN;
const HEAD_LEN: usize = 1 + ID_LEN + NONCE_LEN + WRAPPED_LEN;

/// Where a secret belongs. A ciphertext that is moved elsewhere does not open.
#[derive(Debug, Clone, Copy)]
pub struct AssociatedData<'a> {
    /// Table.
    pub table: &'a str,
    /// Column.
    pub column: &'a str,
    /// Identifier of the row.
    pub row: &'a str,
    /// Counts changes of the value, so that an older one cannot be put back.
    pub version: i64,
}

/// A sealed secret, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

/// Why a sealed secret does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The master key is not in the ring.
    #[error(
        "it was sealed with master key {key_id}, which is not in the key file; restore that file"
    )]
    UnknownKey {
        /// The key.
        key_id: KeyId,
    },
    /// It is not what was sealed, or not where it was sealed for.
    #[error("it was altered, or belongs to another place in the database")]
    Tampered,
    /// It is not a sealed secret at all.
    #[error("it is not a sealed secret")]
    Malformed,
}

impl AssociatedData<'_> {
    /// Length-prefixed, so that no two places have the same bytes.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        for part in [self.table, self.column, self.row] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes
    }
}

impl KeyRing {
    /// Seals a secret with the current master key.
    #[must_use]
    pub fn seal(&self, place: &AssociatedData<'_>, plain: &[u8]) -> Sealed {
        let aad = place.encode();
        let data_key = Zeroizing::new(random::<KEY_LEN>());
        let (id, master) = self.current();
        let mut sealed = Vec::with_capacity(HEAD_LEN + NONCE_LEN + plain.len() + TAG_LEN);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&id.0);
        encrypt(master, &aad, &data_key[..], &mut sealed);
        encrypt(&data_key, &aad, plain, &mut sealed);
        Sealed(sealed)
    }

    /// Opens a secret.
    ///
    /// # Errors
    /// When the key is missing, or the secret is not what or where it was.
    pub fn open(
        &self,
        place: &AssociatedData<'_>,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let aad = place.encode();
        let data_key = self.unwrap(&aad, sealed)?;
        decrypt(&data_key, &aad, &sealed.0[HEAD_LEN..])
    }

    /// Opens a secret that is text.
    ///
    /// # Errors
    /// As [`KeyRing::open`].
    pub fn open_text(
        &self,
        place: &AssociatedData<'_>,
        sealed: &Sealed,
    ) -> Result<SecretString, OpenError> {
        let plain = self.open(place, sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|_| OpenError::Malformed)?;
        Ok(SecretString::from(text))
    }

    /// Wraps a secret's key with the current master key. None when it is already.
    ///
    /// # Errors
    /// As [`KeyRing::open`].
    pub fn rewrap(
        &self,
        place: &AssociatedData<'_>,
        sealed: &Sealed,
    ) -> Result<Option<Sealed>, OpenError> {
        let (id, master) = self.current();
        if sealed.key_id()? == id {
            return Ok(None);
        }
        let aad = place.encode();
        let data_key = self.unwrap(&aad, sealed)?;
        let mut fresh = Vec::with_capacity(sealed.0.len());
        fresh.push(FORMAT);
        fresh.extend_from_slice(&id.0);
        encrypt(master, &aad, &data_key[..], &mut fresh);
        fresh.extend_from_slice(&sealed.0[HEAD_LEN..]);
        Ok(Some(Sealed(fresh)))
    }

    fn unwrap(&self, aad: &[u8], sealed: &Sealed) -> Result<Zeroizing<[u8; KEY_LEN]>, OpenError> {
        let key_id = sealed.key_id()?;
        let master = self.find(key_id).ok_or(OpenError::UnknownKey { key_id })?;
        let plain = decrypt(master, aad, &sealed.0[1 + ID_LEN..HEAD_LEN])?;
        let key = <[u8; KEY_LEN]>::try_from(&plain[..]).map_err(|_| OpenError::Malformed)?;
        Ok(Zeroizing::new(key))
    }
}

impl Sealed {
    /// Which master key it was sealed with.
    ///
    /// # Errors
    /// When it is not a sealed secret.
    pub fn key_id(&self) -> Result<KeyId, OpenError> {
        if self.0.len() < HEAD_LEN + NONCE_LEN + TAG_LEN || self.0[0] != FORMAT {
            return Err(OpenError::Malformed);
        }
        let id = <[u8; ID_LEN]>::try_from(&self.0[1..=ID_LEN]).map_err(|_| OpenError::Malformed)?;
        Ok(KeyId(id))
    }
}

fn encrypt(key: &[u8; KEY_LEN], aad: &[u8], plain: &[u8], into: &mut Vec<u8>) {
    let nonce = random::<NONCE_LEN>();
    into.extend_from_slice(&nonce);
    let mut buffer = plain.to_vec();
    cipher(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut buffer,
        )
        .expect("AES-GCM seals anything below 64 GiB");
    into.extend_from_slice(&buffer);
}

fn decrypt(key: &[u8; KEY_LEN], aad: &[u8], bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (nonce, ciphertext) = bytes
        .split_at_checked(NONCE_LEN)
        .ok_or(OpenError::Malformed)?;
    let nonce = <[u8; NONCE_LEN]>::try_from(nonce).map_err(|_| OpenError::Malformed)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let length = cipher(key)
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut buffer,
        )
        .map_err(|_| OpenError::Tampered)?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}

fn cipher(key: &[u8; KEY_LEN]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has the length of AES-256");
    LessSafeKey::new(key)
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    rand::fill(&mut bytes).expect("the operating system gives random numbers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: AssociatedData<'static> = AssociatedData {
        table: "account",
        column: "client_secret",
        row: "01H",
        version: 1,
    };

    #[test]
    fn what_is_sealed_opens_and_shows_nothing() {
        let ring = KeyRing::generate();
        let sealed = ring.seal(&PLACE, b"a+b%c secret");
        assert_eq!(
            &ring.open(&PLACE, &sealed).expect("it opens")[..],
            b"a+b%c secret"
        );
        assert!(!sealed.0.windows(6).any(|window| window == b"secret"));
        assert_ne!(sealed, ring.seal(&PLACE, b"a+b%c secret"));
    }

    #[test]
    fn it_opens_nowhere_else() {
        let ring = KeyRing::generate();
        let sealed = ring.seal(&PLACE, b"x");
        for place in [
            AssociatedData {
                table: "draft",
                ..PLACE
            },
            AssociatedData {
                column: "refresh_token",
                ..PLACE
            },
            AssociatedData {
                row: "01J",
                ..PLACE
            },
            AssociatedData {
                version: 2,
                ..PLACE
            },
            AssociatedData {
                table: "accountc",
                column: "lient_secret",
                ..PLACE
            },
        ] {
            assert_eq!(
                ring.open(&place, &sealed).map(|_| ()),
                Err(OpenError::Tampered)
            );
        }
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let ring = KeyRing::generate();
        let sealed = ring.seal(&PLACE, b"hello");
        for at in 0..sealed.0.len() {
            let mut altered = sealed.clone();
            altered.0[at] ^= 1;
            assert!(ring.open(&PLACE, &altered).is_err(), "byte {at}");
        }
        for length in 0..sealed.0.len() {
            assert!(
                ring.open(&PLACE, &Sealed(sealed.0[..length].to_vec()))
                    .is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn rotation_keeps_old_secrets_open_and_rewraps_them() {
        let old = KeyRing::generate();
        let sealed = old.seal(&PLACE, b"hello");
        let new = old.rotate();
        assert_eq!(&new.open(&PLACE, &sealed).expect("it opens")[..], b"hello");
        let fresh = new
            .rewrap(&PLACE, &sealed)
            .expect("it re-wraps")
            .expect("another key");
        assert_eq!(&new.open(&PLACE, &fresh).expect("it opens")[..], b"hello");
        assert_eq!(new.rewrap(&PLACE, &fresh), Ok(None));
        assert!(matches!(
            old.open(&PLACE, &fresh),
            Err(OpenError::UnknownKey { .. })
        ));
    }
}
