//! `tieline sandbox`: Microsoft, locally.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::Utc;
use serde::Serialize;
use tieline_sandbox::seed::Seed;
use tieline_sandbox::{Clock, Options, Sandbox};

use crate::commands::Session;
use crate::config::{Settings, Sources};
use crate::exit::Exit;
use crate::output::{self, say};
use crate::{files, signals};

/// Where the sandbox listens unless told otherwise.
pub(crate) const LISTEN: &str = "127.0.0.1:8430";

/// What it is made of.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address; it answers over https
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN)]
    listen: SocketAddr,
    /// Tenants, applications, users and organizations [default: what --print-seed prints]
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// Print the default seed, as a start for one of your own
    #[arg(long)]
    print_seed: bool,
    /// Another name to answer to, such as login.microsoftonline.com; can be repeated
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Print one JSON object on one line when it answers
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether the command only prints and needs nothing.
    pub(crate) fn only_prints(&self) -> bool {
        self.print_seed
    }
}

#[derive(Debug, Serialize)]
struct Up<'a> {
    origin: &'a str,
    ca_file: &'a Path,
    hosts: &'a [String],
}

/// Data of its own, beside that of a server.
pub(crate) fn adjust(settings: &mut Settings, _sources: &Sources) {
    if settings.data_dir == Path::new("tieline-data") {
        settings.data_dir = PathBuf::from("tieline-data/sandbox");
    }
}

/// Prints the default seed.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn print_seed() -> anyhow::Result<Exit> {
    output::line(Seed::default_text().trim_end())?;
    Ok(Exit::Done)
}

/// Runs until a signal.
///
/// # Errors
/// When the seed cannot be understood or the listener cannot be had.
pub(crate) async fn run(args: Args, session: Session) -> anyhow::Result<Exit> {
    let stop = signals::stop_on_signal()?;
    let data_dir = session.settings.data_dir;
    files::private_directory(&data_dir)?;
    let sandbox = Sandbox::start(Options {
        listen: args.listen,
        data_dir: Some(data_dir),
        seed: seed(args.seed.as_deref())?,
        hosts: args.hosts.clone(),
        clock: clock(),
    })
    .await
    .with_context(|| format!("failed to start the sandbox on {}", args.listen))?;
    if args.json {
        output::json_line(&Up {
            origin: sandbox.origin(),
            ca_file: sandbox.ca_file(),
            hosts: &args.hosts,
        })?;
    } else {
        output::line(&announcement(&sandbox, &args.hosts))?;
    }
    stop.cancelled().await;
    sandbox.shutdown().await;
    say("the sandbox has stopped");
    Ok(Exit::Done)
}

/// A seed from a file, or the default one.
///
/// # Errors
/// When it cannot be read or understood.
pub(crate) fn seed(file: Option<&Path>) -> anyhow::Result<Seed> {
    let Some(path) = file else {
        return Ok(Seed::default());
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read the seed {}", path.display()))?;
    Seed::parse(&text).with_context(|| format!("failed to understand the seed {}", path.display()))
}

/// The sandbox's clock: this machine's.
pub(crate) fn clock() -> Clock {
    Clock::new(Utc::now)
}

fn announcement(sandbox: &Sandbox, hosts: &[String]) -> String {
    let (origin, ca) = (sandbox.origin(), sandbox.ca_file().display());
    let mut text = format!(
        "The sandbox answers at {origin} (Entra ID and the Dataverse Web API).\n\
         \n\
         Its certificates are signed by an authority of its own. To trust it:\n\
         \x20 curl            curl --cacert {ca} {origin}/\n\
         \x20 Node            NODE_EXTRA_CA_CERTS={ca}\n\
         \x20 Python          REQUESTS_CA_BUNDLE={ca}  SSL_CERT_FILE={ca}\n\
         \x20 Tieline         --ca-file {ca} --allow-loopback\n\
         \x20 Debian          cp {ca} /usr/local/share/ca-certificates/tieline-sandbox.crt && \
         update-ca-certificates\n"
    );
    if !hosts.is_empty() {
        let names = hosts.join(" ");
        let address = sandbox.address();
        text.push_str(&format!(
            "\nIt answers to {names} as well, once /etc/hosts says so:\n  {}  {names}\n\
             and something leads port 443 to {address}.\n",
            address.ip()
        ));
    }
    text.push_str(
        "\nIt has well-known users and secrets: keep it on this machine. Ctrl-C ends it.",
    );
    text
}
