//! Phase five: the answer, on its way back to the caller.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

use crate::answer::{AnswerBody, BodyError};
use crate::inject::remove_hop_by_hop;
use crate::links::Links;

/// Headers of an answer that hold an address of the organization.
const ADDRESSES: [HeaderName; 3] = [
    header::LOCATION,
    header::CONTENT_LOCATION,
    HeaderName::from_static("odata-entityid"),
];

/// The gateway's own address as the caller knows it, such as `https://gateway.example/Contoso`.
#[derive(Debug)]
pub(crate) struct Here(pub(crate) String);

/// Makes an answer's headers the caller's: addresses lead back here, cookies stay inside.
fn answer_headers(headers: &mut HeaderMap, scheme: &str, host: &str, here: &Here) {
    remove_hop_by_hop(headers);
    // Microsoft advises to drop the affinity cookie, and no other is meant for the caller.
    headers.remove(header::SET_COOKIE);
    for name in &ADDRESSES {
        let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else {
            continue;
        };
        if let Some(turned) = turn(value, scheme, host, here)
            && let Ok(turned) = HeaderValue::from_str(&turned)
        {
            headers.insert(name, turned);
        }
    }
}

/// An answer's body, its links turned where it has any.
#[derive(Debug)]
pub(crate) struct Relayed {
    body: AnswerBody,
    links: Option<Links>,
    /// Trailers that wait until what was held back has gone.
    trailers: Option<Frame<Bytes>>,
}

/// An answer on its way back: its addresses lead here.
pub(crate) fn relay(
    answer: Response<AnswerBody>,
    method: &Method,
    there: &str,
    here: &Here,
) -> Response<Relayed> {
    let (mut head, body) = answer.into_parts();
    let (scheme, host) = there.split_once("://").unwrap_or(("https", there));
    answer_headers(&mut head.headers, scheme, host, here);
    let bodiless = method == Method::HEAD
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    // A part of a document cannot be read as one.
    let whole = head.status != StatusCode::PARTIAL_CONTENT;
    let links = (whole && !bodiless && is_plain_json(&head.headers)).then(|| {
        // Another address has another length.
        head.headers.remove(header::CONTENT_LENGTH);
        Links::new(there, &here.0)
    });
    Response::from_parts(
        head,
        Relayed {
            body,
            links,
            trailers: None,
        },
    )
}

/// Whether a body is JSON that can be read as it comes.
pub(crate) fn is_plain_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default()
        .trim();
    let json = kind.eq_ignore_ascii_case("application/json");
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes);
    json && encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case(b"identity"))
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(trailers)));
        }
        loop {
            let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
            let Some(links) = &mut self.links else {
                return Poll::Ready(polled);
            };
            match polled {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => {
                        let turned = links.turn(piece);
                        // All of a piece may wait for the next one.
                        if !turned.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(turned))));
                        }
                    }
                    Err(trailers) => {
                        let rest = links.rest();
                        if rest.is_empty() {
                            return Poll::Ready(Some(Ok(trailers)));
                        }
                        self.trailers = Some(trailers);
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                },
                // An answer that was cut off is never passed on as whole.
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let rest = links.rest();
                    if rest.is_empty() {
                        return Poll::Ready(None);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(rest))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.links.is_none() && self.trailers.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.links {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

/// An absolute address of the organization, as an address here; none when it is another's.
fn turn(address: &str, scheme: &str, host: &str, here: &Here) -> Option<String> {
    let (its_scheme, rest) = address.split_once("://")?;
    let (base, path) = rest.split_at_checked(host.len())?;
    let same = its_scheme.eq_ignore_ascii_case(scheme)
        && base.eq_ignore_ascii_case(host)
        && (path.is_empty() || path.starts_with(['/', '?', '#']));
    same.then(|| format!("{}{path}", here.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_organization_lead_back_and_others_stay() {
        let here = Here("http://gw:8421/Contoso".into());
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (
                "odata-entityid",
                "https://Contoso.crm.dynamics.com/api/data/v9.2/contacts(1)",
            ),
            (
                "location",
                "https://contoso.crm.dynamics.com.evil.example/x",
            ),
            ("set-cookie", "ARRAffinity=1"),
            ("connection", "close"),
            ("etag", "W/\"1\""),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        answer_headers(&mut headers, "https", "contoso.crm.dynamics.com", &here);
        assert_eq!(
            headers["odata-entityid"],
            "http://gw:8421/Contoso/api/data/v9.2/contacts(1)"
        );
        assert_eq!(
            headers["location"],
            "https://contoso.crm.dynamics.com.evil.example/x"
        );
        assert_eq!(headers.len(), 3);
    }
}
