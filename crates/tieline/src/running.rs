//! What a running server says of itself in its data directory, so that commands on the same
//! machine know the addresses people use, and what outgoing requests may do.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tieline_app::Policy;
use url::Url;

use crate::config::Settings;
use crate::files;

const FILE: &str = "server.json";
/// A listener on this machine answers within microseconds, unless the machine is on its knees.
const KNOCK: Duration = Duration::from_secs(2);

/// A server that runs, or ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) console_url: Url,
    pub(crate) gateway_url: Url,
    /// Where the console really listens, behind whatever proxy.
    pub(crate) console_listen: SocketAddr,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) allow_loopback: bool,
    pub(crate) ca_files: Vec<PathBuf>,
}

impl Running {
    /// The server that runs on a data directory. A file that a crashed one left behind is no
    /// server: its process must exist and its console must accept connections.
    pub(crate) fn find(data_dir: &Path) -> Option<Running> {
        let text = std::fs::read_to_string(data_dir.join(FILE)).ok()?;
        let running: Running = serde_json::from_str(&text).ok()?;
        let proc = Path::new("/proc");
        let exists = !proc.is_dir() || proc.join(running.pid.to_string()).exists();
        let answers =
            || TcpStream::connect_timeout(&reachable(running.console_listen), KNOCK).is_ok();
        (exists && answers()).then_some(running)
    }

    /// Says that this process is the server.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn announce(&self, data_dir: &Path) -> anyhow::Result<Announced> {
        let path = data_dir.join(FILE);
        files::write_private(&path, &serde_json::to_string_pretty(self)?)?;
        Ok(Announced(path))
    }

    /// Lets a command call what the server may call, unless it was told otherwise already.
    pub(crate) fn share_outbound(&self, settings: &mut Settings) {
        if self.allow_loopback {
            settings.outbound.policy = Policy::LoopbackToo;
        }
        for file in &self.ca_files {
            if !settings.outbound.ca_files.contains(file) {
                settings.outbound.ca_files.push(file.clone());
            }
        }
    }
}

/// The announcement; it is taken back when this is dropped.
#[derive(Debug)]
pub(crate) struct Announced(PathBuf);

impl Drop for Announced {
    fn drop(&mut self) {
        // What is left behind is recognised as stale.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A listener on every address is reached by way of loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        ip if ip.is_ipv4() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        _ => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], address.port())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn running(listen: SocketAddr) -> Running {
        Running {
            pid: std::process::id(),
            console_url: Url::parse("http://localhost:8420").expect("a URL"),
            gateway_url: Url::parse("http://localhost:8421").expect("a URL"),
            console_listen: listen,
            started_at: Utc::now(),
            allow_loopback: true,
            ca_files: Vec::new(),
        }
    }

    #[test]
    fn a_server_is_found_while_it_listens_and_forgotten_when_it_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(Running::find(directory.path()).is_none());
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let here = running(listener.local_addr().expect("an address"));
        let announced = here.announce(directory.path()).expect("announced");
        assert!(Running::find(directory.path()).is_some());
        drop(announced);
        assert!(Running::find(directory.path()).is_none());
    }

    #[test]
    fn what_a_crash_left_behind_is_no_server() {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let here = running(listener.local_addr().expect("an address"));
        let _announced = here.announce(directory.path()).expect("announced");
        drop(listener);
        assert!(Running::find(directory.path()).is_none());
        std::fs::write(directory.path().join(FILE), "{").expect("written");
        assert!(Running::find(directory.path()).is_none());
    }
}
