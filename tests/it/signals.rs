//! SIGTERM, which stops services. By default it ends a process at once: no destructor runs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bizproc_portal::Portal;
use tracing::{info, info_span};
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::{EventToken, WorkerGuard};
use tracing_subscriber::prelude::*;

use crate::stage::{PATIENCE, child, is_child, lines};

const WEBHOOK: &str = "BIZPROC_TEST_WEBHOOK";
const EVENT_TOKEN: &str = "BIZPROC_TEST_EVENT_TOKEN";

/// In the child: logs a line that waits for ten minutes, unless somebody flushes.
fn log_a_line() -> WorkerGuard {
    let webhook = Webhook::new(std::env::var(WEBHOOK).unwrap()).unwrap();
    let options = tracing_bizproc::builder(webhook).linger(Duration::from_secs(600));
    let (layer, guard) = options.build().unwrap();
    tracing_subscriber::registry().with(layer).init();
    let event_token = EventToken::parse(&std::env::var(EVENT_TOKEN).unwrap()).unwrap();
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| info!("the last line"));
    // A span that closes would be sent before the end of the linger.
    std::mem::forget(span);
    guard
}

/// In the child, when it is ready for the signal.
#[expect(clippy::print_stdout, reason = "its parent reads it")]
fn tell_ready() {
    println!("\n{READY}");
}

const READY: &str = "ready for the signal";

/// Runs the test `name` in a process of its own, sends it SIGTERM when it is ready, and returns what the
/// process has written to its log, and its exit code, if it has one.
fn terminated(name: &str) -> (Vec<String>, Option<i32>) {
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let event_token = workflow.open_activity("Fulfil").event_token();
    let mut command = child(name, &[(WEBHOOK, &portal.webhook_url()), (EVENT_TOKEN, &event_token)]);
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(printed.any(|line| line.unwrap() == READY), "it was never ready");
    send_sigterm(&process);
    let status = process.wait().unwrap();
    (lines(&workflow), status.code())
}

fn send_sigterm(process: &Child) {
    let sent = Command::new("kill").args(["-TERM", &process.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// As the documentation says of a process without a handler.
#[test]
fn sigterm_skips_the_guard_and_pending_lines_are_lost() {
    if is_child() {
        let _guard = log_a_line();
        tell_ready();
        std::thread::sleep(PATIENCE);
        return;
    }
    let (log, code) = terminated("signals::sigterm_skips_the_guard_and_pending_lines_are_lost");
    assert_eq!((log.len(), code), (0, None));
}

/// As the guide says for apps with tokio, on both kinds of its runtime.
#[test]
fn with_tokio_an_app_that_waits_for_sigterm_delivers_pending_lines() {
    if is_child() {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(stopped_by_tokio());
        std::process::exit(0);
    }
    let name = "signals::with_tokio_an_app_that_waits_for_sigterm_delivers_pending_lines";
    assert_eq!(terminated(name), (vec!["the last line".to_owned()], Some(0)));
}

#[test]
fn on_a_current_thread_runtime_an_app_that_waits_for_sigterm_delivers_pending_lines() {
    if is_child() {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(stopped_by_tokio());
        std::process::exit(0);
    }
    let name =
        "signals::on_a_current_thread_runtime_an_app_that_waits_for_sigterm_delivers_pending_lines";
    assert_eq!(terminated(name), (vec!["the last line".to_owned()], Some(0)));
}

async fn stopped_by_tokio() {
    use tokio::signal::unix::{SignalKind, signal};

    let mut sigterm = signal(SignalKind::terminate()).unwrap();
    let guard = log_a_line();
    tell_ready();
    sigterm.recv().await;
    let report = guard.shutdown(PATIENCE).await;
    assert!(report.is_complete(), "{report}");
}

/// As the guide says for apps without tokio: a handler of the crate `ctrlc` runs on a thread of its own, so
/// it may wait.
#[test]
fn without_tokio_a_handler_that_flushes_delivers_pending_lines() {
    if is_child() {
        let guard = log_a_line();
        let handle = guard.handle();
        ctrlc::set_handler(move || {
            let report = handle.flush_blocking(PATIENCE);
            std::process::exit(if report.is_ok_and(|report| report.is_complete()) {
                143
            } else {
                1
            });
        })
        .unwrap();
        tell_ready();
        std::thread::sleep(PATIENCE);
        return;
    }
    let name = "signals::without_tokio_a_handler_that_flushes_delivers_pending_lines";
    assert_eq!(terminated(name), (vec!["the last line".to_owned()], Some(143)));
}
