//! The candidates. Each makes itself the global subscriber, and reports how many events have arrived.

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bizproc_portal::Portal;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::config::{Quota, Retention};
use tracing_bizproc::{Handle, WorkerGuard};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;

use crate::floor::Floor;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Candidate {
    NoSubscriber,
    Registry,
    /// Visits every field, and ignores its value.
    NoOp,
    /// Does nothing at all, behind a filter of the same kind as ours.
    NoOpFiltered,
    Floor,
    Ours,
    /// The same, but it publishes for a relay.
    #[cfg(feature = "relay")]
    Publishing,
    FmtAppender,
}

impl Candidate {
    const ALL: &[Candidate] = &[
        Candidate::NoSubscriber,
        Candidate::Registry,
        Candidate::NoOp,
        Candidate::NoOpFiltered,
        Candidate::Floor,
        Candidate::Ours,
        #[cfg(feature = "relay")]
        Candidate::Publishing,
        Candidate::FmtAppender,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Candidate::NoSubscriber => "no-subscriber",
            Candidate::Registry => "registry",
            Candidate::NoOp => "no-op-visitor",
            Candidate::NoOpFiltered => "no-op-filtered",
            Candidate::Floor => "floor",
            Candidate::Ours => "bizproc",
            #[cfg(feature = "relay")]
            Candidate::Publishing => "bizproc-publishing",
            Candidate::FmtAppender => "fmt+appender",
        }
    }
}

impl FromStr for Candidate {
    type Err = ();

    fn from_str(name: &str) -> Result<Candidate, ()> {
        Candidate::ALL.iter().copied().find(|candidate| candidate.name() == name).ok_or(())
    }
}

/// A running subscriber.
pub(crate) struct Installed {
    sink: Sink,
    /// The tokens of tagged spans.
    pub(crate) event_token: String,
}

pub(crate) enum Sink {
    None,
    Counted {
        arrived: Arc<AtomicU64>,
        _guard: Option<tracing_appender::non_blocking::WorkerGuard>,
    },
    Portal {
        handle: Handle,
        _guard: WorkerGuard,
        _portal: Portal,
    },
    #[cfg(feature = "relay")]
    Journal {
        handle: Handle,
        _guard: WorkerGuard,
    },
}

/// A token with the form and the length of a real one, for candidates without a portal.
const TOKEN: &str = "68f1e5d2a3b4c1.12345678|A12345_67890_12345_67890|420.\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456";

/// The requirements of a workload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    Usual,
    /// A budget of few lines.
    Small,
    /// Beside another layer, which wants everything.
    Verbose,
}

/// Makes the candidate the global subscriber, at INFO.
pub(crate) fn install(candidate: Candidate, setup: Setup) -> Installed {
    let registry = tracing_subscriber::registry();
    let sink = match candidate {
        Candidate::NoSubscriber => Sink::None,
        Candidate::Registry => {
            registry.with(LevelFilter::INFO).init();
            Sink::None
        }
        Candidate::NoOp => {
            registry.with(LevelFilter::INFO).with(NoOp).init();
            Sink::None
        }
        Candidate::NoOpFiltered => {
            registry.with(Nothing.with_filter(LevelFilter::INFO)).init();
            Sink::None
        }
        Candidate::Floor => {
            let floor = Floor::new();
            let arrived = floor.delivered();
            registry.with(LevelFilter::INFO).with(floor).init();
            Sink::Counted { arrived, _guard: None }
        }
        Candidate::FmtAppender => {
            let arrived = Arc::new(AtomicU64::new(0));
            let lines = CountLines(arrived.clone());
            let (writer, guard) = tracing_appender::non_blocking(lines);
            let fmt = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
            registry.with(LevelFilter::INFO).with(fmt).init();
            Sink::Counted { arrived, _guard: Some(guard) }
        }
        Candidate::Ours => return ours(setup),
        #[cfg(feature = "relay")]
        Candidate::Publishing => crate::publishing::install(),
    };
    Installed { sink, event_token: TOKEN.to_owned() }
}

fn ours(setup: Setup) -> Installed {
    let portal = Portal::builder().start().expect("the stand-in portal starts");
    let workflow = portal.start_workflow("bench");
    let event_token = workflow.open_activity("Log_1").event_token();
    let webhook = Webhook::new(portal.webhook_url()).expect("the portal's own URL");
    let mut builder =
        tracing_bizproc::builder(webhook).retention(Retention::SelfHosted).quota(Quota::Unlimited);
    if setup == Setup::Small {
        builder = builder.pending_lines(64).linger(Duration::from_secs(60));
    }
    let (layer, guard) = builder.build().expect("the worker starts");
    let handle = guard.handle();
    match setup {
        Setup::Usual | Setup::Small => tracing_subscriber::registry().with(layer).init(),
        Setup::Verbose => tracing_subscriber::registry().with(layer).with(NoOp).init(),
    }
    Installed { sink: Sink::Portal { handle, _guard: guard, _portal: portal }, event_token }
}

#[cfg(feature = "relay")]
impl Sink {
    pub(crate) fn journal(handle: Handle, guard: WorkerGuard) -> Sink {
        Sink::Journal { handle, _guard: guard }
    }
}

impl Installed {
    /// Waits until all `sent` events have arrived at their sink. Dropped events would not count as fast.
    pub(crate) fn settle(&self, sent: u64) {
        match &self.sink {
            Sink::None => {}
            Sink::Counted { arrived, .. } => {
                let deadline = Instant::now() + Duration::from_secs(30);
                while arrived.load(Relaxed) < sent {
                    assert!(Instant::now() < deadline, "{} of {sent}", arrived.load(Relaxed));
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Sink::Portal { handle, .. } => {
                let report = handle.flush_blocking(Duration::from_secs(30)).expect("a worker");
                assert!(report.is_complete(), "{report}");
                assert_eq!(handle.stats().acknowledged(), sent, "{}", handle.stats());
            }
            #[cfg(feature = "relay")]
            Sink::Journal { handle, .. } => {
                let report = handle.flush_blocking(Duration::from_secs(30)).expect("a worker");
                assert!(report.is_complete(), "{report}");
                assert_eq!(handle.stats().handed_over(), sent, "{}", handle.stats());
            }
        }
    }
}

struct CountLines(Arc<AtomicU64>);

impl io::Write for CountLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        self.0.fetch_add(lines as u64, Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Nothing;

impl<S: Subscriber> Layer<S> for Nothing {}

struct NoOp;

impl<S: Subscriber> Layer<S> for NoOp {
    fn on_new_span(&self, attrs: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        attrs.record(&mut Ignore);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Ignore);
    }
}

struct Ignore;

impl Visit for Ignore {
    fn record_debug(&mut self, field: &Field, _: &dyn std::fmt::Debug) {
        std::hint::black_box(field.index());
    }
}
