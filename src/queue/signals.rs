//! What callers and worker tell each other by flags, and what is counted at the door.

use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::line::InvalidEventToken;
use crate::stats::DropReason;

/// Read by all threads, written seldom.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Signals {
    pub(super) closed: AtomicBool,
    /// The worker was closed on its own thread, or on one that it waits for.
    pub(super) closed_without_wait: AtomicBool,
    /// There are tags in `left_out`.
    pub(super) left_out: AtomicBool,
    /// The worker's end of the queue was dropped.
    pub(super) abandoned: AtomicBool,
    /// The worker sleeps without ticks, and was not woken since.
    pub(super) parked: AtomicBool,
    /// The worker was woken for a half full queue, and has not seen it yet.
    pub(super) rung: AtomicBool,
    /// Room is tight: look at the budget with each line. Said by callers, and taken back by the worker,
    /// who makes the room.
    pub(super) tight: AtomicBool,
    /// A line was refused: check for room before packing the next one. It is only a hint, so a wrong
    /// value is harmless.
    pub(super) full: AtomicBool,
    /// Callers that wait for room.
    pub(super) waiters: AtomicU64,
    /// The app has asked something of the worker.
    pub(super) asked: AtomicBool,
    /// The guard was dropped before there was anything to deliver: the worker goes on without it.
    pub(super) unguarded: AtomicBool,
    /// The layer is gone, so no more lines come.
    pub(super) layer_gone: AtomicBool,
    /// Two layers of this crate take the same spans.
    pub(super) shared_spans: AtomicBool,
    /// A line was refused since the worker is closed.
    pub(super) missed_worker: AtomicBool,
}

/// Lines refused at the door, by reason.
#[derive(Default)]
pub(super) struct Refused {
    pub(super) queue_full: AtomicU64,
    pub(super) budget_spent: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) token_share: AtomicU64,
}

/// Event tokens that could not be used, by reason. The worker reports each reason once.
#[derive(Default)]
pub(super) struct Unusable {
    pub(super) empty: AtomicU64,
    pub(super) too_long: AtomicU64,
    pub(super) control_character: AtomicU64,
    pub(super) redacted: AtomicU64,
}

impl Refused {
    pub(super) fn counter(&self, reason: DropReason) -> Option<&AtomicU64> {
        match reason {
            DropReason::QueueFull => Some(&self.queue_full),
            DropReason::BudgetSpent => Some(&self.budget_spent),
            DropReason::Closed => Some(&self.closed),
            DropReason::TokenShare => Some(&self.token_share),
            _ => None,
        }
    }
}

impl Unusable {
    pub(super) fn counter(&self, why: InvalidEventToken) -> &AtomicU64 {
        match why {
            InvalidEventToken::Empty => &self.empty,
            InvalidEventToken::TooLong => &self.too_long,
            InvalidEventToken::ControlCharacter => &self.control_character,
            InvalidEventToken::Redacted => &self.redacted,
        }
    }
}
