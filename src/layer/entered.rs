//! The spans that a thread has entered, in the order that the Registry keeps them in.
//!
//! The Registry tells the current span only through a look-up of that span, and then its data through a
//! second one. So the layer keeps a stack of its own: ids, without any reference to a span. It does what
//! the Registry's does: a span that is entered again while it is entered does not become the current
//! one, and a span may be left before one that was entered later.
//!
//! While no tagged span is alive, the layer is at rest, and spans are only counted. A tagged span begins a
//! period, in which spans get places on the stack. Places of an earlier period are not valid, because spans
//! may have been left in between. So there may be spans below the places, which the stack does not know:
//! those that were entered before. If there are none, the count shows it. Otherwise a span that has a place
//! may be below, too, and the Registry is asked once for each place.
//!
//! A thread has one stack, of one layer. With several layers in a process, the others ask the Registry.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use tracing_core::span::Id;

use super::scope::LayerId;

mod stack;

use stack::Entered;

/// What the layer knows of the calling thread's current span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Current {
    /// The layer has no stacks.
    Unknown,
    /// The Registry knows it. [`Stacks::note_current`] takes its answer.
    Unsure,
    /// There is none, or nothing of ours is in it, nor will be.
    NotOurs,
    /// The span with this id.
    Span(u64),
}

/// A layer's part of the stacks of all threads.
pub(super) struct Stacks {
    layer: LayerId,
    /// The number of a period, or [`UNUSED`], or [`AT_REST`]. Numbers are used once: the upper half is the
    /// layer's, the lower half counts.
    period: AtomicU64,
    /// Spans that were made in the period while none was alive that may be tagged.
    idle: AtomicU32,
}

/// In place of a period: the layer is not told of all spans, and has no stacks.
const UNUSED: u64 = 1;

/// In place of a period: the layer is at rest.
const AT_REST: u64 = 2;

/// A period ends after so many spans that were made while none was alive that may be tagged. Not at once,
/// because in a busy process the next one comes soon.
const PATIENCE: u32 = if cfg!(test) { 3 } else { 100 };

impl Stacks {
    /// Of a layer that is not told of all spans.
    pub(super) const fn unused(layer: LayerId) -> Stacks {
        Stacks { layer, period: AtomicU64::new(UNUSED), idle: AtomicU32::new(0) }
    }

    /// The layer is told of each span that is entered or left, from the first one on.
    pub(super) fn start(&self) {
        self.period.store(AT_REST, Relaxed);
    }

    #[cfg(test)]
    pub(super) fn are_used(&self) -> bool {
        self.period.load(Relaxed) != UNUSED
    }

    /// A span that may be tagged is being made.
    #[inline]
    pub(super) fn wake(&self) {
        if self.period.load(Relaxed) == AT_REST {
            self.begin();
        }
    }

    /// Begins a period, unless another thread has done so. Returns the period.
    #[cold]
    fn begin(&self) -> u64 {
        static BEGUN: AtomicU32 = AtomicU32::new(0);
        self.idle.store(0, Relaxed);
        let new = (self.layer.0 as u64 + 1) << 32 | u64::from(BEGUN.fetch_add(1, Relaxed));
        self.period.compare_exchange(AT_REST, new, Relaxed, Relaxed).map_or_else(|now| now, |_| new)
    }

    /// A span was made that is not ours, while no span that may be tagged is alive.
    #[inline]
    pub(super) fn idle(&self) {
        let period = self.period.load(Relaxed);
        if period > AT_REST {
            self.end_if_idle(period);
        }
    }

    #[cold]
    fn end_if_idle(&self, period: u64) {
        if self.idle.fetch_add(1, Relaxed) >= PATIENCE {
            // If a span that may be tagged comes meanwhile, its first event begins a period.
            let _was = self.period.compare_exchange(period, AT_REST, Relaxed, Relaxed);
        }
    }

    /// The thread has entered a span.
    #[inline]
    pub(super) fn enter(&self, id: &Id) {
        let period = self.period.load(Relaxed);
        let _ = ENTERED.try_with(|entered| match period == AT_REST {
            true => entered.add_depth(1),
            false => entered.enter(period, id.into_u64()),
        });
    }

    /// The thread has left a span.
    #[inline]
    pub(super) fn exit(&self, id: &Id) {
        let period = self.period.load(Relaxed);
        let _ = ENTERED.try_with(|entered| match period == AT_REST {
            true => entered.add_depth(-1),
            false => entered.exit(period, id.into_u64()),
        });
    }

    /// The thread's current span.
    #[inline]
    pub(super) fn current(&self) -> Current {
        let mut period = self.period.load(Relaxed);
        if period <= AT_REST {
            if period == UNUSED {
                return Current::Unknown;
            }
            period = self.begin();
        }
        ENTERED.try_with(|entered| entered.current(period)).unwrap_or(Current::Unknown)
    }

    /// Notes the current span, which was [`Current::Unsure`]. The Registry says that it has this id.
    pub(super) fn note_current(&self, id: &Id) {
        let period = self.period.load(Relaxed);
        let _ = ENTERED.try_with(|entered| entered.note_current(period, id.into_u64()));
    }

    /// Notes of the current span, if it has this id, that nothing of ours is in it until it is left.
    #[cold]
    pub(super) fn note_not_ours(&self, id: u64) {
        let period = self.period.load(Relaxed);
        let _ = ENTERED.try_with(|entered| entered.note_not_ours(period, id));
    }
}

thread_local! {
    /// No destructor and a constant start: it can be used until the thread's very end.
    static ENTERED: Entered = const { Entered::new() };
}

#[cfg(test)]
mod tests;
