//! The whole route in simulated time: conservation and order under faults of every kind, by seed.

use std::time::Duration;

use tracing_bizproc::simulation::{Conditions, Outcome, Random, Run, run};
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
