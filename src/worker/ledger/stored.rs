//! Counts lines that are in the journal only: they were stored and left memory, or other runs have left them there.

use std::time::Instant;

use super::{Ledger, Page};
use crate::line::{EventToken, Fingerprint};
use crate::stats::DropReason;
use crate::worker::elsewhere::Part;
use crate::worker::ending::Ending;
use crate::worker::entry::Entry;
use crate::worker::incoming::Incoming;
use crate::worker::report::Trouble;
use crate::worker::trail;

/// Lines that are in the journal only, of all portals.
#[derive(Debug, Default)]
pub(super) struct OnlyStored {
    /// Of this run, and of others.
    pub(super) lines: u64,
    /// Lines of unknown tokens that the journal has lost, and of which not all were missed yet.
    damaged: u64,
}

impl Ledger {
    /// Lines are in the journal, and leave memory and the budget.
    pub(crate) fn stored(&mut self, page: &mut Page, token: Fingerprint, lines: u64, bytes: usize) {
        self.shares.settle(token, lines, bytes as u64);
        self.pending.sub(lines, bytes);
        self.freed.lines += lines;
        self.freed.bytes += bytes;
        page.pending.sub(lines, bytes);
        page.stored += lines;
        self.show_stored(page, lines, 0);
    }

    /// Lines that are in the journal only are delivered by another process from now on. `parts`: what flushes and
    /// ends wait for.
    pub(crate) fn hand_over_stored(&mut self, page: &mut Page, parts: &[Part]) {
        let lines = page.found;
        let waited: u64 = parts.iter().map(|part| part.lines).sum();
        for Part { token, seq, lines, .. } in parts {
            self.watches.gone(Some(*token), *lines, *seq, Some(Ending::HandedOver));
        }
        self.watches.gone(None, lines.saturating_sub(waited), 0, None);
        self.sub_stored(page, false, lines);
        self.stats.handed_over(lines);
    }

    /// Lines of other runs were found in the journal. They get this number.
    pub(crate) fn found(&mut self, page: &mut Page, lines: u64, seq: u64) {
        self.stats.recovered(lines);
        page.found += lines;
        self.watches.found(seq, lines);
        self.show_stored(page, lines, 0);
    }

    /// Takes off lines that were in the journal only, of this run or of others.
    fn sub_stored(&mut self, page: &mut Page, own: bool, lines: u64) {
        let of_page = if own { &mut page.stored } else { &mut page.found };
        let lines = lines.min(*of_page);
        *of_page -= lines;
        self.show_stored(page, 0, lines);
    }

    fn show_stored(&mut self, page: &Page, more: u64, less: u64) {
        self.only_stored.lines = (self.only_stored.lines + more).saturating_sub(less);
        self.stats.stored(self.only_stored.lines);
        page.show_pending();
    }

    /// A line is read from the journal, and is back in memory and in the budget. `own`: it is of this run.
    pub(crate) fn read_back(
        &mut self,
        page: &mut Page,
        line: &Incoming<'_>,
        own: bool,
        now: Instant,
    ) {
        self.shares.hold(line.fingerprint, 1, line.charged as u64);
        self.pending.add(1, line.charged);
        self.freed.read.add(1, line.charged);
        page.pending.add(1, line.charged);
        self.sub_stored(page, own, 1);
        if page.pending.lines == 1 {
            page.counters.oldest_pending(Some(now));
        }
    }

    /// Lines are lost that were in the journal only. The newest of them has the number `last_seq`.
    pub(crate) fn lost_stored(
        &mut self,
        page: &mut Page,
        (event_token, own): (&EventToken, bool),
        lines: u64,
        last_seq: u64,
        reason: DropReason,
    ) {
        if lines == 0 {
            return;
        }
        trail::lost(event_token.fingerprint(), lines, reason);
        self.count_lost(Some(page), lines, reason);
        self.sub_stored(page, own, lines);
        self.watches.settled(event_token, lines, last_seq, Ending::Dropped(reason));
    }

    /// Lines that were in the journal of this machine only are in that of a relay now. The newest of them has the
    /// number `last_seq`.
    pub(crate) fn moved(
        &mut self,
        page: &mut Page,
        event_token: &EventToken,
        lines: u64,
        last_seq: u64,
    ) {
        self.stats.handed_over(lines);
        page.counters.handed_over(lines);
        self.sub_stored(page, true, lines);
        self.watches.settled(event_token, lines, last_seq, Ending::HandedOver);
    }

    /// The same for lines of other runs, which were not counted before.
    pub(crate) fn moved_found(&mut self, page: &Page, lines: u64) {
        self.stats.recovered(lines);
        self.stats.handed_over(lines);
        page.counters.handed_over(lines);
    }

    /// Lines that are in the journal only.
    pub(crate) fn only_stored(&self) -> u64 {
        self.only_stored.lines
    }

    /// Lines leave memory at the end of the run, and stay in the journal.
    pub(crate) fn leave(&mut self, page: &mut Page, event_token: &EventToken, entry: &Entry) {
        let lines = u64::from(entry.lines);
        self.stored(page, event_token.fingerprint(), lines, entry.bytes);
    }

    /// Lines of other runs, which were not counted, are lost.
    pub(crate) fn lost_unknown(&mut self, page: Option<&Page>, lines: u64, reason: DropReason) {
        if lines > 0 {
            self.stats.recovered(lines);
            self.count_lost(page, lines, reason);
        }
    }

    fn count_lost(&mut self, page: Option<&Page>, lines: u64, reason: DropReason) {
        self.stats.dropped(reason, lines);
        self.reports.add(Trouble::Lost(reason), lines, page.and_then(Page::portal), "on disk");
        if let Some(page) = page {
            page.counters.lost(lines);
        }
    }

    /// The journal holds no more lines of this portal, although more were counted. Those of other runs
    /// were settled after all; of this run there can be none, or the journal has lost them.
    /// `parts`: what flushes and ends wait for. Returns whether lines are lost.
    pub(crate) fn correct(&mut self, page: &mut Page, parts: &[Part]) -> bool {
        let (found, stored) = (page.found, page.stored);
        let waited: u64 = parts.iter().map(|part| part.lines).sum();
        if found + stored + waited == 0 {
            return false;
        }
        let damaged = self.only_stored.damaged.min(found + stored);
        self.only_stored.damaged -= damaged;
        let (of_found, of_stored) = (damaged.min(found), damaged.saturating_sub(found));
        let (mut found_damaged, mut stored_damaged) = (of_found, of_stored);
        for Part { token, own, seq, lines } in parts {
            let left = if *own { &mut stored_damaged } else { &mut found_damaged };
            let damaged = (*left).min(*lines);
            *left -= damaged;
            let others = own.then_some(Ending::Dropped(DropReason::Internal));
            let ending = Some(Ending::Dropped(DropReason::SpoolDamaged));
            self.watches.gone(Some(*token), damaged, *seq, ending);
            self.watches.gone(Some(*token), lines - damaged, *seq, others);
        }
        if damaged > 0 {
            self.count_lost(Some(page), damaged, DropReason::SpoolDamaged);
        }
        if stored > of_stored {
            self.count_lost(Some(page), stored - of_stored, DropReason::Internal);
        }
        self.stats.not_recovered(found - of_found);
        self.sub_stored(page, false, found);
        self.sub_stored(page, true, stored);
        self.watches.gone(None, (found + stored).saturating_sub(waited), 0, None);
        damaged > 0 || stored > of_stored
    }

    /// The journal has lost lines, and does not know whose.
    pub(crate) fn damaged(&mut self, lines: u64) {
        self.only_stored.damaged += lines;
    }
}
