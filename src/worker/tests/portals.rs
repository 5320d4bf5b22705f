//! Many portals, and timeouts of activities.

use super::*;
use crate::line::PortalId;
use crate::queue::{Expect, Overflow};
use crate::stats::PortalSnapshot;

fn of(portal: &str, n: u32) -> Arc<Tag> {
    Tag::detached(&format!("5c1dc1c3f0{n:04}.78875596|A1|{n}.abcdef"), Some(portal))
}

fn unknown() -> Reply {
    Reply::UnknownPortal(Cause("there are no tokens for this portal".to_owned()))
}

impl Stage {
    fn expect(&mut self, tag: &Tag, seconds: f64) {
        let (event_token, portal) = (tag.event_token.clone(), tag.portal.clone());
        let waits_until = self.now + secs(seconds);
        self.engine.expect(Expect { event_token, portal, waits_until }, self.now);
    }

    fn portal(&self, portal: &str) -> PortalSnapshot {
        let portals = self.stats.portals(self.now);
        portals.into_iter().find(|snapshot| snapshot.portal() == Some(portal)).unwrap()
    }

    /// The texts of the reports.
    fn reported(&mut self) -> String {
        format!("{:?}", self.engine.due_reports(false, self.now))
    }
}

#[test]
fn lines_of_an_unknown_portal_wait_ten_minutes_and_no_longer() {
    let mut stage = Stage::new(options());
    stage.log(&of("stranger", 1), "hello");
    let mut tries = 0;
    while let Some((call, _)) = stage.sent_within(1_000.0) {
        stage.settle(call, &unknown());
        // Then there is a notice about the loss, which waits as long.
        if stage.stats().pending() == 1 {
            tries += 1;
            assert_eq!(stage.portal("stranger").blocked(), Some(DropReason::UnknownPortal));
        }
    }
    assert_eq!(stage.stats().by_reason(DropReason::UnknownPortal), 1);
    assert_eq!(stage.portal("stranger").lost(), 1);
    assert!((9..=12).contains(&tries), "{tries}: about once a minute");
    assert!(stage.reported().contains("UnknownPortal"));
}

#[test]
fn lines_of_an_unknown_portal_are_sent_when_its_credentials_arrive() {
    let mut stage = Stage::new(options());
    let (stranger, other) = (of("stranger", 1), of("other", 2));
    stage.log(&stranger, "hello");
    let (call, _) = stage.sent();
    stage.settle(call, &unknown());
    stage.log(&other, "not held up");
    assert!(says(&stage.run(5.0)[0].1, "not held up"));
    stage.engine.unblock(&Some(PortalId::from("stranger")), stage.now);
    assert_eq!(stage.portal("stranger").blocked(), None);
    assert!(says(&stage.run(1.0)[0].1, "hello"));
    assert_eq!((stage.stats().acknowledged(), stage.stats().pending()), (2, 0));
}

#[test]
fn lines_that_wait_for_the_schedule_are_sent_before_the_timeout_of_the_activity() {
    let mut stage = Stage::new(options());
    let tag = of("a", 1);
    stage.expect(&tag, 100.0);
    // With the schedule, the next entries would be minutes apart.
    for _ in 0..20 {
        stage.log(&tag, "line");
        stage.run(2.0);
    }
    stage.now = stage.start + secs(85.0);
    stage.log(&tag, "near the end");
    stage.run(14.9);
    stage.log(&tag, "too late to linger");
    stage.run(60.0);
    let stats = stage.stats();
    assert_eq!((stats.acknowledged(), stats.late(), stats.pending()), (21, 1, 0), "{stats}");
    stage.log(&tag, "after the end");
    assert!(stage.run(60.0).is_empty());
    assert_eq!((stage.stats().late(), stage.portal("a").late()), (2, 2));
}

#[test]
fn lines_that_are_pending_at_the_timeout_are_reported_before_and_late_after() {
    let mut stage = Stage::new(options());
    let tag = of("a", 1);
    stage.expect(&tag, 30.0);
    stage.log(&tag, "line");
    let (call, _) = stage.sent();
    stage.settle(call, &refusal(401, "PAYMENT_REQUIRED"));
    assert!(stage.sent_within(23.0 - stage.elapsed()).is_none());
    assert!(!stage.reported().contains("TimeRunsOut"));
    assert!(stage.sent_within(2.0).is_none());
    assert!(stage.reported().contains("TimeRunsOut"), "a fifth of the time is left");
    assert_eq!((stage.stats().late(), stage.stats().pending()), (0, 1));
    assert!(stage.sent_within(10.0).is_none());
    assert_eq!((stage.stats().late(), stage.stats().pending()), (1, 0));
}

#[test]
fn a_completed_activity_has_no_timeout() {
    let mut stage = Stage::new(options());
    let tag = of("a", 1);
    stage.expect(&tag, 30.0);
    stage.log(&tag, "line");
    stage.run(5.0);
    let (reply, _answer) = oneshot::channel();
    let (event_token, portal) = (tag.event_token.clone(), tag.portal.clone());
    let (completion, deadline) = (Completion::new(), stage.now + secs(10.0));
    let complete = Complete { event_token, portal, completion, deadline, reply };
    stage.engine.complete(complete, stage.now);
    let (call, request) = stage.sent();
    assert_eq!(request.method, Method::EventSend);
    stage.settle(call, &all_well(1));
    assert!(stage.step().is_none(), "nothing is left to wake for but what is forgotten");
    assert!(!stage.reported().contains("TimeRunsOut"));
}

#[test]
fn a_portal_uses_only_its_share_of_the_budget() {
    for (overflow, kept) in [(Overflow::DropNewest, "line 0"), (Overflow::DropOldest, "line 19")] {
        let options = options().pending_lines(20).portal_share(0.5).overflow(overflow);
        let mut stage =
            Stage::new(options.entry_bytes(2_000).send_at_once_from(tracing::Level::INFO));
        let (down, up) = (of("down", 1), of("up", 2));
        for n in 0..20 {
            stage.log(&down, &format!("line {n}"));
        }
        assert_eq!((stage.portal("down").pending(), stage.portal("down").lost()), (10, 10));
        assert_eq!(stage.stats().by_reason(DropReason::PortalShare), 10);
        stage.log(&up, "has room");
        assert_eq!(stage.portal("up").pending(), 1);
        let sent = stage.run(600.0);
        assert!(sent.iter().any(|(_, request)| says(request, kept)), "{overflow:?}");
        assert!(sent.iter().any(|(_, request)| says(request, "10 lines missing")));
        let stats = stage.stats();
        assert_eq!((stats.acknowledged(), stats.pending()), (11, 0), "{stats}");
    }
}

/// Regression: such a lane was asked again and again at the same moment.
#[test]
fn an_overdue_end_waits_for_new_access_tokens() {
    let mut stage = Stage::new(options());
    let tag = of("a", 1);
    stage.log(&tag, "line");
    let (reply, mut answer) = oneshot::channel();
    let (event_token, portal) = (tag.event_token.clone(), tag.portal.clone());
    let (completion, deadline) = (Completion::new(), stage.now + secs(1.0));
    let complete = Complete { event_token, portal, completion, deadline, reply };
    stage.engine.complete(complete, stage.now);
    let (call, _) = stage.sent();
    stage.settle(call, &refusal(401, "expired_token"));
    let Some(Step::Access(call, _)) = stage.step() else { panic!("a refresh first") };
    stage.now = deadline + secs(5.0);
    assert!(matches!(stage.engine.next(stage.now), Step::Wait(_)));
    stage.engine.accessed(call, Refreshed::Renewed, stage.now);
    let (call, request) = stage.sent();
    assert_eq!(request.method, Method::EventSend);
    stage.settle(call, &all_well(1));
    assert!(answer.try_recv().unwrap().is_ok());
    assert_eq!((stage.stats().late(), stage.stats().pending()), (1, 0));
}

/// Regression: one token that logs much used the whole share of its portal.
#[test]
fn a_token_that_logs_much_leaves_room_for_others_of_its_portal() {
    let mut stage = Stage::new(options().portal_share(0.5).pending_lines(10_000));
    for _ in 0..10_000 {
        stage.log(&tag(0), "again");
    }
    assert_eq!(stage.stats().pending(), 3_750, "three quarters of half");
    for n in 1..=100 {
        for _ in 0..5 {
            stage.log(&tag(n), "a line");
        }
    }
    let stats = stage.stats();
    assert_eq!((stats.pending(), stats.by_reason(DropReason::PortalShare)), (4_250, 6_250));
}

#[test]
fn with_drop_oldest_a_token_that_logs_much_drops_its_own_lines() {
    let options = options().pending_lines(2_000).overflow(Overflow::DropOldest);
    let mut stage = Stage::new(options.entry_bytes(2_000));
    for n in 1..=20 {
        stage.log(&tag(n), "a quiet line, and the oldest");
    }
    for n in 0..10_000 {
        stage.log(&tag(0), &format!("line {n}"));
    }
    assert_eq!(stage.stats().by_reason(DropReason::Evicted), 10_020 - stage.stats().pending());
    assert!(stage.stats().pending() > 1_900, "{}", stage.stats());
    let sent = stage.run(600.0);
    let quiet = sent.iter().flat_map(|(_, request)| messages(request));
    assert_eq!(quiet.filter(|message| message.contains("a quiet line")).count(), 20);
    assert!(sent.iter().any(|(_, request)| says(request, "line 9999")));
}
