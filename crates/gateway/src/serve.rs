//! The threads, and the way of a call through the phases.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use rustls::ServerConfig;
use tieline_app::{App, Line, Refused};
use tokio_util::sync::CancellationToken;

use crate::address::{Ends, Here, called, forwarded_scheme};
use crate::admit::admit;
use crate::answer::AnswerBody;
use crate::coding::{Accepted, Coded};
use crate::cors::{is_preflight, open, preflight};
use crate::fair;
use crate::forward::{Call, not_callable};
use crate::guest::Calling;
use crate::inject::request_headers;
use crate::keep::CallBody;
use crate::known::Way;
use crate::marks::Marks;
use crate::observe::Seen;
use crate::part::Kind;
use crate::refuse::{FAILED, TRACE_ID, refuse};
use crate::relay::{check, relay, unsay_length};
use crate::route::{Route, Target, authority, is_beneath, route};
use crate::turn::{Passing, Turner, at_hand};
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

/// Dynamics' body, on its way back.
type Relayed = Passing<Box<AnswerBody>>;

/// An answer's body, which holds the client's connection to be busy until it has gone out.
#[derive(Debug)]
pub(crate) struct Told {
    body: Either<Relayed, Full<Bytes>>,
    /// Why the body has ended too early; said once what came before it has gone out.
    failed: Option<<Either<Relayed, Full<Bytes>> as Body>::Error>,
    version: Version,
    calling: Calling,
}

impl Body for Told {
    type Data = Bytes;
    type Error = <Either<Relayed, Full<Bytes>> as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(error) = self.failed.take() {
            // HTTP/1.0 knows no chunks: a body of unknown length ends with its connection.
            if self.version == Version::HTTP_10 {
                self.calling.spoil();
            }
            return Poll::Ready(Some(Err(error)));
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            // hyper drops what it has not written yet when a body fails. It writes when a body lets
            // it wait, and the caller hears what Dynamics said until then.
            Poll::Ready(Some(Err(error))) => {
                self.failed = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
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
    let (mut head, body) = request.into_parts();
    let version = head.version;
    let told = |body| Told {
        body,
        failed: None,
        version,
        calling,
    };
    if head.uri.path() == "/healthz" {
        let body = Either::Right(Full::new(Bytes::from_static(b"ok\n")));
        return Ok(Response::new(told(body)));
    }
    let marks = Marks::of(&head.headers);
    let mut seen = Seen::new(&head.headers, marks, worker.inner.app.moment());
    let allowed = &worker.inner.settings.allowed_origins;
    let origin = if marks.has(Marks::ORIGIN) {
        head.headers.get(header::ORIGIN).cloned()
    } else {
        None
    };
    let asks = origin.is_some() && is_preflight(&head.method, &head.headers);
    let passed = if asks {
        preflight(allowed, &head.headers).map(|answer| answer.map(Either::Right))
    } else {
        let call = Came {
            head: &mut head,
            marks,
            body,
            scheme,
        };
        let passed = pass(&worker, call, &mut seen).await;
        passed.map(|answer| answer.map(Either::Left))
    };
    let (mut answer, failed) = match passed {
        Ok(answer) => {
            // A 401 of Dynamics that a fresh token did not cure is not ours.
            let refused = answer.status() == StatusCode::UNAUTHORIZED;
            (answer, if refused { "dynamics" } else { "" })
        }
        Err(refused) => {
            let answer = refuse(&refused, head.uri.path(), seen.trace_id.as_str());
            (answer.map(Either::Right), refused.who.as_str())
        }
    };
    let headers = answer.headers_mut();
    if !failed.is_empty() {
        headers.insert(FAILED, HeaderValue::from_static(failed));
    }
    if let Some(id) = seen.trace_id.header() {
        headers.insert(TRACE_ID, id);
    }
    if let Some(origin) = origin.filter(|_| !asks) {
        open(allowed, &origin, headers);
    }
    let status = answer.status().as_u16();
    seen.answered(&worker.meters, &head.method, status, failed);
    Ok(answer.map(told))
}

/// A call as it came.
struct Came<'a> {
    head: &'a mut Parts,
    marks: Marks,
    body: Incoming,
    scheme: &'static str,
}

/// Admit, route, wait, inject, forward, relay.
async fn pass(
    worker: &Worker,
    came: Came<'_>,
    seen: &mut Seen,
) -> Result<Response<Relayed>, Refused> {
    let Came {
        head,
        marks,
        body,
        scheme,
    } = came;
    let Inner { app, settings, .. } = &*worker.inner;
    let caller = admit(worker, &head.headers, marks).await?;
    let caller = seen.caller.insert(caller);
    let suffix = settings.host_suffix.as_deref();
    let Route {
        account,
        others,
        target,
        prefix,
    } = route(&head.uri, &head.headers, suffix)?;
    let line = match known(app, account.as_deref(), &others) {
        Some(line) => line,
        None => find(worker, account.map(Cow::into_owned), others).await?,
    };
    let line = seen.line.insert(line);
    app.caller_may_use(caller, line, seen.came)?;

    let terms = app.call_terms(caller, &fair::wish(&head.headers, marks)?, seen.came);

    let ends = ends(worker, line, head, marks, prefix, scheme);
    let mut headers = std::mem::take(&mut head.headers);
    let turner = turner(&mut headers, marks, &ends);
    let body = pin!(CallBody::of(worker, body, turner));
    let body = fair::before_deadline(&terms, body).await?;
    let says_nothing = says_nothing(&body, &head.method, marks);
    let accepted = Accepted::of(&headers, marks);
    request_headers(&mut headers, marks);
    let call = Call {
        method: head.method.clone(),
        target: beneath(&line.front, queried(target, &ends))?,
        headers,
        accepted,
        says_nothing,
        body,
    };
    // The one place where a call waits for its turn: what can be kept of it is here by now, so
    // that a slow sender takes no place at Dynamics.
    let answer = fair::call(worker, caller, line, &terms, call).await?;
    let marks = Marks::of(answer.headers());
    check(&answer, marks)?;
    let mut answer = relay(answer, marks, &head.method, accepted, &ends);
    at_hand(&mut answer).await;
    Ok(answer)
}

/// What turns the links in the caller's body, where it can have any.
fn turner(headers: &mut HeaderMap, marks: Marks, ends: &Ends) -> Option<Turner> {
    // What is compressed passes as it is.
    let plain = Coded::of(headers, marks) == Coded::Plain;
    let kind = if plain {
        Kind::of_headers(headers)
    } else {
        Kind::Other
    };
    let turner = Turner::of(&kind, || ends.there())?;
    // Another address has another length.
    unsay_length(headers, marks);
    Some(turner)
}

/// A call that could have a body and has none says so, and one that said so already: HTTP/2 and
/// chunks end a body without a length, and IIS answers 411 to a request that says nothing.
fn says_nothing(body: &CallBody, method: &Method, marks: Marks) -> bool {
    let empty = matches!(body, CallBody::Kept(bytes) if bytes.is_empty());
    let may_have = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    empty && (may_have || marks.has(Marks::CONTENT_LENGTH))
}

/// The target, with the addresses in its query turned.
fn queried(target: Target, ends: &Ends) -> Target {
    let bytes = target.as_str().as_bytes();
    if !may_name_a_row(bytes) {
        return target;
    }
    let turned = ends.there().turn_query(bytes);
    let turned = turned.and_then(|turned| PathAndQuery::try_from(turned).ok());
    turned.map_or(target, Target::from)
}

/// Whether a row's address may be in a query: as `$id`, or in something with an `@`, either of which
/// may be percent-encoded.
fn may_name_a_row(target: &[u8]) -> bool {
    let Some(question) = memchr::memchr(b'?', target) else {
        return false;
    };
    let query = &target[question + 1..];
    let is_id = |at: usize| query[at + 1..].starts_with(b"id");
    memchr::memchr2(b'@', b'%', query).is_some() || memchr::memchr_iter(b'$', query).any(is_id)
}

/// The account that is meant, where it was met before; a host's name may stand for several
/// spellings.
fn known(app: &App, account: Option<&str>, others: &[String]) -> Option<Arc<Line>> {
    let known = app.line_known(account);
    known.or_else(|| others.iter().find_map(|name| app.line_known(Some(name))))
}

/// The account that is meant, from the database.
async fn find(
    worker: &Worker,
    account: Option<String>,
    others: Vec<String>,
) -> Result<Arc<Line>, Refused> {
    let app = worker.inner.app.clone();
    let found = worker.at_home(async move {
        let found = app.line_find(account.as_deref()).await;
        if found.is_ok() {
            return found;
        }
        for name in &others {
            if let Ok(line) = app.line_find(Some(name)).await {
                return Ok(line);
            }
        }
        found
    });
    Box::pin(found).await
}

/// The address that the caller used, and the organization's. Behind a proxy that terminates TLS the
/// configured address, or the proxy, knows the scheme better than the connection does.
fn ends(
    worker: &Worker,
    line: &Arc<Line>,
    head: &Parts,
    marks: Marks,
    prefix: &str,
    scheme: &'static str,
) -> Rc<Ends> {
    let way = Way {
        line,
        scheme,
        forwarded: forwarded_scheme(&head.headers, marks),
        authority: authority(&head.uri, &head.headers).unwrap_or_default(),
        prefix,
    };
    worker.known.ends(&way, || make_here(worker, &way))
}

fn make_here(worker: &Worker, way: &Way<'_>) -> Here {
    let Inner { app, settings, .. } = &*worker.inner;
    let configured = app.gateway_url().as_str().trim_end_matches('/');
    let known = configured.split_once("://");
    let called = called(way.authority)
        .filter(|called| known.is_none_or(|(_, known)| !known.eq_ignore_ascii_case(called)));
    let here = match called {
        Some(called) => {
            let suffix = settings.host_suffix.as_deref();
            let scheme = match (way.forwarded, known) {
                _ if way.scheme == "https" => way.scheme,
                (Some(forwarded), _) => forwarded,
                (None, Some((known, _))) if is_beneath(called, suffix) => known,
                _ => way.scheme,
            };
            [scheme, "://", called].concat()
        }
        None => configured.to_owned(),
    };
    Here::new(here, configured)
}

fn beneath(front: &str, target: Target) -> Result<Target, Refused> {
    if front.is_empty() {
        return Ok(target);
    }
    let beneath = format!("{front}{}", target.as_str());
    let beneath = PathAndQuery::try_from(beneath).map_err(|_| not_callable())?;
    Ok(beneath.into())
}
