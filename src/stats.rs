//! Counters: where every line ended. Owns the numbers and the law between them; never decides.
//!
//! The conservation law, true whenever nothing is in motion:
//!
//! ```text
//! accepted = acknowledged + late + sum of dropped[reason] + pending
//! ```
//!
//! Lines that were refused at the door were never accepted and are counted apart.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counters themselves. Written by callers and worker, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    acknowledged: AtomicU64,
    late: AtomicU64,
    by_reason: [AtomicU64; DropReason::ALL.len()],
    requests: AtomicU64,
    commands: AtomicU64,
    repeats: AtomicU64,
    rolled_off: AtomicU64,
    rate_limited: AtomicU64,
    operating_limited: AtomicU64,
    unknown_outcomes: AtomicU64,
    unusable_tokens: AtomicU64,
    restarts: AtomicU64,
}

impl Stats {
    pub(crate) fn acknowledged(&self, lines: u64) {
        self.acknowledged.fetch_add(lines, Relaxed);
    }

    pub(crate) fn late(&self, lines: u64) {
        self.late.fetch_add(lines, Relaxed);
    }

    /// Counts lines that were refused or dropped.
    pub(crate) fn dropped(&self, reason: DropReason, lines: u64) {
        self.by_reason[reason as usize].fetch_add(lines, Relaxed);
    }

    /// Counts a request that goes out with so many commands.
    pub(crate) fn request(&self, commands: u64) {
        self.requests.fetch_add(1, Relaxed);
        self.commands.fetch_add(commands, Relaxed);
    }

    /// Counts an entry that goes out marked as a possible repeat.
    pub(crate) fn repeat(&self) {
        self.repeats.fetch_add(1, Relaxed);
    }

    pub(crate) fn rolled_off(&self, lines: u64) {
        self.rolled_off.fetch_add(lines, Relaxed);
    }

    pub(crate) fn rate_limited(&self) {
        self.rate_limited.fetch_add(1, Relaxed);
    }

    pub(crate) fn operating_limited(&self) {
        self.operating_limited.fetch_add(1, Relaxed);
    }

    pub(crate) fn unknown_outcome(&self) {
        self.unknown_outcomes.fetch_add(1, Relaxed);
    }

    pub(crate) fn unusable_token(&self) {
        self.unusable_tokens.fetch_add(1, Relaxed);
    }

    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
    }

    /// Reads all counters. `accepted` and `pending` are the queue's to know.
    pub(crate) fn snapshot(&self, accepted: u64, pending: u64) -> Snapshot {
        Snapshot {
            accepted,
            pending,
            acknowledged: self.acknowledged.load(Relaxed),
            late: self.late.load(Relaxed),
            by_reason: std::array::from_fn(|n| self.by_reason[n].load(Relaxed)),
            requests: self.requests.load(Relaxed),
            commands: self.commands.load(Relaxed),
            repeats: self.repeats.load(Relaxed),
            rolled_off: self.rolled_off.load(Relaxed),
            rate_limited: self.rate_limited.load(Relaxed),
            operating_limited: self.operating_limited.load(Relaxed),
            unknown_outcomes: self.unknown_outcomes.load(Relaxed),
            unusable_tokens: self.unusable_tokens.load(Relaxed),
            restarts: self.restarts.load(Relaxed),
        }
    }
}

/// All counters at one moment. Its `Display` is a line for people.
///
/// Counters only grow, but for [`pending`](Self::pending). While lines are in motion the counters
/// are read one after the other and may be apart by those lines; when nothing is in motion they
/// obey the conservation law: [`accepted`](Self::accepted) = [`acknowledged`](Self::acknowledged)
/// + [`late`](Self::late) + [`lost`](Self::lost) + [`pending`](Self::pending).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::Webhook::new("https://b24.example/rest/1/secret/")?;
/// # let (layer, guard) = tracing_bizproc::builder(webhook).build()?;
/// # let _: Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry>> = Box::new(layer);
/// let snapshot = guard.handle().stats();
/// assert_eq!(snapshot.to_string(), "accepted=0 acknowledged=0 lost=0");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    accepted: u64,
    pending: u64,
    acknowledged: u64,
    late: u64,
    by_reason: [u64; DropReason::ALL.len()],
    requests: u64,
    commands: u64,
    repeats: u64,
    rolled_off: u64,
    rate_limited: u64,
    operating_limited: u64,
    unknown_outcomes: u64,
    unusable_tokens: u64,
    restarts: u64,
}

impl Snapshot {
    /// Lines that the queue took in.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Lines of entries to which the portal said true. (It says true also for entries that it
    /// throws away, as after the end of an activity: server behaviour.)
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Lines that came, or were still waiting, when their activity had been completed.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Lines accepted and not yet settled.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Accepted lines that were dropped, for whatever reason.
    pub fn lost(&self) -> u64 {
        self.sum(|reason| !reason.is_refusal())
    }

    /// Lines that were turned away at the door.
    pub fn refused(&self) -> u64 {
        self.sum(DropReason::is_refusal)
    }

    /// Lines that were dropped or refused for `reason`.
    pub fn by_reason(&self, reason: DropReason) -> u64 {
        self.by_reason[reason as usize]
    }

    /// Requests sent to portals, repeats among them.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Commands in those requests: entries, mostly.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Entries sent again after an unknown outcome, marked in the log as possible repeats.
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Lines that the portal no longer shows, since it keeps the newest entries of a workflow only.
    pub fn rolled_off(&self) -> u64 {
        self.rolled_off
    }

    /// Requests that a portal refused for their rate (`QUERY_LIMIT_EXCEEDED`).
    pub fn rate_limited(&self) -> u64 {
        self.rate_limited
    }

    /// Replies with a refusal for operating time (`OPERATION_TIME_LIMIT`).
    pub fn operating_limited(&self) -> u64 {
        self.operating_limited
    }

    /// Requests whose outcome could not be known.
    pub fn unknown_outcomes(&self) -> u64 {
        self.unknown_outcomes
    }

    /// Values of an `event_token` field that no portal can have issued. Their spans are not tagged.
    pub fn unusable_tokens(&self) -> u64 {
        self.unusable_tokens
    }

    /// Times that the worker was restarted after a panic. Please report it when this is not zero.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    fn sum(&self, which: impl Fn(DropReason) -> bool) -> u64 {
        DropReason::ALL.iter().filter(|reason| which(**reason)).map(|r| self.by_reason(*r)).sum()
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted={} acknowledged={} lost={}",
            self.accepted,
            self.acknowledged,
            self.lost()
        )?;
        let others =
            [("late", self.late), ("pending", self.pending), ("refused", self.refused())];
        for (name, count) in others {
            if count > 0 {
                write!(f, " {name}={count}")?;
            }
        }
        write_reasons(f, &self.by_reason)
    }
}

/// What a flush or a shutdown came to: the lines that it covered, by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    acknowledged: u64,
    late: u64,
    pending: u64,
    by_reason: [u64; DropReason::ALL.len()],
}

impl FlushReport {
    /// Whether all covered lines were acknowledged by their portals.
    pub fn is_complete(&self) -> bool {
        self.pending == 0 && self.late == 0 && self.lost() == 0
    }

    /// Covered lines that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Covered lines whose activity had been completed.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Covered lines that were not settled when the deadline passed. After a flush they are still
    /// under way; after a shutdown they are counted as lost instead.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Covered lines that were dropped.
    pub fn lost(&self) -> u64 {
        self.by_reason.iter().sum()
    }

    /// Covered lines that were dropped for `reason`.
    pub fn by_reason(&self, reason: DropReason) -> u64 {
        self.by_reason[reason as usize]
    }

    pub(crate) fn count_acknowledged(&mut self, lines: u64) {
        self.acknowledged += lines;
    }

    pub(crate) fn count_late(&mut self, lines: u64) {
        self.late += lines;
    }

    pub(crate) fn count_dropped(&mut self, reason: DropReason, lines: u64) {
        self.by_reason[reason as usize] += lines;
    }

    pub(crate) fn set_pending(&mut self, lines: u64) {
        self.pending = lines;
    }
}

impl fmt::Display for FlushReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acknowledged={} pending={}", self.acknowledged, self.pending)?;
        if self.late > 0 {
            write!(f, " late={}", self.late)?;
        }
        write!(f, " lost={}", self.lost())?;
        write_reasons(f, &self.by_reason)
    }
}

/// " (queue full: 3, workflow has ended: 1)", or nothing.
fn write_reasons(
    f: &mut fmt::Formatter<'_>,
    by_reason: &[u64; DropReason::ALL.len()],
) -> fmt::Result {
    let mut open = " (";
    for reason in DropReason::ALL {
        let lines = by_reason[reason as usize];
        if lines > 0 {
            write!(f, "{open}{reason}: {lines}")?;
            open = ", ";
        }
    }
    if open == ", " { f.write_str(")") } else { Ok(()) }
}

/// Why an accepted line was given up, or why a line was refused at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// Refused: the queue between the callers and the worker was full.
    QueueFull,
    /// Refused: the budget of lines or bytes between accept and settle was spent.
    BudgetSpent,
    /// Refused: the worker had been closed.
    Closed,
    /// Dropped: evicted to make room for newer lines (`Overflow::DropOldest`).
    Evicted,
    /// Dropped: its portal already held its share of the budget.
    PortalShare,
    /// Dropped: the portal does not accept the event token (forged, damaged, or of another portal).
    TokenDenied,
    /// Dropped: the workflow has ended or was deleted.
    WorkflowGone,
    /// Dropped: the portal refused the entry itself.
    EntryRefused,
    /// Dropped: the credentials are not accepted, or lack the `bizproc` scope.
    CredentialBlocked,
    /// Dropped: the portal is closed, or has no business processes.
    PortalBlocked,
    /// Dropped: no credentials arrived for the portal that the span names.
    UnknownPortal,
    /// Dropped: retried as long, or as often, as the retry policy allows.
    RetriesSpent,
    /// Dropped: the outcome was unknown and the user prefers a gap to a repeat.
    OutcomeUnknown,
    /// Dropped: still pending when the deadline of the shutdown passed.
    ShutdownDeadline,
    /// Dropped: an error inside this crate. Please report it.
    Internal,
}

impl DropReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [DropReason; 15] = [
        DropReason::QueueFull,
        DropReason::BudgetSpent,
        DropReason::Closed,
        DropReason::Evicted,
        DropReason::PortalShare,
        DropReason::TokenDenied,
        DropReason::WorkflowGone,
        DropReason::EntryRefused,
        DropReason::CredentialBlocked,
        DropReason::PortalBlocked,
        DropReason::UnknownPortal,
        DropReason::RetriesSpent,
        DropReason::OutcomeUnknown,
        DropReason::ShutdownDeadline,
        DropReason::Internal,
    ];

    /// Whether lines with this reason were turned away at the door, and so never accepted.
    pub fn is_refusal(self) -> bool {
        matches!(self, DropReason::QueueFull | DropReason::BudgetSpent | DropReason::Closed)
    }

    /// The reason in a few words, as the process log states it.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::QueueFull => "queue full",
            DropReason::BudgetSpent => "memory budget spent",
            DropReason::Closed => "logging was closed",
            DropReason::Evicted => "made room for newer lines",
            DropReason::PortalShare => "portal's share of memory spent",
            DropReason::TokenDenied => "event token denied",
            DropReason::WorkflowGone => "workflow has ended",
            DropReason::EntryRefused => "entry refused",
            DropReason::CredentialBlocked => "credentials not accepted",
            DropReason::PortalBlocked => "portal closed",
            DropReason::UnknownPortal => "portal unknown",
            DropReason::RetriesSpent => "portal not reachable in time",
            DropReason::OutcomeUnknown => "outcome unknown",
            DropReason::ShutdownDeadline => "app shut down",
            DropReason::Internal => "internal error",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a flush achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushReport {
    /// Lines that the portal said yes to.
    pub acknowledged: u64,
    /// Lines that are still on their way.
    pub pending: u64,
    /// Lines that were given up.
    pub lost: u64,
}
