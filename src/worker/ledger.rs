//! The result of every line: the only place that counts lines, releases their budget, marks them in the
//! journal, and answers flushes.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::elsewhere::Part;
use super::ending::Ending;
use super::entry::{Entry, Gap, Stamps};
use super::gaps::GapId;
use super::incoming::{Incoming, Stamp};
use super::outbox::Outbox;
use super::report::{Report, Reports, Trouble};
use super::trail;
use super::watches::Watches;
use crate::journal::{Answer, Mark, MarkKind, Number, Outcome, Publisher, StoredGap};
use crate::line::{EventToken, Fingerprint, PortalId};
use crate::queue::{Limits, Load, Shares};
use crate::stats::{DropReason, FlushReport, PortalCounters, Stats};

/// Counts all lines of the worker.
#[derive(Debug)]
pub(crate) struct Ledger {
    stats: Arc<Stats>,
    pending: Pending,
    /// Bytes of pending ends of activities, and their maximum.
    ends: usize,
    most_ends: usize,
    /// Settled since the last release to the budget.
    freed: Freed,
    watches: Watches,
    reports: Reports,
    /// What each token uses, for the queue.
    shares: Arc<Shares>,
    /// What goes to the journal, if there is one.
    outbox: Option<Outbox>,
    /// The time by the app's clock, and when it was that.
    clock: Option<(Instant, SystemTime)>,
    /// Lines that are in the journal only: of this run, and of others.
    stored: u64,
    /// Lines of unknown tokens that the journal has lost, and of which not all were missed yet.
    damaged: u64,
    /// Lines that are in no journal, if they are published by way of one of this machine.
    unpublished: Option<u64>,
    /// Other processes deliver from the journal, too.
    is_shared: bool,
    /// Outcomes of ends that other processes wait for.
    answers: Vec<Answer>,
}

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
    id: Option<PortalId>,
    counters: Arc<PortalCounters>,
    pending: Pending,
    /// Its lines that are in the journal only: of this run, and of others.
    stored: u64,
    found: u64,
    /// What the journal has to know with the next request, if others deliver from it, too.
    unsaid: Vec<Mark>,
    /// The portal's answer, if lines are lost because of it.
    because: String,
}

/// Pending lines, and the bytes of the budget that they use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) lines: u64,
    pub(crate) bytes: usize,
}

/// What is released to the budget, and what is charged in addition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) lines: u64,
    pub(crate) bytes: usize,
    /// Charged in addition to the queue's charge: lines that are longer as text.
    pub(crate) held: usize,
    /// Lines that were read from the journal, and their bytes.
    pub(crate) read: Pending,
}

impl Pending {
    fn add(&mut self, lines: u64, bytes: usize) {
        self.lines += lines;
        self.bytes += bytes;
    }

    pub(crate) fn sub(&mut self, lines: u64, bytes: usize) {
        self.lines = self.lines.saturating_sub(lines);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Ledger {
    /// `most_ends`: the maximum bytes of pending ends of activities.
    pub(crate) fn new(stats: Arc<Stats>, shares: Arc<Shares>, most_ends: usize) -> Self {
        Ledger {
            stats,
            pending: Pending::default(),
            ends: 0,
            most_ends,
            freed: Freed::default(),
            watches: Watches::default(),
            reports: Reports::default(),
            shares,
            outbox: None,
            clock: None,
            stored: 0,
            damaged: 0,
            unpublished: None,
            is_shared: false,
            answers: Vec::new(),
        }
    }

    /// What is taken in goes to a journal, too.
    pub(crate) fn keep(&mut self, outbox: Outbox) {
        self.outbox = Some(outbox);
    }

    pub(crate) fn outbox(&mut self) -> Option<&mut Outbox> {
        self.outbox.as_mut()
    }

    /// Whether the journal has yet to answer for a batch.
    pub(crate) fn has_batches_out(&self) -> bool {
        self.outbox.as_ref().is_some_and(Outbox::has_batches_out)
    }

    pub(crate) fn has_journal(&self) -> bool {
        self.outbox.is_some()
    }

    /// The app's clock shows this time now.
    pub(crate) fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.clock = Some((now, wall));
    }

    /// The time by the app's clock.
    pub(crate) fn wall(&self, now: Instant) -> Option<SystemTime> {
        let (at, wall) = self.clock?;
        Some(wall + now.saturating_duration_since(at))
    }

    /// How old an entry is. With a journal by two clocks, of which the lower figure counts: one that is
    /// set forward must not make all lines old.
    pub(crate) fn age(&self, entry: &Entry, now: Instant) -> Duration {
        let age = now.saturating_duration_since(entry.born);
        match self.wall(now) {
            Some(wall) => age.min(wall.duration_since(entry.since_wall).unwrap_or_default()),
            None => age,
        }
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Adds a portal. `None`: the default portal.
    pub(crate) fn page(&self, id: Option<&PortalId>) -> Page {
        let counters = self.stats.add_portal(id.map(PortalId::as_str));
        let (pending, because) = (Pending::default(), String::new());
        let unsaid = Vec::new();
        Page { id: id.cloned(), counters, pending, stored: 0, found: 0, unsaid, because }
    }

    /// Removes a portal and its counters.
    pub(crate) fn close_page(&self, page: &Page) {
        self.stats.remove_portal(&page.counters);
    }

    /// Notes trouble for a report. `portal`: the name of its portal, if there is one.
    pub(crate) fn report(
        &mut self,
        trouble: Trouble,
        count: u64,
        portal: Option<&str>,
        detail: impl Into<String>,
    ) {
        self.reports.add(trouble, count, portal, detail);
    }

    /// Notes lost lines that no log will mention, although it could. They were counted when they were lost.
    pub(crate) fn report_untold(&mut self, portal: Option<&str>, lines: u64) {
        if lines > 0 {
            self.reports.add(Trouble::Untold, lines, portal, "");
        }
    }

    /// Notes lines that the queue has refused and counted.
    pub(crate) fn refused_at_door(&mut self, reason: DropReason, lines: u64) {
        self.reports.add(Trouble::Lost(reason), lines, None, "");
    }

    /// When the next report is due.
    pub(crate) fn next_report(&self) -> Option<Instant> {
        self.reports.next_at()
    }

    /// Reports that are due. `last`: this is the last call, so everything is reported.
    pub(crate) fn due_reports(&mut self, last: bool, now: Instant) -> Vec<Report> {
        self.reports.due(last, now)
    }

    /// Lines that were received and are pending.
    pub(crate) fn pending(&self) -> Pending {
        self.pending
    }

    /// Charges an end that was found in the journal: it was charged when it was asked for.
    pub(crate) fn hold_found_end(&mut self, bytes: usize) {
        self.ends += bytes;
    }

    /// Charges a pending end of an activity, unless there are too many. An end that is larger than the
    /// maximum is accepted if it is alone.
    pub(crate) fn hold_end(&mut self, bytes: usize) -> bool {
        let fits = self.ends == 0 || self.ends + bytes <= self.most_ends;
        self.ends += if fits { bytes } else { 0 };
        fits
    }

    /// The end is not pending any more.
    pub(crate) fn release_end(&mut self, bytes: usize) {
        self.ends = self.ends.saturating_sub(bytes);
    }

    /// Whether a token uses so much that its own lines should be dropped first.
    pub(crate) fn is_loud(&self, limits: &Limits, token: Fingerprint) -> bool {
        self.shares.is_loud(limits, token)
    }

    /// Whether a token whose line was just received leaves room for other tokens of its portal.
    pub(crate) fn leaves_room(&self, limits: &Limits, here: Pending, token: Fingerprint) -> bool {
        let Pending { lines, bytes } = here;
        self.shares.leaves_room(limits, Load { lines, bytes: bytes as u64 }, token)
    }

    /// A line was received.
    pub(crate) fn taken(
        &mut self,
        page: &mut Page,
        token: Fingerprint,
        bytes: usize,
        seq: u64,
        now: Instant,
    ) {
        self.shares.hold(token, 1, bytes as u64);
        self.pending.add(1, bytes);
        self.watches.taken(seq);
        page.pending.add(1, bytes);
        page.show_pending();
        if page.pending.lines == 1 {
            page.counters.oldest_pending(Some(now));
        }
    }

    /// The size of a line differs from the charge of the queue.
    pub(crate) fn holds(
        &mut self,
        page: &mut Page,
        token: Fingerprint,
        charged: usize,
        held: usize,
    ) {
        if charged == held {
            return;
        }
        self.shares.settle(token, 0, charged as u64);
        self.shares.hold(token, 0, held as u64);
        self.freed.bytes += charged.saturating_sub(held);
        self.freed.held += held.saturating_sub(charged);
        for pending in [&mut self.pending, &mut page.pending] {
            pending.bytes = (pending.bytes + held).saturating_sub(charged);
        }
    }

    /// Other processes deliver from the journal, too.
    pub(crate) fn share(&mut self) {
        self.is_shared = true;
    }

    /// An end has this outcome. Another process may wait for it.
    pub(crate) fn answer_end(&mut self, stamp: Stamp, outcome: Outcome) {
        if self.is_shared {
            let Stamp { publisher, no } = stamp;
            self.answers.push(Answer { publisher, no, outcome });
        }
    }

    /// Outcomes of ends for the journal.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
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
        if let Some(outbox) = &mut self.outbox {
            let (portal, event_token) = (page.id.clone(), event_token.clone());
            let mark = Mark { publisher, portal, event_token, from, up_to, kind };
            match kind {
                MarkKind::Tried | MarkKind::Returned if self.is_shared => page.unsaid.push(mark),
                _ => outbox.mark(mark, now),
            }
        }
    }

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
        self.stored = (self.stored + more).saturating_sub(less);
        self.stats.stored(self.stored);
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

    /// Nothing is pending, whatever was counted: nobody waits any longer.
    pub(crate) fn nothing_is_pending(&mut self) {
        self.watches.nothing_is_pending();
    }

    /// So many lines are in no journal yet. `None`: there is no journal of this machine.
    pub(crate) fn set_unpublished(&mut self, lines: Option<u64>) {
        self.unpublished = lines;
    }

    /// Lines of other runs, which were not counted, are lost.
    pub(crate) fn lost_unknown(&mut self, page: Option<&Page>, lines: u64, reason: DropReason) {
        if lines > 0 {
            self.stats.recovered(lines);
            self.count_lost(page, lines, reason);
        }
    }

    /// An end in the journal came too late.
    pub(crate) fn late_end(&mut self, page: &Page) {
        self.stats.late_ends(1);
        self.reports.add(Trouble::LateEnd, 1, page.portal(), "");
    }

    /// Ends in the journal are damaged, or were given up there.
    pub(crate) fn lost_ends(&mut self, ends: u64, portal: Option<&str>, why: &str) {
        self.stats.late_ends(ends);
        self.reports.add(Trouble::LostEnd, ends, portal, why);
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
        let damaged = self.damaged.min(found + stored);
        self.damaged -= damaged;
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
        self.damaged += lines;
    }

    /// Keeps a notice about missing lines in the journal until it is told.
    pub(crate) fn keep_gap(
        &mut self,
        page: &Page,
        event_token: &EventToken,
        gap: &mut Gap,
        now: Instant,
    ) {
        let Some(outbox) = &mut self.outbox else { return };
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
        if let Some(outbox) = &mut self.outbox {
            for mark in outbox.gaps().told(id) {
                outbox.mark(mark, now);
            }
        }
    }

    /// Lines of this run go on from memory alone.
    pub(crate) fn unstored(&mut self, no: Number, lines: u64) {
        self.stats.unstored(lines);
        self.reports.add(Trouble::NotStored, lines, None, "");
        if let Some(outbox) = &mut self.outbox {
            outbox.unstored(outbox.publisher(), no, no);
        }
    }

    /// The journal has given lines up that are in lanes: they go on from memory alone.
    pub(crate) fn given_up(&mut self, publisher: Publisher, (from, up_to): (Number, Number)) {
        if let Some(outbox) = &mut self.outbox {
            outbox.unstored(publisher, from, up_to);
        }
    }

    /// Lines that are in the journal only.
    pub(crate) fn only_stored(&self) -> u64 {
        self.stored
    }

    /// Whether the lines of an entry are in the journal.
    pub(crate) fn has_stored(&self, stamps: &Stamps) -> bool {
        let Some(outbox) = &self.outbox else { return false };
        let stored = |(from, up_to)| outbox.has_stored(stamps.publisher, from, up_to);
        stamps.all().is_some_and(stored)
    }

    /// Whether an end is in the journal.
    pub(crate) fn has_stored_end(&self, Stamp { publisher, no }: Stamp) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.has_stored(publisher, no, no))
    }

    /// Lines leave memory at the end of the run, and stay in the journal.
    pub(crate) fn leave(&mut self, page: &mut Page, event_token: &EventToken, entry: &Entry) {
        let lines = u64::from(entry.lines);
        self.stored(page, event_token.fingerprint(), lines, entry.bytes);
    }

    /// Lines are settled. The newest of them has the number `last_seq`.
    pub(crate) fn settle(
        &mut self,
        page: &mut Page,
        event_token: &EventToken,
        lines: u64,
        bytes: usize,
        last_seq: u64,
        ending: Ending,
    ) {
        match ending {
            Ending::Acknowledged => self.stats.acknowledged(lines),
            Ending::HandedOver => self.stats.handed_over(lines),
            Ending::Late => {
                self.stats.late(lines);
                self.reports.add(Trouble::Late, lines, page.portal(), "");
            }
            Ending::Dropped(reason) => {
                trail::lost(event_token.fingerprint(), lines, reason);
                self.stats.dropped(reason, lines);
                self.reports.add(Trouble::Lost(reason), lines, page.portal(), &*page.because);
            }
        }
        self.shares.settle(event_token.fingerprint(), lines, bytes as u64);
        self.pending.sub(lines, bytes);
        self.freed.lines += lines;
        self.freed.bytes += bytes;
        page.settle(lines, bytes, ending);
        self.watches.settled(event_token, lines, last_seq, ending);
    }

    /// Whether a flush of this token, or of everything, waits for the line `from` and not for the line `to`.
    pub(crate) fn divide(&self, event_token: &EventToken, from: u64, to: u64) -> bool {
        self.watches.divide(event_token, from, to)
    }

    /// The lines and bytes that were settled since the last call.
    pub(crate) fn freed(&mut self) -> Freed {
        std::mem::take(&mut self.freed)
    }

    /// Answers `reply` when all lines that were received so far are settled, or at the deadline with the
    /// results so far.
    pub(crate) fn watch_all(&mut self, deadline: Instant, reply: oneshot::Sender<FlushReport>) {
        self.watches.all(deadline, reply);
    }

    /// The same for the `pending` lines of one token.
    pub(crate) fn watch_token(
        &mut self,
        event_token: EventToken,
        pending: u64,
        deadline: Instant,
        reply: oneshot::Sender<FlushReport>,
    ) {
        self.watches.token(event_token, pending, deadline, reply);
    }

    /// The same for all lines, including later ones: the worker is closing.
    pub(crate) fn watch_close(&mut self, deadline: Instant, reply: oneshot::Sender<FlushReport>) {
        self.watches.close(self.pending.lines + self.stored, deadline, reply);
    }

    /// Answers the flushes that are finished or have reached their deadline.
    ///
    /// `starting`: it is not known yet what other runs have left.
    pub(crate) fn answer(&mut self, starting: bool, now: Instant) {
        let is_late = self.watches.next_deadline().is_some_and(|at| at <= now);
        let unstored = match &self.outbox {
            Some(outbox) if is_late => outbox.lines(),
            _ => self.unpublished.unwrap_or(u64::MAX),
        };
        self.watches.answer(unstored, starting, now);
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.watches.next_deadline()
    }
}

impl Page {
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

    fn show_pending(&self) {
        self.counters.pending(self.pending.lines + self.stored());
    }

    fn settle(&mut self, lines: u64, bytes: usize, ending: Ending) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{Parts, disabled};

    /// Regression: a clock that was set forward by a year made every line too old.
    #[test]
    fn the_age_of_an_entry_is_the_lower_one_of_two_clocks() {
        let Parts { consumer, .. } = disabled().parts(1);
        let mut ledger = Ledger::new(Arc::default(), consumer.shares(), 0);
        #[expect(clippy::disallowed_methods, reason = "any instant will do to start from")]
        let (start, wall) = (Instant::now(), SystemTime::now());
        let (minute, year) = (Duration::from_secs(60), Duration::from_secs(365 * 86_400));
        let entry = Entry::new(start, wall);
        let later = start + minute;
        assert_eq!(ledger.age(&entry, later), minute);
        ledger.set_clock(later, wall + minute);
        assert_eq!(ledger.age(&entry, later), minute);
        assert_eq!(ledger.age(&entry, later + minute), 2 * minute);
        ledger.set_clock(later, wall + year);
        assert_eq!(ledger.age(&entry, later), minute, "set forward");
        ledger.set_clock(later, wall - year);
        assert_eq!(ledger.age(&entry, later), Duration::ZERO, "set back");
    }
}
