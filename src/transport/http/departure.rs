//! Whether a request has left the process. If not, it was certainly not executed.
//!
//! The HTTP client asks for the body when it has a connection and is about to write; it writes nothing
//! before. So a body that was not asked for is a better proof than an error: a timeout may pass while the
//! client connects, and a panic does not say when it happened.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use reqwest::Body;

use crate::protocol::Pass;

/// Knows whether the body has left.
pub(super) struct Departure(Arc<AtomicU8>);

const WAITING: u8 = 0;
const LEFT: u8 = 1;
const WITHDRAWN: u8 = 2;

/// A body that notes when it is asked for. It is withdrawn if it may not leave then.
pub(super) fn watched(bytes: Vec<u8>, pass: Pass) -> (Body, Departure) {
    let state = Arc::new(AtomicU8::new(WAITING));
    let watched = Watched { body: Body::from(bytes), state: Arc::clone(&state), pass };
    (Body::wrap(watched), Departure(state))
}

impl Departure {
    /// Prevents the body from being sent. Returns `false` if it was asked for already, and left.
    pub(super) fn prevent(self) -> bool {
        let before = self.0.compare_exchange(WAITING, WITHDRAWN, SeqCst, SeqCst);
        before != Err(LEFT)
    }
}

struct Watched {
    body: Body,
    state: Arc<AtomicU8>,
    pass: Pass,
}

impl http_body::Body for Watched {
    type Data = <Body as http_body::Body>::Data;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let is_first = self.state.load(SeqCst) == WAITING;
        let next = if is_first && !self.pass.may_leave() { WITHDRAWN } else { LEFT };
        match self.state.compare_exchange(WAITING, next, SeqCst, SeqCst) {
            Ok(_) if next == WITHDRAWN => {
                Poll::Ready(Some(Err("the request may not be sent any more".into())))
            }
            Err(WITHDRAWN) => {
                Poll::Ready(Some(Err("the request was cancelled before it was sent".into())))
            }
            _ => Pin::new(&mut self.body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body::Body as _;

    use super::*;

    /// Asks for the body's next part; `None`: it is refused.
    fn next(body: &mut Body) -> Option<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let frame = runtime.block_on(poll_fn(|context| Pin::new(&mut *body).poll_frame(context)));
        Some(frame?.ok()?.into_data().ok()?.to_vec())
    }

    #[test]
    fn a_body_is_sent_or_cancelled_but_not_both() {
        let (mut body, departure) = watched(b"abc".to_vec(), Pass::default());
        assert_eq!(body.size_hint().exact(), Some(3), "or it would be sent in chunks");
        assert_eq!(next(&mut body), Some(b"abc".to_vec()));
        assert!(!departure.prevent());

        let (mut body, departure) = watched(b"abc".to_vec(), Pass::default());
        assert!(departure.prevent());
        assert_eq!(next(&mut body), None);
    }

    #[test]
    fn a_body_that_may_not_leave_any_more_is_withdrawn() {
        let pass = Pass::new(|| false);
        let (mut body, departure) = watched(b"abc".to_vec(), pass.clone());
        assert!(!pass.has_refused());
        assert_eq!(next(&mut body), None);
        assert!(pass.has_refused() && departure.prevent());

        let pass = Pass::new(|| true);
        let (mut body, departure) = watched(b"abc".to_vec(), pass.clone());
        assert_eq!(next(&mut body), Some(b"abc".to_vec()));
        assert!(!pass.has_refused() && !departure.prevent());
    }
}
