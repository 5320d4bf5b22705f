//! Too many lines: all are counted and mentioned in the log, and callers are not delayed.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use bizproc_portal::{Fault, Moment, Portal};
use tracing::{info, info_span};
use tracing_bizproc::config::Overflow;
use tracing_bizproc::fields::Fields;
use tracing_bizproc::stats::DropReason;

use crate::stage::{PATIENCE, Stage, lines};

/// Delays the portal's first answer until the fault of the returned guard is over.
fn stuck(stage: &Stage) {
    stage.portal.faults().next(Fault::Delay(Moment::BeforeExecution, Duration::from_millis(300)));
}

#[test]
fn refused_lines_are_counted_and_mentioned_in_the_log() {
    let stage = Stage::with(Portal::builder(), |builder| builder.pending_lines(10));
    stuck(&stage);
    let (workflow, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    for n in 0..25 {
        span.in_scope(|| info!("line {n}"));
    }
    stage.bizproc.flush_blocking(PATIENCE).unwrap();
    let stats = stage.bizproc.stats();
    assert_eq!((stats.accepted(), stats.by_reason(DropReason::BudgetSpent)), (10, 15));
    assert_eq!((stats.acknowledged(), stats.lost()), (10, 0));

    span.in_scope(|| info!("there is room again"));
    drop(span);
    stage.flushed();
    let log = lines(&workflow);
    let notice = log.iter().find(|line| line.contains("15 lines missing")).unwrap();
    assert!(notice.starts_with("• (15 lines missing since "), "{notice}");
    assert_eq!(log.last().unwrap(), "there is room again");
}

/// How many lines a log says are missing.
fn told_missing(log: &[String]) -> u64 {
    let notices = log.iter().filter_map(|line| line.strip_prefix("• (")?.split_once(" line"));
    notices
        .filter(|(_, rest)| rest.contains("missing since "))
        .map(|(n, _)| n.parse::<u64>().unwrap())
        .sum()
}

const A_MILLISECOND: Duration = Duration::from_millis(1);

/// Three activities log more lines than there is room for, while their portal delays an answer. In each log, the
/// lines and the lines that it says are missing are exactly the lines that were logged. The counters agree.
#[test]
fn with_each_policy_each_line_is_in_its_log_or_mentioned_as_missing() {
    let policies = [
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Block(A_MILLISECOND),
        Overflow::Block(PATIENCE),
    ];
    for overflow in policies {
        for (pending_lines, pending_bytes, queue) in
            [(40, 1 << 20, 1_000), (1_000, 60_000, 1_000), (1_000, 1 << 20, 20)]
        {
            let stage = Stage::with(Portal::builder(), |builder| {
                builder
                    .pending_lines(pending_lines)
                    .pending_bytes(pending_bytes)
                    .queue_lines(queue)
                    .overflow(overflow)
            });
            stuck(&stage);
            let logs: Vec<_> = (0..3).map(|_| stage.activity()).collect();
            let span = |n: usize| info_span!("activity", event_token = logs[n].2.as_field());
            let spans = [span(0), span(1), span(2)];
            let mut logged = [0_u64; 3];
            let padding = "x".repeat(1_000);
            for n in 0..200 {
                spans[n % 3].in_scope(|| info!(padding, "line {n}"));
                logged[n % 3] += 1;
            }
            stage.bizproc.flush_blocking(PATIENCE).unwrap();
            // There is room again, so the next line of each log mentions the missing lines.
            for (n, span) in spans.into_iter().enumerate() {
                span.in_scope(|| info!("at last"));
                logged[n] += 1;
            }
            stage.bizproc.flush_blocking(PATIENCE).unwrap();

            let stats = stage.bizproc.stats();
            let told = format!("{overflow:?}, {pending_lines}, {pending_bytes}, {queue}: {stats}");
            assert_eq!((stats.pending(), stats.late()), (0, 0), "{told}");
            let mut missing = 0;
            for (n, (workflow, ..)) in logs.iter().enumerate() {
                let log = lines(workflow);
                let numbers: Vec<usize> = log
                    .iter()
                    .filter_map(|line| line.strip_prefix("line ")?.split_once(' ')?.0.parse().ok())
                    .collect();
                assert!(numbers.is_sorted_by(|one, next| one < next), "{told}: {numbers:?}");
                assert_eq!(log.iter().filter(|line| *line == "at last").count(), 1, "{told}");
                let shown = numbers.len() as u64 + 1;
                assert_eq!(shown + told_missing(&log), logged[n], "{told}");
                missing += told_missing(&log);
            }
            assert_eq!(stats.lost() + stats.refused(), missing, "{told}");
            assert_eq!(stats.accepted(), stats.acknowledged() + stats.lost(), "{told}");
            // A worker that empties the short queue within a millisecond leaves nothing to refuse.
            let may_fit = overflow == Overflow::Block(A_MILLISECOND) && queue == 20;
            let waits = overflow == Overflow::Block(PATIENCE);
            assert!(may_fit || (missing == 0) == waits, "{told}");
        }
    }
}

/// It is one entry, which says how much was cut, and does not displace other lines.
#[test]
fn a_huge_line_is_cut_and_says_so_with_each_policy() {
    for overflow in [Overflow::DropNewest, Overflow::Block(PATIENCE), Overflow::DropOldest] {
        let stage = Stage::with(Portal::builder(), |builder| builder.overflow(overflow));
        let (workflow, _, event_token) = stage.activity();
        let monster = "слово ".repeat(1_000_000);
        info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
            info!("before");
            info!("{monster}");
            info!("behind");
        });
        stage.flushed();
        let stats = stage.bizproc.stats();
        assert_eq!(
            (stats.acknowledged(), stats.lost(), stats.refused()),
            (3, 0, 0),
            "{overflow:?}"
        );
        let log = lines(&workflow);
        assert_eq!((log.len(), &*log[0], &*log[2]), (3, "before", "behind"), "{overflow:?}");
        let (kept, cut) = log[1].split_once("… (").unwrap();
        assert!(kept.len() > 50_000, "{} bytes are kept", kept.len());
        assert_eq!(
            cut,
            format!("{} bytes more)", monster.trim_end().len() - kept.trim_end().len())
        );
        assert!(workflow.texts().iter().all(|entry| entry.len() <= 60_000));
    }
}

/// Each line repeats the fields of the spans around it.
#[test]
fn long_fields_of_spans_are_charged_for_each_line() {
    let stage = Stage::with(Portal::builder(), |builder| {
        builder.pending_bytes(100_000).fields(Fields::new().longest_in_spans(15_000))
    });
    let (_, _, event_token) = stage.activity();
    let text = "x".repeat(15_000);
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| {
        info_span!("request", text).in_scope(|| {
            info_span!("step", text).in_scope(|| (0..10).for_each(|n| info!("line {n}")));
        });
    });
    let stats = stage.bizproc.stats();
    assert_eq!((stats.accepted(), stats.by_reason(DropReason::BudgetSpent)), (3, 7));
    stage.flushed();
    span.in_scope(|| info!("there is room again"));
    stage.flushed();
    assert_eq!(stage.bizproc.stats().acknowledged(), 4);
}

#[test]
fn a_line_that_is_larger_than_the_budget_is_accepted_alone() {
    for overflow in [Overflow::DropNewest, Overflow::Block(PATIENCE), Overflow::DropOldest] {
        let stage = Stage::with(Portal::builder(), |builder| {
            builder.pending_bytes(100_000).portal_share(0.5).overflow(overflow)
        });
        let (_, _, event_token) = stage.activity();
        let text = "x".repeat(150_000);
        info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
            let span = info_span!("request", text).entered();
            info!("the first");
            stage.flushed();
            info!("the second");
            drop(span);
        });
        stage.flushed();
        let stats = stage.bizproc.stats();
        assert_eq!(
            (stats.acknowledged(), stats.lost(), stats.refused()),
            (2, 0, 0),
            "{overflow:?}"
        );
    }
}

#[test]
fn drop_oldest_keeps_the_newest_lines_and_mentions_the_others() {
    let stage = Stage::with(Portal::builder(), |builder| {
        builder
            .pending_lines(10)
            .overflow(Overflow::DropOldest)
            .linger(Duration::from_secs(5))
            .queue_lines(1_000)
    });
    let mut workflows = Vec::new();
    for n in 0..25 {
        let (workflow, _, event_token) = stage.activity();
        let span = info_span!("activity", event_token = event_token.as_field());
        span.in_scope(|| info!("line {n}"));
        workflows.push((workflow, span));
    }
    stage.bizproc.flush_blocking(PATIENCE).unwrap();
    let stats = stage.bizproc.stats();
    assert_eq!((stats.accepted(), stats.refused()), (25, 0));
    assert_eq!(stats.by_reason(DropReason::Evicted), 15);
    assert_eq!(stats.acknowledged(), 10);
    for (n, (workflow, _)) in workflows.iter().enumerate() {
        let expected = format!("line {n}");
        assert_eq!(lines(workflow).contains(&expected), n >= 15, "{n}");
    }
}

/// Regression: while a loop logged 20,000 lines per second, only 140 of 600 lines of other activities arrived.
#[test]
fn activities_lose_nothing_while_a_loop_logs_at_full_speed() {
    let stage =
        Stage::with(Portal::builder(), |builder| builder.queue_lines(4_000).pending_lines(8_000));
    // No line is acknowledged in the meantime.
    let slow = Fault::Delay(Moment::BeforeExecution, Duration::from_secs(1));
    stage.portal.faults().next(slow);
    let refused = || stage.bizproc.stats().by_reason(DropReason::TokenShare);
    let (_, _, loud) = stage.activity();
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    let done = AtomicBool::new(false);
    let workflows: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| {
            tracing::dispatcher::with_default(&dispatch, || {
                let span = info_span!("loud", event_token = loud.as_field()).entered();
                while !done.load(SeqCst) {
                    info!("again and again");
                }
                drop(span);
            });
        });
        while refused() == 0 {
            thread::yield_now();
        }
        let log = |n: usize| {
            let (workflow, _, event_token) = stage.activity();
            let span = info_span!("quiet", event_token = event_token.as_field());
            (0..20).for_each(|line| span.in_scope(|| info!("line {line} of {n}")));
            workflow
        };
        let workflows = (0..30).map(log).collect();
        done.store(true, SeqCst);
        workflows
    });
    stage.flushed();
    for (n, workflow) in workflows.iter().enumerate() {
        let expected: Vec<_> = (0..20).map(|line| format!("line {line} of {n}")).collect();
        assert_eq!(lines(workflow), expected);
    }
    let stats = stage.bizproc.stats();
    assert_eq!(stats.refused(), refused(), "of the loud one only: {stats}");
    assert!(stats.accepted() > 2_500, "which had its share: {stats}");
}

#[test]
fn overflow_block_loses_nothing() {
    let stage = Stage::with(Portal::builder(), |builder| {
        builder.pending_lines(10).overflow(Overflow::Block(PATIENCE))
    });
    let (workflow, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    for n in 0..100 {
        span.in_scope(|| info!("line {n}"));
    }
    stage.flushed();
    let expected: Vec<_> = (0..100).map(|n| format!("line {n}")).collect();
    assert_eq!(lines(&workflow), expected);
}

#[test]
fn overflow_block_waits_no_longer_than_its_timeout() {
    let asked = Duration::from_millis(50);
    let stage = Stage::with(Portal::builder(), |builder| {
        builder.pending_lines(1).overflow(Overflow::Block(asked)).shutdown_timeout(Duration::ZERO)
    });
    stage.portal.faults().next(Fault::Hang(Moment::BeforeExecution));
    let (_, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| info!("accepted"));
    let start = Instant::now();
    span.in_scope(|| info!("refused"));
    let waited = start.elapsed();
    // The margin is for a busy machine. The next longer wait here would take minutes.
    assert!(waited >= asked && waited < asked + Duration::from_secs(20), "{waited:?}");
    let stats = stage.bizproc.stats();
    assert_eq!((stats.accepted(), stats.by_reason(DropReason::BudgetSpent)), (1, 1));
}
