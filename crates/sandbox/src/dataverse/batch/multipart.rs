//! The multipart format (RFC 2046, 5.1): boundaries, parts and their headers. Lines end with CRLF,
//! or with LF alone, as many hand-written bodies have them.

use crate::dataverse::error::{Fault, Outcome};

/// A media type with its parameters, names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MediaType {
    pub(super) essence: String,
    parameters: Vec<(String, String)>,
}

/// Header fields in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, String)>);

impl MediaType {
    pub(super) fn parse(text: &str) -> Self {
        let mut pieces = pieces(text).into_iter();
        let essence = pieces
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let parameters = pieces
            .filter_map(|piece| {
                let (name, value) = piece.split_once('=')?;
                let value = value.trim();
                let bare = value
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'));
                Some((
                    name.trim().to_ascii_lowercase(),
                    bare.unwrap_or(value).to_owned(),
                ))
            })
            .collect();
        Self {
            essence,
            parameters,
        }
    }

    /// The boundary of a multipart type.
    pub(super) fn boundary(&self) -> Option<&str> {
        let found = self.parameters.iter().find(|(name, _)| name == "boundary");
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

/// Semicolons separate, but not inside quotes.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        quoted ^= character == '"';
        if character == ';' && !quoted {
            pieces.push(String::new());
        } else if let Some(last) = pieces.last_mut() {
            last.push(character);
        }
    }
    pieces
}

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Reads fields up to the empty line, or to the end; gives what stands behind.
    pub(super) fn read(text: &[u8]) -> Outcome<(Self, &[u8])> {
        let mut fields = Vec::new();
        for line in lines(text) {
            if line.text.is_empty() {
                return Ok((Self(fields), text.get(line.end..).unwrap_or_default()));
            }
            fields.push(field(line.text)?);
        }
        Ok((Self(fields), &[]))
    }
}

fn field(line: &[u8]) -> Outcome<(String, String)> {
    let text = String::from_utf8_lossy(line);
    let pair = text
        .split_once(':')
        .map(|(name, value)| (name.trim(), value.trim()));
    match pair {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Fault::syntax(format!(
            "The header line '{}' is invalid. A header has a name, a colon and a value.",
            shortened(&text)
        ))),
    }
}

/// Text for a message: nobody wants to read a kilobyte of it.
pub(super) fn shortened(text: &str) -> String {
    const MAX: usize = 120;
    let mut short: String = text.chars().take(MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The parts of a body, each with its headers. None when the boundary does not stand in it at all.
/// A body whose last delimiter is missing ends with its last part.
pub(super) fn parts<'a>(body: &'a [u8], boundary: &str) -> Option<Vec<&'a [u8]>> {
    let delimiter = format!("--{boundary}").into_bytes();
    let end = format!("--{boundary}--").into_bytes();
    let (mut parts, mut open) = (Vec::new(), None);
    for line in lines(body) {
        let text = line.text.trim_ascii_end();
        let closes = text == end;
        if !closes && text != delimiter {
            continue;
        }
        if let Some(start) = open.take() {
            parts.push(without_break(
                body.get(start..line.start).unwrap_or_default(),
            ));
        }
        if closes {
            return Some(parts);
        }
        open = Some(line.end);
    }
    parts.push(body.get(open?..).unwrap_or_default());
    Some(parts)
}

/// The line break in front of a delimiter belongs to the delimiter.
fn without_break(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

pub(super) struct Line<'a> {
    /// Without what ends it.
    pub(super) text: &'a [u8],
    start: usize,
    /// Where the next line begins.
    pub(super) end: usize,
}

pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let length = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |at| at + 1);
        let line = Line {
            text: without_break(rest.get(..length)?),
            start,
            end: start + length,
        };
        start += length;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_stand_with_and_without_quotes() {
        let boundary = |text| MediaType::parse(text).boundary().map(str::to_owned);
        assert_eq!(
            boundary("multipart/mixed;boundary=batch_1").as_deref(),
            Some("batch_1")
        );
        assert_eq!(
            boundary("Multipart/Mixed; charset=utf-8; BOUNDARY=\"a;b=c\"").as_deref(),
            Some("a;b=c")
        );
        assert_eq!(boundary("multipart/mixed; boundary=\"\""), None);
        assert_eq!(
            MediaType::parse("Application/HTTP; msgtype=request").essence,
            "application/http"
        );
    }

    #[test]
    fn parts_have_a_preamble_an_epilogue_and_either_kind_of_line_end() {
        let body = b"hello\r\n--b\r\none\r\n\r\n--b  \ntwo\n--bb\n--b--\nbye";
        assert_eq!(
            parts(body, "b"),
            Some(vec![&b"one\r\n"[..], &b"two\n--bb"[..]])
        );
        assert_eq!(parts(b"--b\none", "b"), Some(vec![&b"one"[..]]));
        assert_eq!(parts(b"--b--", "b"), Some(Vec::new()));
        assert_eq!(parts(b"nothing", "b"), None);
    }

    #[test]
    fn fields_end_with_an_empty_line_and_have_names() {
        let (fields, rest) = Fields::read(b"Content-ID:1\r\nA: b:c\n\nrest").expect("fields");
        assert_eq!(
            (fields.get("content-id"), fields.get("a")),
            (Some("1"), Some("b:c"))
        );
        assert_eq!(rest, b"rest");
        assert!(Fields::read(b"no colon\n").is_err());
    }
}
