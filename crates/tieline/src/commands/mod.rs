//! One file per command; here is the list of them.

mod account;
mod certificate;
mod completions;
mod connect;
mod consumer;
mod doctor;
mod headroom;
mod key;
mod migrate;
pub(crate) mod sandbox;
pub(crate) mod serve;
mod user;
mod webhook;

use tieline_app::App;
use tieline_core::{Actor, Language};

use crate::config::{Settings, Sources};
use crate::demo;
use crate::exit::Exit;
use crate::running::Running;
use crate::runtime;

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) settings: Settings,
    /// The language of findings and help texts.
    pub(crate) language: Language,
    /// Who runs the command.
    pub(crate) by: Actor,
}

/// What a command beside a server works with.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) app: App,
    pub(crate) by: Actor,
    pub(crate) language: Language,
    /// The server on the same data directory, if one runs.
    pub(crate) running: Option<Running>,
}

impl Session {
    /// Opens the database and the way out.
    ///
    /// # Errors
    /// When either cannot be opened.
    pub(crate) async fn open(&self) -> anyhow::Result<Desk> {
        let (app, running) = runtime::open_beside(&self.settings).await?;
        Ok(Desk {
            app,
            by: self.by.clone(),
            language: self.language,
            running,
        })
    }
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Server and sandbox, wired and seeded: prints where to look and what to type
    Demo(demo::Args),
    /// The server: console and API on one listener, gateway on another
    Serve(serve::Args),
    /// Microsoft, locally: Entra ID and the Dataverse Web API
    Sandbox(sandbox::Args),
    /// Integration accounts: list, add, connect, test, …
    #[command(subcommand)]
    Account(Box<account::Verb>),
    /// Applications that may use accounts, and their API keys
    #[command(subcommand)]
    Consumer(consumer::Verb),
    /// Who is told when the state of an account changes
    #[command(subcommand)]
    Webhook(webhook::Verb),
    /// People who sign in to the console
    #[command(subcommand)]
    User(user::Verb),
    /// The master keys that seal secrets
    #[command(subcommand)]
    Key(key::Verb),
    /// Checks configuration, database, keys, clock and the way out
    Doctor(doctor::Args),
    /// Brings the database's tables up to this version
    Migrate(migrate::Args),
    /// Prints a completion script for a shell
    Completions(completions::Args),
}

impl Command {
    /// Whether the command has nothing to do with any installation.
    pub(crate) fn needs_no_settings(&self) -> bool {
        match self {
            Command::Completions(_) => true,
            Command::Sandbox(args) => args.only_prints(),
            _ => false,
        }
    }

    /// Runs a command that needs no settings.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn run_bare(self) -> anyhow::Result<Exit> {
        match self {
            Command::Completions(args) => completions::run(&args),
            _ => sandbox::print_seed(),
        }
    }

    /// Whether the command must not find the configuration of a real installation by chance.
    pub(crate) fn stands_apart(&self) -> bool {
        matches!(self, Command::Demo(_) | Command::Sandbox(_))
    }

    /// The settings that the command's own flags make.
    pub(crate) fn flags(&self) -> Vec<(&'static str, &'static str, String)> {
        match self {
            Command::Demo(args) => args.flags(),
            Command::Serve(args) => args.flags(),
            _ => Vec::new(),
        }
    }

    /// Defaults that differ from command to command.
    pub(crate) fn adjust(&self, settings: &mut Settings, sources: &Sources) {
        match self {
            Command::Demo(_) => demo::adjust(settings, sources),
            Command::Sandbox(_) => sandbox::adjust(settings, sources),
            Command::Serve(_) => {}
            // A command that ends in a moment has little to log; what it finds it prints.
            _ if !settings.log.level_given => "warn".clone_into(&mut settings.log.level),
            _ => {}
        }
    }

    /// Runs the command.
    ///
    /// # Errors
    /// When it cannot do what it was asked.
    pub(crate) async fn run(self, session: Session) -> anyhow::Result<Exit> {
        match self {
            Command::Demo(args) => demo::run(args, session).await,
            Command::Serve(args) => serve::run(args, session).await,
            Command::Sandbox(args) => sandbox::run(args, session).await,
            Command::Account(verb) => account::run(*verb, session).await,
            Command::Consumer(verb) => consumer::run(verb, session).await,
            Command::Webhook(verb) => webhook::run(verb, session).await,
            Command::User(verb) => user::run(verb, session).await,
            Command::Key(verb) => key::run(verb, session).await,
            Command::Doctor(args) => doctor::run(args, session).await,
            Command::Migrate(args) => migrate::run(args, session).await,
            Command::Completions(args) => completions::run(&args),
        }
    }
}
