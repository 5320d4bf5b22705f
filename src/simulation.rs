//! The whole route, against a model of the portal, in simulated time: hours take milliseconds.
//!
//! For the tests and benches of this crate; not part of its API, and free to change at any time.
//! The model follows the behaviour of portals, not the expectations of the worker. A seed decides its limits,
//! costs, neighbours and faults, which the worker does not know.
#![expect(clippy::disallowed_methods, reason = "tokio's clock is the simulated one here")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Level;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Identity, Layer, SubscriberExt};

use crate::builder::{Builder, Parts};
use crate::completion::Completion;
use crate::error::{CompleteError, WorkerError};
use crate::handle::Handle;
use crate::layer;
use crate::line::{EventToken, PortalId};
use crate::protocol::{Reply, Request};
use crate::queue::Producer;
use crate::simulation::told::Told;
use crate::stats::{FlushReport, Snapshot};
use crate::transport::Transport;
use crate::worker::Worker;

pub mod conditions;
mod known;
mod limits;
pub mod portal;
mod random;
pub mod throughput;
pub(crate) mod told;
mod verify;

pub use conditions::{Conditions, EventSend, Faults, Lift};
pub use portal::{Ended, Portal, Written};
pub use random::Random;
pub use verify::Waits;

/// A run, as a scenario uses it.
#[derive(Clone)]
pub struct Run {
    start: Instant,
    portal: Arc<Mutex<Portal>>,
    handle: Handle,
    spans: Rc<RefCell<BTreeMap<u32, tracing::Span>>>,
    sent: Rc<RefCell<BTreeMap<u32, Vec<Duration>>>>,
    completions: Rc<RefCell<BTreeMap<u32, Completing>>>,
    producer: Producer,
    law: Option<Arc<Mutex<Told>>>,
}

/// A completion that was requested.
#[derive(Debug)]
struct Completing {
    lines: usize,
    asked: Duration,
    deadline: Duration,
    answer: JoinHandle<(Duration, Result<FlushReport, CompleteError>)>,
}

/// The result of a completion.
#[derive(Debug)]
pub struct Completed {
    /// How many lines were logged before it was requested.
    pub lines: usize,
    /// When it was requested, from the start of the run.
    pub asked: Duration,
    /// Until when it waited for its lines.
    pub deadline: Duration,
    /// When it was answered.
    pub answered: Duration,
    /// The answer.
    pub answer: Result<FlushReport, CompleteError>,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The seed, to run it again.
    pub seed: u64,
    /// The counters at the end.
    pub stats: Snapshot,
    /// The report of the shutdown.
    pub shutdown: FlushReport,
    /// When each line of each workflow was logged, from the start of the run.
    pub sent: BTreeMap<u32, Vec<Duration>>,
    /// The results of the completions, by workflow.
    pub completions: BTreeMap<u32, Completed>,
    /// The portal at the end.
    pub portal: Portal,
    /// Simulated time.
    pub took: Duration,
    /// Whether the logs tell of the lost lines: what is wrong, if anything is.
    told: Result<(), String>,
}

/// Runs `scenario` against a portal under `conditions`, then shuts the worker down within
/// `shutdown`.
pub fn run<F, S>(
    seed: u64,
    builder: Builder,
    conditions: Conditions,
    shutdown: Duration,
    scenario: S,
) -> Outcome
where
    F: Future<Output = ()>,
    S: FnOnce(Run) -> F,
{
    run_beside(Identity::new(), seed, builder, conditions, shutdown, scenario)
}

/// As [`run`], with another layer that sees all events of the run.
pub fn run_beside<L, F, S>(
    beside: L,
    seed: u64,
    builder: Builder,
    conditions: Conditions,
    shutdown: Duration,
    scenario: S,
) -> Outcome
where
    L: Layer<Registry> + Send + Sync + 'static,
    F: Future<Output = ()>,
    S: FnOnce(Run) -> F,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing from the system");
    let law = conditions.checks_told.then(|| Arc::new(Mutex::new(Told::listen())));
    let portal = Arc::new(Mutex::new(Portal::new(seed, conditions)));
    let transport = Scripted { portal: portal.clone(), start: None, law: law.clone() };
    let (handle, outcome) = runtime.block_on(async {
        let start = Instant::now();
        let transport = Scripted { start: Some(start), ..transport };
        let Parts { producer, consumer, engine, stats, tick, journal } = builder.parts(seed);
        let (desk, driver) = journal.unzip();
        let mut worker =
            Worker::new(consumer, engine, transport, stats.clone(), tick).with_journal(desk);
        if let Some(driver) = driver {
            tokio::spawn(driver.run());
        }
        let handle = Handle::new(producer.clone(), stats, builder.patience());
        let layer = layer::layer(producer.clone(), builder.event_level());
        let subscriber = tracing_subscriber::registry().with(beside).with(layer);
        let run = Run {
            start,
            portal: portal.clone(),
            handle: handle.clone(),
            spans: Rc::default(),
            sent: Rc::default(),
            completions: Rc::default(),
            producer: producer.clone(),
            law: law.clone(),
        };
        let guard = tracing::subscriber::set_default(subscriber);
        let script = async {
            scenario(run.clone()).await;
            run.spans.borrow_mut().clear();
            run.law(|law, now| law.closes(now + shutdown / 2));
            // By the simulated clock, which stands apart from the caller's.
            let deadline = (Instant::now() + shutdown).into_std();
            loop {
                match run.handle.close_at(deadline).await {
                    Err(WorkerError::Busy) => tokio::time::sleep(Duration::from_millis(1)).await,
                    closed => break closed,
                }
            }
        };
        let (report, ()) = tokio::join!(script, worker.run());
        drop(guard);
        let sent = run.sent.take();
        let mut completions = BTreeMap::new();
        for (workflow, completing) in run.completions.take() {
            let Completing { lines, asked, deadline, answer } = completing;
            let (answered, answer) = answer.await.expect("nobody stops it");
            let completed = Completed { lines, asked, deadline, answered, answer };
            completions.insert(workflow, completed);
        }
        (handle, (report, sent, completions, start.elapsed()))
    });
    let (report, sent, completions, took) = outcome;
    let portal = std::mem::replace(
        &mut *portal.lock().unwrap_or_else(PoisonError::into_inner),
        Portal::new(0, Conditions::default()),
    );
    Outcome {
        seed,
        stats: handle.stats(),
        shutdown: report.unwrap_or_default(),
        sent,
        completions,
        portal,
        took,
        told: law
            .map_or(Ok(()), |law| law.lock().unwrap_or_else(PoisonError::into_inner).verdict()),
    }
}

impl Run {
    fn law(&self, tell: impl FnOnce(&mut Told, Duration)) {
        if let Some(law) = &self.law {
            tell(&mut law.lock().unwrap_or_else(PoisonError::into_inner), self.start.elapsed());
        }
    }

    /// Simulated time since the start.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until so much simulated time has passed since the start.
    pub async fn until(&self, at: Duration) {
        tokio::time::sleep_until(self.start + at).await;
    }

    /// Logs a line of about `bytes` bytes in a workflow's tagged span, which is opened at its first
    /// line and stays open.
    pub fn log(&self, workflow: u32, bytes: usize) {
        let mut spans = self.spans.borrow_mut();
        let span = spans.entry(workflow).or_insert_with(|| {
            let event_token = EventToken::parse(&portal::event_token(workflow));
            let event_token = event_token.expect("a well-formed token");
            tracing::span!(Level::INFO, "activity", event_token = event_token.as_field())
        });
        let mut sent = self.sent.borrow_mut();
        let sent = sent.entry(workflow).or_default();
        let (n, padding) = (sent.len(), &PADDING[..bytes.min(PADDING.len())]);
        let before = self.producer.accepted();
        span.in_scope(|| tracing::info!("#{n}# {padding}"));
        let event_token = portal::event_token(workflow);
        self.law(|law, now| match self.producer.accepted() > before {
            true => law.logged(&event_token, n as u64, now),
            false => law.refused(&event_token, now),
        });
        sent.push(self.now());
    }

    /// Closes a workflow's span.
    pub fn close(&self, workflow: u32) {
        self.spans.borrow_mut().remove(&workflow);
    }

    /// Ends a workflow's activity, once. The lines have `timeout` to be written. The answer is in the
    /// run's outcome.
    pub fn complete(&self, workflow: u32, timeout: Duration) {
        let mut completions = self.completions.borrow_mut();
        if completions.contains_key(&workflow) {
            return;
        }
        let (start, handle) = (self.start, &self.handle);
        let (asked, lines) = (self.now(), self.sent.borrow().get(&workflow).map_or(0, Vec::len));
        let event_token = EventToken::parse(&portal::event_token(workflow));
        let event_token = event_token.expect("a well-formed token");
        let completion = Completion::new().value("workflow", workflow.to_string());
        let deadline = (start + asked + timeout).into_std();
        self.law(|law, now| law.end_asked(event_token.expose(), asked + timeout, now));
        let answer = handle.ask_complete(None, &event_token, completion, deadline);
        let answer = tokio::spawn(async move {
            let answer = match answer {
                Ok(answer) => answer.await.unwrap_or(Err(WorkerError::Closed.into())),
                Err(error) => Err(error.into()),
            };
            (start.elapsed(), answer)
        });
        let deadline = asked + timeout;
        completions.insert(workflow, Completing { lines, asked, deadline, answer });
    }

    /// Flushes within simulated time. Where nothing is in motion afterwards, the counters must add
    /// up.
    ///
    /// # Panics
    /// When they do not.
    pub async fn flush(&self, timeout: Duration) -> FlushReport {
        let deadline = (Instant::now() + timeout).into_std();
        let report = self.handle.flush_at(deadline).await.unwrap_or_default();
        let stats = self.handle.stats();
        let settled = stats.acknowledged() + stats.late() + stats.lost();
        assert_eq!(stats.accepted(), settled + stats.pending(), "conservation: {stats}");
        report
    }

    /// Bytes that the portal and the run itself hold to verify the outcome later.
    pub fn bytes(&self) -> usize {
        let written = self.portal.lock().unwrap_or_else(PoisonError::into_inner).bytes;
        let sent = self.sent.borrow();
        written + sent.values().map(|sent| sent.capacity() * size_of::<Duration>()).sum::<usize>()
    }

    /// The counters.
    pub fn stats(&self) -> Snapshot {
        self.handle.stats()
    }
}

/// Text for lines.
const PADDING: &str = "the quick brown fox jumps over the lazy dog while the order is checked, \
charged, packed and shipped by hands that nobody ever sees and so on until the line is long enough \
to stand for a long one in a log that somebody reads from the newest entry to the oldest one";

/// Sends requests to the model.
#[derive(Clone)]
struct Scripted {
    portal: Arc<Mutex<Portal>>,
    start: Option<Instant>,
    law: Option<Arc<Mutex<Told>>>,
}

impl Scripted {
    fn law(&self, tell: impl FnOnce(&mut Told, Duration)) {
        let now = self.start.map_or(Duration::ZERO, |start| start.elapsed());
        if let Some(law) = &self.law {
            tell(&mut law.lock().unwrap_or_else(PoisonError::into_inner), now);
        }
    }
}

impl Transport for Scripted {
    async fn call(&self, _portal: Option<&PortalId>, request: Request) -> Reply {
        let now = self.start.map_or(Duration::ZERO, |start| start.elapsed());
        self.law(|law, now| law.sent(&request, now));
        let (took, reply) = {
            let mut portal = self.portal.lock().unwrap_or_else(PoisonError::into_inner);
            portal.hit(&request, now)
        };
        tokio::time::sleep(took).await;
        self.law(|law, now| law.answered(&request, &reply, now));
        reply
    }
}
