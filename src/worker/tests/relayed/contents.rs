//! What a relay does with the contents of chunks: styles, seals, gaps, ends, and notes for the next owner.

use std::time::{Duration, SystemTime};

use super::*;
use crate::config::UnknownOutcome;
use crate::format::{Language, LineTime};
use crate::journal::desk::Said;
use crate::journal::memory::Faults;
use crate::journal::{Answer, Evicted, Outcome, StoredGap, StoredSeal};
use crate::stats::DropReason;
use crate::worker::tests::Stage;
use crate::worker::tests::kept::keeping;

fn written(portal: &Portal) -> Vec<String> {
    portal.0.lock().unwrap().entries.clone()
}

#[tokio::test(start_paused = true)]
async fn lines_and_notices_read_as_their_app_wants() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let relay = Relay::start(&disk, &portal, 1, options());
    let about = About {
        language: Language::Russian,
        line_time: LineTime::None,
        line_prefix: "shop: ".to_owned(),
        waits_until: None,
    };
    writer.about = Some(Arc::new(about.clone()));
    writer.lines(None, 1, &["#1#"]);
    writer.numbers += 1;
    let (no, since) = (writer.numbers, SystemTime::now());
    let gap = StoredGap { no, lines: 3, since, reason: DropReason::QueueFull };
    writer.append(None, 1, Content::Missed(gap));
    // Another app writes to the same log, and the first one again.
    let mut other = Writer::new(&disk);
    other.lines(None, 1, &["#2#"]);
    // An equal one is the same style.
    writer.about = Some(Arc::new(about));
    writer.lines(None, 1, &["#3#"]);
    pass(30.0).await;
    let entries = written(&portal);
    assert_eq!(portal.lines(), [1, 2, 3]);
    assert_eq!(entries.len(), 3, "{entries:?}");
    assert!(entries[0].ends_with("• shop: #1#"), "{entries:?}");
    assert!(entries[0].contains("3 строки пропущены"), "{entries:?}");
    assert!(entries[1].contains("[timestamp=") && !entries[1].contains("shop"), "{entries:?}");
    assert_eq!(entries[2], "• shop: #3#");
    relay.adds_up();
    // The gap is told once, also if it is read again.
    disk.renew(1);
    writer.lines(None, 1, &["#4#"]);
    pass(60.0).await;
    assert!(!written(&portal)[3].contains("пропущены"));
}

#[tokio::test(start_paused = true)]
async fn lines_of_an_activity_that_has_timed_out_are_late() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let relay = Relay::start(&disk, &portal, 1, options());
    let about = |seconds| {
        let waits_until = Some(SystemTime::now() + Duration::from_secs(seconds));
        Some(Arc::new(About { waits_until, ..About::default() }))
    };
    writer.about = about(600);
    writer.lines(None, 1, &["#1#"]);
    pass(10.0).await;
    portal.answers(Answers::Away);
    writer.about = about(20);
    writer.lines(None, 2, &["#2#"]);
    pass(30.0).await;
    portal.answers(Answers::Well);
    pass(60.0).await;
    let stats = relay.stats();
    assert_eq!((portal.lines(), stats.acknowledged(), stats.late()), (vec![1], 1, 1), "{stats}");
    assert_eq!(disk.unsettled(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_seal_sends_its_lines_at_once_and_is_settled_with_them() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let relay = Relay::start(&disk, &portal, 1, options().linger(Duration::from_secs(25)));
    pass(1.0).await;
    writer.lines(None, 1, &["#1#", "#2#"]);
    pass(5.0).await;
    assert!(portal.lines().is_empty());
    writer.numbers += 1;
    let seal = StoredSeal { no: writer.numbers, at: SystemTime::now() };
    writer.append(None, 1, Content::Seal(seal));
    pass(0.2).await;
    assert_eq!(disk.everything_unsettled(), 3, "the seal waits for its lines");
    pass(1.0).await;
    assert_eq!((portal.lines(), disk.everything_unsettled()), (vec![1, 2], 0));
    // One without lines is settled at once.
    writer.numbers += 1;
    let seal = StoredSeal { no: writer.numbers, at: SystemTime::now() };
    writer.append(None, 5, Content::Seal(seal));
    pass(1.0).await;
    assert_eq!(disk.everything_unsettled(), 0);
    relay.adds_up();
}

#[tokio::test(start_paused = true)]
async fn ends_are_answered_once_before_they_are_settled() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let relay = Relay::start(&disk, &portal, 1, options());
    let publisher = writer.publisher;
    let answer = |no, outcome| Answer { publisher, no, outcome };
    writer.lines(None, 1, &["#1#"]);
    let first = writer.end(None, 1, 60);
    pass(5.0).await;
    assert_eq!(disk.answered(), [answer(first, Outcome::Accepted)]);
    // Another process ends it, too.
    let again = writer.end(None, 1, 60);
    pass(2.0).await;
    let refused = Outcome::Refused("ALREADY_COMPLETED".to_owned());
    assert_eq!(disk.answered()[1..], [answer(again, refused)]);
    assert_eq!((portal.ends(), disk.unsettled_ends()), (1, 0));
    // Everything is read again while an end is out, and the journal takes no answer for a while.
    portal.answers(Answers::Away);
    let third = writer.end(None, 3, 3_600);
    pass(2.0).await;
    disk.renew(1);
    pass(5.0).await;
    assert_eq!((disk.answered().len(), disk.unsettled_ends()), (2, 1));
    portal.answers(Answers::Well);
    pass(20.0).await;
    assert_eq!(disk.answered()[2..], [answer(third, Outcome::Accepted)]);
    assert_eq!((portal.ends(), disk.unsettled_ends()), (2, 0));
    relay.adds_up();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_stored_is_stored_later() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let relay = Relay::start(&disk, &portal, 1, options());
    writer.end(None, 1, 60);
    while portal.ends() == 0 {
        pass(0.01).await;
    }
    disk.fail(Faults { unmarkable: true, ..Faults::default() });
    pass(10.0).await;
    assert!(disk.answered().is_empty());
    disk.fail(Faults::default());
    pass(3.0).await;
    assert_eq!((disk.answered().len(), disk.unsettled_ends(), portal.ends()), (1, 0, 1));
    relay.adds_up();
}

#[tokio::test(start_paused = true)]
async fn an_end_that_comes_too_late_is_answered_as_not_sent() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    writer.numbers += 1;
    let end = StoredEnd {
        no: writer.numbers,
        values: "{}".to_owned(),
        message: None,
        failed: false,
        deadline: SystemTime::now() - Duration::from_secs(60),
        waits_until: Some(SystemTime::now() - Duration::from_secs(5)),
    };
    writer.append(None, 1, Content::End(end));
    let relay = Relay::start(&disk, &portal, 1, options());
    pass(5.0).await;
    let (publisher, no) = (writer.publisher, writer.numbers);
    assert_eq!(disk.answered(), [Answer { publisher, no, outcome: Outcome::NotSent }]);
    assert_eq!((portal.ends(), disk.unsettled_ends(), relay.stats().late_ends()), (0, 0, 1));
}

/// The next owner knows how many entries a workflow has used, and how much of the portal's time.
#[tokio::test(start_paused = true)]
async fn the_next_owner_goes_on_with_the_budgets_of_the_one_before() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let one = Relay::start(&disk, &portal, 1, options());
    let log = async |writer: &mut Writer, n: u32| {
        writer.lines(None, 1, &[&format!("#{n}#")]);
        for _ in 0..600 {
            pass(1.0).await;
            if portal.lines().contains(&n) {
                return;
            }
        }
        panic!("#{n}# was not written");
    };
    let start = tokio::time::Instant::now();
    for n in 1..=10 {
        log(&mut writer, n).await;
    }
    let by_one = start.elapsed();
    assert!(disk.memos_of(&None).len() >= 2);
    disk.hide(&None);
    one.let_go(|_| false).await.unwrap();
    disk.give(&None, Some(2));
    let two = Relay::start(&disk, &portal, 2, options());
    let start = tokio::time::Instant::now();
    log(&mut writer, 11).await;
    // A workflow's eleventh entry waits for the schedule; the first would not.
    let next = start.elapsed();
    let fresh = tokio::time::Instant::now();
    writer.lines(None, 2, &["#99#"]);
    while !portal.lines().contains(&99) {
        pass(0.05).await;
    }
    assert!(next > fresh.elapsed() + by_one / 20, "{by_one:?} {next:?} {:?}", fresh.elapsed());
    two.adds_up();
}

/// The journal gives lines up that wait in a lane. They are not sent, and the next owner says that they are missing.
#[tokio::test(start_paused = true)]
async fn lines_that_the_journal_gives_up_are_not_sent_and_the_log_says_so() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let one = Relay::start(&disk, &portal, 1, options());
    portal.answers(Answers::Away);
    writer.lines(None, 1, &["#1#", "#2#"]);
    pass(5.0).await;
    disk.evict();
    while one.stats().by_reason(DropReason::SpoolFull) < 2 {
        pass(0.1).await;
    }
    pass(1.0).await;
    disk.hide(&None);
    one.let_go(|_| false).await.unwrap();
    one.adds_up();
    assert_eq!(one.stats().pending(), 0);
    portal.answers(Answers::Well);
    disk.give(&None, Some(2));
    let two = Relay::start(&disk, &portal, 2, options());
    writer.lines(None, 1, &["#3#"]);
    pass(60.0).await;
    assert_eq!(portal.lines(), [3]);
    let entries = written(&portal);
    assert!(entries.iter().any(|entry| entry.contains("2 lines missing")), "{entries:?}");
    assert_eq!(disk.everything_unsettled(), 0);
    two.adds_up();
}

/// A portal to which a connection takes its time.
#[derive(Clone)]
struct Slow(Portal);

impl crate::transport::Transport for Slow {
    async fn call(
        &self,
        portal: Option<&PortalId>,
        request: crate::protocol::Request,
    ) -> crate::protocol::Reply {
        pass(2.0).await;
        if !request.pass.may_leave() {
            let trouble = "not permitted any more".to_owned();
            return crate::protocol::Reply::NotSent(crate::protocol::Cause(trouble));
        }
        self.0.call(portal, request).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_for_a_connection_asks_once_more() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let one = Relay::start(&disk, &Slow(portal.clone()), 1, options());
    writer.lines(None, 1, &["#1#"]);
    while disk.ever_tried().is_empty() {
        pass(0.1).await;
    }
    pass(0.5).await;
    disk.give(&None, Some(2));
    pass(10.0).await;
    assert!(portal.lines().is_empty());
    let stats = one.stats();
    assert_eq!((stats.requests(), stats.handed_over()), (0, 1), "{stats}");
    let two = Relay::start(&disk, &Slow(portal.clone()), 2, options());
    pass(20.0).await;
    // It was about to leave, so nobody knows.
    assert_eq!(portal.entries(), [(true, vec![1])]);
    one.adds_up();
    two.adds_up();
}

/// The next owner may send at once if nobody has sent anything before it.
#[tokio::test(start_paused = true)]
async fn an_owner_that_has_sent_nothing_leaves_no_note() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let one = Relay::start(&disk, &portal, 1, options().linger(Duration::from_secs(25)));
    writer.lines(None, 1, &["#1#"]);
    pass(5.0).await;
    disk.hide(&None);
    one.let_go(|_| false).await.unwrap();
    assert_eq!((one.stats().handed_over(), disk.memos_of(&None).len()), (1, 0));
    disk.give(&None, Some(2));
    let two = Relay::start(&disk, &portal, 2, options());
    pass(10.0).await;
    assert_eq!((portal.lines(), disk.memos_of(&None).len()), (vec![1], 2));
    two.adds_up();
}

/// Regression: they were lost without a count.
#[test]
fn lines_that_cannot_be_read_are_counted_when_the_journal_gives_them_up() {
    let mut stage = Stage::new(options().keeping(keeping(&Disk::new())));
    stage.engine.deliver();
    let evicted = Evicted {
        of: None,
        numbers: Some((1, 2)),
        lines: 2,
        ends: 0,
        since: SystemTime::now(),
        reason: DropReason::Expired,
    };
    stage.engine.told(Said::Evicted(vec![evicted]), stage.now);
    let stats = stage.stats();
    assert_eq!((stats.recovered(), stats.lost(), stats.pending()), (2, 2, 0), "{stats}");
}

/// The clock of a relay is ten days ahead. Deadlines of ends and the age of lines are by the clock of the journal, so
/// nothing is too late or too old.
#[tokio::test(start_paused = true)]
async fn a_relay_with_a_wrong_clock_loses_no_line_and_no_end() {
    const DAY: Duration = Duration::from_secs(86_400);
    let (disk, portal) = (Disk::new(), Portal::default());
    disk.clocks_are_ahead(10 * DAY);
    // What an app with a right clock has written.
    let right = SystemTime::now() - 10 * DAY;
    let waits_until = Some(right + Duration::from_secs(600));
    let mut writer = Writer::new(&disk);
    writer.about = Some(Arc::new(About { waits_until, ..About::default() }));
    let (level, body, cut) = (tracing_core::Level::INFO, "#1#".to_owned(), 0);
    let line = StoredLine { no: 1, at: right, level, body, cut, tried: false };
    writer.append(None, 1, Content::Lines(vec![line]));
    writer.numbers = 2;
    let end = StoredEnd {
        no: 2,
        values: "{}".to_owned(),
        message: None,
        failed: false,
        deadline: right + Duration::from_secs(60),
        waits_until,
    };
    writer.append(None, 1, Content::End(end));
    disk.give(&None, Some(1));
    let relay = Relay::start(&disk, &portal, 1, options());
    pass(20.0).await;
    let stats = relay.stats();
    assert_eq!((portal.lines(), portal.ends()), (vec![1], 1), "{stats}");
    assert_eq!((stats.late(), stats.late_ends(), stats.lost()), (0, 0, 0), "{stats}");
    relay.adds_up();
}

/// The clock of an app is a month behind, or its lines were dead letters for a long time. Only the journal decides when
/// they are too old.
#[tokio::test(start_paused = true)]
async fn lines_that_look_old_are_delivered_as_long_as_the_journal_has_them() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    let at = SystemTime::now() - Duration::from_secs(30 * 86_400);
    let (level, body, cut) = (tracing_core::Level::INFO, "#1#".to_owned(), 0);
    let line = StoredLine { no: 1, at, level, body, cut, tried: false };
    writer.append(None, 1, Content::Lines(vec![line]));
    disk.give(&None, Some(1));
    // They wait here for an hour, too.
    portal.answers(Answers::Away);
    let relay = Relay::start(&disk, &portal, 1, options());
    pass(3_600.0).await;
    portal.answers(Answers::Well);
    pass(600.0).await;
    assert_eq!((portal.lines(), relay.stats().lost()), (vec![1], 0), "{}", relay.stats());
    relay.adds_up();
}

/// Regression: with the oldest line of an entry, all its lines left memory, although the journal had given up only
/// this one. They came back with the next owner of the portal only.
#[tokio::test(start_paused = true)]
async fn younger_lines_of_an_entry_are_delivered_if_the_oldest_are_given_up() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let relay = Relay::start(&disk, &portal, 1, options());
    portal.answers(Answers::Away);
    pass(1.0).await;
    for n in 0..5 {
        writer.lines(None, 1, &[&format!("#{n}#")]);
        pass(600.0).await;
    }
    // The first entry was out, so the others are together in the second one.
    disk.evict();
    disk.evict();
    pass(30.0).await;
    portal.answers(Answers::Well);
    pass(120.0).await;
    assert!(portal.lines().ends_with(&[2, 3, 4]), "{:?} {}", portal.lines(), relay.stats());
    assert_eq!(disk.unsettled(), 0);
    relay.adds_up();
}

/// Regression: a relay ignored notices of its own run in the journal, also after it had let their portal go, as it does
/// if it cannot reach the journal for some seconds. So nobody wrote them into the log until it had ended.
#[tokio::test(start_paused = true)]
async fn a_relay_that_has_a_portal_again_tells_the_notices_that_it_has_stored() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let options = options().on_unknown_outcome(UnknownOutcome::GiveUp);
    let relay = Relay::start(&disk, &portal, 1, options);
    portal.answers(Answers::Silent);
    writer.lines(None, 1, &["#1#"]);
    while relay.stats().lost() == 0 {
        pass(0.05).await;
    }
    portal.answers(Answers::Away);
    pass(5.0).await;
    assert_eq!(disk.untold(), 1);
    for _ in 0..2 {
        disk.hide(&None);
        relay.let_go(|_| false).await.unwrap();
        disk.give(&None, Some(1));
        pass(5.0).await;
    }
    portal.answers(Answers::Well);
    writer.lines(None, 1, &["#2#"]);
    pass(120.0).await;
    let told = |entry: &String| entry.contains("(1 line may be missing since ");
    assert_eq!(written(&portal).iter().filter(|entry| told(entry)).count(), 1);
    assert_eq!((disk.untold(), disk.unsettled()), (0, 0));
    relay.adds_up();
}

/// Regression: a notice of a portal that was let go was forgotten when it was handed to the journal, and gone if the
/// journal did not take it.
#[tokio::test(start_paused = true)]
async fn a_notice_of_a_portal_that_was_let_go_is_handed_over_until_it_is_stored() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let losing = || options().on_unknown_outcome(UnknownOutcome::GiveUp);
    let relay = Relay::start(&disk, &portal, 1, losing());
    let two = Relay::start(&disk, &portal, 2, losing());
    portal.answers(Answers::Silent);
    writer.lines(None, 1, &["#1#"]);
    pass(0.5).await;
    disk.fail(Faults { full: true, ..Faults::default() });
    while relay.stats().lost() == 0 {
        pass(0.05).await;
    }
    portal.answers(Answers::Away);
    disk.hide(&None);
    relay.let_go(|_| false).await.unwrap();
    disk.give(&None, Some(2));
    pass(5.0).await;
    assert_eq!(disk.untold(), 0);
    disk.fail(Faults::default());
    pass(5.0).await;
    assert_eq!(disk.untold(), 1);
    portal.answers(Answers::Well);
    writer.lines(None, 1, &["#2#"]);
    pass(120.0).await;
    assert_eq!((portal.said("(1 line may be missing since "), disk.untold()), (true, 0));
    relay.adds_up();
    two.adds_up();
}
