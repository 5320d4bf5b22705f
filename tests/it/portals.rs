//! Many portals: trouble of one does not affect others.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bizproc_portal::{Condition, OAuthError};
use tracing::{info, info_span};
use tracing_bizproc::app::ActivityRequest;
use tracing_bizproc::auth::{Hosts, TokenStore};
use tracing_bizproc::error::VerifyError;
use tracing_bizproc::stats::{DropReason, PortalSnapshot};
use tracing_bizproc::{Completion, EventToken, Handle};
use tracing_subscriber::prelude::*;

use crate::app::{AppStage, FORM, Site, credentials, quick, wait};
use crate::stage::{PATIENCE, lines};

fn of<'a>(portals: &'a [PortalSnapshot], site: &Site) -> &'a PortalSnapshot {
    portals.iter().find(|portal| portal.portal() == Some(site.portal.member_id())).unwrap()
}

/// Logs one line to the workflow of each activity, and sends it at once.
fn log_once(bizproc: &Handle, activities: &[&tracing_bizproc::app::Activity], text: &str) {
    for activity in activities {
        activity.span().in_scope(|| info!("{text}"));
    }
    wait(bizproc.flush(Duration::ZERO)).unwrap();
}

/// Waits until this is true for the worker.
fn until(bizproc: &Handle, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{:?}", bizproc.portals());
        wait(bizproc.flush(Duration::from_millis(1))).unwrap();
    }
}

#[test]
fn a_blocked_portal_does_not_affect_others_and_new_tokens_end_the_block() {
    let stage = AppStage::new(3);
    let opened: Vec<_> = (0..3).map(|n| stage.open(n)).collect();
    let activities: Vec<_> = opened
        .iter()
        .map(|(.., verified)| stage.bizproc.activity(verified.clone()).first().unwrap())
        .collect();
    let refs: Vec<_> = activities.iter().collect();
    // One portal has not paid, and another refuses to renew tokens.
    stage.portals[1].app.set_paid(false);
    stage.portals[2].app.revoke_tokens();
    log_once(&stage.bizproc, &refs, "hello");
    assert!(stage.portals[0].portal.wait_for(PATIENCE, |_| lines(&opened[0].0) == ["hello"]));
    let blocked = || {
        let portals = stage.bizproc.portals();
        [0, 1, 2].map(|n| of(&portals, &stage.portals[n]).blocked())
    };
    let closed = Some(DropReason::CredentialBlocked);
    until(&stage.bizproc, || blocked() == [None, closed, closed]);
    assert_eq!(of(&stage.bizproc.portals(), &stage.portals[1]).pending(), 1);

    // The portal has paid, and the administrator has authorized the app again: requests bring new tokens.
    stage.portals[1].app.set_paid(true);
    for n in [1, 2] {
        stage.portals[n].app.set_access_life(Duration::from_secs(7_200));
        let (_, _, verified) = stage.open(n);
        wait(stage.bizproc.activity(verified).first().unwrap().complete(Completion::new()))
            .unwrap();
    }
    let report = wait(stage.bizproc.flush(PATIENCE)).unwrap();
    assert!(report.is_complete(), "{report}");
    for (workflow, ..) in &opened {
        assert_eq!(lines(workflow), ["hello"]);
    }
    assert_eq!(blocked(), [None; 3]);
    for activity in &activities {
        wait(activity.complete(Completion::new())).unwrap();
    }
}

#[test]
fn a_closed_portal_does_not_affect_others() {
    let stage =
        AppStage::with(2, |oauth| oauth, |builder| builder.shutdown_timeout(Duration::ZERO));
    let opened: Vec<_> = (0..2).map(|n| stage.open(n)).collect();
    let activities: Vec<_> = opened
        .iter()
        .map(|(.., verified)| stage.bizproc.activity(verified.clone()).first().unwrap())
        .collect();
    stage.portals[0].portal.set_condition(Condition::Deleted);
    log_once(&stage.bizproc, &[&activities[0], &activities[1]], "hello");
    until(&stage.bizproc, || {
        let portals = stage.bizproc.portals();
        of(&portals, &stage.portals[0]).blocked().is_some()
            && of(&portals, &stage.portals[1]).acknowledged() == 1
    });
    assert_eq!(lines(&opened[1].0), ["hello"]);
    assert_eq!(of(&stage.bizproc.portals(), &stage.portals[0]).pending(), 1);
}

#[test]
fn tokens_are_renewed_once_per_portal() {
    let stage = AppStage::new(2);
    for round in 0..2 {
        let opened: Vec<_> = (0..6).map(|n| stage.open(n % 2)).collect();
        let activities: Vec<_> = opened
            .iter()
            .map(|(.., verified)| stage.bizproc.activity(verified.clone()).first().unwrap())
            .collect();
        if round == 1 {
            stage.portals.iter().for_each(|site| site.app.expire_access_tokens());
        }
        for activity in &activities {
            activity.span().in_scope(|| info!("hello"));
            wait(activity.complete(Completion::new())).unwrap();
        }
        for (workflow, ..) in &opened {
            assert_eq!(lines(workflow)[..1], ["hello"]);
        }
        assert_eq!(stage.renewals(), 2 * round);
    }
    assert_eq!(stage.bizproc.stats().lost(), 0);
}

#[test]
fn replicas_that_share_a_store_share_a_renewal() {
    let stage = AppStage::new(1);
    let (layer, _guard) =
        quick(credentials(&stage.portals[0], Arc::clone(&stage.store))).build().unwrap();
    let replica = tracing_subscriber::registry().with(layer);
    let replica = tracing::Dispatch::new(replica);
    let (workflow, _, verified) = stage.open(0);
    let span = || {
        info_span!(
            "s",
            event_token = verified.event_token().as_field(),
            portal = verified.portal().as_str()
        )
    };
    let other = _guard.handle();
    // One after the other: two that are refused at the same time may both request a new pair.
    let log = |text: &str| {
        span().in_scope(|| info!("{text}"));
        assert!(wait(stage.bizproc.flush(PATIENCE)).unwrap().is_complete());
        tracing::dispatcher::with_default(&replica, || span().in_scope(|| info!("{text}")));
        assert!(wait(other.flush(PATIENCE)).unwrap().is_complete());
    };
    let tokens = verified.tokens().unwrap();
    assert!(wait(stage.store.swap(verified.portal(), None, tokens)).unwrap());
    log("before");
    stage.portals[0].app.expire_access_tokens();
    log("after");
    assert_eq!(lines(&workflow), ["before", "before", "after", "after"]);
    assert_eq!(stage.renewals(), 1);
}

#[test]
fn a_refusal_of_the_authorization_server_blocks_one_portal() {
    let stage = AppStage::new(2);
    let opened: Vec<_> = (0..2).map(|n| stage.open(n)).collect();
    let activities: Vec<_> = opened
        .iter()
        .map(|(.., verified)| stage.bizproc.activity(verified.clone()).first().unwrap())
        .collect();
    stage.portals[0].app.expire_access_tokens();
    stage.portals[0].app.refuse_tokens(Some(OAuthError::InvalidGrant));
    log_once(&stage.bizproc, &[&activities[0], &activities[1]], "hello");
    until(&stage.bizproc, || {
        let blocked = of(&stage.bizproc.portals(), &stage.portals[0]).blocked();
        blocked == Some(DropReason::CredentialBlocked) && lines(&opened[1].0) == ["hello"]
    });
    assert!(lines(&opened[0].0).is_empty());
    stage.portals[0].app.refuse_tokens(None);
    stage.bizproc.accept(&stage.portals[0].id(), stage.portals[0].tokens()).unwrap();
    let report = wait(stage.bizproc.flush(PATIENCE)).unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(lines(&opened[0].0), ["hello"]);
}

#[test]
fn a_forged_request_with_a_victims_name_changes_nothing() {
    let stage = AppStage::new(2);
    let (victim, attacker) = (&stage.portals[0], &stage.portals[1]);
    let (workflow, _, verified) = stage.open(0);
    let activity = stage.bizproc.activity(verified).first().unwrap();
    log_once(&stage.bizproc, &[&activity], "before");
    until(&stage.bizproc, || lines(&workflow) == ["before"]);

    let evil = TcpListener::bind("127.0.0.1:0").unwrap();
    evil.set_nonblocking(true).unwrap();
    let evil_host = evil.local_addr().unwrap().to_string();
    let forged = |application_token: &str, host: &str| {
        let body = format!(
            "event_token=5e4a77.1|A1|1.ff&use_subscription=Y&ts=1&auth[member_id]={}\
             &auth[application_token]={application_token}&auth[access_token]=x\
             &auth[refresh_token]=y&auth[expires]=99999999999\
             &auth[client_endpoint]=http://{host}/rest/",
            victim.portal.member_id()
        );
        let request = ActivityRequest::parse(Some(FORM), body.as_bytes()).unwrap();
        assert_eq!(request.claimed_portal(), &victim.id());
        request.verify(&victim.installation()).map(|_| ()).unwrap_err()
    };
    let of_attacker = attacker.app.application_token();
    assert_eq!(forged(&of_attacker, &evil_host), VerifyError::ApplicationToken);
    assert_eq!(forged("guessed", &victim.host()), VerifyError::ApplicationToken);
    // Also with the token, the log cannot be sent to another host.
    let of_victim = victim.app.application_token();
    for elsewhere in [evil_host, attacker.host()] {
        let error = forged(&of_victim, &elsewhere);
        assert!(
            matches!(&error, VerifyError::Host { named, .. } if *named == elsewhere),
            "{error}"
        );
    }

    victim.app.expire_access_tokens();
    log_once(&stage.bizproc, &[&activity], "after");
    wait(activity.complete(Completion::new())).unwrap();
    assert_eq!(lines(&workflow)[..2], ["before", "after"]);
    assert!(evil.accept().is_err(), "nobody called the forged address");
    assert_eq!(attacker.portal.counters().hits, 0);
}

#[test]
fn lines_of_an_unknown_portal_wait_for_its_credentials() {
    let stage = AppStage::new(1);
    let site = &stage.portals[0];
    let workflow = site.portal.start_workflow("Order 1042");
    let event_token = EventToken::parse(&workflow.open_activity("a").event_token()).unwrap();
    let span =
        info_span!("s", event_token = event_token.as_field(), portal = site.portal.member_id());
    span.in_scope(|| info!("early"));
    let blocked = || {
        let portals = stage.bizproc.portals();
        portals.iter().any(|portal| portal.blocked() == Some(DropReason::UnknownPortal))
    };
    until(&stage.bizproc, blocked);
    assert_eq!(of(&stage.bizproc.portals(), site).pending(), 1);
    assert_eq!(site.portal.counters().hits, 0);

    stage.bizproc.accept(&site.id(), site.tokens()).unwrap();
    let report = wait(stage.bizproc.flush(PATIENCE)).unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(lines(&workflow), ["early"]);
}

#[test]
fn a_portal_that_is_down_leaves_room_for_the_others() {
    let stage = AppStage::with(
        2,
        |oauth| oauth,
        |builder| builder.pending_lines(100).shutdown_timeout(Duration::ZERO),
    );
    let (_, _, down) = stage.open(0);
    let (workflow, _, up) = stage.open(1);
    let (down, up) = (
        stage.bizproc.activity(down).first().unwrap(),
        stage.bizproc.activity(up).first().unwrap(),
    );
    stage.portals[0].portal.set_condition(Condition::Deleted);
    let span = down.span();
    for n in 0..80 {
        span.in_scope(|| info!(n, "down"));
    }
    until(&stage.bizproc, || {
        let portals = stage.bizproc.portals();
        portals.iter().any(|portal| portal.blocked().is_some())
    });
    log_once(&stage.bizproc, &[&up], "up");
    until(&stage.bizproc, || lines(&workflow) == ["up"]);
    let stats = stage.bizproc.stats();
    assert_eq!(stats.by_reason(DropReason::PortalShare), 30, "{stats}");
    assert_eq!(of(&stage.bizproc.portals(), &stage.portals[0]).pending(), 50);
}

#[test]
fn a_moved_portal_is_called_at_its_new_host_if_the_app_or_the_server_confirms_it() {
    for (listed, server_answers) in [(true, false), (false, true), (false, false)] {
        let sites = crate::app::sites(1);
        let site = &sites[0];
        let workflow = site.portal.start_workflow("Order 1042");
        let event_token = EventToken::parse(&workflow.open_activity("a").event_token()).unwrap();
        let former = site.tokens();
        site.portal.move_away().unwrap();
        if !server_answers {
            site.app.refuse_tokens(Some(OAuthError::InvalidGrant));
        }
        let hosts = if listed { vec![site.host()] } else { Vec::new() };
        let store = Arc::new(tracing_bizproc::auth::MemoryStore::new());
        assert!(wait(store.swap(&site.id(), None, &former)).unwrap());
        let oauth = credentials(site, store).hosts(hosts.into_iter().collect::<Hosts>());
        let (layer, guard) = quick(oauth).build().unwrap();
        let _subscriber = tracing_subscriber::registry().with(layer).set_default();
        info_span!("s", event_token = event_token.as_field(), portal = site.portal.member_id())
            .in_scope(|| info!("hello"));
        let is_followed = listed || server_answers;
        let bizproc = guard.handle();
        let blocked = || bizproc.portals().iter().any(|portal| portal.blocked().is_some());
        until(&bizproc, || blocked() || bizproc.stats().acknowledged() == 1);
        assert_eq!(blocked(), !is_followed);
        assert_eq!(lines(&workflow).len(), usize::from(is_followed));
        let _ = guard.shutdown_blocking(Duration::ZERO);
    }
}
