//! `tieline serve`: the server.

use std::path::PathBuf;

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use tieline_app::App;
use tieline_vault::token;

use crate::commands::Session;
use crate::config::Settings;
use crate::exit::Exit;
use crate::output::say;
use crate::runtime::{self, Listeners, Server, Upgrade};
use crate::{signals, telemetry};

/// Characters of a password that is made up: 20 of base64 are 120 bits.
const PASSWORD_LENGTH: usize = 20;

/// Settings by flag.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of console and API [default: 127.0.0.1:8420]
    #[arg(long, value_name = "ADDRESS")]
    console: Option<String>,
    /// Address of the gateway [default: 127.0.0.1:8421]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<String>,
    /// The console's address as people use it, such as https://tieline.example.com
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Do not touch the database's tables; refuse to start when they are older than this version
    #[arg(long)]
    no_migrate: bool,
    /// E-mail address of the first administrator [default: admin@example.com]
    #[arg(long, value_name = "EMAIL")]
    admin_email: Option<String>,
    /// File with the first administrator's password [default: one is made up and printed]
    #[arg(long, value_name = "FILE")]
    admin_password_file: Option<PathBuf>,
}

impl Args {
    /// The settings that the flags make.
    pub(crate) fn flags(&self) -> Vec<(&'static str, &'static str, String)> {
        let password_file = self
            .admin_password_file
            .as_ref()
            .map(|path| path.display().to_string());
        let all = [
            ("console.listen", "--console", self.console.clone()),
            ("gateway.listen", "--gateway", self.gateway.clone()),
            (
                "console.public_url",
                "--public-url",
                self.public_url.clone(),
            ),
            ("admin.email", "--admin-email", self.admin_email.clone()),
            (
                "admin.password_file",
                "--admin-password-file",
                password_file,
            ),
        ];
        all.into_iter()
            .filter_map(|(key, flag, value)| Some((key, flag, value?)))
            .collect()
    }
}

/// Serves until a signal.
///
/// # Errors
/// When it cannot start, or a part of it breaks down.
pub(crate) async fn run(args: Args, session: Session) -> anyhow::Result<Exit> {
    let stop = signals::stop_on_signal()?;
    let metrics = telemetry::start_metrics()?;
    let settings = session.settings;
    let listeners = Listeners::bind(&settings).await?;
    let addresses = listeners.addresses(&settings)?;
    let upgrade = if args.no_migrate {
        Upgrade::Refuse
    } else {
        Upgrade::Run
    };
    let app = runtime::open_app(&settings, &addresses, upgrade).await?;
    first_administrator(&app, &settings).await?;
    let server = Server::start(&app, listeners, &settings, metrics, stop)?;
    tracing::info!(
        console = %addresses.console,
        gateway = %addresses.gateway,
        redirect_uri = app.redirect_uri(),
        database = settings.database_shown(),
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    if settings.console.public_url.is_none() && settings.console.listen.ip().is_unspecified() {
        tracing::warn!(
            "console.public_url is not set: Microsoft will be told to come back to {}, which works \
             in a browser on this machine only",
            addresses.console
        );
    }
    server.finish().await?;
    tracing::info!("stopped");
    Ok(Exit::Done)
}

/// Makes the first administrator when there is no user yet, and prints a made-up password once.
async fn first_administrator(app: &App, settings: &Settings) -> anyhow::Result<()> {
    let given = settings.admin.password.clone();
    let password = given.clone().unwrap_or_else(made_up_password);
    let added = app
        .first_administrator(&settings.admin.email, &password)
        .await
        .context("failed to add the first administrator")?;
    if !added {
        return Ok(());
    }
    let email = &settings.admin.email;
    if given.is_some() {
        say(&format!(
            "The first administrator is {email}, with the password given."
        ));
    } else {
        let password = password.expose_secret();
        say(&format!(
            "The first administrator is {email}, with the password {password}\n\
             It is shown this once; `tieline user password {email}` sets another."
        ));
    }
    Ok(())
}

/// A password that nobody could guess and that a person can copy.
pub(crate) fn made_up_password() -> SecretString {
    let random = token::random();
    let short: String = random
        .expose_secret()
        .chars()
        .take(PASSWORD_LENGTH)
        .collect();
    SecretString::from(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_password_is_long_and_never_the_same() {
        let (a, b) = (made_up_password(), made_up_password());
        assert_eq!(a.expose_secret().len(), PASSWORD_LENGTH);
        assert_ne!(a.expose_secret(), b.expose_secret());
    }
}
