//! The page and the interface behind it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use bizproc_portal::{Portal, Retention, Tariff};
use serde_json::json;

use crate::client::{post, post_json, request};

fn get(url: &str) -> serde_json::Value {
    let answer = request(url, "GET", &[], b"").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
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
    assert_eq!(shown["webhook_url"], portal.webhook_url());
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
    let wanted = json!({"tariff": "enterprise", "retention": "cloud"});
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(state["portals"][0]["settings"][name], *value);
    }
    assert_eq!(state["portals"][0]["faults"], true);
    post_json(&url, &json!({"faults": null}));
    assert_eq!(get(&(portal.page_url() + "api/state"))["portals"][0]["faults"], false);
    portal.set_retention(Retention::SelfHosted);

    assert_eq!(post_json(&url, &json!({"tariff": "free"})).status, 400);
    let form = post(&url, "application/x-www-form-urlencoded", b"tariff=standard");
    assert_eq!(form.status, 415);
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let portal = Portal::builder().start().unwrap();
    let page = request(&portal.page_url(), "GET", &[], b"").unwrap();
    assert!(page.head.contains("text/html"));
    assert!(page.head.contains("default-src 'self'"));
    for asset in ["page.js", "page.css"] {
        assert!(page.body.contains(asset));
        let url = format!("{}assets/{asset}", portal.page_url());
        let text = request(&url, "GET", &[], b"").unwrap().body;
        assert!(!text.contains("http://") && !text.contains("https://"));
    }
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
