//! Records of the `log` crate that tracing-log turns into events.

use bizproc_portal::Portal;
use log::{debug, info, warn};
use tracing::info_span;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::stage::{PATIENCE, in_child, is_child, lines, quick, token};

/// A record has its level and its target, and no fields that say where it was logged.
#[test]
fn records_inside_a_tagged_span_are_ordinary_lines() {
    if !is_child() {
        return in_child("log_records::records_inside_a_tagged_span_are_ordinary_lines", &[]);
    }
    let portal = Portal::builder().start().unwrap();
    let (layer, guard) = quick(&portal).level(tracing::Level::DEBUG).build().unwrap();
    let shown = Targets::new()
        .with_target("it", LevelFilter::INFO)
        .with_target("payments", LevelFilter::DEBUG)
        .with_target("noisy", LevelFilter::WARN);
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(shown));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing_log::LogTracer::init().unwrap();

    let workflow = portal.start_workflow("Order");
    let event_token = token(&workflow.open_activity("Fulfil"));
    info!("outside");
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
        info!("Order received");
        debug!("below the level of its target");
        debug!(target: "payments", "asking the bank");
        info!(target: "noisy", "below the level of its target");
        warn!(target: "noisy", "Disk is full");
        info_span!("payment", provider = "Kassa").in_scope(|| info!("Card charged"));
        // tracing-log drops key-values.
        info!(amount = 99.5; "Paid");
    });
    assert!(guard.shutdown_blocking(PATIENCE).is_complete());
    let expected = [
        "Order received",
        "asking the bank",
        "WARNING: Disk is full",
        "Card charged (payment: provider=Kassa)",
        "Paid",
    ];
    assert_eq!(lines(&workflow), expected);
}
