//! What the SDKs are asked to do, and what they and the portal's journal must say of it.

use std::time::{Duration, SystemTime};

use bizproc_portal::{
    Clock, CommandOutcome, Condition, Hit, OAuthError, OperatingLimit, Portal, PortalBuilder,
    ServerTime, Tariff, UnixTime,
};
use serde_json::{Value, json};

use crate::client::{post_json, request};
use crate::judge::{Sdk, each_sdk};

/// What the encoders of an SDK must bring through a batch.
const HOSTILE: &str = "50 % + a&b=c #1 [x] \"q\" 'a' \\ Ж€😀 ?/:;@\n$5";

/// Time stands still but for the pauses of the SDKs, so nothing here depends on the machine's
/// speed. It starts at the machine's time, since the SDKs compare it with theirs.
fn portal() -> PortalBuilder {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    Portal::builder()
        .tls()
        .host_name("oauth.bitrix24.tech")
        .condition(Condition::HttpsOnly)
        .clock(Clock::stopped_at(UnixTime::new(now)))
}

fn started(builder: PortalBuilder) -> impl Fn() -> Portal {
    move || builder.clone().start().expect("a portal")
}

fn seconds(pauses: &[Duration]) -> Vec<f64> {
    pauses.iter().map(Duration::as_secs_f64).collect()
}

/// Method and status of each hit.
fn hits(portal: &Portal) -> Vec<(String, u16)> {
    let brief = |hit: Hit| (hit.rest_method, hit.status.expect("answered"));
    portal.journal().into_iter().map(brief).collect()
}

fn expected_hits(hits: &[(&str, u16)]) -> Vec<(String, u16)> {
    hits.iter().map(|(method, status)| ((*method).to_owned(), *status)).collect()
}

const LOG: &str = "bizproc.activity.log";

#[test]
fn a_line_is_logged_over_tls() {
    each_sdk(started(portal()), |sdk, portal, judge| {
        let workflow = portal.start_workflow("Order");
        let token = workflow.open_activity("check").event_token();
        let verdict = judge.ask("log", json!({"event_token": token, "message": HOSTILE}));
        assert_eq!(verdict.answer["result"], true, "{sdk:?} {verdict:?}");
        assert!(verdict.answer["time"]["date_start"].is_string(), "{sdk:?} {verdict:?}");
        assert_eq!(workflow.texts(), [HOSTILE], "{sdk:?}");
        let journal = portal.journal();
        assert_eq!(hits(portal), expected_hits(&[(LOG, 200)]), "{sdk:?}");
        assert!(journal[0].tls && journal[0].http_method == "POST", "{sdk:?} {journal:?}");
        assert_eq!(journal[0].commands[0].outcome, CommandOutcome::Written, "{sdk:?}");
    });
}

/// Fifty commands, of which the 25th has a token that is not of this portal.
fn fifty_commands(token: &str) -> (Vec<Value>, Vec<String>) {
    let message = |number: usize| format!("{number}: {HOSTILE}");
    let command = |number: usize| {
        let token = if number == 24 { "a|b|c.0000" } else { token };
        json!({"event_token": token, "message": message(number)})
    };
    ((0..50).map(command).collect(), (0..50).filter(|it| *it != 24).map(message).collect())
}

#[test]
fn a_command_that_fails_amid_fifty_fails_alone() {
    each_sdk(started(portal()), |sdk, portal, judge| {
        let workflow = portal.start_workflow("Order");
        let (commands, texts) = fifty_commands(&workflow.open_activity("check").event_token());
        let verdict = judge.ask("batch", json!({"commands": commands, "halt": false}));
        let outcomes = verdict.answer["outcomes"].as_array().expect("outcomes");
        assert_eq!(outcomes.len(), 50, "{sdk:?} {verdict:?}");
        for (number, outcome) in outcomes.iter().enumerate() {
            let failed = json!({"error": "ACCESS_DENIED"});
            let expected = if number == 24 { failed } else { json!({"result": true}) };
            assert_eq!(*outcome, expected, "{sdk:?} {number}");
        }
        assert_eq!(workflow.texts(), texts, "{sdk:?}");

        let journal = portal.journal();
        assert_eq!((journal.len(), journal[0].commands.len()), (1, 50), "{sdk:?}");
        for (number, command) in journal[0].commands.iter().enumerate() {
            let refused = CommandOutcome::Refused("ACCESS_DENIED".to_owned());
            let expected = if number == 24 { refused } else { CommandOutcome::Written };
            assert_eq!(command.outcome, expected, "{sdk:?} {number}");
            assert_eq!(command.key, number.to_string(), "{sdk:?}");
        }
    });
}

#[test]
fn a_batch_that_halts_ends_at_its_failure() {
    each_sdk(started(portal()), |sdk, portal, judge| {
        let workflow = portal.start_workflow("Order");
        let (commands, texts) = fifty_commands(&workflow.open_activity("check").event_token());
        let verdict = judge.ask("batch", json!({"commands": commands, "halt": true}));
        let outcomes = verdict.answer["outcomes"].as_array().expect("outcomes");
        assert_eq!(outcomes.len(), 25, "{sdk:?} {verdict:?}");
        assert_eq!(outcomes[24]["error"], "ACCESS_DENIED", "{sdk:?}");
        assert_eq!(workflow.texts(), texts[..24], "{sdk:?}");
        assert_eq!(portal.journal()[0].commands.len(), 25, "{sdk:?}");
    });
}

#[test]
fn query_limit_exceeded_is_waited_out() {
    each_sdk(started(portal().tariff(Tariff::Standard)), |sdk, portal, judge| {
        let workflow = portal.start_workflow("Order");
        let token = workflow.open_activity("check").event_token();
        // Somebody else at the same address has filled the bucket.
        let elsewhere = portal.webhook_url() + "server.time";
        portal.set_condition(Condition::Open);
        while post_json(&elsewhere, &json!({})).status == 200 {}
        let before = portal.journal().len();
        let verdict = judge.ask("log", json!({"event_token": token, "message": "x"}));

        assert_eq!(verdict.answer["result"], true, "{sdk:?} {verdict:?}");
        let met = &hits(portal)[before..];
        assert_eq!(met, expected_hits(&[(LOG, 503), (LOG, 200)]), "{sdk:?}");
        assert_eq!(portal.journal()[before].error.as_deref(), Some("QUERY_LIMIT_EXCEEDED"));
        // Two hits a second drain: each SDK waits for at least one of them.
        let expected = match sdk {
            Sdk::JavaScript => [1.5].as_slice(),
            Sdk::Python => &[1.0],
        };
        assert_eq!(seconds(&verdict.pauses)[..1], *expected, "{sdk:?} {verdict:?}");
        assert_eq!(workflow.texts(), ["x"], "{sdk:?}");
    });
}

#[test]
fn operation_time_limit_stops_a_call() {
    let limit = OperatingLimit::new(Duration::from_secs(480));
    each_sdk(started(portal().operating(limit)), |sdk, portal, judge| {
        let workflow = portal.start_workflow("Order");
        let token = workflow.open_activity("check").event_token();
        // Another process with the same webhook has used up what there was.
        portal.set_condition(Condition::Open);
        portal.set_server_time(ServerTime::Claimed(Duration::from_secs(500)));
        let used = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "another process"});
        assert_eq!(post_json(&(portal.webhook_url() + LOG), &used).status, 200);
        portal.set_server_time(ServerTime::Claimed(Duration::from_millis(30)));
        let task = json!({"event_token": token, "message": "x"});
        let verdict = judge.ask("log", task.clone());

        assert_eq!(verdict.answer["error"], "OPERATION_TIME_LIMIT", "{sdk:?} {verdict:?}");
        assert_eq!(verdict.answer["status"], 429, "{sdk:?} {verdict:?}");
        match sdk {
            // Thrice, ten seconds apart: not long enough for a limit that lasts five minutes.
            Sdk::JavaScript => {
                assert_eq!(seconds(&verdict.pauses), [10.0, 10.0], "{verdict:?}");
                assert_eq!(hits(portal)[1..], expected_hits(&[(LOG, 429); 3]));
            }
            Sdk::Python => {
                assert_eq!(verdict.answer["kind"], "BitrixAPIOperationTimeLimit");
                assert!(verdict.pauses.is_empty(), "{verdict:?}");
                assert_eq!(hits(portal)[1..], expected_hits(&[(LOG, 429)]));
            }
        }
        portal.clock().advance(Duration::from_secs(300));
        assert_eq!(judge.ask("log", task).answer["result"], true, "{sdk:?}");
        assert_eq!(workflow.texts(), ["another process", "x"], "{sdk:?}");
    });
}

/// The answer tells `operating`, and the JavaScript SDK goes by it: it pauses until
/// `operating_reset_at`, and a second, before it calls again. The Python SDK does not look.
#[test]
fn operating_time_told_in_an_answer_is_heeded_by_whoever_reads_it() {
    let limit = OperatingLimit::new(Duration::from_secs(480));
    let spent = ServerTime::Claimed(Duration::from_secs(500));
    each_sdk(started(portal().operating(limit).server_time(spent)), |sdk, portal, judge| {
        let workflow = portal.start_workflow("Order");
        let token = workflow.open_activity("check").event_token();
        let task = json!({"event_token": token, "message": "x"});
        let first = judge.ask("log", task.clone());
        assert_eq!(first.answer["time"]["operating"], 500, "{sdk:?} {first:?}");
        let reset_at = first.answer["time"]["operating_reset_at"].as_u64().expect("seconds");
        let reset_in = reset_at - portal.clock().now().as_secs();
        assert_eq!(reset_in, 600, "{sdk:?}");
        let second = judge.ask("log", task);
        match sdk {
            Sdk::JavaScript => {
                assert_eq!(second.answer["result"], true, "{second:?}");
                let paused: f64 = seconds(&second.pauses).iter().sum();
                assert!((600.0..=601.0).contains(&paused), "{second:?}");
                assert_eq!(hits(portal), expected_hits(&[(LOG, 200); 2]));
            }
            Sdk::Python => {
                assert_eq!(second.answer["error"], "OPERATION_TIME_LIMIT", "{second:?}");
                assert_eq!(hits(portal), expected_hits(&[(LOG, 200), (LOG, 429)]));
            }
        }
    });
}

#[test]
fn operation_time_limit_inside_a_batch_stands_in_its_answer() {
    let limit = OperatingLimit::new(Duration::from_secs(480));
    let spent = ServerTime::Claimed(Duration::from_secs(200));
    each_sdk(started(portal().operating(limit).server_time(spent)), |sdk, portal, judge| {
        let workflow = portal.start_workflow("Order");
        let token = workflow.open_activity("check").event_token();
        let command = json!({"event_token": token, "message": "x"});
        let batch = json!({"commands": vec![command; 5], "halt": false});
        let verdict = judge.ask("batch", batch);
        // The third crosses the limit, and is done.
        let (done, refused) = (json!({"result": true}), json!({"error": "OPERATION_TIME_LIMIT"}));
        let expected = json!([done, done, done, refused, refused]);
        assert_eq!(verdict.answer["outcomes"], expected, "{sdk:?}");
        assert!(verdict.pauses.is_empty(), "{sdk:?} {verdict:?}");
        assert_eq!(hits(portal), expected_hits(&[("batch", 200)]), "{sdk:?}");
        assert_eq!(workflow.texts().len(), 3, "{sdk:?}");
    });
}

#[test]
fn an_expired_token_is_refreshed_once_and_the_call_repeated() {
    each_sdk(started(portal()), |sdk, portal, judge| {
        let workflow = portal.start_workflow("Order");
        let token = workflow.open_activity("check").event_token();
        let app = portal.install_app();
        judge.install(portal, &app);
        let task = json!({"event_token": token, "message": "x"});
        let fresh = judge.ask("log_as_app", task.clone());
        assert_eq!(
            (&fresh.answer["result"], &fresh.answer["renewed"]),
            (&json!(true), &json!(false))
        );
        // The portal knows that the token has run out, the SDK does not.
        app.expire_access_tokens();
        let renewed = judge.ask("log_as_app", task.clone());
        let expected = (&json!(true), &json!(true));
        assert_eq!((&renewed.answer["result"], &renewed.answer["renewed"]), expected, "{sdk:?}");
        let still = judge.ask("log_as_app", task);
        let expected = (&json!(true), &json!(false));
        assert_eq!((&still.answer["result"], &still.answer["renewed"]), expected, "{sdk:?}");

        let expected = [(LOG, 200), (LOG, 401), ("oauth/token", 200), (LOG, 200), (LOG, 200)];
        assert_eq!(hits(portal), expected_hits(&expected), "{sdk:?}");
        let journal = portal.journal();
        assert_eq!(journal[1].error.as_deref(), Some("expired_token"), "{sdk:?}");
        assert!(journal.iter().all(|hit| hit.tls), "{sdk:?}");
        // One posts a form, the other puts everything into the query.
        let way = if sdk == Sdk::JavaScript { "POST" } else { "GET" };
        assert_eq!(journal[2].http_method, way, "{sdk:?}");
        assert_eq!(workflow.texts(), ["x", "x", "x"], "{sdk:?}");
    });
}

#[test]
fn a_grant_that_is_gone_is_reported_and_not_asked_for_again() {
    each_sdk(started(portal()), |sdk, portal, judge| {
        let workflow = portal.start_workflow("Order");
        let token = workflow.open_activity("check").event_token();
        let app = portal.install_app();
        judge.install(portal, &app);
        app.expire_access_tokens();
        let task = json!({"event_token": token, "message": "x"});
        for (refusal, kind) in [
            (OAuthError::InvalidGrant, "BitrixOAuthInvalidGrant"),
            (OAuthError::WrongClient, "BitrixOauthWrongClient"),
        ] {
            app.refuse_tokens(Some(refusal));
            let verdict = judge.ask("log_as_app", task.clone());
            assert!(verdict.answer["error"].is_string(), "{sdk:?} {verdict:?}");
            if sdk == Sdk::Python {
                assert_eq!(verdict.answer["kind"], kind);
            }
        }
        app.refuse_tokens(None);
        assert!(workflow.texts().is_empty(), "{sdk:?}");
        assert_eq!(judge.ask("log_as_app", task).answer["result"], true, "{sdk:?}");
        assert_eq!(workflow.texts(), ["x"], "{sdk:?}");
    });
}

/// Why a client should repeat the POST at the new address itself: whoever leaves the redirect to
/// the HTTP library, as the JavaScript SDK does, arrives with a GET and without the message.
#[test]
fn a_redirect_that_is_followed_blindly_loses_the_message() {
    each_sdk(started(portal()), |sdk, portal, judge| {
        if sdk != Sdk::JavaScript {
            // The Python SDK takes the new host's name and leaves out its port.
            return;
        }
        let workflow = portal.start_workflow("Order");
        let token = workflow.open_activity("check").event_token();
        portal.move_away().expect("free ports");
        let verdict = judge.ask("log", json!({"event_token": token, "message": "x"}));
        assert_eq!(verdict.answer["error"], "ACCESS_DENIED", "{verdict:?}");
        assert_eq!(hits(portal), expected_hits(&[(LOG, 302), (LOG, 403)]));
        let ways: Vec<_> = portal.journal().into_iter().map(|hit| hit.http_method).collect();
        assert_eq!(ways, ["POST", "GET"]);
        assert!(workflow.texts().is_empty());
    });
}

/// The harness itself: the portal refuses what does not come by https, so a judge that says
/// `true` has spoken TLS.
#[test]
fn the_portal_of_the_judges_takes_https_only() {
    let portal = started(portal())();
    let answer = request(&(portal.webhook_url() + LOG), "POST", &[], b"").expect("an answer");
    assert_eq!(answer.error(), (400, "INVALID_REQUEST".to_owned()));
}
