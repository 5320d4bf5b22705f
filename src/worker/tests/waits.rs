//! Flushes and ends that wait for lines which are in the journal only.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::kept::{Answers, Portal, Run, pass, settled};
use super::recovery::{left, left_for, lines};
use super::{options, tag};
use crate::error::CompleteError;
use crate::journal::Content;
use crate::journal::memory::{Disk, Faults};
use crate::line::{LogLine, PortalId};
use crate::queue::{Complete, Control, Flush, Scope};
use crate::stats::DropReason;

/// A line of a portal with this name.
fn log_to(run: &Run, portal: &str, token: u32, text: &str) {
    let portal = Some(PortalId::from(portal));
    let tag = run.producer.tag(tag(token).event_token.clone(), portal, 0);
    let mut line = LogLine::saying(&tag, text);
    line.at = SystemTime::now();
    assert!(run.producer.offer(line).is_ok());
}

/// So many chunks of 20 lines.
fn chunks(many: u64) -> Vec<Content> {
    let long = |mut content| {
        if let Content::Lines(lines) = &mut content {
            lines.iter_mut().for_each(|line| line.body.push_str(&"x".repeat(60)));
        }
        content
    };
    (0..many).map(|n| long(lines(n * 20 + 1..=n * 20 + 20))).collect()
}

/// How long something takes, and what it answers.
async fn timed<T>(flush: impl Future<Output = T>) -> (Duration, T) {
    let start = Instant::now();
    let answer = flush.await;
    (start.elapsed(), answer)
}

/// Regression: a flush of one token that had lines of an earlier run ran to its deadline, because these lines got
/// newer numbers when they were read. A flush of everything did not wait for them.
#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_lines_of_an_earlier_run_and_no_longer() {
    for of_token in [true, false] {
        let (disk, portal) = (Disk::new(), Portal::default());
        left(&disk, vec![lines(1..=200)]).await;
        portal.answers(Answers::Away);
        let run = Run::start(&disk, &portal, options().pending_lines(60));
        pass(2.0).await;
        portal.answers(Answers::Well);
        let flush = async {
            if of_token { run.flush_token(1, 3_600).await } else { run.flush(3_600).await }
        };
        let (took, report) = timed(flush).await;
        assert_eq!((report.acknowledged(), report.pending()), (200, 0), "{of_token}: {report}");
        assert!(took < Duration::from_secs(600), "{of_token}: {took:?}");
        assert_eq!(portal.lines().len(), 200);
        run.adds_up();
    }
}

/// Regression: lines before and after a flush were stored together, and were read into one entry. The flush did not
/// know of that entry, and ran to its deadline.
#[tokio::test(start_paused = true)]
async fn a_flush_is_answered_though_later_lines_are_read_with_its_own() {
    for of_token in [true, false] {
        let (disk, portal) = (Disk::new(), Portal::default());
        portal.answers(Answers::Away);
        let run = Run::start(&disk, &portal, options().pending_lines(100));
        pass(1.0).await;
        for n in 0..100 {
            run.log(1, &format!("#{n}#"));
            pass(0.1).await;
        }
        let scope = match of_token {
            true => Scope::Token(tag(1).event_token.clone()),
            false => Scope::All,
        };
        let (reply, answer) = tokio::sync::oneshot::channel();
        let deadline = (Instant::now() + Duration::from_secs(7_200)).into_std();
        let flush = Flush { scope, deadline, reply };
        assert!(run.producer.control(Control::Flush(flush)).is_ok());
        for n in 100..120 {
            run.log(1, &format!("#{n}#"));
        }
        pass(1.0).await;
        portal.answers(Answers::Well);
        let (took, report) = timed(async { answer.await.unwrap() }).await;
        assert_eq!((report.acknowledged(), report.pending()), (100, 0), "{of_token}: {report}");
        assert!(took < Duration::from_secs(600), "{of_token}: {took:?}");
        settled(&run, 1_000).await;
        assert_eq!(portal.lines(), (0..120).collect::<Vec<_>>());
    }
}

/// A flush says that lines are lost which the journal gives up while it waits.
#[tokio::test(start_paused = true)]
async fn a_flush_is_answered_when_the_journal_gives_up_the_rest_of_its_lines() {
    let (disk, portal) = (Disk::new(), Portal::default());
    left(&disk, chunks(25)).await;
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options().pending_lines(200));
    pass(2.0).await;
    for _ in 0..25 {
        disk.evict();
    }
    // The journal says so with its next answer.
    run.log(2, "#600#");
    pass(0.5).await;
    portal.answers(Answers::Well);
    let (took, report) = timed(run.flush_token(1, 3_600)).await;
    assert!(took < Duration::from_secs(600), "{took:?} {report}");
    assert_eq!(report.pending(), 0, "{report}");
    settled(&run, 600).await;
    run.adds_up();
    let lost = run.stats().by_reason(DropReason::SpoolFull);
    assert!(lost > 0 && run.stats().acknowledged() + lost == 501, "{}", run.stats());
}

/// A caller that waits for an end is told at the shutdown that the next run sends it.
#[tokio::test(start_paused = true)]
async fn an_end_that_a_shutdown_leaves_on_disk_is_answered_with_that() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options());
    pass(1.0).await;
    run.log(1, "#1#");
    pass(5.0).await;
    let early = run.ask_end(1, 60);
    pass(1.0).await;
    run.log(2, "#2#");
    // This one comes in the last moment.
    let late = run.ask_end(2, 60);
    run.close(0).await;
    for answer in [early, late] {
        let told = answer.await.unwrap();
        assert_eq!(told, Err(CompleteError::OnDisk));
        assert!(told.unwrap_err().to_string().contains("the next run"));
    }
    assert_eq!((disk.unsettled(), disk.unsettled_ends(), portal.ends()), (2, 2, 0));
    portal.answers(Answers::Well);
    let next = Run::start(&disk, &portal, options());
    settled(&next, 60).await;
    pass(5.0).await;
    assert_eq!((portal.lines(), portal.ends()), (vec![1, 2], 2));
    assert_eq!((disk.unsettled(), disk.unsettled_ends()), (0, 0));
}

/// Regression: an end that the disk could not take was left for the next run, which never heard of it.
#[tokio::test(start_paused = true)]
async fn an_end_that_could_not_be_stored_is_sent_by_the_shutdown() {
    for closed_before in [false, true] {
        let (disk, portal) = (Disk::new(), Portal::default());
        portal.answers(Answers::EndsOnly);
        let run = Run::start(&disk, &portal, options());
        pass(1.0).await;
        run.log(1, "#1#");
        pass(1.0).await;
        disk.fail(Faults { full: true, ..Faults::default() });
        let answer = if closed_before {
            let (reply, _) = tokio::sync::oneshot::channel();
            let deadline = (Instant::now() + Duration::from_secs(10)).into_std();
            let close = crate::queue::Close { deadline, reply };
            let answer = run.ask_end(1, 600);
            assert!(run.producer.control(Control::Close(close)).is_ok());
            answer
        } else {
            let answer = run.ask_end(1, 600);
            pass(1.0).await;
            run.close(10).await;
            answer
        };
        let told = answer.await.unwrap();
        assert!(told.is_ok(), "{closed_before}: {told:?}");
        assert_eq!((portal.ends(), disk.unsettled_ends()), (1, 0));
    }
}

/// An end that nobody can send, and that is not on disk either, is answered as such.
#[tokio::test(start_paused = true)]
async fn an_end_that_is_not_on_disk_at_the_shutdown_is_answered_with_that() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options());
    pass(1.0).await;
    disk.fail(Faults { full: true, ..Faults::default() });
    let answer = run.ask_end(1, 60);
    pass(1.0).await;
    run.close(2).await;
    assert_eq!(answer.await.unwrap(), Err(CompleteError::NotSent));
}

/// Regression: how many lines of a token are on disk only was corrected when no portal was behind. Lines of one portal
/// that the disk had lost were waited for as long as another portal could not be reached.
#[tokio::test(start_paused = true)]
async fn lines_that_the_disk_has_lost_are_not_waited_for_while_another_portal_is_away() {
    let (disk, portal) = (Disk::new(), Portal::default());
    left_for(&disk, Some("away".into()), chunks(25)).await;
    left_for(&disk, Some("well".into()), chunks(2)).await;
    portal.away(Some("away".into()));
    disk.fail(Faults { takes: Duration::from_millis(100), ..Faults::default() });
    let run = Run::start(&disk, &portal, options().pending_lines(200));
    // The lines are counted. Then they are damaged, and it is not known whose they were.
    while run.stats().recovered() < 540 {
        pass(0.01).await;
    }
    disk.damage(Some(&PortalId::from("well")), 20);
    let (reply, answer) = tokio::sync::oneshot::channel();
    let complete = Complete {
        event_token: tag(1).event_token.clone(),
        portal: Some("well".into()),
        completion: crate::completion::Completion::new().value("status", "done"),
        deadline: (Instant::now() + Duration::from_secs(3_600)).into_std(),
        reply,
    };
    assert!(run.producer.control(Control::Complete(complete)).is_ok());
    let (took, ended) = timed(answer).await;
    let ended = ended.unwrap();
    assert!(took < Duration::from_secs(60), "{took:?} {ended:?}");
    let report = ended.unwrap();
    assert_eq!((report.acknowledged(), report.lost(), report.pending()), (20, 20, 0), "{report}");
    log_to(&run, "well", 2, "#300#");
    pass(5.0).await;
    assert!(portal.lines().contains(&300));
    assert!(run.stats().pending() >= 400, "the other portal is still away: {}", run.stats());
    run.adds_up();
}
