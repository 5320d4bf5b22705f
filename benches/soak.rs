//! Long troubles: a day without the portal, in simulated time, and some minutes with more lines than a portal
//! accepts, in real time against the stand-in portal.
//!
//! `cargo bench --bench soak` prints one line per figure. `-- outage` and `-- load` run one of them;
//! `-- load --minutes 10` says for how long. With the feature `spool`, both run without a spool and then with one;
//! `-- outage --spool` runs one of them with a spool only. `-- --test` runs all once, small.
#![expect(clippy::print_stdout, reason = "figures are what a bench prints")]
#![expect(clippy::disallowed_methods, reason = "it is a measurement")]

use std::alloc::System;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use bizproc_portal::Portal;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, info, info_span};
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::simulation::{Conditions, Run, run};
use tracing_bizproc::{Builder, EventToken};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == PORTAL) {
        return stand_in();
    }
    let smoke = arguments.iter().any(|argument| argument == "--test");
    let minutes = arguments.iter().skip_while(|argument| *argument != "--minutes").nth(1);
    let minutes = minutes.map_or(10.0, |minutes| minutes.parse().expect("minutes are a number"));
    let wanted = ["outage", "load"].into_iter().find(|name| arguments.iter().any(|a| a == name));
    let only_spool = arguments.iter().any(|argument| argument == "--spool");
    let dir = std::env::temp_dir().join(format!("bizproc-soak-{}", std::process::id()));
    let way = Dir(only_spool.then_some(dir));
    if wanted.is_none_or(|wanted| wanted == "outage") {
        outage(if smoke { HOUR / 2 } else { 24 * HOUR }, &way);
        way.clear();
    }
    if wanted.is_none_or(|wanted| wanted == "load") {
        load(Duration::from_secs_f64(if smoke { 2.0 } else { 60.0 * minutes }), &way);
    }
    if cfg!(feature = "spool") && !only_spool {
        // It runs in a process of its own, because each run needs its own global subscriber and its own memory.
        let program = std::env::current_exe().expect("it runs");
        let status = Command::new(program).args(arguments).arg("--spool").status();
        assert!(status.expect("it runs here").success());
    }
}

/// The directory of the spool, if there is one. Removed with the value.
struct Dir(Option<PathBuf>);

impl Dir {
    fn name(&self) -> &'static str {
        if self.0.is_some() { ", with a spool" } else { "" }
    }

    fn clear(&self) {
        if let Some(dir) = &self.0 {
            drop(std::fs::remove_dir_all(dir));
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        self.clear();
    }
}

fn figure(name: &str, value: impl fmt::Display, target: &str) {
    println!("figure {name} = {value} (target {target})");
}

/// The options of both, except the credentials: all defaults. Lines that wait are held in memory, within
/// the default budget of 16 MiB, and on disk, if there is a spool.
fn options(webhook: &str, dir: &Dir) -> Builder {
    let webhook = Webhook::new(webhook).expect("a webhook's shape");
    let builder = tracing_bizproc::builder(webhook).pending_bytes(BUDGET);
    #[cfg(feature = "spool")]
    if let Some(dir) = &dir.0 {
        return builder.spool(tracing_bizproc::spool::Spool::new(dir));
    }
    let Dir(_) = dir;
    builder
}

/// A day without the portal at 100 lines a second, and an hour with it again.
fn outage(lasts: Duration, dir: &Dir) {
    let (from, until) = (HOUR / 4, HOUR / 4 + lasts);
    let over = until + HOUR;
    let conditions = Conditions { outage: Some((from, until)), ..Conditions::default() };
    let most = Arc::new(AtomicU64::new(0));
    let before = held();
    let seen = Arc::clone(&most);
    let webhook = "https://b24.example/rest/1/code/";
    // With the portal's rate and operating limits, the lines on disk need some hours.
    let patience = if dir.0.is_some() { 12 * HOUR } else { HOUR };
    let outcome = run(1, options(webhook, dir), conditions, patience, |run| async move {
        day_of_lines(run, over, before, &seen).await;
    });
    let hours = lasts.as_secs_f64() / 3_600.0;
    let name = format!("{hours:.1} h without the portal{}", dir.name());
    let broken = outcome.verify();
    if let Err(problem) = &broken {
        println!("{problem}");
    }
    let stats = &outcome.stats;
    figure(&format!("{name}: laws broken, order among them"), u8::from(broken.is_err()), "<= 0");
    figure(&format!("{name}: lines accepted"), stats.accepted(), "-");
    figure(&format!("{name}: lines refused"), stats.refused(), "-");
    figure(&format!("{name}: lines lost"), stats.lost(), "-");
    figure(&format!("{name}: lines acknowledged"), stats.acknowledged(), "-");
    let dropped = stats.lost() + stats.refused();
    // If a token logs nothing more, its notice about missing lines is given up after `max_age`. The reports count
    // all missing lines.
    let in_logs = outcome.told_missing();
    figure(&format!("{name}: dropped lines"), dropped, "-");
    figure(&format!("{name}: of these the logs themselves tell"), in_logs, "-");
    let over_budget = (most.load(Relaxed) as f64 - BUDGET as f64) / MIB;
    figure(
        &format!("{name}: most memory over the budget"),
        format!("{over_budget:.1} MiB"),
        "<= 16 MiB",
    );
    let limits = (outcome.portal.rate_limited, outcome.portal.operating_limited);
    figure(&format!("{name}: 503 and 429 afterwards"), limits.0 + limits.1, "<= 0");
    // The lines of the last minutes of the outage are the oldest of those that are left.
    let last = |workflow: u32| {
        let written = outcome.portal.log(workflow).iter().map(|entry| entry.at);
        written.filter(|at| *at >= until).min().unwrap_or(outcome.took)
    };
    let back = (0..WORKFLOWS).map(last).max().unwrap_or_default().saturating_sub(until);
    figure(&format!("{name}: until each log goes on"), format!("{:.1} s", back.as_secs_f64()), "-");
    let all = outcome.took.saturating_sub(until).as_secs_f64() / 3_600.0;
    figure(&format!("{name}: until all is delivered"), format!("{all:.1} h"), "-");
}

/// Ten lines each tenth of a second, in turns over all workflows. Reads the memory use once a minute.
async fn day_of_lines(run: Run, over: Duration, before: usize, most: &AtomicU64) {
    let mut workflow = 0;
    let mut tick = 0_u32;
    while run.now() < over {
        for _ in 0..10 {
            run.log(workflow, 60);
            workflow = (workflow + 1) % WORKFLOWS;
        }
        if tick % 600 == 0 {
            let held = held().saturating_sub(before + run.bytes());
            most.fetch_max(held as u64, Relaxed);
        }
        tick += 1;
        run.until(Duration::from_millis(100) * tick).await;
    }
}

/// 50,000 events a second against the stand-in portal, with the limits of a cloud, in a process of its own.
fn load(lasts: Duration, dir: &Dir) {
    let (mut child, webhook, tokens) = start_stand_in();
    let told = Arc::new(AtomicU64::new(0));
    let (layer, guard) = options(&webhook, dir).build().expect("these options are within bounds");
    let subscriber = tracing_subscriber::registry().with(Told(told.clone())).with(layer);
    let handle = guard.handle();
    let mut rss = Vec::new();
    // Global, since the worker's reports come from its thread.
    subscriber.init();
    let spans: Vec<_> = tokens
        .iter()
        .map(|event_token| info_span!("activity", event_token = event_token.as_field()))
        .collect();
    let start = Instant::now();
    let mut logged = 0_u64;
    while start.elapsed() < lasts {
        let due = (start.elapsed().as_secs_f64() * f64::from(RATE)) as u64;
        while logged < due {
            spans[logged as usize % spans.len()]
                .in_scope(|| info!(order = logged, "Order is packed"));
            logged += 1;
        }
        if rss.len() < (start.elapsed().as_secs_f64() * 4.0) as usize {
            rss.push(resident());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let took = start.elapsed();
    drop(spans);
    let report = guard.shutdown_blocking(Duration::from_secs(20));
    let stats = handle.stats();

    let minutes = lasts.as_secs_f64() / 60.0;
    let name = format!("{minutes:.1} min at {RATE} events/s{}", dir.name());
    let per_second = logged as f64 / took.as_secs_f64();
    figure(&format!("{name}: events per second"), format!("{per_second:.0}"), "-");
    figure(&format!("{name}: lines accepted"), stats.accepted(), "-");
    figure(&format!("{name}: lines refused"), stats.refused(), "-");
    figure(&format!("{name}: lines lost"), stats.lost(), "-");
    figure(&format!("{name}: lines acknowledged"), stats.acknowledged(), "-");
    let counted = stats.accepted() + stats.refused();
    figure(&format!("{name}: events in no counter, or in two"), logged.abs_diff(counted), "<= 0");
    let settled = stats.acknowledged() + stats.lost() + stats.pending();
    let in_memory = report.lines().pending() - report.lines().stored();
    let unsettled = stats.accepted().abs_diff(settled) + in_memory;
    figure(&format!("{name}: lines that stay on disk"), report.lines().stored(), "-");
    figure(&format!("{name}: accepted lines that are not settled"), unsettled, "<= 0");
    let dropped = stats.lost() + stats.refused();
    let untold = dropped.abs_diff(told.load(Relaxed));
    figure(&format!("{name}: dropped lines that no report tells of"), untold, "<= 0");
    // The memory after a quarter of the time is the expected use.
    let quarter = rss[..rss.len().div_ceil(4)].iter().copied().max().unwrap_or_default();
    let most = rss.iter().copied().max().unwrap_or_default();
    figure(&format!("{name}: most resident memory"), format!("{:.1} MiB", most as f64 / MIB), "-");
    let growth = (most - quarter) as f64 / MIB;
    let target = if lasts >= Duration::from_secs(60) { "<= 8 MiB" } else { "-" };
    figure(
        &format!("{name}: its growth after a quarter of the time"),
        format!("{growth:.1} MiB"),
        target,
    );
    drop(child.stdin.take());
    child.wait().expect("it ends with its input");
}

/// The portal's process: prints its address and its tokens, and ends when its input ends.
fn stand_in() {
    let portal = Portal::builder().cloud().start().expect("loopback has a port");
    println!("{}", portal.webhook_url());
    for _ in 0..WORKFLOWS {
        println!("{}", portal.start_workflow("Order").open_activity("Pack").event_token());
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn start_stand_in() -> (Child, String, Vec<EventToken>) {
    let mut child = Command::new(std::env::current_exe().expect("it runs"))
        .arg(PORTAL)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs here");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut lines = lines.map(|line| line.expect("it writes text"));
    let webhook = lines.next().expect("its address comes first");
    let tokens = lines.take(WORKFLOWS as usize).map(|token| EventToken::parse(&token));
    let tokens = tokens.collect::<Result<_, _>>().expect("its tokens are tokens");
    (child, webhook, tokens)
}

/// Adds up the lost and refused lines in the worker's reports.
struct Told(Arc<AtomicU64>);

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "tracing_bizproc" {
            let mut loss = Loss::default();
            event.record(&mut loss);
            self.0.fetch_add(if loss.has_reason { loss.count } else { 0 }, Relaxed);
        }
    }
}

#[derive(Default)]
struct Loss {
    has_reason: bool,
    count: u64,
}

impl Visit for Loss {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "count" {
            self.count = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.has_reason |= field.name() == "reason" && !value.is_empty();
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Bytes of this process that are in memory; 0 where the system does not say.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm");
    let pages = pages.ok().and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or_default() * 4_096
}

/// Bytes that this process has allocated.
fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HOUR: Duration = Duration::from_secs(3_600);
const MIB: f64 = (1 << 20) as f64;
/// The default of `pending_bytes`.
const BUDGET: usize = 16 << 20;
const WORKFLOWS: u32 = 200;
const RATE: u32 = 50_000;
/// Asks a process of this program to be the portal.
const PORTAL: &str = "--stand-in";
