//! Dataverse's own kind of error.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use crate::dataverse::json_answer;

/// A refusal: status, hexadecimal code, message.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    status: StatusCode,
    code: &'static str,
    message: String,
}

pub(crate) type Outcome<T> = Result<T, Fault>;

/// The code of everything that the OData layer refuses.
const ODATA: &str = "0x80060888";

impl Fault {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn syntax(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ODATA, message)
    }

    pub(crate) fn no_segment(segment: &str) -> Self {
        let text = format!("Resource not found for the segment '{segment}'.");
        Self::new(StatusCode::NOT_FOUND, ODATA, text)
    }

    pub(crate) fn no_property(name: &str, table: &str) -> Self {
        Self::syntax(format!(
            "Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{table}'."
        ))
    }

    pub(crate) fn no_row(table: &str, id: Uuid) -> Self {
        let text = format!("{table} With Id = {id} Does Not Exist");
        Self::new(StatusCode::NOT_FOUND, "0x80040217", text)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let text = "The requested resource does not support this HTTP method.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ODATA, text)
    }

    /// What Microsoft has and the sandbox does not: it must never look like a fault of the caller.
    pub(crate) fn not_yet(what: &str) -> Self {
        let text = format!("The sandbox does not have {what} yet; the real service does.");
        Self::new(StatusCode::NOT_IMPLEMENTED, "0x80060888", text)
    }

    pub(crate) fn broken(error: &rusqlite::Error) -> Self {
        tracing::error!(%error, "the sandbox's database failed");
        let text = "Sql error: the sandbox's database failed.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "0x80044150", text)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body = json!({"error": {"code": self.code, "message": self.message}});
        let mut response = json_answer(self.status, &body);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let allow = HeaderValue::from_static("OPTIONS,GET,HEAD,POST");
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    }
}
