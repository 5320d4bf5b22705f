//! Apps that publish to a journal from which other processes deliver, through the public API.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tracing_bizproc::app::{AppRequest, Installations, Registration};
use tracing_bizproc::auth::{FileStore, MemoryStore, OAuth, Webhook};
use tracing_bizproc::config::{Quota, Retention};
use tracing_bizproc::error::{BuildError, CallError, CompleteError};
use tracing_bizproc::format::{Language, Wording};
use tracing_bizproc::journal::{
    Adopted, Answer, Batch, Chunk, Content, Evicted, Journal, JournalFuture, Mark, Number, Outcome,
    Position, Publisher, Query, Read,
};
use tracing_bizproc::{Builder, Completion, EventToken, PortalId};
use tracing_subscriber::Registry;
use tracing_subscriber::prelude::*;

use crate::app::{FORM, Handler, credentials, sites, wait};
use crate::stage::{PATIENCE, eventually};

/// A journal in memory, and a relay that answers at once if it is told to.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    chunks: Vec<(Publisher, Chunk)>,
    batches: HashMap<Publisher, u64>,
    is_away: bool,
    /// What the relay answers to ends.
    relay: Option<Outcome>,
    /// Lines that the relay has not delivered.
    unsettled: u64,
}

impl Shared {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> Vec<String> {
        let inside = self.inside();
        let lines = inside.chunks.iter().filter_map(|(_, chunk)| match &chunk.content {
            Content::Lines(lines) => Some(lines),
            _ => None,
        });
        lines.flatten().map(|line| line.body.clone()).collect()
    }
}

impl Journal for Shared {
    fn append<'a>(&'a self, batch: &'a Batch) -> JournalFuture<'a, Position> {
        Box::pin(async move {
            let mut inside = self.inside();
            if inside.is_away {
                return Err("connection refused".into());
            }
            let last = inside.batches.entry(batch.publisher).or_default();
            if batch.no > *last {
                *last = batch.no;
                let chunks = batch.chunks.iter().map(|chunk| (batch.publisher, chunk.clone()));
                inside.chunks.extend(chunks);
            }
            Ok(Position(inside.chunks.len() as u128))
        })
    }

    fn read<'a>(&'a self, _query: Query<'a>) -> JournalFuture<'a, Read> {
        Box::pin(async { Ok(Read::default()) })
    }

    fn mark<'a>(&'a self, _marks: &'a [Mark]) -> JournalFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn adopt<'a>(&'a self) -> JournalFuture<'a, Adopted> {
        Box::pin(async { Ok(Adopted::default()) })
    }

    fn evicted<'a>(&'a self, _now: SystemTime) -> JournalFuture<'a, Vec<Evicted>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn generation(&self) -> u64 {
        1
    }

    fn answers<'a>(
        &'a self,
        publisher: Publisher,
        ends: &'a [Number],
    ) -> JournalFuture<'a, Vec<Answer>> {
        Box::pin(async move {
            let Some(outcome) = self.inside().relay.clone() else { return Ok(Vec::new()) };
            let answer = |no: &Number| Answer { publisher, no: *no, outcome: outcome.clone() };
            Ok(ends.iter().map(answer).collect())
        })
    }

    fn unsettled<'a>(
        &'a self,
        _publisher: Publisher,
        _of: Option<(&'a Option<PortalId>, &'a EventToken)>,
        _up_to: Number,
    ) -> JournalFuture<'a, u64> {
        Box::pin(async { Ok(self.inside().unsettled) })
    }
}

fn app() -> Builder {
    // Nobody listens there.
    tracing_bizproc::builder(Webhook::new("http://127.0.0.1:9/rest/1/secret/").unwrap())
}

fn token(n: usize) -> EventToken {
    EventToken::parse(&format!("5c1dc1c3f0000{n}.78875596|A1|{n}.abcdef")).unwrap()
}

fn log(layer: tracing_bizproc::BizprocLayer<Registry>, log: impl FnOnce()) {
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
}

fn span(event_token: &EventToken) -> tracing::Span {
    tracing::info_span!("order", event_token = event_token.as_field())
}

#[test]
fn a_flush_returns_when_lines_are_in_the_journal() {
    let journal = Shared::default();
    let (layer, guard) = app().publish_to(journal.clone()).build().unwrap();
    log(layer, || {
        span(&token(1)).in_scope(|| {
            tracing::info!("packed");
            tracing::info!(parcels = 2, "shipped");
        });
    });
    let report = guard.handle().flush_blocking(PATIENCE).unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.to_string(), "acknowledged=0 pending=0 handed_over=2 lost=0");
    assert_eq!(journal.lines(), ["packed", "shipped (parcels=2)"]);
    let portals = guard.handle().portals();
    assert_eq!((portals[0].handed_over(), portals[0].pending()), (2, 0));
    let report = guard.shutdown_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");
}

#[tokio::test]
async fn a_flush_can_wait_for_the_relay() {
    let journal = Shared::default();
    journal.inside().unsettled = 1;
    let (layer, guard) = app().publish_to(journal.clone()).build().unwrap();
    let event_token = token(1);
    log(layer, || span(&event_token).in_scope(|| tracing::info!("packed")));
    let handle = guard.handle();
    let report = handle.flush_delivered(Duration::from_millis(300)).await.unwrap();
    assert_eq!((report.pending(), report.stored(), report.lost()), (1, 1, 0), "{report}");
    journal.inside().unsettled = 0;
    assert!(handle.flush_token_delivered(&event_token, PATIENCE).await.unwrap().is_complete());
    let seals = journal
        .inside()
        .chunks
        .iter()
        .filter(|(_, c)| matches!(c.content, Content::Seal(_)))
        .count();
    assert_eq!(seals, 1, "a relay does not wait for more lines");
}

#[tokio::test]
async fn the_answer_of_the_relay_comes_back() {
    let journal = Shared::default();
    journal.inside().relay = Some(Outcome::Accepted);
    let (_layer, guard) = app().publish_to(journal.clone()).build::<Registry>().unwrap();
    let handle = guard.handle();
    let completion = || Completion::new().value("status", "shipped").message("done");
    assert!(handle.complete(&token(1), completion()).await.unwrap().is_complete());
    journal.inside().relay = Some(Outcome::Refused("ERROR_WRONG_WORKFLOW_ID".to_owned()));
    let refused = handle.complete(&token(2), completion()).await.unwrap_err();
    assert!(refused.to_string().contains("ERROR_WRONG_WORKFLOW_ID"), "{refused}");
    let ends = journal
        .inside()
        .chunks
        .iter()
        .filter_map(|(_, chunk)| match &chunk.content {
            Content::End(end) => Some((end.values.clone(), end.message.clone())),
            _ => None,
        })
        .collect::<Vec<_>>();
    let end = (r#"{"status":"shipped"}"#.to_owned(), Some("done".to_owned()));
    assert_eq!(ends, [end.clone(), end]);
}

/// The caller does not know more than that a relay ends it. To end it again would be useless.
#[test]
fn a_shutdown_says_that_ends_are_left_to_the_relay() {
    let journal = Shared::default();
    let (_layer, guard) = app().publish_to(journal.clone()).build::<Registry>().unwrap();
    let handle = guard.handle();
    let ending = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(handle.complete(&token(1), Completion::new()))
    });
    eventually(|| !journal.inside().chunks.is_empty());
    guard.shutdown_blocking(Duration::from_millis(300));
    assert_eq!(ending.join().unwrap(), Err(CompleteError::HandedOver));
}

#[tokio::test]
async fn calls_are_refused() {
    let (_layer, guard) = app().publish_to(Shared::default()).build::<Registry>().unwrap();
    let error = guard.handle().call(None, "crm.deal.list", "{}").await.unwrap_err();
    assert_eq!(error, CallError::Publishes);
    assert!(error.to_string().contains("relay"), "{error}");
}

/// Regression: an app with several replicas could not be installed, because the calls of its registration were refused,
/// too.
#[test]
fn an_app_that_publishes_is_installed_and_registers_its_activities() {
    let sites = sites(1);
    let (site, handler, life) = (&sites[0], Handler::new(), Handler::new());
    let path = std::env::temp_dir().join(format!("bizproc-installed-{}", std::process::id()));
    let store = FileStore::new(&path);
    let oauth = tracing_bizproc::builder(credentials(site, store.clone()));
    let (_layer, guard) = oauth.publish_to(Shared::default()).build::<Registry>().unwrap();
    let installations = Installations::new(guard.handle(), store)
        .declare(Registration::activity("fulfil", handler.url(), "Fulfil the order"))
        .unwrap()
        .life_events(life.url());
    let take = || {
        let (query, body) = life.take_whole();
        wait(installations.handle(AppRequest::parse(&query, Some(FORM), body.as_bytes()).unwrap()))
    };
    site.app.install_at(&life.url());
    assert_eq!(take().unwrap(), site.id());
    site.portal.start_workflow("Order 1042").registered_activity("fulfil").unwrap().open();
    handler.take();
    site.app.update();
    assert_eq!((take().unwrap(), take().unwrap()), (site.id(), site.id()));
    assert!(site.portal.start_workflow("Order 1043").registered_activity("fulfil").is_some());
    let error = wait(guard.handle().call(Some(&site.id()), "crm.deal.list", "{}")).unwrap_err();
    assert_eq!(error, CallError::Publishes, "as often as the app likes");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn lines_that_the_journal_does_not_take_are_counted_at_the_end() {
    let journal = Shared::default();
    journal.inside().is_away = true;
    let (layer, guard) = app().publish_to(journal.clone()).build().unwrap();
    log(layer, || span(&token(1)).in_scope(|| tracing::info!("packed")));
    let handle = guard.handle();
    let health = || handle.health().to_string();
    eventually(|| handle.portals().first().is_some_and(|portal| portal.failing_for().is_some()));
    assert!(health().contains("failed"), "{}", health());
    let report = guard.shutdown_blocking(Duration::from_millis(200));
    assert!(!report.is_complete(), "{report}");
    let stats = handle.stats();
    assert_eq!((stats.accepted(), stats.lost(), stats.handed_over()), (1, 1, 0), "{stats}");
}

#[test]
fn without_credentials_nothing_is_published() {
    let journal = Shared::default();
    let (layer, guard) = tracing_bizproc::disabled().publish_to(journal.clone()).build().unwrap();
    log(layer, || span(&token(1)).in_scope(|| tracing::info!("packed")));
    assert!(guard.handle().flush_blocking(PATIENCE).unwrap().is_complete());
    assert!(journal.inside().chunks.is_empty());
    assert!(guard.shutdown_blocking(PATIENCE).is_complete());
}

#[test]
fn options_that_belong_to_the_relay_are_errors() {
    struct Own;
    impl Wording for Own {}
    let refused = |set: fn(Builder) -> Builder| {
        let built = set(app()).publish_to(Shared::default()).build::<Registry>();
        let Err(BuildError::Option { option, .. }) = built else { panic!("it was not refused") };
        option
    };
    assert_eq!(refused(|app| app.linger(Duration::from_secs(9))), "linger");
    assert_eq!(refused(|app| app.max_hold(Duration::from_secs(60))), "max_hold");
    assert_eq!(refused(|app| app.retention(Retention::SelfHosted)), "retention");
    assert_eq!(refused(|app| app.entry_bytes(9_000)), "entry_bytes");
    assert_eq!(refused(|app| app.portal_share(0.1)), "portal_share");
    assert_eq!(refused(|app| app.send_at_once_from(tracing::Level::ERROR)), "send_at_once_from");
    assert_eq!(refused(|app| app.wording(Own)), "wording");
    let kept = "keep_supplementary_characters";
    assert_eq!(refused(Builder::keep_supplementary_characters), kept);
    // These have an effect: on the language of the log, and on ends that this process sends.
    let app = app().wording(Language::Russian).quota(Quota::Enterprise);
    assert!(app.publish_to(Shared::default()).build::<Registry>().is_ok());

    let oauth = OAuth::new("local.1", "secret", MemoryStore::new());
    let built = tracing_bizproc::builder(oauth).publish_to(Shared::default());
    let error = built.build::<Registry>().unwrap_err().to_string();
    assert!(error.contains("publish_to") && error.contains("token store"), "{error}");
}

#[cfg(feature = "spool")]
mod by_way_of_a_spool {
    use std::collections::HashSet;
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use tracing_bizproc::config::Overflow;
    use tracing_bizproc::spool::Spool;

    use super::*;
    use crate::spool::{Dir, Killed, forever, variable};
    use crate::stage::is_child;

    /// A journal as a file, which may fail: before it has stored a batch, or after that.
    struct File {
        path: PathBuf,
        fails: bool,
        calls: AtomicU64,
        batch: AtomicU64,
        publisher: Mutex<Option<Publisher>>,
    }

    impl File {
        fn new(path: PathBuf, fails: bool) -> File {
            let (calls, batch) = (AtomicU64::new(0), AtomicU64::new(0));
            File { path, fails, calls, batch, publisher: Mutex::default() }
        }

        fn store(&self, batch: &Batch) {
            let mut publisher = self.publisher.lock().unwrap();
            if publisher.replace(batch.publisher) != Some(batch.publisher) {
                self.batch.store(0, Relaxed);
            }
            if self.batch.fetch_max(batch.no, Relaxed) >= batch.no {
                return;
            }
            let mut text = String::new();
            for chunk in &batch.chunks {
                let Content::Lines(lines) = &chunk.content else { continue };
                for line in lines {
                    text += &format!("{} {}\n", line.body, line.tried);
                }
            }
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
    }

    impl Journal for File {
        fn append<'a>(&'a self, batch: &'a Batch) -> JournalFuture<'a, Position> {
            Box::pin(async move {
                let call = if self.fails { self.calls.fetch_add(1, Relaxed) % 4 } else { 3 };
                if call != 0 {
                    self.store(batch);
                }
                if call < 2 { Err("connection reset".into()) } else { Ok(Position::default()) }
            })
        }

        fn read<'a>(&'a self, _query: Query<'a>) -> JournalFuture<'a, Read> {
            Box::pin(async { Ok(Read::default()) })
        }

        fn mark<'a>(&'a self, _marks: &'a [Mark]) -> JournalFuture<'a, ()> {
            Box::pin(async { Ok(()) })
        }

        fn adopt<'a>(&'a self) -> JournalFuture<'a, Adopted> {
            Box::pin(async { Ok(Adopted::default()) })
        }

        fn evicted<'a>(&'a self, _now: SystemTime) -> JournalFuture<'a, Vec<Evicted>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn generation(&self) -> u64 {
            1
        }
    }

    /// A line is in the other journal twice only if the process was killed while it was on its way, and then it
    /// says so.
    #[test]
    fn what_is_not_appended_yet_survives_kill_nine() {
        const NAME: &str =
            "publish::by_way_of_a_spool::what_is_not_appended_yet_survives_kill_nine";
        const LINES: usize = 20_000;
        if is_child() {
            let journal = File::new(PathBuf::from(variable("URL")), true);
            let (layer, _guard) = app()
                .spool(Spool::new(variable("SPOOL")))
                .publish_to(journal)
                .overflow(Overflow::Block(PATIENCE))
                .build()
                .unwrap();
            let subscriber = tracing_subscriber::registry().with(layer);
            tracing::subscriber::set_global_default(subscriber).unwrap();
            let spans: Vec<_> = (0..7).map(|n| span(&token(n))).collect();
            for n in 0..LINES {
                spans[n % spans.len()].in_scope(|| tracing::info!("line {n}"));
            }
            forever();
        }
        let dir = Dir::new("by-way");
        let far = std::env::temp_dir().join(format!("bizproc-far-{}", std::process::id()));
        drop(fs::remove_file(&far));
        let child = Killed::with(NAME, &dir, far.to_str().unwrap(), "none");
        eventually(|| dir.contains(&format!("line {}", LINES - 1)));
        drop(child);

        let journal = File::new(far.clone(), false);
        let builder = app().spool(Spool::new(dir.path())).publish_to(journal);
        let stats = builder.drain_blocking(PATIENCE).unwrap();
        assert_eq!((stats.recovered(), stats.pending()), (stats.handed_over(), 0), "{stats}");
        assert!(stats.recovered() > 0, "it was killed before all was appended: {stats}");
        let text = fs::read_to_string(&far).unwrap();
        fs::remove_file(&far).unwrap();
        let (mut seen, mut last) = (HashSet::new(), HashMap::new());
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (n, tried) = (words[1].parse::<usize>().unwrap(), words[2] == "true");
            if !seen.insert(n) {
                assert!(tried, "line {n} comes again and does not say so");
                continue;
            }
            let before = last.insert(n % 7, n);
            assert!(before.is_none_or(|before| before < n), "line {n} is not in order");
        }
        assert_eq!(seen.len(), LINES, "each line is there");
    }
}
