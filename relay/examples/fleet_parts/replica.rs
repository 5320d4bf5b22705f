//! A replica of an app: a process that logs into activities that it shares with other replicas, and ends some of
//! its own.
//!
//! After its settings, it reads orders from standard input, one per line:
//!
//! ```text
//! order NUMBER MEMBER_ID EVENT_TOKEN LINES  work on an activity of its own: log, and end it
//! finish                                    log nothing more, and end when all is delivered
//! ```
//!
//! SIGTERM stops it, as services are stopped.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, stdin};
use std::rc::Rc;
use std::time::Duration;

use bizproc_campaign::{Folder, Line, Record, now, of_end};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};
use tracing::{Span, info, info_span, warn};
use tracing_bizproc::auth::Credentials;
use tracing_bizproc::simulation::Random;
use tracing_bizproc::stats::DropReason;
use tracing_bizproc::{Completion, Handle, WorkerGuard};
use tracing_bizproc_relay::{PgConfig, PgJournal};
use tracing_subscriber::prelude::*;

use super::settings::{OpenActivity, Settings};

/// The main function of the process.
pub(crate) fn run(folder: &Folder, run: u32) -> Result<(), Box<dyn Error>> {
    let record = Record::create(&folder.records(run), now)?;
    let settings = Settings::read(stdin().lock())?;
    let journal = PgJournal::new(PgConfig::parse(&settings.database)?)?;
    // With real credentials, a replica could still end an activity if no relay answers.
    let (layer, guard) = tracing_bizproc::builder(Credentials::provider(settings.webhooks))
        .publish_to(journal)
        .build()?;
    tracing_subscriber::registry().with(super::warnings()).with(layer).init();

    let (send, orders) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("orders".to_owned()).spawn(move || read_orders(&send))?;
    // There is one thread, so nothing happens between the record of a line and the line.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let replica = Rc::new(Replica {
        run,
        record,
        bizproc: guard.handle(),
        lines: Cell::new(0),
        numbers: RefCell::default(),
        random: RefCell::new(Random::new(u64::from(run), 11)),
        is_finishing: Cell::new(false),
    });
    let working = replica.work(settings.activities, settings.rate, orders);
    let is_finished = LocalSet::new().block_on(&runtime, working)?;
    replica.close(&runtime, guard, is_finished)
}

struct Replica {
    run: u32,
    record: Record,
    bizproc: Handle,
    /// How many lines were logged.
    lines: Cell<usize>,
    /// The number of the last line of an activity.
    numbers: RefCell<HashMap<u32, u32>>,
    random: RefCell<Random>,
    is_finishing: Cell<bool>,
}

enum Order {
    Work(OpenActivity, u32),
    Finish,
}

fn read_orders(orders: &mpsc::UnboundedSender<Order>) {
    for line in stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let order = match words[..] {
            ["order", number, member_id, event_token, lines] => {
                OpenActivity::read(number, member_id, event_token)
                    .zip(lines.parse().ok())
                    .map(|(activity, lines)| Order::Work(activity, lines))
            }
            ["finish"] => Some(Order::Finish),
            _ => None,
        };
        if order.is_some_and(|order| orders.send(order).is_err()) {
            return;
        }
    }
}

impl Replica {
    /// Works until it is stopped, or until everything is done. Returns whether everything is done.
    async fn work(
        self: &Rc<Self>,
        shared: Vec<OpenActivity>,
        rate: f64,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) -> std::io::Result<bool> {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::task::spawn_local(Rc::clone(self).flush());
        let mut tasks = JoinSet::new();
        tasks.spawn_local(Rc::clone(self).log_to_shared(shared, rate));
        while !self.is_finishing.get() || !tasks.is_empty() {
            tokio::select! {
                _ = terminated.recv() => return Ok(false),
                order = orders.recv(), if !self.is_finishing.get() => match order {
                    Some(Order::Work(activity, lines)) => {
                        tasks.spawn_local(Rc::clone(self).fulfil(activity, lines));
                    }
                    // The end of the input means that the parent process has ended.
                    Some(Order::Finish) | None => self.is_finishing.set(true),
                },
                Some(done) = tasks.join_next() => {
                    if let Err(error) = done {
                        self.record.note(format_args!("a task failed: {error}"))?;
                    }
                }
            }
        }
        Ok(true)
    }

    async fn log_to_shared(self: Rc<Self>, activities: Vec<OpenActivity>, rate: f64) {
        let spans: Vec<(u32, Span)> =
            activities.iter().map(|activity| (activity.number, span_of(activity))).collect();
        while !self.is_finishing.get() && !spans.is_empty() {
            let (activity, span) = &spans[self.random.borrow_mut().below(spans.len())];
            // Some lines are single, and some are in a burst.
            let burst = if self.random.borrow_mut().chance(0.1) { BURST } else { 1 };
            for _ in 0..burst {
                self.log(*activity, span);
            }
            let mean = f64::from(MEAN_BURST_TENTHS) / 10.0 / rate;
            self.pause(0.0, 2.0 * mean).await;
        }
    }

    /// Works on an activity of its own.
    async fn fulfil(self: Rc<Self>, activity: OpenActivity, lines: u32) {
        let number = activity.number;
        let span = span_of(&activity);
        for _ in 0..lines {
            self.log(number, &span);
            self.pause(0.0, 0.2).await;
        }
        drop(span);
        let completion =
            Completion::new().value("number", number).message(of_end(number)).timeout(END_TIMEOUT);
        self.record.end(number, END_TIMEOUT).unwrap_or_else(|error| give_up(&error));
        let OpenActivity { portal, event_token, .. } = &activity;
        let answer = self.bizproc.complete_on(portal, event_token, completion).await;
        let error = answer.err().map(|error| error.to_string());
        self.record.ended(number, error.as_deref()).unwrap_or_else(|error| give_up(&error));
    }

    /// Logs the next line. Nothing may happen between its record and the line.
    fn log(&self, activity: u32, span: &Span) {
        let number = {
            let mut numbers = self.numbers.borrow_mut();
            let number = numbers.entry(activity).or_default();
            *number += 1;
            *number
        };
        let line = Line { activity, run: Some(self.run), number };
        let text = line.text();
        self.record.line(line).unwrap_or_else(|error| give_up(&error));
        span.in_scope(|| match number % 7 {
            0 => warn!(attempt = number, "{text}"),
            _ => info!(amount = f64::from(number) / 4.0, "{text}"),
        });
        self.lines.set(self.lines.get() + 1);
    }

    /// Records repeatedly how many lines are in the journal.
    async fn flush(self: Rc<Self>) {
        loop {
            self.pause(0.2, 0.8).await;
            let lines = self.lines.get();
            let flushed = self.bizproc.flush(PATIENCE).await;
            if flushed.is_ok_and(|report| report.is_complete()) {
                self.record.flushed(lines).unwrap_or_else(|error| give_up(&error));
            }
        }
    }

    async fn pause(&self, low: f64, high: f64) {
        let seconds = self.random.borrow_mut().within(low, high);
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Waits for delivery if everything is done, and records what was lost.
    fn close(
        &self,
        runtime: &tokio::runtime::Runtime,
        guard: WorkerGuard,
        is_finished: bool,
    ) -> Result<(), Box<dyn Error>> {
        if is_finished {
            let delivered = runtime.block_on(self.bizproc.flush_delivered(PATIENCE))?;
            self.record.note(format_args!("delivered: {delivered}"))?;
        }
        let report = guard.shutdown_blocking(SHUTDOWN);
        let stats = self.bizproc.stats();
        self.record.note(format_args!("shut down: {report}; {stats}"))?;
        for reason in DropReason::ALL.iter().filter(|reason| stats.by_reason(**reason) > 0) {
            self.record.lost(reason.as_str(), stats.by_reason(*reason))?;
        }
        if stats.late() > 0 {
            self.record.lost("late", stats.late())?;
        }
        Ok(())
    }
}

fn span_of(activity: &OpenActivity) -> Span {
    let OpenActivity { number, portal, event_token } = activity;
    info_span!(
        "activity",
        event_token = event_token.as_field(),
        portal = portal.as_str(),
        order = number
    )
}

/// Without its own file, the replica is of no use for the verdict.
fn give_up(error: &std::io::Error) {
    tracing::error!(%error, "the replica's own file cannot be written");
    std::process::exit(3);
}

/// How long an end waits for its lines. This is longer than several pauses of relays, crashes of the database, and
/// delays of a busy disk.
const END_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the last delivery may take.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long a replica may take to stop. It only has to append.
const SHUTDOWN: Duration = Duration::from_secs(10);
const BURST: u32 = 8;
/// 0.9 x 1 + 0.1 x 8 lines, in tenths.
const MEAN_BURST_TENTHS: u32 = 17;
