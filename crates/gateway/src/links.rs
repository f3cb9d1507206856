//! Links in JSON, turned while they stream by.
//!
//! Only values of OData's link annotations are looked at, and only their beginning; nothing is held
//! back but a beginning that may still become an address. Text that only looks like a link is not
//! touched, and a piece in which nothing is turned is not copied.
//!
//! No stack of objects and arrays is needed. Inside a JSON string every quote has a backslash in
//! front of it, so a bare quote right behind `@odata.nextLink` ends a string; and where a colon
//! follows, that string was a key.

use std::sync::{Arc, LazyLock};

use aho_corasick::packed::Searcher;
use bytes::{BufMut as _, Bytes, BytesMut};

use crate::address::{Escapes, Turning, Verdict, Whole};

/// The annotations that hold links: OData JSON Format 4.01, section 4.6, which lets the `odata.` in
/// front of a name be left out, and `bind` (section 8.5), which clients send.
const LINKS: [&[u8]; 12] = [
    b"nextLink",
    b"deltaLink",
    b"context",
    b"id",
    b"editLink",
    b"readLink",
    b"navigationLink",
    b"associationLink",
    b"mediaReadLink",
    b"mediaEditLink",
    b"type",
    b"bind",
];
/// As long as the longest of them with `odata.` in front.
const NAME_MAX: usize = 21;
/// How a link annotation may begin: with an `@`, or the escape of one, and the first letter of a
/// name above or an escape. Pages are full of other annotations, which begin otherwise.
const BEGINNINGS: [&str; 13] = [
    "@o", "@n", "@d", "@c", "@i", "@e", "@r", "@a", "@m", "@t", "@b", "@\\", AT_ESCAPED,
];
const AT_ESCAPED: &str = r"\u0040";
/// None on processors without vectors that it knows.
static SEARCHER: LazyLock<Option<Searcher>> = LazyLock::new(|| Searcher::new(BEGINNINGS));

/// Turns the links of one document.
#[derive(Debug)]
pub(crate) struct Links {
    turning: Arc<Turning>,
    state: State,
    /// A link's beginning that an earlier piece ended in.
    held: Vec<u8>,
    /// What has come of an annotation's name.
    name: [u8; NAME_MAX],
    name_len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// On the look-out for an `@`.
    Scan,
    /// Behind a backslash.
    Escape(Where),
    /// In the digits of `\u0040`; how many are missing, and what they come to.
    Hex(Where, u8, u16),
    /// Behind an `@`.
    Name,
    /// Behind a link annotation's name.
    Colon,
    /// Behind the colon.
    Begin,
    /// At a link.
    Link(In),
    /// In the rest of a link in a list.
    ListText,
    ListEscape,
    /// Behind a link in a list.
    ListNext,
    /// In front of one.
    ListBegin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Text,
    Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum In {
    Value,
    List,
}

impl Links {
    pub(crate) fn new(turning: Arc<Turning>) -> Self {
        Self {
            turning,
            state: State::Scan,
            held: Vec::new(),
            name: [0; NAME_MAX],
            name_len: 0,
        }
    }

    /// What becomes of a piece of the document.
    pub(crate) fn turn(&mut self, piece: Bytes) -> Bytes {
        let piece = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(&piece);
            Bytes::from(std::mem::take(&mut self.held))
        };
        let turning = Arc::clone(&self.turning);
        let mut turned = BytesMut::new();
        let (mut copied, mut at) = (0, 0);
        while at < piece.len() {
            let State::Link(place) = self.state else {
                at = self.step(&piece, at);
                continue;
            };
            let after = match place {
                In::Value => State::Scan,
                In::List => State::ListText,
            };
            match turning.look(&piece[at..], Escapes::Json, Whole::NotYet) {
                Verdict::More => {
                    self.held = piece[at..].to_vec();
                    break;
                }
                Verdict::Stays => self.state = after,
                Verdict::Turns(taken, base) => {
                    turned.reserve(piece.len() - copied + base.len());
                    turned.put_slice(&piece[copied..at]);
                    turned.put_slice(base.as_bytes());
                    at += taken;
                    copied = at;
                    self.state = after;
                }
            }
        }
        let end = piece.len() - self.held.len();
        if copied == 0 && turned.is_empty() {
            return piece.slice(..end);
        }
        turned.put_slice(&piece[copied..end]);
        turned.freeze()
    }

    /// What is left when the document ends in the middle of a link.
    pub(crate) fn rest(&mut self) -> Bytes {
        self.state = State::Scan;
        Bytes::from(std::mem::take(&mut self.held))
    }

    /// Goes on from `at`; says where it got to.
    fn step(&mut self, piece: &[u8], at: usize) -> usize {
        let byte = piece[at];
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let next = match self.state {
            State::Scan | State::ListText => return self.skip(piece, at),
            State::Escape(place) if byte == b'u' => State::Hex(place, 4, 0),
            State::Escape(_) => State::Scan,
            State::Hex(place, missing, code) => match char::from(byte).to_digit(16) {
                Some(digit) => {
                    let code = (code << 4) | u16::try_from(digit).unwrap_or_default();
                    if missing == 1 {
                        self.escaped(place, code)
                    } else {
                        State::Hex(place, missing - 1, code)
                    }
                }
                None => return self.again(at),
            },
            State::Name if byte == b'"' && self.is_link() => State::Colon,
            State::Name if byte == b'\\' => State::Escape(Where::Name),
            State::Name => self.name_byte(byte),
            State::Colon | State::Begin | State::ListNext | State::ListBegin if space => self.state,
            State::Colon if byte == b':' => State::Begin,
            State::Begin if byte == b'"' => State::Link(In::Value),
            State::Begin if byte == b'[' => State::ListBegin,
            State::ListNext if byte == b',' => State::ListBegin,
            State::ListBegin if byte == b'"' => State::Link(In::List),
            State::ListEscape => State::ListText,
            State::Colon | State::Begin | State::ListNext | State::ListBegin | State::Link(_) => {
                return self.again(at);
            }
        };
        self.state = next;
        at + 1
    }

    /// Most of a document is text: it is skipped, not stepped through.
    fn skip(&mut self, piece: &[u8], at: usize) -> usize {
        let Some(searcher) = SEARCHER.as_ref().filter(|_| self.state == State::Scan) else {
            return self.skip_slowly(piece, at);
        };
        let mut from = at;
        while let Some(found) = searcher.find_in(piece, (from..piece.len()).into()) {
            let found = found.start();
            if !is_escaped(&piece[at..found]) {
                return if piece[found] == b'@' {
                    self.read_name(piece, found + 1)
                } else {
                    self.begin_name();
                    self.state = State::Name;
                    found + AT_ESCAPED.len()
                };
            }
            from = found + 1;
        }
        // The next piece may go on with what this one ends in.
        let rest = piece.len().saturating_sub(AT_ESCAPED.len() - 1).max(at);
        if rest > at && is_escaped(&piece[at..rest]) {
            self.state = State::Escape(Where::Text);
            return rest;
        }
        self.skip_slowly(piece, rest)
    }

    /// Reads a name in one go, where all of it is there and nothing in it is escaped.
    fn read_name(&mut self, piece: &[u8], at: usize) -> usize {
        self.state = self.begin_name();
        let name = &piece[at..piece.len().min(at + NAME_MAX + 1)];
        let part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.';
        let Some(end) = name.iter().position(|byte| !part(byte)) else {
            return at;
        };
        match name[end] {
            b'"' => {
                let is_link = is_link(&name[..end]);
                self.state = if is_link { State::Colon } else { State::Scan };
                at + end + 1
            }
            b'@' | b'\\' => at,
            _ => {
                self.state = State::Scan;
                at + end
            }
        }
    }

    fn skip_slowly(&mut self, piece: &[u8], at: usize) -> usize {
        if at >= piece.len() {
            return at;
        }
        let end = match self.state {
            State::ListText => b'"',
            _ => b'@',
        };
        let Some(skipped) = memchr::memchr2(end, b'\\', &piece[at..]) else {
            return piece.len();
        };
        self.state = match (piece[at + skipped], self.state) {
            (b'\\', State::ListText) => State::ListEscape,
            (b'\\', _) => State::Escape(Where::Text),
            (_, State::ListText) => State::ListNext,
            _ => self.begin_name(),
        };
        at + skipped + 1
    }

    /// The byte at `at` is looked at afresh.
    fn again(&mut self, at: usize) -> usize {
        self.state = State::Scan;
        at
    }

    fn begin_name(&mut self) -> State {
        self.name_len = 0;
        State::Name
    }

    fn escaped(&mut self, place: Where, code: u16) -> State {
        match (place, u8::try_from(code)) {
            (_, Ok(b'@')) => self.begin_name(),
            (Where::Name, Ok(byte)) => self.name_byte(byte),
            _ => State::Scan,
        }
    }

    fn name_byte(&mut self, byte: u8) -> State {
        if byte == b'@' {
            return self.begin_name();
        }
        let fits = self.name_len < NAME_MAX && (byte.is_ascii_alphanumeric() || byte == b'.');
        if !fits {
            return State::Scan;
        }
        self.name[self.name_len] = byte;
        self.name_len += 1;
        State::Name
    }

    fn is_link(&self) -> bool {
        is_link(&self.name[..self.name_len])
    }
}

fn is_link(name: &[u8]) -> bool {
    LINKS.contains(&name.strip_prefix(b"odata.").unwrap_or(name))
}

/// Whether what follows has a backslash in front of it that counts: one of two is only text.
fn is_escaped(before: &[u8]) -> bool {
    let others = before.iter().rev().take_while(|byte| **byte == b'\\');
    others.count() % 2 == 1
}

#[cfg(test)]
#[path = "links_tests.rs"]
pub(crate) mod tests;
