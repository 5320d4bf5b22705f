//! How long the end of an activity takes: sent by the process that asks for it, or by a relay.

use std::time::{Duration, Instant};

use bizproc_portal::Portal;
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::config::Quota;
use tracing_bizproc::{Completion, EventToken, Handle, WorkerGuard};
use tracing_bizproc_relay::{PgConfig, PgJournal, Relay};
use tracing_subscriber::Registry;

use super::news::print;
use super::wait;

pub(crate) fn compare(config: &PgConfig, small: bool) {
    let ends = if small { 2 } else { 100 };
    let portal = Portal::builder().start().unwrap();
    // Otherwise the limit of requests would be measured.
    let webhook = || Webhook::new(portal.webhook_url()).unwrap();
    let builder = || tracing_bizproc::builder(webhook()).quota(Quota::Unlimited);
    let (_layer, guard) = builder().build::<Registry>().unwrap();
    print("complete, direct", &complete(&portal, guard, ends));

    let relay = Relay::new(config.clone()).start(builder()).unwrap();
    let journal = PgJournal::new(config.clone()).unwrap();
    let (_layer, guard) = builder().publish_to(journal).build::<Registry>().unwrap();
    print("complete, through a relay", &complete(&portal, guard, ends));
    wait(relay.stop(Duration::from_secs(10)));
}

/// Ends activities one after the other, like an app with little load.
fn complete(portal: &Portal, guard: WorkerGuard, ends: u32) -> Vec<Duration> {
    let handle = guard.handle();
    let workflow = portal.start_workflow("Orders");
    // The first one also makes connections.
    let times = (0..=ends).map(|n| one(&workflow, &handle, n)).skip(1).collect();
    wait(guard.shutdown(Duration::from_secs(5)));
    times
}

fn one(workflow: &bizproc_portal::Workflow, handle: &Handle, n: u32) -> Duration {
    let activity = workflow.open_activity(&format!("Order {n}"));
    let event_token = EventToken::parse(&activity.event_token()).unwrap();
    let start = Instant::now();
    wait(handle.complete(&event_token, Completion::new())).unwrap();
    let taken = start.elapsed();
    assert!(!activity.is_open());
    taken
}
