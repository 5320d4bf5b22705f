//! What a lane has at hand when it is its turn: the books, open at its portal's page, and the time.

use std::time::Instant;

use super::ending::Ending;
use super::entry::Entry;
use super::ledger::{Ledger, Page};
use super::report::Trouble;
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

    /// A line that was charged so many bytes when it came holds so many now.
    pub(crate) fn holds(&mut self, token: Fingerprint, charged: usize, held: usize) {
        self.ledger.holds(self.page, token, charged, held);
    }

    /// All lines of an entry have ended.
    pub(crate) fn settle(&mut self, event_token: &EventToken, entry: &Entry, ending: Ending) {
        let lines = u64::from(entry.lines);
        self.settle_lines(event_token, lines, entry.bytes, entry.last_seq, ending);
    }

    /// Lines have ended, the newest of them number `last_seq`.
    pub(crate) fn settle_lines(
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

    /// Settles an entry as lost, and the line that went on in a later one.
    pub(crate) fn settle_lost(
        &mut self,
        event_token: &EventToken,
        entry: &Entry,
        orphan: Option<u64>,
        reason: DropReason,
    ) {
        self.settle(event_token, entry, Ending::Dropped(reason));
        if let Some(seq) = orphan {
            self.settle_lines(event_token, 1, 0, seq, Ending::Dropped(reason));
        }
    }
}
