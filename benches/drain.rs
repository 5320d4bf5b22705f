//! The whole route through sockets: from `info!` to acknowledged, through the stand-in portal.
//!
//! `cargo bench --bench drain` prints one line per figure; `-- --test` runs everything once, small.
//! The portal runs in this process, on threads of its own, so these figures are a lower bound.
#![expect(clippy::print_stdout, reason = "figures are what a bench prints")]
#![expect(clippy::disallowed_methods, reason = "it is a measurement")]

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use bizproc_portal::{Portal, ServerTime};
use tracing::{Span, info, info_span};
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::config::{Quota, Retention};
use tracing_bizproc::{Builder, Completion, EventToken};
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

    let seconds = Duration::from_millis(if smoke { 200 } else { 5_000 });
    for (rate, name) in [(20_000, "20,000 lines/s"), (u32::MAX, "full speed")] {
        let (loud, lost) = beside_a_loud_one(rate, seconds);
        figure(&format!("lines/s of a loud token, {name}"), format!("{loud:.0}"), "-");
        figure(&format!("lines of 600 lost by quiet tokens beside it, {name}"), lost, "<= 0");
    }

    for server_time in [ServerTime::Measured, ServerTime::Spent(Duration::from_millis(10))] {
        let spent = match server_time {
            ServerTime::Spent(spent) => format!(", {} ms a command", spent.as_millis()),
            _ => String::new(),
        };
        for activities in if smoke { &[20][..] } else { &[40, 200, 500] } {
            let Ended { requests, median, slowest } = end_together(*activities, server_time);
            let name = format!("{activities} activities that end at once{spent}");
            let quick = *activities == 500 && spent.is_empty();
            let target = if *activities == 500 { "<= 24" } else { "-" };
            figure(&format!("{name}: requests"), requests, target);
            figure(&format!("{name}: p50 of complete"), format!("{median:.2} s"), "-");
            let target = if quick { "<= 5 s" } else { "-" };
            figure(&format!("{name}: slowest"), format!("{slowest:.2} s"), target);
        }
    }

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

/// The results of activities that ended together.
struct Ended {
    requests: u64,
    /// Seconds until `complete` answered.
    median: f64,
    slowest: f64,
}

/// This number of activities log three lines each and are completed, all at once, on a portal with the limits of a
/// standard tariff.
fn end_together(activities: usize, server_time: ServerTime) -> Ended {
    let tariff = bizproc_portal::Tariff::Standard;
    let portal = Portal::builder().tariff(tariff).server_time(server_time);
    let portal = portal.start().expect("loopback has a port");
    let webhook = Webhook::new(portal.webhook_url()).expect("the portal's own address");
    let (layer, guard) = tracing_bizproc::builder(webhook).build().expect("these are defaults");
    let subscriber = tracing_subscriber::registry().with(layer);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let open: Vec<_> = (0..activities)
        .map(|n| {
            let workflow = portal.start_workflow("Order");
            (workflow.activity("Fulfil").returns(["status"]).open(), format!("shipped #{n}"))
        })
        .collect();
    let mut took: Vec<f64> = tracing::subscriber::with_default(subscriber, || {
        let completions: Vec<_> = open
            .iter()
            .map(|(activity, value)| {
                let event_token = EventToken::parse(&activity.event_token()).expect("a token");
                let span = info_span!("activity", event_token = event_token.as_field());
                span.in_scope(|| (0..3).for_each(|n| info!(n, "line")));
                let patience = Duration::from_secs(300);
                let completion = Completion::new().value("status", value.as_str());
                (event_token, completion.timeout(patience))
            })
            .collect();
        let start = Instant::now();
        runtime.block_on(async {
            let mut answers = tokio::task::JoinSet::new();
            for (event_token, completion) in completions {
                let handle = guard.handle();
                answers.spawn(async move {
                    let report = handle.complete(&event_token, completion).await;
                    let report = report.expect("the portal takes it");
                    assert_eq!((report.acknowledged(), report.late()), (3, 0), "{report}");
                    start.elapsed().as_secs_f64()
                });
            }
            answers.join_all().await
        })
    });
    for (activity, value) in &open {
        let completion = activity.completion().expect("it has ended");
        assert_eq!(completion.return_values, [("status".to_owned(), value.clone())]);
    }
    took.sort_by(f64::total_cmp);
    let stats = guard.handle().stats();
    assert_eq!((stats.acknowledged(), stats.late()), (activities as u64 * 3, 0), "{stats}");
    Ended {
        requests: stats.requests(),
        median: took[took.len() / 2],
        slowest: took[took.len() - 1],
    }
}

/// Seconds from the first line to the last acknowledgement, and the number of requests.
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
        let handle = guard.handle();
        handle.flush_blocking(Duration::from_secs(120)).expect("the worker runs");
        let seconds = start.elapsed().as_secs_f64();
        let stats = handle.stats();
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

/// 20 tokens log 600 lines evenly, and one loud token logs up to this number of lines a second, with the default
/// options, on a portal with the standard limits. Returns how many lines a second the loud token logged, and how
/// many lines of the others did not arrive.
fn beside_a_loud_one(rate: u32, over: Duration) -> (f64, usize) {
    const LINES: u32 = 600;
    let portal = Portal::builder().start().expect("loopback has a port");
    let webhook = Webhook::new(portal.webhook_url()).expect("the portal's own address");
    let (layer, guard) = tracing_bizproc::builder(webhook).build().expect("these are the defaults");
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    let quiet: Vec<_> = (0..20).map(|_| portal.start_workflow("Order")).collect();
    let done = AtomicBool::new(false);
    let logged = thread::scope(|scope| {
        let loud = scope.spawn(|| {
            tracing::dispatcher::with_default(&dispatch, || {
                let _loud = tagged(&portal).entered();
                let (start, mut logged) = (Instant::now(), 0_u32);
                while !done.load(SeqCst) {
                    if f64::from(logged) <= start.elapsed().as_secs_f64() * f64::from(rate) {
                        info!(
                            order = logged,
                            amount = 99.5,
                            "the card of the customer was charged"
                        );
                        logged += 1;
                    }
                }
                logged
            })
        });
        tracing::dispatcher::with_default(&dispatch, || {
            let spans: Vec<Span> = quiet
                .iter()
                .map(|workflow| {
                    let event_token = workflow.open_activity("Fulfil").event_token();
                    info_span!("activity", event_token)
                })
                .collect();
            for n in 0..LINES {
                spans[n as usize % spans.len()].in_scope(|| info!(n, "a line of a quiet one"));
                thread::sleep(over / LINES);
            }
        });
        done.store(true, SeqCst);
        loud.join().expect("it only logs")
    });
    // The loud token has many lines. The lines of the others arrive soon.
    let arrived = || {
        let texts = quiet.iter().flat_map(|workflow| workflow.texts());
        texts.map(|text| text.matches("a line of a quiet one").count()).sum::<usize>()
    };
    let _ = guard.handle().flush_blocking(Duration::from_secs(1));
    portal.wait_for(Duration::from_secs(30), |_| arrived() >= LINES as usize);
    guard.shutdown_blocking(Duration::ZERO);
    (f64::from(logged) / over.as_secs_f64(), LINES as usize - arrived())
}

/// Seconds per line of a client that calls once per line and waits, and of the layer.
fn against_naive(lines: usize) -> (f64, f64) {
    let (portal, builder) = stage();
    let (layer, guard) = builder.build().expect("these options are within bounds");
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let handle = guard.handle();
        let span = tagged(&portal);
        let flush = || {
            let report = handle.flush_blocking(Duration::from_secs(10)).expect("it runs");
            assert!(report.is_complete(), "{report}");
        };
        let start = Instant::now();
        for n in 0..lines {
            // The cheapest simple client: our own connection, and one call per line.
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
