//! `kill -9` at moments around renewals, again and again.
//!
//! What must hold: with Entra's rules no account is lost. With strict rules an account is lost only
//! when the server was killed between the departure of a request for a token and the commit of its
//! answer, and no refresh token arrives twice. Nothing is stuck for longer than a lease, and the
//! database is whole.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::callers::Callers;
use crate::proxy::{Asked, Event, next};
use crate::report::{Counts, Findings, ms, percentile};
use crate::service::Rules;
use crate::world::{LEASE, Plan, Server, World};

/// Calls of one account follow each other so closely that a token is renewed when it can be.
const THINK: Duration = Duration::from_millis(200);
/// A restart, and a machine that is busy with other things.
const SLACK: Duration = Duration::from_secs(15);
/// After so many kills, lost accounts are counted and get a new consent.
const ROUND: usize = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often
    #[arg(long, default_value_t = 300)]
    kills: usize,
    #[arg(long, value_enum, default_value = "sqlite")]
    database: crate::database::Kind,
    /// Whose rules hold for refresh tokens
    #[arg(long, value_enum, default_value = "entra")]
    server: Rules,
    #[arg(long, default_value_t = 32)]
    accounts: usize,
    /// Life of access tokens, in seconds
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Repeats the moments, as far as the machine lets it
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// When a server is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// While it starts.
    Starting,
    /// Any time.
    Any,
    /// After a request for a token arrived.
    Arrived,
    /// After an answer left.
    Answered,
}

/// One life of the server.
#[derive(Debug)]
struct Life {
    begun: DateTime<Utc>,
    /// By account's identifier.
    commits: Vec<(String, DateTime<Utc>)>,
}

struct Run {
    world: World,
    dice: StdRng,
    lives: Vec<Life>,
    moments: Counts,
    lost: Vec<Loss>,
    /// When each account got the grant it has.
    granted: Vec<DateTime<Utc>>,
    findings: Findings,
}

/// An account that needs a new consent.
#[derive(Debug)]
struct Loss {
    account: usize,
    granted: DateTime<Utc>,
    seen: DateTime<Utc>,
    reason: String,
}

pub(crate) async fn run(program: std::path::PathBuf, args: &Args) -> anyhow::Result<()> {
    let plan = Plan {
        program,
        database: args.database,
        rules: args.server,
        accounts: args.accounts,
        seconds: args.seconds,
        data: None,
    };
    let world = World::make(plan).await?;
    let mut run = Run {
        granted: vec![Utc::now(); args.accounts],
        world,
        dice: StdRng::seed_from_u64(args.seed),
        lives: Vec::new(),
        moments: Counts::default(),
        lost: Vec::new(),
        findings: Findings::default(),
    };
    let begun = Instant::now();
    let first = run.world.server(0).await?;
    let targets: Vec<String> = (0..args.accounts).map(|at| run.world.target(at)).collect();
    let callers = Callers::start(&first.gateway, &run.world.key, &targets, THINK);
    run.lives.push(Life::new());
    run.end_life(first.process.kill()?);
    run.kill_all(args.kills).await?;
    run.settle(&callers).await?;
    run.judge(&callers, args, begun)
}

impl Life {
    fn new() -> Self {
        Self {
            begun: Utc::now(),
            commits: Vec::new(),
        }
    }
}

impl Run {
    async fn kill_all(&mut self, kills: usize) -> anyhow::Result<()> {
        for number in 1..=kills {
            let moment = self.moment();
            self.moments.add(moment.word());
            self.lives.push(Life::new());
            let process = if moment == Moment::Starting {
                let server = self.world.launch(0, &[])?;
                self.pause(400).await;
                server.process
            } else {
                let server = self.world.server(0).await?;
                self.wait_for(moment).await;
                server.process
            };
            self.end_life(process.kill()?);
            if number % ROUND == 0 {
                self.count_losses().await?;
                eprintln!("{number} kills, {} accounts lost", self.lost.len());
            }
        }
        Ok(())
    }

    fn moment(&mut self) -> Moment {
        match self.dice.random_range(0..100) {
            0..8 => Moment::Starting,
            8..28 => Moment::Any,
            28..68 => Moment::Arrived,
            _ => Moment::Answered,
        }
    }

    async fn wait_for(&mut self, moment: Moment) {
        let mut events = self.world.proxy.events();
        let patience = Duration::from_secs(5);
        match moment {
            Moment::Starting | Moment::Any => self.pause(1200).await,
            Moment::Arrived => {
                let arrived = |event: &Event| matches!(event, Event::Arrived(_));
                next(&mut events, arrived, patience).await;
                self.pause(30).await;
            }
            Moment::Answered => {
                let answered = |event: &Event| matches!(event, Event::Answered(_));
                next(&mut events, answered, patience).await;
                self.pause(15).await;
            }
        }
    }

    /// Up to so many milliseconds.
    async fn pause(&mut self, most: u64) {
        let micros = self.dice.random_range(0..most * 1000);
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }

    /// Reads what a server said of its commits before it died.
    fn end_life(&mut self, log: Vec<String>) {
        let Some(life) = self.lives.last_mut() else {
            return;
        };
        for line in log {
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if line["message"] != "a token was renewed" {
                continue;
            }
            let at = line["timestamp"]
                .as_str()
                .and_then(|text| text.parse().ok());
            let account = line["account"].as_str();
            if let (Some(at), Some(account)) = (at, account) {
                life.commits.push((account.to_owned(), at));
            }
        }
    }

    /// Counts accounts that need a consent, and gives them one.
    async fn count_losses(&mut self) -> anyhow::Result<()> {
        self.lives.push(Life::new());
        let server = self.world.server(0).await?;
        self.take_losses(&server).await?;
        self.end_life(server.process.kill()?);
        if let crate::database::Kind::Sqlite = self.world.plan.database {
            self.world.check()?;
        }
        Ok(())
    }

    async fn take_losses(&mut self, server: &Server) -> anyhow::Result<usize> {
        let states = self.world.states(server).await?;
        let mut taken = 0;
        for (account, state) in states.into_iter().enumerate() {
            if state.state != "needs_consent" {
                continue;
            }
            taken += 1;
            self.lost.push(Loss {
                account,
                granted: self.granted[account],
                seen: Utc::now(),
                reason: state.reason,
            });
            self.world.reconnect(server, account).await?;
            self.granted[account] = Utc::now();
        }
        Ok(taken)
    }

    /// After the last kill: whoever is not lost has to work within a lease.
    async fn settle(&mut self, callers: &Callers) -> anyhow::Result<()> {
        self.lives.push(Life::new());
        let server = self.world.server(0).await?;
        let since = Instant::now();
        let all: Vec<usize> = (0..self.world.accounts.len()).collect();
        let mut missing = callers.all_good(&all, since, LEASE + SLACK).await;
        if self.take_losses(&server).await? > 0 {
            missing = callers.all_good(&missing, since, LEASE + SLACK).await;
        }
        let states = self.world.states(&server).await?;
        for account in missing {
            let state = &states[account];
            self.findings.expect(false, || {
                format!(
                    "account {account} does not come back: {} {}",
                    state.state, state.reason
                )
            });
        }
        let (code, log) = server.process.stop().await?;
        self.findings
            .expect(code == 0, || format!("the last server ended with {code}"));
        self.end_life(log);
        self.world.check()
    }

    fn judge(mut self, callers: &Callers, args: &Args, begun: Instant) -> anyhow::Result<()> {
        let asked = self.world.proxy.asked();
        let (windows, open) = self.windows(&asked);
        let unexplained: Vec<&Loss> = self.lost.iter().filter(|l| !open.explains(l)).collect();
        for loss in unexplained {
            let what = format!(
                "account {} was lost outside the window: {}",
                loss.account, loss.reason
            );
            self.findings.expect(false, || what);
        }
        let again = self.world.proxy.again();
        if args.server == Rules::Entra {
            let lost = self.lost.len();
            self.findings.expect(lost == 0, || {
                format!("{lost} accounts lost under Entra's rules")
            });
        } else {
            self.findings.expect(again == 0, || {
                format!("{again} refresh tokens arrived twice")
            });
        }
        let longest = self.longest_silence(&asked);
        self.findings.expect(longest <= LEASE + SLACK, || {
            format!("an account was stuck for {} s", longest.as_secs())
        });
        let strangers = asked.iter().filter(|a| a.account == usize::MAX).count();
        self.findings.expect(strangers == 0, || {
            format!("{strangers} requests with unknown tokens")
        });
        self.say(callers, args, begun, &asked, &windows, &open, longest);
        self.findings.end()
    }

    #[expect(clippy::too_many_arguments, reason = "the figures of one report")]
    fn say(
        &self,
        callers: &Callers,
        args: &Args,
        begun: Instant,
        asked: &[Asked],
        windows: &[Duration],
        open: &Open,
        longest: Duration,
    ) {
        let mut reasons = Counts::default();
        self.lost.iter().for_each(|loss| reasons.add(&loss.reason));
        println!(
            "kill -9, {} on {}, seed {}",
            args.server.word(),
            args.database.word(),
            args.seed
        );
        println!("kills: {} ({})", args.kills, self.moments.text());
        println!(
            "renewals asked for: {}; committed: {}",
            asked.len(),
            windows.len()
        );
        println!(
            "refresh tokens that arrived again: {}",
            self.world.proxy.again()
        );
        println!(
            "kills inside a window: {}; windows cut: {}",
            open.kills,
            open.cut.len()
        );
        println!("accounts lost: {} ({})", self.lost.len(), reasons.text());
        println!(
            "window from the request's arrival to the commit: p50 {} ms, p99 {} ms, longest {} ms",
            ms(percentile(windows, 50)),
            ms(percentile(windows, 99)),
            ms(percentile(windows, 100)),
        );
        println!(
            "longest silence of an account: {:.1} s",
            longest.as_secs_f64()
        );
        println!("answers to callers: {}", callers.answers().text());
        println!("took {} s", begun.elapsed().as_secs());
    }

    /// How long each renewal took from arrival to commit, and which were cut by a kill. A commit
    /// belongs to the account's last request before it.
    fn windows(&self, asked: &[Asked]) -> (Vec<Duration>, Open) {
        let mut windows = Vec::new();
        let mut open = Open::default();
        let mut commits: Vec<_> = self.lives.iter().flat_map(|life| &life.commits).collect();
        commits.sort_by_key(|(_, at)| *at);
        for (account, id) in self.world.accounts.iter().enumerate() {
            let mine = |at: &Asked| at.account == account && matches!(at.status, 0 | 200);
            let requests: Vec<&Asked> = asked.iter().filter(|at| mine(at)).collect();
            for (number, request) in requests.iter().enumerate() {
                let until = requests
                    .get(number + 1)
                    .map_or_else(Utc::now, |next| next.arrived);
                let commit = commits
                    .iter()
                    .find(|(of, at)| of == id && *at > request.arrived && *at < until);
                match commit {
                    Some((_, at)) => windows.extend((*at - request.arrived).to_std()),
                    None => open.cut.push((account, request.arrived)),
                }
            }
        }
        windows.sort();
        // A window is open at a kill when its request came in the life that the kill ended.
        let hit = |life: &[Life]| {
            let (begun, end) = (life[0].begun, life[1].begun);
            open.cut.iter().any(|(_, at)| *at >= begun && *at < end)
        };
        open.kills = self.lives.windows(2).filter(|pair| hit(pair)).count();
        (windows, open)
    }

    /// The longest time between two requests of an account that a lease does not explain. The
    /// callers never stop asking, and tokens live for seconds. A kill after the lease had lapsed
    /// may have hit the next attempt before its request arrived: from there a new lease counts.
    fn longest_silence(&self, asked: &[Asked]) -> Duration {
        let lease = chrono::TimeDelta::from_std(LEASE).unwrap_or_default();
        let mut last: HashMap<usize, DateTime<Utc>> = HashMap::new();
        let mut longest = Duration::ZERO;
        for request in asked {
            let Some(mut since) = last.insert(request.account, request.arrived) else {
                continue;
            };
            let during = |at: DateTime<Utc>| at > since && at < request.arrived;
            let lost = |loss: &Loss| loss.account == request.account && during(loss.seen);
            if self.lost.iter().any(lost) {
                continue;
            }
            for life in &self.lives {
                if life.begun > since + lease && life.begun < request.arrived {
                    since = life.begun;
                }
            }
            longest = longest.max((request.arrived - since).to_std().unwrap_or_default());
        }
        longest
    }
}

/// Windows that a kill cut.
#[derive(Debug, Default)]
struct Open {
    kills: usize,
    cut: Vec<(usize, DateTime<Utc>)>,
}

impl Open {
    fn explains(&self, loss: &Loss) -> bool {
        self.cut.iter().any(|(account, at)| {
            *account == loss.account && *at >= loss.granted && *at <= loss.seen
        })
    }
}

impl Moment {
    fn word(self) -> &'static str {
        match self {
            Self::Starting => "while it starts",
            Self::Any => "at any time",
            Self::Arrived => "after a request arrived",
            Self::Answered => "after an answer left",
        }
    }
}
