//! No feedback loop: events of the worker, reqwest and hyper are never sent as lines.

use tracing::{info, info_span};
use tracing_bizproc::EventToken;
use tracing_subscriber::prelude::*;

use crate::stage::{Captured, PATIENCE, in_child, is_child, quick};

/// With a global subscriber, as apps have, so that the worker's thread uses it, too.
#[test]
fn events_of_the_worker_reach_other_layers_and_are_not_sent() {
    if !is_child() {
        return in_child("loops::events_of_the_worker_reach_other_layers_and_are_not_sent", &[]);
    }
    let portal = bizproc_portal::Portal::builder().start().unwrap();
    let captured = Captured::default();
    let writer = captured.clone();
    let everything = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        .with_filter(tracing_subscriber::filter::LevelFilter::TRACE);
    let (layer, guard) = quick(&portal).level(tracing::Level::TRACE).build().unwrap();
    tracing_subscriber::registry().with(everything).with(layer).init();

    let workflow = portal.start_workflow("Order");
    let raw = workflow.open_activity("Fulfil").event_token();
    let event_token = EventToken::parse(&raw).unwrap();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("one line"));
    let report = guard.handle().flush_blocking(PATIENCE).unwrap();
    assert_eq!(report.acknowledged(), 1);
    let accepted = guard.handle().stats().accepted();
    drop(guard);
    assert_eq!(accepted, 1, "hyper's and reqwest's events are not lines");
    assert_eq!(workflow.texts().len(), 1);

    let seen = captured.text();
    assert!(seen.contains("hyper") || seen.contains("reqwest"), "they do log, to others");
    let code = portal.webhook_url();
    let code = code.trim_end_matches('/').rsplit('/').next().unwrap();
    assert!(!seen.contains(code), "the webhook's code is in no layer's output");
    assert!(!seen.contains(&raw), "nor is the event token");
}
