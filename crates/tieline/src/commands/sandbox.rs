//! `tieline sandbox`: Microsoft, locally.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::Utc;
use serde::Serialize;
use tieline_sandbox::seed::Seed;
use tieline_sandbox::{Clock, Control, LimitMode, LimitOptions, Options, Sandbox, Scenario};

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
    /// Serve a control page and API under /_sandbox, to this machine only
    #[arg(long)]
    control: bool,
    /// A bad day to play from the start on; docs/scenarios has examples
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Service protection limits: off, microsoft, or Microsoft's numbers times a factor
    #[arg(long, value_name = "off|microsoft|FACTOR", default_value = "microsoft", value_parser = str::parse::<LimitMode>)]
    limits: LimitMode,
    /// Web servers of an organization; each counts limits for itself
    #[arg(long, value_name = "N", default_value = "1")]
    web_servers: NonZeroU16,
    /// Degree of parallelism that answers recommend (x-ms-dop-hint)
    #[arg(long, value_name = "N", default_value = "4")]
    dop_hint: NonZeroU16,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<String>,
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
    let sandbox = Sandbox::start(options(&args, data_dir)?)
        .await
        .with_context(|| format!("failed to start the sandbox on {}", args.listen))?;
    let control = args
        .control
        .then(|| format!("{}/_sandbox/", sandbox.origin()));
    if args.json {
        output::json_line(&Up {
            origin: sandbox.origin(),
            ca_file: sandbox.ca_file(),
            hosts: &args.hosts,
            control,
        })?;
    } else {
        output::line(&announcement(&sandbox, &args.hosts, control.as_deref()))?;
    }
    stop.cancelled().await;
    sandbox.shutdown().await;
    say("the sandbox has stopped");
    Ok(Exit::Done)
}

fn options(args: &Args, data_dir: PathBuf) -> anyhow::Result<Options> {
    Ok(Options {
        listen: args.listen,
        data_dir: Some(data_dir),
        seed: seed(args.seed.as_deref())?,
        hosts: args.hosts.clone(),
        control: if args.control {
            Control::On
        } else {
            Control::Off
        },
        limits: LimitOptions {
            mode: args.limits,
            web_servers: args.web_servers,
            dop_hint: args.dop_hint,
        },
        scenario: args.scenario.as_deref().map(scenario).transpose()?,
        ..Options::new(clock())
    })
}

fn scenario(path: &Path) -> anyhow::Result<Scenario> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read the scenario {}", path.display()))?;
    Scenario::parse(&text)
        .with_context(|| format!("failed to understand the scenario {}", path.display()))
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

fn announcement(sandbox: &Sandbox, hosts: &[String], control: Option<&str>) -> String {
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
            "\nIt answers to {names} as well, once /etc/hosts says so:\n  {}  {names}\n",
            address.ip()
        ));
        if address.port() != 443 {
            text.push_str(&format!("and something leads port 443 to {address}.\n"));
        }
    }
    if let Some(control) = control {
        text.push_str(&format!("\nIts control page is {control}\n"));
    }
    text.push_str(
        "\nIt has well-known users and secrets: keep it on this machine. Ctrl-C ends it.",
    );
    text
}
