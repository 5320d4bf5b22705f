//! How lines end.

use crate::stats::{DropReason, FlushReport};

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Acknowledged,
    /// It is in a journal from which another process delivers it.
    HandedOver,
    Late,
    Dropped(DropReason),
}

impl Ending {
    /// Adds lines that ended so to a report.
    pub(crate) fn count(self, report: &mut FlushReport, lines: u64) {
        match self {
            Ending::Acknowledged => report.count_acknowledged(lines),
            Ending::HandedOver => report.count_handed_over(lines),
            Ending::Late => report.count_late(lines),
            Ending::Dropped(reason) => report.count_dropped(reason, lines),
        }
    }
}
