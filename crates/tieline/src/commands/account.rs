//! `tieline account`: everything the console does with integration accounts.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use tieline_app::{AccountForm, Applied, CERTIFICATE_DAYS, TestTarget};
use tieline_core::{
    Account, CredentialSlot, GrantType, LadderReport, Language, RefreshTokenRotation, RungStatus,
};

use crate::commands::connect::{self, Whose};
use crate::commands::headroom;
use crate::commands::{Desk, Session, certificate};
use crate::exit::{Exit, Usage};
use crate::output::{self, AccountJson, Format, say, warn_of};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Every account and its state
    List {
        /// Only those whose name or address holds this
        filter: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// One account, with its properties and its history
    Show {
        /// Name or identifier
        account: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Adds an account
    Add(AddArgs),
    /// Changes an account; what is not named stays
    Edit {
        /// Name or identifier
        account: String,
        /// A new name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        properties: Properties,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Removes an account; for 30 days it can be brought back
    Remove {
        /// Name or identifier
        account: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Brings a removed account back
    Restore {
        /// Identifier, as `remove` printed it
        id: String,
    },
    /// Prints the address at which to consent, and waits until somebody has
    Connect {
        /// Name or identifier
        account: String,
        /// Consent on behalf of the whole organization (an administrator of it has to)
        #[arg(long)]
        organization: bool,
        /// Print JSON, one object per line
        #[arg(long)]
        json: bool,
    },
    /// Prints the certificate to upload in the Azure portal (PEM); its private key is never shown
    Certificate {
        /// Name or identifier
        account: String,
        /// Make a key and a certificate first; where there is one, the new one waits to take over
        #[arg(long)]
        generate: bool,
        /// How many days a new one lasts
        #[arg(long, default_value_t = CERTIFICATE_DAYS, requires = "generate",
              value_parser = clap::value_parser!(u16).range(1..=730))]
        days: u16,
        /// The one that waits to take over
        #[arg(long, conflicts_with = "generate")]
        next: bool,
    },
    /// Climbs the test ladder; exits with 3 when a rung fails
    Test {
        /// Name or identifier
        account: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Makes an account the one that callers get who name none
    Default {
        /// Name or identifier
        account: String,
    },
    /// What an account still lets through under Microsoft's limits, and who used it
    Headroom {
        /// Name or identifier
        account: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sets the limits that are reckoned with for an account
    Limits {
        /// Name or identifier
        account: String,
        #[command(flatten)]
        limits: headroom::AccountArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A new account.
#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// Name, unique without regard to case
    #[arg(long)]
    name: String,
    #[command(flatten)]
    properties: Properties,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The properties, as the console's form has them.
#[derive(Debug, clap::Args)]
pub(crate) struct Properties {
    /// Base of the Web API, or just the organization's address
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,
    /// OAuth 2.0 authorization endpoint [default for a new account: the organization is asked]
    #[arg(long, value_name = "URL")]
    authorization_url: Option<String>,
    /// OAuth 2.0 token endpoint [default for a new account: the organization is asked]
    #[arg(long, value_name = "URL")]
    token_url: Option<String>,
    /// Application (client) ID
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// File with the client secret; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// When the secret expires
    #[arg(long, value_name = "YYYY-MM-DD")]
    secret_expires: Option<String>,
    /// File with the secret that takes over when the first one no longer works; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    next_client_secret_file: Option<PathBuf>,
    /// When that one expires
    #[arg(long, value_name = "YYYY-MM-DD")]
    next_secret_expires: Option<String>,
    /// File with a certificate and its private key (PEM), in place of a secret; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    client_certificate_file: Option<PathBuf>,
    /// File with the certificate and key that take over; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    next_client_certificate_file: Option<PathBuf>,
    /// Remove a credential: client-secret, next-client-secret, client-certificate or
    /// next-client-certificate; where another waits to take over, it takes the place
    #[arg(long, value_name = "CREDENTIAL", value_parser = credential)]
    remove_credential: Vec<CredentialSlot>,
    /// How tokens are obtained: authorization-code (somebody consents) or client-credentials (an
    /// application user of the organization)
    #[arg(long, value_parser = grant)]
    grant: Option<GrantType>,
    /// Whether a used refresh token may be sent again when an answer was lost: auto, lenient or
    /// strict
    #[arg(long, value_parser = |word: &str| word.parse::<RefreshTokenRotation>())]
    refresh_token_rotation: Option<RefreshTokenRotation>,
    /// File with a refresh token, for a move from elsewhere; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    refresh_token_file: Option<PathBuf>,
    /// Make it the account that callers get who name none
    #[arg(long)]
    default: bool,
    /// Free text
    #[arg(long)]
    notes: Option<String>,
}

fn grant(word: &str) -> Result<GrantType, String> {
    let error = |_| "authorization-code or client-credentials is expected".to_owned();
    word.replace('-', "_")
        .parse()
        .map_err(|unknown: tieline_core::UnknownWord| error(unknown))
}

fn credential(word: &str) -> Result<CredentialSlot, String> {
    let problem = |unknown: tieline_core::UnknownWord| unknown.to_string();
    word.replace('-', "_").parse().map_err(problem)
}

/// Runs the verb.
///
/// # Errors
/// When the database does not answer, or the change is refused.
pub(crate) async fn run(verb: Verb, session: Session) -> anyhow::Result<Exit> {
    let desk = session.open().await?;
    match verb {
        Verb::List { filter, json } => list(&desk, &filter.unwrap_or_default(), json.into()).await,
        Verb::Show { account, json } => show(&desk, &account, json.into()).await,
        Verb::Add(args) => add(&desk, args).await,
        Verb::Edit {
            account,
            name,
            properties,
            json,
        } => edit(&desk, &account, name, &properties, json.into()).await,
        Verb::Remove { account, yes } => remove(&desk, &account, yes.into()).await,
        Verb::Restore { id } => restore(&desk, &id).await,
        Verb::Connect {
            account,
            organization,
            json,
        } => {
            let account = find(&desk, &account).await?;
            let whose = if organization {
                Whose::Organization
            } else {
                Whose::Mine
            };
            connect::run(&desk, &account, whose, json.into(), &session.settings).await
        }
        Verb::Certificate {
            account,
            generate,
            days,
            next,
        } => {
            let account = find(&desk, &account).await?;
            let wanted = match (generate, next) {
                (true, _) => certificate::Wanted::New { days },
                (false, true) => CredentialSlot::NextClientCertificate.into(),
                (false, false) => CredentialSlot::ClientCertificate.into(),
            };
            certificate::run(&desk, &account, wanted).await
        }
        Verb::Test { account, json } => test(&desk, &account, json.into()).await,
        Verb::Default { account } => {
            let account = find(&desk, &account).await?;
            let changed = desk.app.account_set_default(&desk.by, account.id).await;
            changed.context("failed to make it the default account")?;
            Ok(Exit::Done)
        }
        Verb::Headroom { account, json } => headroom::show(&desk, &account, json).await,
        Verb::Limits {
            account,
            limits,
            json,
        } => headroom::set_account(&desk, &account, &limits, json).await,
    }
}

async fn find(desk: &Desk, reference: &str) -> anyhow::Result<Account> {
    let found = desk.app.account_find(reference).await;
    found.with_context(|| format!("failed to find the account {reference}"))
}

async fn list(desk: &Desk, filter: &str, format: Format) -> anyhow::Result<Exit> {
    let accounts = desk
        .app
        .account_list(filter)
        .await
        .context("failed to list the accounts")?;
    if format == Format::Json {
        let shapes = accounts
            .iter()
            .map(|account| AccountJson::of(account, desk.language));
        output::json(&shapes.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let row = |account: &Account| {
        vec![
            if account.is_default { "*" } else { "" }.to_owned(),
            account.name.to_string(),
            account.connection.state.to_string(),
            account
                .connection
                .since
                .format("%Y-%m-%d %H:%M UTC")
                .to_string(),
            account.api_url.clone(),
        ]
    };
    let rows: Vec<_> = accounts.iter().map(row).collect();
    output::line(&output::table(
        &["", "name", "state", "since", "api url"],
        &rows,
    ))?;
    Ok(Exit::Done)
}

async fn show(desk: &Desk, reference: &str, format: Format) -> anyhow::Result<Exit> {
    let account = find(desk, reference).await?;
    let shape = AccountJson::of(&account, desk.language);
    if format == Format::Json {
        output::json(&shape)?;
        return Ok(Exit::Done);
    }
    output::line(&shape.properties())?;
    let events = desk
        .app
        .account_events(account.id, 10)
        .await
        .context("failed to read its history")?;
    for event in events {
        let at = event.at.format("%Y-%m-%d %H:%M:%S UTC");
        output::line(&format!("  {at}  {}  {}", event.to, event.reason.code))?;
    }
    Ok(Exit::Done)
}

async fn add(desk: &Desk, args: AddArgs) -> anyhow::Result<Exit> {
    let mut form = AccountForm {
        name: args.name,
        ..AccountForm::default()
    };
    args.properties.write_to(&mut form)?;
    propose(desk, &mut form).await?;
    let applied = desk
        .app
        .account_add(&desk.by, form)
        .await
        .context("failed to add the account")?;
    applied_told(&applied, args.json.into(), desk.language)
}

/// Fills in the endpoints that were not given: the organization names them itself.
async fn propose(desk: &Desk, form: &mut AccountForm) -> anyhow::Result<()> {
    if form.api_url.is_empty() || !(form.authorization_url.is_empty() || form.token_url.is_empty())
    {
        return Ok(());
    }
    let proposal = desk.app.setup_propose(&form.api_url).await.context(
        "failed to ask the organization for its endpoints; name them with --authorization-url \
         and --token-url",
    )?;
    warn_of(&proposal.notes, desk.language);
    let fill = |field: &mut String, proposed: Option<String>| {
        if field.is_empty() {
            *field = proposed.unwrap_or_default();
        }
    };
    fill(&mut form.authorization_url, proposal.authorization_url);
    fill(&mut form.token_url, proposal.token_url);
    Ok(())
}

async fn edit(
    desk: &Desk,
    reference: &str,
    name: Option<String>,
    properties: &Properties,
    format: Format,
) -> anyhow::Result<Exit> {
    let account = find(desk, reference).await?;
    let mut form = AccountForm::of(&account);
    if let Some(name) = name {
        form.name = name;
    }
    properties.write_to(&mut form)?;
    let edited = desk
        .app
        .account_edit(&desk.by, account.id, account.version, form)
        .await;
    applied_told(
        &edited.context("failed to change the account")?,
        format,
        desk.language,
    )
}

fn applied_told(applied: &Applied, format: Format, language: Language) -> anyhow::Result<Exit> {
    warn_of(&applied.warnings, language);
    let account = &applied.account;
    if format == Format::Json {
        output::json(&AccountJson::of(account, language))?;
    } else {
        output::line(&account.id.to_string())?;
        say(&format!(
            "{} is saved; its state is {}",
            account.name, account.connection.state
        ));
    }
    Ok(Exit::Done)
}

/// Whether to ask before something is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirmation {
    Ask,
    Given,
}

impl From<bool> for Confirmation {
    /// From the flag `--yes`.
    fn from(yes: bool) -> Self {
        if yes {
            Confirmation::Given
        } else {
            Confirmation::Ask
        }
    }
}

async fn remove(desk: &Desk, reference: &str, confirmation: Confirmation) -> anyhow::Result<Exit> {
    let account = find(desk, reference).await?;
    let used_by = desk
        .app
        .account_used_by(account.id)
        .await
        .context("failed to see who uses it")?;
    if !used_by.is_empty() {
        let names = used_by.join(", ");
        say(&format!(
            "{} was used in the last 30 days by {names}",
            account.name
        ));
    }
    if confirmation == Confirmation::Ask && !confirmed(&account)? {
        say("nothing was removed");
        return Ok(Exit::Failure);
    }
    desk.app
        .account_delete(&desk.by, account.id)
        .await
        .context("failed to remove the account")?;
    say(&format!(
        "{} is removed; for 30 days `tieline account restore {}` brings it back",
        account.name, account.id
    ));
    Ok(Exit::Done)
}

fn confirmed(account: &Account) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        let text = format!(
            "removing {} needs --yes where nobody can be asked",
            account.name
        );
        return Err(Usage(text).into());
    }
    let mut err = std::io::stderr();
    write!(err, "Remove {}? [y/N] ", account.name)?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

async fn restore(desk: &Desk, id: &str) -> anyhow::Result<Exit> {
    let id = id
        .trim()
        .to_uppercase()
        .parse()
        .map_err(|problem| Usage(format!("{problem}")))?;
    let restored = desk.app.account_restore(&desk.by, id).await;
    let account = restored.context("failed to bring the account back")?;
    say(&format!("{} is back", account.name));
    Ok(Exit::Done)
}

async fn test(desk: &Desk, reference: &str, format: Format) -> anyhow::Result<Exit> {
    let account = find(desk, reference).await?;
    let started = desk
        .app
        .test_start(TestTarget::Account(account.id), desk.language)
        .await;
    let id = started.context("failed to start the test")?;
    let report = desk
        .app
        .test_wait(id)
        .await
        .context("the test was cancelled")?;
    if format == Format::Json {
        output::json(&report)?;
    } else {
        output::line(&ladder(&report))?;
    }
    Ok(if report.ok {
        Exit::Done
    } else {
        Exit::TestFailed
    })
}

/// The ladder for people: a line per rung, and under a fault what to do about it.
fn ladder(report: &LadderReport) -> String {
    let mut lines = Vec::new();
    for rung in &report.rungs {
        let mark = match rung.status {
            RungStatus::Ok => "ok  ",
            RungStatus::Warning => "warn",
            RungStatus::Failed => "FAIL",
            RungStatus::NotReached => "-   ",
        };
        let name = rung.rung.as_str();
        lines.push(
            format!("{mark}  {name:<12} {:>6} ms  {}", rung.ms, rung.cause)
                .trim_end()
                .into(),
        );
        if !rung.remedy.is_empty() && rung.status != RungStatus::NotReached {
            lines.push(format!("                              → {}", rung.remedy));
        }
        if rung.status == RungStatus::Failed {
            let evidence = &rung.evidence;
            let seen = [
                &evidence.code,
                &evidence.error,
                &evidence.message,
                &evidence.trace_id,
            ];
            let seen: Vec<_> = seen.into_iter().flatten().map(String::as_str).collect();
            lines.push(format!(
                "                                [{}] {}",
                rung.code,
                seen.join(" · ")
            ));
        }
    }
    lines.join("\n")
}

impl Properties {
    /// Writes what was given over what the form holds.
    fn write_to(&self, form: &mut AccountForm) -> anyhow::Result<()> {
        let texts = [
            (&self.api_url, &mut form.api_url),
            (&self.authorization_url, &mut form.authorization_url),
            (&self.token_url, &mut form.token_url),
            (&self.client_id, &mut form.client_id),
            (&self.secret_expires, &mut form.secret_expires_on),
            (&self.next_secret_expires, &mut form.next_secret_expires_on),
            (&self.notes, &mut form.notes),
        ];
        for (given, field) in texts {
            if let Some(text) = given {
                field.clone_from(text);
            }
        }
        form.grant = self.grant.or(form.grant);
        form.rotation = self.refresh_token_rotation.or(form.rotation);
        form.is_default |= self.default;
        if let Some(path) = &self.client_secret_file {
            form.client_secret = Some(output::read_secret(path, "the client secret")?);
        }
        let read = |path: &Option<PathBuf>, what: &str| {
            let read = |path: &PathBuf| output::read_secret(path, what);
            path.as_ref().map(read).transpose()
        };
        let file = &self.next_client_secret_file;
        form.next_client_secret = read(file, "the second client secret")?;
        form.client_certificate = read(&self.client_certificate_file, "the certificate")?;
        let file = &self.next_client_certificate_file;
        form.next_client_certificate = read(file, "the second certificate")?;
        form.remove.clone_from(&self.remove_credential);
        form.refresh_token = read(&self.refresh_token_file, "the refresh token")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use tieline_core::{Evidence, Rung, RungReport};

    use super::*;

    #[test]
    fn a_grant_is_spelled_with_either_stroke() {
        assert_eq!(
            grant("client-credentials"),
            Ok(GrantType::ClientCredentials)
        );
        assert_eq!(
            grant("authorization_code"),
            Ok(GrantType::AuthorizationCode)
        );
        assert!(grant("password").is_err());
    }

    #[test]
    fn a_failed_rung_shows_cause_remedy_and_evidence() {
        let rung = RungReport {
            rung: Rung::Token,
            status: RungStatus::Failed,
            ms: 41,
            code: "secret-wrong".into(),
            cause: "The secret is wrong.".into(),
            remedy: "Copy it again.".into(),
            evidence: Evidence {
                code: Some("AADSTS7000215".into()),
                ..Evidence::default()
            },
        };
        let text = ladder(&LadderReport::of(Utc::now(), vec![rung]));
        for part in [
            "FAIL  token",
            "41 ms",
            "→ Copy it again.",
            "[secret-wrong] AADSTS7000215",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn properties_that_are_not_named_stay() {
        let mut form = AccountForm {
            notes: "kept".into(),
            ..AccountForm::default()
        };
        let given = Properties {
            api_url: Some("https://x.example".into()),
            authorization_url: None,
            token_url: None,
            client_id: None,
            client_secret_file: None,
            secret_expires: None,
            next_client_secret_file: None,
            next_secret_expires: None,
            client_certificate_file: None,
            next_client_certificate_file: None,
            remove_credential: Vec::new(),
            grant: None,
            refresh_token_rotation: None,
            refresh_token_file: None,
            default: false,
            notes: None,
        };
        given.write_to(&mut form).expect("written");
        assert_eq!(
            (form.notes.as_str(), form.api_url.as_str()),
            ("kept", "https://x.example")
        );
    }
}
