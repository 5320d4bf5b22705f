//! A process that forks after it has built the layer: the child has no worker.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fork::Fork;
use tracing::{info, info_span};
use tracing_bizproc::Completion;
use tracing_bizproc::config::Overflow;
use tracing_bizproc::error::{CompleteError, WorkerError};
use tracing_bizproc::stats::{DropReason, Status};

use crate::app::wait;
use crate::stage::{PATIENCE, Stage, in_child, is_child, lines};

/// Runs `child` in a fork of this process, and checks that it ends without an error.
fn forked(child: impl FnOnce()) {
    match fork::fork().unwrap() {
        Fork::Child => {
            let failed = catch_unwind(AssertUnwindSafe(child)).is_err();
            std::process::exit(i32::from(failed));
        }
        Fork::Parent(process) => assert_eq!(fork::waitpid(process).unwrap(), 0),
    }
}

/// Regression: they stayed pending for ever without a report.
#[test]
fn lines_of_a_forked_process_are_lost_and_counted_and_its_parent_loses_none() {
    if !is_child() {
        return in_child(
            "fork::lines_of_a_forked_process_are_lost_and_counted_and_its_parent_loses_none",
            &[],
        );
    }
    let Stage { portal, guard, bizproc, _subscriber } = Stage::quick();
    let workflow = portal.start_workflow("Order");
    let event_token = crate::stage::token(&workflow.open_activity("Fulfil"));
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| info!("before the fork"));
    assert!(bizproc.flush_blocking(PATIENCE).unwrap().is_complete());

    let mut guard = Some(guard);
    forked(|| {
        span.in_scope(|| (0..3).for_each(|n| info!(n, "in the child")));
        let stats = bizproc.stats();
        assert_eq!((stats.accepted(), stats.acknowledged(), stats.pending()), (4, 1, 0));
        assert_eq!((stats.lost(), stats.by_reason(DropReason::Forked)), (3, 3), "{stats}");

        assert!(matches!(bizproc.flush_blocking(PATIENCE), Err(WorkerError::Forked)));
        assert!(matches!(wait(bizproc.flush(PATIENCE)), Err(WorkerError::Forked)));
        let ended = wait(bizproc.complete(&event_token, Completion::new()));
        assert!(matches!(ended, Err(CompleteError::Worker(WorkerError::Forked))), "{ended:?}");
        assert_ne!(bizproc.health().status(), Status::Ready);
        assert!(bizproc.portals().is_empty());
        let report = guard.take().unwrap().shutdown_blocking(PATIENCE);
        assert!(!report.is_complete());
        assert_eq!(report.lines().by_reason(DropReason::Forked), 3, "{report}");
    });

    span.in_scope(|| info!("after the fork"));
    drop(span);
    let report = guard.take().unwrap().shutdown_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");
    assert_eq!(bizproc.stats().lost(), 0);
    assert_eq!(lines(&workflow), ["before the fork", "after the fork"]);
}

/// This holds for each policy. `Overflow::Block` does not wait, because there will never be room.
#[test]
fn lines_of_a_forked_process_are_bounded_and_counted() {
    if !is_child() {
        return in_child("fork::lines_of_a_forked_process_are_bounded_and_counted", &[]);
    }
    let policies = [Overflow::DropNewest, Overflow::DropOldest, Overflow::Block(PATIENCE)];
    for overflow in policies {
        let stage = Stage::with(bizproc_portal::Portal::builder(), |builder| {
            builder.queue_lines(100).overflow(overflow)
        });
        let (_, _, event_token) = stage.activity();
        forked(|| {
            let span = info_span!("activity", event_token = event_token.as_field()).entered();
            (0..1_000).for_each(|n| info!(n, "in the child"));
            drop(span);
            let stats = stage.bizproc.stats();
            assert_eq!(stats.accepted() + stats.refused(), 1_000, "{stats}");
            assert_eq!(stats.by_reason(DropReason::Forked), stats.accepted(), "{stats}");
            assert!((1..=100).contains(&stats.accepted()), "{stats}");
        });
    }
}
