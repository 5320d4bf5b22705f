//! Ten mistakes that other log shippers have made. Each is held by a test, here or elsewhere:
//! docs/RELIABILITY.md lists them.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use bizproc_portal::{Canned, Fault, Moment, Portal};
use tracing::{Span, info, info_span};
use tracing_bizproc::EventToken;
use tracing_bizproc::config::Overflow;
use tracing_bizproc::stats::DropReason;
use tracing_subscriber::prelude::*;

use crate::stage::{PATIENCE, Stage, in_child, is_child, lines, quick};

/// An answer that says nothing of what was done: the request was not executed.
fn bad_gateway() -> Fault {
    Fault::Answer(Moment::BeforeExecution, Canned::html(502))
}

/// A shipper saw that nothing was in flight, and took that for the end, while the failed request waited for
/// its next try: one 500, and nothing was delivered.
#[test]
fn nothing_in_flight_does_not_mean_that_all_is_done() {
    let stage = Stage::quick();
    stage.portal.faults().next(Fault::Answer(Moment::BeforeExecution, Canned::html(500)));
    let (workflow, _, event_token) = stage.activity();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("one"));
    assert!(stage.portal.wait_for(PATIENCE, |portal| {
        portal.journal().first().is_some_and(|hit| hit.answered.is_some())
    }));
    // The request has failed, and the next try waits for its time.
    let Stage { guard, portal: _portal, .. } = stage;
    let report = guard.shutdown_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");
    assert_eq!(lines(&workflow).last().unwrap(), "one");
}

/// A shipper set a timer that nobody polled: it tried again when the app logged again, and not before.
#[test]
fn a_retry_waits_for_no_further_line() {
    let stage = Stage::quick();
    stage.portal.faults().next(bad_gateway()).next(bad_gateway());
    let (workflow, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| info!("one"));
    // Nothing is logged, flushed or closed from here on.
    let has_come = |workflow: &bizproc_portal::Workflow| !workflow.texts().is_empty();
    assert!(workflow.wait_for(PATIENCE, has_come), "nobody tried again");
    drop(span);
}

/// A shipper moved its cursor past an item whose request had failed: four were sent, one was tried again,
/// and three were delivered.
#[test]
fn an_item_whose_request_has_failed_is_not_passed_over() {
    for failing in 0..4 {
        let stage = Stage::with(Portal::builder(), |builder| builder.entry_bytes(2_000));
        stage.portal.faults().after(failing, bad_gateway());
        let (workflow, _, event_token) = stage.activity();
        let wide = "x".repeat(700);
        // Each line fills an entry with the notices that may stand before it.
        info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
            (1..=4).for_each(|number| info!("line {number} {wide}"));
        });
        let report = stage.bizproc.flush_blocking(PATIENCE).unwrap();
        assert_eq!((report.acknowledged(), report.lost(), report.pending()), (4, 0, 0));
        let log: Vec<String> =
            lines(&workflow).into_iter().filter(|line| line.starts_with("line")).collect();
        let expected: Vec<String> = (1..=4).map(|number| format!("line {number} {wide}")).collect();
        assert_eq!(log, expected, "request {failing} has failed");
        assert!(stage.bizproc.stats().commands() > 4, "the entries were several");
    }
}

/// A shipper lost half of its lines, and said nowhere that it had. Another had no room in its full queue for
/// the flush itself.
#[test]
fn an_overflow_is_counted_to_the_line_and_a_full_queue_takes_the_flush() {
    let stage = Stage::with(Portal::builder(), |builder| {
        builder.overflow(Overflow::DropOldest).pending_lines(5).linger(Duration::from_secs(5))
    });
    let (workflow, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    for number in 0..10 {
        span.in_scope(|| info!("line {number}"));
    }
    stage.bizproc.flush_blocking(PATIENCE).unwrap();
    let log = lines(&workflow);
    let written = log.iter().filter(|line| line.starts_with("line")).count() as u64;
    let stats = stage.bizproc.stats();
    assert!((1..=5).contains(&written), "{log:?}");
    assert_eq!((stats.accepted(), stats.acknowledged()), (10, written), "{stats}");
    assert_eq!(stats.by_reason(DropReason::Evicted), 10 - written, "{stats}");
    assert!(log[0].contains(&format!("{} lines missing", 10 - written)), "{log:?}");

    let stage = Stage::with(Portal::builder(), |builder| builder.queue_lines(1).pending_lines(5));
    stage.portal.faults().next(Fault::Hang(Moment::BeforeExecution));
    let (_, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    for number in 0..1_000 {
        span.in_scope(|| info!("line {number}"));
    }
    let report = stage.bizproc.flush_blocking(Duration::from_millis(100)).unwrap();
    assert!(!report.is_complete() && report.pending() > 0, "{report}");
    let stats = stage.bizproc.stats();
    assert_eq!(stats.accepted() + stats.refused(), 1_000, "{stats}");
    assert!(stats.refused() > 0);
}

thread_local! {
    static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

/// Logs when its thread ends.
struct LastWords(Span, EventToken);

impl Drop for LastWords {
    fn drop(&mut self) {
        // (Entering a span here panics in the Registry of tracing-subscriber itself.)
        info!(parent: &self.0, "last words");
        info!(parent: None, event_token = self.1.as_field(), "really the last words");
    }
}

/// A shipper aborted the process, because it asked for a thread-local value that was gone already. Here such
/// lines are delivered.
#[test]
fn a_line_from_the_destructor_of_a_thread_local_value_is_delivered() {
    if !is_child() {
        let name = "traps::a_line_from_the_destructor_of_a_thread_local_value_is_delivered";
        return in_child(name, &[]);
    }
    let portal = Portal::builder().start().unwrap();
    let (layer, guard) = quick(&portal).build().unwrap();
    tracing_subscriber::registry().with(layer).init();
    let workflow = portal.start_workflow("Order");
    let event_token = workflow.open_activity("Fulfil").event_token();
    let event_token = EventToken::parse(&event_token).unwrap();
    let span = info_span!("activity", event_token = event_token.as_field());
    let for_thread = span.clone();
    std::thread::spawn(move || {
        // Before our own values and those of `tracing`, so that it is dropped behind them.
        LAST_WORDS.set(Some(LastWords(for_thread.clone(), event_token)));
        for_thread.in_scope(|| info!("first words"));
    })
    .join()
    .unwrap();
    span.in_scope(|| info!("as ever"));
    let bizproc = guard.handle();
    let report = guard.shutdown_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");
    let expected = ["first words", "last words", "really the last words", "as ever"];
    assert_eq!(lines(&workflow), expected);
    let stats = bizproc.stats();
    assert_eq!((stats.accepted(), stats.lost()), (stats.acknowledged(), 0), "{stats}");
}

/// A shipper put what had failed behind what came later.
#[test]
fn what_is_tried_again_goes_before_newer_lines() {
    let stage = Stage::quick();
    stage.portal.faults().next(Fault::Reset(Moment::AfterExecution)).next(bad_gateway());
    let (workflow, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| info!("older"));
    assert!(stage.portal.wait_for(PATIENCE, |portal| portal.counters().hits > 0));
    span.in_scope(|| info!("newer"));
    stage.flushed();
    let log = lines(&workflow);
    let place = |text: &str| log.iter().rposition(|line| line == text);
    assert!(place("older") < place("newer"), "{log:?}");
    assert_eq!(log.iter().filter(|line| *line == "newer").count(), 1, "{log:?}");
}

/// The list is not only words.
#[test]
fn every_test_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/RELIABILITY.md")).unwrap();
    let mut sources = String::new();
    read_sources(&root.join("src"), &mut sources);
    read_sources(&root.join("tests"), &mut sources);
    read_sources(&root.join("examples"), &mut sources);
    let names = page.split('`').skip(1).step_by(2);
    let names: Vec<&str> =
        names.filter(|name| name.matches('_').count() >= 3 && !name.contains(['(', ' '])).collect();
    assert!(names.len() >= 20, "the names were found: {names:?}");
    for name in names {
        assert!(sources.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

fn read_sources(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}
