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
    /// By account's identifier: when a token was marked as being spent, and when what came for it
    /// was stored.
    marks: Vec<(String, DateTime<Utc>)>,
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
    /// The mark that stood in the database.
    marked: Option<DateTime<Utc>>,
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
            marks: Vec::new(),
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
            let list = match line["message"].as_str() {
                Some("a lease was taken") => &mut life.marks,
                Some("a token was renewed") => &mut life.commits,
                _ => continue,
            };
            let at = line["timestamp"]
                .as_str()
                .and_then(|text| text.parse().ok());
            let account = line["account"].as_str();
            if let (Some(at), Some(account)) = (at, account) {
                list.push((account.to_owned(), at));
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
                marked: self.world.marked(account)?,
            });
            // Before it is given: the next renewal may begin before this hears of the consent.
            self.granted[account] = Utc::now();
            self.world.reconnect(server, account).await?;
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
        let windows = self.windows(&asked);
        let unexplained: Vec<&Loss> = self.lost.iter().filter(|l| !windows.explain(l)).collect();
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
        let refused = self.world.service.refusals();
        self.findings.expect(refused.is_empty(), || {
            format!("oidc-provider refused: {}", refused.join(" "))
        });
        let longest = self.longest_silence(&asked);
        self.findings.expect(longest <= LEASE + SLACK, || {
            format!("an account was stuck for {} s", longest.as_secs())
        });
        let strangers = asked.iter().filter(|a| a.account == usize::MAX).count();
        self.findings.expect(strangers == 0, || {
            format!("{strangers} requests with unknown tokens")
        });
        self.say(callers, args, begun, &asked, &windows, longest);
        self.findings.end()
    }

    fn say(
        &self,
        callers: &Callers,
        args: &Args,
        begun: Instant,
        asked: &[Asked],
        windows: &Windows,
        longest: Duration,
    ) {
        let mut reasons = Counts::default();
        self.lost.iter().for_each(|loss| reasons.add(&loss.reason));
        let (server, database) = (args.server.word(), args.database.word());
        println!("kill -9, {server} on {database}, seed {}", args.seed);
        println!("kills: {} ({})", args.kills, self.moments.text());
        println!(
            "renewals asked for: {}; committed: {}",
            asked.len(),
            windows.whole.len()
        );
        println!(
            "refresh tokens that arrived again: {}",
            self.world.proxy.again()
        );
        println!(
            "kills that met a window: {}; windows cut: {} after the request arrived, {} before",
            windows.kills,
            windows.cut.len(),
            windows.cut_before.len()
        );
        println!("accounts lost: {} ({})", self.lost.len(), reasons.text());
        for (what, times) in [
            ("window, from the mark to the commit", &windows.whole),
            ("of that until the request arrived", &windows.before),
            ("of that after the request arrived", &windows.after),
        ] {
            println!(
                "{what}: p50 {} ms, p99 {} ms, longest {} ms",
                ms(percentile(times, 50)),
                ms(percentile(times, 99)),
                ms(percentile(times, 100)),
            );
        }
        println!(
            "longest silence of an account: {:.1} s",
            longest.as_secs_f64()
        );
        println!("answers to callers: {}", callers.answers().text());
        println!("took {} s", begun.elapsed().as_secs());
    }

    /// How long each renewal took from the mark to the commit and how much of that before the
    /// request had arrived, and which were cut by a kill. What belongs to a mark comes before the
    /// account's next one.
    fn windows(&self, asked: &[Asked]) -> Windows {
        let mut windows = Windows::default();
        let all = |of: fn(&Life) -> &Vec<(String, DateTime<Utc>)>, id: &str| {
            let lines = self.lives.iter().flat_map(of);
            let mut times: Vec<_> = lines
                .filter(|(of, _)| of == id)
                .map(|(_, at)| *at)
                .collect();
            times.sort();
            times
        };
        for (account, id) in self.world.accounts.iter().enumerate() {
            let marks = all(|life| &life.marks, id);
            let commits = all(|life| &life.commits, id);
            let good = |at: &&Asked| at.account == account && matches!(at.status, 0 | 200);
            let arrivals: Vec<_> = asked.iter().filter(good).map(|at| at.arrived).collect();
            for (number, mark) in marks.iter().enumerate() {
                let until = marks.get(number + 1).copied().unwrap_or_else(Utc::now);
                let within = |at: &&DateTime<Utc>| **at > *mark && **at < until;
                let arrived = arrivals.iter().find(within);
                match (arrived, commits.iter().find(within)) {
                    (Some(arrived), Some(commit)) => {
                        windows.whole.extend((*commit - *mark).to_std());
                        windows.before.extend((*arrived - *mark).to_std());
                        windows.after.extend((*commit - *arrived).to_std());
                    }
                    (Some(_), None) => windows.cut.push((account, *mark)),
                    (None, _) => windows.cut_before.push((account, *mark)),
                }
            }
        }
        windows.whole.sort();
        windows.before.sort();
        windows.after.sort();
        // A window is open at a kill when it began in the life that the kill ended.
        let hit = |life: &[Life]| {
            let (begun, end) = (life[0].begun, life[1].begun);
            let mut cut = windows.cut.iter().chain(&windows.cut_before);
            cut.any(|(_, at)| *at >= begun && *at < end)
        };
        windows.kills = self.lives.windows(2).filter(|pair| hit(pair)).count();
        windows
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

/// The times in which a refresh token can be lost: from the mark, which is written before it is
/// sent, to the commit of what came for it.
#[derive(Debug, Default)]
struct Windows {
    whole: Vec<Duration>,
    /// The part before the request arrived.
    before: Vec<Duration>,
    /// The part after that.
    after: Vec<Duration>,
    /// Kills that met at least one.
    kills: usize,
    /// Cut by a kill after the request had arrived, and before.
    cut: Vec<(usize, DateTime<Utc>)>,
    cut_before: Vec<(usize, DateTime<Utc>)>,
}

impl Windows {
    fn explain(&self, loss: &Loss) -> bool {
        let within = |at: DateTime<Utc>| at >= loss.granted && at <= loss.seen;
        let mut cut = self.cut.iter().chain(&self.cut_before);
        // A kill may come between the commit of a mark and the log's line about it; then only the
        // database knows of the mark.
        cut.any(|(account, at)| *account == loss.account && within(*at))
            || loss.marked.is_some_and(within)
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
