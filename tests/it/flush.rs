//! Flush and shutdown: from every kind of caller, within their deadlines, with correct reports.

use std::time::{Duration, Instant};

use bizproc_portal::{Fault, Moment, Portal};
use tracing::{info, info_span};
use tracing_bizproc::error::WorkerError;
use tracing_bizproc::stats::DropReason;

use crate::stage::{PATIENCE, Stage, lines};

fn log_one(stage: &Stage) -> bizproc_portal::Workflow {
    let (workflow, _, event_token) = stage.activity();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("one"));
    workflow
}

#[test]
fn a_sync_main_flushes_and_shuts_down() {
    let stage = Stage::quick();
    let workflow = log_one(&stage);
    assert_eq!(stage.bizproc.flush_blocking(PATIENCE).unwrap().acknowledged(), 1);
    log_one(&stage);
    let Stage { guard, bizproc, portal: _portal, .. } = stage;
    assert_eq!(guard.shutdown_blocking(PATIENCE).lines().acknowledged(), 1);
    assert_eq!(lines(&workflow), ["one"]);
    assert_eq!(bizproc.flush_blocking(PATIENCE), Err(WorkerError::Closed));
}

#[tokio::test(flavor = "current_thread")]
async fn a_current_thread_runtime_flushes_both_ways_and_drops_the_guard() {
    both_ways().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_multi_thread_runtime_flushes_both_ways_and_drops_the_guard() {
    both_ways().await;
}

async fn both_ways() {
    let stage = Stage::quick();
    log_one(&stage);
    assert_eq!(stage.bizproc.flush(PATIENCE).await.unwrap().acknowledged(), 1);
    log_one(&stage);
    assert_eq!(stage.bizproc.flush_blocking(PATIENCE).unwrap().acknowledged(), 1);
    let workflow = log_one(&stage);
    let Stage { guard, portal: _portal, .. } = stage;
    drop(guard);
    assert_eq!(lines(&workflow), ["one"], "the drop delivers what was pending");
}

#[test]
fn a_flush_of_one_token_does_not_wait_for_others() {
    let stage = Stage::quick();
    let (_, _, quiet) = stage.activity();
    log_one(&stage);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let report = runtime.block_on(stage.bizproc.flush_token(&quiet, PATIENCE)).unwrap();
    assert_eq!(report, Default::default(), "that token has logged nothing");
}

#[test]
fn deadlines_hold_against_a_portal_that_never_answers() {
    let stage = Stage::with(Portal::builder(), |builder| {
        builder.shutdown_timeout(Duration::from_millis(300))
    });
    stage.portal.faults().next(Fault::Hang(Moment::BeforeExecution));
    log_one(&stage);
    let start = Instant::now();
    let report = stage.bizproc.flush_blocking(Duration::from_millis(200)).unwrap();
    assert_eq!((report.acknowledged(), report.pending()), (0, 1));
    let Stage { guard, bizproc, portal: _portal, .. } = stage;
    drop(guard);
    // This is not a measurement. Without a deadline it would take the 75 s of the request.
    assert!(start.elapsed() < Duration::from_secs(30));
    let stats = bizproc.stats();
    assert_eq!((stats.pending(), stats.by_reason(DropReason::ShutdownDeadline)), (0, 1));
}

#[test]
fn lines_after_the_shutdown_are_refused_and_counted() {
    let stage = Stage::quick();
    let (_, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| info!("in time"));
    let Stage { guard, bizproc, portal: _portal, _subscriber } = stage;
    drop(guard);
    span.in_scope(|| info!("nobody is there"));
    let stats = bizproc.stats();
    assert_eq!((stats.accepted(), stats.by_reason(DropReason::Closed)), (1, 1));
}
