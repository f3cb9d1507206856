//! The chunks of an HTTP/1.1 body (RFC 9112, section 7.1), as they are read.
//!
//! A size is httparse's to read. That every chunk has one, and ends where it says, is looked at
//! here: a reader that lets a byte pass ends a body elsewhere than its sender did.

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::Status;

use crate::head::Malformed;

/// The longest line in front of a chunk; extensions are allowed, and nobody sends any.
const LINE_MAX: usize = 4 * 1024;
/// The longest trailers.
const TRAILERS_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 64;

/// Where in the chunks a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunks {
    Size,
    /// So much of a chunk is to come; nothing of it is left when its end is.
    Data(u64),
    Trailers,
    Ended,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Data(Bytes),
    /// They come before the end.
    Trailers(HeaderMap),
    End,
    /// It takes more to say what it is; what there is stays where it is.
    More,
}

impl Chunks {
    pub(crate) fn next(&mut self, bytes: &mut Bytes) -> Result<Piece, Malformed> {
        loop {
            match *self {
                Self::Size => {
                    // httparse takes a line without a size for the last one.
                    if bytes
                        .first()
                        .is_some_and(|first| !first.is_ascii_hexdigit())
                    {
                        return Err(Malformed::ChunkSize);
                    }
                    let size = httparse::parse_chunk_size(bytes);
                    match size.map_err(|_| Malformed::ChunkSize)? {
                        Status::Complete((line, size)) => {
                            bytes.advance(line);
                            *self = if size == 0 {
                                Self::Trailers
                            } else {
                                Self::Data(size)
                            };
                        }
                        Status::Partial if bytes.len() > LINE_MAX => {
                            return Err(Malformed::ChunkSize);
                        }
                        Status::Partial => return Ok(Piece::More),
                    }
                }
                Self::Data(0) => match bytes.get(..2) {
                    Some(b"\r\n") => {
                        bytes.advance(2);
                        *self = Self::Size;
                    }
                    None if bytes.is_empty() || bytes.first() == Some(&b'\r') => {
                        return Ok(Piece::More);
                    }
                    _ => return Err(Malformed::ChunkEnd),
                },
                Self::Data(_) if bytes.is_empty() => return Ok(Piece::More),
                Self::Data(left) => {
                    let there = bytes.len();
                    let taken = usize::try_from(left).map_or(there, |left| left.min(there));
                    *self = Self::Data(left - taken as u64);
                    return Ok(Piece::Data(bytes.split_to(taken)));
                }
                Self::Trailers => return self.trailers(bytes),
                Self::Ended => return Ok(Piece::End),
            }
        }
    }

    fn trailers(&mut self, bytes: &mut Bytes) -> Result<Piece, Malformed> {
        let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let parsed = httparse::parse_headers(bytes, &mut room);
        let (end, fields) = match parsed.map_err(|_| Malformed::Trailers)? {
            Status::Complete(parsed) => parsed,
            Status::Partial if bytes.len() > TRAILERS_MAX => return Err(Malformed::Trailers),
            Status::Partial => return Ok(Piece::More),
        };
        let mut trailers = HeaderMap::new();
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Malformed::Trailers);
            };
            trailers.append(name, value);
        }
        bytes.advance(end);
        *self = Self::Ended;
        Ok(if trailers.is_empty() {
            Piece::End
        } else {
            Piece::Trailers(trailers)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of chunks that come in pieces of this length.
    fn read(text: &str, length: usize) -> Result<(String, HeaderMap, usize), Malformed> {
        let (mut chunks, mut bytes) = (Chunks::Size, Bytes::new());
        let (mut body, mut trailers) = (String::new(), HeaderMap::new());
        let mut left = text.as_bytes();
        loop {
            match chunks.next(&mut bytes)? {
                Piece::Data(data) => body.push_str(std::str::from_utf8(&data).expect("UTF-8")),
                Piece::Trailers(came) => trailers = came,
                Piece::End => return Ok((body, trailers, bytes.len() + left.len())),
                Piece::More if left.is_empty() => return Ok((body + "[more]", trailers, 0)),
                Piece::More => {
                    let (piece, rest) = left.split_at(length.min(left.len()));
                    bytes = Bytes::from([&bytes, piece].concat());
                    left = rest;
                }
            }
        }
    }

    #[test]
    fn chunks_come_to_the_same_however_they_are_cut() {
        let text =
            "3\r\nabc\r\n00A ;x=\"y\"\r\n0123456789\r\n1\r\n\n\r\n0\r\nX-Sum: 6\r\nY:\r\n\r\nREST";
        for length in 1..=text.len() {
            let (body, trailers, rest) = read(text, length).expect("chunks");
            assert_eq!(body, "abc0123456789\n");
            assert_eq!(
                (&trailers["x-sum"], &trailers["y"]),
                (
                    &HeaderValue::from_static("6"),
                    &HeaderValue::from_static("")
                )
            );
            assert_eq!(rest, 4);
        }
        for length in 1..7 {
            assert_eq!(
                read("0\r\n\r\nX", length),
                Ok((String::new(), HeaderMap::new(), 1))
            );
        }
    }

    #[test]
    fn an_end_that_has_not_come_is_no_end() {
        let text = "3\r\nabc\r\n0\r\nX: 1\r\n\r\n";
        for end in 0..text.len() {
            let (body, ..) = read(&text[..end], 5).expect("nothing wrong so far");
            assert!(body.ends_with("[more]"), "{end}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_not_read_as_one() {
        for (text, wrong) in [
            ("\r\n\r\n", Malformed::ChunkSize),
            (";x\r\n\r\n", Malformed::ChunkSize),
            (" 3\r\nabc\r\n", Malformed::ChunkSize),
            ("+3\r\nabc\r\n", Malformed::ChunkSize),
            ("0x3\r\nabc\r\n", Malformed::ChunkSize),
            ("3\nabc\r\n", Malformed::ChunkSize),
            ("11111111111111111\r\n", Malformed::ChunkSize),
            ("3\r\nabcd\r\n0\r\n\r\n", Malformed::ChunkEnd),
            ("3\r\nabc\n0\r\n\r\n", Malformed::ChunkEnd),
            ("3\r\nabc\r0\r\n\r\n", Malformed::ChunkEnd),
            ("0\r\nX Y: 1\r\n\r\n", Malformed::Trailers),
        ] {
            assert_eq!(read(text, 1), Err(wrong), "{text:?}");
            assert_eq!(read(text, 99), Err(wrong), "{text:?}");
        }
        let long = format!("3;{}", "x".repeat(LINE_MAX));
        assert_eq!(read(&long, 999), Err(Malformed::ChunkSize));
        let long = format!("0\r\nx: {}", "x".repeat(TRAILERS_MAX));
        assert_eq!(read(&long, 999), Err(Malformed::Trailers));
    }
}
