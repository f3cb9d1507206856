//! The listener, and which part of Microsoft a request is for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{any, get, post};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{Control, World, control, dataverse, entra, faults};

const HANDSHAKE: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(5);
/// Dataverse takes up to 128 MB in a request; nothing here needs more than a tenth of it.
pub(crate) const BODY_MAX: usize = 16 << 20;

pub(crate) type Shared = Arc<World>;

/// Whose connection a request came over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

pub(crate) fn router(world: Shared) -> Router {
    let faults = middleware::from_fn_with_state(Arc::clone(&world), faults::rehearse);
    let microsoft = microsoft()
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(faults);
    let all = match world.control {
        Control::Off => microsoft,
        // Faults do not reach the page that ends them.
        Control::On => microsoft.merge(control::router(&world)),
    };
    all.with_state(world)
}

fn microsoft() -> Router<Shared> {
    Router::new()
        .merge(entra_pages())
        .merge(entra_endpoints())
        .route("/api/discovery/{*rest}", any(dataverse::discover))
        .route("/api/{*rest}", any(dataverse::serve))
        .fallback(entra::not_found)
}

/// What people see of Entra.
fn entra_pages() -> Router<Shared> {
    Router::new()
        .route("/", get(entra::home))
        .route("/error", get(entra::code_page))
        .route(
            "/{tenant}/oauth2/authorize",
            get(entra::authorize_v1).post(entra::authorize_v1),
        )
        .route(
            "/{tenant}/oauth2/v2.0/authorize",
            get(entra::authorize_v2).post(entra::authorize_v2),
        )
        .route("/{tenant}/adminconsent", get(entra::admin_consent_v1))
        .route("/{tenant}/v2.0/adminconsent", get(entra::admin_consent_v2))
        .route("/{tenant}/login", post(entra::sign_in))
        .route("/{tenant}/approve", post(entra::approve))
        .route("/{tenant}/password", post(entra::new_password))
        .route("/{tenant}/consent", post(entra::consent))
        .route(
            "/devicelogin",
            get(entra::device_page).post(entra::device_entered),
        )
        .route(
            "/{tenant}/oauth2/deviceauth",
            get(entra::device_page).post(entra::device_entered),
        )
        .route(
            "/{tenant}/oauth2/logout",
            get(entra::sign_out).post(entra::sign_out),
        )
        .route(
            "/{tenant}/oauth2/v2.0/logout",
            get(entra::sign_out).post(entra::sign_out),
        )
}

/// What clients ask of Entra.
fn entra_endpoints() -> Router<Shared> {
    Router::new()
        .route("/{tenant}/oauth2/token", any(entra::token_v1))
        .route("/{tenant}/oauth2/v2.0/token", any(entra::token_v2))
        .route("/{tenant}/oauth2/devicecode", post(entra::device_code_v1))
        .route(
            "/{tenant}/oauth2/v2.0/devicecode",
            post(entra::device_code_v2),
        )
        .route(
            "/{tenant}/.well-known/openid-configuration",
            get(entra::metadata_v1),
        )
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            get(entra::metadata_v2),
        )
        .route("/{tenant}/discovery/keys", get(entra::keys))
        .route("/{tenant}/discovery/v2.0/keys", get(entra::keys_v2))
        .route("/common/discovery/instance", get(entra::instance))
        .route("/{tenant}/userrealm/{login}", get(entra::user_realm))
        .route(
            "/{tenant}/openid/userinfo",
            get(entra::user_info).post(entra::user_info),
        )
        .route(
            "/oidc/userinfo",
            get(entra::user_info).post(entra::user_info),
        )
}

pub(crate) async fn serve(
    router: Router,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => greet(stream, Peer(peer), &acceptor, &router, &graceful),
            Err(error) => {
                tracing::warn!(%error, "the sandbox could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    // What is still running then is cut off, as a machine that is switched off would.
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

fn greet(
    stream: TcpStream,
    peer: Peer,
    acceptor: &TlsAcceptor,
    router: &Router,
    graceful: &GracefulShutdown,
) {
    let (acceptor, router) = (acceptor.clone(), router.clone());
    let watcher = graceful.watcher();
    tokio::spawn(async move {
        let _ = stream.set_nodelay(true);
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
            return;
        };
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            let router = router.clone();
            request.extensions_mut().insert(peer);
            async move {
                let answered = router.oneshot(request).await;
                // An error here ends the connection of HTTP/1.1, and the stream of HTTP/2.
                faults::or_dropped(answered.unwrap_or_else(|never| match never {}))
            }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new());
        builder.http2().timer(TokioTimer::new());
        let connection = builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection to the sandbox broke");
        }
    });
}
