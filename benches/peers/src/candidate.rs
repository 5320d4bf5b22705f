//! The candidates, each set up as its documentation says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bizproc_portal::Portal;
use opentelemetry_appender_tracing::layer::{OpenTelemetryTracingBridge, TracingSpanAttributes};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing::level_filters::LevelFilter;
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::config::{Quota, Retention};
use tracing_subscriber::prelude::*;

use crate::sink::{Arrived, loki_entries, otlp_records, serve};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Candidate {
    Ours,
    OpenTelemetry,
    OpenTelemetryPlain,
    FmtAppender,
    Loki,
    Sentry,
    Emit,
}

impl Candidate {
    pub const ALL: [Candidate; 7] = [
        Candidate::Ours,
        Candidate::OpenTelemetry,
        Candidate::OpenTelemetryPlain,
        Candidate::FmtAppender,
        Candidate::Loki,
        Candidate::Sentry,
        Candidate::Emit,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Candidate::Ours => "tracing-bizproc",
            Candidate::OpenTelemetry => "opentelemetry-appender-tracing, span attributes",
            Candidate::OpenTelemetryPlain => "the same without span attributes",
            Candidate::FmtAppender => "fmt + tracing-appender",
            Candidate::Loki => "tracing-loki",
            Candidate::Sentry => "sentry-tracing logs, span attributes",
            Candidate::Emit => "emit + emit_otlp (macros of its own)",
        }
    }

    pub fn named(name: &str) -> Option<Candidate> {
        Candidate::ALL.into_iter().find(|candidate| candidate.name() == name)
    }
}

/// A running candidate: how to make it deliver, and how many events have arrived.
pub struct Installed {
    flush: Box<dyn Fn() + Sync>,
    arrived: Box<dyn Fn() -> u64 + Sync>,
    pub event_token: String,
}

impl Installed {
    /// Waits until all `sent` events have arrived.
    pub fn settle(&self, sent: u64) {
        (self.flush)();
        let deadline = Instant::now() + Duration::from_secs(30);
        while (self.arrived)() < sent {
            assert!(Instant::now() < deadline, "{} of {sent} arrived", (self.arrived)());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A token of the length of a real event token, for candidates without a portal.
const TOKEN: &str = "68f1e5d2a3b4c1.12345678|A12345_67890_12345_67890|420.\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456";

/// Makes the candidate the global subscriber, at INFO.
pub fn install(candidate: Candidate) -> Installed {
    let arrived = Arrived::default();
    let registry = tracing_subscriber::registry();
    let at_info = tracing_subscriber::registry().with(LevelFilter::INFO);
    let flush: Box<dyn Fn() + Sync> = match candidate {
        Candidate::Ours => {
            let portal = Portal::builder().start().expect("the stand-in portal starts");
            let event_token = portal.start_workflow("peers").open_activity("Log_1").event_token();
            let webhook = Webhook::new(portal.webhook_url()).expect("the portal's own URL");
            let (layer, guard) = tracing_bizproc::builder(webhook)
                .retention(Retention::SelfHosted)
                .quota(Quota::Unlimited)
                .build()
                .expect("the worker starts");
            registry.with(layer).init();
            let (handle, stats) = (guard.handle(), guard.handle());
            let flush = move || {
                let _keep = (&guard, &portal);
                handle.flush_blocking(Duration::from_secs(30)).expect("a worker");
            };
            let arrived = move || stats.stats().acknowledged();
            return Installed { flush: Box::new(flush), arrived: Box::new(arrived), event_token };
        }
        Candidate::OpenTelemetry | Candidate::OpenTelemetryPlain => {
            let provider =
                SdkLoggerProvider::builder().with_batch_exporter(arrived.clone()).build();
            let bridge = OpenTelemetryTracingBridge::builder(&provider);
            let bridge = match candidate {
                Candidate::OpenTelemetry => {
                    bridge.with_tracing_span_attributes(TracingSpanAttributes::all())
                }
                _ => bridge,
            };
            at_info.with(bridge.build()).init();
            Box::new(move || provider.force_flush().expect("the provider flushes"))
        }
        Candidate::FmtAppender => {
            let (writer, guard) = tracing_appender::non_blocking(arrived.clone());
            let fmt = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
            at_info.with(fmt).init();
            Box::new(move || drop(&guard))
        }
        Candidate::Loki => {
            let url = serve(&arrived, loki_entries).parse().expect("a URL");
            let (layer, task) = tracing_loki::builder().build_url(url).expect("a layer");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            std::thread::spawn(move || runtime.expect("a runtime").block_on(task));
            at_info.with(layer).init();
            Box::new(|| ())
        }
        Candidate::Sentry => {
            let transport: Arc<dyn sentry::Transport> = Arc::new(arrived.clone());
            let options = sentry::ClientOptions::new()
                .dsn("https://public@sentry.invalid/1")
                .transport(move |_: &sentry::ClientOptions| transport.clone());
            let guard = sentry::init(options);
            // The log layer takes the attributes from what the span layer keeps.
            let spans = sentry::integrations::tracing::SpanLayer::new();
            let logs = sentry::integrations::tracing::LogLayer::new().enable_span_attributes();
            at_info.with(spans).with(logs).init();
            Box::new(move || {
                let _keep = &guard;
                let client = sentry::Hub::main().client().expect("a client");
                client.flush(Some(Duration::from_secs(30)));
            })
        }
        Candidate::Emit => {
            let url = serve(&arrived, otlp_records);
            let otlp =
                emit_otlp::new().logs(emit_otlp::logs_http_json(format!("{url}/v1/logs"))).spawn();
            let runtime = emit::setup().emit_to(otlp).init();
            Box::new(move || drop(runtime.blocking_flush(Duration::from_secs(30))))
        }
    };
    let arrived = move || arrived.count();
    Installed { flush, arrived: Box::new(arrived), event_token: TOKEN.to_owned() }
}
