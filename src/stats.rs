//! Counters and health: how every line ended, and whether lines reach their logs.
//!
//! | from | you get |
//! |---|---|
//! | [`Handle::stats`](crate::Handle::stats) | a [`Snapshot`] of all counters |
//! | [`Handle::portals`](crate::Handle::portals) | a [`PortalSnapshot`] for each portal |
//! | [`Handle::health`](crate::Handle::health) | [`Health`]: one word, and the causes |
//! | [`Handle::flush`](crate::Handle::flush), [`Handle::complete`](crate::Handle::complete) | a [`FlushReport`] of the lines that it covered |
//!
//! The sum that is true whenever no line is in motion, with a [`DropReason`] for each line that was dropped:
//!
//! ```text
//! accepted + recovered = acknowledged + handed over + late + sum of dropped[reason] + pending
//! ```
//!
//! Lines that were refused at the door were never accepted and are counted apart.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

mod health;
mod marks;
mod portals;
mod reason;
mod report;
mod snapshot;
mod unseen;

pub use health::{Cause, Health, Status};
pub(crate) use portals::PortalCounters;
pub use portals::PortalSnapshot;
pub use reason::DropReason;
pub use report::FlushReport;
pub(crate) use snapshot::AtDoor;
pub use snapshot::Snapshot;
use snapshot::write_reasons;
pub(crate) use unseen::{Hidden, Meant, Unseen};

/// The counters themselves. Written by callers and worker, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    acknowledged: AtomicU64,
    late: AtomicU64,
    by_reason: [AtomicU64; DropReason::COUNT],
    requests: AtomicU64,
    commands: AtomicU64,
    repeats: AtomicU64,
    rolled_off: AtomicU64,
    rate_limited: AtomicU64,
    operating_limited: AtomicU64,
    unknown_outcomes: AtomicU64,
    restarts: AtomicU64,
    abandoned: AtomicU64,
    format_failures: AtomicU64,
    recovered: AtomicU64,
    handed_over: AtomicU64,
    withheld: AtomicU64,
    unstored: AtomicU64,
    late_ends: AtomicU64,
    /// Lines that are only in the journal. The queue does not count them.
    stored: AtomicU64,
    portals: Mutex<Vec<Arc<PortalCounters>>>,
    start: marks::Start,
}

impl Stats {
    pub(crate) fn acknowledged(&self, lines: u64) {
        self.acknowledged.fetch_add(lines, Relaxed);
    }

    /// Counts lines that are in a journal from which another process delivers them.
    pub(crate) fn handed_over(&self, lines: u64) {
        self.handed_over.fetch_add(lines, Relaxed);
    }

    pub(crate) fn late(&self, lines: u64) {
        self.late.fetch_add(lines, Relaxed);
    }

    /// Counts accepted lines that were dropped. Refused lines are counted by the queue.
    pub(crate) fn dropped(&self, reason: DropReason, lines: u64) {
        self.by_reason[reason as usize].fetch_add(lines, Relaxed);
    }

    /// Counts a request that goes out with so many commands.
    pub(crate) fn request(&self, commands: u64) {
        self.requests.fetch_add(1, Relaxed);
        self.commands.fetch_add(commands, Relaxed);
    }

    /// Takes back the count of a request that has not left after all, with its repeats.
    pub(crate) fn withheld(&self, commands: u64, repeats: u64) {
        self.requests.fetch_sub(1, Relaxed);
        self.commands.fetch_sub(commands, Relaxed);
        self.repeats.fetch_sub(repeats, Relaxed);
        self.withheld.fetch_add(1, Relaxed);
    }

    /// Counts entries that go out marked as possible repeats.
    pub(crate) fn repeats(&self, entries: u64) {
        self.repeats.fetch_add(entries, Relaxed);
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

    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
    }

    /// Counts an activity that was given up without an end.
    pub(crate) fn abandoned(&self) {
        self.abandoned.fetch_add(1, Relaxed);
    }

    /// Counts a line or a notice whose format or wording failed.
    pub(crate) fn format_failed(&self) {
        self.format_failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn format_failures(&self) -> u64 {
        self.format_failures.load(Relaxed)
    }

    /// Counts lines of other runs that were found in the journal.
    pub(crate) fn recovered(&self, lines: u64) {
        self.recovered.fetch_add(lines, Relaxed);
    }

    /// Subtracts lines that were counted as recovered, but were not there.
    pub(crate) fn not_recovered(&self, lines: u64) {
        self.recovered.fetch_sub(lines, Relaxed);
    }

    /// Sets how many lines are only in the journal.
    pub(crate) fn stored(&self, lines: u64) {
        self.stored.store(lines, Relaxed);
    }

    /// Counts lines that are delivered from memory, because the journal could not store them.
    pub(crate) fn unstored(&self, lines: u64) {
        self.unstored.fetch_add(lines, Relaxed);
    }

    /// Counts ends that were found when their portal no longer waited for them.
    pub(crate) fn late_ends(&self, ends: u64) {
        self.late_ends.fetch_add(ends, Relaxed);
    }

    /// Counters for a portal of which the worker has heard for the first time.
    pub(crate) fn add_portal(&self, portal: Option<&str>) -> Arc<PortalCounters> {
        let counters = Arc::new(PortalCounters::new(portal, self.start.clone()));
        self.portals.lock().unwrap_or_else(PoisonError::into_inner).push(counters.clone());
        counters
    }

    /// The worker no longer keeps this portal.
    pub(crate) fn remove_portal(&self, counters: &Arc<PortalCounters>) {
        let mut portals = self.portals.lock().unwrap_or_else(PoisonError::into_inner);
        portals.retain(|other| !Arc::ptr_eq(other, counters));
    }

    pub(crate) fn portals(&self, now: Instant) -> Vec<PortalSnapshot> {
        let portals = self.portals.lock().unwrap_or_else(PoisonError::into_inner);
        portals.iter().map(|counters| counters.snapshot(now)).collect()
    }
}
