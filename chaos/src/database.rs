//! The databases: SQLite in the data directory, or a PostgreSQL of our own that can be frozen,
//! stopped, filled and made read-only.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::process::{family, run, signal};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// A cluster in a directory of its own; it ends with this.
#[derive(Debug)]
pub(crate) struct Cluster {
    home: PathBuf,
    bin: PathBuf,
    pub(crate) port: u16,
}

impl Cluster {
    /// Makes one in a directory that does not exist yet, or is empty.
    pub(crate) fn start(home: &Path) -> anyhow::Result<Self> {
        let cluster = Self {
            home: home.to_owned(),
            bin: binaries()?,
            port: free_port()?,
        };
        std::fs::create_dir_all(home)?;
        if is_root()? {
            run(Command::new("chown").arg("postgres").arg(home))?;
            // Whoever owns the directories above need not let others in.
            for above in home.ancestors().skip(1).take(2) {
                run(Command::new("chmod").arg("o+x").arg(above))?;
            }
        }
        let mut initdb = cluster.command("initdb")?;
        initdb.args(["-U", "postgres", "-A", "trust", "--no-sync"]);
        run(initdb.args(["--encoding=UTF8", "--no-locale", "-D", "data"]))?;
        cluster.go()?;
        Ok(cluster)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts the server.
    pub(crate) fn go(&self) -> anyhow::Result<()> {
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={} -c fsync=off \
             -c max_connections=200 -c shared_buffers=32MB -c min_wal_size=32MB -c max_wal_size=32MB",
            self.port,
            self.home.display()
        );
        let mut start = self.command("pg_ctl")?;
        start.args([
            "-D",
            "data",
            "-w",
            "-t",
            "60",
            "-l",
            "server.log",
            "-o",
            &options,
            "start",
        ]);
        // The server must not hold our pipes open.
        let status = start.stdout(std::process::Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "PostgreSQL does not start");
        Ok(())
    }

    /// Stops it as a system does that is shut down.
    pub(crate) fn halt(&self) -> anyhow::Result<()> {
        let mut stop = self.command("pg_ctl")?;
        run(stop.args(["-D", "data", "-w", "-t", "60", "-m", "fast", "stop"]))?;
        Ok(())
    }

    /// Freezes all of its processes: connections stay, and nobody answers.
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        signal("-STOP", &self.processes()?)
    }

    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        signal("-CONT", &self.processes()?)
    }

    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let file = self.home.join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).context("PostgreSQL does not run")?;
        let id = text.lines().next().unwrap_or_default().trim().parse()?;
        Ok(family(id))
    }

    /// Runs SQL, as a client of its own.
    pub(crate) fn sql(&self, sql: &str) -> anyhow::Result<String> {
        run(Command::new("psql")
            .args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d"])
            .args([self.url().as_str(), "-c", sql]))
    }

    /// Removes it for good.
    pub(crate) fn end(&self) {
        let _ = self.thaw();
        if let Ok(mut stop) = self.command("pg_ctl") {
            let _ = run(stop.args(["-D", "data", "-w", "-m", "immediate", "stop"]));
        }
    }

    fn command(&self, program: &str) -> anyhow::Result<Command> {
        let program = self.bin.join(program);
        // PostgreSQL refuses to run as root.
        let mut command = if is_root()? {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.home);
        Ok(command)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn is_root() -> anyhow::Result<bool> {
    Ok(run(Command::new("id").arg("-u"))? == "0")
}

/// A port that is free now, and likely to be when it is wanted.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

/// The newest version installed.
fn binaries() -> anyhow::Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().context("PostgreSQL is not installed")
}

/// Whether a SQLite file is whole: its own check, and foreign keys.
pub(crate) fn check_sqlite(file: &Path) -> anyhow::Result<()> {
    let mut sqlite = Command::new("sqlite3");
    let sql = "PRAGMA integrity_check; PRAGMA foreign_key_check;";
    let said = run(sqlite.arg(file).arg(sql))?;
    anyhow::ensure!(said == "ok", "the database is damaged: {said}");
    Ok(())
}

/// Whether PostgreSQL's tables and indexes agree.
pub(crate) fn check_postgres(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.sql("CREATE EXTENSION IF NOT EXISTS amcheck")?;
    cluster.sql(
        "SELECT count(bt_index_check(c.oid, true)) FROM pg_class c \
         JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_am a ON a.oid = c.relam \
         WHERE a.amname = 'btree' AND c.relnamespace = 'public'::regnamespace",
    )?;
    Ok(())
}
