//! Processes that live for a moment and share the limits of a portal: with a spool they need not wait.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bizproc_portal::{ErrorCode, Fault, Portal, Workflow};
use tracing::{info, info_span};
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::spool::Spool;
use tracing_bizproc::{Builder, EventToken};
use tracing_subscriber::prelude::*;

use crate::stage::{CHILD, PATIENCE, is_child, lines};

const NAME: &str =
    "short_lived::what_processes_leave_that_found_no_room_at_their_portal_is_drained_whole";
const PROCESSES: usize = 6;

/// Of 100 such processes a fifth lost all that they had logged: the portal refused them for their rate
/// until their time was over.
#[test]
fn what_processes_leave_that_found_no_room_at_their_portal_is_drained_whole() {
    if is_child() {
        return log_and_end();
    }
    for with_spool in [false, true] {
        let dir = std::env::temp_dir().join(format!("bizproc-short-{}", std::process::id()));
        let portal = Portal::builder().start().unwrap();
        for method in ["batch", "bizproc.activity.log"] {
            portal.faults().on_method(method, Fault::Refuse(ErrorCode::QueryLimitExceeded));
        }
        let (workflows, children): (Vec<Workflow>, Vec<Child>) = (0..PROCESSES)
            .map(|number| {
                let workflow = portal.start_workflow(&format!("Order {number}"));
                let event_token = workflow.open_activity("Check").event_token();
                let mut child = Command::new(std::env::current_exe().unwrap());
                child
                    .args([NAME, "--exact", "--nocapture", "--test-threads=1"])
                    .env(CHILD, "1")
                    .env("URL", portal.webhook_url())
                    .env("TOKEN", event_token)
                    .stdout(Stdio::null());
                if with_spool {
                    child.env("SPOOL", &dir);
                }
                (workflow, child.spawn().unwrap())
            })
            .unzip();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        assert!(workflows.iter().all(|workflow| workflow.texts().is_empty()));
        portal.faults().clear();

        let webhook = Webhook::new(portal.webhook_url()).unwrap();
        let builder = tracing_bizproc::builder(webhook).self_hosted().spool(Spool::new(&dir));
        let stats = builder.drain_blocking(PATIENCE).unwrap();
        let recovered = if with_spool { 3 * PROCESSES as u64 } else { 0 };
        assert_eq!((stats.recovered(), stats.acknowledged()), (recovered, recovered), "{stats}");
        let expected: &[&str] = if with_spool { &["line 1", "line 2", "line 3"] } else { &[] };
        for workflow in &workflows {
            // On a slow machine a process may end before the portal has refused its request.
            let is_mark = |line: &String| line.starts_with("• (possible repeat");
            let told: Vec<String> =
                lines(workflow).into_iter().filter(|line| !is_mark(line)).collect();
            assert_eq!(told, expected);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

/// What such a process does.
fn log_and_end() {
    let webhook = Webhook::new(std::env::var("URL").unwrap()).unwrap();
    let builder: Builder =
        tracing_bizproc::builder(webhook).shutdown_timeout(Duration::from_millis(200));
    let builder = match std::env::var_os("SPOOL") {
        Some(dir) => builder.spool(Spool::new(dir)),
        None => builder,
    };
    let (layer, guard) = builder.build().unwrap();
    tracing_subscriber::registry().with(layer).init();
    let event_token = EventToken::parse(&std::env::var("TOKEN").unwrap()).unwrap();
    info_span!("activity", event_token = event_token.as_field())
        .in_scope(|| (1..=3).for_each(|number| info!("line {number}")));
    drop(guard);
}
