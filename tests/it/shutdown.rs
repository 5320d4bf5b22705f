//! The end of an app with open activities.

use std::sync::mpsc;
use std::task::{Context, Waker};
use std::time::Duration;

use tracing::info;
use tracing_bizproc::Completion;

use crate::app::{AppStage, wait};
use crate::stage::{PATIENCE, lines};

/// Regression: Ctrl-C flushed the lines, but the workflows waited for ever.
#[test]
fn open_activities_end_before_the_worker() {
    let stage = AppStage::new(1);
    let (workflow, opened, verified) = stage.open(0);
    let activity = stage.bizproc.activity(verified).first().unwrap();
    activity.span().in_scope(|| info!("received"));
    let (go, told) = mpsc::channel::<()>();
    let work = std::thread::spawn(move || {
        told.recv().unwrap();
        wait(activity.complete(Completion::new().message("done in time")))
    });
    let mut shutdown = std::pin::pin!(stage.guard.shutdown(PATIENCE));
    assert!(shutdown.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    go.send(()).unwrap();
    let report = wait(shutdown);
    assert!(report.is_complete(), "{report}");
    assert!(work.join().unwrap().is_ok());
    assert!(!opened.is_open());
    assert_eq!(lines(&workflow), ["received", "done in time"]);
}

#[test]
fn activities_that_are_left_open_are_in_the_report() {
    let stage = AppStage::new(1);
    let (_, opened, verified) = stage.open(0);
    let activity = stage.bizproc.activity(verified).first().unwrap();
    activity.span().in_scope(|| info!("received"));
    let report = wait(stage.guard.shutdown(A_WHILE));
    assert!(!report.is_complete() && report.lines().is_complete(), "{report}");
    let [open] = report.open() else { panic!("{report:?}") };
    assert!(open.starts_with(activity.portal().as_str()), "{open}");
    assert!(report.to_string().ends_with("pending=0 lost=0 open=1"), "{report}");
    assert!(opened.is_open());
}

#[test]
fn fail_open_activities_ends_activities_that_are_left_open() {
    for by_drop in [false, true] {
        let stage = AppStage::with(
            1,
            |oauth| oauth,
            |builder| builder.fail_open_activities("the app was stopped"),
        );
        let (workflow, opened, verified) = stage.open(0);
        let (done, _, first) = stage.open(0);
        let first = stage.bizproc.activity(first).first().unwrap();
        wait(first.complete(Completion::new().message("done"))).unwrap();
        let activity = stage.bizproc.activity(verified).first().unwrap();
        activity.span().in_scope(|| info!("received"));
        if by_drop {
            drop(stage.guard);
        } else {
            let report = stage.guard.shutdown_blocking(A_WHILE);
            assert!(report.is_complete(), "{report}");
            assert_eq!((report.failed().len(), report.open().len()), (1, 0));
        }
        assert!(!opened.is_open());
        assert_eq!(lines(&workflow), ["received", "ERROR: the app was stopped"]);
        assert_eq!(done.texts(), ["done"]);
        drop(activity);
        assert_eq!(stage.bizproc.stats().abandoned(), 0);
    }
}

#[test]
fn shutdown_does_not_wait_for_activities_without_a_subscription() {
    let stage = AppStage::new(1);
    let (.., verified) = stage.open_with(0, bizproc_portal::ActivityOptions::without_subscription);
    let activity = stage.bizproc.activity(verified).first().unwrap();
    // If it waited, this would take a minute.
    let report = stage.guard.shutdown_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");
    drop(activity);
}

/// Long enough for a portal on this machine.
const A_WHILE: Duration = Duration::from_secs(2);
