//! Dataverse's own kind of error.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, json_answer};
use crate::dataverse::cors;
use crate::dataverse::read::Annotations;
use crate::dataverse::schema::Table;

/// A refusal: status, hexadecimal code, message.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
}

pub(crate) type Outcome<T> = Result<T, Fault>;

/// The code of everything that the OData layer refuses.
const ODATA: &str = "0x80060888";

impl Fault {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
        }
    }

    fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The OData layer cannot read it, or does not know a name in it.
    pub(crate) fn syntax(message: impl Into<String>) -> Self {
        Self::bad(ODATA, message)
    }

    /// A value that is understood and not allowed.
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::bad("0x80040203", message)
    }

    /// A body that cannot be what the table wants.
    pub(crate) fn payload(table: &Table, inner: impl std::fmt::Display) -> Self {
        Self::bad(
            "0x80048d19",
            format!(
                "Error identified in Payload provided by the user for Entity :'{}', For more information on this error please follow this help link https://go.microsoft.com/fwlink/?linkid=2195293  ----> InnerException : {inner}",
                table.set
            ),
        )
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

    pub(crate) fn version_mismatch() -> Self {
        let text =
            "The version of the existing record doesn't match the RowVersion property provided.";
        Self::new(StatusCode::PRECONDITION_FAILED, "0x80060882", text)
    }

    pub(crate) fn duplicate_key() -> Self {
        let text = "A record with matching key values already exists.";
        Self::new(StatusCode::PRECONDITION_FAILED, "0x80040237", text)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let text = "The requested resource does not support this HTTP method.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ODATA, text)
    }

    /// A fault of the sandbox itself.
    pub(crate) fn unexpected() -> Self {
        let text = "An unexpected error occurred in the sandbox.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "0x80040216", text)
    }

    pub(crate) fn no_search() -> Self {
        Self::bad(
            "0x80048d0b",
            "Dataverse Search feature is disabled for this organization. The sandbox does not have it yet; the real service does.",
        )
    }

    /// What Microsoft has and the sandbox does not: it must never look like a fault of the caller.
    pub(crate) fn not_yet(what: &str) -> Self {
        let text = format!("The sandbox does not have {what} yet; the real service does.");
        Self::new(StatusCode::NOT_IMPLEMENTED, ODATA, text)
    }

    pub(crate) fn answer(&self) -> Answer {
        self.answer_with(Map::new())
    }

    /// The answer to a request that may have asked for annotations: then it tells more.
    pub(crate) fn answer_to(&self, headers: &HeaderMap) -> Answer {
        let wanted = Annotations::of(headers);
        let mut more = Map::new();
        for (name, text) in self.details() {
            let name = format!("Microsoft.PowerApps.CDS.{name}");
            if wanted.wants(&name) {
                more.insert(format!("@{name}"), text.into());
            }
        }
        self.answer_with(more)
    }

    /// What Dataverse knows besides code and message.
    fn details(&self) -> [(&'static str, String); 6] {
        let code = self.code.trim_start_matches("0x");
        let link = format!(
            "http://go.microsoft.com/fwlink/?LinkID=398563&error=Microsoft.Crm.CrmException%3a{code}&client=platform"
        );
        [
            ("ErrorDetails.OperationStatus", "0".to_owned()),
            ("ErrorDetails.SubErrorCode", "0".to_owned()),
            (
                "ErrorDetails.ApiExceptionSourceKey",
                "Plugin/Microsoft.Crm.ObjectModel".to_owned(),
            ),
            ("HelpLink", link),
            ("TraceText", String::new()),
            ("InnerError.Message", self.message.clone()),
        ]
    }

    fn answer_with(&self, more: Map<String, Value>) -> Answer {
        let mut error = Map::new();
        error.insert("code".to_owned(), self.code.as_ref().into());
        error.insert("message".to_owned(), self.message.clone().into());
        error.extend(more);
        let mut answer = json_answer(self.status, &json!({"error": error}));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            answer
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static(cors::ALLOW));
        }
        answer
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if let rusqlite::Error::SqliteFailure(failure, _) = &error
            && failure.code == rusqlite::ErrorCode::ConstraintViolation
        {
            // The key of a table, or one of its alternate keys.
            if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE {
                let text = "A record that has the attribute values of an alternate key already exists. The entity key requires that this set of attributes contains unique values. Select unique values and try again.";
                return Self::new(StatusCode::PRECONDITION_FAILED, "0x80060892", text);
            }
            return Self::duplicate_key();
        }
        tracing::error!(%error, "the sandbox's database failed");
        let text = "Sql error: the sandbox's database failed.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "0x80044150", text)
    }
}

impl From<Fault> for axum::http::Response<Bytes> {
    fn from(fault: Fault) -> Self {
        fault.answer()
    }
}
