//! An app that logs with the `log` crate, and has its own logger.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use bizproc_portal::{ActivityOptions, Portal};
use log::{LevelFilter, debug, info, warn};
use tracing_bizproc::logger::{LogScope, WithEventToken, with_event_token};
use tracing_bizproc::stats::DropReason;
use tracing_bizproc::{Completion, Handle, WorkerGuard};

use crate::app::AppStage;
use crate::stage::{Captured, PATIENCE, errors_of_child, eventually, in_child, is_child, lines};
use crate::stage::{quick, token};

/// Sets env_logger with this filter, wrapped by our logger, for the process.
fn init(portal: &Portal, filter: &str) -> (Captured, WorkerGuard) {
    let captured = Captured::default();
    let own = env_logger::Builder::new()
        .parse_filters(filter)
        .format(|out, record| {
            let mut pairs = String::new();
            record.key_values().visit(&mut Pairs(&mut pairs)).unwrap();
            writeln!(out, "{} {}: {}{pairs}", record.level(), record.target(), record.args())
        })
        .target(env_logger::Target::Pipe(Box::new(captured.clone())))
        .build();
    let level = own.filter();
    let (logger, guard) = quick(portal).build_logger(own).unwrap();
    logger.init(level).unwrap();
    (captured, guard)
}

struct Pairs<'a>(&'a mut String);

impl<'kvs> log::kv::VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(
        &mut self,
        key: log::kv::Key<'kvs>,
        value: log::kv::Value<'kvs>,
    ) -> Result<(), log::kv::Error> {
        write!(self.0, " {key}={value}").map_err(log::kv::Error::from)
    }
}

#[test]
fn records_are_delivered_and_the_apps_logger_shows_what_it_wants() {
    if !is_child() {
        let name = "log_only::records_are_delivered_and_the_apps_logger_shows_what_it_wants";
        return in_child(name, &[]);
    }
    let portal = Portal::builder().start().unwrap();
    let (captured, guard) = init(&portal, "warn,it=debug,hyper_util=off,reqwest=off");
    let workflow = portal.start_workflow("Order");
    let raw = workflow.open_activity("Fulfil").event_token();
    let event_token = tracing_bizproc::EventToken::parse(&raw).unwrap();

    info!("Listening");
    with_event_token(&event_token, || {
        info!(order = 1042; "Order received");
        debug!("asking the bank");
        info!(target: "quiet", "not for the app's logger");
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let task = async { info!(amount = 99.5, currency = "EUR"; "Card charged") };
    runtime.block_on(runtime.spawn(task.with_event_token(&event_token))).unwrap();
    info!(event_token = raw.as_str(); "Receipt sent");
    let bizproc = guard.handle();
    let completion = Completion::new().message("Done");
    runtime.block_on(bizproc.complete(&event_token, completion)).unwrap();
    drop(guard);

    let expected = [
        "Order received (order=1042)",
        "not for the app's logger",
        "Card charged (amount=99.5, currency=EUR)",
        "Receipt sent",
        "Done",
    ];
    assert_eq!(lines(&workflow), expected);
    let shown = captured.text();
    assert!(!shown.contains(&raw), "{shown}");
    let expected = "\
INFO it::log_only: Listening
INFO it::log_only: Order received order=1042
DEBUG it::log_only: asking the bank
INFO it::log_only: Card charged amount=99.5 currency=EUR
INFO it::log_only: Receipt sent event_token=…
";
    assert_eq!(shown, expected);
}

#[test]
fn reports_of_the_worker_reach_the_apps_logger() {
    if !is_child() {
        let name = "log_only::reports_of_the_worker_reach_the_apps_logger";
        return in_child(name, &[]);
    }
    let portal = Portal::builder().start().unwrap();
    let (captured, guard) = init(&portal, "warn");
    let activity = portal.start_workflow("Order").open_activity("Fulfil");
    let event_token = token(&activity);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bizproc = guard.handle();
    runtime.block_on(bizproc.complete(&event_token, Completion::new())).unwrap();
    with_event_token(&event_token, || warn!("too late"));
    bizproc.flush_blocking(PATIENCE).unwrap();
    eventually(|| captured.text().contains("complete the activity after the last line"));
    assert_eq!(bizproc.stats().late(), 1);

    drop(guard);
    with_event_token(&event_token, || info!("after the guard"));
    eventually(|| captured.text().contains("refused because the WorkerGuard is dropped"));
    assert_eq!(bizproc.stats().by_reason(DropReason::Closed), 1);
}

#[test]
fn a_guard_that_is_dropped_too_early_is_reported_on_standard_error() {
    let name = "log_only::a_guard_that_is_dropped_too_early_is_reported_on_standard_error";
    if !is_child() {
        let errors = errors_of_child(name, &[]);
        assert!(errors.contains("the WorkerGuard was dropped before anything"), "{errors}");
        return;
    }
    let portal = Portal::builder().start().unwrap();
    // The app's logger shows no warnings, so the report goes to standard error.
    let (_, _) = init(&portal, "off");
    let workflow = portal.start_workflow("Order");
    let event_token = token(&workflow.open_activity("Fulfil"));
    with_event_token(&event_token, || info!("delivered"));
    eventually(|| lines(&workflow) == ["delivered"]);
}

#[test]
fn a_logger_that_gets_no_records_is_reported() {
    let name = "log_only::a_logger_that_gets_no_records_is_reported";
    if !is_child() {
        let errors = errors_of_child(name, &[]);
        assert!(
            errors.contains("`log::max_level()` is OFF: call `BizprocLogger::init`"),
            "{errors}"
        );
        return;
    }
    let portal = Portal::builder().start().unwrap();
    let own = env_logger::Builder::new().filter_level(LevelFilter::Info).build();
    let (_never_set, guard) = quick(&portal).build_logger(own).unwrap();
    let event_token = token(&portal.start_workflow("Order").open_activity("Fulfil"));
    with_event_token(&event_token, || info!("nowhere"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bizproc = guard.handle();
    runtime.block_on(bizproc.complete(&event_token, Completion::new())).unwrap();
    drop(guard);
    assert_eq!(bizproc.stats().unseen(), 1);
}

/// An app on many portals: the activity knows its portal.
#[test]
fn the_scope_of_an_activity_names_its_portal() {
    if !is_child() {
        return in_child("log_only::the_scope_of_an_activity_names_its_portal", &[]);
    }
    let stage = AppStage::new(2);
    let oauth = crate::app::credentials(&stage.portals[0], stage.store.clone());
    let captured = Captured::default();
    let target = env_logger::Target::Pipe(Box::new(captured.clone()));
    let own = env_logger::Builder::new().filter_level(LevelFilter::Warn).target(target).build();
    let builder = tracing_bizproc::builder(oauth).linger(Duration::from_millis(20));
    let (logger, guard) = builder.build_logger(own).unwrap();
    logger.init(LevelFilter::Off).unwrap();
    let bizproc: Handle = guard.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in [0, 1] {
        let (workflow, _, verified) = stage.open(n);
        let activity = bizproc.activity(verified).first().unwrap();
        let work = async { info!(n; "received") };
        runtime.block_on(work.with_event_token(LogScope::from(&activity)));
        runtime.block_on(activity.complete(Completion::new())).unwrap();
        assert_eq!(lines(&workflow)[0], format!("received (n={n})"));
    }
    // An activity without a subscription has no log, so nothing is sent.
    let (_, _, verified) = stage.open_with(0, ActivityOptions::without_subscription);
    let activity = bizproc.activity(verified).first().unwrap();
    let accepted = bizproc.stats().accepted();
    with_event_token(&activity, || info!("nowhere"));
    assert_eq!(bizproc.stats().accepted(), accepted);
    eventually(|| captured.text().contains("register it with USE_SUBSCRIPTION = Y"));
}
