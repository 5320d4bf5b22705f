//! What a run makes of what earlier runs have left: ends, doubts, old lines, and lines that are gone.

use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::kept::{Answers, Portal, Run, keeping, pass, settled};
use super::{Stage, options, tag};
use crate::config::UnknownOutcome;
use crate::journal::desk::Said;
use crate::journal::memory::{Disk, Faults};
use crate::journal::{
    Batch, Chunk, Content, Evicted, Mark, MarkKind, Publisher, StoredEnd, StoredLine,
};
use crate::line::PortalId;
use crate::queue::{Control, Forget};
use crate::stats::DropReason;

/// What a run that has ended wrote for one token.
pub(super) async fn left(disk: &Disk, contents: Vec<Content>) -> Publisher {
    left_for(disk, None, contents).await
}

pub(super) async fn left_for(
    disk: &Disk,
    portal: Option<PortalId>,
    contents: Vec<Content>,
) -> Publisher {
    let publisher = Publisher(disk.next_publisher());
    let event_token = tag(1).event_token.clone();
    let chunk = |content| Chunk {
        portal: portal.clone(),
        event_token: event_token.clone(),
        content,
        about: None,
    };
    let chunks = contents.into_iter().map(chunk).collect();
    disk.open().append(&Batch { publisher, no: 1, chunks }).await.unwrap();
    publisher
}

fn line(no: u64, ago: Duration) -> StoredLine {
    let at = SystemTime::now() - ago;
    let body = format!("#{no}#");
    StoredLine { no, at, level: tracing::Level::INFO, body, cut: 0, tried: false }
}

pub(super) fn lines(numbers: std::ops::RangeInclusive<u64>) -> Content {
    Content::Lines(numbers.map(|no| line(no, Duration::ZERO)).collect())
}

fn end(no: u64, deadline: SystemTime, waits_until: Option<SystemTime>) -> Content {
    let values = r#"{"status":"done"}"#.to_owned();
    Content::End(StoredEnd { no, values, message: None, failed: false, deadline, waits_until })
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_deadline_has_passed_goes_at_once_and_its_lines_are_late() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let before = SystemTime::now() - Duration::from_secs(60);
    left(&disk, vec![lines(1..=3), end(4, before, None)]).await;
    // Reading takes its time: the end does not wait for it.
    disk.fail(Faults { takes: Duration::from_millis(400), ..Faults::default() });
    let run = Run::start(&disk, &portal, options());
    pass(2.0).await;
    assert_eq!(portal.ends(), 1);
    settled(&run, 60).await;
    pass(5.0).await;
    run.adds_up();
    let stats = run.stats();
    assert_eq!(stats.recovered(), 3, "{stats}");
    assert_eq!(stats.late() + stats.acknowledged(), 3, "{stats}");
    assert_eq!((disk.unsettled(), disk.unsettled_ends()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_end_in_time_goes_behind_its_lines() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let later = SystemTime::now() + Duration::from_secs(600);
    left(&disk, vec![lines(1..=200), end(201, later, Some(later))]).await;
    let run = Run::start(&disk, &portal, options().pending_lines(60));
    settled(&run, 600).await;
    pass(10.0).await;
    run.adds_up();
    assert_eq!((portal.lines().len(), portal.ends()), (200, 1));
    assert_eq!((run.stats().late(), disk.unsettled_ends()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_end_of_an_activity_that_timed_out_is_counted_and_not_sent() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let before = SystemTime::now() - Duration::from_secs(60);
    left(&disk, vec![lines(1..=2), end(3, before, Some(before))]).await;
    let run = Run::start(&disk, &portal, options());
    settled(&run, 60).await;
    pass(200.0).await;
    assert_eq!((portal.ends(), run.stats().late_ends()), (0, 1));
    assert_eq!(disk.unsettled_ends(), 0);
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn with_give_up_tried_lines_are_not_sent_again() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let publisher = left(&disk, vec![lines(1..=4)]).await;
    let event_token = tag(1).event_token.clone();
    let mark = |from, up_to, kind| Mark {
        publisher,
        portal: None,
        event_token: event_token.clone(),
        from,
        up_to,
        kind,
    };
    let marks = [mark(1, 3, MarkKind::Tried), mark(3, 3, MarkKind::Returned)];
    disk.open().mark(&marks).await.unwrap();
    let run = Run::start(&disk, &portal, options().on_unknown_outcome(UnknownOutcome::GiveUp));
    settled(&run, 60).await;
    run.adds_up();
    assert_eq!(portal.lines(), [3, 4]);
    assert_eq!(run.stats().by_reason(DropReason::OutcomeUnknown), 2);
    assert!(portal.said("2 lines may be missing"));
    assert_eq!(disk.unsettled(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_by_the_clock_of_the_app_is_given_up() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let old = line(1, Duration::from_secs(8 * 86_400));
    let young = line(2, Duration::from_secs(6 * 86_400));
    left(&disk, vec![Content::Lines(vec![old]), Content::Lines(vec![young])]).await;
    let run = Run::start(&disk, &portal, options().entry_bytes(2_000));
    pass(30.0).await;
    portal.answers(Answers::Well);
    settled(&run, 100).await;
    run.adds_up();
    // Two days are too much for one entry.
    let stats = run.stats();
    assert_eq!(stats.recovered(), 2);
    assert_eq!(stats.by_reason(DropReason::RetriesSpent), 1, "{stats}");
    assert_eq!((portal.lines(), disk.unsettled()), (vec![2], 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_journal_gives_up_is_counted_and_told() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options().pending_lines(100));
    for n in 0..400 {
        run.log(n % 4, &format!("#{n}#"));
        if n % 20 == 0 {
            pass(0.2).await;
        }
    }
    pass(1.0).await;
    // The oldest are in memory, and are delivered from there.
    for _ in 0..60 {
        disk.evict();
    }
    run.log(0, "#400#");
    pass(1.0).await;
    run.adds_up();
    portal.answers(Answers::Well);
    settled(&run, 3_000).await;
    run.adds_up();
    let stats = run.stats();
    let lost = stats.by_reason(DropReason::SpoolFull);
    assert!(lost > 0 && stats.pending() == 0, "{stats}");
    assert_eq!(stats.acknowledged() + lost, 401, "{stats}");
    assert_eq!(portal.lines().len() as u64 + lost, 401);
    assert!(portal.said("missing"));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_for_a_portal_that_removed_the_app_is_lost() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let id = PortalId::from("member");
    left_for(&disk, Some(id.clone()), vec![lines(1..=500)]).await;
    let run = Run::start(&disk, &portal, options().pending_lines(100));
    pass(5.0).await;
    assert_eq!(run.stats().pending(), 500);
    let (reply, _) = oneshot::channel();
    let forget = Forget { portal: id, reply };
    run.producer.control(Control::Forget(forget)).ok().unwrap();
    settled(&run, 1_000).await;
    run.adds_up();
    assert_eq!(run.stats().by_reason(DropReason::Uninstalled), 500, "{}", run.stats());
    assert_eq!(disk.unsettled(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_lines_are_only_on_disk_is_known_and_ends_behind_them() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options().pending_lines(100));
    for n in 0..200 {
        run.log(1, &format!("#{n}#"));
        if n % 20 == 0 {
            pass(0.2).await;
        }
    }
    run.log(2, "#200#");
    pass(1.0).await;
    run.complete(2, 3_600);
    let flushed = run.flush_token(2, 5).await;
    assert_eq!((flushed.pending(), flushed.stored()), (1, 1), "{flushed}");
    portal.answers(Answers::Well);
    settled(&run, 1_000).await;
    pass(10.0).await;
    run.adds_up();
    assert_eq!((portal.lines().len(), portal.ends()), (201, 1));
    assert_eq!(run.stats().late(), 0);
}

/// Regression: when a read of what was taken over failed, it was never read until the next start.
#[tokio::test(start_paused = true)]
async fn what_an_earlier_run_left_is_read_again_after_a_read_has_failed() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let later = SystemTime::now() + Duration::from_secs(6_000);
    left(&disk, vec![lines(1..=3), end(4, later, Some(later))]).await;
    let takes = Duration::from_millis(200);
    disk.fail(Faults { takes, ..Faults::default() });
    let _run = Run::start(&disk, &portal, options());
    pass(0.1).await;
    disk.fail(Faults { unreadable: true, takes, ..Faults::default() });
    pass(0.2).await;
    disk.fail(Faults::default());
    pass(600.0).await;
    assert_eq!((portal.lines().len(), portal.ends()), (3, 1));
}

/// What the worker reports when the journal says this.
fn reported(said: Said) -> (String, u64) {
    let mut stage = Stage::new(options().keeping(keeping(&Disk::new())));
    stage.engine.set_clock(stage.now, SystemTime::now());
    stage.engine.told(said, stage.now);
    let reports = format!("{:?}", stage.engine.due_reports(true, stage.now));
    (reports, stage.stats().late_ends())
}

#[test]
fn an_end_that_is_damaged_or_evicted_is_not_reported_as_late() {
    let later = SystemTime::now() + Duration::from_secs(600);
    let Content::End(whole) = end(1, later, Some(later)) else { unreachable!() };
    let content = Content::End(StoredEnd { values: "{".to_owned(), ..whole });
    let chunk =
        Chunk { portal: None, event_token: tag(1).event_token.clone(), content, about: None };
    let damaged = Said::Adopted {
        publishers: Vec::new(),
        left: Vec::new(),
        ends: vec![(Publisher(2), chunk)],
    };
    let evicted = Evicted {
        of: None,
        numbers: None,
        lines: 0,
        ends: 2,
        since: later,
        reason: DropReason::SpoolFull,
    };
    for (said, ends, why) in
        [(damaged, 1, "return values are damaged"), (Said::Evicted(vec![evicted]), 2, "disk space")]
    {
        let (reports, counted) = reported(said);
        assert!(reports.contains("LostEnd") && reports.contains(why), "{reports}");
        assert!(!reports.contains("LateEnd") && !reports.contains("NotRead"), "{reports}");
        assert_eq!(counted, ends, "{reports}");
    }
}

#[test]
fn each_trouble_with_the_disk_has_a_report_of_its_own() {
    let trouble = || "too new".to_owned();
    for (said, kind) in [
        (Said::NotMarked { trouble: trouble() }, "NotMarked"),
        (Said::LeftAlone { trouble: trouble() }, "LeftAlone"),
        (Said::NotAdopted { trouble: trouble() }, "LeftAlone"),
        (Said::NotRead { no: 0, portal: None, trouble: trouble() }, "NotRead"),
        (Said::Failing { trouble: trouble() }, "NotStored"),
    ] {
        let (reports, _) = reported(said);
        assert!(reports.contains(kind) && reports.contains("too new"), "{reports}");
        assert_eq!(reports.matches("Report {").count(), 1, "{reports}");
    }
}

#[tokio::test(start_paused = true)]
async fn lines_that_went_on_without_the_journal_share_no_entry_with_lines_read_from_it() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, options().pending_lines(600));
    pass(1.0).await;
    for n in 0..400 {
        run.try_log(1, &format!("#{n}#"));
    }
    pass(0.2).await;
    disk.fail(Faults { unmarkable: true, ..Faults::default() });
    pass(3.0).await;
    for n in 400..700 {
        run.try_log(1, &format!("#{n}#"));
        pass(0.03).await;
        if n == 470 {
            disk.fail(Faults::default());
        }
    }
    settled(&run, 600).await;
    pass(5.0).await;
    assert_eq!(disk.unsettled(), 0);
    let sent = portal.entries().len();
    run.close(5).await;
    Run::start(&disk, &portal, options());
    pass(30.0).await;
    assert_eq!(portal.entries().len(), sent, "nothing is sent again");
}

#[tokio::test(start_paused = true)]
async fn lines_that_the_journal_has_given_up_are_not_left_on_it_at_the_end() {
    for of_another_run in [false, true] {
        let (disk, portal) = (Disk::new(), Portal::default());
        portal.answers(Answers::Away);
        if of_another_run {
            left(&disk, vec![lines(1..=5)]).await;
        }
        let run = Run::start(&disk, &portal, options());
        pass(1.0).await;
        for n in 1..=5 {
            if !of_another_run {
                run.log(1, &format!("#{n}#"));
            }
        }
        pass(1.0).await;
        for _ in 0..5 {
            disk.evict();
        }
        run.log(2, "#6#");
        pass(1.0).await;
        let (_, stats) = run.close(2).await;
        let lost = stats.by_reason(DropReason::ShutdownDeadline);
        assert_eq!((lost, disk.unsettled()), (5, 1), "{of_another_run}: {stats}");
    }
}

/// Regression: after one failed read nothing was read for up to a minute, if nothing else was asked of the journal
/// in between.
#[tokio::test(start_paused = true)]
async fn a_read_that_has_failed_is_tried_again_after_a_second() {
    let (disk, portal) = (Disk::new(), Portal::default());
    left(&disk, vec![lines(1..=3)]).await;
    let takes = Duration::from_millis(200);
    disk.fail(Faults { takes, ..Faults::default() });
    let run = Run::start(&disk, &portal, options());
    // The journal is taken over, its lines are counted, and then it is read for the portal.
    pass(0.3).await;
    disk.fail(Faults { unreadable: true, takes, ..Faults::default() });
    pass(0.5).await;
    assert_eq!((run.stats().recovered(), disk.reads()), (3, 1), "counted, and not read");
    pass(5.0).await;
    disk.fail(Faults::default());
    pass(4.0).await;
    assert_eq!(portal.lines(), [1, 2, 3]);
    run.adds_up();
}

/// Regression: `Journal::generation`, and what a method does before it returns its future, could end the thread of
/// the journal by a panic.
#[tokio::test(start_paused = true)]
async fn a_journal_that_panics_has_failed_and_is_used_again() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, options());
    pass(1.0).await;
    disk.fail(Faults { panics: true, ..Faults::default() });
    run.log(1, "#1#");
    pass(5.0).await;
    assert_eq!((portal.lines().len(), run.stats().unstored()), (1, 1));
    disk.fail(Faults::default());
    portal.answers(Answers::Away);
    run.log(2, "#2#");
    pass(5.0).await;
    assert_eq!((disk.unsettled(), run.stats().unstored()), (1, 1), "{}", run.stats());
    run.adds_up();
}
