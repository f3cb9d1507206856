//! A client's connection as hyper reads it: what was read to tell HTTP/2 from HTTP/1.1 comes
//! first, and the guest's clock hears of every byte.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::framing::Framing;
use crate::guest::Guest;
use crate::socket::Socket;

/// What a client that knows HTTP/2 is spoken begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What goes out in one piece.
const SHORT: usize = 2 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Front {
    socket: Socket,
    guest: Rc<Guest>,
    read: [u8; PREFACE.len()],
    /// The part of `read` that nobody has got yet.
    ahead: (usize, usize),
    framing: Framing,
    /// What was read and takes more room than it came in, from its second half on.
    late: (Vec<u8>, usize),
}

impl Front {
    pub(crate) fn new(socket: Socket, guest: Rc<Guest>) -> Self {
        Self {
            socket,
            guest,
            read: [0; PREFACE.len()],
            ahead: (0, 0),
            framing: Framing::new(),
            late: (Vec::new(), 0),
        }
    }

    /// Whether the client speaks HTTP/2: it said so in the handshake, or it begins like that.
    pub(crate) async fn speaks_http2(&mut self) -> io::Result<bool> {
        if self.socket.chose_http2() {
            self.framing.give_up();
            return Ok(true);
        }
        let mut length = 0;
        loop {
            let read = self.socket.read(&mut self.read[length..]).await?;
            length += read;
            self.ahead = (0, length);
            let same = self.read[..length] == PREFACE[..length];
            if read == 0 || !same || length == PREFACE.len() {
                return Ok(same && length == PREFACE.len());
            }
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if self.guest.is_spoilt() {
            self.socket.reset();
        }
    }
}

impl AsyncRead for Front {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.late.0.is_empty() {
            let before = buffer.filled().len();
            std::task::ready!(this.poll_socket(context, buffer))?;
            let came = &mut buffer.filled_mut()[before..];
            let Some(at) = this.framing.follow(came) else {
                return Poll::Ready(Ok(()));
            };
            // What comes from here on takes more room than there may be. The byte itself is looked
            // at again.
            this.late = (this.framing.encode(&mut came[at..]), 0);
            buffer.set_filled(before + at);
        }
        let (late, from) = &mut this.late;
        let taken = buffer.remaining().min(late.len() - *from);
        buffer.put_slice(&late[*from..*from + taken]);
        *from += taken;
        if *from == late.len() {
            this.late = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl Front {
    fn poll_socket(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self;
        let (from, to) = this.ahead;
        if from < to {
            let taken = buffer.remaining().min(to - from);
            buffer.put_slice(&this.read[from..from + taken]);
            this.ahead.0 += taken;
            if this.ahead.0 < to {
                return Poll::Ready(Ok(()));
            }
            // The rest of the head is most likely there: one read gives both.
            return match Pin::new(&mut this.socket).poll_read(context, buffer) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(())),
            };
        }
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut this.socket).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            this.guest.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Front {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Head and body of a short answer: copying them costs less than the system's way of
        // gathering them.
        let mut both = [0; SHORT];
        let mut length = 0;
        for buffer in buffers {
            let Some(room) = both.get_mut(length..length + buffer.len()) else {
                return Pin::new(&mut self.socket).poll_write_vectored(context, buffers);
            };
            room.copy_from_slice(buffer);
            length += buffer.len();
        }
        Pin::new(&mut self.socket).poll_write(context, &both[..length])
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
