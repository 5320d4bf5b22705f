//! What most tests need: a portal, a layer that writes to it, and a timeout.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bizproc_portal::{Activity, Portal, PortalBuilder, Workflow};
use tracing::subscriber::DefaultGuard;
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::{Builder, EventToken, Handle, WorkerGuard};
use tracing_subscriber::prelude::*;

/// Enough for any machine. A test that passes does not take this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A portal. Events of this thread are sent to it.
pub(crate) struct Stage {
    pub(crate) portal: Portal,
    pub(crate) guard: WorkerGuard,
    pub(crate) bizproc: Handle,
    pub(crate) _subscriber: DefaultGuard,
}

impl Stage {
    /// A portal without limits, and a layer with a short linger.
    pub(crate) fn quick() -> Stage {
        Stage::with(Portal::builder(), |builder| builder)
    }

    pub(crate) fn with(portal: PortalBuilder, options: impl FnOnce(Builder) -> Builder) -> Stage {
        let portal = portal.start().unwrap();
        let (layer, guard) = options(quick(&portal)).build().unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        Stage {
            portal,
            bizproc: guard.handle(),
            guard,
            _subscriber: tracing::subscriber::set_default(subscriber),
        }
    }

    /// A workflow with an activity that waits.
    pub(crate) fn activity(&self) -> (Workflow, Activity, EventToken) {
        let workflow = self.portal.start_workflow("Order 1042");
        let activity = workflow.open_activity("Fulfil");
        let event_token = token(&activity);
        (workflow, activity, event_token)
    }

    /// Flushes, and expects that all lines were acknowledged.
    pub(crate) fn flushed(&self) {
        let report = self.bizproc.flush_blocking(PATIENCE).unwrap();
        assert!(report.is_complete(), "{report}");
    }
}

/// Options for a portal on this machine, without limits.
pub(crate) fn quick(portal: &Portal) -> Builder {
    let webhook = Webhook::new(portal.webhook_url()).unwrap();
    tracing_bizproc::builder(webhook).self_hosted().linger(Duration::from_millis(20))
}

pub(crate) fn token(activity: &Activity) -> EventToken {
    EventToken::parse(&activity.event_token()).unwrap()
}

/// The lines of a workflow's log without their time, oldest first.
pub(crate) fn lines(workflow: &Workflow) -> Vec<String> {
    let texts = workflow.texts();
    texts.iter().flat_map(|entry| entry.lines()).map(|line| without_time(line).to_owned()).collect()
}

/// "• [timestamp=..]..[/timestamp] text" without its first two parts.
pub(crate) fn without_time(line: &str) -> &str {
    line.split_once("[/timestamp] ").map_or(line, |(_, text)| text)
}

/// The output of a layer, on all threads.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs the test `name` of this binary in its own process, with these environment variables. There
/// [`is_child`] is true, and the test runs.
pub(crate) fn in_child(name: &str, environment: &[(&str, &str)]) {
    errors_of_child(name, environment);
}

/// As [`in_child`], and returns the text of its standard error.
pub(crate) fn errors_of_child(name: &str, environment: &[(&str, &str)]) -> String {
    let output = child(name, environment).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}\n{errors}");
    errors.into_owned()
}

/// The command that runs the test `name` of this binary in a process of its own.
pub(crate) fn child(name: &str, environment: &[(&str, &str)]) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .envs(environment.iter().copied());
    command
}

/// Waits until the condition is true.
pub(crate) fn eventually(mut is_so: impl FnMut() -> bool) {
    let limit = std::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(std::time::Instant::now() < limit, "the condition did not become true in time");
        std::thread::yield_now();
    }
}

pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

pub(crate) const CHILD: &str = "TRACING_BIZPROC_TEST_CHILD";
