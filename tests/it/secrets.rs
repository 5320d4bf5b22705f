//! Secrets are in no text that can be printed.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bizproc_portal::{Canned, ErrorCode, Fault, Moment, OAuthError};
use proptest::prelude::*;
use tracing::{debug, error, info, trace};
use tracing_bizproc::app::{
    ActivityRequest, AppRequest, InstallationStore, Installations, Parameter, Registration,
    ValueKind,
};
use tracing_bizproc::auth::{CredentialFuture, MemoryStore, TokenStore, Tokens, Webhook};
use tracing_bizproc::{Completion, EventToken, PortalId};
use tracing_subscriber::Registry;
use tracing_subscriber::prelude::*;

use crate::app::{FORM, Handler, credentials, quick, sites, wait};
use crate::stage::{Captured, PATIENCE, in_child, is_child};

/// The texts of a value and of its sources.
fn shown(value: &(impl Debug + Display)) -> String {
    format!("{value} {value:?} {value:#?}")
}

fn chain(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" {error} {error:?}");
        source = error.source();
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_public_type_shows_a_webhooks_code(code in "[a-z0-9]{12,24}", user in 1_u32..999) {
        let url = format!("https://portal.example/rest/{user}/{code}/");
        let webhook = Webhook::new(&url).unwrap();
        prop_assert!(!shown(&webhook).contains(&code));
        let builder = tracing_bizproc::builder(webhook);
        let shown = format!("{builder:?} {builder:#?}");
        prop_assert!(!shown.contains(&code));
    }

    #[test]
    fn no_error_repeats_the_url_that_it_is_about(code in "[a-z0-9]{12,24}") {
        for url in [
            format!("http://portal.example/rest/1/{code}/"),
            format!("https://portal.example/rest/x/{code}/"),
            format!("https://portal.example/rest/1/{code}/method/"),
            format!("https://portal.example/{code}"),
            format!("https://portal.example:99999/rest/1/{code}/"),
            format!("ftp://{code}@portal.example/rest/1/{code}/"),
            format!("{code} {code}"),
        ] {
            let error = Webhook::new(&url).unwrap_err();
            prop_assert!(!chain(&error).contains(&code), "{}", chain(&error));
        }
    }

    #[test]
    fn no_public_type_shows_an_event_token(secret in "[a-f0-9]{64}", bad in "[\0-\x1f]") {
        let text = format!("55c1dc1c3f0d75.78875596|A51601|x.{secret}");
        let event_token = EventToken::parse(&text).unwrap();
        prop_assert!(!shown(&event_token).contains(&secret[..8]));
        prop_assert!(!shown(&event_token.as_field().to_string()).contains(&secret[..8]));
        let error = EventToken::parse(&format!("{text}{bad}")).unwrap_err();
        prop_assert!(!chain(&error).contains(&secret[..8]));
    }
}

#[test]
fn the_live_types_show_counters_and_nothing_else() {
    let code = "s3cr3tc0des3cr3t";
    let webhook = Webhook::new(format!("http://127.0.0.1:9/rest/1/{code}/")).unwrap();
    let (layer, guard) = tracing_bizproc::builder(webhook).build::<Registry>().unwrap();
    let completion = Completion::new().value("status", code).message(code);
    let shown = format!("{layer:?} {guard:?} {:?} {completion:?}", guard.handle());
    assert!(!shown.contains(code), "{shown}");
}

/// A store that remembers all secrets that it gets.
#[derive(Default)]
struct Remembering {
    store: MemoryStore,
    secrets: Mutex<Vec<String>>,
}

impl TokenStore for Remembering {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        self.store.load(portal)
    }

    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        let json: serde_json::Value = serde_json::from_str(&new.to_json()).unwrap();
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        self.secrets.lock().unwrap().extend([text("access_token"), text("refresh_token")]);
        self.store.swap(portal, expected, new)
    }

    fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()> {
        self.store.remove(portal)
    }
}

/// Two portals, trouble of every kind, and everything that any layer prints or any type shows, at
/// TRACE, on all threads.
#[test]
fn no_secret_is_in_the_output_of_any_layer() {
    if !is_child() {
        return in_child("secrets::no_secret_is_in_the_output_of_any_layer", &[]);
    }
    let sites = sites(2);
    let store = Arc::new(Remembering::default());
    let oauth = credentials(&sites[0], Arc::clone(&store));
    let mut captured = Captured::default();
    let writer = captured.clone();
    let everything = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    let builder = quick(oauth.clone()).level(tracing::Level::TRACE).request_timeout(A_WHILE);
    write!(captured, "{oauth:?} {builder:?}").unwrap();
    let (layer, guard) = builder.build().unwrap();
    tracing_subscriber::registry().with(everything).with(layer).init();
    let bizproc = guard.handle();
    let handler = Handler::new();
    let mut secrets = vec![sites[0].app.client_secret()];
    secrets.extend(sites.iter().map(|site| site.app.application_token()));

    let faults = [
        Fault::Reset(Moment::BeforeRead),
        Fault::Reset(Moment::AfterExecution),
        Fault::Hang(Moment::AfterExecution),
        Fault::Truncate,
        Fault::Answer(Moment::BeforeExecution, Canned::html(502)),
        Fault::Answer(Moment::AfterExecution, Canned::json(200, "{")),
        Fault::Refuse(ErrorCode::InternalServerError),
        Fault::Refuse(ErrorCode::QueryLimitExceeded),
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        let site = &sites[n % 2];
        let workflow = site.portal.start_workflow("Order");
        let opened = workflow.activity("Fulfil").handler(handler.url()).app(&site.app).open();
        let body = handler.take();
        for (name, value) in form_urlencoded::parse(body.as_bytes()) {
            if matches!(&*name, "auth[access_token]" | "auth[refresh_token]") {
                secrets.push(value.into_owned());
            }
        }
        let event_token = opened.event_token();
        secrets.push(event_token.rsplit('.').next().unwrap().to_owned());
        secrets.push(event_token);

        let request = ActivityRequest::parse(Some(FORM), body.as_bytes()).unwrap();
        write!(captured, "{request:?} {:?}", site.installation()).unwrap();
        let verified = request.verify(&site.installation()).unwrap();
        let activity = bizproc.activity(verified.clone()).first().unwrap();
        write!(captured, "{verified:?} {activity:?} {:#?}", verified.tokens()).unwrap();
        site.portal.faults().next(fault);
        match n {
            2 | 3 => site.app.expire_access_tokens(),
            4 => sites[1].app.refuse_tokens(Some(OAuthError::InvalidGrant)),
            5 => sites[1].app.refuse_tokens(None),
            6 => site.app.revoke_tokens(),
            _ => {}
        }
        activity.span().in_scope(|| {
            info!(event_token = activity.event_token().as_field(), "tagged itself");
            debug!(?activity, "shown");
            trace!(verified = ?verified, tokens = ?verified.tokens(), "shown");
            error!(portal = %activity.portal(), "on fire");
        });
        // The result does not matter: some of them fail.
        match wait(activity.flush(A_WHILE)) {
            Ok(report) => write!(captured, "{report} {report:?}").unwrap(),
            Err(error) => write!(captured, "{}", chain(&error)).unwrap(),
        }
        if n % 2 == 0 {
            let completion = Completion::new().value("status", "done").timeout(A_WHILE);
            // Started, and not awaited. A fast portal may have answered already.
            let mut completing = std::pin::pin!(activity.complete(completion));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let _answer = completing.as_mut().poll(&mut context);
        }
    }
    write!(captured, "{bizproc:?} {guard:?} {:?}", bizproc.portals()).unwrap();
    let report = guard.shutdown_blocking(PATIENCE / 20);
    write!(captured, "{report:?}").unwrap();

    secrets.extend(store.secrets.lock().unwrap().drain(..));
    let seen = captured.text();
    assert!(
        seen.contains("shown") && seen.contains("tracing_bizproc"),
        "there is something to see"
    );
    assert!(secrets.len() > 30, "{}", secrets.len());
    for secret in secrets {
        assert!(secret.len() >= 16, "too short to be missed by accident");
        assert!(!seen.contains(&secret), "{}", seen.lines().find(|l| l.contains(&secret)).unwrap());
    }
}

/// Longer than a request takes here.
const A_WHILE: Duration = Duration::from_millis(400);

/// Installations, updates and removals, genuine and forged, renames, calls and registrations, in trouble
/// of every kind: everything that any layer prints and any type shows.
#[test]
fn no_secret_of_an_installation_is_in_any_output() {
    if !is_child() {
        return in_child("secrets::no_secret_of_an_installation_is_in_any_output", &[]);
    }
    let sites = sites(2);
    let store = Arc::new(Remembering::default());
    let oauth = credentials(&sites[0], Arc::clone(&store));
    let mut captured = Captured::default();
    let writer = captured.clone();
    let everything = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    let (layer, guard) =
        quick(oauth).level(tracing::Level::TRACE).request_timeout(A_WHILE).build().unwrap();
    tracing_subscriber::registry().with(everything).with(layer).init();
    let bizproc = guard.handle();
    let kept = Arc::new(MemoryStore::new());
    let (life, handler) = (Handler::new(), Handler::new());
    let registration = Registration::activity("fulfil", handler.url(), "Fulfil")
        .property("Order", Parameter::new(ValueKind::Text, "Order"))
        .return_value("status", Parameter::new(ValueKind::Int, "Status"));
    write!(captured, "{registration:?}").unwrap();
    let installations = Installations::new(bizproc.clone(), Arc::clone(&kept))
        .declare(registration)
        .unwrap()
        .life_events(life.url());
    let mut secrets = vec![sites[0].app.client_secret()];
    let mut remember = |body: &str| {
        for (name, value) in form_urlencoded::parse(body.as_bytes()) {
            let secret =
                ["token", "AUTH_ID", "REFRESH_ID", "TOKEN"].iter().any(|s| name.contains(s));
            if secret && value.len() >= 16 {
                secrets.push(value.into_owned());
            }
        }
    };
    let faults = [
        None,
        Some(Fault::Refuse(ErrorCode::QueryLimitExceeded)),
        Some(Fault::Answer(Moment::AfterExecution, Canned::html(502))),
        Some(Fault::Refuse(ErrorCode::InsufficientScope)),
        Some(Fault::Reset(Moment::AfterExecution)),
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        let site = &sites[n % 2];
        if let Some(fault) = fault {
            site.portal.faults().next(fault);
        }
        match n {
            0 | 1 => site.app.install_at(&life.url()),
            2 => site.app.install_on_page(&life.url()),
            _ => site.app.install_at(&life.url()),
        }
        let (query, body) = life.take_whole();
        remember(&body);
        // Genuine, then forged: with another portal's name, and with tokens that nobody has issued.
        let other = sites[(n + 1) % 2].portal.member_id();
        for body in [
            body.clone(),
            body.replace(site.portal.member_id(), other),
            body.replace("auth%5Bapplication_token%5D=", "auth%5Bapplication_token%5D=x"),
        ] {
            let parsed = AppRequest::parse(&query, Some(FORM), body.as_bytes());
            let Ok(request) = parsed else { continue };
            write!(captured, "{request:?}").unwrap();
            match wait(installations.handle(request)) {
                Ok(portal) => write!(captured, "{portal}").unwrap(),
                Err(error) => write!(captured, "{}", chain(&error)).unwrap(),
            }
        }
        write!(captured, "{installations:?} {:?}", wait(kept.installation(&site.id()))).unwrap();
        for (method, params) in [("app.info", "{}"), ("no.such", r#"{"s3cretparams3cret":1}"#)] {
            match wait(bizproc.call(Some(&site.id()), method, params)) {
                Ok(answer) => write!(captured, "{answer:?}").unwrap(),
                Err(error) => write!(captured, "{}", chain(&error)).unwrap(),
            }
        }
        if n == 3 {
            site.portal.move_away().unwrap();
        }
        let workflow = site.portal.start_workflow("Order");
        let Some(activity) = workflow.registered_activity("fulfil") else { continue };
        let opened = activity.property("Order", "s3cretorders3cret").open();
        let body = handler.take();
        remember(&body);
        let request = || ActivityRequest::parse(Some(FORM), body.as_bytes()).unwrap();
        for _ in 0..2 {
            match wait(installations.activity(request())) {
                Ok(opened) => {
                    write!(captured, "{opened:?}").unwrap();
                    let Some(activity) = opened.first() else { continue };
                    activity.span().in_scope(|| info!("hello"));
                    let input = activity.input("Order");
                    let errors = (input.integer(), input.user(), activity.input("Other").text());
                    write!(captured, "{errors:?}").unwrap();
                    let wrong =
                        Completion::new().value("status", "s3cretvalues3cret").timeout(A_WHILE);
                    let error = wait(activity.complete(wrong)).unwrap_err();
                    write!(captured, "{}", chain(&error)).unwrap();
                    std::mem::forget(activity);
                }
                Err(error) => write!(captured, "{}", chain(&error)).unwrap(),
            }
        }
        drop(opened);
    }
    let report = guard.shutdown_blocking(PATIENCE / 30);
    write!(captured, "{report} {report:?}").unwrap();
    secrets.extend(store.secrets.lock().unwrap().drain(..));
    secrets
        .extend(["s3cretparams3cret", "s3cretorders3cret", "s3cretvalues3cret"].map(str::to_owned));
    let seen = captured.text();
    assert!(seen.contains("rejected") && seen.contains("InstallRequest"), "{seen}");
    assert!(secrets.len() > 20, "{}", secrets.len());
    for secret in secrets {
        assert!(!seen.contains(&secret), "{}", seen.lines().find(|l| l.contains(&secret)).unwrap());
    }
}
