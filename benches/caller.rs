//! What a log event costs the thread that logs it.
//!
//! `cargo bench --bench caller` runs several candidates on the same workloads. At the end it prints one
//! line per target: `figure <name> = <value> (target <= <value>)`. Several subscribers in one process
//! would slow each other down, so each candidate runs in a process of its own: this program, started
//! again. The candidates take turns, and are compared round by round. The speed of a shared machine may
//! change by half within a second, but two runs that follow each other are hardly affected. A ratio is
//! the median of the ratios of all rounds. Other work on the machine only makes times longer. So a time is
//! the lower quartile of the rounds, or the lower decile if it has a target.
//!
//! Without `--bench` (as `cargo test --benches` runs it), one short round shows that everything works.
//! `caller count <candidate> <workload> <events>` does a fixed amount of work, so that
//! `benches/instructions.sh` can count its instructions.
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::BTreeMap;
use std::process::Command;

#[path = "caller/candidate.rs"]
mod candidate;
#[path = "caller/floor.rs"]
mod floor;
#[cfg(feature = "relay")]
#[path = "caller/publishing.rs"]
mod publishing;
#[path = "caller/work.rs"]
mod work;

use candidate::Candidate;
use work::{Effort, Work};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["measure", candidate, work, bursts] => {
            let effort = Effort::Bursts(bursts.parse().expect("a number of bursts"));
            let measured = work::run(candidate.parse().expect("a candidate"), named(work), effort);
            println!("{} {}", measured.median, measured.p999);
        }
        #[cfg(feature = "relay")]
        ["publish"] => publish(),
        ["count", candidate, work, events] => {
            let effort = Effort::Events(events.parse().expect("a number of events"));
            work::run(candidate.parse().expect("a candidate"), named(work), effort);
        }
        _ => ladder(std::env::args().any(|arg| arg == "--bench")),
    }
}

fn named(work: &str) -> Work {
    work.parse().expect("a workload")
}

/// The runs: the workloads, and for each workload the candidates for which it makes sense.
const LADDER: &[(Work, &[Candidate])] = {
    use Candidate::*;
    &[
        (Work::Message, &[NoSubscriber, Registry, NoOp, Floor, Ours, FmtAppender]),
        (Work::Fields1, &[NoSubscriber, Registry, NoOp, Floor, Ours, FmtAppender]),
        (Work::Fields3, &[Registry, Floor, Ours, FmtAppender]),
        (Work::Fields8, &[Registry, Floor, Ours, FmtAppender]),
        (Work::TwoThreads, &[Registry, Floor, Ours, FmtAppender]),
        (Work::FourThreads, &[Registry, Floor, Ours]),
        (Work::EightThreads, &[Registry, Floor, Ours]),
        (Work::Hidden8, &[Ours]),
        (Work::Hidden1024, &[Ours]),
        (Work::PollTagged, &[Registry, Floor, Ours]),
        (Work::Alternating, &[Registry, Floor, Ours]),
        (Work::Isolated, &[Registry, Floor, Ours, FmtAppender]),
        (Work::Untagged, &[Registry, NoOpFiltered, Ours]),
        (Work::UntaggedOthers1, &[Registry, Ours]),
        (Work::UntaggedOthers8, &[Registry, Ours]),
        (Work::Filtered, &[NoSubscriber, Registry, NoOpFiltered, Ours]),
        (Work::TaggedSpan, &[Registry, NoOpFiltered, Floor, Ours, FmtAppender]),
        (Work::PlainSpan, &[Registry, NoOpFiltered, Ours]),
        (Work::PlainSpanLater, &[Registry, Ours]),
        (Work::EnterExit, &[Registry, NoOpFiltered, Ours]),
        (Work::EnterTagged, &[Registry, Ours]),
        (Work::EnterExitOthers, &[Registry, NoOpFiltered, Ours]),
        (Work::PollOthers, &[Registry, NoOpFiltered, Ours]),
        (Work::Full, &[Ours]),
    ]
};

/// The runs with and without a relay: `cargo bench --bench caller --features relay -- publish`.
#[cfg(feature = "relay")]
fn publish() {
    use Work::{Alternating, Fields1, Fields3, Isolated, PollTagged, TwoThreads};

    for work in [Fields1, Fields3, TwoThreads, Alternating, PollTagged, Isolated] {
        let (mut publishing, mut delivering) = (Vec::new(), Vec::new());
        for _ in 0..25 {
            publishing.push(measure(Candidate::Publishing, work, 60).0);
            delivering.push(measure(Candidate::Ours, work, 60).0);
        }
        let ratio = ratio(&publishing, &delivering);
        figure(&format!("publishing over delivering, {}", work.name()), ratio, 1.03);
    }
}

/// Medians and 99.9th percentiles in ns, by round.
#[derive(Default)]
struct Rounds {
    medians: Vec<f64>,
    p999s: Vec<f64>,
}

fn ladder(in_full: bool) {
    let (rounds, bursts) = if in_full { (25, 60) } else { (1, 2) };
    let mut results: BTreeMap<(Work, Candidate), Rounds> = BTreeMap::new();
    for _ in 0..rounds {
        for (work, candidates) in LADDER {
            for candidate in *candidates {
                let (median, p999) = measure(*candidate, *work, bursts);
                let rounds = results.entry((*work, *candidate)).or_default();
                rounds.medians.push(median);
                rounds.p999s.push(p999);
            }
        }
    }
    println!(
        "ns on the caller's thread (lower quartile of {rounds} rounds; p99.9 of single events)"
    );
    for ((work, candidate), rounds) in &results {
        let (ns, p999) = (quantile(&rounds.medians, 0.25), quantile(&rounds.p999s, 0.25));
        println!("{:<18} {:<16} {ns:>9.1} {p999:>9.0}", work.name(), candidate.name());
    }
    figures(&results);
}

fn figures(results: &BTreeMap<(Work, Candidate), Rounds>) {
    let registry = Candidate::Registry;
    let of = |work, candidate| &results[&(work, candidate)];
    let ours = |work| of(work, Candidate::Ours);
    let over = |name: &str, work: Work, other: Candidate, target: f64| {
        let ratio = ratio(&ours(work).medians, &of(work, other).medians);
        figure(name, ratio, target);
    };
    let floor = Candidate::Floor;
    over("tagged event, depth 1, over the floor", Work::Fields1, floor, 0.75);
    over("tagged event, depth 3, over the floor", Work::Fields3, floor, 0.75);
    over("tagged event, depth 8, over the floor", Work::Fields8, floor, 0.75);
    over("tagged event, two threads, over the floor", Work::TwoThreads, floor, 0.9);
    over("tagged event, four threads, over the floor", Work::FourThreads, floor, 0.9);
    over("tagged event, eight threads, over the floor", Work::EightThreads, floor, 0.9);
    over("tagged future polled, one event, over the floor", Work::PollTagged, floor, 0.9);
    over("two tagged spans that alternate, over the floor", Work::Alternating, floor, 1.0);
    figure(
        "tagged event, 1,024 hidden spans over 8",
        ratio(&ours(Work::Hidden1024).medians, &ours(Work::Hidden8).medians),
        2.0,
    );
    over("isolated event, over the floor", Work::Isolated, floor, 1.15);
    over("tagged event, over fmt + appender", Work::Fields1, Candidate::FmtAppender, 0.2);
    let others_alive = &ours(Work::UntaggedOthers1).medians;
    figure("untagged event, others alive, ns", quantile(others_alive, 0.1), 40.0);
    over("untagged event, others alive, over the Registry", Work::UntaggedOthers1, registry, 3.5);
    figure(
        "untagged event, others alive, depth 8 over depth 1",
        ratio(&ours(Work::UntaggedOthers8).medians, others_alive),
        1.1,
    );
    let more = |name: &str, work: Work, other: Candidate, target: f64| {
        let (ours, theirs) = (&ours(work).medians, &of(work, other).medians);
        figure(name, median_of(ours, theirs, |ours, theirs| ours - theirs), target);
    };
    more("span entered, none alive, ns over the Registry", Work::EnterExit, registry, 2.0);
    more("tagged span entered, ns over the Registry", Work::EnterTagged, registry, 10.0);
    more("span entered, others alive, ns over the Registry", Work::EnterExitOthers, registry, 10.0);
    more("span polled, others alive, ns over the Registry", Work::PollOthers, registry, 10.0);
    more("filtered event, ns over no subscriber", Work::Filtered, Candidate::NoSubscriber, 1.0);
    over("tagged span, over the floor", Work::TaggedSpan, floor, 1.1);
    over("untagged span, over the Registry", Work::PlainSpan, registry, 1.05);
    over("the same after tagged ones, over the Registry", Work::PlainSpanLater, registry, 1.05);
    figure(
        "full queue, over an accepted event",
        ratio(&ours(Work::Full).medians, &ours(Work::Fields1).medians),
        1.0,
    );
    figure(
        "p99.9, over the floor's",
        ratio(&ours(Work::Fields1).p999s, &of(Work::Fields1, Candidate::Floor).p999s),
        2.0,
    );
}

fn figure(name: &str, value: f64, target: f64) {
    println!("figure {name} = {value:.2} (target <= {target})");
}

/// Runs one candidate in a process of its own.
fn measure(candidate: Candidate, work: Work, bursts: u32) -> (f64, f64) {
    let this = std::env::current_exe().expect("the path of this program");
    let args = ["measure", candidate.name(), work.name(), &bursts.to_string()];
    let output = Command::new(this).args(args).output().expect("this program runs again");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let (median, p999) = text.trim().split_once(' ').expect("two numbers");
    (median.parse().expect("a number"), p999.parse().expect("a number"))
}

fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median_of(ours, theirs, |ours, theirs| ours / theirs)
}

/// The median of `compare` over the rounds.
fn median_of(ours: &[f64], theirs: &[f64], compare: impl Fn(f64, f64) -> f64) -> f64 {
    let rounds: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| compare(*a, *b)).collect();
    quantile(&rounds, 0.5)
}

fn quantile(values: &[f64], quantile: f64) -> f64 {
    work::at(&mut values.to_vec(), quantile)
}
