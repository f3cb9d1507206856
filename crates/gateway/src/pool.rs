//! One worker's connections to Dynamics. No other thread touches them, so nothing is locked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tieline_app::Line;

use crate::connect::{ConnectError, Connector};
use crate::local::Local;
use crate::outgoing::Outgoing;
use crate::wire::Wire;

/// How long an idle connection is kept, in seconds; Azure's load balancers drop them after four
/// minutes.
const IDLE: u32 = 90;
/// Idle connections per organization: Dynamics allows 52 calls at a time.
const IDLE_PER_ORIGIN: usize = 64;
/// Idle connections in all: each holds a descriptor, and its TLS state some ten kilobytes.
const IDLE_MAX: usize = 1024;

/// Connections, by the origin that they lead to.
#[derive(Debug)]
pub(crate) struct Pool {
    connector: Connector,
    origins: RefCell<HashMap<Box<str>, Rc<Origin>, RandomState>>,
    idle: Cell<usize>,
    now: Rc<Cell<u32>>,
}

#[derive(Default)]
struct Origin {
    /// The last one put aside is the first one used: the others may grow old.
    #[expect(
        clippy::vec_box,
        reason = "a connection goes to a call and comes back; only its address is copied"
    )]
    idle: RefCell<Vec<Box<Wire>>>,
    http2: RefCell<Option<Http2>>,
}

/// A connection of HTTP/2, on which many calls are made at once.
pub(crate) type Http2 = http2::SendRequest<Outgoing>;

/// A connection to make one call on.
pub(crate) enum Lease {
    Http1(Leased),
    Http2(Http2),
}

/// A connection that comes back to its pool.
pub(crate) struct Leased {
    pub(crate) wire: Box<Wire>,
    origin: Rc<Origin>,
    pool: Rc<Pool>,
}

impl Pool {
    /// A pool whose present moment is the worker's.
    pub(crate) fn new(connector: Connector, now: Rc<Cell<u32>>) -> Self {
        Self {
            connector,
            origins: RefCell::default(),
            idle: Cell::new(0),
            now,
        }
    }

    /// An idle connection to a line's organization.
    pub(crate) fn idle(self: &Rc<Self>, line: &Line) -> Option<Lease> {
        let origin = Rc::clone(self.origins.borrow().get(line.origin.as_str())?);
        let mut http2 = origin.http2.borrow_mut();
        if let Some(sender) = &*http2 {
            if sender.is_ready() {
                return Some(Lease::Http2(sender.clone()));
            }
            *http2 = None;
        }
        drop(http2);
        let mut idle = origin.idle.borrow_mut();
        while let Some(mut wire) = idle.pop() {
            self.idle.set(self.idle.get() - 1);
            if wire.is_quiet() {
                drop(idle);
                return Some(Lease::Http1(Leased {
                    wire,
                    origin,
                    pool: Rc::clone(self),
                }));
            }
        }
        None
    }

    /// A new connection to a line's organization.
    pub(crate) async fn connect(self: &Rc<Self>, line: &Line) -> Result<Lease, ConnectError> {
        let socket = self.connector.connect(line).await?;
        let origin = self.origin(line);
        if !socket.chose_http2() {
            return Ok(Lease::Http1(Leased {
                wire: Wire::new(socket),
                origin,
                pool: Rc::clone(self),
            }));
        }
        let (sender, connection) = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(ConnectError::Http2)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to Dynamics ended");
            }
        });
        *origin.http2.borrow_mut() = Some(sender.clone());
        Ok(Lease::Http2(sender))
    }

    fn origin(&self, line: &Line) -> Rc<Origin> {
        let mut origins = self.origins.borrow_mut();
        Rc::clone(origins.entry(line.origin.as_str().into()).or_default())
    }

    fn put(&self, origin: &Origin, mut wire: Box<Wire>) {
        let mut idle = origin.idle.borrow_mut();
        if self.idle.get() < IDLE_MAX && idle.len() < IDLE_PER_ORIGIN {
            wire.rest();
            wire.idle_since = self.now.get();
            idle.push(wire);
            self.idle.set(self.idle.get() + 1);
        }
    }

    /// Lets go of what has been idle for too long, and of what the other side closed.
    pub(crate) fn sweep(&self) {
        let oldest = self.now.get().saturating_sub(IDLE);
        let mut kept = 0;
        self.origins.borrow_mut().retain(|_, origin| {
            let mut idle = origin.idle.borrow_mut();
            idle.retain_mut(|wire| wire.idle_since >= oldest && wire.is_quiet());
            kept += idle.len();
            let mut http2 = origin.http2.borrow_mut();
            if http2.as_ref().is_some_and(http2::SendRequest::is_closed) {
                *http2 = None;
            }
            // Connections that are in use come back to where they were taken from.
            !idle.is_empty() || http2.is_some() || Rc::strong_count(origin) > 1
        });
        self.idle.set(kept);
    }
}

impl Leased {
    /// Puts the connection aside for the next call, if it can take one. Whether the other side has
    /// closed it is seen when it is taken, and has to be seen then anyway.
    pub(crate) fn give_back(self) {
        if self.wire.may_go_on() {
            self.pool.put(&self.origin, self.wire);
        }
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin")
            .field("idle", &self.idle.borrow().len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Leased {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leased")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
