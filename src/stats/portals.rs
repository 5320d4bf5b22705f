//! Counters of one portal, beside those of all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::DropReason;
use super::marks::{Mark, Start};

/// The counters themselves. Written by the worker alone.
#[derive(Debug)]
pub(crate) struct PortalCounters {
    portal: Option<Arc<str>>,
    pending: AtomicU64,
    acknowledged: AtomicU64,
    handed_over: AtomicU64,
    late: AtomicU64,
    lost: AtomicU64,
    /// 0, or 1 plus the index of a reason in [`DropReason::ALL`].
    blocked: AtomicU8,
    start: Start,
    last_success: Mark,
    failing_since: Mark,
    oldest_pending: Mark,
}

impl PortalCounters {
    pub(crate) fn new(portal: Option<&str>, start: Start) -> Self {
        PortalCounters {
            portal: portal.map(Arc::from),
            pending: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            late: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            blocked: AtomicU8::new(0),
            start,
            last_success: Mark::default(),
            failing_since: Mark::default(),
            oldest_pending: Mark::default(),
        }
    }

    pub(crate) fn portal(&self) -> Option<&str> {
        self.portal.as_deref()
    }

    pub(crate) fn pending(&self, lines: u64) {
        self.pending.store(lines, Relaxed);
    }

    pub(crate) fn acknowledged(&self, lines: u64) {
        self.acknowledged.fetch_add(lines, Relaxed);
    }

    pub(crate) fn handed_over(&self, lines: u64) {
        self.handed_over.fetch_add(lines, Relaxed);
    }

    pub(crate) fn late(&self, lines: u64) {
        self.late.fetch_add(lines, Relaxed);
    }

    pub(crate) fn lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Relaxed);
    }

    pub(crate) fn blocked(&self, reason: Option<DropReason>) {
        let code = reason.map_or(0, |reason| reason as u8 + 1);
        if self.blocked.load(Relaxed) != code {
            self.blocked.store(code, Relaxed);
        }
    }

    /// The portal has acknowledged something.
    pub(crate) fn succeeded(&self, now: Instant) {
        self.last_success.set(Some(now), &self.start);
    }

    /// Whether requests to the portal fail, for now.
    pub(crate) fn failing(&self, fails: bool, now: Instant) {
        match fails {
            true if self.failing_since.is_set() => {}
            fails => self.failing_since.set(fails.then_some(now), &self.start),
        }
    }

    /// When the oldest pending line was received.
    pub(crate) fn oldest_pending(&self, at: Option<Instant>) {
        self.oldest_pending.set(at, &self.start);
    }

    pub(crate) fn snapshot(&self, now: Instant) -> PortalSnapshot {
        let code = usize::from(self.blocked.load(Relaxed));
        PortalSnapshot {
            portal: self.portal.clone(),
            pending: self.pending.load(Relaxed),
            acknowledged: self.acknowledged.load(Relaxed),
            handed_over: self.handed_over.load(Relaxed),
            late: self.late.load(Relaxed),
            lost: self.lost.load(Relaxed),
            blocked: code.checked_sub(1).and_then(|n| DropReason::ALL.get(n)).copied(),
            since_success: self.last_success.ago(now, &self.start),
            failing_for: self.failing_since.ago(now, &self.start),
            oldest_pending: self.oldest_pending.ago(now, &self.start),
        }
    }
}

/// The counters of one portal at one moment. They count the lines that the worker has received. It holds
/// no secret.
///
/// ```
/// # fn watch(handle: &tracing_bizproc::Handle) {
/// for portal in handle.portals() {
///     if let Some(reason) = portal.blocked() {
///         println!("{:?} takes nothing: {reason}; {} lines wait", portal.portal(), portal.pending());
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalSnapshot {
    portal: Option<Arc<str>>,
    pending: u64,
    acknowledged: u64,
    handed_over: u64,
    late: u64,
    lost: u64,
    blocked: Option<DropReason>,
    since_success: Option<Duration>,
    failing_for: Option<Duration>,
    oldest_pending: Option<Duration>,
}

impl PortalSnapshot {
    /// The portal, as spans name it; `None` for the portal of spans without the field `portal`.
    pub fn portal(&self) -> Option<&str> {
        self.portal.as_deref()
    }

    /// Lines that are not acknowledged, handed over, late or lost yet.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Lines of entries that the portal answered with `true`.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Lines that another process delivers: they are in the journal of a relay (`Builder::publish_to`).
    pub fn handed_over(&self) -> u64 {
        self.handed_over
    }

    /// Lines that were logged, or were still pending, when their activity had ended.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Lines that were dropped, for any reason.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Why nothing is sent to the portal at the moment: its credentials are refused or missing, or the
    /// portal is not available. Pending lines wait until this is fixed, but not longer than `max_age`.
    pub fn blocked(&self) -> Option<DropReason> {
        self.blocked
    }

    /// How long ago the portal last acknowledged something. `None` if it never has.
    pub fn since_success(&self) -> Option<Duration> {
        self.since_success
    }

    /// For how long requests to the portal have been failing. `None` if the last one did not.
    pub fn failing_for(&self) -> Option<Duration> {
        self.failing_for
    }

    /// About how long ago the worker received the oldest pending line. `None` if no line is pending.
    pub fn oldest_pending(&self) -> Option<Duration> {
        self.oldest_pending
    }
}

impl fmt::Display for PortalSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PortalSnapshot {
            portal, pending, acknowledged, handed_over, late, lost, blocked, ..
        } = self;
        let portal = portal.as_deref().unwrap_or("default");
        write!(f, "{portal}: acknowledged={acknowledged} pending={pending}")?;
        if *handed_over > 0 {
            write!(f, " handed_over={handed_over}")?;
        }
        write!(f, " late={late} lost={lost}")?;
        match blocked {
            Some(reason) => write!(f, " (blocked: {reason})"),
            None => Ok(()),
        }
    }
}
