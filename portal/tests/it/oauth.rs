//! OAuth: tokens, refresh, codes, several portals, and a portal that moves.

use std::time::Duration;

use bizproc_portal::{App, Canned, Clock, Fault, Moment, OAuthError, Portal, Statuses, UnixTime};
use serde_json::{Value, json};

use crate::client::{Answer, post, post_json, request};

fn refresh(portal: &Portal, app: &App, token: &str) -> Answer {
    let query = format!(
        "?grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={token}",
        app.client_id(),
        app.client_secret()
    );
    request(&(portal.oauth_url() + &query), "GET", &[], b"").unwrap()
}

fn call(portal: &Portal, token: &Value) -> Answer {
    post_json(&(portal.client_endpoint() + "server.time"), &json!({"auth": token}))
}

#[test]
fn an_access_token_is_taken_from_body_query_and_header_and_the_header_wins() {
    let portal = Portal::builder().start().unwrap();
    let token = portal.install_app().issue_tokens().access_token;
    let url = portal.client_endpoint() + "server.time.json";
    let bearer = format!("Bearer {token}");
    let header = [("Authorization", bearer.as_str())];
    for (url, headers, body, status) in [
        (url.clone(), &[][..], format!("auth={token}"), 200),
        (url.clone(), &[][..], format!("access_token={token}"), 200),
        (url.clone(), &[][..], format!("AUTH={token}"), 401),
        (format!("{url}?auth={token}"), &[][..], String::new(), 200),
        (url.clone(), &header[..], "auth=wrong".to_owned(), 200),
        (url.clone(), &[("Authorization", "Bearer wrong")][..], format!("auth={token}"), 401),
    ] {
        let answer = request(&url, "POST", headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{url} {headers:?} {body}");
    }
}

#[test]
fn an_expired_token_is_refreshed_and_the_old_refresh_token_is_invalid() {
    let clock = Clock::stopped_at(UnixTime::new(Duration::from_secs(1_800_000_000)));
    let portal = Portal::builder().clock(clock.clone()).start().unwrap();
    let app = portal.install_app();
    app.set_access_life(Duration::from_secs(60));
    let tokens = app.issue_tokens();
    assert_eq!(call(&portal, &json!(tokens.access_token)).status, 200);
    clock.advance(Duration::from_secs(60));
    let expired = call(&portal, &json!(tokens.access_token));
    assert_eq!(expired.error(), (401, "expired_token".into()));

    let granted = refresh(&portal, &app, &tokens.refresh_token).json();
    assert_eq!(granted["expires_in"], 60);
    assert_eq!(granted["expires"], 1_800_000_120);
    assert_eq!(granted["client_endpoint"], portal.client_endpoint());
    assert_eq!(granted["member_id"], portal.member_id());
    assert_eq!(granted["scope"], "bizproc");
    assert_eq!(granted["domain"], "127.0.0.1");
    assert_ne!(granted["refresh_token"], tokens.refresh_token);
    assert_eq!(call(&portal, &granted["access_token"]).status, 200);

    let spent = refresh(&portal, &app, &tokens.refresh_token);
    assert_eq!(spent.error(), (400, "invalid_grant".into()));
    clock.advance(Duration::from_secs(180 * 24 * 3600));
    let old = refresh(&portal, &app, granted["refresh_token"].as_str().unwrap());
    assert_eq!(old.error(), (400, "invalid_grant".into()));
}

#[test]
fn tokens_can_be_requested_with_a_form_and_wrong_requests_get_an_error() {
    let portal = Portal::builder().start().unwrap();
    let app = portal.install_app();
    let token = app.issue_tokens().refresh_token;
    let (id, secret) = (app.client_id().to_owned(), app.client_secret());
    let form = |id: &str, secret: &str, rest: &str| {
        let body = format!("client_id={id}&client_secret={secret}&{rest}");
        post(&portal.oauth_url(), "application/x-www-form-urlencoded", body.as_bytes())
    };
    let refresh_it = format!("grant_type=refresh_token&refresh_token={token}");
    for (id, secret, rest, code) in [
        (id.as_str(), secret.as_str(), "grant_type=password", "invalid_request"),
        (&id, &secret, "grant_type=refresh_token", "invalid_request"),
        (&id, &secret, "grant_type=refresh_token&refresh_token=x", "invalid_grant"),
        ("local.x", &secret, &refresh_it, "invalid_client"),
        (&id, "x", &refresh_it, "invalid_client"),
    ] {
        assert_eq!(form(id, secret, rest).error().1, code, "{rest}");
    }
    assert_eq!(form(&id, &secret, &refresh_it).status, 200);
}

#[test]
fn a_code_works_once_and_for_a_short_time() {
    let clock = Clock::stopped_at(UnixTime::new(Duration::from_secs(1_800_000_000)));
    let portal = Portal::builder().clock(clock.clone()).start().unwrap();
    let app = portal.install_app();
    let exchange = |code: &str| {
        let query = format!(
            "?grant_type=authorization_code&client_id={}&client_secret={}&code={code}",
            app.client_id(),
            app.client_secret()
        );
        request(&(portal.oauth_url() + &query), "GET", &[], b"").unwrap()
    };
    let code = app.authorization_code();
    let granted = exchange(&code);
    // The first pair lacks what a renewed one has.
    assert!(granted.json().get("expires").is_none() && granted.json().get("user_id").is_none());
    assert_eq!(call(&portal, &granted.json()["access_token"]).status, 200);
    assert_eq!(exchange(&code).error().1, "invalid_grant");
    let late = app.authorization_code();
    clock.advance(Duration::from_secs(31));
    assert_eq!(exchange(&late).error().1, "invalid_grant");

    app.set_redirect_uri("http://127.0.0.1:1/back");
    let authorize = portal.oauth_url().replace("/token/", "/authorize/");
    let url = format!("{authorize}?client_id={}&state=a%20b", app.client_id());
    let sent_back = request(&url, "GET", &[], b"").unwrap();
    assert_eq!(sent_back.status, 302);
    let location = sent_back.head.lines().find_map(|line| line.strip_prefix("location: "));
    let code = location.unwrap().split("code=").nth(1).unwrap().split('&').next().unwrap();
    let domain = portal.page_url().replace("http://", "").replace(":", "%3A").replace('/', "");
    let rest = format!(
        "&state=a+b&domain={domain}&member_id={}&scope=bizproc&server_domain=127.0.0.1",
        portal.member_id()
    );
    assert!(location.unwrap().ends_with(&rest), "{location:?}");
    assert_eq!(exchange(code).status, 200);
}

#[test]
fn an_application_in_trouble_is_refused_by_portal_and_oauth_server() {
    let portal = Portal::builder().start().unwrap();
    for (trouble, call_code, refresh_code) in [
        ((|app| app.revoke_tokens()) as fn(&App), "invalid_token", "invalid_grant"),
        (|app| app.uninstall(), "APPLICATION_NOT_FOUND", "invalid_client"),
        (|app| app.spend_refresh_tokens(), "", "invalid_grant"),
        (|app| app.set_paid(false), "PAYMENT_REQUIRED", "PAYMENT_REQUIRED"),
        (|app| app.expire_access_tokens(), "expired_token", ""),
        (|app| app.set_user_access(false), "user_access_error", ""),
        (|app| app.refuse_tokens(Some(OAuthError::WrongClient)), "", "WRONG_CLIENT"),
    ] {
        let app = portal.install_app();
        let tokens = app.issue_tokens();
        trouble(&app);
        assert_eq!(call(&portal, &json!(tokens.access_token)).error().1, call_code);
        assert_eq!(refresh(&portal, &app, &tokens.refresh_token).error().1, refresh_code);
    }
    portal.set_statuses(Statuses::Server);
    let app = portal.install_app();
    let tokens = app.issue_tokens();
    app.uninstall();
    assert_eq!(refresh(&portal, &app, &tokens.refresh_token).error().1, "NOT_INSTALLED");
    let app = portal.install_app();
    for error in OAuthError::ALL {
        app.refuse_tokens(Some(*error));
        assert_eq!(refresh(&portal, &app, "x").error(), (error.status(), error.code().into()));
    }
    // As official SDKs know it: an error with a status that says success.
    assert_eq!(OAuthError::WrongClient.status(), 200);
}

#[test]
fn faults_strike_the_oauth_server_by_its_name_only() {
    let portal = Portal::builder().start().unwrap();
    let app = portal.install_app();
    let fault = Fault::Answer(Moment::BeforeExecution, Canned::html(502));
    portal.faults().next(fault.clone());
    let tokens = app.issue_tokens();
    let granted = refresh(&portal, &app, &tokens.refresh_token);
    assert_eq!(granted.status, 200);
    assert_eq!(call(&portal, &granted.json()["access_token"]).status, 502);
    portal.faults().on_method("oauth/token", fault);
    assert_eq!(refresh(&portal, &app, "x").status, 502);
    let oauth: Vec<_> = portal.journal().into_iter().map(|hit| hit.rest_method).collect();
    assert_eq!(oauth, ["oauth/token", "server.time", "oauth/token"]);
}

#[test]
fn several_portals_share_the_oauth_server_but_not_their_tokens() {
    let first = Portal::builder().start().unwrap();
    let second = Portal::builder().beside(&first).start().unwrap();
    let app = first.install_app();
    let there = second.install_known_app(&app);
    assert_eq!(app.client_id(), there.client_id());
    assert_ne!(first.member_id(), second.member_id());
    assert_ne!(app.application_token(), there.application_token());

    let tokens = there.issue_tokens();
    assert_eq!(call(&second, &json!(tokens.access_token)).status, 200);
    assert_eq!(call(&first, &json!(tokens.access_token)).error().1, "invalid_token");
    let granted = refresh(&first, &app, &tokens.refresh_token).json();
    assert_eq!(granted["member_id"], second.member_id());
    assert_eq!(granted["client_endpoint"], second.client_endpoint());
    let state = request(&(first.page_url() + "api/state"), "GET", &[], b"").unwrap().json();
    assert_eq!(state["portals"].as_array().unwrap().len(), 2);
}

#[test]
fn a_portal_that_moved_sends_callers_to_its_new_address() {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let token = workflow.open_activity("check").event_token();
    let former = portal.webhook_url();
    portal.move_away().unwrap();
    let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "x"});
    let answer = post_json(&(former + "bizproc.activity.log"), &body);
    assert_eq!(answer.status, 302);
    let location = answer.head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
    assert_eq!(location, portal.webhook_url() + "bizproc.activity.log");
    assert!(workflow.texts().is_empty());
    assert_eq!(post_json(location, &body).status, 200);
    assert_eq!(workflow.texts(), ["x"]);
}
