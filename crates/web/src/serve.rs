//! Serving a router on a listener, with or without TLS, until told to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use tieline_app::App;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::site::{WebSettings, router};

/// How long a client may take to send its headers, and to shake hands.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long requests in flight may take to finish.
const DRAIN: Duration = Duration::from_secs(8);
/// Pause after the system could not accept a connection, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
#[error("the console's listener failed: {0}")]
pub struct ServeError(#[from] std::io::Error);

/// Serves console and API until `stop` is cancelled.
///
/// # Errors
/// When the listener has no address.
pub async fn serve(
    app: App,
    settings: WebSettings,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let router = router(app, settings);
    let acceptor = tls.map(TlsAcceptor::from);
    let graceful = GracefulShutdown::new();
    tracing::info!(address = %listener.local_addr()?, "the console is served");
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => greet(stream, acceptor.clone(), router.clone(), &graceful),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
    if drained.is_err() {
        tracing::warn!("requests to the console were cut off at shutdown");
    }
    Ok(())
}

fn greet(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    graceful: &GracefulShutdown,
) {
    let watcher = graceful.watcher();
    tokio::spawn(async move {
        match acceptor {
            None => talk(stream, router, watcher).await,
            Some(acceptor) => {
                let shaken = tokio::time::timeout(HEADER_TIMEOUT, acceptor.accept(stream)).await;
                if let Ok(Ok(stream)) = shaken {
                    talk(stream, router, watcher).await;
                }
            }
        }
    });
}

async fn talk<S>(stream: S, router: Router, watcher: hyper_util::server::graceful::Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    // A client that hangs up is no event.
    let _ = watcher.watch(connection).await;
}

async fn answer(router: Router, request: http::Request<Incoming>) -> axum::response::Response {
    let Ok(response) = router.oneshot(request).await;
    response
}
