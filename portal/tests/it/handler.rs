//! The handler request, as an application receives it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use bizproc_portal::{Delivery, Portal};
use serde_json::json;

use crate::client::post_json;

/// Takes one request, answers it, and returns its head and body.
fn take_one(listener: &TcpListener, answer: &str) -> (String, String) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if length.unwrap().parse() == Ok(body.len()) {
                stream.write_all(answer.as_bytes()).unwrap();
                return (head.to_owned(), body.to_owned());
            }
        }
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "the request ended early");
        bytes.extend_from_slice(&chunk[..read]);
    }
}

fn field(body: &str, name: &str) -> Option<String> {
    let encoded = name.replace('[', "%5B").replace(']', "%5D");
    let value = body.split('&').find_map(|pair| pair.strip_prefix(&format!("{encoded}=")))?;
    Some(value.replace('+', " ").replace("%7C", "|").replace("%3A", ":").replace("%2F", "/"))
}

#[test]
fn a_handler_is_told_of_its_activity_and_can_answer_it() {
    let portal = Portal::builder().start().unwrap();
    let app = portal.install_app();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/handler?x=1", listener.local_addr().unwrap());
    let workflow = portal.start_workflow("Order 1042");
    let activity = workflow
        .activity("check")
        .handler(url)
        .app(&app)
        .property("Comment", "two words")
        .timeout(Duration::from_secs(60))
        .open();
    let (head, body) = take_one(&listener, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

    assert!(head.starts_with("POST /handler?x=1 HTTP/1.1"));
    assert!(head.contains("application/x-www-form-urlencoded"));
    let told = |name: &str| field(&body, name).unwrap_or_else(|| panic!("no {name}: {body}"));
    assert_eq!(told("workflow_id"), workflow.id());
    assert_eq!(told("event_token"), activity.event_token());
    assert_eq!(told("code"), "check");
    assert_eq!(told("properties[Comment]"), "two words");
    assert_eq!((told("use_subscription"), told("timeout_duration")), ("Y".into(), "60".into()));
    assert_eq!(told("auth[member_id]"), portal.member_id());
    assert_eq!(told("auth[application_token]"), app.application_token());
    assert_eq!(told("auth[client_endpoint]"), portal.client_endpoint());
    for name in ["document_id[0]", "document_id[2]", "document_type[2]", "ts", "auth[status]"] {
        assert!(!told(name).is_empty());
    }
    for name in ["refresh_token", "expires", "expires_in", "scope", "domain", "server_endpoint"] {
        assert!(!told(&format!("auth[{name}]")).is_empty());
    }
    let patience = Duration::from_secs(10);
    assert!(activity.wait_for(patience, |activity| activity.delivery().is_some()));
    assert_eq!(activity.delivery(), Some(Delivery::Answered(200)));

    let body = json!({
        "auth": told("auth[access_token]"),
        "event_token": told("event_token"),
        "log_message": "done",
    });
    let answer = post_json(&(portal.client_endpoint() + "bizproc.event.send"), &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!activity.is_open());
}

#[test]
fn a_handler_request_that_fails_is_not_repeated() {
    let portal = Portal::builder().start().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let workflow = portal.start_workflow("Order");
    let refused = workflow.activity("a").handler(&url).without_subscription().open();
    let (_, body) = take_one(&listener, "HTTP/1.1 500 Internal Server Error\r\n\r\n");
    assert_eq!(field(&body, "use_subscription").as_deref(), Some("N"));
    assert_eq!(field(&body, "timeout_duration").as_deref(), Some("0"));
    let patience = Duration::from_secs(10);
    assert!(refused.wait_for(patience, |activity| activity.delivery().is_some()));
    assert_eq!(refused.delivery(), Some(Delivery::Answered(500)));

    drop(listener);
    let gone = workflow.activity("b").handler(&url).open();
    assert!(gone.wait_for(patience, |activity| activity.delivery().is_some()));
    assert!(matches!(gone.delivery(), Some(Delivery::Failed(_))));
}
