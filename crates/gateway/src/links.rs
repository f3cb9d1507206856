//! Links in JSON, turned while they stream by.
//!
//! Only values of OData's link annotations are looked at, and only their beginning; nothing is held
//! back but a beginning that may still become an address. Text that only looks like a link is not
//! touched, and a piece in which nothing is turned is not copied.
//!
//! No stack of objects and arrays is needed. Inside a JSON string every quote has a backslash in
//! front of it, so a bare quote right behind `@odata.nextLink` ends a string; and where a colon
//! follows, that string was a key.

use std::sync::Arc;

use bytes::Bytes;

use crate::address::{Escapes, Turning, Verdict, Whole, ends_segment};
use crate::signs;

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
/// How their names begin, and what stands there when the name is escaped: so few other annotations
/// begin alike that hardly any other is looked at twice.
const FIRST: u32 = letters(0);
const SECOND: u32 = letters(1);
/// As long as the longest of them with `odata.` in front.
const NAME_MAX: usize = 21;

/// The letters that stand in this place of names, as bits.
const fn letters(place: usize) -> u32 {
    // At a glance, a prefix is none that has an escape in it.
    let mut letters = bit(b'\\') | bit(b"od"[place]);
    let mut first = b'a';
    while first <= b'z' {
        let names = links(first);
        let mut number = 0;
        while number < names.len() {
            letters |= bit(names[number][place]);
            number += 1;
        }
        first += 1;
    }
    letters
}

/// Backslash and small letters, which is all that names are written with up to their second letter,
/// have a bit each.
#[inline]
const fn bit(byte: u8) -> u32 {
    let place = byte.wrapping_sub(b'\\');
    if place < 32 { 1 << place } else { 0 }
}

/// Turns the links of one document.
#[derive(Debug)]
pub(crate) struct Links {
    turning: Arc<Turning>,
    /// Where the pieces so far end in the middle of something.
    within: Option<Box<Within>>,
}

#[derive(Debug)]
struct Within {
    machine: Machine,
    /// A link's beginning that an earlier piece ended in.
    held: Vec<u8>,
}

/// What goes through a document byte by byte, wherever it cannot be told at a glance what is there.
#[derive(Debug, Clone, Copy)]
struct Machine {
    state: State,
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
            within: None,
        }
    }

    /// What becomes of a piece of the document.
    pub(crate) fn turn(&mut self, piece: Bytes) -> Bytes {
        let (piece, machine) = match self.within.take() {
            None => (piece, Machine::new()),
            Some(within) => within.go_on(piece),
        };
        let mut walk = Walk::new(&self.turning, &piece, machine);
        walk.walk();
        let (machine, end) = (walk.machine, walk.end);
        let turned = walk.out();
        if machine.state != State::Scan {
            let held = piece[end..].to_vec();
            self.within = Some(Box::new(Within { machine, held }));
        }
        turned.unwrap_or_else(|| {
            if end == piece.len() {
                piece
            } else {
                piece.slice(..end)
            }
        })
    }

    /// What is left when the document ends in the middle of a link.
    pub(crate) fn rest(&mut self) -> Bytes {
        let within = self.within.take();
        within.map_or_else(Bytes::new, |within| Bytes::from(within.held))
    }
}

impl Within {
    fn go_on(mut self, piece: Bytes) -> (Bytes, Machine) {
        if self.held.is_empty() {
            return (piece, self.machine);
        }
        self.held.extend_from_slice(&piece);
        (Bytes::from(self.held), self.machine)
    }
}

/// The way through one piece.
struct Walk<'a> {
    turning: &'a Turning,
    piece: &'a [u8],
    machine: Machine,
    /// How far it has come.
    at: usize,
    /// Where what is held begins.
    end: usize,
    /// How far it was copied.
    copied: usize,
    turned: Vec<u8>,
    /// What was turned last.
    last: Option<Last<'a>>,
}

/// A link that was turned: the links of a page are alike.
#[derive(Clone, Copy)]
struct Last<'a> {
    /// From its annotation's name to where its base ends, as it came.
    text: &'a [u8],
    /// How much of that was taken, and what was put there.
    taken: usize,
    base: &'a str,
}

impl<'a> Walk<'a> {
    fn new(turning: &'a Turning, piece: &'a [u8], machine: Machine) -> Self {
        Self {
            turning,
            piece,
            machine,
            at: 0,
            end: piece.len(),
            copied: 0,
            turned: Vec::new(),
            last: None,
        }
    }

    fn walk(&mut self) {
        self.settle();
        let tail = signs::each(
            self.piece,
            self.at,
            #[inline(always)]
            |at, name| self.sign(at, name),
        );
        if self.at < tail {
            if is_escaped(&self.piece[self.at..tail]) {
                self.machine.state = State::Escape(Where::Text);
            }
            self.at = tail;
        }
        while self.at < self.piece.len() {
            self.step();
        }
    }

    /// What was made of the piece, when anything of it was turned.
    fn out(mut self) -> Option<Bytes> {
        if self.copied == 0 && self.turned.is_empty() {
            return None;
        }
        let rest = &self.piece[self.copied..self.end];
        self.turned.extend_from_slice(rest);
        Some(Bytes::from(self.turned))
    }

    /// At an `@`, behind which a name may begin. Of the annotations that are in a page only few are
    /// links, and most of them are told from the others at a glance.
    #[inline(always)]
    fn sign(&mut self, at: usize, name: usize) {
        let text = &self.piece[name..];
        if at < self.at || !may_be_link(text) || self.is_text(at) {
            return;
        }
        match self.last {
            Some(last)
                if text.len() > last.text.len()
                    && ends_segment(text[last.text.len()])
                    && text.starts_with(last.text) =>
            {
                let end = name + last.text.len();
                self.replace(end - last.taken, end, last.base);
            }
            _ => self.annotation(name),
        }
    }

    /// Whether the sign has a backslash in front of it that counts.
    #[inline]
    fn is_text(&self, at: usize) -> bool {
        at > self.at && self.piece[at - 1] == b'\\' && is_escaped(&self.piece[self.at..at])
    }

    /// At an annotation's name.
    #[inline(never)]
    fn annotation(&mut self, name: usize) {
        match glance(&self.piece[name..]) {
            Glance::Other => return,
            Glance::Link(length) => {
                self.at = name + length;
                if self.value(name) {
                    return;
                }
                self.machine.state = State::Colon;
            }
            Glance::Unclear => {
                self.at = name;
                self.machine.state = self.machine.begin_name();
            }
        }
        self.settle();
    }

    /// Behind a link annotation's name; says whether it is told at a glance what follows.
    fn value(&mut self, name: usize) -> bool {
        let piece = self.piece;
        let Some(value) = piece[self.at..].strip_prefix(b":\"") else {
            return false;
        };
        let at = self.at + 2;
        match self.turning.glance(value) {
            Some(Verdict::Turns(taken, base)) => {
                let text = &piece[name..at + taken];
                self.last = Some(Last { text, taken, base });
                self.replace(at, at + taken, base);
            }
            Some(Verdict::Stays) => self.at = at,
            Some(Verdict::More) | None => return false,
        }
        true
    }

    /// Goes on byte by byte until it is clear again what is there.
    fn settle(&mut self) {
        while self.machine.state != State::Scan && self.at < self.piece.len() {
            self.step();
        }
    }

    /// Puts a base in the place of what stands from here to there.
    #[inline]
    fn replace(&mut self, from: usize, to: usize, base: &str) {
        if self.turned.capacity() == 0 {
            self.begin(base.len(), to - from);
        }
        self.turned
            .extend_from_slice(&self.piece[self.copied..from]);
        self.turned.extend_from_slice(base.as_bytes());
        self.at = to;
        self.copied = to;
    }

    /// Makes room for what is turned: where there is one link, there are most often many, which grow
    /// alike.
    #[cold]
    fn begin(&mut self, base: usize, taken: usize) {
        let growth = base.saturating_sub(taken);
        let room = if growth > 0 { self.piece.len() / 8 } else { 0 };
        self.turned.reserve(self.piece.len() + growth + room);
    }

    fn step(&mut self) {
        let (piece, at) = (self.piece, self.at);
        let State::Link(place) = self.machine.state else {
            self.at = self.machine.step(piece, at);
            return;
        };
        let after = match place {
            In::Value => State::Scan,
            In::List => State::ListText,
        };
        match self
            .turning
            .look(&piece[at..], Escapes::Json, Whole::NotYet)
        {
            Verdict::More => {
                self.end = at;
                self.at = piece.len();
            }
            Verdict::Stays => self.machine.state = after,
            Verdict::Turns(taken, base) => {
                self.replace(at, at + taken, base);
                self.machine.state = after;
            }
        }
    }
}

impl Machine {
    fn new() -> Self {
        Self {
            state: State::Scan,
            name: [0; NAME_MAX],
            name_len: 0,
        }
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

/// Whether a link annotation's name may begin here.
#[inline]
fn may_be_link(text: &[u8]) -> bool {
    const PREFIX: u64 = u64::from_le_bytes(*b"odata.\0\0");
    const BITS: u32 = 48;
    let Some(begin) = text.first_chunk::<8>() else {
        return true;
    };
    let begin = u64::from_le_bytes(*begin);
    let prefixed = begin & ((1 << BITS) - 1) == PREFIX;
    let [first, second, ..] = (if prefixed { begin >> BITS } else { begin }).to_le_bytes();
    first == b'\\' || (SECOND & bit(second) != 0 && FIRST & bit(first) != 0)
}

#[inline]
fn glance(text: &[u8]) -> Glance {
    let name = text.strip_prefix(b"odata.").unwrap_or(text);
    let Some(first) = name.first() else {
        return Glance::Unclear;
    };
    let prefix = text.len() - name.len();
    let mut unclear = matches!(first, b'\\' | b'o') && may_become(name, b"odata.");
    for known in links(*first) {
        if name.get(known.len()) == Some(&b'"') && name.starts_with(known) {
            return Glance::Link(prefix + known.len() + 1);
        }
        unclear |= may_become(name, known);
    }
    if unclear {
        Glance::Unclear
    } else {
        Glance::Other
    }
}

/// Whether a name begins like one that is known and goes on with an escape, or in the next piece.
fn may_become(name: &[u8], known: &[u8]) -> bool {
    let same = name.iter().zip(known).take_while(|(a, b)| a == b).count();
    matches!(name.get(same), None | Some(b'\\'))
}

/// Whether what follows has a backslash in front of it that counts: one of two is only text.
fn is_escaped(before: &[u8]) -> bool {
    let others = before.iter().rev().take_while(|byte| **byte == b'\\');
    others.count() % 2 == 1
}

#[cfg(test)]
#[path = "links_tests.rs"]
pub(crate) mod tests;
