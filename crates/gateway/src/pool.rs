//! One worker's connections to Dynamics. No other thread touches them, so nothing is locked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tieline_app::Line;

use crate::connect::{ConnectError, Connector};
use crate::local::Local;
use crate::wire::{Outgoing, Wire};

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
    origins: RefCell<HashMap<Rc<str>, Origin>>,
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
    idle: Vec<Box<Wire>>,
    http2: Option<http2::SendRequest<Outgoing>>,
}

/// A connection to make one call on.
pub(crate) enum Lease {
    Http1(Leased),
    Http2(http2::SendRequest<Outgoing>),
}

/// A connection that comes back to its pool.
pub(crate) struct Leased {
    pub(crate) wire: Box<Wire>,
    origin: Rc<str>,
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
        let mut origins = self.origins.borrow_mut();
        let (name, _) = origins.get_key_value(line.origin.as_str())?;
        let name = Rc::clone(name);
        let origin = origins.get_mut(&name)?;
        if let Some(sender) = &origin.http2 {
            if sender.is_ready() {
                return Some(Lease::Http2(sender.clone()));
            }
            origin.http2 = None;
        }
        while let Some(mut wire) = origin.idle.pop() {
            self.idle.set(self.idle.get() - 1);
            if wire.is_free() {
                return Some(Lease::Http1(Leased {
                    wire,
                    origin: name,
                    pool: Rc::clone(self),
                }));
            }
        }
        None
    }

    /// A new connection to a line's organization.
    pub(crate) async fn connect(self: &Rc<Self>, line: &Line) -> Result<Lease, ConnectError> {
        let socket = self.connector.connect(line).await?;
        let name = self.name(line);
        if !socket.chose_http2() {
            let wire = Wire::open(socket).await.map_err(ConnectError::Http2)?;
            return Ok(Lease::Http1(Leased {
                wire,
                origin: name,
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
        let mut origins = self.origins.borrow_mut();
        origins.entry(name).or_default().http2 = Some(sender.clone());
        Ok(Lease::Http2(sender))
    }

    fn name(&self, line: &Line) -> Rc<str> {
        let origins = self.origins.borrow();
        origins.get_key_value(line.origin.as_str()).map_or_else(
            || Rc::from(line.origin.as_str()),
            |(name, _)| Rc::clone(name),
        )
    }

    fn put(&self, name: Rc<str>, mut wire: Box<Wire>) {
        if self.idle.get() >= IDLE_MAX {
            return;
        }
        let mut origins = self.origins.borrow_mut();
        let origin = origins.entry(name).or_default();
        if origin.idle.len() < IDLE_PER_ORIGIN {
            wire.idle_since = self.now.get();
            origin.idle.push(wire);
            self.idle.set(self.idle.get() + 1);
        }
    }

    /// Lets go of what has been idle for too long, and of what the other side closed.
    pub(crate) fn sweep(&self) {
        let oldest = self.now.get().saturating_sub(IDLE);
        let mut kept = 0;
        self.origins.borrow_mut().retain(|_, origin| {
            origin
                .idle
                .retain_mut(|wire| wire.idle_since >= oldest && wire.is_free());
            kept += origin.idle.len();
            let http2 = origin.http2.as_ref();
            if http2.is_some_and(http2::SendRequest::is_closed) {
                origin.http2 = None;
            }
            !origin.idle.is_empty() || origin.http2.is_some()
        });
        self.idle.set(kept);
    }
}

impl Leased {
    /// Puts the connection aside for the next call, if it can take one.
    pub(crate) fn give_back(mut self) {
        if self.wire.is_free() {
            self.pool.put(self.origin, self.wire);
        }
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin")
            .field("idle", &self.idle.len())
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
