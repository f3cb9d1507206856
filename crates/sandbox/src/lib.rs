//! Microsoft, locally: Entra ID and the Dataverse Web API over https, for demos, tests and
//! rehearsals.
//!
//! It shares no code with the rest of Tieline: otherwise both sides could share one
//! misunderstanding of the wire. What is deliberately absent: anything that only our own client
//! would need.

// Tests inside and outside of the crate start it with the same helper.
#[cfg(test)]
extern crate self as tieline_sandbox;

mod clock;
mod control;
mod dataverse;
mod entra;
mod faults;
mod fields;
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod scenario;
pub mod seed;
mod serve;
mod state;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use crate::clock::{Clock, TooFar};
use crate::control::journal::Journal;
use crate::dataverse::Organizations;
use crate::dataverse::limits::Limits;
use crate::entra::Directory;
use crate::faults::Faults;
pub use crate::fields::Problem;
pub use crate::limits::{LimitMode, LimitOptions};
use crate::scenario::Player;
pub use crate::scenario::{Scenario, ScenarioError};
use crate::seed::Seed;
use crate::state::State;

/// What a sandbox is made of.
#[derive(Debug)]
pub struct Options {
    /// Address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where its certificate authority, tokens and rows are kept; none keeps them in memory, and
    /// the authority's certificate in a temporary directory of its own.
    pub data_dir: Option<PathBuf>,
    /// Tenants, applications, users, organizations.
    pub seed: Seed,
    /// More names to answer to, besides `localhost`.
    pub hosts: Vec<String>,
    /// Where the present moment comes from.
    pub clock: Clock,
    /// Whether there is a control page and API under `/_sandbox`.
    pub control: Control,
    /// Service protection limits at the start.
    pub limits: LimitOptions,
    /// What is played from the start on.
    pub scenario: Option<Scenario>,
}

impl Options {
    /// A sandbox as it is when nothing is asked for: the default seed on a free port of this
    /// machine, in memory, with Microsoft's limits and without a control page.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: None,
            seed: Seed::default(),
            hosts: Vec::new(),
            clock,
            control: Control::Off,
            limits: LimitOptions::default(),
            scenario: None,
        }
    }
}

/// Whether a sandbox can be looked into and made to misbehave over its own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Control {
    /// There is nothing under `/_sandbox`.
    #[default]
    Off,
    /// Page and API, for whoever is on the same machine.
    On,
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The seed contradicts itself.
    #[error("the seed cannot be used: {0}")]
    Seed(#[from] seed::SeedError),
    /// The listener cannot be had.
    #[error("{address} cannot be listened on: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificates could not be made or read.
    #[error("the certificates cannot be used: {0}")]
    Certificates(String),
    /// The sandbox's own database failed.
    #[error("the sandbox's database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// A file could not be written.
    #[error("a file cannot be written: {0}")]
    File(#[from] std::io::Error),
}

/// What every handler holds.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) directory: Directory,
    pub(crate) organizations: Organizations,
    pub(crate) state: State,
    pub(crate) clock: Clock,
    /// Host and port of the sandbox's own address.
    pub(crate) authority: String,
    /// Every name that it answers to.
    pub(crate) hosts: Vec<String>,
    pub(crate) control: Control,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    pub(crate) limits: Arc<Limits>,
    pub(crate) player: Player,
}

/// The name under which Microsoft's own clients sign in.
const MICROSOFT: &str = "login.microsoftonline.com";

impl World {
    /// Where to sign in, for somebody who asks at an address: Microsoft's name when the sandbox
    /// answers to it as well, else its own.
    pub(crate) fn login_at(&self, asked: &str) -> String {
        let host = asked.split(':').next().unwrap_or_default();
        let own = host == "localhost" || host == "127.0.0.1" || host.starts_with('[');
        if own || !self.hosts.iter().any(|name| name == MICROSOFT) {
            return self.authority.clone();
        }
        match self.authority.split_once(':') {
            Some((_, port)) => format!("{MICROSOFT}:{port}"),
            None => MICROSOFT.to_owned(),
        }
    }
}

/// A running sandbox. Dropping it ends it.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    origin: String,
    ca_file: PathBuf,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    _temporary: Option<tempfile::TempDir>,
    #[cfg(test)]
    world: Arc<World>,
}

impl Sandbox {
    /// Starts a sandbox; it answers when this returns.
    ///
    /// # Errors
    /// When the seed contradicts itself, the address is taken, or a file cannot be written.
    pub async fn start(options: Options) -> Result<Self, SandboxError> {
        let Options {
            listen,
            data_dir,
            seed,
            hosts,
            clock,
            control,
            limits,
            scenario,
        } = options;
        seed.check()?;
        let failed = |source| SandboxError::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let authority = match address.port() {
            // The port that every client leaves out.
            443 => "localhost".to_owned(),
            port => format!("localhost:{port}"),
        };

        let names = names(&seed, &hosts);
        let certificates = tls::prepare(data_dir.as_deref(), &names, address.ip(), clock.now())?;
        let state = State::open(data_dir.as_deref())?;
        let organizations = Organizations::open(&seed, data_dir.as_deref(), &clock)?;
        let directory = Directory::open(seed, &state, &clock)?;
        let world = Arc::new(World {
            directory,
            organizations,
            state,
            limits: Limits::new(limits.rules(), clock.clone()),
            clock,
            authority: authority.clone(),
            hosts: names,
            control,
            journal: match control {
                Control::Off => Journal::off(),
                Control::On => Journal::on(),
            },
            faults: Faults::default(),
            player: Player::default(),
        });
        if let Some(scenario) = scenario {
            world.player.start(&world, scenario);
        }

        let stop = CancellationToken::new();
        let router = serve::router(Arc::clone(&world));
        let serving = serve::serve(
            router,
            listener,
            Arc::clone(&certificates.server),
            stop.clone(),
        );
        let task = tokio::spawn(serving);
        let origin = format!("https://{authority}");
        Ok(Self {
            address,
            origin,
            ca_file: certificates.ca_file,
            stop,
            task: Some(task),
            _temporary: certificates.temporary,
            #[cfg(test)]
            world,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as clients use it, such as `https://localhost:8430`: authority of every tenant,
    /// and address of the first organization.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The certificate of its authority, PEM.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Ends it; answers in flight are finished.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // A task that panicked has said so already.
            let _ = task.await;
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Every name that the certificate must hold.
fn names(seed: &Seed, hosts: &[String]) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    let of_seed = seed.tenants.iter().flat_map(|tenant| &tenant.organizations);
    for name in hosts
        .iter()
        .chain(of_seed.flat_map(|organization| &organization.hosts))
    {
        let name = name.to_ascii_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
