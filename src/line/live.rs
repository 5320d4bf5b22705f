//! What is alive, in one word that every event reads: spans with the token field, tags, and callsites with
//! the token field.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// Counts what could make an event a line. In most apps it is zero most of the time, and then an event costs
/// one load.
///
/// On a cache line of its own: written when tagged spans come and go, read by every event.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Alive {
    word: AtomicU64,
    /// How often a token or a portal was recorded: what is remembered of spans may be wrong then.
    changes: AtomicU64,
}

// What each event and each new span asks for is in the lower half: a constant of 32 bits is part of the
// instruction that compares it.

/// Spans that declare the token field, tagged or not yet. Bits 0 to 28.
const SLOT: u64 = 1;
const SLOTS: u64 = (1 << 29) - 1;
/// The filter of the layer has left a note on some thread, which the next event or span takes away.
const NOTED: u64 = 1 << 29;
/// Some span callsite declares the token field.
const SPANS_DECLARE: u64 = 1 << 30;
/// Some event callsite declares the token field.
const EVENTS_DECLARE: u64 = 1 << 31;
/// Tags: of spans (also those that they may get), of lines that wait, of lines that the worker holds.
/// Bits 32 to 63.
const TAG: u64 = 1 << 32;

impl Alive {
    /// One per queue, for the life of the process. These 128 bytes are never freed, so tagged spans need no
    /// reference counts for them (about 5 % of their cost).
    pub(crate) fn new() -> &'static Alive {
        Box::leak(Box::default())
    }

    /// Relaxed is enough: a span around an event was created before the event, on this thread or on one that
    /// passed the span on, so its count is visible.
    #[inline]
    pub(crate) fn read(&self) -> Seen {
        Seen(self.word.load(Relaxed))
    }

    pub(crate) fn note_span_callsite(&self) {
        self.note(SPANS_DECLARE);
    }

    pub(crate) fn note_event_callsite(&self) {
        self.note(EVENTS_DECLARE);
    }

    /// The filter of the layer is asked about something that it hides, and notes that on the thread. From
    /// then on each span and event looks for such a note, because nobody knows when the last one is gone.
    pub(crate) fn expect_filter_notes(&self) {
        self.note(NOTED);
    }

    /// Reads first and writes only if necessary: if another layer decides per event, this is called for each
    /// event.
    fn note(&self, bit: u64) {
        if self.word.load(Relaxed) & bit == 0 {
            self.word.fetch_or(bit, Relaxed);
        }
    }

    /// A token or a portal was recorded, and can be found.
    pub(crate) fn note_change(&self) {
        self.changes.fetch_add(1, SeqCst);
    }

    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(SeqCst)
    }

    /// Whether a line may come, or waits. Ordered against the worker's intention to sleep (see `queue`).
    pub(crate) fn lines_may_come(&self) -> bool {
        self.word.load(SeqCst) >= TAG
    }
}

/// One reading of [`Alive`].
#[derive(Clone, Copy)]
pub(crate) struct Seen(u64);

impl Seen {
    /// Whether the layer has something to do for an event.
    #[inline]
    pub(crate) fn concerns_events(self) -> bool {
        self.0 & (EVENTS_DECLARE | NOTED | SLOTS) != 0
    }

    /// Whether the layer has something to do for a new span.
    #[inline]
    pub(crate) fn concerns_spans(self) -> bool {
        self.0 & (SPANS_DECLARE | NOTED | SLOTS) != 0
    }

    /// Whether there may be a note of the filter on this thread.
    #[inline]
    pub(crate) fn has_filter_notes(self) -> bool {
        self.0 & NOTED != 0
    }

    /// Whether an event may be a line now.
    #[inline]
    pub(crate) fn event_may_be_ours(self) -> bool {
        self.0 & (EVENTS_DECLARE | SLOTS) != 0
    }

    /// Whether a new span may be tagged now, or inside of one that may be.
    #[inline]
    pub(crate) fn span_may_be_ours(self) -> bool {
        self.0 & (SPANS_DECLARE | SLOTS) != 0
    }

    /// Some event may have a token itself.
    #[inline]
    pub(crate) fn events_declare(self) -> bool {
        self.0 & EVENTS_DECLARE != 0
    }

    #[inline]
    pub(crate) fn has_slots(self) -> bool {
        self.0 & SLOTS != 0
    }
}

/// Counts its owner as alive for as long as it exists.
pub(crate) struct Live {
    /// `None`: counted nowhere.
    alive: Option<&'static Alive>,
    units: u64,
}

impl Live {
    pub(crate) fn slot(alive: &'static Alive) -> Live {
        Live::units(alive, SLOT)
    }

    pub(crate) fn tag(alive: &'static Alive) -> Live {
        Live::units(alive, TAG)
    }

    /// Both in one addition: a span that has its token from the start.
    #[inline]
    pub(crate) fn tagged_span(alive: &'static Alive) -> Live {
        Live::units(alive, SLOT + TAG)
    }

    #[cfg(test)]
    pub(crate) fn none() -> Live {
        Live { alive: None, units: 0 }
    }

    #[inline]
    fn units(alive: &'static Alive, units: u64) -> Live {
        alive.word.fetch_add(units, SeqCst);
        Live { alive: Some(alive), units }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(alive) = self.alive {
            alive.word.fetch_sub(self.units, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_tags_and_callsites_do_not_mix() {
        let alive = Alive::new();
        let concerns = || [alive.read().concerns_events(), alive.read().concerns_spans()];
        assert_eq!(concerns(), [false, false]);
        let tag = Live::tag(alive);
        assert_eq!(concerns(), [false, false], "a line that waits makes no event ours");
        assert!(alive.lines_may_come());
        let slot = Live::slot(alive);
        assert!(alive.read().event_may_be_ours() && alive.read().has_slots());
        drop((slot, tag));
        let span = Live::tagged_span(alive);
        assert!(alive.read().has_slots() && alive.lines_may_come());
        drop(span);
        alive.expect_filter_notes();
        assert_eq!(concerns(), [true, true]);
        assert!(alive.read().has_filter_notes());
        assert!(!alive.read().event_may_be_ours() && !alive.read().span_may_be_ours());
        alive.note_span_callsite();
        assert!(!alive.read().event_may_be_ours() && alive.read().span_may_be_ours());
        alive.note_event_callsite();
        assert!(alive.read().event_may_be_ours() && alive.read().events_declare());
        assert!(!alive.lines_may_come() && !alive.read().has_slots());
    }
}
