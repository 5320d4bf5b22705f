//! `tracing-bizproc` against other layers that ship events, on the same workloads.
//!
//! `cargo run --release` prints a table of ns per event on the caller's thread. Each candidate runs in a process
//! of its own (live dispatchers distort each other), the candidates take turns, and every event has to arrive at
//! its sink before the next burst, so that dropping events gives no advantage.

use std::collections::BTreeMap;
use std::process::Command;

mod candidate;
mod sink;
mod work;

use candidate::Candidate;
use work::Work;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["measure", candidate, work] => {
            let candidate = Candidate::named(candidate).expect("a candidate");
            let work = Work::named(work).expect("a workload");
            println!("{}", work::run(candidate, work));
        }
        [] => table(),
        _ => panic!("usage: cargo run --release"),
    }
}

const ROUNDS: usize = 7;

fn table() {
    let mut results: BTreeMap<(Candidate, Work), Vec<f64>> = BTreeMap::new();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for work in Work::ALL {
            for candidate in Candidate::ALL {
                results.entry((candidate, work)).or_default().push(measure(candidate, work));
            }
        }
    }
    let names: Vec<_> = Work::ALL.iter().map(|work| work.name()).collect();
    println!("| ns per event, median of {ROUNDS} rounds | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(names.len()));
    for candidate in Candidate::ALL {
        let row: Vec<_> = Work::ALL
            .iter()
            .map(|work| format!("{:.0}", median(&results[&(candidate, *work)])))
            .collect();
        println!("| {} | {} |", candidate.name(), row.join(" | "));
    }
    for (other, target) in [(Candidate::OpenTelemetry, 0.4), (Candidate::FmtAppender, 0.2)] {
        let ours = &results[&(Candidate::Ours, Work::Fields1)];
        let theirs = &results[&(other, Work::Fields1)];
        let ratios: Vec<_> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let ratio = median(&ratios);
        println!("figure tagged event, over {} = {ratio:.2} (target <= {target})", other.name());
    }
}

fn measure(candidate: Candidate, work: Work) -> f64 {
    let this = std::env::current_exe().expect("the path of this program");
    let args = ["measure", candidate.name(), work.name()];
    let output = Command::new(this).args(args).output().expect("this program runs again");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("a number");
    text.trim().parse().expect("a number")
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
