//! The operating limit, conditions of the portal as a whole, and webhooks.

use std::time::Duration;

use bizproc_portal::{
    Clock, Condition, OperatingLimit, OuterBatch, Portal, PortalBuilder, Release, ServerTime,
    Statuses, Tariff, UnixTime,
};
use serde_json::{Value, json};

use crate::client::{Answer, log, post_json, request};

const SECOND: Duration = Duration::from_secs(1);

/// A portal where each command takes two seconds and a method has five.
fn slow(clock: &Clock, change: impl FnOnce(PortalBuilder) -> PortalBuilder) -> Portal {
    let limit = OperatingLimit::new(5 * SECOND).outer_batch(OuterBatch::Unmetered);
    let builder = Portal::builder()
        .clock(clock.clone())
        .server_time(ServerTime::Claimed(2 * SECOND))
        .operating(limit);
    change(builder).start().unwrap()
}

fn stopped() -> Clock {
    Clock::stopped_at(UnixTime::new(Duration::from_secs(1_800_000_000)))
}

fn single(portal: &Portal, token: &str) -> Answer {
    let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "x"});
    post_json(&(portal.webhook_url() + "bizproc.activity.log"), &body)
}

fn batch_at(webhook: &str, token: &str, commands: usize) -> Answer {
    let commands: Vec<_> = (0..commands).map(|_| log(token, "x")).collect();
    post_json(&(webhook.to_owned() + "batch"), &json!({"cmd": commands}))
}

fn token(portal: &Portal) -> String {
    portal.start_workflow("Order").open_activity("check").event_token()
}

#[test]
fn the_call_that_crosses_the_operating_limit_completes_and_the_next_is_refused() {
    let clock = stopped();
    let portal = slow(&clock, |builder| builder);
    let token = token(&portal);
    let used: Vec<Value> =
        (0..3).map(|_| single(&portal, &token).json()["time"]["operating"].clone()).collect();
    assert_eq!(used, [json!(2), json!(4), json!(6)]);
    let refused = single(&portal, &token);
    assert_eq!(refused.error(), (429, "OPERATION_TIME_LIMIT".into()));
    assert!(refused.json().get("time").is_none());
    // Another method has a meter of its own.
    assert_eq!(post_json(&(portal.webhook_url() + "server.time"), &json!({})).status, 200);
    clock.advance(299 * SECOND);
    assert_eq!(single(&portal, &token).status, 429);
    clock.advance(SECOND);
    let again = single(&portal, &token).json();
    assert_eq!(again["time"]["operating"], 2);
    assert_eq!(again["time"]["operating_reset_at"], 1_800_000_300 + 600);
}

#[test]
fn the_documented_limit_lifts_when_the_time_used_expires() {
    let clock = stopped();
    let limit = OperatingLimit::new(5 * SECOND).release(Release::Expiry);
    let portal = slow(&clock, |builder| builder.operating(limit));
    let token = token(&portal);
    (0..3).for_each(|_| assert_eq!(single(&portal, &token).status, 200));
    clock.advance(599 * SECOND);
    assert_eq!(single(&portal, &token).status, 429);
    clock.advance(SECOND);
    assert_eq!(single(&portal, &token).status, 200);
}

#[test]
fn within_a_batch_the_limit_refuses_command_by_command() {
    let portal = slow(&stopped(), |builder| builder);
    let answer = batch_at(&portal.webhook_url(), &token(&portal), 5);
    assert_eq!(answer.status, 200);
    let result = &answer.json()["result"];
    assert_eq!(result["result"], json!([true, true, true]));
    assert_eq!(result["result_error"]["3"]["error"], "OPERATION_TIME_LIMIT");
    assert_eq!(result["result_time"][2]["operating"], 6);
    assert_eq!(answer.json()["time"]["duration"], 6);
}

#[test]
fn all_webhooks_of_a_portal_share_the_meter_of_batched_commands() {
    let portal = slow(&stopped(), |builder| builder);
    let token = token(&portal);
    let other = portal.create_webhook(&["bizproc"]);
    batch_at(&portal.webhook_url(), &token, 3);
    let answer = batch_at(&other, &token, 1);
    assert_eq!(answer.json()["result"]["result_error"][0]["error"], "OPERATION_TIME_LIMIT");
    // Calls of their own are metered by webhook.
    assert_eq!(single(&portal, &token).status, 200);
}

#[test]
fn newer_servers_refuse_whole_batches_at_half_weight() {
    let limit = OperatingLimit::new(5 * SECOND).outer_batch(OuterBatch::HalfWeight);
    let portal = slow(&stopped(), |builder| builder.operating(limit));
    let token = token(&portal);
    // Six seconds of commands are three of batch; the second batch has its commands refused.
    assert_eq!(batch_at(&portal.webhook_url(), &token, 3).json()["time"]["operating"], 3);
    portal.set_operating(Some(OperatingLimit::new(2 * SECOND)));
    let refused = batch_at(&portal.webhook_url(), &token, 1);
    assert_eq!(refused.error(), (429, "OPERATION_TIME_LIMIT".into()));
    assert!(portal.journal().last().unwrap().commands.is_empty());
}

#[test]
fn a_self_hosted_portal_has_no_operating_limit_and_no_fields_for_it() {
    let portal = Portal::builder().server_time(ServerTime::Claimed(600 * SECOND)).start().unwrap();
    let token = token(&portal);
    single(&portal, &token);
    let answer = single(&portal, &token).json();
    assert_eq!(answer["time"]["duration"], 600);
    assert_eq!(answer["time"].get("operating"), None);
    assert_eq!(answer["time"].get("operating_reset_at"), None);
}

#[test]
fn concurrent_hits_of_one_workflow_find_it_locked() {
    let forever = ServerTime::Spent(Duration::from_secs(3600));
    let portal = Portal::builder().server_time(forever).start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let url = portal.webhook_url() + "bizproc.activity.log";
    let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "x"}).to_string();
    let first = std::thread::spawn(move || {
        request(&url, "POST", &[("Content-Type", "application/json")], body.as_bytes())
    });
    assert!(workflow.wait_for(Duration::from_secs(10), |workflow| workflow.is_locked()));
    assert_eq!(single(&portal, &token).error(), (400, "423".into()));
    drop(portal);
    assert!(first.join().unwrap().is_err());
}

#[test]
fn a_hit_that_takes_too_long_gets_504_and_is_still_executed() {
    let spent = ServerTime::Spent(Duration::from_millis(50));
    let portal = Portal::builder()
        .server_time(spent)
        .request_limit(Duration::from_millis(1))
        .start()
        .unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let answer = batch_at(&portal.webhook_url(), &token, 3);
    assert_eq!(answer.status, 504);
    assert!(answer.body.starts_with("<html>"));
    assert!(workflow.wait_for(Duration::from_secs(10), |workflow| workflow.texts().len() == 3));
}

#[test]
fn a_portal_in_trouble_refuses_everything() {
    let portal = Portal::builder().start().unwrap();
    let app = portal.install_app();
    let url = portal.webhook_url() + "bizproc.activity.log";
    for (condition, statuses, code) in [
        (Condition::Deleted, [500, 403], "PORTAL_DELETED"),
        (Condition::Overloaded, [503, 401], "OVERLOAD_LIMIT"),
        (Condition::WithoutRest, [403, 401], "ACCESS_DENIED"),
        (Condition::WithoutBizproc, [404, 404], "ERROR_METHOD_NOT_FOUND"),
        (Condition::HttpsOnly, [400, 401], "INVALID_REQUEST"),
    ] {
        portal.set_condition(condition);
        for (statuses_of, status) in [Statuses::Documented, Statuses::Server].iter().zip(statuses) {
            portal.set_statuses(*statuses_of);
            assert_eq!(post_json(&url, &json!({})).error(), (status, code.into()));
        }
    }
    portal.set_condition(Condition::CutOff);
    let body = json!({"auth": app.issue_tokens().access_token});
    let answer = post_json(&(portal.client_endpoint() + "bizproc.activity.log"), &body);
    assert_eq!(answer.error(), (401, "CONNECTION_ERROR".into()));
    // A missing method is found out before a missing credential.
    portal.set_condition(Condition::Open);
    let answer = post_json(&(portal.client_endpoint() + "bizproc.nothing"), &json!({}));
    assert_eq!(answer.error(), (404, "ERROR_METHOD_NOT_FOUND".into()));
}

#[test]
fn a_webhook_without_the_scope_is_refused_and_a_deleted_one_is_unknown() {
    let portal = Portal::builder().start().unwrap();
    let token = token(&portal);
    let url = portal.create_webhook(&["crm"]);
    let answer = post_json(&(url.clone() + "bizproc.activity.log"), &json!({}));
    assert_eq!(answer.error(), (403, "insufficient_scope".into()));
    let answer = batch_at(&url, &token, 1);
    assert_eq!(answer.status, 200);
    let error = json!({"error": "insufficient_scope", "error_description": ""});
    assert_eq!(answer.json()["result"]["result_error"][0], error);
    portal.revoke_webhook(&url);
    assert_eq!(batch_at(&url, &token, 1).error(), (403, "INVALID_CREDENTIALS".into()));
}

#[test]
fn webhooks_of_several_users_share_the_rate_limit_of_an_address_and_the_journal_tells_them_apart() {
    let clock = stopped();
    let portal = Portal::builder().clock(clock).tariff(Tariff::Standard).start().unwrap();
    let token = token(&portal);
    let webhooks = [7, 8].map(|user| portal.create_webhook_of(user, &["bizproc"]));
    for n in 0..50 {
        assert_eq!(batch_at(&webhooks[n % 2], &token, 1).status, 200);
    }
    assert_eq!(batch_at(&webhooks[0], &token, 1).error(), (503, "QUERY_LIMIT_EXCEEDED".into()));
    let paths = portal.journal().into_iter().take(2).map(|hit| hit.path).collect::<Vec<_>>();
    assert_eq!(paths, ["/rest/7/.../batch", "/rest/8/.../batch"]);
}

#[test]
fn every_error_can_be_asked_for() {
    let portal = Portal::builder().start().unwrap();
    let url = portal.webhook_url() + "server.time";
    for error in bizproc_portal::ErrorCode::ALL {
        portal.faults().next(bizproc_portal::Fault::Refuse(*error));
        let answer = post_json(&url, &json!({}));
        assert_eq!(answer.error(), (error.status(Statuses::Documented), error.code().into()));
        assert!(answer.json().get("time").is_none());
    }
}

#[test]
fn the_newest_servers_charge_only_the_batch_and_show_one_sum_everywhere() {
    let clock = stopped();
    let portal = slow(&clock, |builder| {
        builder.operating(OperatingLimit::new(5 * SECOND).outer_batch(OuterBatch::Alone))
    });
    let token = token(&portal);
    let answer = batch_at(&portal.webhook_url(), &token, 4).json();
    let times = answer["result"]["result_time"].as_array().unwrap();
    let sums: Vec<&Value> = times.iter().map(|time| &time["operating"]).collect();
    assert_eq!(sums, [&json!(8); 4]);
    assert_eq!(answer["time"]["operating"], 8);
    // The batch is blocked, and its commands are not.
    let refused = batch_at(&portal.webhook_url(), &token, 1);
    assert_eq!(refused.error(), (429, "OPERATION_TIME_LIMIT".into()));
    assert_eq!(single(&portal, &token).json()["time"]["operating"], 2);
}

#[test]
fn a_whole_cloud_has_the_limits_of_a_plan_and_its_license() {
    let portal = Portal::builder().cloud().start().unwrap();
    let answer = single(&portal, &token(&portal)).json();
    assert!(answer["time"]["operating"].is_number());
    let info = post_json(&(portal.webhook_url() + "app.info"), &json!({})).json();
    assert_eq!(info["result"]["LICENSE"], "en_std");
    let hit = |_| single(&portal, "x").status == 503;
    assert!((0..60).any(hit));
}
