//! An application's life: installed, registered, called, updated, removed.

use std::time::Duration;

use bizproc_portal::{App, BlankSubscription, Language, Portal};
use serde_json::{Value, json};

use crate::application::Application;
use crate::client::{Answer, post_json};

const PATIENCE: Duration = Duration::from_secs(10);

/// A call of the application.
fn call(portal: &Portal, access_token: &str, method: &str, params: Value) -> Answer {
    let mut body = params;
    body["auth"] = access_token.into();
    post_json(&(portal.client_endpoint() + method), &body)
}

fn result(portal: &Portal, access_token: &str, method: &str, params: Value) -> Value {
    let answer = call(portal, access_token, method, params);
    assert_eq!(answer.status, 200, "{method}: {}", answer.body);
    answer.json()["result"].clone()
}

/// Code and text of an error.
fn refusal(answer: &Answer) -> (String, String) {
    let json = answer.json();
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    (text("error"), text("error_description"))
}

fn registration(handler: &str) -> Value {
    json!({
        "CODE": "check",
        "HANDLER": handler,
        "USE_SUBSCRIPTION": "Y",
        "NAME": {"en": "Check the order"},
        "PROPERTIES": {
            "Amount": {"Name": "Amount", "Type": "double", "Default": "1.5"},
            "Due": {"Name": {"en": "Due"}, "Type": "date"},
        },
        "RETURN_PROPERTIES": {"Total": {"Name": "Total", "Type": "int"}},
    })
}

#[test]
fn an_application_without_a_page_gets_the_install_event() {
    let portal = Portal::builder().language(Language::De).start().unwrap();
    let application = Application::start();
    let app = portal.install_app();
    app.install_at(&application.at("install?x=1"));
    let event = application.next();
    assert_eq!((event.path.as_str(), event.asked("x")), ("/install", "1"));
    assert_eq!(event.told("event"), "ONAPPINSTALL");
    assert_eq!(event.told("data[VERSION]"), "1");
    assert_eq!((event.told("data[ACTIVE]"), event.told("data[INSTALLED]")), ("Y", "Y"));
    assert_eq!(event.told("data[LANGUAGE_ID]"), "de");
    assert_eq!(event.told("auth[application_token]"), app.application_token());
    assert_eq!(event.told("auth[member_id]"), portal.member_id());
    let token = event.told("auth[access_token]");
    let info = result(&portal, token, "app.info", json!({}));
    assert_eq!(info["CODE"], app.client_id());
    assert_eq!((&info["INSTALLED"], &info["VERSION"]), (&json!(true), &json!(1)));
    assert_eq!((&info["STATUS"], &info["PAYMENT_EXPIRED"]), (&json!("L"), &json!("N")));
    assert_eq!((&info["DAYS"], &info["LICENSE"]), (&json!(null), &json!("de_selfhosted")));
    assert!(info["ID"].is_u64() && info["LANGUAGE_ID"] == "de");
}

#[test]
fn an_application_with_a_page_gets_no_events_before_its_installation_is_finished() {
    let portal = Portal::builder().start().unwrap();
    let application = Application::start();
    let app = portal.install_app();
    app.install_on_page(&application.at("page"));
    let page = application.next();
    let domain = portal.page_url().replace("http://", "").replace('/', "");
    assert_eq!((page.asked("DOMAIN"), page.asked("PROTOCOL")), (&*domain, "0"));
    assert_eq!((page.asked("LANG"), page.asked("APP_SID").len()), ("en", 32));
    assert_ne!(page.asked("APP_SID"), app.application_token());
    assert_eq!(page.told("APPLICATION_TOKEN"), app.application_token());
    assert_eq!((page.told("AUTH_EXPIRES"), page.told("APPLICATION_SCOPE")), ("3600", "bizproc"));
    assert_eq!((page.told("member_id"), page.told("status")), (portal.member_id(), "L"));
    assert_eq!(page.told("PLACEMENT"), "DEFAULT");
    assert!(!page.told("PLACEMENT_OPTIONS").is_empty() && !page.told("REFRESH_ID").is_empty());
    assert!(page.told("SERVER_ENDPOINT").ends_with("/rest/"));

    let token = page.told("AUTH_ID");
    let handler = json!({"event": "OnAppInstall", "handler": application.at("event")});
    assert_eq!(result(&portal, token, "event.bind", handler), true);
    assert_eq!(result(&portal, token, "app.info", json!({}))["INSTALLED"], false);
    assert!(application.has_no_more());
    app.finish_installation();
    let event = application.next();
    assert_eq!((event.path.as_str(), event.told("event")), ("/event", "ONAPPINSTALL"));
    assert_eq!(result(&portal, token, "app.info", json!({}))["INSTALLED"], true);
    // Once is enough.
    app.finish_installation();
    app.open_page();
    assert_eq!(application.next().path, "/page");
}

#[test]
fn an_update_removes_registrations_and_handlers_and_may_bring_another_token() {
    let portal = Portal::builder().start().unwrap();
    let application = Application::start();
    let app = portal.install_app();
    app.install_at(&application.at("install"));
    let first = application.next();
    let token = first.told("auth[access_token]");
    result(&portal, token, "bizproc.activity.add", registration(&application.at("check")));
    for event in ["ONAPPUPDATE", "ONAPPUNINSTALL"] {
        let handler = json!({"event": event, "handler": application.at("event"), "auth_type": 7});
        result(&portal, token, "event.bind", handler);
    }
    app.update_with_new_token();
    let mut events = [application.next(), application.next()];
    events.sort_by(|a, b| a.path.cmp(&b.path));
    let [updated, installed] = events;
    assert_eq!((updated.told("event"), installed.told("event")), ("ONAPPUPDATE", "ONAPPINSTALL"));
    assert_eq!((updated.told("data[PREVIOUS_VERSION]"), updated.told("data[VERSION]")), ("1", "2"));
    // Each handler gets the tokens of the user for whom it was bound.
    assert_eq!((updated.told("auth[user_id]"), installed.told("auth[user_id]")), ("7", "1"));
    assert_ne!(updated.told("auth[application_token]"), first.told("auth[application_token]"));
    assert_eq!(updated.told("auth[application_token]"), app.application_token());
    assert_eq!(result(&portal, token, "bizproc.activity.list", json!({})), json!([]));
    assert_eq!(result(&portal, token, "event.get", json!({})), json!([]));

    let handler = json!({"event": "ONAPPUNINSTALL", "handler": application.at("bye")});
    result(&portal, token, "event.bind", handler);
    app.uninstall_and_clean();
    let bye = application.next();
    assert_eq!((bye.told("event"), bye.told("data[CLEAN]")), ("ONAPPUNINSTALL", "1"));
    assert_eq!(bye.told("auth[application_token]"), app.application_token());
    assert_eq!(bye.has("auth[access_token]"), None);
    let gone = call(&portal, token, "app.info", json!({}));
    assert_eq!(gone.error().1, "APPLICATION_NOT_FOUND");
}

#[test]
fn handlers_of_events_are_bound_listed_and_unbound() {
    let portal = Portal::builder().start().unwrap();
    let app = portal.install_app();
    let (admin, other) = (app.issue_tokens().access_token, app.issue_tokens_for(7).access_token);
    let bind = |token: &str, params: Value| call(&portal, token, "event.bind", params);
    let url = "https://app.example/event";
    assert_eq!(bind(&admin, json!({"event": "onAppUpdate", "handler": url})).status, 200);
    assert_eq!(
        bind(&admin, json!({"event": "onAppUpdate", "handler": url})).error().1,
        "ERROR_CORE"
    );
    assert_eq!(bind(&other, json!({"event": "ONCRMLEADADD", "handler": url})).status, 200);
    for (token, params, code) in [
        (&admin, json!({"event": "APPUPDATE", "handler": url}), "ERROR_EVENT_NOT_FOUND"),
        (&admin, json!({"event": "ONAPPUPDATE"}), "ERROR_ARGUMENT"),
        (&admin, json!({"event": "ONX", "handler": "ftp://app/x"}), "ERROR_UNSUPPORTED_PROTOCOL"),
        (&other, json!({"event": "ONX", "handler": url, "auth_type": 1}), "ACCESS_DENIED"),
    ] {
        assert_eq!(bind(token, params).error().1, code);
    }
    let webhook = post_json(&(portal.webhook_url() + "event.get"), &json!({}));
    let context = ("ACCESS_DENIED".to_owned(), "Application context required".to_owned());
    assert_eq!(refusal(&webhook), context);
    let listed = result(&portal, &admin, "event.get", json!({}));
    let entry = |event: &str, user: &str| json!({"event": event, "handler": url, "auth_type": user, "offline": 0});
    assert_eq!(listed, json!([entry("ONAPPUPDATE", "0"), entry("ONCRMLEADADD", "7")]));
    assert_eq!(
        result(&portal, &other, "event.get", json!({})),
        json!([entry("ONCRMLEADADD", "7")])
    );
    let unbind = json!({"event": "ONAPPUPDATE", "handler": url});
    assert_eq!(result(&portal, &admin, "event.unbind", unbind.clone()), json!({"count": 1}));
    assert_eq!(result(&portal, &admin, "event.unbind", unbind), json!({"count": 0}));
}

#[test]
fn activities_and_robots_are_registered_changed_and_removed() {
    let portal = Portal::builder().start().unwrap();
    let app = portal.install_app();
    let token = app.issue_tokens().access_token;
    let call = |method: &str, params: Value| call(&portal, &token, method, params);
    let full = registration("https://app.example/check");
    let changed = |name: &str, value: Value| {
        let mut params = full.clone();
        params[name] = value;
        params
    };
    const INVALID: &str = "ERROR_ACTIVITY_VALIDATION_FAILURE";
    for (params, code, text) in [
        (changed("CODE", json!("")), INVALID, "Empty activity code!"),
        (changed("CODE", json!("a b")), INVALID, "Wrong activity code!"),
        (changed("NAME", json!("")), INVALID, "Empty activity NAME!"),
        (changed("HANDLER", json!("nowhere")), "ERROR_WRONG_HANDLER_URL", "Wrong handler URL"),
        (
            changed("HANDLER", json!("http://app.example/x HTTP/1.1\r\nX: y")),
            "ERROR_WRONG_HANDLER_URL",
            "Wrong handler URL",
        ),
        (
            changed("HANDLER", json!("ftp://app.example/x")),
            "ERROR_UNSUPPORTED_PROTOCOL",
            "Unsupported handler protocol",
        ),
        (changed("PROPERTIES", json!("x")), INVALID, "Wrong properties array!"),
        (changed("PROPERTIES", json!({"1x": {"Name": "x"}})), INVALID, "Wrong property key (1x)!"),
        (
            changed("RETURN_PROPERTIES", json!({"x": {"Type": "int"}})),
            INVALID,
            "Empty property NAME (x)!",
        ),
        (changed("DOCUMENT_TYPE", json!(["crm"])), INVALID, "Wrong activity DOCUMENT_TYPE!"),
        (changed("FILTER", json!("box")), INVALID, "Wrong activity FILTER!"),
    ] {
        let answer = call("bizproc.activity.add", params);
        assert_eq!(answer.status, 400);
        assert_eq!(refusal(&answer), (code.to_owned(), text.to_owned()));
    }
    assert_eq!(call("bizproc.activity.add", full.clone()).json()["result"], true);
    assert_eq!(call("bizproc.robot.add", changed("CODE", json!("robot"))).status, 200);
    // Activities and robots share their codes.
    let twice = call("bizproc.robot.add", full.clone());
    assert_eq!(twice.error().1, "ERROR_ACTIVITY_ALREADY_INSTALLED");
    assert_eq!(call("bizproc.activity.list", json!({})).json()["result"], json!(["check"]));
    assert_eq!(call("bizproc.robot.list", json!({})).json()["result"], json!(["robot"]));

    let update = |code: &str, fields: Value| {
        call("bizproc.activity.update", json!({"CODE": code, "FIELDS": fields}))
    };
    assert_eq!(update("check", json!({"NAME": "Other"})).status, 200);
    assert_eq!(refusal(&update("check", json!({}))).1, "No fields to update");
    assert_eq!(update("robot", json!({"NAME": "x"})).error().1, "ERROR_ACTIVITY_NOT_FOUND");
    assert_eq!(update("check", json!({"PROPERTIES": 5})).error().1, INVALID);
    let delete = |code: &str| call("bizproc.activity.delete", json!({"CODE": code}));
    assert_eq!(delete("check").json()["result"], true);
    assert_eq!(delete("check").error().1, "ERROR_ACTIVITY_NOT_FOUND");

    // Webhooks and people without rights can do none of this.
    let webhook = post_json(&(portal.webhook_url() + "bizproc.activity.add"), &full);
    assert_eq!(refusal(&webhook).1, "Application context required");
    let someone = app.issue_tokens_for(7).access_token;
    let answer = crate::apps::call(&portal, &someone, "bizproc.activity.list", json!({}));
    assert_eq!(refusal(&answer), ("ACCESS_DENIED".to_owned(), "Access denied!".to_owned()));
}

#[test]
fn handlers_must_be_on_the_domain_of_the_application() {
    let portal = Portal::builder().start().unwrap();
    let application = Application::start();
    let app = portal.install_app();
    app.install_at(&application.at("install"));
    let token = application.next().told("auth[access_token]").to_owned();
    let elsewhere = registration("http://elsewhere.example/check");
    let answer = call(&portal, &token, "bizproc.activity.add", elsewhere);
    assert_eq!(answer.error().1, "ERROR_WRONG_HANDLER_URL");
    let here = registration("http://127.0.0.1:9/check");
    assert_eq!(call(&portal, &token, "bizproc.activity.add", here).status, 200);
}

fn registered(portal: &Portal, application: &Application) -> (App, String) {
    let app = portal.install_app();
    let token = app.issue_tokens().access_token;
    result(portal, &token, "bizproc.activity.add", registration(&application.at("check")));
    (app, token)
}

#[test]
fn a_registered_activity_is_called_as_it_was_registered_and_keeps_declared_values_only() {
    let portal = Portal::builder().start().unwrap();
    let application = Application::start();
    let (app, token) = registered(&portal, &application);
    let workflow = portal.start_workflow("Order");
    assert!(workflow.registered_activity("nothing").is_none());
    let activity = workflow.registered_activity("check").unwrap().property("Amount", 2.5).open();
    let request = application.next();
    assert_eq!(request.path, "/check");
    assert_eq!((request.told("code"), request.told("use_subscription")), ("check", "Y"));
    assert_eq!((request.told("properties[Amount]"), request.told("properties[Due]")), ("2.5", ""));
    assert_eq!(request.told("auth[application_token]"), app.application_token());
    let end = json!({
        "event_token": request.told("event_token"),
        "RETURN_VALUES": {"TOTAL": "42", "Totl": "41"},
    });
    assert_eq!(result(&portal, &token, "bizproc.event.send", end), true);
    let completion = activity.completion().unwrap();
    assert_eq!(completion.return_values, [("Total".to_owned(), "42".to_owned())]);
    assert_eq!(completion.undeclared, ["Totl"]);
}

#[test]
fn a_blank_subscription_waits_or_not_depending_on_the_portal() {
    let portal = Portal::builder().start().unwrap();
    let application = Application::start();
    let token = portal.install_app().issue_tokens().access_token;
    let mut blank = registration(&application.at("check"));
    blank["USE_SUBSCRIPTION"] = json!("");
    result(&portal, &token, "bizproc.activity.add", blank);
    let workflow = portal.start_workflow("Order");
    for (blank, told) in [(BlankSubscription::Waits, "Y"), (BlankSubscription::GoesOn, "N")] {
        portal.set_blank_subscription(blank);
        let activity = workflow.registered_activity("check").unwrap().open();
        assert_eq!(application.next().told("use_subscription"), told);
        assert_eq!(activity.is_open(), told == "Y");
    }
}

#[test]
fn a_workflow_started_by_rest_reaches_each_activity_of_its_template() {
    let portal = Portal::builder().start().unwrap();
    let application = Application::start();
    let (_, token) = registered(&portal, &application);
    let mut quick = registration(&application.at("quick"));
    quick["CODE"] = json!("quick");
    quick["USE_SUBSCRIPTION"] = json!("N");
    result(&portal, &token, "bizproc.activity.add", quick);
    let template = portal.create_template("Twice", ["check", "quick", "check"]);
    let document = json!(["crm", "CCrmDocumentDeal", "DEAL_7"]);
    let start = json!({"TEMPLATE_ID": template, "DOCUMENT_ID": document});
    let id = result(&portal, &token, "bizproc.workflow.start", start);
    let workflow = portal.workflows().pop().unwrap();
    assert_eq!(id, workflow.id());

    let first = application.next();
    assert_eq!((first.path.as_str(), first.told("document_id[2]")), ("/check", "DEAL_7"));
    assert_eq!(first.told("workflow_id"), workflow.id());
    let end = |request: &crate::application::Request| {
        let end = json!({"event_token": request.told("event_token")});
        assert_eq!(result(&portal, &token, "bizproc.event.send", end), true);
    };
    end(&first);
    // The second one does not wait, so the third is reached at once.
    let mut both = [application.next(), application.next()];
    both.sort_by(|a, b| a.path.cmp(&b.path));
    let [third, second] = both;
    assert_eq!((second.path.as_str(), third.path.as_str()), ("/quick", "/check"));
    assert_ne!(third.told("event_token"), first.told("event_token"));
    assert!(workflow.is_running());
    end(&third);
    assert!(!workflow.is_running() && workflow.terminated().is_none());
}

#[test]
fn a_workflow_fails_at_an_activity_that_is_not_registered() {
    let portal = Portal::builder().start().unwrap();
    let token = portal.install_app().issue_tokens().access_token;
    let template = portal.create_template("Gone", ["gone"]);
    let start = json!({
        "TEMPLATE_ID": template.to_string(),
        "DOCUMENT_ID": ["crm", "CCrmDocumentDeal", "DEAL_7"],
    });
    result(&portal, &token, "bizproc.workflow.start", start);
    let workflow = portal.workflows().pop().unwrap();
    assert_eq!(workflow.terminated().as_deref(), Some("Activity gone is not registered"));
}

#[test]
fn an_invalid_start_is_refused() {
    let portal = Portal::builder().start().unwrap();
    let app = portal.install_app();
    let token = app.issue_tokens().access_token;
    for (template, document, code, text) in [
        (json!(""), json!(["a", "b", "c"]), "ERROR_WRONG_WORKFLOW_ID", "Empty TEMPLATE_ID"),
        (json!(99), json!(["a", "b", "c"]), "ERROR_WRONG_WORKFLOW_ID", "Template not found"),
        (json!(1), json!("DEAL_7"), "", "Wrong DOCUMENT_ID!"),
        (
            json!(1),
            json!(["crm", "CCrmDocumentLead", "LEAD_1"]),
            "",
            "Template type and DOCUMENT_ID mismatch!",
        ),
        (json!(1), json!(["crm", "CCrmDocumentDeal", "7"]), "", "Incorrect document type!"),
    ] {
        let params = json!({"TEMPLATE_ID": template, "DOCUMENT_ID": document});
        let answer = call(&portal, &token, "bizproc.workflow.start", params);
        assert_eq!(refusal(&answer), (code.to_owned(), text.to_owned()));
    }
    let someone = app.issue_tokens_for(7).access_token;
    let answer = call(&portal, &someone, "bizproc.workflow.start", json!({}));
    assert_eq!(answer.error(), (403, "ACCESS_DENIED".into()));
}

#[test]
fn running_workflows_are_listed_in_pages_filtered_and_ended() {
    let portal = Portal::builder().start().unwrap();
    let workflows: Vec<_> =
        (0..120).map(|n| portal.start_workflow(&format!("Order {n}"))).collect();
    let call =
        |method: &str, params: Value| post_json(&(portal.webhook_url() + method), &params).json();
    let mut start = json!(0);
    let mut ids = Vec::new();
    for (rows, next) in [(50, json!(50)), (50, json!(100)), (20, json!(null))] {
        let params = json!({"SELECT": ["ID"], "ORDER": {"STARTED": "asc"}, "start": start});
        let page = call("bizproc.workflow.instances", params);
        let page_rows = page["result"].as_array().unwrap();
        assert_eq!((page_rows.len(), &page["next"], &page["total"]), (rows, &next, &json!(120)));
        ids.extend(page_rows.iter().map(|row| row["ID"].as_str().unwrap().to_owned()));
        start = next;
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 120);
    let (first, second) = (&workflows[0], &workflows[1]);
    let one = call("bizproc.workflow.instances", json!({"FILTER": {"=ID": first.id()}}));
    let row = &one["result"][0];
    assert_eq!((one["total"].clone(), &row["ID"]), (json!(1), &json!(first.id())));
    assert!(row["MODIFIED"].is_string() && row["OWNED_UNTIL"].is_null());
    assert!(row.get("STARTED").is_none());
    let lock = first.lock();
    let locked = call("bizproc.workflow.instances", json!({"FILTER": {"ID": first.id()}}));
    assert!(locked["result"][0]["OWNED_UNTIL"].is_string());
    drop(lock);

    let status = json!({"ID": first.id(), "STATUS": "Not needed"});
    assert_eq!(call("bizproc.workflow.terminate", status.clone())["result"], true);
    assert_eq!(first.terminated().as_deref(), Some("Not needed"));
    assert_eq!(call("bizproc.workflow.terminate", status)["error"], "404");
    assert_eq!(call("bizproc.workflow.kill", json!({"ID": second.id()}))["result"], true);
    assert_eq!(portal.workflows().len(), 119);
    assert_eq!(call("bizproc.workflow.kill", json!({}))["error"], "ERROR_WRONG_WORKFLOW_ID");
    let batch = json!({"cmd": {"list": "bizproc.workflow.instances?start=50"}});
    let batch = &call("batch", batch)["result"];
    assert_eq!(
        (&batch["result_total"]["list"], &batch["result_next"]["list"]),
        (&json!(118), &json!(100))
    );
}

#[test]
fn templates_are_listed() {
    let portal = Portal::builder().start().unwrap();
    portal.create_template("Order", ["check"]);
    let params = json!({"SELECT": ["ID", "NAME", "ENTITY"], "FILTER": {"!ID": 1}});
    let url = portal.webhook_url() + "bizproc.workflow.template.list";
    let listed = post_json(&url, &params).json();
    let expected = json!([{"ID": "2", "ENTITY": "CCrmDocumentDeal", "NAME": "Order"}]);
    assert_eq!((&listed["result"], &listed["total"]), (&expected, &json!(1)));
    let ids = post_json(&url, &json!({"ORDER": {"ID": "desc"}})).json();
    assert_eq!(ids["result"], json!([{"ID": "2"}, {"ID": "1"}]));
}

#[test]
fn methods_and_scopes_follow_the_credential() {
    let portal = Portal::builder().start().unwrap();
    let webhook = portal.create_webhook(&["user_brief", "crm_automation_deal"]);
    let ask = |method: &str, params: Value| post_json(&(webhook.clone() + method), &params);
    let methods = |params: Value| ask("methods", params).json()["result"].clone();
    let names = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let own = names(&methods(json!({})));
    for (method, there) in [
        ("bizproc.activity.log", true),
        ("user.current", true),
        ("app.info", true),
        ("bizproc.activity.add", false),
    ] {
        assert_eq!(own.iter().any(|name| name == method), there, "{method}");
        let get = ask("method.get", json!({"name": method})).json()["result"].clone();
        assert_eq!(get, json!({"isExisting": true, "isAvailable": there}));
    }
    assert!(names(&methods(json!({"full": true}))).len() > own.len());
    assert_eq!(methods(json!({"scope": "user"})), json!(["user.current"]));
    assert!(!names(&methods(json!({"scope": ""}))).contains(&"user.current".to_owned()));
    let scopes = ask("scope", json!({})).json()["result"].clone();
    assert_eq!(scopes, json!(["user_brief", "crm_automation_deal"]));
    let all = ask("scope", json!({"full": true})).json()["result"].clone();
    assert!(all.as_array().unwrap().contains(&json!("bizproc")));
    let nothing = ask("method.get", json!({})).json()["result"].clone();
    assert_eq!(nothing, json!({"isExisting": false, "isAvailable": false}));
    assert_eq!(ask("user.current", json!({})).json()["result"]["ID"], "1");
    assert_eq!(ask("user.admin", json!({})).json()["result"], true);
    let denied = post_json(&(portal.webhook_url() + "user.current"), &json!({}));
    assert_eq!(denied.error().1, "insufficient_scope");
}

#[test]
fn a_method_that_is_not_implemented_has_its_own_error() {
    use bizproc_portal::{Condition, MissingMethods};
    let portal = Portal::builder().start().unwrap();
    let ask = |method: &str| post_json(&(portal.webhook_url() + method), &json!({})).error();
    assert_eq!(ask("crm.deal.get"), (501, "STAND_IN_WITHOUT_METHOD".into()));
    assert_eq!(ask("bizproc.task.list"), (501, "STAND_IN_WITHOUT_METHOD".into()));
    for method in ["nonsense.method", "bizproc.activity.lag", "crm"] {
        assert_eq!(ask(method), (404, "ERROR_METHOD_NOT_FOUND".into()));
    }
    portal.set_condition(Condition::WithoutBizproc);
    for method in ["bizproc.task.list", "bizproc.activity.add", "bizproc.workflow.start"] {
        assert_eq!(ask(method), (404, "ERROR_METHOD_NOT_FOUND".into()));
    }
    portal.set_missing_methods(MissingMethods::NotFound);
    assert_eq!(ask("crm.deal.get"), (404, "ERROR_METHOD_NOT_FOUND".into()));
}

#[test]
fn an_activity_that_is_registered_again_after_an_update_works_again() {
    let portal = Portal::builder().start().unwrap();
    let application = Application::start();
    let (app, token) = registered(&portal, &application);
    app.update();
    let start = json!({"TEMPLATE_ID": 1, "DOCUMENT_ID": ["crm", "CCrmDocumentDeal", "DEAL_7"]});
    // Nothing is registered, so a workflow of every activity has nothing to do.
    result(&portal, &token, "bizproc.workflow.start", start.clone());
    assert!(application.has_no_more());
    result(&portal, &token, "bizproc.activity.add", registration(&application.at("check")));
    result(&portal, &token, "bizproc.workflow.start", start);
    assert_eq!(application.next().told("code"), "check");
    let last = portal.workflows().pop().unwrap();
    assert!(last.is_running() && portal.wait_for(PATIENCE, |portal| !portal.sent().is_empty()));
}
