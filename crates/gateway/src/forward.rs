//! Phase four: the call to Dynamics, with one replay where the token was refused.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tieline_app::{Line, LiveToken, Moment, OutboundError, Refused, Who};

use crate::answer::AnswerBody;
use crate::coding::Accepted;
use crate::connect::ConnectError;
use crate::head::{Asked, Length};
use crate::inject::inject;
use crate::keep::{CallBody, cut_off, stalled};
use crate::outgoing::Outgoing;
use crate::pool::{Http2, Lease, Leased};
use crate::route::Target;
use crate::upload::{Progress, Upload};
use crate::wire::{Broke, Unanswered};
use crate::worker::Worker;

/// A call as it goes on. It stays where it is while it is sent, for as long as it may have to be
/// sent again.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    /// How its answer may be compressed.
    pub(crate) accepted: Accepted,
    /// Whether a length is said although it is nothing.
    pub(crate) says_nothing: bool,
    pub(crate) body: CallBody,
}

impl Call {
    /// Whether all that it takes to send it is at hand.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.body, CallBody::Kept(_))
    }

    /// What there is to send, and how far it has come where that is not known in front. A body that
    /// streams is gone then.
    fn outgoing(&mut self) -> Sent {
        match std::mem::replace(&mut self.body, CallBody::Gone) {
            CallBody::Kept(body) => {
                self.body = CallBody::Kept(body.clone());
                Sent::whole(body)
            }
            CallBody::Streaming(body) => {
                let (upload, progress) = Upload::new(*body);
                Sent {
                    body: Outgoing::Streaming(Box::new(upload)),
                    progress: Some(progress),
                }
            }
            CallBody::Gone => Sent::whole(Bytes::new()),
        }
    }
}

/// Makes a call with the account's token; once more with a fresh one after a 401.
pub(crate) async fn forward(
    worker: &Worker,
    line: &Arc<Line>,
    call: &mut Call,
    now: Moment,
) -> Result<Response<Box<AnswerBody>>, Refused> {
    let token = match worker.inner.app.token_fresh(line, now) {
        Some(token) => token,
        None => Box::pin(token(worker, line)).await?,
    };
    let first = send(worker, line, call, &token).await?;
    if first.status() != StatusCode::UNAUTHORIZED {
        return Ok(first);
    }
    Box::pin(again(worker, line, token, first, call)).await
}

async fn token(worker: &Worker, line: &Arc<Line>) -> Result<LiveToken, Refused> {
    let (app, line) = (worker.inner.app.clone(), Arc::clone(line));
    worker.at_home(async move { app.token(&line).await }).await
}

/// What follows a 401: a fresh token, and the call once more where its body is at hand.
async fn again(
    worker: &Worker,
    line: &Arc<Line>,
    refused: LiveToken,
    first: Response<Box<AnswerBody>>,
    call: &mut Call,
) -> Result<Response<Box<AnswerBody>>, Refused> {
    let challenge = challenge(first.headers());
    let (app, at) = (worker.inner.app.clone(), Arc::clone(line));
    let fresh = worker.at_home(async move {
        app.token_rejected(&at, &refused, challenge.as_deref())
            .await
    });
    let fresh = fresh.await?;
    if !call.is_kept() {
        // The body is gone; the caller hears of the 401, and its next call gets the new token.
        return Ok(first);
    }
    drop(first);
    metrics::counter!("tieline_gateway_replays_total").increment(1);
    send(worker, line, call, &fresh).await
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

/// What is sent of a body.
struct Sent {
    body: Outgoing,
    progress: Option<Rc<Progress>>,
}

impl Sent {
    fn whole(body: Bytes) -> Self {
        Self {
            body: Outgoing::Whole(body),
            progress: None,
        }
    }
}

/// Sends a call; once more where the connection had been closed while it lay idle.
async fn send(
    worker: &Worker,
    line: &Arc<Line>,
    call: &mut Call,
    token: &LiveToken,
) -> Result<Response<Box<AnswerBody>>, Refused> {
    let Sent { body, progress } = call.outgoing();
    let attempt = Attempt {
        worker,
        line,
        call,
        token,
        progress: progress.as_deref(),
    };
    // On an idle connection, or a new one where there is none.
    let attempted = match worker.pool.idle(line) {
        Some(lease) => attempt.exchange(lease, body).await,
        None => Box::pin(attempt.fresh(body)).await,
    };
    let broke = match attempted {
        Ok(answer) => return Ok(answer),
        Err(Failure::Refused(refused)) => return Err(refused),
        Err(Failure::Broken(broke)) => broke,
    };
    tracing::debug!(error = %broke.broke, "a connection to Dynamics broke before an answer");
    let body = match (broke.body, &attempt.call.body) {
        // Not a byte of it left, so it is not repeated, it is sent.
        (Some(body), _) if broke.untouched => Outgoing::Streaming(body),
        // And what is safe to repeat is repeated (RFC 9110, section 9.2.2).
        (None, CallBody::Kept(body)) if broke.untouched || attempt.call.method.is_safe() => {
            Outgoing::Whole(body.clone())
        }
        _ => return Err(broken(line)),
    };
    match Box::pin(attempt.fresh(body)).await {
        Ok(answer) => Ok(answer),
        Err(Failure::Refused(refused)) => Err(refused),
        Err(Failure::Broken(_)) => Err(broken(line)),
    }
}

/// A call, about to be sent.
struct Attempt<'a> {
    worker: &'a Worker,
    line: &'a Line,
    call: &'a Call,
    token: &'a LiveToken,
    progress: Option<&'a Progress>,
}

impl Attempt<'_> {
    /// On a new connection.
    async fn fresh(&self, body: Outgoing) -> Result<Response<Box<AnswerBody>>, Failure> {
        let lease = self.worker.pool.connect(self.line).await;
        let lease = lease.map_err(|error| Failure::Refused(unreachable(&error, self.line)))?;
        self.exchange(lease, body).await
    }

    /// One request and the head of its answer: every answer of Dynamics passes here, and nowhere
    /// else.
    async fn exchange(
        &self,
        lease: Lease,
        body: Outgoing,
    ) -> Result<Response<Box<AnswerBody>>, Failure> {
        match lease {
            Lease::Http1(leased) => self.exchange_http1(leased, body).await,
            Lease::Http2(sender) => Box::pin(self.exchange_http2(sender, body)).await,
        }
    }

    async fn exchange_http1(
        &self,
        mut leased: Leased,
        body: Outgoing,
    ) -> Result<Response<Box<AnswerBody>>, Failure> {
        let call = self.call;
        let nothing = call.says_nothing.then_some(Length::Exact(0));
        let asked = Asked {
            method: &call.method,
            target: call.target.as_str(),
            headers: &call.headers,
            host: &self.line.host_header,
            token: self.token.token(),
            codings: call.accepted.for_upstream(),
            length: body.length().or(nothing),
        };
        let answered = {
            let answered = pin!(leased.wire.exchange(&asked, body));
            self.within(answered).await?
        };
        match answered {
            Ok(head) => {
                let patience = self.worker.inner.settings.body_timeout;
                Ok(head.map(|()| AnswerBody::http1(leased, patience)))
            }
            Err(unanswered) => Err(match unanswered.broke {
                Broke::Malformed(malformed) => {
                    let text = format!(
                        "What {} answered cannot be understood: {malformed}.",
                        self.line.authority
                    );
                    Failure::Refused(malformed_answer(text))
                }
                Broke::Upload => Failure::Refused(cut_off()),
                Broke::Io(_) | Broke::Closed => Failure::Broken(Box::new(unanswered)),
            }),
        }
    }

    async fn exchange_http2(
        &self,
        mut sender: Http2,
        body: Outgoing,
    ) -> Result<Response<Box<AnswerBody>>, Failure> {
        let answered = pin!(sender.try_send_request(self.request(body)?));
        match self.within(answered).await? {
            Ok(answer) => {
                let patience = self.worker.inner.settings.body_timeout;
                Ok(answer.map(|body| AnswerBody::http2(body, patience)))
            }
            Err(mut error) => {
                let unsent = error.take_message().map(Request::into_body);
                let untouched = unsent.is_some();
                let body = match unsent {
                    Some(Outgoing::Streaming(body)) => Some(body),
                    _ => None,
                };
                let error = std::io::Error::other(error.into_error());
                Err(Failure::Broken(Box::new(Unanswered {
                    broke: Broke::Io(error),
                    untouched,
                    body,
                })))
            }
        }
    }

    /// HTTP/2 says scheme and authority with the path (RFC 9113, section 8.3.1).
    fn request(&self, body: Outgoing) -> Result<Request<Outgoing>, Failure> {
        let uri = Uri::builder()
            .scheme(self.line.origin.scheme())
            .authority(self.line.authority.as_str())
            .path_and_query(self.call.target.as_str());
        let uri = uri.build().map_err(|_| Failure::Refused(not_callable()))?;
        let mut request = Request::new(body);
        *request.method_mut() = self.call.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.call.headers.clone();
        let (token, accepted) = (self.token.header_value(), self.call.accepted);
        inject(request.headers_mut(), token, accepted);
        if self.call.says_nothing {
            let nothing = HeaderValue::from_static("0");
            request
                .headers_mut()
                .insert(header::CONTENT_LENGTH, nothing);
        }
        Ok(request)
    }

    /// Waits for the head of an answer. While the caller still sends, the time begins anew with
    /// every piece: a large body on a slow line is no fault of Dynamics.
    async fn within<T>(&self, mut answer: Pin<&mut impl Future<Output = T>>) -> Result<T, Failure> {
        let limit = self.worker.inner.settings.answer_timeout;
        loop {
            let answered = self.worker.patience.within(limit, answer.as_mut()).await;
            if let Some(answered) = answered {
                return Ok(answered);
            }
            let late = match self.progress {
                Some(progress) if progress.went_on() => continue,
                Some(progress) if progress.is_open() => Late::Caller,
                _ => Late::Dynamics,
            };
            return Err(late.refused(self.line, limit));
        }
    }
}

/// Who was waited for too long.
#[derive(Debug, Clone, Copy)]
enum Late {
    Caller,
    Dynamics,
}

impl Late {
    #[cold]
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

#[cold]
fn broken(line: &Line) -> Refused {
    let text = format!(
        "{} closed the connection before it answered.",
        line.authority
    );
    Refused::new(Who::Dynamics, 502, "dynamics-broken", text)
}

#[cold]
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
        ConnectError::NoHost => return not_callable(),
    };
    Refused::new(who, 502, code, detail)
}

#[cold]
pub(crate) fn not_callable() -> Refused {
    let text = "The account's API URL cannot be called.";
    Refused::new(Who::Tieline, 502, "api-url-malformed", text)
}

/// An answer that is none, or could be taken for two different ones.
#[cold]
pub(crate) fn malformed_answer(detail: impl Into<String>) -> Refused {
    Refused::new(Who::Dynamics, 502, "dynamics-malformed", detail)
}
