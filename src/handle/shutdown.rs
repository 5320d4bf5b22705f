//! The result of a shutdown.

use std::fmt;

use crate::stats::FlushReport;

/// The result of [`WorkerGuard::shutdown`](crate::WorkerGuard::shutdown): the lines, and the activities
/// that were still open.
///
/// ```
/// # async fn end(guard: tracing_bizproc::WorkerGuard) {
/// let report = guard.shutdown(std::time::Duration::from_secs(20)).await;
/// for activity in report.open() {
///     eprintln!("still waits: {activity}");
/// }
/// println!("{} lines were lost", report.lines().lost());
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    pub(super) lines: FlushReport,
    pub(super) failed: Vec<String>,
    pub(super) open: Vec<String>,
}

impl ShutdownReport {
    /// Whether all lines were acknowledged or handed over to a relay, and no activity is left open. With a spool,
    /// `false` does not mean a loss: see [`FlushReport::is_complete`].
    pub fn is_complete(&self) -> bool {
        self.lines.is_complete() && self.open.is_empty()
    }

    /// What happened to the pending lines.
    pub fn lines(&self) -> &FlushReport {
        &self.lines
    }

    /// Activities that are still open: their workflows wait until the timeout of the activity, if there is
    /// one. If a `complete` was under way and the app has a spool, the next run ends the activity. Each is named by
    /// its portal and the readable part of its event token.
    pub fn open(&self) -> &[String] {
        &self.open
    }

    /// Activities that were ended with the text of
    /// [`Builder::fail_open_activities`](crate::Builder::fail_open_activities), as in
    /// [`open`](Self::open).
    pub fn failed(&self) -> &[String] {
        &self.failed
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.fmt(f)?;
        for (name, activities) in [("failed", &self.failed), ("open", &self.open)] {
            if !activities.is_empty() {
                write!(f, " {name}={}", activities.len())?;
            }
        }
        Ok(())
    }
}
