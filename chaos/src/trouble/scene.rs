//! The play that every trouble is: two accounts, one with a token that is good for an hour and one
//! whose tokens end every few seconds, a caller of each, and three acts.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::callers::Callers;
use crate::database::Kind;
use crate::proxy::{Event, next};
use crate::report::{Counts, Findings};
use crate::service::Rules;
use crate::world::{Plan, Server, World};

/// Life of the tokens that end.
pub(crate) const SECONDS: u32 = 8;
/// Whoever was in trouble is well again within this.
const RECOVERY: Duration = Duration::from_secs(60);
/// The account whose token is good.
pub(crate) const GOOD: usize = 0;
/// The account whose tokens end.
pub(crate) const ENDING: usize = 1;

pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) world: World,
    pub(crate) server: Server,
    pub(crate) callers: Callers,
    pub(crate) row: Row,
}

/// A row of the table.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) on: String,
    pub(crate) good: String,
    pub(crate) ending: String,
    pub(crate) state: String,
    pub(crate) back: String,
    pub(crate) lost: String,
}

/// Whether the account with a good token may be disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Good {
    Untouched,
    /// The trouble is about the server itself.
    Touched,
}

impl Row {
    pub(crate) fn cells(&self) -> [String; 7] {
        [
            self.name.clone(),
            self.on.clone(),
            self.good.clone(),
            self.ending.clone(),
            self.state.clone(),
            self.back.clone(),
            self.lost.clone(),
        ]
    }
}

/// A plan for two accounts.
pub(crate) fn plan(program: &Path, database: Kind, rules: Rules, data: Option<PathBuf>) -> Plan {
    Plan {
        program: program.to_owned(),
        database,
        rules,
        accounts: 2,
        seconds: SECONDS,
        data,
    }
}

impl Scene {
    /// Everybody is well.
    pub(crate) async fn open(
        name: &'static str,
        world: World,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut world = world;
        let server = world.server_with(0, environment).await?;
        let targets = [world.target(GOOD), world.target(ENDING)];
        let callers = Callers::start(&server.gateway, &world.key, &[], Duration::ZERO);
        let on = format!(
            "{}, {}",
            world.plan.database.word(),
            world.plan.rules.word()
        );
        let row = Row {
            name: name.to_owned(),
            on,
            ..Row::default()
        };
        let mut scene = Self {
            name,
            world,
            server,
            callers,
            row,
        };
        if scene.world.plan.rules != Rules::OidcProvider {
            scene.give_a_good_token().await?;
            // Whatever the schedule brought meanwhile may be good for an hour as well.
            scene.world.reconnect(&scene.server, ENDING).await?;
        }
        let think = Duration::from_millis(100);
        let since = Instant::now();
        scene.callers = Callers::start(&scene.server.gateway, &scene.world.key, &targets, think);
        let missing = scene
            .callers
            .all_good(&[GOOD, ENDING], since, RECOVERY)
            .await;
        let seen = scene.callers.answers().text();
        anyhow::ensure!(
            missing.is_empty(),
            "{missing:?} are not well to begin with: {seen}"
        );
        scene.see_tokens_end().await?;
        scene.callers.forget();
        Ok(scene)
    }

    /// Without renewals there would be no trouble.
    async fn see_tokens_end(&self) -> anyhow::Result<()> {
        let mut events = self.world.proxy.events();
        for _ in 0..2 {
            let arrived = |event: &Event| *event == Event::Arrived(ENDING);
            let event = next(&mut events, arrived, RECOVERY / 2).await;
            anyhow::ensure!(event.is_some(), "no token ends");
        }
        Ok(())
    }

    /// One token of an hour, and then short ones again.
    async fn give_a_good_token(&self) -> anyhow::Result<()> {
        let life = |seconds: u32| json!({"action": "token-lifetime", "seconds": seconds});
        self.world.service.control("/entra", &life(3600)).await?;
        // What the schedule brought before is no token of an hour.
        self.world.reconnect(&self.server, GOOD).await?;
        let targets = [self.world.target(GOOD)];
        let since = Instant::now();
        let think = Duration::from_millis(50);
        let caller = Callers::start(&self.server.gateway, &self.world.key, &targets, think);
        let missing = caller.all_good(&[0], since, RECOVERY).await;
        anyhow::ensure!(
            missing.is_empty(),
            "no good token: {}",
            caller.answers().text()
        );
        self.world.service.control("/entra", &life(SECONDS)).await?;
        Ok(())
    }

    /// The trouble lasts. What the state says is read at its end.
    pub(crate) async fn last(&mut self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.row.state = self.state().await;
    }

    async fn state(&self) -> String {
        match self.world.states(&self.server).await {
            Ok(states) => {
                let state = &states[ENDING];
                format!("{} ({})", state.state, state.reason)
            }
            Err(error) => {
                let text = format!("{error:#}");
                let status = text.split(": ").nth(1).unwrap_or("no answer");
                let status = status.split(' ').next().unwrap_or_default();
                match status.parse::<u16>() {
                    Ok(status) => format!("the API answers {status}"),
                    Err(_) => "the API does not answer".to_owned(),
                }
            }
        }
    }

    /// The trouble is over: everybody has to be well, and nothing may be lost.
    pub(crate) async fn close(
        mut self,
        good: Good,
        findings: &mut Findings,
    ) -> anyhow::Result<Row> {
        let name = self.name;
        let over = Instant::now();
        let missing = self.callers.all_good(&[GOOD, ENDING], over, RECOVERY).await;
        self.row.back = format!("{:.1} s", over.elapsed().as_secs_f64());
        let seen = self.callers.seen();
        self.row.good = share(&seen[GOOD].answers);
        self.row.ending = share(&seen[ENDING].answers);
        let states = self.world.states(&self.server).await?;
        let lost = states.iter().filter(|s| s.state == "needs_consent").count();
        self.row.lost = match lost {
            0 => "nothing".to_owned(),
            lost => format!("{lost} accounts"),
        };
        findings.expect(missing.is_empty(), || {
            let states: Vec<_> = states
                .iter()
                .map(|s| format!("{} {}", s.state, s.reason))
                .collect();
            self.row.back = "–".to_owned();
            eprintln!("{}", trouble_told(&self.server.process.log()));
            format!(
                "{name}: {missing:?} not well a minute later: {}",
                states.join(", ")
            )
        });
        findings.expect(lost == 0, || format!("{name}: {lost} accounts lost"));
        let failed = seen[GOOD].answers.total() - seen[GOOD].answers.of("200");
        findings.expect(good == Good::Touched || failed == 0, || {
            format!(
                "{name}: a good token did not help: {}",
                seen[GOOD].answers.text()
            )
        });
        let again = self.world.proxy.again();
        findings.expect(self.world.plan.rules == Rules::Entra || again == 0, || {
            format!("{name}: {again} refresh tokens arrived twice")
        });
        drop(self.callers);
        let (code, log) = self.server.process.stop().await?;
        findings.expect(code == 0, || {
            format!("{name}: the server ended with {code}")
        });
        let panicked = log.iter().find(|line| line.contains("panicked"));
        findings.expect(panicked.is_none(), || format!("{name}: {panicked:?}"));
        self.world.check()?;
        Ok(self.row)
    }
}

/// The last different warnings and errors of a server, for whoever looks for the reason.
fn trouble_told(log: &[String]) -> String {
    let mut told: Vec<&String> = Vec::new();
    for line in log.iter().rev().filter(|line| !line.contains("\"INFO\"")) {
        let shown = |line: &str| {
            line.split_once("\"level\"")
                .map(|(_, rest)| rest.to_owned())
        };
        if !told.iter().any(|known| shown(known) == shown(line)) {
            told.push(line);
        }
    }
    told.iter()
        .take(8)
        .map(|line| format!("  {line}\n"))
        .collect()
}

/// What a caller saw: all, or how many of each.
fn share(answers: &Counts) -> String {
    if answers.of("200") == answers.total() {
        "200 only".to_owned()
    } else {
        answers.text()
    }
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| trouble | database, token service | callers with a good token | callers whose token ends \
         | state shown | well again after | lost |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        text.push_str(&format!("| {} |\n", row.cells().join(" | ")));
    }
    text
}
