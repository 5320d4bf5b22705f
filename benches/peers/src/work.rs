//! The workloads: bursts into a drained queue, one event a millisecond, and a span.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tracing::{info, info_span};

use crate::candidate::{Candidate, Installed, install};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    Message,
    Fields1,
    Fields8,
    Isolated,
    Span,
}

impl Work {
    pub const ALL: [Work; 5] =
        [Work::Message, Work::Fields1, Work::Fields8, Work::Isolated, Work::Span];

    pub fn name(self) -> &'static str {
        match self {
            Work::Message => "constant message, 1 span",
            Work::Fields1 => "message and two numbers, 1 span",
            Work::Fields8 => "the same, 8 spans",
            Work::Isolated => "the same, 1 span, one per ms",
            Work::Span => "span with a 130-byte field",
        }
    }

    pub fn named(name: &str) -> Option<Work> {
        Work::ALL.into_iter().find(|work| work.name() == name)
    }
}

const BURST: u64 = 256;
const BURSTS: u64 = 40;
const WARM_UP: u64 = 5;

/// Median ns per event on this thread.
pub fn run(candidate: Candidate, work: Work) -> f64 {
    let installed = install(candidate);
    let event_token = installed.event_token.as_str();
    match (candidate, work) {
        (Candidate::Emit, Work::Message) => emit_nested(event_token, 1, &mut || {
            bursts(&installed, true, || emit::info!("charging card"))
        }),
        (Candidate::Emit, Work::Fields1) => {
            emit_nested(event_token, 1, &mut || bursts(&installed, true, emit_charge))
        }
        (Candidate::Emit, Work::Fields8) => {
            emit_nested(event_token, 8, &mut || bursts(&installed, true, emit_charge))
        }
        (Candidate::Emit, Work::Isolated) => {
            emit_nested(event_token, 1, &mut || isolated(&installed, emit_charge))
        }
        (Candidate::Emit, Work::Span) => bursts(&installed, false, || {
            emit::Frame::push(emit::ctxt(), emit::props! { event_token }).call(|| black_box(()));
        }),
        (_, Work::Message) => {
            nested(event_token, 1, &mut || bursts(&installed, true, || info!("charging card")))
        }
        (_, Work::Fields1) => nested(event_token, 1, &mut || bursts(&installed, true, charge)),
        (_, Work::Fields8) => nested(event_token, 8, &mut || bursts(&installed, true, charge)),
        (_, Work::Isolated) => nested(event_token, 1, &mut || isolated(&installed, charge)),
        (_, Work::Span) => bursts(&installed, false, || {
            info_span!("order", event_token).in_scope(|| black_box(()));
        }),
    }
}

fn charge() {
    let name = black_box("Ivanov");
    info!(order_id = black_box(4242), amount = black_box(99.5), "charged {}", name);
}

fn emit_charge() {
    let (order_id, amount, name) = (black_box(4242), black_box(99.5), black_box("Ivanov"));
    emit::info!("charged {name}", order_id, amount);
}

/// Runs `work` inside this number of spans. The outermost span has the token.
fn nested(event_token: &str, depth: u32, work: &mut dyn FnMut() -> f64) -> f64 {
    fn inner(depth: u32, work: &mut dyn FnMut() -> f64) -> f64 {
        match depth {
            0 => work(),
            _ => info_span!("step", depth).in_scope(|| inner(depth - 1, work)),
        }
    }
    info_span!("order", event_token).in_scope(|| inner(depth - 1, work))
}

/// emit's way to give events the properties of the operation that they belong to.
fn emit_nested(event_token: &str, depth: u32, work: &mut dyn FnMut() -> f64) -> f64 {
    fn inner(depth: u32, work: &mut dyn FnMut() -> f64) -> f64 {
        match depth {
            0 => work(),
            _ => emit::Frame::push(emit::ctxt(), emit::props! { depth })
                .call(|| inner(depth - 1, work)),
        }
    }
    emit::Frame::push(emit::ctxt(), emit::props! { event_token }).call(|| inner(depth - 1, work))
}

fn bursts(installed: &Installed, arrives: bool, event: impl Fn()) -> f64 {
    let mut all = Vec::new();
    for burst in 1..=BURSTS + WARM_UP {
        let start = Instant::now();
        (0..BURST).for_each(|_| event());
        let ns = start.elapsed().as_nanos() as f64 / BURST as f64;
        if arrives {
            installed.settle(burst * BURST);
        }
        if burst > WARM_UP {
            all.push(ns);
        }
    }
    median(all)
}

fn isolated(installed: &Installed, event: impl Fn()) -> f64 {
    let mut all = Vec::new();
    for _ in 0..BURSTS * 4 {
        std::thread::sleep(Duration::from_millis(1));
        let start = Instant::now();
        event();
        all.push(start.elapsed().as_nanos() as f64);
    }
    installed.settle(BURSTS * 4);
    median(all)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
