//! Tieline: joins a contact centre to Microsoft Dynamics 365.
//!
//! The binary reads configuration, environment and command line, wires the crates together, and
//! has one file per command. What is deliberately absent: decisions; those are `tieline-app`'s.

mod commands;
mod config;
mod demo;
mod exit;
mod files;
mod memory;
mod meters;
mod output;
mod running;
mod runtime;
mod signals;
mod telemetry;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tieline_core::{Actor, Language};

use crate::commands::{Command, Session};
use crate::config::{Search, Settings, Sources};
use crate::exit::{EXIT_HELP, Exit, describe};

/// Joins a contact centre to Microsoft Dynamics 365.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_long_help = EXIT_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command knows.
#[derive(Debug, clap::Args)]
struct Global {
    /// Where the database, the master keys and the server's state are
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    data_dir: Option<PathBuf>,
    /// Configuration file [default: tieline.toml in DIR, then in the working directory]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    config: Option<PathBuf>,
    /// Shape of the log on stderr
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "SHAPE",
        help_heading = "Everywhere"
    )]
    log: Option<LogShape>,
    /// How much to log: error, warn, info, debug, trace, or directives
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Everywhere")]
    log_level: Option<String>,
    /// Let accounts name this machine, also by plain http: for the sandbox and for tests
    #[arg(long, global = true, help_heading = "Everywhere")]
    allow_loopback: bool,
    /// Authorities to trust besides the operating system's, such as the sandbox's (PEM)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogShape {
    Text,
    Json,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = environment();
    let language = language(&environment);
    // Every TLS configuration names its provider; this is for a library that asks for the default.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(cli, environment, language).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::say(describe(&error, language).trim_end());
            Exit::of(&error).into()
        }
    }
}

async fn run(
    cli: Cli,
    environment: Vec<(String, String)>,
    language: Language,
) -> anyhow::Result<Exit> {
    if cli.command.needs_no_settings() {
        return cli.command.run_bare();
    }
    let by = actor(&environment);
    let mut flags = cli.global.flags();
    flags.extend(cli.command.flags());
    let sources = Sources {
        file: cli.global.config.clone(),
        search: if cli.command.stands_apart() {
            Search::Nowhere
        } else {
            Search::Usual
        },
        environment,
        flags,
    };
    let mut settings = Settings::load(&sources)?;
    cli.command.adjust(&mut settings, &sources);
    telemetry::start_logs(&settings.log)?;
    // Boxed: the commands' futures together would make one very large one.
    Box::pin(cli.command.run(Session {
        settings,
        language,
        by,
    }))
    .await
}

impl Global {
    /// The settings that flags of every command make.
    fn flags(&self) -> Vec<(&'static str, &'static str, String)> {
        let path = |path: &PathBuf| path.display().to_string();
        let shape = |shape: LogShape| match shape {
            LogShape::Text => "text".to_owned(),
            LogShape::Json => "json".to_owned(),
        };
        let all = [
            ("data_dir", "--data-dir", self.data_dir.as_ref().map(path)),
            ("log.format", "--log", self.log.map(shape)),
            ("log.level", "--log-level", self.log_level.clone()),
            (
                "outbound.allow_loopback",
                "--allow-loopback",
                self.allow_loopback.then(|| "true".to_owned()),
            ),
            (
                "outbound.ca_file",
                "--ca-file",
                self.ca_file.as_ref().map(path),
            ),
        ];
        all.into_iter()
            .filter_map(|(key, flag, value)| Some((key, flag, value?)))
            .collect()
    }
}

/// The variables of the process that are text; the others cannot be settings.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Who acts when a command does: the operating system's name for whoever runs it.
fn actor(environment: &[(String, String)]) -> Actor {
    let named = ["SUDO_USER", "USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(|name| variable(environment, name));
    Actor::Command {
        account: named.unwrap_or("unknown").to_owned(),
    }
}

fn variable<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = environment
        .iter()
        .find(|(known, value)| known == name && !value.is_empty());
    found.map(|(_, value)| value.as_str())
}

/// The language of messages, by the variables of POSIX in their order.
fn language(environment: &[(String, String)]) -> Language {
    ["LC_ALL", "LC_MESSAGES", "LANG"]
        .into_iter()
        .find_map(|name| variable(environment, name))
        .and_then(Language::from_tag)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_language_is_the_shells() {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(language(&[set("LANG", "ja_JP.UTF-8")]), Language::Japanese);
        let both = [set("LANG", "ja_JP.UTF-8"), set("LC_ALL", "C")];
        assert_eq!(language(&both), Language::English);
    }
}
