//! Reads the configuration raw: which key was given where, as text. What it means is decided once,
//! in `resolve`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::error::ConfigError;
use crate::config::keys::{self, Key, Kind};

/// The defaults, which are also the documentation.
pub(crate) const DEFAULT: &str = include_str!("default.toml");

/// Where a value was given. Later ones win.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The built-in file.
    Default,
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag, as typed.
    Flag(&'static str),
}

impl Origin {
    /// The layer: a higher one wins.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File { .. } => 1,
            Origin::Variable(_) => 2,
            Origin::Flag(_) => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("the defaults"),
            Origin::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Origin::Variable(name) => write!(f, "the environment variable {name}"),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value as given.
#[derive(Clone)]
pub(crate) struct Given {
    /// The text.
    pub(crate) text: String,
    /// Where it stands.
    pub(crate) origin: Origin,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may be a secret.
        write!(f, "Given(from {})", self.origin)
    }
}

/// Every value given, by key.
pub(crate) type Raw = BTreeMap<&'static str, Given>;

/// Where a file is looked for when none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// In the data directory, if one is named, and then in the working directory.
    Usual,
    /// Nowhere: the demo must not find the configuration of a real installation.
    Nowhere,
}

/// What the configuration is read from.
#[derive(Debug)]
pub(crate) struct Sources {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// Where else to look for one.
    pub(crate) search: Search,
    /// The variables of the process.
    pub(crate) environment: Vec<(String, String)>,
    /// Flags that set a key: the key, the flag, the value.
    pub(crate) flags: Vec<(&'static str, &'static str, String)>,
}

impl Sources {
    /// Reads every layer. Also tells which file was read.
    ///
    /// # Errors
    /// When a file cannot be read or understood, or a key is unknown.
    pub(crate) fn read(&self) -> Result<(Raw, Option<PathBuf>), ConfigError> {
        let mut raw = Raw::new();
        read_file(DEFAULT, None, &mut raw)?;
        let file = self.find_file()?;
        if let Some(path) = &file {
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                path: path.clone(),
                source,
            })?;
            read_file(&text, Some(path), &mut raw)?;
        }
        self.read_environment(&mut raw)?;
        for (name, flag, value) in &self.flags {
            raw.insert(
                name,
                Given {
                    text: value.clone(),
                    origin: Origin::Flag(flag),
                },
            );
        }
        Ok((raw, file))
    }

    fn find_file(&self) -> Result<Option<PathBuf>, ConfigError> {
        if let Some(path) = self
            .file
            .clone()
            .or_else(|| self.variable("TIELINE_CONFIG").map(Into::into))
        {
            return Ok(Some(path));
        }
        if self.search == Search::Nowhere {
            return Ok(None);
        }
        let data_dir = self
            .flags
            .iter()
            .find(|(name, ..)| *name == "data_dir")
            .map(|(.., value)| value.clone())
            .or_else(|| self.variable("TIELINE_DATA_DIR"));
        let candidates = data_dir
            .map(|directory| Path::new(&directory).join("tieline.toml"))
            .into_iter()
            .chain([PathBuf::from("tieline.toml")]);
        for candidate in candidates {
            match candidate.try_exists() {
                Ok(true) => return Ok(Some(candidate)),
                Ok(false) => {}
                Err(source) => {
                    return Err(ConfigError::Unreadable {
                        path: candidate,
                        source,
                    });
                }
            }
        }
        Ok(None)
    }

    fn variable(&self, name: &str) -> Option<String> {
        let found = self.environment.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    }

    fn read_environment(&self, raw: &mut Raw) -> Result<(), ConfigError> {
        for (name, value) in &self.environment {
            let Some(rest) = name.strip_prefix("TIELINE_") else {
                continue;
            };
            if is_somebody_elses(rest) || value.is_empty() {
                continue;
            }
            let Some(key) = keys::find_variable(rest) else {
                return Err(unknown_variable(name, rest));
            };
            let origin = Origin::Variable(name.clone());
            raw.insert(
                key.name,
                Given {
                    text: value.clone(),
                    origin,
                },
            );
        }
        Ok(())
    }
}

/// Variables below our prefix that are no settings: the test suite's, the one that names the file,
/// and those that Kubernetes sets for every service, one called `tieline…` included.
fn is_somebody_elses(rest: &str) -> bool {
    let kubernetes = |text: &str| {
        text == "SERVICE_HOST"
            || text.starts_with("SERVICE_PORT")
            || text == "PORT"
            || text
                .strip_prefix("PORT_")
                .is_some_and(|t| t.starts_with(|c: char| c.is_ascii_digit()))
    };
    rest == "CONFIG"
        || rest == "SCREENSHOTS"
        || rest.starts_with("TEST_")
        || kubernetes(rest)
        || rest
            .match_indices('_')
            .any(|(at, _)| kubernetes(&rest[at + 1..]))
}

fn unknown_variable(name: &str, rest: &str) -> ConfigError {
    let likeness = |key: &&'static Key| strsim::jaro_winkler(rest, &keys::variable_of(key));
    let nearest = keys::KEYS
        .iter()
        .filter(|key| likeness(key) >= 0.75)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .map(|key| format!("TIELINE_{}", keys::variable_of(key)));
    ConfigError::UnknownKey {
        origin: Origin::Variable(name.to_owned()),
        key: name.to_owned(),
        nearest,
    }
}

// === files ===

fn read_file(text: &str, path: Option<&Path>, raw: &mut Raw) -> Result<(), ConfigError> {
    let place = |offset: usize| match path {
        None => Origin::Default,
        Some(path) => Origin::File {
            path: path.to_owned(),
            line: line_of(text, offset),
        },
    };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        origin: place(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    read_table(table.get_ref(), "", &place, raw)
}

fn read_table(
    table: &DeTable<'_>,
    section: &str,
    place: &dyn Fn(usize) -> Origin,
    raw: &mut Raw,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let full = match section {
            "" => name.get_ref().to_string(),
            section => format!("{section}.{}", name.get_ref()),
        };
        let origin = place(name.span().start);
        match (keys::find(&full), value.get_ref()) {
            (Some(key), _) => {
                let text = text_of(key, value, &origin)?;
                raw.insert(key.name, Given { text, origin });
            }
            (None, DeValue::Table(inner)) if keys::is_section(&full) => {
                read_table(inner, &full, place, raw)?;
            }
            (None, found) if keys::is_section(&full) => {
                return Err(ConfigError::NotASection {
                    origin,
                    key: full,
                    found: found.type_str(),
                });
            }
            (None, _) => {
                let nearest = keys::nearest(&full).map(ToOwned::to_owned);
                return Err(ConfigError::UnknownKey {
                    origin,
                    key: full,
                    nearest,
                });
            }
        }
    }
    Ok(())
}

/// The value as text, if its TOML type is the one that the key takes.
fn text_of(
    key: &Key,
    value: &Spanned<DeValue<'_>>,
    origin: &Origin,
) -> Result<String, ConfigError> {
    match (key.kind, value.get_ref()) {
        (Kind::Switch, DeValue::Boolean(on)) => Ok(on.to_string()),
        (Kind::Switch, _) => Err(wrong_type(key, value.get_ref(), origin)),
        (Kind::Count, DeValue::Integer(number)) => Ok(number.as_str().to_owned()),
        (_, DeValue::String(text)) => Ok(text.to_string()),
        // A port is a number to everybody but us.
        (Kind::Text, DeValue::Integer(number)) => Ok(number.to_string()),
        (Kind::List, DeValue::Array(items)) => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.as_ref()),
                other => Err(wrong_type(key, other, origin)),
            });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        _ => Err(wrong_type(key, value.get_ref(), origin)),
    }
}

fn wrong_type(key: &Key, found: &DeValue<'_>, origin: &Origin) -> ConfigError {
    let expected = key.kind.to_string();
    let found = found.type_str().to_owned();
    ConfigError::WrongType {
        origin: origin.clone(),
        key: key.name,
        expected,
        found,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(environment: &[(&str, &str)]) -> Sources {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Sources {
            file: None,
            search: Search::Nowhere,
            environment: environment.iter().map(owned).collect(),
            flags: Vec::new(),
        }
    }

    fn from_file(text: &str) -> Result<Raw, ConfigError> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tieline.toml");
        std::fs::write(&path, text).expect("written");
        Sources {
            file: Some(path),
            ..sources(&[])
        }
        .read()
        .map(|(raw, _)| raw)
    }

    #[test]
    fn every_key_stands_in_the_default_file() {
        for key in keys::KEYS {
            let (section, name) = key.name.split_once('.').unwrap_or(("", key.name));
            let body = match section {
                "" => DEFAULT,
                section => DEFAULT
                    .split_once(&format!("\n[{section}]\n"))
                    .map(|(_, rest)| rest.split("\n[").next().unwrap_or(rest))
                    .unwrap_or_else(|| panic!("no section {section}")),
            };
            let set = body
                .lines()
                .any(|line| line.starts_with(&format!("{name} = ")));
            let unset = body
                .lines()
                .any(|line| line.starts_with(&format!("# {name} = ")));
            assert!(set || unset, "{} is missing", key.name);
        }
    }

    #[test]
    fn later_layers_win() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tieline.toml");
        std::fs::write(
            &path,
            "[console]\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"\n",
        )
        .expect("written");
        let mut sources = sources(&[("TIELINE_CONSOLE_LISTEN", "127.0.0.1:2"), ("HOME", "/")]);
        sources.file = Some(path);
        let (raw, _) = sources.read().expect("read");
        assert_eq!(raw["console.listen"].text, "127.0.0.1:2");
        assert_eq!(raw["log.level"].text, "warn");
        sources.flags = vec![("console.listen", "--console", "127.0.0.1:3".to_owned())];
        let (raw, _) = sources.read().expect("read");
        assert_eq!(raw["console.listen"].text, "127.0.0.1:3");
        assert_eq!(raw["gateway.listen"].origin, Origin::Default);
    }

    #[test]
    fn an_unknown_key_is_named_with_line_and_likeness() {
        let error =
            from_file("data_dir = \"x\"\n\n[console]\nlisen = \"x\"\n").expect_err("unknown");
        let text = error.to_string();
        assert!(text.contains("line 4"), "{text}");
        assert!(
            text.contains("console.lisen") && text.contains("console.listen"),
            "{text}"
        );
        let text = from_file("[consol]\nlisten = \"x\"\n")
            .expect_err("unknown")
            .to_string();
        assert!(text.contains("line 1"), "{text}");
    }

    #[test]
    fn a_wrong_type_says_what_is_expected() {
        let text = from_file("[outbound]\nallow_loopback = \"yes\"\n")
            .expect_err("refused")
            .to_string();
        assert!(
            text.contains("line 2") && text.contains("true or false"),
            "{text}"
        );
        let text = from_file("[console]\nlisten = 8420\n")
            .expect_err("refused")
            .to_string();
        assert!(
            text.contains("integer") && text.contains("127.0.0.1:8420"),
            "{text}"
        );
        let text = from_file("console = 1\n").expect_err("refused").to_string();
        assert!(text.contains("[console]"), "{text}");
    }

    #[test]
    fn broken_toml_is_placed() {
        let text = from_file("[console]\nlisten = \n")
            .expect_err("refused")
            .to_string();
        assert!(text.contains("line 2"), "{text}");
    }

    #[test]
    fn a_misspelled_variable_is_refused_and_a_foreign_one_is_not() {
        let text = sources(&[("TIELINE_DATABSE_URL", "x")])
            .read()
            .expect_err("refused")
            .to_string();
        assert!(text.contains("TIELINE_DATABASE_URL"), "{text}");
        let foreign = [
            ("TIELINE_SERVICE_HOST", "10.0.0.1"),
            ("TIELINE_PORT", "tcp://10.0.0.1:80"),
            ("TIELINE_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("TIELINE_GATEWAY_SERVICE_PORT_HTTP", "80"),
            ("TIELINE_TEST_POSTGRES", "postgres://"),
        ];
        assert!(sources(&foreign).read().is_ok());
    }

    #[test]
    fn the_data_directory_may_hold_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tieline.toml");
        std::fs::write(&path, "[log]\nformat = \"json\"\n").expect("written");
        let mut sources = sources(&[]);
        sources.flags = vec![(
            "data_dir",
            "--data-dir",
            directory.path().display().to_string(),
        )];
        assert_eq!(sources.read().expect("read").1, None);
        sources.search = Search::Usual;
        assert_eq!(sources.read().expect("read").1, Some(path));
    }
}
