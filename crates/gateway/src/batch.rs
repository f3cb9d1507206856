//! A `$batch`, turned while it streams by: OData 4.01 Protocol, section 11.7.7, in the form of
//! RFC 2046's multipart.
//!
//! In a request, addresses in request lines and links in bodies lead on to the organization, `Host`
//! is the organization's, and credentials of the caller's own stay here. In an answer, addresses in
//! headers and links in bodies lead back. Everything else keeps its bytes: preambles, line ends,
//! boundaries, references to a Content-ID.
//!
//! What is held is a line, the head of one part, or, where a part says its length in front, so much
//! of its body as [`KEPT_MAX`] allows; a body longer than that goes without its length, which a
//! boundary makes superfluous.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::address::Turning;
use crate::links::Links;
use crate::part::{Head, Kind, Length};

/// Longest line of a head: Dynamics takes addresses of 64 KB in a batch.
const LINE_MAX: usize = 256 << 10;
/// Longest body that waits for its length to be known.
const KEPT_MAX: usize = 1 << 20;
/// Change sets do not nest, and nothing else does more than once.
const NESTED_MAX: usize = 8;
/// Longest rest of a line behind a boundary (RFC 2046 lets spaces stand there).
const PADDING_MAX: usize = 256;

/// Turns the addresses of one batch.
#[derive(Debug)]
pub(crate) struct Batch {
    turning: Arc<Turning>,
    /// `--boundary` of every multipart that is open, the outermost first.
    open: Vec<Vec<u8>>,
    state: State,
    /// What came and is not understood yet.
    buffer: BytesMut,
    /// How much of it holds no end of a line.
    scanned: usize,
    /// The end of the line before: it belongs to a boundary, should one follow.
    line_end: &'static [u8],
    /// A part's own headers, while its lengths are open.
    mime: Option<Head>,
    /// The head of the request or answer in the part.
    head: Head,
    body: Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In what passes up to a boundary; whether a line begins.
    Content { line_begins: bool },
    /// In a part's own headers.
    Mime,
    /// In the request or answer that is in the part, up to its body.
    Head,
    /// Nothing is looked at any more.
    Asleep,
}

#[derive(Debug)]
enum Body {
    /// Preamble, epilogue, or a body without links.
    Plain,
    Links(Box<Links>),
    /// With links, and with its length said in front.
    Kept {
        links: Box<Links>,
        turned: Vec<u8>,
        came: usize,
    },
}

/// A line that is a boundary.
#[derive(Debug, Clone, Copy)]
struct Delimiter {
    level: usize,
    closes: bool,
}

/// Whether a state could go on.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    On,
    /// More is needed.
    Wait,
}

enum Found {
    No,
    Wait,
    Yes(Delimiter, usize),
}

impl Batch {
    pub(crate) fn new(turning: Arc<Turning>, boundary: &[u8]) -> Self {
        Self {
            turning,
            open: vec![[b"--", boundary].concat()],
            state: State::Content { line_begins: true },
            buffer: BytesMut::new(),
            scanned: 0,
            line_end: b"",
            mime: None,
            head: Head::default(),
            body: Body::Plain,
        }
    }

    /// What becomes of a piece of the batch.
    pub(crate) fn turn(&mut self, piece: Bytes) -> Bytes {
        if self.state == State::Asleep {
            return piece;
        }
        self.buffer.extend_from_slice(&piece);
        let mut out = BytesMut::with_capacity(piece.len() + 64);
        while self.step(&mut out) == Step::On {}
        out.freeze()
    }

    /// What is left when the batch has ended.
    pub(crate) fn rest(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        // A last line may be a boundary even though nothing ends it.
        if matches!(self.state, State::Content { line_begins: true })
            && let Found::Yes(delimiter, _) = self.delimiter(&[&self.buffer[..], b"\n"].concat())
        {
            let line = self.buffer.split();
            self.boundary(delimiter, &line, &mut out);
        }
        self.end_part(&mut out);
        out.extend_from_slice(std::mem::take(&mut self.line_end));
        out.extend_from_slice(&self.buffer.split());
        self.state = State::Asleep;
        out.freeze()
    }

    fn step(&mut self, out: &mut BytesMut) -> Step {
        match self.state {
            State::Asleep => {
                out.extend_from_slice(&self.buffer.split());
                Step::Wait
            }
            State::Content { line_begins: true } => self.line_begins(out),
            State::Content { line_begins: false } => self.content(out),
            State::Mime | State::Head => self.head_line(out),
        }
    }

    /// At the beginning of a line: is it a boundary?
    fn line_begins(&mut self, out: &mut BytesMut) -> Step {
        if self.buffer.is_empty() {
            return Step::Wait;
        }
        match self.delimiter(&self.buffer) {
            Found::Wait => Step::Wait,
            Found::Yes(delimiter, length) => {
                let line = self.buffer.split_to(length);
                self.boundary(delimiter, &line, out);
                Step::On
            }
            Found::No => {
                let line_end = std::mem::take(&mut self.line_end);
                self.pass(Bytes::from_static(line_end), out);
                self.state = State::Content { line_begins: false };
                Step::On
            }
        }
    }

    /// Which boundary the text begins with, as a line of its own.
    fn delimiter(&self, text: &[u8]) -> Found {
        let mut wait = false;
        for (level, boundary) in self.open.iter().enumerate() {
            if boundary.starts_with(text) {
                wait = true;
                continue;
            }
            let Some(rest) = text.strip_prefix(boundary.as_slice()) else {
                continue;
            };
            let end = memchr::memchr(b'\n', rest);
            let tail = &rest[..end.unwrap_or(rest.len())];
            let (closes, padding) = match tail.strip_prefix(b"--") {
                Some(padding) => (true, padding),
                None => (false, tail),
            };
            let maybe = end.is_none() && (tail == b"-" || tail.len() < PADDING_MAX);
            let blank = padding
                .iter()
                .all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
            match end {
                Some(end) if blank => {
                    let length = boundary.len() + end + 1;
                    return Found::Yes(Delimiter { level, closes }, length);
                }
                None if maybe && (blank || tail == b"-") => wait = true,
                _ => {}
            }
        }
        if wait { Found::Wait } else { Found::No }
    }

    fn boundary(&mut self, delimiter: Delimiter, line: &[u8], out: &mut BytesMut) {
        self.end_part(out);
        out.extend_from_slice(std::mem::take(&mut self.line_end));
        out.extend_from_slice(line);
        self.scanned = 0;
        if delimiter.closes {
            self.open.truncate(delimiter.level);
            self.state = State::Content { line_begins: true };
        } else {
            // Whatever was open within is over, closed or not.
            self.open.truncate(delimiter.level + 1);
            self.state = State::Mime;
        }
        if self.open.is_empty() {
            // The epilogue is nobody's.
            self.state = State::Asleep;
        }
    }

    /// In the middle of a line: everything up to where a boundary could begin.
    fn content(&mut self, out: &mut BytesMut) -> Step {
        if let Some(at) = memchr::memmem::find(&self.buffer, b"\n--") {
            let crlf = at > 0 && self.buffer[at - 1] == b'\r';
            let content = self.buffer.split_to(at - usize::from(crlf)).freeze();
            self.line_end = if crlf { b"\r\n" } else { b"\n" };
            let _ = self.buffer.split_to(self.line_end.len());
            self.pass(content, out);
            self.state = State::Content { line_begins: true };
            return Step::On;
        }
        let held = [&b"\r\n-"[..], b"\n-", b"\r\n", b"\n", b"\r"]
            .into_iter()
            .find(|end| self.buffer.ends_with(end))
            .map_or(0, <[u8]>::len);
        let content = self.buffer.split_to(self.buffer.len() - held).freeze();
        self.pass(content, out);
        Step::Wait
    }

    /// Content, on its way out.
    fn pass(&mut self, content: Bytes, out: &mut BytesMut) {
        if content.is_empty() {
            return;
        }
        match &mut self.body {
            Body::Plain => out.extend_from_slice(&content),
            Body::Links(links) => out.extend_from_slice(&links.turn(content)),
            Body::Kept {
                links,
                turned,
                came,
            } => {
                *came += content.len();
                turned.extend_from_slice(&links.turn(content));
                if turned.len() > KEPT_MAX {
                    self.let_go(out);
                }
            }
        }
    }

    /// A body is too long to wait for its length: it goes without.
    fn let_go(&mut self, out: &mut BytesMut) {
        if let Body::Kept { links, turned, .. } = std::mem::replace(&mut self.body, Body::Plain) {
            if let Some(mime) = self.mime.take() {
                out.extend_from_slice(&mime.with_length(Length::Unsaid));
            }
            out.extend_from_slice(&self.head.with_length(Length::Unsaid));
            out.extend_from_slice(&turned);
            self.body = Body::Links(links);
        }
    }

    /// A boundary or the end was reached: what was held of the part goes out.
    fn end_part(&mut self, out: &mut BytesMut) {
        match std::mem::replace(&mut self.body, Body::Plain) {
            Body::Plain => {}
            Body::Links(mut links) => out.extend_from_slice(&links.rest()),
            Body::Kept {
                mut links,
                mut turned,
                came,
            } => {
                turned.extend_from_slice(&links.rest());
                let grown = difference(turned.len(), came);
                self.flush_heads(grown, out);
                out.extend_from_slice(&turned);
            }
        }
        // A part that ends before its body begins.
        if matches!(self.state, State::Mime | State::Head) {
            self.flush_heads(0, out);
        }
        self.mime = None;
        self.head = Head::default();
    }

    /// Sends the heads that were held, their lengths right for a body that has grown by so much.
    fn flush_heads(&mut self, grown: i64, out: &mut BytesMut) {
        let head = std::mem::take(&mut self.head);
        let came = head.came;
        let head = head.with_length(Length::Grows(grown));
        if let Some(mime) = self.mime.take() {
            let all = grown + difference(head.len(), came);
            out.extend_from_slice(&mime.with_length(Length::Grows(all)));
        }
        out.extend_from_slice(&head);
    }

    fn head_line(&mut self, out: &mut BytesMut) -> Step {
        let Some(end) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) else {
            self.scanned = self.buffer.len();
            if self.scanned > LINE_MAX {
                self.end_part(out);
                self.state = State::Asleep;
                return Step::On;
            }
            return Step::Wait;
        };
        let line = self.buffer.split_to(self.scanned + end + 1);
        self.scanned = 0;
        if line.starts_with(b"--")
            && let Found::Yes(delimiter, _) = self.delimiter(&line)
        {
            self.boundary(delimiter, &line, out);
            return Step::On;
        }
        let blank = matches!(&line[..], b"\n" | b"\r\n");
        if self.state == State::Mime {
            self.head.mime_line(&line);
            if blank {
                self.mime_ends(out);
            }
        } else {
            let started = self.head.started;
            self.head.message_line(&line, &self.turning);
            // Empty lines in front of a request are overlooked (RFC 9112, section 2.2).
            if blank && started {
                self.head_ends(out);
            }
        }
        Step::On
    }

    fn mime_ends(&mut self, out: &mut BytesMut) {
        let mime = std::mem::take(&mut self.head);
        self.state = State::Content { line_begins: true };
        match &mime.kind {
            Kind::Multipart(boundary) if self.open.len() < NESTED_MAX => {
                self.open.push([b"--", boundary.as_slice()].concat());
                // How long all of a change set will be cannot be known yet.
                out.extend_from_slice(&mime.with_length(Length::Unsaid));
            }
            Kind::Http => {
                self.state = State::Head;
                if mime.says_length {
                    self.mime = Some(mime);
                } else {
                    out.extend_from_slice(&mime.with_length(Length::Unsaid));
                }
            }
            Kind::Multipart(_) | Kind::Json | Kind::Other => out.extend_from_slice(&mime.lines),
        }
    }

    fn head_ends(&mut self, out: &mut BytesMut) {
        self.state = State::Content { line_begins: true };
        let waits = self.mime.is_some() || self.head.says_length;
        if self.head.kind != Kind::Json {
            self.flush_heads(0, out);
            return;
        }
        let links = Box::new(Links::new(Arc::clone(&self.turning)));
        if waits {
            self.body = Body::Kept {
                links,
                turned: Vec::new(),
                came: 0,
            };
        } else {
            out.extend_from_slice(&std::mem::take(&mut self.head).lines);
            self.body = Body::Links(links);
        }
    }
}

fn difference(now: usize, before: usize) -> i64 {
    i64::try_from(now).unwrap_or_default() - i64::try_from(before).unwrap_or_default()
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
