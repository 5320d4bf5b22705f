//! Short-lived processes: many at once, each with a few lines and little time, and one webhook for all.

use std::error::Error;
use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bizproc_campaign::Folder;
use bizproc_portal::{Activity, Portal, Tariff, Workflow};
use tracing::{info, info_span};
use tracing_bizproc::EventToken;
use tracing_bizproc::auth::Webhook;
use tracing_subscriber::prelude::*;

use crate::options::Options;
use crate::spool;

/// The first argument of a short-lived process.
pub(crate) const PROCESS: &str = "--short-process";

/// Lines that each process logs.
const LINES: usize = 3;
/// All processes start within this time, one after the other.
const WITHIN: Duration = Duration::from_secs(16);

/// What became of the lines of the processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    processes: usize,
    /// Processes of which all lines are in their logs.
    whole: usize,
    /// Processes of which no line is.
    nothing: usize,
    hits: u64,
    /// Hits that the portal has refused for their rate.
    refused: u64,
}

/// Runs so many processes without a spool, and then with one, if there is one to be had.
pub(crate) fn run(processes: usize, options: &Options) -> Result<bool, Box<dyn Error>> {
    let without = play(processes, &Options { spool: false, ..options.clone() })?;
    println!("without a spool: {without}");
    if !options.spool {
        return Ok(true);
    }
    let with = play(processes, options)?;
    println!("with a spool, and drained at the end: {with}");
    Ok(with.whole == processes)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { processes, whole, nothing, hits, refused } = self;
        write!(
            f,
            "processes={processes} all_lines_delivered={whole} none_delivered={nothing} \
             requests={hits} refused_for_their_rate={refused}"
        )
    }
}

fn play(processes: usize, options: &Options) -> Result<Figures, Box<dyn Error>> {
    let folder = Folder::create("short-lived")?;
    let portal = Portal::builder().tariff(Tariff::Standard).start()?;
    let tasks: Vec<(Workflow, Activity)> = (0..processes)
        .map(|number| {
            let workflow = portal.start_workflow(&format!("Order {number}"));
            let activity = workflow.open_activity("Check");
            (workflow, activity)
        })
        .collect();

    let (began, mut children) = (Instant::now(), Vec::new());
    let between = WITHIN / u32::try_from(processes.max(1))?;
    for (number, (_, activity)) in (0..).zip(&tasks) {
        let due = began + between * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        children.push(start(&folder, &portal, activity, options)?);
    }
    for mut child in children {
        child.wait()?;
    }
    if options.spool {
        spool::drain(&folder, Webhook::new(portal.webhook_url())?, options)?;
    }

    let lines = tasks.iter().map(|(workflow, _)| workflow.lines().len());
    let lines: Vec<usize> = lines.collect();
    let refused = portal.counters().refused_hits;
    let count = |wanted: usize| lines.iter().filter(|lines| **lines == wanted).count();
    let (whole, nothing) = (count(LINES), count(0));
    folder.remove()?;
    Ok(Figures { processes, whole, nothing, hits: portal.counters().hits, refused })
}

fn start(
    folder: &Folder,
    portal: &Portal,
    activity: &Activity,
    options: &Options,
) -> Result<Child, Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(PROCESS)
        .arg(folder.path())
        .args(options.arguments())
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut input = child.stdin.take().ok_or("the process has no input")?;
    write!(input, "{}\n{}", portal.webhook_url(), activity.event_token())?;
    Ok(child)
}

/// The main function of such a process: a script that logs three lines and ends.
pub(crate) fn process(folder: &Folder, options: &Options) -> Result<(), Box<dyn Error>> {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    let (url, event_token) = input.split_once('\n').ok_or("no event token")?;
    let event_token = EventToken::parse(event_token)?;
    let builder = tracing_bizproc::builder(Webhook::new(url)?);
    let (layer, guard) = spool::with(builder, folder, options).build()?;
    tracing_subscriber::registry().with(layer).init();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
        for number in 1..=LINES {
            info!(number, "A line of a short life");
        }
    });
    // It waits for 5 s at most, as by default.
    drop(guard);
    Ok(())
}
