//! How a line looks: language, format, time. No format can lose a line.

use std::error::Error;
use std::fmt::{self, Write};

use bizproc_portal::{Fault, Moment, Portal, Retention as Kept};
use tracing::{error, info, info_span, warn};
use tracing_bizproc::config::{Overflow, Retention};
use tracing_bizproc::format::{
    Field, Full, Json, Language, Line, LineTime, MessageOnly, UtcOffset, Wording,
};
use tracing_bizproc::{Builder, Completion};
use tracing_subscriber::prelude::*;

use crate::app::{AppStage, wait};
use crate::stage::{Captured, PATIENCE, Stage, in_child, is_child, lines, quick, token};

/// The log of a few lines with these options.
fn story(options: impl FnOnce(Builder) -> Builder) -> Vec<String> {
    let stage = Stage::with(Portal::builder(), options);
    let (workflow, _, event_token) = stage.activity();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
        info!(target: "shop::orders", order = 1042, "Order received");
        info_span!("payment", provider = "Kassa").in_scope(|| {
            warn!(target: "shop::payment", code = 7, "The bank asks for a second factor");
        });
        info!(target: "shop::orders", only = "a field");
    });
    stage.flushed();
    lines(&workflow)
}

#[test]
fn a_russian_log_has_only_russian_texts() {
    let portal = Portal::builder().retention(Kept::Cloud);
    let stage = Stage::with(portal, |builder| {
        let base = std::time::Duration::from_millis(1);
        builder
            .wording(Language::Russian)
            .line_time(LineTime::Offset(UtcOffset::hours(3)))
            .retention(Retention::Custom { kept: 1, base, growth: 1.0 })
            .overflow(Overflow::DropNewest)
            .pending_lines(3)
    });
    let (workflow, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    stage.portal.faults().next(Fault::Reset(Moment::AfterExecution));
    span.in_scope(|| (0..5).for_each(|n| warn!(n, "Заканчивается лампа")));
    stage.bizproc.flush_blocking(PATIENCE).unwrap();
    span.in_scope(|| error!("Принтер горит"));
    stage.flushed();

    let log = lines(&workflow);
    let has = |text: &str| log.iter().any(|line| line.contains(text));
    assert!(has("+03:00 ВНИМАНИЕ: Заканчивается лампа (n=2)"), "{log:#?}");
    assert!(has("(возможен повтор: ответ на первую попытку потерян)"), "{log:#?}");
    assert!(has("(2 строки пропущены с ") && has("исчерпана память для журнала)"), "{log:#?}");
    assert!(has("(портал больше не показывает 3 более ранние строки)"), "{log:#?}");
    assert!(has("ОШИБКА: Принтер горит"), "{log:#?}");
    let english = |line: &&String| line.contains("line") || line.contains("UTC");
    assert_eq!(log.iter().find(english), None);
}

#[test]
fn a_failed_activity_says_so_in_the_logs_language() {
    let stage = AppStage::with(1, |oauth| oauth, |builder| builder.wording(Language::Russian));
    let (workflow, _, verified) = stage.open(0);
    let activity = stage.bizproc.activity(verified).first().expect("it is the first");
    wait(activity.fail("банк не отвечает")).unwrap();
    assert_eq!(workflow.texts(), ["ОШИБКА: банк не отвечает"]);
}

#[test]
fn a_last_message_that_is_too_long_says_that_it_was_cut() {
    let stage = Stage::quick();
    let (workflow, _, event_token) = stage.activity();
    let completion = Completion::new().message("слово ".repeat(20_000));
    wait(stage.bizproc.complete(&event_token, completion)).unwrap();
    let texts = workflow.texts();
    let (kept, cut) = texts[0].rsplit_once("… (").unwrap();
    assert!(texts[0].len() <= 60_000, "{}", texts[0].len());
    assert_eq!(cut, format!("{} bytes more)", 20_000 * "слово ".len() - kept.len()));
}

#[test]
fn each_built_in_format_shows_what_its_documentation_says() {
    assert_eq!(
        story(|builder| builder.format(MessageOnly)),
        ["Order received", "WARNING: The bank asks for a second factor", "(only=a field)"]
    );
    let full = story(|builder| builder.format(Full));
    let start = "WARN shop::payment: The bank asks for a second factor \
                 (code=7; payment: provider=Kassa) tests/it/reading.rs:";
    assert!(full[1].starts_with(start), "{}", full[1]);
    assert!(full[0].starts_with("INFO shop::orders: Order received (order=1042) "), "{}", full[0]);

    let json = story(|builder| builder.format(Json).line_time(LineTime::None));
    let objects = json.iter().map(|line| line.strip_prefix("• ").unwrap());
    let [first, second, third] = objects
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    assert_eq!(first["message"], "Order received");
    assert_eq!(first["fields"]["order"], 1042);
    assert_eq!(second["spans"][0]["name"], "payment");
    assert_eq!(second["spans"][0]["fields"]["provider"], "Kassa");
    assert_eq!((&second["level"], &second["target"]), (&"WARN".into(), &"shop::payment".into()));
    assert_eq!(third.get("message"), None);
    assert!(third["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_closure_is_a_format() {
    let log = story(|builder| {
        builder.line_prefix("[shop] ").format(|line: &Line<'_>, out: &mut dyn Write| {
            if let Some(message) = line.message() {
                write!(out, "{message}")?;
            }
            line.fields().try_for_each(|field: Field<'_>| write!(out, " {}:{field}", field.name()))
        })
    });
    assert_eq!(
        log,
        [
            "[shop] Order received order:1042",
            "[shop] The bank asks for a second factor code:7",
            "[shop]  only:a field"
        ]
    );
}

#[test]
fn a_format_cannot_break_the_log() {
    let hostile = |_: &Line<'_>, out: &mut dyn Write| {
        out.write_str("one\n• [timestamp=5]two[/timestamp] $result[c0] {=user:user_5}\u{202e}")
    };
    let log = story(|builder| builder.format(hostile).line_prefix("\n• "));
    assert_eq!(log.len(), 3, "{log:#?}");
    let shown = " ¶ · one ¶ · [timestamp=5]two[/timestamp] $result[c0] {=user:user_5}\\u{202E}";
    assert_eq!(log[0].replace('\u{2060}', ""), shown);
}

/// A format that writes without end.
fn endless(_: &Line<'_>, out: &mut dyn Write) -> fmt::Result {
    loop {
        out.write_str("without end ")?;
    }
}

#[test]
fn an_endless_format_is_cut() {
    let stage = Stage::with(Portal::builder(), |builder| builder.format(endless));
    let (workflow, _, event_token) = stage.activity();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("said"));
    stage.flushed();
    let log = workflow.texts().concat();
    assert!(log.len() < 1_100_000 && log.contains("… (") && log.ends_with(" bytes more)"));
    assert_eq!(stage.bizproc.stats().format_failures(), 0);
}

/// A wording that panics in every method.
struct Speechless;

impl Wording for Speechless {
    fn level(&self, _: tracing::Level) -> std::borrow::Cow<'_, str> {
        panic!("a wording of the app's")
    }
}

#[test]
fn a_format_that_panics_or_fails_loses_no_line_and_is_counted() {
    let failing = |line: &Line<'_>, out: &mut dyn Write| {
        out.write_str("half a ")?;
        match line.fields().next() {
            Some(field) if field.name() == "order" => panic!("a format of the app's"),
            Some(_) => Err(fmt::Error),
            None => Ok(()),
        }
    };
    let stage =
        Stage::with(Portal::builder(), |builder| builder.format(failing).wording(Speechless));
    let (workflow, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| {
        info!(order = 1042, "Order received");
        warn!(code = 7, "The bank asks for a second factor");
        info!("line");
    });
    stage.flushed();
    assert_eq!(
        lines(&workflow),
        [
            "Order received (order=1042)",
            "WARNING: The bank asks for a second factor (code=7)",
            "half a"
        ]
    );
    let stats = stage.bizproc.stats();
    assert_eq!((stats.acknowledged(), stats.lost(), stats.restarts()), (3, 0, 0));
    assert_eq!(stats.format_failures(), 5 + 2, "the words of five levels, and two lines");
}

/// An error that shows its source itself, as some do, or does not.
#[derive(Debug)]
struct Failed(&'static str, Option<Box<Failed>>);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Failed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|source| source as _)
    }
}

/// Values of fields, and how they look in the log.
#[test]
fn values_are_shown_as_people_write_them() {
    let stage = Stage::quick();
    let (workflow, _, event_token) = stage.activity();
    let full = Failed("disk full", None);
    let chain = Failed("order not saved", Some(Box::new(full)));
    let own = Failed("sync: no answer", Some(Box::new(Failed("no answer", None))));
    let (some, none) = (Some(7), None::<i32>);
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_764_244_805);
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
        info!(error = &chain as &dyn Error, "Failed");
        info!(error = &own as &dyn Error, "Failed");
        info!(error = %chain, "Displayed");
        info!(some, none, "Options");
        info!(?some, ?none, "Options by Debug");
        info!(sum = 0.1 + 0.2, single = 0.1_f32, whole = 100.0, money = 1_234_567.89, "Floats");
        info!(?at, took = ?std::time::Duration::from_millis(1_500), "Times");
        info!(message = "the field", "the text");
        info!(r#type = "deal", name = "Anna", quoted = ?"Anna", "Names");
    });
    stage.flushed();
    assert_eq!(
        lines(&workflow),
        [
            "Failed (error=order not saved: disk full)",
            "Failed (error=sync: no answer)",
            "Displayed (error=order not saved)",
            "Options (some=7)",
            "Options by Debug (some=Some(7), none=None)",
            "Floats (sum=0.3, single=0.1, whole=100, money=1234567.89)",
            "Times (at=2025-11-27 12:00:05 UTC, took=1.5s)",
            "the text (message=the field)",
            "Names (type=deal, name=Anna, quoted=\"Anna\")",
        ]
    );
}

/// With a global subscriber, as apps have, so that the worker's thread calls the other layer.
#[test]
fn a_format_that_fails_is_reported() {
    if !is_child() {
        let name = "reading::a_format_that_fails_is_reported";
        return in_child(name, &[]);
    }
    let printed = Captured::default();
    let writer = printed.clone();
    let portal = Portal::builder().start().unwrap();
    let failing = |_: &Line<'_>, _: &mut dyn Write| Err(fmt::Error);
    let (layer, guard) = quick(&portal).format(failing).build().unwrap();
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone()))
        .with(layer)
        .init();
    let workflow = portal.start_workflow("Order");
    let event_token = token(&workflow.open_activity("Fulfil"));
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| info!("the customer's text"));
    guard.shutdown_blocking(PATIENCE);
    let printed = printed.text();
    let reported = printed.lines().find(|line| line.contains("WARN tracing_bizproc")).unwrap();
    assert!(reported.contains("`Format` or `Wording`") && reported.contains("none is lost"));
    assert!(!reported.contains("customer"), "{reported}");
    assert_eq!(lines(&workflow), ["the customer's text"]);
}

#[test]
fn options_of_a_line_are_checked() {
    let portal = Portal::builder().start().unwrap();
    let error = |builder: Builder| {
        builder.build::<tracing_subscriber::Registry>().err().unwrap().to_string()
    };
    let far = LineTime::Offset(UtcOffset::hours(40));
    assert!(error(quick(&portal).line_time(far)).contains("line_time"));
    assert!(error(quick(&portal).line_prefix("x".repeat(201))).contains("line_prefix"));
    assert!(error(quick(&portal).line_prefix("\0".repeat(67))).contains("line_prefix"));
    let error = error(quick(&portal).line_prefix("[shop] ").line_bytes(262));
    assert!(error.contains("line_bytes must be at least 256 bytes longer"), "{error}");
}
