//! A million accounts: how long a server takes to start on them, what they cost while they rest and
//! after they were used, and how many it renews in a second.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use crate::oauth::{Behaviour, First, Rotation, Servers};
use crate::seed::{self, Plan, Seeded};
use crate::stats;
use crate::tieline::{Launch, Server};
use crate::tls::Tls;

const HOUR: i64 = 3_600_000;
/// Callers side by side.
const CALLERS: usize = 64;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Scale {
    /// The server.
    pub program: PathBuf,
    /// A PostgreSQL server; none for SQLite.
    pub postgres: Option<String>,
    /// How many accounts.
    pub accounts: usize,
    /// How many of them are used.
    pub used: usize,
}

struct Place {
    _directory: tempfile::TempDir,
    launch: Launch,
    token_server: Arc<Servers>,
    client: reqwest::Client,
    seeded: Seeded,
}

/// Starts on so many accounts, rests, and is used.
pub async fn rest_and_use(scale: &Scale) -> anyhow::Result<()> {
    // Valid for ten hours, due within the day: nothing is renewed meanwhile.
    let place = place(scale, 10 * HOUR, (6 * HOUR, 4 * HOUR)).await?;
    let mut starts = Vec::new();
    for _ in 0..3 {
        let mut server = place.launch.serve().await?;
        starts.push(server.started_in);
        server.kill().await;
    }
    starts.sort_unstable();
    println!("start to serving: {:?} (median of {starts:?})", starts[1]);
    let mut server = place.launch.serve().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (before, at) = (stats::cpu(server.pid()), Instant::now());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let share = (stats::cpu(server.pid()) - before) / at.elapsed().as_secs_f64();
    println!(
        "at rest: {} kB resident, {:.2} % of a core",
        stats::memory(server.pid()).0,
        share * 100.0
    );
    // The first ones fill caches and pools that are there once.
    let warm = scale.used.min(10_000);
    touch(&place, &server, &place.seeded.accounts[..warm]).await?;
    let first = stats::memory(server.pid()).0;
    let rest = &place.seeded.accounts[warm..scale.used];
    let rate = touch(&place, &server, rest).await?;
    let last = stats::memory(server.pid()).0;
    println!(
        "after {warm} accounts: {first} kB; after {} more: {last} kB",
        rest.len()
    );
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let each = (last.saturating_sub(first) * 1024) as f64 / rest.len().max(1) as f64;
    println!("bytes per used account: {each:.0}; first calls in a second: {rate:.0}");
    let rate = touch(&place, &server, rest).await?;
    println!(
        "second calls in a second: {rate:.0}; resident {} kB",
        stats::memory(server.pid()).0
    );
    server.kill().await;
    Ok(())
}

/// Renews what is due, as fast as the schedule goes.
pub async fn renew(scale: &Scale, seconds: u64) -> anyhow::Result<()> {
    let place = place(scale, HOUR, (-HOUR, 0)).await?;
    let mut server = place.launch.serve().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut rates = Vec::new();
    let cpu = stats::cpu(server.pid());
    for _ in 0..seconds {
        let (before, at) = (
            place.token_server.renewed.load(Ordering::Relaxed),
            Instant::now(),
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        let done = place.token_server.renewed.load(Ordering::Relaxed) - before;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        rates.push(done as f64 / at.elapsed().as_secs_f64());
    }
    let used = stats::cpu(server.pid()) - cpu;
    let resident = stats::memory(server.pid()).0;
    server.kill().await;
    let answered = place.token_server.renewed.load(Ordering::Relaxed);
    rates.sort_by(f64::total_cmp);
    println!(
        "renewals in a second: median {:.0}, lowest {:.0}, highest {:.0}; {:.0} % of a core; {} kB \
         resident",
        rates[rates.len() / 2],
        rates[0],
        rates[rates.len() - 1],
        used / f64::from(u32::try_from(seconds).unwrap_or(1)) * 100.0,
        resident
    );
    println!(
        "answered by the token server until the kill: {answered}; stored: {}",
        stored(&place).await?
    );
    Ok(())
}

async fn stored(place: &Place) -> anyhow::Result<i64> {
    let sql = "SELECT COALESCE(SUM(generation - 1), 0) FROM account_token";
    match &place.launch.database_url {
        None => {
            let path = place.launch.data_dir.join("tieline.db");
            Ok(rusqlite::Connection::open(path)?.query_row(sql, [], |row| row.get(0))?)
        }
        Some(url) => {
            let pool = sqlx::PgPool::connect(url).await?;
            let sql = "SELECT COALESCE(SUM(generation - 1), 0)::BIGINT FROM account_token";
            Ok(sqlx::query_scalar(sql).fetch_one(&pool).await?)
        }
    }
}

async fn place(scale: &Scale, expires_in: i64, due: (i64, i64)) -> anyhow::Result<Place> {
    let directory = tempfile::tempdir()?;
    let tls = Tls::make(directory.path())?;
    let behaviour = Behaviour {
        rotation: Rotation::Lenient,
        latency: Duration::ZERO,
        first: First::Answered,
    };
    let token_server = Servers::start(Arc::clone(&tls.server), behaviour).await?;
    let database_url = match &scale.postgres {
        Some(url) => Some(crate::postgres::fresh(url).await?),
        None => None,
    };
    let launch = Launch {
        program: scale.program.clone(),
        data_dir: directory.path().join("server"),
        database_url,
        authority: tls.authority.clone(),
    };
    launch.migrate().await?;
    let plan = Plan {
        accounts: scale.accounts,
        authorization_url: token_server.authorization_url(),
        token_url: token_server.token_url(),
        origin: token_server.origin(),
        expires_in,
        due,
    };
    let begun = Instant::now();
    let seeded = seed::seed(&launch.data_dir, launch.database_url.as_deref(), &plan).await?;
    eprintln!(
        "seeded {} accounts in {:?}",
        scale.accounts,
        begun.elapsed()
    );
    let client = tls.client()?;
    Ok(Place {
        _directory: directory,
        launch,
        token_server,
        client,
        seeded,
    })
}

/// One call for each account; gives calls per second.
async fn touch(place: &Place, server: &Server, accounts: &[String]) -> anyhow::Result<f64> {
    let next = Arc::new(AtomicUsize::new(0));
    let accounts: Arc<[String]> = accounts.into();
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (next, accounts) = (Arc::clone(&next), Arc::clone(&accounts));
        let (client, key) = (place.client.clone(), place.seeded.api_key.clone());
        let gateway = server.gateway.clone();
        tasks.spawn(async move {
            while let Some(account) = accounts.get(next.fetch_add(1, Ordering::Relaxed)) {
                let call = client
                    .get(format!("{gateway}/api/data/v9.2/WhoAmI"))
                    .header("Tieline-Account", account)
                    .bearer_auth(&key);
                let answer = call.send().await?;
                let (status, text) = (answer.status(), answer.text().await?);
                anyhow::ensure!(status == 200, "{status} {text}");
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.context("a caller")??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    Ok(accounts.len() as f64 / begun.elapsed().as_secs_f64())
}

/// What the schedule's question costs, at two sizes.
pub async fn ticks(program: &Path, postgres: Option<&str>) -> anyhow::Result<()> {
    for accounts in [1_000, 100_000, 1_000_000] {
        let scale = Scale {
            program: program.to_owned(),
            postgres: postgres.map(str::to_owned),
            accounts,
            used: 0,
        };
        // Nothing due, some, more than are claimed at a time, and everything.
        let place = place(&scale, HOUR, (HOUR, HOUR)).await?;
        for due in [0, 100, 900, i64::try_from(accounts)? - 1] {
            let (plan, took) = crate::ticks::tick(&place.launch, due).await?;
            println!("{accounts} accounts, {due} due: median {took:?}\n{plan}");
        }
    }
    Ok(())
}
