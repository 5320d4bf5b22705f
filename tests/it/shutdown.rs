//! The end of an app with open activities.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use bizproc_portal::{Fault, Moment, Portal};
use tracing::{info, info_span};
use tracing_bizproc::error::WorkerError;
use tracing_bizproc::stats::DropReason;
use tracing_bizproc::{Completion, Handle, WorkerGuard};

use crate::app::{AppStage, wait};
use crate::stage::{PATIENCE, Stage, eventually, lines};

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

/// An app with a line in a request that hangs, and 20 lines after it.
fn hung() -> Stage {
    let stage = Stage::with(Portal::builder(), |builder| builder.shutdown_timeout(SHORT));
    stage.portal.faults().next(Fault::Hang(Moment::BeforeExecution));
    let (_, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field()).entered();
    info!("on its way");
    stage.portal.wait_for(PATIENCE, |portal| portal.counters().hits > 0);
    (0..20).for_each(|n| info!("line {n}"));
    drop(span);
    stage
}

/// After a shutdown that ran out of time: each line is counted, none is pending. The worker may need a
/// moment more for that than its guard has waited, on a busy machine.
fn all_is_counted(bizproc: &Handle) {
    eventually(|| bizproc.stats().pending() == 0);
    let stats = bizproc.stats();
    assert_eq!(
        (stats.accepted(), stats.by_reason(DropReason::ShutdownDeadline)),
        (21, 21),
        "{stats}"
    );
    assert!(matches!(bizproc.flush_blocking(PATIENCE), Err(WorkerError::Closed)));
}

/// The portal hangs, and none of these may wait for it. `cargo bench --bench shutdown` measures how long they take.
#[test]
fn a_shutdown_ends_in_each_kind_of_thread_and_runtime() {
    type Way = fn(WorkerGuard);
    let ways: [Way; 8] = [
        |guard| drop(guard.shutdown_blocking(SHORT)),
        drop,
        |guard| drop(current_thread().block_on(guard.shutdown(SHORT))),
        |guard| current_thread().block_on(async { drop(guard) }),
        |guard| drop(multi_thread().block_on(guard.shutdown(SHORT))),
        |guard| {
            let runtime = multi_thread();
            runtime.block_on(async { tokio::spawn(async { drop(guard) }).await }).unwrap();
        },
        // The runtime is gone before the guard that one of its tasks holds.
        |guard| {
            drop(multi_thread().spawn(async {
                std::future::pending::<()>().await;
                drop(guard)
            }))
        },
        |guard| {
            thread_local!(static GUARD: RefCell<Option<WorkerGuard>> = const { RefCell::new(None) });
            let thread = thread::spawn(|| GUARD.set(Some(guard)));
            thread.join().unwrap();
        },
    ];
    for way in ways {
        let Stage { portal: _portal, guard, bizproc, _subscriber } = hung();
        way(guard);
        all_is_counted(&bizproc);
    }
}

#[test]
fn a_panic_that_unwinds_main_shuts_down() {
    let Stage { portal, guard, bizproc, _subscriber } = Stage::quick();
    let workflow = portal.start_workflow("Order");
    let event_token = crate::stage::token(&workflow.open_activity("Fulfil"));
    let panicked = thread::scope(|scope| {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let main = move || {
            let _guard = guard;
            tracing::dispatcher::with_default(&dispatch, || {
                info_span!("activity", event_token = event_token.as_field())
                    .in_scope(|| info!("the last line"));
            });
            panic!("this is what the test is about");
        };
        scope.spawn(main).join().is_err()
    });
    assert!(panicked);
    assert_eq!(lines(&workflow), ["the last line"]);
    assert!(matches!(bizproc.flush_blocking(PATIENCE), Err(WorkerError::Closed)));
}

/// The other callers get an answer or an error, and each line is in exactly one counter.
#[test]
fn a_shutdown_during_logging_and_flushes_counts_each_line_once() {
    let Stage { portal: _portal, guard, bizproc, _subscriber } = Stage::quick();
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    let workflow = _portal.start_workflow("Order");
    let event_token = crate::stage::token(&workflow.open_activity("Fulfil"));
    let logged = AtomicU64::new(0);
    let lines_of = |n: usize| {
        let span = info_span!("activity", n, event_token = event_token.as_field()).entered();
        while bizproc.stats().by_reason(DropReason::Closed) == 0 {
            info!("a line");
            logged.fetch_add(1, SeqCst);
        }
        drop(span);
    };
    thread::scope(|scope| {
        for n in 0..2 {
            let (dispatch, lines_of) = (dispatch.clone(), &lines_of);
            scope.spawn(move || tracing::dispatcher::with_default(&dispatch, || lines_of(n)));
        }
        scope.spawn(|| while bizproc.flush_blocking(PATIENCE).is_ok() {});
        eventually(|| bizproc.stats().acknowledged() > 0);
        drop(guard.shutdown_blocking(PATIENCE));
    });
    eventually(|| bizproc.stats().pending() == 0);
    let stats = bizproc.stats();
    assert_eq!(stats.accepted(), stats.acknowledged() + stats.lost(), "{stats}");
    assert_eq!(stats.accepted() + stats.refused(), logged.load(SeqCst), "{stats}");
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The time for a shutdown that cannot succeed.
const SHORT: Duration = Duration::from_millis(200);
