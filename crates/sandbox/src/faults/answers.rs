//! The answers of whom a fault makes misbehave.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use serde_json::json;
use tokio::time::Sleep;
use uuid::Uuid;

use crate::World;
use crate::dataverse::limits::Excess;
use crate::entra::{self, Params, Refusal, Trace};
use crate::faults::caller::Seen;
use crate::faults::fault::{CutAfter, Shape, Side};
use crate::faults::layer::Dropped;
use crate::serve::BODY_MAX;

/// What a fault that answers by itself needs to know.
pub(super) struct Scene<'a> {
    pub(super) world: &'a World,
    pub(super) seen: &'a Seen,
    pub(super) headers: &'a HeaderMap,
    /// Origin of the request's own address.
    pub(super) origin: String,
}

impl Scene<'_> {
    pub(super) fn throttle(&self, excess: Excess, retry_after: Option<u64>) -> Response {
        let mut response = match self.seen.side {
            Side::Dataverse => {
                let rules = self.world.limits.rules();
                dataverse(excess.response(&rules, None))
            }
            // A tenant that is throttled is the nearest that Entra has to Dataverse's limits.
            Side::Entra => {
                let mut response = self.refuse_entra(90_055, None, None);
                // How long to wait is for the fault to say.
                response.headers_mut().remove(header::RETRY_AFTER);
                response
            }
        };
        wait_hint(response.headers_mut(), retry_after);
        response
    }

    /// A refusal of Entra's, as JSON or as the page of whoever looks at it in a browser.
    pub(super) fn refuse_entra(
        &self,
        code: u32,
        suberror: Option<&'static str>,
        claims: Option<&str>,
    ) -> Response {
        let now = self.world.clock.now();
        let trace = Trace::of(self.headers, &Params::default(), now);
        let mut refusal = Refusal::of(code, &[]);
        if self.is_page() {
            return entra::error_page(&refusal, &trace);
        }
        if suberror.is_none() && claims.is_none() {
            return entra::fault_answer(code, self.headers, now, &self.origin);
        }
        if suberror.is_some() {
            refusal = refusal.with_suberror(suberror);
        }
        if let Some(claims) = claims {
            refusal = refusal.with_claims(claims.to_owned());
        } else if refusal.needs_a_person() {
            refusal = refusal.with_claims(entra::policy_claims(code));
        }
        trace.json(&refusal, &self.origin)
    }

    fn is_page(&self) -> bool {
        let path = self.seen.path.to_ascii_lowercase();
        [
            "/authorize",
            "/login",
            "/consent",
            "/adminconsent",
            "/logout",
        ]
        .iter()
        .any(|end| path.ends_with(end))
    }

    pub(super) fn status(&self, status: StatusCode, retry_after: Option<u64>) -> Response {
        let reason = status.canonical_reason().unwrap_or("Error");
        let mut response = match (self.seen.side, status) {
            // What stands in front of the service answers these, and it speaks no JSON.
            (_, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) => {
                let page = format!(
                    "<html><head><title>{reason}</title></head><body><h1>{reason}</h1></body></html>\r\n"
                );
                (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
            }
            (Side::Dataverse, _) => {
                let text = "An unexpected error occurred: the sandbox was told to fail.";
                refuse_dataverse("0x80040216", status, text)
            }
            (Side::Entra, _) => {
                let mut response = self.refuse_entra(90_033, None, None);
                *response.status_mut() = status;
                response
            }
        };
        wait_hint(response.headers_mut(), retry_after);
        response
    }
}

fn wait_hint(headers: &mut HeaderMap, retry_after: Option<u64>) {
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

pub(super) fn refuse_dataverse(code: &str, status: StatusCode, message: &str) -> Response {
    let body = json!({"error": {"code": code, "message": message}});
    let kind = "application/json; odata.metadata=minimal";
    let answer = (status, [(header::CONTENT_TYPE, kind)], body.to_string());
    dataverse(answer.into_response())
}

/// What every answer of Dataverse carries.
fn dataverse(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("odata-version", HeaderValue::from_static("4.0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(id) = HeaderValue::from_str(&Uuid::new_v4().to_string()) {
        headers.insert("x-ms-service-request-id", id.clone());
        headers.insert("req_id", id);
    }
    response
}

/// Garbage that needs no true answer; none when it is made of one.
pub(super) fn garbage(shape: Shape) -> Option<Response> {
    let kind = header::CONTENT_TYPE;
    match shape {
        Shape::Html => {
            let page = "<!DOCTYPE html>\r\n<html><head><title>Service Unavailable</title></head>\
                        <body><h2>Our services aren't available right now</h2></body></html>\r\n";
            Some(([(kind, "text/html")], page).into_response())
        }
        Shape::Empty => Some(([(kind, "application/json; charset=utf-8")], "").into_response()),
        Shape::Truncated | Shape::WrongType => None,
    }
}

/// The true answer as plain text.
pub(super) fn as_text(mut response: Response) -> Response {
    let kind = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The first half of the true answer, as if it were the whole.
pub(super) async fn truncated(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, BODY_MAX)
        .await
        .unwrap_or_default();
    let half = body.slice(..body.len() / 2);
    parts.headers.remove(header::CONTENT_LENGTH);
    if half.is_empty() {
        let kind = HeaderValue::from_static("application/json; charset=utf-8");
        parts.headers.insert(header::CONTENT_TYPE, kind);
        parts.status = StatusCode::OK;
        return Response::from_parts(parts, Body::from("{\"value\":[{\""));
    }
    Response::from_parts(parts, Body::from(half))
}

/// The true answer, whose connection ends in the middle of its body. An answer without a body is
/// cut before it begins: there is no other way to be incomplete.
pub(super) async fn cut(response: Response, after: CutAfter) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, BODY_MAX)
        .await
        .unwrap_or_default();
    let Some(most) = body.len().checked_sub(1) else {
        return Dropped.into_response();
    };
    let kept = match after {
        CutAfter::Half => body.len() / 2,
        CutAfter::Bytes(bytes) => bytes.min(most),
    };
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let torn = Torn {
        head: Some(body.slice(..kept)),
        promised: body.len() as u64,
        pause: None,
    };
    Response::from_parts(parts, Body::new(torn))
}

/// How long what was sent has to leave this machine. An error that came at once would take back what
/// still waits to be written, and over HTTP/2 even what waits to be sent.
const FLUSH: Duration = Duration::from_millis(50);

/// A body that begins, and then breaks.
struct Torn {
    head: Option<Bytes>,
    promised: u64,
    pause: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for Torn {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        if let Some(head) = self.head.take().filter(|head| !head.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        let pause = self
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(FLUSH)));
        ready!(pause.as_mut().poll(context));
        Poll::Ready(Some(Err(Dropped)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}
