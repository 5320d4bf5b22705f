//! The page and the interface behind it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use bizproc_portal::{Portal, Retention, Tariff};
use serde_json::{Value, json};

use crate::client::{post, post_json, request};

fn get(url: &str) -> serde_json::Value {
    let answer = request(url, "GET", &[], b"").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// A setting in the state of the first portal.
fn setting<'a>(state: &'a Value, name: &str) -> &'a Value {
    let settings = state["portals"][0]["settings"].as_array().unwrap();
    settings.iter().find(|setting| setting["name"] == name).unwrap()
}

#[test]
fn the_state_shows_workflows_counters_and_gauges() {
    let portal = Portal::builder().tariff(Tariff::Standard).start().unwrap();
    let workflow = portal.start_workflow("Order <b>1042</b>");
    let activity = workflow.open_activity("check");
    let hostile = "<script>alert(1)</script>\n[timestamp=5]x[/timestamp]";
    let body = json!({"EVENT_TOKEN": activity.event_token(), "LOG_MESSAGE": hostile});
    post_json(&(portal.webhook_url() + "bizproc.activity.log"), &body);

    let state = get(&(portal.page_url() + "api/state"));
    let shown = &state["portals"][0];
    assert_eq!(shown["member_id"], portal.member_id());
    assert_eq!(shown["counters"]["requests"], 1);
    assert_eq!(shown["counters"]["entries"], 1);
    assert_eq!(shown["counters"]["lines"], 2);
    assert_eq!(shown["gauges"]["rate"]["capacity"], 50.0);
    assert_eq!(shown["workflows"][0]["title"], "Order <b>1042</b>");
    assert_eq!(shown["workflows"][0]["activities"], json!([{"name": "check", "open": true}]));

    let log = get(&format!("{}api/workflows/{}", portal.page_url(), workflow.id()));
    assert_eq!(log["log"][0]["text"], hostile);
    assert_eq!(log["log"][0]["segments"][1], json!({"kind": "time", "unix": 5, "text": "x"}));
    let nowhere = request(&(portal.page_url() + "api/workflows/none"), "GET", &[], b"");
    assert_eq!(nowhere.unwrap().status, 404);
}

#[test]
fn a_workflow_that_the_page_starts_can_be_logged_to() {
    let portal = Portal::builder().start().unwrap();
    let started = post_json(&(portal.page_url() + "api/workflows"), &json!({"title": "Trip"}));
    let token = started.json()["event_token"].clone();
    let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "booked"});
    post_json(&(portal.webhook_url() + "bizproc.activity.log"), &body);
    assert_eq!(portal.workflows()[0].texts(), ["booked"]);
    assert_eq!(started.json()["id"], portal.workflows()[0].id());
}

#[test]
fn settings_can_be_changed_from_the_page_but_not_by_a_foreign_form() {
    let portal = Portal::builder().start().unwrap();
    let url = portal.page_url() + "api/settings";
    let wish = json!({"tariff": "enterprise", "retention": "cloud", "faults": {"share": 1.0}});
    assert_eq!(post_json(&url, &wish).status, 200);
    let state = get(&(portal.page_url() + "api/state"));
    assert_eq!(state["portals"][0]["faults"]["share"], 1.0);
    assert_eq!(setting(&state, "tariff")["value"], "enterprise");
    assert_eq!(setting(&state, "retention")["value"], "cloud");
    post_json(&url, &json!({"faults": null}));
    assert_eq!(get(&(portal.page_url() + "api/state"))["portals"][0]["faults"], json!(null));
    portal.set_retention(Retention::SelfHosted);

    // A wish that is refused changes nothing.
    let half = json!({"tariff": "standard", "next_fault": "earthquake"});
    assert_eq!(post_json(&url, &half).status, 400);
    let state = get(&(portal.page_url() + "api/state"));
    assert_eq!(setting(&state, "tariff")["value"], "enterprise");
    assert_eq!(
        setting(&state, "tariff")["choices"],
        json!(["unlimited", "standard", "enterprise"])
    );
    for wrong in [json!({"tariff": "gold"}), json!({"colour": "red"}), json!({"body_limit": -1})] {
        let refused = post_json(&url, &wrong);
        assert_eq!(refused.status, 400, "{wrong}");
    }
    let form = post(&url, "application/x-www-form-urlencoded", b"tariff=standard");
    assert_eq!(form.status, 415);
}

#[test]
fn the_page_loads_nothing_from_other_servers() {
    let portal = Portal::builder().start().unwrap();
    let page = request(&portal.page_url(), "GET", &[], b"").unwrap();
    assert!(page.head.contains("text/html"));
    assert!(page.head.contains("default-src 'none'"));
    assert!(page.head.contains("require-trusted-types-for 'script'"));
    // Follows each reference to a file, as a browser does.
    let mut wanted = vec!["/assets/js/main.js".to_owned(), "/assets/css/base.css".to_owned()];
    let mut seen = 0;
    while let Some(path) = wanted.pop() {
        let url = portal.page_url() + path.trim_start_matches('/');
        let asset = request(&url, "GET", &[], b"").unwrap();
        assert_eq!(asset.status, 200, "{path}");
        assert!(!asset.body.contains("https:") && !asset.body.contains("innerHTML"), "{path}");
        let imports =
            asset.body.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next());
        wanted.extend(imports.map(|name| format!("/assets/js/{name}")));
        seen += 1;
        assert!(seen < 100, "modules that import each other");
    }
    assert!(seen > 5);
    let nowhere = request(&(portal.page_url() + "assets/js/none.js"), "GET", &[], b"");
    assert_eq!(nowhere.unwrap().status, 404);
}

#[test]
fn secrets_are_returned_only_by_their_own_requests() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let activity = workflow.open_activity("check");
    let token = activity.event_token();
    let webhook_url = portal.webhook_url();
    let code = webhook_url.trim_end_matches('/').rsplit('/').next().unwrap();
    let of_workflow = format!("{}api/workflows/{}", portal.page_url(), workflow.id());
    for url in [portal.page_url() + "api/state", of_workflow.clone()] {
        let shown = get(&url).to_string();
        assert!(!shown.contains(code) && !shown.contains(&token), "{shown}");
    }
    let opened = post_json(&(of_workflow.clone() + "/activities"), &json!({"activity": "check"}));
    let second = opened.json()["event_token"].clone();
    assert_ne!(second, token);
    let secrets = get(&(of_workflow.clone() + "/secrets"));
    assert_eq!(secrets["webhook_url"], webhook_url);
    let expected = json!([{"name": "check", "open": true, "event_token": second}]);
    assert_eq!(secrets["activities"], expected);

    assert_eq!(post_json(&(of_workflow.clone() + "/finish"), &json!({})).status, 200);
    assert!(!workflow.is_running());
    let late = post_json(&(of_workflow + "/activities"), &json!({"activity": "check"}));
    assert_eq!(late.status, 400);
}

#[test]
fn a_log_is_read_in_parts_by_number_and_by_search() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let url = portal.webhook_url() + "bizproc.activity.log";
    for number in 1..=60 {
        let text = format!("Строка {number}");
        post_json(&url, &json!({"EVENT_TOKEN": token, "LOG_MESSAGE": text}));
    }
    let read =
        |query: &str| get(&format!("{}api/workflows/{}?{query}", portal.page_url(), workflow.id()));
    let texts = |part: &serde_json::Value| -> Vec<String> {
        let rows = part["log"].as_array().unwrap().iter();
        rows.map(|row| row["text"].as_str().unwrap().to_owned()).collect()
    };
    let first = read("");
    assert_eq!((texts(&first).len(), &first["more"]), (50, &json!(true)));
    assert_eq!(texts(&first)[0], "Строка 60");
    let older = read(&format!("before={}", first["log"][49]["sequence"]));
    assert_eq!((texts(&older).len(), &older["more"]), (10, &json!(false)));
    let newer = read(&format!("after={}", first["log"][1]["sequence"]));
    assert_eq!(texts(&newer), ["Строка 60"]);
    let found = read(&format!("search={}", crate::client::encoded("строка 5")));
    assert_eq!(texts(&found).len(), 11);

    portal.set_retention(Retention::Cloud);
    assert_eq!(read("")["kept_from"], first["log"][49]["sequence"]);
    let state = get(&(portal.page_url() + "api/state?search=60"));
    assert_eq!(state["portals"][0]["workflows"][0]["matches"], 1);
    assert_eq!(get(&(portal.page_url() + "api/state?search=x"))["portals"][0]["matching"], 0);
}

#[test]
fn a_foreign_host_name_is_refused() {
    let portal = Portal::builder().start().unwrap();
    let host = portal.page_url().replace("http://", "").replace('/', "");
    let mut stream = TcpStream::connect(&host).unwrap();
    write!(stream, "GET /api/state HTTP/1.1\r\nHost: evil.example\r\n\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.contains("403"), "{line}");
}

#[test]
fn each_change_is_an_event() {
    let portal = Portal::builder().start().unwrap();
    let host = portal.page_url().replace("http://", "").replace('/', "");
    let mut stream = TcpStream::connect(&host).unwrap();
    write!(stream, "GET /api/events HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap());
    assert!(lines.any(|line| line == "event: change"));
    portal.start_workflow("Order");
    assert!(lines.any(|line| line == "event: change"));
}
