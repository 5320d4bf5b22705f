//! The handler request, as an application receives it.

use std::net::TcpListener;
use std::time::Duration;

use bizproc_portal::{App, Authorization, Delivery, Language, Portal, PropertyValue, UnixTime};
use serde_json::json;

use crate::application::Application;
use crate::client::post_json;

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_handler_gets_its_activity_and_can_end_it() {
    let portal = Portal::builder().start().unwrap();
    let app = portal.install_app();
    let application = Application::start();
    let workflow = portal.start_workflow("Order 1042");
    let activity = workflow
        .activity("check")
        .handler(application.at("handler?x=1"))
        .app(&app)
        .property("Comment", "two words")
        .timeout(Duration::from_secs(60))
        .open();
    let request = application.next();
    assert!(request.head.starts_with("POST /handler?x=1 HTTP/1.1"));
    assert!(request.head.contains("application/x-www-form-urlencoded"));
    let told = |name: &str| request.told(name);
    assert_eq!(told("workflow_id"), workflow.id());
    assert_eq!(told("event_token"), activity.event_token());
    assert_eq!(told("code"), "check");
    assert_eq!(told("properties[Comment]"), "two words");
    assert_eq!((told("use_subscription"), told("timeout_duration")), ("Y", "60"));
    assert_eq!(told("auth[member_id]"), portal.member_id());
    assert_eq!(told("auth[application_token]"), app.application_token());
    assert_eq!(told("auth[client_endpoint]"), portal.client_endpoint());
    for name in ["document_id[0]", "document_id[2]", "document_type[2]", "ts", "auth[status]"] {
        assert!(!told(name).is_empty());
    }
    for name in ["refresh_token", "expires", "expires_in", "scope", "domain", "server_endpoint"] {
        assert!(!told(&format!("auth[{name}]")).is_empty());
    }
    assert!(activity.wait_for(PATIENCE, |activity| activity.delivery().is_some()));
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
    let application = Application::answering("HTTP/1.1 500 Internal Server Error\r\n\r\n");
    let workflow = portal.start_workflow("Order");
    let refused =
        workflow.activity("a").handler(application.at("a?secret")).without_subscription().open();
    let request = application.next();
    assert_eq!((request.told("use_subscription"), request.told("timeout_duration")), ("N", "0"));
    assert!(refused.wait_for(PATIENCE, |activity| activity.delivery().is_some()));
    assert_eq!(refused.delivery(), Some(Delivery::Answered(500)));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let gone = workflow.activity("b").handler(&nobody).open();
    assert!(gone.wait_for(PATIENCE, |activity| activity.delivery().is_some()));
    assert!(matches!(gone.delivery(), Some(Delivery::Failed(_))));
    assert!(application.has_no_more());
    // Whoever looks is told, without what an address may have of secrets.
    assert!(portal.wait_for(PATIENCE, |portal| portal.sent().iter().all(|sent| sent.has_failed())));
    let sent: Vec<_> = portal.sent().into_iter().map(|sent| (sent.what, sent.url)).collect();
    let expected = [("activity a", application.at("a")), ("activity b", nobody)];
    assert_eq!(sent, expected.map(|(what, url)| (what.to_owned(), url)));
}

#[test]
fn all_activities_belong_to_one_application_unless_another_is_named() {
    let portal = Portal::builder().start().unwrap();
    let application = Application::start();
    let workflow = portal.start_workflow("Order");
    workflow.activity("a").handler(&application.url).open();
    workflow.activity("b").handler(&application.url).open();
    let own = portal.app().application_token();
    for _ in 0..2 {
        assert_eq!(application.next().told("auth[application_token]"), own);
    }
    let other = portal.install_app();
    workflow.activity("c").handler(&application.url).app(&other).open();
    let token = other.application_token();
    assert_eq!(application.next().told("auth[application_token]"), token);
    assert_ne!(token, own);
}

#[test]
fn a_workflow_fails_when_the_application_of_its_activity_is_gone() {
    let portal = Portal::builder().start().unwrap();
    let application = Application::start();
    for trouble in [App::uninstall, |app: &App| app.set_paid(false)] {
        let app = portal.install_app();
        trouble(&app);
        let workflow = portal.start_workflow("Order");
        workflow.activity("a").handler(&application.url).app(&app).open();
        assert!(workflow.terminated().unwrap().contains("not installed"));
    }
    assert!(portal.sent().is_empty());
}

#[test]
fn properties_arrive_in_the_format_of_the_site() {
    let portal = Portal::builder().language(Language::De).start().unwrap();
    let application = Application::start();
    let moment = UnixTime::new(Duration::from_secs(1_795_788_605));
    let users = vec![PropertyValue::User(5), PropertyValue::User(7)];
    portal
        .start_workflow("Order")
        .activity("check")
        .property("paid", true)
        .property("count", 3)
        .property("count", 4)
        .property("share", 0.25)
        .property("day", PropertyValue::Date(moment))
        .property("moment", PropertyValue::DateTime(moment))
        .property("users", PropertyValue::List(users))
        .property("file", PropertyValue::File(31))
        .property("nothing", PropertyValue::Null)
        .property("nobody", Vec::<String>::new())
        .handler(&application.url)
        .open();
    let request = application.next();
    let properties = request
        .form
        .iter()
        .filter_map(|(name, value)| Some(format!("{}={value}", name.strip_prefix("properties")?)));
    let expected = [
        "[paid]=Y",
        "[count]=4",
        "[share]=0.25",
        "[day]=27.11.2026",
        "[moment]=27.11.2026 14:10:05",
        "[users][0]=user_5",
        "[users][1]=user_7",
        "[file]=31",
        "[nothing]=",
    ];
    assert_eq!(properties.collect::<Vec<_>>(), expected);
}

#[test]
fn an_isolated_portal_sends_no_refresh_token() {
    let portal = Portal::builder().authorization(Authorization::Isolated).start().unwrap();
    let application = Application::start();
    portal.start_workflow("Order").activity("check").handler(&application.url).open();
    let request = application.next();
    assert!(!request.told("auth[access_token]").is_empty());
    for name in ["auth[refresh_token]", "auth[server_endpoint]"] {
        assert_eq!(request.has(name), None);
    }
}
