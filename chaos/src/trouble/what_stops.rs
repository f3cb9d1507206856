//! A database that freezes, stops, writes nothing, or is held by somebody else.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::database::Kind;
use crate::process::Process;
use crate::proxy::{Event, Hold, next};
use crate::report::Findings;
use crate::service::Rules;
use crate::trouble::scene::{ENDING, Good, Row, Scene, plan};
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Frozen,
    Stopped,
    ReadOnly,
    /// It stops when an answer is on its way, and stays away.
    StoppedBeforeCommit,
    /// The same, frozen.
    FrozenBeforeCommit,
    Locked,
    /// It is locked when an answer is on its way.
    LockedBeforeCommit,
}

impl Way {
    pub(crate) const ALL: [Self; 7] = [
        Self::Frozen,
        Self::Stopped,
        Self::ReadOnly,
        Self::StoppedBeforeCommit,
        Self::FrozenBeforeCommit,
        Self::Locked,
        Self::LockedBeforeCommit,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Frozen => "database frozen, 12 s",
            Self::Stopped => "database stopped, 12 s",
            Self::ReadOnly => "database refuses writes, 12 s",
            Self::StoppedBeforeCommit => "database stopped before a commit, 40 s",
            Self::FrozenBeforeCommit => "database frozen before a commit, 40 s",
            Self::Locked => "database locked by another process, 20 s",
            Self::LockedBeforeCommit => "database locked before a commit, 40 s",
        }
    }

    fn database(self) -> Kind {
        match self {
            Self::Locked | Self::LockedBeforeCommit => Kind::Sqlite,
            _ => Kind::Postgres,
        }
    }
}

pub(crate) async fn run(way: Way, program: &Path, findings: &mut Findings) -> anyhow::Result<Row> {
    let world = World::make(plan(program, way.database(), Rules::Strict, None)).await?;
    let mut scene = Scene::open(way.name(), world, &[]).await?;
    match way {
        Way::Frozen => {
            cluster(&scene)?.freeze()?;
            scene.last(12).await;
            cluster(&scene)?.thaw()?;
        }
        Way::Stopped => {
            cluster(&scene)?.halt()?;
            scene.last(12).await;
            cluster(&scene)?.go()?;
        }
        Way::ReadOnly => {
            writes(&scene, "on")?;
            scene.last(12).await;
            writes(&scene, "off")?;
        }
        Way::StoppedBeforeCommit => {
            hold_an_answer(&scene).await?;
            cluster(&scene)?.halt()?;
            scene.world.proxy.hold(Hold::Pass);
            scene.last(40).await;
            cluster(&scene)?.go()?;
        }
        Way::FrozenBeforeCommit => {
            hold_an_answer(&scene).await?;
            cluster(&scene)?.freeze()?;
            scene.world.proxy.hold(Hold::Pass);
            scene.last(40).await;
            cluster(&scene)?.thaw()?;
        }
        Way::Locked => {
            let lock = lock(&scene)?;
            scene.last(20).await;
            lock.kill()?;
        }
        Way::LockedBeforeCommit => {
            hold_an_answer(&scene).await?;
            let lock = lock(&scene)?;
            scene.world.proxy.hold(Hold::Pass);
            scene.last(40).await;
            lock.kill()?;
        }
    }
    scene.close(Good::Untouched, findings).await
}

fn cluster(scene: &Scene) -> anyhow::Result<&crate::database::Cluster> {
    scene.world.cluster.as_ref().context("no PostgreSQL")
}

/// Sessions take the new default with their next transaction.
fn writes(scene: &Scene, read_only: &str) -> anyhow::Result<()> {
    let cluster = cluster(scene)?;
    let sql = format!("ALTER SYSTEM SET default_transaction_read_only = {read_only}");
    cluster.sql(&sql)?;
    cluster.sql("SELECT pg_reload_conf()").map(|_| ())
}

/// Waits for a request of the account whose tokens end, and keeps its answer.
pub(crate) async fn hold_an_answer(scene: &Scene) -> anyhow::Result<()> {
    // So that the answer is still here when its request was noticed.
    scene.world.proxy.keep_each(Duration::from_secs(1));
    let mut events = scene.world.proxy.events();
    let arrived = |event: &Event| *event == Event::Arrived(ENDING);
    let event = next(&mut events, arrived, Duration::from_secs(30)).await;
    event.context("no request for a token came")?;
    scene.world.proxy.hold(Hold::Keep);
    scene.world.proxy.keep_each(Duration::ZERO);
    // So that it has been carried out.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}

/// Another process begins to write, and does not end.
fn lock(scene: &Scene) -> anyhow::Result<Process> {
    let mut command = Command::new("sqlite3");
    for first in [".timeout 10000", "BEGIN IMMEDIATE;", ".shell echo held"] {
        command.args(["-cmd", first]);
    }
    // Then it reads from stdin, where nothing comes.
    command.arg(scene.world.data(0).join("tieline.db"));
    let process = Process::start("sqlite3", &mut command)?;
    process.line()?;
    Ok(process)
}
