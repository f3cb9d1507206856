//! A request's body while it streams through, and whether it still does.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::keep::Begun;
use crate::turn::{CutOff, Passing};

/// A body on its way out.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Passing<Begun>,
    progress: Rc<Progress>,
}

/// How far a body came.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    frames: Cell<u64>,
    seen: Cell<u64>,
    ended: Cell<bool>,
}

impl Upload {
    pub(crate) fn new(body: Passing<Begun>) -> (Self, Rc<Progress>) {
        let progress = Rc::new(Progress::default());
        let upload = Self {
            body,
            progress: Rc::clone(&progress),
        };
        (upload, progress)
    }
}

impl Progress {
    /// Whether more of the body went out since this was last asked.
    pub(crate) fn went_on(&self) -> bool {
        self.seen.replace(self.frames.get()) != self.frames.get()
    }

    /// Whether the caller has not sent all of it yet.
    pub(crate) fn is_open(&self) -> bool {
        !self.ended.get()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = CutOff<hyper::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff<hyper::Error>>>> {
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let progress = &self.progress;
        progress.frames.set(progress.frames.get() + 1);
        progress
            .ended
            .set(polled.is_none() || self.body.is_end_stream());
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
