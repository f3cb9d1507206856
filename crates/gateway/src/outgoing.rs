//! A request on its way out: its head, and its body as it comes.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{HeaderName, header};
use http_body::{Body, Frame, SizeHint};
use tokio::io::AsyncWrite as _;

use crate::head::{self, Asked, Length};
use crate::socket::Socket;
use crate::turn::CutOff;
use crate::upload::Upload;
use crate::wire::Broke;

/// Bodies up to this length go into the head's buffer: one write is one segment, and one record.
const BESIDE_MAX: usize = 8 * 1024;

/// Fields that say how a message is framed, routed or understood are no trailers (RFC 9110, section
/// 6.5.1): whoever adds them to the head afterwards has read another message.
const BEFORE_ONLY: [HeaderName; 14] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A request's body: whole, or streaming.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Whole(Bytes),
    Streaming(Box<Upload>),
}

impl Outgoing {
    /// How its end is told; none where there is nothing to tell.
    pub(crate) fn length(&self) -> Option<Length> {
        match self {
            Self::Whole(body) if body.is_empty() => None,
            Self::Whole(body) => Some(Length::Exact(body.len() as u64)),
            Self::Streaming(body) => Some(
                body.size_hint()
                    .exact()
                    .map_or(Length::Chunked, Length::Exact),
            ),
        }
    }
}

/// For HTTP/2, which hyper speaks.
impl Body for Outgoing {
    type Data = Bytes;
    type Error = CutOff<hyper::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(body) if body.is_empty() => Poll::Ready(None),
            Self::Whole(body) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(body))))),
            Self::Streaming(body) => Pin::new(body.as_mut()).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_empty(),
            Self::Streaming(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Self::Streaming(body) => body.size_hint(),
        }
    }
}

/// Buffers that are kept for the next head, and how long they may be.
const SPARE: usize = 16;
const SPARE_MAX: usize = 32 * 1024;

thread_local! {
    /// Buffers of heads that have gone out.
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn spare() -> Vec<u8> {
    BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

fn put_aside(mut buffer: Vec<u8>) {
    // It held a token, which the next head overwrites or the buffer's end lets go of.
    buffer.clear();
    BUFFERS.with_borrow_mut(|spare| {
        if spare.len() < SPARE && buffer.capacity() <= SPARE_MAX {
            spare.push(buffer);
        }
    });
}

/// What of a request has not gone out yet.
#[derive(Debug)]
pub(crate) struct Sending {
    /// The head, or what stands around a chunk.
    lead: Vec<u8>,
    /// How much of it has gone.
    led: usize,
    data: Bytes,
    rest: Rest,
    /// Whether some of it may have reached the other side.
    touched: bool,
    /// Whether nothing is left to do. That nothing is at hand does not say so: the last piece of a
    /// body may be on its way.
    done: bool,
}

impl Default for Sending {
    /// No request.
    fn default() -> Self {
        Self {
            lead: Vec::new(),
            led: 0,
            data: Bytes::new(),
            rest: Rest::None,
            touched: false,
            done: true,
        }
    }
}

#[derive(Debug, Default)]
enum Rest {
    #[default]
    None,
    /// So many bytes of it are to come.
    Exact(u64, Box<Upload>),
    /// Whether the last chunk is still open.
    Chunked(bool, Box<Upload>),
}

impl Sending {
    /// Begins a request.
    pub(crate) fn begin(&mut self, asked: &Asked<'_>, body: Outgoing) {
        let fields = asked.headers.len() * 64;
        let values = asked.token.room() + asked.host.len() + asked.target.len();
        let beside = match &body {
            Outgoing::Whole(body) if body.len() <= BESIDE_MAX => body.len(),
            _ => 0,
        };
        let mut lead = spare();
        lead.reserve(values + fields + beside + 128);
        head::write(asked, &mut lead);
        let (data, rest) = match (body, asked.length) {
            (Outgoing::Whole(body), _) if beside == body.len() => {
                lead.extend_from_slice(&body);
                (Bytes::new(), Rest::None)
            }
            (Outgoing::Whole(body), _) => (body, Rest::None),
            (Outgoing::Streaming(body), Some(Length::Exact(length))) => {
                (Bytes::new(), Rest::Exact(length, body))
            }
            (Outgoing::Streaming(body), _) => (Bytes::new(), Rest::Chunked(false, body)),
        };
        *self = Self {
            lead,
            led: 0,
            data,
            rest,
            touched: false,
            done: false,
        };
    }

    /// Whether all of it has gone out.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether not a byte of it has gone out.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// The body of a request of which nothing has gone out, where it cannot be had elsewhere.
    pub(crate) fn take_back(&mut self) -> Option<Box<Upload>> {
        match std::mem::take(&mut self.rest) {
            Rest::Exact(_, body) | Rest::Chunked(_, body) if !self.touched => Some(body),
            _ => None,
        }
    }

    /// Sends no more of it.
    pub(crate) fn give_up(&mut self) {
        *self = Self {
            touched: true,
            ..Self::default()
        };
    }

    /// Sends as much as goes.
    pub(crate) fn poll(
        &mut self,
        socket: &mut Socket,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broke>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.poll_write(socket, context))?;
            if matches!(self.rest, Rest::None) {
                break;
            }
            match self.poll_rest(context) {
                Poll::Ready(wanted) => wanted?,
                Poll::Pending => {
                    // What there is goes out; more comes when the caller has more.
                    if let Poll::Ready(Err(error)) = Pin::new(socket).poll_flush(context) {
                        return Poll::Ready(Err(error.into()));
                    }
                    return Poll::Pending;
                }
            }
        }
        ready!(Pin::new(socket).poll_flush(context))?;
        self.done = true;
        put_aside(std::mem::take(&mut self.lead));
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        socket: &mut Socket,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let lead = &self.lead[self.led..];
            if lead.is_empty() && self.data.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // TLS takes bytes before it is known what becomes of them.
            self.touched |= socket.is_tls();
            let stream = Pin::new(&mut *socket);
            let written = if self.data.is_empty() {
                ready!(stream.poll_write(context, lead))?
            } else {
                let both = [IoSlice::new(lead), IoSlice::new(&self.data)];
                ready!(stream.poll_write_vectored(context, &both))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.touched = true;
            let led = written.min(lead.len());
            self.led += led;
            self.data.advance(written - led);
        }
    }

    /// Takes the next piece of a body that streams.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broke>> {
        let (Rest::Exact(_, body) | Rest::Chunked(_, body)) = &mut self.rest else {
            return Poll::Ready(Ok(()));
        };
        let frame = ready!(Pin::new(body.as_mut()).poll_frame(context));
        let frame = frame.transpose().map_err(|_| Broke::Upload)?;
        self.lead.clear();
        self.led = 0;
        match &mut self.rest {
            Rest::Exact(left, body) => {
                let data = frame.and_then(|frame| frame.into_data().ok());
                match data {
                    Some(data) => {
                        *left = left.checked_sub(data.len() as u64).ok_or(Broke::Upload)?;
                        self.data = data;
                    }
                    // Trailers are for bodies in chunks.
                    None if *left == 0 => {}
                    None => return Poll::Ready(Err(Broke::Upload)),
                }
                if *left == 0 && (self.data.is_empty() || body.is_end_stream()) {
                    self.rest = Rest::None;
                }
            }
            Rest::Chunked(open, _) => {
                let end: &[u8] = if *open { b"\r\n" } else { b"" };
                self.lead.extend_from_slice(end);
                let frame = frame.map(Frame::into_data).transpose();
                match frame {
                    Ok(Some(data)) if data.is_empty() => {
                        *open = false;
                    }
                    Ok(Some(data)) => {
                        let size = format!("{:x}\r\n", data.len());
                        self.lead.extend_from_slice(size.as_bytes());
                        self.data = data;
                        *open = true;
                    }
                    Ok(None) => {
                        self.lead.extend_from_slice(b"0\r\n\r\n");
                        self.rest = Rest::None;
                    }
                    Err(frame) => {
                        self.lead.extend_from_slice(b"0\r\n");
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let may_follow = |(name, _): &(&HeaderName, _)| !BEFORE_ONLY.contains(name);
                        for (name, value) in trailers.iter().filter(may_follow) {
                            head::write_field(name, value, &mut self.lead);
                        }
                        self.lead.extend_from_slice(b"\r\n");
                        self.rest = Rest::None;
                    }
                }
            }
            Rest::None => {}
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};
    use tieline_app::Bearer;

    use super::*;
    use crate::keep::Begun;
    use crate::turn::Passing;

    #[tokio::test]
    async fn a_request_whose_last_piece_is_on_its_way_is_not_done() {
        // More than fits between the two ends of a connection.
        let body = Bytes::from(vec![b'x'; 64 << 20]);
        let length = Some(Length::Exact(body.len() as u64));
        let asked = Asked {
            method: &Method::POST,
            target: "/",
            headers: &HeaderMap::new(),
            host: &HeaderValue::from_static("a"),
            token: Bearer::text("b"),
            codings: "identity",
            length,
        };
        let streaming = |body| {
            let (upload, _) = Upload::new(Passing::untouched(Begun::whole(body)));
            Outgoing::Streaming(Box::new(upload))
        };
        for outgoing in [streaming(body.clone()), Outgoing::Whole(body)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("bound");
            let address = listener.local_addr().expect("an address");
            let stream = tokio::net::TcpStream::connect(address).await;
            let mut socket = Socket::Plain(stream.expect("connected"));
            let (mut silent, _) = listener.accept().await.expect("accepted");
            let mut sending = Sending::default();
            assert!(sending.is_done());
            sending.begin(&asked, outgoing);
            let first =
                std::future::poll_fn(|context| Poll::Ready(sending.poll(&mut socket, context)));
            assert!(first.await.is_pending());
            assert!(!sending.is_done());
            // And when it is read, it is.
            let read =
                tokio::spawn(
                    async move { tokio::io::copy(&mut silent, &mut tokio::io::sink()).await },
                );
            let rest = std::future::poll_fn(|context| sending.poll(&mut socket, context));
            rest.await.expect("sent");
            assert!(sending.is_done());
            drop(socket);
            let read = read.await.expect("ran").expect("read");
            assert!(read > 64 << 20, "{read}");
        }
    }
}
