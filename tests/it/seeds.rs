//! The invariants of the simulation, against the stand-in portal: sockets, TCP resets, threads.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bizproc_portal::{Canned, Fault, Moment, Portal};
use tracing::{info, info_span};
use tracing_bizproc::simulation::Random;

use crate::stage::{PATIENCE, Stage};

/// How long seeds are tried: a few seconds, or the time in the environment variable.
fn budget() -> Duration {
    let seconds = std::env::var("BIZPROC_SEED_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(3))
}

#[test]
fn the_invariants_are_true_under_faults_over_sockets() {
    let start = Instant::now();
    let mut seed = 0;
    while seed == 0 || start.elapsed() < budget() {
        one_seed(seed);
        seed += 1;
    }
    println!("{seed} seeds");
}

fn one_seed(seed: u64) {
    let mut random = Random::new(seed, 23);
    let stage = Stage::with(Portal::builder().seed(seed), |builder| builder);
    let faults = vec![
        Fault::Reset(Moment::BeforeRead),
        Fault::Reset(Moment::BeforeExecution),
        Fault::Reset(Moment::AfterExecution),
        Fault::Answer(Moment::BeforeExecution, Canned::html(502)),
        Fault::Answer(Moment::AfterExecution, Canned::html(504)),
        Fault::Answer(Moment::AfterExecution, Canned::empty(200)),
        Fault::Truncate,
    ];
    stage.portal.faults().at_random(seed, random.within(0.0, 0.3), faults);

    let activities: Vec<_> = (0..1 + random.below(20)).map(|_| stage.activity()).collect();
    let spans: Vec<_> = activities
        .iter()
        .map(|(_, _, event_token)| info_span!("activity", event_token = event_token.as_field()))
        .collect();
    let mut logged = vec![0_u64; spans.len()];
    for _ in 0..random.below(2_000) {
        let n = random.below(spans.len());
        let line = logged[n];
        spans[n].in_scope(|| info!("#{line}#"));
        logged[n] += 1;
    }
    stage.portal.faults().clear();
    let report = stage.bizproc.flush_blocking(PATIENCE).unwrap();
    let stats = stage.bizproc.stats();
    assert_eq!(report.pending(), 0, "seed {seed}: {stats}");
    assert_eq!(stats.accepted(), logged.iter().sum::<u64>(), "seed {seed}: {stats}");
    assert_eq!(stats.accepted(), stats.acknowledged() + stats.lost(), "seed {seed}: {stats}");
    assert_eq!(stats.lost(), 0, "seed {seed}: nothing here is beyond repair: {stats}");

    for ((workflow, _, _), logged) in activities.iter().zip(logged) {
        let mut seen = BTreeSet::new();
        for entry in workflow.texts() {
            let repeat = entry.contains("(possible repeat");
            for n in entry.split('#').filter_map(|part| part.parse::<u64>().ok()) {
                let in_order = seen.last().is_none_or(|last| n > *last);
                assert!(in_order || repeat, "seed {seed}: line {n} again or late, unmarked");
                seen.insert(n);
            }
        }
        assert_eq!(seen.len() as u64, logged, "seed {seed}: every line is in the log");
    }
}
