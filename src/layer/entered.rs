//! The spans that a thread has entered, in the order that the Registry keeps them in.
//!
//! The Registry tells the current span only through a look-up of that span, and then its data through a
//! second one. So the layer keeps a stack of its own: ids, without any reference to a span. It does what
//! the Registry's does: a span that is entered again while it is entered does not become the current
//! one, and a span may be left before one that was entered later.
//!
//! The stack is written also while no tagged span is alive, which is some stores for each span that is
//! entered. So it is always complete: a stack that begins in the middle would not know whether a span is
//! entered for the second time.
//!
//! A thread has one stack, of one layer. With several layers in a process, the others look spans up.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracing_core::span::Id;

use super::scope::LayerId;

/// What the layer knows of the calling thread's current span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Current {
    /// Only a look-up tells.
    Unknown,
    /// There is none, or nothing of ours is in it, nor will be.
    NotOurs,
    /// The span with this id.
    Span(u64),
}

/// A layer's part of the stacks of all threads.
pub(super) struct Stacks {
    /// The layer's number, or [`NO_LAYER`].
    layer: AtomicUsize,
}

impl Stacks {
    /// Of a layer that is not told of all spans.
    pub(super) const fn unused() -> Stacks {
        Stacks { layer: AtomicUsize::new(NO_LAYER) }
    }

    /// The layer is told of each span that is entered or left, from the first one on.
    pub(super) fn use_for(&self, layer: LayerId) {
        self.layer.store(layer.0, Relaxed);
    }

    #[cfg(test)]
    pub(super) fn are_used(&self) -> bool {
        self.layer.load(Relaxed) != NO_LAYER
    }

    /// Notes that the thread has entered a span.
    #[inline]
    pub(super) fn enter(&self, id: &Id) {
        let layer = self.layer.load(Relaxed);
        let _ = ENTERED.try_with(|entered| entered.enter(layer, id.into_u64()));
    }

    /// Notes that the thread has left a span.
    #[inline]
    pub(super) fn exit(&self, id: &Id) {
        let layer = self.layer.load(Relaxed);
        let _ = ENTERED.try_with(|entered| entered.exit(layer, id.into_u64()));
    }

    /// The thread's current span.
    #[inline]
    pub(super) fn current(&self) -> Current {
        let layer = self.layer.load(Relaxed);
        ENTERED.try_with(|entered| entered.current(layer)).unwrap_or(Current::Unknown)
    }

    /// Notes of the current span, if it has this id, that nothing of ours is in it until it is left.
    #[cold]
    pub(super) fn note_not_ours(&self, id: u64) {
        let layer = self.layer.load(Relaxed);
        let _ = ENTERED.try_with(|entered| entered.note_not_ours(layer, id));
    }
}

thread_local! {
    /// No destructor and a constant start: it can be used until the thread's very end.
    static ENTERED: Entered = const { Entered::new() };
}

/// Spans that are entered deeper are counted, and looked up.
const DEEPEST: usize = 63;

/// Place 0 has no span, so that the last place can be read without a look at their number.
const PLACES: usize = DEEPEST + 1;

struct Entered {
    /// Whose stack it is: a layer's number, or one of those below.
    owner: Cell<usize>,
    /// Spans that are entered. Those deeper than [`DEEPEST`] have no place.
    len: Cell<usize>,
    /// Under which layer they are, where the owner is [`DEEP`].
    deep_owner: Cell<usize>,
    /// Spans that are entered under other layers than the owner.
    others: Cell<usize>,
    ids: [Cell<u64>; PLACES],
    notes: [Cell<Note>; PLACES],
}

/// What is known of a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Note {
    Nothing,
    /// The span is not in a place below.
    First,
    /// The span is in a place below, too. So it is not the current span.
    Again,
    /// As `First`, and nothing of ours is in it.
    NotOurs,
}

/// In place of a layer's number: it is not told of all spans, and has no stack.
const NO_LAYER: usize = usize::MAX;
/// In place of an owner: the stack is free. Nothing was entered.
const NOBODY: usize = usize::MAX - 1;
/// Not all of the spans have a place.
const DEEP: usize = usize::MAX - 2;
/// A span was left of which it is not known whether it had a place. So spans are only counted, until all
/// are left.
const ASTRAY: usize = usize::MAX - 3;

impl Entered {
    const fn new() -> Entered {
        Entered {
            owner: Cell::new(NOBODY),
            len: Cell::new(0),
            deep_owner: Cell::new(NOBODY),
            others: Cell::new(0),
            ids: [const { Cell::new(0) }; PLACES],
            notes: [const { Cell::new(Note::Nothing) }; PLACES],
        }
    }

    #[inline]
    fn enter(&self, layer: usize, id: u64) {
        let len = self.len.get();
        if self.owner.get() == layer && len < DEEPEST {
            return self.push(len, id);
        }
        self.enter_otherwise(layer, id);
    }

    #[inline]
    fn push(&self, len: usize, id: u64) {
        let place = (len + 1) % PLACES;
        self.ids[place].set(id);
        self.notes[place].set(Note::Nothing);
        self.len.set(len + 1);
    }

    #[cold]
    #[inline(never)]
    fn enter_otherwise(&self, layer: usize, id: u64) {
        let (owner, len) = (self.owner.get(), self.len.get());
        if layer == NO_LAYER {
            // Such a layer may not be told that the span is left, either.
        } else if owner == layer {
            self.owner.set(DEEP);
            self.deep_owner.set(layer);
            self.len.set(len + 1);
        } else if owner == ASTRAY || owner == DEEP && self.deep_owner.get() == layer {
            self.len.set(len + 1);
        } else if len == 0 && self.others.get() == 0 {
            self.owner.set(layer);
            self.push(0, id);
        } else {
            self.others.set(self.others.get() + 1);
        }
    }

    #[inline]
    fn exit(&self, layer: usize, id: u64) {
        let len = self.len.get();
        if self.owner.get() == layer && self.ids[len % PLACES].get() == id {
            return self.len.set(len - 1);
        }
        self.exit_otherwise(layer, id);
    }

    #[cold]
    #[inline(never)]
    fn exit_otherwise(&self, layer: usize, id: u64) {
        let (owner, len) = (self.owner.get(), self.len.get());
        if layer == NO_LAYER {
            // It was not noted that the span was entered.
        } else if owner == ASTRAY {
            self.len.set(len.saturating_sub(1));
            if len <= 1 {
                self.owner.set(NOBODY);
                self.len.set(0);
            }
        } else if owner == layer {
            if let Some(place) = self.place_of(id, len) {
                self.remove(place, len);
            }
        } else if owner != DEEP || self.deep_owner.get() != layer {
            self.others.set(self.others.get().saturating_sub(1));
        } else if self.place_of(id, DEEPEST).is_some() {
            // It may also be one of those without a place.
            self.owner.set(ASTRAY);
            self.len.set(len - 1 + self.others.take());
        } else {
            self.len.set(len - 1);
            if len - 1 == DEEPEST {
                self.owner.set(layer);
            }
        }
    }

    /// The highest place of a span, up to this one.
    fn place_of(&self, id: u64, last: usize) -> Option<usize> {
        (1..=last).rev().find(|place| self.ids[*place].get() == id)
    }

    fn remove(&self, place: usize, len: usize) {
        for place in place..len {
            self.ids[place].set(self.ids[place + 1].get());
            self.notes[place].set(self.notes[place + 1].get());
        }
        self.len.set(len - 1);
    }

    #[inline]
    fn current(&self, layer: usize) -> Current {
        if self.owner.get() != layer {
            return self.current_otherwise(layer);
        }
        let place = self.len.get() % PLACES;
        match self.notes[place].get() {
            Note::First => Current::Span(self.ids[place].get()),
            Note::NotOurs => Current::NotOurs,
            Note::Again | Note::Nothing => self.judge(place),
        }
    }

    #[cold]
    fn current_otherwise(&self, layer: usize) -> Current {
        match self.owner.get() {
            NOBODY if layer != NO_LAYER => Current::NotOurs,
            _ => Current::Unknown,
        }
    }

    /// The highest span, up to this place, that is not in a place below, too.
    #[inline(never)]
    fn judge(&self, last: usize) -> Current {
        for place in (1..=last).rev() {
            let (id, note) = (self.ids[place].get(), &self.notes[place]);
            if note.get() == Note::Nothing {
                let is_again = self.place_of(id, place - 1).is_some();
                note.set(if is_again { Note::Again } else { Note::First });
            }
            match note.get() {
                Note::Again | Note::Nothing => {}
                Note::First => return Current::Span(id),
                Note::NotOurs => return Current::NotOurs,
            }
        }
        Current::NotOurs
    }

    #[cold]
    fn note_not_ours(&self, layer: usize, id: u64) {
        if self.current(layer) == Current::Span(id) {
            // The one of this id that is not there again is the lowest.
            let place = (1..PLACES).find(|place| self.ids[*place].get() == id);
            place.into_iter().for_each(|place| self.notes[place].set(Note::NotOurs));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the Registry has it: a span again in the stack is there as a duplicate.
    #[derive(Default)]
    struct Model(Vec<(u64, bool)>);

    impl Model {
        fn enter(&mut self, id: u64) {
            let again = self.0.iter().any(|(other, _)| *other == id);
            self.0.push((id, again));
        }

        fn exit(&mut self, id: u64) {
            if let Some(place) = self.0.iter().rposition(|(other, _)| *other == id) {
                self.0.remove(place);
            }
        }

        fn current(&self) -> Current {
            let current = self.0.iter().rev().find(|(_, again)| !again);
            current.map_or(Current::NotOurs, |(id, _)| Current::Span(*id))
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Enter(usize, u64),
        Exit(usize, u64),
        ExitLast(usize),
        Look(usize),
    }

    fn step(layers: usize, ids: u64) -> impl Strategy<Value = Step> {
        let layer = 0..layers;
        prop_oneof![
            4 => (layer.clone(), 1..=ids).prop_map(|(layer, id)| Step::Enter(layer, id)),
            1 => (layer.clone(), 1..=ids).prop_map(|(layer, id)| Step::Exit(layer, id)),
            3 => layer.clone().prop_map(Step::ExitLast),
            4 => layer.prop_map(Step::Look),
        ]
    }

    /// Whatever is known is right, for any order of spans that were entered and are left.
    fn check(layers: usize, steps: Vec<Step>) -> Result<usize, TestCaseError> {
        let entered = Entered::new();
        let mut models: Vec<Model> = (0..layers).map(|_| Model::default()).collect();
        let mut known = 0;
        for step in steps {
            match step {
                Step::Enter(layer, id) => {
                    entered.enter(layer, id);
                    models[layer].enter(id);
                }
                Step::Exit(layer, id) => {
                    // No thread leaves what it has not entered.
                    if models[layer].0.iter().any(|(other, _)| *other == id) {
                        entered.exit(layer, id);
                        models[layer].exit(id);
                    }
                }
                Step::ExitLast(layer) => {
                    if let Some(&(id, _)) = models[layer].0.last() {
                        entered.exit(layer, id);
                        models[layer].exit(id);
                    }
                }
                Step::Look(layer) => {
                    let current = entered.current(layer);
                    if current != Current::Unknown {
                        prop_assert_eq!(current, models[layer].current());
                        known += 1;
                    }
                }
            }
        }
        Ok(known)
    }

    proptest! {
        #[test]
        fn the_stack_of_one_layer_is_the_registrys(
            steps in prop::collection::vec(step(1, 6), 0..120),
        ) {
            let looks = steps.iter().filter(|step| matches!(step, Step::Look(_))).count();
            let deepest = steps.iter().filter(|step| matches!(step, Step::Enter(..))).count();
            let known = check(1, steps)?;
            prop_assert!(known == looks || deepest > DEEPEST, "{known} of {looks} were known");
        }

        #[test]
        fn deep_stacks_are_right(steps in prop::collection::vec(step(1, 90), 0..600)) {
            check(1, steps)?;
        }

        #[test]
        fn the_stacks_of_several_layers_are_not_mixed_up(
            steps in prop::collection::vec(step(3, 4), 0..200),
        ) {
            check(3, steps)?;
        }
    }

    #[test]
    fn a_span_that_is_not_ours_is_known_until_it_is_left() {
        let entered = Entered::new();
        entered.enter(0, 7);
        entered.enter(0, 8);
        entered.note_not_ours(0, 7);
        assert_eq!(entered.current(0), Current::Span(8), "it is not the current span");
        entered.note_not_ours(0, 8);
        assert_eq!(entered.current(0), Current::NotOurs);
        entered.exit(0, 7);
        assert_eq!(entered.current(0), Current::NotOurs, "the note moves with its span");
        entered.exit(0, 8);
        entered.enter(0, 8);
        assert_eq!(entered.current(0), Current::Span(8));
    }

    #[test]
    fn a_layer_that_does_not_see_all_spans_remembers_nothing_and_affects_no_other() {
        let entered = Entered::new();
        assert_eq!(entered.current(NO_LAYER), Current::Unknown);
        entered.enter(NO_LAYER, 7);
        entered.enter(0, 8);
        entered.exit(NO_LAYER, 9);
        assert_eq!(entered.current(NO_LAYER), Current::Unknown);
        assert_eq!(entered.current(0), Current::Span(8));
    }

    #[test]
    fn spans_that_are_nested_too_deep_are_looked_up() {
        let entered = Entered::new();
        let ids = 1..=2 * DEEPEST as u64;
        ids.clone().for_each(|id| entered.enter(0, id));
        assert_eq!(entered.current(0), Current::Unknown);
        ids.rev().take(DEEPEST).for_each(|id| entered.exit(0, id));
        assert_eq!(entered.current(0), Current::Span(DEEPEST as u64));
    }
}
