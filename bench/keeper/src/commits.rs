//! What a disk and a database commit without us, and what the store makes of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use secrecy::SecretString;
use tieline_core::{AccountId, ConnectionState, Reason};
use tieline_store::{LeasePurpose, LeaseWish, Migrations, RenewedTokens, StateChange, Store};
use tieline_vault::KeyRing;
use tokio::time::Instant;

use crate::oauth;
use crate::seed::{self, Plan};
use crate::tieline::Launch;

/// How long each figure is taken.
const SPAN: Duration = Duration::from_secs(4);
/// Accounts that are renewed in turn.
const ACCOUNTS: usize = 4_000;

/// Prints every figure.
pub async fn run(program: &Path, postgres: &str) -> anyhow::Result<()> {
    raw_sqlite()?;
    for callers in [1, 4, 16, 64] {
        raw_postgres(postgres, callers).await?;
    }
    for url in [None, Some(postgres)] {
        for callers in [1, 4, 16, 64, 256] {
            store(program, url, callers).await?;
        }
    }
    Ok(())
}

/// One row of three kilobytes updated and committed, alone and several together.
fn raw_sqlite() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let connection = rusqlite::Connection::open(directory.path().join("raw.db"))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, body BLOB) STRICT;",
    )?;
    let body = vec![7_u8; 3_200];
    for id in 0..ACCOUNTS {
        connection.execute(
            "INSERT INTO t VALUES (?1, 0, ?2)",
            rusqlite::params![i64::try_from(id)?, body],
        )?;
    }
    for together in [1, 8, 32, 128] {
        let (begun, mut done) = (Instant::now(), 0);
        let mut update = connection.prepare("UPDATE t SET n = n + 1, body = ?2 WHERE id = ?1")?;
        while begun.elapsed() < SPAN {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            for _ in 0..together {
                update.execute(rusqlite::params![i64::try_from(done % ACCOUNTS)?, body])?;
                done += 1;
            }
            connection.execute_batch("COMMIT")?;
        }
        println!(
            "SQLite alone, {together} in a transaction: {:.0}/s",
            rate(done, begun)
        );
    }
    Ok(())
}

async fn raw_postgres(postgres: &str, callers: usize) -> anyhow::Result<()> {
    let url = crate::postgres::fresh(postgres).await?;
    let connections = u32::try_from(callers)?;
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(connections)
        .connect(&url)
        .await?;
    sqlx::raw_sql("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT, body BYTEA)")
        .execute(&pool)
        .await?;
    let fill = "INSERT INTO t SELECT i, 0, decode(repeat('07', 3200), 'hex') FROM generate_series(0, 3999) i";
    sqlx::raw_sql(fill).execute(&pool).await?;
    let (begun, done) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (pool, done) = (pool.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            let body = vec![7_u8; 3_200];
            while begun.elapsed() < SPAN {
                let id =
                    i64::try_from(done.fetch_add(1, Ordering::Relaxed) % ACCOUNTS).unwrap_or(0);
                let update = "UPDATE t SET n = n + 1, body = $2 WHERE id = $1";
                sqlx::query(update)
                    .bind(id)
                    .bind(&body)
                    .execute(&pool)
                    .await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let done = done.load(Ordering::Relaxed);
    println!(
        "PostgreSQL alone, {callers} connections, one statement each: {:.0}/s",
        rate(done, begun)
    );
    Ok(())
}

/// Renewals as the keeper writes them: a lease, then the result.
async fn store(program: &Path, postgres: Option<&str>, callers: usize) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data_dir = directory.path().join("server");
    let database_url = match postgres {
        Some(url) => Some(crate::postgres::fresh(url).await?),
        None => None,
    };
    let launch = Launch {
        program: program.to_owned(),
        data_dir: data_dir.clone(),
        database_url: database_url.clone(),
        authority: directory.path().join("none"),
    };
    launch.migrate().await?;
    let plan = Plan {
        accounts: ACCOUNTS,
        authorization_url: "https://login.example/oauth2/authorize".to_owned(),
        token_url: "https://login.example/oauth2/token".to_owned(),
        origin: "https://contoso.example".to_owned(),
        expires_in: 0,
        due: (0, 0),
    };
    let seeded = seed::seed(&data_dir, database_url.as_deref(), &plan).await?;
    let url = database_url
        .unwrap_or_else(|| format!("sqlite://{}", data_dir.join("tieline.db").display()));
    let keys = Arc::new(KeyRing::load(&data_dir.join("master.keys"))?);
    let store = Store::open(&url, keys, Migrations::Check).await?;
    let accounts: Arc<[String]> = seeded.accounts.into();
    let (begun, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (store, next, accounts) = (store.clone(), Arc::clone(&next), Arc::clone(&accounts));
        tasks.spawn(async move {
            while begun.elapsed() < SPAN {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let generation = i64::try_from(number / ACCOUNTS).unwrap_or(0) + 1;
                renew(&store, &accounts[number % ACCOUNTS], generation).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let (done, database) = (
        next.load(Ordering::Relaxed),
        postgres.map_or("SQLite", |_| "PostgreSQL"),
    );
    println!(
        "the store on {database}, {callers} renewals side by side: {:.0}/s (two commits each)",
        rate(done, begun)
    );
    Ok(())
}

async fn renew(store: &Store, account: &str, generation: i64) -> anyhow::Result<()> {
    let id: AccountId = account.parse()?;
    let now = Utc::now();
    let wish = LeaseWish {
        owner: "bench",
        seen: generation,
        marked_by: None,
        purpose: LeasePurpose::Spend,
        life: TimeDelta::seconds(30),
    };
    anyhow::ensure!(store.token_lease(id, &wish).await?, "the lease is taken");
    let serial = u64::try_from(generation)? + 1;
    let renewed = RenewedTokens {
        refresh_token: Some(SecretString::from(oauth::refresh_token(account, serial))),
        previous_refresh_token: None,
        access_token: Some(SecretString::from(oauth::access_token(account, serial))),
        access_expires_at: Some(now + TimeDelta::hours(1)),
        scope: None,
        client_key: "key".to_owned(),
        rotation_seen: None,
        claims_met: None,
        blocked_key: None,
        renew_at: Some(now + TimeDelta::hours(1)),
    };
    let reason = Reason::new("renewed", String::new());
    let change = StateChange {
        state: ConnectionState::Connected,
        reason,
    };
    let stored = store
        .token_renewed(id, "bench", generation, &renewed, &change, now)
        .await?;
    anyhow::ensure!(stored, "the generation has passed");
    Ok(())
}

fn rate(done: usize, begun: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    rate
}
