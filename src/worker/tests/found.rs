//! Regression tests: faults that were found in the engine.

use super::*;
use crate::call::CallAnswer;
use crate::config::Retention;
use crate::error::CallError;
use crate::worker::retry::UnknownOutcome;

fn seconds(stage: &Stage) -> u64 {
    (stage.now - stage.start).as_secs()
}

/// Regression: the worker looked for the same idle token for ever. Cause: one check used `now`, and another one
/// `now` plus 100 ms.
#[test]
fn a_token_that_is_about_to_be_forgotten_does_not_block_delivery() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "a");
    stage.run(2.0);
    // Idle since about 1 s: forgotten at 901 s. The other line is due just before.
    stage.now = stage.start + secs(899.95);
    stage.log(&tag(2), "b");
    assert_eq!(stage.run(5.0).len(), 1);
}

/// Regression: on a portal that had moved to an unknown address, the end of an activity was repeated without
/// a pause, and never given up.
#[test]
fn an_end_without_an_answer_is_repeated_with_pauses_and_then_given_up() {
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

/// Regression: after a refusal for operating time in a batch, only single commands were sent, with a
/// fiftieth of the throughput, for ever. Cause: only a batch could end the block, and none was sent.
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

/// Regression: the bytes of an entry were not released if its only line was already counted as lost, with an
/// earlier piece of the line.
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

/// Only the line that was cut is lost, once, and not another line in a later entry.
#[test]
fn a_line_in_several_entries_is_counted_as_lost_once() {
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

/// Regression: after a lost answer, each try during an outage was counted as an entry of the workflow, so the
/// log said that lines had been dropped.
#[test]
fn an_outage_after_a_lost_answer_spends_no_more_of_the_budget() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "x");
    let (call, _) = stage.sent();
    stage.settle(call, &nobody_knows());
    for _ in 0..60 {
        let (call, _) = stage.sent();
        stage.settle(call, &Reply::NotSent(Cause("refused".to_owned())));
    }
    let (call, request) = stage.sent();
    assert!(!says(&request, "no longer shown"));
    stage.settle(call, &all_well(1));
    stage.log(&tag(1), "y");
    assert!(stage.sent_within(2.0).is_some(), "two entries are not many");
}

/// Regression: a line that arrived after the close waited for its linger and was lost at the deadline, and the
/// report did not say so.
#[test]
fn a_line_after_the_close_is_sent_at_once_and_reported() {
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

/// Regression: entries with only a notice about lost lines were sent once a second, and filled the log.
#[test]
fn entries_with_only_a_notice_follow_the_schedule() {
    let mut stage = Stage::new(options());
    let mut entries = 0;
    for _ in 0..120 {
        stage.engine.line_lost(&LogLine::saying(&tag(1), "x"), stage.now);
        entries += stage.run(1.0).len();
    }
    assert!(entries <= 16, "{entries} entries in two minutes");
}

/// Durations in replies are limited, so that no reply can stop the log for ever.
#[test]
fn a_very_long_duration_in_a_reply_blocks_nothing() {
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

/// Regression: a single redirect blocked a webhook for ten minutes.
#[test]
fn a_redirect_pauses_lines_and_ends_for_at_most_a_minute() {
    let mut stage = Stage::new(options());
    let redirected = || Reply::Redirected(Code("it redirects to a page".to_owned()));
    stage.log(&tag(1), "a");
    let (call, _) = stage.sent();
    stage.settle(call, &redirected());
    let (call, _) = stage.sent_within(61.0).expect("asked again after a minute");
    stage.settle(call, &all_well(1));
    assert_eq!(stage.stats().acknowledged(), 1);

    let mut answer = complete(&mut stage, &tag(2));
    let (call, _) = stage.sent_within(1.0).expect("the end");
    stage.settle(call, &redirected());
    let (call, _) = stage.sent_within(5.0).expect("the end again: a process waits");
    stage.settle(call, &all_well(1));
    assert!(answer.try_recv().unwrap().is_ok());
}

/// Regression: reports of lost lines had no `detail` with the portal's code.
#[test]
fn lost_lines_are_reported_with_the_portals_code() {
    let lost = |stage: &mut Stage| {
        let reports = stage.engine.due_reports(true, stage.now);
        format!("{reports:?}")
    };
    for code in ["1048582", "499", "ERROR_CORE", "ACCESS_DENIED"] {
        let mut stage = Stage::new(options());
        stage.log(&tag(1), "a");
        stage.log(&tag(2), "b");
        let (call, _) = stage.sent();
        stage.settle(call, &answers(&[Some(code), None]));
        let told = lost(&mut stage);
        assert!(told.contains("Lost(") && told.contains(&format!("detail: \"{code}\"")), "{told}");
        assert_eq!((stage.stats().lost(), stage.stats().acknowledged()), (1, 1));
    }
    // A workflow that is gone: known when it can no longer be early.
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "a");
    while stage.stats().lost() == 0 {
        let (call, _) = stage.sent_within(60.0).expect("tried again");
        stage.settle(call, &answers(&[Some("404")]));
    }
    let told = lost(&mut stage);
    assert!(told.contains("Lost(WorkflowGone)") && told.contains("detail: \"404\""), "{told}");
    // What waited too long tells why the portal could not be called.
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "a");
    while stage.stats().lost() == 0 {
        match stage.sent_within(120.0) {
            Some((call, _)) => stage.settle(call, &refusal(401, "PAYMENT_REQUIRED")),
            None => stage.now += secs(60.0),
        }
        stage.run(0.1);
    }
    let told = lost(&mut stage);
    assert!(told.contains("Lost(CredentialBlocked)"), "{told}");
    let of_lost = told.split("Lost(CredentialBlocked)").nth(1).unwrap();
    assert!(of_lost.contains("detail: \"PAYMENT_REQUIRED\""), "{told}");
}

/// Regression: a notice said 1,008 lines, but 900 were lost and 423 were missing in the log. 900 were given up;
/// some of them were in the log; and 108 were counted twice, because the notice itself was in an entry that
/// was given up.
#[test]
fn a_notice_says_which_lines_may_be_in_the_log_or_may_have_been_reported() {
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
    let told = "outcome unknown; 1 of them may have been reported before)";
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
fn a_notice_that_fails_alone_is_sent_with_the_next_line() {
    let mut stage = Stage::new(options().on_unknown_outcome(UnknownOutcome::GiveUp));
    let tag = tag(1);
    stage.lose_with_its_notice(&tag);
    assert!(stage.sent_within(600.0).is_none(), "it would be tried for ever");
    stage.log(&tag, "kept");
    let (_, request) = stage.sent();
    assert!(says(&request, "(1 line may be missing since "), "{:?}", messages(&request));
}

/// Regression: as soon as the app had asked to end an activity, lost lines of it were not mentioned in the log any
/// more, though the end waited for the lines before it.
#[test]
fn lines_that_are_lost_while_their_end_waits_are_told_before_it() {
    for later in [false, true] {
        let mut stage = Stage::new(options().on_unknown_outcome(UnknownOutcome::GiveUp));
        let tag = tag(1);
        stage.log(&tag, "lost");
        let (call, _) = stage.sent();
        if later {
            stage.log(&tag, "kept");
        }
        let mut answer = complete(&mut stage, &tag);
        stage.settle(call, &nobody_knows());
        let (call, request) = stage.sent();
        assert!(says(&request, "(1 line may be missing since "), "{:?}", messages(&request));
        assert_eq!(says(&request, "kept"), later);
        stage.settle(call, &all_well(request.commands));
        let requests = stage.run(5.0);
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert_eq!(requests[0].1.method, Method::EventSend);
        assert!(requests[0].0 < 5.0, "the end did not wait longer");
        assert!(answer.try_recv().unwrap().is_ok());
    }
}

/// Regression: a notice that had failed alone waited for a further line, and was not tried again before the end of its
/// activity.
#[test]
fn a_notice_that_waits_for_a_line_is_tried_once_more_before_the_end() {
    let mut stage = Stage::new(options().on_unknown_outcome(UnknownOutcome::GiveUp));
    let tag = tag(1);
    stage.lose_with_its_notice(&tag);
    assert!(stage.sent_within(600.0).is_none(), "the notice waits");
    let mut answer = complete(&mut stage, &tag);
    let (call, request) = stage.sent();
    assert!(
        says(&request, "; 1 of them may have been reported before"),
        "{:?}",
        messages(&request)
    );
    // Nobody takes it: the end goes all the same.
    stage.settle(call, &nobody_knows());
    let (call, request) = stage.sent_within(5.0).expect("the end");
    assert_eq!(request.method, Method::EventSend);
    stage.settle(call, &all_well(1));
    assert!(answer.try_recv().unwrap().is_ok());
}

/// Regression: a token was forgotten after a quarter of an hour, with a notice that waited for its next line; and a
/// notice was given up without a report after `max_age`.
#[test]
fn a_notice_waits_for_the_next_line_for_a_day_and_is_reported_after_that() {
    for (hours, told) in [(1.0, true), (23.0, true), (25.0, false)] {
        let mut stage = Stage::new(options().on_unknown_outcome(UnknownOutcome::GiveUp));
        let tag = tag(1);
        stage.lose_with_its_notice(&tag);
        assert!(stage.sent_within(hours * 3_600.0).is_none());
        stage.log(&tag, "later");
        let (_, request) = stage.sent();
        assert_eq!(says(&request, "(1 line may be missing since "), told, "{hours}");
        let reports = format!("{:?}", stage.engine.due_reports(true, stage.now));
        assert_eq!(reports.contains("Untold"), !told, "{hours}: {reports}");
    }
}

/// Regression: the app was removed from a portal while an entry was out. Its lines may be in the log, and the notice did
/// not say so.
#[test]
fn lines_that_are_out_when_the_app_is_removed_may_be_in_the_log() {
    let mut stage = Stage::new(options());
    let tag = Tag::detached("5c1dc1c3f00001.78875596|A1|1.abcdef", Some("a.example"));
    stage.log(&tag, "out");
    let (call, _) = stage.sent();
    stage.engine.uninstalled(&"a.example".into(), stage.now);
    stage.settle(call, &all_well(1));
    stage.log(&tag, "installed again");
    let (_, request) = stage.sent();
    assert!(says(&request, "(1 line may be missing since "), "{:?}", messages(&request));
}

/// Regression: an end was given up, and then its answer came: the activity has ended. Notices were sent behind it.
#[test]
fn an_end_that_is_acknowledged_late_ends_the_activity() {
    let mut stage = Stage::new(options());
    let tag = tag(1);
    let mut answer = complete(&mut stage, &tag);
    let (call, _) = stage.sent();
    // It is sent again beside that, and given up in the end.
    while answer.try_recv().is_err() {
        stage.now += secs(1.0);
        if let Some((other, _)) = stage.sent_within(0.0) {
            stage.settle(other, &nobody_knows());
        }
        assert!(stage.elapsed() < 300.0);
    }
    stage.settle(call, &all_well(1));
    tag.note_refusal(DropReason::QueueFull);
    stage.engine.span_closed(&tag, stage.now);
    assert!(stage.sent_within(600.0).is_none(), "nothing goes to an activity that has ended");
}

/// Regression: an entry was given up 8 s after it was logged. Its portal failed often for some seconds, and by chance
/// five times with this entry.
#[test]
fn an_entry_is_not_given_up_for_a_bad_minute_of_its_portal() {
    let alone = json(500, "");
    let inside = refusal(500, "INTERNAL_SERVER_ERROR");
    for (bad_for, delivered) in [(50.0, true), (600.0, false)] {
        for stumbles in [false, true] {
            let mut stage = Stage::new(options());
            let unlucky = tag(1);
            stage.log(&unlucky, "unlucky");
            let (mut tries, mut given_up_at) = (0, None);
            for n in 0..600 {
                stage.log(&tag(2 + n % 7), "lucky");
                while let Some((call, request)) = stage.sent_within(1.0) {
                    let is_hit = says(&request, "unlucky") && stage.elapsed() < bad_for;
                    tries += u32::from(is_hit);
                    let reply = match (is_hit, stumbles, request.commands) {
                        (false, ..) => all_well(request.commands),
                        (true, false, _) => alone.clone(),
                        (true, true, 1) => inside.clone(),
                        (true, true, _) => {
                            let hit = |said: &String| said.contains("unlucky");
                            let code = |said: &String| hit(said).then_some("INTERNAL_SERVER_ERROR");
                            let said = messages(&request);
                            answers(&said.iter().map(code).collect::<Vec<_>>())
                        }
                    };
                    stage.settle(call, &reply);
                }
                if stage.stats().lost() > 0 {
                    given_up_at.get_or_insert(stage.elapsed());
                }
            }
            let seen = (bad_for, stumbles, tries, given_up_at);
            assert_eq!(given_up_at.is_none(), delivered, "{seen:?}");
            assert!(given_up_at.is_none_or(|at| (60.0..120.0).contains(&at)), "{seen:?}");
            assert!((5..20).contains(&tries), "{seen:?}");
        }
    }
}

/// Regression: with a budget of 16 MiB, lines of control characters used 62 MB, because each character is
/// written as six.
#[test]
fn the_budget_counts_a_line_with_its_size_as_text() {
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
fn the_budget_counts_only_the_rest_of_a_cut_line() {
    let mut stage = Stage::new(options().pending_bytes(200_000));
    for n in 0..3 {
        stage.log(&tag(n), &"x".repeat(150_000));
    }
    assert_eq!((stage.stats().pending(), stage.stats().lost()), (3, 0));
    stage.run(60.0);
    assert_eq!(stage.stats().acknowledged(), 3);
    assert_eq!(stage.stats().commands(), 3, "an entry each");
}

type Told = oneshot::Receiver<Result<FlushReport, CompleteError>>;

/// An end with a value that keeps its type only in a direct call.
fn complete_typed(stage: &mut Stage, tag: &Arc<Tag>) -> Told {
    let (reply, answer) = oneshot::channel();
    let complete = Complete {
        event_token: tag.event_token.clone(),
        portal: None,
        completion: Completion::new().value("parcels", 2),
        deadline: stage.now + secs(10.0),
        reply,
    };
    stage.engine.complete(complete, stage.now);
    answer
}

fn app_call(
    stage: &mut Stage,
    portal: Option<&str>,
) -> oneshot::Receiver<Result<CallAnswer, CallError>> {
    let (reply, answer) = oneshot::channel();
    let (method, body) = crate::protocol::call::request("crm.deal.list", "{}").unwrap();
    let deadline = stage.now + secs(120.0);
    let portal = portal.map(crate::line::PortalId::from);
    let call = crate::queue::Call { by: Caller::App, portal, method, body, deadline, reply };
    stage.engine.call(call, stage.now);
    answer
}

/// Whether a request names the tag's token.
fn names(request: &Request, tag: &Tag) -> bool {
    let body = String::from_utf8_lossy(&request.body);
    let event_token = tag.event_token.expose();
    let encoded: String = form_urlencoded::byte_serialize(event_token.as_bytes()).collect();
    body.contains(event_token) || body.contains(&encoded)
}

/// How many of these were answered with success.
fn ended_well(answers: &mut [Told]) -> usize {
    answers.iter_mut().filter_map(|answer| answer.try_recv().ok()).filter(Result::is_ok).count()
}

/// Regression: if a workflow made the request with its end fail, no other end was sent until it was given up.
/// Cause: the end was sent alone, and then was the first one again.
#[test]
fn an_end_that_makes_its_request_fail_does_not_delay_others() {
    let mut stage = Stage::new(options());
    let mut killed = complete(&mut stage, &tag(0));
    let mut others: Vec<_> = (1..30).map(|n| complete(&mut stage, &tag(n))).collect();
    let mut well = 0;
    while stage.elapsed() < 30.0 {
        let Some((call, request)) = stage.sent_within(1.0) else { continue };
        stage.now += secs(0.1);
        let kills = names(&request, &tag(0));
        let reply = if kills { nobody_knows() } else { all_well(request.commands) };
        stage.settle(call, &reply);
        well += ended_well(&mut others);
    }
    assert_eq!(well, 29, "the others have ended");
    assert!(killed.try_recv().is_err(), "it is still tried");
}

/// Regression: while the portal refused direct calls for operating time, a direct end was tried again and
/// again, and each refusal paused the ends that can be sent in a batch.
#[test]
fn ends_in_batches_do_not_wait_for_refused_direct_ends() {
    let mut stage = Stage::new(options());
    let typed: Vec<_> = (0..20).map(|n| complete_typed(&mut stage, &tag(n))).collect();
    let mut others: Vec<_> = (20..80).map(|n| complete(&mut stage, &tag(n))).collect();
    let mut well = 0;
    while stage.elapsed() < 10.0 {
        let Some((call, request)) = stage.sent_within(1.0) else { continue };
        let direct = request.method == Method::EventSend;
        let reply =
            if direct { refusal(429, "OPERATION_TIME_LIMIT") } else { all_well(request.commands) };
        stage.settle(call, &reply);
        well += ended_well(&mut others);
    }
    assert_eq!(well, 60);
    drop(typed);
}

/// Regression: ends in batches waited for all direct ends, which need one request each.
#[test]
fn ends_in_batches_and_direct_ends_take_turns() {
    let mut stage =
        Stage::new(options().quota(crate::config::Quota::Custom { per_second: 1.0, burst: 1 }));
    let mut typed: Vec<_> = (0..200).map(|n| complete_typed(&mut stage, &tag(n))).collect();
    let mut others: Vec<_> = (200..260).map(|n| complete(&mut stage, &tag(n))).collect();
    let (mut well, mut lone) = (0, 0);
    while stage.elapsed() < 8.0 {
        let Some((call, request)) = stage.sent_within(1.0) else { continue };
        stage.settle(call, &all_well(request.commands));
        well += ended_well(&mut others);
        lone += ended_well(&mut typed);
    }
    assert_eq!(well, 60);
    assert!(lone >= 4, "{lone}");
}

/// Regression: while the operating time of the log was used up, an end without an entry waited for all ends
/// that wait for their entries. Cause: only the first 128 ends were checked.
#[test]
fn an_end_without_entries_does_not_wait_for_ends_with_entries() {
    let mut stage = Stage::new(options().retention(Retention::SelfHosted));
    for n in 0..200 {
        stage.log(&tag(n), "first");
    }
    stage.run(5.0);
    stage.log(&tag(1_000), "a");
    stage.log(&tag(1_001), "b");
    let (call, _) = stage.sent();
    stage.settle(call, &answers(&[Some("OPERATION_TIME_LIMIT"); 2]));
    stage.run(1.0);
    let mut held: Vec<_> = (0..200)
        .map(|n| {
            stage.log(&tag(n), "last");
            complete(&mut stage, &tag(n))
        })
        .collect();
    stage.now += secs(0.5);
    let mut free = complete(&mut stage, &tag(2_000));
    let (call, request) = stage.sent_within(0.0).expect("at once");
    assert!(names(&request, &tag(2_000)));
    stage.settle(call, &all_well(request.commands));
    assert!(free.try_recv().unwrap().is_ok());
    assert_eq!(ended_well(&mut held), 0);
}

/// Regression: the portal got two requests per second for ten minutes. Cause: a request whose ends were all
/// refused for operating time was counted as a success, so the pause started again each time.
#[test]
fn ends_that_are_refused_for_operating_time_in_both_forms_pause_longer_each_time() {
    let mut stage = Stage::new(options());
    let mut answers_of: Vec<Told> = (0..20).map(|n| complete(&mut stage, &tag(n))).collect();
    let mut requests = 0;
    while stage.elapsed() < 120.0 {
        let Some((call, request)) = stage.sent_within(1.0) else { continue };
        requests += 1;
        let reply = match request.method {
            Method::Batch => answers(&vec![Some("OPERATION_TIME_LIMIT"); request.commands]),
            _ => refusal(429, "OPERATION_TIME_LIMIT"),
        };
        stage.settle(call, &reply);
    }
    assert_eq!(ended_well(&mut answers_of), 0);
    assert!((10..40).contains(&requests), "{requests} requests in two minutes");
}

/// Regression: while `batch` was refused for operating time and direct calls were not, entries were sent only
/// if exactly one was due. Otherwise they waited for ten minutes.
#[test]
fn entries_go_one_at_a_time_while_batch_is_refused() {
    let mut stage = Stage::new(options());
    for n in 0..5 {
        stage.log(&tag(n), "x");
    }
    let (call, request) = stage.sent();
    assert_eq!(request.method, Method::Batch);
    stage.settle(call, &refusal(429, "OPERATION_TIME_LIMIT"));
    let sent = stage.run(30.0);
    assert_eq!(sent.len(), 5);
    assert!(sent.iter().all(|(_, request)| request.method == Method::ActivityLog));
}

/// Regression: if the app was removed and installed again during a request, the answer was used for the next
/// request, so lines that were never written were counted as acknowledged.
#[test]
fn an_answer_from_before_a_removal_does_not_affect_later_requests() {
    let mut stage = Stage::new(options());
    let portal = crate::line::PortalId::from("a.example");
    let tag = Tag::detached("5e.1|A|1.ff", Some("a.example"));
    stage.log(&tag, "before");
    let (old, _) = stage.sent();
    let mut asked = app_call(&mut stage, Some("a.example"));
    let (old_call, _) = stage.sent_within(0.0).expect("the call");
    stage.engine.uninstalled(&portal, stage.now);
    assert!(matches!(asked.try_recv().unwrap(), Err(CallError::OutcomeUnknown { .. })));
    stage.log(&Tag::detached("5e.2|A|1.ff", Some("a.example")), "after");
    let mut asked = app_call(&mut stage, Some("a.example"));
    assert!(stage.sent_within(2.0).is_none(), "one at a time");
    stage.settle(old, &all_well(1));
    stage.settle(old_call, &json(200, r#"{"result":"old"}"#));
    assert_eq!((stage.stats().acknowledged(), stage.stats().lost()), (0, 1));
    assert!(asked.try_recv().is_err());
    for _ in 0..2 {
        let (call, request) = stage.sent_within(0.0).expect("what came after");
        match request.method {
            Method::Named(_) => stage.settle(call, &json(200, r#"{"result":"new"}"#)),
            // With word of the line that was lost.
            _ => stage.settle(call, &all_well(request.commands)),
        }
    }
    assert_eq!(stage.stats().acknowledged(), 1);
    assert_eq!(asked.try_recv().unwrap().unwrap().result(), "\"new\"");
}

/// Regression: an end that arrived after the close was lost while another request hung. Cause: it kept its own
/// deadline, which was later than that of the shutdown.
#[test]
fn an_end_after_the_close_is_sent_while_another_request_hangs() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "hangs");
    let (_hangs, _) = stage.sent();
    let (reply, _closed) = oneshot::channel();
    let deadline = stage.now + secs(4.0);
    stage.engine.close(Close { deadline, reply }, stage.now);
    let mut answer = complete(&mut stage, &tag(2));
    let (call, request) = stage.sent_within(3.0).expect("half of the time is for lines");
    assert_eq!(request.method, Method::EventSend);
    stage.settle(call, &all_well(1));
    assert!(answer.try_recv().unwrap().is_ok());
}

/// Regression: direct ends took all requests, so entries waited until the deadline of their own ends, and half
/// of the lines were late. Three more requests would have written them.
#[test]
fn entries_and_direct_ends_take_turns() {
    let mut stage = Stage::new(options());
    let mut answers: Vec<Told> = (0..300)
        .map(|n| {
            stage.log(&tag(n), "x");
            let (reply, answer) = oneshot::channel();
            let complete = Complete {
                event_token: tag(n).event_token.clone(),
                portal: None,
                completion: Completion::new().value("parcels", 2),
                deadline: stage.now + secs(60.0),
                reply,
            };
            stage.engine.complete(complete, stage.now);
            answer
        })
        .collect();
    stage.run(200.0);
    assert_eq!(ended_well(&mut answers), 300);
    assert_eq!((stage.stats().acknowledged(), stage.stats().late()), (300, 0));
}

/// Regression: calls of the app waited for ends also while ends paused, so entries took all requests.
#[test]
fn calls_have_their_turn_while_ends_pause() {
    let quota = crate::config::Quota::Custom { per_second: 1.0, burst: 1 };
    let mut stage = Stage::new(options().quota(quota).entry_bytes(2_000));
    // Entries enough for each request, and all are due.
    for _ in 0..100 {
        stage.log(&tag(1), &"x".repeat(1_500));
    }
    let calls: Vec<_> = (0..40).map(|_| app_call(&mut stage, None)).collect();
    let _end = complete(&mut stage, &tag(0));
    let (mut called, mut entries) = (0, 0);
    for _ in 0..60 {
        let (out, request) = stage.sent();
        let reply = if names(&request, &tag(0)) {
            Reply::NotSent(Cause("refused".to_owned()))
        } else if matches!(request.method, Method::Named(_)) {
            called += 1;
            json(200, r#"{"result":true}"#)
        } else {
            entries += 1;
            all_well(request.commands)
        };
        stage.settle(out, &reply);
    }
    assert!(called >= 15 && entries >= 15, "{called} calls, {entries} requests with entries");
    drop(calls);
}
