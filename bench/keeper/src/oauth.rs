//! A token server and an organization, on one TLS listener.
//!
//! Strict: a refresh token is good once; a second use kills every token of its grant, as RFC 9700,
//! section 4.14.2 asks. Lenient: a used refresh token stays good, as Entra ID documents. Both count
//! what they see. A request is worked off when it arrives and answered after the latency, which is
//! the hard case: whoever loses the answer has spent the token all the same.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What happens to a refresh token that is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Every token of the grant dies.
    Strict,
    /// Nothing.
    Lenient,
}

/// What happens to the first request of each account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// It is answered.
    Answered,
    /// It is worked off, and the connection is cut in place of the answer.
    Cut,
    /// It is refused with 503, before the token is looked at.
    Unavailable,
}

/// How the server behaves.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// What a second use does.
    pub rotation: Rotation,
    /// From a request's arrival to its answer.
    pub latency: Duration,
    /// What happens first.
    pub first: First,
}

/// What was seen of one account.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Token requests.
    pub requests: u32,
    /// Requests that came while another was under way.
    pub overlapping: u32,
    /// Uses of a refresh token that had been used before.
    pub reuses: u32,
    /// Whether the grant was killed by one.
    pub killed: bool,
    under_way: u32,
    current: u64,
}

/// The two servers.
pub struct Servers {
    /// Where they listen.
    pub address: SocketAddr,
    behaviour: Mutex<Behaviour>,
    seen: Mutex<HashMap<String, Seen>>,
    /// Token requests answered with a token.
    pub renewed: AtomicU64,
}

/// Lengths as Entra's tokens have them.
const REFRESH_LENGTH: usize = 1_200;
const ACCESS_LENGTH: usize = 1_800;

/// The refresh token of a serial number.
pub fn refresh_token(account: &str, serial: u64) -> String {
    padded(format!("r.{account}.{serial}."), REFRESH_LENGTH)
}

/// The access token of a serial number.
pub fn access_token(account: &str, serial: u64) -> String {
    padded(format!("a.{account}.{serial}."), ACCESS_LENGTH)
}

fn padded(mut text: String, length: usize) -> String {
    while text.len() < length {
        text.push_str("Zm9vYmFyYmF6");
    }
    text.truncate(length);
    text
}

fn parsed(token: &str, kind: &str) -> Option<(String, u64)> {
    let mut parts = token.split('.');
    (parts.next()? == kind).then_some(())?;
    Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?))
}

impl Servers {
    /// Listens and serves for as long as the process lives.
    pub async fn start(tls: Arc<ServerConfig>, behaviour: Behaviour) -> anyhow::Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let servers = Arc::new(Self {
            address: listener.local_addr()?,
            behaviour: Mutex::new(behaviour),
            seen: Mutex::default(),
            renewed: AtomicU64::new(0),
        });
        tokio::spawn(Arc::clone(&servers).accept(listener, TlsAcceptor::from(tls)));
        Ok(servers)
    }

    /// The origin of both.
    pub fn origin(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The token endpoint. Its shape tells Tieline which rules hold: those of Entra ID, or unknown.
    pub fn token_url(&self) -> String {
        match self.behaviour().rotation {
            Rotation::Strict => format!("{}/oauth/token", self.origin()),
            Rotation::Lenient => {
                format!(
                    "{}/6f9a8c1e-0000-4000-8000-000000000001/oauth2/v2.0/token",
                    self.origin()
                )
            }
        }
    }

    /// The authorization endpoint that belongs to it.
    pub fn authorization_url(&self) -> String {
        match self.behaviour().rotation {
            Rotation::Strict => format!("{}/oauth/authorize", self.origin()),
            Rotation::Lenient => self.token_url().replace("/token", "/authorize"),
        }
    }

    fn behaviour(&self) -> Behaviour {
        *self
            .behaviour
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen of an account.
    pub fn seen(&self, account: &str) -> Seen {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(account).cloned().unwrap_or_default()
    }

    /// Whether a refresh token would be accepted, and not as a second use.
    pub fn would_accept(&self, refresh_token: &str) -> bool {
        let Some((account, serial)) = parsed(refresh_token, "r") else {
            return false;
        };
        let seen = self.seen(&account);
        match self.behaviour().rotation {
            Rotation::Strict => !seen.killed && serial == seen.current.max(1),
            Rotation::Lenient => serial <= seen.current.max(1),
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, tls: TlsAcceptor) {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (servers, tls) = (Arc::clone(&self), tls.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request| Arc::clone(&servers).answer(request));
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, io::Error> {
        if request.uri().path().starts_with("/api/") {
            return Ok(organization(&request));
        }
        let body = request
            .into_body()
            .collect()
            .await
            .map_err(io::Error::other)?;
        self.token(&body.to_bytes()).await
    }

    async fn token(self: Arc<Self>, form: &[u8]) -> Result<Response<Full<Bytes>>, io::Error> {
        let given = url::form_urlencoded::parse(form)
            .find(|(name, _)| name == "refresh_token")
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default();
        let Some((account, serial)) = parsed(&given, "r") else {
            return Ok(refused("invalid_request", StatusCode::BAD_REQUEST));
        };
        let behaviour = self.behaviour();
        let (outcome, first) = self.arrived(&account, serial, behaviour);
        // Whoever hangs up is no longer under way.
        let _under_way = UnderWay {
            servers: &self,
            account: &account,
        };
        tokio::time::sleep(behaviour.latency).await;
        match (first, behaviour.first, outcome) {
            (true, First::Unavailable, _) => Ok(refused(
                "temporarily_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
            )),
            (true, First::Cut, _) => Err(io::Error::other("cut, as the scenario wants")),
            (_, _, None) => Ok(refused("invalid_grant", StatusCode::BAD_REQUEST)),
            (_, _, Some(serial)) => {
                self.renewed.fetch_add(1, Ordering::Relaxed);
                Ok(granted(&account, serial))
            }
        }
    }

    /// Works a request off. Gives the new serial number, or nothing when the token is refused, and
    /// whether it was the account's first request.
    fn arrived(&self, account: &str, serial: u64, behaviour: Behaviour) -> (Option<u64>, bool) {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(account.to_owned()).or_default();
        seen.current = seen.current.max(1);
        seen.requests += 1;
        seen.overlapping += u32::from(seen.under_way > 0);
        seen.under_way += 1;
        let first = seen.requests == 1;
        if first && behaviour.first == First::Unavailable {
            return (None, first);
        }
        if serial != seen.current {
            seen.reuses += 1;
            seen.killed |= behaviour.rotation == Rotation::Strict;
        }
        if seen.killed {
            return (None, first);
        }
        seen.current += 1;
        (Some(seen.current), first)
    }
}

struct UnderWay<'a> {
    servers: &'a Servers,
    account: &'a str,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut all = self
            .servers
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = all.get_mut(self.account) {
            seen.under_way -= 1;
        }
    }
}

fn granted(account: &str, serial: u64) -> Response<Full<Bytes>> {
    let answer = serde_json::json!({
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "user_impersonation",
        "access_token": access_token(account, serial),
        "refresh_token": refresh_token(account, serial),
    });
    json(StatusCode::OK, &answer)
}

fn refused(error: &str, status: StatusCode) -> Response<Full<Bytes>> {
    json(
        status,
        &serde_json::json!({ "error": error, "error_description": error }),
    )
}

/// Who am I, for whoever shows an access token of ours.
fn organization(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let shown = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let known = shown
        .and_then(|value| value.strip_prefix("Bearer "))
        .and_then(|token| parsed(token, "a"));
    match known {
        Some((account, serial)) => json(
            StatusCode::OK,
            &serde_json::json!({ "UserId": account, "Serial": serial }),
        ),
        None => json(
            StatusCode::UNAUTHORIZED,
            &serde_json::json!({ "error": "unauthorized" }),
        ),
    }
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, kind);
    response
}
