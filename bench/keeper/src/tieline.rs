//! The real server: started, asked, killed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// A running server.
pub struct Server {
    /// Where applications call.
    pub gateway: String,
    /// From the start of the process to its word that it serves.
    pub started_in: Duration,
    child: Child,
}

/// How servers are started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Its database; none for SQLite in the data directory.
    pub database_url: Option<String>,
    /// The authority it trusts.
    pub authority: PathBuf,
}

impl Launch {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("TIELINE_DATA_DIR", &self.data_dir)
            .env("TIELINE_OUTBOUND_ALLOW_LOOPBACK", "true")
            .env("TIELINE_OUTBOUND_CA_FILE", &self.authority)
            .env("TIELINE_ADMIN_PASSWORD", "a long enough password")
            .env(
                "TIELINE_LOG_LEVEL",
                std::env::var("BENCH_LOG").unwrap_or("warn,tieline::commands=info".into()),
            )
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(url) = &self.database_url {
            command.env("TIELINE_DATABASE_URL", url);
        }
        command
    }

    /// Makes keys and tables.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        let done = self.command(&["migrate"]).output().await?;
        if !done.status.success() {
            bail!(
                "tieline migrate failed: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        Ok(())
    }

    /// Another server on the same database: a data directory of its own, with the same keys.
    pub fn beside(&self, data_dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data_dir)?;
        let keys = data_dir.join("master.keys");
        std::fs::copy(self.data_dir.join("master.keys"), &keys)?;
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode(0o700))?;
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            ..self.clone()
        })
    }

    /// Starts a server and waits until it serves.
    pub async fn serve(&self) -> anyhow::Result<Server> {
        let (console, gateway) = (free_port()?, free_port()?);
        let (at_console, at_gateway) = (
            format!("127.0.0.1:{console}"),
            format!("127.0.0.1:{gateway}"),
        );
        let begun = Instant::now();
        let mut child = self
            .command(&["serve", "--console", &at_console, "--gateway", &at_gateway])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("tieline does not start")?;
        let mut lines = BufReader::new(child.stderr.take().context("stderr")?).lines();
        let mut said = String::new();
        loop {
            match lines.next_line().await? {
                Some(line) if line.contains("serving") => break,
                Some(line) => said.push_str(&format!("{line}\n")),
                None => bail!("tieline ended: {said}"),
            }
        }
        let started_in = begun.elapsed();
        let loud = std::env::var("BENCH_LOG").is_ok();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if loud {
                    eprintln!("{line}");
                }
            }
        });
        Ok(Server {
            gateway: format!("http://{at_gateway}"),
            started_in,
            child,
        })
    }
}

impl Server {
    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Ends it as a power cut would.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}
