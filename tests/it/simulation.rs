//! The whole route in simulated time: conservation and order under faults of every kind, by seed.

use std::time::Duration;

use proptest::prelude::*;
use tracing_bizproc::Builder;
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::config::UnknownOutcome;
use tracing_bizproc::simulation::portal::event_token;
use tracing_bizproc::simulation::{Conditions, Faults, Outcome, Random, Run, run, run_beside};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::stage::Captured;

fn builder() -> Builder {
    let webhook = Webhook::new("https://b24.example/rest/1/secret/").unwrap();
    tracing_bizproc::builder(webhook)
}

/// Bursts on some workflows, some flushes, spans that close and open again.
async fn bursts(run: Run, seed: u64) {
    let mut random = Random::new(seed, 7);
    let workflows = 1 + random.below(40) as u32;
    let mut at = Duration::ZERO;
    for _ in 0..60 {
        at += Duration::from_secs_f64(random.within(0.0, 20.0));
        run.until(at).await;
        for _ in 0..random.below(30) {
            let workflow = random.below(workflows as usize) as u32;
            run.log(workflow, random.below(120));
            if random.chance(0.02) {
                run.close(workflow);
            }
            if random.chance(0.02) {
                run.complete(workflow, Duration::from_secs(10));
            }
        }
        if random.chance(0.03) {
            run.flush(Duration::from_secs(5)).await;
        }
    }
}

fn faulty(seed: u64) -> Outcome {
    let hour = Duration::from_secs(3_600);
    run(seed, builder(), Conditions::faulty(seed), 3 * hour, |run| bursts(run, seed))
}

#[test]
fn conservation_and_order_hold_under_random_faults() {
    for seed in 0..100 {
        if let Err(problem) = faulty(seed).verify() {
            panic!("{problem}");
        }
    }
}

/// No log mentions more lines than were lost: see `Outcome::verify`.
#[test]
fn with_give_up_each_gap_is_mentioned_once() {
    let hour = Duration::from_secs(3_600);
    for seed in 0..20 {
        let options = builder().on_unknown_outcome(UnknownOutcome::GiveUp).pending_lines(50);
        let outcome =
            run(seed, options, Conditions::faulty(seed), 3 * hour, |run| bursts(run, seed));
        if let Err(problem) = outcome.verify() {
            panic!("{problem}");
        }
    }
}

#[test]
fn without_faults_everything_is_acknowledged_once() {
    for seed in 0..20 {
        let hour = Duration::from_secs(3_600);
        let hidden = Conditions::hidden(seed);
        let outcome = run(seed, builder(), hidden, hour, |run| bursts(run, seed));
        outcome.verify().unwrap();
        let stats = &outcome.stats;
        // Only lines that were logged after the end of their activity are late.
        let after: usize = outcome
            .completions
            .iter()
            .map(|(workflow, completed)| outcome.sent[workflow].len() - completed.lines)
            .sum();
        assert_eq!(stats.acknowledged() + after as u64, stats.accepted(), "{stats}");
        assert_eq!((stats.late(), stats.repeats(), stats.rate_limited()), (after as u64, 0, 0));
    }
}

/// An hour of traffic with faults of every kind, at TRACE: the output of other layers, with the reports of the
/// worker, contains no event token.
#[test]
fn an_hour_of_faults_at_trace_prints_no_event_token() {
    let captured = Captured::default();
    let writer = captured.clone();
    let everything = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_span_events(FmtSpan::FULL)
        .with_filter(LevelFilter::TRACE);
    let seed = 11;
    let hour = Duration::from_secs(3_600);
    let outcome = run_beside(
        everything,
        seed,
        builder(),
        Conditions::faulty(seed),
        3 * hour,
        |run| async move {
            for minute in 0..60 {
                run.until(Duration::from_secs(60 * minute)).await;
                (0..20).for_each(|workflow| run.log(workflow, 80));
            }
        },
    );
    outcome.verify().unwrap();
    let printed = captured.text();
    assert!(printed.contains("activity{event_token="), "spans are printed, with their redaction");
    assert!(printed.contains("tracing_bizproc"), "and so is the worker's trouble");
    for workflow in 0..20 {
        let event_token = event_token(workflow);
        let signature = event_token.rsplit('.').next().unwrap();
        assert!(!printed.contains(signature), "of workflow {workflow}");
    }
}

/// A step of a scripted app.
#[derive(Clone, Debug)]
enum Step {
    Pause(u32),
    Log { workflow: u32, lines: u32, bytes: usize },
    Close(u32),
    Complete(u32),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let workflow = 0..6_u32;
    prop_oneof![
        3 => (1..30_000_u32).prop_map(Step::Pause),
        6 => (workflow.clone(), 1..20_u32, 0..120_usize)
            .prop_map(|(workflow, lines, bytes)| Step::Log { workflow, lines, bytes }),
        1 => workflow.clone().prop_map(Step::Close),
        1 => workflow.prop_map(Step::Complete),
        1 => Just(Step::Flush),
    ]
}

/// Each fault has its own rate, so that a counter-example shrinks to the faults that matter.
fn faults() -> impl Strategy<Value = Faults> {
    let rate = || prop_oneof![2 => Just(0.0), 1 => 0.0..0.4_f64];
    let request = (rate(), rate(), rate(), rate(), rate());
    let command = (rate(), rate(), rate(), rate(), rate(), 0.0..10.0_f64);
    (request, command).prop_map(|(request, command)| {
        let (refused, gateway, lost_answer, midway, server) = request;
        let (locked, stumble, poisoned, gone, denied, early) = command;
        Faults {
            refused,
            gateway,
            lost_answer,
            midway,
            server,
            locked,
            stumble: stumble / 8.0,
            poisoned,
            gone,
            denied,
            early,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    /// The same invariants for scripts that shrink: a failure prints the shortest script with the fewest
    /// faults.
    #[test]
    fn the_laws_hold_for_every_script(
        script in prop::collection::vec(step(), 1..60),
        faults in faults(),
        seed in 0..1_000_u64,
    ) {
        let conditions = Conditions { faults, checks_told: true, ..Conditions::hidden(seed) };
        let hour = Duration::from_secs(3_600);
        let outcome = run(seed, builder(), conditions, 3 * hour, |run| async move {
            for step in script {
                match step {
                    Step::Pause(millis) => {
                        run.until(run.now() + Duration::from_millis(millis.into())).await;
                    }
                    Step::Log { workflow, lines, bytes } => {
                        (0..lines).for_each(|_| run.log(workflow, bytes));
                    }
                    Step::Close(workflow) => run.close(workflow),
                    Step::Complete(workflow) => run.complete(workflow, Duration::from_secs(10)),
                    Step::Flush => {
                        let _ = run.flush(Duration::from_secs(7)).await;
                    }
                }
            }
        });
        prop_assert_eq!(outcome.verify(), Ok(()));
    }
}

/// All lines of many activities are logged at once, and all activities are completed at once.
#[test]
fn activities_that_complete_together_share_requests() {
    let hour = Duration::from_secs(3_600);
    let outcome = run(1, builder(), Conditions::default(), hour, |run| async move {
        for workflow in 0..500 {
            (0..3).for_each(|_| run.log(workflow, 60));
            run.complete(workflow, Duration::from_secs(60));
        }
    });
    outcome.verify().unwrap();
    assert!(outcome.completions.values().all(|completed| completed.answer.is_ok()));
    assert_eq!((outcome.stats.acknowledged(), outcome.stats.late()), (1_500, 0));
    assert!(outcome.portal.hits <= 21, "{}", outcome.portal.hits);
}
