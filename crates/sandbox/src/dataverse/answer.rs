//! Answers with a whole body: what stands alone and what stands in a batch are made alike.

use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use serde_json::Value;

use crate::dataverse::context::Context;
use crate::dataverse::schema::Table;
use uuid::Uuid;

pub(crate) type Answer = Response<Bytes>;

/// What a JSON answer says that it is.
pub(crate) const JSON: &str = "application/json; odata.metadata=minimal";

pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Answer {
    // Bytes that are JSON already: serialising a value cannot fail.
    let text = serde_json::to_vec(body).unwrap_or_default();
    with_body(status, JSON, text)
}

pub(crate) fn text_answer(status: StatusCode, kind: &'static str, text: String) -> Answer {
    with_body(status, kind, text.into_bytes())
}

fn with_body(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// 204, with nothing to say.
pub(crate) fn no_content() -> Answer {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// 204, with the address of the row.
pub(crate) fn no_content_for(context: &Context<'_>, table: &Table, id: Uuid) -> Answer {
    let mut answer = no_content();
    let address = context.address(table, id);
    set(answer.headers_mut(), "odata-entityid", &address);
    set(answer.headers_mut(), "location", &address);
    answer
}

/// Sets a header; a value that no header can carry is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
