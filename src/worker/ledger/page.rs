//! The counts of one portal.

use std::sync::Arc;
use std::time::Instant;

use super::Pending;
use crate::journal::Mark;
use crate::line::PortalId;
use crate::stats::{DropReason, PortalCounters};
use crate::worker::ending::Ending;

/// The state of a portal's lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    /// Why nothing is sent, if something must be fixed first.
    pub(crate) blocked: Option<DropReason>,
    /// Requests fail and are tried again.
    pub(crate) is_failing: bool,
    /// About when the oldest pending line was received.
    pub(crate) oldest: Option<Instant>,
}

/// The counts of one portal.
#[derive(Debug)]
pub(crate) struct Page {
    pub(super) id: Option<PortalId>,
    pub(super) counters: Arc<PortalCounters>,
    pub(super) pending: Pending,
    /// Its lines that are in the journal only: of this run, and of others.
    pub(super) stored: u64,
    pub(super) found: u64,
    /// What the journal has to know with the next request, if others deliver from it, too.
    pub(super) unsaid: Vec<Mark>,
    /// The portal's answer, if lines are lost because of it.
    pub(super) because: String,
}

impl Page {
    pub(super) fn new(id: Option<&PortalId>, counters: Arc<PortalCounters>) -> Self {
        let (pending, because) = (Pending::default(), String::new());
        let unsaid = Vec::new();
        Page { id: id.cloned(), counters, pending, stored: 0, found: 0, unsaid, because }
    }

    /// The portal's name. `None`: the default portal.
    pub(crate) fn portal(&self) -> Option<&str> {
        self.counters.portal()
    }

    /// Sets the state of the portal's lane.
    pub(crate) fn stands(&self, condition: &Condition, now: Instant) {
        self.counters.blocked(condition.blocked);
        self.counters.failing(condition.is_failing, now);
        let pending = self.pending.lines + self.stored() > 0;
        self.counters.oldest_pending(if pending { condition.oldest } else { None });
    }

    /// The portal has acknowledged something.
    pub(crate) fn succeeded(&self, now: Instant) {
        self.counters.succeeded(now);
    }

    /// Sets the detail for lines that are lost from now on, until it is called with an empty text.
    pub(crate) fn because(&mut self, said: impl Into<String>) {
        self.because = said.into();
    }

    /// What the journal has to know with the next request.
    pub(crate) fn unsaid(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.unsaid)
    }

    /// The journal may not know this, which it was told: it is told again, before all else.
    pub(crate) fn say_again(&mut self, marks: Vec<Mark>) {
        self.unsaid.splice(..0, marks);
    }

    /// Lines of the portal that are in memory and pending.
    pub(crate) fn pending(&self) -> Pending {
        self.pending
    }

    /// Its lines of other runs that are in the journal only.
    pub(crate) fn found(&self) -> u64 {
        self.found
    }

    /// Its lines that are in the journal only.
    pub(crate) fn stored(&self) -> u64 {
        self.stored + self.found
    }

    pub(super) fn show_pending(&self) {
        self.counters.pending(self.pending.lines + self.stored());
    }

    pub(super) fn settle(&mut self, lines: u64, bytes: usize, ending: Ending) {
        self.pending.sub(lines, bytes);
        self.show_pending();
        match ending {
            Ending::Acknowledged => self.counters.acknowledged(lines),
            Ending::HandedOver => self.counters.handed_over(lines),
            Ending::Late => self.counters.late(lines),
            Ending::Dropped(_) => self.counters.lost(lines),
        }
    }
}
