//! Hostile input: everything is answered, and nothing secret is shown.

use bizproc_portal::{Portal, PortalBuilder};
use serde_json::json;

use crate::client::{post, post_json};

/// Pseudo-random numbers below a bound, from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

const PIECES: &[&[u8]] = &[
    b"EVENT_TOKEN=",
    b"LOG_MESSAGE=",
    b"cmd",
    b"[",
    b"]",
    b"=",
    b"&",
    b"%",
    b"%00",
    b"%5B",
    b"{",
    b"}",
    b"\"",
    b":",
    b",",
    b"\\",
    b"\\ud800",
    b"$result",
    b"$time[c0]",
    b"#",
    b"?",
    b"//",
    b"\r\n",
    b"--b",
    b"Content-Disposition: form-data; name=",
    b"\xff",
    "ж😀".as_bytes(),
    b"\0",
    b"0",
    b"1e999",
    b"null",
    b"bizproc.activity.log",
    b"batch",
    b"halt",
    b"{\"cmd\":{\"a\":\"",
    b"\"}}",
];

#[test]
fn every_hostile_body_is_answered() {
    let portal = Portal::builder().start().unwrap();
    let mut dice = Dice(7);
    let types = [
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "text/plain",
        "",
    ];
    for _ in 0..600 {
        let length = dice.below(30);
        let body: Vec<u8> =
            (0..length).flat_map(|_| PIECES[dice.below(PIECES.len())]).copied().collect();
        let method = ["batch", "bizproc.activity.log", "bizproc.event.send", ""][dice.below(4)];
        let answer = post(&(portal.webhook_url() + method), types[dice.below(6)], &body);
        assert!(answer.body.is_empty() || answer.json().is_object(), "{}", answer.body);
    }
    assert_eq!(portal.journal().len(), 600);
    assert!(portal.journal().iter().all(|hit| hit.status.is_some()));
}

/// Names that the methods of an application read.
const NAMES: &[&str] = &[
    "CODE",
    "HANDLER",
    "NAME",
    "PROPERTIES",
    "RETURN_PROPERTIES",
    "FIELDS",
    "DOCUMENT_TYPE",
    "FILTER",
    "TEMPLATE_ID",
    "DOCUMENT_ID",
    "ID",
    "STATUS",
    "SELECT",
    "ORDER",
    "start",
    "event",
    "handler",
    "auth_type",
    "event_type",
    "name",
    "scope",
    "full",
    "USE_SUBSCRIPTION",
    "AUTH_USER_ID",
];

fn value(dice: &mut Dice, depth: usize) -> serde_json::Value {
    match dice.below(if depth > 3 { 7 } else { 9 }) {
        0 => json!(null),
        1 => json!(dice.below(2) == 1),
        2 => json!(dice.below(200) as i64 - 100),
        3 => json!(1e300),
        4 => json!("http://127.0.0.1:1/x"),
        5 => json!(["", "Y", "crm", "ж😀\0", "1", "a b", "ONAPPUPDATE"][dice.below(7)]),
        6 => json!("x".repeat(dice.below(300))),
        7 => (0..dice.below(4)).map(|_| value(dice, depth + 1)).collect(),
        _ => object(dice, depth + 1),
    }
}

fn object(dice: &mut Dice, depth: usize) -> serde_json::Value {
    let more = ["Name", "Type", "Default", "=ID", "!x", "", "0"];
    let mut fields = serde_json::Map::new();
    for _ in 0..dice.below(6) {
        let name = match dice.below(2) {
            0 => NAMES[dice.below(NAMES.len())],
            _ => more[dice.below(more.len())],
        };
        fields.insert(name.to_owned(), value(dice, depth));
    }
    fields.into()
}

#[test]
fn whatever_an_application_sends_is_answered_by_every_method() {
    let portal = Portal::builder().start().unwrap();
    let token = portal.install_app().issue_tokens().access_token;
    let all = post_json(&(portal.webhook_url() + "methods"), &json!({"full": true})).json();
    let methods: Vec<&str> =
        all["result"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    assert!(methods.len() > 25);
    let mut dice = Dice(11);
    for method in methods.iter().cycle().take(40 * methods.len()) {
        let mut body = object(&mut dice, 0);
        body["auth"] = token.clone().into();
        let answer = post_json(&(portal.client_endpoint() + method), &body);
        assert!(answer.json().is_object(), "{method} {body}: {}", answer.body);
    }
    assert!(portal.journal().iter().all(|hit| hit.status.is_some_and(|status| status != 500)));
}

#[test]
fn no_debug_output_shows_a_secret() {
    let portal = Portal::builder().tls().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let app = portal.install_app();
    let tokens = app.issue_tokens();
    let options = workflow.activity("check").app(&app);
    let shown_options = format!("{options:?}");
    let activity = options.open();
    let token = activity.event_token();
    let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "x", "auth": tokens.access_token});
    post_json(&(portal.client_endpoint() + "bizproc.activity.log"), &body);
    post_json(&(portal.webhook_url() + "bizproc.event.send"), &body);

    let webhook = portal.webhook_url();
    let secrets = [
        webhook.trim_end_matches('/').rsplit('/').next().unwrap(),
        token.rsplit('.').next().unwrap(),
        &tokens.access_token,
        &tokens.refresh_token,
        &app.client_secret(),
        &app.application_token(),
    ];
    for shown in [
        format!("{portal:?} {:?}", PortalBuilder::default()),
        format!("{workflow:?} {activity:?} {:?}", activity.completion()),
        format!("{app:?} {tokens:?} {shown_options}"),
        format!("{:?} {:?} {:?}", portal.journal(), workflow.entries(), workflow.lost()),
        format!("{:?} {:?} {:?}", portal.faults(), portal.clock(), workflow.lock()),
        format!("{:?} {:?}", portal.sent(), workflow.registered_activity("check")),
    ] {
        for secret in secrets {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}
