//! The reverse proxy that swaps a consumer's API key for an account's access token.
//!
//! One file per phase: admit, route, inject, forward, relay, observe. What is deliberately absent:
//! credentials and their renewal, which the gateway asks `app` for, and any forwarding without a
//! token or to a host other than the account's.
//!
//! Below the phases stand the threads (`worker`), each with clients of its own (`guest`, `front`)
//! and connections to Dynamics of its own (`pool`, `connect`, and `wire` with `head`, `chunks` and
//! `outgoing` for HTTP/1.1).

mod address;
mod admit;
mod answer;
mod batch;
mod chunks;
mod coding;
mod connect;
mod cors;
mod fair;
mod forward;
mod framing;
mod front;
mod guest;
mod head;
mod inject;
mod keep;
mod known;
mod links;
mod local;
mod marks;
mod names;
mod observe;
mod outgoing;
mod part;
mod patience;
mod pool;
mod refuse;
mod relay;
mod route;
mod serve;
mod signs;
mod socket;
mod turn;
mod upload;
mod wire;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tieline_app::App;

use crate::connect::Connector;
use crate::observe::Named;

pub use serve::ServeError;

/// What the configuration says of the gateway.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// `gateway.example.com` lets `<account>.gateway.example.com` name an account.
    pub host_suffix: Option<String>,
    /// Origins whose pages may call from a browser, such as `https://desk.example.com`; `*` is all.
    pub allowed_origins: Vec<String>,
    /// How long calls in flight may take to finish at shutdown.
    pub drain: Duration,
    /// How long Dynamics may take to begin an answer once it has the request. Its own limit is two
    /// minutes.
    pub answer_timeout: Duration,
    /// How long nothing may come of a body that has begun, in either direction.
    pub body_timeout: Duration,
    /// Bodies up to this many bytes are kept while they are sent, so that a call can be repeated
    /// with a fresh token.
    pub replay_max: u64,
    /// What is spoken with Dynamics.
    pub protocols: Protocols,
}

/// What may be spoken with Dynamics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocols {
    /// HTTP/1.1, a connection for each call under way: the cheaper one to serve.
    #[default]
    Http1,
    /// HTTP/2 where the other side offers it: one connection for many calls.
    Http2Too,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            host_suffix: None,
            allowed_origins: Vec::new(),
            drain: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(150),
            body_timeout: Duration::from_secs(120),
            replay_max: 1 << 20,
            protocols: Protocols::default(),
        }
    }
}

/// The gateway. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    app: App,
    settings: GatewaySettings,
    connector: Connector,
    named: Arc<Named>,
}

impl Gateway {
    /// A gateway to the accounts of an installation.
    #[must_use]
    pub fn new(app: App, settings: GatewaySettings) -> Self {
        let connector = Connector::new(app.outbound(), settings.protocols);
        Self(Arc::new(Inner {
            app,
            settings,
            connector,
            named: Arc::default(),
        }))
    }
}
