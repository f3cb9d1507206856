//! The router: every route of the console and the API, with the layers around them.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::{ExposeSecret, SecretString};
use tieline_app::App;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::{api, assets, console, guard};

/// What the binary says of itself.
#[derive(Clone)]
pub struct WebSettings {
    /// Whether cookies are sent over https only.
    pub secure_cookies: bool,
    /// Renders Prometheus' text format.
    pub metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    /// What a scraper has to show as a bearer token; none lets everybody read.
    pub metrics_token: Option<SecretString>,
    /// The version of the binary.
    pub version: String,
}

impl fmt::Debug for WebSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSettings")
            .field("secure_cookies", &self.secure_cookies)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What every handler holds.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) app: App,
    pub(crate) settings: Arc<WebSettings>,
}

/// Every route.
pub fn router(app: App, settings: WebSettings) -> Router {
    let site = Site {
        app,
        settings: Arc::new(settings),
    };
    Router::new()
        .merge(console::routes())
        .nest("/api", api::routes())
        .route("/static/{file}", get(assets::file))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(console::not_found)
        .layer(middleware::from_fn(guard::same_origin))
        .layer(middleware::from_fn(guard::security_headers))
        .layer(CatchPanicLayer::new())
        .layer(CompressionLayer::new())
        .with_state(site)
}

/// The process answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The process can do its work: the database answers.
async fn readyz(State(site): State<Site>) -> Response {
    match site.app.ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer\n",
            )
                .into_response()
        }
    }
}

async fn metrics(State(site): State<Site>, headers: HeaderMap) -> Response {
    let Some(render) = &site.settings.metrics else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !may_scrape(&headers, site.settings.metrics_token.as_ref()) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"metrics\"")];
        return (
            StatusCode::UNAUTHORIZED,
            challenge,
            "metrics.token is wanted\n",
        )
            .into_response();
    }
    // https://prometheus.io/docs/instrumenting/exposition_formats/
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], render()).into_response()
}

fn may_scrape(headers: &HeaderMap, token: Option<&SecretString>) -> bool {
    let Some(token) = token else { return true };
    let shown = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, shown)| shown.trim());
    // Hashes are compared, so that the time taken tells nothing of the token.
    let hash = |text: &str| {
        use std::hash::BuildHasher;
        HASHER.hash_one(text)
    };
    shown.is_some_and(|shown| {
        hash(shown) == hash(token.expose_secret()) && shown == token.expose_secret()
    })
}

/// Keyed at random when the process starts.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
