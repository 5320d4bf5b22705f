//! Notices about missing lines outlive the process until they are told.

use super::kept::{Answers, Portal, Run, pass, settled};
use super::recovery::{left, left_for, lines};
use super::{options, tag};
use crate::builder::Builder;
use crate::config::UnknownOutcome;
use crate::journal::memory::{Disk, Faults};
use crate::journal::{Content, StoredEnd, StoredGap};
use crate::stats::DropReason;

/// A line is lost as soon as an answer is.
fn losing() -> Builder {
    options().on_unknown_outcome(UnknownOutcome::GiveUp)
}

/// Loses so many lines of a token, one by one. Nothing of this is told.
async fn lose(run: &Run, portal: &Portal, token: u32, lines: u32) {
    for n in 0..lines {
        let lost = run.stats().lost();
        portal.answers(Answers::Silent);
        run.log(token, &format!("#{n}#"));
        while run.stats().lost() == lost {
            pass(0.05).await;
        }
        portal.answers(Answers::Away);
    }
}

fn times_said(portal: &Portal, text: &str) -> usize {
    portal.0.lock().unwrap().carried.iter().filter(|entry| entry.contains(text)).count()
}

/// Regression: a notice that was not told was gone with the process.
#[tokio::test(start_paused = true)]
async fn a_notice_that_was_not_told_survives_a_kill_and_is_told_once() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, losing());
    pass(1.0).await;
    lose(&run, &portal, 1, 3).await;
    pass(1.0).await;
    assert_eq!((disk.unsettled(), disk.untold()), (0, 3));
    run.kill().await;
    // The portal is away for this run.
    let run = Run::start(&disk, &portal, losing());
    pass(600.0).await;
    assert_eq!(disk.untold(), 3, "it was not told");
    run.kill().await;
    portal.0.lock().unwrap().carried.clear();
    portal.answers(Answers::Well);
    let run = Run::start(&disk, &portal, losing());
    pass(600.0).await;
    assert_eq!(times_said(&portal, "(3 lines may be missing since "), 1);
    assert_eq!(disk.untold(), 0);
    run.adds_up();
    run.close(5).await;
    let run = Run::start(&disk, &portal, losing());
    run.log(1, "#7#");
    settled(&run, 60).await;
    assert_eq!(times_said(&portal, "missing"), 1, "it is told once");
}

/// A notice of a run that was told is not told again by the next one, whatever has become of the lines around it.
#[tokio::test(start_paused = true)]
async fn a_notice_that_was_told_is_settled() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, losing());
    pass(1.0).await;
    for n in 1..=5 {
        lose(&run, &portal, 1, n).await;
        run.log(1, "#100#");
        portal.answers(Answers::Well);
        settled(&run, 600).await;
        pass(1.0).await;
        assert_eq!((disk.unsettled(), disk.untold()), (0, 0), "{n}");
    }
    run.adds_up();
}

/// Lines that are settled around a notice do not settle it.
#[tokio::test(start_paused = true)]
async fn a_notice_between_lost_lines_stays() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, losing());
    pass(1.0).await;
    // A gap in the middle of an entry that gathers lines, and is lost with them.
    run.log(1, "#1#");
    pass(0.2).await;
    portal.answers(Answers::Silent);
    lose(&run, &portal, 1, 2).await;
    run.log(1, "#2#");
    lose(&run, &portal, 1, 2).await;
    pass(1.0).await;
    let lost = run.stats().lost();
    assert_eq!((disk.unsettled(), disk.untold()), (0, lost));
    run.kill().await;
    portal.answers(Answers::Well);
    let run = Run::start(&disk, &portal, losing());
    pass(600.0).await;
    assert!(portal.said(&format!("({lost} lines may be missing since ")));
    assert_eq!(disk.untold(), 0);
    run.adds_up();
}

/// A notice that the disk does not take is stored when it takes something again.
#[tokio::test(start_paused = true)]
async fn a_notice_that_could_not_be_stored_is_stored_later() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, losing());
    pass(1.0).await;
    disk.fail(Faults { full: true, ..Faults::default() });
    lose(&run, &portal, 1, 2).await;
    pass(1.0).await;
    assert_eq!(disk.untold(), 0);
    disk.fail(Faults::default());
    run.log(2, "#9#");
    pass(1.0).await;
    assert_eq!((disk.untold(), disk.unsettled()), (2, 1));
}

/// Regression: a notice that the disk did not take was stored only when something else was.
#[tokio::test(start_paused = true)]
async fn a_notice_that_could_not_be_stored_is_stored_by_itself() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, losing());
    pass(1.0).await;
    disk.fail(Faults { full: true, ..Faults::default() });
    lose(&run, &portal, 1, 2).await;
    pass(10.0).await;
    assert_eq!(disk.untold(), 0);
    disk.fail(Faults::default());
    pass(2.0).await;
    assert_eq!((disk.untold(), disk.unsettled()), (2, 0));
    run.kill().await;
}

/// Regression: an end that was found with a notice, and without lines, went before the notice was read.
#[tokio::test(start_paused = true)]
async fn an_end_of_another_run_waits_for_the_notice_before_it() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let since = std::time::SystemTime::now();
    let gap = Content::Missed(StoredGap { no: 1, lines: 4, since, reason: DropReason::QueueFull });
    let values = r#"{"status":"done"}"#.to_owned();
    let deadline = since + std::time::Duration::from_secs(600);
    let end = Content::End(StoredEnd {
        no: 2,
        values,
        message: None,
        failed: false,
        deadline,
        waits_until: None,
    });
    left(&disk, vec![gap, end]).await;
    disk.fail(Faults { takes: std::time::Duration::from_millis(300), ..Faults::default() });
    let run = Run::start(&disk, &portal, options());
    pass(30.0).await;
    assert_eq!((times_said(&portal, "(4 lines missing since "), portal.ends()), (1, 1));
    assert_eq!((disk.untold(), disk.unsettled_ends()), (0, 0));
    run.adds_up();
}

/// Lines that stay on disk at the end of a run are not lost: no notice speaks of them. Lines that could not be stored
/// are, and the next run says so.
#[tokio::test(start_paused = true)]
async fn a_shutdown_keeps_a_notice_of_lost_lines_and_none_of_those_that_stay() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options());
    pass(1.0).await;
    run.log(1, "#1#");
    pass(1.0).await;
    disk.fail(Faults { full: true, ..Faults::default() });
    run.log(2, "#2#");
    pass(1.0).await;
    disk.fail(Faults::default());
    let (report, _) = run.close(2).await;
    assert_eq!((report.stored(), report.lost()), (1, 1), "{report}");
    portal.answers(Answers::Well);
    let run = Run::start(&disk, &portal, options());
    pass(600.0).await;
    assert_eq!(times_said(&portal, "(1 line missing since "), 1);
    assert!(times_said(&portal, "missing") == 1 && portal.lines() == [1]);
    assert_eq!((disk.unsettled(), disk.untold()), (0, 0));
    run.adds_up();
}

/// What an earlier run left of a token that has ended: nobody is left to tell it to.
#[tokio::test(start_paused = true)]
async fn a_notice_of_a_workflow_that_is_gone_is_settled() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let since = std::time::SystemTime::now();
    let gap =
        |no| Content::Missed(StoredGap { no, lines: 4, since, reason: DropReason::QueueFull });
    left(&disk, vec![lines(1..=2), gap(3)]).await;
    left_for(&disk, Some("other".into()), vec![gap(1)]).await;
    let run = Run::start(&disk, &portal, options());
    pass(0.5).await;
    run.complete(1, 0);
    pass(600.0).await;
    assert_eq!((portal.ends(), disk.untold(), disk.unsettled()), (1, 0, 0));
    assert_eq!(tag(1).event_token, run.tag(1).event_token);
    assert!(times_said(&portal, "(4 lines missing since ") >= 1, "the other portal's");
    run.adds_up();
}
