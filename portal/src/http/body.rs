//! Bodies of answers: whole, cut off, dripping, or a stream of events.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Sleep;

/// The body of an answer.
pub(crate) enum AnswerBody {
    Whole(Option<Bytes>),
    /// Sends what it has and then breaks off.
    Cut(Option<Bytes>),
    Drip {
        left: Bytes,
        pause: Duration,
        sleep: Pin<Box<Sleep>>,
    },
    Events(mpsc::Receiver<Bytes>),
}

impl AnswerBody {
    pub(crate) fn whole(body: impl Into<Bytes>) -> Self {
        Self::Whole(Some(body.into()))
    }

    pub(crate) fn drip(body: impl Into<Bytes>, pause: Duration) -> Self {
        Self::Drip { left: body.into(), pause, sleep: Box::pin(tokio::time::sleep(pause)) }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(
                body.take().filter(|body| !body.is_empty()).map(|body| Ok(Frame::data(body))),
            ),
            Self::Cut(body) => Poll::Ready(Some(match body.take() {
                Some(body) => Ok(Frame::data(body)),
                None => Err(io::Error::other("the answer is cut off here, as planned")),
            })),
            Self::Drip { left, pause, sleep } => {
                if left.is_empty() {
                    return Poll::Ready(None);
                }
                std::task::ready!(sleep.as_mut().poll(cx));
                sleep.as_mut().reset(tokio::time::Instant::now() + *pause);
                Poll::Ready(Some(Ok(Frame::data(left.split_to(1)))))
            }
            Self::Events(events) => {
                events.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Self::Drip { left, .. } => left.is_empty(),
            Self::Cut(_) | Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Self::Drip { left, .. } => SizeHint::with_exact(left.len() as u64),
            Self::Cut(_) | Self::Events(_) => SizeHint::default(),
        }
    }
}
