//! The workloads: bursts of events into a drained queue, one event a millisecond, and spans.

use std::cell::{Cell, RefCell};
use std::hint::{black_box, spin_loop};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tracing::{Instrument, Span, debug, debug_span, info, info_span};

use crate::candidate::{Candidate, Installed, Setup, install};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// A constant message, in the tagged span.
    Message,
    /// A formatted message and two numbers, directly in the tagged span.
    Fields1,
    /// The same, two spans deeper.
    Fields3,
    /// The same, seven spans deeper.
    Fields8,
    /// As `Fields1`, on two threads, each in a tagged span of its own.
    TwoThreads,
    /// The same on four.
    FourThreads,
    /// The same on eight.
    EightThreads,
    /// As `Fields1`, inside of eight spans that the layer's level hides.
    Hidden8,
    /// The same inside of 1,024.
    Hidden1024,
    /// Polling a future that is instrumented with a tagged span and logs one event, as `Fields1`.
    PollTagged,
    /// As `Fields1`, in one of two tagged spans after the other, which is entered for it.
    Alternating,
    /// As `Fields1`, one a millisecond.
    Isolated,
    /// In no span, while no span is tagged.
    Untagged,
    /// In an untagged span, while another one is tagged.
    UntaggedOthers1,
    /// The same, seven spans deeper.
    UntaggedOthers8,
    /// Under the level.
    Filtered,
    /// A span with a token: made, entered, left, closed.
    TaggedSpan,
    /// A span with a number, while none is tagged.
    PlainSpan,
    /// The same in a process that has had tagged spans.
    PlainSpanLater,
    /// Entering and leaving a span, while none is tagged.
    EnterExit,
    /// Entering and leaving a tagged span.
    EnterTagged,
    /// The same, while another span is tagged.
    EnterExitOthers,
    /// Polling a future that is instrumented with a span, while another span is tagged.
    PollOthers,
    /// As `Fields1`, into a budget that is spent.
    Full,
}

impl Work {
    const ALL: [Work; 24] = [
        Work::Message,
        Work::Fields1,
        Work::Fields3,
        Work::Fields8,
        Work::TwoThreads,
        Work::FourThreads,
        Work::EightThreads,
        Work::Hidden8,
        Work::Hidden1024,
        Work::PollTagged,
        Work::Alternating,
        Work::Isolated,
        Work::Untagged,
        Work::UntaggedOthers1,
        Work::UntaggedOthers8,
        Work::Filtered,
        Work::TaggedSpan,
        Work::PlainSpan,
        Work::PlainSpanLater,
        Work::EnterExit,
        Work::EnterTagged,
        Work::EnterExitOthers,
        Work::PollOthers,
        Work::Full,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Message => "message",
            Work::Fields1 => "fields-depth-1",
            Work::Fields3 => "fields-depth-3",
            Work::Fields8 => "fields-depth-8",
            Work::TwoThreads => "two-threads",
            Work::FourThreads => "four-threads",
            Work::EightThreads => "eight-threads",
            Work::Hidden8 => "hidden-8",
            Work::Hidden1024 => "hidden-1024",
            Work::PollTagged => "poll-tagged",
            Work::Alternating => "alternating",
            Work::Isolated => "isolated",
            Work::Untagged => "untagged",
            Work::UntaggedOthers1 => "others-depth-1",
            Work::UntaggedOthers8 => "others-depth-8",
            Work::Filtered => "filtered",
            Work::TaggedSpan => "tagged-span",
            Work::PlainSpan => "plain-span",
            Work::PlainSpanLater => "plain-span-later",
            Work::EnterExit => "enter-exit",
            Work::EnterTagged => "enter-tagged",
            Work::EnterExitOthers => "enter-exit-others",
            Work::PollOthers => "poll-others",
            Work::Full => "full",
        }
    }
}

impl FromStr for Work {
    type Err = ();

    fn from_str(name: &str) -> Result<Work, ()> {
        Work::ALL.into_iter().find(|work| work.name() == name).ok_or(())
    }
}

/// How much to do.
#[derive(Clone, Copy)]
pub(crate) enum Effort {
    /// This number of bursts is timed, each into a drained queue.
    Bursts(u32),
    /// This number of events in a row, not timed.
    Events(u64),
}

/// ns per event.
pub(crate) struct Measured {
    pub(crate) median: f64,
    pub(crate) p999: f64,
}

/// Events in a burst: fewer than make the queue half full.
const BURST: u64 = 256;

/// Runs a candidate on a workload. Once per process, since the subscriber is the global one.
pub(crate) fn run(candidate: Candidate, work: Work, effort: Effort) -> Measured {
    let setup = match work {
        Work::Full => Setup::Small,
        Work::Hidden8 | Work::Hidden1024 => Setup::Verbose,
        _ => Setup::Usual,
    };
    let installed = install(candidate, setup);
    match work {
        Work::Message => tagged(&installed, 1, effort, || info!("charging card")),
        Work::Fields1 => tagged(&installed, 1, effort, charge),
        Work::Fields3 => tagged(&installed, 3, effort, charge),
        Work::Fields8 => tagged(&installed, 8, effort, charge),
        Work::Isolated => isolated(&installed, effort),
        Work::TwoThreads => threads(2, &installed, effort),
        Work::FourThreads => threads(4, &installed, effort),
        Work::EightThreads => threads(8, &installed, effort),
        Work::Hidden8 => hidden(8, &installed, effort),
        Work::Hidden1024 => hidden(1_024, &installed, effort),
        Work::PollTagged => {
            let logging = std::future::poll_fn(|_| {
                charge();
                Poll::<()>::Pending
            });
            let logging = RefCell::new(Box::pin(logging.instrument(order(&installed))));
            bursts(&installed, effort, true, || {
                let mut context = Context::from_waker(Waker::noop());
                assert!(logging.borrow_mut().as_mut().poll(&mut context).is_pending());
            })
        }
        Work::Alternating => {
            let (spans, next) = ([order(&installed), order(&installed)], Cell::new(0));
            bursts(&installed, effort, true, || {
                next.set(1 - next.get());
                spans[next.get()].in_scope(charge);
            })
        }
        Work::Untagged => bursts(&installed, effort, false, charge),
        Work::UntaggedOthers1 => {
            let _elsewhere = order(&installed);
            nested(1, &mut || bursts(&installed, effort, false, charge))
        }
        Work::UntaggedOthers8 => {
            let _elsewhere = order(&installed);
            nested(8, &mut || bursts(&installed, effort, false, charge))
        }
        Work::Filtered => bursts(&installed, effort, false, || {
            debug!(order_id = black_box(4242), "charged {}", black_box("card"));
        }),
        Work::TaggedSpan => {
            bursts(&installed, effort, false, || order(&installed).in_scope(|| black_box(())))
        }
        Work::PlainSpan => bursts(&installed, effort, false, plain_span),
        Work::PlainSpanLater => {
            drop(order(&installed));
            bursts(&installed, effort, false, plain_span)
        }
        Work::EnterExit => {
            let step = info_span!("step", n = 1);
            bursts(&installed, effort, false, || step.in_scope(|| black_box(())))
        }
        Work::EnterTagged => {
            let order = order(&installed);
            bursts(&installed, effort, false, || order.in_scope(|| black_box(())))
        }
        Work::EnterExitOthers => {
            let _elsewhere = order(&installed);
            let step = info_span!("step", n = 1);
            bursts(&installed, effort, false, || step.in_scope(|| black_box(())))
        }
        Work::PollOthers => {
            let _elsewhere = order(&installed);
            let waiting = std::future::pending::<()>().instrument(info_span!("step", n = 1));
            let waiting = RefCell::new(Box::pin(waiting));
            bursts(&installed, effort, false, || {
                let mut context = Context::from_waker(Waker::noop());
                assert!(waiting.borrow_mut().as_mut().poll(&mut context).is_pending());
            })
        }
        Work::Full => order(&installed).in_scope(|| {
            (0..1_000).for_each(|_| charge());
            bursts(&installed, effort, false, charge)
        }),
    }
}

#[inline(never)]
fn charge() {
    let name = black_box("Ivanov");
    info!(order_id = black_box(4242), amount = black_box(99.5), "charged {}", name);
}

fn plain_span() {
    info_span!("step", n = black_box(4242)).in_scope(|| black_box(()));
}

fn order(installed: &Installed) -> Span {
    info_span!("order", event_token = installed.event_token.as_str())
}

fn tagged(installed: &Installed, depth: u32, effort: Effort, event: impl Fn()) -> Measured {
    order(installed).in_scope(|| nested(depth - 1, &mut || bursts(installed, effort, true, &event)))
}

/// Runs `work` inside this number of spans with one field each.
fn nested<R>(depth: u32, work: &mut dyn FnMut() -> R) -> R {
    match depth {
        0 => work(),
        _ => info_span!("step", depth).in_scope(|| nested(depth - 1, work)),
    }
}

/// In a tagged span, inside of this number of spans that the layer's level hides and another layer wants.
fn hidden(depth: u32, installed: &Installed, effort: Effort) -> Measured {
    fn inside<R>(depth: u32, work: &mut dyn FnMut() -> R) -> R {
        match depth {
            0 => work(),
            _ => debug_span!("hidden", depth).in_scope(|| inside(depth - 1, work)),
        }
    }
    order(installed).in_scope(|| inside(depth, &mut || bursts(installed, effort, true, charge)))
}

fn bursts(installed: &Installed, effort: Effort, arrives: bool, event: impl Fn()) -> Measured {
    let count = match effort {
        // If no event has to arrive, a burst takes microseconds.
        Effort::Bursts(count) if !arrives => 8 * count,
        Effort::Bursts(count) => count,
        Effort::Events(count) => {
            (0..count).for_each(|_| event());
            return Measured { median: 0.0, p999: 0.0 };
        }
    };
    let mut whole = Vec::new();
    let mut single = Vec::with_capacity(count as usize * BURST as usize);
    let mut sent = 0;
    let settle = |sent: &mut u64| {
        *sent += BURST;
        if arrives {
            installed.settle(*sent);
        }
    };
    for burst in 0..count + 5 {
        let start = Instant::now();
        (0..BURST).for_each(|_| event());
        let ns = start.elapsed().as_nanos() as f64 / BURST as f64;
        settle(&mut sent);
        // The first bursts are for warming up.
        if burst >= 5 {
            whole.push(ns);
        }
    }
    for _ in 0..count {
        for _ in 0..BURST {
            let start = Instant::now();
            event();
            single.push(start.elapsed().as_nanos() as f64);
        }
        settle(&mut sent);
    }
    Measured { median: at(&mut whole, 0.5), p999: at(&mut single, 0.999) }
}

fn isolated(installed: &Installed, effort: Effort) -> Measured {
    let Effort::Bursts(count) = effort else { panic!("no need to count these") };
    let mut single = Vec::new();
    order(installed).in_scope(|| {
        for _ in 0..count * 4 {
            std::thread::sleep(Duration::from_millis(1));
            let start = Instant::now();
            charge();
            single.push(start.elapsed().as_nanos() as f64);
        }
    });
    installed.settle(u64::from(count) * 4);
    Measured { median: at(&mut single, 0.5), p999: at(&mut single, 0.999) }
}

fn threads(number: u32, installed: &Installed, effort: Effort) -> Measured {
    let Effort::Bursts(count) = effort else { panic!("no need to count these") };
    let barrier = || Barrier::new(number as usize + 1);
    let (start, done, settled) = (barrier(), barrier(), barrier());
    let all = Mutex::new(Vec::new());
    // Threads wake from a barrier one after the other, so the first thread could finish before the second one
    // begins. So they wait for each other again, without sleeping.
    let met = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..number {
            scope.spawn(|| {
                order(installed).in_scope(|| {
                    for burst in 0..count + 5 {
                        start.wait();
                        met.fetch_add(1, SeqCst);
                        while met.load(SeqCst) < number * (burst + 1) {
                            // With more threads than cores, the other threads need this core.
                            if number > 2 { std::thread::yield_now() } else { spin_loop() }
                        }
                        let from = Instant::now();
                        (0..BURST).for_each(|_| charge());
                        let ns = from.elapsed().as_nanos() as f64 / BURST as f64;
                        done.wait();
                        if burst >= 5 {
                            all.lock().expect("no thread panics").push(ns);
                        }
                        settled.wait();
                    }
                });
            });
        }
        for burst in 1..=u64::from(count) + 5 {
            start.wait();
            done.wait();
            installed.settle(burst * u64::from(number) * BURST);
            settled.wait();
        }
    });
    let mut all = all.into_inner().expect("no thread panics");
    Measured { median: at(&mut all, 0.5), p999: at(&mut all, 0.999) }
}

/// Sorts the values.
pub(crate) fn at(values: &mut [f64], quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * quantile) as usize]
}
