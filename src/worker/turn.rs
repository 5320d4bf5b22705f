//! The arguments of a lane: the ledger, the counts of its portal, and the time.

use std::time::Instant;

use super::ending::Ending;
use super::entry::{Entry, Gap};
use super::incoming::{Incoming, Stamp};
use super::ledger::{Ledger, Page};
use super::report::Trouble;
use crate::journal::{MarkKind, Number};
use crate::line::{EventToken, Fingerprint};
use crate::stats::{DropReason, Stats};

/// One portal's turn.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) page: &'a mut Page,
    pub(crate) now: Instant,
}

impl Turn<'_> {
    pub(crate) fn stats(&self) -> &Stats {
        self.ledger.stats()
    }

    /// Notes trouble of this portal for the app's engineers.
    pub(crate) fn report(&mut self, trouble: Trouble, detail: impl Into<String>) {
        self.ledger.report(trouble, 1, self.page.portal(), detail);
    }

    /// The size of a line differs from the charge of the queue.
    pub(crate) fn holds(&mut self, token: Fingerprint, charged: usize, held: usize) {
        self.ledger.holds(self.page, token, charged, held);
    }

    /// All lines of an entry have ended.
    pub(crate) fn settle(&mut self, event_token: &EventToken, entry: &Entry, ending: Ending) {
        if let (Ending::Acknowledged, Some(gap)) = (ending, &entry.gap) {
            for id in &gap.kept {
                self.ledger.gap_told(*id, self.now);
            }
        }
        self.mark(event_token, entry, entry.stamps.ended(), MarkKind::Settled);
        let lines = u64::from(entry.lines);
        self.settle_lines(event_token, lines, entry.bytes, entry.last_seq, ending);
    }

    /// A line has ended that is in no entry.
    pub(crate) fn settle_line(&mut self, line: &Incoming<'_>, ending: Ending) {
        let Stamp { publisher, no } = line.stamp;
        self.ledger.mark(
            self.page,
            line.event_token,
            publisher,
            (no, no),
            MarkKind::Settled,
            self.now,
        );
        self.settle_lines(line.event_token, 1, line.charged, line.seq, ending);
    }

    /// Lines are settled. The newest of them has the number `last_seq`.
    fn settle_lines(
        &mut self,
        event_token: &EventToken,
        lines: u64,
        bytes: usize,
        last_seq: u64,
        ending: Ending,
    ) {
        if ending == Ending::Acknowledged {
            self.page.succeeded(self.now);
        }
        self.ledger.settle(self.page, event_token, lines, bytes, last_seq, ending);
    }

    /// A request with this entry is about to leave.
    pub(crate) fn announce(&mut self, event_token: &EventToken, entry: &mut Entry) {
        entry.tries.announced = true;
        if let Some(gap) = &mut entry.gap {
            self.keep_gap(event_token, gap);
        }
        self.mark(event_token, entry, entry.stamps.all(), MarkKind::Tried);
    }

    /// A notice about missing lines is kept in the journal until it is told.
    pub(crate) fn keep_gap(&mut self, event_token: &EventToken, gap: &mut Gap) {
        self.ledger.keep_gap(self.page, event_token, gap, self.now);
    }

    /// The entry comes back, and does not stand in the log for what it was sent last.
    pub(crate) fn retract(&mut self, event_token: &EventToken, entry: &mut Entry) {
        if std::mem::take(&mut entry.tries.announced) && !entry.tries.in_doubt {
            let begun = entry.stamps.begun(entry.continued);
            self.mark(event_token, entry, begun, MarkKind::Returned);
        }
    }

    fn mark(
        &mut self,
        event_token: &EventToken,
        entry: &Entry,
        numbers: Option<(Number, Number)>,
        kind: MarkKind,
    ) {
        if let Some(numbers) = numbers {
            let publisher = entry.stamps.publisher;
            self.ledger.mark(self.page, event_token, publisher, numbers, kind, self.now);
        }
    }

    /// An end is no longer tried.
    pub(crate) fn settle_end(&mut self, event_token: &EventToken, stamp: Option<Stamp>) {
        if let Some(Stamp { publisher, no }) = stamp {
            let kind = MarkKind::Settled;
            self.ledger.mark(self.page, event_token, publisher, (no, no), kind, self.now);
        }
    }

    /// The run ends with this entry: its lines stay in the journal if they are there, or are lost.
    pub(crate) fn leave(&mut self, event_token: &EventToken, entry: &Entry, orphan: Option<u64>) {
        if self.ledger.has_stored(&entry.stamps) {
            self.ledger.leave(self.page, event_token, entry);
            if orphan.is_some() {
                self.ledger.stored(self.page, event_token.fingerprint(), 1, 0);
            }
        } else {
            self.settle_lost(event_token, entry, orphan, DropReason::ShutdownDeadline);
        }
    }

    /// Another process delivers the lines of an entry.
    pub(crate) fn hand_over(
        &mut self,
        event_token: &EventToken,
        entry: &Entry,
        orphan: Option<u64>,
    ) {
        let lines = u64::from(entry.lines);
        self.settle_lines(event_token, lines, entry.bytes, entry.last_seq, Ending::HandedOver);
        if let Some(seq) = orphan {
            self.settle_lines(event_token, 1, 0, seq, Ending::HandedOver);
        }
    }

    /// The journal has given up the lines of an entry, and knows that.
    pub(crate) fn bury(
        &mut self,
        event_token: &EventToken,
        entry: &Entry,
        orphan: Option<u64>,
        reason: DropReason,
    ) {
        let (lines, ending) = (u64::from(entry.lines), Ending::Dropped(reason));
        self.settle_lines(event_token, lines, entry.bytes, entry.last_seq, ending);
        if let Some(seq) = orphan {
            self.settle_lines(event_token, 1, 0, seq, ending);
        }
    }

    /// Settles an entry as lost, and the line that went on in a later one.
    pub(crate) fn settle_lost(
        &mut self,
        event_token: &EventToken,
        entry: &Entry,
        orphan: Option<u64>,
        reason: DropReason,
    ) {
        self.settle(event_token, entry, Ending::Dropped(reason));
        // With the line that goes on in a later entry.
        self.mark(event_token, entry, entry.stamps.all(), MarkKind::Settled);
        if let Some(seq) = orphan {
            self.settle_lines(event_token, 1, 0, seq, Ending::Dropped(reason));
        }
    }
}
