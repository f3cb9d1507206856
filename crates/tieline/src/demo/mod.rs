//! `tieline demo`: the server and the sandbox in one process, wired to each other and seeded, with
//! an account that was connected by really walking the consent.

mod page;
mod report;
mod scene;
mod seeded;
mod walk;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tieline_app::Policy;
use tieline_sandbox::{Options, Sandbox};
use tokio_util::sync::CancellationToken;

use crate::commands::{Session, sandbox as sandbox_command};
use crate::config::{Settings, Sources};
use crate::exit::Exit;
use crate::output::{self, say};
use crate::runtime::{self, Listeners, Server, Upgrade};
use crate::{files, signals, telemetry};

use report::Report;
use scene::Scene;

/// Where the sandbox's part of the data is.
const SANDBOX_DIRECTORY: &str = "sandbox";

/// Settings by flag.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of console and API [default: 127.0.0.1:8420]
    #[arg(long, value_name = "ADDRESS")]
    console: Option<String>,
    /// Address of the gateway [default: 127.0.0.1:8421]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<String>,
    /// Address of the sandbox; it answers over https
    #[arg(long, value_name = "ADDRESS", default_value = sandbox_command::LISTEN)]
    sandbox: SocketAddr,
    /// Tenants, applications, users and organizations of the sandbox
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// Print one JSON object on one line when everything answers
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The settings that the flags make.
    pub(crate) fn flags(&self) -> Vec<(&'static str, &'static str, String)> {
        let all = [
            ("console.listen", "--console", self.console.clone()),
            ("gateway.listen", "--gateway", self.gateway.clone()),
        ];
        all.into_iter()
            .filter_map(|(key, flag, value)| Some((key, flag, value?)))
            .collect()
    }
}

/// Data of its own, and a log that leaves room for what the demo has to say.
pub(crate) fn adjust(settings: &mut Settings, sources: &Sources) {
    if settings.data_dir == Path::new("tieline-data") {
        settings.data_dir = PathBuf::from("tieline-data/demo");
    }
    let shape_asked = sources.flags.iter().any(|(key, ..)| *key == "log.format");
    if !settings.log.level_given && !shape_asked {
        "warn".clone_into(&mut settings.log.level);
    }
    settings.outbound.policy = Policy::LoopbackToo;
}

/// Runs until a signal.
///
/// # Errors
/// When anything of it does not start, or the account cannot be connected.
pub(crate) async fn run(args: Args, session: Session) -> anyhow::Result<Exit> {
    let stop = signals::stop_on_signal()?;
    let mut settings = session.settings;
    files::private_directory(&settings.data_dir)?;
    let listeners = Listeners::bind(&settings).await?;
    let mut addresses = listeners.addresses(&settings)?;
    // Scripts that resolve `localhost` to ::1 first would knock at the wrong door.
    numeric(&mut addresses.console)?;
    numeric(&mut addresses.gateway)?;

    let mut scene = Scene::of(sandbox_command::seed(args.seed.as_deref())?)?;
    scene.expect_callback_at(&addresses.console)?;
    let sandbox = start_sandbox(&args, &settings, &scene).await?;
    settings
        .outbound
        .ca_files
        .push(sandbox.ca_file().to_owned());
    let up = serve(
        listeners,
        &addresses,
        &settings,
        &scene,
        &sandbox,
        stop.clone(),
    );
    let (server, report) = tokio::select! {
        up = up => up?,
        () = stop.cancelled() => {
            sandbox.shutdown().await;
            return Ok(Exit::Done);
        }
    };
    if args.json {
        output::json_line(&report)?;
    } else {
        output::line(&report.for_people(&settings.data_dir))?;
    }
    let finished = server.finish().await;
    sandbox.shutdown().await;
    finished?;
    if !args.json {
        say("\nEverything has stopped. The data is kept for the next start.");
    }
    Ok(Exit::Done)
}

async fn start_sandbox(args: &Args, settings: &Settings, scene: &Scene) -> anyhow::Result<Sandbox> {
    let data_dir = settings.data_dir.join(SANDBOX_DIRECTORY);
    files::private_directory(&data_dir)?;
    let options = Options {
        listen: args.sandbox,
        data_dir: Some(data_dir),
        seed: scene.seed.clone(),
        ..Options::new(sandbox_command::clock())
    };
    Sandbox::start(options).await.with_context(|| {
        format!(
            "failed to start the sandbox on {}; another address is chosen with --sandbox (port 0 \
             takes a free one)",
            args.sandbox
        )
    })
}

async fn serve(
    listeners: Listeners,
    addresses: &runtime::Addresses,
    settings: &Settings,
    scene: &Scene,
    sandbox: &Sandbox,
    stop: CancellationToken,
) -> anyhow::Result<(Server, Report)> {
    let metrics = telemetry::start_metrics()?;
    let app = runtime::open_app(settings, addresses, Upgrade::Run).await?;
    let server = Server::start(&app, listeners, settings, metrics, stop)?;
    let seeded = seeded::prepare(&app, settings, scene, sandbox).await?;
    let report = Report::of(&app, scene, sandbox, seeded);
    Ok((server, report))
}

fn numeric(url: &mut url::Url) -> anyhow::Result<()> {
    if url.host_str() == Some("localhost") {
        url.set_host(Some("127.0.0.1"))
            .context("failed to name this machine by its address")?;
    }
    Ok(())
}
