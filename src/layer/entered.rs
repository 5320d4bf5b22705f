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

/// Notes that the thread has entered a span.
#[inline]
pub(super) fn enter(layer: LayerId, id: &Id) {
    let _ = ENTERED.try_with(|entered| entered.enter(layer.0, id.into_u64()));
}

/// Notes that the thread has left a span.
#[inline]
pub(super) fn exit(layer: LayerId, id: &Id) {
    let _ = ENTERED.try_with(|entered| entered.exit(layer.0, id.into_u64()));
}

/// The thread's current span.
#[inline]
pub(super) fn current(layer: LayerId) -> Current {
    ENTERED.try_with(|entered| entered.current(layer.0)).unwrap_or(Current::Unknown)
}

/// Notes of the current span, if it has this id, that nothing of ours is in it until it is left.
pub(super) fn note_not_ours(layer: LayerId, id: u64) {
    let _ = ENTERED.try_with(|entered| entered.note_not_ours(layer.0, id));
}

thread_local! {
    /// No destructor and a constant start: it can be used until the thread's very end.
    static ENTERED: Entered = const { Entered::new() };
}

/// Spans that are entered deeper are counted, and looked up.
const PLACES: usize = 32;

struct Entered {
    /// Whose stack it is: a layer's number, or [`NOBODY`], or [`ASTRAY`].
    owner: Cell<usize>,
    /// Spans that are entered; those past [`PLACES`] have no place.
    len: Cell<usize>,
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

/// The stack is free. Nothing was entered.
const NOBODY: usize = usize::MAX;
/// A span was left of which it is not known whether it has a place. So spans are only counted, until all
/// are left.
const ASTRAY: usize = usize::MAX - 1;

impl Entered {
    const fn new() -> Entered {
        Entered {
            owner: Cell::new(NOBODY),
            len: Cell::new(0),
            others: Cell::new(0),
            ids: [const { Cell::new(0) }; PLACES],
            notes: [const { Cell::new(Note::Nothing) }; PLACES],
        }
    }

    #[inline]
    fn enter(&self, layer: usize, id: u64) {
        let len = self.len.get();
        if self.owner.get() == layer && len < PLACES {
            return self.push(len, id);
        }
        self.enter_otherwise(layer, id);
    }

    #[inline]
    fn push(&self, len: usize, id: u64) {
        if let (Some(place), Some(note)) = (self.ids.get(len), self.notes.get(len)) {
            place.set(id);
            note.set(Note::Nothing);
        }
        self.len.set(len + 1);
    }

    #[cold]
    #[inline(never)]
    fn enter_otherwise(&self, layer: usize, id: u64) {
        let (owner, len) = (self.owner.get(), self.len.get());
        if owner == layer || owner == ASTRAY {
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
        let last = self.len.get().wrapping_sub(1);
        let is_last = self.ids.get(last).is_some_and(|place| place.get() == id);
        if is_last && self.owner.get() == layer {
            return self.len.set(last);
        }
        self.exit_otherwise(layer, id);
    }

    #[cold]
    #[inline(never)]
    fn exit_otherwise(&self, layer: usize, id: u64) {
        let (owner, len) = (self.owner.get(), self.len.get());
        if owner == ASTRAY {
            self.len.set(len.saturating_sub(1));
            if len <= 1 {
                self.owner.set(NOBODY);
            }
        } else if owner != layer {
            self.others.set(self.others.get().saturating_sub(1));
        } else if let Some(place) = self.place_of(id, len) {
            if len > PLACES {
                // It may also be one of those without a place.
                self.owner.set(ASTRAY);
                self.len.set(len - 1 + self.others.take());
            } else {
                self.remove(place, len);
            }
        } else if len > PLACES {
            self.len.set(len - 1);
        }
    }

    /// The highest place of a span.
    fn place_of(&self, id: u64, len: usize) -> Option<usize> {
        self.ids.iter().take(len).rposition(|place| place.get() == id)
    }

    fn remove(&self, place: usize, len: usize) {
        for above in place + 1..len {
            self.ids[above - 1].set(self.ids[above].get());
            self.notes[above - 1].set(self.notes[above].get());
        }
        self.len.set(len - 1);
    }

    #[inline]
    fn current(&self, layer: usize) -> Current {
        let (owner, len) = (self.owner.get(), self.len.get());
        if owner != layer {
            return if owner == NOBODY { Current::NotOurs } else { Current::Unknown };
        }
        match self.notes.get(len.wrapping_sub(1)).map(Cell::get) {
            Some(Note::First) => Current::Span(self.ids[len - 1].get()),
            Some(Note::NotOurs) => Current::NotOurs,
            _ => self.judge(len),
        }
    }

    /// The highest span that is not in a place below, too.
    #[inline(never)]
    fn judge(&self, len: usize) -> Current {
        if len > PLACES {
            return Current::Unknown;
        }
        for place in (0..len).rev() {
            let (id, note) = (self.ids[place].get(), &self.notes[place]);
            if note.get() == Note::Nothing {
                let is_again = self.place_of(id, place).is_some();
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
            if let Some(place) = self.ids.iter().position(|place| place.get() == id) {
                self.notes[place].set(Note::NotOurs);
            }
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
            prop_assert!(known == looks || deepest > PLACES, "{known} of {looks} were known");
        }

        #[test]
        fn deep_stacks_are_right(steps in prop::collection::vec(step(1, 60), 0..400)) {
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
    fn spans_too_deep_for_a_place_are_looked_up_and_known_again_when_they_are_left() {
        let entered = Entered::new();
        let ids = 1..=2 * PLACES as u64;
        ids.clone().for_each(|id| entered.enter(0, id));
        assert_eq!(entered.current(0), Current::Unknown);
        ids.rev().take(PLACES).for_each(|id| entered.exit(0, id));
        assert_eq!(entered.current(0), Current::Span(PLACES as u64));
    }
}
