use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use log::kv::Source;
use log::{Level, info, logger};

use super::*;
use crate::line::{EventToken, Tag, Value};
use crate::queue::{Consumer, Limits, Message, Overflow, mark_worker_thread, queue};

const A: &str = "5e.a|A|1.ff";
const B: &str = "5e.b|A|1.ff";
const INFO: tracing_core::LevelFilter = tracing_core::LevelFilter::INFO;

/// The app's own logger: keeps what it is given, as "target text {key=value, ..}".
#[derive(Clone, Default)]
struct Own(Arc<Mutex<Vec<String>>>);

impl Own {
    fn records(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Log for Own {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() != "silent"
    }

    fn log(&self, record: &Record<'_>) {
        struct Pairs(Vec<String>);
        impl<'kvs> log::kv::VisitSource<'kvs> for Pairs {
            fn visit_pair(
                &mut self,
                key: log::kv::Key<'kvs>,
                value: log::kv::Value<'kvs>,
            ) -> Result<(), log::kv::Error> {
                self.0.push(format!("{key}={value}"));
                Ok(())
            }
        }
        let mut pairs = Pairs(Vec::new());
        record.key_values().visit(&mut pairs).unwrap();
        let said = format!("{} {{{}}}", record.args(), pairs.0.join(", "));
        self.0.lock().unwrap().push(said);
    }

    fn flush(&self) {}
}

struct Rig {
    logger: BizprocLogger<Own>,
    own: Own,
    inbox: Consumer,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(Fields::new())
    }

    fn with(fields: Fields) -> Rig {
        let limits = Limits {
            queue: 100,
            lines: 100,
            bytes: 1 << 22,
            overflow: Overflow::DropNewest,
            token_share: 1.0,
        };
        let (producer, inbox) = queue(limits);
        let own = Own::default();
        Rig { logger: BizprocLogger::new(producer, INFO, fields, own.clone()), own, inbox }
    }

    fn info(&self, text: &str) {
        self.log(Level::Info, "app", format_args!("{text}"), &None::<(&str, i32)>);
    }

    fn log(&self, level: Level, target: &str, args: fmt::Arguments<'_>, pairs: &dyn Source) {
        let mut record = Record::builder();
        record.level(level).target(target).module_path(Some("app::module")).file(Some("app.rs"));
        self.logger.log(&record.line(Some(7)).key_values(pairs).args(args).build());
    }

    /// What came since the last call: `token: message name=value`.
    fn lines(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.inbox.try_take()).map(|message| shown(&message)).collect()
    }
}

fn name(tag: &Tag) -> &str {
    &tag.event_token.expose()[3..4]
}

fn shown(message: &Message) -> String {
    let line = match message {
        Message::Line(line) => line,
        Message::Scarce(line) => line,
        Message::SpanClosed(tag) => return format!("{}: closed", name(tag)),
        Message::Control(_) => return "control".to_owned(),
    };
    let mut text = format!("{}:", name(&line.tag));
    for (name, value) in line.fields() {
        let name = if name == "message" { String::new() } else { format!("{name}=") };
        text += &match value {
            Value::Str(value) => format!(" {name}{value}"),
            other => format!(" {name}{other:?}"),
        };
    }
    text
}

fn token(text: &str) -> EventToken {
    EventToken::parse(text).unwrap()
}

#[test]
fn records_in_a_scope_are_lines_and_the_app_gets_all_records() {
    let mut rig = Rig::new();
    rig.info("outside");
    let result = with_event_token(&token(A), || {
        rig.info("inside");
        with_event_token(&token(B), || rig.info("further inside"));
        rig.info("inside again");
        7
    });
    rig.info("outside again");
    assert_eq!(result, 7);
    let lines = ["a: inside", "b: further inside", "b: closed", "a: inside again", "a: closed"];
    assert_eq!(rig.lines(), lines);
    assert_eq!(rig.own.records().len(), 5);
    assert!(!rig.inbox.lines_may_come(), "the worker may rest");
}

#[test]
fn a_scope_ends_with_its_work_also_when_that_panics() {
    let mut rig = Rig::new();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        with_event_token(&token(A), || {
            rig.info("inside");
            panic!("the app's own");
        });
    }));
    unwound.unwrap_err();
    rig.info("outside");
    assert_eq!(rig.lines(), ["a: inside", "a: closed"]);
}

#[test]
fn a_token_in_the_key_values_is_used_and_never_shown() {
    let mut rig = Rig::new();
    with_event_token(&token(A), || {
        let typed = token(B);
        rig.log(Level::Info, "app", format_args!("typed"), &[("event_token", &typed)]);
        rig.log(Level::Info, "app", format_args!("text"), &[("event_token", B), ("k", "v")]);
        rig.log(Level::Info, "app", format_args!("none"), &[("event_token", "")]);
    });
    assert_eq!(rig.lines(), ["b: typed", "b: text k=v"]);
    assert_eq!(rig.logger.producer.unusable_tokens(), 1);
    let shown = ["typed {event_token=…}", "text {event_token=…, k=v}", "none {event_token=…}"];
    assert_eq!(rig.own.records(), shown);
}

#[test]
fn a_portal_in_the_key_values_is_used() {
    let mut rig = Rig::new();
    rig.log(Level::Info, "app", format_args!("x"), &[("event_token", A), ("portal", "p1")]);
    let scope = LogScope::from(&token(B)).on(&crate::line::PortalId::from("p2"));
    with_event_token(scope, || rig.info("y"));
    let portals = std::iter::from_fn(|| rig.inbox.try_take()).filter_map(|message| match message {
        Message::Line(line) => line.tag.portal.as_ref().map(ToString::to_string),
        _ => None,
    });
    assert_eq!(portals.collect::<Vec<_>>(), ["p1", "p2"]);
}

#[test]
fn level_and_target_decide_for_each_logger_by_itself() {
    let mut rig = Rig::new();
    with_event_token(&token(A), || {
        let none = &None::<(&str, i32)>;
        rig.log(Level::Debug, "app", format_args!("for the app's logger only"), none);
        rig.log(Level::Info, "silent", format_args!("for the portal only"), none);
        rig.log(Level::Warn, "tracing_bizproc", format_args!("a report"), none);
        rig.log(Level::Warn, "tracing_bizproc::app", format_args!("a user's own"), none);
        let metadata = Metadata::builder().level(Level::Info).target("silent").build();
        assert!(rig.logger.enabled(&metadata), "a line");
    });
    assert_eq!(rig.lines(), ["a: for the portal only", "a: a user's own", "a: closed"]);
    assert_eq!(rig.own.records().len(), 3);
    let metadata = Metadata::builder().level(Level::Info).target("silent").build();
    assert!(!rig.logger.enabled(&metadata), "nobody's");
}

#[test]
fn values_keep_their_types_and_a_record_says_where_it_was_logged() {
    let mut rig = Rig::new();
    let pairs: &[(&str, log::kv::Value<'_>)] = &[
        ("event_token", A.into()),
        ("i", (-7).into()),
        ("u", 7_u64.into()),
        ("f", 0.5.into()),
        ("b", true.into()),
        ("s", "text".into()),
        ("c", 'ё'.into()),
        ("big", u128::MAX.into()),
    ];
    rig.log(Level::Warn, "payments", format_args!("said {}", 1), &pairs);
    let Some(Message::Line(line)) = rig.inbox.try_take() else { panic!("no line") };
    assert_eq!(
        line.fields().collect::<Vec<_>>(),
        [
            ("message", Value::Str("said 1")),
            ("i", Value::I64(-7)),
            ("u", Value::U64(7)),
            ("f", Value::F64(0.5)),
            ("b", Value::Bool(true)),
            ("s", Value::Str("text")),
            ("c", Value::Str("ё")),
            ("big", Value::U128(u128::MAX)),
        ]
    );
    assert_eq!(*line.metadata.level(), tracing_core::Level::WARN);
    let origin = line.origin();
    assert_eq!((origin.target, origin.module_path), ("payments", Some("app::module")));
    assert_eq!((origin.file, origin.line), (Some("app.rs"), Some(7)));
}

/// Regression: the app's own logger saw a token under the usual name, if the app had chosen another name.
#[test]
fn a_token_under_the_usual_name_is_never_passed_on() {
    let rig = Rig::with(Fields::new().event_token("b24_token"));
    let pairs: &[(&str, log::kv::Value<'_>)] = &[("event_token", A.into()), ("n", 1.into())];
    rig.log(Level::Info, "app", format_args!("said"), &pairs);
    assert_eq!(rig.own.records(), ["said {event_token=…, n=1}"]);
}

#[test]
fn fields_are_selected_as_for_events() {
    let fields = Fields::new()
        .event_token("b24_token")
        .private(["password"])
        .shorten("body", 4)
        .marked_from(tracing_core::Level::DEBUG);
    let mut rig = Rig::with(fields);
    let pairs: &[(&str, log::kv::Value<'_>)] = &[
        ("b24_token", A.into()),
        ("event_token", B.into()),
        ("password", "hunter2".into()),
        ("private.note", "hunter2".into()),
        ("body", "0123456".into()),
        ("n", 1.into()),
    ];
    rig.log(Level::Info, "app", format_args!("said"), &pairs);
    let marked = |value: bool| [("b24_token", log::kv::Value::from(A)), ("bizproc", value.into())];
    let (yes, no): (&[_], &[_]) = (&marked(true), &marked(false));
    rig.log(Level::Debug, "app", format_args!("let in"), &yes);
    rig.log(Level::Debug, "app", format_args!("below"), &no);
    rig.log(Level::Info, "app", format_args!("kept out"), &no);
    rig.log(Level::Trace, "app", format_args!("further below"), &yes);
    let cut = "Cut { text: \"0123\", missing: 3 }";
    assert_eq!(rig.lines(), [format!("a: said body={cut} n=I64(1)"), "a: let in".to_owned()]);
    let shown = rig.own.records();
    assert_eq!(shown.len(), 5, "the app's own logger sees all of them");
    assert!(shown[0].contains("b24_token=…, event_token=…, password=hunter2"), "{}", shown[0]);
}

struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a value's own fault");
    }
}

#[test]
fn a_value_that_panics_affects_only_its_line() {
    let mut rig = Rig::new();
    let own_panics = catch_unwind(AssertUnwindSafe(|| {
        with_event_token(&token(A), || {
            rig.log(Level::Info, "silent", format_args!("{Broken}"), &None::<(&str, i32)>);
            rig.info("goes on");
        });
    }));
    own_panics.unwrap();
    assert_eq!(rig.lines(), ["a: Unwritable", "a: goes on", "a: closed"]);
}

#[test]
fn records_of_the_workers_thread_are_not_lines() {
    let mut rig = Rig::new();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            mark_worker_thread();
            with_event_token(&token(A), || rig.info("a report"));
        });
    });
    assert_eq!(rig.lines(), [""; 0]);
    assert_eq!(rig.own.records(), ["a report {}"]);
}

/// Yields once.
async fn give_way() {
    let mut first = true;
    poll_fn(|_| if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }).await;
}

#[test]
fn futures_that_take_turns_keep_their_logs_apart() {
    /// Logs when it is dropped.
    struct Last<'a>(&'a Rig);
    impl Drop for Last<'_> {
        fn drop(&mut self) {
            self.0.info("dropped");
        }
    }

    let mut rig = Rig::new();
    {
        let work = |never_ends: bool| {
            let rig = &rig;
            async move {
                let _last = Last(rig);
                rig.info("begins");
                give_way().await;
                rig.info("goes on");
                if never_ends {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut context = Context::from_waker(Waker::noop());
        let mut one = pin!(work(false).with_event_token(&token(A)));
        let other = work(true).with_event_token(&token(B));
        let mut other = Box::pin(other);
        assert!(one.as_mut().poll(&mut context).is_pending());
        assert!(other.as_mut().poll(&mut context).is_pending());
        rig.info("between");
        assert!(one.as_mut().poll(&mut context).is_ready());
        assert!(other.as_mut().poll(&mut context).is_pending());
        drop(other);
    }
    let lines = [
        "a: begins",
        "b: begins",
        "a: goes on",
        "a: dropped",
        "b: goes on",
        "b: dropped",
        "b: closed",
        "a: closed",
    ];
    assert_eq!(rig.lines(), lines);
}

#[test]
fn two_nested_loggers_both_write_the_line() {
    let mut inner = Rig::new();
    let limits = Limits {
        queue: 100,
        lines: 100,
        bytes: 1 << 22,
        overflow: Overflow::DropNewest,
        token_share: 1.0,
    };
    let (producer, mut inbox) = queue(limits);
    let (own, logger) =
        (inner.own.clone(), std::mem::replace(&mut inner.logger, Rig::new().logger));
    let outer = BizprocLogger::new(producer, INFO, Fields::new(), logger);
    with_event_token(&token(A), || {
        let record = Record::builder().level(Level::Info).args(format_args!("said")).build();
        outer.log(&record);
    });
    assert_eq!(inner.lines(), ["a: said"]);
    let lines = std::iter::from_fn(|| inbox.try_take()).map(|message| shown(&message));
    assert_eq!(lines.collect::<Vec<_>>(), ["a: said", "a: closed"]);
    assert_eq!(own.records(), ["said {}"]);
}

#[test]
fn a_scope_without_a_logger_only_runs_its_work() {
    let ran = with_event_token(&token(A), || {
        info!("to nobody");
        logger().enabled(&Metadata::builder().build())
    });
    assert!(!ran);
}
