//! The result of every line: the only place that counts lines, releases their budget, marks them in the
//! journal, and answers flushes.
//!
//! ```text
//! taken -> settle                               a line in memory
//! taken -> stored -> read_back -> settle        a line that waits in the journal (stored)
//! ```
//! Each step is counted for its portal, too (`page`), and noted for the journal (`journal`).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::ending::Ending;
use super::entry::Entry;
use super::report::{Report, Reports, Trouble};
use super::trail;
use super::watches::Watches;
use crate::line::{EventToken, Fingerprint, PortalId};
use crate::queue::{Limits, Load, Shares};
use crate::stats::{DropReason, FlushReport, Stats};

mod journal;
mod page;
mod stored;

use journal::ToJournal;
pub(crate) use page::{Condition, Page};
use stored::OnlyStored;

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
    /// The time by the app's clock, and when it was that.
    clock: Option<(Instant, SystemTime)>,
    to_journal: ToJournal,
    only_stored: OnlyStored,
    /// Lines that are in no journal, if they are published by way of one of this machine.
    unpublished: Option<u64>,
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
            clock: None,
            to_journal: ToJournal::default(),
            only_stored: OnlyStored::default(),
            unpublished: None,
        }
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

    /// How old an entry is: as old as its newest line. With a journal by two clocks, of which the lower figure counts: one that is
    /// set forward must not make all lines old.
    pub(crate) fn age(&self, entry: &Entry, now: Instant) -> Duration {
        let age = now.saturating_duration_since(entry.newest);
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
        Page::new(id, self.stats.add_portal(id.map(PortalId::as_str)))
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

    /// Nothing is pending, whatever was counted: nobody waits any longer.
    pub(crate) fn nothing_is_pending(&mut self) {
        self.watches.nothing_is_pending();
    }

    /// So many lines are in no journal yet. `None`: there is no journal of this machine.
    pub(crate) fn set_unpublished(&mut self, lines: Option<u64>) {
        self.unpublished = lines;
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
        self.watches.close(self.pending.lines + self.only_stored.lines, deadline, reply);
    }

    /// Answers the flushes that are finished or have reached their deadline.
    ///
    /// `starting`: it is not known yet what other runs have left.
    pub(crate) fn answer(&mut self, starting: bool, now: Instant) {
        let is_late = self.watches.next_deadline().is_some_and(|at| at <= now);
        let unstored = if is_late { self.to_journal.lines() } else { None };
        let unstored = unstored.or(self.unpublished).unwrap_or(u64::MAX);
        self.watches.answer(unstored, starting, now);
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.watches.next_deadline()
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
