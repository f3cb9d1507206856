//! The body of Dynamics' answer, with the connection that it comes over.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::pool::Leased;

/// A body that comes in. When it has ended, its connection takes the next call; when it is dropped
/// before, the connection is closed, and Dynamics hears that nobody listens.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    body: Incoming,
    leased: Option<Leased>,
    /// How long nothing may come.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the connection to Dynamics broke in the middle of an answer: {0}")]
    Broken(#[from] hyper::Error),
    #[error("Dynamics stopped in the middle of an answer")]
    Stalled,
}

impl AnswerBody {
    /// In a box: an answer passes through many hands on its way out.
    pub(crate) fn new(body: Incoming, leased: Option<Leased>, patience: Duration) -> Box<Self> {
        let mut answer = Self {
            body,
            leased,
            patience,
            stalled: None,
            waiting: false,
        };
        answer.give_back_if_ended();
        Box::new(answer)
    }

    fn give_back_if_ended(&mut self) {
        if self.body.is_end_stream()
            && let Some(leased) = self.leased.take()
        {
            leased.give_back();
        }
    }

    /// Whether nothing came for too long.
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if !self.waiting {
            self.waiting = true;
            stalled.as_mut().reset(Instant::now() + patience);
        }
        stalled.as_mut().poll(context)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let body = &mut this.body;
        let polled = match &mut this.leased {
            Some(leased) => leased
                .wire
                .drive(context, |context| Pin::new(&mut *body).poll_frame(context)),
            None => Pin::new(body).poll_frame(context),
        };
        match polled {
            Poll::Pending => match this.poll_stalled(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    this.leased = None;
                    Poll::Ready(Some(Err(BodyError::Stalled)))
                }
            },
            Poll::Ready(None) => {
                if let Some(leased) = this.leased.take() {
                    leased.give_back();
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                this.leased = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = false;
                this.give_back_if_ended();
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
