//! The whole route through sockets: from `info!` to acknowledged, through the stand-in portal.
//!
//! `cargo bench --bench drain` prints one line per figure; `-- --test` runs everything once, small.
//! The portal runs in this process, on threads of its own, so these figures are a lower bound.
#![expect(clippy::print_stdout, reason = "figures are what a bench prints")]
#![expect(clippy::disallowed_methods, reason = "it is a measurement")]

use std::time::{Duration, Instant};

use bizproc_portal::Portal;
use tracing::{Span, info, info_span};
use tracing_bizproc::{Builder, Quota, Retention, Webhook};
use tracing_subscriber::prelude::*;

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let (lines, rounds) = if smoke { (2_000, 1) } else { (200_000, 3) };
    let mut rate = 0.0_f64;
    let mut requests = 0;
    for _ in 0..rounds {
        let (seconds, sent) = drain(lines, 200);
        rate = rate.max(lines as f64 / seconds);
        requests = sent;
    }
    figure(&format!("lines per second, {lines} lines over 200 tokens"), format!("{rate:.0}"), "-");
    figure("lines per request", format!("{:.0}", lines as f64 / requests as f64), "-");

    let mut alone = Vec::new();
    for _ in 0..if smoke { 3 } else { 200 } {
        alone.push(one_line());
    }
    alone.sort();
    let median = alone[alone.len() / 2];
    figure("one line, logged and flushed", format!("{:.2} ms", millis(median)), "-");

    let (naive, batched) = against_naive(if smoke { 20 } else { 400 });
    figure("one call per line, waited for", format!("{:.0} us per line", naive * 1e6), "-");
    figure("the layer, flushed at the end", format!("{:.1} us per line", batched * 1e6), "-");
    figure("the naive client's time over ours", format!("{:.0}", naive / batched), ">= 10");
}

fn figure(name: &str, value: impl std::fmt::Display, target: &str) {
    println!("figure {name} = {value} (target {target})");
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A portal without limits, and options for one.
fn stage() -> (Portal, Builder) {
    let tariff = bizproc_portal::Tariff::Unlimited;
    let portal = Portal::builder().tariff(tariff).start().expect("loopback has a port");
    let webhook = Webhook::new(portal.webhook_url()).expect("the portal's own address");
    let builder = tracing_bizproc::builder(webhook)
        .quota(Quota::Unlimited)
        .retention(Retention::SelfHosted)
        .queue_lines(1 << 18)
        .pending_lines(1 << 20)
        .pending_bytes(1 << 30);
    (portal, builder)
}

fn tagged(portal: &Portal) -> Span {
    let workflow = portal.start_workflow("Order");
    let event_token = workflow.open_activity("Fulfil").event_token();
    info_span!("activity", event_token)
}

/// Seconds from the first line to the last acknowledgement, and how many requests that took.
fn drain(lines: usize, tokens: usize) -> (f64, u64) {
    let (portal, builder) = stage();
    let (layer, guard) = builder.build().expect("these options are within bounds");
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let spans: Vec<Span> = (0..tokens).map(|_| tagged(&portal)).collect();
        let start = Instant::now();
        for n in 0..lines {
            let span = &spans[n % tokens];
            span.in_scope(|| {
                info!(order = n, amount = 99.5, "the card of the customer was charged")
            });
        }
        let bizproc = guard.handle();
        bizproc.flush_blocking(Duration::from_secs(120)).expect("the worker runs");
        let seconds = start.elapsed().as_secs_f64();
        let stats = bizproc.stats();
        assert_eq!(stats.acknowledged(), lines as u64, "all of them: {stats}");
        assert_eq!(portal.counters().lines, lines as u64, "the portal has them all");
        (seconds, stats.requests())
    })
}

fn one_line() -> Duration {
    let (portal, builder) = stage();
    let (layer, guard) = builder.build().expect("these options are within bounds");
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let span = tagged(&portal);
        let start = Instant::now();
        span.in_scope(|| info!("one line"));
        let report = guard.handle().flush_blocking(Duration::from_secs(10)).expect("it runs");
        assert!(report.is_complete());
        start.elapsed()
    })
}

/// Seconds per line of a client that calls once per line and waits, and of the layer.
fn against_naive(lines: usize) -> (f64, f64) {
    let (portal, builder) = stage();
    let (layer, guard) = builder.build().expect("these options are within bounds");
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let bizproc = guard.handle();
        let span = tagged(&portal);
        let flush = || {
            let report = bizproc.flush_blocking(Duration::from_secs(10)).expect("it runs");
            assert!(report.is_complete(), "{report}");
        };
        let start = Instant::now();
        for n in 0..lines {
            // The cheapest naive client that there could be: our own connection, one call per line.
            span.in_scope(|| info!(n, "line"));
            flush();
        }
        let naive = start.elapsed().as_secs_f64() / lines as f64;
        let start = Instant::now();
        for n in 0..lines * 10 {
            span.in_scope(|| info!(n, "line"));
        }
        flush();
        (naive, start.elapsed().as_secs_f64() / (lines * 10) as f64)
    })
}
