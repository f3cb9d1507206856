//! Heads of HTTP/1.1 messages between the gateway and Dynamics: a request's is written, an
//! answer's is read.
//!
//! The grammar is httparse's, which hyper stands on too. What is decided here is where an answer's
//! body ends (RFC 9112, section 6.3), more strictly than a client has to: what two readers could
//! understand in two ways is no answer.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use httparse::{ParserConfig, Status};
use tieline_app::Bearer;

use crate::names::named;

/// The longest head that is read of an answer; as long as a caller's may be.
const HEAD_MAX: usize = 128 * 1024;
/// So many fields it may have; Dynamics sends some twenty.
const FIELDS_MAX: usize = 100;

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// After so many bytes; none where there is no body.
    Exact(u64),
    Chunked,
    /// With the connection.
    UntilClose,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) length: Length,
    /// Whether the connection takes another request afterwards.
    pub(crate) persists: bool,
}

/// What came of an answer so far.
#[derive(Debug)]
pub(crate) enum Came {
    /// Not all of its head; it is read again when more is there.
    Part(Bytes),
    /// Its head, and what came behind it.
    Head(Head, Bytes),
}

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it is no HTTP: {0}")]
    NotHttp(httparse::Error),
    #[error("its head is longer than {} kB", HEAD_MAX / 1024)]
    HeadTooLong,
    #[error("its Content-Length is no number, or several")]
    Length,
    #[error("its Transfer-Encoding is another one than 'chunked'")]
    Coding,
    #[error("one of its chunks has no size")]
    ChunkSize,
    #[error("one of its chunks is longer than it says")]
    ChunkEnd,
    #[error("its trailers cannot be understood")]
    Trailers,
}

/// Reads the head of the answer to a request of this method. `looked` is how much of it was there
/// when this was tried last. Heads that only say that another one follows (1xx) are passed over.
pub(crate) fn read(
    mut bytes: Bytes,
    mut looked: usize,
    method: &Method,
) -> Result<Came, Malformed> {
    loop {
        let read = if may_be_complete(&bytes, looked) {
            read_one(&bytes, method)?
        } else {
            None
        };
        match read {
            None if bytes.len() > HEAD_MAX => return Err(Malformed::HeadTooLong),
            None => return Ok(Came::Part(bytes)),
            Some((head, length)) => {
                let rest = bytes.split_off(length);
                if !is_interim(head.status) {
                    return Ok(Came::Head(head, rest));
                }
                (bytes, looked) = (rest, 0);
            }
        }
    }
}

/// 101 says that what follows is no HTTP, so that no other head does.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// A head that trickles in is not parsed anew with every byte.
fn may_be_complete(bytes: &[u8], looked: usize) -> bool {
    if looked == 0 {
        return !bytes.is_empty();
    }
    // The empty line at its end may have begun in what was there already.
    let fresh = &bytes[looked.saturating_sub(3)..];
    let is_end = |at: usize| {
        let next = &fresh[at + 1..];
        next.starts_with(b"\n") || next.starts_with(b"\r\n")
    };
    memchr::memchr_iter(b'\n', fresh).any(is_end)
}

/// One head, and how long it is.
fn read_one(bytes: &Bytes, method: &Method) -> Result<Option<(Head, usize)>, Malformed> {
    let mut room = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let parser = ParserConfig::default();
    let parsed = parser.parse_response_with_uninit_headers(&mut answer, bytes, &mut room);
    let Status::Complete(end) = parsed.map_err(Malformed::NotHttp)? else {
        return Ok(None);
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Malformed::NotHttp(httparse::Error::Status))?;
    let mut framing = Framing::default();
    let mut headers = HeaderMap::with_capacity(answer.headers.len());
    for field in answer.headers.iter() {
        if framing.takes(field.name.as_bytes(), field.value)? {
            continue;
        }
        let name = named(field.name.as_bytes());
        let name = name.ok_or(Malformed::NotHttp(httparse::Error::HeaderName))?;
        // Values share the memory that they came in.
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        let value = value.map_err(|_| Malformed::NotHttp(httparse::Error::HeaderValue))?;
        headers.append(name, value);
    }
    let bodiless = method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = if bodiless {
        Length::Exact(0)
    } else {
        framing.length()
    };
    framing.say(bodiless, &mut headers);
    // HTTP/1.0 keeps a connection only where both sides say so; and of one on which a length was
    // said in two ways nobody knows where it stands.
    let persists = answer.version == Some(1)
        && status != StatusCode::SWITCHING_PROTOCOLS
        && !framing.closes
        && !(framing.chunked && framing.length.is_some())
        && length != Length::UntilClose;
    let head = Head {
        status,
        headers,
        length,
        persists,
    };
    Ok(Some((head, end)))
}

/// What the fields of a head say of its body and its connection.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    closes: bool,
}

impl Framing {
    /// Whether a field is about the length alone, which its body knows from here on.
    fn takes(&mut self, name: &[u8], value: &[u8]) -> Result<bool, Malformed> {
        // By length first: few names go further.
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                let mut options = value.split(|byte| *byte == b',');
                let close = |option: &[u8]| option.trim_ascii().eq_ignore_ascii_case(b"close");
                self.closes |= options.any(close);
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // The same length said again says nothing else.
                for said in value.split(|byte| *byte == b',') {
                    let length = number(said.trim_ascii()).ok_or(Malformed::Length)?;
                    if self.length.is_some_and(|before| before != length) {
                        return Err(Malformed::Length);
                    }
                    self.length = Some(length);
                }
                return Ok(true);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                // No other coding was asked for (`TE`), and nobody here could undo it.
                if !chunked || self.chunked {
                    return Err(Malformed::Coding);
                }
                self.chunked = true;
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }

    /// Leaves in the head what the body does not know: the length that an answer to a request of
    /// another method would have, and that a length was said in two ways.
    fn say(&self, bodiless: bool, headers: &mut HeaderMap) {
        if let Some(said) = self.length
            && (bodiless || self.chunked)
        {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(said));
        }
        if self.chunked && self.length.is_some() {
            headers.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
    }

    fn length(&self) -> Length {
        match self.length {
            // Who says both is refused before anything of the body is looked at.
            _ if self.chunked => Length::Chunked,
            Some(length) => Length::Exact(length),
            None => Length::UntilClose,
        }
    }
}

/// Digits alone: neither signs nor spaces.
fn number(digits: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let (first, rest) = digits.split_first()?;
    rest.iter().try_fold(digit(first)?, |number, byte| {
        number.checked_mul(10)?.checked_add(digit(byte)?)
    })
}

/// What the head of a request is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// Path and query, after the path that stands in front of the organization's.
    pub(crate) target: &'a str,
    /// The caller's, as far as they go on.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) host: &'a HeaderValue,
    pub(crate) token: Bearer<'a>,
    /// How an answer may be compressed: its links are turned while it streams by, which takes a
    /// coding that can be undone.
    pub(crate) codings: &'a str,
    /// None where neither a body nor its length is to be spoken of.
    pub(crate) length: Option<Length>,
}

/// Writes a request's head. Method, target, names and values were checked when they were read, and
/// none of them can hold the end of a line.
pub(crate) fn write(asked: &Asked<'_>, to: &mut Vec<u8>) {
    let Asked {
        method,
        target,
        headers,
        host,
        token,
        codings,
        length,
    } = *asked;
    to.extend_from_slice(method.as_str().as_bytes());
    to.push(b' ');
    to.extend_from_slice(target.as_bytes());
    to.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    to.extend_from_slice(host.as_bytes());
    to.extend_from_slice(b"\r\nauthorization: Bearer ");
    token.append_to(to);
    to.extend_from_slice(b"\r\naccept-encoding: ");
    to.extend_from_slice(codings.as_bytes());
    to.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        // Whom it is for, by which right, how long it is and what is understood, the gateway alone
        // says.
        if is_ours_to_say(name) {
            continue;
        }
        write_field(name, value, to);
    }
    match length {
        Some(Length::Exact(length)) => {
            to.extend_from_slice(b"content-length: ");
            to.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            to.extend_from_slice(b"\r\n");
        }
        Some(Length::Chunked | Length::UntilClose) => {
            to.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        None => {}
    }
    to.extend_from_slice(b"\r\n");
}

fn is_ours_to_say(name: &HeaderName) -> bool {
    name == header::HOST
        || name == header::AUTHORIZATION
        || name == header::ACCEPT_ENCODING
        || name == header::CONTENT_LENGTH
        || name == header::TRANSFER_ENCODING
}

/// Writes one field, as in a head or in trailers.
pub(crate) fn write_field(name: &HeaderName, value: &HeaderValue, to: &mut Vec<u8>) {
    to.extend_from_slice(name.as_str().as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value.as_bytes());
    to.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
