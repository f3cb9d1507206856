//! What commands write: data on stdout, words on stderr, and the JSON shape of each thing.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, Utc};
use secrecy::SecretString;
use serde::Serialize;
use tieline_app::{Finding, explain, explain_reason};
use tieline_core::{
    Account, Consumer, ConsumerGrant, ConsumerLimits, CredentialRefusal, CredentialSlot, Language,
    User, trial_order,
};

/// Whether a command speaks to a program or to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text for people.
    Text,
    /// JSON.
    Json,
}

impl From<bool> for Format {
    /// From the flag `--json`.
    fn from(json: bool) -> Self {
        if json { Format::Json } else { Format::Text }
    }
}

/// Writes a line of data. A reader that has gone away (`| head`) is no error.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("failed to write to stdout"),
    }
}

/// Writes JSON, indented for people who look at it.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value).context("failed to write JSON")?)
}

/// Writes JSON on one line, for programs that read line by line.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value).context("failed to write JSON")?)
}

/// Says something to the person at the terminal.
pub(crate) fn say(text: &str) {
    // Whoever closed stderr does not want to hear it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says what should be looked at although it did not stop anything.
pub(crate) fn warn_of(findings: &[Finding], language: Language) {
    for finding in findings {
        let told = finding.explain(language);
        let flag = crate::exit::flag_of(finding.field.as_str());
        say(&format!("warning: {flag}: {} {}", told.cause, told.remedy));
    }
}

/// Reads a secret from a file, or from stdin when the file is `-`.
///
/// # Errors
/// When it cannot be read or holds nothing.
pub(crate) fn read_secret(path: &Path, what: &str) -> anyhow::Result<SecretString> {
    let text = if path == Path::new("-") {
        io::read_to_string(io::stdin())
            .with_context(|| format!("failed to read {what} from stdin"))?
    } else {
        std::fs::read_to_string(path)
            .with_context(|| format!("failed to read {what} from {}", path.display()))?
    };
    let text = text.trim_end_matches(['\n', '\r']);
    anyhow::ensure!(
        !text.is_empty(),
        "{what} is empty: {} holds nothing",
        path.display()
    );
    Ok(SecretString::from(text.to_owned()))
}

/// Rows under headings, each column as wide as its widest cell.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| width(heading)).collect();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            widths[at] = widths[at].max(width(cell));
        }
    }
    let render = |cells: &[String]| {
        let padded = cells.iter().enumerate().map(|(at, cell)| {
            format!(
                "{cell}{}",
                " ".repeat(widths[at].saturating_sub(width(cell)))
            )
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let headings: Vec<String> = headings
        .iter()
        .map(|heading| heading.to_uppercase())
        .collect();
    let lines = std::iter::once(render(&headings)).chain(rows.iter().map(|row| render(row)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Columns on a terminal: East Asian wide characters take two (Unicode Standard Annex #11, in
/// the coarse blocks that names of people and companies come from).
fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match u32::from(c) {
            0x1100..=0x115f
            | 0x2e80..=0xa4cf
            | 0xac00..=0xd7a3
            | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f
            | 0xff00..=0xff60
            | 0xffe0..=0xffe6
            | 0x1f300..=0x1faff
            | 0x20000..=0x3fffd => 2,
            _ => 1,
        })
        .sum()
}

// === JSON shapes: the names are those of the JSON API ===

/// An account, without its secrets.
#[derive(Debug, Serialize)]
pub(crate) struct AccountJson {
    id: String,
    #[serde(rename = "type")]
    account_type: &'static str,
    name: String,
    default: bool,
    authorization_url: String,
    token_url: String,
    api_url: String,
    client_id: String,
    client_secret: SecretJson,
    next_client_secret: SecretJson,
    client_certificate: CertificateJson,
    next_client_certificate: CertificateJson,
    credentials: Vec<CredentialJson>,
    refresh_token: RefreshTokenJson,
    grant: &'static str,
    notes: String,
    state: &'static str,
    state_since: DateTime<Utc>,
    state_reason: ReasonJson,
    version: i64,
    created_at: DateTime<Utc>,
    created_by: String,
    changed_at: DateTime<Utc>,
    changed_by: String,
}

#[derive(Debug, Serialize)]
struct SecretJson {
    set: bool,
    set_at: Option<DateTime<Utc>>,
    expires_on: Option<NaiveDate>,
}

impl SecretJson {
    fn of(account: &Account, slot: CredentialSlot) -> Self {
        let info = account.credential(slot);
        Self {
            set: info.is_some(),
            set_at: info.map(|info| info.set_at),
            expires_on: info.and_then(|info| info.expires_on),
        }
    }
}

#[derive(Debug, Serialize)]
struct CertificateJson {
    set: bool,
    set_at: Option<DateTime<Utc>>,
    expires_on: Option<NaiveDate>,
    thumbprint: Option<String>,
}

impl CertificateJson {
    fn of(account: &Account, slot: CredentialSlot) -> Self {
        let info = account.credential(slot);
        Self {
            set: info.is_some(),
            set_at: info.map(|info| info.set_at),
            expires_on: info.and_then(|info| info.expires_on),
            thumbprint: info.and_then(|info| info.thumbprint.clone()),
        }
    }
}

/// A secret or certificate, and what became of it.
#[derive(Debug, Serialize)]
struct CredentialJson {
    credential: &'static str,
    set_at: DateTime<Utc>,
    expires_on: Option<NaiveDate>,
    in_use: bool,
    worked_at: Option<DateTime<Utc>>,
    refused: Option<RefusalJson>,
}

#[derive(Debug, Serialize)]
struct RefusalJson {
    since: DateTime<Utc>,
    code: String,
    detail: String,
    cause: String,
    remedy: String,
}

impl CredentialJson {
    /// Every credential, in the order in which they are tried.
    fn all(account: &Account, language: Language) -> Vec<Self> {
        let worked = account.credentials.iter().filter_map(|info| info.worked_at);
        let latest = worked.max();
        let told = |refused: &CredentialRefusal| {
            let none: [(&str, String); 0] = [];
            let text = explain(&refused.code, &none, language);
            RefusalJson {
                since: refused.since,
                code: refused.code.clone(),
                detail: refused.detail.clone(),
                cause: text.cause,
                remedy: text.remedy,
            }
        };
        trial_order(&account.credentials)
            .into_iter()
            .filter_map(|slot| account.credential(slot))
            .map(|info| Self {
                credential: info.slot.as_str(),
                set_at: info.set_at,
                expires_on: info.expires_on,
                in_use: latest.is_some() && info.worked_at == latest,
                worked_at: info.worked_at,
                refused: info.refused.as_ref().map(told),
            })
            .collect()
    }

    /// For people.
    fn line(&self) -> String {
        let mut parts = vec![format!("set {}", self.set_at.date_naive())];
        if let Some(end) = self.expires_on {
            parts.push(format!("expires {end}"));
        }
        if self.in_use {
            parts.push("in use".to_owned());
        }
        if let Some(refused) = &self.refused {
            let since = refused.since.format("%Y-%m-%d %H:%M UTC");
            parts.push(format!("no longer works since {since} ({})", refused.code));
        }
        parts.join(", ")
    }
}

#[derive(Debug, Serialize)]
struct RefreshTokenJson {
    set: bool,
    consented_by: Option<String>,
    consented_at: Option<DateTime<Utc>>,
    tenant: Option<String>,
    organization: Option<String>,
}

#[derive(Debug, Serialize)]
struct ReasonJson {
    code: String,
    detail: String,
    cause: String,
    remedy: String,
}

impl AccountJson {
    /// The account as JSON, with its state explained in a language.
    pub(crate) fn of(account: &Account, language: Language) -> Self {
        let consent = account.consent.as_ref();
        let connection = &account.connection;
        let told = explain_reason(&connection.reason, account, language);
        Self {
            id: account.id.to_string(),
            account_type: account.account_type.as_str(),
            name: account.name.to_string(),
            default: account.is_default,
            authorization_url: account.authorization_url.clone(),
            token_url: account.token_url.clone(),
            api_url: account.api_url.clone(),
            client_id: account.client_id.clone(),
            client_secret: SecretJson::of(account, CredentialSlot::ClientSecret),
            next_client_secret: SecretJson::of(account, CredentialSlot::NextClientSecret),
            client_certificate: CertificateJson::of(account, CredentialSlot::ClientCertificate),
            next_client_certificate: CertificateJson::of(
                account,
                CredentialSlot::NextClientCertificate,
            ),
            credentials: CredentialJson::all(account, language),
            refresh_token: RefreshTokenJson {
                set: consent.is_some(),
                consented_by: consent.and_then(|consent| consent.user.clone()),
                consented_at: consent.map(|consent| consent.at),
                tenant: consent.and_then(|consent| consent.tenant.clone()),
                organization: consent.map(|consent| consent.organization.clone()),
            },
            grant: account.grant.as_str(),
            notes: account.notes.clone(),
            state: connection.state.as_str(),
            state_since: connection.since,
            state_reason: ReasonJson {
                code: connection.reason.code.clone(),
                detail: connection.reason.detail.clone(),
                cause: told.cause,
                remedy: told.remedy,
            },
            version: account.version,
            created_at: account.created_at,
            created_by: account.created_by.clone(),
            changed_at: account.changed_at,
            changed_by: account.changed_by.clone(),
        }
    }
}

impl AccountJson {
    /// The properties for people, in the order of the console's form.
    pub(crate) fn properties(&self) -> String {
        let credential = |slot: CredentialSlot| {
            let mut all = self.credentials.iter();
            all.find(|one| one.credential == slot.as_str())
                .map(CredentialJson::line)
        };
        let secret = credential(CredentialSlot::ClientSecret);
        let secret = secret.unwrap_or_else(|| "not set".to_owned());
        let others = [
            ("Second secret", CredentialSlot::NextClientSecret),
            ("Certificate", CredentialSlot::ClientCertificate),
            ("Second certificate", CredentialSlot::NextClientCertificate),
        ]
        .map(|(label, slot)| (label, credential(slot)));
        let token = &self.refresh_token;
        let consent = match (token.consented_at, &token.consented_by) {
            (Some(at), Some(by)) => format!("{by}, {}", at.date_naive()),
            (Some(at), None) => format!("obtained {}", at.date_naive()),
            (None, _) => "none".to_owned(),
        };
        let reason = &self.state_reason;
        let lines = [
            ("Identifier", self.id.as_str()),
            ("Type", self.account_type),
            ("Name", &self.name),
            ("Default account", if self.default { "yes" } else { "no" }),
            ("Authorization URL", &self.authorization_url),
            ("Token URL", &self.token_url),
            ("API URL", &self.api_url),
            ("Client ID", &self.client_id),
            ("Client secret", &secret),
            ("Refresh token", &consent),
            ("Grant", self.grant),
            ("Notes", &self.notes),
            (
                "State",
                &format!(
                    "{} since {}",
                    self.state,
                    self.state_since.format("%F %T UTC")
                ),
            ),
            ("Reason", &format!("{} {}", reason.cause, reason.remedy)),
        ];
        let others = others
            .iter()
            .filter_map(|(label, about)| Some((*label, about.as_deref()?)));
        let mut lines: Vec<(&str, &str)> = lines.into();
        let place = lines
            .iter()
            .position(|(label, _)| *label == "Refresh token");
        let place = place.unwrap_or(lines.len());
        lines.splice(place..place, others);
        let shown = lines
            .into_iter()
            .map(|(label, value)| format!("{label:<18} {value}"));
        shown
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// A consumer, without its keys.
#[derive(Debug, Serialize)]
pub(crate) struct ConsumerJson {
    id: String,
    name: String,
    accounts: AccountsJson,
    limits: ConsumerLimits,
    keys: Vec<KeyJson>,
    created_at: DateTime<Utc>,
}

/// Which accounts: `"all"`, or a list of identifiers.
#[derive(Debug)]
enum AccountsJson {
    All,
    These(Vec<String>),
}

impl Serialize for AccountsJson {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            AccountsJson::All => serializer.serialize_str("all"),
            AccountsJson::These(ids) => ids.serialize(serializer),
        }
    }
}

#[derive(Debug, Serialize)]
struct KeyJson {
    id: String,
    prefix: String,
    created_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl ConsumerJson {
    /// The consumer as JSON.
    pub(crate) fn of(consumer: &Consumer) -> Self {
        let keys = consumer.keys.iter().map(|key| KeyJson {
            id: key.id.to_string(),
            prefix: key.prefix.clone(),
            created_at: key.created_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        });
        Self {
            id: consumer.id.to_string(),
            name: consumer.name.clone(),
            accounts: match &consumer.grant {
                ConsumerGrant::AllAccounts => AccountsJson::All,
                ConsumerGrant::Accounts { accounts } => {
                    AccountsJson::These(accounts.iter().map(ToString::to_string).collect())
                }
            },
            limits: consumer.limits,
            keys: keys.collect(),
            created_at: consumer.created_at,
        }
    }
}

/// A user.
#[derive(Debug, Serialize)]
pub(crate) struct UserJson {
    id: String,
    email: String,
    role: &'static str,
    language: Option<&'static str>,
    created_at: DateTime<Utc>,
}

impl UserJson {
    /// The user as JSON.
    pub(crate) fn of(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.to_string(),
            role: user.role.as_str(),
            language: user.language.map(Language::tag),
            created_at: user.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_also_under_wide_characters() {
        let rows = vec![
            vec!["営業".to_owned(), "connected".to_owned()],
            vec!["Sales".to_owned(), "x".to_owned()],
        ];
        let text = table(&["name", "state"], &rows);
        assert_eq!(text, "NAME   STATE\n営業   connected\nSales  x");
    }

    #[test]
    fn a_secret_is_read_without_its_line_break_and_must_be_one() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "a b+c\n").expect("written");
        let secret = read_secret(file.path(), "the secret").expect("read");
        assert_eq!(secrecy::ExposeSecret::expose_secret(&secret), "a b+c");
        std::fs::write(file.path(), "\n").expect("written");
        assert!(read_secret(file.path(), "the secret").is_err());
    }
}
