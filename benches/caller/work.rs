//! What is measured: bursts of events into a drained queue, one event a millisecond, spans.

use std::cell::RefCell;
use std::hint::black_box;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tracing::{Instrument, Span, debug, info, info_span};

use crate::candidate::{Candidate, Installed, install};

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
    /// As `Fields1`, one a millisecond.
    Isolated,
    /// In no span, while none is tagged.
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
    /// Entering and leaving a span, while none is tagged.
    EnterExit,
    /// The same, while another span is tagged.
    EnterExitOthers,
    /// Polling a future that is instrumented with a span, while another span is tagged.
    PollOthers,
    /// As `Fields1`, into a budget that is spent.
    Full,
}

impl Work {
    const ALL: [Work; 16] = [
        Work::Message,
        Work::Fields1,
        Work::Fields3,
        Work::Fields8,
        Work::TwoThreads,
        Work::Isolated,
        Work::Untagged,
        Work::UntaggedOthers1,
        Work::UntaggedOthers8,
        Work::Filtered,
        Work::TaggedSpan,
        Work::PlainSpan,
        Work::EnterExit,
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
            Work::Isolated => "isolated",
            Work::Untagged => "untagged",
            Work::UntaggedOthers1 => "others-depth-1",
            Work::UntaggedOthers8 => "others-depth-8",
            Work::Filtered => "filtered",
            Work::TaggedSpan => "tagged-span",
            Work::PlainSpan => "plain-span",
            Work::EnterExit => "enter-exit",
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
    /// So many bursts, timed, each into a drained queue.
    Bursts(u32),
    /// So many events in a row, not timed.
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
    let installed = install(candidate, work == Work::Full);
    match work {
        Work::Message => tagged(&installed, 1, effort, || info!("charging card")),
        Work::Fields1 => tagged(&installed, 1, effort, charge),
        Work::Fields3 => tagged(&installed, 3, effort, charge),
        Work::Fields8 => tagged(&installed, 8, effort, charge),
        Work::Isolated => isolated(&installed, effort),
        Work::TwoThreads => two_threads(&installed, effort),
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
        Work::PlainSpan => bursts(&installed, effort, false, || {
            info_span!("step", n = black_box(4242)).in_scope(|| black_box(()));
        }),
        Work::EnterExit => {
            let step = info_span!("step", n = 1);
            bursts(&installed, effort, false, || step.in_scope(|| black_box(())))
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

fn order(installed: &Installed) -> Span {
    info_span!("order", event_token = installed.event_token.as_str())
}

fn tagged(installed: &Installed, depth: u32, effort: Effort, event: impl Fn()) -> Measured {
    order(installed).in_scope(|| nested(depth - 1, &mut || bursts(installed, effort, true, &event)))
}

/// Runs `work` inside so many spans with a field each.
fn nested<R>(depth: u32, work: &mut dyn FnMut() -> R) -> R {
    match depth {
        0 => work(),
        _ => info_span!("step", depth).in_scope(|| nested(depth - 1, work)),
    }
}

fn bursts(installed: &Installed, effort: Effort, arrives: bool, event: impl Fn()) -> Measured {
    let count = match effort {
        // Where nothing has to arrive, a burst takes microseconds.
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
        // The first ones warm up.
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

fn two_threads(installed: &Installed, effort: Effort) -> Measured {
    let Effort::Bursts(count) = effort else { panic!("no need to count these") };
    let (start, done, settled) = (Barrier::new(3), Barrier::new(3), Barrier::new(3));
    let all = Mutex::new(Vec::new());
    // Threads wake from a barrier one after the other, and the first would be through before the second
    // begins: so they meet again, awake.
    let met = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                order(installed).in_scope(|| {
                    for burst in 0..count + 5 {
                        start.wait();
                        met.fetch_add(1, SeqCst);
                        while met.load(SeqCst) < 2 * (burst + 1) {
                            std::hint::spin_loop();
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
            installed.settle(burst * 2 * BURST);
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
