//! A database with as many accounts as are wanted, each with a live token, so that nothing is
//! renewed while something is measured.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Transaction, params};
use tieline_store::{Migrations, Store};
use tieline_vault::{AssociatedData, KeyRing, api_key};

use crate::words;

/// What to put in.
pub struct Seed<'a> {
    pub accounts: usize,
    /// So many of them have tokens: only they are used.
    pub live: usize,
    /// Consumers, each with a key and a grant for the account of its own number; the last one has
    /// a grant for all.
    pub consumers: usize,
    pub api_url: &'a str,
}

/// Makes the database in a data directory.
pub async fn seed(data: &Path, seed: &Seed<'_>) {
    std::fs::create_dir_all(data).unwrap();
    let keys = Arc::new(KeyRing::load_or_create(data).unwrap());
    let file = data.join("tieline.db");
    let url = format!("sqlite://{}", file.display());
    drop(
        Store::open(&url, Arc::clone(&keys), Migrations::Run)
            .await
            .unwrap(),
    );
    let mut database = Connection::open(file).unwrap();
    database
        .execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF")
        .unwrap();
    let workspace: String = database
        .query_row("SELECT id FROM workspace", [], |row| row.get(0))
        .unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64;
    let transaction = database.transaction().unwrap();
    accounts(&transaction, &workspace, now, seed);
    tokens(&transaction, &keys, now, seed);
    consumers(&transaction, &workspace, now, seed);
    transaction.commit().unwrap();
}

fn accounts(into: &Transaction<'_>, workspace: &str, now: i64, seed: &Seed<'_>) {
    let mut add = into
        .prepare(
            "INSERT INTO account (id, workspace_id, type, name, name_key, is_default, \
             authorization_url, token_url, api_url, client_id, grant_type, notes, \
             client_secret_version, state, state_since, reason_code, reason_detail, version, \
             created_at, created_by, changed_at, changed_by) VALUES (?1, ?2, \
             'microsoft_dynamics_365', ?3, ?3, 0, ?4, ?5, ?6, \
             '00000000-0000-4000-8000-000000000000', 'authorization_code', '', 1, 'connected', ?7, \
             'renewed', '', 1, ?7, '{}', ?7, '{}')",
        )
        .unwrap();
    let authority = format!("{}/oauth2", seed.api_url);
    for number in 0..seed.accounts {
        add.execute(params![
            words::id(1, number),
            workspace,
            words::account(number),
            format!("{authority}/authorize"),
            format!("{authority}/token"),
            format!("{}/api/data/v9.2", seed.api_url),
            now,
        ])
        .unwrap();
    }
}

fn tokens(into: &Transaction<'_>, keys: &KeyRing, now: i64, seed: &Seed<'_>) {
    let mut add = into
        .prepare(
            "INSERT INTO account_token (account_id, generation, access_token, access_expires_at, \
             obtained_at, failures) VALUES (?1, 1, ?2, ?3, ?4, 0)",
        )
        .unwrap();
    let hours = 3 * 3_600_000;
    for number in 0..seed.accounts {
        let row = words::id(1, number);
        let place = AssociatedData {
            table: "account_token",
            column: "access_token",
            row: &row,
            version: 1,
        };
        let token =
            (number < seed.live).then(|| keys.seal(&place, words::token(number).as_bytes()).0);
        add.execute(params![row, token, now + hours, now]).unwrap();
    }
}

fn consumers(into: &Transaction<'_>, workspace: &str, now: i64, seed: &Seed<'_>) {
    for number in 0..=seed.consumers {
        let grants = if number == seed.consumers {
            r#"{"scope":"all_accounts"}"#.to_owned()
        } else {
            format!(
                r#"{{"scope":"accounts","accounts":["{}"]}}"#,
                words::id(1, number)
            )
        };
        let (consumer, name) = (words::id(2, number), format!("consumer {number}"));
        into.execute(
            "INSERT INTO consumer (id, workspace_id, name, name_key, grants, created_at) \
             VALUES (?1, ?2, ?3, ?3, ?4, ?5)",
            params![consumer, workspace, name, grants, now],
        )
        .unwrap();
        let key = words::key(number);
        into.execute(
            "INSERT INTO api_key (id, consumer_id, hash, prefix, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                words::id(3, number),
                consumer,
                api_key::hash(&key).to_vec(),
                &key[..8],
                now
            ],
        )
        .unwrap();
    }
}
