//! What a batch answers, as multipart.

use std::fmt::Write as _;

use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use uuid::Uuid;

use crate::dataverse::answer::{Answer, JSON, set};

/// The answer to one operation.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) content_id: Option<String>,
    pub(super) answer: Answer,
}

/// The answer to one step.
#[derive(Debug)]
pub(super) enum Item {
    /// A change set that failed has one answer, too: that of the operation that failed.
    One(Reply),
    ChangeSet(Vec<Reply>),
}

impl Reply {
    pub(super) fn failed(&self) -> bool {
        let status = self.answer.status();
        status.is_client_error() || status.is_server_error()
    }
}

impl Item {
    pub(super) fn failed(&self) -> bool {
        matches!(self, Self::One(reply) if reply.failed())
    }
}

/// The whole answer.
pub(super) fn answer(status: StatusCode, items: &[Item]) -> Answer {
    let boundary = format!("batchresponse_{}", Uuid::new_v4());
    let mut body = Vec::new();
    for item in items {
        delimiter(&mut body, &boundary);
        match item {
            Item::One(reply) => part(&mut body, reply),
            Item::ChangeSet(replies) => change_set(&mut body, replies),
        }
    }
    end(&mut body, &boundary);
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    set(
        answer.headers_mut(),
        "content-type",
        &format!("multipart/mixed; boundary={boundary}"),
    );
    answer
}

fn delimiter(body: &mut Vec<u8>, boundary: &str) {
    body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
}

fn end(body: &mut Vec<u8>, boundary: &str) {
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
}

fn change_set(body: &mut Vec<u8>, replies: &[Reply]) {
    let boundary = format!("changesetresponse_{}", Uuid::new_v4());
    let head = format!("Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n");
    body.extend_from_slice(head.as_bytes());
    for reply in replies {
        delimiter(body, &boundary);
        part(body, reply);
    }
    end(body, &boundary);
}

fn part(body: &mut Vec<u8>, reply: &Reply) {
    let mut head =
        "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n".to_owned();
    if let Some(id) = &reply.content_id {
        let _ = write!(head, "Content-ID: {id}\r\n");
    }
    let status = reply.answer.status();
    let reason = status.canonical_reason().unwrap_or("Unknown");
    let _ = write!(head, "\r\nHTTP/1.1 {} {reason}\r\n", status.as_u16());
    if reply.failed() {
        let _ = write!(head, "REQ_ID: {}\r\n", Uuid::new_v4());
    }
    let streamed = reply
        .answer
        .headers()
        .get(header::CONTENT_TYPE)
        .map(|kind| streaming(kind, reply));
    if let Some(kind) = streamed {
        let _ = write!(head, "Content-Type: {kind}\r\n");
    }
    head.push_str("OData-Version: 4.0\r\n");
    for (name, value) in reply.answer.headers() {
        let Ok(value) = value.to_str() else { continue };
        if name != header::CONTENT_TYPE && name != "odata-version" {
            let _ = write!(head, "{}: {value}\r\n", spelled(name));
        }
    }
    head.push_str("\r\n");
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(reply.answer.body());
    body.extend_from_slice(b"\r\n");
}

/// JSON of a batch says that it may be read as a stream; errors do not.
fn streaming(kind: &HeaderValue, reply: &Reply) -> String {
    let text = kind.to_str().unwrap_or(JSON);
    if text.starts_with("application/json") && !reply.failed() {
        format!("{text}; odata.streaming=true")
    } else {
        text.to_owned()
    }
}

/// A header's name as Dataverse spells it in batches: some clients compare it letter by letter.
fn spelled(name: &HeaderName) -> String {
    match name.as_str() {
        "odata-entityid" => return "OData-EntityId".to_owned(),
        "etag" => return "ETag".to_owned(),
        own if own.starts_with("x-ms-") => return own.to_owned(),
        _ => {}
    }
    let words = name.as_str().split('-').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect::<Vec<String>>().join("-")
}
