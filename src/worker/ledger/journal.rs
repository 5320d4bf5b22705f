//! What the journal is told about lines and ends: marks, notices about missing lines, and outcomes of ends.

use std::time::Instant;

use super::{Ledger, Page};
use crate::journal::{Answer, Mark, MarkKind, Number, Outcome, Publisher, StoredGap};
use crate::line::EventToken;
use crate::worker::entry::{Gap, Stamps};
use crate::worker::gaps::GapId;
use crate::worker::incoming::Stamp;
use crate::worker::outbox::Outbox;
use crate::worker::report::Trouble;

/// What waits for the journal.
#[derive(Debug, Default)]
pub(super) struct ToJournal {
    /// Set if there is a journal.
    outbox: Option<Outbox>,
    /// Other processes deliver from the journal, too.
    is_shared: bool,
    /// Outcomes of ends that other processes wait for. Empty unless `is_shared`.
    answers: Vec<Answer>,
}

impl ToJournal {
    /// Lines that are not stored yet. `None`: there is no journal.
    pub(super) fn lines(&self) -> Option<u64> {
        self.outbox.as_ref().map(Outbox::lines)
    }
}

impl Ledger {
    /// What is taken in goes to a journal, too.
    pub(crate) fn keep(&mut self, outbox: Outbox) {
        self.to_journal.outbox = Some(outbox);
    }

    pub(crate) fn outbox(&mut self) -> Option<&mut Outbox> {
        self.to_journal.outbox.as_mut()
    }

    /// Whether the journal has yet to answer for a batch.
    pub(crate) fn has_batches_out(&self) -> bool {
        self.to_journal.outbox.as_ref().is_some_and(Outbox::has_batches_out)
    }

    pub(crate) fn has_journal(&self) -> bool {
        self.to_journal.outbox.is_some()
    }

    /// Other processes deliver from the journal, too.
    pub(crate) fn share(&mut self) {
        self.to_journal.is_shared = true;
    }

    /// An end has this outcome. Another process may wait for it.
    pub(crate) fn answer_end(&mut self, stamp: Stamp, outcome: Outcome) {
        if self.to_journal.is_shared {
            let Stamp { publisher, no } = stamp;
            self.to_journal.answers.push(Answer { publisher, no, outcome });
        }
    }

    /// Outcomes of ends for the journal.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.to_journal.answers)
    }

    pub(crate) fn has_answers(&self) -> bool {
        !self.to_journal.answers.is_empty()
    }

    /// Notes for the journal what has become of lines of a token.
    ///
    /// If others deliver from it, too, only the owner of a portal may say that lines are tried or not: with a
    /// request, for which the journal checks who that is.
    pub(crate) fn mark(
        &mut self,
        page: &mut Page,
        event_token: &EventToken,
        publisher: Publisher,
        (from, up_to): (Number, Number),
        kind: MarkKind,
        now: Instant,
    ) {
        if let Some(outbox) = &mut self.to_journal.outbox {
            let (portal, event_token) = (page.id.clone(), event_token.clone());
            let mark = Mark { publisher, portal, event_token, from, up_to, kind };
            match kind {
                MarkKind::Tried | MarkKind::Returned if self.to_journal.is_shared => {
                    page.unsaid.push(mark)
                }
                _ => outbox.mark(mark, now),
            }
        }
    }

    /// Keeps a notice about missing lines in the journal until it is told.
    pub(crate) fn keep_gap(
        &mut self,
        page: &Page,
        event_token: &EventToken,
        gap: &mut Gap,
        now: Instant,
    ) {
        let Some(outbox) = &mut self.to_journal.outbox else { return };
        let (lost, since) = gap.lost();
        let mut kept = Vec::new();
        for &(reason, lines) in lost {
            let gaps = outbox.gaps();
            let known = gap.kept.iter().filter_map(|id| Some((*id, gaps.about(*id)?)));
            let known: Vec<_> = known.filter(|(_, (of, _))| *of == reason).collect();
            let more = lines.saturating_sub(known.iter().map(|(_, (_, lines))| lines).sum());
            match known.first() {
                _ if more == 0 => {}
                Some((id, _)) => gaps.widen(*id, more, since),
                None => {
                    kept.push(gaps.keep((page.id.as_ref(), event_token), (reason, more, since)));
                }
            }
        }
        gap.kept.extend(kept);
        outbox.gaps_changed(now);
    }

    /// A notice was found in the journal. `None`: it was found before.
    pub(crate) fn gap_found(
        &mut self,
        page: &Page,
        publisher: Publisher,
        event_token: &EventToken,
        gap: StoredGap,
    ) -> Option<GapId> {
        self.outbox()?.gaps().find(publisher, (page.id.as_ref(), event_token), gap)
    }

    /// A notice was told, or there is nobody left to tell it to.
    pub(crate) fn gap_told(&mut self, id: GapId, now: Instant) {
        if let Some(outbox) = &mut self.to_journal.outbox {
            for mark in outbox.gaps().told(id) {
                outbox.mark(mark, now);
            }
        }
    }

    /// Lines of this run go on from memory alone.
    pub(crate) fn unstored(&mut self, no: Number, lines: u64) {
        self.stats.unstored(lines);
        self.reports.add(Trouble::NotStored, lines, None, "");
        if let Some(outbox) = &mut self.to_journal.outbox {
            outbox.unstored(outbox.publisher(), no, no);
        }
    }

    /// The journal has given lines up that are in lanes: they go on from memory alone.
    pub(crate) fn given_up(&mut self, publisher: Publisher, (from, up_to): (Number, Number)) {
        if let Some(outbox) = &mut self.to_journal.outbox {
            outbox.unstored(publisher, from, up_to);
        }
    }

    /// Whether the lines of an entry are in the journal.
    pub(crate) fn has_stored(&self, stamps: &Stamps) -> bool {
        let Some(outbox) = &self.to_journal.outbox else { return false };
        let stored = |(from, up_to)| outbox.has_stored(stamps.publisher, from, up_to);
        stamps.all().is_some_and(stored)
    }

    /// Whether an end is in the journal.
    pub(crate) fn has_stored_end(&self, Stamp { publisher, no }: Stamp) -> bool {
        self.to_journal.outbox.as_ref().is_some_and(|outbox| outbox.has_stored(publisher, no, no))
    }
}
