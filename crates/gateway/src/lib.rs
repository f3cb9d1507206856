//! The reverse proxy that swaps a consumer's API key for an account's access token.
//!
//! One file per phase: admit, route, inject, forward, relay, observe. What is deliberately absent:
//! credentials and their renewal, which the gateway asks `app` for, and any forwarding without a
//! token or to a host other than the account's.

mod address;
mod admit;
mod batch;
mod coding;
mod connect;
mod forward;
mod inject;
mod links;
mod observe;
mod part;
mod refuse;
mod relay;
mod route;
mod serve;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use tieline_app::App;

use crate::forward::Upstream;

pub use serve::ServeError;

/// What the configuration says of the gateway.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// `gateway.example.com` lets `<account>.gateway.example.com` name an account.
    pub host_suffix: Option<String>,
    /// How long calls in flight may take to finish at shutdown.
    pub drain: Duration,
    /// How long Dynamics may take to begin an answer. Its own limit is two minutes.
    pub answer_timeout: Duration,
    /// Bodies up to this many bytes are kept while they are sent, so that a call can be repeated
    /// with a fresh token.
    pub replay_max: u64,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            host_suffix: None,
            drain: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(150),
            replay_max: 1 << 20,
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
    upstream: Upstream,
}

impl Gateway {
    /// A gateway to the accounts of an installation.
    #[must_use]
    pub fn new(app: App, settings: GatewaySettings) -> Self {
        let upstream = Upstream::new(app.outbound());
        Self(Arc::new(Inner {
            app,
            settings,
            upstream,
        }))
    }
}
