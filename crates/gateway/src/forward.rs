//! Phase four: the call to Dynamics, with one replay where the token was refused.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tieline_app::{App, Line, LiveToken, Outbound, OutboundError, Refused, Who};

use crate::connect::{ConnectError, Connector};
use crate::inject::request_headers;
use crate::turn::{Passing, Turner};

/// How long an idle connection is kept; Azure's load balancers drop them after four minutes.
const IDLE: Duration = Duration::from_secs(90);
/// Idle connections per organization: Dynamics allows 52 calls at a time.
const IDLE_MAX: usize = 64;

type Body = Either<Full<Bytes>, Passing<Incoming>>;

/// Connections to every organization.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client<Connector, Body>,
}

/// A call as it goes on.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) body: CallBody,
}

/// A body that can be sent again, or one that streams.
pub(crate) enum CallBody {
    Kept(Bytes),
    Streaming(Passing<Incoming>),
}

impl CallBody {
    /// Keeps a body whose size is known and small; lets any other stream. What a client learned
    /// here it says again: its links are turned either way.
    pub(crate) async fn of(
        body: Incoming,
        max: u64,
        turner: Option<Turner>,
    ) -> Result<Self, Refused> {
        match body.size_hint().exact() {
            Some(0) => Ok(Self::Kept(Bytes::new())),
            Some(size) if size <= max => match body.collect().await {
                Ok(body) => Ok(Self::Kept(match turner {
                    Some(turner) => turner.whole(body.to_bytes()),
                    None => body.to_bytes(),
                })),
                Err(_) => Err(Refused::new(
                    Who::Consumer,
                    400,
                    "body-cut-off",
                    "The request's body ended before its announced length.",
                )),
            },
            _ => Ok(Self::Streaming(match turner {
                Some(turner) => Passing::turned(body, turner, None, None),
                None => Passing::untouched(body),
            })),
        }
    }
}

impl Upstream {
    pub(crate) fn new(outbound: &Outbound) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            // What Dynamics answers is passed on as it is.
            .http1_preserve_header_case(false)
            .set_host(false)
            .build(Connector::new(outbound));
        Self { client }
    }

    /// Makes the call with the account's token; once more with a fresh one after a 401.
    pub(crate) async fn call(
        &self,
        app: &App,
        line: &Arc<Line>,
        call: Call,
        timeout: Duration,
    ) -> Result<Response<Incoming>, Refused> {
        let token = app.token(line).await?;
        let Call {
            method,
            target,
            headers,
            body,
        } = call;
        let kept = match &body {
            CallBody::Kept(bytes) => Some(bytes.clone()),
            CallBody::Streaming(_) => None,
        };
        let body = match body {
            CallBody::Kept(bytes) => Either::Left(Full::new(bytes)),
            CallBody::Streaming(body) => Either::Right(body),
        };
        let request = build(&method, line, &target, headers.clone(), &token, body)?;
        let first = match self.send(request, line, timeout).await {
            Ok(response) => response,
            // A connection that Dynamics closed while it lay idle: what is safe to repeat is
            // repeated (RFC 9110, section 9.2.2).
            Err(failure) if failure.broken && method.is_safe() => {
                let body = Either::Left(Full::new(kept.clone().unwrap_or_default()));
                let again = build(&method, line, &target, headers.clone(), &token, body)?;
                self.send(again, line, timeout)
                    .await
                    .map_err(|failure| failure.refused)?
            }
            Err(failure) => return Err(failure.refused),
        };
        if first.status() != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        // A claims challenge may stand beside others, in a header of its own.
        let challenges = first.headers().get_all(header::WWW_AUTHENTICATE).iter();
        let challenges: Vec<&str> = challenges.filter_map(|value| value.to_str().ok()).collect();
        let challenge = (!challenges.is_empty()).then(|| challenges.join(", "));
        let fresh = app
            .token_rejected(line, &token, challenge.as_deref())
            .await?;
        let Some(bytes) = kept else {
            // The body is gone; the caller hears of the 401, and its next call gets the new token.
            return Ok(first);
        };
        drop(first);
        metrics::counter!("tieline_gateway_replays_total").increment(1);
        let body = Either::Left(Full::new(bytes));
        let request = build(&method, line, &target, headers, &fresh, body)?;
        self.send(request, line, timeout)
            .await
            .map_err(|failure| failure.refused)
    }

    async fn send(
        &self,
        request: Request<Body>,
        line: &Line,
        timeout: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        match tokio::time::timeout(timeout, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Failure::of(&error, line)),
            Err(_) => Err(Failure {
                broken: false,
                refused: Refused::new(
                    Who::Dynamics,
                    504,
                    "dynamics-timeout",
                    format!(
                        "{} did not begin its answer within {} seconds.",
                        line.authority,
                        timeout.as_secs()
                    ),
                ),
            }),
        }
    }
}

fn build(
    method: &Method,
    line: &Line,
    target: &PathAndQuery,
    headers: HeaderMap,
    token: &LiveToken,
    body: Body,
) -> Result<Request<Body>, Refused> {
    let uri = Uri::builder()
        .scheme(line.origin.scheme())
        .authority(line.authority.as_str())
        .path_and_query(target.clone())
        .build()
        .map_err(|_| {
            let text = "The account's API URL cannot be called.";
            Refused::new(Who::Tieline, 502, "api-url-malformed", text)
        })?;
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = request_headers(headers, token.header_value(), &line.authority);
    Ok(request)
}

/// A call that got no answer.
struct Failure {
    refused: Refused,
    /// Whether the connection broke before an answer began.
    broken: bool,
}

impl Failure {
    fn of(error: &Error, line: &Line) -> Self {
        let host = &line.authority;
        let connect = error
            .source()
            .and_then(|source| source.downcast_ref::<ConnectError>());
        let (who, status, code, detail) = match connect {
            Some(ConnectError::Outbound(
                refused @ (OutboundError::NotPublic { .. } | OutboundError::NotHttps { .. }),
            )) => (
                Who::Tieline,
                502,
                "address-not-allowed",
                format!("Tieline may not call this address: {refused}."),
            ),
            Some(ConnectError::Outbound(other)) => (
                Who::Dynamics,
                502,
                "dynamics-unreachable",
                format!("{host} cannot be reached: {other}."),
            ),
            Some(ConnectError::Tls(other)) => (
                Who::Dynamics,
                502,
                "dynamics-tls",
                format!("The TLS connection to {host} failed: {other}."),
            ),
            _ => (
                Who::Dynamics,
                502,
                "dynamics-broken",
                format!("{host} closed the connection before it answered."),
            ),
        };
        Self {
            broken: connect.is_none(),
            refused: Refused::new(who, status, code, detail),
        }
    }
}
