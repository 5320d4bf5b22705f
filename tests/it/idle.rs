//! An app that never opens a tagged span: no request, no connection, no system call.

use tracing::{info, info_span};

use crate::stage::Stage;

#[test]
fn an_app_without_tagged_spans_sends_nothing() {
    let stage = Stage::quick();
    for n in 0..1_000 {
        info_span!("request", n).in_scope(|| info!("handled"));
    }
    assert_eq!(stage.bizproc.stats().accepted(), 0);
    let Stage { guard, portal, .. } = stage;
    drop(guard);
    assert!(portal.journal().is_empty());
}

/// The worker's thread waits without a timer. The kernel counts how often it was scheduled, so the test
/// compares this count before and after many events.
#[cfg(target_os = "linux")]
#[test]
fn the_worker_of_an_idle_app_is_never_scheduled() {
    use std::time::{Duration, Instant};

    use crate::stage::{in_child, is_child};

    if !is_child() {
        return in_child("idle::the_worker_of_an_idle_app_is_never_scheduled", &[]);
    }
    let stage = Stage::quick();
    let status = own_worker().join("status");
    let look = || {
        let status = std::fs::read_to_string(&status).unwrap();
        let switches = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
        (status.contains("State:\tS"), switches.unwrap().to_owned())
    };
    // It sleeps for longer than two of the worker's longest ticks, while events happen. With a timer, or if an
    // event woke it, this condition would never become true.
    let patience = Instant::now() + crate::stage::PATIENCE;
    loop {
        let (before, start) = (look(), Instant::now());
        while start.elapsed() < Duration::from_millis(600) {
            info_span!("request").in_scope(|| info!("handled"));
            std::thread::yield_now();
        }
        if before.0 && look() == before {
            break;
        }
        assert!(Instant::now() < patience, "the worker keeps being scheduled: {before:?}");
    }
    drop(stage);
}

/// Tagged spans without events: the first one wakes the worker, which then ticks.
#[cfg(target_os = "linux")]
#[test]
fn spans_that_come_and_go_do_not_each_wake_the_worker() {
    use std::time::{Duration, Instant};

    use crate::stage::{in_child, is_child};

    if !is_child() {
        return in_child("idle::spans_that_come_and_go_do_not_each_wake_the_worker", &[]);
    }
    let stage = Stage::with(bizproc_portal::Portal::builder(), |builder| {
        // The longest tick: 250 ms.
        builder.linger(Duration::from_secs(1))
    });
    let (_workflow, _activity, event_token) = stage.activity();
    let status = own_worker().join("status");
    let switches = || -> u64 {
        let status = std::fs::read_to_string(&status).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
        line.unwrap().rsplit(char::is_whitespace).next().unwrap().parse().unwrap()
    };
    let (before, start) = (switches(), Instant::now());
    for _ in 0..2_000 {
        drop(info_span!("order", event_token = event_token.as_field()));
        // Gives it time to run and to sleep again.
        std::thread::sleep(Duration::from_micros(50));
    }
    let (woken, ticks) = (switches() - before, start.elapsed().as_millis() / 250);
    assert!(u128::from(woken) <= 2 * ticks + 20, "woken {woken} times in {ticks} ticks");
}

/// One event per millisecond, so that the worker sleeps before each. To wake it would be a system call (write).
#[cfg(target_os = "linux")]
#[test]
fn isolated_events_make_no_system_call() {
    use std::time::Duration;

    let stage = Stage::quick();
    let (_workflow, _activity, event_token) = stage.activity();
    let writes = || -> u64 {
        let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("syscw: "));
        line.unwrap().parse().unwrap()
    };
    // After the worker has parked, the first tagged span wakes it. This shows that the test can see it.
    let (start, patience) = (writes(), std::time::Instant::now() + crate::stage::PATIENCE);
    while writes() == start {
        drop(info_span!("order", event_token = event_token.as_field()));
        assert!(std::time::Instant::now() < patience, "the worker never parks");
        std::thread::yield_now();
    }
    let span = info_span!("order", event_token = event_token.as_field()).entered();
    let before = writes();
    for n in 0..100 {
        info!(n, "step");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(writes(), before);
    drop(span);
    stage.flushed();
}

/// The worker's thread. It sets its name itself, so for a moment it has none.
#[cfg(target_os = "linux")]
fn own_worker() -> std::path::PathBuf {
    let is_worker = |task: &std::path::PathBuf| {
        let name = std::fs::read_to_string(task.join("comm"));
        name.is_ok_and(|name| name.trim() == "tracing-bizproc")
    };
    let patience = std::time::Instant::now() + crate::stage::PATIENCE;
    loop {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        if let Some(worker) = tasks.filter_map(|task| Some(task.ok()?.path())).find(is_worker) {
            return worker;
        }
        assert!(std::time::Instant::now() < patience, "the worker runs");
        std::thread::yield_now();
    }
}
