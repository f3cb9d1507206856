//! What a batch asks for: single operations and change sets, in their order. All of it is read
//! before any of it is done.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use bytes::Bytes;

use crate::dataverse::batch::multipart::{Fields, MediaType, lines, parts, shortened};
use crate::dataverse::error::{Fault, Outcome};

/// Operations of one batch (documented).
const OPERATIONS_MAX: usize = 1_000;
/// Length of the address of one operation (documented: longer than one that stands alone).
const ADDRESS_MAX: usize = 65_536;

/// One thing that is done, or not, by itself.
#[derive(Debug)]
pub(super) enum Step {
    Single(Inner),
    ChangeSet(Vec<Inner>),
}

/// An operation as it stands in its part.
#[derive(Debug, Clone)]
pub(super) struct Inner {
    pub(super) content_id: Option<String>,
    pub(super) method: Method,
    /// Absolute, from the host's root, relative, or a reference.
    pub(super) address: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Reads the body of a batch.
pub(super) fn read(content_type: Option<&str>, body: &Bytes) -> Outcome<Vec<Step>> {
    let content_type = content_type
        .ok_or_else(|| Fault::syntax("The batch request must have a \"Content-Type\" header."))?;
    let kind = MediaType::parse(content_type);
    if kind.essence != "multipart/mixed" {
        return Err(Fault::syntax(format!(
            "The batch request must have 'multipart/mixed' as the media type; batches in '{}' are not supported.",
            shortened(&kind.essence)
        )));
    }
    let boundary = kind.boundary().ok_or_else(no_boundary)?;
    let parts = parts(body, boundary).ok_or_else(|| {
        Fault::syntax(format!(
            "The batch request has no parts: the boundary '{}' does not stand in it.",
            shortened(boundary)
        ))
    })?;
    let mut steps = Vec::new();
    let mut count = 0_usize;
    for part in parts {
        let step = step(body, part)?;
        count += match &step {
            Step::Single(_) => 1,
            Step::ChangeSet(inner) => inner.len(),
        };
        if count > OPERATIONS_MAX {
            return Err(Fault::syntax(format!(
                "The current batch message contains too many parts. Only batch messages with a maximum number of '{OPERATIONS_MAX}' query operations, including changeset operations, are allowed."
            )));
        }
        steps.push(step);
    }
    Ok(steps)
}

fn no_boundary() -> Fault {
    Fault::syntax(
        "The batch request must have a boundary specification in the \"Content-Type\" header.",
    )
}

fn step(whole: &Bytes, part: &[u8]) -> Outcome<Step> {
    let (fields, content) = Fields::read(part)?;
    let kind = kind_of(&fields)?;
    match kind.essence.as_str() {
        "application/http" => inner(whole, &fields, content).map(Step::Single),
        "multipart/mixed" => change_set(whole, &kind, content).map(Step::ChangeSet),
        other => Err(unexpected(other)),
    }
}

fn kind_of(fields: &Fields) -> Outcome<MediaType> {
    let text = fields.get("content-type").ok_or_else(|| {
        Fault::syntax("The 'Content-Type' header is missing in a part of the batch request.")
    })?;
    Ok(MediaType::parse(text))
}

fn unexpected(kind: &str) -> Fault {
    Fault::syntax(format!(
        "The 'Content-Type' header value '{}' of a part is invalid. It must be 'application/http' for an operation, or 'multipart/mixed' with a boundary for a change set.",
        shortened(kind)
    ))
}

fn change_set(whole: &Bytes, kind: &MediaType, content: &[u8]) -> Outcome<Vec<Inner>> {
    let boundary = kind.boundary().ok_or_else(no_boundary)?;
    let mut set: Vec<Inner> = Vec::new();
    for part in parts(content, boundary).unwrap_or_default() {
        let (fields, content) = Fields::read(part)?;
        match kind_of(&fields)?.essence.as_str() {
            "application/http" => {}
            "multipart/mixed" => {
                return Err(Fault::syntax(
                    "A nested change set was detected in the current change set. Nested change sets are not supported.",
                ));
            }
            other => return Err(unexpected(other)),
        }
        let operation = inner(whole, &fields, content)?;
        check_in_set(&operation, &set)?;
        set.push(operation);
        if set.len() > OPERATIONS_MAX {
            return Err(Fault::syntax(format!(
                "The current change set contains too many operations. A maximum number of '{OPERATIONS_MAX}' operations are allowed in a change set."
            )));
        }
    }
    Ok(set)
}

fn check_in_set(operation: &Inner, before: &[Inner]) -> Outcome<()> {
    if matches!(operation.method, Method::GET | Method::HEAD) {
        return Err(Fault::syntax(format!(
            "An invalid HTTP method '{}' was detected for a request in a change set. Requests in change sets only support the HTTP methods 'POST', 'PUT', 'DELETE', and 'PATCH'.",
            operation.method
        )));
    }
    let Some(id) = operation.content_id.as_deref() else {
        return Err(Fault::syntax(
            "The 'Content-ID' header is missing: every request in a change set must have one.",
        ));
    };
    if before
        .iter()
        .any(|known| known.content_id.as_deref() == Some(id))
    {
        return Err(Fault::syntax(format!(
            "The content ID '{}' was found more than once in the same change set. Content IDs have to be unique across all operations of a change set.",
            shortened(id)
        )));
    }
    Ok(())
}

/// Reads `PATCH /api/data/v9.2/contacts(…) HTTP/1.1`, the headers behind it and the body.
fn inner(whole: &Bytes, fields: &Fields, content: &[u8]) -> Outcome<Inner> {
    // Some clients leave more than one empty line in front of the request line.
    let line = lines(content).find(|line| !line.text.trim_ascii().is_empty());
    let line =
        line.ok_or_else(|| Fault::syntax("A part of the batch request has no request line."))?;
    let text = String::from_utf8_lossy(line.text);
    let (method, address) = request_line(text.trim())?;
    let (own, body) = Fields::read(content.get(line.end..).unwrap_or_default())?;
    let content_id = fields.get("content-id").or_else(|| own.get("content-id"));
    let content_id = content_id.filter(|id| !id.is_empty()).map(str::to_owned);
    let stated = own
        .get("content-length")
        .and_then(|text| text.parse::<usize>().ok());
    let body = body.get(..stated.unwrap_or(body.len())).unwrap_or(body);
    let mut headers = HeaderMap::new();
    for (name, value) in own.iter() {
        // What no header of HTTP could be does not reach an operation that stands alone, either.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    Ok(Inner {
        content_id,
        method,
        address,
        headers,
        body: whole.slice_ref(body),
    })
}

/// Addresses may hold spaces, as some clients do not encode them: the first word is the method,
/// the last one the version, if it is one.
fn request_line(line: &str) -> Outcome<(Method, String)> {
    let invalid = || {
        Fault::syntax(format!(
            "The request line '{}' is invalid. The request line at the start of each operation must be of the format 'HttpMethod RequestUrl HttpVersion'.",
            shortened(line)
        ))
    };
    let (method, rest) = line.split_once(char::is_whitespace).ok_or_else(invalid)?;
    let address = match rest.rsplit_once(char::is_whitespace) {
        Some((address, version)) if is_version(version) => address,
        _ => rest,
    };
    let address = address.trim();
    if address.is_empty() || is_version(address) {
        return Err(invalid());
    }
    if address.len() > ADDRESS_MAX {
        return Err(Fault::syntax(format!(
            "The address of an operation in a batch request has {} characters; at most {ADDRESS_MAX} are allowed.",
            address.len()
        )));
    }
    let method = match method.to_ascii_uppercase().as_str() {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        _ => {
            return Err(Fault::syntax(format!(
                "The HTTP method '{}' is not supported in a batch request.",
                shortened(method)
            )));
        }
    };
    Ok((method, address.to_owned()))
}

fn is_version(word: &str) -> bool {
    word.get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("http/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(body: &str) -> Outcome<Vec<Step>> {
        read(
            Some("multipart/mixed; boundary=b"),
            &Bytes::copy_from_slice(body.as_bytes()),
        )
    }

    fn single(part: &str) -> Inner {
        let text = format!("--b\nContent-Type: application/http; msgtype=request\n\n{part}\n--b--");
        match batch(&text).expect("a batch").pop() {
            Some(Step::Single(inner)) => inner,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_keep_their_spaces_and_versions_may_be_missing() {
        let spaced =
            single("GET /api/data/v9.2/accounts?$filter=name eq 'A B' HTTP/1.1\nAccept: a/b\n");
        assert_eq!(
            spaced.address,
            "/api/data/v9.2/accounts?$filter=name eq 'A B'"
        );
        assert_eq!(
            spaced.headers.get("accept").map(HeaderValue::as_bytes),
            Some(&b"a/b"[..])
        );
        assert_eq!(single("delete $1").address, "$1");
        assert!(request_line("GET").is_err() && request_line("GET HTTP/1.1").is_err());
        assert!(request_line("BREW /pot HTTP/1.1").is_err());
    }

    #[test]
    fn a_body_ends_where_its_length_or_its_part_does() {
        assert_eq!(
            &single("POST a HTTP/1.1\nContent-Length: 2\n\n{}junk").body[..],
            b"{}"
        );
        assert_eq!(
            &single("POST a HTTP/1.1\nContent-Length: 99\n\n{}").body[..],
            b"{}"
        );
        assert_eq!(&single("POST a HTTP/1.1\n\n{}").body[..], b"{}");
    }

    #[test]
    fn long_addresses_are_taken_up_to_64_kilobytes() {
        let line = |length: usize| format!("GET {} HTTP/1.1", "a".repeat(length));
        assert!(request_line(&line(ADDRESS_MAX)).is_ok());
        assert!(request_line(&line(ADDRESS_MAX + 1)).is_err());
    }

    #[test]
    fn what_is_no_batch_says_why() {
        let refused = |kind: Option<&str>, body: &str| {
            read(kind, &Bytes::copy_from_slice(body.as_bytes()))
                .expect_err("refused")
                .message
        };
        assert!(refused(None, "").contains("Content-Type"));
        assert!(refused(Some("application/json"), "{}").contains("multipart/mixed"));
        assert!(refused(Some("multipart/mixed"), "").contains("boundary"));
        assert!(refused(Some("multipart/mixed; boundary=b"), "--c\n").contains("no parts"));
        assert!(
            refused(Some("multipart/mixed; boundary=b"), "--b\n\nGET a\n--b--")
                .contains("Content-Type")
        );
    }

    #[test]
    fn a_change_set_has_ids_and_only_writes() {
        let set = |parts: &str| {
            let text = format!(
                "--b\nContent-Type: multipart/mixed; boundary=\"c\"\n\n{parts}--c--\n--b--"
            );
            batch(&text)
        };
        let part =
            |id: &str, line: &str| format!("--c\nContent-Type: application/http\n{id}\n{line}\n\n");
        assert!(set(&part("Content-ID: 1\n", "DELETE a HTTP/1.1")).is_ok());
        assert!(
            set(&part("", "DELETE a HTTP/1.1"))
                .expect_err("no id")
                .message
                .contains("Content-ID")
        );
        let twice = part("Content-ID: 1\n", "DELETE a HTTP/1.1").repeat(2);
        assert!(
            set(&twice)
                .expect_err("twice")
                .message
                .contains("more than once")
        );
        let reading = part("Content-ID: 1\n", "GET a HTTP/1.1");
        assert!(set(&reading).expect_err("a GET").message.contains("'GET'"));
        let nested = "--c\nContent-Type: multipart/mixed; boundary=d\n\n--d--\n";
        assert!(set(nested).expect_err("nested").message.contains("nested"));
    }

    #[test]
    fn a_batch_holds_a_thousand_operations() {
        let part = "--b\nContent-Type: application/http\n\nGET a HTTP/1.1\n\n";
        assert_eq!(
            batch(&format!("{}--b--", part.repeat(1_000)))
                .expect("steps")
                .len(),
            1_000
        );
        let fault = batch(&format!("{}--b--", part.repeat(1_001))).expect_err("too many");
        assert!(
            fault.message.contains("'1000' query operations"),
            "{}",
            fault.message
        );
    }

    proptest! {
        #[test]
        fn broken_batches_never_panic(
            pieces in prop::collection::vec(prop_oneof![
                Just("--b".to_owned()), Just("--b--".to_owned()), Just("--c".to_owned()), Just("--c--".to_owned()),
                Just("\r\n".to_owned()), Just("\n".to_owned()), Just("\r".to_owned()),
                Just("Content-Type: application/http".to_owned()),
                Just("Content-Type: multipart/mixed; boundary=c".to_owned()),
                Just("Content-ID: 1".to_owned()), Just("POST $1/x HTTP/1.1".to_owned()),
                Just("Content-Length: 3".to_owned()), Just("{\"a@odata.bind\":\"$1\"}".to_owned()), ".{0,12}",
            ], 0..40),
        ) {
            let _ = batch(&pieces.concat());
        }

        #[test]
        fn broken_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in ".{0,60}") {
            let mut body = b"--b\r\n".to_vec();
            body.extend(bytes);
            let body = Bytes::from(body);
            let _ = (read(Some("multipart/mixed;boundary=b"), &body), read(Some(&kind), &body));
        }
    }
}
