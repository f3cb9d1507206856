//! The threads, and the way of a call through the phases.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use rustls::ServerConfig;
use tieline_app::{App, Line, Refused, Who};
use tokio_util::sync::CancellationToken;

use crate::admit::admit;
use crate::forward::{Call, CallBody, forward};
use crate::guest::Calling;
use crate::links::Links;
use crate::observe::Seen;
use crate::refuse::{FAILED, TRACE_ID, refuse};
use crate::relay::{Here, Relayed, is_plain_json, relay};
use crate::route::{Route, authority, route};
use crate::worker::{self, Worker};
use crate::{Gateway, Inner};

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener cannot be used.
    #[error("the gateway's listener failed: {0}")]
    Listener(#[from] io::Error),
    /// A thread broke down.
    #[error("a thread of the gateway broke down")]
    Thread,
}

impl Gateway {
    /// Serves until `stop` is cancelled; then calls in flight are finished, as long as the
    /// settings allow. Each listener gets a thread of its own; those of one address share what
    /// comes to it when they were bound with `SO_REUSEPORT`.
    ///
    /// # Errors
    /// When a listener has no address, or a thread cannot be had.
    pub async fn serve(
        self,
        listeners: Vec<TcpListener>,
        tls: Option<Arc<ServerConfig>>,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let mut threads = Vec::with_capacity(listeners.len());
        for (number, listener) in listeners.into_iter().enumerate() {
            let address = listener.local_addr()?;
            tracing::info!(%address, worker = number, "the gateway is served");
            listener.set_nonblocking(true)?;
            let (ended, end) = tokio::sync::oneshot::channel();
            let (inner, tls, stop) = (Arc::clone(&self.0), tls.clone(), stop.clone());
            let home = tokio::runtime::Handle::current();
            std::thread::Builder::new()
                .name(format!("gateway-{number}"))
                .spawn(move || {
                    let result = worker::run(inner, listener, tls, home, &stop);
                    // Nobody waits when the server has given up already.
                    let _ = ended.send(result);
                })?;
            threads.push(end);
        }
        for thread in threads {
            thread.await.map_err(|_| ServeError::Thread)??;
        }
        Ok(())
    }
}

/// An answer's body, which holds the client's connection to be busy until it has gone out.
#[derive(Debug)]
pub(crate) struct Told {
    body: Either<Relayed, Full<Bytes>>,
    _calling: Calling,
}

impl Body for Told {
    type Data = Bytes;
    type Error = <Either<Relayed, Full<Bytes>> as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Answers a call; `scheme` is that of the client's connection.
pub(crate) async fn answer(
    worker: Rc<Worker>,
    calling: Calling,
    request: Request<Incoming>,
    scheme: &'static str,
) -> Result<Response<Told>, Infallible> {
    let told = |body| Told {
        body,
        _calling: calling,
    };
    if request.uri().path() == "/healthz" {
        let body = Either::Right(Full::new(Bytes::from_static(b"ok\n")));
        return Ok(Response::new(told(body)));
    }
    let mut seen = Seen::new(request.method(), request.headers());
    let uri = request.uri().clone();
    let (mut answer, failed) = match pass(&worker, request, scheme, &mut seen).await {
        Ok(answer) => {
            // A 401 of Dynamics that a fresh token did not cure is not ours.
            let refused = answer.status() == StatusCode::UNAUTHORIZED;
            let failed = if refused { "dynamics" } else { "" };
            (answer.map(Either::Left), failed)
        }
        Err(refused) => {
            let answer = refuse(&refused, uri.path(), seen.trace_id.as_str());
            (answer.map(Either::Right), refused.who.as_str())
        }
    };
    if !failed.is_empty() {
        answer
            .headers_mut()
            .insert(FAILED, HeaderValue::from_static(failed));
    }
    if let Some(id) = seen.trace_id.header() {
        answer.headers_mut().insert(TRACE_ID, id);
    }
    seen.answered(&worker.meters, answer.status().as_u16(), failed);
    Ok(answer.map(told))
}

/// Admit, route, inject, forward, relay.
async fn pass(
    worker: &Worker,
    request: Request<Incoming>,
    scheme: &'static str,
    seen: &mut Seen,
) -> Result<Response<Relayed>, Refused> {
    let Inner { app, settings, .. } = &*worker.inner;
    let (head, body) = request.into_parts();
    let caller = admit(worker, &head.headers).await?;
    let caller = seen.caller.insert(caller);
    let suffix = settings.host_suffix.as_deref();
    let Route {
        account,
        target,
        prefix,
    } = route(&head.uri, &head.headers, suffix)?;
    let line = seen.line.insert(find(worker, account).await?);
    app.caller_may_use(caller, line)?;

    // ADMISSION: the one place where a call waits for its turn, after it is known whose it is and
    // before a byte of its body is read.

    let here = here(app, &head.uri, &head.headers, &prefix, scheme);
    let mut body = CallBody::of(body, settings).await?;
    let mut headers = head.headers;
    if let CallBody::Kept(bytes) = &mut body
        && is_plain_json(&headers)
    {
        // What a client learned here it says again: rows to bind to lead back to Dynamics.
        let mut links = Links::new(&here.0, &line.there);
        let turned = [links.turn(std::mem::take(bytes)), links.rest()];
        *bytes = Bytes::from(turned.concat());
        headers.remove(header::CONTENT_LENGTH);
    }
    let method = head.method;
    let call = Call {
        method: method.clone(),
        target: beneath(&line.front, target)?,
        headers,
        body,
    };
    let answer = forward(worker, line, call).await?;
    Ok(relay(answer, &method, &line.there, &here))
}

/// The account that is meant.
async fn find(worker: &Worker, account: Option<String>) -> Result<Arc<Line>, Refused> {
    let app = &worker.inner.app;
    if let Some(line) = app.line_known(account.as_deref()) {
        return Ok(line);
    }
    let app = app.clone();
    let found = worker.at_home(async move { app.line_find(account.as_deref()).await });
    Box::pin(found).await
}

/// The address that the caller used. Behind a proxy that terminates TLS the configured address
/// knows the scheme better than the connection does.
fn here(app: &App, uri: &Uri, headers: &HeaderMap, prefix: &str, scheme: &str) -> Here {
    let public = app.gateway_url();
    let configured = public.as_str().trim_end_matches('/');
    let called = authority(uri, headers);
    let known = configured.split_once("://").map(|(_, authority)| authority);
    match called {
        Some(called) if known.is_none_or(|known| !known.eq_ignore_ascii_case(called)) => {
            Here([scheme, "://", called, prefix].concat())
        }
        _ => Here([configured, prefix].concat()),
    }
}

fn beneath(front: &str, target: PathAndQuery) -> Result<PathAndQuery, Refused> {
    if front.is_empty() {
        return Ok(target);
    }
    format!("{front}{target}").parse().map_err(|_| {
        let text = "The account's API URL cannot be called.";
        Refused::new(Who::Tieline, 502, "api-url-malformed", text)
    })
}
