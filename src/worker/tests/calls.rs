//! REST calls of the app in the lane, under a clock of the test.

use super::*;
use crate::call::CallAnswer;
use crate::error::CallError;
use crate::worker::rate::Quota;

type Answer = oneshot::Receiver<Result<CallAnswer, CallError>>;

fn call(stage: &mut Stage, name: &str) -> Answer {
    let (reply, answer) = oneshot::channel();
    let (method, body) = crate::protocol::call::request(name, "{}").unwrap();
    let deadline = stage.now + secs(120.0);
    let call = crate::queue::Call { by: Caller::App, portal: None, method, body, deadline, reply };
    stage.engine.call(call, stage.now);
    answer
}

fn is_call(request: &Request) -> bool {
    matches!(request.method, Method::Named(_))
}

#[test]
fn a_call_in_flight_delays_no_lines_or_ends() {
    let mut stage = Stage::new(options());
    let mut answer = call(&mut stage, "crm.deal.list");
    let (out, request) = stage.sent();
    assert!(is_call(&request));
    // It takes its time.
    stage.log(&tag(1), "a");
    let (line, request) = stage.sent_within(2.0).expect("the line");
    assert!(!is_call(&request));
    stage.settle(line, &all_well(1));
    let mut ended = complete(&mut stage, &tag(1));
    let (end, _) = stage.sent_within(1.0).expect("the end");
    stage.settle(end, &all_well(1));
    assert!(ended.try_recv().unwrap().is_ok());
    stage.settle(out, &json(200, r#"{"result":7}"#));
    assert_eq!(answer.try_recv().unwrap().unwrap().result(), "7");
}

#[test]
fn calls_and_lines_take_turns_at_the_rate_limit() {
    let quota = Quota::Custom { per_second: 1.0, burst: 1 };
    let mut stage =
        Stage::new(options().quota(quota).retention(crate::config::Retention::SelfHosted));
    let answers: Vec<_> = (0..20).map(|_| call(&mut stage, "crm.deal.list")).collect();
    let (mut calls, mut entries) = (0, 0);
    for n in 0..20 {
        // There is always something to log.
        stage.log(&tag(n), "a");
        let (out, request) = stage.sent();
        if is_call(&request) {
            calls += 1
        } else {
            entries += 1
        }
        stage.settle(out, &json(200, r#"{"result":{"result":{"c0":true},"result_error":[]}}"#));
    }
    assert!(calls >= 8 && entries >= 8, "{calls} calls, {entries} requests with entries");
    drop(answers);
}

#[test]
fn a_block_of_the_log_does_not_block_calls() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "a");
    let (line, _) = stage.sent();
    stage.settle(line, &refusal(404, "ERROR_METHOD_NOT_FOUND"));
    let mut answer = call(&mut stage, "crm.deal.list");
    let (out, request) = stage.sent_within(1.0).expect("the call");
    assert!(is_call(&request));
    stage.settle(out, &json(200, r#"{"result":[]}"#));
    assert!(answer.try_recv().unwrap().is_ok());
}

#[test]
fn a_call_with_an_unknown_outcome_is_never_repeated() {
    let mut stage = Stage::new(options());
    let mut answer = call(&mut stage, "crm.deal.add");
    let (out, _) = stage.sent();
    stage.settle(out, &nobody_knows());
    let told = answer.try_recv().unwrap().unwrap_err();
    assert!(matches!(told, CallError::OutcomeUnknown { .. }), "{told}");
    assert!(stage.sent_within(600.0).is_none());
}

#[test]
fn a_call_that_never_gets_through_is_given_up_in_two_minutes() {
    let mut stage = Stage::new(options());
    let mut answer = call(&mut stage, "crm.deal.add");
    let mut tries = 0;
    let told = loop {
        if let Some((out, _)) = stage.sent_within(130.0) {
            tries += 1;
            stage.settle(out, &Reply::NotSent(Cause("no route to host".to_owned())));
        }
        if let Ok(told) = answer.try_recv() {
            break told.unwrap_err();
        }
    };
    assert!(matches!(&told, CallError::NotSent { why } if why.contains("no route")), "{told}");
    assert!((3..40).contains(&tries), "{tries}");
    assert!(stage.elapsed() <= 121.0, "{}", stage.elapsed());
}

#[test]
fn refused_access_is_renewed_once_and_then_reported() {
    let mut stage = Stage::new(options());
    let mut answer = call(&mut stage, "crm.deal.add");
    let (out, _) = stage.sent();
    stage.settle(out, &refusal(401, "expired_token"));
    let Some(Step::Access(renewal, Renewal::Refresh)) = stage.step() else {
        panic!("renewed first")
    };
    stage.engine.accessed(renewal, Refreshed::Denied(Code("invalid_grant".into())), stage.now);
    let (out, _) = stage.sent_within(1.0).expect("asked once more");
    stage.settle(out, &refusal(401, "expired_token"));
    let told = answer.try_recv().unwrap().unwrap_err();
    assert!(
        matches!(&told, CallError::Credential { code, .. } if code == "expired_token"),
        "{told}"
    );
}

#[test]
fn a_shutdown_waits_for_calls_until_its_deadline() {
    for in_time in [true, false] {
        let mut stage = Stage::new(options());
        let mut answer = call(&mut stage, "crm.deal.add");
        let (out, _) = stage.sent();
        let (reply, _closed) = oneshot::channel();
        let deadline = stage.now + secs(5.0);
        stage.engine.close(Close { deadline, reply }, stage.now);
        assert!(matches!(stage.engine.next(stage.now), Step::Wait(_)));
        if in_time {
            stage.settle(out, &json(200, r#"{"result":true}"#));
        } else {
            stage.now = deadline;
        }
        assert!(matches!(stage.engine.next(stage.now), Step::Closed));
        assert_eq!(answer.try_recv().unwrap().is_ok(), in_time);
    }
}
