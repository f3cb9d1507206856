//! Databases that stop, token services that fail, clocks that jump: what callers see meanwhile,
//! what the state says, how long it takes to be well again, and what is lost.
//!
//! What must hold everywhere: who has a token that is still good never notices, everybody is well
//! within a minute of the end of the trouble, no account is lost, and no refresh token goes twice
//! to a server that punishes it.

mod clock;
mod disk;
mod scene;
mod servers;
mod token_service;
mod what_stops;

use std::path::PathBuf;

use crate::report::Findings;
use scene::Row;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which, by the beginnings of their names; all when none is named
    names: Vec<String>,
    /// Puts the table into README.md
    #[arg(long)]
    write: bool,
}

/// What can be gone through, in the table's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Database(what_stops::Way),
    Disk(disk::Way),
    TokenService(token_service::Way),
    Clock(clock::Way),
    Servers(servers::Way),
}

pub(crate) async fn run(program: PathBuf, args: &Args) -> anyhow::Result<()> {
    let mut findings = Findings::default();
    let mut rows = Vec::new();
    let all = what_stops::Way::ALL.map(Trouble::Database).into_iter();
    let all = all
        .chain(disk::Way::ALL.map(Trouble::Disk))
        .chain(token_service::Way::ALL.map(Trouble::TokenService))
        .chain(clock::Way::ALL.map(Trouble::Clock))
        .chain(servers::Way::ALL.map(Trouble::Servers));
    for trouble in all {
        let name = trouble.name();
        let named = |wanted: &String| name.starts_with(wanted.as_str());
        if !args.names.is_empty() && !args.names.iter().any(named) {
            continue;
        }
        eprintln!("{name} …");
        match trouble.go_through(&program, &mut findings).await {
            Ok(row) => {
                eprintln!("  {}", row.cells().join(" | "));
                rows.push(row);
            }
            Err(error) => findings.expect(false, || format!("{name}: {error:#}")),
        }
    }
    let table = scene::table(&rows);
    println!("{table}");
    if args.write {
        write(&table)?;
    }
    findings.end()
}

impl Trouble {
    fn name(self) -> &'static str {
        match self {
            Self::Database(way) => way.name(),
            Self::Disk(way) => way.name(),
            Self::TokenService(way) => way.name(),
            Self::Clock(way) => way.name(),
            Self::Servers(way) => way.name(),
        }
    }

    async fn go_through(self, program: &PathBuf, findings: &mut Findings) -> anyhow::Result<Row> {
        match self {
            Self::Database(way) => what_stops::run(way, program, findings).await,
            Self::Disk(way) => disk::run(way, program, findings).await,
            Self::TokenService(way) => token_service::run(way, program, findings).await,
            Self::Clock(way) => clock::run(way, program, findings).await,
            Self::Servers(way) => servers::run(way, program, findings).await,
        }
    }
}

/// Replaces what stands between the marks.
fn write(table: &str) -> anyhow::Result<()> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&file)?;
    let (begin, end) = ("<!-- table begins -->\n", "<!-- table ends -->");
    let parts = text.split_once(begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some(format!("{before}{begin}{table}{end}{after}"))
    });
    let text = parts.ok_or_else(|| anyhow::anyhow!("README.md has no marks for the table"))?;
    Ok(std::fs::write(file, text)?)
}
