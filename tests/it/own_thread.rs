//! A flush or a completion that would deadlock with the worker returns an error at once, and not after 60 s.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bizproc_portal::Portal;
use tracing::{Event, Subscriber, info, info_span};
use tracing_bizproc::auth::{
    Access, AccessProvider, CredentialFuture, Credentials, Webhook, on_thread,
};
use tracing_bizproc::config::{Overflow, Quota, Retention};
use tracing_bizproc::error::{CompleteError, WorkerError};
use tracing_bizproc::stats::{DropReason, FlushReport};
use tracing_bizproc::{Completion, EventToken, Handle, PortalId, WorkerGuard};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;

use crate::stage::{Captured, PATIENCE, in_child, is_child, lines, quick};

/// What a layer of the app does with the first report of the worker.
struct AtReport(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl AtReport {
    fn new(act: impl FnOnce() + Send + 'static) -> Self {
        AtReport(Mutex::new(Some(Box::new(act))))
    }
}

impl<S: Subscriber> Layer<S> for AtReport {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "tracing_bizproc" {
            let act = self.0.lock().unwrap().take();
            act.into_iter().for_each(|act| act());
        }
    }
}

/// Makes the worker report something.
fn provoke_a_report() {
    drop(info_span!("activity", event_token = ""));
}

type Flushed = Result<FlushReport, WorkerError>;

#[test]
fn a_layer_that_flushes_in_a_report_of_the_worker_gets_an_error() {
    if !is_child() {
        let name = "own_thread::a_layer_that_flushes_in_a_report_of_the_worker_gets_an_error";
        return in_child(name, &[]);
    }
    let portal = Portal::builder().start().unwrap();
    let (layer, guard) = quick(&portal).build().unwrap();
    let bizproc = guard.handle();
    let (tell, told) = sync_channel::<Flushed>(2);
    let flush = move || {
        tell.send(bizproc.flush_blocking(PATIENCE)).unwrap();
        tell.send(at_once(bizproc.flush(PATIENCE))).unwrap();
    };
    tracing_subscriber::registry().with(AtReport::new(flush)).with(layer).init();
    provoke_a_report();
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Err(WorkerError::DeliveryThread));
    }
    assert!(guard.handle().flush_blocking(PATIENCE).unwrap().is_complete(), "elsewhere it works");
}

/// Regression: the error said that the worker was closed.
#[test]
fn a_blocked_worker_does_not_answer_and_is_not_closed() {
    if !is_child() {
        let name = "own_thread::a_blocked_worker_does_not_answer_and_is_not_closed";
        return in_child(name, &[]);
    }
    let portal = Portal::builder().start().unwrap();
    let (layer, guard) = quick(&portal).build().unwrap();
    let bizproc = guard.handle();
    let ((holds, held), (release, released)) = (sync_channel(1), sync_channel::<()>(1));
    let hold_up = move || {
        holds.send(()).unwrap();
        released.recv().unwrap();
    };
    tracing_subscriber::registry().with(AtReport::new(hold_up)).with(layer).init();
    provoke_a_report();
    held.recv_timeout(PATIENCE).unwrap();
    assert_eq!(bizproc.flush_blocking(Duration::ZERO), Err(WorkerError::NoAnswer));
    release.send(()).unwrap();
    assert!(bizproc.flush_blocking(PATIENCE).unwrap().is_complete());
}

#[test]
fn a_guard_that_is_dropped_on_the_workers_thread_closes_and_does_not_wait() {
    if !is_child() {
        let name =
            "own_thread::a_guard_that_is_dropped_on_the_workers_thread_closes_and_does_not_wait";
        return in_child(name, &[]);
    }
    let portal = Portal::builder().start().unwrap();
    let (layer, guard) = quick(&portal).shutdown_timeout(PATIENCE).build().unwrap();
    let bizproc = guard.handle();
    let workflow = portal.start_workflow("Order");
    let event_token = EventToken::parse(&workflow.open_activity("a").event_token()).unwrap();
    let kept: Arc<Mutex<Option<WorkerGuard>>> = Arc::new(Mutex::new(Some(guard)));
    let captured = Captured::default();
    let writer = captured.clone();
    tracing_subscriber::registry()
        .with(AtReport::new(move || drop(kept.lock().unwrap().take())))
        .with(layer)
        .with(tracing_subscriber::fmt::layer().with_writer(move || writer.clone()))
        .init();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("a line"));
    provoke_a_report();
    // It closes when the layer returns, and delivers pending lines.
    assert!(portal.wait_for(PATIENCE, |_| !workflow.texts().is_empty()));
    let deadline = std::time::Instant::now() + PATIENCE;
    while bizproc.flush_blocking(PATIENCE) != Err(WorkerError::Closed) {
        assert!(std::time::Instant::now() < deadline, "it never closed");
    }
    assert_eq!(lines(&workflow), ["a line"]);
    assert_eq!(bizproc.stats().acknowledged(), 1);
    while !captured.text().contains("the guard was dropped on the worker's own thread") {
        assert!(std::time::Instant::now() < deadline, "nobody was told");
        std::thread::yield_now();
    }
}

/// Does something before it gives access, on the worker's thread and on one that the worker waits for.
struct Busy {
    webhook: Webhook,
    act: Arc<dyn Fn() + Send + Sync>,
}

impl AccessProvider for Busy {
    fn access<'a>(
        &'a self,
        _: Option<&'a PortalId>,
        _: Option<&'a Access>,
    ) -> CredentialFuture<'a, Option<Access>> {
        Box::pin(async {
            (self.act)();
            let (act, webhook) = (Arc::clone(&self.act), self.webhook.clone());
            on_thread(move || {
                act();
                Ok(Some(Access::webhook(webhook)))
            })
            .await
        })
    }
}

/// A layer with a provider that does this, and a token of the portal.
fn beside(
    portal: &Portal,
    act: impl Fn() + Send + Sync + 'static,
) -> (tracing_bizproc::Builder, bizproc_portal::Workflow, EventToken) {
    let webhook = Webhook::new(portal.webhook_url()).unwrap();
    let provider = Credentials::provider(Busy { webhook, act: Arc::new(act) });
    let builder = tracing_bizproc::builder(provider)
        .quota(Quota::Unlimited)
        .retention(Retention::SelfHosted)
        .portal_share(1.0);
    let workflow = portal.start_workflow("Order");
    let event_token = EventToken::parse(&workflow.open_activity("a").event_token()).unwrap();
    (builder, workflow, event_token)
}

#[test]
fn a_provider_that_waits_for_delivery_gets_an_error() {
    let portal = Portal::builder().start().unwrap();
    let handle: Arc<OnceLock<(Handle, EventToken)>> = Arc::default();
    let (tell, told) = sync_channel::<(Flushed, Result<FlushReport, CompleteError>)>(2);
    let held = Arc::clone(&handle);
    let (builder, workflow, event_token) = beside(&portal, move || {
        let (bizproc, event_token) = held.get().unwrap();
        let completed = at_once(bizproc.complete(event_token, Completion::new()));
        tell.send((bizproc.flush_blocking(PATIENCE), completed)).unwrap();
    });
    let (layer, guard) = builder.build().unwrap();
    handle.set((guard.handle(), event_token.clone())).unwrap();
    let _subscriber = tracing_subscriber::registry().with(layer).set_default();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("a line"));
    assert!(guard.handle().flush_blocking(PATIENCE).unwrap().is_complete());
    for _ in 0..2 {
        let (flushed, completed) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(flushed, Err(WorkerError::DeliveryThread));
        assert_eq!(completed, Err(CompleteError::Worker(WorkerError::DeliveryThread)));
    }
    assert_eq!(lines(&workflow), ["a line"]);
}

/// It would wait for room, which there is only after the provider has answered.
#[test]
fn a_provider_that_logs_with_overflow_block_is_refused_at_once() {
    let portal = Portal::builder().start().unwrap();
    let subscriber: Arc<OnceLock<(tracing::Dispatch, EventToken)>> = Arc::default();
    let held = Arc::clone(&subscriber);
    let (builder, workflow, event_token) = beside(&portal, move || {
        let (dispatch, event_token) = held.get().unwrap();
        tracing::dispatcher::with_default(dispatch, || {
            info_span!("provider", event_token = event_token.as_field())
                .in_scope(|| info!("asked"));
        });
    });
    let (layer, guard) =
        builder.pending_lines(1).overflow(Overflow::Block(PATIENCE)).build().unwrap();
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    subscriber.set((dispatch.clone(), event_token.clone())).unwrap();
    let _subscriber = tracing::dispatcher::set_default(&dispatch);
    let bizproc = guard.handle();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("a line"));
    assert!(bizproc.flush_blocking(PATIENCE).unwrap().is_complete());
    assert_eq!(lines(&workflow)[0], "a line");
    let stats = bizproc.stats();
    // Once. If the provider waited, it would be asked again after 10 s.
    assert_eq!(stats.by_reason(DropReason::BudgetSpent), 1, "{stats}");
}

/// The result of a future that is ready at once.
fn at_once<T: Send>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("it waits"),
    }
}
