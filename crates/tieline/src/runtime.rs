//! Wiring: listeners, key ring, database, the way out, the use cases, and the two surfaces on top.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret;
use tieline_app::{App, Outbound, Parts, Policy};
use tieline_core::SystemClock;
use tieline_gateway::{Gateway, GatewaySettings};
use tieline_store::{Migrations, Store};
use tieline_vault::KeyRing;
use tieline_web::WebSettings;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::config::{Listener, MasterKeys, Settings, TlsFiles};
use crate::output::say;
use crate::running::{Announced, Running};
use crate::telemetry;
use crate::{files, memory};

/// Connections that wait to be accepted by one worker; the system's own limit is lower or higher.
const BACKLOG: u32 = 1024;
/// How long requests in flight may take to finish after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// Where people and applications find us.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) console: Url,
    pub(crate) gateway: Url,
}

/// The listeners, bound but not served yet: with port 0, only now is the address known.
#[derive(Debug)]
pub(crate) struct Listeners {
    console: TcpListener,
    /// One for each worker, all of one address; never empty.
    gateway: Vec<std::net::TcpListener>,
    gateway_address: SocketAddr,
}

impl Listeners {
    /// Binds both.
    ///
    /// # Errors
    /// When an address is taken, or is not this machine's.
    pub(crate) async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let console = bind("console", "--console", settings.console.listen).await?;
        let gateway = bind_shared(settings.gateway.listen, workers(settings)).await?;
        let gateway_address = gateway[0].local_addr()?;
        Ok(Self {
            console,
            gateway,
            gateway_address,
        })
    }

    /// The addresses that people use.
    ///
    /// # Errors
    /// When the system does not tell what was bound.
    pub(crate) fn addresses(&self, settings: &Settings) -> anyhow::Result<Addresses> {
        Ok(Addresses {
            console: public_url(&settings.console, self.console.local_addr()?)?,
            gateway: public_url(&settings.gateway, self.gateway_address)?,
        })
    }
}

/// The addresses of a server that is not running: those it would have.
///
/// # Errors
/// When no URL can be made of the listener's address.
pub(crate) fn configured_addresses(settings: &Settings) -> anyhow::Result<Addresses> {
    Ok(Addresses {
        console: public_url(&settings.console, settings.console.listen)?,
        gateway: public_url(&settings.gateway, settings.gateway.listen)?,
    })
}

/// Binds a listener, or says what stands in the way.
///
/// # Errors
/// As [`Listeners::bind`].
pub(crate) async fn bind(
    what: &str,
    flag: &str,
    address: SocketAddr,
) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "failed to listen on {address} for the {what}; another address is chosen with \
             {flag} (port 0 takes a free one)"
        )
    })
}

/// How many workers the gateway gets: as many as there are processors to run them.
fn workers(settings: &Settings) -> usize {
    settings.gateway_workers.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
    })
}

/// Binds the gateway's listeners, which share what comes to one address (`SO_REUSEPORT`).
async fn bind_shared(
    address: SocketAddr,
    count: usize,
) -> anyhow::Result<Vec<std::net::TcpListener>> {
    if address.port() != 0 {
        // Sharing would also let a second server slip in beside a first one; so an address must
        // be free for a listener that does not share before it is taken.
        drop(bind("gateway", "--gateway", address).await?);
    }
    let failed = || format!("failed to listen on {address} for the gateway");
    let first = shared(address).with_context(failed)?;
    let address = first.local_addr()?;
    // Elsewhere than on Unix addresses are not shared this way.
    let more = if cfg!(unix) { 1..count } else { 1..1 };
    let mut bound = vec![first];
    for _ in more {
        bound.push(shared(address).with_context(failed)?);
    }
    Ok(bound)
}

fn shared(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Whether opening the database may change its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// Migrations run.
    Run,
    /// They must have run.
    Refuse,
}

/// Opens the key ring.
///
/// # Errors
/// When it cannot be read, or others may read it.
pub(crate) fn open_keys(settings: &Settings) -> anyhow::Result<KeyRing> {
    match &settings.master_keys {
        MasterKeys::Text(text) => {
            KeyRing::from_text(text).context("failed to understand keys.master")
        }
        MasterKeys::DataDir => {
            KeyRing::load_or_create(&settings.data_dir).context("failed to open the master keys")
        }
    }
}

/// Opens the database.
///
/// # Errors
/// When it does not answer, or its tables are not those of this version.
pub(crate) async fn open_store(
    settings: &Settings,
    keys: Arc<KeyRing>,
    upgrade: Upgrade,
) -> anyhow::Result<Store> {
    let migrations = match upgrade {
        Upgrade::Run => Migrations::Run,
        Upgrade::Refuse => Migrations::Check,
    };
    Store::open(settings.database_url().expose_secret(), keys, migrations)
        .await
        .with_context(|| format!("failed to open the database {}", settings.database_shown()))
}

/// Opens everything that the use cases stand on.
///
/// # Errors
/// When the data directory, the keys, the database or the way out cannot be opened.
pub(crate) async fn open_app(
    settings: &Settings,
    addresses: &Addresses,
    upgrade: Upgrade,
) -> anyhow::Result<App> {
    files::private_directory(&settings.data_dir)?;
    let keys = Arc::new(open_keys(settings)?);
    let store = open_store(settings, keys, upgrade).await?;
    let outbound =
        Outbound::new(&settings.outbound).context("failed to prepare outgoing requests")?;
    Ok(App::new(Parts {
        store,
        clock: Arc::new(SystemClock),
        outbound,
        public_url: addresses.console.clone(),
        gateway_url: addresses.gateway.clone(),
        notify: settings.notify.clone(),
    }))
}

/// Opens everything for a command beside a server that may be running.
///
/// # Errors
/// As [`open_app`].
pub(crate) async fn open_beside(settings: &Settings) -> anyhow::Result<(App, Option<Running>)> {
    let running = Running::find(&settings.data_dir);
    let mut settings = settings.clone();
    let addresses = match &running {
        Some(running) => {
            running.share_outbound(&mut settings);
            Addresses {
                console: running.console_url.clone(),
                gateway: running.gateway_url.clone(),
            }
        }
        None => configured_addresses(&settings)?,
    };
    if settings.database_url.is_none() && !settings.data_dir.join("tieline.db").exists() {
        say(&format!(
            "{} holds no database yet; one is made",
            settings.data_dir.display()
        ));
    }
    let app = open_app(&settings, &addresses, Upgrade::Run).await?;
    Ok((app, running))
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    app: App,
    _announced: Announced,
}

impl Server {
    /// Serves both listeners, and runs the background work, until `stop` is cancelled.
    ///
    /// # Errors
    /// When a certificate cannot be used, or another server runs on the same data directory.
    pub(crate) fn start(
        app: &App,
        listeners: Listeners,
        settings: &Settings,
        metrics: PrometheusHandle,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let announced = announcement(app, &listeners, settings)?.announce(&settings.data_dir)?;
        let mut tasks = JoinSet::new();
        let gateway_tls = settings.gateway.tls.as_ref().map(tls_config).transpose()?;
        let shown = Some(metrics.clone());
        serve_console(&mut tasks, app, listeners.console, settings, shown, &stop)?;
        let gateway = Gateway::new(app.clone(), gateway_settings(settings));
        let until = stop.clone();
        tasks.spawn(async move {
            let served = gateway.serve(listeners.gateway, gateway_tls, until).await;
            served.context("failed to serve the gateway")
        });
        let (background, until) = (app.clone(), stop.clone());
        tasks.spawn(async move {
            background.run_background(until).await;
            Ok(())
        });
        let until = stop.clone();
        tasks.spawn(async move {
            telemetry::keep_metrics(metrics, until).await;
            Ok(())
        });
        let until = stop.clone();
        tasks.spawn(async move {
            memory::give_back(until).await;
            Ok(())
        });
        Ok(Self {
            tasks,
            stop,
            app: app.clone(),
            _announced: announced,
        })
    }

    /// Waits until the server was told to stop and what was in flight has finished.
    ///
    /// # Errors
    /// When a part of it ended by itself.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        let ended = tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            ended = self.tasks.join_next() => unexpected(ended, &self.stop),
        };
        self.stop.cancel();
        let rest = async {
            let mut result = Ok(());
            while let Some(ended) = self.tasks.join_next().await {
                result = result.and(ended.context("a part of the server broke down").flatten());
            }
            result
        };
        let rest = tokio::time::timeout(GRACE + Duration::from_secs(1), rest).await;
        let rest = rest.unwrap_or_else(|_| {
            tracing::warn!("requests were still running and have been given up");
            Ok(())
        });
        self.app.drain().await;
        ended.and(rest)
    }
}

/// Serves the console.
///
/// # Errors
/// When its certificate cannot be used.
pub(crate) fn serve_console(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    app: &App,
    listener: TcpListener,
    settings: &Settings,
    metrics: Option<PrometheusHandle>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let tls = settings.console.tls.as_ref().map(tls_config).transpose()?;
    let web = WebSettings {
        secure_cookies: app.public_url().scheme() == "https",
        metrics: metrics.map(telemetry::renderer),
        metrics_token: settings.metrics_token.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let (app, stop) = (app.clone(), stop.clone());
    tasks.spawn(async move {
        let served = tieline_web::serve(app, web, listener, tls, stop).await;
        served.context("failed to serve the console")
    });
    Ok(())
}

fn announcement(app: &App, listeners: &Listeners, settings: &Settings) -> anyhow::Result<Running> {
    if let Some(other) = Running::find(&settings.data_dir) {
        bail!(
            "a server runs on {} already (process {}, console {}); stop it, or give this one \
             another --data-dir",
            settings.data_dir.display(),
            other.pid,
            other.console_url,
        );
    }
    Ok(Running {
        pid: std::process::id(),
        console_url: app.public_url().clone(),
        gateway_url: app.gateway_url().clone(),
        console_listen: listeners.console.local_addr()?,
        started_at: app.now(),
        allow_loopback: settings.outbound.policy == Policy::LoopbackToo,
        ca_files: absolute(&settings.outbound.ca_files),
    })
}

fn absolute(files: &[std::path::PathBuf]) -> Vec<std::path::PathBuf> {
    files
        .iter()
        .map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()))
        .collect()
}

fn gateway_settings(settings: &Settings) -> GatewaySettings {
    GatewaySettings {
        host_suffix: settings.gateway_suffix.clone(),
        allowed_origins: settings.gateway_origins.clone(),
        drain: GRACE,
        protocols: settings.gateway_protocols,
        ..GatewaySettings::default()
    }
}

fn unexpected(
    ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    match ended {
        // A signal may reach a task before it reaches us.
        Some(Ok(Ok(()))) if stop.is_cancelled() => Ok(()),
        Some(Ok(Ok(()))) | None => bail!("a part of the server ended by itself"),
        Some(Ok(Err(error))) => Err(error),
        Some(Err(broken)) => Err(broken).context("a part of the server broke down"),
    }
}

/// The address that people use: the configured one, or one made of what is listened on.
fn public_url(listener: &Listener, bound: SocketAddr) -> anyhow::Result<Url> {
    if let Some(url) = &listener.public_url {
        return Ok(url.clone());
    }
    let scheme = if listener.tls.is_some() {
        "https"
    } else {
        "http"
    };
    // Microsoft registers http redirect URIs for `localhost` only, and certificates are made for
    // names; 127.0.0.1 would do for neither.
    let localhost = bound.ip().is_unspecified() || bound.ip() == IpAddr::from([127, 0, 0, 1]);
    let host = if localhost {
        format!("localhost:{}", bound.port())
    } else {
        bound.to_string()
    };
    Url::parse(&format!("{scheme}://{host}"))
        .context("failed to make a URL of the listener's address")
}

/// TLS with a certificate from files; HTTP/2 is offered first.
fn tls_config(files: &TlsFiles) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| {
            format!(
                "failed to read the certificate {}",
                files.certificate.display()
            )
        })?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("failed to read the private key {}", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("failed to set up TLS")?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .with_context(|| {
            format!(
                "failed to use {} with {}: do they belong together?",
                files.certificate.display(),
                files.key.display()
            )
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(public_url: Option<&str>) -> Listener {
        Listener {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_url: public_url.map(|url| Url::parse(url).expect("a URL")),
            tls: None,
        }
    }

    #[test]
    fn the_public_address_is_one_that_microsoft_registers() {
        let bound = SocketAddr::from(([127, 0, 0, 1], 8420));
        let url = public_url(&listener(None), bound).expect("a URL");
        assert_eq!(url.as_str(), "http://localhost:8420/");
        let url = public_url(&listener(Some("https://tieline.example.com")), bound).expect("a URL");
        assert_eq!(url.as_str(), "https://tieline.example.com/");
        let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 8420));
        assert_eq!(
            public_url(&listener(None), v6).expect("a URL").as_str(),
            "http://[::1]:8420/"
        );
    }

    #[test]
    fn a_certificate_that_is_none_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let files = TlsFiles {
            certificate: file.path().to_owned(),
            key: file.path().to_owned(),
        };
        let error = tls_config(&files).expect_err("refused");
        assert!(format!("{error:#}").contains("private key"), "{error:#}");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_said_with_the_way_out() {
        let first = bind(
            "console",
            "--console",
            SocketAddr::from(([127, 0, 0, 1], 0)),
        )
        .await
        .expect("bound");
        let taken = first.local_addr().expect("an address");
        let error = bind("console", "--console", taken)
            .await
            .expect_err("taken");
        assert!(error.to_string().contains("--console"), "{error}");
    }
}
