//! Stands before the token service: counts every refresh token that arrives, notes when requests
//! came and answers left, and can hold answers back.
//!
//! A request that has arrived is carried out even when the one who asked is dead by then: that is
//! what happens on a real network, and the only way in which a refresh token gets lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use tokio::io::{AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

use crate::http;

/// A request for a token.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Whose refresh token it carried, by number.
    pub(crate) account: usize,
    /// How often this very token had arrived, this time included.
    pub(crate) uses: u32,
    pub(crate) arrived: DateTime<Utc>,
    pub(crate) answered: Option<DateTime<Utc>>,
    /// 0 while there is no answer.
    pub(crate) status: u16,
}

/// What just happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A request is here and has not been passed on.
    Arrived(usize),
    /// Its answer has left.
    Answered(usize),
}

#[derive(Debug, Default)]
struct Ledger {
    owner: HashMap<String, usize>,
    uses: HashMap<String, u32>,
    asked: Vec<Asked>,
}

/// The proxy. It ends with the program.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) origin: String,
    ledger: Arc<Mutex<Ledger>>,
    events: broadcast::Sender<Event>,
    hold: Arc<watch::Sender<Hold>>,
    /// How many milliseconds every answer is kept.
    kept: Arc<AtomicU64>,
}

/// What becomes of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// They go on to who asked.
    Pass,
    /// They wait.
    Keep,
}

/// What is sent for a request.
#[derive(Debug)]
struct Answer {
    account: usize,
    /// Of the request.
    number: usize,
    bytes: Vec<u8>,
    then: Then,
}

#[derive(Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    HangUp,
}

#[derive(Debug)]
struct Upstream {
    http: reqwest::Client,
    /// Where token requests really go.
    token_url: String,
}

impl Proxy {
    /// Listens, and passes everything that comes on to `token_url`.
    pub(crate) async fn start(http: reqwest::Client, token_url: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let proxy = Self {
            origin,
            ledger: Arc::default(),
            events: broadcast::channel(4096).0,
            hold: Arc::new(watch::channel(Hold::Pass).0),
            kept: Arc::default(),
        };
        let upstream = Arc::new(Upstream {
            http,
            token_url: token_url.to_owned(),
        });
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (proxy, upstream) = (serving.clone(), Arc::clone(&upstream));
                tokio::spawn(async move {
                    // Who hangs up was killed; that is noted elsewhere.
                    let _ = proxy.converse(stream, &upstream).await;
                });
            }
        });
        Ok(proxy)
    }

    /// Says whose a refresh token is.
    pub(crate) fn register(&self, refresh_token: &str, account: usize) {
        self.ledger()
            .owner
            .insert(refresh_token.to_owned(), account);
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(crate) fn hold(&self, hold: Hold) {
        self.hold.send_replace(hold);
    }

    /// Keeps every answer for a while from now on.
    pub(crate) fn keep_each(&self, pause: Duration) {
        let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.kept.store(ms, Ordering::Relaxed);
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.ledger().asked.clone()
    }

    /// Requests so far.
    pub(crate) fn count(&self) -> usize {
        self.ledger().asked.len()
    }

    /// Requests that carried a refresh token which had arrived before.
    pub(crate) fn again(&self) -> usize {
        self.ledger().asked.iter().filter(|a| a.uses > 1).count()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn converse(&self, stream: TcpStream, upstream: &Arc<Upstream>) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufStream::new(stream);
        while let Some(request) = http::read(&mut stream).await? {
            let (proxy, upstream) = (self.clone(), Arc::clone(upstream));
            // In a task of its own: it goes on when this connection ends.
            let answer = tokio::spawn(async move { proxy.pass(request, &upstream).await });
            let answer = answer.await?;
            let kept = Duration::from_millis(self.kept.load(Ordering::Relaxed));
            tokio::time::sleep(kept).await;
            let mut hold = self.hold.subscribe();
            hold.wait_for(|hold| *hold == Hold::Pass).await?;
            stream.write_all(&answer.bytes).await?;
            stream.flush().await?;
            self.ledger().asked[answer.number].answered = Some(Utc::now());
            let _ = self.events.send(Event::Answered(answer.account));
            if answer.then == Then::HangUp {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Notes a request, carries it out, and gives what is to be sent for it.
    async fn pass(&self, request: http::Message, upstream: &Upstream) -> Answer {
        let (account, number) = self.note(&request.body);
        let _ = self.events.send(Event::Arrived(account));
        let ended = |bytes: String| Answer {
            account,
            number,
            bytes: bytes.into_bytes(),
            then: Then::HangUp,
        };
        let sent = upstream
            .http
            .post(&upstream.token_url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(request.body)
            .send()
            .await;
        let Ok(answer) = sent else {
            return ended(String::new());
        };
        let status = answer.status();
        let mut head = format!("HTTP/1.1 {status}\r\n");
        for name in ["content-type", "retry-after"] {
            let value = answer.headers().get(name);
            if let Some(value) = value.and_then(|value| value.to_str().ok()) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let Ok(body) = answer.bytes().await else {
            // An answer that was cut is passed on as one.
            return ended(format!("{head}content-length: 1000\r\n\r\n{{"));
        };
        self.learn(account, number, status.as_u16(), &body);
        let mut bytes = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(&body);
        Answer {
            account,
            number,
            bytes,
            then: Then::GoOn,
        }
    }

    fn note(&self, form: &[u8]) -> (usize, usize) {
        let token = url::form_urlencoded::parse(form)
            .find(|(name, _)| name == "refresh_token")
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default();
        let mut ledger = self.ledger();
        let account = ledger.owner.get(&token).copied().unwrap_or(usize::MAX);
        let uses = ledger.uses.entry(token).or_default();
        *uses += 1;
        let uses = *uses;
        ledger.asked.push(Asked {
            account,
            uses,
            arrived: Utc::now(),
            answered: None,
            status: 0,
        });
        (account, ledger.asked.len() - 1)
    }

    fn learn(&self, account: usize, number: usize, status: u16, body: &[u8]) {
        let mut ledger = self.ledger();
        ledger.asked[number].status = status;
        let body: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        if let Some(token) = body.as_ref().and_then(|b| b["refresh_token"].as_str()) {
            ledger.owner.insert(token.to_owned(), account);
        }
    }
}

/// Waits for an event of a kind, for a while.
pub(crate) async fn next(
    events: &mut broadcast::Receiver<Event>,
    wanted: fn(&Event) -> bool,
    patience: Duration,
) -> Option<Event> {
    let waiting = async {
        loop {
            match events.recv().await {
                Ok(event) if wanted(&event) => return Some(event),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    };
    tokio::time::timeout(patience, waiting).await.ok().flatten()
}

/// A client that trusts one more authority.
pub(crate) fn client(ca_file: &std::path::Path) -> anyhow::Result<reqwest::Client> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).context("the authority's file")? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(120))
        .no_proxy()
        .build()?;
    Ok(client)
}
