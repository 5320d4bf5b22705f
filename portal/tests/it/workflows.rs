//! Workflows and activities: what is written, what is lost, and what ends a process.

use std::time::Duration;

use bizproc_portal::{
    Charset, Clock, CommandOutcome, EntryKind, ErrorCode, EventSend, LostReason, OwnEntries,
    Portal, Retention, ServerTime, SqlMode, UnixTime, Workflow,
};
use serde_json::json;

use crate::client::{Answer, encoded, log, post_json};

fn send(portal: &Portal, token: &str, message: &str) -> Answer {
    let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": message});
    post_json(&(portal.webhook_url() + "bizproc.activity.log"), &body)
}

fn complete(portal: &Portal, token: &str) -> Answer {
    let body = json!({
        "EVENT_TOKEN": token,
        "LOG_MESSAGE": "all done",
        "RETURN_VALUES": {"total": "42", "items": [1, 2]},
    });
    post_json(&(portal.webhook_url() + "bizproc.event.send"), &body)
}

fn lost(workflow: &Workflow) -> Vec<LostReason> {
    workflow.lost().iter().map(|lost| lost.reason).collect()
}

#[test]
fn completing_closes_the_activity_and_later_lines_are_lost_silently() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let activity = workflow.open_activity("check");
    let token = activity.event_token();
    assert!(activity.is_open());
    assert_eq!(complete(&portal, &token).status, 200);
    assert!(!activity.is_open());
    let completion = activity.completion().unwrap();
    assert_eq!(&*completion.message, "all done");
    let values = [("items".to_owned(), "[1,2]".to_owned()), ("total".to_owned(), "42".to_owned())];
    assert_eq!(completion.return_values, values);

    let late = send(&portal, &token, "late");
    assert_eq!(late.json()["result"], true);
    assert_eq!(complete(&portal, &token).json()["result"], true);
    assert_eq!(workflow.texts(), ["all done"]);
    assert_eq!(lost(&workflow), [LostReason::Completed, LostReason::Completed]);
    assert_eq!(&*workflow.lost()[0].text, "late");
    assert_eq!(portal.counters().lost, 2);
}

fn background() -> (Portal, Workflow) {
    let portal = Portal::builder().event_send(EventSend::Background).start().unwrap();
    let workflow = portal.start_workflow("Order");
    (portal, workflow)
}

#[test]
fn a_background_end_returns_true_also_if_its_job_fails() {
    let (portal, workflow) = background();
    let activity = workflow.open_activity("check");
    let token = activity.event_token();
    assert_eq!(complete(&portal, "forged").error(), (403, "ACCESS_DENIED".into()));

    let lock = workflow.lock();
    assert_eq!(complete(&portal, &token).json()["result"], true);
    drop(lock);
    workflow.fail_next(ErrorCode::ProcessError);
    assert_eq!(complete(&portal, &token).json()["result"], true);
    assert!(activity.is_open());

    assert_eq!(complete(&portal, &token).json()["result"], true);
    assert!(!activity.is_open());
    assert_eq!(complete(&portal, &token).json()["result"], true);
    workflow.finish();
    assert_eq!(complete(&portal, &token).json()["result"], true);

    assert_eq!(workflow.texts(), ["all done"]);
    let reasons = [
        LostReason::Background(ErrorCode::WorkflowLocked),
        LostReason::Background(ErrorCode::ProcessError),
        LostReason::Completed,
        LostReason::Background(ErrorCode::WorkflowNotFound),
    ];
    assert_eq!(lost(&workflow), reasons);
    let counters = portal.counters();
    assert_eq!((counters.entries, counters.lines, counters.lost), (1, 1, 4));
    let outcomes: Vec<CommandOutcome> = portal
        .journal()
        .into_iter()
        .skip(1)
        .flat_map(|hit| hit.commands)
        .map(|c| c.outcome)
        .collect();
    let [first, second, fourth, fifth] = reasons.map(CommandOutcome::Lost);
    assert_eq!(outcomes, [first, second, CommandOutcome::Completed, fourth, fifth]);
}

#[test]
fn lines_of_the_same_hit_are_written_before_a_background_end_in_any_order() {
    for (event_send, texts) in
        [(EventSend::AtOnce, &["bye"][..]), (EventSend::Background, &["late", "bye"][..])]
    {
        let (portal, workflow) = background();
        portal.set_event_send(event_send);
        let activity = workflow.open_activity("check");
        let token = activity.event_token();
        let end = format!("bizproc.event.send?EVENT_TOKEN={}&LOG_MESSAGE=bye", encoded(&token));
        let batch = json!({"cmd": {"end": end, "line": log(&token, "late")}});
        let answer = post_json(&(portal.webhook_url() + "batch"), &batch).json();
        assert_eq!(answer["result"]["result"], json!({"end": true, "line": true}));
        assert_eq!(workflow.texts(), texts);
        assert!(!activity.is_open());
    }
}

#[test]
fn a_hit_directly_after_a_background_end_finds_the_workflow_locked() {
    let (portal, workflow) = background();
    let activity = workflow.open_activity("check");
    portal.set_server_time(ServerTime::Spent(Duration::from_secs(1)));
    assert_eq!(complete(&portal, &activity.event_token()).json()["result"], true);
    let right_behind = send(&portal, &activity.event_token(), "x");
    assert_eq!(right_behind.error(), (400, "423".into()));
    let queued = |portal: &Portal| portal.journal()[0].commands[0].outcome.clone();
    assert_eq!(queued(&portal), CommandOutcome::Queued);
    assert!(portal.wait_for(Duration::from_secs(20), |portal| {
        queued(portal) == CommandOutcome::Completed
    }));
    assert!(!activity.is_open() && !workflow.is_locked());
}

#[test]
fn parallel_branches_have_their_own_tokens_and_share_the_log() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let (left, right) = (workflow.open_activity("left"), workflow.open_activity("right"));
    assert_ne!(left.event_token(), right.event_token());
    assert_eq!(left.event_token()[..23], right.event_token()[..23]);
    assert_eq!(left.event_token()[..23], *workflow.id());
    send(&portal, &left.event_token(), "l");
    complete(&portal, &left.event_token());
    send(&portal, &right.event_token(), "r");
    assert_eq!(workflow.texts(), ["l", "all done", "r"]);
}

#[test]
fn a_loop_creates_a_new_token_and_the_old_one_writes_nothing() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let first = workflow.open_activity("check");
    let second = workflow.open_activity("check");
    assert_ne!(first.event_token(), second.event_token());
    send(&portal, &first.event_token(), "old");
    send(&portal, &second.event_token(), "new");
    assert_eq!(workflow.texts(), ["new"]);
    assert_eq!(lost(&workflow), [LostReason::Left]);
}

#[test]
fn an_activity_times_out_by_the_clock_of_the_portal() {
    let clock = Clock::stopped_at(UnixTime::new(Duration::from_secs(1_800_000_000)));
    let portal = Portal::builder().clock(clock.clone()).start().unwrap();
    let workflow = portal.start_workflow("Order");
    let activity = workflow.activity("check").timeout(Duration::from_secs(60)).open();
    send(&portal, &activity.event_token(), "in time");
    clock.advance(Duration::from_secs(60));
    send(&portal, &activity.event_token(), "too late");
    assert!(!activity.is_open());
    assert_eq!(workflow.texts(), ["in time"]);
    assert_eq!(lost(&workflow), [LostReason::TimedOut]);
}

#[test]
fn an_activity_without_subscription_writes_no_lines() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let activity = workflow.activity("check").without_subscription().open();
    assert_eq!(send(&portal, &activity.event_token(), "x").status, 200);
    assert!(workflow.texts().is_empty());
    assert_eq!(lost(&workflow), [LostReason::NoSubscription]);
}

#[test]
fn a_workflow_that_is_not_saved_yet_or_has_ended_is_not_found() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_unsaved_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    assert_eq!(send(&portal, &token, "early").error(), (400, "404".into()));
    workflow.save();
    assert_eq!(send(&portal, &token, "in time").status, 200);
    workflow.finish();
    assert_eq!(send(&portal, &token, "late").error(), (400, "404".into()));
    assert_eq!(workflow.texts(), ["in time"]);
}

#[test]
fn a_locked_workflow_is_refused_and_others_are_not() {
    let portal = Portal::builder().start().unwrap();
    let (locked, other) = (portal.start_workflow("A"), portal.start_workflow("B"));
    let (a, b) = (locked.open_activity("x").event_token(), other.open_activity("x").event_token());
    let lock = locked.lock();
    assert_eq!(send(&portal, &a, "1").error(), (400, "423".into()));
    assert_eq!(send(&portal, &b, "2").status, 200);
    drop(lock);
    assert_eq!(send(&portal, &a, "3").status, 200);
    assert_eq!(locked.texts(), ["3"]);
}

#[test]
fn a_call_for_a_deleted_document_terminates_the_workflow_and_returns_true() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    workflow.delete_document();
    assert_eq!(send(&portal, &token, "x").json()["result"], true);
    assert_eq!(lost(&workflow), [LostReason::DocumentGone]);
    assert!(workflow.terminated().is_some());
    assert_eq!(send(&portal, &token, "y").error(), (400, "404".into()));
}

#[test]
fn the_cloud_keeps_the_newest_fifty_entries() {
    let portal = Portal::builder().retention(Retention::Cloud).start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    for number in 1..=60 {
        assert_eq!(send(&portal, &token, &number.to_string()).status, 200);
    }
    assert_eq!(workflow.texts().first().map(String::as_str), Some("11"));
    assert_eq!((workflow.texts().len(), workflow.rolled_off()), (50, 10));
}

#[test]
fn a_text_that_the_database_refuses_terminates_the_workflow() {
    for (charset, message) in
        [(Charset::Utf8mb3, "😀".to_owned()), (Charset::Utf8mb4, "x".repeat(65_536))]
    {
        let portal = Portal::builder().sql_mode(SqlMode::Strict).charset(charset).start().unwrap();
        let workflow = portal.start_workflow("Order");
        let token = workflow.open_activity("check").event_token();
        assert_eq!(send(&portal, &token, &message).error(), (500, "ERROR_CORE".into()));
        assert!(workflow.terminated().is_some());
        assert_eq!(send(&portal, &token, "x").error(), (400, "404".into()));
    }
}

#[test]
fn a_text_that_is_too_long_is_cut_by_a_lax_database() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    send(&portal, &token, &"ж".repeat(40_000));
    assert_eq!(workflow.texts()[0].len(), 65_534);
}

#[test]
fn the_portals_own_entries_count_towards_the_fifty_and_reports_do_not() {
    let portal = Portal::builder()
        .retention(Retention::Cloud)
        .own_entries(OwnEntries::Activities)
        .start()
        .unwrap();
    let workflow = portal.start_workflow("Order");
    workflow.note(EntryKind::Report, "a report");
    let activity = workflow.open_activity("check");
    for number in 1..=48 {
        send(&portal, &activity.event_token(), &number.to_string());
    }
    complete(&portal, &activity.event_token());
    let kinds: Vec<EntryKind> = workflow.entries().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds.len(), 51);
    assert_eq!(kinds[0], EntryKind::Report);
    assert_eq!(kinds[50], EntryKind::Closed);
    // The entry that said that the activity has begun was the oldest of those that count.
    assert!(!kinds.contains(&EntryKind::Executed));
    assert_eq!(workflow.texts()[0], "1");
}

#[test]
fn the_clean_up_keeps_running_workflows_of_a_self_hosted_portal() {
    let clock = Clock::stopped_at(UnixTime::new(Duration::from_secs(1_800_000_000)));
    let portal = Portal::builder().clock(clock.clone()).start().unwrap();
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    let workflow = portal.start_workflow("Order");
    send(&portal, &workflow.open_activity("check").event_token(), "old");
    clock.advance(days(91));
    portal.clean_up(days(90));
    assert_eq!(workflow.texts(), ["old"]);
    portal.set_retention(Retention::Cloud);
    portal.clean_up(days(92));
    assert_eq!(workflow.texts(), ["old"]);
    portal.set_retention(Retention::SelfHosted);
    workflow.finish();
    portal.clean_up(days(90));
    assert!(workflow.texts().is_empty());
}

#[test]
fn the_journal_and_the_log_have_one_order() {
    let portal = Portal::builder().start().unwrap();
    let (one, two) = (portal.start_workflow("A"), portal.start_workflow("B"));
    let (a, b) = (one.open_activity("x"), two.open_activity("x"));
    for round in 0..3 {
        send(&portal, &a.event_token(), &format!("a{round}"));
        send(&portal, &b.event_token(), &format!("b{round}"));
    }
    complete(&portal, &a.event_token());
    send(&portal, &a.event_token(), "late");
    let messages: Vec<String> = portal
        .journal()
        .iter()
        .flat_map(|hit| &hit.commands)
        .map(|command| command.message.as_deref().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(messages, ["a0", "b0", "a1", "b1", "a2", "b2", "all done", "late"]);
    let mut sequences: Vec<u64> =
        one.entries().iter().chain(&two.entries()).map(|entry| entry.sequence).collect();
    sequences.push(one.lost()[0].sequence);
    sequences.sort_unstable();
    assert_eq!(sequences, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(one.lost()[0].sequence, 7);
    let numbers: Vec<u64> = portal.journal().iter().map(|hit| hit.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn lines_are_waited_for_without_their_marks_and_times() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    send(&portal, &token, "• 20:15:09 UTC Received (order=1)\n• 20:15:10 UTC Checking");
    send(&portal, &token, "• [timestamp=5]00:00:05 UTC[/timestamp] Card charged (amount=5)");
    portal.wait_for_lines(&workflow, ["Received", "Card charged"]).unwrap();
    assert_eq!(workflow.lines(), ["Received (order=1)", "Checking", "Card charged (amount=5)"]);
}
