//! Installation, updates, renames and removal of an app; forged requests change nothing.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bizproc_portal::{Authorization, Portal};
use tracing::info;
use tracing_bizproc::app::{
    ActivityRequest, AppRequest, Installation, InstallationStore, Installations, Opened, Parameter,
    Registration, ValueKind,
};
use tracing_bizproc::auth::{
    CredentialError, CredentialFuture, FileStore, MemoryStore, TokenStore, Tokens,
};
use tracing_bizproc::error::{ActivityRejection, CompleteError, InstallError, VerifyError};
use tracing_bizproc::stats::DropReason;
use tracing_bizproc::{Completion, PortalId};
use tracing_subscriber::prelude::*;

use crate::app::{AppStage, FORM, Handler, Site, credentials, quick, sites, wait};
use crate::stage::{Captured, PATIENCE, in_child, is_child, lines};

/// The requests of portals about an app, written by hand, so that they can be forged.
struct Post {
    event: &'static str,
    member_id: String,
    application_token: String,
    endpoint: String,
    tokens: Option<(String, String)>,
}

impl Post {
    /// The genuine request of the portal of `site`.
    fn of(site: &Site, event: &'static str) -> Post {
        let issued = site.app.issue_tokens();
        Post {
            event,
            member_id: site.portal.member_id().to_owned(),
            application_token: site.app.application_token(),
            endpoint: site.portal.client_endpoint(),
            tokens: Some((issued.access_token, issued.refresh_token)),
        }
    }

    fn parse(&self) -> AppRequest {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("event", self.event)
            .append_pair("data[CLEAN]", "1")
            .append_pair("auth[member_id]", &self.member_id)
            .append_pair("auth[application_token]", &self.application_token)
            .append_pair("auth[client_endpoint]", &self.endpoint);
        if let Some((access, refresh)) = &self.tokens {
            form.append_pair("auth[access_token]", access);
            form.append_pair("auth[refresh_token]", refresh);
        }
        AppRequest::parse("", Some(FORM), form.finish().as_bytes()).unwrap()
    }
}

/// A stage whose app has one store for installations and tokens.
fn stage(portals: usize) -> (AppStage, Installations) {
    let stage = AppStage::new(portals);
    let installations = Installations::new(stage.bizproc.clone(), Arc::clone(&stage.store));
    (stage, installations)
}

fn stored(stage: &AppStage, site: &Site) -> Option<Installation> {
    wait(stage.store.installation(&site.id())).unwrap()
}

/// A workflow whose activity has called the handler.
fn call(
    stage: &AppStage,
    n: usize,
) -> (bizproc_portal::Workflow, bizproc_portal::Activity, String) {
    let site = &stage.portals[n];
    let workflow = site.portal.start_workflow("Order 1042");
    let activity = workflow.activity("Fulfil").handler(stage.handler.url()).app(&site.app).open();
    (workflow, activity, stage.handler.take())
}

fn request(body: &str) -> ActivityRequest {
    ActivityRequest::parse(Some(FORM), body.as_bytes()).unwrap()
}

#[test]
fn an_installed_app_is_called_logs_and_ends_its_activity() {
    let (stage, installations) = stage(1);
    let site = &stage.portals[0];
    let portal = wait(installations.handle(Post::of(site, "ONAPPINSTALL").parse())).unwrap();
    assert_eq!(portal, site.id());
    assert_eq!(stored(&stage, site), Some(site.installation()));
    assert!(wait(stage.store.load(&portal)).unwrap().is_some());

    let (workflow, _, body) = call(&stage, 0);
    let opened = wait(installations.activity(request(&body))).unwrap();
    let activity = opened.first().unwrap();
    activity.span().in_scope(|| info!("received"));
    wait(activity.complete(Completion::new().message("Done"))).unwrap();
    assert_eq!(lines(&workflow), ["received", "Done"]);
}

#[test]
fn the_event_and_the_install_page_may_both_come() {
    let (stage, installations) = stage(1);
    let site = &stage.portals[0];
    let issued = site.app.issue_tokens();
    let page = format!(
        "AUTH_ID={}&AUTH_EXPIRES=3600&REFRESH_ID={}&APPLICATION_TOKEN={}&member_id={}&PLACEMENT=DEFAULT",
        issued.access_token,
        issued.refresh_token,
        site.app.application_token(),
        site.portal.member_id()
    );
    let query = format!("DOMAIN={}&PROTOCOL=0&LANG=en&APP_SID=abc", site.host());
    let page = || AppRequest::parse(&query, Some(FORM), page.as_bytes()).unwrap();
    wait(installations.handle(page())).unwrap();
    let installation = stored(&stage, site);
    let asked = stage.renewals();
    wait(installations.handle(Post::of(site, "ONAPPINSTALL").parse())).unwrap();
    wait(installations.handle(page())).unwrap();
    assert_eq!(stored(&stage, site), installation);
    assert_eq!(stage.renewals(), asked, "a request with the right token needs no question");
}

#[test]
fn a_forged_installation_changes_nothing() {
    let (stage, installations) = stage(2);
    let (victim, attacker) = (&stage.portals[0], &stage.portals[1]);
    let evil = TcpListener::bind("127.0.0.1:0").unwrap();
    evil.set_nonblocking(true).unwrap();
    let evil_endpoint = format!("http://{}/rest/", evil.local_addr().unwrap());
    let forged = |event: &'static str| {
        let of_attacker = Post::of(attacker, event);
        let junk = Some(("x".repeat(32), "y".repeat(32)));
        [
            // The attacker's own tokens, in the victim's name.
            Post { member_id: victim.portal.member_id().to_owned(), ..Post::of(attacker, event) },
            // The same with a host of the attacker.
            Post {
                member_id: victim.portal.member_id().to_owned(),
                endpoint: evil_endpoint.clone(),
                ..of_attacker
            },
            // Invented tokens, and no tokens.
            Post { application_token: "guessed".into(), tokens: junk, ..Post::of(victim, event) },
            Post { application_token: "guessed".into(), tokens: None, ..Post::of(victim, event) },
        ]
    };
    for event in ["ONAPPINSTALL", "ONAPPUPDATE"] {
        for post in forged(event) {
            let error = wait(installations.handle(post.parse())).unwrap_err();
            assert!(
                matches!(error, InstallError::Denied { .. } | InstallError::NoTokens),
                "{error}"
            );
        }
    }
    assert_eq!(stored(&stage, victim), None);
    assert_eq!(wait(stage.store.load(&victim.id())).unwrap(), None);

    // The same once the victim has installed the app.
    wait(installations.handle(Post::of(victim, "ONAPPINSTALL").parse())).unwrap();
    let (installation, tokens) = (stored(&stage, victim), wait(stage.store.load(&victim.id())));
    for event in ["ONAPPINSTALL", "ONAPPUPDATE"] {
        for post in forged(event) {
            assert!(wait(installations.handle(post.parse())).is_err());
        }
    }
    assert_eq!(stored(&stage, victim), installation);
    assert_eq!(wait(stage.store.load(&victim.id())).unwrap(), tokens.unwrap());
    assert!(evil.accept().is_err(), "nobody called the forged address");
    let (_, _, body) = call(&stage, 0);
    assert!(wait(installations.verify(request(&body))).is_ok());
}

/// Regression: without a refresh token, only the list of hosts was checked. So the owner of a listed host could
/// take over a portal that had installed the app.
#[test]
fn a_listed_host_without_a_refresh_token_cannot_take_over_an_installed_portal() {
    let sites = sites(2);
    let (victim, attacker) = (&sites[0], &sites[1]);
    let store = Arc::new(MemoryStore::new());
    let listed = [victim.host(), attacker.host()].into_iter().collect();
    let oauth = credentials(victim, Arc::clone(&store)).hosts(listed);
    let (layer, guard) = quick(oauth).build().unwrap();
    let _subscriber = tracing_subscriber::registry().with(layer).set_default();
    let installations = Installations::new(guard.handle(), Arc::clone(&store));
    wait(installations.handle(Post::of(victim, "ONAPPINSTALL").parse())).unwrap();
    let installation = wait(store.installation(&victim.id())).unwrap();
    let tokens = wait(store.load(&victim.id())).unwrap();
    let alone = |site: &Site| Some((site.app.issue_tokens().access_token, String::new()));
    for event in ["ONAPPINSTALL", "ONAPPUPDATE"] {
        let post = Post {
            member_id: victim.portal.member_id().to_owned(),
            tokens: alone(attacker),
            ..Post::of(attacker, event)
        };
        let error = wait(installations.handle(post.parse())).unwrap_err();
        assert!(matches!(error, InstallError::Denied { .. }), "{error}");
    }
    assert_eq!(wait(store.installation(&victim.id())).unwrap(), installation);
    assert_eq!(wait(store.load(&victim.id())).unwrap(), tokens);

    // The portal itself may get another application token by an update.
    let post = Post {
        application_token: "another".to_owned(),
        tokens: alone(victim),
        ..Post::of(victim, "ONAPPUPDATE")
    };
    wait(installations.handle(post.parse())).unwrap();
    let updated = wait(store.installation(&victim.id())).unwrap();
    assert_ne!(updated, installation);
    // It may also be renamed before an update: it has the application token.
    let post = Post {
        application_token: "another".to_owned(),
        endpoint: attacker.portal.client_endpoint(),
        tokens: alone(attacker),
        ..Post::of(victim, "ONAPPUPDATE")
    };
    wait(installations.handle(post.parse())).unwrap();
    assert_ne!(wait(store.installation(&victim.id())).unwrap(), updated);
}

#[test]
fn a_forged_update_changes_nothing() {
    let (stage, installations) = stage(2);
    let (victim, attacker) = (&stage.portals[0], &stage.portals[1]);
    let activity = Registration::activity("fulfil", stage.handler.url(), "Fulfil");
    let installations = installations.declare(activity).unwrap();
    wait(installations.handle(Post::of(victim, "ONAPPINSTALL").parse())).unwrap();
    let (installation, tokens) = (stored(&stage, victim), wait(stage.store.load(&victim.id())));
    let hits = |site: &Site| {
        site.portal.journal().iter().filter(|h| h.rest_method != "oauth/token").count()
    };
    let (before, of_attacker) = (hits(victim), hits(attacker));
    for application_token in ["guessed".to_owned(), attacker.app.application_token()] {
        for event in ["ONAPPUPDATE", "OnAppUpdate"] {
            let post = Post {
                member_id: victim.portal.member_id().to_owned(),
                application_token: application_token.clone(),
                ..Post::of(attacker, event)
            };
            let error = wait(installations.handle(post.parse())).unwrap_err();
            assert!(matches!(error, InstallError::Denied { .. }), "{error}");
        }
    }
    assert_eq!(stored(&stage, victim), installation);
    assert_eq!(wait(stage.store.load(&victim.id())).unwrap(), tokens.unwrap());
    assert_eq!((hits(victim), hits(attacker)), (before, of_attacker), "nobody was called");
}

#[test]
fn a_forged_uninstallation_changes_nothing() {
    let (stage, installations) = stage(2);
    let (victim, attacker) = (&stage.portals[0], &stage.portals[1]);
    wait(installations.handle(Post::of(victim, "ONAPPINSTALL").parse())).unwrap();
    let installation = stored(&stage, victim);
    for application_token in ["guessed".to_owned(), attacker.app.application_token()] {
        let post = Post { application_token, ..Post::of(victim, "ONAPPUNINSTALL") };
        let error = wait(installations.handle(post.parse())).unwrap_err();
        assert!(matches!(error, InstallError::Verify(VerifyError::ApplicationToken)), "{error}");
    }
    let unknown = Post { member_id: "another".to_owned(), ..Post::of(victim, "ONAPPUNINSTALL") };
    let error = wait(installations.handle(unknown.parse())).unwrap_err();
    assert!(matches!(error, InstallError::UnknownPortal), "{error}");
    assert_eq!(stored(&stage, victim), installation);
    assert!(wait(stage.store.load(&victim.id())).unwrap().is_some());
}

#[test]
fn lines_of_a_portal_that_removes_the_app_are_counted_as_lost() {
    let (stage, installations) = stage(2);
    for site in &stage.portals {
        wait(installations.handle(Post::of(site, "ONAPPINSTALL").parse())).unwrap();
    }
    let opened: Vec<_> = (0..2).map(|n| call(&stage, n)).collect();
    let activities: Vec<_> = opened
        .iter()
        .map(|(.., body)| wait(installations.activity(request(body))).unwrap().first().unwrap())
        .collect();
    let (gone, stays) = (&stage.portals[0], &stage.portals[1]);
    // Its lines cannot be sent any more, so they wait.
    gone.app.uninstall();
    for activity in &activities {
        activity.span().in_scope(|| info!("hello"));
    }
    let removal = Post { tokens: None, ..Post::of(gone, "ONAPPUNINSTALL") };
    wait(installations.handle(removal.parse())).unwrap();
    let report = wait(stage.bizproc.flush(PATIENCE)).unwrap();
    let stats = stage.bizproc.stats();
    assert_eq!(stats.by_reason(DropReason::Uninstalled), 1, "{report} {stats}");
    assert_eq!(stats.pending(), 0);
    assert_eq!(lines(&opened[1].0), ["hello"]);
    assert_eq!(stored(&stage, gone), None);
    assert_eq!(wait(stage.store.load(&gone.id())).unwrap(), None);
    assert!(stored(&stage, stays).is_some());
    let error = wait(installations.verify(request(&opened[0].2))).unwrap_err();
    assert!(matches!(error, ActivityRejection::UnknownPortal), "{error}");
}

/// A store of tokens that cannot delete.
struct KeepsAll(Arc<MemoryStore>);

impl TokenStore for KeepsAll {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        self.0.load(portal)
    }

    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        self.0.swap(portal, expected, new)
    }

    fn remove<'a>(&'a self, _portal: &'a PortalId) -> CredentialFuture<'a, ()> {
        Box::pin(async { Err("the disk is read-only".into()) })
    }
}

/// Regression: the error said "install the app again later", for an app that had just been removed.
#[test]
fn a_removal_whose_tokens_cannot_be_deleted_is_reported_as_such() {
    let stage = AppStage::new(1);
    let site = &stage.portals[0];
    let store = KeepsAll(Arc::clone(&stage.store));
    let (layer, guard) = quick(credentials(site, store)).build().unwrap();
    let _subscriber = tracing_subscriber::registry().with(layer).set_default();
    let installations = Installations::new(guard.handle(), Arc::clone(&stage.store));
    wait(installations.handle(Post::of(site, "ONAPPINSTALL").parse())).unwrap();

    let removal = Post { tokens: None, ..Post::of(site, "ONAPPUNINSTALL") };
    let error = wait(installations.handle(removal.parse())).unwrap_err();
    assert!(matches!(error, InstallError::TokensRemain { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("the disk is read-only") && text.contains("removed"), "{text}");
    assert!(!text.contains("install the app"), "{text}");
    assert_eq!(stored(&stage, site), None, "the installation is deleted");
    assert!(wait(stage.store.load(&site.id())).unwrap().is_some(), "the tokens remain");
}

#[test]
fn an_update_that_brings_another_token_is_confirmed_and_stored() {
    let (stage, installations) = stage(1);
    let site = &stage.portals[0];
    wait(installations.handle(Post::of(site, "ONAPPINSTALL").parse())).unwrap();
    let post = Post { application_token: "another".into(), ..Post::of(site, "ONAPPUPDATE") };
    wait(installations.handle(post.parse())).unwrap();
    let (_, _, body) = call(&stage, 0);
    let error = wait(installations.verify(request(&body))).unwrap_err();
    assert!(matches!(error, ActivityRejection::Verify(VerifyError::ApplicationToken)), "{error}");
    let of_now = site.app.application_token();
    let body = body.replace(&of_now, "another");
    assert!(wait(installations.verify(request(&body))).is_ok());
}

/// Regression: a request with the right token and a new host was refused without a report, and the workflow
/// waited for ever.
#[test]
fn a_renamed_portal_is_called_at_its_new_host_and_its_workflow_ends() {
    let (stage, installations) = stage(1);
    let site = &stage.portals[0];
    wait(installations.handle(Post::of(site, "ONAPPINSTALL").parse())).unwrap();
    let former = site.host();
    site.portal.move_away().unwrap();
    let (workflow, opened, body) = call(&stage, 0);
    assert_ne!(site.host(), former);
    let activity = wait(installations.activity(request(&body))).unwrap().first().unwrap();
    activity.span().in_scope(|| info!("received"));
    wait(activity.complete(Completion::new().message("Done"))).unwrap();
    assert_eq!(lines(&workflow), ["received", "Done"]);
    assert!(!opened.is_open());
    assert_eq!(stored(&stage, site), Some(site.installation()));
    let asked = stage.renewals();
    let (_, _, body) = call(&stage, 0);
    assert!(wait(installations.verify(request(&body))).is_ok());
    assert_eq!(stage.renewals(), asked, "it is known by its new name");
}

#[test]
fn a_forged_rename_changes_nothing() {
    let (stage, installations) = stage(2);
    let (victim, attacker) = (&stage.portals[0], &stage.portals[1]);
    wait(installations.handle(Post::of(victim, "ONAPPINSTALL").parse())).unwrap();
    let (installation, tokens) = (stored(&stage, victim), wait(stage.store.load(&victim.id())));
    let evil = TcpListener::bind("127.0.0.1:0").unwrap();
    evil.set_nonblocking(true).unwrap();
    let evil_host = evil.local_addr().unwrap().to_string();
    // Also with the victim's application token, the log cannot be sent to another host.
    for host in [evil_host.clone(), attacker.host()] {
        let issued = attacker.app.issue_tokens();
        for (access, refresh) in [
            (issued.access_token.as_str(), issued.refresh_token.as_str()),
            ("x", "y"),
            ("x", ""),
            ("", ""),
        ] {
            let body = format!(
                "event_token=5e4a77.1|A1|1.ff&use_subscription=Y&ts=1&auth[member_id]={}\
                 &auth[application_token]={}&auth[access_token]={access}\
                 &auth[refresh_token]={refresh}&auth[client_endpoint]=http://{host}/rest/",
                victim.portal.member_id(),
                victim.app.application_token(),
            );
            let error = wait(installations.activity(request(&body))).unwrap_err();
            let ActivityRejection::Verify(VerifyError::Host { named, stored, .. }) = &error else {
                panic!("{error}")
            };
            assert_eq!((named, stored), (&host, &victim.host()));
        }
    }
    assert_eq!(stored(&stage, victim), installation);
    assert_eq!(wait(stage.store.load(&victim.id())).unwrap(), tokens.unwrap());
    assert!(evil.accept().is_err(), "nobody called the forged address");
}

/// Every user who opens the page of an app has tokens of the app in the browser.
#[test]
fn a_user_who_is_not_an_administrator_cannot_install_the_app_again() {
    let (stage, installations) = stage(1);
    let site = &stage.portals[0];
    wait(installations.handle(Post::of(site, "ONAPPINSTALL").parse())).unwrap();
    let installation = stored(&stage, site);
    for event in ["ONAPPINSTALL", "ONAPPUPDATE"] {
        let issued = site.app.issue_tokens_for(7);
        let tokens = Some((issued.access_token, issued.refresh_token));
        let post = Post { application_token: "mine".into(), tokens, ..Post::of(site, event) };
        let error = wait(installations.handle(post.parse())).unwrap_err();
        assert!(error.to_string().contains("administrator"), "{error}");
    }
    assert_eq!(stored(&stage, site), installation);
}

/// Regression: if a proxy repeated a request, two activities were opened, the work ran twice, and the second
/// completion returned Ok.
#[test]
fn a_request_that_is_delivered_twice_is_handled_once() {
    let (stage, installations) = stage(1);
    wait(installations.handle(Post::of(&stage.portals[0], "ONAPPINSTALL").parse())).unwrap();
    let (workflow, _, body) = call(&stage, 0);
    let open = || wait(installations.activity(request(&body))).unwrap();
    let activity = open().first().unwrap();
    let Opened::Again(again) = open() else { panic!("opened twice") };
    assert!(again.is_open() && again.verified().code() == activity.code());
    wait(activity.complete(Completion::new().message("first"))).unwrap();
    let Opened::Again(again) = open() else { panic!("opened twice") };
    assert!(!again.is_open(), "{again}");
    let twice = wait(activity.complete(Completion::new().message("second")));
    assert_eq!(twice, Err(CompleteError::AlreadyCompleted));
    let (portal, event_token) = (activity.portal(), activity.event_token());
    let twice = wait(stage.bizproc.complete_on(portal, event_token, Completion::new()));
    assert_eq!(twice, Err(CompleteError::AlreadyCompleted));
    assert_eq!(workflow.texts(), ["first"]);
    drop(activity);
    assert_eq!(stage.bizproc.stats().abandoned(), 0);
}

#[test]
fn an_activity_that_was_dropped_may_be_delivered_again() {
    let (stage, installations) = stage(1);
    wait(installations.handle(Post::of(&stage.portals[0], "ONAPPINSTALL").parse())).unwrap();
    let (workflow, _, body) = call(&stage, 0);
    let open = || wait(installations.activity(request(&body))).unwrap();
    drop(open());
    let activity = open().first().unwrap();
    wait(activity.complete(Completion::new().message("at last"))).unwrap();
    assert_eq!(workflow.texts(), ["at last"]);
}

#[test]
fn a_file_keeps_tokens_and_installations_independently() {
    let path = std::env::temp_dir().join(format!("bizproc-life-{}.json", std::process::id()));
    let store = FileStore::new(&path);
    let site = &crate::app::sites(1)[0];
    let portal: PortalId = site.id();
    let (installation, tokens) = (site.installation(), site.tokens());
    assert!(wait(store.swap_installation(&portal, None, Some(&installation))).unwrap());
    assert!(!wait(store.swap_installation(&portal, None, Some(&installation))).unwrap());
    assert!(wait(store.swap(&portal, None, &tokens)).unwrap());
    let again = FileStore::new(&path);
    assert_eq!(wait(again.installation(&portal)).unwrap(), Some(installation.clone()));
    assert_eq!(wait(again.load(&portal)).unwrap(), Some(tokens.clone()));
    assert!(wait(again.swap_installation(&portal, Some(&installation), None)).unwrap());
    assert_eq!(wait(store.installation(&portal)).unwrap(), None);
    assert_eq!(wait(store.load(&portal)).unwrap(), Some(tokens));
    wait(store.remove(&portal)).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), "{}");
    // A damaged installation must not count as missing: then anybody could install the app again.
    std::fs::write(&path, format!("{{\"{portal}\":{{\"installation\":7}}}}")).unwrap();
    assert!(wait(store.installation(&portal)).is_err());
    std::fs::remove_file(&path).unwrap();
}

/// From an empty portal to a logged line, without any call of the test.
#[test]
fn an_app_registers_its_activity_when_it_is_installed_and_again_after_an_update() {
    let (stage, installations) = stage(1);
    let site = &stage.portals[0];
    let (handler, life) = (&stage.handler, Handler::new());
    let registration = Registration::activity("fulfil", handler.url(), "Fulfil the order")
        .property("Order", Parameter::new(ValueKind::Text, "Order"))
        .return_value("Status", Parameter::new(ValueKind::Text, "Status"));
    let installations = installations.declare(registration).unwrap().life_events(life.url());
    let take = || {
        let (query, body) = life.take_whole();
        wait(installations.handle(AppRequest::parse(&query, Some(FORM), body.as_bytes()).unwrap()))
    };
    site.app.install_at(&life.url());
    assert_eq!(take().unwrap(), site.id());

    let run = |status: &str| {
        let workflow = site.portal.start_workflow("Order 1042");
        let activity = workflow.registered_activity("fulfil").unwrap();
        let opened = activity.property("Order", "1042").open();
        let activity = wait(installations.activity(request(&handler.take()))).unwrap();
        let activity = activity.first().unwrap();
        activity.span().in_scope(|| info!("received"));
        // Regression: a misspelled name was accepted, and the portal dropped the value.
        for (wrong, part) in [
            (Completion::new().value("Statuss", "x"), "Statuss"),
            (Completion::new().value("Status", vec!["x"]), "one value"),
        ] {
            let error = wait(activity.complete(wrong)).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        // Upper and lower case are the same.
        wait(activity.complete(Completion::new().value("STATUS", status).message("Done"))).unwrap();
        assert_eq!(lines(&workflow), ["received", "Done"]);
        assert!(opened.completion().is_some());
    };
    run("shipped");
    for new_token in [false, true] {
        if new_token {
            site.app.update_with_new_token();
        } else {
            site.app.update();
        }
        // ONAPPUPDATE, because it was bound, and ONAPPINSTALL.
        take().unwrap();
        take().unwrap();
        assert_eq!(stored(&stage, site), Some(site.installation()));
        run("shipped again");
    }
    site.app.uninstall();
    take().unwrap();
    assert_eq!(stored(&stage, site), None);
}

#[test]
fn an_app_with_a_page_is_installed_by_it() {
    let (stage, installations) = stage(1);
    let site = &stage.portals[0];
    let life = Handler::new();
    let installations = installations
        .declare(Registration::activity("fulfil", stage.handler.url(), "Fulfil"))
        .unwrap();
    site.app.install_on_page(&life.url());
    let (query, body) = life.take_whole();
    assert!(query.contains("APP_SID"));
    let page = AppRequest::parse(&query, Some(FORM), body.as_bytes()).unwrap();
    wait(installations.handle(page)).unwrap();
    assert_eq!(stored(&stage, site), Some(site.installation()));
    let workflow = site.portal.start_workflow("Order 1042");
    workflow.registered_activity("fulfil").unwrap().open();
    let opened = wait(installations.activity(request(&stage.handler.take()))).unwrap();
    wait(opened.first().unwrap().complete(Completion::new().message("Done"))).unwrap();
    assert_eq!(lines(&workflow), ["Done"]);
}

#[test]
fn a_portal_without_refresh_tokens_works_if_the_app_lists_its_host() {
    let portal = Portal::builder().authorization(Authorization::Isolated).start().unwrap();
    let app = portal.install_app();
    let site = Site { portal, app };
    for listed in [false, true] {
        let hosts = if listed { vec![site.host()] } else { Vec::new() };
        let store = Arc::new(MemoryStore::new());
        let oauth = credentials(&site, Arc::clone(&store)).hosts(hosts.into_iter().collect());
        let (layer, guard) = quick(oauth).build().unwrap();
        let _subscriber = tracing_subscriber::registry().with(layer).set_default();
        let installations = Installations::new(guard.handle(), store);
        let life = Handler::new();
        site.app.install_at(&life.url());
        let (query, body) = life.take_whole();
        assert!(!body.contains("refresh_token"));
        let event = AppRequest::parse(&query, Some(FORM), body.as_bytes()).unwrap();
        let installed = wait(installations.handle(event));
        if !listed {
            let error = installed.unwrap_err();
            assert!(error.to_string().contains("OAuth::hosts"), "{error}");
            continue;
        }
        installed.unwrap();
        let handler = Handler::new();
        let workflow = site.portal.start_workflow("Order 1042");
        workflow.activity("Fulfil").handler(handler.url()).app(&site.app).open();
        let opened = wait(installations.activity(request(&handler.take()))).unwrap();
        wait(opened.first().unwrap().complete(Completion::new().message("Done"))).unwrap();
        assert_eq!(workflow.texts(), ["Done"]);
    }
}

/// Regression: the answer was 403 without a report, and the workflow waited for ever.
#[test]
fn rejected_requests_are_reported_with_both_hosts_and_once_a_minute() {
    let name = "life::rejected_requests_are_reported_with_both_hosts_and_once_a_minute";
    if !is_child() {
        return in_child(name, &[]);
    }
    let captured = Captured::default();
    let writer = captured.clone();
    let printed =
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
    tracing_subscriber::registry().with(printed).init();
    let (stage, installations) = {
        let stage = AppStage::new(1);
        let installations = Installations::new(stage.bizproc.clone(), Arc::clone(&stage.store));
        (stage, installations)
    };
    let site = &stage.portals[0];
    wait(installations.handle(Post::of(site, "ONAPPINSTALL").parse())).unwrap();
    let body = format!(
        "event_token=5e4a77.1|A1|1.ff&auth[member_id]={}&auth[application_token]={}\
         &auth[client_endpoint]=https://elsewhere.example/rest/",
        site.portal.member_id(),
        site.app.application_token(),
    );
    drop(stage.subscriber);
    for _ in 0..3 {
        assert!(wait(installations.activity(request(&body))).is_err());
        let forged =
            Post { application_token: "guessed".into(), ..Post::of(site, "ONAPPUNINSTALL") };
        assert!(wait(installations.handle(forged.parse())).is_err());
    }
    let told = captured.text();
    let rejected: Vec<_> = told.lines().filter(|line| line.contains("rejected")).collect();
    let [request, removal] = rejected.as_slice() else { panic!("{told}") };
    assert!(!told.contains("failed"), "{told}");
    for part in ["elsewhere.example", &site.host(), site.portal.member_id(), "OAuth::hosts"] {
        assert!(request.contains(part), "{request}");
    }
    assert!(removal.contains("removal rejected") && removal.contains("application_token"));
}

/// A store that may be away.
#[derive(Default)]
struct Fickle {
    store: Arc<MemoryStore>,
    is_away: AtomicBool,
}

impl Fickle {
    fn answers(&self) -> Result<(), CredentialError> {
        if self.is_away.load(Relaxed) { Err("the database is away".into()) } else { Ok(()) }
    }
}

impl InstallationStore for Fickle {
    fn installation<'a>(
        &'a self,
        portal: &'a PortalId,
    ) -> CredentialFuture<'a, Option<Installation>> {
        Box::pin(async move {
            self.answers()?;
            self.store.installation(portal).await
        })
    }

    fn swap_installation<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Installation>,
        new: Option<&'a Installation>,
    ) -> CredentialFuture<'a, bool> {
        Box::pin(async move {
            self.answers()?;
            self.store.swap_installation(portal, expected, new).await
        })
    }
}

/// Regression: requests were refused while the store was away. A portal sends each of them once, so their workflows waited
/// until they timed out.
#[test]
fn requests_of_known_portals_are_accepted_while_the_store_is_away() {
    let stage = AppStage::new(2);
    let store = Arc::new(Fickle { store: Arc::clone(&stage.store), ..Fickle::default() });
    let installations = Installations::new(stage.bizproc.clone(), Arc::clone(&store));
    for site in &stage.portals {
        wait(installations.handle(Post::of(site, "ONAPPINSTALL").parse())).unwrap();
    }
    store.is_away.store(true, Relaxed);
    let (workflow, _, body) = call(&stage, 0);
    let opened = wait(installations.activity(request(&body))).unwrap();
    wait(opened.first().unwrap().complete(Completion::new().message("Done"))).unwrap();
    assert_eq!(lines(&workflow), ["Done"]);
    // What does not fit may be right all the same: the store decides when it is back.
    let forged = body.replace(&stage.portals[0].app.application_token(), "forged");
    let error = wait(installations.verify(request(&forged))).unwrap_err();
    assert!(matches!(error, ActivityRejection::Store(_)), "{error}");
    store.is_away.store(false, Relaxed);
    let error = wait(installations.verify(request(&forged))).unwrap_err();
    assert!(!matches!(error, ActivityRejection::Store(_)), "{error}");
    // Removed portals are not known any more.
    wait(installations.handle(Post::of(&stage.portals[1], "ONAPPUNINSTALL").parse())).unwrap();
    store.is_away.store(true, Relaxed);
    let (_, _, body) = call(&stage, 1);
    let error = wait(installations.verify(request(&body))).unwrap_err();
    assert!(matches!(error, ActivityRejection::Store(_)), "{error}");
}

/// Regression: a handler that answers with the error, as that of the guide does, logs nothing. So nobody saw why the
/// portal got no activities, or why its workflows waited.
#[test]
fn each_kind_of_failure_is_reported() {
    let name = "life::each_kind_of_failure_is_reported";
    if !is_child() {
        return in_child(name, &[]);
    }
    let captured = Captured::default();
    let writer = captured.clone();
    let printed =
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
    tracing_subscriber::registry().with(printed).init();
    let (stage, installations) = stage(1);
    let site = &stage.portals[0];
    let (_, _, body) = call(&stage, 0);
    let post = || Post::of(site, "ONAPPINSTALL").parse();
    // Blanks in the address of the handler: the portal refuses it.
    let refused = Registration::activity("fulfil", "https://app.example/an activity", "Fulfil");
    let declaring = installations.clone().declare(refused).unwrap();
    let store = Fickle { is_away: AtomicBool::new(true), ..Fickle::default() };
    let away = Installations::new(stage.bizproc.clone(), store);
    let _guard = &stage.guard;
    drop(stage.subscriber);
    for _ in 0..2 {
        assert!(wait(installations.activity(request(&body))).is_err());
        assert!(wait(away.activity(request(&body))).is_err());
        assert!(wait(away.handle(post())).is_err());
    }
    for _ in 0..2 {
        assert!(wait(declaring.handle(post())).is_err());
    }
    let told = captured.text();
    let told: Vec<_> = told.lines().filter(|line| line.contains("WARN")).collect();
    let expected = [
        ("request rejected", "install it there"),
        ("request failed", "the database is away"),
        ("installation failed", "the database is away"),
        ("installation failed", "ERROR_WRONG_HANDLER_URL"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (line, (what, why)) in told.iter().zip(expected) {
        assert!(line.contains(what) && line.contains(why), "{line}");
    }
}

/// Anybody can post forged installations. Apps that ask the authorization server too often may be blocked
/// there.
#[test]
fn a_flood_of_forged_installations_does_not_reach_the_authorization_server() {
    let (stage, installations) = stage(1);
    let site = &stage.portals[0];
    let mut later = 0;
    for n in 0..80 {
        let tokens = Some((format!("x{n}"), format!("y{n}")));
        let forged = Post { member_id: format!("m{n}"), tokens, ..Post::of(site, "ONAPPINSTALL") };
        let error = wait(installations.handle(forged.parse())).unwrap_err();
        later += usize::from(matches!(error, InstallError::Later { .. }));
    }
    assert_eq!((stage.renewals(), later), (60, 20));
    assert_eq!(stage.bizproc.stats().restarts(), 0);
}
