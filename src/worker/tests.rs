//! The engine under a clock of the test: what it sends, when, and how it handles replies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::oneshot;

use super::engine::{Engine, Outgoing, Step};
use super::lane::Renewal;
use crate::builder::{Builder, Parts, builder};
use crate::completion::Completion;
use crate::error::CompleteError;
use crate::line::{EventToken, LogLine, PortalId, Tag};
use crate::protocol::reply::Code;
use crate::protocol::{Cause, Method, Reply, Request};
use crate::queue::{Caller, Close, Complete, Consumer, Flush, Producer, Scope};
use crate::stats::{AtDoor, DropReason, FlushReport, Snapshot, Stats};
use crate::transport::Refreshed;
use crate::transport::auth::{Credentials, Webhook};

mod calls;
#[cfg(feature = "simulation")]
mod crash;
mod ends;
mod found;
#[cfg(feature = "simulation")]
mod journal;
#[cfg(feature = "simulation")]
mod kept;
#[cfg(feature = "simulation")]
mod notices;
mod patience;
mod portals;
#[cfg(all(feature = "simulation", feature = "relay"))]
mod publish;
#[cfg(feature = "simulation")]
mod recovery;
#[cfg(feature = "simulation")]
mod relayed;
mod shutdown;
#[cfg(feature = "simulation")]
mod storm;
#[cfg(feature = "simulation")]
mod told;
#[cfg(feature = "simulation")]
mod waits;

/// An engine and its clock.
struct Stage {
    engine: Engine,
    stats: Arc<Stats>,
    start: Instant,
    now: Instant,
    /// Both ends are kept. Otherwise the queue would be closed.
    _queue: (Producer, Consumer),
}

/// Options with credentials that may serve every portal. The transports of these tests need none.
fn options() -> Builder {
    let credentials = Credentials::provider(HashMap::<PortalId, Webhook>::new());
    builder(credentials).portal_share(1.0)
}

fn tag(n: u32) -> Arc<Tag> {
    Tag::detached(&format!("5c1dc1c3f0{n:04}.78875596|A1|{n}.abcdef"), None)
}

/// Seeds for a storm: so many, or as many as `BIZPROC_SEEDS` says ("3000", or "3000..6000").
#[cfg(feature = "simulation")]
fn seeds(few: u64) -> std::ops::Range<u64> {
    let Ok(seeds) = std::env::var("BIZPROC_SEEDS") else { return 0..few };
    let number =
        |text: &str| text.parse().expect("BIZPROC_SEEDS is a number, or two with `..` between");
    match seeds.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&seeds),
    }
}

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

impl Stage {
    fn new(options: Builder) -> Stage {
        let Parts { producer, consumer, engine, stats, .. } = options.parts(1);
        #[expect(clippy::disallowed_methods, reason = "any instant will do to start from")]
        let now = Instant::now();
        Stage { engine, stats, start: now, now, _queue: (producer, consumer) }
    }

    fn log(&mut self, tag: &Arc<Tag>, text: &str) {
        self.engine.line(&LogLine::saying(tag, text), self.now);
    }

    fn elapsed(&self) -> f64 {
        self.since().as_secs_f64()
    }

    fn since(&self) -> Duration {
        self.now - self.start
    }

    /// The next step that is not a wait, after its time. `None` if there is nothing to wait for.
    fn step(&mut self) -> Option<Step> {
        loop {
            match self.engine.next(self.now) {
                Step::Wait(Some(at)) => self.now = at,
                Step::Wait(None) => return None,
                step => return Some(step),
            }
        }
    }

    /// The next request, within `limit` of now.
    fn sent_within(&mut self, limit: f64) -> Option<(Outgoing, Request)> {
        let until = self.now + secs(limit);
        loop {
            match self.engine.next(self.now) {
                Step::Wait(Some(at)) if at <= until => self.now = at,
                Step::Send(call, request) => return Some((call, request)),
                _ => {
                    self.now = until;
                    return None;
                }
            }
        }
    }

    fn sent(&mut self) -> (Outgoing, Request) {
        match self.step() {
            Some(Step::Send(call, request)) => (call, request),
            other => panic!("expected a request, got {other:?}"),
        }
    }

    fn settle(&mut self, call: Outgoing, reply: &Reply) {
        self.engine.settle(call, reply, self.now);
        self.engine.answer(self.now);
    }

    /// A line of the token is lost, and the notice about it has failed. With `GiveUp`.
    fn lose_with_its_notice(&mut self, tag: &Arc<Tag>) {
        self.log(tag, "lost");
        for _ in 0..2 {
            let (call, _) = self.sent();
            self.settle(call, &nobody_knows());
        }
    }

    /// Sends and acknowledges all requests within this time.
    fn run(&mut self, seconds: f64) -> Vec<(f64, Request)> {
        let until = self.now + secs(seconds);
        let mut requests = Vec::new();
        while let Some((call, request)) = self.sent_within((until - self.now).as_secs_f64()) {
            self.settle(call, &all_well(request.commands));
            requests.push((self.elapsed(), request));
        }
        requests
    }

    fn stats(&self) -> Snapshot {
        self.stats.snapshot(&AtDoor {
            accepted: 0,
            pending: self.engine.pending(),
            is_forked: false,
            refused: Vec::new(),
            unusable_tokens: 0,
            unseen: 0,
        })
    }
}

fn json(status: u16, body: &str) -> Reply {
    Reply::Http { status, body: body.as_bytes().to_vec() }
}

fn all_well(commands: usize) -> Reply {
    answers(&vec![None; commands])
}

/// An answer for each command: done, or this code.
fn answers(codes: &[Option<&str>]) -> Reply {
    if let [code] = codes {
        return match code {
            None => json(200, r#"{"result":true}"#),
            Some(code) => refusal(400, code),
        };
    }
    let (mut results, mut errors) = (serde_json::Map::new(), serde_json::Map::new());
    for (n, code) in codes.iter().enumerate() {
        match code {
            None => results.insert(format!("c{n}"), Value::Bool(true)),
            Some(code) => errors.insert(format!("c{n}"), serde_json::json!({"error": code})),
        };
    }
    json(
        200,
        &serde_json::json!({"result": {"result": results, "result_error": errors}}).to_string(),
    )
}

fn refusal(status: u16, code: &str) -> Reply {
    json(status, &serde_json::json!({"error": code, "error_description": "x"}).to_string())
}

fn nobody_knows() -> Reply {
    Reply::Unanswered(Cause("reset".to_owned()))
}

/// The messages of a request, decoded.
fn messages(request: &Request) -> Vec<String> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    if request.method != Method::Batch {
        return vec![body["LOG_MESSAGE"].as_str().unwrap_or_default().to_owned()];
    }
    let commands = body["cmd"].as_object().unwrap();
    (0..commands.len())
        .map(|n| {
            let command = commands[&format!("c{n}")].as_str().unwrap();
            let query = command.split_once('?').unwrap().1;
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == "LOG_MESSAGE").unwrap().1.into_owned()
        })
        .collect()
}

fn says(request: &Request, text: &str) -> bool {
    messages(request).iter().any(|message| message.contains(text))
}

#[test]
fn one_entry_goes_by_itself_and_two_in_a_batch() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "alone");
    let (call, request) = stage.sent();
    assert_eq!((request.method, request.commands), (Method::ActivityLog, 1));
    stage.settle(call, &all_well(1));
    stage.log(&tag(2), "b");
    stage.log(&tag(3), "c");
    let (_, request) = stage.sent();
    assert_eq!((request.method, request.commands), (Method::Batch, 2));
}

#[test]
fn lines_gather_for_the_linger_and_then_by_the_schedule() {
    let mut stage = Stage::new(options());
    let tag = tag(1);
    let mut times = Vec::new();
    // A line every tenth of a second, for a minute.
    for n in 0..600 {
        stage.log(&tag, &format!("line {n}"));
        times.extend(stage.run(0.1).into_iter().map(|(at, _)| at));
    }
    // T(k) = (1.3^k - 1) / 0.3 after the first, which goes at the linger.
    for (k, at) in times.iter().enumerate() {
        let schedule = 1.0 + (1.3_f64.powi(k as i32) - 1.0) / 0.3;
        assert!((at - schedule).abs() < 1.1, "entry {k} at {at:.2}, not {schedule:.2}");
    }
    assert!((11..=13).contains(&times.len()), "{times:?}");
}

#[test]
fn no_line_waits_longer_than_max_hold() {
    let mut stage = Stage::new(options().max_hold(secs(20.0)));
    let tag = tag(1);
    for _ in 0..30 {
        stage.log(&tag, "x");
        let waited = stage.now;
        while stage.engine.pending() > 0 {
            stage.run(0.5);
        }
        assert!(stage.now - waited <= secs(20.5));
    }
}

#[test]
fn a_severe_line_is_sent_before_the_schedule() {
    let flush = |stage: &mut Stage| {
        let (reply, _answer) = oneshot::channel();
        let deadline = stage.now + secs(5.0);
        stage.engine.flush(Flush { scope: Scope::All, deadline, reply }, stage.now);
    };
    // Twelve entries before their time: the schedule allows none for the next minute.
    let spent = |options: Builder| {
        let mut stage = Stage::new(options);
        for _ in 0..12 {
            stage.log(&tag(1), "x");
            flush(&mut stage);
            stage.run(0.1);
        }
        stage
    };
    let mut patient = spent(options());
    patient.log(&tag(1), "waits");
    assert!(patient.sent_within(60.0).is_none());

    let mut stage = spent(options());
    stage.log(&tag(1), "span closed");
    stage.engine.span_closed(&tag(1), stage.now);
    assert!(stage.sent_within(0.0).is_some());

    let mut stage = spent(options());
    stage.log(&tag(1), "flushed");
    flush(&mut stage);
    assert!(stage.sent_within(0.0).is_some());

    let mut stage = spent(options().send_at_once_from(tracing::Level::INFO));
    stage.log(&tag(1), "urgent by its level");
    assert!(stage.sent_within(0.0).is_some());

    let mut stage = spent(options().entry_bytes(2_000));
    stage.log(&tag(1), &"x".repeat(900));
    stage.log(&tag(1), &"y".repeat(900));
    let (_, request) = stage.sent_within(0.0).expect("a full entry");
    assert!(says(&request, "xxx") && !says(&request, "yyy"));
}

#[test]
fn spans_that_close_all_the_time_do_not_spend_the_whole_budget() {
    let mut stage = Stage::new(options());
    let mut entries = 0;
    for n in 0..1_000 {
        stage.log(&tag(1), &format!("request {n}"));
        stage.engine.span_closed(&tag(1), stage.now);
        entries += stage.run(0.1).len();
    }
    assert!(entries <= 30, "{entries} entries in 100 s");
}

#[test]
fn tokens_of_one_workflow_share_its_budget() {
    let mut stage = Stage::new(options());
    let branches =
        [1, 2].map(|n| Tag::detached(&format!("5c1dc1c3f0.78875596|A{n}|{n}.abcdef"), None));
    for branch in &branches {
        stage.log(branch, "x");
    }
    let times: Vec<_> = stage.run(10.0).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times.len(), 2, "{times:?}");
    assert!(times[1] - times[0] >= 0.99, "the second entry is the second of the workflow");
}

#[test]
fn entries_that_are_due_soon_join_the_request() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "first");
    stage.now += secs(0.09);
    stage.log(&tag(2), "soon");
    stage.now += secs(0.5);
    stage.log(&tag(3), "later");
    let (_, request) = stage.sent();
    assert_eq!(request.commands, 2);
}

#[test]
fn a_request_stays_within_its_bytes_and_loses_nothing() {
    let mut stage = Stage::new(
        options().request_bytes(500_000).retention(crate::config::Retention::SelfHosted),
    );
    for n in 0..12 {
        // Cyrillic letters need three times their bytes.
        stage.log(&tag(n), &format!("#{n} {}", "ы".repeat(29_000)));
    }
    let requests = stage.run(60.0);
    let mut seen = 0;
    for (_, request) in &requests {
        assert!(request.body.len() <= 500_000, "{}", request.body.len());
        for message in messages(request) {
            assert!(message.contains(&format!("#{seen} ы")), "in order, and each its own text");
            seen += 1;
        }
    }
    assert_eq!(seen, 12);
}

#[test]
fn a_token_that_logs_much_uses_one_place_in_a_request() {
    let mut stage = Stage::new(options().entry_bytes(2_000));
    for n in 0..1_000 {
        stage.log(&tag(0), &format!("loud {n} {}", "x".repeat(100)));
    }
    for n in 1..=20 {
        stage.log(&tag(n), "quiet");
    }
    stage.now += secs(1.0);
    let (_, request) = stage.sent();
    assert_eq!(request.commands, 21);
    assert_eq!(messages(&request).iter().filter(|message| message.contains("loud")).count(), 1);
}

#[test]
fn a_command_that_makes_the_portal_fail_does_not_affect_others() {
    let mut stage = Stage::new(options());
    for n in 0..50 {
        stage.log(&tag(n), if n == 33 { "POISON" } else { "fine" });
    }
    let (mut requests, mut fine) = (0, 49);
    while stage.engine.pending() > 0 {
        let (call, request) = stage.sent();
        requests += 1;
        let is_hit = says(&request, "POISON");
        let reply = if is_hit { json(500, "") } else { all_well(request.commands) };
        stage.settle(call, &reply);
        // The portal works: others go on.
        if is_hit && request.commands == 1 && stage.stats().lost() == 0 {
            stage.log(&tag(99), "fine");
            fine += 1;
        }
        assert!(requests < 60, "it comes to an end");
    }
    let stats = stage.stats();
    assert_eq!(stats.acknowledged(), fine);
    assert_eq!(stats.by_reason(DropReason::RetriesSpent), 1);
}

#[test]
fn an_outage_loses_no_line_and_delivery_recovers_quickly() {
    let mut stage = Stage::new(options());
    for n in 0..200 {
        stage.log(&tag(n), "x");
    }
    while stage.elapsed() < 600.0 {
        let (call, _) = stage.sent();
        stage.settle(call, &json(502, "<html>Bad Gateway</html>"));
    }
    let requests = stage.run(300.0).len();
    assert_eq!(stage.stats().acknowledged(), 200);
    assert!(requests <= 60, "{requests} requests to catch up");
}

#[test]
fn a_repeat_after_an_unknown_outcome_is_marked_and_one_after_a_refusal_is_not() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "x");
    let (call, _) = stage.sent();
    stage.settle(call, &Reply::NotSent(Cause("refused".to_owned())));
    let (call, request) = stage.sent();
    assert!(!says(&request, "possible repeat"));
    stage.settle(call, &nobody_knows());
    let (_, request) = stage.sent();
    assert!(says(&request, "possible repeat"));
    assert_eq!(stage.stats().repeats(), 1);
}

#[test]
fn only_commands_that_were_not_executed_are_sent_again() {
    let mut stage = Stage::new(options());
    for n in 0..3 {
        stage.log(&tag(n), &format!("line {n}"));
    }
    let (call, _) = stage.sent();
    // c1 is in neither section: the portal did not execute it.
    let body = r#"{"result":{"result":{"c0":true,"c2":true},"result_error":[]}}"#;
    stage.settle(call, &json(200, body));
    let (_, request) = stage.sent();
    assert!(request.commands == 1 && says(&request, "line 1") && !says(&request, "repeat"));
}

#[test]
fn requests_pause_if_the_portal_executes_no_command() {
    let mut stage = Stage::new(options().quota(crate::config::Quota::Unlimited));
    stage.log(&tag(1), "a");
    stage.log(&tag(2), "b");
    let mut requests = 0;
    while stage.elapsed() < 600.0 {
        let (call, _) = stage.sent();
        stage.settle(call, &json(200, r#"{"result":{"result":[],"result_error":[]}}"#));
        requests += 1;
    }
    assert!(requests < 60, "{requests} requests in ten minutes");
}

#[test]
fn a_locked_workflow_does_not_delay_others() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "locked");
    stage.log(&tag(2), "free");
    let (call, _) = stage.sent();
    stage.settle(call, &answers(&[Some("423"), None]));
    assert_eq!(stage.stats().acknowledged(), 1);
    let (call, request) = stage.sent();
    assert!(says(&request, "locked") && !says(&request, "repeat"));
    stage.settle(call, &all_well(1));
    assert_eq!(stage.stats().acknowledged(), 2);
}

#[test]
fn a_workflow_that_is_not_found_is_retried_for_a_limited_time() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "x");
    while stage.engine.pending() > 0 {
        let (call, _) = stage.sent();
        stage.settle(call, &refusal(400, "404"));
    }
    let waited = stage.elapsed();
    assert!((30.0..60.0).contains(&waited), "{waited}");
    assert_eq!(stage.stats().by_reason(DropReason::WorkflowGone), 1);
    stage.log(&tag(1), "more");
    assert_eq!(stage.stats().by_reason(DropReason::WorkflowGone), 2, "known without asking");
}

#[test]
fn an_operating_refusal_pauses_the_log_for_the_longest_known_time() {
    let lift = 605.0..606.0;
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "a");
    stage.log(&tag(2), "b");
    let (call, _) = stage.sent();
    stage.settle(call, &answers(&[None, Some("OPERATION_TIME_LIMIT")]));
    let refused_at = stage.elapsed();
    let (call, request) = stage.sent();
    // Direct calls and commands in batches are counted separately.
    assert_eq!(request.method, Method::ActivityLog);
    assert!(stage.elapsed() - refused_at < 2.0);
    stage.settle(call, &all_well(1));
    stage.log(&tag(3), "c");
    stage.log(&tag(4), "d");
    let (call, request) = stage.sent();
    assert_eq!((request.method, request.commands), (Method::Batch, 2));
    let paused = stage.elapsed() - refused_at;
    assert!(lift.contains(&paused), "a batch went after {paused} s");
    stage.settle(call, &all_well(2));

    stage.log(&tag(5), "e");
    let (call, _) = stage.sent();
    stage.settle(call, &refusal(429, "OPERATION_TIME_LIMIT"));
    let refused_at = stage.elapsed();
    let (_, request) = stage.sent();
    assert_eq!(request.method, Method::ActivityLog);
    let paused = stage.elapsed() - refused_at;
    assert!(lift.contains(&paused), "a direct call went after {paused} s");
    assert_eq!(stage.stats().operating_limited(), 2);
}

#[test]
fn a_blocked_credential_keeps_lines_until_they_are_too_old() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "x");
    let mut asked = 0;
    while stage.engine.pending() > 0 {
        if let Some((call, _)) = stage.sent_within(1.0) {
            stage.settle(call, &refusal(403, "insufficient_scope"));
            asked += 1;
        }
    }
    assert!((55..=61).contains(&asked), "once a minute for an hour: {asked}");
    assert_eq!(stage.stats().by_reason(DropReason::CredentialBlocked), 1);
}

#[test]
fn expired_grant_is_refreshed_once_for_the_whole_batch() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "a");
    stage.log(&tag(2), "b");
    let (call, _) = stage.sent();
    stage.settle(call, &refusal(401, "expired_token"));
    let Some(Step::Access(call, access)) = stage.step() else { panic!("a refresh first") };
    assert_eq!(access, Renewal::Refresh);
    assert!(stage.step().is_none(), "nothing goes to the portal meanwhile");
    stage.engine.accessed(call, Refreshed::Renewed, stage.now);
    let (call, request) = stage.sent();
    assert_eq!(request.commands, 2);
    stage.settle(call, &all_well(2));
    assert_eq!(stage.stats().acknowledged(), 2);
}

#[test]
fn access_that_is_refused_again_and_again_blocks_and_lifts_with_new_tokens() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "a");
    let mut refreshes = 0;
    loop {
        match stage.step() {
            Some(Step::Send(call, _)) => stage.settle(call, &refusal(401, "invalid_token")),
            Some(Step::Access(call, _)) => {
                refreshes += 1;
                stage.engine.accessed(
                    call,
                    Refreshed::Denied(Code("invalid_grant".into())),
                    stage.now,
                );
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refreshes, 1);
    assert!(stage.sent_within(300.0).is_none(), "blocked: no refresh by schedule");
    stage.engine.unblock(&None, stage.now);
    let (call, _) = stage.sent_within(1.0).expect("new tokens lift it");
    stage.settle(call, &all_well(1));
    assert_eq!(stage.stats().acknowledged(), 1);
}

#[test]
fn after_an_allowed_move_requests_go_to_the_new_host() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "a");
    let (call, _) = stage.sent();
    stage.settle(call, &Reply::Moved { host: Some("new.example".to_owned()) });
    let Some(Step::Access(call, access)) = stage.step() else { panic!("asked for leave first") };
    assert_eq!(access, Renewal::Relocate("new.example".to_owned()));
    stage.engine.accessed(call, Refreshed::Renewed, stage.now);
    let (call, _) = stage.sent();
    stage.settle(call, &all_well(1));
    assert_eq!(stage.stats().acknowledged(), 1);
}

fn complete(
    stage: &mut Stage,
    tag: &Arc<Tag>,
) -> oneshot::Receiver<Result<FlushReport, CompleteError>> {
    let (reply, answer) = oneshot::channel();
    let complete = Complete {
        event_token: EventToken::parse(tag.event_token.expose()).unwrap(),
        portal: None,
        completion: Completion::new().value("status", "paid"),
        deadline: stage.now + secs(10.0),
        reply,
    };
    stage.engine.complete(complete, stage.now);
    answer
}

#[test]
fn an_activity_ends_after_its_lines() {
    let mut stage = Stage::new(options());
    let tag = tag(1);
    stage.log(&tag, "before");
    let mut answer = complete(&mut stage, &tag);
    stage.log(&tag, "after");
    let (call, request) = stage.sent_within(0.0).expect("the lines, at once");
    assert!(says(&request, "before") && !says(&request, "after"));
    assert!(stage.sent_within(1.0).is_none(), "the end waits for them");
    stage.settle(call, &all_well(1));
    let (call, request) = stage.sent_within(0.0).expect("the end");
    assert_eq!(request.method, Method::EventSend);
    stage.settle(call, &all_well(1));
    let report = answer.try_recv().unwrap().unwrap();
    assert_eq!((report.acknowledged(), report.late()), (1, 0));
    assert_eq!(stage.stats().late(), 1, "the line after the end");
}

#[test]
fn an_activity_ends_at_its_deadline_with_any_result_of_its_lines() {
    let mut stage = Stage::new(options());
    let tag = tag(1);
    stage.log(&tag, "stuck");
    let mut answer = complete(&mut stage, &tag);
    let (stuck, _) = stage.sent_within(0.0).expect("the lines, at once");
    assert!(stage.sent_within(9.9).is_none());
    let (call, request) = stage.sent_within(0.2).expect("the end, beside the stuck request");
    assert_eq!(request.method, Method::EventSend);
    stage.settle(call, &all_well(1));
    assert!(answer.try_recv().unwrap().is_ok());
    stage.settle(stuck, &nobody_knows());
    assert!(stage.step().is_none(), "nothing is sent to a closed activity");
    assert_eq!((stage.stats().late(), stage.engine.pending()), (1, 0));
}

#[test]
fn an_end_is_repeated_until_there_is_an_answer() {
    let mut stage = Stage::new(options());
    let mut answer = complete(&mut stage, &tag(1));
    for reply in [nobody_knows(), json(502, "<html>"), refusal(400, "423")] {
        let (call, request) = stage.sent();
        assert_eq!(request.method, Method::EventSend);
        stage.settle(call, &reply);
    }
    let (call, _) = stage.sent();
    stage.settle(call, &all_well(1));
    assert!(answer.try_recv().unwrap().is_ok());
}

#[test]
fn a_refused_end_is_returned_to_its_caller() {
    let mut stage = Stage::new(options());
    let mut answer = complete(&mut stage, &tag(1));
    let (call, _) = stage.sent();
    stage.settle(call, &refusal(403, "ACCESS_DENIED"));
    assert!(matches!(answer.try_recv().unwrap(), Err(CompleteError::Refused { .. })));
}

#[test]
fn a_close_ignores_pauses_and_ends_at_its_deadline() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "held");
    let (call, _) = stage.sent();
    stage.settle(call, &nobody_knows());
    let (reply, mut answer) = oneshot::channel();
    let deadline = stage.now + secs(5.0);
    stage.engine.close(Close { deadline, reply }, stage.now);
    let (call, _) = stage.sent_within(0.0).expect("no pause holds up a shutdown");
    stage.settle(call, &nobody_knows());
    while let Some((call, _)) = stage.sent_within((deadline - stage.now).as_secs_f64()) {
        stage.settle(call, &nobody_knows());
    }
    stage.now = deadline;
    assert!(matches!(stage.engine.next(stage.now), Step::Closed));
    stage.engine.answer(stage.now);
    assert_eq!(answer.try_recv().unwrap().by_reason(DropReason::ShutdownDeadline), 1);
}
