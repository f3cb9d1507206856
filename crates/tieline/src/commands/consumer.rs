//! `tieline consumer`: the applications that may use accounts, and their API keys.

use anyhow::Context;
use secrecy::ExposeSecret;
use serde::Serialize;
use tieline_core::{Account, ApiKeyId, Consumer, ConsumerGrant};

use crate::commands::headroom;
use crate::commands::{Desk, Session};
use crate::exit::{Exit, Usage};
use crate::output::{self, ConsumerJson, say};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Every consumer, with what it may use
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Adds a consumer and prints its API key, this once
    Add {
        /// Name
        #[arg(long)]
        name: String,
        /// An account that it may use, by name or identifier; can be repeated [default: all,
        /// also those added later]
        #[arg(long = "account", value_name = "NAME")]
        accounts: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sets a consumer's part in the limits of accounts; what is not named stays
    Limits {
        /// Name or identifier
        consumer: String,
        #[command(flatten)]
        limits: headroom::ConsumerArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Removes a consumer; its keys stop working at once
    Remove {
        /// Name or identifier
        consumer: String,
    },
    /// A consumer's API keys
    #[command(subcommand)]
    Key(KeyVerb),
}

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeyVerb {
    /// Gives a consumer another key, so that keys can be exchanged without a gap
    Add {
        /// Name or identifier of the consumer
        consumer: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revokes a key; it stops working at once
    Revoke {
        /// Name or identifier of the consumer
        consumer: String,
        /// Identifier of the key, or its first characters as listed
        key: String,
    },
}

#[derive(Debug, Serialize)]
struct Added<'a> {
    api_key: &'a str,
    consumer: ConsumerJson,
}

#[derive(Debug, Serialize)]
struct KeyAdded<'a> {
    api_key: &'a str,
    id: String,
    prefix: String,
}

/// Runs the verb.
///
/// # Errors
/// When the database does not answer, or the change is refused.
pub(crate) async fn run(verb: Verb, session: Session) -> anyhow::Result<Exit> {
    let desk = session.open().await?;
    match verb {
        Verb::List { json } => list(&desk, json).await?,
        Verb::Add {
            name,
            accounts,
            json,
        } => add(&desk, &name, &accounts, json).await?,
        Verb::Limits {
            consumer,
            limits,
            json,
        } => headroom::set_consumer(&desk, &consumer, &limits, json).await?,
        Verb::Remove { consumer } => {
            let removed = desk.app.consumer_remove(&desk.by, &consumer).await;
            removed.context("failed to remove the consumer")?;
        }
        Verb::Key(KeyVerb::Add { consumer, json }) => key_add(&desk, &consumer, json).await?,
        Verb::Key(KeyVerb::Revoke { consumer, key }) => {
            let found = desk
                .app
                .consumer_find(&consumer)
                .await
                .context("failed to find the consumer")?;
            let id = key_named(&found, &key)?;
            let revoked = desk.app.consumer_key_revoke(&desk.by, &consumer, id).await;
            revoked.context("failed to revoke the key")?;
        }
    }
    Ok(Exit::Done)
}

async fn list(desk: &Desk, json: bool) -> anyhow::Result<()> {
    let consumers = desk
        .app
        .consumer_list()
        .await
        .context("failed to list the consumers")?;
    if json {
        return output::json(&consumers.iter().map(ConsumerJson::of).collect::<Vec<_>>());
    }
    let accounts = desk
        .app
        .account_list("")
        .await
        .context("failed to list the accounts")?;
    let rows: Vec<_> = consumers
        .iter()
        .map(|consumer| {
            let keys = consumer.keys.iter().filter(|key| key.revoked_at.is_none());
            let keys: Vec<_> = keys.map(|key| format!("{}…", key.prefix)).collect();
            vec![
                consumer.name.clone(),
                uses(&consumer.grant, &accounts),
                keys.join(" "),
            ]
        })
        .collect();
    output::line(&output::table(&["name", "accounts", "keys"], &rows))
}

fn uses(grant: &ConsumerGrant, accounts: &[Account]) -> String {
    match grant {
        ConsumerGrant::AllAccounts => "all".to_owned(),
        ConsumerGrant::Accounts { .. } => {
            let covered = accounts.iter().filter(|account| grant.covers(account.id));
            covered
                .map(|account| account.name.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        }
    }
}

async fn add(desk: &Desk, name: &str, accounts: &[String], json: bool) -> anyhow::Result<()> {
    let grant = if accounts.is_empty() {
        ConsumerGrant::AllAccounts
    } else {
        let mut ids = Vec::new();
        for account in accounts {
            let found = desk.app.account_find(account).await;
            ids.push(
                found
                    .with_context(|| format!("failed to find the account {account}"))?
                    .id,
            );
        }
        ConsumerGrant::Accounts { accounts: ids }
    };
    let added = desk.app.consumer_add(&desk.by, name, grant).await;
    let (consumer, key) = added.context("failed to add the consumer")?;
    let api_key = key.expose_secret();
    if json {
        return output::json(&Added {
            api_key,
            consumer: ConsumerJson::of(&consumer),
        });
    }
    say("The API key, shown this once; send it to the gateway as a bearer token:");
    output::line(api_key)
}

async fn key_add(desk: &Desk, consumer: &str, json: bool) -> anyhow::Result<()> {
    let added = desk.app.consumer_key_add(&desk.by, consumer).await;
    let (info, key) = added.context("failed to add a key")?;
    let api_key = key.expose_secret();
    if json {
        let (id, prefix) = (info.id.to_string(), info.prefix);
        return output::json(&KeyAdded {
            api_key,
            id,
            prefix,
        });
    }
    say("The API key, shown this once:");
    output::line(api_key)
}

/// A key by its identifier, or by a beginning that only one key in use has.
fn key_named(consumer: &Consumer, reference: &str) -> anyhow::Result<ApiKeyId> {
    if let Ok(id) = reference.parse() {
        return Ok(id);
    }
    let wanted = reference.trim_end_matches('…');
    let mut fitting = consumer.keys.iter().filter(|key| {
        key.revoked_at.is_none() && !wanted.is_empty() && key.prefix.starts_with(wanted)
    });
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok(key.id),
        (Some(_), Some(_)) => Err(Usage(format!(
            "several keys of {} begin with {wanted}",
            consumer.name
        ))
        .into()),
        (None, _) => Err(tieline_app::AppError::NotFound { what: "key" }.into()),
    }
}
