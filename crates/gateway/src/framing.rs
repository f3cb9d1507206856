//! Follows where requests begin and end on a client's HTTP/1.1 connection, for two things that
//! hyper's server judges otherwise than we do.
//!
//! A request that says its length in two ways, by `Transfer-Encoding` and by `Content-Length`, is
//! how requests are smuggled past proxies (RFC 9112, section 6.1). hyper drops the latter and goes
//! on; here the header is spoilt, which hyper answers with 400.
//!
//! curl, and whoever writes addresses by hand, sends bare `"`, `<`, `>` and `#` in a query.
//! Dynamics takes them and hyper does not, so they are percent-encoded, which says the same (RFC
//! 3986, section 2.1). Nothing else of a request is changed.
//!
//! hyper alone decides what a request is. What is followed here is the strict form of the grammar;
//! at the first byte outside of it nothing more is looked at or changed on that connection.

/// `Transfer-Encoding` is the longest name that is looked for.
const NAME_MAX: usize = 17;

/// Where on a connection we are.
#[derive(Debug)]
pub(crate) struct Framing {
    at: At,
    name: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Begin,
    Method,
    Path,
    Query,
    Version,
    Header,
    Name,
    Value,
    /// In the value of `Content-Length`.
    Length(Option<u64>),
    HeadEnds,
    Body(u64),
    ChunkSize(Option<u64>),
    ChunkExtension(u64),
    ChunkSizeEnds(u64),
    Chunk(u64),
    ChunkEnds,
    ChunkEnded,
    Trailer,
    TrailerRest,
    TrailersEnd,
    /// Nothing is looked at any more.
    Lost,
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self {
            at: At::Begin,
            name: Vec::with_capacity(NAME_MAX),
            length: None,
            chunked: false,
        }
    }

    /// What is no HTTP/1.1 is not followed.
    pub(crate) fn give_up(&mut self) {
        self.at = At::Lost;
    }

    /// Follows bytes that came in, up to one that must be percent-encoded.
    pub(crate) fn follow(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.len() - at;
            match self.at {
                At::Lost => return None,
                At::Body(left) | At::Chunk(left) => {
                    let skipped = usize::try_from(left).map_or(rest, |left| left.min(rest));
                    at += skipped;
                    let left = left - skipped as u64;
                    self.at = match (self.at, left) {
                        (At::Body(_), 0) => At::Begin,
                        (At::Body(_), _) => At::Body(left),
                        (_, 0) => At::ChunkEnds,
                        (..) => At::Chunk(left),
                    };
                    continue;
                }
                At::Version | At::Value => at += self.skip_lines(&bytes[at..])?,
                At::TrailerRest => at += memchr::memchr(b'\n', &bytes[at..])?,
                At::Path if let Some(skipped) = plain_target(&bytes[at..]) => at += skipped,
                At::Path | At::Query => {
                    let skipped = bytes[at..]
                        .iter()
                        .position(|byte| self.at.stops_at(*byte))?;
                    at += skipped;
                    if !matches!(bytes[at], b'?' | ..=b' ') {
                        return Some(at);
                    }
                }
                // Only two names are of interest, and most headers have others.
                At::Header if rest > NAME_MAX && is_other(&bytes[at..]) => {
                    self.at = At::Value;
                    continue;
                }
                At::Header if let Some(line) = plain_length(&bytes[at..]) => {
                    let (length, end) = line;
                    // One that is said otherwise is looked at byte by byte.
                    if !self.chunked && self.length.is_none_or(|said| said == length) {
                        self.length = Some(length);
                        at += end;
                        continue;
                    }
                }
                _ => {}
            }
            self.at = self.next(bytes[at]);
            if self.at == At::Name && bytes[at] == b':' {
                self.at = self.named();
                if self.at == At::Lost {
                    // No name holds this, so that hyper refuses the request.
                    bytes[at] = 0;
                }
            }
            at += 1;
        }
        None
    }

    /// Skips the rest of a line, and those behind it that are none of those that are looked for; says
    /// where the last one ends. Most heads are skipped at once.
    fn skip_lines(&mut self, bytes: &[u8]) -> Option<usize> {
        for end in memchr::memchr_iter(b'\n', bytes) {
            let next = &bytes[end + 1..];
            if next.len() <= NAME_MAX || !is_other(next) {
                return Some(end);
            }
            self.at = At::Value;
        }
        None
    }

    /// The same for bytes that are copied anyway, percent-encoded where they must be.
    pub(crate) fn encode(&mut self, bytes: &mut [u8]) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(bytes.len() + 16);
        let mut rest = bytes;
        while let Some(at) = self.follow(rest) {
            encoded.extend_from_slice(&rest[..at]);
            encoded.extend_from_slice(format!("%{:02X}", rest[at]).as_bytes());
            rest = &mut rest[at + 1..];
        }
        encoded.extend_from_slice(rest);
        encoded
    }

    fn next(&mut self, byte: u8) -> At {
        match (self.at, byte) {
            // Empty lines in front of a request are overlooked (RFC 9112, section 2.2).
            (At::Begin, b'\r' | b'\n') => At::Begin,
            (At::Begin | At::Method, b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_') => At::Method,
            (At::Method, b' ') => At::Path,
            (At::Path, b'?') => At::Query,
            (At::Path | At::Query, b' ') => At::Version,
            (At::Path | At::Query, b'!'..) => self.at,
            (At::Version | At::Value, b'\n') => At::Header,
            (At::Header, b'\r') => At::HeadEnds,
            (At::Header, b'\n') | (At::HeadEnds, b'\n') => self.head_ends(),
            (At::Header, b'c' | b'C' | b't' | b'T') => {
                self.name.clear();
                self.name.push(byte);
                At::Name
            }
            (At::Header, b'!'..) => At::Value,
            (At::Name, b':') => At::Name,
            (At::Name, b'!'..) if self.name.len() < NAME_MAX => {
                self.name.push(byte);
                At::Name
            }
            (At::Name, b'!'..) => At::Value,
            (At::Length(None), b' ' | b'\t') => self.at,
            (At::Length(value), b'0'..=b'9') => digit(value, 10, u64::from(byte - b'0'))
                .map_or(At::Lost, |value| At::Length(Some(value))),
            (At::Length(Some(_)), b' ' | b'\t' | b'\r') => self.at,
            (At::Length(Some(value)), b'\n') if self.length.is_none_or(|said| said == value) => {
                self.length = Some(value);
                At::Header
            }
            (At::ChunkSize(_) | At::ChunkExtension(_) | At::ChunkSizeEnds(_), _)
            | (At::ChunkEnds | At::ChunkEnded, _)
            | (At::Trailer | At::TrailerRest | At::TrailersEnd, _) => self.next_of_chunks(byte),
            _ => At::Lost,
        }
    }

    /// RFC 9112, section 7.1.
    fn next_of_chunks(&self, byte: u8) -> At {
        match (self.at, byte) {
            (At::ChunkSize(Some(size)), b'\r') => At::ChunkSizeEnds(size),
            (At::ChunkSize(Some(size)), b';' | b' ' | b'\t') => At::ChunkExtension(size),
            (At::ChunkSize(size), _) => match char::from(byte).to_digit(16) {
                Some(value) => digit(size, 16, u64::from(value))
                    .map_or(At::Lost, |size| At::ChunkSize(Some(size))),
                None => At::Lost,
            },
            (At::ChunkExtension(size), b'\r') => At::ChunkSizeEnds(size),
            (At::ChunkExtension(size), b' '..) => At::ChunkExtension(size),
            (At::ChunkSizeEnds(0), b'\n') => At::Trailer,
            (At::ChunkSizeEnds(size), b'\n') => At::Chunk(size),
            (At::ChunkEnds, b'\r') => At::ChunkEnded,
            (At::ChunkEnded, b'\n') => At::ChunkSize(None),
            (At::Trailer, b'\r') => At::TrailersEnd,
            (At::Trailer, b'!'..) => At::TrailerRest,
            (At::TrailerRest, b'\n') => At::Trailer,
            (At::TrailersEnd, b'\n') => At::Begin,
            _ => At::Lost,
        }
    }

    /// A header's name has ended.
    fn named(&mut self) -> At {
        if self.name.eq_ignore_ascii_case(b"content-length") {
            return if self.chunked {
                At::Lost
            } else {
                At::Length(None)
            };
        }
        if self.name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.length.is_some() {
                return At::Lost;
            }
            self.chunked = true;
        }
        At::Value
    }

    fn head_ends(&mut self) -> At {
        let (length, chunked) = (self.length.take(), std::mem::take(&mut self.chunked));
        match length {
            _ if chunked => At::ChunkSize(None),
            Some(length @ 1..) => At::Body(length),
            Some(0) | None => At::Begin,
        }
    }
}

impl At {
    /// Whether a byte of a target is looked at more closely.
    fn stops_at(self, byte: u8) -> bool {
        match byte {
            b'<' | b'>' | b'#' | ..=b' ' => true,
            b'?' | b'`' => self == At::Path,
            b'"' => self == At::Query,
            _ => false,
        }
    }
}

/// How long a target is that has nothing in it to be looked at more closely, up to the space behind
/// it: nearly every one.
fn plain_target(bytes: &[u8]) -> Option<usize> {
    let end = memchr::memchr(b' ', bytes)?;
    let odd = |byte: u8| byte < b' ' || matches!(byte, b'<' | b'>' | b'#' | b'`' | b'"');
    // Every byte is looked at, which takes less time than stopping at one.
    let none = !bytes[..end]
        .iter()
        .fold(false, |odds, byte| odds | odd(*byte));
    none.then_some(end)
}

/// `Content-Length` as nearly everybody writes it: what it says, and how long the line is.
fn plain_length(bytes: &[u8]) -> Option<(u64, usize)> {
    const NAME: &[u8] = b"content-length: ";
    let (name, value) = bytes.split_at_checked(NAME.len())?;
    if !name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let digits = value
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (digits, rest) = value.split_at(digits);
    if !rest.starts_with(b"\r\n") {
        return None;
    }
    let length = digits.iter().try_fold(None, |length, byte| {
        digit(length, 10, u64::from(byte - b'0')).map(Some)
    })??;
    Some((length, NAME.len() + digits.len() + 2))
}

/// Whether a header begins that is none of those that are looked for.
fn is_other(line: &[u8]) -> bool {
    let begins = |name: &[u8]| line[..name.len()].eq_ignore_ascii_case(name);
    match line[0] {
        b'c' | b'C' => !begins(b"content-length"),
        b't' | b'T' => !begins(b"transfer-encoding"),
        b'!'.. => true,
        _ => false,
    }
}

fn digit(value: Option<u64>, base: u64, digit: u64) -> Option<u64> {
    value
        .unwrap_or_default()
        .checked_mul(base)?
        .checked_add(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> String {
        let whole = Framing::new().encode(&mut text.as_bytes().to_vec());
        // Byte by byte it comes to the same.
        let mut framing = Framing::new();
        let each: Vec<u8> = text
            .bytes()
            .flat_map(|byte| framing.encode(&mut [byte]))
            .collect();
        assert_eq!(each, whole);
        String::from_utf8(whole).expect("UTF-8")
    }

    #[test]
    fn bare_quotes_are_encoded_in_addresses_and_nowhere_else() {
        let request = |target: &str, quote: &str| {
            format!(
                "GET {target} HTTP/1.1\r\nHost: \"<>#\r\nCookie: \"\r\n\r\n\
                 \r\nPOST /x HTTP/1.1\r\ncontent-length: 12\r\n\r\nGET /?\"<># H\
                 POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7;a=\"\r\nGET /?\"\r\n0\r\n\
                 X: \"\r\n\r\nGET /?{quote} HTTP/1.1\r\n\r\n"
            )
        };
        assert_eq!(
            seen(&request("/a\"{}|^<>`#?b=\"<>#`'{}|^\u{e9}", "\"")),
            request("/a\"{}|^%3C%3E%60%23?b=%22%3C%3E%23`'{}|^\u{e9}", "%22")
        );
    }

    #[test]
    fn a_length_said_in_two_ways_is_spoilt() {
        for (one, other) in [
            ("Content-Length: 3", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", "Content-Length: 3"),
            ("transfer-encoding: x", "CONTENT-LENGTH: 3"),
        ] {
            let text =
                format!("POST / HTTP/1.1\r\nA: b\r\n{one}\r\nTE: x\r\n{other}\r\n\r\nGET /?\"");
            let spoilt = text.replace(other, &other.replace(':', "\0"));
            assert_eq!(seen(&text), spoilt);
        }
        let text = "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n?\"\"GET /";
        assert_eq!(seen(text), text);
    }

    #[test]
    fn what_is_not_understood_is_not_touched() {
        for text in [
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0?\"",
            "\u{16}\u{3}\u{1} /?\"",
            "GET\r\n/?\" HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nGET /?\" HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nGET /?\" HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\nGET /?\" HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\nGET /?\" HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nA: b\r\n folded\r\n\r\nGET /?\" HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(seen(text), text);
        }
    }
}
