//! What a thread remembers of its spans is what a look-up would find.
//!
//! Random programs run under several layers of one subscriber: some stand directly on it and remember, and
//! one is in a box and looks up each time. All have to deliver the same lines.

use std::sync::mpsc::{Receiver, Sender, channel};

use proptest::prelude::*;
use tracing::{Dispatch, Span};
use tracing_core::span::Id;
use tracing_subscriber::Registry;

use super::*;

/// What one of the threads does, with one of the spans.
#[derive(Clone, Copy, Debug)]
enum Step {
    Make(Kind, Parent),
    Enter,
    Exit,
    ExitLast,
    /// Drops the handle, also if some thread is in the span.
    Drop,
    DropAll,
    /// Makes spans that are not ours, until the layers are at rest if nothing is alive.
    Idle,
    RecordToken(bool),
    RecordPortal,
    RecordField,
    Event,
    EventIn,
    EventOutside,
    HiddenEvent,
    MarkedEvent,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Hidden,
    Tagged,
    Taggable,
}

#[derive(Clone, Copy, Debug)]
enum Parent {
    Current,
    Root,
    Of(usize),
}

const THREADS: usize = 3;
const SPANS: usize = 6;

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        Just(Kind::Plain),
        Just(Kind::Hidden),
        Just(Kind::Tagged),
        Just(Kind::Taggable)
    ];
    let parent = prop_oneof![
        4 => Just(Parent::Current),
        1 => Just(Parent::Root),
        1 => (0..SPANS).prop_map(Parent::Of),
    ];
    prop_oneof![
        6 => (kind, parent).prop_map(|(kind, parent)| Step::Make(kind, parent)),
        8 => Just(Step::Enter),
        2 => Just(Step::Exit),
        4 => Just(Step::ExitLast),
        1 => Just(Step::Drop),
        1 => Just(Step::DropAll),
        1 => Just(Step::Idle),
        1 => any::<bool>().prop_map(Step::RecordToken),
        1 => Just(Step::RecordPortal),
        1 => Just(Step::RecordField),
        24 => Just(Step::Event),
        1 => Just(Step::EventIn),
        1 => Just(Step::EventOutside),
        1 => Just(Step::HiddenEvent),
        1 => Just(Step::MarkedEvent),
    ]
}

/// One of the threads: which spans it is in.
#[derive(Default)]
struct Thread {
    entered: Vec<(Dispatch, Id)>,
}

impl Thread {
    fn run(&mut self, step: Step, at: usize, spans: &Spans) {
        let span = spans.lock().unwrap()[at].clone();
        match step {
            Step::Make(kind, parent) => {
                let parent = match parent {
                    Parent::Current => None,
                    Parent::Root => Some(Span::none()),
                    Parent::Of(at) => Some(spans.lock().unwrap()[at].clone()),
                };
                // The one before is dropped when nothing is locked.
                let mut new = make(kind, parent, at);
                std::mem::swap(&mut new, &mut spans.lock().unwrap()[at]);
            }
            Step::Enter => {
                span.with_subscriber(|(id, dispatch)| {
                    dispatch.enter(id);
                    self.entered.push((dispatch.clone(), id.clone()));
                });
            }
            Step::Exit if !self.entered.is_empty() => {
                let (dispatch, id) = self.entered.remove(at % self.entered.len());
                dispatch.exit(&id);
            }
            Step::ExitLast => {
                if let Some((dispatch, id)) = self.entered.pop() {
                    dispatch.exit(&id);
                }
            }
            Step::Exit => {}
            Step::Drop => drop(std::mem::replace(&mut spans.lock().unwrap()[at], Span::none())),
            Step::DropAll => drop(std::mem::replace(&mut *spans.lock().unwrap(), no_spans())),
            Step::Idle => (0..4).for_each(|_| drop(info_span!("idle"))),
            Step::RecordToken(first) => {
                span.record("event_token", if first { A } else { B });
            }
            Step::RecordPortal => {
                span.record("portal", "p");
            }
            Step::RecordField => {
                span.record("n", at + 100);
            }
            Step::Event => info!(at, "contextual"),
            Step::EventIn => info!(parent: &span, at, "explicit"),
            Step::EventOutside => info!(parent: None, at, "root"),
            Step::HiddenEvent => debug!("hidden"),
            Step::MarkedEvent => info!(bizproc = at % 2 == 0, private.at = at, "marked"),
        }
    }
}

fn make(kind: Kind, parent: Option<Span>, n: usize) -> Span {
    match (kind, parent) {
        (Kind::Plain, None) => info_span!("plain", n),
        (Kind::Plain, Some(parent)) => info_span!(parent: &parent, "plain", n),
        (Kind::Hidden, None) => debug_span!("hidden", n),
        (Kind::Hidden, Some(parent)) => debug_span!(parent: &parent, "hidden", n),
        (Kind::Tagged, None) => info_span!("tagged", event_token = A, portal = Empty, n),
        (Kind::Tagged, Some(parent)) => {
            info_span!(parent: &parent, "tagged", event_token = B, portal = Empty, n)
        }
        (Kind::Taggable, None) => {
            info_span!("taggable", event_token = Empty, portal = Empty, n)
        }
        (Kind::Taggable, Some(parent)) => {
            info_span!(parent: &parent, "taggable", event_token = Empty, portal = Empty, n)
        }
    }
}

type Spans = Mutex<Vec<Span>>;

fn no_spans() -> Vec<Span> {
    vec![Span::none(); SPANS]
}

/// A step, on a thread and under a subscriber, with the span at this place there.
type Line = (usize, usize, usize, Step);

fn program(subscribers: usize) -> impl Strategy<Value = Vec<Line>> {
    prop::collection::vec((0..THREADS, 0..subscribers, 0..SPANS, step()), 0..200)
}

/// Runs the steps one after the other, each on its thread.
fn run(program: &[Line], dispatches: &[Dispatch]) {
    let spans: Vec<Spans> = dispatches.iter().map(|_| Mutex::new(no_spans())).collect();
    std::thread::scope(|scope| {
        let (tell, done) = channel();
        let threads: Vec<Sender<(usize, usize, Step)>> = (0..THREADS)
            .map(|_| {
                let (give, steps): (_, Receiver<(usize, usize, Step)>) = channel();
                let (spans, tell) = (&spans, tell.clone());
                scope.spawn(move || {
                    let mut thread = Thread::default();
                    for (which, at, step) in steps {
                        tracing::dispatcher::with_default(&dispatches[which], || {
                            thread.run(step, at, &spans[which]);
                        });
                        tell.send(()).unwrap();
                    }
                });
                give
            })
            .collect();
        for (thread, which, at, step) in program {
            threads[*thread].send((*which, *at, *step)).unwrap();
            done.recv().unwrap();
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_remembered_is_what_is_looked_up(program in program(1)) {
        let ((remembering, mut remembered), (looking, mut looked_up)) = (rig(), rig());
        let subscriber = tracing_subscriber::registry()
            .with(layer(remembering, LevelFilter::INFO))
            .with(layer(looking, LevelFilter::INFO).boxed())
            .with(fmt_layer().with_writer(io::sink));
        run(&program, &[Dispatch::new(subscriber)]);
        prop_assert_eq!(remembered.lines(), looked_up.lines());
    }

    #[test]
    fn remembering_and_looking_up_agree_on_the_subscriber_of_fmt(program in program(1)) {
        let ((remembering, mut remembered), (looking, mut looked_up)) = (rig(), rig());
        let subscriber = tracing_subscriber::fmt()
            .with_writer(io::sink)
            .with_max_level(Level::DEBUG)
            .finish()
            .with(layer(remembering, LevelFilter::INFO))
            .with(layer(looking, LevelFilter::INFO).boxed());
        run(&program, &[Dispatch::new(subscriber)]);
        prop_assert_eq!(remembered.lines(), looked_up.lines());
    }

    /// Two layers of one subscriber, and one of another one, whose spans have the same ids.
    #[test]
    fn several_layers_that_remember_are_not_mixed_up(program in program(2)) {
        let rigs: [_; 5] = std::array::from_fn(|_| rig());
        let [(a, mut at_a), (b, mut at_b), (c, mut at_c), (d, mut at_d), (e, mut at_e)] = rigs;
        let one = tracing_subscriber::registry()
            .with(layer(a, LevelFilter::INFO))
            .with(layer(b, LevelFilter::INFO))
            .with(layer(c, LevelFilter::INFO).boxed());
        let other = tracing_subscriber::registry()
            .with(layer(d, LevelFilter::INFO))
            .with(layer(e, LevelFilter::INFO).boxed());
        run(&program, &[Dispatch::new(one), Dispatch::new(other)]);
        let looked_up = at_c.lines();
        prop_assert_eq!(at_a.lines(), looked_up.as_slice());
        prop_assert_eq!(at_b.lines(), looked_up);
        prop_assert_eq!(at_d.lines(), at_e.lines());
    }
}

/// The Registry numbers a span as an earlier one after some thousands of spans in its place. The tag of the
/// earlier one is still alive then: its lines wait.
#[test]
fn a_reused_span_id_does_not_mean_the_earlier_span() {
    let lines = delivered(|| {
        let _other = info_span!("other", event_token = B);
        let order = info_span!("order", event_token = A);
        let id = order.id();
        for n in 0..4 {
            order.in_scope(|| info!(n, "in order"));
        }
        drop(order);
        let again = (0..1_000_000).map(|_| info_span!("plain")).find(|span| span.id() == id);
        again.expect("ids are used again").in_scope(|| info!("nobody's"));
    });
    let in_order = (0..4).map(|n| format!("a: in order n={n}"));
    let expected: Vec<_> = in_order.chain(["a: closed".to_owned()]).collect();
    assert_eq!(lines, expected);
}

/// A thread of a pool may wait for hours for its next work.
#[test]
fn the_memory_of_a_thread_keeps_no_span_alive() {
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::registry().with(layer(producer, LevelFilter::INFO));
    let dispatch = Dispatch::new(subscriber);
    let (logged, has_logged) = channel();
    let (end, has_ended) = channel::<()>();
    let order =
        tracing::dispatcher::with_default(&dispatch, || info_span!("order", event_token = A));
    let pooled = {
        let (order, dispatch) = (order.clone(), dispatch.clone());
        std::thread::spawn(move || {
            tracing::dispatcher::with_default(&dispatch, || {
                for _ in 0..4 {
                    let inner = order.in_scope(|| info_span!("inner", step = 1));
                    for _ in 0..4 {
                        inner.in_scope(|| info!("in inner"));
                    }
                }
            });
            drop(order);
            logged.send(()).unwrap();
            has_ended.recv().unwrap();
        })
    };
    has_logged.recv().unwrap();
    tracing::dispatcher::with_default(&dispatch, || drop(order));
    let lines = inbox.lines();
    assert_eq!((lines.len(), lines.last().map(String::as_str)), (17, Some("a: closed")));
    assert!(!inbox.0.lines_may_come(), "the worker may sleep");
    end.send(()).unwrap();
    pooled.join().unwrap();
}

#[test]
fn only_a_layer_that_sees_all_spans_remembers_them() {
    let layer = || layer::<Registry>(rig().0, LevelFilter::INFO);
    let registry = tracing_subscriber::registry;
    let remembers = |dispatch: Dispatch| {
        let layer = dispatch.downcast_ref::<BizprocLayer<Registry>>().unwrap();
        layer.capture.remembers()
    };
    assert!(remembers(Dispatch::new(registry().with(layer()))));
    let below_others = registry().with(layer()).with(fmt_layer()).with(EnvFilter::new("info"));
    assert!(remembers(Dispatch::new(below_others)));
    let on_fmt = tracing_subscriber::fmt().finish();
    let dispatch = Dispatch::new(on_fmt.with(super::layer(rig().0, LevelFilter::INFO)));
    let on_fmt = dispatch.downcast_ref::<BizprocLayer<tracing_subscriber::fmt::Subscriber>>();
    assert!(on_fmt.unwrap().capture.remembers());
    let filtered = registry().with(layer().with_filter(LevelFilter::INFO));
    assert!(!remembers(Dispatch::new(filtered)));
    assert!(!remembers(Dispatch::new(registry().with(layer().boxed()))));
    let together = layer().and_then(fmt_layer()).with_filter(LevelFilter::INFO);
    assert!(!remembers(Dispatch::new(registry().with(together))));
}
