//! `batch`: order, sections, halt, its limits, and what it does to texts.

use bizproc_portal::{ErrorCode, Portal, Substitution};
use serde_json::{Value, json};

use crate::client::{log, post, post_json};

fn batch(portal: &Portal, commands: &Value) -> Value {
    let body = json!({"halt": 0, "cmd": commands});
    let answer = post_json(&(portal.webhook_url() + "batch"), &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["result"].clone()
}

#[test]
fn commands_run_in_order_and_each_is_answered_under_its_key() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    // By hand, since the client's JSON would sort the keys.
    let body = format!(
        r#"{{"halt":0,"cmd":{{"c2":"{}","c0":"{}","c1":"{}"}}}}"#,
        log(&token, "first [x] +1 100% ünï"),
        log("forged", "second"),
        log(&token, "third\nline"),
    );
    let answer = post(&(portal.webhook_url() + "batch"), "application/json", body.as_bytes());
    assert!(answer.body.starts_with(r#"{"result":{"result":{"c2":true,"c1":true},"#));
    let result = answer.json()["result"].clone();
    assert_eq!(result["result"], json!({"c2": true, "c1": true}));
    let error = json!({"error": "ACCESS_DENIED", "error_description": "Access denied!"});
    assert_eq!(result["result_error"], json!({"c0": error}));
    assert_eq!(result["result_total"], json!([]));
    assert_eq!(result["result_next"], json!([]));
    let timed: Vec<_> = result["result_time"].as_object().unwrap().keys().collect();
    assert_eq!(timed, ["c1", "c2"]);
    assert_eq!(workflow.texts(), ["first [x] +1 100% ünï", "third\nline"]);
    let keys: Vec<_> = portal.journal()[0].commands.iter().map(|c| c.key.clone()).collect();
    assert_eq!(keys, ["c2", "c0", "c1"]);
}

#[test]
fn the_batch_may_be_a_form_too() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let command = crate::client::encoded(&log(&token, "ünï"));
    let body = format!("HALT=0&cmd[c0]={command}");
    let url = portal.webhook_url() + "batch";
    let answer = post(&url, "application/x-www-form-urlencoded", body.as_bytes());
    assert_eq!(answer.json()["result"]["result"], json!({"c0": true}));
    assert_eq!(workflow.texts(), ["ünï"]);
}

#[test]
fn fifty_first_command_is_refused_and_the_first_fifty_run() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let commands: serde_json::Map<_, _> =
        (0..52).map(|n| (format!("c{n:02}"), json!(log(&token, &format!("{n}"))))).collect();
    let result = batch(&portal, &Value::Object(commands));
    // "0" is empty for PHP.
    assert_eq!(workflow.texts().len(), 49);
    for key in ["c50", "c51"] {
        assert_eq!(result["result_error"][key]["error"], "ERROR_BATCH_LENGTH_EXCEEDED");
    }
    assert_eq!(result["result_error"]["c00"]["error"], "ERROR_EMPTY_LOG_MESSAGE");
}

#[test]
fn halt_is_converted_to_a_boolean_as_in_php_and_stops_after_the_first_error() {
    let portal = Portal::builder().start().unwrap();
    for (halt, executed) in [
        (json!(0), 2),
        (json!("0"), 2),
        (json!(false), 2),
        (json!(1), 1),
        (json!("false"), 1),
        (json!("N"), 1),
    ] {
        let body = json!({"halt": halt, "cmd": ["nope", "server.time"]});
        let answer = post_json(&(portal.webhook_url() + "batch"), &body);
        assert_eq!(portal.journal().last().unwrap().commands.len(), executed, "{halt}");
        let done = answer.json()["result"]["result"].as_object().map_or(0, |done| done.len());
        assert_eq!(done, executed - 1);
    }
}

#[test]
fn sections_are_lists_or_objects_as_php_has_them() {
    let portal = Portal::builder().start().unwrap();
    let result = batch(&portal, &json!(["server.time", "scope"]));
    assert_eq!(result["result"].as_array().unwrap().len(), 2);
    assert_eq!(result["result_error"], json!([]));
    let result = batch(&portal, &json!(["nope", "scope"]));
    assert_eq!(result["result"], json!({"1": ["bizproc"]}));
    assert_eq!(result["result_error"][0]["error"], "ERROR_METHOD_NOT_FOUND");
}

#[test]
fn commands_that_are_not_texts_are_skipped_and_nested_batches_are_refused() {
    let portal = Portal::builder().start().unwrap();
    let result = batch(&portal, &json!({"a": 1, "b": ["x"], "c": "batch?cmd[x]=scope"}));
    assert_eq!(result["result"], json!([]));
    let errors = result["result_error"].as_object().unwrap();
    assert_eq!(errors.keys().collect::<Vec<_>>(), ["c"]);
    assert_eq!(errors["c"]["error"], "ERROR_BATCH_METHOD_NOT_ALLOWED");
}

#[test]
fn references_to_earlier_results_reach_into_texts() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let result = batch(
        &portal,
        &json!({
            "c0": log(&token, "cost $5"),
            "c1": log(&token, "x $result[c0] y"),
            "c2": log(&token, "x $time[c0][date_start] y"),
            "c3": log(&token, "$result[c0]"),
            "c4": log(&token, "$RESULT[c0]"),
            "c5": log(&token, "x $\u{2060}time[c0][date_start] y"),
        }),
    );
    assert_eq!(result["result_error"]["c4"]["error"], "ERROR_EMPTY_LOG_MESSAGE");
    let texts = workflow.texts();
    assert_eq!(texts[..2], ["cost $5", "x $result[c0] y"]);
    assert!(texts[2].contains("+00:00"), "{}", texts[2]);
    assert_eq!(texts[4], "x $\u{2060}time[c0][date_start] y");
}

#[test]
fn an_array_in_a_text_kills_the_batch_of_an_older_portal_midway() {
    let portal = Portal::builder().substitution(Substitution::Older).start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let body = json!({"cmd": {
        "c0": log(&token, "done"),
        "c1": log(&token, "x $time[c0] y"),
        "c2": log(&token, "never"),
    }});
    let answer = post_json(&(portal.webhook_url() + "batch"), &body);
    assert_eq!((answer.status, answer.body.as_str()), (500, ""));
    assert_eq!(workflow.texts(), ["done"]);
}

#[test]
fn text_after_a_raw_hash_is_lost_and_raw_controls_become_underscores() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let command = |message: &str| {
        format!(
            "bizproc.activity.log?EVENT_TOKEN={}&LOG_MESSAGE={message}",
            token.replace('|', "%7C")
        )
    };
    batch(&portal, &json!([command("a#b"), command("a\nb"), command("a&b=c"), command("a+b")]));
    assert_eq!(workflow.texts(), ["a", "a_b", "a", "a b"]);
}

#[test]
fn a_command_fails_alone_whatever_its_error_is() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    workflow.fail_next(ErrorCode::ProcessError);
    workflow.fail_next(ErrorCode::Core);
    let lines: Vec<String> = ["a", "b", "c"].iter().map(|text| log(&token, text)).collect();
    let result = batch(&portal, &json!(lines));
    assert_eq!(result["result_error"][0]["error"], "499");
    assert_eq!(result["result_error"][1]["error"], "ERROR_CORE");
    assert_eq!(result["result"], json!({"2": true}));
    assert_eq!(workflow.texts(), ["c"]);
}
