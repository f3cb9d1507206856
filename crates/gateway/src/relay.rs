//! Phase five: the answer, on its way back to the caller.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body;
use tieline_app::Refused;

use crate::address::{Ends, Turning};
use crate::coding::{Accepted, Coded, Coding};
use crate::forward::malformed_answer;
use crate::inject::{remove_hop_by_hop, remove_ours};
use crate::marks::Marks;
use crate::part::{ADDRESSES, Kind};
use crate::turn::{Passing, Turner};

/// Digests of a body's bytes (RFC 9530, and the older ones): other bytes have others.
pub(crate) const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// An answer that must not be passed on: its sender and its receiver could take different bytes for
/// its end (RFC 9112, section 6.3), or it is no answer at all.
pub(crate) fn check<B>(answer: &Response<B>, marks: Marks) -> Result<(), Refused> {
    let both = marks.has(Marks::TRANSFER_ENCODING) && marks.has(Marks::CONTENT_LENGTH);
    let detail = if both {
        "Dynamics said the length of its answer in two ways that exclude each other, so that its \
         end cannot be told for certain."
    } else if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        "Dynamics changed the protocol without being asked to."
    } else {
        return Ok(());
    };
    Err(malformed_answer(detail))
}

/// An answer on its way back: its addresses lead here, and cookies stay inside.
pub(crate) fn relay<B>(
    answer: Response<B>,
    marks: Marks,
    method: &Method,
    accepted: Accepted,
    ends: &Ends,
) -> Response<Passing<B>>
where
    B: Body<Data = Bytes>,
{
    let (mut head, body) = answer.into_parts();
    let headers = &mut head.headers;
    remove_hop_by_hop(headers, marks);
    // Nothing but the gateway itself speaks in the gateway's name.
    remove_ours(headers, marks);
    // Microsoft advises to drop the affinity cookie, and no other is meant for the caller.
    if marks.has(Marks::SET_COOKIE) {
        headers.remove(header::SET_COOKIE);
    }
    if marks.has(Marks::ADDRESSED) {
        turn_addresses(headers, || ends.back());
    }

    // A part of a document cannot be read as one.
    let partial = head.status == StatusCode::PARTIAL_CONTENT;
    let kind = Kind::of_headers(headers);
    let coded = Coded::of(headers, marks);
    let turner = match coded {
        _ if partial => None,
        Coded::Otherwise => None,
        Coded::Plain | Coded::As(_) => Turner::of(&kind, || ends.back()),
    };
    let Some(turner) = turner else {
        return Response::from_parts(head, Passing::untouched(body));
    };
    // Another address has another length, also where only the head was asked for.
    unsay_length(headers, marks);
    let (from, to) = recode(headers, coded, accepted);
    let bodiless = method == Method::HEAD
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let body = if bodiless {
        Passing::untouched(body)
    } else {
        Passing::turned(body, turner, from, to)
    };
    Response::from_parts(head, body)
}

/// Removes what is only true of the bytes as they came.
pub(crate) fn unsay_length(headers: &mut HeaderMap, marks: Marks) {
    if marks.has(Marks::CONTENT_LENGTH) {
        headers.remove(header::CONTENT_LENGTH);
    }
    if marks.has(Marks::DIGEST) {
        for digest in &DIGESTS {
            headers.remove(digest);
        }
    }
}

/// How the body is undone, and how it is done again.
fn recode(
    headers: &mut HeaderMap,
    coded: Coded,
    accepted: Accepted,
) -> (Option<Coding>, Option<Coding>) {
    let Coded::As(from) = coded else {
        return (None, None);
    };
    vary_by_encoding(headers);
    if accepted.takes(from) {
        return (Some(from), Some(from));
    }
    // Dynamics compressed what nobody asked to be compressed.
    headers.remove(header::CONTENT_ENCODING);
    (Some(from), None)
}

/// Whoever keeps the answer must know that it depends on what was asked for (RFC 9110, section
/// 12.5.5).
fn vary_by_encoding(headers: &mut HeaderMap) {
    let listed = headers.get_all(header::VARY).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .map(str::trim)
            .any(|name| name == "*" || name.eq_ignore_ascii_case(header::ACCEPT_ENCODING.as_str()))
    });
    if !listed {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Headers that hold addresses, and how; those of the parts of a batch are the same.
pub(crate) const ADDRESSED: [(HeaderName, Form); 4] = [
    (HeaderName::from_static(ADDRESSES[0]), Form::One),
    (HeaderName::from_static(ADDRESSES[1]), Form::One),
    (HeaderName::from_static(ADDRESSES[2]), Form::One),
    (header::LINK, Form::List),
];

/// Makes addresses in headers lead back here.
fn turn_addresses(headers: &mut HeaderMap, turning: impl Fn() -> Arc<Turning>) {
    let mut made: Option<Arc<Turning>> = None;
    for (name, form) in &ADDRESSED {
        if !headers.contains_key(name) {
            continue;
        }
        let turning = made.get_or_insert_with(&turning);
        let values: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
        headers.remove(name);
        for value in values {
            let turned = match form {
                Form::One => turning.turn(value.as_bytes()),
                Form::List => turning.turn_list(value.as_bytes()),
            };
            let turned = turned.and_then(|turned| HeaderValue::from_bytes(&turned).ok());
            headers.append(name, turned.unwrap_or(value));
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    One,
    List,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Side;

    #[test]
    fn addresses_of_the_organization_lead_back_and_others_stay() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (
                "odata-entityid",
                "HTTPS://Contoso.crm.dynamics.com:443/api/data/v9.2/contacts(1)",
            ),
            (
                "location",
                "https://contoso.crm.dynamics.com.evil.example/x",
            ),
            ("content-location", "/api/data/v9.2/contacts(1)"),
            (
                "link",
                "<https://contoso.crm.dynamics.com/api/x?a=,>; rel=\"next\", <https://a.example/>",
            ),
            ("etag", "W/\"1\""),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        turn_addresses(&mut headers, || Arc::new(Turning::example(Side::Back)));
        assert_eq!(
            headers["odata-entityid"],
            "http://gw:8421/Contoso%20Sales/api/data/v9.2/contacts(1)"
        );
        assert_eq!(
            headers["location"],
            "https://contoso.crm.dynamics.com.evil.example/x"
        );
        assert_eq!(
            headers["content-location"],
            "/Contoso%20Sales/api/data/v9.2/contacts(1)"
        );
        assert_eq!(
            headers["link"],
            "<http://gw:8421/Contoso%20Sales/api/x?a=,>; rel=\"next\", <https://a.example/>"
        );
        assert_eq!(headers.len(), 5);
    }

    #[test]
    fn an_answer_of_two_lengths_is_refused() {
        let answer = |headers: &[(&'static str, &'static str)]| {
            let mut answer = Response::new(());
            for (name, value) in headers {
                answer
                    .headers_mut()
                    .append(*name, HeaderValue::from_static(value));
            }
            let marks = Marks::of(answer.headers());
            check(&answer, marks).map_err(|refused| refused.code)
        };
        let (length, chunked) = (("content-length", "3"), ("transfer-encoding", "chunked"));
        assert_eq!(answer(&[length]), Ok(()));
        assert_eq!(answer(&[chunked]), Ok(()));
        assert!(answer(&[length, chunked]).is_err());
    }
}
