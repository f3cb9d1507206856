//! One HTTP/1.1 connection to Dynamics, driven by whoever uses it.
//!
//! hyper's client wants its connection polled by a task of its own, and every request then crosses
//! between two tasks four times. Here the call's own task polls the connection whenever it waits
//! for the connection, so a call is one task from end to end; an idle connection is polled by
//! nobody, and looked at once before it is used again.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use crate::socket::Socket;
use crate::upload::Upload;

/// A request's body on its way out: whole, or streaming.
pub(crate) type Outgoing = Either<Full<Bytes>, Box<Upload>>;

/// How often a connection is asked again in one poll before others get their turn.
const TURNS: usize = 16;

/// A connection.
pub(crate) struct Wire {
    sender: SendRequest<Outgoing>,
    /// None once it has ended.
    connection: Option<Connection<TokioIo<Socket>, Outgoing>>,
    ear: Arc<Ear>,
    waker: Waker,
    /// When it was put aside, in the worker's seconds.
    pub(crate) idle_since: u32,
}

/// A request that got no answer.
pub(crate) struct Unanswered {
    pub(crate) error: hyper::Error,
    /// The request, where not a byte of it was sent.
    pub(crate) unsent: Option<Request<Outgoing>>,
}

impl Wire {
    pub(crate) async fn open(socket: Socket) -> Result<Box<Self>, hyper::Error> {
        let (sender, connection) = Builder::new().handshake(TokioIo::new(socket)).await?;
        let ear = Arc::new(Ear::default());
        Ok(Box::new(Self {
            sender,
            connection: Some(connection),
            waker: Waker::from(Arc::clone(&ear)),
            ear,
            idle_since: 0,
        }))
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let (connection, ear, waker) = (&mut self.connection, &self.ear, &self.waker);
        let answered = std::future::poll_fn(|context| {
            drive(connection, ear, waker, context, |quiet| {
                answer.as_mut().poll(quiet)
            })
        });
        answered.await.map_err(|mut error| Unanswered {
            unsent: error.take_message(),
            error: error.into_error(),
        })
    }

    /// Polls the connection on behalf of somebody who waits for something that comes over it.
    pub(crate) fn drive<T>(
        &mut self,
        context: &mut Context<'_>,
        wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Self {
            connection,
            ear,
            waker,
            ..
        } = self;
        drive(connection, ear, waker, context, wanted)
    }

    /// Whether it can take the next request: nothing is under way, and the other side has neither
    /// closed it nor said anything unasked.
    pub(crate) fn is_free(&mut self) -> bool {
        self.ear.waker.take();
        let Some(connection) = &mut self.connection else {
            return false;
        };
        if Pin::new(connection)
            .poll(&mut Context::from_waker(&self.waker))
            .is_ready()
        {
            self.connection = None;
            return false;
        }
        self.sender.is_ready()
    }
}

fn drive<T>(
    connection: &mut Option<Connection<TokioIo<Socket>, Outgoing>>,
    ear: &Ear,
    waker: &Waker,
    context: &mut Context<'_>,
    mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    ear.listen(context.waker());
    let mut quiet = Context::from_waker(waker);
    for _ in 0..TURNS {
        let ended = match connection {
            // The answer's beginning, or the next piece of its body, may be there already.
            _ if let Poll::Ready(got) = wanted(&mut quiet) => {
                ear.rest();
                return Poll::Ready(got);
            }
            Some(connection) => Pin::new(connection).poll(&mut quiet).is_ready(),
            None => false,
        };
        if ended {
            // What waits for the rest of an answer hears that there is none.
            *connection = None;
        }
        if !ear.heard() {
            break;
        }
    }
    if ear.rest() {
        context.waker().wake_by_ref();
    }
    Poll::Pending
}

/// Hears what the connection says while it is polled, and passes on only what comes later: a task
/// that wakes itself while it runs would run twice for every step.
#[derive(Debug, Default)]
struct Ear {
    waker: AtomicWaker,
    polling: AtomicBool,
    heard: AtomicBool,
}

impl Ear {
    fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
        self.heard.store(false, Ordering::Relaxed);
        self.polling.store(true, Ordering::SeqCst);
    }

    fn heard(&self) -> bool {
        self.heard.swap(false, Ordering::SeqCst)
    }

    /// From now on everything is passed on; says whether something was heard and not acted on.
    fn rest(&self) -> bool {
        self.polling.store(false, Ordering::SeqCst);
        self.heard.load(Ordering::SeqCst)
    }
}

impl Wake for Ear {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.heard.store(true, Ordering::SeqCst);
        if !self.polling.load(Ordering::SeqCst) {
            self.waker.wake();
        }
    }
}
