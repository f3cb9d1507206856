//! Every key of the configuration: its name, what it holds, and what to say of a wrong value.

use std::fmt;

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Free text.
    Text,
    /// `true` or `false`.
    Switch,
    /// A socket address.
    Address,
    /// An http or https URL.
    Url,
    /// A file or directory.
    Path,
    /// Several texts: a list, or one text with commas.
    List,
    /// A span of time.
    Span,
    /// A whole number above zero.
    Count,
    /// One of these words.
    Word(&'static [&'static str]),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Text => f.write_str("a text in quotes"),
            Kind::Switch => f.write_str("true or false, without quotes"),
            Kind::Address => f.write_str("an address and a port, such as \"127.0.0.1:8420\""),
            Kind::Url => f.write_str("a URL, such as \"https://tieline.example.com\""),
            Kind::Path => f.write_str("a path in quotes"),
            Kind::List => f.write_str("a list of texts, such as [\"ops@example.com\"]"),
            Kind::Span => f.write_str("a time with its unit, such as \"90s\", \"5m\" or \"1h\""),
            Kind::Count => f.write_str("a whole number above zero, such as 4"),
            Kind::Word(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its name with its section, such as `console.listen`.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// Whether its value must not be repeated in a message.
    pub(crate) secret: Secret,
}

/// Whether a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secret {
    /// It may.
    No,
    /// It may not.
    Yes,
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        secret: Secret::No,
    }
}

const fn secret(name: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Text,
        secret: Secret::Yes,
    }
}

/// Every key there is.
pub(crate) const KEYS: &[Key] = &[
    key("data_dir", Kind::Path),
    key("console.listen", Kind::Address),
    key("console.public_url", Kind::Url),
    key("console.tls_cert", Kind::Path),
    key("console.tls_key", Kind::Path),
    key("console.behind_proxy", Kind::Switch),
    key("gateway.listen", Kind::Address),
    key("gateway.public_url", Kind::Url),
    key("gateway.tls_cert", Kind::Path),
    key("gateway.tls_key", Kind::Path),
    key("gateway.behind_proxy", Kind::Switch),
    key("gateway.host_suffix", Kind::Text),
    key("gateway.allowed_origins", Kind::Text),
    key("gateway.workers", Kind::Count),
    key("gateway.upstream_http2", Kind::Switch),
    secret("database.url"),
    key("database.url_file", Kind::Path),
    secret("keys.master"),
    key("keys.master_file", Kind::Path),
    key("outbound.allow_loopback", Kind::Switch),
    key("outbound.ca_file", Kind::Path),
    secret("outbound.proxy"),
    key("outbound.proxy_file", Kind::Path),
    key("notifications.language", Kind::Word(&["en", "ja"])),
    key("mail.host", Kind::Text),
    key("mail.port", Kind::Text),
    key("mail.tls", Kind::Word(&["starttls", "implicit", "none"])),
    key("mail.user", Kind::Text),
    secret("mail.password"),
    key("mail.password_file", Kind::Path),
    key("mail.from", Kind::Text),
    key("mail.to", Kind::List),
    key("mail.settle", Kind::Span),
    secret("metrics.token"),
    key("metrics.token_file", Kind::Path),
    key("log.format", Kind::Word(&["text", "json"])),
    key("log.level", Kind::Text),
    key("admin.email", Kind::Text),
    secret("admin.password"),
    key("admin.password_file", Kind::Path),
];

/// Finds a key by its name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Finds the key that an environment variable means, given what follows `TIELINE_`.
pub(crate) fn find_variable(rest: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| variable_of(key) == rest)
}

/// Whether a name is a section.
pub(crate) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| {
        key.name
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The known name that somebody may have meant.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    // Below this likeness a guess confuses more than it helps.
    const ALIKE: f64 = 0.75;
    let last = name.rsplit('.').next().unwrap_or(name);
    let likeness = |known: &str| {
        let known_last = known.rsplit('.').next().unwrap_or(known);
        // The right key in the wrong section is as likely a slip as the other way round.
        strsim::jaro_winkler(name, known).max(strsim::jaro_winkler(last, known_last) * 0.95)
    };
    KEYS.iter()
        .map(|key| (likeness(key.name), key.name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// What follows `TIELINE_` in a key's environment variable.
pub(crate) fn variable_of(key: &Key) -> String {
    key.name.replace('.', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_nearest_key_is_the_one_that_was_meant() {
        assert_eq!(nearest("console.lisen"), Some("console.listen"));
        assert_eq!(nearest("gateway.listn"), Some("gateway.listen"));
        assert_eq!(nearest("databse.url"), Some("database.url"));
        assert_eq!(nearest("allow_loopback"), Some("outbound.allow_loopback"));
        assert_eq!(nearest("log.levle"), Some("log.level"));
        assert_eq!(nearest("zzz"), None);
    }

    #[test]
    fn no_two_keys_share_an_environment_variable() {
        let variables: BTreeSet<String> = KEYS.iter().map(variable_of).collect();
        assert_eq!(variables.len(), KEYS.len());
        assert_eq!(
            find_variable("DATABASE_URL_FILE").map(|k| k.name),
            Some("database.url_file")
        );
    }

    #[test]
    fn every_secret_can_be_given_as_a_file() {
        for key in KEYS.iter().filter(|key| key.secret == Secret::Yes) {
            assert!(
                find(&format!("{}_file", key.name)).is_some(),
                "{}",
                key.name
            );
        }
    }
}
