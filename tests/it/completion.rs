//! The end of an activity whose lines cannot be delivered: the process does not wait for the log.

use std::time::{Duration, Instant};

use bizproc_portal::{CommandOutcome, Fault, Moment, Workflow};
use tracing::info;
use tracing_bizproc::Completion;
use tracing_bizproc::app::Activity;

use crate::app::{AppStage, wait};
use crate::stage::{PATIENCE, lines};

#[test]
fn an_activity_ends_within_its_deadline_also_if_its_lines_are_lost() {
    let (stage, workflow, portals, activity) = logged_in_time();
    let portal = &stage.portals[0].portal;

    // The next call is executed and not answered. After that the portal executes no lines.
    portal.faults().next(Fault::Hang(Moment::AfterExecution));
    for method in ["bizproc.activity.log", "batch"] {
        portal.faults().on_method(method, Fault::Hang(Moment::BeforeExecution));
    }
    activity.span().in_scope(|| {
        info!("of unknown outcome");
        info!("in the same entry");
    });
    let no_time = Duration::ZERO;
    assert_eq!(wait(activity.flush(no_time)).unwrap().pending(), 2);
    assert!(portal.wait_for(PATIENCE, |portal| portal.journal().len() == 2));
    let since = Instant::now();
    let completion = Completion::new().value("status", "shipped").timeout(SLOW);
    let report = wait(activity.complete(completion)).unwrap();
    let took = since.elapsed();

    assert!(!report.is_complete(), "{report}");
    assert!(!portals.is_open());
    // The portal is on this machine, but a test machine may be busy.
    assert!(took >= SLOW / 2 && took < SLOW + PATIENCE / 6, "{took:?}");
    let sent = portal.journal();
    let ended = sent.iter().position(|hit| hit.rest_method == "bizproc.event.send").unwrap();
    let written = |hit: &bizproc_portal::Hit| {
        hit.commands.iter().any(|command| command.outcome == CommandOutcome::Written)
    };
    assert!(!sent[ended..].iter().any(written));
    assert!(workflow.lost().is_empty(), "no line went to a closed activity");
    assert_eq!(lines(&workflow)[..3], ["in time", "of unknown outcome", "in the same entry"]);

    // Each line is counted.
    assert_eq!(wait(activity.flush(PATIENCE)).unwrap().pending(), 0);
    let stats = stage.bizproc.stats();
    assert_eq!((stats.accepted(), stats.acknowledged(), stats.late()), (3, 1, 2), "{stats}");
    assert_eq!((stats.lost(), stats.pending()), (0, 0), "{stats}");
    assert!(stats.unknown_outcomes() >= 1);
}

/// The last entry and the end are in one request, and its answer is lost. The end is repeated, which has no
/// other effect. The lines are counted as late, because it is not known whether they were written.
#[test]
fn an_end_whose_answer_was_lost_is_repeated() {
    let (stage, workflow, portals, activity) = logged_in_time();
    let portal = &stage.portals[0].portal;

    portal.faults().next(Fault::Hang(Moment::AfterExecution));
    activity.span().in_scope(|| info!("with the end"));
    let completion = Completion::new().value("status", "shipped").timeout(SLOW);
    wait(activity.complete(completion)).unwrap();
    assert!(!portals.is_open());
    let methods: Vec<_> = portal.journal().into_iter().map(|hit| hit.rest_method).collect();
    assert_eq!(methods[..2], ["bizproc.activity.log", "batch"]);
    assert!(methods.len() > 2, "{methods:?}");
    assert_eq!(lines(&workflow)[..2], ["in time", "with the end"]);
    let stats = stage.bizproc.stats();
    assert_eq!((stats.accepted(), stats.lost(), stats.pending()), (2, 0, 0), "{stats}");
    assert_eq!(stats.unknown_outcomes(), 1, "{stats}");
}

/// Regression: it was cut at the size of an entry, without a note.
#[test]
fn a_last_message_that_is_longer_than_an_entry_says_what_was_cut() {
    let stage = AppStage::new(1);
    let (workflow, _, verified) = stage.open(0);
    let activity = stage.bizproc.activity(verified).first().unwrap();
    let message = "слово ".repeat(20_000);
    wait(activity.complete(Completion::new().message(&message))).unwrap();
    let texts = workflow.texts();
    let (kept, cut) = texts[0].rsplit_once("… (").unwrap();
    let cut: usize = cut.strip_suffix(" bytes more)").unwrap().parse().unwrap();
    assert_eq!(kept.len() + cut, message.len());
    assert!(texts[0].len() <= 60_000);
}

/// Regression: PHP counts "0" as empty, so the portal wrote its default text.
#[test]
fn a_last_message_that_php_counts_as_empty_is_written() {
    let stage = AppStage::new(1);
    let (workflow, _, verified) = stage.open(0);
    let activity = stage.bizproc.activity(verified).first().unwrap();
    wait(activity.complete(Completion::new().message("0"))).unwrap();
    assert_eq!(workflow.texts(), ["0\u{2060}"]);
}

/// A workflow, its activity on the portal and in the app. One line was written.
fn logged_in_time() -> (AppStage, Workflow, bizproc_portal::Activity, Activity) {
    let stage = AppStage::with(1, |oauth| oauth, |builder| builder.request_timeout(SLOW / 2));
    let (workflow, portals, verified) = stage.open(0);
    let activity = stage.bizproc.activity(verified).first().unwrap();
    activity.span().in_scope(|| info!("in time"));
    assert!(wait(activity.flush(PATIENCE)).unwrap().is_complete());
    (stage, workflow, portals, activity)
}

/// How long the end of the activity waits for its lines.
const SLOW: Duration = Duration::from_millis(800);
