//! The heads in a batch: those of its parts, and those of the requests and answers in them.

use std::borrow::Cow;

use http::HeaderMap;

use crate::address::{Side, Turning};

/// Headers that hold an address of the organization, in answers and in parts of them.
pub(crate) const ADDRESSES: [&str; 3] = ["location", "content-location", "odata-entityid"];
const MULTIPART: &str = "multipart/";
/// What a caller shows to the gateway, which is not for Dynamics.
const CREDENTIALS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

/// What a body is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request or an answer in a part of a batch.
    Http,
    /// With this boundary.
    Multipart(Vec<u8>),
    /// JSON, in UTF-8.
    Json,
    #[default]
    Other,
}

impl Kind {
    /// What a `Content-Type` says.
    pub(crate) fn of(value: &str) -> Self {
        let end = memchr::memchr(b';', value.as_bytes());
        let (kind, parameters) = value.split_at(end.unwrap_or(value.len()));
        let kind = kind.trim();
        let is = |known: &str| kind.eq_ignore_ascii_case(known);
        if is("application/json") || is("text/json") {
            // Most say nothing that could be a charset.
            if memchr::memchr2(b'c', b'C', parameters.as_bytes()).is_none() {
                return Self::Json;
            }
            return match parameter(parameters, "charset") {
                // RFC 8259, section 8.1: nothing else is exchanged; where it is, it is not read.
                Some(charset)
                    if !["utf-8", "utf8", "us-ascii"]
                        .iter()
                        .any(|known| known.eq_ignore_ascii_case(&charset)) =>
                {
                    Self::Other
                }
                _ => Self::Json,
            };
        }
        if is("application/http") {
            return Self::Http;
        }
        let multipart = kind.get(..MULTIPART.len());
        if multipart.is_some_and(|kind| kind.eq_ignore_ascii_case(MULTIPART)) {
            return match parameter(parameters, "boundary") {
                Some(boundary) if !boundary.is_empty() => {
                    Self::Multipart(boundary.into_owned().into_bytes())
                }
                _ => Self::Other,
            };
        }
        Self::Other
    }

    pub(crate) fn of_headers(headers: &HeaderMap) -> Self {
        headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map_or(Self::Other, Self::of)
    }
}

/// A parameter of a media type, bare or quoted (RFC 9110, section 5.6.6).
fn parameter<'a>(parameters: &'a str, wanted: &str) -> Option<Cow<'a, str>> {
    let mut rest = parameters;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let value: Cow<'_, str>;
        if let Some(quoted) = after.strip_prefix('"') {
            let mut text = String::new();
            let mut characters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                    other => text.push(other),
                }
            }
            value = text.into();
            rest = &quoted[end..];
        } else {
            let end = after.find(';').unwrap_or(after.len());
            value = after[..end].trim_end().into();
            rest = &after[end..];
        }
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
    }
}

/// What a `Content-Length` becomes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// It is left out.
    Unsaid,
    /// What it counts has grown by so much. A wrong length stays as wrong as it was.
    Grows(i64),
}

/// A head, line by line, as it goes out.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) lines: Vec<u8>,
    /// How many bytes came in.
    pub(crate) came: usize,
    pub(crate) kind: Kind,
    pub(crate) says_length: bool,
    /// Whether the line that a request or an answer begins with was seen.
    pub(crate) started: bool,
    /// Whether the last header was left out, and what continues it must be, too.
    left_out: bool,
}

impl Head {
    /// A line of a part's own headers.
    pub(crate) fn mime_line(&mut self, line: &[u8]) {
        self.came += line.len();
        self.lines.extend_from_slice(line);
        if let Some((name, value)) = field(line) {
            match name.as_str() {
                "content-type" => self.kind = Kind::of(value),
                "content-length" => self.says_length = true,
                _ => {}
            }
        }
    }

    /// A line of a request or an answer.
    pub(crate) fn message_line(&mut self, line: &[u8], turning: &Turning) {
        self.came += line.len();
        let (text, end) = line_end(line);
        if !self.started {
            self.started = !text.is_empty();
            if self.started {
                // Without a Content-Type a body in a batch is taken for what it always is.
                self.kind = Kind::Json;
            }
            match turning.side {
                Side::There => self.lines.extend_from_slice(&request_line(text, turning)),
                Side::Back => self.lines.extend_from_slice(text),
            }
        } else if matches!(text.first(), Some(b' ' | b'\t')) {
            if self.left_out {
                return;
            }
            self.lines.extend_from_slice(text);
        } else if let Some((name, value)) = field(line) {
            self.left_out = match turning.side {
                Side::There => CREDENTIALS.contains(&name.as_str()) || name.starts_with("tieline-"),
                Side::Back => name == "set-cookie" || name.starts_with("tieline-"),
            };
            if self.left_out {
                return;
            }
            match name.as_str() {
                "content-type" => self.kind = Kind::of(value),
                "content-length" => self.says_length = true,
                _ => {}
            }
            self.lines
                .extend_from_slice(&header(text, &name, value, turning));
        } else {
            self.lines.extend_from_slice(text);
        }
        self.lines.extend_from_slice(end);
    }

    /// The head, with its `Content-Length` made right.
    pub(crate) fn with_length(&self, length: Length) -> Vec<u8> {
        if !self.says_length || matches!(length, Length::Grows(0)) {
            return self.lines.clone();
        }
        let mut head = Vec::with_capacity(self.lines.len() + 4);
        for line in self.lines.split_inclusive(|byte| *byte == b'\n') {
            let said = field(line).filter(|(name, _)| name == "content-length");
            match (said, length) {
                (None, _) => head.extend_from_slice(line),
                (Some(_), Length::Unsaid) => {}
                (Some((_, value)), Length::Grows(grown)) => match value.parse::<i64>() {
                    Ok(said) => {
                        let (text, end) = line_end(line);
                        let name = &text[..=text.iter().position(|b| *b == b':').unwrap_or(0)];
                        head.extend_from_slice(name);
                        head.extend_from_slice(format!(" {}", said + grown).as_bytes());
                        head.extend_from_slice(end);
                    }
                    Err(_) => head.extend_from_slice(line),
                },
            }
        }
        head
    }
}

fn line_end(line: &[u8]) -> (&[u8], &[u8]) {
    let end = match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    };
    line.split_at(line.len() - end)
}

/// Name, in lower case, and value of a header.
fn field(line: &[u8]) -> Option<(String, &str)> {
    let (text, _) = line_end(line);
    let (name, value) = text.split_at(memchr::memchr(b':', text)?);
    let name = String::from_utf8_lossy(name);
    // A value that is no UTF-8 says nothing that is asked for here.
    let value = std::str::from_utf8(&value[1..]).unwrap_or_default();
    Some((name.trim().to_ascii_lowercase(), value.trim()))
}

/// Method, address and version. Addresses in batches are known to hold bare spaces.
fn request_line(line: &[u8], turning: &Turning) -> Vec<u8> {
    let Some(begin) = memchr::memchr(b' ', line) else {
        return line.to_vec();
    };
    let end = memchr::memmem::rfind(line, b" HTTP/")
        .filter(|end| *end > begin)
        .unwrap_or(line.len());
    let target = &line[begin + 1..end];
    let based = turning.turn(target);
    let target = based.as_deref().unwrap_or(target);
    let queried = turning.turn_query(target);
    let target = queried.as_deref().unwrap_or(target);
    [&line[..=begin], target, &line[end..]].concat()
}

fn header(line: &[u8], name: &str, value: &str, turning: &Turning) -> Vec<u8> {
    let turned = match turning.side {
        Side::There if name == "host" => Some(turning.host.clone().into_bytes()),
        Side::Back if ADDRESSES.contains(&name) => turning.turn(value.as_bytes()),
        Side::Back if name == "link" => turning.turn_list(value.as_bytes()),
        _ => None,
    };
    match turned {
        Some(turned) => {
            let colon = memchr::memchr(b':', line).unwrap_or_default();
            [&line[..=colon], b" ", &turned].concat()
        }
        None => line.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_from_their_parameters() {
        let multipart = |boundary: &str| Kind::Multipart(boundary.as_bytes().to_vec());
        for (value, kind) in [
            ("application/json", Kind::Json),
            (
                "Application/JSON; odata.metadata=minimal; charset=UTF-8",
                Kind::Json,
            ),
            ("application/json;charset=\"utf-8\"", Kind::Json),
            ("application/json;charset=utf-16", Kind::Other),
            ("application/xml", Kind::Other),
            ("application/http; msgtype=request", Kind::Http),
            ("multipart/mixed;boundary=batch_1", multipart("batch_1")),
            (
                "multipart/mixed; charset=utf-8; Boundary=\"a;b=c\\\"d\"; x=y",
                multipart("a;b=c\"d"),
            ),
            ("multipart/mixed; boundary=a ; x=y", multipart("a")),
            ("multipart/mixed", Kind::Other),
            ("multipart/mixed; boundary", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(Kind::of(value), kind, "{value}");
        }
    }
}
