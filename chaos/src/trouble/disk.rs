//! Disks that are full, and files that cannot be written. Small file systems in memory stand in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use crate::database::{Kind, is_root};
use crate::process::run as command;
use crate::report::Findings;
use crate::service::Rules;
use crate::trouble::scene::{Good, Row, Scene, plan};
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    FullSqlite,
    FullPostgres,
    ReadOnlyAtStart,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::FullSqlite, Self::FullPostgres, Self::ReadOnlyAtStart];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FullSqlite => "disk full, 15 s",
            Self::FullPostgres => "disk of PostgreSQL full, 15 s",
            Self::ReadOnlyAtStart => "file system read-only at a start",
        }
    }
}

/// A file system of its own; unmounted with this.
struct Disk {
    at: PathBuf,
    _directory: TempDir,
}

impl Disk {
    fn mount(size: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(is_root()?, "small file systems take root to mount");
        let directory = tempfile::tempdir()?;
        let at = directory.path().join("disk");
        std::fs::create_dir(&at)?;
        let size = format!("size={size}");
        command(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(&at),
        )?;
        command(Command::new("chmod").arg("o+x").arg(directory.path()))?;
        Ok(Self {
            at,
            _directory: directory,
        })
    }

    /// Leaves no byte.
    fn fill(&self) {
        let file = format!("of={}", self.at.join("filler").display());
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=4k", &file]);
        // It ends because the disk is full.
        let _ = command(&mut dd);
    }

    fn empty(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.at.join("filler"))?)
    }

    fn remount(&self, how: &str) -> anyhow::Result<()> {
        let how = format!("remount,{how}");
        command(Command::new("mount").args(["-o", &how]).arg(&self.at)).map(|_| ())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = command(Command::new("umount").arg("-l").arg(&self.at));
    }
}

pub(crate) async fn run(way: Way, program: &Path, findings: &mut Findings) -> anyhow::Result<Row> {
    match way {
        Way::FullSqlite => {
            let disk = Disk::mount("24m")?;
            let data = disk.at.join("data");
            let plan = plan(program, Kind::Sqlite, Rules::Strict, Some(data));
            let mut scene = Scene::open(way.name(), World::make(plan).await?, &[]).await?;
            disk.fill();
            scene.last(15).await;
            disk.empty()?;
            scene.close(Good::Untouched, findings).await
        }
        Way::FullPostgres => {
            let disk = Disk::mount("160m")?;
            let plan = plan(program, Kind::Postgres, Rules::Strict, None);
            let world = World::make_at(plan, Some(&disk.at.join("pg"))).await?;
            let mut scene = Scene::open(way.name(), world, &[]).await?;
            disk.fill();
            let cluster = scene.world.cluster.as_ref().context("no PostgreSQL")?;
            // The rest of the present log segment would last for a while.
            let _ = cluster.sql("SELECT pg_switch_wal()");
            scene.last(15).await;
            disk.empty()?;
            let cluster = scene.world.cluster.as_ref().context("no PostgreSQL")?;
            // A server that could not write its log has ended itself; somebody starts it.
            if cluster.sql("SELECT 1").is_err() {
                tokio::time::sleep(Duration::from_secs(2)).await;
                if cluster.sql("SELECT 1").is_err() {
                    cluster.go()?;
                }
            }
            scene.close(Good::Untouched, findings).await
        }
        Way::ReadOnlyAtStart => read_only_at_start(way, program, findings).await,
    }
}

/// A server that cannot write says so and ends; nothing is harmed by the attempt.
async fn read_only_at_start(
    way: Way,
    program: &Path,
    findings: &mut Findings,
) -> anyhow::Result<Row> {
    let disk = Disk::mount("24m")?;
    let data = disk.at.join("data");
    let plan = plan(program, Kind::Sqlite, Rules::Strict, Some(data));
    let mut world = World::make(plan).await?;
    disk.remount("ro")?;
    let mut server = world.launch(0, &[])?;
    let mut code = None;
    for _ in 0..200 {
        code = server.process.ended()?;
        if code.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let log = server.process.kill()?;
    let told = log.last().cloned().unwrap_or_default();
    findings.expect(matches!(code, Some(1..)), || {
        format!("{}: the server does not end: {told}", way.name())
    });
    findings.expect(!log.iter().any(|line| line.contains("panicked")), || {
        format!("{}: {}", way.name(), log.join("\n"))
    });
    disk.remount("rw")?;
    let scene = Scene::open(way.name(), world, &[]).await?;
    let mut row = scene.close(Good::Untouched, findings).await?;
    let told = told.trim().trim_start_matches("because ").replace('|', "/");
    let place = disk.at.display().to_string();
    row.state = format!("the server ends: {}", told.replace(&place, "…"));
    Ok(row)
}
