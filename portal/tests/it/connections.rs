//! What the web server in front of the portal does, and what browsers are told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bizproc_portal::{Portal, ServerTime};
use serde_json::json;

use crate::client::{post_json, request};

const SHORT: Duration = Duration::from_millis(50);

fn connect(portal: &Portal) -> TcpStream {
    let url = portal.page_url();
    TcpStream::connect(url.trim_start_matches("http://").trim_end_matches('/')).unwrap()
}

/// What comes until the portal closes the connection.
fn rest_of(mut stream: TcpStream) -> String {
    let mut text = String::new();
    // A reset is an end, too.
    drop(stream.read_to_string(&mut text));
    text
}

/// The status line of the answer to these bytes.
fn answer_to(portal: &Portal, bytes: &str) -> String {
    let mut stream = connect(portal);
    stream.write_all(bytes.as_bytes()).unwrap();
    rest_of(stream).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn scripts_of_any_site_may_read_the_answers_of_the_rest_api() {
    let portal = Portal::builder().start().unwrap();
    let url = portal.webhook_url() + "server.time";
    for (method, status) in [("POST", 200), ("OPTIONS", 200)] {
        let answer = request(&url, method, &[("Origin", "https://app.example")], b"").unwrap();
        assert_eq!(answer.status, status);
        let head = answer.head.to_lowercase();
        for header in [
            "access-control-allow-origin: *",
            "access-control-allow-headers: origin, content-type, accept",
            "x-content-type-options: nosniff",
        ] {
            assert!(head.contains(header), "{method}: {head}");
        }
    }
    let refused = post_json(&(portal.client_endpoint() + "server.time"), &json!({}));
    assert!(refused.head.to_lowercase().contains("access-control-allow-origin: *"));
    // A preflight is no hit.
    assert_eq!(portal.counters().hits, 2);
    // The page is not for the scripts of other sites.
    let page = request(&portal.page_url(), "GET", &[], b"").unwrap();
    assert!(!page.head.to_lowercase().contains("access-control"));
}

#[test]
fn requests_that_nginx_refuses_never_reach_the_portal() {
    let portal = Portal::builder().start().unwrap();
    let long = "x".repeat(9000);
    for (bytes, status) in [
        (format!("GET /rest/{long} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), "414"),
        ("GET /rest/batch HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), "400"),
        ("TRACE /rest/batch HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "405"),
        ("BREW /rest/batch HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "405"),
    ] {
        let line = answer_to(&portal, &bytes);
        assert!(line.starts_with(&format!("HTTP/1.1 {status}")), "{line}");
    }
    assert!(portal.journal().is_empty());
}

#[test]
fn connections_that_idle_and_heads_and_bodies_that_stall_are_closed() {
    let portal = Portal::builder().read_limit(SHORT).start().unwrap();
    // Nothing at all, half a head, half a body.
    let head = "POST /rest/batch HTTP/1.1\r\nHost: a\r\n";
    for bytes in ["", head, &format!("{head}Content-Length: 10\r\n\r\nhalf")] {
        assert_eq!(answer_to(&portal, bytes), "", "{bytes}");
    }
    // One hit, and then silence. However slow this machine is, the hit itself has a minute.
    let portal = Portal::builder().idle_limit(SHORT).start().unwrap();
    let mut stream = connect(&portal);
    stream.write_all(b"GET /rest/server.time HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(rest_of(stream).starts_with("HTTP/1.1 401"));
    assert!(portal.journal().iter().filter(|hit| hit.status.is_some()).count() == 1);
}

#[test]
fn a_hit_that_is_being_answered_is_not_cut_off() {
    let portal = Portal::builder()
        .read_limit(10 * SHORT)
        .idle_limit(SHORT)
        .server_time(ServerTime::Spent(15 * SHORT))
        .start()
        .unwrap();
    let token = portal.start_workflow("Order").open_activity("check").event_token();
    let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "x"});
    let answer = post_json(&(portal.webhook_url() + "bizproc.activity.log"), &body);
    assert_eq!(answer.json()["result"], true);
}
