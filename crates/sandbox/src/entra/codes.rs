//! Entra's own kind of error: an AADSTS number with a sentence, trace id, correlation id and time.

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

/// A refusal, before it is known whether it goes out as JSON, as a redirect or as a page.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) suberror: Option<&'static str>,
    pub(crate) code: u32,
    pub(crate) text: String,
}

impl Refusal {
    /// A refusal with status 400.
    pub(crate) fn new(error: &'static str, code: u32, text: impl Into<String>) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self {
            status,
            error,
            suberror: None,
            code,
            text: text.into(),
        }
    }

    /// The client is not who it says: status 401.
    pub(crate) fn client(code: u32, text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            ..Self::new("invalid_client", code, text)
        }
    }

    pub(crate) fn with_suberror(mut self, suberror: &'static str) -> Self {
        self.suberror = Some(suberror);
        self
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        let text = format!("The request body must contain the following parameter: '{parameter}'.");
        Self::new("invalid_request", 900_144, text)
    }
}

/// The identifiers that come with every answer.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    pub(crate) trace_id: Uuid,
    pub(crate) correlation_id: Uuid,
    pub(crate) at: DateTime<Utc>,
}

impl Trace {
    /// The client's own request id becomes the correlation id.
    pub(crate) fn of(headers: &HeaderMap, at: DateTime<Utc>) -> Self {
        let asked = headers
            .get("client-request-id")
            .and_then(|value| value.to_str().ok());
        let correlation_id = asked
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(Uuid::new_v4);
        Self {
            trace_id: Uuid::new_v4(),
            correlation_id,
            at,
        }
    }

    pub(crate) fn timestamp(&self) -> String {
        self.at.format("%Y-%m-%d %H:%M:%SZ").to_string()
    }

    pub(crate) fn describe(&self, refusal: &Refusal) -> String {
        format!(
            "AADSTS{}: {} Trace ID: {} Correlation ID: {} Timestamp: {}",
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
        let mut response = (refusal.status, self.headers(), Json(body)).into_response();
        let kind = header::HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    /// Headers of every answer of the token endpoint.
    pub(crate) fn headers(&self) -> [(&'static str, String); 5] {
        [
            ("cache-control", "no-store, no-cache".to_owned()),
            ("pragma", "no-cache".to_owned()),
            ("x-ms-request-id", self.trace_id.to_string()),
            ("client-request-id", self.correlation_id.to_string()),
            ("x-content-type-options", "nosniff".to_owned()),
        ]
    }
}
