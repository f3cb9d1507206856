//! Entra's own kind of error: an AADSTS number with a sentence, trace id, correlation id and time.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::entra::catalogue;
use crate::entra::params::Params;

/// How long a throttled client is told to stay away; Entra's own figure.
const RETRY_SECONDS: u32 = 60;

/// A refusal, before it is known whether it goes out as JSON, as a redirect or as a page.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) suberror: Option<&'static str>,
    pub(crate) code: u32,
    pub(crate) text: String,
    /// What the next authorization has to bring along, as JSON.
    pub(crate) claims: Option<String>,
}

impl Refusal {
    /// The refusal of a code, its sentence filled with values.
    pub(crate) fn of(code: u32, values: &[(&str, &str)]) -> Self {
        let known = catalogue::find(code);
        Self {
            status: StatusCode::from_u16(known.status).unwrap_or(StatusCode::BAD_REQUEST),
            error: known.error,
            suberror: known.suberror,
            code,
            text: catalogue::fill(known.text, values),
            claims: None,
        }
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::of(900_144, &[("parameter", parameter)])
    }

    pub(crate) fn with_error(self, error: &'static str) -> Self {
        Self { error, ..self }
    }

    pub(crate) fn with_suberror(self, suberror: Option<&'static str>) -> Self {
        Self { suberror, ..self }
    }

    pub(crate) fn with_claims(self, claims: String) -> Self {
        Self {
            claims: Some(claims),
            ..self
        }
    }

    /// Whether a person has to come to a page before this can go on.
    pub(crate) fn needs_a_person(&self) -> bool {
        self.error == "interaction_required"
    }
}

/// The sandbox's own database failed: what Entra calls a transient error.
pub(crate) fn broken(error: rusqlite::Error) -> Refusal {
    tracing::error!(%error, "the sandbox's database failed");
    Refusal::of(90_033, &[])
}

/// The identifiers that come with every answer.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    pub(crate) trace_id: Uuid,
    pub(crate) correlation_id: Uuid,
    pub(crate) at: DateTime<Utc>,
    /// Whether the client wants its request id back.
    returns_request_id: bool,
}

impl Trace {
    /// The client's own request id becomes the correlation id.
    pub(crate) fn of(headers: &HeaderMap, params: &Params, at: DateTime<Utc>) -> Self {
        let asked = |name: &str| {
            let of_header = headers.get(name).and_then(|value| value.to_str().ok());
            of_header.or_else(|| params.get(name))
        };
        let correlation_id = asked("client-request-id")
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(Uuid::new_v4);
        let returns = asked("return-client-request-id");
        Self {
            trace_id: Uuid::new_v4(),
            correlation_id,
            at,
            returns_request_id: returns.is_some_and(|text| text.eq_ignore_ascii_case("true")),
        }
    }

    pub(crate) fn timestamp(&self) -> String {
        self.at.format("%Y-%m-%d %H:%M:%SZ").to_string()
    }

    pub(crate) fn describe(&self, refusal: &Refusal) -> String {
        format!(
            "AADSTS{}: {}\r\nTrace ID: {}\r\nCorrelation ID: {}\r\nTimestamp: {}",
            refusal.code,
            refusal.text,
            self.trace_id,
            self.correlation_id,
            self.timestamp()
        )
    }

    /// The refusal as the token endpoint gives it.
    pub(crate) fn json(&self, refusal: &Refusal, origin: &str) -> Response {
        let mut body = json!({
            "error": refusal.error,
            "error_description": self.describe(refusal),
            "error_codes": [refusal.code],
            "timestamp": self.timestamp(),
            "trace_id": self.trace_id,
            "correlation_id": self.correlation_id,
            "error_uri": format!("{origin}/error?code={}", refusal.code),
        });
        if let Some(suberror) = refusal.suberror {
            body["suberror"] = suberror.into();
        }
        if let Some(claims) = &refusal.claims {
            body["claims"] = claims.as_str().into();
        }
        let mut response = self.answer(refusal.status, body);
        if refusal.status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = HeaderValue::from(RETRY_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }

    /// JSON with the headers of every answer of the token endpoint.
    pub(crate) fn answer(&self, status: StatusCode, body: serde_json::Value) -> Response {
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/json; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-cache"),
        );
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        headers.insert(header::EXPIRES, HeaderValue::from_static("-1"));
        self.decorate(headers);
        response
    }

    /// Headers of every answer of Entra, whatever it is.
    pub(crate) fn decorate(&self, headers: &mut HeaderMap) {
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("x-ms-request-id", &self.trace_id.to_string());
        if self.returns_request_id {
            put("client-request-id", &self.correlation_id.to_string());
        }
        put("x-ms-ests-server", "2.1.0 - SANDBOX");
        put("x-content-type-options", "nosniff");
        // Entra says a year. Browsers would then refuse plain http at every port of this machine,
        // the one of the application that is being rehearsed too.
        put("strict-transport-security", "max-age=0");
        let fpc = format!(
            "fpc={}; Path=/; Secure; HttpOnly; SameSite=None",
            self.trace_id.simple()
        );
        let esctx = format!(
            "esctx={}; Path=/; Secure; HttpOnly; SameSite=None",
            self.correlation_id.simple()
        );
        for cookie in [
            fpc.as_str(),
            esctx.as_str(),
            "x-ms-gateway-slice=estsfd; Path=/; Secure; HttpOnly; SameSite=None",
            "stsservicecookie=estsfd; Path=/; Secure; HttpOnly; SameSite=None",
        ] {
            if let Ok(cookie) = HeaderValue::from_str(cookie) {
                headers.append(header::SET_COOKIE, cookie);
            }
        }
    }
}

/// The answer that a chosen code would bring at the token endpoint, whatever was asked.
pub(crate) fn fault_answer(
    code: u32,
    headers: &HeaderMap,
    now: DateTime<Utc>,
    origin: &str,
) -> Response {
    let mut refusal = Refusal::of(code, &[]);
    if refusal.needs_a_person() {
        refusal = refusal.with_claims(crate::entra::claims::policy_claims(code));
    }
    Trace::of(headers, &Params::default(), now).json(&refusal, origin)
}
