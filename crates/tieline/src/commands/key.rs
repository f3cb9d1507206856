//! `tieline key`: the master keys that seal secrets.

use anyhow::{Context, bail};
use serde::Serialize;

use crate::commands::Session;
use crate::config::MasterKeys;
use crate::exit::Exit;
use crate::output::{self, say};
use crate::runtime;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Which keys there are; the first one seals, the others only open
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Proves that the keys are those of the database
    Verify,
    /// Makes a new current key; the old ones stay, to open what they sealed
    Rotate,
}

#[derive(Debug, Serialize)]
struct Key {
    id: String,
    current: bool,
}

/// Runs the command.
///
/// # Errors
/// When the keys cannot be read or written, or are not those of the database.
pub(crate) async fn run(verb: Verb, session: Session) -> anyhow::Result<Exit> {
    match verb {
        Verb::Status { json } => status(&session, json),
        Verb::Verify => {
            // A database that opens has proven the keys.
            session.open().await?;
            say("the master keys are those of the database");
            Ok(Exit::Done)
        }
        Verb::Rotate => rotate(&session).await,
    }
}

fn status(session: &Session, json: bool) -> anyhow::Result<Exit> {
    let ring = runtime::open_keys(&session.settings)?;
    let keys: Vec<Key> = ring
        .key_ids()
        .iter()
        .enumerate()
        .map(|(at, id)| Key {
            id: id.to_string(),
            current: at == 0,
        })
        .collect();
    if json {
        output::json(&keys)?;
        return Ok(Exit::Done);
    }
    let row = |key: &Key| {
        vec![
            key.id.clone(),
            if key.current { "current" } else { "" }.to_owned(),
        ]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    output::line(&output::table(&["key", ""], &rows))?;
    Ok(Exit::Done)
}

async fn rotate(session: &Session) -> anyhow::Result<Exit> {
    if let MasterKeys::Text(_) = session.settings.master_keys {
        bail!(
            "the master keys are given by keys.master or keys.master_file, which Tieline does not \
             write; rotate on a server that keeps them in its data directory, and copy its \
             master.keys from there"
        );
    }
    // Opening the database proves that these are its keys, before they are replaced.
    let desk = session.open().await?;
    let rotated = runtime::open_keys(&session.settings)?.rotate();
    rotated
        .save(&session.settings.data_dir)
        .context("failed to write the master keys")?;
    let newest = rotated
        .key_ids()
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    say(&format!(
        "{newest} is the current key; what is sealed from now on is sealed with it"
    ));
    if desk.running.is_some() {
        say("a server runs on this data directory: restart it, so that it reads the new key");
    }
    Ok(Exit::Done)
}
