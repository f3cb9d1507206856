//! From text to settings that cannot be wrong: addresses that parse, secrets that were read,
//! listeners that nobody can overhear.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use tieline_app::{NotifySettings, OutboundSettings, Policy};
use tieline_gateway::Protocols;
use url::Url;

use crate::config::error::ConfigError;
use crate::config::keys::{self, Secret};
use crate::config::load::{Given, Origin, Raw, Sources};
use crate::config::notices;

/// The settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The file that was read, for `doctor`.
    pub(crate) file: Option<PathBuf>,
    pub(crate) data_dir: PathBuf,
    pub(crate) console: Listener,
    pub(crate) gateway: Listener,
    /// Below this name every account has a host of its own.
    pub(crate) gateway_suffix: Option<String>,
    /// Origins whose pages may call the gateway; `*` is all.
    pub(crate) gateway_origins: Vec<String>,
    /// Threads of the gateway; none is one for each processor.
    pub(crate) gateway_workers: Option<usize>,
    /// What the gateway speaks with Dynamics.
    pub(crate) gateway_protocols: Protocols,
    /// None is SQLite in the data directory.
    pub(crate) database_url: Option<SecretString>,
    pub(crate) master_keys: MasterKeys,
    pub(crate) outbound: OutboundSettings,
    pub(crate) notify: NotifySettings,
    /// What a scraper of metrics has to show.
    pub(crate) metrics_token: Option<SecretString>,
    pub(crate) log: LogSettings,
    pub(crate) admin: Admin,
}

/// One listener.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: Option<Url>,
    pub(crate) tls: Option<TlsFiles>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Where the master keys are.
#[derive(Debug, Clone)]
pub(crate) enum MasterKeys {
    /// In the data directory, made when missing.
    DataDir,
    /// Given as text.
    Text(SecretString),
}

/// How to log.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    pub(crate) level: String,
    /// Whether somebody asked for a level, rather than it being the default.
    pub(crate) level_given: bool,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// The first administrator.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) email: String,
    /// None has one made up.
    pub(crate) password: Option<SecretString>,
}

impl Settings {
    /// Reads and resolves the configuration.
    ///
    /// # Errors
    /// When something in it cannot be used; the error says where it stands.
    pub(crate) fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let (raw, file) = sources.read()?;
        let raw = Reader(&raw);
        Ok(Self {
            file,
            data_dir: raw
                .path("data_dir")
                .unwrap_or_else(|| PathBuf::from("tieline-data")),
            console: raw.listener("console", &CONSOLE)?,
            gateway: raw.listener("gateway", &GATEWAY)?,
            gateway_suffix: raw.host_suffix()?,
            gateway_origins: raw.allowed_origins()?,
            gateway_workers: raw.count("gateway.workers")?,
            gateway_protocols: match raw.switch("gateway.upstream_http2")? {
                true => Protocols::Http2Too,
                false => Protocols::Http1,
            },
            database_url: raw.secret("database.url", "database.url_file")?,
            master_keys: raw
                .secret("keys.master", "keys.master_file")?
                .map_or(MasterKeys::DataDir, MasterKeys::Text),
            outbound: raw.outbound()?,
            notify: notices::read(&raw)?,
            metrics_token: raw.secret("metrics.token", "metrics.token_file")?,
            log: raw.log()?,
            admin: Admin {
                email: raw.text("admin.email").unwrap_or_default(),
                password: raw.secret("admin.password", "admin.password_file")?,
            },
        })
    }

    /// The database's URL.
    pub(crate) fn database_url(&self) -> SecretString {
        self.database_url.clone().unwrap_or_else(|| {
            let file = absolute(&self.data_dir).join("tieline.db");
            SecretString::from(format!("sqlite://{}", file.display()))
        })
    }

    /// The database for people: without what might be a password.
    pub(crate) fn database_shown(&self) -> String {
        let url = self.database_url();
        match Url::parse(url.expose_secret()) {
            Ok(mut parsed) => {
                // Both fail only for URLs that can hold neither.
                let _ = parsed.set_password(None);
                parsed.set_query(None);
                parsed.to_string()
            }
            Err(_) => "(not a URL)".to_owned(),
        }
    }
}

/// A path that means the same after a change of directory, and in a URL.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The keys of one listener.
struct ListenerKeys {
    listen: &'static str,
    public_url: &'static str,
    tls_cert: &'static str,
    tls_key: &'static str,
    behind_proxy: &'static str,
}

const CONSOLE: ListenerKeys = ListenerKeys {
    listen: "console.listen",
    public_url: "console.public_url",
    tls_cert: "console.tls_cert",
    tls_key: "console.tls_key",
    behind_proxy: "console.behind_proxy",
};

const GATEWAY: ListenerKeys = ListenerKeys {
    listen: "gateway.listen",
    public_url: "gateway.public_url",
    tls_cert: "gateway.tls_cert",
    tls_key: "gateway.tls_key",
    behind_proxy: "gateway.behind_proxy",
};

pub(super) struct Reader<'a>(&'a Raw);

impl Reader<'_> {
    pub(super) fn given(&self, key: &str) -> Option<&Given> {
        self.0
            .get(key)
            .filter(|given| !given.text.trim().is_empty())
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.given(key).map(|given| given.text.trim().to_owned())
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.given(key).map(|given| PathBuf::from(&given.text))
    }

    fn switch(&self, key: &'static str) -> Result<bool, ConfigError> {
        let Some(given) = self.given(key) else {
            return Ok(false);
        };
        match given.text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(wrong(key, given)),
        }
    }

    fn count(&self, key: &'static str) -> Result<Option<usize>, ConfigError> {
        let Some(given) = self.given(key) else {
            return Ok(None);
        };
        match given.text.trim().parse() {
            Ok(count) if count > 0 => Ok(Some(count)),
            _ => Err(wrong(key, given)),
        }
    }

    fn listener(
        &self,
        section: &'static str,
        keys: &ListenerKeys,
    ) -> Result<Listener, ConfigError> {
        let listen = self.address(keys.listen)?;
        let tls = match (self.path(keys.tls_cert), self.path(keys.tls_key)) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            (None, _) => {
                return Err(ConfigError::HalfTls {
                    section,
                    missing: keys.tls_cert.to_owned(),
                });
            }
            (_, None) => {
                return Err(ConfigError::HalfTls {
                    section,
                    missing: keys.tls_key.to_owned(),
                });
            }
        };
        let behind_proxy = self.switch(keys.behind_proxy)?;
        if !listen.ip().is_loopback() && tls.is_none() && !behind_proxy {
            return Err(ConfigError::Unprotected {
                section,
                address: listen,
            });
        }
        Ok(Listener {
            listen,
            public_url: self.origin(keys.public_url)?,
            tls,
        })
    }

    fn address(&self, key: &'static str) -> Result<SocketAddr, ConfigError> {
        let fallback = SocketAddr::from(([127, 0, 0, 1], 0));
        let Some(given) = self.given(key) else {
            return Ok(fallback);
        };
        let text = given.text.trim();
        // `localhost` is what people write; it has one address that every machine listens on.
        let text = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        text.parse().map_err(|_| wrong(key, given))
    }

    /// A URL that is only an origin: scheme, host, port.
    fn origin(&self, key: &'static str) -> Result<Option<Url>, ConfigError> {
        let Some(given) = self.given(key) else {
            return Ok(None);
        };
        let url = Url::parse(given.text.trim()).map_err(|_| wrong(key, given))?;
        let sound = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty();
        if sound {
            Ok(Some(url))
        } else {
            let expected = "scheme, host and port alone, such as https://tieline.example.com";
            Err(wrong_value(key, given, expected))
        }
    }

    fn host_suffix(&self) -> Result<Option<String>, ConfigError> {
        let key = "gateway.host_suffix";
        let Some(given) = self.given(key) else {
            return Ok(None);
        };
        let text = given
            .text
            .trim()
            .trim_start_matches('.')
            .to_ascii_lowercase();
        let sound = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
        if sound {
            Ok(Some(text))
        } else {
            Err(wrong_value(
                key,
                given,
                "a host name, such as gateway.example.com",
            ))
        }
    }

    fn allowed_origins(&self) -> Result<Vec<String>, ConfigError> {
        let key = "gateway.allowed_origins";
        let Some(given) = self.given(key) else {
            return Ok(Vec::new());
        };
        let expected = "origins with spaces between them, such as https://desk.example.com, or *";
        let listed = given.text.split([' ', ',', '\n', '\t']);
        listed
            .filter(|text| !text.is_empty())
            .map(|text| match Url::parse(text) {
                _ if text == "*" => Ok(text.to_owned()),
                // An origin as browsers write it: without a path, and without the usual port.
                Ok(url)
                    if url.origin().is_tuple() && url.path() == "/" && url.query().is_none() =>
                {
                    Ok(url.origin().ascii_serialization())
                }
                _ => Err(wrong_value(key, given, expected)),
            })
            .collect()
    }

    fn outbound(&self) -> Result<OutboundSettings, ConfigError> {
        let policy = if self.switch("outbound.allow_loopback")? {
            Policy::LoopbackToo
        } else {
            Policy::PublicOnly
        };
        let key = "outbound.proxy";
        let proxy = self.secret(key, "outbound.proxy_file")?;
        let proxy = proxy
            .map(|text| {
                let url = Url::parse(text.expose_secret().trim()).ok();
                url.filter(|url| url.scheme() == "http" && url.has_host())
                    .ok_or_else(|| ConfigError::WrongValue {
                        origin: self.origin_of(key),
                        key,
                        expected: "a URL such as http://proxy.example.com:3128".to_owned(),
                        found: "something else".to_owned(),
                    })
            })
            .transpose()?;
        let ca_files = self.path("outbound.ca_file").into_iter().collect();
        Ok(OutboundSettings {
            policy,
            ca_files,
            proxy,
        })
    }

    fn log(&self) -> Result<LogSettings, ConfigError> {
        let format = match self.given("log.format") {
            None => LogFormat::Text,
            Some(given) => match given.text.trim() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(wrong("log.format", given)),
            },
        };
        let level = self.given("log.level");
        if let Some(given) = level
            && crate::telemetry::filter(&given.text).is_err()
        {
            let expected = "error, warn, info, debug or trace, or directives such as \
                            info,tieline_app=debug";
            return Err(wrong_value("log.level", given, expected));
        }
        Ok(LogSettings {
            format,
            level: level.map_or_else(|| "info".to_owned(), |given| given.text.trim().to_owned()),
            level_given: level.is_some_and(|given| given.origin != Origin::Default),
        })
    }

    /// A secret, from its key or from the file that its other key names. The later layer wins, so
    /// that a variable overrides a file; in one layer only one of them may stand.
    pub(super) fn secret(
        &self,
        key: &'static str,
        file_key: &'static str,
    ) -> Result<Option<SecretString>, ConfigError> {
        match (self.given(key), self.given(file_key)) {
            (None, None) => Ok(None),
            (Some(text), Some(file)) if text.origin.rank() == file.origin.rank() => {
                Err(ConfigError::GivenTwice {
                    origin: file.origin.clone(),
                    key,
                })
            }
            (Some(text), Some(file)) if text.origin.rank() < file.origin.rank() => {
                read_secret(file_key, file).map(Some)
            }
            (Some(text), _) => Ok(Some(SecretString::from(text.text.clone()))),
            (None, Some(file)) => read_secret(file_key, file).map(Some),
        }
    }

    fn origin_of(&self, key: &str) -> Origin {
        self.given(key)
            .map_or(Origin::Default, |given| given.origin.clone())
    }
}

fn read_secret(key: &str, given: &Given) -> Result<SecretString, ConfigError> {
    let path = PathBuf::from(&given.text);
    let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::SecretFile {
        origin: given.origin.clone(),
        key: key.to_owned(),
        path,
        source,
    })?;
    // Editors and `echo` end a file with a line break, which no secret has.
    Ok(SecretString::from(
        text.trim_end_matches(['\n', '\r']).to_owned(),
    ))
}

pub(super) fn wrong(key: &'static str, given: &Given) -> ConfigError {
    let expected = keys::find(key)
        .map(|key| key.kind.to_string())
        .unwrap_or_default();
    wrong_value(key, given, &expected)
}

pub(super) fn wrong_value(key: &'static str, given: &Given, expected: &str) -> ConfigError {
    let hidden = keys::find(key).is_some_and(|key| key.secret == Secret::Yes);
    let found = if hidden {
        "something else".to_owned()
    } else {
        format!("{:?}", given.text)
    };
    let expected = expected.to_owned();
    ConfigError::WrongValue {
        origin: given.origin.clone(),
        key,
        expected,
        found,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::load::Search;

    /// Settings from flags alone.
    pub(crate) fn load(flags: &[(&'static str, &str)]) -> Result<Settings, ConfigError> {
        let flags = flags
            .iter()
            .map(|(key, value)| (*key, "--flag", (*value).to_owned()));
        Settings::load(&Sources {
            file: None,
            search: Search::Nowhere,
            environment: Vec::new(),
            flags: flags.collect(),
        })
    }

    #[test]
    fn the_defaults_are_safe_and_local() {
        let settings = load(&[]).expect("defaults");
        assert_eq!(settings.console.listen.to_string(), "127.0.0.1:8420");
        assert_eq!(settings.gateway.listen.to_string(), "127.0.0.1:8421");
        assert_eq!(settings.outbound.policy, Policy::PublicOnly);
        assert!(matches!(settings.master_keys, MasterKeys::DataDir));
        assert!(
            settings
                .database_url()
                .expose_secret()
                .starts_with("sqlite:///")
        );
        assert!(!settings.log.level_given);
    }

    #[test]
    fn a_listener_that_can_be_overheard_is_refused() {
        let error = load(&[("gateway.listen", "0.0.0.0:8421")]).expect_err("refused");
        assert!(
            error.to_string().contains("gateway.behind_proxy"),
            "{error}"
        );
        let open = [
            ("gateway.listen", "0.0.0.0:8421"),
            ("gateway.behind_proxy", "true"),
        ];
        assert!(load(&open).is_ok(), "behind a proxy");
        let tls = [
            ("console.listen", "[::]:8420"),
            ("console.tls_cert", "c.pem"),
            ("console.tls_key", "k.pem"),
        ];
        assert!(load(&tls).expect("with TLS").console.tls.is_some());
        let half = load(&[("console.tls_cert", "c.pem")])
            .expect_err("half")
            .to_string();
        assert!(half.contains("console.tls_key"), "{half}");
    }

    #[test]
    fn wrong_values_say_what_is_expected() {
        for (key, value, expected) in [
            ("console.listen", "8420", "an address and a port"),
            (
                "console.public_url",
                "https://x.example/console",
                "scheme, host and port alone",
            ),
            ("console.public_url", "tieline.example.com", "a URL"),
            ("outbound.allow_loopback", "maybe", "true or false"),
            ("log.format", "xml", "text, json"),
            ("log.level", "chatty=loud=x", "error, warn, info"),
        ] {
            let text = load(&[(key, value)]).expect_err(key).to_string();
            assert!(text.contains(expected) && text.contains(key), "{text}");
        }
    }

    #[test]
    fn localhost_is_an_address() {
        let settings = load(&[("console.listen", "localhost:0")]).expect("understood");
        assert!(settings.console.listen.ip().is_loopback());
    }

    #[test]
    fn a_secret_comes_from_its_file_without_the_line_break() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("password");
        std::fs::write(&path, "p@ss word+\r\n").expect("written");
        let path = path.display().to_string();
        let settings = load(&[("admin.password_file", &path)]).expect("read");
        let password = settings.admin.password.expect("a password");
        assert_eq!(password.expose_secret(), "p@ss word+");
        let twice = [
            ("admin.password_file", path.as_str()),
            ("admin.password", "x"),
        ];
        assert!(matches!(load(&twice), Err(ConfigError::GivenTwice { .. })));
        let missing = load(&[("database.url_file", "/nowhere/at/all")]).expect_err("missing");
        assert!(
            missing.to_string().contains("database.url_file"),
            "{missing}"
        );
    }

    #[test]
    fn passwords_stay_out_of_messages_and_debug() {
        let text = load(&[("outbound.proxy", "ftp://u:hunter2@x")]).expect_err("refused");
        assert!(!text.to_string().contains("hunter2"), "{text}");
        let settings =
            load(&[("database.url", "postgres://t:hunter2@db/t?password=hunter2")]).expect("read");
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert_eq!(settings.database_shown(), "postgres://t@db/t");
    }
}
