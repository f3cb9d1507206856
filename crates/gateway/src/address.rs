//! The organization's address and the gateway's, each turned into the other.
//!
//! What is turned is only an address's beginning: origin and base. What follows stays as it was
//! written. An address is recognized however it is spelled: in any case (RFC 3986, section 6.2.2),
//! with or without the default port (section 6.2.3), with JSON's escapes or percent-encoded.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};
use tieline_app::{Line, Organization};

use crate::marks::Marks;

/// The scheme by which a caller reached the proxy in front of the gateway.
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Longest segment that may be an account's name: 100 characters of four bytes, each escaped twice.
const SEGMENT_MAX: usize = 100 * 4 * 3;
/// What may not stand bare in an address that goes into JSON or into a header.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Where callers reach the gateway.
#[derive(Debug)]
pub(crate) struct Here {
    /// The origin that a caller used, such as `https://gateway.example`.
    origin: String,
    /// The authority that is configured, which the caller may name instead.
    configured: String,
}

impl Here {
    /// Both are origins without a slash at the end.
    pub(crate) fn new(origin: String, configured: &str) -> Self {
        let configured = configured
            .split_once("://")
            .map_or(configured, |(_, authority)| authority);
        Self {
            origin,
            configured: configured.to_owned(),
        }
    }
}

/// Both ends of a call, as addresses.
#[derive(Debug)]
pub(crate) struct Ends {
    line: Arc<Line>,
    here: Rc<Here>,
    /// That origin and what names the account in the path, such as
    /// `https://gateway.example/Contoso%20Sales`; nothing may name it.
    begin: Arc<str>,
    /// How the organization's addresses are written.
    theirs: Arc<Spelling>,
    /// Made when they are first wanted; the same ends serve many calls.
    turnings: [OnceCell<Arc<Turning>>; 2],
}

impl Ends {
    pub(crate) fn new(
        line: Arc<Line>,
        here: Rc<Here>,
        prefix: &str,
        theirs: Arc<Spelling>,
    ) -> Self {
        let prefix: Cow<'_, str> = utf8_percent_encode(prefix, UNSAFE).into();
        Self {
            begin: [&here.origin, &*prefix].concat().into(),
            line,
            here,
            theirs,
            turnings: Default::default(),
        }
    }

    /// Turns what a client sends: the gateway's addresses into the organization's.
    pub(crate) fn there(&self) -> Arc<Turning> {
        let made = self.turnings[0].get_or_init(|| Arc::new(self.make_there()));
        Arc::clone(made)
    }

    /// Turns what the organization answers: its addresses into the gateway's.
    pub(crate) fn back(&self) -> Arc<Turning> {
        let made = self.turnings[1].get_or_init(|| Arc::new(self.make_back()));
        Arc::clone(made)
    }

    fn make_there(&self) -> Turning {
        let Here { origin, configured } = &*self.here;
        let (_, called) = origin.split_once("://").unwrap_or(("", origin));
        let mut authorities = vec![called.to_owned()];
        // Some clients lose the port on the way from their settings to a link.
        for known in [bare(called), configured, bare(configured)] {
            if !authorities
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(known))
            {
                authorities.push(known.to_owned());
            }
        }
        let schemes = &["https://", "http://"];
        let spelling = Spelling {
            schemes,
            origins: origins(schemes, &authorities),
            authorities,
            base: Base::Account {
                name: self.line.name.clone(),
                id: self.line.account_id.to_string(),
            },
            // Which account it is about may be said in many ways, or not at all.
            usual: "".into(),
        };
        Turning {
            side: Side::There,
            usual: Arc::clone(&spelling.usual),
            spelling: Arc::new(spelling),
            host: self.line.authority.clone(),
            absolute: self.line.there.as_str().into(),
            path: self.line.there.len() - self.line.front.len(),
        }
    }

    fn make_back(&self) -> Turning {
        Turning {
            side: Side::Back,
            usual: Arc::clone(&self.theirs.usual),
            spelling: Arc::clone(&self.theirs),
            host: String::new(),
            absolute: Arc::clone(&self.begin),
            path: self.here.origin.len(),
        }
    }
}

fn origins(schemes: &[&str], authorities: &[String]) -> Vec<String> {
    let of_scheme = |scheme: &&str| {
        let scheme = (*scheme).to_owned();
        authorities
            .iter()
            .map(move |authority| [&scheme, authority.as_str()].concat())
    };
    schemes.iter().flat_map(of_scheme).collect()
}

/// The host of an authority, without its port.
fn bare(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Which way an address is turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// In requests: on to the organization.
    There,
    /// In answers: back to the gateway.
    Back,
}

/// How addresses are turned, in one direction.
#[derive(Debug)]
pub(crate) struct Turning {
    pub(crate) side: Side,
    spelling: Arc<Spelling>,
    /// What the `Host` of a part of a batch becomes.
    pub(crate) host: String,
    /// What origin and base become.
    absolute: Arc<str>,
    /// Where the path begins in it, which is what the base of an address without an origin becomes.
    path: usize,
    /// Origin and base as an address begins with them most often, where one spelling of them tells
    /// enough; empty where none does. A page asks for it with every link.
    usual: Arc<str>,
}

/// How the addresses of one side are written.
#[derive(Debug)]
pub(crate) struct Spelling {
    schemes: &'static [&'static str],
    authorities: Vec<String>,
    /// Each scheme with each authority: how addresses are written most often.
    origins: Vec<String>,
    base: Base,
    usual: Arc<str>,
}

impl Spelling {
    /// That of an organization.
    pub(crate) fn of(organization: &Organization) -> Self {
        let schemes: &[&str] = match organization.origin.scheme() {
            "http" => &["http://"],
            _ => &["https://"],
        };
        let authorities = vec![organization.authority.clone()];
        Self {
            schemes,
            origins: origins(schemes, &authorities),
            authorities,
            base: Base::Front(organization.front.clone()),
            usual: organization.there.as_str().into(),
        }
    }
}

/// What may or must stand between an origin and `/api/`.
#[derive(Debug)]
enum Base {
    /// Exactly this.
    Front(String),
    /// Nothing, or the account by its name or id.
    Account { name: String, id: String },
}

/// How bytes of an address are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// As they are.
    None,
    /// In a JSON string, which a quote ends (RFC 8259, section 7).
    Json,
    /// In a query, percent-encoded here and there.
    Percent,
}

/// What a beginning turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// It cannot be told yet.
    More,
    /// It stays.
    Stays,
    /// So many bytes of it are replaced.
    Turns(usize, &'a str),
}

use Verdict::{More, Stays, Turns};

impl Turning {
    /// Looks at the beginning of an address; `whole` says whether all of it is there.
    pub(crate) fn look(&self, raw: &[u8], escapes: Escapes, whole: Whole) -> Verdict<'_> {
        let start = Cursor {
            raw,
            at: 0,
            escapes,
            whole,
        };
        match start.next() {
            Next::More => More,
            Next::End => Stays,
            Next::Byte(b'/', _) => self.host_less(start),
            // As every scheme that is known begins.
            Next::Byte(b'h' | b'H', _) => self.absolute(start),
            Next::Byte(..) => Stays,
        }
    }

    /// What [`look`](Self::look) says of an address in JSON, where that is told at a glance.
    pub(crate) fn glance(&self, raw: &[u8]) -> Option<Verdict<'_>> {
        match raw.first()? {
            b'h' => {
                let rest = raw.strip_prefix(self.usual.as_bytes())?;
                let ends = !self.usual.is_empty() && ends_segment(*rest.first()?);
                ends.then(|| Turns(self.usual.len(), &self.absolute))
            }
            b'H' | b'/' | b'\\' => None,
            _ => Some(Stays),
        }
    }

    fn absolute(&self, start: Cursor<'_>) -> Verdict<'_> {
        for origin in &self.spelling.origins {
            let (length, raw) = (origin.len(), start.raw);
            if raw.len() > length
                && matches!(raw[length], b'/' | b'?' | b'#')
                && raw[..length].eq_ignore_ascii_case(origin.as_bytes())
            {
                let after = Cursor {
                    at: length,
                    ..start
                };
                return self.based(after, Kind::Absolute);
            }
        }
        let mut undecided = false;
        for scheme in self.spelling.schemes {
            let port = if *scheme == "http://" { ":80" } else { ":443" };
            for authority in &self.spelling.authorities {
                for port in ["", port] {
                    match start.skip_all(&[scheme, authority, port]) {
                        Skipped::To(after) => match after.boundary() {
                            Some(true) => return self.based(after, Kind::Absolute),
                            Some(false) => {}
                            None => undecided = true,
                        },
                        Skipped::More => undecided = true,
                        Skipped::Other => {}
                    }
                }
            }
        }
        if undecided { More } else { Stays }
    }

    /// A path from the root on (RFC 3986, section 4.2) is ours only beneath `/api/`: `/contacts(1)`
    /// in a body is Dynamics' own way to write a row's address.
    fn host_less(&self, start: Cursor<'_>) -> Verdict<'_> {
        self.based(start, Kind::HostLess)
    }

    fn based(&self, start: Cursor<'_>, kind: Kind) -> Verdict<'_> {
        match &self.spelling.base {
            Base::Front(front) => match start.skip(front) {
                Skipped::More => More,
                Skipped::Other => Stays,
                Skipped::To(after) => match after.boundary() {
                    None => More,
                    Some(false) => Stays,
                    Some(true) if kind == Kind::Absolute => Turns(after.at, &self.absolute),
                    Some(true) => self.beneath_api(after, kind),
                },
            },
            Base::Account { name, id } => self.of_account(start, name, id, kind),
        }
    }

    fn of_account(&self, start: Cursor<'_>, name: &str, id: &str, kind: Kind) -> Verdict<'_> {
        if kind == Kind::Absolute && !matches!(start.next(), Next::Byte(b'/', _)) {
            return self.turns(start, kind);
        }
        match self.beneath_api(start, kind) {
            Stays => {}
            decided => return decided,
        }
        let Next::Byte(_, at) = start.next() else {
            return More;
        };
        let mut cursor = Cursor { at, ..start };
        let mut segment = Vec::new();
        loop {
            match cursor.next() {
                Next::More => return More,
                Next::Byte(b'/', _) => break,
                Next::End | Next::Byte(b'?' | b'#', _) if kind == Kind::Absolute => break,
                Next::Byte(byte, at) if segment.len() < SEGMENT_MAX => {
                    segment.push(byte);
                    cursor.at = at;
                }
                Next::End | Next::Byte(..) => return Stays,
            }
        }
        let segment = percent_decode(&segment).decode_utf8_lossy();
        let segment = segment.trim();
        let ours =
            segment.to_lowercase() == name.to_lowercase() || segment.eq_ignore_ascii_case(id);
        match kind {
            _ if !ours => Stays,
            Kind::Absolute => self.turns(cursor, kind),
            Kind::HostLess => self.beneath_api(cursor, kind),
        }
    }

    fn beneath_api(&self, base_end: Cursor<'_>, kind: Kind) -> Verdict<'_> {
        match base_end.skip("/api") {
            Skipped::More => More,
            Skipped::Other => Stays,
            Skipped::To(after) => match after.boundary() {
                None => More,
                Some(true) => self.turns(base_end, kind),
                Some(false) => Stays,
            },
        }
    }

    fn path(&self) -> &str {
        &self.absolute[self.path..]
    }

    fn turns(&self, base_end: Cursor<'_>, kind: Kind) -> Verdict<'_> {
        match kind {
            Kind::Absolute => Turns(base_end.at, &self.absolute),
            Kind::HostLess if base_end.at == 0 && self.path().is_empty() => Stays,
            Kind::HostLess => Turns(base_end.at, self.path()),
        }
    }

    /// A whole address, such as a header's value.
    pub(crate) fn turn(&self, address: &[u8]) -> Option<Vec<u8>> {
        match self.look(address, Escapes::None, Whole::Yes) {
            Turns(taken, base) => Some([base.as_bytes(), &address[taken..]].concat()),
            More | Stays => None,
        }
    }

    /// Every `<address>` of a `Link` header (RFC 8288, section 3).
    pub(crate) fn turn_list(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut turned = Vec::new();
        let mut rest = value;
        while let Some(open) = rest.iter().position(|byte| *byte == b'<') {
            let (before, after) = rest.split_at(open + 1);
            turned.extend_from_slice(before);
            let end = after.iter().position(|byte| *byte == b'>')?;
            match self.turn(&after[..end]) {
                Some(address) => turned.extend_from_slice(&address),
                None => turned.extend_from_slice(&after[..end]),
            }
            rest = &after[end..];
        }
        turned.extend_from_slice(rest);
        (turned != value).then_some(turned)
    }

    /// The addresses in a request target's query: the row that `…/$ref?$id=` takes off, and
    /// `@odata.id` in the value of a parameter alias. The rest is not touched.
    pub(crate) fn turn_query(&self, target: &[u8]) -> Option<Vec<u8>> {
        let question = memchr::memchr(b'?', target)?;
        let query = &target[question + 1..];
        memchr::memmem::find(query, b"id")?;
        let mut turned = target[..=question].to_vec();
        for (number, pair) in query.split(|byte| *byte == b'&').enumerate() {
            if number > 0 {
                turned.push(b'&');
            }
            self.turn_pair(pair, &mut turned);
        }
        (turned != target).then_some(turned)
    }

    fn turn_pair(&self, pair: &[u8], turned: &mut Vec<u8>) {
        let equals = memchr::memchr(b'=', pair).map_or(pair.len(), |at| at + 1);
        let (name, value) = pair.split_at(equals);
        turned.extend_from_slice(name);
        let name: Vec<u8> = percent_decode(name).collect();
        let start = match name.as_slice() {
            b"$id=" | b"@odata.id=" | b"@id=" => Some(0),
            [b'@', ..] => id_value(value),
            _ => None,
        };
        if let Some(start) = start
            && let Turns(taken, base) = self.look(&value[start..], Escapes::Percent, Whole::Yes)
        {
            turned.extend_from_slice(&value[..start]);
            turned.extend_from_slice(base.as_bytes());
            turned.extend_from_slice(&value[start + taken..]);
        } else {
            turned.extend_from_slice(value);
        }
    }
}

/// Where the value of `'@odata.id':'…'` begins in a parameter alias's value.
fn id_value(value: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"odata.id";
    let mut cursor = Cursor {
        raw: value,
        at: memchr::memmem::find(value, NAME)? + NAME.len(),
        escapes: Escapes::None,
        whole: Whole::Yes,
    };
    // Quote, colon and quote, with spaces between them.
    for wanted in [&b"'\""[..], &b":"[..], &b"'\""[..]] {
        loop {
            let Next::Byte(byte, at) = cursor.percent() else {
                return None;
            };
            cursor.at = at;
            if wanted.contains(&byte) {
                break;
            }
            if byte != b' ' {
                return None;
            }
        }
    }
    Some(cursor.at)
}

/// Whether all of an address is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    Yes,
    NotYet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Absolute,
    HostLess,
}

/// A place in an address.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a> {
    raw: &'a [u8],
    at: usize,
    escapes: Escapes,
    whole: Whole,
}

enum Next {
    /// A byte, unescaped, and where the next one begins.
    Byte(u8, usize),
    End,
    More,
}

enum Skipped<'a> {
    To(Cursor<'a>),
    More,
    Other,
}

impl<'a> Cursor<'a> {
    fn next(self) -> Next {
        match (self.escapes, self.raw.get(self.at)) {
            (_, None) if self.whole == Whole::Yes => Next::End,
            (_, None) => Next::More,
            (Escapes::None, Some(byte)) => Next::Byte(*byte, self.at + 1),
            (Escapes::Json, Some(b'"')) => Next::End,
            (Escapes::Json, Some(b'\\')) => self.json_escape(),
            (Escapes::Json, Some(byte)) => Next::Byte(*byte, self.at + 1),
            (Escapes::Percent, Some(_)) => match self.percent() {
                // The string in an alias's value ends here.
                Next::Byte(b'\'' | b'"', _) => Next::End,
                next => next,
            },
        }
    }

    fn percent(self) -> Next {
        let hex = |at: usize| {
            let digit = self.raw.get(at).copied().map(char::from)?;
            digit.to_digit(16)
        };
        match self.raw.get(self.at) {
            None => Next::End,
            Some(b'%') => match (hex(self.at + 1), hex(self.at + 2)) {
                (Some(high), Some(low)) => {
                    let byte = u8::try_from(high * 16 + low).unwrap_or_default();
                    Next::Byte(byte, self.at + 3)
                }
                _ => Next::Byte(b'%', self.at + 1),
            },
            Some(byte) => Next::Byte(*byte, self.at + 1),
        }
    }

    /// An escape other than of ASCII becomes a byte that no address holds.
    fn json_escape(self) -> Next {
        const OTHER: u8 = 0xff;
        let cut = if self.whole == Whole::Yes {
            Next::End
        } else {
            Next::More
        };
        match self.raw.get(self.at + 1) {
            None => cut,
            Some(b'/') => Next::Byte(b'/', self.at + 2),
            Some(b'u') => {
                let Some(digits) = self.raw.get(self.at + 2..self.at + 6) else {
                    return cut;
                };
                let digits = std::str::from_utf8(digits).ok();
                let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let byte = code.and_then(|code| u8::try_from(code).ok());
                let byte = byte.filter(u8::is_ascii).unwrap_or(OTHER);
                Next::Byte(byte, self.at + 6)
            }
            Some(_) => Next::Byte(OTHER, self.at + 2),
        }
    }

    fn skip(self, text: &str) -> Skipped<'a> {
        let mut cursor = self;
        for wanted in text.bytes() {
            match cursor.next() {
                Next::More => return Skipped::More,
                Next::Byte(byte, at) if byte.eq_ignore_ascii_case(&wanted) => cursor.at = at,
                Next::Byte(..) | Next::End => return Skipped::Other,
            }
        }
        Skipped::To(cursor)
    }

    fn skip_all(self, texts: &[&str]) -> Skipped<'a> {
        let mut cursor = self;
        for text in texts {
            match cursor.skip(text) {
                Skipped::To(after) => cursor = after,
                other => return other,
            }
        }
        Skipped::To(cursor)
    }

    /// Whether an origin, or a segment, ends here.
    fn boundary(self) -> Option<bool> {
        match self.next() {
            Next::More => None,
            Next::End | Next::Byte(b'/' | b'?' | b'#', _) => Some(true),
            Next::Byte(..) => Some(false),
        }
    }
}

/// Whether an origin, or a segment, ends where this stands, in a JSON string.
#[inline]
pub(crate) fn ends_segment(byte: u8) -> bool {
    matches!(byte, b'/' | b'?' | b'#' | b'"')
}

/// The scheme and host that the caller used, as far as they can be believed: they end in links.
pub(crate) fn called(authority: &str) -> Option<&str> {
    let sound = authority.bytes().all(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':' | b'[' | b']')
    });
    (sound && !authority.is_empty()).then_some(authority)
}

/// What a proxy in front says of the scheme that the caller used. It shapes nothing but the links
/// in this caller's own answer, so that anybody may say it.
pub(crate) fn forwarded_scheme(headers: &HeaderMap, marks: Marks) -> Option<&'static str> {
    if !marks.has(Marks::FORWARDED) {
        return None;
    }
    let value = headers.get(&FORWARDED_PROTO)?.to_str().ok()?;
    let first = value.split(',').next()?.trim();
    ["https", "http"]
        .into_iter()
        .find(|scheme| scheme.eq_ignore_ascii_case(first))
}

#[cfg(test)]
impl Turning {
    /// Between `https://contoso.crm.dynamics.com` and `http://gw:8421/Contoso%20Sales`.
    pub(crate) fn example(side: Side) -> Self {
        let base = match side {
            Side::Back => Base::Front(String::new()),
            Side::There => Base::Account {
                name: "Contoso Sales".into(),
                id: "01JD0000000000000000000000".into(),
            },
        };
        let (absolute, path, host) = match side {
            Side::Back => ("http://gw:8421/Contoso%20Sales", "/Contoso%20Sales", ""),
            Side::There => (
                "https://contoso.crm.dynamics.com",
                "",
                "contoso.crm.dynamics.com",
            ),
        };
        let schemes: &[&str] = match side {
            Side::Back => &["https://"],
            Side::There => &["https://", "http://"],
        };
        let authorities = match side {
            Side::Back => vec!["contoso.crm.dynamics.com".into()],
            Side::There => vec!["gw:8421".into(), "gw".into()],
        };
        let spelling = Spelling {
            schemes,
            origins: origins(schemes, &authorities),
            authorities,
            base,
            usual: match side {
                Side::Back => "https://contoso.crm.dynamics.com".into(),
                Side::There => "".into(),
            },
        };
        Self {
            side,
            usual: Arc::clone(&spelling.usual),
            spelling: Arc::new(spelling),
            host: host.into(),
            absolute: absolute.into(),
            path: absolute.len() - path.len(),
        }
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
