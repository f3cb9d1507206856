//! One HTTP/1.1 connection to Dynamics, driven by whoever uses it.
//!
//! A call writes its request and reads its answer itself, from its own task, straight from and to
//! the socket. hyper's client, which was here before, puts a dispatcher, two channels and two sets
//! of buffers between them; half of what a small call cost was that. What it was trusted with is
//! held to here: grammar by httparse (`head`, `chunks`), one call at a time, no byte of one answer
//! ever read as part of another, and no connection used again of which that is not certain.

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, Response};
use http_body::Frame;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::chunks::{Chunks, Piece};
use crate::head::{self, Asked, Came, Head, Length, Malformed};
use crate::outgoing::{Outgoing, Sending};
use crate::socket::Socket;
use crate::upload::Upload;

/// What is read at once while a head is waited for; most answers are shorter.
const HEAD_ROOM: usize = 8 * 1024;
/// What is read at once of a body: four of TLS's records.
const BODY_ROOM: usize = 64 * 1024;
/// With less room than one of TLS's records takes, a new buffer is begun.
const ROOM_MIN: usize = 16 * 1024;

thread_local! {
    /// What heads of answers are read into.
    static FIRST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    /// What came and was not used yet; nothing while the connection is idle.
    came: Bytes,
    /// What the next bytes are read into; no memory while the connection is idle.
    room: BytesMut,
    sending: Sending,
    reading: Reading,
    persists: bool,
    /// When it was put aside, in the worker's seconds.
    pub(crate) idle_since: u32,
}

/// What is still to come of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Nothing.
    Ended,
    Exact(u64),
    Chunks(Chunks),
    UntilClose,
}

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broke {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the connection was closed")]
    Closed,
    #[error("what came is no answer: {0}")]
    Malformed(#[from] Malformed),
    #[error("the request's body was cut off")]
    Upload,
}

/// A request that got no answer.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) broke: Broke,
    /// Whether not a byte of the request was sent.
    pub(crate) untouched: bool,
    /// Its body, then, if it streams.
    pub(crate) body: Option<Box<Upload>>,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Box<Self> {
        Box::new(Self {
            socket,
            came: Bytes::new(),
            room: BytesMut::new(),
            sending: Sending::default(),
            reading: Reading::Ended,
            persists: true,
            idle_since: 0,
        })
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn exchange(
        &mut self,
        asked: &Asked<'_>,
        body: Outgoing,
    ) -> Result<Response<()>, Unanswered> {
        self.sending.begin(asked, body);
        let method = asked.method;
        let answered = std::future::poll_fn(|context| self.poll_head(method, context)).await;
        match answered {
            Ok(head) => Ok(self.begin(head)),
            Err(broke) => Err(Unanswered {
                broke,
                untouched: self.sending.is_untouched(),
                body: self.sending.take_back(),
            }),
        }
    }

    fn begin(&mut self, head: Head) -> Response<()> {
        self.persists = head.persists;
        self.reading = match head.length {
            Length::Exact(0) => Reading::Ended,
            Length::Exact(length) => Reading::Exact(length),
            Length::Chunked => Reading::Chunks(Chunks::Size),
            Length::UntilClose => Reading::UntilClose,
        };
        let mut answer = Response::new(());
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        answer
    }

    fn poll_head(
        &mut self,
        method: &Method,
        context: &mut Context<'_>,
    ) -> Poll<Result<Head, Broke>> {
        // An answer may come before all of the request has gone, and then most often because it is
        // not wanted; so what cannot be sent is no failure while there may be an answer.
        let unsent = match self.sending.poll(&mut self.socket, context) {
            Poll::Ready(Err(Broke::Upload)) => return Poll::Ready(Err(Broke::Upload)),
            Poll::Ready(Err(error)) => Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        loop {
            let looked = self.came.len();
            let broke = match self.poll_first(context) {
                Poll::Pending if unsent.is_none() => return Poll::Pending,
                Poll::Pending | Poll::Ready(Ok(0)) => Broke::Closed,
                Poll::Ready(Err(error)) => error.into(),
                Poll::Ready(Ok(_)) => {
                    match head::read(std::mem::take(&mut self.came), looked, method)? {
                        Came::Head(head, rest) => {
                            self.came = rest;
                            return Poll::Ready(Ok(head));
                        }
                        Came::Part(part) => self.came = part,
                    }
                    continue;
                }
            };
            return Poll::Ready(Err(unsent.unwrap_or(broke)));
        }
    }

    /// Reads what an answer begins with. Where that ends nobody knows yet, so it goes to where the
    /// thread's last head went, and only what came is given memory.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        FIRST.with_borrow_mut(|first| {
            first.resize(HEAD_ROOM, 0);
            let mut read = ReadBuf::new(first);
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut read))?;
            let came = read.filled();
            self.came = if self.came.is_empty() {
                Bytes::copy_from_slice(came)
            } else {
                Bytes::from([&self.came, came].concat())
            };
            Poll::Ready(Ok(came.len()))
        })
    }

    /// The next of an answer's body: data, or the trailers behind it. None at its end.
    pub(crate) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        if !self.sending.is_done() {
            let sent = self.sending.poll(&mut self.socket, context);
            if let Poll::Ready(Err(_)) = sent {
                // The answer has begun, and is worth more than the rest of the request.
                self.sending.give_up();
                self.persists = false;
            }
        }
        loop {
            match self.take() {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Piece::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::More) => {}
                Err(malformed) => return Poll::Ready(Some(Err(self.broken(malformed.into())))),
            }
            match ready!(self.poll_more(context)) {
                Ok(0) if self.reading == Reading::UntilClose => self.reading = Reading::Ended,
                Ok(0) => return Poll::Ready(Some(Err(self.broken(Broke::Closed)))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(self.broken(error.into())))),
            }
        }
    }

    /// What there is already of the body.
    fn take(&mut self) -> Result<Piece, Malformed> {
        match &mut self.reading {
            Reading::Ended => Ok(Piece::End),
            Reading::Chunks(chunks) => {
                let piece = chunks.next(&mut self.came)?;
                // Who knows that this was all does not ask again.
                let (mut after, mut rest) = (*chunks, self.came.clone());
                if *chunks == Chunks::Ended {
                    self.reading = Reading::Ended;
                } else if matches!(after.next(&mut rest), Ok(Piece::End)) {
                    (self.came, self.reading) = (rest, Reading::Ended);
                }
                Ok(piece)
            }
            _ if self.came.is_empty() => Ok(Piece::More),
            Reading::UntilClose => Ok(Piece::Data(std::mem::take(&mut self.came))),
            Reading::Exact(left) => {
                let there = self.came.len();
                let taken = usize::try_from(*left).map_or(there, |left| left.min(there));
                *left -= taken as u64;
                if *left == 0 {
                    self.reading = Reading::Ended;
                }
                Ok(Piece::Data(self.came.split_to(taken)))
            }
        }
    }

    /// Reads on; what there is already, the beginning of a chunk's size perhaps, stays in front.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let wanted = match self.reading {
            Reading::Exact(left) => usize::try_from(left).unwrap_or(BODY_ROOM).min(BODY_ROOM),
            _ => BODY_ROOM,
        };
        // What was read before may still be on its way out; its memory is not waited for.
        if self.room.capacity() < wanted.min(ROOM_MIN) {
            self.room = BytesMut::with_capacity(wanted + self.came.len());
        }
        self.room.extend_from_slice(&self.came);
        self.came = Bytes::new();
        let read = poll_read_buf(Pin::new(&mut self.socket), context, &mut self.room);
        self.came = self.room.split().freeze();
        read
    }

    fn broken(&mut self, broke: Broke) -> Broke {
        self.reading = Reading::Ended;
        self.persists = false;
        broke
    }

    /// All of the body, where all of it is here: with its head came most that is short.
    pub(crate) fn whole(&mut self) -> Option<Bytes> {
        match self.reading {
            Reading::Ended => Some(Bytes::new()),
            Reading::Exact(left) if left <= self.came.len() as u64 => {
                self.reading = Reading::Ended;
                // As long as what is here at most.
                Some(self.came.split_to(usize::try_from(left).ok()?))
            }
            Reading::Chunks(mut chunks) => {
                let mut came = self.came.clone();
                let Ok(Piece::Data(body)) = chunks.next(&mut came) else {
                    return None;
                };
                let Ok(Piece::End) = chunks.next(&mut came) else {
                    return None;
                };
                (self.came, self.reading) = (came, Reading::Ended);
                Some(body)
            }
            Reading::Exact(_) | Reading::UntilClose => None,
        }
    }

    /// Whether all of the answer was read.
    pub(crate) fn is_ended(&self) -> bool {
        self.reading == Reading::Ended
    }

    /// How much of the body is to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.reading {
            Reading::Ended => Some(0),
            Reading::Exact(left) => Some(left),
            Reading::Chunks(_) | Reading::UntilClose => None,
        }
    }

    /// Whether it takes another request, as far as the last one tells: all of it was sent, all of
    /// the answer was read, and nothing else came.
    pub(crate) fn may_go_on(&self) -> bool {
        self.persists && self.is_ended() && self.sending.is_done() && self.came.is_empty()
    }

    /// Lets go of what an idle connection needs no memory for.
    pub(crate) fn rest(&mut self) {
        self.came = Bytes::new();
        self.room = BytesMut::new();
    }

    /// Whether the other side, while nothing was asked of it, has neither closed the connection nor
    /// said anything.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let mut byte = ReadBuf::new(&mut byte);
        let socket = &mut self.socket;
        // Nothing may be overlooked for the reason that the task has done much already.
        let read =
            std::future::poll_fn(|context| Pin::new(&mut *socket).poll_read(context, &mut byte));
        let read = std::pin::pin!(tokio::task::coop::unconstrained(read));
        read.poll(&mut context).is_pending()
    }
}
