//! Fills a database as if its accounts had consented long ago: rows by the hundred thousand, each
//! sealed with the master keys of the data directory.
//!
//! Only columns of the first migration are named; what came later has defaults.

use std::path::Path;
use std::str::FromStr;

use chrono::Utc;
use rusqlite::Connection;
use sqlx::postgres::{PgConnection, PgPoolCopyExt};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use tieline_vault::{AssociatedData, KeyRing, api_key};
use ulid::Ulid;

use crate::oauth;

const WORKSPACE: &str = "00000000000000000000000001";
/// What the accounts' applications are called at the token server.
const CLIENT_ID: &str = "11111111-2222-4333-8444-555555555555";

/// What is seeded.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many accounts.
    pub accounts: usize,
    /// Where they renew.
    pub authorization_url: String,
    /// Where they renew.
    pub token_url: String,
    /// Their organization's origin.
    pub origin: String,
    /// Milliseconds from now to the end of the access tokens; negative for expired ones.
    pub expires_in: i64,
    /// Milliseconds from now to the first renewal, and the span over which renewals are spread.
    pub due: (i64, i64),
}

/// What the callers need.
#[derive(Debug, Clone)]
pub struct Seeded {
    /// The accounts' identifiers, which are also what their tokens name.
    pub accounts: Vec<String>,
    /// The key of the one consumer.
    pub api_key: String,
}

struct Rows {
    now: i64,
    plan: Plan,
    keys: KeyRing,
}

/// One account: both of its rows.
struct Row {
    id: String,
    name: String,
    secret: Vec<u8>,
    refresh: Vec<u8>,
    access: Vec<u8>,
    expires_at: i64,
    renew_at: i64,
}

impl Rows {
    fn row(&self, number: usize) -> Row {
        let id = Ulid::new().to_string();
        let seal = |table: &str, column: &str, text: &str| {
            let place = AssociatedData {
                table,
                column,
                row: &id,
                version: 1,
            };
            self.keys.seal(&place, text.as_bytes()).0
        };
        let (after, spread) = self.plan.due;
        let share = i64::try_from(number).unwrap_or(0) * spread.max(1)
            / i64::try_from(self.plan.accounts.max(1)).unwrap_or(1);
        Row {
            name: format!("Account {number:07}"),
            secret: seal("account", "client_secret", "s3cret+value"),
            refresh: seal(
                "account_token",
                "refresh_token",
                &oauth::refresh_token(&id, 1),
            ),
            access: seal(
                "account_token",
                "access_token",
                &oauth::access_token(&id, 1),
            ),
            expires_at: self.now + self.plan.expires_in,
            renew_at: self.now + after + share,
            id,
        }
    }

    fn client_key(&self) -> String {
        format!("{}|{CLIENT_ID}", self.plan.token_url.to_lowercase())
    }
}

/// Fills the database that `data_dir` and `database_url` (none: SQLite there) name.
pub async fn seed(
    data_dir: &Path,
    database_url: Option<&str>,
    plan: &Plan,
) -> anyhow::Result<Seeded> {
    let rows = Rows {
        now: Utc::now().timestamp_millis(),
        plan: plan.clone(),
        keys: KeyRing::load(&data_dir.join("master.keys"))?,
    };
    let key = api_key::generate();
    let accounts = match database_url {
        None => sqlite(&data_dir.join("tieline.db"), &rows, &key.hash)?,
        Some(url) => postgres(url, &rows, &key.hash).await?,
    };
    use secrecy::ExposeSecret;
    let api_key = key.key.expose_secret().to_owned();
    Ok(Seeded { accounts, api_key })
}

const ACCOUNT: &str = "INSERT INTO account (id, workspace_id, type, name, name_key, is_default, \
    authorization_url, token_url, api_url, client_id, grant_type, notes, client_secret, \
    client_secret_version, client_secret_set_at, state, state_since, reason_code, reason_detail, \
    version, created_at, created_by, changed_at, changed_by) VALUES (?1, ?2, \
    'microsoft_dynamics_365', ?3, lower(?3), 0, ?4, ?5, ?6, ?7, 'authorization_code', '', ?8, 1, \
    ?9, 'connected', ?9, 'consented', '', 1, ?9, 'seed', ?9, 'seed')";
const TOKEN: &str = "INSERT INTO account_token (account_id, generation, refresh_token, \
    access_token, access_expires_at, obtained_at, scope, client_key, failures, renew_at) \
    VALUES (?1, 1, ?2, ?3, ?4, ?5, 'user_impersonation', ?6, 0, ?7)";

fn sqlite(path: &Path, rows: &Rows, key: &[u8; 32]) -> anyhow::Result<Vec<String>> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "cache_size", -400_000)?;
    let tx = connection.transaction()?;
    let mut ids = Vec::with_capacity(rows.plan.accounts);
    {
        let (plan, client_key) = (&rows.plan, rows.client_key());
        let api = format!("{}/api/data/v9.2", plan.origin);
        let mut account = tx.prepare(ACCOUNT)?;
        let mut token = tx.prepare(TOKEN)?;
        for number in 0..plan.accounts {
            let row = rows.row(number);
            account.execute(rusqlite::params![
                row.id,
                WORKSPACE,
                row.name,
                plan.authorization_url,
                plan.token_url,
                api,
                CLIENT_ID,
                row.secret,
                rows.now
            ])?;
            token.execute(rusqlite::params![
                row.id,
                row.refresh,
                row.access,
                row.expires_at,
                rows.now,
                client_key,
                row.renew_at
            ])?;
            ids.push(row.id);
        }
        let grants = r#"{"scope":"all_accounts"}"#;
        tx.execute(
            "INSERT INTO consumer (id, workspace_id, name, name_key, grants, created_at) \
             VALUES (?1, ?2, 'bench', 'bench', ?3, ?4)",
            rusqlite::params![WORKSPACE, WORKSPACE, grants, rows.now],
        )?;
        tx.execute(
            "INSERT INTO api_key (id, consumer_id, hash, prefix, created_at) \
             VALUES (?1, ?1, ?2, 'tl_bench', ?3)",
            rusqlite::params![WORKSPACE, key.as_slice(), rows.now],
        )?;
    }
    tx.commit()?;
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(ids)
}

async fn postgres(url: &str, rows: &Rows, key: &[u8; 32]) -> anyhow::Result<Vec<String>> {
    let pool = sqlx::PgPool::connect(url).await?;
    let mut ids = Vec::with_capacity(rows.plan.accounts);
    let numbers: Vec<usize> = (0..rows.plan.accounts).collect();
    for chunk in numbers.chunks(20_000) {
        let made: Vec<Row> = chunk.iter().map(|number| rows.row(*number)).collect();
        let mut accounts = pool
            .copy_in_raw(
                "COPY account (id, workspace_id, type, name, name_key, is_default, \
                 authorization_url, token_url, api_url, client_id, grant_type, notes, \
                 client_secret, client_secret_version, client_secret_set_at, state, state_since, \
                 reason_code, reason_detail, version, created_at, created_by, changed_at, \
                 changed_by) FROM STDIN",
            )
            .await?;
        accounts
            .send(
                made.iter()
                    .map(|row| account_line(rows, row))
                    .collect::<String>()
                    .as_bytes(),
            )
            .await?;
        accounts.finish().await?;
        let mut tokens = pool
            .copy_in_raw(
                "COPY account_token (account_id, generation, refresh_token, access_token, \
                 access_expires_at, obtained_at, scope, client_key, failures, renew_at) FROM STDIN",
            )
            .await?;
        tokens
            .send(
                made.iter()
                    .map(|row| token_line(rows, row))
                    .collect::<String>()
                    .as_bytes(),
            )
            .await?;
        tokens.finish().await?;
        ids.extend(made.into_iter().map(|row| row.id));
    }
    let grants = r#"{"scope":"all_accounts"}"#;
    sqlx::query("INSERT INTO consumer VALUES ($1, $1, 'bench', 'bench', $2, $3)")
        .bind(WORKSPACE)
        .bind(grants)
        .bind(rows.now)
        .execute(&pool)
        .await?;
    sqlx::query(
        "INSERT INTO api_key (id, consumer_id, hash, prefix, created_at) \
         VALUES ($1, $1, $2, 'tl_bench', $3)",
    )
    .bind(WORKSPACE)
    .bind(key.as_slice())
    .bind(rows.now)
    .execute(&pool)
    .await?;
    sqlx::raw_sql("ANALYZE").execute(&pool).await?;
    pool.close().await;
    Ok(ids)
}

fn account_line(rows: &Rows, row: &Row) -> String {
    let (plan, now) = (&rows.plan, rows.now);
    format!(
        "{}\t{WORKSPACE}\tmicrosoft_dynamics_365\t{}\t{}\tf\t{}\t{}\t{}/api/data/v9.2\t{CLIENT_ID}\t\
         authorization_code\t\t\\\\x{}\t1\t{now}\tconnected\t{now}\tconsented\t\t1\t{now}\tseed\t\
         {now}\tseed\n",
        row.id,
        row.name,
        row.name.to_lowercase(),
        plan.authorization_url,
        plan.token_url,
        plan.origin,
        hex(&row.secret),
    )
}

fn token_line(rows: &Rows, row: &Row) -> String {
    format!(
        "{}\t1\t\\\\x{}\t\\\\x{}\t{}\t{}\tuser_impersonation\t{}\t0\t{}\n",
        row.id,
        hex(&row.refresh),
        hex(&row.access),
        row.expires_at,
        rows.now,
        rows.client_key(),
        row.renew_at,
    )
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The refresh token that stands in the database, opened.
pub async fn durable(
    data_dir: &Path,
    database_url: Option<&str>,
    account: &str,
) -> anyhow::Result<Option<String>> {
    let keys = KeyRing::load(&data_dir.join("master.keys"))?;
    let sql = "SELECT generation, refresh_token FROM account_token WHERE account_id = $1";
    let row: Option<(i64, Option<Vec<u8>>)> = match database_url {
        None => {
            let connection = Connection::open(data_dir.join("tieline.db"))?;
            let read = connection.query_row(sql, [account], |row| Ok((row.get(0)?, row.get(1)?)));
            Some(read?)
        }
        Some(url) => {
            let mut connection: PgConnection = PgConnectOptions::from_str(url)?.connect().await?;
            sqlx::query_as(sql)
                .bind(account)
                .fetch_optional(&mut connection)
                .await?
        }
    };
    let Some((generation, Some(sealed))) = row else {
        return Ok(None);
    };
    let place = AssociatedData {
        table: "account_token",
        column: "refresh_token",
        row: account,
        version: generation,
    };
    let opened = keys.open_text(&place, &tieline_vault::Sealed(sealed))?;
    use secrecy::ExposeSecret;
    Ok(Some(opened.expose_secret().to_owned()))
}
