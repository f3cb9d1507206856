//! The ring of master keys: one current key that seals, and previous ones that only open.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::seal::random;

/// Name of the key file in the data directory.
const FILE_NAME: &str = "master.keys";

/// Names a master key without saying anything about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(crate) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The master keys.
#[derive(Clone)]
pub struct KeyRing {
    /// The current key comes first.
    keys: Vec<(KeyId, Zeroizing<[u8; 32]>)>,
}

/// Why there is no key ring.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The file cannot be read or written.
    #[error("the key file {path} cannot be used: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Others may read the file.
    #[error("the key file {path} can be read by others; run: chmod 600 {path}")]
    Readable {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a key file.
    #[error("the master keys are not readable: {0}; restore the key file from a backup")]
    Malformed(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The id of the key that seals.
    current: String,
    keys: Vec<FileKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKey {
    id: String,
    key: String,
}

impl KeyRing {
    /// A ring with one new key.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            keys: vec![(KeyId(random()), Zeroizing::new(random()))],
        }
    }

    /// Reads the key file of a data directory, and makes one when there is none yet.
    ///
    /// # Errors
    /// When the file cannot be used. It is never replaced: without it, sealed secrets are lost.
    pub fn load_or_create(directory: &Path) -> Result<Self, KeyRingError> {
        let path = directory.join(FILE_NAME);
        match Self::load(&path) {
            Err(KeyRingError::File { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                let ring = Self::generate();
                match ring.create(&path) {
                    // Another process made it in the same moment: that one counts.
                    Err(KeyRingError::File { source, .. })
                        if source.kind() == std::io::ErrorKind::AlreadyExists =>
                    {
                        Self::load(&path)
                    }
                    other => other.map(|()| ring),
                }
            }
            other => other,
        }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When it cannot be used, or others may read it.
    pub fn load(path: &Path) -> Result<Self, KeyRingError> {
        let failed = |source| KeyRingError::File {
            path: path.to_owned(),
            source,
        };
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(path)
                .map_err(failed)?
                .permissions()
                .mode();
            if mode & 0o077 != 0 {
                return Err(KeyRingError::Readable {
                    path: path.to_owned(),
                });
            }
        }
        Self::from_text(&SecretString::from(text.as_str()))
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_text(text: &SecretString) -> Result<Self, KeyRingError> {
        // The parser's message would quote the line, and the line is a key.
        let file: File = toml::from_str(text.expose_secret())
            .map_err(|_| KeyRingError::Malformed("this is not a key file".to_owned()))?;
        let mut keys = Vec::new();
        for entry in &file.keys {
            keys.push((id_of(&entry.id)?, key_of(&entry.key)?));
        }
        let current = id_of(&file.current)?;
        let at = keys.iter().position(|(id, _)| *id == current);
        let at = at.ok_or_else(|| {
            KeyRingError::Malformed("the current key is not among the keys".to_owned())
        })?;
        keys.swap(0, at);
        Ok(Self { keys })
    }

    /// A ring with a new current key; the old ones stay to open what they sealed.
    #[must_use]
    pub fn rotate(&self) -> Self {
        let mut keys = Self::generate().keys;
        keys.extend(self.keys.iter().cloned());
        Self { keys }
    }

    /// Writes the ring in place of the file that holds it, in one step.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<(), KeyRingError> {
        let path = directory.join(FILE_NAME);
        let next = directory.join(format!("{FILE_NAME}.next"));
        let failed = |source| KeyRingError::File {
            path: path.clone(),
            source,
        };
        if let Err(error) = std::fs::remove_file(&next)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(failed(error));
        }
        self.create(&next)?;
        std::fs::rename(&next, &path).map_err(failed)
    }

    /// Every key's id, the current one first.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(|(id, _)| *id).collect()
    }

    pub(crate) fn current(&self) -> (KeyId, &[u8; 32]) {
        let (id, key) = &self.keys[0];
        (*id, key)
    }

    pub(crate) fn find(&self, id: KeyId) -> Option<&[u8; 32]> {
        self.keys
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, key)| &**key)
    }

    /// Writes a new file that only its owner may read. One that exists is left alone.
    fn create(&self, path: &Path) -> Result<(), KeyRingError> {
        let failed = |source| KeyRingError::File {
            path: path.to_owned(),
            source,
        };
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let mut file = options.open(path).map_err(failed)?;
        file.write_all(self.to_text().as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    fn to_text(&self) -> Zeroizing<String> {
        let mut text = String::from(
            "# Tieline's master keys. Without this file the secrets in the database are lost:\n\
             # keep a copy in a safe place, apart from copies of the database.\n",
        );
        text.push_str(&format!("current = \"{}\"\n", self.keys[0].0));
        for (id, key) in &self.keys {
            let key = Zeroizing::new(STANDARD.encode(&key[..]));
            text.push_str(&format!("\n[[keys]]\nid = \"{id}\"\nkey = \"{}\"\n", *key));
        }
        Zeroizing::new(text)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing").field(&self.key_ids()).finish()
    }
}

fn id_of(text: &str) -> Result<KeyId, KeyRingError> {
    let number = u64::from_str_radix(text, 16)
        .ok()
        .filter(|_| text.len() == 16);
    number
        .map(|number| KeyId(number.to_be_bytes()))
        .ok_or_else(|| {
            KeyRingError::Malformed("a key's id is not 16 hexadecimal digits".to_owned())
        })
}

fn key_of(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyRingError> {
    let wrong = || KeyRingError::Malformed("a key is not 32 bytes in base64".to_owned());
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| wrong())?);
    let key = <[u8; 32]>::try_from(&bytes[..]).map_err(|_| wrong())?;
    Ok(Zeroizing::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_round_trips_and_debug_shows_ids_only() {
        let ring = KeyRing::generate().rotate();
        let text = ring.to_text();
        let read = KeyRing::from_text(&SecretString::from(text.as_str())).expect("a ring");
        assert_eq!(read.key_ids(), ring.key_ids());
        assert_eq!(read.current().1, ring.current().1);
        let key = STANDARD.encode(ring.current().1);
        assert!(text.contains(&key) && !format!("{ring:?}").contains(&key));
    }

    #[test]
    fn a_broken_file_says_what_to_do_and_quotes_nothing() {
        for text in ["", "current = 1", "current = \"00\"\nkeys = []", "secret!"] {
            let error = KeyRing::from_text(&SecretString::from(text)).expect_err("refused");
            let message = error.to_string();
            assert!(
                message.contains("backup") && !message.contains("secret!"),
                "{message}"
            );
        }
    }

    #[test]
    fn the_file_is_made_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = KeyRing::load_or_create(directory.path()).expect("a ring");
        let second = KeyRing::load_or_create(directory.path()).expect("a ring");
        assert_eq!(first.key_ids(), second.key_ids());
        let rotated = second.rotate();
        rotated.save(directory.path()).expect("saved");
        let third = KeyRing::load_or_create(directory.path()).expect("a ring");
        assert_eq!(third.key_ids(), rotated.key_ids());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = directory.path().join(FILE_NAME);
            let loose = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(&path, loose).expect("permissions");
            let refused = KeyRing::load(&path).expect_err("refused");
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
        }
    }
}
