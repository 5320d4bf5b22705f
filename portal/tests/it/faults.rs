//! Faults: each one as the client sees it, and what was executed.

use std::time::Duration;

use bizproc_portal::{Canned, ErrorCode, Fault, Moment, Portal};
use serde_json::json;

use crate::client::request;

const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

#[test]
fn each_fault_happens_once_with_the_execution_that_it_describes() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let url = portal.webhook_url() + "bizproc.activity.log";
    let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "x"}).to_string();
    let call = || request(&url, "POST", JSON, body.as_bytes());

    for (fault, status, executed) in [
        (Fault::Reset(Moment::BeforeRead), None, false),
        (Fault::Reset(Moment::BeforeExecution), None, false),
        (Fault::Reset(Moment::AfterExecution), None, true),
        (Fault::Truncate, None, true),
        (Fault::Drip(Duration::from_micros(10)), Some(200), true),
        (Fault::Delay(Moment::BeforeRead, Duration::from_millis(1)), Some(200), true),
        (Fault::Answer(Moment::BeforeExecution, Canned::html(502)), Some(502), false),
        (Fault::Answer(Moment::AfterExecution, Canned::html(504)), Some(504), true),
        (Fault::Answer(Moment::AfterExecution, Canned::empty(200)), Some(200), true),
        (Fault::Answer(Moment::BeforeRead, Canned::json(200, "{")), Some(200), false),
        (Fault::Refuse(ErrorCode::QueryLimitExceeded), Some(503), false),
        (Fault::Refuse(ErrorCode::OperationTimeLimit), Some(429), false),
        (Fault::Refuse(ErrorCode::ExpiredToken), Some(401), false),
        (Fault::Refuse(ErrorCode::InternalServerError), Some(500), false),
    ] {
        let before = workflow.texts().len();
        portal.faults().next(fault.clone());
        let answer = call();
        assert_eq!(
            answer.as_ref().ok().map(|answer| answer.status),
            status,
            "{fault:?} {answer:?}"
        );
        assert_eq!(workflow.texts().len() - before, usize::from(executed), "{fault:?}");
        let hit = portal.journal().pop().unwrap();
        assert_eq!(hit.fault, Some(format!("{fault:?}")));
        assert_eq!(hit.commands.len(), usize::from(executed));
        assert_eq!(call().unwrap().status, 200);
    }
}

#[test]
fn a_hit_that_hangs_is_not_answered_and_does_not_keep_the_portal_from_stopping() {
    let portal = Portal::builder().start().unwrap();
    portal.faults().next(Fault::Hang(Moment::BeforeRead));
    let url = portal.webhook_url() + "server.time";
    let client = std::thread::spawn(move || request(&url, "POST", JSON, b"{}"));
    assert!(portal.wait_for(Duration::from_secs(10), |portal| portal.journal().len() == 1));
    assert_eq!(portal.journal()[0].status, None);
    drop(portal);
    assert!(client.join().unwrap().is_err());
}

#[test]
fn faults_of_a_method_and_at_random_last_until_they_are_cleared() {
    let portal = Portal::builder().start().unwrap();
    let url = portal.webhook_url() + "server.time";
    let status = || request(&url, "POST", JSON, b"{}").unwrap().status;
    let answer = |status| Fault::Answer(Moment::BeforeRead, Canned::empty(status));
    portal.faults().on_method("server.time", answer(500));
    assert_eq!([status(), status()], [500, 500]);
    portal.faults().clear();
    assert_eq!(status(), 200);
    portal.faults().at_random(1, 1.0, vec![answer(502), answer(504)]);
    let statuses: Vec<u16> = (0..20).map(|_| status()).collect();
    assert!(statuses.contains(&502) && statuses.contains(&504), "{statuses:?}");
}
