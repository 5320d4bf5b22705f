//! What the tests of this crate hear of lost lines: each loss, when the ledger counts it. Without such a test this
//! does nothing.
//!
//! A worker and its test are on one thread, so that a test can say whether a loss came before a request.

use crate::line::Fingerprint;
use crate::stats::DropReason;

/// Lines of a token were counted as lost. Some of them may be 0 lines: an entry that holds only a notice.
#[cfg(feature = "simulation")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) token: Fingerprint,
    pub(crate) lines: u64,
    pub(crate) reason: DropReason,
    /// They were refused at the door, and the worker learns it.
    pub(crate) at_door: bool,
}

/// Lines are counted as lost.
#[inline]
pub(crate) fn lost(token: Fingerprint, lines: u64, reason: DropReason) {
    note(token, lines, reason, false);
}

/// The worker learns of lines that were refused at the door.
#[inline]
pub(crate) fn refused(token: Fingerprint, lines: u64, reason: DropReason) {
    note(token, lines, reason, true);
}

#[inline]
fn note(token: Fingerprint, lines: u64, reason: DropReason, at_door: bool) {
    #[cfg(feature = "simulation")]
    recorded::LOSSES.with_borrow_mut(|losses| {
        if let Some(losses) = losses {
            losses.push(Loss { token, lines, reason, at_door });
        }
    });
    #[cfg(not(feature = "simulation"))]
    let _ = (token, lines, reason, at_door);
}

#[cfg(feature = "simulation")]
mod recorded {
    use std::cell::RefCell;

    use super::Loss;

    thread_local! {
        /// `None`: nobody listens.
        pub(super) static LOSSES: RefCell<Option<Vec<Loss>>> = const { RefCell::new(None) };
    }

    /// From now on losses on this thread are recorded.
    pub(crate) fn listen() {
        LOSSES.set(Some(Vec::new()));
    }

    /// The losses since the last call.
    pub(crate) fn losses() -> Vec<Loss> {
        LOSSES.with_borrow_mut(|losses| losses.as_mut().map(std::mem::take).unwrap_or_default())
    }
}

#[cfg(feature = "simulation")]
pub(crate) use recorded::{listen, losses};
