//! Code of the app panics on the worker's thread: logging goes on, and no line is lost.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bizproc_portal::Portal;
use tracing::{Event, Subscriber, info, info_span};
use tracing_bizproc::auth::{Access, AccessProvider, CredentialFuture, Credentials, Webhook};
use tracing_bizproc::config::{Quota, Retention};
use tracing_bizproc::{EventToken, PortalId};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;

use crate::stage::{PATIENCE, in_child, is_child, lines, quick};

/// A layer of the app that panics on reports of the worker.
struct Touchy(AtomicBool);

impl<S: Subscriber> Layer<S> for Touchy {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "tracing_bizproc" && !self.0.swap(true, SeqCst) {
            panic!("a layer of the app's");
        }
    }
}

/// With a global subscriber, as apps have, so that the worker's thread calls the layer.
#[test]
fn a_layer_that_panics_on_the_workers_thread_loses_no_line() {
    if !is_child() {
        return in_child("panics::a_layer_that_panics_on_the_workers_thread_loses_no_line", &[]);
    }
    let portal = Portal::builder().start().unwrap();
    let (layer, guard) = quick(&portal).build().unwrap();
    let touchy = Touchy(AtomicBool::new(false));
    tracing_subscriber::registry().with(touchy).with(layer).init();
    let bizproc = guard.handle();

    let workflow = portal.start_workflow("Order");
    let event_token = workflow.open_activity("Fulfil").event_token();
    let event_token = EventToken::parse(&event_token).unwrap();
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| info!("before"));
    // The report of the worker reaches the layer.
    drop(info_span!("activity", event_token = ""));
    span.in_scope(|| info!("meanwhile"));
    let report = bizproc.flush_blocking(PATIENCE).unwrap();
    assert_eq!(report.pending(), 0);
    span.in_scope(|| info!("after"));
    let report = guard.shutdown_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");

    assert_eq!(lines(&workflow), ["before", "meanwhile", "after"]);
    let stats = bizproc.stats();
    assert_eq!((stats.restarts(), stats.unusable_tokens()), (1, 1), "{stats}");
    assert_eq!((stats.accepted(), stats.acknowledged(), stats.lost()), (3, 3, 0));
}

/// Panics when it is asked for the first time.
struct ShakyProvider {
    webhook: Webhook,
    asked: AtomicBool,
}

impl AccessProvider for ShakyProvider {
    fn access<'a>(
        &'a self,
        _: Option<&'a PortalId>,
        _: Option<&'a Access>,
    ) -> CredentialFuture<'a, Option<Access>> {
        assert!(self.asked.swap(true, SeqCst), "on purpose");
        Box::pin(std::future::ready(Ok(Some(Access::webhook(self.webhook.clone())))))
    }
}

/// Regression: the lines were marked as possible repeats, although they had not been sent before.
#[test]
fn a_provider_that_panics_only_delays_lines() {
    let portal = Portal::builder().start().unwrap();
    let webhook = Webhook::new(portal.webhook_url()).unwrap();
    let provider = ShakyProvider { webhook, asked: AtomicBool::new(false) };
    let (layer, guard) = tracing_bizproc::builder(Credentials::provider(provider))
        .quota(Quota::Unlimited)
        .retention(Retention::SelfHosted)
        .build()
        .unwrap();
    let _subscriber = tracing_subscriber::registry().with(layer).set_default();
    let workflow = portal.start_workflow("Order");
    let event_token = EventToken::parse(&workflow.open_activity("a").event_token()).unwrap();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("a line"));
    let report = guard.handle().flush_blocking(PATIENCE).unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(lines(&workflow), ["a line"]);
    let stats = guard.handle().stats();
    assert_eq!((stats.unknown_outcomes(), stats.repeats(), stats.restarts()), (0, 0, 0), "{stats}");
}
