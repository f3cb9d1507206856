//! Proofs with real processes: Tieline's servers are killed, frozen, starved and lied to, and what
//! becomes of accounts and callers is counted. `README.md` says how to run it and what it showed.

mod callers;
mod database;
mod expiry;
mod http;
mod kill;
mod outage;
mod process;
mod proxy;
mod report;
mod service;
mod trouble;
mod world;

/// The demo's own way through the consent's pages.
#[path = "../../crates/tieline/src/demo"]
mod demo {
    pub(crate) mod page;
    pub(crate) mod walk;
}

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Proofs with real processes")]
struct Cli {
    /// The program to be cruel to
    #[arg(
        long,
        env = "CHAOS_TIELINE",
        global = true,
        default_value = "target/debug/tieline"
    )]
    program: PathBuf,
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Debug, Subcommand)]
enum Proof {
    /// kill -9 around renewals
    Kill(kill::Args),
    /// Many callers at several servers when tokens expire
    Expiry(expiry::Args),
    /// A token service that is down for a thousand accounts
    Outage(outage::Args),
    /// Databases, token services, clocks and servers that fail
    Trouble(trouble::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // Fails only where one is chosen already.
    let _ = provider.install_default();
    let program = std::path::absolute(&cli.program)?;
    match &cli.proof {
        Proof::Kill(args) => kill::run(program, args).await,
        Proof::Expiry(args) => expiry::run(program, args).await,
        Proof::Outage(args) => outage::run(program, args).await,
        Proof::Trouble(args) => trouble::run(program, args).await,
    }
}
