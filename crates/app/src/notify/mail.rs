//! Mail by SMTP: one message for each recipient, so that one address that is refused costs the
//! others nothing, and nobody learns who else is told.
//!
//! The server is named by the configuration and not by a user of the console, so it may be an
//! inner one: the rule of public addresses does not apply here.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use tieline_core::Notice;

use super::schedule::Outcome;
use super::text::MailText;

/// How long each step of a conversation may take.
const STEP: Duration = Duration::from_secs(10);
/// How long a conversation may take in all; well below the lease of a delivery.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the conversation with the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// It begins in the clear and must turn to TLS (RFC 3207); port 587.
    StartTls,
    /// TLS from the first byte (RFC 8314); port 465.
    Implicit,
    /// None; for a relay on the same machine or in the same rack.
    None,
}

/// How mails are sent.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// The mail server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the conversation is protected.
    pub tls: MailTls,
    /// Who signs in, where the server wants that.
    pub user: Option<String>,
    /// Their password.
    pub password: Option<SecretString>,
    /// The sender.
    pub from: String,
    /// Who gets mail.
    pub to: Vec<String>,
    /// How long a change has to last before a mail tells of it.
    pub settle: Duration,
    /// Certificates of authorities to trust besides the operating system's.
    pub ca_files: Vec<PathBuf>,
}

/// Why mail cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum MailProblem {
    /// An address that is none.
    #[error("{address:?} is not a mail address")]
    Address {
        /// What was given.
        address: String,
    },
    /// A certificate file cannot be used.
    #[error("the certificate file {path} cannot be used")]
    CaFile {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up for the mail server: {0}")]
    Tls(String),
    /// The server did not take the connection or the sign-in.
    #[error("the mail server {host}:{port} does not let us in: {reason}")]
    Server {
        /// The server.
        host: String,
        /// Its port.
        port: u16,
        /// What it said.
        reason: String,
    },
}

/// Sends a mail.
pub(super) async fn send(
    settings: &MailSettings,
    hello: &str,
    to: &str,
    notice: &Notice,
    text: MailText,
    now: DateTime<Utc>,
) -> Outcome {
    let message = match compose(settings, hello, to, notice, text, now) {
        Ok(message) => message,
        Err(error) => {
            tracing::error!(%error, "a mail cannot be written");
            return impossible("mail-address-malformed", None);
        }
    };
    let transport = match transport(settings, hello) {
        Ok(transport) => transport,
        Err(error) => {
            tracing::error!(%error, "mail cannot be sent");
            return not_reached("delivery-untrusted");
        }
    };
    match tokio::time::timeout(PATIENCE, transport.send(message)).await {
        Ok(Ok(response)) => Outcome::Taken {
            status: Some(u16::from(response.code())),
        },
        Ok(Err(error)) => judged(&error),
        Err(_) => not_reached("delivery-slow"),
    }
}

/// Asks the server whether it would take mail from us, and sends none.
///
/// # Errors
/// When the settings cannot be used, or the server does not let us in.
pub async fn mail_check(settings: &MailSettings, hello: &str) -> Result<(), MailProblem> {
    for address in settings.to.iter().chain([&settings.from]) {
        mailbox(address)?;
    }
    let transport = transport(settings, hello)?;
    let failed = |reason: String| MailProblem::Server {
        host: settings.host.clone(),
        port: settings.port,
        reason,
    };
    match tokio::time::timeout(PATIENCE, transport.test_connection()).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(failed("it does not answer NOOP".to_owned())),
        Ok(Err(error)) => Err(failed(chain(&error))),
        Err(_) => Err(failed("it does not answer in time".to_owned())),
    }
}

fn compose(
    settings: &MailSettings,
    hello: &str,
    to: &str,
    notice: &Notice,
    text: MailText,
    now: DateTime<Utc>,
) -> Result<Message, MailProblem> {
    let built = Message::builder()
        .from(mailbox(&settings.from)?)
        .to(mailbox(to)?)
        .subject(text.subject)
        .date(SystemTime::from(now))
        // The same with every attempt, so that a mail that comes twice shows once.
        .message_id(Some(format!("<{}@{hello}>", notice.id)))
        // Nobody answers a machine (RFC 3834).
        .raw_header(lettre::message::header::HeaderValue::new(
            lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .header(ContentType::TEXT_PLAIN)
        .body(text.body);
    built.map_err(|_| MailProblem::Address {
        address: to.to_owned(),
    })
}

fn transport(
    settings: &MailSettings,
    hello: &str,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailProblem> {
    let tls = match settings.tls {
        MailTls::None => Tls::None,
        // Not opportunistic: whoever cuts STARTTLS out would read along.
        MailTls::StartTls => Tls::Required(parameters(settings)?),
        MailTls::Implicit => Tls::Wrapper(parameters(settings)?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
        .port(settings.port)
        .tls(tls)
        .timeout(Some(STEP))
        .hello_name(ClientId::Domain(hello.to_owned()));
    if let (Some(user), Some(password)) = (&settings.user, &settings.password) {
        let password = password.expose_secret().to_owned();
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
}

fn parameters(settings: &MailSettings) -> Result<TlsParameters, MailProblem> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    for path in &settings.ca_files {
        let unusable = || MailProblem::CaFile { path: path.clone() };
        let pem = std::fs::read(path).map_err(|_| unusable())?;
        let certificate = Certificate::from_pem(&pem).map_err(|_| unusable())?;
        builder = builder.add_root_certificate(certificate);
    }
    let built = builder.build_rustls();
    built.map_err(|error| MailProblem::Tls(chain(&error)))
}

fn mailbox(text: &str) -> Result<Mailbox, MailProblem> {
    let bare = text.parse::<Address>().map(|a| Mailbox::new(None, a));
    bare.or_else(|_| text.parse::<Mailbox>())
        .map_err(|_| MailProblem::Address {
            address: text.to_owned(),
        })
}

fn judged(error: &lettre::transport::smtp::Error) -> Outcome {
    let status = error.status().map(u16::from);
    if error.is_permanent() && !is_about_us(status) {
        // The address itself is refused: another attempt would be as well (RFC 5321, 4.2.1).
        return impossible("mail-refused", status);
    }
    match status {
        Some(status) => Outcome::Refused {
            status,
            retry_after: None,
        },
        None if error.is_timeout() => not_reached("delivery-slow"),
        None if error.is_tls() => not_reached("delivery-untrusted"),
        None => not_reached("delivery-unreachable"),
    }
}

/// Codes that speak of our sign-in and not of the message (RFC 4954): put right, they pass.
fn is_about_us(status: Option<u16>) -> bool {
    matches!(status, Some(530 | 534 | 535 | 538))
}

fn not_reached(code: &'static str) -> Outcome {
    Outcome::NotReached { code }
}

fn impossible(code: &'static str, status: Option<u16>) -> Outcome {
    Outcome::Impossible { code, status }
}

/// An error with what it came from; the libraries keep the interesting part there.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
