//! Faults that were found in the engine, each with its story.

use super::*;
use crate::Retention;
use crate::worker::retry::UnknownOutcome;

fn seconds(stage: &Stage) -> u64 {
    (stage.now - stage.start).as_secs()
}

/// A token was forgotten by one clock and found by another, a tenth of a second ahead: the search for
/// what is due found it again for ever.
#[test]
fn a_token_that_is_forgotten_within_the_next_moment_holds_up_nothing() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "a");
    stage.run(2.0);
    // Idle since about 1 s: forgotten at 901 s. The other line is due just before.
    stage.now = stage.start + secs(899.95);
    stage.log(&tag(2), "b");
    assert_eq!(stage.run(5.0).len(), 1);
}

/// The end of an activity on a portal that has moved nobody knows where went out without a pause, and
/// was never given up.
#[test]
fn an_end_that_nobody_takes_is_repeated_with_pauses_and_then_given_up() {
    for reply in [Reply::Moved { host: None }, refusal(401, "expired_token")] {
        let mut stage = Stage::new(options());
        let mut answer = complete(&mut stage, &tag(1));
        let mut requests = 0;
        let told = loop {
            match stage.step() {
                Some(Step::Send(call, _)) => {
                    requests += 1;
                    stage.settle(call, &reply);
                }
                Some(Step::Access(call, _)) => {
                    let denied = Refreshed::Denied(Code("invalid_grant".into()));
                    stage.engine.accessed(call, denied, stage.now);
                }
                _ => {}
            }
            if let Ok(told) = answer.try_recv() {
                break told;
            }
            assert!(seconds(&stage) < 1_000, "{requests} requests and no answer");
        };
        assert_eq!(told.unwrap_err(), CompleteError::NotSent);
        assert!(requests < 30, "{requests}");
    }
}

/// After a refusal inside a batch the window waited for a batch to lift it, and only single commands
/// were let through: a fiftieth of the throughput, for ever.
#[test]
fn batches_come_back_after_an_operating_refusal() {
    let mut stage = Stage::new(options().retention(Retention::SelfHosted));
    for n in 0..100 {
        stage.log(&tag(n), "x");
    }
    let (call, request) = stage.sent();
    let refused = vec![Some("OPERATION_TIME_LIMIT"); request.commands];
    stage.settle(call, &answers(&refused));
    let requests = stage.run(1_000.0);
    assert_eq!(stage.stats().acknowledged(), 100);
    assert!(requests.len() < 20, "{} requests", requests.len());
    assert!(requests.iter().any(|(_, request)| request.commands > 10));
}

/// An entry whose only line was already counted as lost, with an earlier piece of it, gave its bytes
/// back to nobody.
#[test]
fn a_long_line_that_lost_its_beginning_gives_all_its_bytes_back() {
    let mut stage = Stage::new(options().line_bytes(1 << 20));
    stage.log(&tag(1), &"x".repeat(150_000));
    let mut freed = 0;
    let mut first = true;
    while stage.engine.pending() > 0 || freed < 150_000 {
        let Some((call, request)) = stage.sent_within(60.0) else { break };
        let code = std::mem::take(&mut first).then_some("ERROR_CORE");
        stage.settle(call, &answers(&vec![code; request.commands]));
        freed += stage.engine.freed().bytes;
    }
    assert!(freed >= 150_000, "{freed}");
    assert_eq!((stage.stats().lost(), stage.stats().acknowledged()), (1, 0));
}

/// Only the line that was cut off is lost, once, and not a neighbour in a later entry.
#[test]
fn a_line_in_pieces_is_lost_once_whichever_pieces_are() {
    let mut stage = Stage::new(options().line_bytes(1 << 20));
    stage.log(&tag(1), &"x".repeat(150_000));
    stage.log(&tag(1), "short");
    stage.log(&tag(1), "shorter");
    let mut refused = 2;
    while stage.engine.pending() > 0 {
        let (call, request) = stage.sent();
        let code = (refused > 0).then_some("ERROR_CORE");
        refused -= i32::from(refused > 0);
        stage.settle(call, &answers(&vec![code; request.commands]));
    }
    assert_eq!((stage.stats().lost(), stage.stats().acknowledged()), (1, 2));
}

/// One lost answer, and then an outage: every try counted as an entry of the workflow, so that its log
/// said that lines had rolled off.
#[test]
fn an_outage_after_a_lost_answer_spends_no_more_of_the_budget() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "x");
    let (call, _) = stage.sent();
    stage.settle(call, &nobody_knows());
    for _ in 0..60 {
        let (call, _) = stage.sent();
        stage.settle(call, &Reply::NotSent(Trouble("refused".to_owned())));
    }
    let (call, request) = stage.sent();
    assert!(!says(&request, "no longer shown"));
    stage.settle(call, &all_well(1));
    stage.log(&tag(1), "y");
    assert!(stage.sent_within(2.0).is_some(), "two entries are not many");
}

/// A line that came in behind the close waited for its linger, was lost at the deadline, and the
/// report said that all was well.
#[test]
fn a_line_behind_the_close_is_sent_at_once_and_reported() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "before");
    let (reply, mut answer) = oneshot::channel();
    let deadline = stage.now + secs(5.0);
    stage.engine.close(Close { deadline, reply }, stage.now);
    stage.log(&tag(1), "behind");
    stage.log(&tag(2), "behind, of another token");
    while let Some((call, request)) = stage.sent_within(0.0) {
        stage.settle(call, &all_well(request.commands));
    }
    let report = answer.try_recv().unwrap();
    assert_eq!((report.acknowledged(), report.pending()), (3, 0));
    assert_eq!(seconds(&stage), 0);
}

/// Notices of lost lines, alone in their entries, went once a second, and rolled the log itself off.
#[test]
fn entries_that_only_tell_of_losses_keep_to_the_schedule() {
    let mut stage = Stage::new(options());
    let mut entries = 0;
    for _ in 0..120 {
        stage.engine.line_lost(&LogLine::saying(&tag(1), "x"), stage.now);
        entries += stage.run(1.0).len();
    }
    assert!(entries <= 16, "{entries} entries in two minutes");
}

/// What a portal says of its work is clamped: nothing that it says stops the log for good.
#[test]
fn an_absurd_duration_stops_nothing() {
    let mut stage = Stage::new(options().retention(Retention::SelfHosted));
    for n in 0..20 {
        stage.log(&tag(2 * n), "x");
        stage.log(&tag(2 * n + 1), "y");
        let (call, request) = stage.sent();
        assert_eq!(request.commands, 2);
        let time = r#"{"duration":1e308,"operating":1.5,"operating_reset_at":1800000600,"finish":1800000000.0}"#;
        let body = format!(
            r#"{{"result":{{"result":{{"c0":true,"c1":true}},"result_error":[],"result_time":{{"c0":{time},"c1":{time}}}}},"time":{time}}}"#
        );
        stage.settle(call, &json(200, &body));
    }
    assert!(seconds(&stage) < 13_000);
    assert_eq!(stage.stats().acknowledged(), 40);
}

/// A notice told 1,008 lines where 900 were lost and 423 absent. Each number was of another thing: 900
/// were given up, some of which stood in the log all the same, and 108 of them were told twice, since
/// the notice itself stood in an entry that was given up.
#[test]
fn a_notice_says_what_may_be_in_the_log_and_what_may_have_been_told() {
    let mut stage = Stage::new(options().on_unknown_outcome(UnknownOutcome::GiveUp));
    let tag = tag(1);
    for told in [None, Some("(1 line may be missing since ")] {
        stage.log(&tag, "lost");
        let (call, request) = stage.sent();
        assert_eq!(says(&request, "missing"), told.is_some());
        assert!(told.is_none_or(|told| says(&request, told)));
        stage.settle(call, &nobody_knows());
    }
    stage.log(&tag, "kept");
    let (call, request) = stage.sent();
    let told = "outcome unknown; 1 of them may have been told before)";
    assert!(
        says(&request, "(2 lines may be missing since ") && says(&request, told),
        "{request:?}"
    );
    stage.settle(call, &all_well(1));
    stage.log(&tag, "the next one");
    let (_, request) = stage.sent();
    assert!(!says(&request, "missing"));
}

#[test]
fn a_notice_that_fails_by_itself_is_told_with_the_next_line() {
    let mut stage = Stage::new(options().on_unknown_outcome(UnknownOutcome::GiveUp));
    let tag = tag(1);
    stage.log(&tag, "lost");
    for _ in 0..2 {
        let (call, _) = stage.sent();
        stage.settle(call, &nobody_knows());
    }
    assert!(stage.sent_within(600.0).is_none(), "it would be tried for ever");
    stage.log(&tag, "kept");
    let (_, request) = stage.sent();
    assert!(says(&request, "(1 line may be missing since "), "{:?}", messages(&request));
}

/// A budget of 16 MiB held 62 MB once, of lines of control characters, each of which is shown as six.
#[test]
fn a_line_holds_what_it_is_as_text() {
    let mut stage = Stage::new(options().line_bytes(1 << 20).pending_bytes(200_000));
    for n in 0..10 {
        stage.log(&tag(n), &"\u{1}".repeat(10_000));
    }
    // Of 50,000 bytes of text and a little each.
    assert_eq!(stage.stats().pending(), 3);
    assert_eq!(stage.stats().by_reason(DropReason::PortalShare), 7);
    let freed = stage.engine.freed();
    assert_eq!((freed.lines, freed.held / 10_000), (7, 3 * 4 - 1), "{freed:?}");
    stage.run(60.0);
    assert_eq!((stage.stats().pending(), stage.stats().acknowledged()), (0, 3));
    let settled = stage.engine.freed();
    assert_eq!(settled.bytes / 1_000, 3 * 50, "{settled:?}");
    assert_eq!((settled.lines, settled.held), (3, 0));
}

#[test]
fn a_line_that_was_cut_holds_what_is_left_of_it() {
    let mut stage = Stage::new(options().pending_bytes(200_000));
    for n in 0..3 {
        stage.log(&tag(n), &"x".repeat(150_000));
    }
    assert_eq!((stage.stats().pending(), stage.stats().lost()), (3, 0));
    stage.run(60.0);
    assert_eq!(stage.stats().acknowledged(), 3);
    assert_eq!(stage.stats().commands(), 3, "an entry each");
}
