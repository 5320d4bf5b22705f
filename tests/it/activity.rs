//! An activity from the portal's request to its end, as a handler sees it.

use std::time::Duration;

use bizproc_portal::{ActivityOptions, PropertyValue};
use tracing::subscriber::DefaultGuard;
use tracing::{info, info_span};
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::error::WorkerError;
use tracing_bizproc::{Completion, Handle, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::prelude::*;

use crate::app::{AppStage, credentials, quick, wait};
use crate::stage::{Captured, PATIENCE, in_child, is_child, lines};

#[test]
fn lines_of_a_handler_are_in_the_log_before_the_activity_ends() {
    let stage = AppStage::new(1);
    let (workflow, portals, verified) =
        stage.open_with(0, |activity| activity.property("Order", "1042"));
    let activity = stage.bizproc.activity(verified).first().unwrap();
    assert_eq!(activity.property("Order").and_then(|order| order.as_str()), Some("1042"));
    activity.span().in_scope(|| info!("received"));
    assert!(wait(activity.flush(PATIENCE)).unwrap().is_complete());
    assert_eq!(lines(&workflow), ["received"]);

    activity.span().in_scope(|| info!("shipped"));
    let completion = Completion::new().value("status", "shipped").message("Done");
    let report = wait(activity.complete(completion)).unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(lines(&workflow), ["received", "shipped", "Done"]);
    assert!(!portals.is_open());

    activity.span().in_scope(|| info!("too late"));
    wait(activity.flush(PATIENCE)).unwrap();
    assert_eq!(stage.bizproc.stats().late(), 1);
    assert!(workflow.lost().is_empty(), "nothing was sent to a closed activity");

    drop(activity);
    let stats = stage.bizproc.stats();
    assert_eq!((stats.abandoned(), stats.lost()), (0, 0), "{stats}");
    let portal = stage.bizproc.portals().remove(0);
    assert_eq!(portal.portal(), Some(stage.portals[0].portal.member_id()));
    assert_eq!((portal.acknowledged(), portal.late(), portal.pending()), (2, 1, 0));
}

/// A layer behind a filter of the whole subscriber, and the printed output.
pub(crate) fn behind(
    filter: &str,
    stage: &AppStage,
) -> (Handle, Captured, (DefaultGuard, WorkerGuard)) {
    let oauth = credentials(&stage.portals[0], stage.store.clone());
    let (layer, guard) = quick(oauth).build().unwrap();
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::registry()
        .with(EnvFilter::new(filter))
        .with(layer)
        .with(tracing_subscriber::fmt::layer().with_writer(move || writer.clone()))
        .set_default();
    (guard.handle(), captured, (subscriber, guard))
}

#[test]
fn a_filter_with_the_crates_target_lets_the_activity_pass() {
    let stage = AppStage::new(1);
    let (bizproc, _, _kept) = behind("it=info,tracing_bizproc=info", &stage);
    let (workflow, _, verified) = stage.open(0);
    let activity = bizproc.activity(verified).first().unwrap();
    activity.span().in_scope(|| info!("received"));
    wait(activity.complete(Completion::new())).unwrap();
    assert_eq!(lines(&workflow)[0], "received");
}

#[test]
fn a_filter_that_hides_the_span_is_reported_and_the_apps_own_span_works() {
    let stage = AppStage::new(1);
    let (bizproc, captured, _kept) = behind("it=info,tracing_bizproc=warn", &stage);
    let (workflow, _, verified) = stage.open(0);
    let activity = bizproc.activity(verified).first().unwrap();
    for _ in 0..2 {
        activity.span().in_scope(|| info!("nowhere"));
    }
    let said = captured.text();
    assert_eq!(said.matches("a filter hides the activity's span").count(), 1, "{said}");
    assert_eq!(bizproc.stats().accepted(), 0);

    let event_token = activity.event_token().as_field();
    let own = info_span!("own", event_token, portal = activity.portal().as_str());
    own.in_scope(|| info!("received"));
    wait(activity.complete(Completion::new())).unwrap();
    assert_eq!(lines(&workflow)[0], "received");
}

#[test]
fn a_webhook_of_the_portal_delivers_what_an_activity_logs() {
    let stage = AppStage::new(1);
    let (workflow, _, verified) = stage.open(0);
    let portal = &stage.portals[0].portal;
    let webhook = Webhook::new(portal.webhook_url()).unwrap().for_portal(portal.member_id());
    let (layer, guard) = tracing_bizproc::builder(webhook).build().unwrap();
    let _subscriber = tracing_subscriber::registry().with(layer).set_default();
    let activity = guard.handle().activity(verified).first().unwrap();
    activity.span().in_scope(|| info!("received"));
    wait(activity.complete(Completion::new())).unwrap();
    assert_eq!(lines(&workflow)[0], "received");
}

#[test]
fn a_failure_is_the_last_line() {
    let stage = AppStage::new(1);
    let (workflow, portals, verified) = stage.open(0);
    let activity = stage.bizproc.activity(verified).first().unwrap();
    wait(activity.fail("the bank does not answer")).unwrap();
    assert_eq!(workflow.texts(), ["ERROR: the bank does not answer"]);
    assert!(portals.completion().is_some());
}

#[test]
fn an_activity_that_is_dropped_without_an_end_is_counted() {
    let stage = AppStage::new(1);
    let (_, portals, verified) = stage.open(0);
    let activity = stage.bizproc.activity(verified).first().unwrap();
    // Never polled, so the worker was never asked.
    drop(activity.complete(Completion::new()));
    drop(activity);
    assert_eq!(stage.bizproc.stats().abandoned(), 1);
    assert!(portals.is_open());
}

#[test]
fn an_activity_without_a_subscription_sends_nothing() {
    let stage = AppStage::new(1);
    let (workflow, _, verified) = stage.open_with(0, ActivityOptions::without_subscription);
    let activity = stage.bizproc.activity(verified).first().unwrap();
    activity.span().in_scope(|| info!("nowhere"));
    wait(activity.complete(Completion::new())).unwrap();
    drop(activity);
    let stats = stage.bizproc.stats();
    assert_eq!((stats.accepted(), stats.requests(), stats.abandoned()), (0, 0, 0));
    assert!(workflow.entries().is_empty() && workflow.lost().is_empty());
}

/// `worker/tests/portals.rs` tests the exact time, with its own clock.
#[test]
fn lines_after_the_timeout_of_the_activity_are_late() {
    let stage = AppStage::new(1);
    let minute = Duration::from_secs(60);
    let (workflow, _, verified) =
        stage.open_sent_before(minute, 0, |activity| activity.timeout(minute));
    let activity = stage.bizproc.activity(verified).first().unwrap();
    activity.span().in_scope(|| info!("too late"));
    wait(activity.flush(PATIENCE)).unwrap();
    let stats = stage.bizproc.stats();
    assert_eq!((stats.late(), stats.requests()), (1, 0), "{stats}");
    assert!(workflow.texts().is_empty() && workflow.lost().is_empty());
    wait(activity.complete(Completion::new())).unwrap();
}

#[test]
fn lines_before_the_timeout_of_the_activity_are_written() {
    let stage = AppStage::new(1);
    let minute = Duration::from_secs(60);
    let (workflow, _, verified) = stage.open_with(0, |activity| activity.timeout(minute));
    let activity = stage.bizproc.activity(verified).first().unwrap();
    activity.span().in_scope(|| info!("in time"));
    assert!(wait(activity.flush(PATIENCE)).unwrap().is_complete());
    assert_eq!(lines(&workflow), ["in time"]);
    wait(activity.complete(Completion::new())).unwrap();
}

#[test]
fn without_a_worker_an_activity_can_be_opened_but_not_ended() {
    let stage = AppStage::new(1);
    let (_, _, verified) = stage.open(0);
    let AppStage { bizproc, guard, subscriber, portals: _portals, .. } = stage;
    guard.shutdown_blocking(PATIENCE);
    let activity = bizproc.activity(verified).first().unwrap();
    activity.span().in_scope(|| info!("nowhere"));
    assert_eq!(wait(activity.flush(PATIENCE)), Err(WorkerError::Closed));
    assert!(wait(activity.complete(Completion::new())).is_err());
    drop(activity);
    assert_eq!(bizproc.stats().abandoned(), 1);
    drop(subscriber);
}

/// `worker/tests/portals.rs` tests that the warning comes before.
#[test]
fn lines_that_are_pending_at_the_timeout_are_reported() {
    if !is_child() {
        return in_child("activity::lines_that_are_pending_at_the_timeout_are_reported", &[]);
    }
    let captured = Captured::default();
    let writer = captured.clone();
    let printed = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    // For reports of the worker's thread, which go to the global subscriber.
    tracing_subscriber::registry().with(printed).init();

    let stage = AppStage::new(1);
    let minute = Duration::from_secs(60);
    let (_, _, verified) = stage.open_sent_before(minute, 0, |activity| activity.timeout(minute));
    // Not earlier: a portal does not call an app that is not paid.
    stage.portals[0].app.set_paid(false);
    verified.span().in_scope(|| info!("a line"));
    // The worker gets the line first, and then the time for which the portal waits.
    let activity = stage.bizproc.activity(verified).first().unwrap();
    wait(activity.flush(PATIENCE)).unwrap();
    let stats = stage.bizproc.stats();
    assert_eq!((stats.accepted(), stats.late(), stats.pending()), (1, 1, 0), "{stats}");
    drop(stage);
    let said = captured.text();
    for told in
        ["the portal soon stops waiting for an activity", "lines were logged, or were still"]
    {
        assert!(said.contains(told), "{said}");
    }
}

/// The portal converts them with the settings of its site. They are not values of the REST API.
#[test]
fn properties_of_every_kind_have_their_types() {
    let stage = AppStage::new(1);
    let list = |values: Vec<PropertyValue>| PropertyValue::List(values);
    let (.., verified) = stage.open_with(0, |activity| {
        activity
            .property("Yes", true)
            .property("Count", 42)
            .property("Sum", 1.5)
            .property("User", PropertyValue::User(5))
            .property("Users", list(vec![PropertyValue::User(5), PropertyValue::User(7)]))
            .property("File", PropertyValue::File(101))
            .property("Files", list(vec![PropertyValue::File(101), PropertyValue::File(102)]))
            .property("Tags", vec!["new", "дорого"])
            .property("None", PropertyValue::Null)
            .property("Empty", list(Vec::new()))
    });
    assert_eq!(verified.input("Yes").boolean(), Ok(true));
    assert_eq!(verified.input("Count").integer(), Ok(42));
    assert_eq!(verified.input("Sum").number(), Ok(1.5));
    assert_eq!(verified.input("User").user(), Ok(5));
    assert_eq!(verified.input("Users").users(), Ok(vec![5, 7]));
    assert_eq!(verified.input("File").files(), Ok(vec![101]));
    assert_eq!(verified.input("Files").files(), Ok(vec![101, 102]));
    assert_eq!(verified.input("Tags").texts(), Ok(vec!["new", "дорого"]));
    for missing in ["None", "Empty", "Undeclared"] {
        assert!(!verified.input(missing).is_set(), "{missing}");
        assert_eq!(verified.input(missing).texts(), Ok(vec![]));
    }
    assert!(verified.property("Empty").is_none(), "an empty array sends nothing");
}
