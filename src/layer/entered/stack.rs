//! The stack of one thread.

use std::cell::Cell;

use super::{Current, UNUSED};

/// If more spans have places, all of them lose these, and are below.
const DEEPEST: usize = 63;

/// Place 0 is for what is below.
const PLACES: usize = DEEPEST + 1;

// The spans that were entered are those that are below, and on top of them those in places 1 to `len`.
#[repr(C, align(64))]
pub(super) struct Entered {
    /// Of which period the places are; 0 if there was none.
    period: Cell<u64>,
    len: Cell<usize>,
    /// How many spans are entered, with a place or without, under all layers that are told of all of them.
    /// So if it is `len`, nothing is below.
    depth: Cell<usize>,
    places: [Place; PLACES],
}

/// A span that was entered. At place 0: the one that is current if no span with a place is.
struct Place {
    id: Cell<u64>,
    note: Cell<Note>,
}

/// What is known of a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Note {
    Nothing,
    /// The span is current, if no place above has a current one.
    First,
    /// The span has a place below, too. So it is not the current one.
    Again,
    /// As `First`, and nothing of ours is in it.
    NotOurs,
}

impl Entered {
    pub(super) const fn new() -> Entered {
        Entered {
            period: Cell::new(0),
            len: Cell::new(0),
            depth: Cell::new(0),
            places: [const { Place { id: Cell::new(0), note: Cell::new(Note::Nothing) } }; PLACES],
        }
    }

    #[inline]
    pub(super) fn add_depth(&self, change: isize) {
        self.depth.set(self.depth.get().wrapping_add_signed(change));
    }

    /// In a period. Or the layer has no stacks: then this does nothing.
    #[inline]
    pub(super) fn enter(&self, period: u64, id: u64) {
        let len = self.len.get();
        if self.period.get() == period && len < DEEPEST {
            self.add_depth(1);
            self.push(len, id);
        } else {
            self.enter_otherwise(period, id);
        }
    }

    #[inline]
    fn push(&self, len: usize, id: u64) {
        let place = &self.places[(len + 1) % PLACES];
        place.id.set(id);
        // The only one: as most often with a future that is polled.
        place.note.set(if self.depth.get() == 1 { Note::First } else { Note::Nothing });
        self.len.set(len + 1);
    }

    #[cold]
    #[inline(never)]
    fn enter_otherwise(&self, period: u64, id: u64) {
        if period == UNUSED {
            return;
        }
        // Before the span was entered.
        let depth = self.depth.get();
        self.add_depth(1);
        if self.period.get() == period || self.may_be_of(period, depth) {
            self.begin(period);
            self.push(0, id);
        }
    }

    /// Whether another period may have the stack: one of the same layer, or if no span has a place.
    fn may_be_of(&self, period: u64, depth: usize) -> bool {
        self.period.get() >> 32 == period >> 32 || self.len.get() == 0 || depth == 0
    }

    /// All spans that are entered are below.
    fn begin(&self, period: u64) {
        self.period.set(period);
        self.len.set(0);
        self.forget_below();
    }

    fn forget_below(&self) {
        self.places[0].id.set(0);
        self.places[0].note.set(Note::Nothing);
    }

    /// As [`enter`](Self::enter).
    #[inline]
    pub(super) fn exit(&self, period: u64, id: u64) {
        let len = self.len.get();
        let last = self.places[len % PLACES].id.get();
        if self.period.get() == period && last == id && self.places[0].id.get() != id {
            self.add_depth(-1);
            self.len.set(len - 1);
        } else {
            self.exit_otherwise(period, id);
        }
    }

    #[cold]
    #[inline(never)]
    fn exit_otherwise(&self, period: u64, id: u64) {
        if period == UNUSED {
            return;
        }
        self.add_depth(-1);
        if self.period.get() != period {
            return;
        }
        let len = self.len.get();
        if let Some(left) = self.place_of(id, len) {
            for place in left..len {
                let (place, next) = (&self.places[place], &self.places[place + 1]);
                place.id.set(next.id.get());
                place.note.set(next.note.get());
            }
            self.len.set(len - 1);
            // Perhaps the span was noted as the one below when it was entered, but had no place yet.
            if self.places[0].id.get() == id {
                self.forget_below();
            }
        } else {
            self.forget_below();
        }
    }

    /// The highest place of a span, up to this one.
    fn place_of(&self, id: u64, last: usize) -> Option<usize> {
        (1..=last).rev().find(|place| self.places[*place].id.get() == id)
    }

    #[inline]
    pub(super) fn current(&self, period: u64) -> Current {
        if self.period.get() != period {
            return self.current_otherwise(period);
        }
        let place = &self.places[self.len.get() % PLACES];
        match place.note.get() {
            Note::First => Current::Span(place.id.get()),
            Note::NotOurs => Current::NotOurs,
            Note::Again | Note::Nothing => self.judge(),
        }
    }

    #[cold]
    fn current_otherwise(&self, period: u64) -> Current {
        if self.may_be_of(period, self.depth.get()) {
            self.begin(period);
            return self.judge();
        }
        Current::Unsure
    }

    /// Looks for the highest place that the current span can have.
    #[inline(never)]
    fn judge(&self) -> Current {
        let nothing_is_below = self.depth.get() == self.len.get();
        for at in (0..=self.len.get()).rev() {
            let place = &self.places[at];
            if place.note.get() == Note::Nothing {
                match at {
                    0 if nothing_is_below => place.note.set(Note::NotOurs),
                    0 => {}
                    _ if self.place_of(place.id.get(), at - 1).is_some() => {
                        place.note.set(Note::Again)
                    }
                    _ if nothing_is_below => place.note.set(Note::First),
                    _ => {}
                }
            }
            match place.note.get() {
                Note::Again => {}
                Note::Nothing => return Current::Unsure,
                Note::First => return Current::Span(place.id.get()),
                Note::NotOurs => return Current::NotOurs,
            }
        }
        Current::Unsure
    }

    /// If the place in question has another span, nothing is noted: the span may be below, too. Or the
    /// Registry has entered or left a span already, and this layer is told afterwards.
    pub(super) fn note_current(&self, period: u64, id: u64) {
        if self.period.get() != period {
            return;
        }
        let in_question = self.highest_not_again();
        let place = &self.places[in_question];
        if place.note.get() == Note::Nothing && (in_question == 0 || place.id.get() == id) {
            place.id.set(id);
            place.note.set(Note::First);
        }
    }

    fn highest_not_again(&self) -> usize {
        let is_again = |at: &usize| self.places[*at].note.get() == Note::Again;
        (1..=self.len.get()).rev().find(|at| !is_again(at)).unwrap_or(0)
    }

    #[cold]
    pub(super) fn note_not_ours(&self, period: u64, id: u64) {
        if self.period.get() == period && self.current(period) == Current::Span(id) {
            self.places[self.highest_not_again()].note.set(Note::NotOurs);
        }
    }
}
