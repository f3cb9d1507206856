//! `tieline migrate`: the database's tables, brought up to this version.

use std::sync::Arc;

use crate::commands::Session;
use crate::exit::Exit;
use crate::files;
use crate::output;
use crate::runtime::{self, Upgrade};

/// What to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say whether the tables are up to date; exit with 1 if not
    #[arg(long)]
    check: bool,
}

/// Migrates or checks.
///
/// # Errors
/// When the database does not answer, or is behind and only a check was asked for.
pub(crate) async fn run(args: Args, session: Session) -> anyhow::Result<Exit> {
    let settings = session.settings;
    files::private_directory(&settings.data_dir)?;
    let keys = Arc::new(runtime::open_keys(&settings)?);
    let upgrade = if args.check {
        Upgrade::Refuse
    } else {
        Upgrade::Run
    };
    runtime::open_store(&settings, keys, upgrade).await?;
    output::line(&format!(
        "{}: the tables are those of this version",
        settings.database_shown()
    ))?;
    Ok(Exit::Done)
}
