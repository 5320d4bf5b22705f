//! The app: a process that works on activities, logs, ends them, and can be killed at any moment.
//!
//! It is told what to do on standard input, a line for each:
//!
//! ```text
//! portal MEMBER_ID URL                   before `start`: how to call a portal
//! start
//! open NUMBER MEMBER_ID TOKEN NEXT LAST  work on an activity: log the lines NEXT to LAST, and end it
//! finish                                 end when all is done
//! ```
//!
//! SIGTERM stops it, as services are stopped.

use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bizproc_campaign::{BEAT, Folder, Line, Record, moment, of_end};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{Instrument, info, info_span, warn};
use tracing_bizproc::auth::{Credentials, Webhook};
use tracing_bizproc::simulation::Random;
use tracing_bizproc::stats::DropReason;
use tracing_bizproc::{Completion, EventToken, Handle, PortalId, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::clock::TrueTime;
use crate::options::{Options, REQUEST_TIMEOUT};
use crate::spool;

/// How long the app takes to stop.
pub(crate) const SHUTDOWN: Duration = Duration::from_secs(2);

/// The main function of the app.
pub(crate) fn run(folder: &Folder, run: u32, options: &Options) -> Result<(), Box<dyn Error>> {
    let time = TrueTime::start(folder.path())?;
    let record = Record::create(&folder.records(run), move || moment(time.now()))?;
    let record = Arc::new(record);
    beat(Arc::clone(&record))?;

    let (orders, taken) = mpsc::unbounded_channel();
    let webhooks = read_portals()?;
    std::thread::Builder::new().name("orders".to_owned()).spawn(move || read_orders(&orders))?;

    let (layer, guard) = spool::with(
        tracing_bizproc::builder(Credentials::provider(webhooks))
            .linger(Duration::from_millis(300))
            .max_hold(options.course.max_hold)
            .request_timeout(REQUEST_TIMEOUT),
        folder,
        options,
    )
    .build()?;
    // The app logs warnings, too: those of the crate are what a reader of the file looks for.
    let of_crate = Targets::new().with_target("tracing_bizproc", LevelFilter::WARN);
    let printed = fmt::layer().with_ansi(false).with_writer(std::io::stderr).with_filter(of_crate);
    tracing_subscriber::registry().with(printed).with(layer).init();
    record.note("the layer is there")?;

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let bizproc = guard.handle();
    let is_finished = runtime.block_on(work(taken, &bizproc, &record, options.course.seed))?;
    // Tasks that are under way end here, each where it waits.
    runtime.shutdown_background();
    close(guard, &record, is_finished)
}

/// Notes all the time that the process runs.
fn beat(record: Arc<Record>) -> std::io::Result<()> {
    let beating = move || {
        while record.beat().is_ok() {
            std::thread::sleep(Duration::from_nanos(BEAT));
        }
    };
    std::thread::Builder::new().name("beat".to_owned()).spawn(beating).map(drop)
}

/// An activity to work on.
struct Order {
    activity: u32,
    portal: PortalId,
    event_token: EventToken,
    lines: std::ops::RangeInclusive<u32>,
}

enum Command {
    Open(Order),
    Finish,
}

fn read_portals() -> Result<HashMap<PortalId, Webhook>, Box<dyn Error>> {
    let mut webhooks = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("portal"), Some(member_id), Some(url)) => {
                webhooks.insert(PortalId::from(member_id), Webhook::new(url)?);
            }
            _ => break,
        }
    }
    Ok(webhooks)
}

/// Hands on what is read, until there is no more.
fn read_orders(orders: &mpsc::UnboundedSender<Command>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Some(command) = parse(&line) else { continue };
        if orders.send(command).is_err() {
            return;
        }
    }
}

fn parse(line: &str) -> Option<Command> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["open", activity, member_id, event_token, next, last] => Some(Command::Open(Order {
            activity: activity.parse().ok()?,
            portal: PortalId::from(member_id),
            event_token: EventToken::parse(event_token).ok()?,
            lines: next.parse().ok()?..=last.parse().ok()?,
        })),
        ["finish"] => Some(Command::Finish),
        _ => None,
    }
}

/// Works until it is stopped, or until all is done; says whether it is.
async fn work(
    mut orders: mpsc::UnboundedReceiver<Command>,
    bizproc: &Handle,
    record: &Arc<Record>,
    seed: u64,
) -> std::io::Result<bool> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut tasks = JoinSet::new();
    let mut is_finishing = false;
    while !is_finishing || !tasks.is_empty() {
        tokio::select! {
            _ = terminated.recv() => return Ok(false),
            command = orders.recv(), if !is_finishing => match command {
                Some(Command::Open(order)) => {
                    let random = Random::new(seed, u64::from(order.activity));
                    let (bizproc, record) = (bizproc.clone(), Arc::clone(record));
                    tasks.spawn(fulfil(order, bizproc, record, random));
                }
                // Without its input, the campaign itself has ended.
                Some(Command::Finish) | None => is_finishing = true,
            },
            Some(done) = tasks.join_next() => {
                if let Err(error) = done {
                    record.note(format_args!("a task failed: {error}"))?;
                }
            }
        }
    }
    Ok(true)
}

/// Works on one activity.
async fn fulfil(order: Order, bizproc: Handle, record: Arc<Record>, mut random: Random) {
    let Order { activity, portal, event_token, lines } = order;
    let span = info_span!(
        "activity",
        event_token = event_token.as_field(),
        portal = portal.as_str(),
        order = activity
    );
    log(activity, lines, &record, &mut random).instrument(span).await;

    // Return values that are not text go by themselves, the others in batches.
    let completion = match activity % 3 {
        0 => Completion::new().value("number", activity),
        _ => Completion::new().value("text", value(activity)),
    };
    let completion = completion.message(of_end(activity)).timeout(END_TIMEOUT);
    record.end(activity, END_TIMEOUT).unwrap_or_else(|error| give_up(&error));
    let answer = bizproc.complete_on(&portal, &event_token, completion).await;
    let error = answer.err().map(|error| error.to_string());
    record.ended(activity, error.as_deref()).unwrap_or_else(|error| give_up(&error));
}

async fn log(
    activity: u32,
    lines: std::ops::RangeInclusive<u32>,
    record: &Record,
    random: &mut Random,
) {
    let style = activity % 4;
    for number in lines {
        let line = Line { activity, run: None, number };
        let text = line.text();
        // Nothing may come between these two.
        record.line(line).unwrap_or_else(|error| give_up(&error));
        match number % 7 {
            0 => warn!(attempt = number, "{text}"),
            3 => info_span!("payment", provider = "Kassa").in_scope(|| info!("{text}")),
            _ => info!(amount = f64::from(number) / 4.0, "{text}"),
        }
        let pause = match style {
            0 => random.within(0.005, 0.06),
            1 => random.within(0.05, 0.8),
            2 if number % 12 != 0 => continue,
            2 => random.within(0.3, 2.0),
            _ => random.within(0.1, 0.3),
        };
        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
    }
}

/// What the end of an activity returns: a name and a value.
pub(crate) fn returned(activity: u32) -> (&'static str, String) {
    match activity % 3 {
        0 => ("number", activity.to_string()),
        _ => ("text", value(activity)),
    }
}

fn value(activity: u32) -> String {
    format!("value of {activity}")
}

/// Without its own file the app proves nothing.
fn give_up(error: &std::io::Error) {
    eprintln!("the app's own file: {error}");
    std::process::exit(3);
}

/// Delivers what is there, and says what was lost.
fn close(guard: WorkerGuard, record: &Record, is_finished: bool) -> Result<(), Box<dyn Error>> {
    let bizproc = guard.handle();
    let began = Instant::now();
    if is_finished {
        while bizproc.stats().pending() > 0 && began.elapsed() < PATIENCE {
            bizproc.flush_blocking(Duration::from_secs(5))?;
        }
    }
    let asked = Instant::now();
    let report = guard.shutdown_blocking(SHUTDOWN);
    let stats = bizproc.stats();
    record.note(format_args!("shut down in {:?}: {report}; {stats}", asked.elapsed()))?;
    for reason in DropReason::ALL.iter().filter(|reason| stats.by_reason(**reason) > 0) {
        record.lost(reason.as_str(), stats.by_reason(*reason))?;
    }
    if stats.late() > 0 {
        record.lost("late", stats.late())?;
    }
    Ok(())
}

/// How long an end waits for its lines. Longer than any trouble of the campaign and any jump of the clock, so
/// that no line is late.
const END_TIMEOUT: Duration = Duration::from_secs(900);
/// How long the last process tries to deliver everything.
const PATIENCE: Duration = Duration::from_secs(150);
