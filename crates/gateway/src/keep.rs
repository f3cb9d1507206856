//! A request's body before it is sent: whether it can be kept, so that the call can be repeated.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tieline_app::{Refused, Who};

use crate::turn::{Passing, Turner};
use crate::worker::Worker;

/// A body that can be sent again, or one that streams.
pub(crate) enum CallBody {
    Kept(Bytes),
    Streaming(Box<Passing<Begun>>),
    /// It was one that streams, and has been sent.
    Gone,
}

impl CallBody {
    /// Keeps a body that is small, whether or not its size was said in front; lets any other
    /// stream. What a client learned here it says again: its links are turned either way.
    pub(crate) async fn of(
        worker: &Worker,
        body: Incoming,
        turner: Option<Turner>,
    ) -> Result<Self, Refused> {
        if body.is_end_stream() && turner.is_none() {
            return Ok(Self::Kept(Bytes::new()));
        }
        let max = worker.inner.settings.replay_max;
        let large = body.size_hint().exact().is_some_and(|size| size > max);
        let begun = if large {
            Begun {
                first: Bytes::new(),
                rest: Some(body),
            }
        } else {
            begin(worker, body, max).await?
        };
        Ok(match (begun, turner) {
            (Begun { first, rest: None }, Some(turner)) => Self::Kept(turner.whole(first)),
            (Begun { first, rest: None }, None) => Self::Kept(first),
            (begun, Some(turner)) => {
                Self::Streaming(Box::new(Passing::turned(begun, turner, None, None)))
            }
            (begun, None) => Self::Streaming(Box::new(Passing::untouched(begun))),
        })
    }
}

/// A body whose beginning was read.
#[derive(Debug)]
pub(crate) struct Begun {
    first: Bytes,
    /// None when that was all.
    rest: Option<Incoming>,
}

#[cfg(test)]
impl Begun {
    /// A body that has come, and yet streams.
    pub(crate) fn whole(first: Bytes) -> Self {
        Self { first, rest: None }
    }
}

/// Reads a body to its end, or until it is too long to be kept; most have come with their head, in
/// one piece.
async fn begin(worker: &Worker, mut body: Incoming, max: u64) -> Result<Begun, Refused> {
    let limit = worker.inner.settings.body_timeout;
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while !body.is_end_stream() {
        let frame = match worker.patience.within(limit, body.frame()).await {
            Some(Some(Ok(frame))) => frame,
            Some(None) => break,
            Some(Some(Err(_))) => return Err(cut_off()),
            None => return Err(stalled(limit)),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
        if first.len().max(more.len()) as u64 > max {
            let first = if more.is_empty() {
                first
            } else {
                more.freeze()
            };
            let rest = Some(body);
            return Ok(Begun { first, rest });
        }
    }
    let first = if more.is_empty() {
        first
    } else {
        more.freeze()
    };
    Ok(Begun { first, rest: None })
}

/// A body ended before its end.
#[cold]
pub(crate) fn cut_off() -> Refused {
    let text = "The request's body was cut off before its end.";
    Refused::new(Who::Consumer, 400, "body-cut-off", text)
}

/// Nothing came of a body for too long.
#[cold]
pub(crate) fn stalled(patience: Duration) -> Refused {
    let text = format!(
        "Nothing came of the request's body for {} seconds.",
        patience.as_secs()
    );
    Refused::new(Who::Consumer, 408, "body-stalled", text)
}

impl Body for Begun {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Some(rest) if self.first.is_empty() => rest.size_hint(),
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.first.len() as u64),
        }
    }
}
