//! The whole route in simulated time: conservation and order under faults of every kind, by seed.

use std::time::Duration;

use proptest::prelude::*;
use tracing_bizproc::simulation::{Conditions, Faults, Outcome, Random, Run, run};
use tracing_bizproc::{Builder, Webhook};

fn builder() -> Builder {
    let webhook = Webhook::new("https://b24.example/rest/1/secret/").unwrap();
    tracing_bizproc::builder(webhook)
}

/// Bursts over some workflows, flushes now and then, spans that close and open again.
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

#[test]
fn without_faults_everything_is_acknowledged_once() {
    for seed in 0..20 {
        let hour = Duration::from_secs(3_600);
        let hidden = Conditions::hidden(seed);
        let outcome = run(seed, builder(), hidden, hour, |run| bursts(run, seed));
        outcome.verify().unwrap();
        let stats = &outcome.stats;
        assert_eq!(stats.acknowledged(), stats.accepted(), "{stats}");
        assert_eq!((stats.repeats(), stats.rate_limited()), (0, 0));
    }
}

/// What a scripted app does.
#[derive(Clone, Debug)]
enum Step {
    Pause(u32),
    Log { workflow: u32, lines: u32, bytes: usize },
    Close(u32),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let workflow = 0..6_u32;
    prop_oneof![
        3 => (1..30_000_u32).prop_map(Step::Pause),
        6 => (workflow.clone(), 1..20_u32, 0..120_usize)
            .prop_map(|(workflow, lines, bytes)| Step::Log { workflow, lines, bytes }),
        1 => workflow.prop_map(Step::Close),
        1 => Just(Step::Flush),
    ]
}

/// Each fault at a rate of its own, so that a counter-example shrinks to those that matter.
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

    /// The same laws for scripts that shrink: a failure prints the shortest script and the fewest
    /// faults that still break them.
    #[test]
    fn the_laws_hold_for_every_script(
        script in prop::collection::vec(step(), 1..60),
        faults in faults(),
        seed in 0..1_000_u64,
    ) {
        let conditions = Conditions { faults, ..Conditions::hidden(seed) };
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
                    Step::Flush => {
                        let _ = run.flush(Duration::from_secs(7)).await;
                    }
                }
            }
        });
        prop_assert_eq!(outcome.verify(), Ok(()));
    }
}
