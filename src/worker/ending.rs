//! How lines end.

use crate::stats::{DropReason, FlushReport};

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Acknowledged,
    Late,
    Dropped(DropReason),
}

impl Ending {
    /// Adds lines that ended so to a report.
    pub(crate) fn count(self, report: &mut FlushReport, lines: u64) {
        match self {
            Ending::Acknowledged => report.count_acknowledged(lines),
            Ending::Late => report.count_late(lines),
            Ending::Dropped(reason) => report.count_dropped(reason, lines),
        }
    }
}
