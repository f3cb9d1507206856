//! Thousands of callers at several servers at the moment at which tokens expire.
//!
//! What must hold: one renewal for each expiry, counted where tokens come from, and no caller who
//! gets anything but an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::Receiver;

use crate::callers::word;
use crate::http::Connection;
use crate::proxy::{Event, next};
use crate::report::{Counts, Findings, ms, percentile};
use crate::service::Rules;
use crate::world::{Plan, World};

/// How long the proxy keeps each answer: so long that everybody who calls meanwhile has to wait.
const KEPT: Duration = Duration::from_millis(300);
/// A wave begins so long before the expected expiry, and is spread over twice that.
const AHEAD: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Processes on one PostgreSQL
    #[arg(long, default_value_t = 2)]
    servers: usize,
    /// Connections, in all
    #[arg(long, default_value_t = 2000)]
    callers: usize,
    /// Waves, each at an expiry of every account
    #[arg(long, default_value_t = 30)]
    expiries: usize,
    #[arg(long, default_value_t = 2)]
    accounts: usize,
    /// Life of access tokens, in seconds
    #[arg(long, default_value_t = 8)]
    seconds: u32,
    /// Whose rules hold for refresh tokens
    #[arg(long, value_enum, default_value = "strict")]
    server: Rules,
}

/// What one wave brought.
#[derive(Debug, Default)]
struct Wave {
    answers: Counts,
    times: Vec<Duration>,
}

pub(crate) async fn run(program: std::path::PathBuf, args: &Args) -> anyhow::Result<()> {
    let plan = Plan {
        program,
        database: crate::database::Kind::Postgres,
        rules: args.server,
        accounts: args.accounts,
        seconds: args.seconds,
        data: None,
    };
    let mut world = World::make(plan).await?;
    let mut servers = Vec::new();
    for number in 0..args.servers {
        servers.push(world.server(number).await?);
    }
    let gateways: Vec<String> = servers.iter().map(|s| s.gateway.clone()).collect();
    let mut callers = connect(&gateways, args.callers).await?;
    let period = period(&world, &gateways[0]).await?;
    world.proxy.keep_each(KEPT);
    let first = world.proxy.count();
    let (mut all, mut failed, mut waves_hit) = (Wave::default(), Counts::default(), 0);
    let mut events = world.proxy.events();
    for number in 0..args.expiries {
        next_expiry(&world, &gateways, period, &mut events).await?;
        let before = world.proxy.count();
        let wave = wave(&world, &mut callers).await?;
        waves_hit += usize::from(world.proxy.count() > before);
        for (what, count) in &wave.answers.0 {
            if what != "200" {
                *failed.0.entry(what.clone()).or_default() += count;
            }
            *all.answers.0.entry(what.clone()).or_default() += count;
        }
        all.times.extend(wave.times);
        if (number + 1) % 10 == 0 {
            eprintln!(
                "{} waves, {} renewals",
                number + 1,
                world.proxy.count() - first
            );
        }
    }
    let mut findings = Findings::default();
    judge(&world, first, period, &failed, &mut findings);
    all.times.sort();
    println!(
        "{} servers on PostgreSQL, {}, {} callers",
        args.servers,
        args.server.word(),
        args.callers
    );
    println!(
        "waves: {}; a renewal ran during: {waves_hit}",
        args.expiries
    );
    println!("answers: {}", all.answers.text());
    println!(
        "renewals: {} for {} accounts",
        world.proxy.count() - first,
        args.accounts
    );
    println!("refresh tokens that arrived again: {}", world.proxy.again());
    println!(
        "answer of a caller: p50 {} ms, p99 {} ms, slowest {} ms",
        ms(percentile(&all.times, 50)),
        ms(percentile(&all.times, 99)),
        ms(percentile(&all.times, 100)),
    );
    for server in servers {
        server.process.stop().await?;
    }
    world.check()?;
    findings.end()
}

/// Opens the callers' connections, the same number to each server.
async fn connect(gateways: &[String], callers: usize) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for number in 0..callers {
        let mut connection = Connection::to(&gateways[number % gateways.len()]);
        connection.open().await?;
        connections.push(connection);
    }
    Ok(connections)
}

/// How long a token is handed out: measured with one caller who never stops.
async fn period(world: &World, gateway: &str) -> anyhow::Result<Duration> {
    let mut connection = Connection::to(gateway);
    let target = world.target(0);
    let begun = Instant::now();
    loop {
        connection.get(&target, &world.key, PATIENCE).await?;
        let asked = world.proxy.asked();
        let mine: Vec<_> = asked.iter().filter(|asked| asked.account == 0).collect();
        if let [.., a, b, c] = mine.as_slice() {
            let shorter = (c.arrived - b.arrived).min(b.arrived - a.arrived);
            return Ok(shorter.to_std()?);
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE * 3, "no token expires");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Renews every account by hand of single callers, and waits until just before all expire again.
async fn next_expiry(
    world: &World,
    gateways: &[String],
    period: Duration,
    events: &mut Receiver<Event>,
) -> anyhow::Result<()> {
    while events.try_recv().is_ok() {}
    let mut last = Instant::now();
    for account in 0..world.accounts.len() {
        let mut connection = Connection::to(&gateways[account % gateways.len()]);
        let target = world.target(account);
        let begun = Instant::now();
        // Until it has been renewed once more: then its age is known.
        let renewed = next_of(events, account);
        tokio::pin!(renewed);
        loop {
            tokio::select! {
                at = &mut renewed => { last = at; break }
                () = tokio::time::sleep(Duration::from_millis(25)) => {
                    connection.get(&target, &world.key, PATIENCE).await?;
                }
            }
            anyhow::ensure!(
                begun.elapsed() < PATIENCE,
                "account {account} is not renewed"
            );
        }
    }
    let expiry = last + period;
    tokio::time::sleep_until((expiry - AHEAD).into()).await;
    Ok(())
}

async fn next_of(events: &mut Receiver<Event>, account: usize) -> Instant {
    loop {
        let event = next(events, |event| matches!(event, Event::Arrived(_)), PATIENCE).await;
        if matches!(event, Some(Event::Arrived(of)) if of == account) || event.is_none() {
            return Instant::now();
        }
    }
}

/// Every caller calls once, all within a few hundred milliseconds around the expiry.
async fn wave(world: &World, callers: &mut Vec<Connection>) -> anyhow::Result<Wave> {
    let spread = AHEAD * 2;
    let count = u32::try_from(callers.len().max(1))?;
    let key = Arc::new(world.key.clone());
    let mut tasks = Vec::new();
    for (number, mut connection) in std::mem::take(callers).into_iter().enumerate() {
        let target = world.target(number / 7 % world.accounts.len());
        let (key, pause) = (Arc::clone(&key), spread / count * u32::try_from(number)?);
        tasks.push(tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let begun = Instant::now();
            let answer = connection.get(&target, &key, PATIENCE).await;
            (connection, word(&answer), begun.elapsed())
        }));
    }
    let mut wave = Wave::default();
    for task in tasks {
        let (connection, word, time) = task.await?;
        wave.answers.add(&word);
        wave.times.push(time);
        callers.push(connection);
    }
    Ok(wave)
}

fn judge(world: &World, first: usize, period: Duration, failed: &Counts, findings: &mut Findings) {
    findings.expect(failed.total() == 0, || {
        format!("callers failed: {}", failed.text())
    });
    let again = world.proxy.again();
    findings.expect(again == 0, || {
        format!("{again} refresh tokens arrived twice")
    });
    let asked = world.proxy.asked();
    let least = chrono::TimeDelta::from_std(period * 6 / 10).unwrap_or_default();
    for account in 0..world.accounts.len() {
        let mine: Vec<_> = asked[first..]
            .iter()
            .filter(|a| a.account == account)
            .collect();
        for pair in mine.windows(2) {
            let gap = pair[1].arrived - pair[0].arrived;
            findings.expect(gap >= least, || {
                format!("account {account} was renewed twice within {gap}")
            });
        }
        findings.expect(mine.iter().all(|a| a.status == 200), || {
            format!("a renewal of account {account} failed")
        });
    }
}
