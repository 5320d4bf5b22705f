//! REST calls of the app, through the lane of their portal.

use bizproc_portal::{Canned, ErrorCode, Fault, Moment, Portal};
use tracing::info;
use tracing_bizproc::error::CallError;
use tracing_bizproc::{Completion, PortalId};

use crate::app::{AppStage, wait};
use crate::stage::{PATIENCE, Stage, lines};

#[test]
fn a_call_has_the_portals_result_or_its_error() {
    let stage = Stage::quick();
    let answer = wait(stage.bizproc.call(None, "profile", "")).unwrap();
    let profile: serde_json::Value = serde_json::from_str(&answer.result()).unwrap();
    assert!(profile.get("ID").is_some(), "{profile}");
    assert!(!format!("{answer:?}").contains("ID"), "{answer:?}");

    let unknown = wait(stage.bizproc.call(None, "no.such.method", "{}")).unwrap_err();
    assert!(matches!(&unknown, CallError::Portal { code, .. } if code == "ERROR_METHOD_NOT_FOUND"));
    for (method, params) in [("", "{}"), ("profile/x", "{}"), ("profile", "[1]"), ("profile", "{")]
    {
        let wrong = wait(stage.bizproc.call(None, method, params)).unwrap_err();
        assert!(matches!(wrong, CallError::Request { .. }), "{wrong}");
    }
    let nobody = PortalId::from("another");
    let unknown = wait(stage.bizproc.call(Some(&nobody), "profile", "{}")).unwrap_err();
    assert!(matches!(unknown, CallError::UnknownPortal { .. }), "{unknown}");
    // The error of a call does not block the log.
    let (workflow, _, event_token) = stage.activity();
    tracing::info_span!("s", event_token = event_token.as_field()).in_scope(|| info!("hello"));
    stage.flushed();
    assert_eq!(lines(&workflow), ["hello"]);
}

#[test]
fn only_calls_that_were_certainly_not_executed_are_repeated() {
    let stage = Stage::quick();
    let hits = |portal: &Portal| portal.counters().hits;
    for fault in [
        Fault::Refuse(ErrorCode::QueryLimitExceeded),
        Fault::Answer(
            Moment::BeforeExecution,
            Canned::json(401, r#"{"error":"CONNECTION_ERROR"}"#),
        ),
    ] {
        let before = hits(&stage.portal);
        stage.portal.faults().next(fault);
        assert!(wait(stage.bizproc.call(None, "profile", "{}")).is_ok());
        assert_eq!(hits(&stage.portal) - before, 2);
    }
    for fault in [
        Fault::Reset(Moment::AfterExecution),
        Fault::Truncate,
        Fault::Answer(Moment::AfterExecution, Canned::html(502)),
        Fault::Refuse(ErrorCode::InternalServerError),
    ] {
        let before = hits(&stage.portal);
        stage.portal.faults().next(fault);
        let error = wait(stage.bizproc.call(None, "profile", "{}")).unwrap_err();
        assert!(matches!(error, CallError::OutcomeUnknown { .. }), "{error}");
        assert_eq!(hits(&stage.portal) - before, 1);
    }
}

/// Regression: calls of the app and the log renewed the token at the same time, and got 503.
#[test]
fn calls_and_lines_share_one_renewal() {
    let stage = AppStage::new(1);
    let (workflow, _, verified) = stage.open(0);
    let portal = verified.portal().clone();
    let activity = stage.bizproc.activity(verified).first().unwrap();
    wait(activity.flush(PATIENCE)).unwrap();
    stage.portals[0].app.expire_access_tokens();
    activity.span().in_scope(|| info!("received"));
    let (flushed, called, again) = wait(async {
        tokio::join!(
            activity.flush(PATIENCE),
            stage.bizproc.call(Some(&portal), "profile", "{}"),
            stage.bizproc.call(Some(&portal), "app.info", "{}"),
        )
    });
    assert!(flushed.unwrap().is_complete());
    called.unwrap();
    again.unwrap();
    assert_eq!(lines(&workflow), ["received"]);
    assert_eq!(stage.renewals(), 1);
    wait(activity.complete(Completion::new())).unwrap();
}

#[cfg(feature = "typed")]
#[test]
fn parameters_and_results_may_be_of_any_type() {
    let stage = Stage::quick();
    let none = serde_json::Map::new();
    let scopes: Vec<String> = wait(stage.bizproc.call_as(None, "scope", &none)).unwrap();
    assert!(scopes.contains(&"bizproc".to_owned()), "{scopes:?}");
    let wrong = wait(stage.bizproc.call_as::<u8>(None, "profile", &serde_json::json!({})));
    assert_eq!(wrong, Err(CallError::Type));
    let problem = wait(stage.bizproc.call_as::<u8>(None, "profile", "text"));
    assert!(matches!(problem, Err(CallError::Request { .. })), "{problem:?}");
}
