//! A guard that is dropped too early is reported, and loses no lines if possible.

use tracing::{info, info_span};
use tracing_bizproc::stats::DropReason;
use tracing_bizproc::{EventToken, Handle};
use tracing_subscriber::prelude::*;

use crate::stage::{
    Captured, PATIENCE, errors_of_child, eventually, in_child, is_child, lines, quick,
};

/// A function of an app that sets up logging, and drops the guard at its end.
fn init_logging(portal: &bizproc_portal::Portal, captured: &Captured) -> Handle {
    let writer = captured.clone();
    let (layer, _guard) = quick(portal).build().unwrap();
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(move || writer.clone()))
        .with(layer)
        .init();
    _guard.handle()
}

#[test]
fn a_guard_that_is_dropped_before_the_first_line_loses_no_line_and_is_reported_once() {
    if !is_child() {
        let name = "guard::a_guard_that_is_dropped_before_the_first_line_loses_no_line_and_is_reported_once";
        return in_child(name, &[]);
    }
    let portal = bizproc_portal::Portal::builder().start().unwrap();
    let captured = Captured::default();
    let bizproc = init_logging(&portal, &captured);

    let workflow = portal.start_workflow("Order");
    let event_token = EventToken::parse(&workflow.open_activity("Fulfil").event_token()).unwrap();
    for text in ["first", "second"] {
        info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("{text}"));
        assert!(bizproc.flush_blocking(PATIENCE).unwrap().is_complete());
    }
    assert_eq!(lines(&workflow), ["first", "second"]);
    let told = captured.text().matches("the WorkerGuard was dropped before anything").count();
    assert_eq!(told, 1, "{}", captured.text());
}

#[test]
fn a_hidden_report_about_a_dropped_guard_goes_to_standard_error() {
    let name = "guard::a_hidden_report_about_a_dropped_guard_goes_to_standard_error";
    if !is_child() {
        let errors = errors_of_child(name, &[]);
        assert!(errors.contains("the WorkerGuard was dropped before anything"), "{errors}");
        return;
    }
    let portal = bizproc_portal::Portal::builder().start().unwrap();
    let (layer, _) = quick(&portal).build().unwrap();
    tracing_subscriber::registry().with(layer).init();
    let workflow = portal.start_workflow("Order");
    let event_token = EventToken::parse(&workflow.open_activity("Fulfil").event_token()).unwrap();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("delivered"));
    eventually(|| lines(&workflow) == ["delivered"]);
}

#[test]
fn lines_after_a_guard_was_dropped_are_reported_once() {
    if !is_child() {
        return in_child("guard::lines_after_a_guard_was_dropped_are_reported_once", &[]);
    }
    let portal = bizproc_portal::Portal::builder().start().unwrap();
    let captured = Captured::default();
    let writer = captured.clone();
    let (layer, guard) = quick(&portal).build().unwrap();
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(move || writer.clone()))
        .with(layer)
        .init();
    let workflow = portal.start_workflow("Order");
    let event_token = EventToken::parse(&workflow.open_activity("Fulfil").event_token()).unwrap();
    let activity = info_span!("activity", event_token = event_token.as_field());
    activity.in_scope(|| info!("in time"));
    let bizproc = guard.handle();
    drop(guard);
    activity.in_scope(|| (0..3).for_each(|n| info!(n, "too late")));
    assert_eq!(bizproc.stats().by_reason(DropReason::Closed), 3);
    let told = || captured.text().matches("refused because the WorkerGuard is dropped").count();
    eventually(|| told() > 0);
    assert_eq!(told(), 1);
    assert_eq!(lines(&workflow), ["in time"]);
}

#[test]
fn without_guard_and_layer_the_worker_ends() {
    let portal = bizproc_portal::Portal::builder().start().unwrap();
    for layer_first in [true, false] {
        let (layer, guard) = quick(&portal).build::<tracing_subscriber::Registry>().unwrap();
        let bizproc = guard.handle();
        match layer_first {
            true => {
                drop(layer);
                drop(guard);
            }
            false => {
                drop(guard);
                drop(layer);
            }
        }
        eventually(|| bizproc.flush_blocking(PATIENCE).is_err());
    }
}

#[test]
fn two_layers_for_the_same_spans_are_reported_at_once() {
    if !is_child() {
        return in_child("guard::two_layers_for_the_same_spans_are_reported_at_once", &[]);
    }
    let portal = bizproc_portal::Portal::builder().start().unwrap();
    let captured = Captured::default();
    let writer = captured.clone();
    let (one, _one) = quick(&portal).build().unwrap();
    let (other, _other) = quick(&portal).build().unwrap();
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(move || writer.clone()))
        .with(one)
        .with(other)
        .init();
    let workflow = portal.start_workflow("Order");
    let event_token = EventToken::parse(&workflow.open_activity("Fulfil").event_token()).unwrap();
    for _ in 0..2 {
        info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("twice"));
    }
    eventually(|| captured.text().contains("two layers of tracing-bizproc"));
    assert_eq!(captured.text().matches("two layers of tracing-bizproc").count(), 1);
}
