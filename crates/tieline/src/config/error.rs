//! What can be wrong with a configuration: always where it stands, and what would be right.

use std::path::PathBuf;

use crate::config::load::Origin;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file is not there or may not be read.
    #[error("cannot read the configuration file {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// The line.
        origin: Origin,
        /// What the parser said.
        message: String,
    },
    /// There is no such key.
    #[error("{origin}: unknown key {key}{}", did_you_mean(.nearest.as_deref()))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The known one that is most like it.
        nearest: Option<String>,
    },
    /// A section was given a value.
    #[error("{origin}: {key} is a section, [{key}], and not {found}")]
    NotASection {
        /// Where it stands.
        origin: Origin,
        /// The section.
        key: String,
        /// What was found.
        found: &'static str,
    },
    /// A number where a text belongs, and the like.
    #[error("{origin}: {key} is {found}, and should be {expected}")]
    WrongType {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// What is expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A value that means nothing.
    #[error("{origin}: {key} is {found}, and should be {expected}")]
    WrongValue {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// What is expected.
        expected: String,
        /// What was found; for a secret, only that it was.
        found: String,
    },
    /// A secret that is given twice.
    #[error("{origin}: {key} and {key}_file are both set; keep one of them")]
    GivenTwice {
        /// Where the second stands.
        origin: Origin,
        /// The key.
        key: &'static str,
    },
    /// A secret's file that cannot be used.
    #[error("{origin}: cannot read the file of {key}, {}", .path.display())]
    SecretFile {
        /// Where it is named.
        origin: Origin,
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A certificate without its key, or the reverse.
    #[error("{section}.tls_cert and {section}.tls_key belong together, and {missing} is not set")]
    HalfTls {
        /// The listener.
        section: &'static str,
        /// The key that is missing.
        missing: String,
    },
    /// A listener that would show passwords and keys to the network.
    #[error(
        "the {section} would listen on {address} without TLS: set {section}.tls_cert and \
         {section}.tls_key, listen on 127.0.0.1, or set {section}.behind_proxy = true if a proxy \
         in front terminates TLS"
    )]
    Unprotected {
        /// The listener.
        section: &'static str,
        /// Where it would listen.
        address: std::net::SocketAddr,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}
