//! Phase four: the call to Dynamics, with one replay where the token was refused.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Full};
use tieline_app::{Line, LiveToken, OutboundError, Refused, Who};

use crate::answer::AnswerBody;
use crate::connect::ConnectError;
use crate::inject::inject;
use crate::keep::{CallBody, stalled};
use crate::pool::Lease;
use crate::upload::{Progress, Upload};
use crate::wire::{Outgoing, Unanswered};
use crate::worker::Worker;

/// A call as it goes on.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) body: CallBody,
}

/// Makes a call with the account's token; once more with a fresh one after a 401.
pub(crate) async fn forward(
    worker: &Worker,
    line: &Arc<Line>,
    call: Call,
) -> Result<Response<Box<AnswerBody>>, Refused> {
    let token = match worker.inner.app.token_fresh(line) {
        Some(token) => token,
        None => Box::pin(token(worker, line)).await?,
    };
    let (sending, kept) = Sending::of(call);
    let ready = sending.with(token.header_value(), line);
    let first = send(worker, line, ready, kept.as_ref(), &token).await?;
    match first.status() {
        StatusCode::UNAUTHORIZED => {}
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            return Ok(keeping(first, kept));
        }
        _ => return Ok(first),
    }
    Box::pin(again(worker, line, token, first, kept)).await
}

/// An answer that asks to come back later takes along what it takes to do so.
fn keeping(mut answer: Response<Box<AnswerBody>>, kept: Option<Kept>) -> Response<Box<AnswerBody>> {
    if let Some(kept) = kept {
        answer.extensions_mut().insert(kept);
    }
    answer
}

/// The call that an answer asks to make later, where it is at hand.
pub(crate) fn kept(answer: &mut Response<Box<AnswerBody>>) -> Option<Call> {
    let kept = answer.extensions_mut().remove::<Kept>()?;
    Some(Call {
        method: kept.method,
        target: kept.target,
        headers: kept.headers,
        body: CallBody::Kept(kept.body),
    })
}

async fn token(worker: &Worker, line: &Arc<Line>) -> Result<Arc<LiveToken>, Refused> {
    let (app, line) = (worker.inner.app.clone(), Arc::clone(line));
    worker.at_home(async move { app.token(&line).await }).await
}

/// What follows a 401: a fresh token, and the call once more where its body is at hand.
async fn again(
    worker: &Worker,
    line: &Arc<Line>,
    refused: Arc<LiveToken>,
    first: Response<Box<AnswerBody>>,
    kept: Option<Kept>,
) -> Result<Response<Box<AnswerBody>>, Refused> {
    let challenge = challenge(first.headers());
    let (app, at) = (worker.inner.app.clone(), Arc::clone(line));
    let fresh = worker.at_home(async move {
        app.token_rejected(&at, &refused, challenge.as_deref())
            .await
    });
    let fresh = fresh.await?;
    let Some(kept) = kept else {
        // The body is gone; the caller hears of the 401, and its next call gets the new token.
        return Ok(first);
    };
    drop(first);
    metrics::counter!("tieline_gateway_replays_total").increment(1);
    let ready = kept.sending().with(fresh.header_value(), line);
    let answer = send(worker, line, ready, Some(&kept), &fresh).await?;
    Ok(match answer.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            keeping(answer, Some(kept))
        }
        _ => answer,
    })
}

/// What a 401 asks for. A challenge for claims (continuous access evaluation) may stand beside
/// another, in a header of its own, and is the one that says more.
fn challenge(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    let claims = values.iter().find(|value| value.contains("claims="));
    claims.or(values.first()).map(|value| (*value).to_owned())
}

// === one sending ===

/// A request without its token.
struct Sending {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    body: Outgoing,
    progress: Option<Rc<Progress>>,
}

/// What it takes to send a request once more.
#[derive(Clone)]
struct Kept {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

/// A request, ready to go.
struct Ready {
    request: Request<Outgoing>,
    progress: Option<Rc<Progress>>,
}

impl Sending {
    fn of(call: Call) -> (Self, Option<Kept>) {
        let Call {
            method,
            target,
            headers,
            body,
        } = call;
        match body {
            CallBody::Kept(body) => {
                let kept = Kept {
                    method,
                    target,
                    headers,
                    body,
                };
                (kept.sending(), Some(kept))
            }
            CallBody::Streaming(body) => {
                let (upload, progress) = Upload::new(body);
                let sending = Self {
                    method,
                    target,
                    headers,
                    body: Either::Right(Box::new(upload)),
                    progress: Some(progress),
                };
                (sending, None)
            }
        }
    }

    fn with(self, token: &HeaderValue, line: &Line) -> Ready {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::from(self.target);
        *request.headers_mut() = self.headers;
        inject(request.headers_mut(), token, &line.host_header);
        Ready {
            request,
            progress: self.progress,
        }
    }
}

impl Kept {
    fn sending(&self) -> Sending {
        Sending {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            body: Either::Left(Full::new(self.body.clone())),
            progress: None,
        }
    }
}

/// Sends a request; once more where the connection had been closed while it lay idle.
async fn send(
    worker: &Worker,
    line: &Arc<Line>,
    ready: Ready,
    kept: Option<&Kept>,
    token: &LiveToken,
) -> Result<Response<Box<AnswerBody>>, Refused> {
    let Ready { request, progress } = ready;
    let progress = progress.as_deref();
    // On an idle connection, or a new one where there is none.
    let attempt = match worker.pool.idle(line) {
        Some(lease) => exchange(worker, line, lease, request, progress).await,
        None => Box::pin(fresh(worker, line, request, progress)).await,
    };
    let broke = match attempt {
        Ok(answer) => return Ok(answer),
        Err(Failure::Refused(refused)) => return Err(refused),
        Err(Failure::Broken(broke)) => broke,
    };
    tracing::debug!(error = %broke.error, "a connection to Dynamics broke before an answer");
    let request = match (broke.unsent, kept) {
        // Not a byte of it left, so it is not repeated, it is sent.
        (Some(request), _) => request,
        // What is safe to repeat is repeated (RFC 9110, section 9.2.2).
        (None, Some(kept)) if kept.method.is_safe() => {
            kept.sending().with(token.header_value(), line).request
        }
        _ => return Err(broken(line)),
    };
    match Box::pin(fresh(worker, line, request, progress)).await {
        Ok(answer) => Ok(answer),
        Err(Failure::Refused(refused)) => Err(refused),
        Err(Failure::Broken(_)) => Err(broken(line)),
    }
}

/// On a new connection.
async fn fresh(
    worker: &Worker,
    line: &Arc<Line>,
    request: Request<Outgoing>,
    progress: Option<&Progress>,
) -> Result<Response<Box<AnswerBody>>, Failure> {
    let lease = worker.pool.connect(line).await;
    let lease = lease.map_err(|error| Failure::Refused(unreachable(&error, line)))?;
    exchange(worker, line, lease, request, progress).await
}

/// One request and the head of its answer: every answer of Dynamics passes here, and nowhere else.
async fn exchange(
    worker: &Worker,
    line: &Line,
    lease: Lease,
    mut request: Request<Outgoing>,
    progress: Option<&Progress>,
) -> Result<Response<Box<AnswerBody>>, Failure> {
    let settings = &worker.inner.settings;
    let patience = settings.body_timeout;
    let limit = settings.answer_timeout;
    match lease {
        Lease::Http1(mut leased) => {
            let answered = within(worker, progress, leased.wire.exchange(request)).await;
            let answer = answered.map_err(|late| late.refused(line, limit))?;
            let answer = answer.map_err(|error| Failure::Broken(Box::new(error)))?;
            Ok(answer.map(|body| AnswerBody::new(body, Some(leased), patience)))
        }
        Lease::Http2(mut sender) => {
            absolute(&mut request, line);
            let answered = within(worker, progress, sender.try_send_request(request)).await;
            let answer = answered.map_err(|late| late.refused(line, limit))?;
            let answer = answer.map_err(|mut error| {
                Failure::Broken(Box::new(Unanswered {
                    unsent: error.take_message().map(relative),
                    error: error.into_error(),
                }))
            })?;
            Ok(answer.map(|body| AnswerBody::new(body, None, patience)))
        }
    }
}

/// HTTP/2 says scheme and authority with the path (RFC 9113, section 8.3.1).
fn absolute(request: &mut Request<Outgoing>, line: &Line) {
    let uri = Uri::builder()
        .scheme(line.origin.scheme())
        .authority(line.authority.as_str());
    let target = request.uri().path_and_query().cloned();
    if let Some(target) = target
        && let Ok(uri) = uri.path_and_query(target).build()
    {
        request.headers_mut().remove(header::HOST);
        *request.uri_mut() = uri;
    }
}

/// HTTP/1.1 says the path alone.
fn relative(mut request: Request<Outgoing>) -> Request<Outgoing> {
    let authority = request.uri().authority();
    let host = authority.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    if let Some(target) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(target);
    }
    request
}

/// Who was waited for too long.
#[derive(Debug, Clone, Copy)]
enum Late {
    Caller,
    Dynamics,
}

/// Waits for the head of an answer. While the caller still sends, the time begins anew with every
/// piece: a large body on a slow line is no fault of Dynamics.
async fn within<T>(
    worker: &Worker,
    progress: Option<&Progress>,
    answer: impl Future<Output = T>,
) -> Result<T, Late> {
    let limit = worker.inner.settings.answer_timeout;
    let mut answer = pin!(answer);
    loop {
        if let Some(answered) = worker.patience.within(limit, answer.as_mut()).await {
            return Ok(answered);
        }
        match progress {
            Some(progress) if progress.went_on() => {}
            Some(progress) if progress.is_open() => return Err(Late::Caller),
            _ => return Err(Late::Dynamics),
        }
    }
}

impl Late {
    fn refused(self, line: &Line, limit: Duration) -> Failure {
        Failure::Refused(match self {
            Late::Caller => stalled(limit),
            Late::Dynamics => {
                let text = format!(
                    "{} did not begin its answer within {} seconds.",
                    line.authority,
                    limit.as_secs()
                );
                Refused::new(Who::Dynamics, 504, "dynamics-timeout", text)
            }
        })
    }
}

// === a call that got no answer ===

enum Failure {
    Refused(Refused),
    /// The connection broke before an answer began.
    Broken(Box<Unanswered>),
}

fn broken(line: &Line) -> Refused {
    let text = format!(
        "{} closed the connection before it answered.",
        line.authority
    );
    Refused::new(Who::Dynamics, 502, "dynamics-broken", text)
}

fn unreachable(error: &ConnectError, line: &Line) -> Refused {
    let host = &line.authority;
    let (who, code, detail) = match error {
        ConnectError::Outbound(
            refused @ (OutboundError::NotPublic { .. } | OutboundError::NotHttps { .. }),
        ) => (
            Who::Tieline,
            "address-not-allowed",
            format!("Tieline may not call this address: {refused}."),
        ),
        ConnectError::Outbound(other) => (
            Who::Dynamics,
            "dynamics-unreachable",
            format!("{host} cannot be reached: {other}."),
        ),
        ConnectError::Tls(other) => (
            Who::Dynamics,
            "dynamics-tls",
            format!("The TLS connection to {host} failed: {other}."),
        ),
        ConnectError::Http2(_) => return broken(line),
        ConnectError::NoHost => {
            let text = "The account's API URL cannot be called.";
            (Who::Tieline, "api-url-malformed", text.to_owned())
        }
    };
    Refused::new(who, 502, code, detail)
}
