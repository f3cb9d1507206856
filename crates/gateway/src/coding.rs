//! Content codings (RFC 9110, section 8.4): what a client may be sent compressed, and the way of a
//! compressed document through what turns its links.
//!
//! The organization is asked for a compressed answer only when the client takes one, and only for
//! codings that can be undone here: links can be turned in plain text alone. What has no links
//! passes as it was compressed.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use http::{HeaderMap, header};

use crate::marks::Marks;

/// Zlib's widest window; a decoder must take what any encoder may have used.
const WINDOW: u8 = 15;
/// Output grows in steps of this.
const STEP: usize = 16 << 10;

/// A coding that can be undone and done here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    /// The zlib format, or, as some have it, bare deflate.
    Deflate,
}

/// What a body's `Content-Encoding` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coded {
    Plain,
    As(Coding),
    /// By something that is not known here, or more than once.
    Otherwise,
}

impl Coding {
    fn of(name: &str) -> Option<Self> {
        let name = name.trim();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("gzip") || is("x-gzip") {
            return Some(Self::Gzip);
        }
        is("deflate").then_some(Self::Deflate)
    }
}

impl Coded {
    pub(crate) fn of(headers: &HeaderMap, marks: Marks) -> Self {
        if !marks.has(Marks::CONTENT_ENCODING) {
            return Self::Plain;
        }
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let (first, more) = (values.next(), values.next().is_some());
        let Some(first) = first else {
            return Self::Plain;
        };
        let name = first.to_str().unwrap_or(",").trim();
        match Coding::of(name) {
            _ if more => Self::Otherwise,
            Some(coding) => Self::As(coding),
            None if name.is_empty() || name.eq_ignore_ascii_case("identity") => Self::Plain,
            None => Self::Otherwise,
        }
    }
}

/// Which of our codings a client takes (RFC 9110, section 12.5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Accepted {
    gzip: bool,
    deflate: bool,
}

impl Accepted {
    pub(crate) fn of(headers: &HeaderMap, marks: Marks) -> Self {
        if !marks.has(Marks::ACCEPT_ENCODING) {
            return Self::default();
        }
        let (mut gzip, mut deflate, mut any) = (None, None, None);
        let values = headers.get_all(header::ACCEPT_ENCODING).iter();
        for item in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|v| v.split(','))
        {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let taken = !refused(weight);
            match Coding::of(name) {
                Some(Coding::Gzip) => gzip = Some(taken),
                Some(Coding::Deflate) => deflate = Some(taken),
                None if name.trim() == "*" => any = Some(taken),
                None => {}
            }
        }
        Self {
            gzip: gzip.or(any).unwrap_or_default(),
            deflate: deflate.or(any).unwrap_or_default(),
        }
    }

    pub(crate) fn takes(self, coding: Coding) -> bool {
        match coding {
            Coding::Gzip => self.gzip,
            Coding::Deflate => self.deflate,
        }
    }

    /// What the organization is asked for in the client's name.
    pub(crate) fn for_upstream(self) -> &'static str {
        match (self.gzip, self.deflate) {
            (true, true) => "gzip, deflate",
            (true, false) => "gzip",
            (false, true) => "deflate",
            (false, false) => "identity",
        }
    }
}

/// `;q=0`, in any of its spellings.
fn refused(weight: &str) -> bool {
    weight
        .split(';')
        .any(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("q") => value
                .trim()
                .parse::<f32>()
                .is_ok_and(|weight| weight <= 0.0),
            _ => false,
        })
}

/// Undoes a coding, piece by piece.
#[derive(Debug)]
pub(crate) struct Decoder {
    coding: Coding,
    /// None until the first byte has told which kind it is.
    inner: Option<Decompress>,
    /// Whether the data has come to its own end; a document that has not was cut off.
    ended: bool,
    began: bool,
}

impl Decoder {
    pub(crate) fn new(coding: Coding) -> Self {
        Self {
            coding,
            inner: None,
            ended: false,
            began: false,
        }
    }

    /// Decodes what a few bytes hold; the caller chooses how few, since they may hold a lot.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::with_capacity(STEP);
        while !piece.is_empty() {
            self.began = true;
            if self.ended {
                // Another member may follow (RFC 1952, section 2.2); padding is overlooked.
                if self.coding != Coding::Gzip || piece[0] != 0x1f {
                    return Ok(plain);
                }
                (self.inner, self.ended) = (None, false);
            }
            let coding = self.coding;
            let inner = self.inner.get_or_insert_with(|| match coding {
                Coding::Gzip => Decompress::new_gzip(WINDOW),
                // Deflate in zlib's format begins with its method, 8, and its window.
                Coding::Deflate => Decompress::new(piece[0] & 0x8f == 0x08),
            });
            plain.reserve(STEP);
            let (read, written) = (inner.total_in(), inner.total_out());
            let status = inner
                .decompress_vec(piece, &mut plain, FlushDecompress::None)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let taken = usize::try_from(inner.total_in() - read).unwrap_or_default();
            piece = &piece[taken..];
            self.ended = status == Status::StreamEnd;
            if taken == 0 && inner.total_out() == written && !self.ended {
                let error = "a compressed answer cannot be read";
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        self.drain(&mut plain)?;
        Ok(plain)
    }

    /// What the decoder still holds for want of room.
    fn drain(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        while let (Some(inner), false) = (&mut self.inner, self.ended) {
            plain.reserve(STEP);
            let written = inner.total_out();
            let status = inner
                .decompress_vec(&[], plain, FlushDecompress::None)
                .or_else(|error| match inner.total_out() == written {
                    // Nothing to do is not an error.
                    true => Ok(Status::BufError),
                    false => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                })?;
            self.ended = status == Status::StreamEnd;
            if inner.total_out() == written {
                break;
            }
        }
        Ok(())
    }

    /// The end of the body.
    ///
    /// # Errors
    /// When the data had not come to its end: it was cut off.
    pub(crate) fn finish(&self) -> io::Result<()> {
        if self.ended || !self.began {
            return Ok(());
        }
        let error = "a compressed answer was cut off";
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, error))
    }
}

/// Does a coding, piece by piece, quickly rather than well: the answer is on its way.
#[derive(Debug)]
pub(crate) struct Encoder {
    inner: Compress,
    /// Whether something went in that has not come out.
    pub(crate) holds: bool,
}

impl Encoder {
    pub(crate) fn new(coding: Coding) -> Self {
        Self {
            inner: match coding {
                Coding::Gzip => Compress::new_gzip(Compression::fast(), WINDOW),
                Coding::Deflate => Compress::new(Compression::fast(), true),
            },
            holds: false,
        }
    }

    pub(crate) fn push(&mut self, plain: &[u8]) -> io::Result<Vec<u8>> {
        self.holds |= !plain.is_empty();
        self.run(plain, FlushCompress::None)
    }

    /// Gives out what is held, so that the client has it before more comes.
    pub(crate) fn flush(&mut self) -> io::Result<Vec<u8>> {
        self.holds = false;
        self.run(&[], FlushCompress::Sync)
    }

    pub(crate) fn finish(&mut self) -> io::Result<Vec<u8>> {
        self.holds = false;
        self.run(&[], FlushCompress::Finish)
    }

    fn run(&mut self, mut plain: &[u8], flush: FlushCompress) -> io::Result<Vec<u8>> {
        let mut coded = Vec::new();
        loop {
            coded.reserve(STEP);
            let read = self.inner.total_in();
            let status = self
                .inner
                .compress_vec(plain, &mut coded, flush)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let taken = usize::try_from(self.inner.total_in() - read).unwrap_or_default();
            plain = &plain[taken..];
            // Room that was left says that there is no more to come.
            let done = plain.is_empty() && coded.len() < coded.capacity();
            if status == Status::StreamEnd || (done && !matches!(flush, FlushCompress::Finish)) {
                return Ok(coded);
            }
        }
    }
}

#[cfg(test)]
#[path = "coding_tests.rs"]
mod tests;
