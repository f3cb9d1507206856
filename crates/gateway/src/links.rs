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

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem::Finder;

use crate::address::{Escapes, Turning, Verdict, Whole};

/// The annotations that hold links, by their first letters: OData JSON Format 4.01, section 4.6,
/// which lets the `odata.` in front of a name be left out, and `bind` (section 8.5), which clients
/// send.
const fn links(first: u8) -> &'static [&'static [u8]] {
    match first {
        b'a' => &[b"associationLink"],
        b'b' => &[b"bind"],
        b'c' => &[b"context"],
        b'd' => &[b"deltaLink"],
        b'e' => &[b"editLink"],
        b'i' => &[b"id"],
        b'm' => &[b"mediaReadLink", b"mediaEditLink"],
        b'n' => &[b"nextLink", b"navigationLink"],
        b'r' => &[b"readLink"],
        b't' => &[b"type"],
        _ => &[],
    }
}
/// As long as the longest of them with `odata.` in front.
const NAME_MAX: usize = 21;
/// How an `@` may be written otherwise (RFC 8259, section 7).
const AT_ESCAPED: &[u8] = br"\u0040";
static FIND_ESCAPED: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(AT_ESCAPED));

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
    /// Where in the present piece every `@` is written as one.
    plain_from: usize,
    plain_to: usize,
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
            plain_from: 0,
            plain_to: 0,
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
        self.look_over(&piece);
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
                    if turned.is_empty() {
                        // Where there is one, there are most often many, which grow alike.
                        turned.reserve(piece.len() + piece.len() / 8 + base.len());
                    }
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

    /// Finds out which part of a piece holds no `@` that is written otherwise: all of it, most
    /// often, but the few bytes at its end in which one may begin.
    fn look_over(&mut self, piece: &[u8]) {
        let last = FIND_ESCAPED.find_iter(piece).last();
        self.plain_from = last.map_or(0, |last| last + AT_ESCAPED.len());
        self.plain_to = piece.len().saturating_sub(AT_ESCAPED.len() - 1);
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

    /// Most of a document is text: it is skipped, not stepped through. Of the annotations that are
    /// in a page only few are links, and most of them are told from the others at a glance.
    fn skip(&mut self, piece: &[u8], at: usize) -> usize {
        if self.state != State::Scan || at < self.plain_from {
            return self.skip_slowly(piece, at);
        }
        // What this piece ends in, the next one may go on with.
        let end = self.plain_to.max(at);
        let mut from = at;
        while let Some(found) = memchr::memchr(b'@', &piece[from..end]) {
            let name = from + found + 1;
            if is_escaped(&piece[at..name - 1]) {
                from = name;
                continue;
            }
            match glance(&piece[name..]) {
                Glance::Other => from = name,
                Glance::Link(length) => {
                    self.state = State::Colon;
                    return name + length;
                }
                Glance::Unclear => {
                    self.state = self.begin_name();
                    return name;
                }
            }
        }
        if end > at && is_escaped(&piece[at..end]) {
            self.state = State::Escape(Where::Text);
            return end;
        }
        if end == piece.len() {
            return end;
        }
        self.skip_slowly(piece, end)
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
    let name = name.strip_prefix(b"odata.").unwrap_or(name);
    let first = name.first().copied().unwrap_or_default();
    links(first).contains(&name)
}

/// What stands behind an `@`, as far as it can be told without going through it byte by byte.
enum Glance {
    /// A link annotation, so many bytes long with the quote at its end.
    Link(usize),
    Other,
    /// It is escaped, or not all of it is there.
    Unclear,
}

fn glance(text: &[u8]) -> Glance {
    let name = text.strip_prefix(b"odata.").unwrap_or(text);
    let prefix = text.len() - name.len();
    let Some(first) = name.first() else {
        return Glance::Unclear;
    };
    for known in links(*first) {
        if name.get(known.len()) == Some(&b'"') && name.starts_with(known) {
            return Glance::Link(prefix + known.len() + 1);
        }
    }
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.';
    let end = name.iter().take(NAME_MAX).find(|byte| !part(byte));
    match end {
        None | Some(b'\\' | b'@') => Glance::Unclear,
        Some(_) => Glance::Other,
    }
}

/// Whether what follows has a backslash in front of it that counts: one of two is only text.
fn is_escaped(before: &[u8]) -> bool {
    let others = before.iter().rev().take_while(|byte| **byte == b'\\');
    others.count() % 2 == 1
}

#[cfg(test)]
#[path = "links_tests.rs"]
pub(crate) mod tests;
