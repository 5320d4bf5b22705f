//! Single calls: paths, bodies, errors, limits.

use std::time::Duration;

use bizproc_portal::{Clock, CommandOutcome, Portal, Statuses, Tariff, UnixTime};
use serde_json::json;

use crate::client::{encoded, post, post_json, request};

#[test]
fn a_line_arrives_in_the_log_and_in_the_journal() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order 1042");
    let activity = workflow.open_activity("check");
    let url = portal.webhook_url() + "bizproc.activity.log";

    let answer = post_json(
        &url,
        &json!({"EVENT_TOKEN": activity.event_token(), "LOG_MESSAGE": "checked\nПривет 😀"}),
    );

    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["result"], true);
    assert!(answer["time"]["start"].is_number());
    assert!(answer["time"]["date_start"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!(workflow.texts(), ["checked\nПривет 😀"]);
    let journal = portal.journal();
    assert_eq!(journal.len(), 1);
    assert_eq!(journal[0].rest_method, "bizproc.activity.log");
    assert_eq!(journal[0].status, Some(200));
    assert_eq!(journal[0].commands[0].outcome, CommandOutcome::Written);
    assert_eq!(journal[0].commands[0].workflow.as_deref(), Some(workflow.id()));
    assert_eq!(journal[0].commands[0].activity.as_deref(), Some("check"));
    assert!(
        !format!("{journal:?} {portal:?}")
            .contains(portal.webhook_url().split('/').nth(5).unwrap())
    );
}

#[test]
fn bodies_are_read_in_every_form_and_names_in_every_case() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let url = portal.webhook_url() + "bizproc.activity.log";
    let form = |text: &str| format!("event_token={}&Log_Message={text}", encoded(&token));
    let multipart = format!(
        "--b\r\nContent-Disposition: form-data; name=\"EVENT_TOKEN\"\r\n\r\n{token}\r\n--b\r\n\
         Content-Disposition: form-data; name=\"LOG_MESSAGE\"\r\n\r\nmultipart\r\n--b--\r\n"
    );
    let json = json!({"event_token": token, "log_message": "json"}).to_string();

    for (url, content_type, body) in [
        (url.clone(), "application/x-www-form-urlencoded", form("form+1")),
        (url.clone(), "application/json; charset=utf-8", json),
        (url.clone(), "multipart/form-data; boundary=b", multipart),
        (url.clone() + ".json", "application/x-www-form-urlencoded", form("suffix")),
        (url.clone() + "/", "application/x-www-form-urlencoded", form("slash")),
        (url.clone() + "?" + &form("query"), "application/json", "{}".to_owned()),
        (url.clone() + "?" + &form("not+this"), "application/json", {
            json!({"event_token": token, "LOG_MESSAGE": "json overrides"}).to_string()
        }),
    ] {
        let answer = post(&url, content_type, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let get = url + "?" + &form("get");
    assert_eq!(request(&get, "GET", &[], b"").unwrap().status, 200);
    let texts = workflow.texts();
    assert_eq!(texts[..2], ["form 1", "json"]);
    assert_eq!(texts[2..6], ["multipart", "suffix", "slash", "query"]);
    assert_eq!(texts[7], "get");
}

#[test]
fn errors_come_with_the_documented_status_or_with_that_of_the_server() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let webhook = portal.webhook_url();
    let log = webhook.clone() + "bizproc.activity.log";
    let unknown = portal.page_url() + "rest/1/nope/bizproc.activity.log";

    assert_eq!(post_json(&unknown, &json!({})).error(), (403, "INVALID_CREDENTIALS".into()));
    portal.set_statuses(Statuses::Server);
    assert_eq!(post_json(&unknown, &json!({})).error(), (401, "INVALID_CREDENTIALS".into()));

    let oauth = portal.page_url() + "rest/bizproc.activity.log";
    assert_eq!(post_json(&oauth, &json!({})).error(), (401, "NO_AUTH_FOUND".into()));
    let body = json!({"auth": "nope"});
    assert_eq!(post_json(&oauth, &body).error(), (401, "invalid_token".into()));
    let method = webhook + "bizproc.activity.lag";
    assert_eq!(post_json(&method, &json!({})).error(), (404, "ERROR_METHOD_NOT_FOUND".into()));
    assert_eq!(post_json(&log, &json!({})).error(), (403, "ACCESS_DENIED".into()));
    for message in [json!(""), json!("0"), json!(null), json!(0), json!([])] {
        let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": message});
        assert_eq!(post_json(&log, &body).error(), (400, "ERROR_EMPTY_LOG_MESSAGE".into()));
    }
    for message in [json!(" "), json!("00"), json!(true), json!(["x"])] {
        let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": message});
        assert_eq!(post_json(&log, &body).status, 200);
    }
    assert_eq!(workflow.texts()[..2], ["", "00"]);
    // What is no text is replaced by a sentence of the portal's.
    assert_eq!(workflow.texts()[2], workflow.texts()[3]);
}

#[test]
fn reserved_names_are_not_passed_on() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let url = portal.webhook_url() + "bizproc.activity.log";
    let mut body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "x", "start": 5, "state": "s"});
    assert_eq!(post_json(&url, &body).status, 200);
    // A signed link, which this is not.
    body["token"] = json!("x");
    assert_eq!(post_json(&url, &body).error(), (403, "ACCESS_DENIED".into()));
    assert_eq!(workflow.texts(), ["x"]);
}

#[test]
fn malformed_json_is_silently_taken_for_an_empty_object() {
    let portal = Portal::builder().start().unwrap();
    let oauth = portal.page_url() + "rest/batch";
    let answer = post(&oauth, "application/json", b"{\"auth\":\"x\"");
    assert_eq!(answer.error(), (401, "NO_AUTH_FOUND".into()));

    let batch = portal.webhook_url() + "batch";
    let answer = post(&batch, "application/json", b"{\"cmd\":{\"c0\":\"server.time\"");
    assert_eq!(answer.status, 200);
    for section in ["result", "result_error", "result_total", "result_next", "result_time"] {
        assert_eq!(answer.json()["result"][section], json!([]));
    }
}

#[test]
fn the_rate_limit_refuses_whole_hits_and_lifts_with_time() {
    let clock = Clock::stopped_at(UnixTime::new(Duration::from_secs(1_800_000_000)));
    let portal = Portal::builder().tariff(Tariff::Standard).clock(clock.clone()).start().unwrap();
    let url = portal.webhook_url() + "server.time";
    for _ in 0..50 {
        assert_eq!(post_json(&url, &json!({})).status, 200);
    }
    let refused = post_json(&url, &json!({}));
    assert_eq!(refused.error(), (503, "QUERY_LIMIT_EXCEEDED".into()));
    assert!(refused.json().get("time").is_none());
    assert!(!refused.head.to_lowercase().contains("retry-after"));

    assert_eq!(portal.rate_level(), 50.0);
    clock.advance(Duration::from_millis(500));
    assert_eq!(post_json(&url, &json!({})).status, 200);
    assert_eq!(post_json(&url, &json!({})).status, 503);
    assert_eq!(portal.counters().refused_hits, 2);
    assert_eq!(portal.journal().last().unwrap().error.as_deref(), Some("QUERY_LIMIT_EXCEEDED"));
}

#[test]
fn a_body_beyond_the_limit_is_answered_with_html() {
    let portal = Portal::builder().body_limit(1000).start().unwrap();
    let answer = post(&(portal.webhook_url() + "batch"), "application/json", &[b' '; 1001]);
    assert_eq!(answer.status, 413);
    assert!(answer.body.starts_with("<html>"));
}

#[test]
fn a_portal_starts_and_stops_inside_any_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let portal = Portal::builder().start().unwrap();
        let port = portal.page_url().rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
        assert!(Portal::builder().tls().port(port.parse().unwrap()).start().is_err());
        assert_eq!(post_json(&(portal.webhook_url() + "scope"), &json!({})).status, 200);
    });
}
