//! A body on its way through the gateway, its links turned where it has any.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};

use crate::address::Turning;
use crate::batch::Batch;
use crate::coding::{Coding, Decoder, Encoder};
use crate::links::Links;
use crate::part::Kind;

/// So much of a compressed body is undone at a time: deflate may hide a thousand bytes in one.
const PIECE_MAX: usize = 4 << 10;

/// So much of an answer is looked for before it begins to go out.
const AT_HAND_MAX: u64 = 64 << 10;

/// What turns the links of a kind of body.
#[derive(Debug)]
pub(crate) enum Turner {
    Json(Links),
    Batch(Box<Batch>),
}

impl Turner {
    /// None where a body of this kind has no links.
    pub(crate) fn of(kind: &Kind, turning: impl FnOnce() -> Arc<Turning>) -> Option<Self> {
        match kind {
            Kind::Json => Some(Self::Json(Links::new(turning()))),
            Kind::Multipart(boundary) => {
                let batch = Batch::new(turning(), boundary);
                Some(Self::Batch(Box::new(batch)))
            }
            Kind::Http | Kind::Other => None,
        }
    }

    pub(crate) fn turn(&mut self, piece: Bytes) -> Bytes {
        match self {
            Self::Json(links) => links.turn(piece),
            Self::Batch(batch) => batch.turn(piece),
        }
    }

    pub(crate) fn rest(&mut self) -> Bytes {
        match self {
            Self::Json(links) => links.rest(),
            Self::Batch(batch) => batch.rest(),
        }
    }

    /// All of a body at once.
    pub(crate) fn whole(mut self, body: Bytes) -> Bytes {
        let turned = self.turn(body);
        let rest = self.rest();
        if rest.is_empty() {
            turned
        } else {
            Bytes::from([turned, rest].concat())
        }
    }
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CutOff<E> {
    /// Where it came from, it ended so.
    #[error(transparent)]
    Source(E),
    /// It was compressed, and what was compressed has no end.
    #[error(transparent)]
    Coding(#[from] io::Error),
}

/// A body that passes, or is turned on the way.
#[derive(Debug)]
pub(crate) struct Passing<B: Body> {
    body: B,
    way: Way<B::Error>,
}

#[derive(Debug)]
enum Way<E> {
    /// As it is.
    Untouched,
    /// Turned, and not begun.
    Plain(Turner),
    /// All of it was at hand, and is turned; none when it went out.
    Whole(Option<Bytes>),
    /// Turned piece by piece.
    Turned(Box<Turned<E>>),
}

#[derive(Debug)]
struct Turned<E> {
    turner: Turner,
    decoder: Option<Decoder>,
    encoder: Option<Encoder>,
    /// Compressed bytes whose turn has not come.
    waiting: Bytes,
    stage: Stage,
    /// Whether all of it was at hand.
    whole: bool,
    /// What goes out before anything else.
    ready: VecDeque<Result<Frame<Bytes>, CutOff<E>>>,
}

#[derive(Debug)]
enum Stage {
    Streams,
    /// The body has ended; trailers may follow what was held back.
    Ended(Option<Frame<Bytes>>),
    Done,
}

impl<B: Body> Passing<B> {
    /// A body that passes as it is.
    pub(crate) fn untouched(body: B) -> Self {
        let way = Way::Untouched;
        Self { body, way }
    }

    /// A body whose links are turned; where it is compressed, it is undone first, and done again
    /// when whoever gets it takes that.
    pub(crate) fn turned(
        body: B,
        turner: Turner,
        from: Option<Coding>,
        to: Option<Coding>,
    ) -> Self {
        let way = match (from, to) {
            (None, None) => Way::Plain(turner),
            _ => Way::Turned(Turned::new(turner, from, to)),
        };
        Self { body, way }
    }
}

impl<B> Passing<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Takes what is there already, as far as it is not too much.
    fn look_ahead(&mut self, context: &mut Context<'_>) {
        if matches!(self.way, Way::Plain(_)) {
            self.look_whole(context);
        }
        if let Way::Turned(turned) = &mut self.way {
            turned.look_ahead(Pin::new(&mut self.body), context);
        }
    }

    /// A short answer most often comes as one piece, which needs nothing that pieces need.
    fn look_whole(&mut self, context: &mut Context<'_>) {
        let Way::Plain(turner) = std::mem::replace(&mut self.way, Way::Untouched) else {
            return;
        };
        let mut first = None;
        self.way = loop {
            // An end that is known is not asked for.
            let next = if first.is_some() && self.body.is_end_stream() {
                Poll::Ready(None)
            } else {
                Pin::new(&mut self.body).poll_frame(context)
            };
            let next = match next {
                Poll::Ready(None) => {
                    let whole = turner.whole(first.unwrap_or_default());
                    break Way::Whole((!whole.is_empty()).then_some(whole));
                }
                Poll::Ready(Some(Ok(frame))) if first.is_none() => match frame.into_data() {
                    Ok(piece) => {
                        first = Some(piece);
                        continue;
                    }
                    Err(trailers) => Some(Ok(trailers)),
                },
                Poll::Ready(next) => next,
                Poll::Pending if first.is_none() => break Way::Plain(turner),
                Poll::Pending => None,
            };
            let mut turned = Turned::new(turner, None, None);
            if let Some(first) = first {
                turned.take(Ok(Frame::data(first)));
            }
            if let Some(next) = next {
                turned.take(next);
            }
            break Way::Turned(turned);
        };
    }
}

impl<E> Way<E> {
    /// What turns piece by piece, where anything does.
    fn begun(&mut self) -> Option<&mut Turned<E>> {
        if let Self::Plain(_) = self
            && let Self::Plain(turner) = std::mem::replace(self, Self::Untouched)
        {
            *self = Self::Turned(Turned::new(turner, None, None));
        }
        match self {
            Self::Turned(turned) => Some(turned),
            _ => None,
        }
    }
}

/// Takes what of an answer is there already: a short one most often is, all of it, and goes out with
/// its length, in one piece.
pub(crate) async fn at_hand<B>(answer: &mut Response<Passing<B>>)
where
    B: Body<Data = Bytes> + Unpin,
{
    let passing = answer.body_mut();
    if !matches!(passing.way, Way::Untouched) {
        std::future::poll_fn(|context| {
            passing.look_ahead(context);
            Poll::Ready(())
        })
        .await;
    }
}

impl<E> Turned<E> {
    fn new(turner: Turner, from: Option<Coding>, to: Option<Coding>) -> Box<Self> {
        Box::new(Self {
            turner,
            decoder: from.map(Decoder::new),
            encoder: to.map(Encoder::new),
            waiting: Bytes::new(),
            stage: Stage::Streams,
            whole: false,
            ready: VecDeque::new(),
        })
    }

    fn look_ahead<B>(&mut self, mut body: Pin<&mut B>, context: &mut Context<'_>)
    where
        B: Body<Data = Bytes, Error = E>,
    {
        if self.ready.iter().any(Result::is_err) {
            return;
        }
        let mut length = self.left();
        while length < AT_HAND_MAX {
            match self.poll(body.as_mut(), context) {
                Poll::Pending => return,
                Poll::Ready(None) => {
                    self.whole = true;
                    return;
                }
                Poll::Ready(Some(polled)) => {
                    let data = polled.as_ref().ok().and_then(Frame::data_ref);
                    let more = data.map(Bytes::len);
                    self.ready.push_back(polled);
                    match more {
                        Some(more) => length += more as u64,
                        // Trailers, or an end that came too early.
                        None => return,
                    }
                }
            }
        }
    }

    /// Makes ready what becomes of a frame that came.
    fn take(&mut self, frame: Result<Frame<Bytes>, E>) {
        self.stage = Stage::Done;
        let out = self.came(Some(frame));
        if !matches!(&out, Ok(out) if out.is_empty()) {
            self.ready.push_back(out.map(Frame::data));
        }
    }

    /// What becomes of the next bytes.
    fn push(&mut self, piece: Bytes) -> io::Result<Bytes> {
        let plain = match &mut self.decoder {
            Some(decoder) => {
                self.waiting = piece;
                let next = self.waiting.split_to(self.waiting.len().min(PIECE_MAX));
                Bytes::from(decoder.push(&next)?)
            }
            None => piece,
        };
        let turned = self.turner.turn(plain);
        self.encode(turned)
    }

    /// How much of what is ready has not gone out.
    fn left(&self) -> u64 {
        let pieces = self.ready.iter().filter_map(|ready| ready.as_ref().ok());
        let lengths = pieces.filter_map(|frame| frame.data_ref().map(Bytes::len));
        lengths.sum::<usize>() as u64
    }

    fn encode(&mut self, turned: Bytes) -> io::Result<Bytes> {
        match &mut self.encoder {
            Some(encoder) => Ok(Bytes::from(encoder.push(&turned)?)),
            None => Ok(turned),
        }
    }

    /// What was held back, at the end.
    fn rest(&mut self) -> io::Result<Bytes> {
        if let Some(decoder) = &self.decoder {
            decoder.finish()?;
        }
        let rest = self.turner.rest();
        let mut rest = self.encode(rest)?;
        if let Some(encoder) = &mut self.encoder {
            rest = Bytes::from([&rest[..], &encoder.finish()?].concat());
        }
        Ok(rest)
    }

    fn poll<B>(
        &mut self,
        mut body: Pin<&mut B>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff<E>>>>
    where
        B: Body<Data = Bytes, Error = E>,
    {
        loop {
            let out = if self.waiting.is_empty() {
                match std::mem::replace(&mut self.stage, Stage::Done) {
                    Stage::Done => return Poll::Ready(None),
                    Stage::Ended(trailers) => return Poll::Ready(trailers.map(Ok)),
                    // An end that is known is not asked for.
                    Stage::Streams if body.is_end_stream() => self.came(None)?,
                    Stage::Streams => match body.as_mut().poll_frame(context) {
                        Poll::Pending => {
                            self.stage = Stage::Streams;
                            let Some(encoder) = self.encoder.as_mut().filter(|it| it.holds) else {
                                return Poll::Pending;
                            };
                            Bytes::from(encoder.flush()?)
                        }
                        Poll::Ready(frame) => self.came(frame)?,
                    },
                }
            } else {
                let piece = std::mem::take(&mut self.waiting);
                self.push(piece)?
            };
            // All of a piece may wait for the next one.
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }

    /// What becomes of a frame, or of the end.
    fn came(&mut self, frame: Option<Result<Frame<Bytes>, E>>) -> Result<Bytes, CutOff<E>> {
        // A body that was cut off is never passed on as whole.
        let frame = frame.transpose().map_err(CutOff::Source)?;
        let Some(frame) = frame else {
            self.stage = Stage::Ended(None);
            return Ok(self.rest()?);
        };
        match frame.into_data() {
            Ok(piece) => {
                self.stage = Stage::Streams;
                Ok(self.push(piece)?)
            }
            Err(trailers) => {
                self.stage = Stage::Ended(Some(trailers));
                Ok(self.rest()?)
            }
        }
    }
}

impl<B> Body for Passing<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = CutOff<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff<B::Error>>>> {
        let this = self.get_mut();
        match &mut this.way {
            Way::Untouched => {
                let body = Pin::new(&mut this.body);
                return body.poll_frame(context).map_err(CutOff::Source);
            }
            Way::Whole(whole) => {
                return Poll::Ready(whole.take().map(|whole| Ok(Frame::data(whole))));
            }
            Way::Plain(_) | Way::Turned(_) => {}
        }
        let Some(turned) = this.way.begun() else {
            return Poll::Ready(None);
        };
        match turned.ready.pop_front() {
            Some(ready) => Poll::Ready(Some(ready)),
            None => turned.poll(Pin::new(&mut this.body), context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.way {
            Way::Untouched => self.body.is_end_stream(),
            Way::Plain(_) => false,
            Way::Whole(whole) => whole.is_none(),
            Way::Turned(turned) => {
                turned.ready.is_empty() && matches!(turned.stage, Stage::Done | Stage::Ended(None))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.way {
            Way::Untouched => self.body.size_hint(),
            Way::Whole(whole) => {
                SizeHint::with_exact(whole.as_ref().map_or(0, |whole| whole.len() as u64))
            }
            Way::Turned(turned) if turned.whole => SizeHint::with_exact(turned.left()),
            Way::Plain(_) | Way::Turned(_) => SizeHint::default(),
        }
    }
}
