//! A token service that is down for a thousand accounts, each with a caller who never stops.
//!
//! What must hold: a trickle while it is down, all well within a minute of its return, and no
//! account renewed more often than its tokens end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::callers::Callers;
use crate::proxy::Asked;
use crate::report::{Findings, ms};
use crate::service::Rules;
use crate::world::{Plan, World};

/// All are well again within this.
const RECOVERY: Duration = Duration::from_secs(60);
/// Requests that run side by side, three failures that tell, and each a second time.
const AT_ONCE: usize = 2 * (64 + 3);
/// The shortest pause between two probes, in milliseconds; a probe asks at most twice.
const SHORTEST_PAUSE: i64 = 1500;
/// How often a caller calls.
const THINK: Duration = Duration::from_secs(1);
/// From here on tokens live so long that none ends while it is counted.
const LONG_LIFE: u32 = 3600;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 1000)]
    accounts: usize,
    /// How long the token service is down, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

pub(crate) async fn run(program: PathBuf, args: &Args) -> anyhow::Result<()> {
    let plan = Plan {
        program,
        database: crate::database::Kind::Sqlite,
        rules: Rules::Entra,
        accounts: args.accounts,
        // They have ended when the outage begins.
        seconds: 2,
        data: None,
    };
    let mut world = World::make(plan).await?;
    let long = json!({"action": "token-lifetime", "seconds": LONG_LIFE});
    world.service.control("/entra", &long).await?;
    world
        .service
        .fault(json!({"kind": "status", "status": 503}))
        .await?;
    let (first, begun) = (world.proxy.count(), Utc::now());
    let server = world.server(0).await?;
    let all: Vec<usize> = (0..args.accounts).collect();
    let targets: Vec<String> = all.iter().map(|at| world.target(*at)).collect();
    let callers = Callers::start(&server.gateway, &world.key, &targets, THINK);
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;

    let (healed, at) = (Instant::now(), Utc::now());
    world.service.heal().await?;
    let missing = callers.all_good(&all, healed, RECOVERY).await;
    let took = healed.elapsed();
    // Whoever asked twice for one token has done so by now.
    tokio::time::sleep(THINK * 5).await;
    let asked = world.proxy.asked().split_off(first);
    let mut findings = Findings::default();
    findings.expect(missing.is_empty(), || {
        format!("{} accounts are not well after a minute", missing.len())
    });
    let down: Vec<&Asked> = asked.iter().filter(|one| one.arrived < at).collect();
    trickle(&down, begun, at, &mut findings);
    once_each(&asked, args.accounts, &mut findings);
    let after = asked.len() - down.len();
    println!("accounts: {}, each with a caller", args.accounts);
    println!(
        "requests while it was down for {} s: {}",
        args.seconds,
        down.len()
    );
    println!("all well after {} ms, with {after} requests", ms(took));
    println!(
        "most requests within a second of that: {}",
        busiest(&asked[down.len()..])
    );
    println!("answers to callers: {}", callers.answers().text());
    drop(callers);
    server.process.stop().await?;
    world.check()?;
    findings.end()
}

fn trickle(down: &[&Asked], begun: DateTime<Utc>, end: DateTime<Utc>, findings: &mut Findings) {
    let probes = 1 + (end - begun).num_milliseconds() / SHORTEST_PAUSE;
    let most = AT_ONCE + 2 * usize::try_from(probes).unwrap_or_default();
    findings.expect(down.len() <= most, || {
        format!("{} requests while it was down, {most} at most", down.len())
    });
    findings.expect(down.iter().all(|one| one.status != 200), || {
        "a token came while there were none".to_owned()
    });
}

fn once_each(asked: &[Asked], accounts: usize, findings: &mut Findings) {
    let mut good = vec![0_u32; accounts];
    for one in asked.iter().filter(|one| one.status == 200) {
        good[one.account] += 1;
    }
    let twice = good.iter().filter(|count| **count > 1).count();
    findings.expect(twice == 0, || {
        format!("{twice} accounts were renewed twice")
    });
}

/// The most requests that arrived within one second.
fn busiest(asked: &[Asked]) -> usize {
    let within = |from: &Asked| {
        let until = from.arrived + TimeDelta::seconds(1);
        let rest = asked.iter().filter(|one| one.arrived >= from.arrived);
        rest.filter(|one| one.arrived < until).count()
    };
    asked.iter().map(within).max().unwrap_or_default()
}
