//! What a flush answers.

use std::fmt;

use super::{DropReason, write_reasons};

/// The result of a flush or a shutdown: the lines that it covered, by how they ended. It covers the lines that were
/// pending when it was asked for; with a spool, these include lines of earlier runs that were found by then. Lines that
/// had ended before are not in it: whether any line of this process was lost so far, [`Snapshot::lost`] says.
///
/// [`Snapshot::lost`]: crate::stats::Snapshot::lost
///
/// ```
/// # async fn step(handle: tracing_bizproc::Handle) -> Result<(), tracing_bizproc::error::WorkerError> {
/// let report = handle.flush(std::time::Duration::from_secs(5)).await?;
/// if !report.is_complete() {
///     println!("{} lines wait, {} are lost", report.pending(), report.lost());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    acknowledged: u64,
    handed_over: u64,
    late: u64,
    pending: u64,
    stored: u64,
    by_reason: [u64; DropReason::COUNT],
}

impl FlushReport {
    /// Whether all covered lines were acknowledged by their portals, or handed over to a relay. With a spool, `false`
    /// does not mean a loss: lines may be on disk, for the next run ([`stored`](Self::stored)). `true` does not mean
    /// that no line was ever lost: lines that were given up, evicted or refused before the flush are not covered by
    /// it.
    pub fn is_complete(&self) -> bool {
        self.pending == 0 && self.late == 0 && self.lost() == 0
    }

    /// Covered lines that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Covered lines that another process delivers: they are in the journal of a relay (`Builder::publish_to`).
    pub fn handed_over(&self) -> u64 {
        self.handed_over
    }

    /// Covered lines whose activity had been completed.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Covered lines that were not settled when the deadline passed. After a flush they are still
    /// under way. After a shutdown they are counted as lost instead, unless they are on disk.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// How many of the [`pending`](Self::pending) lines are on disk (`Builder::spool`). The next run delivers
    /// them, if this one does not.
    pub fn stored(&self) -> u64 {
        self.stored
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

    pub(crate) fn count_handed_over(&mut self, lines: u64) {
        self.handed_over += lines;
    }

    pub(crate) fn count_late(&mut self, lines: u64) {
        self.late += lines;
    }

    pub(crate) fn count_dropped(&mut self, reason: DropReason, lines: u64) {
        self.by_reason[reason as usize] += lines;
    }

    /// Adds what another report counts, but for what is pending.
    pub(crate) fn add(&mut self, other: &FlushReport) {
        self.acknowledged += other.acknowledged;
        self.handed_over += other.handed_over;
        self.late += other.late;
        for (sum, lines) in self.by_reason.iter_mut().zip(other.by_reason) {
            *sum += lines;
        }
    }

    /// What was counted since `earlier`, which this report has grown from.
    pub(crate) fn since(&self, earlier: &FlushReport) -> FlushReport {
        FlushReport {
            acknowledged: self.acknowledged.saturating_sub(earlier.acknowledged),
            handed_over: self.handed_over.saturating_sub(earlier.handed_over),
            late: self.late.saturating_sub(earlier.late),
            pending: 0,
            stored: 0,
            by_reason: std::array::from_fn(|n| {
                self.by_reason[n].saturating_sub(earlier.by_reason[n])
            }),
        }
    }

    /// `unstored`: lines that are in no journal, whether they are covered or not.
    pub(crate) fn set_pending(&mut self, lines: u64, unstored: u64) {
        self.pending = lines;
        self.stored = lines.saturating_sub(unstored);
    }
}

impl fmt::Display for FlushReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acknowledged={} pending={}", self.acknowledged, self.pending)?;
        if self.stored > 0 {
            write!(f, " (on disk: {})", self.stored)?;
        }
        if self.handed_over > 0 {
            write!(f, " handed_over={}", self.handed_over)?;
        }
        if self.late > 0 {
            write!(f, " late={}", self.late)?;
        }
        write!(f, " lost={}", self.lost())?;
        write_reasons(f, &self.by_reason)
    }
}
