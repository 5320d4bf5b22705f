//! Allocations of the caller's thread. Its own binary, because it replaces the allocator.

use std::time::Duration;

use allocation_counter::measure;
use tracing::{debug, info, info_span};
use tracing_bizproc::auth::Webhook;
use tracing_subscriber::prelude::*;

/// A port without a server, so lines stay pending. The worker's thread is not counted.
const NOBODY: &str = "http://127.0.0.1:9/rest/1/secret/";

const EVENTS: u64 = 100;

fn allocations_per_event(event: impl Fn()) -> f64 {
    // The first events may allocate buffers and register callsites.
    (0..5).for_each(|_| event());
    let info = measure(|| (0..EVENTS).for_each(|_| event()));
    info.count_total as f64 / EVENTS as f64
}

fn charge() {
    info!(order_id = 4242, amount = 99.5, "charged {}", "Ivanov");
}

fn explain() {
    let reason = "the card was declined by the bank, and the customer was asked for another one";
    info!(order_id = 4242, reason, "charged {}", "Ivanov");
}

fn nested(depth: u32, work: &dyn Fn()) {
    match depth {
        0 => work(),
        _ => info_span!("step", depth).in_scope(|| nested(depth - 1, work)),
    }
}

#[test]
fn an_event_allocates_once_if_it_is_long_and_not_at_all_otherwise() {
    let webhook = Webhook::new(NOBODY).unwrap();
    let (layer, guard) = tracing_bizproc::builder(webhook)
        // More than twice what is logged here: while room is tight, each line is boxed.
        .pending_lines(4_000)
        .shutdown_timeout(Duration::ZERO)
        .build()
        .unwrap();
    let bizproc = guard.handle();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        assert_eq!(allocations_per_event(charge), 0.0, "while nothing is tagged");
        let order = info_span!("order", event_token = "5e.1|A|1.ff");
        assert_eq!(allocations_per_event(charge), 0.0, "outside of the tagged span");
        for depth in [0, 2, 7] {
            order.in_scope(|| {
                nested(depth, &|| {
                    assert_eq!(allocations_per_event(charge), 0.0, "{depth}");
                    assert_eq!(allocations_per_event(explain), 1.0, "{depth}");
                });
            });
        }
        order.in_scope(|| {
            assert_eq!(allocations_per_event(|| debug!(order_id = 1, "filtered")), 0.0);
            while bizproc.stats().refused() == 0 {
                charge();
            }
            assert_eq!(allocations_per_event(charge), 0.0, "when the budget is spent");
        });
    });
}
