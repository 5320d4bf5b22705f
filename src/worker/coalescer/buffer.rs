//! What one event token has gathered: lines that become entries, entries that wait for their turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{Finished, Plan};
use crate::line::EventToken;
use crate::protocol::text;
use crate::stats::DropReason;
use crate::worker::end::End;
use crate::worker::ending::Ending;
use crate::worker::entry::{Entry, Gap, NOTICE_BYTES, widen};
use crate::worker::incoming::{Incoming, Stamp};
use crate::worker::style::{self, Style};

#[derive(Debug)]
pub(super) struct TokenBuffer {
    pub(super) event_token: EventToken,
    /// The open entry, which gets new lines. Invariant: has text.
    pub(super) open: Option<Entry>,
    /// Frozen and due, oldest first. Entries that come back go to the front.
    pub(super) sealed: VecDeque<(Instant, Entry)>,
    /// Lines in the command that is out. One at a time keeps the order.
    pub(super) in_flight: Option<u32>,
    /// Nothing is sent before this time: the workflow was locked or not found.
    pub(super) hold_until: Option<Instant>,
    /// Lost lines that no entry has mentioned yet.
    pub(super) gap: Option<Box<Gap>>,
    /// Since when there are such lines.
    pub(super) gap_since: Instant,
    /// Its time is nearly over: nothing waits for the schedule any more.
    pub(super) hurried: bool,
    /// Its activity is to be ended. Boxed: few tokens have one at a time.
    pub(super) end: Option<Box<End>>,
    /// Its activity was ended: the portal said so.
    pub(super) completed: bool,
    /// The name of its last end in the journal, which is not tried any more.
    pub(super) last_end: Option<Stamp>,
    /// It takes no more lines. Those that it holds are still sent, and its log is told of those that are lost.
    pub(super) finished: Option<Finished>,
    /// Nothing is sent any more, not even lines and notices that it holds. Invariant: only when `finished`.
    pub(super) ended: bool,
    /// Lines that are in the journal only, which its end waits for. 0 without an end.
    pub(super) elsewhere: u64,
    /// The newest line that was here, and of other runs the newest ones.
    newest: Option<Stamp>,
    newest_of_others: Vec<Stamp>,
    /// How another process wants it to read.
    pub(super) style: Option<Arc<Style>>,
    /// The portal has taken an entry.
    pub(super) worked: bool,
    pub(super) first_seen: Instant,
    pub(super) last_used: Instant,
}

impl TokenBuffer {
    pub(super) fn new(event_token: EventToken, now: Instant) -> Self {
        TokenBuffer {
            event_token,
            open: None,
            sealed: VecDeque::new(),
            in_flight: None,
            hold_until: None,
            gap: None,
            gap_since: now,
            hurried: false,
            end: None,
            completed: false,
            last_end: None,
            finished: None,
            ended: false,
            elsewhere: 0,
            newest: None,
            newest_of_others: Vec::new(),
            style: None,
            worked: false,
            first_seen: now,
            last_used: now,
        }
    }

    /// Notes that a line is here, and with it all of its run before it.
    pub(super) fn note(&mut self, stamp: Stamp) {
        match &mut self.newest {
            Some(newest) if newest.publisher == stamp.publisher => {
                newest.no = newest.no.max(stamp.no);
            }
            newest => {
                if let Some(before) = newest.replace(stamp) {
                    let same = |of: &&mut Stamp| of.publisher == before.publisher;
                    match self.newest_of_others.iter_mut().find(same) {
                        Some(of) => of.no = of.no.max(before.no),
                        None => self.newest_of_others.push(before),
                    }
                }
            }
        }
    }

    /// Whether this line has been here.
    pub(super) fn has_had(&self, stamp: Stamp) -> bool {
        let all = self.newest.iter().chain(&self.newest_of_others);
        all.into_iter().any(|of| of.publisher == stamp.publisher && stamp.no <= of.no)
    }

    /// Whether nothing of the token stands before its end.
    pub(super) fn is_clear(&self) -> bool {
        self.in_flight.is_none() && self.entries() == 0 && self.elsewhere == 0
    }

    /// From now on its lines and notices read like this.
    pub(super) fn dress(&mut self, style: &Arc<Style>, now: Instant) {
        if !style::is_same(self.style.as_ref(), Some(style)) {
            self.seal(now);
            self.style = Some(style.clone());
        }
    }

    /// Appends the line's text to the open entry, or starts new ones until it has found room.
    pub(super) fn append(
        &mut self,
        line: &Incoming<'_>,
        (text, bytes): (&str, usize),
        plan: &Plan,
        now: Instant,
    ) {
        let room = plan.entry_bytes.saturating_sub(NOTICE_BYTES);
        let fits = |open: &Entry| {
            let later = line.since.saturating_duration_since(open.born);
            later < plan.span && open.text.len() + 1 + text.len() <= room && open.takes(line)
        };
        if self.open.as_ref().is_some_and(|open| !fits(open)) {
            self.seal(now);
        }
        let style = &self.style;
        let new = || Entry { style: style.clone(), ..Entry::of(line, now) };
        let open = self.open.get_or_insert_with(new);
        open.text.break_line();
        let mut rest = text;
        while rest.len() > room {
            let (piece, more) = text::split_at_boundary(rest, room - CONTINUED.len() * 2);
            open.text.push(piece);
            open.text.push(CONTINUES);
            open.unfinished = true;
            open.has_taken(line, false);
            let whole = std::mem::replace(open, new());
            self.sealed.push_back((now, whole));
            open.continued = true;
            open.text.push(CONTINUED);
            rest = more;
        }
        open.text.push(rest);
        open.lines += 1;
        open.bytes += bytes;
        open.has_taken(line, true);
    }

    pub(super) fn seal(&mut self, now: Instant) {
        if let Some(mut open) = self.open.take() {
            // It may wait for long, and the budget has no room for what text might grow to.
            open.text.shrink();
            self.sealed.push_back((now, open));
        }
    }

    /// Entries that wait. A notice about missing lines is one if no other entry can carry it.
    pub(super) fn entries(&self) -> usize {
        match self.sealed.len() + usize::from(self.open.is_some()) {
            0 => usize::from(self.gap.as_ref().is_some_and(|gap| !gap.waits)),
            entries => entries,
        }
    }

    /// Whether something waits here, or is out.
    pub(super) fn is_in_use(&self) -> bool {
        self.in_flight.is_some() || self.end.is_some() || self.entries() > 0
    }

    /// Whether its end may go in the request of its last entry. Not where that entry may well be
    /// refused, since the end would then pass it.
    pub(super) fn may_pair(&self) -> bool {
        let next = self.sealed.front().map(|(_, entry)| entry).or(self.open.as_ref());
        let smooth = next.is_none_or(|entry| entry.tries.waited == 0 && !entry.tries.solo());
        let last = self.entries() == 1 && self.elsewhere == 0;
        self.worked && self.hold_until.is_none() && last && smooth
    }

    /// Lines have ended: the end of the activity may be due now.
    pub(super) fn count(&mut self, ending: Ending, lines: u64) {
        if let Some(end) = &mut self.end {
            end.count(ending, lines);
        }
    }

    /// Lines that are not settled, those in flight among them, and for an end those in the journal.
    pub(super) fn pending(&self) -> u64 {
        self.here() + self.elsewhere
    }

    /// The same without those that are only in the journal.
    pub(super) fn here(&self) -> u64 {
        let waiting = self.sealed.iter().map(|(_, entry)| entry).chain(&self.open);
        let waiting: u64 = waiting.map(|entry| u64::from(entry.lines)).sum();
        waiting + self.in_flight.map_or(0, u64::from)
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.sealed.front().map(|(_, entry)| entry.born).or(self.open.as_ref().map(|e| e.born))
    }

    pub(super) fn pop_if(&mut self, hopeless: impl Fn(&Entry) -> bool) -> Option<Entry> {
        if self.sealed.front().is_some_and(|(_, entry)| hopeless(entry)) {
            return self.sealed.pop_front().map(|(_, entry)| entry);
        }
        if self.sealed.is_empty() && self.open.as_ref().is_some_and(hopeless) {
            return self.open.take();
        }
        None
    }

    pub(super) fn take_all(&mut self) -> Vec<Entry> {
        self.sealed.drain(..).map(|(_, entry)| entry).chain(self.open.take()).collect()
    }

    /// Remembers that `entry` is lost. When its last line goes on in a later entry, that line is
    /// lost too: its number is returned, and it no longer counts there.
    pub(super) fn lost(&mut self, entry: &Entry, reason: DropReason, now: Instant) -> Option<u64> {
        let (lines, orphan) = self.take_orphan(entry);
        self.count(Ending::Dropped(reason), lines);
        if !self.ended {
            let in_doubt = entry.tries.in_doubt;
            if lines > 0 {
                let gap = Gap::new(reason, lines, entry.since_wall);
                self.missed(if in_doubt { gap.in_doubt() } else { gap }, now);
            }
            if let Some(gap) = entry.gap.as_deref().cloned() {
                let mut untold = gap.untold(in_doubt);
                untold.waits = lines == 0;
                self.missed(untold, now);
            }
        }
        orphan
    }

    /// An entry leaves, and comes back in no form. Returns how many lines leave with it, and the number of a line among
    /// them that goes on in a later entry: it no longer counts there.
    pub(super) fn take_orphan(&mut self, entry: &Entry) -> (u64, Option<u64>) {
        let mut lines = u64::from(entry.lines);
        let mut orphan = None;
        if entry.unfinished {
            let later = self.sealed.iter_mut().map(|(_, entry)| entry).chain(&mut self.open);
            for piece in later {
                // Not set: the line was counted as lost before, with another of its pieces.
                if !std::mem::take(&mut piece.continued) {
                    break;
                }
                if piece.lines > 0 {
                    piece.lines -= 1;
                    lines += 1;
                    orphan = Some(piece.last_seq);
                    break;
                }
            }
        }
        (lines, orphan)
    }

    /// The next entry tells of these lines.
    pub(super) fn missed(&mut self, gap: Gap, now: Instant) {
        if self.gap.is_none() {
            self.gap_since = now;
        }
        widen(&mut self.gap, gap);
        if let Some(gap) = &mut self.gap {
            gap.newest = Some(now);
        }
    }
}

/// Ends a piece of a line that goes on in the next entry.
const CONTINUES: &str = " …";
/// Opens the next piece.
const CONTINUED: &str = "• … ";
