//! Makes a worker from the options, and starts its thread.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::keeping::{Keeping, Role};
use super::{Builder, publishing};
use crate::error::BuildError;
use crate::handle::{Handle, WorkerGuard};
use crate::journal::desk::Desk;
use crate::journal::driver::Driver;
use crate::queue::{self, Consumer, Producer};
use crate::stats::Stats;
use crate::transport::Transport;
use crate::transport::auth::Credentials;
use crate::transport::http::Http;
use crate::transport::nowhere::Nowhere;
use crate::worker::Worker;
use crate::worker::coalescer::Plan;
use crate::worker::engine::Engine;
use crate::worker::lane::{Rules, Serves};
use crate::worker::ledger::Ledger;
use crate::worker::outbox::Outbox;
use crate::worker::report::{self, ReportSink};
use crate::worker::retry::RetryPolicy;
use crate::worker::runtime::WorkerRuntime;
use crate::worker::schedule::Schedule;

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) producer: Producer,
    pub(crate) consumer: Consumer,
    pub(crate) engine: Engine,
    pub(crate) stats: Arc<Stats>,
    /// How often the queue is looked at while lines may come.
    pub(crate) tick: Duration,
    /// Both ends of the journal's driver.
    pub(crate) journal: Option<(Desk, Driver)>,
}

impl Builder {
    /// Starts the worker's thread.
    pub(super) fn start(&self, sink: ReportSink) -> Result<(Producer, WorkerGuard), BuildError> {
        self.check()?;
        match self.credentials.clone() {
            Some(credentials) => self.start_with(Http::new(credentials, self.http.clone())?, sink),
            None => self.start_with(Nowhere, sink),
        }
    }

    fn start_with(
        &self,
        transport: impl Transport,
        sink: ReportSink,
    ) -> Result<(Producer, WorkerGuard), BuildError> {
        // Any number will do: it only keeps replicas from retrying at the same moments.
        let seed = std::hash::RandomState::new().build_hasher().finish();
        // Where nothing is sent, nothing is kept.
        let keeping = match self.credentials {
            Some(_) => self.open_journal()?,
            None => None,
        };
        let parts = self.parts_with(seed, keeping);
        let Parts { producer, consumer, engine, stats, tick, journal } = parts;
        let (desk, driver) = journal.unzip();
        let worker = Worker::new(consumer, engine, transport, stats.clone(), tick)
            .with_sink(sink)
            .with_journal(desk);
        driver.map_or(Ok(()), Driver::start).map_err(BuildError::Thread)?;
        let runtime = WorkerRuntime::new().map_err(BuildError::Runtime)?;
        let thread = thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                queue::mark_worker_thread();
                worker.run_on(&runtime);
            })
            .map_err(BuildError::Thread)?;
        producer.when_closed(move || report::report_closed(sink));
        let bizproc = Handle::new(producer.clone(), stats, self.patience());
        let guard =
            WorkerGuard::new(bizproc, self.shutdown_timeout, self.fail_with.clone(), thread);
        Ok((producer, guard))
    }

    /// The journal of one run.
    fn open_journal(&self) -> Result<Option<Keeping>, BuildError> {
        match &self.publish {
            Some(journal) => Ok(Some(self.open_published(journal.clone())?)),
            None => self.keep.open(),
        }
    }

    /// Everything but the thread and the transport.
    #[cfg(any(test, fuzzing, feature = "simulation"))]
    pub(crate) fn parts(&self, seed: u64) -> Parts {
        self.parts_with(seed, self.open_journal().expect("the spool can be opened"))
    }

    fn parts_with(&self, seed: u64, keeping: Option<Keeping>) -> Parts {
        let stats = Arc::new(Stats::default());
        let (producer, consumer) = queue::queue(self.limits);
        let words = self.lines.words(&stats);
        let max_age = keeping.as_ref().map_or(self.line_age(), |keeping| keeping.max_age);
        let rules = Rules {
            plan: Arc::new(Plan {
                linger: self.linger,
                max_hold: self.max_hold,
                span: self.max_hold.max(self.linger).max(max_age / 16),
                entry_bytes: self.entry_bytes,
                ahead_from: self.ahead_from,
                schedule: Schedule::new(self.retention),
            }),
            quota: self.quota,
            operating_limit: self.operating_limit,
            request_bytes: self.request_bytes,
            retry: RetryPolicy { max_age, ..self.retry },
            words: words.clone(),
            portal_share: self.portal_share,
            default_portal: self.credentials.as_ref().is_none_or(Credentials::have_default_portal),
            serves: match &self.credentials {
                Some(Credentials::Webhook(webhook)) => Serves::One(webhook.portal().cloned()),
                _ => Serves::Any,
            },
        };
        let renderer = self.lines.renderer(words, &stats, self.line_bytes);
        let ledger = Ledger::new(stats.clone(), consumer.shares(), self.limits.bytes);
        let mut engine = Engine::new(rules, self.limits, renderer, ledger, seed);
        let journal = keeping.map(|keeping| {
            let publisher = keeping.publisher;
            if keeping.role == Role::Publish {
                return self.publishing(keeping, &mut engine);
            }
            let most_bytes = (self.limits.bytes / 4).clamp(LEAST_OUTBOX, MOST_OUTBOX);
            let outbox = Outbox::new(publisher, keeping.bound, most_bytes);
            #[expect(clippy::disallowed_methods, reason = "the run begins here")]
            engine.keep(outbox, Instant::now());
            let (desk, driver) = Driver::new(keeping.journal, publisher);
            match keeping.role {
                Role::Keep | Role::Publish => (desk, driver),
                Role::Deliver => {
                    engine.deliver();
                    (desk, driver.shared())
                }
            }
        });
        Parts { producer, consumer, engine, stats, tick: self.tick(), journal }
    }

    /// How often the worker looks at its queue while lines may come.
    fn tick(&self) -> Duration {
        let tick = self.linger / 4;
        let bounds = [self.keep.bound(), self.publish.as_ref().map(|_| publishing::BOUND)];
        // Then lines have another eighth to gather, and what stores them has the rest.
        let bound = bounds.into_iter().flatten().min().map(|bound| bound / 8);
        bound.map_or(tick, |bound| bound.min(tick)).clamp(LEAST_TICK, LONGEST_TICK)
    }
}

/// What the worker may hold for its journal at the least, in bytes.
const LEAST_OUTBOX: usize = 1 << 20;
/// The same at the most: a second's worth of very many lines.
const MOST_OUTBOX: usize = 16 << 20;
/// The worker's thread.
const THREAD: &str = "tracing-bizproc";
const LEAST_TICK: Duration = Duration::from_millis(10);
const LONGEST_TICK: Duration = Duration::from_millis(250);
