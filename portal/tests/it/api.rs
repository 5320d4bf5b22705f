//! The interface that tests in other languages use.

use std::time::Duration;

use bizproc_portal::{Clock, Portal};
use serde_json::{Value, json};

use crate::application::Application;
use crate::client::{post_json, request};

struct Api {
    portal: Portal,
}

impl Api {
    fn start() -> Self {
        Self { portal: Portal::builder().clock(Clock::running()).start().unwrap() }
    }

    fn get(&self, path: &str) -> Value {
        let url = format!("{}api/{path}", self.portal.page_url());
        let answer = request(&url, "GET", &[], b"").unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    fn post(&self, path: &str, wish: Value) -> Value {
        let answer = post_json(&format!("{}api/{path}", self.portal.page_url()), &wish);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    fn refused(&self, path: &str, wish: Value) -> String {
        let answer = post_json(&format!("{}api/{path}", self.portal.page_url()), &wish);
        assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        answer.json()["error"].as_str().unwrap().to_owned()
    }

    fn rest(&self, method: &str, params: Value) -> Value {
        post_json(&(self.portal.webhook_url() + method), &params).json()
    }
}

#[test]
fn the_interface_for_tests_answers() {
    let api = Api::start();
    let started = api.post("workflows", json!({"title": "Order", "returns": ["Total"]}));
    let (id, token) = (started["id"].as_str().unwrap(), &started["event_token"]);
    api.rest("bizproc.activity.log", json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "charged"}));
    let end =
        json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "done", "RETURN_VALUES": {"TOTAL": 5, "x": 1}});
    api.rest("bizproc.event.send", end);
    api.rest("bizproc.activity.log", json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "late"}));

    let entries = api.get(&format!("workflows/{id}/entries"))["entries"].clone();
    let texts: Vec<&Value> = entries.as_array().unwrap().iter().map(|it| &it["text"]).collect();
    assert_eq!(texts, ["charged", "done"]);
    let lost = api.get(&format!("workflows/{id}/lost"))["lost"].clone();
    assert_eq!((&lost[0]["text"], &lost[0]["reason"]), (&json!("late"), &json!("completed")));
    let returned = api.get(&format!("workflows/{id}/returned"))["activities"][0].clone();
    assert_eq!(returned["return_values"], json!({"Total": "5"}));
    assert_eq!(returned["undeclared"], json!(["x"]));
    let hits = api.get("journal")["hits"].clone();
    let outcomes: Vec<&Value> =
        hits.as_array().unwrap().iter().map(|hit| &hit["commands"][0]["outcome"]).collect();
    assert_eq!(outcomes, ["written", "completed", "lost"]);
    assert_eq!(hits[2]["commands"][0]["reason"], "completed");
    assert_eq!(hits[0]["status"], 200);
    let nowhere = format!("{}api/workflows/none/entries", api.portal.page_url());
    assert_eq!(request(&nowhere, "GET", &[], b"").unwrap().status, 404);
}

#[test]
fn tests_can_plan_faults_and_advance_the_clock() {
    let api = Api::start();
    api.post("faults", json!({"fault": "query_limit", "after": 1}));
    assert!(api.rest("server.time", json!({})).get("result").is_some());
    assert_eq!(api.rest("server.time", json!({}))["error"], "QUERY_LIMIT_EXCEEDED");
    api.post("faults", json!({"fault": "server_error", "method": "server.time"}));
    assert_eq!(api.rest("server.time", json!({}))["error"], "INTERNAL_SERVER_ERROR");
    api.post("faults", json!({"clear": true}));
    assert!(api.rest("server.time", json!({})).get("result").is_some());
    assert!(api.refused("faults", json!({"fault": "earthquake"})).contains("earthquake"));

    let before = api.portal.clock().now();
    api.post("clock", json!({"advance": 3600}));
    assert!(api.portal.clock().now().since(before) >= Duration::from_secs(3600));
    api.refused("clock", json!({"advance": -1}));
    api.refused("clock", json!({}));
}

#[test]
fn the_interface_controls_an_application_from_installation_to_removal() {
    let api = Api::start();
    let application = Application::start();
    let wish = json!({"own": true, "install_url": application.at("install")});
    let client_id = api.post("apps", wish)["client_id"].as_str().unwrap().to_owned();
    assert_eq!(application.next().told("event"), "ONAPPINSTALL");
    let secrets = api.get(&format!("apps/{client_id}/secrets"));
    let deed = |deed: &str| api.post(&format!("apps/{client_id}/{deed}"), json!({}));
    let call = |token: &Value| {
        let url = api.portal.client_endpoint() + "app.info";
        post_json(&url, &json!({"auth": token})).json()["error"].clone()
    };
    assert_eq!(call(&secrets["access_token"]), json!(null));
    deed("expire");
    assert_eq!(call(&secrets["access_token"]), "expired_token");
    let fresh = || api.get(&format!("apps/{client_id}/secrets"))["access_token"].clone();
    deed("unpaid");
    assert_eq!(call(&fresh()), "PAYMENT_REQUIRED");
    deed("paid");
    let token = fresh();
    deed("revoke");
    assert_eq!(call(&token), "invalid_token");
    deed("update_token");
    let updated = application.next();
    assert_eq!((updated.told("event"), updated.told("data[VERSION]")), ("ONAPPINSTALL", "2"));
    assert_ne!(updated.told("auth[application_token]"), secrets["application_token"]);
    // A workflow of the portal's own belongs to this application.
    api.post("workflows", json!({"handler": application.at("check")}));
    let token = updated.told("auth[application_token]");
    assert_eq!(application.next().told("auth[application_token]"), token);

    let state = api.get("state")["portals"][0]["apps"][0].clone();
    assert_eq!((&state["own"], &state["version"]), (&json!(true), &json!(2)));
    assert_eq!(state["stage"], "installed");
    deed("uninstall");
    assert_eq!(call(&fresh()), "APPLICATION_NOT_FOUND");
    let path = format!("apps/{client_id}/embrace");
    assert!(api.refused(&path, json!({})).contains("embrace"));
    api.refused("apps/nobody/expire", json!({}));
    api.refused("apps", json!({"install_url": "ftp://x"}));
    let sent = api.get("sent")["sent"].clone();
    assert_eq!(sent.as_array().unwrap().len(), 3);
}

#[test]
fn registered_activities_and_templates_are_used_from_outside() {
    let api = Api::start();
    let application = Application::start();
    let token = api.portal.app().issue_tokens().access_token;
    let registration = json!({
        "auth": token,
        "CODE": "check",
        "HANDLER": application.at("check"),
        "NAME": "Check",
        "PROPERTIES": {"Who": {"Name": "Who", "Type": "user"}},
    });
    let added = post_json(&(api.portal.client_endpoint() + "bizproc.activity.add"), &registration);
    assert_eq!(added.status, 200, "{}", added.body);
    let wish = json!({"registered": "check", "properties": {"who": [5, 7]}});
    let started = api.post("workflows", wish);
    let request = application.next();
    assert_eq!(request.told("event_token"), started["event_token"]);
    assert_eq!(request.told("properties[Who][1]"), "user_7");
    let path = format!("workflows/{}/activities", started["id"].as_str().unwrap());
    api.post(&path, json!({"registered": "check"}));
    assert_eq!(application.next().told("properties[Who]"), "");

    let activities = json!(["check", {"code": "check", "properties": {"Who": 9}}]);
    let template = api.post("templates", json!({"name": "Twice", "activities": activities}));
    api.post("workflows", json!({"template": template["id"], "title": "Two checks"}));
    let first = application.next();
    let end = json!({"auth": token, "event_token": first.told("event_token")});
    post_json(&(api.portal.client_endpoint() + "bizproc.event.send"), &end);
    assert_eq!(application.next().told("properties[Who]"), "user_9");
    api.refused("workflows", json!({"registered": "none"}));
    api.refused("workflows", json!({"template": 99}));
    api.refused("templates", json!({"name": "x"}));
}

#[test]
fn a_portal_is_moved_from_outside() {
    let api = Api::start();
    let former = api.portal.webhook_url() + "server.time";
    let moved = api.post("move", json!({}));
    assert_ne!(moved["page_url"].as_str().unwrap().to_owned() + "x", former);
    assert_eq!(post_json(&former, &json!({})).status, 302);
    assert_eq!(moved["page_url"], api.portal.page_url());
    api.refused("move", json!({"name": "no such/name"}));
}
