//! Tokens whose activity is to be ended.

use std::time::Instant;

use super::buffer::TokenBuffer;
use super::listing::Listing;
use super::{Coalescer, Command, Finished};
use crate::journal::Number;
use crate::line::EventToken;
use crate::stats::DropReason;
use crate::worker::end::End;
use crate::worker::ending::Ending;
use crate::worker::entry::Entry;
use crate::worker::incoming::Stamp;

/// An end in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndRef {
    pub(crate) key: usize,
    number: u64,
}

/// An end that is not tried any more, and how many lines of its token are pending.
#[derive(Debug)]
pub(crate) struct Lapsed {
    pub(crate) event_token: EventToken,
    pub(crate) end: End,
    pub(crate) pending: u64,
}

impl Coalescer {
    /// The token's activity is to be ended: it takes no more lines, but for `elsewhere` ones that are in
    /// the journal only. Returns the end when the token had one before.
    pub(crate) fn add_end(
        &mut self,
        event_token: &EventToken,
        end: Box<End>,
        elsewhere: u64,
        now: Instant,
    ) -> Result<(), Box<End>> {
        let key = self.key(event_token, now);
        let buffer = &mut self.tokens[key];
        if buffer.completed || buffer.end.is_some() {
            return Err(end);
        }
        buffer.end = Some(end);
        buffer.elsewhere = elsewhere;
        buffer.finished.get_or_insert(Finished::Late);
        buffer.last_used = now;
        buffer.seal(now);
        if let Some(gap) = &mut buffer.gap {
            // There may be no further line to carry it.
            gap.waits = false;
        }
        self.list(key);
        Ok(())
    }

    /// Whether an end with this name is tried (`true`), or was tried before.
    pub(crate) fn knows_end(&self, event_token: &EventToken, stamp: Stamp) -> Option<bool> {
        let buffer = &self.tokens[*self.keys.get(event_token)?];
        if buffer.end.as_ref().is_some_and(|end| end.stamp == Some(stamp)) {
            return Some(true);
        }
        (buffer.last_end == Some(stamp)).then_some(false)
    }

    /// When an end may go with a request of the lane, whatever entries do.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        let Listing { ready, lone, .. } = &self.listing;
        [ready.next_at(), lone.next_at(), self.next_overdue()].into_iter().flatten().min()
    }

    /// When an end is sent also while other requests are in flight.
    pub(crate) fn next_overdue(&self) -> Option<Instant> {
        let Listing { overdue, lone_overdue, .. } = &self.listing;
        overdue.next_at().into_iter().chain(lone_overdue.next_at()).min()
    }

    /// When an end is given up.
    pub(crate) fn next_lapse(&self) -> Option<Instant> {
        self.listing.lapse.next_at()
    }

    /// Whether ends are on their way.
    pub(crate) fn has_ends(&self) -> bool {
        !self.listing.lapse.is_empty()
    }

    /// Tokens whose end is sent now, also if lines are pending, and may share a request; the longest due first,
    /// at most `most`.
    pub(crate) fn overdue_ends(&self, most: usize, now: Instant) -> Vec<usize> {
        self.listing.overdue.due(now).take(most).collect()
    }

    /// The same for ends of tokens that have no entry left, and with `pairs` for those that may go with
    /// their token's last entry.
    pub(crate) fn ready_ends(&self, pairs: bool, most: usize, now: Instant) -> Vec<usize> {
        let Listing { ready, pairs: behind, .. } = &self.listing;
        let mut due: Vec<_> = ready.due(now).take(most).map(|key| (ready.at(key), key)).collect();
        if pairs {
            due.extend(behind.due(now).take(most).map(|key| (behind.at(key), key)));
            due.sort_unstable();
            due.truncate(most);
        }
        due.into_iter().map(|(_, key)| key).collect()
    }

    /// The token whose end goes next in a request of its own.
    pub(crate) fn lone_end(&self, now: Instant) -> Option<usize> {
        self.lone_overdue_end(now).or_else(|| self.listing.lone.due(now).next())
    }

    /// The same, of those that go whatever their lines do.
    pub(crate) fn lone_overdue_end(&self, now: Instant) -> Option<usize> {
        self.listing.lone_overdue.due(now).next()
    }

    pub(crate) fn end_of(&self, key: usize) -> Option<(&EventToken, &End)> {
        let buffer = self.tokens.get(key)?;
        Some((&buffer.event_token, buffer.end.as_deref()?))
    }

    /// Whether the token's end may go by itself, since no entry is left before it.
    pub(crate) fn is_clear(&self, key: usize) -> bool {
        self.tokens.get(key).is_some_and(TokenBuffer::is_clear)
    }

    /// Whether the token's end may go behind its last entry in one request.
    pub(crate) fn is_pair(&self, key: usize, now: Instant) -> bool {
        self.listing.pairs.at(key).is_some_and(|at| at <= now)
    }

    pub(crate) fn token_of(&self, end: EndRef) -> Option<&EventToken> {
        self.tokens.get(end.key).map(|buffer| &buffer.event_token)
    }

    pub(crate) fn event_token(&self, key: usize) -> &EventToken {
        &self.tokens[key].event_token
    }

    /// The entry that goes before the end in one request, as [`is_pair`](Self::is_pair) says.
    pub(crate) fn take_pair(&mut self, key: usize, now: Instant) -> Command {
        let due = self.due_at(key).map_or(now, |(_, due)| due);
        self.take_out(key, due, now)
    }

    /// The end goes out. Returns what its token still held, for which it is too late now: nothing if
    /// the end is clear, or goes behind the token's last entry.
    pub(crate) fn send_end(
        &mut self,
        key: usize,
        pair: bool,
        now: Instant,
    ) -> (EndRef, Vec<Entry>) {
        let held = if pair || self.is_clear(key) {
            Vec::new()
        } else {
            self.end_key(key, Finished::Late, now)
        };
        let buffer = &mut self.tokens[key];
        let number = buffer.end.as_mut().map_or(0, |end| {
            end.out += 1;
            end.sent_at = now;
            end.number
        });
        self.list(key);
        (EndRef { key, number }, held)
    }

    /// The portal stumbled over the end alone: it goes alone from now on.
    pub(crate) fn mark_solo(&mut self, of: EndRef) {
        if let Some(end) = self.tokens.get_mut(of.key).and_then(|buffer| buffer.end.as_mut()) {
            end.solo |= end.number == of.number;
        }
    }

    /// Holds an end back that goes alone; one that shares requests goes with the others.
    pub(crate) fn hold_lone_end(&mut self, of: EndRef, hold: impl FnOnce(&mut End)) {
        let Some(buffer) = self.tokens.get_mut(of.key) else { return };
        let end = buffer.end.as_mut().filter(|end| end.number == of.number);
        if let Some(end) = end.filter(|end| end.command().is_none()) {
            hold(end);
            self.list(of.key);
        }
    }

    /// What became of a try, for the end to note. Nothing, if it has been answered meanwhile.
    pub(crate) fn note_end(&mut self, of: EndRef, note: impl FnOnce(&mut End)) {
        let Some(buffer) = self.tokens.get_mut(of.key) else { return };
        if let Some(end) = buffer.end.as_mut().filter(|end| end.number == of.number) {
            end.out = end.out.saturating_sub(1);
            note(end);
            self.list(of.key);
        }
    }

    /// The portal has ended the activity. Returns the end, if it was still tried, and what its token still held, for
    /// which it is too late.
    pub(crate) fn end_done(&mut self, of: EndRef, now: Instant) -> (Option<Lapsed>, Vec<Entry>) {
        let Some(buffer) = self.tokens.get(of.key) else { return Default::default() };
        let is_tried = buffer.end.as_ref().is_some_and(|end| end.number == of.number);
        if !is_tried && buffer.last_number != of.number {
            return Default::default();
        }
        let held = self.end_key(of.key, Finished::Late, now);
        self.tokens[of.key].completed = true;
        let end = if is_tried { self.take_end(of.key) } else { None };
        (end, held)
    }

    /// The end is no longer tried: the portal refuses it.
    pub(crate) fn end_refused(&mut self, of: EndRef) -> Option<Lapsed> {
        self.tokens.get(of.key)?.end.as_ref().filter(|end| end.number == of.number)?;
        self.take_end(of.key)
    }

    /// The next end whose time is over.
    pub(crate) fn pop_lapsed(&mut self, now: Instant) -> Option<Lapsed> {
        let (at, key) = self.listing.lapse.first()?;
        if at <= now { self.take_end(key) } else { None }
    }

    /// All ends: the app is shutting down, and its time is over.
    pub(crate) fn abandon_ends(&mut self) -> Vec<Lapsed> {
        let keys: Vec<usize> = self.listing.lapse.keys().collect();
        keys.into_iter().filter_map(|key| self.take_end(key)).collect()
    }

    /// Ends that are not out: another process sends them.
    pub(crate) fn release_ends(&mut self) -> Vec<Lapsed> {
        let waits = |key: &usize| self.tokens[*key].end.as_ref().is_some_and(|end| end.out == 0);
        let keys: Vec<usize> = self.listing.lapse.keys().filter(waits).collect();
        keys.into_iter().filter_map(|key| self.take_end(key)).collect()
    }

    /// No end waits for lines that are in the journal only: there are none.
    pub(crate) fn all_arrived(&mut self, lost: bool) {
        let keys: Vec<usize> = self.listing.lapse.keys().collect();
        for key in keys {
            let buffer = &mut self.tokens[key];
            let lines = std::mem::take(&mut buffer.elsewhere);
            if lost {
                buffer.count(Ending::Dropped(DropReason::SpoolDamaged), lines);
            }
            if lines > 0 {
                self.list(key);
            }
        }
    }

    /// Lines are lost that a token's end may wait for.
    pub(crate) fn lost_elsewhere(
        &mut self,
        event_token: &EventToken,
        lines: u64,
        reason: DropReason,
    ) {
        let Some(&key) = self.keys.get(event_token) else { return };
        let buffer = &mut self.tokens[key];
        let waited = lines.min(buffer.elsewhere);
        if waited > 0 {
            buffer.elsewhere -= waited;
            buffer.count(Ending::Dropped(reason), waited);
            self.list(key);
        }
    }

    /// No end waits for its lines longer than this: the app is shutting down.
    pub(crate) fn close_ends(&mut self, deadline: Instant) {
        let keys: Vec<usize> = self.listing.lapse.keys().collect();
        for key in keys {
            // One that is in a journal goes behind its lines in the next run, and they are not late.
            let end = self.tokens[key].end.as_mut().filter(|end| !end.stays);
            if let Some(end) = end {
                end.deadline = end.deadline.min(deadline);
                end.not_before = end.not_before.min(deadline);
            }
            self.list(key);
        }
    }

    /// An end could not be stored: it has to be sent by this run.
    pub(crate) fn end_not_stored(&mut self, event_token: &EventToken, no: Number) {
        let key = self.keys.get(event_token).copied();
        let end = key.and_then(|key| self.tokens[key].end.as_mut());
        if let Some(end) = end.filter(|end| end.stamp.is_some_and(|stamp| stamp.no == no)) {
            end.stays = false;
        }
    }

    fn take_end(&mut self, key: usize) -> Option<Lapsed> {
        let buffer = self.tokens.get_mut(key)?;
        let end = *buffer.end.take()?;
        buffer.last_end = end.stamp.or(buffer.last_end);
        buffer.last_number = end.number;
        let (event_token, pending) = (buffer.event_token.clone(), buffer.pending());
        buffer.elsewhere = 0;
        self.list(key);
        Some(Lapsed { event_token, end, pending })
    }
}
