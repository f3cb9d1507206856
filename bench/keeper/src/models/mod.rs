//! How others do it, rebuilt small from their source, each with what its source really does about
//! time limits and failures.
//!
//! What they share is kept in memory, with the time of a round trip to a shared store added: that
//! flatters them, for their stores cost more.

mod lock;
mod nango;
mod proxy;
mod simple;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::oauth;
use tokio::time::Instant;

/// A round trip to Redis or PostgreSQL on the same network.
const ROUND_TRIP: Duration = Duration::from_micros(200);

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Look, and refresh what has expired.
    Simple,
    /// A lock with a short life in the shared store.
    ProxyLock,
    /// One refresh per process, and a lock with a longer life.
    NangoLock,
}

/// What is stored of an account.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The refresh token.
    pub refresh_token: String,
    /// The access token.
    pub access_token: String,
    /// When that ends.
    pub expires_at: Instant,
    /// When a refresh last failed.
    pub failed_at: Option<Instant>,
}

/// What the servers share.
pub struct Shared {
    stored: Mutex<HashMap<String, Stored>>,
    locks: Mutex<HashMap<String, lock::Held>>,
    token_url: String,
    http: reqwest::Client,
}

/// One server.
pub struct Model {
    kind: Kind,
    shared: Arc<Shared>,
    nango: nango::InFlight,
}

impl Shared {
    /// Accounts whose access tokens have expired.
    pub fn new(accounts: &[String], token_url: String, http: reqwest::Client) -> Arc<Self> {
        let expired = |account: &String| {
            let stored = Stored {
                refresh_token: oauth::refresh_token(account, 1),
                access_token: oauth::access_token(account, 1),
                expires_at: Instant::now(),
                failed_at: None,
            };
            (account.clone(), stored)
        };
        Arc::new(Self {
            stored: Mutex::new(accounts.iter().map(expired).collect()),
            locks: Mutex::default(),
            token_url,
            http,
        })
    }

    /// The refresh token that would survive a restart.
    pub fn durable(&self, account: &str) -> Option<String> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored
            .get(account)
            .map(|stored| stored.refresh_token.clone())
    }

    async fn load(&self, account: &str) -> Result<Stored, String> {
        tokio::time::sleep(ROUND_TRIP).await;
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored
            .get(account)
            .cloned()
            .ok_or_else(|| "the session is gone".to_owned())
    }

    async fn save(&self, account: &str, new: Stored) {
        tokio::time::sleep(ROUND_TRIP).await;
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.insert(account.to_owned(), new);
    }

    async fn clear(&self, account: &str) {
        tokio::time::sleep(ROUND_TRIP).await;
        self.stored
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(account);
    }

    async fn note_failure(&self, account: &str) {
        tokio::time::sleep(ROUND_TRIP).await;
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stored) = stored.get_mut(account) {
            stored.failed_at = Some(Instant::now());
        }
    }

    /// Asks the token server. The error is its OAuth code, or what became of the request.
    async fn refresh(&self, refresh_token: &str) -> Result<Stored, String> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "11111111-2222-4333-8444-555555555555"),
            ("client_secret", "s3cret+value"),
            ("refresh_token", refresh_token),
        ];
        let answer = self.http.post(&self.token_url).form(&form).send().await;
        let answer = answer.map_err(|_| "no answer".to_owned())?;
        let body: serde_json::Value = answer.json().await.map_err(|_| "no answer".to_owned())?;
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        match (text("access_token"), text("refresh_token")) {
            (Some(access_token), Some(refresh_token)) => Ok(Stored {
                refresh_token,
                access_token,
                expires_at: Instant::now() + Duration::from_secs(3600),
                failed_at: None,
            }),
            _ => Err(text("error").unwrap_or_else(|| "no answer".to_owned())),
        }
    }
}

impl Stored {
    fn is_fresh(&self) -> bool {
        self.expires_at > Instant::now()
    }
}

impl Model {
    /// A server of a kind.
    pub fn new(kind: Kind, shared: Arc<Shared>) -> Arc<Self> {
        let nango = nango::InFlight::default();
        Arc::new(Self {
            kind,
            shared,
            nango,
        })
    }

    /// An access token that is good, as this kind of server finds one.
    pub async fn token(self: &Arc<Self>, account: &str) -> Result<String, String> {
        match self.kind {
            Kind::Simple => simple::token(&self.shared, account).await,
            Kind::ProxyLock => proxy::token(&self.shared, account).await,
            Kind::NangoLock => nango::token(self, account).await,
        }
    }
}
