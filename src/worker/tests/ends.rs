//! Ends of activities: which requests they share, what delays them, and what does not.

use super::*;
use tokio::sync::oneshot::error::TryRecvError::Empty;

use crate::line::PortalId;
use crate::protocol::command::BATCH_COMMANDS;

type Told = oneshot::Receiver<Result<FlushReport, CompleteError>>;

/// The methods of a request's commands, in their order.
fn methods(request: &Request) -> Vec<String> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    if request.method != Method::Batch {
        return vec![request.method.name().to_owned()];
    }
    let commands = body["cmd"].as_object().unwrap();
    (0..commands.len())
        .map(|n| commands[&format!("c{n}")].as_str().unwrap().split_once('?').unwrap().0.to_owned())
        .collect()
}

/// Entries and ends of a request.
fn sorts(request: &Request) -> (usize, usize) {
    let methods = methods(request);
    let ends = methods.iter().filter(|method| *method == "bizproc.event.send").count();
    (methods.len() - ends, ends)
}

fn complete_with(
    stage: &mut Stage,
    tag: &Arc<Tag>,
    portal: Option<&str>,
    completion: Completion,
    within: f64,
) -> Told {
    let (reply, answer) = oneshot::channel();
    let complete = Complete {
        event_token: tag.event_token.clone(),
        portal: portal.map(PortalId::from),
        completion,
        deadline: stage.now + secs(within),
        reply,
    };
    stage.engine.complete(complete, stage.now);
    answer
}

/// A token of which the portal has accepted an entry.
fn proven(stage: &mut Stage, n: u32) -> Arc<Tag> {
    let tag = tag(n);
    stage.log(&tag, "first");
    let (call, _) = stage.sent();
    stage.settle(call, &all_well(1));
    tag
}

#[test]
fn an_end_is_sent_after_the_last_entry_of_its_token_in_one_request() {
    let mut stage = Stage::new(options());
    let tag = proven(&mut stage, 1);
    stage.log(&tag, "last");
    let mut answer = complete(&mut stage, &tag);
    let (call, request) = stage.sent_within(0.0).expect("both, at once");
    assert_eq!(methods(&request), ["bizproc.activity.log", "bizproc.event.send"]);
    stage.settle(call, &all_well(2));
    let report = answer.try_recv().unwrap().unwrap();
    assert_eq!((report.acknowledged(), report.late(), report.pending()), (1, 0, 0));
}

#[test]
fn entries_come_before_all_ends_in_a_request() {
    let mut stage = Stage::new(options());
    let ending: Vec<_> = (0..4).map(|n| proven(&mut stage, n)).collect();
    for tag in &ending {
        stage.log(tag, "last");
        complete(&mut stage, tag);
    }
    stage.log(&tag(9), "of another workflow");
    stage.engine.span_closed(&tag(9), stage.now);
    let (_, request) = stage.sent_within(0.0).expect("all of them");
    let methods = methods(&request);
    let first_end = methods.iter().position(|method| method == "bizproc.event.send").unwrap();
    assert_eq!((first_end, methods.len()), (5, 9));
}

#[test]
fn few_ends_are_sent_together_until_their_cost_is_known() {
    let mut stage = Stage::new(options());
    let mut answers: Vec<_> = (0..200).map(|n| complete(&mut stage, &tag(n))).collect();
    let mut sizes = Vec::new();
    while let Some((call, request)) = stage.sent_within(0.0) {
        sizes.push(request.commands);
        stage.now += secs(0.05);
        stage.settle(call, &all_well(request.commands));
    }
    assert_eq!(sizes, [10, BATCH_COMMANDS, BATCH_COMMANDS, BATCH_COMMANDS, 40]);
    assert!(answers.iter_mut().all(|answer| answer.try_recv().unwrap().is_ok()));
}

/// On older servers the workflow continues inside of the request that ends its activity.
#[test]
fn slow_ends_are_sent_in_small_requests() {
    let mut stage = Stage::new(options());
    for n in 0..60 {
        complete(&mut stage, &tag(n));
    }
    let mut sizes = Vec::new();
    while let Some((call, request)) = stage.sent_within(0.0) {
        sizes.push(request.commands);
        stage.now += secs(3.0 * request.commands as f64);
        stage.settle(call, &all_well(request.commands));
    }
    assert_eq!(sizes[0], 10);
    assert!(sizes[1..].iter().all(|size| *size <= 3), "ten seconds of work: {sizes:?}");
}

#[test]
fn values_that_would_lose_their_type_in_a_batch_are_sent_as_json() {
    let mut stage = Stage::new(options());
    let typed = Completion::new().value("parcels", 2).value("note", "$result[c0]");
    complete_with(&mut stage, &tag(1), None, typed, 10.0);
    complete(&mut stage, &tag(2));
    complete(&mut stage, &tag(3));
    let (call, request) = stage.sent_within(0.0).unwrap();
    assert_eq!(request.method, Method::EventSend);
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let values = serde_json::json!({"parcels": 2, "note": "$result[c0]"});
    assert_eq!(body["RETURN_VALUES"], values);
    stage.settle(call, &all_well(1));
    let (_, request) = stage.sent_within(0.0).unwrap();
    assert_eq!(sorts(&request), (0, 2));
}

/// Three entries: two of them are acknowledged before the third one is sent with the end.
#[test]
fn an_end_is_sent_only_with_the_last_of_several_entries() {
    let mut stage = Stage::new(options().entry_bytes(2_000));
    let tag = proven(&mut stage, 1);
    for n in 0..3 {
        stage.log(&tag, &format!("{n} {}", "x".repeat(900)));
    }
    complete(&mut stage, &tag);
    let mut sent = Vec::new();
    while let Some((call, request)) = stage.sent_within(0.0) {
        sent.push(sorts(&request));
        stage.settle(call, &all_well(request.commands));
    }
    assert_eq!(sent, [(1, 0), (1, 0), (1, 1)]);
}

#[test]
fn without_an_accepted_entry_the_entry_is_sent_before_the_end() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "early");
    complete(&mut stage, &tag(1));
    let (call, request) = stage.sent_within(0.0).unwrap();
    assert_eq!(sorts(&request), (1, 0));
    stage.settle(call, &refusal(400, "404"));
    let (call, request) = stage.sent_within(5.0).expect("it may only be early");
    assert_eq!(sorts(&request), (1, 0));
    stage.settle(call, &all_well(1));
    assert_eq!(sorts(&stage.sent_within(0.0).unwrap().1), (0, 1));
}

#[test]
fn an_entry_that_is_refused_in_the_request_of_its_end_is_late() {
    let mut stage = Stage::new(options());
    let tag = proven(&mut stage, 1);
    stage.log(&tag, "locked out");
    let mut answer = complete(&mut stage, &tag);
    let (call, _) = stage.sent_within(0.0).unwrap();
    stage.settle(call, &answers(&[Some("423"), None]));
    let report = answer.try_recv().unwrap().unwrap();
    assert_eq!((report.acknowledged(), report.late()), (0, 1));
    assert_eq!((stage.stats().late(), stage.stats().pending()), (1, 0));
    assert!(stage.sent_within(60.0).is_none());
}

#[test]
fn after_an_unknown_outcome_entry_and_end_are_repeated_together() {
    let mut stage = Stage::new(options());
    let tag = proven(&mut stage, 1);
    stage.log(&tag, "once or twice");
    let mut answer = complete(&mut stage, &tag);
    let (call, _) = stage.sent_within(0.0).unwrap();
    stage.settle(call, &nobody_knows());
    assert_eq!(stage.stats().unknown_outcomes(), 1);
    let mut sent = Vec::new();
    while let Some((call, request)) = stage.sent_within(5.0) {
        if sent.is_empty() {
            assert!(says(&request, "possible repeat"));
        }
        sent.push(sorts(&request));
        stage.settle(call, &all_well(request.commands));
    }
    assert_eq!(sent, [(1, 0), (0, 1)], "one command at a time: the portal stumbled");
    assert_eq!(answer.try_recv().unwrap().unwrap().acknowledged(), 1);
}

#[test]
fn the_operating_limit_of_the_log_does_not_block_ends() {
    let mut stage = Stage::new(options().retention(crate::config::Retention::SelfHosted));
    let tags: Vec<_> = (0..3).map(tag).collect();
    tags.iter().for_each(|tag| stage.log(tag, "x"));
    let (call, request) = stage.sent();
    stage.settle(call, &answers(&vec![Some("OPERATION_TIME_LIMIT"); request.commands]));
    let mut answer = complete(&mut stage, &tag(9));
    let (call, request) = stage.sent_within(0.0).expect("at once");
    assert_eq!(sorts(&request), (0, 1));
    stage.settle(call, &all_well(1));
    assert!(answer.try_recv().unwrap().is_ok());
}

#[test]
fn a_refused_batch_sends_ends_one_by_one() {
    let mut stage = Stage::new(options().retention(crate::config::Retention::SelfHosted));
    stage.log(&tag(1), "a");
    stage.log(&tag(2), "b");
    let (call, request) = stage.sent();
    assert_eq!(request.method, Method::Batch);
    stage.settle(call, &refusal(429, "OPERATION_TIME_LIMIT"));
    for n in 10..15 {
        complete(&mut stage, &tag(n));
    }
    for _ in 0..5 {
        let (call, request) = stage.sent_within(0.0).expect("each at once");
        assert_eq!((request.method, request.commands), (Method::EventSend, 1));
        stage.settle(call, &all_well(1));
    }
}

/// Regression: entries waited for ten minutes, and their end until its deadline.
#[test]
fn entries_go_one_by_one_too_while_batches_are_refused() {
    let mut stage = Stage::new(options().retention(crate::config::Retention::SelfHosted));
    let proven = proven(&mut stage, 1);
    (2..5).for_each(|n| stage.log(&tag(n), "x"));
    let (call, request) = stage.sent();
    assert_eq!(request.method, Method::Batch);
    stage.settle(call, &refusal(429, "OPERATION_TIME_LIMIT"));
    stage.log(&proven, "last");
    let mut answer = complete(&mut stage, &proven);
    while stage.stats().pending() > 0 || answer.try_recv().is_err_and(|e| e == Empty) {
        let (call, request) = stage.sent_within(1.0).expect("one at a time");
        assert_eq!(request.commands, 1);
        stage.settle(call, &all_well(1));
        if stage.elapsed() > 60.0 {
            panic!("{}", stage.stats());
        }
    }
    assert_eq!((stage.stats().acknowledged(), stage.stats().late()), (5, 0));
}

#[test]
fn a_lane_that_backs_off_for_its_entries_sends_ends() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "x");
    for _ in 0..6 {
        let (call, _) = stage.sent();
        stage.settle(call, &nobody_knows());
    }
    let mut answer = complete(&mut stage, &tag(2));
    let (call, request) = stage.sent_within(0.0).expect("at once");
    assert_eq!(sorts(&request), (0, 1));
    stage.settle(call, &all_well(1));
    assert!(answer.try_recv().unwrap().is_ok());
}

/// Brings the lane into a state that delays an end.
type Hold = fn(&mut Stage);

/// Regression: an end that waited for the rate limit was never given up, because this happened only after a
/// failed try.
#[test]
fn an_end_is_given_up_at_its_limit_in_any_state() {
    let quota = crate::config::Quota::Custom { per_second: 0.001, burst: 1 };
    let held: [(&str, Hold); 2] = [
        ("by the rate", |stage| {
            stage.log(&tag(1), "takes the only place");
            let (call, _) = stage.sent();
            stage.settle(call, &all_well(1));
        }),
        ("by a refresh that never ends", |stage| {
            stage.log(&tag(1), "a");
            let (call, _) = stage.sent();
            stage.settle(call, &refusal(401, "expired_token"));
            assert!(matches!(stage.step(), Some(Step::Access(..))));
        }),
    ];
    for (what, hold) in held {
        let mut stage = Stage::new(options().quota(quota));
        hold(&mut stage);
        let asked = stage.elapsed();
        let mut answer = complete(&mut stage, &tag(2));
        let told = loop {
            if let Ok(told) = answer.try_recv() {
                break told;
            }
            assert!(stage.elapsed() - asked < 140.0, "{what}");
            assert!(stage.sent_within(1.0).is_none(), "{what}");
        };
        assert_eq!(told.unwrap_err(), CompleteError::NotSent, "{what}");
        assert!((129.0..=132.0).contains(&(stage.elapsed() - asked)), "{what}");
    }
}

#[test]
fn an_end_is_repeated_while_its_first_request_hangs() {
    let mut stage = Stage::new(options());
    let mut answer = complete(&mut stage, &tag(1));
    let (stuck, _) = stage.sent_within(0.0).unwrap();
    assert!(stage.sent_within(9.9).is_none());
    let (call, request) = stage.sent_within(0.2).expect("after ten seconds");
    assert_eq!(sorts(&request), (0, 1));
    stage.settle(call, &all_well(1));
    assert!(answer.try_recv().unwrap().is_ok());
    stage.settle(stuck, &nobody_knows());
    assert!(stage.sent_within(60.0).is_none(), "it is over");
}

/// Regression: in a lane with only ends, the third expired access token blocked the lane for ever. Cause: only
/// requests with entries reset the count of renewals.
#[test]
fn a_lane_that_only_ends_activities_survives_every_expired_token() {
    let mut stage = Stage::new(options());
    for n in 0..10 {
        let mut answer = complete(&mut stage, &tag(n));
        let (call, _) = stage.sent();
        stage.settle(call, &refusal(401, "expired_token"));
        let Some(Step::Access(call, _)) = stage.step() else { panic!("a refresh, end {n}") };
        stage.engine.accessed(call, Refreshed::Renewed, stage.now);
        let (call, _) = stage.sent();
        stage.settle(call, &all_well(1));
        assert!(answer.try_recv().unwrap().is_ok(), "end {n}");
    }
}

/// Regression: with a provider, a block after two refusals never ended.
#[test]
fn a_block_for_refused_access_asks_for_access_again() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "x");
    let mut asked = 0;
    while asked < 3 {
        match stage.step() {
            Some(Step::Send(call, _)) => stage.settle(call, &refusal(401, "expired_token")),
            Some(Step::Access(call, _)) => {
                asked += 1;
                stage.engine.accessed(call, Refreshed::Renewed, stage.now);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(stage.elapsed() >= 600.0, "not before ten minutes: {}", stage.elapsed());
    let (call, _) = stage.sent();
    stage.settle(call, &all_well(1));
    assert_eq!(stage.stats().acknowledged(), 1);
}

#[test]
fn replies_to_ends_are_counted_like_replies_to_entries() {
    let mut stage = Stage::new(options());
    complete_with(&mut stage, &tag(1), None, Completion::new(), 60.0);
    for reply in
        [refusal(503, "QUERY_LIMIT_EXCEEDED"), refusal(429, "OPERATION_TIME_LIMIT"), nobody_knows()]
    {
        let (call, _) = stage.sent_within(30.0).expect("it is tried again");
        stage.settle(call, &reply);
    }
    let stats = stage.stats();
    let counted = (stats.rate_limited(), stats.operating_limited(), stats.unknown_outcomes());
    assert_eq!(counted, (1, 1, 1));
}

/// Regression: reports named the portal that was used last.
#[test]
fn trouble_is_reported_with_its_portal() {
    let mut stage = Stage::new(options());
    let of = |portal, n| Tag::detached(&format!("5e{n}.1|A|1.ff"), Some(portal));
    for n in 0..10 {
        stage.log(&of("fine", n), "x");
    }
    let mine = of("in trouble", 99);
    stage.log(&mine, "x");
    let mut calls = Vec::new();
    while let Some((call, _)) = stage.sent_within(1.5) {
        calls.push(call);
    }
    let troubled = calls.iter().copied().find(|call| {
        stage.engine.portal(*call).is_some_and(|portal| portal.as_str() == "in trouble")
    });
    let others: Vec<_> = calls.iter().copied().filter(|call| Some(*call) != troubled).collect();
    for call in others {
        stage.settle(call, &all_well(10));
    }
    stage.settle(troubled.unwrap(), &refusal(403, "insufficient_scope"));
    stage.engine.report(
        super::super::report::Trouble::Abandoned,
        Some(&PortalId::from("abandoning")),
        "",
    );
    let reports = format!("{:?}", stage.engine.due_reports(true, stage.now));
    for (kind, portal) in [("CredentialBlocked", "in trouble"), ("Abandoned", "abandoning")] {
        let of_kind = reports.split("Report {").find(|report| report.contains(kind)).unwrap();
        assert!(of_kind.contains(portal) && !of_kind.contains("fine"), "{reports}");
    }
}

#[test]
fn a_completion_finds_the_portal_on_which_its_token_has_logged() {
    let mut stage = Stage::new(options());
    let tag = Tag::detached("5e.1|A|1.ff", Some("a.example"));
    stage.log(&tag, "before the end");
    let mut answer = complete_with(&mut stage, &tag, None, Completion::new(), 10.0);
    let mut sent = Vec::new();
    while let Some((call, request)) = stage.sent_within(0.0) {
        assert_eq!(stage.engine.portal(call).map(PortalId::as_str), Some("a.example"));
        sent.push(sorts(&request));
        stage.settle(call, &all_well(request.commands));
    }
    assert_eq!(sent, [(1, 0), (0, 1)]);
    assert_eq!(answer.try_recv().unwrap().unwrap().late(), 0);
}

#[test]
fn completing_a_token_of_an_unknown_portal_fails_at_once() {
    let oauth = crate::auth::OAuth::new("app", "secret", crate::auth::MemoryStore::new());
    let mut stage = Stage::new(crate::builder(oauth));
    let mut answer = complete_with(&mut stage, &tag(1), None, Completion::new(), 10.0);
    assert_eq!(answer.try_recv().unwrap().unwrap_err(), CompleteError::UnknownPortal);
    let named = complete_with(&mut stage, &tag(1), Some("a.example"), Completion::new(), 10.0);
    assert!(stage.sent_within(0.0).is_some());
    drop(named);
}

#[test]
fn an_activity_is_completed_once() {
    let mut stage = Stage::new(options());
    let mut first = complete(&mut stage, &tag(1));
    let mut second = complete(&mut stage, &tag(1));
    assert_eq!(second.try_recv().unwrap().unwrap_err(), CompleteError::AlreadyCompleted);
    let (call, _) = stage.sent();
    stage.settle(call, &all_well(1));
    assert!(first.try_recv().unwrap().is_ok());
    let mut third = complete(&mut stage, &tag(1));
    assert_eq!(third.try_recv().unwrap().unwrap_err(), CompleteError::AlreadyCompleted);
}

#[test]
fn pending_ends_use_a_limited_share_of_memory() {
    let mut stage = Stage::new(options().pending_bytes(1 << 20));
    let large = || Completion::new().value("text", "x".repeat(100_000));
    let mut answers: Vec<_> =
        (0..20).map(|n| complete_with(&mut stage, &tag(n), None, large(), 10.0)).collect();
    let refused = answers.iter_mut().filter_map(|answer| answer.try_recv().ok()).count();
    assert!((10..=16).contains(&refused), "{refused}");
    while let Some((call, request)) = stage.sent_within(5.0) {
        stage.settle(call, &all_well(request.commands));
    }
    assert!(complete_with(&mut stage, &tag(99), None, large(), 10.0).try_recv().is_err());
}

/// Regression: notices about lost lines were kept for ever, and were sent before new lines.
#[test]
fn notices_about_missing_lines_expire_and_do_not_delay_new_lines() {
    let mut stage = Stage::new(options().max_hold(secs(5.0)).max_age(secs(10.0)));
    for n in 0..9_000 {
        let tag = tag(n);
        stage.engine.line_lost(&LogLine::saying(&tag, "x"), stage.now);
    }
    stage.log(&tag(9_999), "fresh");
    let mut requests = 0;
    loop {
        let (call, request) = stage.sent_within(2.0).expect("a request");
        requests += 1;
        stage.settle(call, &all_well(request.commands));
        if says(&request, "fresh") {
            break;
        }
        assert!(requests < 3, "word of others' losses goes first");
    }
    stage.now += secs(20.0);
    assert!(stage.sent_within(60.0).is_none(), "nobody is told of old losses");
}

/// Regression: in a long outage, the notice of a token that went on logging was dropped again and again,
/// because its first lost line was too old.
#[test]
fn a_notice_of_a_token_that_goes_on_losing_lines_does_not_expire() {
    let mut stage = Stage::new(options().linger(secs(1.0)).max_age(secs(10.0)));
    stage.log(&tag(1), "keeps the portal busy");
    let (call, request) = stage.sent_within(2.0).expect("a request");
    for _ in 0..3 {
        stage.engine.line_lost(&LogLine::saying(&tag(2), "x"), stage.now);
        assert!(stage.sent_within(6.0).is_none(), "the portal has not answered");
    }
    stage.settle(call, &all_well(request.commands));
    let (_, request) = stage.sent_within(60.0).expect("a notice");
    assert!(says(&request, "3 lines missing"), "{:?}", messages(&request));
}

/// Regression: lanes were never removed.
#[test]
fn an_idle_portal_is_forgotten() {
    let mut stage = Stage::new(options());
    for n in 0..50 {
        let portal = format!("portal {n}");
        stage.log(&Tag::detached(&format!("5e{n}.1|A|1.ff"), Some(&portal)), "x");
    }
    stage.run(10.0);
    assert_eq!(stage.stats.portals(stage.now).len(), 50);
    let day = stage.now + secs(86_400.0);
    while stage.now < day {
        match stage.engine.next(stage.now) {
            Step::Wait(Some(at)) => stage.now = at,
            Step::Wait(None) => break,
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(stage.stats.portals(stage.now).len(), 0);
    stage.log(&Tag::detached("5e1.1|A|1.ff", Some("portal 1")), "again");
    assert_eq!(stage.run(5.0).len(), 1);
}

/// Regression: the answer to a completion called lines late that were counted as refused.
#[test]
fn the_answer_to_a_completion_counts_a_refused_line_like_the_counters() {
    let mut stage = Stage::new(options());
    let tag = proven(&mut stage, 1);
    stage.log(&tag, "a line that is refused");
    let mut answer = complete(&mut stage, &tag);
    let (call, request) = stage.sent_within(0.0).expect("both, at once");
    assert_eq!(sorts(&request), (1, 1));
    stage.settle(call, &answers(&[Some("ACCESS_DENIED"), None]));
    let report = answer.try_recv().unwrap().unwrap();
    assert_eq!((report.lost(), report.late()), (1, 0), "{report}");
    assert_eq!((stage.stats().lost(), stage.stats().late()), (1, 0));
    assert_eq!(report.by_reason(DropReason::TokenDenied), 1);
}

/// Regression: the completion waited for two minutes, although a webhook never serves another portal.
#[test]
fn an_end_for_a_portal_of_another_webhook_fails_at_once() {
    let own = "a223c6b3710f85df22e9377d6c4f7553";
    let webhook = || Webhook::new("https://b24.example/rest/1/code/").unwrap();
    for (webhook, serves_own) in [(webhook(), false), (webhook().for_portal(own), true)] {
        let mut stage = Stage::new(builder(webhook));
        let of_other = Tag::detached("5e1.1|A|1.ff", Some("other"));
        stage.log(&of_other, "a line");
        // Without the name, the portal is the one on which the token has logged.
        for portal in [Some("other"), None] {
            let mut told = complete_with(&mut stage, &of_other, portal, Completion::new(), 10.0);
            assert_eq!(told.try_recv().unwrap(), Err(CompleteError::NoCredentials), "{portal:?}");
        }
        for (n, portal, is_served) in [(1, Some(own), serves_own), (2, None, true)] {
            let mut told = complete_with(&mut stage, &tag(n), portal, Completion::new(), 10.0);
            assert_eq!(told.try_recv() == Err(Empty), is_served, "{portal:?}");
        }
    }
}
