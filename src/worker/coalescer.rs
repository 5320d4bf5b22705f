//! Joins lines into entries: a buffer per event token, and entries in the order of their due times.
//!
//! Knows linger, the schedule, the size of an entry, and which activities end. Knows nothing about requests.
//! Time is an argument.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use slab::Slab;
use tracing_core::Level;

use super::agenda::NumberHasher;
use super::budgets::EntryBudgets;
use super::ending::Ending;
use super::entry::{Entry, Gap, widen};
use super::gaps::GapId;
use super::incoming::{Incoming, Stamp};
use super::memo::Clocks;
use super::schedule::Schedule;
use super::style::Style;
use crate::journal::{Memo, Number, Publisher};
use crate::line::EventToken;
use crate::stats::DropReason;

mod buffer;
mod ends;
mod listing;

use buffer::TokenBuffer;
pub(crate) use ends::{EndRef, Lapsed};
use listing::{Class, Listing};

/// The options of the coalescer.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How long the first line of an entry waits for more.
    pub(crate) linger: Duration,
    /// The longest that any line waits for the schedule.
    pub(crate) max_hold: Duration,
    /// The lines of an entry are not further apart than this, so that they are of about the same age. An entry that
    /// gathers lines is due before that.
    pub(crate) span: Duration,
    /// Largest entry, notices included.
    pub(crate) entry_bytes: usize,
    /// Lines at this level or above do not wait for the schedule.
    pub(crate) ahead_from: Option<Level>,
    pub(crate) schedule: Schedule,
}

/// An entry in flight: taken out of its buffer, which waits for the result.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) key: usize,
    pub(crate) event_token: EventToken,
    pub(crate) entry: Entry,
    /// When it became due, to put it back in its place.
    due: Instant,
}

/// Why a token gets no more lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// The portal does not accept them any more.
    Refused(DropReason),
    /// The activity was completed, or its time has passed.
    Late,
}

impl Finished {
    /// The result of lines that arrive, or are pending, when the token is finished.
    pub(crate) fn ending(self) -> Ending {
        match self {
            Finished::Refused(reason) => Ending::Dropped(reason),
            Finished::Late => Ending::Late,
        }
    }
}

/// An entry that was given up, with its token, and the number of a line that continues in a later entry.
pub(crate) type GivenUp = (EventToken, Entry, Option<u64>);

/// The buffers of one portal.
#[derive(Debug)]
pub(crate) struct Coalescer {
    plan: Arc<Plan>,
    tokens: Slab<TokenBuffer>,
    keys: HashMap<EventToken, usize>,
    budgets: EntryBudgets,
    /// Tokens that gather lines. May contain some that do not any more.
    gathering: HashSet<usize, BuildHasherDefault<NumberHasher>>,
    listing: Listing,
    /// Tokens whose notice about missing lines has changed, and notices that nobody is told. For a journal.
    changed_gaps: HashSet<usize, BuildHasherDefault<NumberHasher>>,
    gone_gaps: Vec<GapId>,
}

impl Coalescer {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        Coalescer {
            plan,
            tokens: Slab::new(),
            keys: HashMap::new(),
            budgets: EntryBudgets::default(),
            gathering: HashSet::default(),
            listing: Listing::default(),
            changed_gaps: HashSet::default(),
            gone_gaps: Vec::new(),
        }
    }

    /// Adds a line with this text, which uses this many bytes of the budget. Or returns why its token
    /// takes no more lines.
    pub(crate) fn push(
        &mut self,
        line: &Incoming<'_>,
        (text, bytes): (&str, usize),
        now: Instant,
    ) -> Result<(), Finished> {
        let key = self.key_of(line, now);
        let buffer = &mut self.tokens[key];
        buffer.last_used = now;
        if line.in_order {
            buffer.note(line.stamp);
        }
        if let Some(finished) = buffer.finished.filter(|_| buffer.ended || !line.earlier) {
            return Err(finished);
        }
        let had_open = buffer.open.is_some();
        let sealed_before = buffer.sealed.len();
        buffer.append(line, (text, bytes), &self.plan, now);
        if !had_open {
            self.gathering.insert(key);
        }
        let ahead = self.plan.ahead_from.is_some_and(|level| line.level <= level);
        if ahead {
            buffer.seal(now);
        }
        if !had_open || buffer.sealed.len() != sealed_before {
            self.list(key);
        }
        Ok(())
    }

    /// A line of this token goes to the journal only: the token is known all the same.
    pub(crate) fn passed(&mut self, line: &Incoming<'_>, now: Instant) {
        let key = self.key_of(line, now);
        self.tokens[key].last_used = now;
        self.list(key);
    }

    /// Lines of this token were found in the journal: an end that was asked for waits for them, too.
    pub(crate) fn found(&mut self, event_token: &EventToken, lines: u64) {
        let Some(&key) = self.keys.get(event_token) else { return };
        let buffer = &mut self.tokens[key];
        if buffer.end.is_some() {
            buffer.elsewhere += lines;
            self.list(key);
        }
    }

    /// A line of this token is here that was in the journal only.
    pub(crate) fn arrived(&mut self, event_token: &EventToken) {
        let Some(&key) = self.keys.get(event_token) else { return };
        let elsewhere = &mut self.tokens[key].elsewhere;
        if *elsewhere > 0 {
            *elsewhere -= 1;
            self.list(key);
        }
    }

    /// The number of the newest line in a token's open entry.
    pub(crate) fn open_seq(&self, event_token: &EventToken) -> Option<u64> {
        let key = self.keys.get(event_token)?;
        Some(self.tokens[*key].open.as_ref()?.last_seq)
    }

    /// Whether this line has been here, so that a journal need not be believed that it is new.
    pub(crate) fn has_had(&self, event_token: &EventToken, stamp: Stamp) -> bool {
        self.keys.get(event_token).is_some_and(|key| self.tokens[*key].has_had(stamp))
    }

    /// Lines and notices of a token read like this from now on.
    pub(crate) fn dress(&mut self, event_token: &EventToken, style: &Arc<Style>, now: Instant) {
        let key = self.key(event_token, now);
        self.tokens[key].dress(style, now);
        self.list(key);
    }

    /// How a token's lines and notices read, if not as those of this process.
    pub(crate) fn style(&self, event_token: &EventToken) -> Option<&Arc<Style>> {
        self.tokens[*self.keys.get(event_token)?].style.as_ref()
    }

    /// Notes about budgets of entries for the portal's next owner.
    pub(crate) fn budget_memos(&mut self, clocks: Clocks) -> Vec<Memo> {
        self.budgets.memos(clocks)
    }

    /// Notes of the portal's earlier owners.
    pub(crate) fn inherit_budgets(&mut self, memos: &[Memo], clocks: Clocks) {
        self.budgets.inherit(memos, clocks);
    }

    /// Notes that something with this name has been here.
    pub(crate) fn note(&mut self, event_token: &EventToken, stamp: Stamp, now: Instant) {
        let key = self.key(event_token, now);
        self.tokens[key].note(stamp);
        self.list(key);
    }

    /// Gives up waiting entries of a token of which all lines are of this publisher, and not newer than these numbers.
    /// Older lines were given up before.
    pub(crate) fn give_up_numbers(
        &mut self,
        event_token: &EventToken,
        (publisher, (from, up_to)): (Publisher, (Number, Number)),
        reason: DropReason,
        now: Instant,
    ) -> Vec<(Entry, Option<u64>)> {
        let Some(&key) = self.keys.get(event_token) else { return Vec::new() };
        let mut given_up = Vec::new();
        let gone = |entry: &Entry| {
            entry.stamps.meets(publisher, from, up_to) && entry.stamps.up_to <= up_to
        };
        while let Some(entry) = self.tokens[key].pop_if(gone) {
            let orphan = self.lost(key, &entry, reason, now);
            given_up.push((entry, orphan));
        }
        self.list(key);
        given_up
    }

    /// Notes lines that were lost before they arrived here.
    pub(crate) fn missed(&mut self, event_token: &EventToken, gap: Gap, now: Instant) {
        let key = self.key(event_token, now);
        let buffer = &mut self.tokens[key];
        if !buffer.ended {
            buffer.missed(gap, now);
            self.changed_gaps.insert(key);
            self.list(key);
        } else {
            self.gone_gaps.extend(gap.kept);
        }
    }

    /// Notices about missing lines that are not told.
    pub(crate) fn gone_gaps(&mut self) -> Vec<GapId> {
        std::mem::take(&mut self.gone_gaps)
    }

    /// Hands over the notices that have changed since the last call.
    pub(crate) fn changed_gaps(&mut self, mut each: impl FnMut(&EventToken, &mut Gap)) {
        for key in self.changed_gaps.drain() {
            let Some(buffer) = self.tokens.get_mut(key) else { continue };
            let TokenBuffer { event_token, gap, sealed, open, .. } = buffer;
            // An entry that was put back before it left may have it by now.
            let entries = sealed.iter_mut().map(|(_, entry)| entry).chain(open);
            let of_entries = entries.filter_map(|entry| entry.gap.as_mut());
            for gap in gap.iter_mut().chain(of_entries) {
                each(event_token, gap);
            }
        }
    }

    /// An entry is lost. Returns the number of a line that lost its beginning.
    fn lost(&mut self, key: usize, entry: &Entry, reason: DropReason, now: Instant) -> Option<u64> {
        let buffer = &mut self.tokens[key];
        let orphan = buffer.lost(entry, reason, now);
        if !buffer.ended {
            self.changed_gaps.insert(key);
        } else {
            self.gone_gaps.extend(kept(entry));
        }
        orphan
    }

    /// A tagged span has closed: its token's lines are sent at once, unless the workflow has used half of its
    /// entries.
    pub(crate) fn close_span(&mut self, event_token: &EventToken, now: Instant) {
        let Some(&key) = self.keys.get(event_token) else { return };
        if !self.budgets.is_tight(event_token.workflow(), &self.plan.schedule) {
            self.seal_key(key, now);
        }
    }

    /// Sends gathered lines at once, of one token or of all. Returns whether there were any.
    pub(crate) fn seal(&mut self, event_token: Option<&EventToken>, now: Instant) -> bool {
        match event_token {
            Some(event_token) => {
                let key = self.keys.get(event_token).copied();
                key.is_some_and(|key| self.seal_key(key, now))
            }
            None => {
                let gathering = std::mem::take(&mut self.gathering);
                gathering.into_iter().filter(|key| self.seal_key(*key, now)).count() > 0
            }
        }
    }

    /// The same for a seal with a name in the journal: it is settled with the lines before it. Returns `false` if
    /// there are none, so that it is settled at once.
    pub(crate) fn seal_as(&mut self, event_token: &EventToken, stamp: Stamp, now: Instant) -> bool {
        let key = self.key(event_token, now);
        let buffer = &mut self.tokens[key];
        buffer.note(stamp);
        let sealed = buffer.sealed.back_mut().map(|(_, entry)| entry);
        let last = buffer.open.as_mut().or(sealed);
        let goes_along = last.is_some_and(|entry| entry.goes_along(stamp));
        self.seal_key(key, now);
        goes_along
    }

    fn seal_key(&mut self, key: usize, now: Instant) -> bool {
        let Some(buffer) = self.tokens.get_mut(key) else { return false };
        if buffer.open.is_none() {
            return false;
        }
        buffer.seal(now);
        self.list(key);
        true
    }

    /// The activity will time out soon: gathered lines are sent at once, and later ones after their linger.
    pub(crate) fn hurry(&mut self, event_token: &EventToken, now: Instant) {
        let key = self.key(event_token, now);
        self.tokens[key].hurried = true;
        self.tokens[key].last_used = now;
        self.tokens[key].seal(now);
        self.list(key);
    }

    /// Ends the pauses of single tokens, because the app is shutting down.
    pub(crate) fn lift_holds(&mut self) {
        let keys: Vec<usize> = self.tokens.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.tokens[key].hold_until = None;
            self.list(key);
        }
    }

    /// Takes the oldest entry that is due by `until`: first entries of tokens whose activity ends, then others,
    /// then entries that contain only a notice about missing lines.
    pub(crate) fn take(&mut self, until: Instant, now: Instant) -> Option<Command> {
        for class in Class::TAKEN {
            while let Some((listed, key)) = self.listing.waiting(class).first() {
                if listed > until {
                    break;
                }
                match self.due_at(key) {
                    Some((of, at)) if of == class && at <= listed => {
                        return Some(self.take_out(key, at, now));
                    }
                    _ => self.list(key),
                }
            }
        }
        None
    }

    fn take_out(&mut self, key: usize, due: Instant, now: Instant) -> Command {
        let buffer = &mut self.tokens[key];
        let mut entry = match buffer.sealed.pop_front() {
            Some((_, entry)) => entry,
            None => buffer.open.take().unwrap_or_else(|| Entry {
                style: buffer.style.clone(),
                ..Entry::new(now, SystemTime::UNIX_EPOCH)
            }),
        };
        if let Some(gap) = buffer.gap.take() {
            widen(&mut entry.gap, *gap);
        }
        buffer.in_flight = Some(entry.lines);
        let event_token = buffer.event_token.clone();
        if !entry.tries.budgeted {
            entry.tries.budgeted = true;
            entry.rolled_off = self.budgets.sent(event_token.workflow(), &self.plan.schedule, now);
        }
        self.list(key);
        Command { key, event_token, entry, due }
    }

    /// The command was not written, or it is not known. It is the next entry of its token again, but not before
    /// `hold_until`. If the token has ended in the meantime, the command is returned with the reason.
    pub(crate) fn put_back(
        &mut self,
        mut command: Command,
        hold_until: Option<Instant>,
    ) -> Option<(Command, Finished)> {
        if std::mem::take(&mut command.entry.tries.just_in_doubt) {
            self.written(&command);
        } else {
            self.budgets.not_sent(command.event_token.workflow());
        }
        let key = command.key;
        let buffer = &mut self.tokens[key];
        buffer.in_flight = None;
        if let (true, Some(finished)) = (buffer.ended, buffer.finished) {
            buffer.count(finished.ending(), command.entry.lines.into());
            self.gone_gaps.extend(kept(&command.entry));
            self.list(key);
            return Some((command, finished));
        }
        let Command { mut entry, due, .. } = command;
        entry.tries.budgeted = false;
        if entry.gap.is_some() {
            self.changed_gaps.insert(key);
        }
        buffer.hold_until = hold_until;
        buffer.sealed.push_front((due, entry));
        self.list(key);
        None
    }

    /// The portal has written the command. Returns how many lines of the workflow it has dropped for that.
    pub(crate) fn acknowledged(&mut self, command: &Command, now: Instant) -> u64 {
        let rolled_off = self.written(command);
        let buffer = &mut self.tokens[command.key];
        buffer.worked = true;
        buffer.count(Ending::Acknowledged, command.entry.lines.into());
        self.released(command.key, now);
        rolled_off
    }

    /// The command was given up for `reason`. The token's next entry mentions it. Returns the number of a
    /// line that lost its beginning, if there is one.
    pub(crate) fn given_up(
        &mut self,
        command: &Command,
        reason: DropReason,
        now: Instant,
    ) -> Option<u64> {
        if !command.entry.tries.in_doubt {
            self.budgets.not_sent(command.event_token.workflow());
        }
        let orphan = self.lost(command.key, &command.entry, reason, now);
        self.released(command.key, now);
        orphan
    }

    fn released(&mut self, key: usize, now: Instant) {
        let buffer = &mut self.tokens[key];
        buffer.in_flight = None;
        buffer.hold_until = None;
        buffer.last_used = now;
        self.list(key);
    }

    fn written(&mut self, command: &Command) -> u64 {
        let workflow = command.event_token.workflow();
        self.budgets.written(workflow, command.entry.lines, &self.plan.schedule)
    }

    /// Nothing more is sent for the token. Returns its pending entries.
    pub(crate) fn end(
        &mut self,
        event_token: &EventToken,
        finished: Finished,
        now: Instant,
    ) -> Vec<Entry> {
        let key = self.key(event_token, now);
        self.end_key(key, finished, now)
    }

    fn end_key(&mut self, key: usize, finished: Finished, now: Instant) -> Vec<Entry> {
        let buffer = &mut self.tokens[key];
        buffer.finished.get_or_insert(finished);
        self.gone_gaps.extend(buffer.gap.take().into_iter().flat_map(|gap| gap.kept));
        buffer.ended = true;
        buffer.elsewhere = 0;
        buffer.last_used = now;
        let held = buffer.take_all();
        for entry in &held {
            // Not with the earlier reason, because the app may have ended the activity since.
            buffer.count(finished.ending(), entry.lines.into());
            self.gone_gaps.extend(kept(entry));
        }
        self.list(key);
        held
    }

    /// Whether the workflow may not be saved yet after a "workflow not found", so that a repeat makes sense.
    pub(crate) fn may_be_early(&self, key: usize, patience: Duration, now: Instant) -> bool {
        self.tokens.get(key).is_some_and(|buffer| {
            !buffer.worked && now.saturating_duration_since(buffer.first_seen) < patience
        })
    }

    /// Gives up the oldest waiting entry for `reason`, of a token if it is given and has one.
    pub(crate) fn evict(
        &mut self,
        of: Option<&EventToken>,
        reason: DropReason,
        now: Instant,
    ) -> Option<GivenUp> {
        let own = of.and_then(|event_token| self.keys.get(event_token)).copied();
        let own = own.filter(|key| self.tokens[*key].oldest().is_some());
        let key = own.or_else(|| self.oldest_key())?;
        let buffer = &mut self.tokens[key];
        let entry = match buffer.sealed.pop_front() {
            Some((_, entry)) => entry,
            None => buffer.open.take()?,
        };
        let event_token = buffer.event_token.clone();
        let orphan = self.lost(key, &entry, reason, now);
        let buffer = &mut self.tokens[key];
        if let (true, Some(gap)) = (buffer.end.is_some(), &mut buffer.gap) {
            gap.waits = false;
        }
        self.list(key);
        Some((event_token, entry, orphan))
    }

    /// All waiting entries leave at the end of the run. Those for which `stays` is true are in a journal: they are not
    /// lost, and no notice speaks of them.
    pub(crate) fn leave(
        &mut self,
        reason: DropReason,
        now: Instant,
        stays: impl Fn(&Entry) -> bool,
    ) -> Vec<GivenUp> {
        let mut left = Vec::new();
        for key in self.listing.with_lines() {
            while let Some(entry) = self.tokens[key].pop_if(|_| true) {
                let orphan = match stays(&entry) {
                    true => self.tokens[key].take_orphan(&entry).1,
                    false => self.lost(key, &entry, reason, now),
                };
                left.push((self.tokens[key].event_token.clone(), entry, orphan));
            }
            self.list(key);
        }
        left
    }

    /// Gives up waiting entries for which `hopeless` is true.
    pub(crate) fn give_up_where(
        &mut self,
        reason: DropReason,
        now: Instant,
        hopeless: impl Fn(&Entry) -> bool,
    ) -> Vec<GivenUp> {
        let mut given_up = Vec::new();
        for key in self.listing.with_lines() {
            let before = given_up.len();
            // Before an end, a notice is tried until the end goes.
            let has_end = self.tokens[key].end.is_some();
            let gone = |entry: &Entry| hopeless(entry) && !(has_end && entry.is_notice());
            while let Some(entry) = self.tokens[key].pop_if(gone) {
                let orphan = self.lost(key, &entry, reason, now);
                given_up.push((self.tokens[key].event_token.clone(), entry, orphan));
            }
            if given_up.len() != before {
                self.list(key);
            }
        }
        given_up
    }

    /// Pending lines of a token, including those in flight.
    pub(crate) fn pending(&self, event_token: &EventToken) -> u64 {
        self.keys.get(event_token).map_or(0, |&key| self.tokens[key].here())
    }

    /// Whether anything is known of the token.
    pub(crate) fn knows(&self, event_token: &EventToken) -> bool {
        self.keys.contains_key(event_token)
    }

    /// About when the oldest waiting line was received: see [`oldest_key`](Self::oldest_key).
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.tokens.get(self.oldest_key()?)?.oldest()
    }

    /// The token with about the oldest waiting lines: that whose entry is due first. (Schedules and pauses
    /// change this order a little. A search for the oldest line would check every token for every line.)
    fn oldest_key(&self) -> Option<usize> {
        self.listing.oldest().find(|key| self.tokens[*key].oldest().is_some())
    }

    /// The index of a line's token. It is searched by its text only once.
    fn key_of(&mut self, line: &Incoming<'_>, now: Instant) -> usize {
        let noted = line.place.map_or(usize::MAX, |place| place.load(Relaxed));
        // The index may belong to another token by now.
        match self.tokens.get(noted) {
            Some(buffer) if buffer.event_token == *line.event_token => noted,
            _ => {
                let key = self.key(line.event_token, now);
                if let Some(place) = line.place {
                    place.store(key, Relaxed);
                }
                key
            }
        }
    }

    fn key(&mut self, event_token: &EventToken, now: Instant) -> usize {
        match self.keys.get(event_token) {
            Some(&key) => key,
            None => {
                let key = self.tokens.insert(TokenBuffer::new(event_token.clone(), now));
                self.keys.insert(event_token.clone(), key);
                key
            }
        }
    }
}

/// What is kept in a journal of an entry's notice.
fn kept(entry: &Entry) -> impl Iterator<Item = GapId> + '_ {
    entry.gap.iter().flat_map(|gap| gap.kept.iter().copied())
}
