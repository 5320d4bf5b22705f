//! Faults of the network and of portals: every line is delivered or counted, and a repeat is marked.

use std::time::Duration;

use bizproc_portal::{Canned, Fault, Moment, Portal};
use tracing::{info, info_span};
use tracing_bizproc::config::UnknownOutcome;
use tracing_bizproc::stats::DropReason;

use crate::stage::{PATIENCE, Stage, in_child, is_child, lines, token};

/// Logs a line to each of two workflows, in one batch.
fn two_lines(stage: &Stage) -> [bizproc_portal::Workflow; 2] {
    let opened = ["a", "b"].map(|name| {
        let (workflow, _, event_token) = stage.activity();
        (name, workflow, info_span!("activity", event_token = event_token.as_field()))
    });
    // Directly after each other, so that both are in one request.
    for (name, _, span) in &opened {
        span.in_scope(|| info!("{name}"));
    }
    opened.map(|(_, workflow, _)| workflow)
}

fn one_fault(fault: Fault) -> (Stage, [bizproc_portal::Workflow; 2]) {
    let stage = Stage::quick();
    stage.portal.faults().next(fault);
    let workflows = two_lines(&stage);
    let report = stage.bizproc.flush_blocking(PATIENCE).unwrap();
    assert!(report.is_complete(), "{report}");
    (stage, workflows)
}

#[test]
fn a_reset_before_execution_only_delays_lines() {
    let (stage, workflows) = one_fault(Fault::Reset(Moment::BeforeExecution));
    for (workflow, name) in workflows.iter().zip(["a", "b"]) {
        assert_eq!(lines(workflow).last().unwrap(), name);
        assert_eq!(workflow.texts().len(), 1);
    }
    assert_eq!(stage.bizproc.stats().unknown_outcomes(), 1);
}

#[test]
fn a_repeat_after_a_lost_answer_is_marked() {
    let (stage, workflows) = one_fault(Fault::Reset(Moment::AfterExecution));
    for (workflow, name) in workflows.iter().zip(["a", "b"]) {
        let log = lines(workflow);
        let mark = "• (possible repeat: the answer to the first try was lost)";
        assert_eq!(log, [name, mark, name]);
    }
    assert_eq!(stage.bizproc.stats().repeats(), 2);
}

#[test]
fn answers_in_html_are_handled() {
    for status in [502, 504, 500, 503] {
        let answer = Canned::html(status);
        let (_, workflows) = one_fault(Fault::Answer(Moment::BeforeExecution, answer));
        for (workflow, name) in workflows.iter().zip(["a", "b"]) {
            assert_eq!(lines(workflow).last().unwrap(), name);
        }
    }
}

#[test]
fn broken_answers_are_unknown_outcomes() {
    for answer in [Canned::empty(200), Canned::json(200, "{"), Canned::json(200, "[]")] {
        let (stage, _) = one_fault(Fault::Answer(Moment::AfterExecution, answer));
        assert_eq!(stage.bizproc.stats().unknown_outcomes(), 1);
    }
    let (stage, _) = one_fault(Fault::Truncate);
    assert_eq!(stage.bizproc.stats().unknown_outcomes(), 1);
}

#[test]
fn give_up_mentions_the_gap_in_the_log() {
    let stage = Stage::with(Portal::builder(), |builder| {
        builder.on_unknown_outcome(UnknownOutcome::GiveUp)
    });
    stage.portal.faults().next(Fault::Reset(Moment::BeforeExecution));
    let (workflow, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| info!("lost"));
    let report = stage.bizproc.flush_blocking(PATIENCE).unwrap();
    assert_eq!(report.by_reason(DropReason::OutcomeUnknown), 1);
    span.in_scope(|| info!("kept"));
    stage.flushed();
    let log = lines(&workflow);
    assert!(
        log[0].starts_with("• (1 line may be missing since ")
            && log[0].ends_with(": outcome unknown)")
    );
    assert_eq!(log[1], "kept");
}

#[test]
fn a_dead_workflow_does_not_affect_others() {
    let stage = Stage::quick();
    let dead = stage.portal.start_workflow("dead");
    let dead_token = token(&dead.open_activity("x"));
    dead.finish();
    let (alive, _, alive_token) = stage.activity();
    for event_token in [&dead_token, &alive_token] {
        info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("line"));
    }
    let stats = stage.bizproc.clone();
    assert!(stage.portal.wait_for(PATIENCE, |_| !alive.texts().is_empty()));
    assert_eq!(lines(&alive), ["line"]);
    // The workflow may not be saved yet, so entries are repeated for half a minute, or until the shutdown.
    let Stage { guard, portal: _portal, .. } = stage;
    let report = guard.shutdown_blocking(PATIENCE);
    assert_eq!(report.lines().by_reason(DropReason::WorkflowGone), 1);
    assert_eq!(stats.stats().pending(), 0);
}

#[test]
fn a_forged_token_does_not_affect_others() {
    let stage = Stage::quick();
    let (alive, activity, event_token) = stage.activity();
    let forged = activity.event_token().replace(|c: char| c.is_ascii_digit(), "3");
    info_span!("activity", event_token = forged).in_scope(|| info!("forged"));
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("honest"));
    let report = stage.bizproc.flush_blocking(PATIENCE).unwrap();
    assert_eq!(report.by_reason(DropReason::TokenDenied), 1);
    assert_eq!(report.acknowledged(), 1);
    assert_eq!(lines(&alive), ["honest"]);
}

#[test]
fn lines_wait_for_a_locked_workflow() {
    let stage = Stage::quick();
    let (workflow, _, event_token) = stage.activity();
    let lock = workflow.lock();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("patience"));
    let refused =
        |portal: &Portal| portal.counters().refused_commands + portal.counters().refused_hits > 0;
    assert!(stage.portal.wait_for(PATIENCE, refused));
    drop(lock);
    stage.flushed();
    assert_eq!(lines(&workflow), ["patience"]);
}

#[test]
fn a_slow_portal_does_not_block_callers() {
    let stage = Stage::quick();
    stage.portal.faults().next(Fault::Delay(Moment::BeforeExecution, Duration::from_millis(200)));
    let (workflow, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    for n in 0..1_000 {
        span.in_scope(|| info!("line {n}"));
    }
    stage.flushed();
    assert_eq!(lines(&workflow).len(), 1_000);
}

/// With a proxy in the environment, and without certificates: for loopback neither matters.
#[test]
fn loopback_needs_neither_a_proxy_nor_certificates() {
    if !is_child() {
        let nowhere = "http://127.0.0.1:1";
        return in_child(
            "trouble::loopback_needs_neither_a_proxy_nor_certificates",
            &[
                ("HTTP_PROXY", nowhere),
                ("http_proxy", nowhere),
                ("ALL_PROXY", nowhere),
                ("NO_PROXY", ""),
                ("SSL_CERT_FILE", ""),
                ("SSL_CERT_DIR", ""),
            ],
        );
    }
    let stage = Stage::quick();
    let workflows = two_lines(&stage);
    stage.flushed();
    assert_eq!(lines(&workflows[0]), ["a"]);
}
