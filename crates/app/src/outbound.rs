//! The way out: which addresses we may call, with which certificates, through which proxy.
//!
//! An administrator types URLs, and a server that fetches what it is told to is a way into the
//! network behind it. So only public addresses are called, over https, unless the configuration
//! allows loopback; the check is made on the address that is connected to, after resolution, so a
//! name that changes its mind (DNS rebinding) gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::Service;
use url::{Host, Url};

use crate::lookup::Lookups;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept for another control call. Shorter than servers keep theirs (Node's
/// default is five seconds): a request that meets the server's closing of the connection ends
/// without an answer, and after that a refresh token must be taken for spent.
const IDLE: Duration = Duration::from_secs(4);
/// How long a control call may take in all: Entra answers within a second or is in trouble.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What the configuration says of outgoing requests.
#[derive(Debug, Clone, Default)]
pub struct OutboundSettings {
    /// Whether loopback addresses may be called, and plain http to them.
    pub policy: Policy,
    /// Certificates of authorities to trust besides the operating system's.
    pub ca_files: Vec<PathBuf>,
    /// A forward proxy (`http://host:port`) for everything but loopback.
    pub proxy: Option<Url>,
}

/// Which addresses may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Public addresses, https only.
    #[default]
    PublicOnly,
    /// Loopback as well, also by plain http: for the sandbox and for tests.
    LoopbackToo,
}

/// Why a request may not go out, or could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Plain http.
    #[error("only https is allowed, and {host} was named with another scheme")]
    NotHttps {
        /// The host.
        host: String,
    },
    /// An address that is not public.
    #[error("{host} is at {address}, which is not a public address")]
    NotPublic {
        /// The host.
        host: String,
        /// The address it resolved to.
        address: IpAddr,
    },
    /// The name does not resolve.
    #[error("the name {host} does not resolve")]
    Unresolved {
        /// The host.
        host: String,
        /// What the resolver said.
        #[source]
        source: std::io::Error,
    },
    /// No connection.
    #[error("no connection to {host}")]
    Connect {
        /// The host.
        host: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A certificate file cannot be used.
    #[error("the certificate file {path} cannot be used: {reason}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

/// The way out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbound(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tls: Arc<ClientConfig>,
    http: reqwest::Client,
    policy: Policy,
    proxy: Option<Url>,
    lookups: Lookups,
}

impl Outbound {
    /// Prepares the way out.
    ///
    /// # Errors
    /// When a certificate file cannot be read or the client cannot be built.
    pub fn new(settings: &OutboundSettings) -> Result<Self, OutboundError> {
        let tls = tls_config(&settings.ca_files)?;
        let lookups = Lookups::default();
        let http = http_client(&tls, settings, &lookups)?;
        Ok(Self(Arc::new(Inner {
            tls: Arc::new(tls),
            http,
            policy: settings.policy,
            proxy: settings.proxy.clone(),
            lookups,
        })))
    }

    /// TLS settings: our trusted authorities, no client certificate, no ALPN.
    #[must_use]
    pub fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.tls)
    }

    /// The client for control calls. It follows no redirects.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.0.policy
    }

    /// The forward proxy, where one is configured.
    #[must_use]
    pub fn proxy(&self) -> Option<&Url> {
        self.0.proxy.as_ref()
    }

    /// Checks what can be checked of a URL before its name is resolved. Every control call goes
    /// through here, because a client that is given a bare address asks no resolver.
    ///
    /// # Errors
    /// When the scheme or a literal address is not allowed.
    pub fn admit(&self, url: &Url) -> Result<(), OutboundError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let loopback_http =
            url.scheme() == "http" && self.0.policy == Policy::LoopbackToo && is_loopback_host(url);
        if url.scheme() != "https" && !loopback_http {
            return Err(OutboundError::NotHttps { host });
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.0.policy.admit(&host, IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => self.0.policy.admit(&host, IpAddr::V6(address)),
            _ => Ok(()),
        }
    }

    /// Resolves a name to addresses that may be called.
    ///
    /// # Errors
    /// When the name does not resolve, or one of its addresses is not allowed: a name with one
    /// inner address among public ones is an attack or a mistake, and both are said.
    pub async fn connect_addresses(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, OutboundError> {
        resolve(&self.0.lookups, self.0.policy, host, port).await
    }

    /// Connects to a host, through the forward proxy where one is configured.
    ///
    /// # Errors
    /// When the name or the address is refused, or no connection is made in time.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, OutboundError> {
        let attempt = async {
            match self.proxy_for(host) {
                Some(proxy) => connect_through(proxy, host, port).await,
                None => connect_any(&self.connect_addresses(host, port).await?, host).await,
            }
        };
        tokio::time::timeout(CONNECT_TIMEOUT, attempt)
            .await
            .unwrap_or_else(|_| {
                Err(OutboundError::Connect {
                    host: host.to_owned(),
                    source: std::io::ErrorKind::TimedOut.into(),
                })
            })
    }

    /// The proxy to use for a host: none for loopback, which a proxy could not reach.
    #[must_use]
    pub fn proxy_for(&self, host: &str) -> Option<&Url> {
        let local = host.eq_ignore_ascii_case("localhost")
            || host.to_ascii_lowercase().ends_with(".localhost")
            || bare_address(host).is_some_and(|address| address.is_loopback());
        if local { None } else { self.0.proxy.as_ref() }
    }
}

impl Policy {
    /// Checks an address.
    ///
    /// # Errors
    /// When it may not be called.
    pub fn admit(self, host: &str, address: IpAddr) -> Result<(), OutboundError> {
        let address = canonical(address);
        if is_public(address) || (self == Policy::LoopbackToo && address.is_loopback()) {
            return Ok(());
        }
        Err(OutboundError::NotPublic {
            host: host.to_owned(),
            address,
        })
    }
}

/// Whether a URL names this machine: `localhost`, a name below it, or a loopback address.
#[must_use]
pub(crate) fn is_loopback_host(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => canonical(IpAddr::V6(address)).is_loopback(),
        None => false,
    }
}

// === addresses ===

/// An IPv4 address that is written as IPv6 is judged as what it is.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether an address belongs to the public internet, after the special-purpose registries of
/// IANA (RFC 6890 and its successors).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        // Shared address space of carriers (RFC 6598).
        || (a == 100 && (64..128).contains(&b))
        // Protocol assignments and 6to4 relays (RFC 6890, RFC 7526).
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        // Benchmarks (RFC 2544).
        || (a == 198 && (b == 18 || b == 19))
        // Reserved, and broadcast.
        || a >= 240;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Only 2000::/3 is given out as global unicast (RFC 4291); 64:ff9b::/96 translates to IPv4
    // (RFC 6052) and is judged by the address inside.
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    let global = (segments[0] & 0xe000) == 0x2000;
    let special = (segments[0] == 0x2001 && (segments[1] < 0x0200 || segments[1] == 0x0db8))
        || segments[0] == 0x2002
        || (segments[0] == 0x3fff && segments[1] < 0x1000);
    global && !special
}

fn bare_address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

async fn resolve(
    lookups: &Lookups,
    policy: Policy,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, OutboundError> {
    if let Some(address) = bare_address(host) {
        policy.admit(host, address)?;
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let unresolved = |source| OutboundError::Unresolved {
        host: host.to_owned(),
        source,
    };
    let found = match lookups.addresses(host, port).await {
        Ok(found) => found,
        // RFC 6761 has every name below `localhost` mean this machine; some resolvers don't know.
        Err(_) if host.to_ascii_lowercase().ends_with(".localhost") => {
            vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]
        }
        Err(source) => return Err(unresolved(source)),
    };
    if found.is_empty() {
        return Err(unresolved(std::io::ErrorKind::NotFound.into()));
    }
    for address in &found {
        policy.admit(host, address.ip())?;
    }
    Ok(found)
}

async fn connect_any(addresses: &[SocketAddr], host: &str) -> Result<TcpStream, OutboundError> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A token call is a few small writes; Nagle's algorithm would hold the last one.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(OutboundError::Connect {
        host: host.to_owned(),
        source: last,
    })
}

async fn connect_through(proxy: &Url, host: &str, port: u16) -> Result<TcpStream, OutboundError> {
    let failed = |reason: String| OutboundError::Connect {
        host: host.to_owned(),
        source: std::io::Error::other(format!("by way of the proxy: {reason}")),
    };
    let to_uri = |text: &str| text.parse::<http::Uri>().map_err(|e| failed(e.to_string()));
    let mut tunnel = Tunnel::new(to_uri(proxy.as_str())?, HttpConnector::new());
    let target = to_uri(&format!("https://{host}:{port}"))?;
    let stream: TokioIo<TcpStream> = tunnel
        .call(target)
        .await
        .map_err(|error| failed(error.to_string()))?;
    Ok(stream.into_inner())
}

// === TLS and the client ===

fn tls_config(ca_files: &[PathBuf]) -> Result<ClientConfig, OutboundError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    for path in ca_files {
        add_ca_file(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OutboundError::Client(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn add_ca_file(roots: &mut RootCertStore, path: &Path) -> Result<(), OutboundError> {
    let unusable = |reason: String| OutboundError::CaFile {
        path: path.to_owned(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
        count += 1;
    }
    if count == 0 {
        return Err(unusable("it holds no certificate in PEM form".to_owned()));
    }
    Ok(())
}

fn http_client(
    tls: &ClientConfig,
    settings: &OutboundSettings,
    lookups: &Lookups,
) -> Result<reqwest::Client, OutboundError> {
    let failed = |error: reqwest::Error| OutboundError::Client(error.to_string());
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .dns_resolver(Arc::new(PolicyResolver(settings.policy, lookups.clone())))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .user_agent(concat!("Tieline/", env!("CARGO_PKG_VERSION")))
        // The environment is read in one place, the configuration; a proxy comes from there.
        .no_proxy();
    if let Some(proxy) = &settings.proxy {
        let proxy = reqwest::Proxy::all(proxy.clone())
            .map_err(failed)?
            .no_proxy(reqwest::NoProxy::from_string("localhost,127.0.0.0/8,::1"));
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(failed)
}

/// Lets the control client resolve only to addresses that may be called.
#[derive(Debug)]
struct PolicyResolver(Policy, Lookups);

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, lookups) = (self.0, self.1.clone());
        Box::pin(async move {
            let found = resolve(&lookups, policy, name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn inner_addresses_are_refused_in_every_disguise() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2001:db8::1",
            "2002::1",
            "ff02::1",
        ] {
            assert!(
                Policy::PublicOnly.admit("x", ip(address)).is_err(),
                "{address}"
            );
        }
        for address in ["20.190.128.1", "2603:1030::1", "64:ff9b::14be:8001"] {
            assert!(
                Policy::PublicOnly.admit("x", ip(address)).is_ok(),
                "{address}"
            );
        }
    }

    #[test]
    fn loopback_needs_permission_and_nothing_else_comes_with_it() {
        assert!(Policy::LoopbackToo.admit("x", ip("127.0.0.1")).is_ok());
        assert!(
            Policy::LoopbackToo
                .admit("x", ip("::ffff:127.0.0.1"))
                .is_ok()
        );
        assert!(Policy::LoopbackToo.admit("x", ip("10.0.0.1")).is_err());
    }

    #[test]
    fn plain_http_goes_to_loopback_only() {
        let open = Outbound::new(&OutboundSettings {
            policy: Policy::LoopbackToo,
            ..OutboundSettings::default()
        })
        .expect("outbound");
        let url = |text: &str| Url::parse(text).expect("a URL");
        assert!(open.admit(&url("http://localhost:1/x")).is_ok());
        assert!(open.admit(&url("http://login.example.com/")).is_err());
        assert!(open.admit(&url("https://10.0.0.1/")).is_err());
        let closed = Outbound::new(&OutboundSettings::default()).expect("outbound");
        assert!(closed.admit(&url("http://localhost:1/x")).is_err());
        assert!(closed.admit(&url("https://127.0.0.1/")).is_err());
        assert!(
            closed
                .admit(&url("https://login.microsoftonline.com/"))
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused_after_resolution() {
        let closed = Outbound::new(&OutboundSettings::default()).expect("outbound");
        let refused = closed.connect("localhost", 1).await.expect_err("refused");
        assert!(
            matches!(refused, OutboundError::NotPublic { .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_ca_file_without_certificates_says_so() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let settings = OutboundSettings {
            ca_files: vec![file.path().to_owned()],
            ..Default::default()
        };
        let error = Outbound::new(&settings).expect_err("refused");
        assert!(error.to_string().contains("no certificate"), "{error}");
    }
}
