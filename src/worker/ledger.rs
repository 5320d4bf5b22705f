//! Where every line ends: the one place that counts, frees budget, and tells flushes.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::entry::Entry;
use super::report::{Report, Reports, Trouble};
use crate::line::{EventToken, Fingerprint};
use crate::queue::{Limits, Load, Shares};
use crate::stats::{DropReason, FlushReport, PortalCounters, Stats};

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Acknowledged,
    Late,
    Dropped(DropReason),
}

/// The worker's books.
#[derive(Debug)]
pub(crate) struct Ledger {
    stats: Arc<Stats>,
    /// Lines taken in and not yet settled.
    pending: u64,
    pending_bytes: usize,
    /// One per portal, in the order of their lanes.
    pages: Vec<Page>,
    /// The page that is written on.
    page: usize,
    /// Settled since the budget was last told.
    freed: Freed,
    watches: Vec<Watch>,
    reports: Reports,
    /// What each token holds, for the door.
    shares: Arc<Shares>,
}

/// One portal's books.
#[derive(Debug)]
struct Page {
    /// `None`: the default portal.
    portal: Option<Box<str>>,
    counters: Arc<PortalCounters>,
    /// Lines taken in and not yet settled.
    pending: u64,
    pending_bytes: usize,
}

/// What the budget gets back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) lines: u64,
    pub(crate) bytes: usize,
    /// Held on top of what the door had charged: lines that are longer as text.
    pub(crate) held: usize,
}

/// Waits until the lines before it are settled.
#[derive(Debug)]
pub(crate) struct Watch {
    /// `None`: of all tokens.
    event_token: Option<EventToken>,
    up_to: u64,
    remaining: u64,
    deadline: Instant,
    report: FlushReport,
    reply: Option<oneshot::Sender<FlushReport>>,
}

impl Ledger {
    pub(crate) fn new(stats: Arc<Stats>, shares: Arc<Shares>) -> Self {
        Ledger {
            stats,
            pending: 0,
            pending_bytes: 0,
            pages: Vec::new(),
            page: 0,
            freed: Freed::default(),
            watches: Vec::new(),
            reports: Reports::default(),
            shares,
        }
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The portal refused something for its operating time.
    pub(crate) fn operating_limited(&mut self) {
        self.stats.operating_limited();
        self.report(Trouble::OperatingLimited, "");
    }

    /// Notes trouble for the app's engineers.
    pub(crate) fn report(&mut self, trouble: Trouble, detail: impl Into<String>) {
        self.note(trouble, 1, detail);
    }

    fn note(&mut self, trouble: Trouble, count: u64, detail: impl Into<String>) {
        let portal = self.pages.get(self.page).and_then(|page| page.portal.as_deref());
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

    /// A page for one more portal.
    pub(crate) fn add_page(&mut self, portal: Option<&str>) {
        let counters = self.stats.add_portal(portal);
        let portal = portal.map(Box::from);
        self.pages.push(Page { portal, counters, pending: 0, pending_bytes: 0 });
    }

    /// What is noted from here on is about the portal with this page.
    pub(crate) fn turn_to(&mut self, page: usize) {
        self.page = page;
    }

    /// Why nothing is sent to the portal in hand, if so.
    pub(crate) fn blocked(&self, reason: Option<DropReason>) {
        if let Some(page) = self.pages.get(self.page) {
            page.counters.blocked(reason);
        }
    }

    /// Lines of the portal in hand that are not yet settled, and their bytes.
    pub(crate) fn pending_here(&self) -> (u64, usize) {
        self.pages.get(self.page).map_or((0, 0), |page| (page.pending, page.pending_bytes))
    }

    /// Whether a token holds so much that its own lines are to make room for more of them.
    pub(crate) fn is_loud(&self, limits: &Limits, token: Fingerprint) -> bool {
        self.shares.is_loud(limits, token)
    }

    /// Whether a token whose line was just taken in leaves room for others of its portal.
    pub(crate) fn leaves_room(&self, limits: &Limits, token: Fingerprint) -> bool {
        let (lines, bytes) = self.pending_here();
        self.shares.leaves_room(limits, Load { lines, bytes: bytes as u64 }, token)
    }

    /// Lines taken in and not yet settled, and their bytes.
    pub(crate) fn pending(&self) -> (u64, usize) {
        (self.pending, self.pending_bytes)
    }

    pub(crate) fn taken(&mut self, token: Fingerprint, bytes: usize) {
        self.shares.hold(token, 1, bytes as u64);
        self.pending += 1;
        for watch in &mut self.watches {
            // A close covers what comes behind it, too.
            watch.remaining += u64::from(watch.up_to == u64::MAX);
        }
        self.pending_bytes += bytes;
        if let Some(page) = self.pages.get_mut(self.page) {
            page.pending += 1;
            page.pending_bytes += bytes;
            page.counters.pending(page.pending);
        }
    }

    /// A line that was charged so many bytes when it came holds so many now.
    pub(crate) fn holds(&mut self, token: Fingerprint, charged: usize, held: usize) {
        if charged == held {
            return;
        }
        self.shares.settle(token, 0, charged as u64);
        self.shares.hold(token, 0, held as u64);
        self.freed.bytes += charged.saturating_sub(held);
        self.freed.held += held.saturating_sub(charged);
        self.pending_bytes = (self.pending_bytes + held).saturating_sub(charged);
        if let Some(page) = self.pages.get_mut(self.page) {
            page.pending_bytes = (page.pending_bytes + held).saturating_sub(charged);
        }
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
        match ending {
            Ending::Acknowledged => self.stats.acknowledged(lines),
            Ending::Late => {
                self.stats.late(lines);
                self.note(Trouble::Late, lines, "");
            }
            Ending::Dropped(reason) => {
                self.stats.dropped(reason, lines);
                self.note(Trouble::Lost(reason), lines, "");
            }
        }
        self.shares.settle(event_token.fingerprint(), lines, bytes as u64);
        self.pending = self.pending.saturating_sub(lines);
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        if let Some(page) = self.pages.get_mut(self.page) {
            page.settle(lines, bytes, ending);
        }
        self.freed.lines += lines;
        self.freed.bytes += bytes;
        for watch in &mut self.watches {
            if watch.covers(event_token, last_seq) {
                watch.remaining = watch.remaining.saturating_sub(lines);
                match ending {
                    Ending::Acknowledged => watch.report.count_acknowledged(lines),
                    Ending::Late => watch.report.count_late(lines),
                    Ending::Dropped(reason) => watch.report.count_dropped(reason, lines),
                }
            }
        }
    }

    /// What was settled since the last call.
    pub(crate) fn freed(&mut self) -> Freed {
        std::mem::take(&mut self.freed)
    }

    /// Answers `reply` when all lines up to number `up_to` are settled (of one token, whose pending
    /// lines are given, or of all), or with what is known at the deadline.
    pub(crate) fn watch(
        &mut self,
        of: Option<(EventToken, u64)>,
        up_to: u64,
        deadline: Instant,
        reply: oneshot::Sender<FlushReport>,
    ) {
        let (event_token, remaining) = match of {
            Some((event_token, pending)) => (Some(event_token), pending),
            None => (None, self.pending),
        };
        let report = FlushReport::default();
        let reply = Some(reply);
        self.watches.push(Watch { event_token, up_to, remaining, deadline, report, reply });
    }

    /// Answers the watches that are through or out of time.
    pub(crate) fn answer(&mut self, now: Instant) {
        self.watches.retain_mut(|watch| {
            let waiting = watch.remaining > 0 && now < watch.deadline;
            if !waiting {
                watch.report.set_pending(watch.remaining);
                if let Some(reply) = watch.reply.take() {
                    // Whoever asked may have gone: then nobody is left to be told.
                    drop(reply.send(watch.report.clone()));
                }
            }
            waiting
        });
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.watches.iter().map(|watch| watch.deadline).min()
    }
}

impl Page {
    fn settle(&mut self, lines: u64, bytes: usize, ending: Ending) {
        self.pending = self.pending.saturating_sub(lines);
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        self.counters.pending(self.pending);
        match ending {
            Ending::Acknowledged => self.counters.acknowledged(lines),
            Ending::Late => self.counters.late(lines),
            Ending::Dropped(_) => self.counters.lost(lines),
        }
    }
}

impl Watch {
    fn covers(&self, event_token: &EventToken, last_seq: u64) -> bool {
        last_seq <= self.up_to && self.event_token.as_ref().is_none_or(|own| own == event_token)
    }
}
