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
use crate::wire::Broke;

/// A body that comes in. When it has ended, its connection takes the next call; when it is dropped
/// before, the connection is closed, and Dynamics hears that nobody listens.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    source: Source,
    /// How long nothing may come.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

/// Where it comes from.
#[derive(Debug)]
enum Source {
    Ended,
    /// All of it is here.
    Whole(Bytes),
    Http1(Leased),
    Http2(Incoming),
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("an answer of Dynamics broke off: {0}")]
    Broke(#[from] Broke),
    #[error("an answer of Dynamics broke off: {0}")]
    Http2(#[from] hyper::Error),
    #[error("Dynamics stopped in the middle of an answer")]
    Stalled,
}

impl AnswerBody {
    /// What follows a head over HTTP/1.1. In a box: an answer passes through many hands on its way
    /// out.
    pub(crate) fn http1(mut leased: Leased, patience: Duration) -> Box<Self> {
        let source = match leased.wire.whole() {
            Some(body) => {
                leased.give_back();
                Source::whole(body)
            }
            None => Source::Http1(leased),
        };
        Self::of(source, patience)
    }

    /// What follows a head over HTTP/2.
    pub(crate) fn http2(body: Incoming, patience: Duration) -> Box<Self> {
        Self::of(Source::Http2(body), patience)
    }

    fn of(source: Source, patience: Duration) -> Box<Self> {
        Box::new(Self {
            source,
            patience,
            stalled: None,
            waiting: false,
        })
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

impl Source {
    fn whole(body: Bytes) -> Self {
        if body.is_empty() {
            Self::Ended
        } else {
            Self::Whole(body)
        }
    }

    /// Gives the connection back when its answer has ended.
    fn end(&mut self) {
        if let Self::Http1(leased) = std::mem::replace(self, Self::Ended) {
            leased.give_back();
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Ended => Poll::Ready(None),
            Self::Whole(body) => {
                let body = std::mem::take(body);
                *self = Self::Ended;
                Poll::Ready(Some(Ok(Frame::data(body))))
            }
            Self::Http1(leased) => leased.wire.poll_body(context).map_err(BodyError::from),
            Self::Http2(body) => Pin::new(body).poll_frame(context).map_err(BodyError::from),
        }
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
        match this.source.poll(context) {
            Poll::Pending => match this.poll_stalled(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    this.source = Source::Ended;
                    Poll::Ready(Some(Err(BodyError::Stalled)))
                }
            },
            Poll::Ready(None) => {
                this.source.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                // Its connection is closed with it.
                this.source = Source::Ended;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = false;
                if let Source::Http1(leased) = &this.source
                    && leased.wire.is_ended()
                {
                    this.source.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Ended => true,
            Source::Whole(_) | Source::Http1(_) => false,
            Source::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Ended => SizeHint::with_exact(0),
            Source::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Source::Http1(leased) => match leased.wire.left() {
                Some(left) => SizeHint::with_exact(left),
                None => SizeHint::default(),
            },
            Source::Http2(body) => body.size_hint(),
        }
    }
}
