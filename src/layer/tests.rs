use std::fmt;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context as Task, Poll, Waker};

use tracing::field::Empty;
use tracing::{
    Instrument, Level, debug, debug_span, error, info, info_span, instrument, trace, warn,
};
use tracing_subscriber::fmt::layer as fmt_layer;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, reload};

use super::*;
use crate::line::{EventToken, InvalidEventToken, LogLine, Tag, Value};
use crate::queue::{Consumer, Limits, Message, Overflow, mark_worker_thread, queue};
use crate::stats::DropReason;

mod harm;
mod remembering;
mod subscribers;

const A: &str = "5e.a|A|1.ff";
const B: &str = "5e.b|A|1.ff";

/// A queue without a worker, to check what arrives.
fn rig() -> (Producer, Inbox) {
    let limits = Limits {
        queue: 1_000,
        lines: 1_000,
        bytes: 1 << 24,
        overflow: Overflow::DropNewest,
        token_share: 1.0,
    };
    let (producer, consumer) = queue(limits);
    (producer, Inbox(consumer))
}

struct Inbox(Consumer);

impl Inbox {
    /// What arrived since the last call: `token@portal: message field=value, span field=value`.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(message) = self.0.try_take() {
            lines.push(match message {
                Message::Line(line) => shown(&line),
                Message::Scarce(line) => shown(&line),
                Message::SpanClosed(tag) => format!("{}: closed", name(&tag)),
                Message::Control(_) => "control".to_owned(),
            });
        }
        lines
    }
}

/// The letter in which the tokens of these tests differ.
fn name(tag: &Tag) -> String {
    let token = tag.event_token.expose();
    let token = token.strip_prefix("5e.").and_then(|rest| rest.get(..1)).unwrap_or(token);
    match &tag.portal {
        Some(portal) => format!("{token}@{portal}"),
        None => token.to_owned(),
    }
}

fn shown(line: &LogLine) -> String {
    let mut text = format!("{}:", name(&line.tag));
    let add = |text: &mut String, (name, value): (&str, Value<'_>)| {
        text.push(' ');
        if name != "message" {
            write!(text, "{name}=").unwrap();
        }
        match value {
            Value::Str(value) => text.push_str(value),
            Value::I64(value) => write!(text, "{value}").unwrap(),
            Value::U64(value) => write!(text, "{value}").unwrap(),
            Value::F64(value) => write!(text, "{value}").unwrap(),
            other => write!(text, "{other:?}").unwrap(),
        }
    };
    line.fields().for_each(|field| add(&mut text, field));
    for span in line.spans() {
        text.push(',');
        span.fields().for_each(|field| add(&mut text, field));
    }
    text
}

/// Runs `work` under our layer alone, at INFO, and returns what arrived.
fn delivered(work: impl FnOnce()) -> Vec<String> {
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::registry().with(layer(producer, LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, work);
    inbox.lines()
}

/// Runs `work` as [`delivered`] does, but under a global subscriber and in its own process: otherwise `tracing`
/// ignores events that are logged during another event.
fn delivered_globally(test: &str, work: impl FnOnce(), check: impl FnOnce(Vec<String>)) {
    alone(test, || {
        let (producer, mut inbox) = rig();
        let subscriber = tracing_subscriber::registry().with(layer(producer, LevelFilter::INFO));
        tracing::subscriber::set_global_default(subscriber).unwrap();
        work();
        check(inbox.lines());
    });
}

/// Runs `work`, the whole test, in its own process.
fn alone(test: &str, work: impl FnOnce()) {
    if std::env::var_os("TRACING_BIZPROC_TEST_ALONE").is_some() {
        return work();
    }
    let test = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let ran = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env("TRACING_BIZPROC_TEST_ALONE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{ran:?}");
}

fn token(text: &str) -> EventToken {
    EventToken::parse(text).unwrap()
}

#[test]
fn an_event_belongs_to_the_nearest_tagged_span_of_its_scope() {
    let lines = delivered(|| {
        info!("outside");
        let a = info_span!("a", event_token = A).entered();
        info!("in a");
        let inner = info_span!("inner", step = 1).entered();
        info!("in inner");
        let b = info_span!("b", event_token = B).entered();
        info!("in b");
        drop(b);
        info!("in inner again");
        drop(inner);
        drop(a);
        info!("outside again");
    });
    assert_eq!(
        lines,
        [
            "a: in a",
            "a: in inner, step=1",
            "b: in b",
            "b: closed",
            "a: in inner again, step=1",
            "a: closed",
        ]
    );
}

#[test]
fn explicit_parents_are_honoured() {
    let lines = delivered(|| {
        let a = info_span!("a", event_token = A);
        let b = info_span!("b", event_token = B);
        let _b = b.enter();
        info!(parent: &a, "to a");
        info!(parent: None, "to nobody");
        let under_a = info_span!(parent: &a, "under a", n = 1);
        let under_nobody = info_span!(parent: None, "under nobody");
        under_a.in_scope(|| info!("to a again"));
        under_nobody.in_scope(|| info!("to nobody again"));
        info!(parent: &under_a, "to a by its child");
    });
    assert_eq!(lines[..3], ["a: to a", "a: to a again, n=1", "a: to a by its child, n=1"]);
    assert_eq!(lines[3..], ["a: closed"], "b logged nothing");
}

#[test]
fn a_long_portal_field_is_cut() {
    let lines = delivered(|| {
        let portal = "ж".repeat(1_000);
        info!(event_token = A, portal, "a line");
    });
    assert_eq!(lines, [format!("a@{}: a line", "ж".repeat(128))]);
}

#[test]
fn a_token_on_the_event_has_priority_and_the_line_has_no_span_fields() {
    let lines = delivered(|| {
        info!(event_token = A, "alone");
        let _b = info_span!("b", event_token = B).entered();
        let _inner = info_span!("inner", secret = 1).entered();
        info!(event_token = token(A).as_field(), portal = "p1", n = 2, "own");
        info!(event_token = Empty, "none of its own");
        info!(event_token = "", "unusable");
    });
    assert_eq!(
        lines,
        [
            "a: alone",
            "a@p1: own n=2",
            "b: none of its own, secret=1",
            "b: unusable, secret=1",
            "b: closed",
        ]
    );
}

#[test]
fn a_token_may_come_in_any_form() {
    let lines = delivered(|| {
        let string = A.to_owned();
        info_span!("", event_token = string).in_scope(|| info!("1"));
        info_span!("", event_token = &string).in_scope(|| info!("2"));
        info_span!("", event_token = %string).in_scope(|| info!("3"));
        info_span!("", event_token = ?string).in_scope(|| info!("4"));
        info_span!("", event_token = Some(A)).in_scope(|| info!("5"));
        info_span!("", event_token = token(A).as_field()).in_scope(|| info!("6"));
        info_span!("", event_token = format_args!("{A}")).in_scope(|| info!("7"));
        let late = info_span!("", event_token = Empty);
        late.record("event_token", token(A).as_field());
        late.in_scope(|| info!("8"));
        info_span!("", event_token = None::<&str>).in_scope(|| info!("untagged"));
    });
    let lines: Vec<_> = lines.into_iter().filter(|line| !line.ends_with("closed")).collect();
    assert_eq!(lines, ["a: 1", "a: 2", "a: 3", "a: 4", "a: 5", "a: 6", "a: 7", "a: 8"]);
}

#[test]
fn other_layers_print_the_redaction_of_a_tag() {
    let (producer, mut inbox) = rig();
    let printed = Printed::default();
    let subscriber = tracing_subscriber::registry()
        .with(fmt_layer().with_writer(printed.clone()).with_ansi(false))
        .with(layer(producer, LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, || {
        let _a = info_span!("order", event_token = token(A).as_field()).entered();
        info!("charged");
        info!(event_token = token(B).as_field(), "elsewhere");
    });
    assert_eq!(inbox.lines()[..2], ["a: charged", "b: elsewhere"]);
    assert!(printed.text().contains("order{event_token=5e.a|…}"), "{}", printed.text());
    assert!(!printed.text().contains("ff"), "{}", printed.text());
}

#[test]
fn a_token_recorded_later_counts_for_children_too_and_can_be_replaced() {
    let lines = delivered(|| {
        let outer = info_span!("outer", event_token = Empty, portal = "p1").entered();
        let child = info_span!("child", step = 1).entered();
        info!("too early");
        outer.record("event_token", A);
        info!("first");
        outer.record("event_token", A);
        outer.record("event_token", "");
        info!("still first");
        outer.record("event_token", B);
        info!("second");
        outer.record("portal", "p2");
        info!("third");
        drop(child);
    });
    assert_eq!(
        lines,
        [
            "a@p1: first, step=1",
            "a@p1: still first, step=1",
            "a@p1: closed",
            "b@p1: second, step=1",
            "b@p1: closed",
            "b@p2: third, step=1",
            "b@p2: closed",
        ]
    );
}

#[test]
fn a_span_that_waits_for_its_token_is_an_inner_span_until_then() {
    let lines = delivered(|| {
        let _a = info_span!("a", event_token = A).entered();
        let _between = info_span!("between", x = 1).entered();
        let b = info_span!("b", event_token = Empty, y = 2).entered();
        let _inner = info_span!("inner", z = 3).entered();
        info!("in a");
        b.record("event_token", B);
        info!("in b");
    });
    assert_eq!(lines[..2], ["a: in a, z=3, y=2, x=1", "b: in b, z=3"]);
}

#[test]
fn fields_recorded_later_are_shown_from_then_on() {
    let lines = delivered(|| {
        let _a = info_span!("a", event_token = A, not_shown = 1).entered();
        let inner = info_span!("inner", step = "one", result = Empty).entered();
        let quiet = info_span!("quiet", code = Empty).entered();
        quiet.record("code", 7);
        info!("one");
        drop(quiet);
        inner.record("step", "two");
        inner.record("result", true);
        info!("two");
        inner.record("result", false);
        let _child = info_span!("child").entered();
        info!("three");
    });
    assert_eq!(
        lines[..3],
        [
            "a: one, code=7, step=one",
            "a: two, step=two result=Bool(true)",
            "a: three, step=two result=Bool(false)",
        ]
    );
}

#[test]
fn unusable_tokens_tag_nothing_and_are_counted() {
    let (producer, mut inbox) = rig();
    let subscriber =
        tracing_subscriber::registry().with(layer(producer.clone(), LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, || {
        for bad in ["", "line\nbreak", &"x".repeat(1_025)] {
            info_span!("bad", event_token = bad).in_scope(|| info!("lost"));
        }
        let event_token = token(A);
        info_span!("bad", event_token = %event_token).in_scope(|| info!("lost"));
        info_span!("bad", event_token = ?event_token).in_scope(|| info!("lost"));
        info_span!("bad", event_token = %Endless).in_scope(|| info!("lost"));
    });
    assert_eq!(inbox.lines(), [""; 0]);
    let counts: Vec<_> = inbox.0.unusable_tokens().collect();
    assert_eq!(
        counts,
        [
            (InvalidEventToken::Empty, 1),
            (InvalidEventToken::TooLong, 2),
            (InvalidEventToken::ControlCharacter, 1),
            (InvalidEventToken::Redacted, 2),
        ]
    );
}

/// Writes until the sink returns an error.
struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        loop {
            f.write_str("for ever and ")?;
        }
    }
}

#[test]
fn spans_are_entered_on_several_threads_and_reentered() {
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::registry().with(layer(producer, LevelFilter::INFO));
    let dispatch = Dispatch::new(subscriber);
    let a = tracing::dispatcher::with_default(&dispatch, || info_span!("a", event_token = A));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (a, dispatch) = (&a, &dispatch);
            scope.spawn(move || {
                tracing::dispatcher::with_default(dispatch, || {
                    for _ in 0..50 {
                        a.in_scope(|| info_span!("part", n).in_scope(|| info!("done")));
                    }
                });
            });
        }
    });
    assert_eq!(inbox.lines().len(), 200);
    drop(a);
    assert_eq!(inbox.lines(), ["a: closed"]);
    assert!(!inbox.0.lines_may_come());
}

#[instrument(skip_all, fields(event_token = event_token.as_field()))]
fn sync_handler(event_token: &EventToken) {
    info!("sync");
}

#[instrument(skip(event_token), fields(event_token = event_token.as_field()))]
async fn async_handler(event_token: EventToken, order: u32) {
    info!("before");
    YieldOnce(false).await;
    step(order).await;
}

#[instrument]
async fn step(order: u32) {
    YieldOnce(false).await;
    info!("step");
}

struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, _: &mut Task<'_>) -> Poll<()> {
        match std::mem::replace(&mut self.0, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

#[test]
fn instrumented_functions_and_futures_keep_their_logs_apart() {
    let lines = delivered(|| {
        sync_handler(&token(A));
        let mut tasks = [
            Box::pin(async_handler(token(A), 1)) as std::pin::Pin<Box<dyn Future<Output = ()>>>,
            Box::pin(async_handler(token(B), 2)),
            Box::pin(async { info!("plain") }.instrument(info_span!("c", event_token = "5e.c|"))),
        ];
        let mut task = Task::from_waker(Waker::noop());
        let mut open = tasks.len();
        while open > 0 {
            let ready = tasks.iter_mut().map(|one| pin!(one).poll(&mut task).is_ready());
            open -= ready.filter(|ready| *ready).count().min(open);
            if open == 2 {
                // The third is done, and must not be polled again.
                tasks[2] = Box::pin(std::future::pending());
            }
            if open == 0 {
                break;
            }
        }
    });
    let of = |name: &str| -> Vec<_> {
        lines.iter().filter(|line| line.starts_with(name)).map(String::as_str).collect()
    };
    assert_eq!(of("b"), ["b: before", "b: step, order=2", "b: closed"]);
    assert_eq!(of("c"), ["c: plain", "c: closed"]);
    assert_eq!(of("a")[2..], ["a: before", "a: step, order=1", "a: closed"]);
    assert_eq!(of("a")[..2], ["a: sync", "a: closed"]);
}

#[test]
fn the_level_applies_to_events_and_untagged_spans() {
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::registry()
        .with(fmt_layer().with_writer(io::sink))
        .with(layer(producer, LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, || {
        let _a = debug_span!("a", event_token = A).entered();
        let _quiet = debug_span!("quiet", hidden = 1).entered();
        error!("e");
        info!("i");
        debug!("d");
        trace!("t");
        let _inner = info_span!("inner", shown = 1).entered();
        warn!("w");
    });
    assert_eq!(inbox.lines(), ["a: e", "a: i", "a: w, shown=1", "a: closed"]);
}

#[test]
fn an_event_in_a_hidden_span_uses_the_parent_of_that_span() {
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::registry()
        .with(fmt_layer().with_writer(io::sink))
        .with(layer(producer, LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, || {
        let a = info_span!("a", event_token = A);
        let _b = info_span!("b", event_token = B).entered();
        let hidden = debug_span!(parent: &a, "hidden");
        let orphan = debug_span!(parent: None, "orphan");
        hidden.in_scope(|| info!("to a"));
        info!(parent: &hidden, "to a again");
        orphan.in_scope(|| info!("to nobody"));
        info!("to b");
    });
    assert_eq!(inbox.lines()[..3], ["a: to a", "a: to a again", "b: to b"]);
}

#[test]
fn other_layers_lose_nothing_and_the_process_is_not_raised() {
    // Alone: the hint is that of our layer.
    let alone = tracing_subscriber::registry().with(layer(rig().0, LevelFilter::INFO));
    assert_eq!(alone.max_level_hint(), Some(LevelFilter::INFO));

    // With a layer that has a filter, in both orders.
    let (printed, plain) = (Printed::default(), Printed::default());
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::registry()
        .with(layer(producer, LevelFilter::INFO))
        .with(fmt_layer().with_writer(printed.clone()).with_filter(LevelFilter::WARN));
    assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::INFO));
    let work = || {
        let _a = info_span!("a", event_token = A).entered();
        debug!("debug");
        info!("info");
        warn!("warn");
    };
    tracing::subscriber::with_default(subscriber, work);
    assert_eq!(inbox.lines(), ["a: info", "a: warn", "a: closed"]);
    assert_eq!(printed.text().lines().count(), 1);

    // With a layer without a filter.
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::registry()
        .with(fmt_layer().with_writer(plain.clone()))
        .with(layer(producer, LevelFilter::WARN));
    assert_eq!(subscriber.max_level_hint(), None);
    tracing::subscriber::with_default(subscriber, work);
    assert_eq!(inbox.lines(), ["a: warn", "a: closed"]);
    assert_eq!(plain.text().lines().count(), 3);
}

#[test]
fn an_env_filter_of_the_whole_subscriber_is_applied() {
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::registry()
        .with(EnvFilter::new("warn,tracing_bizproc=info,noisy=trace"))
        .with(layer(producer, LevelFilter::DEBUG));
    tracing::subscriber::with_default(subscriber, || {
        let _a = info_span!("a", event_token = A).entered();
        info!("ours");
        info!(target: "other", "filtered");
        debug!(target: "noisy", "debug");
        trace!(target: "noisy", "under our level");
    });
    assert_eq!(inbox.lines(), ["a: ours", "a: debug", "a: closed"]);
}

#[test]
fn the_level_can_change_at_run_time_beside_other_layers() {
    let (producer, mut inbox) = rig();
    let (filter, handle) = reload::Layer::new(LevelFilter::WARN);
    let subscriber = tracing_subscriber::registry()
        .with(fmt_layer().with_writer(io::sink))
        .with(layer(producer, LevelFilter::DEBUG).with_filter(filter));
    assert_eq!(subscriber.max_level_hint(), None, "fmt still sees everything");
    tracing::subscriber::with_default(subscriber, || {
        let _a = tracing::warn_span!("a", event_token = A).entered();
        info!("too low");
        handle.modify(|filter| *filter = LevelFilter::DEBUG).unwrap();
        let _b = info_span!("b", event_token = B).entered();
        debug!("now");
        handle.modify(|filter| *filter = LevelFilter::INFO).unwrap();
        let hidden = debug_span!("hidden", n = 1);
        hidden.in_scope(|| info!("in hidden"));
    });
    assert_eq!(inbox.lines(), ["b: now", "b: in hidden", "b: closed"]);
}

#[test]
fn a_span_that_a_filter_of_the_layer_hides_keeps_its_explicit_parent() {
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::registry()
        .with(fmt_layer().with_writer(io::sink))
        .with(layer(producer, LevelFilter::TRACE).with_filter(LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, || {
        let a = info_span!("a", event_token = A);
        let _b = info_span!("b", event_token = B).entered();
        let hidden = debug_span!(parent: &a, "hidden");
        hidden.in_scope(|| {
            info!("in hidden");
            info_span!("inner").in_scope(|| info!("in inner"));
        });
        drop(hidden);
        drop(a);
    });
    assert_eq!(inbox.lines(), ["a: in hidden", "a: in inner", "a: closed"]);
}

/// After an `enabled!`, the answers of the filters stay on the thread, and are used for the next span or event.
/// <https://github.com/tokio-rs/tracing/issues/2519>
#[test]
fn calls_of_enabled_hide_nothing() {
    alone("calls_of_enabled_hide_nothing", || {
        let (producer, mut inbox) = rig();
        let alive = producer.alive();
        let subscriber = tracing_subscriber::registry()
            .with(fmt_layer().with_writer(io::sink))
            .with(layer(producer, LevelFilter::INFO));
        tracing::subscriber::with_default(subscriber, || {
            info!("known to all");
            assert!(!alive.read().has_filter_notes());
            assert!(tracing::enabled!(Level::DEBUG), "for fmt");
            assert!(alive.read().has_filter_notes());
            drop(info_span!("startup"));
            let _a = info_span!("a", event_token = A).entered();
            info!("first");
            assert!(tracing::enabled!(Level::DEBUG));
            info!("second");
            assert!(tracing::enabled!(Level::DEBUG));
            let _b = info_span!("b", event_token = B).entered();
            let _inner = info_span!("inner", n = 1).entered();
            info!("third");
        });
        let lines = ["a: first", "a: second", "b: third, n=1", "b: closed", "a: closed"];
        assert_eq!(inbox.lines(), lines);
    });
}

#[test]
fn calls_of_enabled_do_not_affect_other_filters() {
    alone("calls_of_enabled_do_not_affect_other_filters", || {
        let (producer, _inbox) = rig();
        let subscriber = tracing_subscriber::registry()
            .with(fmt_layer().with_writer(io::sink).with_filter(LevelFilter::DEBUG))
            .with(layer(producer, LevelFilter::INFO));
        tracing::subscriber::with_default(subscriber, || {
            let _enabled = tracing::enabled!(Level::DEBUG);
            // tracing-subscriber has an assertion that fails if an answer of a filter was not removed.
            (0..4).for_each(|_| drop(info_span!("plain")));
        });
    });
}

#[test]
fn an_optional_layer_works() {
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::registry()
        .with(Some(layer(producer, LevelFilter::INFO)))
        .with(fmt_layer().with_writer(io::sink));
    tracing::subscriber::with_default(subscriber, || {
        let _a = info_span!("a", event_token = A).entered();
        let _quiet = debug_span!("quiet").entered();
        info!("in quiet");
    });
    assert_eq!(inbox.lines(), ["a: in quiet", "a: closed"]);
}

#[test]
fn two_layers_in_one_subscriber_both_deliver() {
    let ((producer1, mut inbox1), (producer2, mut inbox2)) = (rig(), rig());
    let subscriber = tracing_subscriber::registry()
        .with(layer(producer1, LevelFilter::INFO))
        .with(layer(producer2, LevelFilter::WARN));
    tracing::subscriber::with_default(subscriber, || {
        let a = info_span!("a", event_token = A).entered();
        let inner = warn_span("inner");
        let inner = inner.entered();
        info!("info");
        warn!("warn");
        inner.record("late", 1);
        warn!("again");
        drop(inner);
        drop(a);
    });
    assert_eq!(inbox1.lines(), ["a: info", "a: warn", "a: again, late=1", "a: closed"]);
    assert_eq!(inbox2.lines(), ["a: warn", "a: again, late=1", "a: closed"]);
}

fn warn_span(name: &'static str) -> tracing::Span {
    tracing::warn_span!("inner", name = Empty, late = Empty, kind = name.get(9..))
}

/// Logs while it is printed.
struct Chatty(&'static str);

impl fmt::Debug for Chatty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _other = info_span!("other", event_token = B, detail = 1).entered();
        info!("printing {}", self.0);
        f.write_str(self.0)
    }
}

/// Logs itself while it is printed.
struct Vain;

impl fmt::Debug for Vain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info!(me = ?Vain, "look");
        f.write_str("vain")
    }
}

struct Broken;

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half a value and then")?;
        panic!("as this test expects")
    }
}

#[test]
fn a_value_that_logs_while_it_is_printed_is_harmless() {
    let work = || {
        let _a = info_span!("a", event_token = A).entered();
        let span = info_span!("inner", field = ?Chatty("one"), more = Empty).entered();
        span.record("more", tracing::field::debug(Chatty("two")));
        info!(value = ?Chatty("three"), n = 3, "said");
    };
    delivered_globally("a_value_that_logs_while_it_is_printed_is_harmless", work, |lines| {
        let lines: Vec<_> = lines.into_iter().filter(|line| !line.ends_with("closed")).collect();
        assert_eq!(
            lines,
            [
                "b: printing one",
                "b: printing two",
                "b: printing three",
                "a: said value=three n=3, field=one more=two",
            ]
        );
    });
}

#[test]
fn recursion_of_a_value_that_logs_itself_is_limited() {
    let work = || {
        let _a = info_span!("a", event_token = A).entered();
        info!(me = ?Vain, "look");
    };
    delivered_globally("recursion_of_a_value_that_logs_itself_is_limited", work, |lines| {
        assert!((3..20).contains(&lines.len()), "{lines:?}");
        assert!(lines.iter().all(|line| line == "a: look me=vain" || line == "a: closed"));
    });
}

#[test]
fn a_value_that_panics_affects_only_itself() {
    let lines = delivered(|| {
        let _a = info_span!("a", event_token = A, bad = ?Broken).entered();
        let _inner = info_span!("inner", worse = ?Broken).entered();
        info!(before = 1, value = ?Broken, after = 2, "said");
        info_span!("b", event_token = ?Broken).in_scope(|| info!("said in b"));
        info!("as ever");
    });
    let broken = "Unwritable";
    assert_eq!(
        lines[..3],
        [
            format!("a: said before=1 value={broken} after=2, worse={broken}"),
            format!("a: said in b, worse={broken}"),
            format!("a: as ever, worse={broken}"),
        ]
    );
}

#[test]
fn events_of_the_workers_thread_are_not_lines() {
    let (producer, mut inbox) = rig();
    let dispatch =
        Dispatch::new(tracing_subscriber::registry().with(layer(producer, LevelFilter::TRACE)));
    let worker = std::thread::spawn(move || {
        mark_worker_thread();
        tracing::dispatcher::with_default(&dispatch, || {
            let _a = info_span!("a", event_token = A).entered();
            info!("on the worker");
            info!(event_token = B, "on the worker");
        });
    });
    worker.join().unwrap();
    assert_eq!((inbox.lines(), inbox.0.lines_may_come()), (vec![], false));
}

#[test]
fn our_own_reports_are_not_logged_to_the_portal() {
    let lines = delivered(|| {
        let _a = info_span!("a", event_token = A).entered();
        error!(target: "tracing_bizproc", "trouble");
        error!(target: "tracing_bizproc::app", "a user's own");
    });
    assert_eq!(lines, ["a: a user's own", "a: closed"]);
}

#[test]
fn a_full_queue_formats_nothing() {
    let limits = Limits {
        queue: 2,
        lines: 9,
        bytes: 1 << 20,
        overflow: Overflow::DropNewest,
        token_share: 1.0,
    };
    let (producer, consumer) = queue(limits);
    let mut inbox = Inbox(consumer);
    let subscriber =
        tracing_subscriber::registry().with(layer(producer.clone(), LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, || {
        let _a = info_span!("a", event_token = A).entered();
        (0..3).for_each(|n| info!(n));
        info!(never = ?Broken);
    });
    assert_eq!(producer.refused(DropReason::QueueFull), 2);
    assert_eq!(inbox.lines(), ["a: n=0", "a: n=1", "a: closed"]);
}

#[test]
fn a_span_whose_lines_were_all_refused_still_sends_its_close() {
    let limits = Limits {
        queue: 1,
        lines: 9,
        bytes: 1 << 20,
        overflow: Overflow::DropNewest,
        token_share: 1.0,
    };
    let (producer, consumer) = queue(limits);
    let mut inbox = Inbox(consumer);
    let subscriber = tracing_subscriber::registry().with(layer(producer, LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, || {
        let _a = info_span!("a", event_token = A).entered();
        info!("takes the only room");
        info_span!("b", event_token = B).in_scope(|| info!("refused"));
        let late = info_span!("late", event_token = "5e.c|A|1.ff").entered();
        late.record("event_token", "5e.d|A|1.ff");
        info!("refused");
    });
    assert_eq!(inbox.lines(), ["a: takes the only room", "b: closed", "d: closed", "a: closed"]);
}

#[test]
fn deep_nesting_is_bounded() {
    let lines = delivered(|| {
        fn dive(depth: u32, work: &dyn Fn()) {
            match depth {
                0 => work(),
                _ => info_span!("deeper", depth).in_scope(|| dive(depth - 1, work)),
            }
        }
        let _a = info_span!("a", event_token = A).entered();
        dive(500, &|| {
            let late = info_span!("late", event_token = Empty, x = 1).entered();
            info!("before");
            late.record("event_token", B);
            info!("after");
        });
    });
    assert_eq!(lines[0], "a: before, x=1");
    assert_eq!(lines[1], "b: after");
}

/// A layer that delays the first registration of a callsite named "held".
struct Slow(Arc<Held>);

struct Held {
    first: AtomicBool,
    begun: Barrier,
    goes_on: Barrier,
}

impl<S: Subscriber> Layer<S> for Slow {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.name() == "held" && self.0.first.swap(false, Relaxed) {
            self.0.begun.wait();
            self.0.goes_on.wait();
        }
        Interest::always()
    }
}

/// What arrives of `work(B)` while another thread, in `work(A)`, registers a callsite named "held", and has not
/// called our layer yet.
fn delivered_during_registration(test: &str, work: fn(&str), check: impl FnOnce(Vec<String>)) {
    alone(test, || {
        let (producer, mut inbox) = rig();
        let (begun, goes_on) = (Barrier::new(2), Barrier::new(2));
        let held = Arc::new(Held { first: AtomicBool::new(true), begun, goes_on });
        // The outermost layer is asked first.
        let subscriber = tracing_subscriber::registry()
            .with(layer(producer, LevelFilter::INFO))
            .with(Slow(held.clone()));
        tracing::subscriber::set_global_default(subscriber).unwrap();
        let registers = std::thread::spawn(move || work(A));
        held.begun.wait();
        work(B);
        let lines = inbox.lines();
        held.goes_on.wait();
        registers.join().unwrap();
        check(lines);
    });
}

#[test]
fn a_span_is_tagged_while_another_thread_registers_its_callsite() {
    let work = |token: &str| {
        info_span!("held", event_token = token).in_scope(|| info!("said"));
    };
    let test = "a_span_is_tagged_while_another_thread_registers_its_callsite";
    delivered_during_registration(test, work, |lines| {
        assert_eq!(lines, ["b: said", "b: closed"]);
    });
}

#[test]
fn a_late_token_counts_while_another_thread_registers_the_callsite() {
    let work = |token: &str| {
        let span = info_span!("held", event_token = Empty);
        span.record("event_token", token);
        span.in_scope(|| info!("said"));
    };
    let test = "a_late_token_counts_while_another_thread_registers_the_callsite";
    delivered_during_registration(test, work, |lines| {
        assert_eq!(lines, ["b: said", "b: closed"]);
    });
}

#[test]
fn an_event_is_tagged_while_another_thread_registers_its_callsite() {
    let work = |token: &str| info!(name: "held", event_token = token, "said");
    let test = "an_event_is_tagged_while_another_thread_registers_its_callsite";
    delivered_during_registration(test, work, |lines| assert_eq!(lines, ["b: said"]));
}

#[test]
fn a_token_stays_out_of_other_logs_while_another_thread_registers_its_callsite() {
    let work = |token: &str| {
        let _outer = info_span!("outer", event_token = "5e.o|A|1.ff").entered();
        info!(name: "held", event_token = token, portal = "p1", "said");
    };
    let test = "a_token_stays_out_of_other_logs_while_another_thread_registers_its_callsite";
    delivered_during_registration(test, work, |lines| assert_eq!(lines, ["b@p1: said"]));
}

#[test]
fn nothing_counts_as_alive_after_spans_are_closed_and_lines_are_taken() {
    let (producer, mut inbox) = rig();
    let alive = producer.alive();
    let subscriber = tracing_subscriber::registry().with(layer(producer, LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, || {
        let a = info_span!("a", event_token = A).entered();
        let late = info_span!("late", event_token = Empty).entered();
        info_span!("inner").in_scope(|| info!("one"));
        info!(event_token = B, "two");
        assert!(alive.read().has_slots());
        drop((late, a));
        assert!(!alive.read().has_slots());
    });
    assert!(inbox.0.lines_may_come());
    assert_eq!(inbox.lines().len(), 3);
    assert!(!inbox.0.lines_may_come());
}

/// Keeps the output of a fmt layer.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Printed {
    type Writer = Printed;

    fn make_writer(&'a self) -> Printed {
        self.clone()
    }
}
