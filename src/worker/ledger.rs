//! Where every line ends: the one place that counts, frees budget, and tells flushes.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::ending::Ending;
use super::report::{Report, Reports, Trouble};
use super::watches::Watches;
use crate::line::{EventToken, Fingerprint};
use crate::queue::{Limits, Load, Shares};
use crate::stats::{DropReason, FlushReport, PortalCounters, Stats};

/// The worker's books.
#[derive(Debug)]
pub(crate) struct Ledger {
    stats: Arc<Stats>,
    pending: Pending,
    /// Bytes that waiting ends of activities hold, and how many they may hold.
    ends: usize,
    most_ends: usize,
    /// Settled since the budget was last told.
    freed: Freed,
    watches: Watches,
    reports: Reports,
    /// What each token holds, for the door.
    shares: Arc<Shares>,
}

/// How a portal's lane stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Why nothing is sent for now, if something has to be mended first.
    pub(crate) blocked: Option<DropReason>,
    /// Requests fail for now, and are tried again.
    pub(crate) is_failing: bool,
    /// When the oldest line that is not settled was taken in, nearly.
    pub(crate) oldest: Option<Instant>,
}

/// One portal's books.
#[derive(Debug)]
pub(crate) struct Page {
    counters: Arc<PortalCounters>,
    pending: Pending,
    /// What the portal said, when that is why lines end now.
    because: String,
}

/// Lines taken in and not yet settled, and the bytes of the budget that they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) lines: u64,
    pub(crate) bytes: usize,
}

/// What the budget gets back, and what it has to give besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) lines: u64,
    pub(crate) bytes: usize,
    /// Held on top of what the door had charged: lines that are longer as text.
    pub(crate) held: usize,
}

impl Pending {
    fn add(&mut self, lines: u64, bytes: usize) {
        self.lines += lines;
        self.bytes += bytes;
    }

    fn sub(&mut self, lines: u64, bytes: usize) {
        self.lines = self.lines.saturating_sub(lines);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Ledger {
    /// `most_ends`: bytes that waiting ends of activities may hold.
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
        }
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// A page for one more portal; `None`: the default portal.
    pub(crate) fn page(&self, portal: Option<&str>) -> Page {
        let counters = self.stats.add_portal(portal);
        Page { counters, pending: Pending::default(), because: String::new() }
    }

    /// The portal is forgotten, and its counters with it.
    pub(crate) fn close_page(&self, page: &Page) {
        self.stats.remove_portal(&page.counters);
    }

    /// Notes trouble for the app's engineers. `portal`: whose trouble it is, as far as it has a name.
    pub(crate) fn report(
        &mut self,
        trouble: Trouble,
        count: u64,
        portal: Option<&str>,
        detail: impl Into<String>,
    ) {
        self.reports.add(trouble, count, portal, detail);
    }

    /// Notes lines that were refused at the door, of whatever portal. The door has counted them.
    pub(crate) fn refused_at_door(&mut self, reason: DropReason, lines: u64) {
        self.reports.add(Trouble::Lost(reason), lines, None, "");
    }

    /// When something may be told that may not be told yet.
    pub(crate) fn next_report(&self) -> Option<Instant> {
        self.reports.next_at()
    }

    /// What may be told now; `last` when nothing can be told later.
    pub(crate) fn due_reports(&mut self, last: bool, now: Instant) -> Vec<Report> {
        self.reports.due(last, now)
    }

    /// Lines taken in and not yet settled.
    pub(crate) fn pending(&self) -> Pending {
        self.pending
    }

    /// Charges the end of an activity that is to wait, unless too much of that kind waits already. One
    /// that is larger than all room gets in when it is alone.
    pub(crate) fn hold_end(&mut self, bytes: usize) -> bool {
        let fits = self.ends == 0 || self.ends + bytes <= self.most_ends;
        self.ends += if fits { bytes } else { 0 };
        fits
    }

    /// The end no longer waits.
    pub(crate) fn release_end(&mut self, bytes: usize) {
        self.ends = self.ends.saturating_sub(bytes);
    }

    /// Whether a token holds so much that its own lines are to make room for more of them.
    pub(crate) fn is_loud(&self, limits: &Limits, token: Fingerprint) -> bool {
        self.shares.is_loud(limits, token)
    }

    /// Whether a token whose line was just taken in leaves room for others of its portal, which holds
    /// so much.
    pub(crate) fn leaves_room(&self, limits: &Limits, here: Pending, token: Fingerprint) -> bool {
        let Pending { lines, bytes } = here;
        self.shares.leaves_room(limits, Load { lines, bytes: bytes as u64 }, token)
    }

    /// A line has come in.
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
        page.counters.pending(page.pending.lines);
        if page.pending.lines == 1 {
            page.counters.oldest_pending(Some(now));
        }
    }

    /// A line that was charged so many bytes when it came holds so many now.
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

    /// Lines have ended, the newest of them number `last_seq`.
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
            Ending::Late => {
                self.stats.late(lines);
                self.reports.add(Trouble::Late, lines, page.portal(), "");
            }
            Ending::Dropped(reason) => {
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

    /// What was settled since the last call.
    pub(crate) fn freed(&mut self) -> Freed {
        std::mem::take(&mut self.freed)
    }

    /// Answers `reply` when all lines that were taken in so far are settled, or at the deadline with
    /// what is known then.
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

    /// The same for all lines, those that are still to come among them: the worker is closing.
    pub(crate) fn watch_close(&mut self, deadline: Instant, reply: oneshot::Sender<FlushReport>) {
        self.watches.close(self.pending.lines, deadline, reply);
    }

    /// Answers the watches that are through or out of time.
    pub(crate) fn answer(&mut self, now: Instant) {
        self.watches.answer(now);
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

    /// How the portal's lane stands now.
    pub(crate) fn stands(&self, standing: &Standing, now: Instant) {
        self.counters.blocked(standing.blocked);
        self.counters.failing(standing.is_failing, now);
        let pending = self.pending.lines > 0;
        self.counters.oldest_pending(if pending { standing.oldest } else { None });
    }

    /// The portal has acknowledged something.
    pub(crate) fn succeeded(&self, now: Instant) {
        self.counters.succeeded(now);
    }

    /// Lines that are lost from here on are lost because of this, until it is called with nothing.
    pub(crate) fn because(&mut self, said: impl Into<String>) {
        self.because = said.into();
    }

    /// Lines of the portal that are not yet settled.
    pub(crate) fn pending(&self) -> Pending {
        self.pending
    }

    fn settle(&mut self, lines: u64, bytes: usize, ending: Ending) {
        self.pending.sub(lines, bytes);
        self.counters.pending(self.pending.lines);
        match ending {
            Ending::Acknowledged => self.counters.acknowledged(lines),
            Ending::Late => self.counters.late(lines),
            Ending::Dropped(_) => self.counters.lost(lines),
        }
    }
}
