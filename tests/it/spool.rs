//! Lines on disk, through the public API: processes that are killed, and what the next one makes of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bizproc_portal::{Activity, Portal, Workflow};
use tracing_bizproc::auth::{MemoryStore, OAuth, Webhook};
use tracing_bizproc::config::Config;
use tracing_bizproc::error::{BuildError, SpoolError};
use tracing_bizproc::spool::{Durability, Spool};
use tracing_bizproc::{Builder, Completion, EventToken, WorkerGuard};
use tracing_subscriber::Registry;
use tracing_subscriber::prelude::*;

use crate::stage::{PATIENCE, eventually, is_child, lines, quick, token};

/// A directory that is removed with the test.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("bizproc-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        Dir(dir)
    }

    #[cfg(feature = "relay")]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether a file in it contains this text.
    pub(crate) fn contains(&self, text: &str) -> bool {
        fn search(dir: &Path, text: &[u8]) -> bool {
            let Ok(entries) = std::fs::read_dir(dir) else { return false };
            entries.flatten().any(|entry| match entry.file_type() {
                Ok(kind) if kind.is_dir() => search(&entry.path(), text),
                _ => std::fs::read(entry.path())
                    .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text)),
            })
        }
        search(&self.0, text.as_bytes())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Runs the test of this name in a process that is killed when the value is dropped.
pub(crate) struct Killed(Child);

impl Killed {
    fn start(name: &str, dir: &Dir, url: &str, activity: &Activity) -> Killed {
        Killed::with(name, dir, url, &activity.event_token())
    }

    pub(crate) fn with(name: &str, dir: &Dir, url: &str, event_token: &str) -> Killed {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(crate::stage::CHILD, "1")
            .env("SPOOL", &dir.0)
            .env("URL", url)
            .env("TOKEN", event_token)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Killed(child)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// The guard of a process that logs to the portal that its parent has named, and keeps what it logs.
fn child(options: impl FnOnce(Builder) -> Builder) -> (WorkerGuard, EventToken) {
    let webhook = Webhook::new(variable("URL")).unwrap();
    let builder =
        tracing_bizproc::builder(webhook).self_hosted().spool(Spool::new(variable("SPOOL")));
    let (layer, guard) = options(builder).build().unwrap();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    (guard, EventToken::parse(&variable("TOKEN")).unwrap())
}

pub(crate) fn forever() -> ! {
    loop {
        std::thread::park();
    }
}

fn waiting(portal: &Portal) -> (Workflow, Activity) {
    let workflow = portal.start_workflow("Order 1042");
    let activity = workflow.open_activity("Fulfil");
    (workflow, activity)
}

#[test]
fn lines_survive_kill_nine_and_go_before_those_of_the_next_run() {
    const NAME: &str = "spool::lines_survive_kill_nine_and_go_before_those_of_the_next_run";
    if is_child() {
        let (_guard, event_token) = child(|builder| builder.linger(Duration::from_secs(500)));
        let span = tracing::info_span!("order", event_token = event_token.as_field());
        let _entered = span.enter();
        for n in 0..100 {
            tracing::info!("line {n}");
        }
        forever();
    }
    for durability in [Durability::Buffered, Durability::Fsync] {
        let dir = Dir::new("killed");
        let portal = Portal::builder().start().unwrap();
        let (workflow, activity) = waiting(&portal);
        let child = Killed::start(NAME, &dir, &portal.webhook_url(), &activity);
        eventually(|| dir.contains("line 99"));
        drop(child);
        assert!(workflow.texts().is_empty());

        let spool = Spool::new(&dir.0).durability(durability);
        let (layer, guard) = quick(&portal).spool(spool).build().unwrap();
        let event_token = token(&activity);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("order", event_token = event_token.as_field());
            span.in_scope(|| tracing::info!("line 100"));
        });
        let handle = guard.handle();
        eventually(|| handle.stats().acknowledged() == 101);
        let expected: Vec<_> = (0..=100).map(|n| format!("line {n}")).collect();
        assert_eq!(lines(&workflow), expected);
        let stats = handle.stats();
        assert_eq!((stats.accepted(), stats.recovered(), stats.repeats()), (1, 100, 0), "{stats}");
        assert!(guard.shutdown_blocking(PATIENCE).is_complete());
    }
}

#[test]
fn an_end_survives_kill_nine() {
    if is_child() {
        let (guard, event_token) = child(|builder| builder.linger(Duration::from_secs(500)));
        let span = tracing::info_span!("order", event_token = event_token.as_field());
        span.in_scope(|| tracing::info!("the last line"));
        // The portal is not there: the child was given another address.
        let completion = Completion::new().value("status", "shipped").timeout(PATIENCE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        drop(runtime.block_on(guard.handle().complete(&event_token, completion)));
        forever();
    }
    let dir = Dir::new("ended");
    let portal = Portal::builder().start().unwrap();
    let (workflow, activity) = waiting(&portal);
    let nowhere = "http://127.0.0.1:9/rest/1/secret/";
    let child = Killed::start("spool::an_end_survives_kill_nine", &dir, nowhere, &activity);
    eventually(|| dir.contains("shipped"));
    drop(child);
    let spool = Spool::new(&dir.0);
    let stats = quick(&portal).spool(spool).drain_blocking(PATIENCE).unwrap();
    assert_eq!((stats.recovered(), stats.acknowledged(), stats.pending()), (1, 1, 0), "{stats}");
    // If the process was killed in the middle of a try, a mark stands before it.
    assert!(lines(&workflow).contains(&"the last line".to_owned()));
    assert!(!activity.is_open(), "it has ended");
}

/// Regression: the next run looked for ends only if a line was left, too.
#[test]
fn an_end_without_lines_survives_kill_nine() {
    if is_child() {
        let (guard, event_token) = child(|builder| builder);
        // The portal is not there: the child was given another address.
        let completion = Completion::new().value("status", "shipped").timeout(PATIENCE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        drop(runtime.block_on(guard.handle().complete(&event_token, completion)));
        forever();
    }
    let dir = Dir::new("only-ended");
    let portal = Portal::builder().start().unwrap();
    let (_, activity) = waiting(&portal);
    let nowhere = "http://127.0.0.1:9/rest/1/secret/";
    let name = "spool::an_end_without_lines_survives_kill_nine";
    let child = Killed::start(name, &dir, nowhere, &activity);
    eventually(|| dir.contains("shipped"));
    drop(child);
    let spool = Spool::new(&dir.0);
    let stats = quick(&portal).spool(spool).drain_blocking(PATIENCE).unwrap();
    assert_eq!((stats.recovered(), stats.pending()), (0, 0), "{stats}");
    assert!(!activity.is_open(), "it has ended");
}

#[test]
fn a_shutdown_leaves_on_disk_what_it_could_not_deliver_and_a_drain_delivers_it() {
    let dir = Dir::new("left");
    let portal = Portal::builder().start().unwrap();
    let (workflow, activity) = waiting(&portal);
    let nowhere = Webhook::new("http://127.0.0.1:9/rest/1/secret/").unwrap();
    let (layer, guard) =
        tracing_bizproc::builder(nowhere).spool(Spool::new(&dir.0)).build().unwrap();
    let event_token = token(&activity);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let span = tracing::info_span!("order", event_token = event_token.as_field());
        span.in_scope(|| tracing::info!("kept"));
    });
    let report = guard.shutdown_blocking(Duration::from_millis(300));
    let lost = report.lines().lost();
    assert_eq!((report.lines().pending(), report.lines().stored(), lost), (1, 1, 0), "{report}");
    assert_eq!(report.lines().to_string(), "acknowledged=0 pending=1 (on disk: 1) lost=0");

    let drain = || quick(&portal).spool(Spool::new(&dir.0)).drain_blocking(PATIENCE).unwrap();
    let stats = drain();
    assert_eq!(stats.to_string(), "accepted=0 acknowledged=1 lost=0 recovered=1");
    assert_eq!(lines(&workflow), ["kept"]);
    assert_eq!(drain().recovered(), 0, "nothing is left");
}

#[test]
fn a_spool_needs_a_directory_and_tokens_that_last() {
    let app = OAuth::new("local.1", "secret", MemoryStore::new());
    let spool = Spool::new(std::env::temp_dir());
    let error = tracing_bizproc::builder(app).spool(spool).drain_blocking(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("FileStore"), "{error}");

    let webhook = Webhook::new("https://b24.example/rest/1/secret/").unwrap();
    let builder = tracing_bizproc::builder(webhook);
    let error = builder.clone().drain_blocking(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("spool"), "{error}");
    let nowhere = Spool::new("/nonexistent/dir/spool");
    let error = builder.clone().spool(nowhere).drain_blocking(PATIENCE).unwrap_err();
    assert!(matches!(error, BuildError::Spool(SpoolError::NoParent { .. })), "{error:?}");

    let mut config = Config::new();
    config.set("spool.bound", "50ms").unwrap();
    let error = builder.config(&config).drain_blocking(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("spool"), "{error}");
}

/// `max_age` of the builder had no effect beside a spool, and nothing said so.
#[test]
fn a_max_age_beside_a_spool_is_an_error_that_names_the_right_option() {
    let dir = Dir::new("age");
    let webhook = || Webhook::new("https://b24.example/rest/1/secret/").unwrap();
    let day = Duration::from_secs(86_400);
    let builder = || tracing_bizproc::builder(webhook()).max_age(day);
    let mut config = Config::new();
    config.set("spool.dir", dir.0.to_str().unwrap()).unwrap();
    config.set("max_age", "24h").unwrap();
    for builder in [
        builder().spool(Spool::new(&dir.0)),
        tracing_bizproc::builder(webhook()).spool(Spool::new(&dir.0)).max_age(day),
        tracing_bizproc::builder(webhook()).config(&config),
    ] {
        let error = builder.drain_blocking(PATIENCE).unwrap_err();
        assert!(matches!(error, BuildError::Option { option: "max_age", .. }), "{error}");
        assert!(error.to_string().contains("`spool.max_age`"), "{error}");
    }
    assert!(builder().build::<Registry>().is_ok());
}

#[test]
fn a_spool_comes_from_a_configuration() {
    let dir = Dir::new("configured");
    let portal = Portal::builder().start().unwrap();
    let mut config = Config::new();
    for (name, value) in [
        ("spool.dir", dir.0.to_str().unwrap()),
        ("spool.fsync", "true"),
        ("spool.bound", "50ms"),
        ("spool.max_bytes", "64MiB"),
        ("spool.max_age", "3h"),
    ] {
        config.set(name, value).unwrap();
    }
    let stats = quick(&portal).config(&config).drain_blocking(PATIENCE).unwrap();
    assert_eq!(stats.recovered(), 0);
    assert!(dir.0.is_dir());
}
