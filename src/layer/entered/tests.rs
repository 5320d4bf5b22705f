use proptest::prelude::*;

use super::*;

/// As the Registry has it: a span again in the stack is there as a duplicate.
#[derive(Default)]
struct Model(Vec<(u64, bool)>);

impl Model {
    fn enter(&mut self, id: u64) {
        let again = self.has(id);
        self.0.push((id, again));
    }

    fn has(&self, id: u64) -> bool {
        self.0.iter().any(|(other, _)| *other == id)
    }

    fn exit(&mut self, id: u64) {
        if let Some(place) = self.0.iter().rposition(|(other, _)| *other == id) {
            self.0.remove(place);
        }
    }

    fn current(&self) -> Option<u64> {
        self.0.iter().rev().find(|(_, again)| !again).map(|(id, _)| *id)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter(u64),
    Exit(u64),
    ExitLast,
    /// The layer asks for the current span.
    Look,
    /// The layer asks while the Registry has entered a span, or left one, and the layer has not been told.
    LookWhileEntering(u64),
    LookWhileLeaving,
    Wake,
    Rest,
}

fn step(ids: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..=ids).prop_map(Step::Enter),
        4 => (1..=ids).prop_map(Step::Exit),
        6 => Just(Step::ExitLast),
        8 => Just(Step::Look),
        1 => (1..=ids).prop_map(Step::LookWhileEntering),
        1 => Just(Step::LookWhileLeaving),
        1 => Just(Step::Wake),
        1 => Just(Step::Rest),
    ]
}

/// A layer with its Registry, on one thread.
struct Rig<'a> {
    stacks: Stacks,
    registry: Model,
    entered: &'a Entered,
    /// Current spans that were known without the Registry's answer, and all.
    known: usize,
    looks: usize,
}

/// Nothing of ours is in these.
fn is_ours(id: u64) -> bool {
    !id.is_multiple_of(3)
}

impl Rig<'_> {
    fn new(layer: usize, entered: &Entered) -> Rig<'_> {
        let stacks = Stacks::unused(LayerId(layer));
        stacks.start();
        Rig { stacks, registry: Model::default(), entered, known: 0, looks: 0 }
    }

    fn period(&self) -> u64 {
        self.stacks.period.load(Relaxed)
    }

    fn enter(&mut self, id: u64) {
        self.registry.enter(id);
        self.told_of_enter(id);
    }

    fn told_of_enter(&self, id: u64) {
        match self.period() {
            AT_REST => self.entered.add_depth(1),
            period => self.entered.enter(period, id),
        }
    }

    fn exit(&mut self, id: u64) {
        // No thread leaves what it has not entered.
        if self.registry.has(id) {
            self.registry.exit(id);
            self.told_of_exit(id);
        }
    }

    fn told_of_exit(&self, id: u64) {
        match self.period() {
            AT_REST => self.entered.add_depth(-1),
            period => self.entered.exit(period, id),
        }
    }

    /// What the layer does for an event. `is_told`: of all that the Registry has done.
    fn look(&mut self, is_told: bool) -> Result<(), TestCaseError> {
        if self.period() == AT_REST {
            return Ok(());
        }
        let (known, current) = (self.entered.current(self.period()), self.registry.current());
        self.looks += 1;
        self.known += usize::from(known != Current::Unsure);
        match known {
            Current::Unknown => prop_assert!(false, "the layer has stacks"),
            Current::Unsure => {
                if let Some(id) = current {
                    self.entered.note_current(self.period(), id);
                    self.note_if_not_ours(id);
                }
            }
            Current::Span(id) => {
                prop_assert!(!is_told || current == Some(id), "{current:?} and not {id}");
                self.note_if_not_ours(id);
            }
            Current::NotOurs => {
                prop_assert!(!is_told || !current.is_some_and(is_ours), "{current:?} is ours");
            }
        }
        Ok(())
    }

    fn note_if_not_ours(&self, id: u64) {
        if !is_ours(id) {
            self.entered.note_not_ours(self.period(), id);
        }
    }

    fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Enter(id) => self.enter(id),
            Step::Exit(id) => self.exit(id),
            Step::ExitLast => {
                if let Some(&(id, _)) = self.registry.0.last() {
                    self.exit(id);
                }
            }
            Step::Look => self.look(true)?,
            Step::LookWhileEntering(id) => {
                self.registry.enter(id);
                self.look(false)?;
                self.told_of_enter(id);
            }
            Step::LookWhileLeaving => {
                if let Some(&(id, _)) = self.registry.0.last() {
                    self.registry.exit(id);
                    self.look(false)?;
                    self.told_of_exit(id);
                }
            }
            Step::Wake => self.stacks.wake(),
            Step::Rest => self.stacks.period.store(AT_REST, Relaxed),
        }
        Ok(())
    }
}

/// Whatever is known is right, for any order of spans that are entered and left, and of periods.
fn check(layers: usize, steps: Vec<(usize, Step)>) -> Result<(), TestCaseError> {
    let entered = Entered::new();
    let mut rigs: Vec<_> = (0..layers).map(|layer| Rig::new(layer, &entered)).collect();
    for (layer, step) in steps {
        rigs[layer].run(step)?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_known_of_the_stack_is_the_registrys(
        steps in prop::collection::vec((Just(0), step(6)), 0..120),
    ) {
        check(1, steps)?;
    }

    #[test]
    fn deep_stacks_are_right(steps in prop::collection::vec((Just(0), step(90)), 0..600)) {
        check(1, steps)?;
    }

    #[test]
    fn the_stacks_of_several_layers_are_not_mixed_up(
        steps in prop::collection::vec((0..3_usize, step(5)), 0..200),
    ) {
        check(3, steps)?;
    }

    /// Also of spans that are entered twice, or left in another order.
    #[test]
    fn in_one_period_that_begins_outside_of_all_spans_everything_is_known(
        steps in prop::collection::vec(step(6), 0..60),
    ) {
        let entered = Entered::new();
        let mut rig = Rig::new(0, &entered);
        rig.stacks.wake();
        for step in steps {
            if !matches!(step, Step::Rest) {
                rig.run(step)?;
            }
        }
        prop_assert_eq!(rig.known, rig.looks);
    }
}

#[test]
fn the_registry_is_asked_once_for_each_place_while_spans_of_before_the_period_are_entered() {
    let entered = Entered::new();
    let mut rig = Rig::new(0, &entered);
    let asked = |rig: &mut Rig<'_>| {
        let before = rig.looks - rig.known;
        (0..4).for_each(|_| rig.look(true).unwrap());
        rig.looks - rig.known - before
    };
    rig.enter(1);
    rig.stacks.wake();
    assert_eq!(asked(&mut rig), 1, "in a span that was entered before");
    for _ in 0..3 {
        rig.enter(2);
        assert_eq!(asked(&mut rig), 1, "in each that is entered inside");
        rig.exit(2);
        assert_eq!(asked(&mut rig), 0, "back in the span around");
    }
    rig.exit(1);
    rig.enter(2);
    assert_eq!(asked(&mut rig), 0, "nothing is below any more");
}

#[test]
fn a_span_that_is_not_ours_is_known_until_it_is_left() {
    let (entered, period) = (Entered::new(), 1 << 32);
    let enter = |id| entered.enter(period, id);
    let exit = |id| entered.exit(period, id);
    enter(7);
    enter(8);
    entered.note_not_ours(period, 7);
    assert_eq!(entered.current(period), Current::Span(8), "it is not the current span");
    entered.note_not_ours(period, 8);
    assert_eq!(entered.current(period), Current::NotOurs);
    exit(7);
    assert_eq!(entered.current(period), Current::NotOurs, "the note moves with its span");
    exit(8);
    enter(8);
    assert_eq!(entered.current(period), Current::Span(8));
}

#[test]
fn what_is_not_ours_is_noted_of_the_current_span_and_not_of_one_that_is_entered_again() {
    let entered = Entered::new();
    let mut rig = Rig::new(0, &entered);
    rig.stacks.wake();
    for id in [1, 3, 1] {
        rig.enter(id);
    }
    assert_eq!(entered.current(rig.period()), Current::Span(3));
    rig.note_if_not_ours(3);
    assert_eq!(entered.current(rig.period()), Current::NotOurs);
    rig.exit(3);
    assert_eq!(entered.current(rig.period()), Current::Span(1));
}

#[test]
fn a_layer_that_is_not_told_of_all_spans_knows_nothing_and_affects_no_other() {
    let (filtered, other) = (Stacks::unused(LayerId(0)), Stacks::unused(LayerId(1)));
    other.start();
    other.wake();
    filtered.wake();
    filtered.enter(&Id::from_u64(7));
    assert_eq!(filtered.current(), Current::Unknown);
    other.enter(&Id::from_u64(8));
    filtered.exit(&Id::from_u64(9));
    assert_eq!(filtered.current(), Current::Unknown);
    assert_eq!(other.current(), Current::Span(8));
    other.exit(&Id::from_u64(8));
    assert_eq!(other.current(), Current::NotOurs);
}

#[test]
fn a_period_ends_when_spans_are_made_and_none_is_ours() {
    let stacks = Stacks::unused(LayerId(2));
    stacks.start();
    let is_at_rest = || stacks.period.load(Relaxed) == AT_REST;
    assert!(is_at_rest());
    for _ in 0..2 {
        stacks.wake();
        (0..PATIENCE).for_each(|_| stacks.idle());
        assert!(!is_at_rest());
        stacks.idle();
        assert!(is_at_rest());
        stacks.enter(&Id::from_u64(5));
        assert_eq!(stacks.current(), Current::Unsure);
        assert!(!is_at_rest(), "the first event begins another period");
        stacks.note_current(&Id::from_u64(5));
        assert_eq!(stacks.current(), Current::Span(5));
        stacks.exit(&Id::from_u64(5));
        (0..=PATIENCE).for_each(|_| stacks.idle());
        assert!(is_at_rest());
    }
}
