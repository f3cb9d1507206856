//! One connection from a client: what it is doing, and how long it may do nothing.
//!
//! hyper can time the reading of headers with a timer for each request; here one beat a second
//! looks at every connection of a worker, and a request costs no timer at all.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// How many seconds a client may take to shake hands, and to send the head of a request: slow ones
/// hold connections on purpose.
const HEAD_SECONDS: u32 = 15;
/// How many seconds a connection may lie idle: longer than the pools of common clients keep one,
/// so that it is they who close it.
const IDLE_SECONDS: u32 = 120;

/// Every connection of one worker.
#[derive(Debug)]
pub(crate) struct Guests {
    all: RefCell<HashMap<u64, Rc<Guest>>>,
    next: Cell<u64>,
    now: Rc<Cell<u32>>,
    left: tokio::sync::Notify,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Calls without a complete answer.
    calls: Cell<u32>,
    /// Whether a part of a head has come.
    half: Cell<bool>,
    /// Whether it is not known yet what is spoken.
    greeting: Cell<bool>,
    /// Whether HTTP/2 is spoken, whose frames between calls are not the beginning of a head.
    http2: Cell<bool>,
    /// Since when it does what it does.
    since: Cell<u32>,
    leave: Cell<Leave>,
    /// Whether an answer was cut off that the client can only tell from a whole one by a reset.
    spoilt: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    now: Rc<Cell<u32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    Stay,
    /// After the calls under way.
    Soon,
    Now,
}

impl Guests {
    pub(crate) fn new(now: Rc<Cell<u32>>) -> Self {
        Self {
            all: RefCell::default(),
            next: Cell::new(0),
            now,
            left: tokio::sync::Notify::new(),
        }
    }

    /// Serves a connection until it ends or is asked to leave.
    pub(crate) async fn attend<F, Fut>(self: Rc<Self>, serve: F)
    where
        F: FnOnce(Rc<Guest>) -> Fut,
        Fut: Future<Output = ()>,
    {
        let guest = Guest::new(Rc::clone(&self.now));
        let number = self.next.replace(self.next.get() + 1);
        self.all.borrow_mut().insert(number, Rc::clone(&guest));
        let _seat = Seat {
            guests: Rc::clone(&self),
            number,
        };
        let mut served = pin!(serve(Rc::clone(&guest)));
        std::future::poll_fn(|context| {
            if guest.greeting.get() {
                if guest.waker.borrow().is_none() {
                    *guest.waker.borrow_mut() = Some(context.waker().clone());
                }
                if guest.leave.get() != Leave::Stay {
                    return Poll::Ready(());
                }
            }
            served.as_mut().poll(context)
        })
        .await;
    }

    /// Asks those to leave who do nothing for too long.
    pub(crate) fn sweep(&self) {
        for guest in self.all.borrow().values() {
            if let Some(leave) = guest.overstays() {
                guest.ask(leave);
            }
        }
    }

    /// Asks everybody to leave after the calls under way, and waits until they have.
    pub(crate) async fn dismiss(&self) {
        loop {
            // Who comes late is asked as well.
            for guest in self.all.borrow().values() {
                guest.ask(Leave::Soon);
            }
            if self.all.borrow().is_empty() {
                return;
            }
            self.left.notified().await;
        }
    }
}

/// A connection's entry; it goes when the connection does.
struct Seat {
    guests: Rc<Guests>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.guests.all.borrow_mut().remove(&self.number);
        self.guests.left.notify_one();
    }
}

impl Guest {
    fn new(now: Rc<Cell<u32>>) -> Rc<Self> {
        Rc::new(Self {
            calls: Cell::new(0),
            half: Cell::new(true),
            greeting: Cell::new(true),
            http2: Cell::new(false),
            since: Cell::new(now.get()),
            leave: Cell::new(Leave::Stay),
            spoilt: Cell::new(false),
            waker: RefCell::default(),
            now,
        })
    }

    fn overstays(&self) -> Option<Leave> {
        if self.calls.get() > 0 {
            return None;
        }
        let waited = self.now.get().saturating_sub(self.since.get());
        if self.half.get() {
            return (waited > HEAD_SECONDS).then_some(Leave::Now);
        }
        (waited > IDLE_SECONDS).then_some(Leave::Soon)
    }

    fn ask(&self, leave: Leave) {
        if self.leave.get() != Leave::Now && self.leave.get() != leave {
            self.leave.set(leave);
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }

    /// Bytes came in.
    pub(crate) fn heard(&self) {
        if self.calls.get() == 0 && !self.half.get() && !self.http2.get() {
            self.half.set(true);
            self.since.set(self.now.get());
        }
    }

    /// Whether its connection must end with a reset.
    pub(crate) fn is_spoilt(&self) -> bool {
        self.spoilt.get()
    }

    /// It speaks HTTP/2.
    pub(crate) fn speaks_http2(&self) {
        self.http2.set(true);
        self.half.set(false);
    }

    /// A whole head came in.
    pub(crate) fn calls(self: &Rc<Self>) -> Calling {
        self.calls.set(self.calls.get() + 1);
        self.half.set(false);
        Calling(Rc::clone(self))
    }

    /// Runs a connection; `finish` asks it to end after the calls under way.
    pub(crate) async fn stay<C, E>(&self, connection: C, finish: fn(Pin<&mut C>)) -> Result<(), E>
    where
        C: Future<Output = Result<(), E>>,
    {
        let mut connection = pin!(connection);
        let mut asked = false;
        self.greeting.set(false);
        std::future::poll_fn(|context| {
            match self.leave.get() {
                Leave::Stay => {}
                Leave::Now => return Poll::Ready(Ok(())),
                Leave::Soon if asked => {}
                Leave::Soon => {
                    asked = true;
                    finish(connection.as_mut());
                }
            }
            connection.as_mut().poll(context)
        })
        .await
    }
}

/// A call under way; it lasts until its answer has gone out.
#[derive(Debug)]
pub(crate) struct Calling(Rc<Guest>);

impl Calling {
    /// The answer was cut off, and nothing in it will say so: an end of the connection would look
    /// like its own.
    pub(crate) fn spoil(&self) {
        self.0.spoilt.set(true);
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        let guest = &self.0;
        guest.calls.set(guest.calls.get() - 1);
        guest.since.set(guest.now.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_is_asked_to_leave_and_who_waits_for_an_answer_is_not() {
        let now = Rc::new(Cell::new(0));
        let guest = Guest::new(Rc::clone(&now));
        now.set(HEAD_SECONDS);
        assert_eq!(guest.overstays(), None);
        now.set(HEAD_SECONDS + 1);
        assert_eq!(guest.overstays(), Some(Leave::Now));
        let calling = guest.calls();
        now.set(1000);
        assert_eq!(guest.overstays(), None);
        drop(calling);
        now.set(1000 + IDLE_SECONDS);
        assert_eq!(guest.overstays(), None);
        now.set(1001 + IDLE_SECONDS);
        assert_eq!(guest.overstays(), Some(Leave::Soon));
        guest.heard();
        assert_eq!(guest.overstays(), None);
        now.set(now.get() + HEAD_SECONDS + 1);
        assert_eq!(guest.overstays(), Some(Leave::Now));
    }
}
