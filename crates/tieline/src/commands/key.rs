//! `tieline key`: the master keys that seal secrets.

use crate::commands::Session;
use crate::exit::Exit;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Which keys there are, and how much each has sealed
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Opens everything that is sealed, and says what does not open
    Verify,
    /// Makes a new key, and seals everything anew with it
    Rotate,
    /// Prints new master keys, for `keys.master_file`
    Generate,
}

pub(crate) fn generate() -> anyhow::Result<Exit> {
    anyhow::bail!("waiting for vault")
}

pub(crate) async fn run(verb: Verb, session: Session) -> anyhow::Result<Exit> {
    let _ = (verb, session);
    anyhow::bail!("waiting for vault")
}
