//! The listeners, and the way of a call through the phases.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use tieline_app::{Line, Refused, Who};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::address::{Ends, called, forwarded_scheme, in_front};
use crate::admit::admit;
use crate::coding::{Accepted, Coded};
use crate::forward::{Call, CallBody};
use crate::observe::Seen;
use crate::part::Kind;
use crate::refuse::{FAILED, TRACE_ID, refuse};
use crate::relay::{DIGESTS, check, relay};
use crate::route::{Route, authority, is_beneath, route};
use crate::turn::{Passing, Turner};
use crate::{Gateway, Inner};

/// How long a client may take to send its headers, and to shake hands.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause after the system could not accept a connection, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Answer = Response<Either<Passing<Incoming>, Full<Bytes>>>;

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
#[error("the gateway's listener failed: {0}")]
pub struct ServeError(#[from] io::Error);

impl Gateway {
    /// Serves until `stop` is cancelled; then calls in flight are finished, as long as the
    /// settings allow.
    ///
    /// # Errors
    /// When a listener has no address.
    pub async fn serve(
        self,
        listeners: Vec<TcpListener>,
        tls: Option<Arc<ServerConfig>>,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let acceptor = tls.map(TlsAcceptor::from);
        let graceful = GracefulShutdown::new();
        {
            let mut accepting = Vec::with_capacity(listeners.len());
            for listener in listeners {
                tracing::info!(address = %listener.local_addr()?, "the gateway is served");
                accepting.push(self.accept(listener, acceptor.clone(), &graceful, &stop));
            }
            futures_util::future::join_all(accepting).await;
        }
        if tokio::time::timeout(self.0.settings.drain, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("calls through the gateway were cut off at shutdown");
        }
        Ok(())
    }

    async fn accept(
        &self,
        listener: TcpListener,
        acceptor: Option<TlsAcceptor>,
        graceful: &GracefulShutdown,
        stop: &CancellationToken,
    ) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.greet(stream, acceptor.clone(), graceful),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn greet(&self, stream: TcpStream, acceptor: Option<TlsAcceptor>, graceful: &GracefulShutdown) {
        let gateway = self.clone();
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            // Answers are written whole; waiting for more only delays them.
            let _ = stream.set_nodelay(true);
            match acceptor {
                None => gateway.converse(stream, watcher, false).await,
                Some(acceptor) => {
                    let shaken = tokio::time::timeout(HEADER_TIMEOUT, acceptor.accept(stream));
                    match shaken.await {
                        Ok(Ok(stream)) => gateway.converse(stream, watcher, true).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    }
                }
            }
        });
    }

    async fn converse<S>(
        self,
        stream: S,
        watcher: hyper_util::server::graceful::Watcher,
        secure: bool,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = hyper::service::service_fn(move |request| {
            let inner = Arc::clone(&self.0);
            async move { Ok::<_, Infallible>(inner.answer(request, secure).await) }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT);
        builder.http2().timer(TokioTimer::new());
        let connection = builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection to the gateway broke");
        }
    }
}

impl Inner {
    async fn answer(&self, request: Request<Incoming>, secure: bool) -> Answer {
        if request.uri().path() == "/healthz" {
            return Response::new(Either::Right(Full::new(Bytes::from_static(b"ok\n"))));
        }
        let mut seen = Seen::new(request.method(), request.headers());
        let path = request.uri().path().to_owned();
        let (mut answer, failed) = match self.pass(request, secure, &mut seen).await {
            Ok(answer) => {
                // A 401 of Dynamics that a fresh token did not cure is not ours.
                let refused = answer.status() == StatusCode::UNAUTHORIZED;
                (answer, if refused { "dynamics" } else { "" })
            }
            Err(refused) => {
                let answer = refuse(&refused, &path, &seen.trace_id).map(Either::Right);
                (answer, refused.who.as_str())
            }
        };
        if !failed.is_empty() {
            answer
                .headers_mut()
                .insert(FAILED, HeaderValue::from_static(failed));
        }
        if let Ok(id) = HeaderValue::from_str(&seen.trace_id) {
            answer.headers_mut().insert(TRACE_ID, id);
        }
        seen.answered(answer.status().as_u16(), failed);
        answer
    }

    /// Admit, route, inject, forward, relay.
    async fn pass(
        &self,
        request: Request<Incoming>,
        secure: bool,
        seen: &mut Seen,
    ) -> Result<Answer, Refused> {
        let (head, body) = request.into_parts();
        let caller = admit(&self.app, &head.headers).await?;
        seen.consumer.clone_from(&caller.consumer_name);
        let suffix = self.settings.host_suffix.as_deref();
        let Route {
            account,
            target,
            prefix,
        } = route(&head.uri, &head.headers, suffix)?;
        let line = self.app.line_find(account.as_deref()).await?;
        seen.account.clone_from(&line.name);
        self.app.caller_may_use(&caller, &line)?;

        let ends = self.ends(&line, &head.uri, &head.headers, &prefix, secure);
        let mut headers = head.headers;
        let turner = match Coded::of(&headers) {
            Coded::Plain => Turner::of(&Kind::of_headers(&headers), || ends.there()),
            // What is compressed passes as it is.
            Coded::As(_) | Coded::Otherwise => None,
        };
        if turner.is_some() && headers.remove(header::CONTENT_LENGTH).is_some() {
            // Another address has another length.
            for digest in DIGESTS {
                headers.remove(digest);
            }
        }
        let body = CallBody::of(body, self.settings.replay_max, turner).await?;
        let method = head.method;
        let accepted = Accepted::of(&headers);
        let target = match ends.there().turn_query(target.as_str().as_bytes()) {
            Some(turned) => PathAndQuery::try_from(turned).unwrap_or(target),
            None => target,
        };
        let call = Call {
            method: method.clone(),
            target: beneath(in_front(&line.base_path), target)?,
            headers,
            body,
        };
        let timeout = self.settings.answer_timeout;
        let answer = self.upstream.call(&self.app, &line, call, timeout).await?;
        check(&answer)?;
        Ok(relay(answer, &method, accepted, &ends).map(Either::Left))
    }

    /// The address that the caller used, and the organization's. Behind a proxy that terminates TLS
    /// the configured address, or the proxy, knows the scheme better than the connection does.
    fn ends(
        &self,
        line: &Arc<Line>,
        uri: &Uri,
        headers: &HeaderMap,
        prefix: &str,
        secure: bool,
    ) -> Ends {
        let public = self.app.gateway_url();
        let configured = public.as_str().trim_end_matches('/');
        let known = configured.split_once("://");
        let here = match called(authority(uri, headers)) {
            Some(called) if known.is_none_or(|(_, known)| !known.eq_ignore_ascii_case(called)) => {
                let suffix = self.settings.host_suffix.as_deref();
                let scheme = match (forwarded_scheme(headers), known) {
                    _ if secure => "https",
                    (Some(scheme), _) => scheme,
                    (None, Some((scheme, _))) if is_beneath(called, suffix) => scheme,
                    _ => "http",
                };
                format!("{scheme}://{called}")
            }
            _ => configured.to_owned(),
        };
        Ends::new(Arc::clone(line), here, configured, prefix)
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
