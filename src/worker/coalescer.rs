//! Makes commands of lines: a buffer per event token, entries that are due in order of their time.
//!
//! Knows linger, the entry budget and the size of an entry; nothing of requests. Time is an
//! argument.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use slab::Slab;
use tracing_core::Level;

use super::entry::{Entry, Gap, widen};
use super::ledger::Ending;
use super::schedule::{Budget, Schedule};
use crate::line::{EventToken, LogLine, Tag};
use crate::stats::DropReason;

mod buffer;

use buffer::TokenBuffer;

/// What the coalescer is told once.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How long the first line of an entry waits for more.
    pub(crate) linger: Duration,
    /// The longest that any line waits for the schedule.
    pub(crate) max_hold: Duration,
    /// Largest entry, notices included.
    pub(crate) entry_bytes: usize,
    /// Lines at this level or above go ahead of the schedule.
    pub(crate) ahead_from: Option<Level>,
    pub(crate) schedule: Schedule,
}

/// An entry on its way: taken out of its buffer, which waits for what becomes of it.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) key: usize,
    pub(crate) event_token: EventToken,
    pub(crate) entry: Entry,
    /// When it became due, to put it back in its place.
    due: Instant,
}

/// Why lines no longer go to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// The portal no longer takes them.
    Refused(DropReason),
    /// The activity was completed, or its time has passed.
    Late,
}

impl Finished {
    /// How lines end that come, or are still held, when the token is finished.
    pub(crate) fn ending(self) -> Ending {
        match self {
            Finished::Refused(reason) => Ending::Dropped(reason),
            Finished::Late => Ending::Late,
        }
    }
}

/// The buffers of one portal.
#[derive(Debug)]
pub(crate) struct Coalescer {
    tokens: Slab<TokenBuffer>,
    keys: HashMap<EventToken, usize>,
    /// By the readable workflow id: tokens of one workflow share its budget.
    budgets: HashMap<Box<str>, Budget>,
    /// No later than the real times: they are computed again when their turn comes.
    due: BTreeSet<(Instant, usize)>,
    /// Budgets are swept when there are more than this.
    sweep_at: usize,
}

impl Coalescer {
    pub(crate) fn new() -> Self {
        Coalescer {
            tokens: Slab::new(),
            keys: HashMap::new(),
            budgets: HashMap::new(),
            due: BTreeSet::new(),
            sweep_at: SWEEP_FROM,
        }
    }

    /// Takes a line in, of the text given, which holds so many bytes of the budget; or says why its
    /// token takes none.
    pub(crate) fn push(
        &mut self,
        line: &LogLine,
        (text, bytes): (&str, usize),
        seq: u64,
        plan: &Plan,
        now: Instant,
    ) -> Result<(), Finished> {
        let key = self.key_of(&line.tag, now);
        let buffer = &mut self.tokens[key];
        buffer.last_used = now;
        if let Some(finished) = buffer.finished {
            return Err(finished);
        }
        let had_open = buffer.open.is_some();
        let sealed_before = buffer.sealed.len();
        buffer.append(line, (text, bytes), seq, plan, now);
        let ahead = plan.ahead_from.is_some_and(|level| *line.metadata.level() <= level);
        if ahead {
            buffer.seal(now);
        }
        if !had_open || buffer.sealed.len() != sealed_before {
            self.list(key, plan);
        }
        Ok(())
    }

    /// Tells of lines that were lost before they came here.
    pub(crate) fn missed(&mut self, event_token: &EventToken, gap: Gap, plan: &Plan, now: Instant) {
        let key = self.key(event_token, now);
        let buffer = &mut self.tokens[key];
        if buffer.finished.is_none() {
            widen(&mut buffer.gap, gap);
            self.list(key, plan);
        }
    }

    /// A tagged span has closed: what its token has gathered goes at once, unless the workflow has
    /// used much of its budget.
    pub(crate) fn close_span(&mut self, event_token: &EventToken, plan: &Plan, now: Instant) {
        let Some(&key) = self.keys.get(event_token) else { return };
        let tight = self.budget(key).is_some_and(|budget| budget.is_tight(&plan.schedule));
        if !tight {
            self.tokens[key].seal(now);
            self.list(key, plan);
        }
    }

    /// What has been gathered goes at once: of one token, or of all.
    pub(crate) fn seal(&mut self, event_token: Option<&EventToken>, plan: &Plan, now: Instant) {
        let keys: Vec<usize> = match event_token {
            Some(event_token) => self.keys.get(event_token).copied().into_iter().collect(),
            None => self.tokens.iter().map(|(key, _)| key).collect(),
        };
        for key in keys {
            self.tokens[key].seal(now);
            self.list(key, plan);
        }
    }

    /// The token's time is nearly over: what it has gathered goes at once, and what comes goes at
    /// its linger.
    pub(crate) fn hurry(&mut self, event_token: &EventToken, plan: &Plan, now: Instant) {
        let key = self.key(event_token, now);
        self.tokens[key].hurried = true;
        self.tokens[key].last_used = now;
        self.seal(Some(event_token), plan, now);
    }

    /// Patience asked for by the portal ends: the app is shutting down.
    pub(crate) fn lift_holds(&mut self, plan: &Plan) {
        let keys: Vec<usize> = self.tokens.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.tokens[key].hold_until = None;
            self.list(key, plan);
        }
    }

    /// When something may be due; never too late, sometimes too early.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many entries are due by `until`, counted up to `enough`.
    pub(crate) fn due_by(&self, until: Instant, enough: usize) -> usize {
        self.due.iter().take_while(|(at, _)| *at <= until).take(enough).count()
    }

    /// The oldest entry that is due by `until`, taken out.
    pub(crate) fn take(&mut self, until: Instant, plan: &Plan, now: Instant) -> Option<Command> {
        while let Some(&(listed, key)) = self.due.first() {
            if listed > until {
                return None;
            }
            match self.due_at(key, plan) {
                Some(at) if at > listed => self.list(key, plan),
                Some(at) => return Some(self.take_out(key, at, plan, now)),
                // By the same time by which it was found, or it would be found again for ever.
                None if self.is_idle(key, until) => self.remove(key),
                None => self.list(key, plan),
            }
        }
        None
    }

    fn take_out(&mut self, key: usize, due: Instant, plan: &Plan, now: Instant) -> Command {
        self.unlist(key);
        let buffer = &mut self.tokens[key];
        let mut entry = match buffer.sealed.pop_front() {
            Some((_, entry)) => entry,
            None => buffer.open.take().unwrap_or_else(|| Entry::new(now, SystemTime::UNIX_EPOCH)),
        };
        if let Some(gap) = buffer.gap.take() {
            widen(&mut entry.gap, *gap);
        }
        buffer.in_flight = Some(entry.lines);
        let event_token = buffer.event_token.clone();
        if !entry.tries.budgeted {
            entry.tries.budgeted = true;
            let workflow = event_token.workflow();
            if !self.budgets.contains_key(workflow) {
                self.sweep_budgets(now);
                self.budgets.insert(workflow.into(), Budget::default());
            }
            if let Some(budget) = self.budgets.get_mut(workflow) {
                entry.rolled_off = budget.sent(now, &plan.schedule);
            }
        }
        Command { key, event_token, entry, due }
    }

    /// The command comes back: nothing of it was written, or nobody knows. It goes first again, not
    /// before `hold_until`. When its token has ended meanwhile it is returned with the reason.
    pub(crate) fn put_back(
        &mut self,
        mut command: Command,
        hold_until: Option<Instant>,
        plan: &Plan,
    ) -> Option<(Command, Finished)> {
        if std::mem::take(&mut command.entry.tries.just_in_doubt) {
            self.written(&command.event_token, &command.entry, plan);
        } else if let Some(budget) = self.budgets.get_mut(command.event_token.workflow()) {
            budget.not_sent();
        }
        let key = command.key;
        let buffer = &mut self.tokens[key];
        buffer.in_flight = None;
        if let (true, Some(finished)) = (buffer.ended, buffer.finished) {
            self.list(key, plan);
            return Some((command, finished));
        }
        let Command { mut entry, due, .. } = command;
        entry.tries.budgeted = false;
        buffer.hold_until = hold_until;
        buffer.sealed.push_front((due, entry));
        self.list(key, plan);
        None
    }

    /// The portal took the command. Returns how many lines of the workflow it rolled off.
    pub(crate) fn acknowledged(&mut self, command: &Command, plan: &Plan, now: Instant) -> u64 {
        let rolled_off = self.written(&command.event_token, &command.entry, plan);
        let buffer = &mut self.tokens[command.key];
        buffer.worked = true;
        self.released(command.key, plan, now);
        rolled_off
    }

    /// The command was given up for `reason`. The token's next entry tells of it. Returns the entry
    /// whose first line lost its beginning, if there is one.
    pub(crate) fn given_up(
        &mut self,
        command: &Command,
        reason: DropReason,
        plan: &Plan,
        now: Instant,
    ) -> Option<u64> {
        if let Some(budget) = self.budgets.get_mut(command.event_token.workflow()) {
            if !command.entry.tries.in_doubt {
                budget.not_sent();
            }
        }
        let orphan = self.tokens[command.key].lost(&command.entry, reason);
        self.released(command.key, plan, now);
        orphan
    }

    fn released(&mut self, key: usize, plan: &Plan, now: Instant) {
        let buffer = &mut self.tokens[key];
        buffer.in_flight = None;
        buffer.hold_until = None;
        buffer.last_used = now;
        self.list(key, plan);
    }

    fn written(&mut self, event_token: &EventToken, entry: &Entry, plan: &Plan) -> u64 {
        match self.budgets.get_mut(event_token.workflow()) {
            Some(budget) => budget.written(entry.lines, &plan.schedule),
            None => 0,
        }
    }

    /// The token takes no more lines. Those that it holds are still sent.
    pub(crate) fn finish(
        &mut self,
        event_token: &EventToken,
        finished: Finished,
        plan: &Plan,
        now: Instant,
    ) {
        let key = self.key(event_token, now);
        let buffer = &mut self.tokens[key];
        buffer.finished.get_or_insert(finished);
        buffer.gap = None;
        buffer.seal(now);
        self.list(key, plan);
    }

    /// Nothing more is sent for the token. Returns what it held.
    pub(crate) fn end(
        &mut self,
        event_token: &EventToken,
        finished: Finished,
        plan: &Plan,
        now: Instant,
    ) -> Vec<Entry> {
        self.finish(event_token, finished, plan, now);
        let key = self.key(event_token, now);
        let buffer = &mut self.tokens[key];
        buffer.ended = true;
        let held = buffer.take_all();
        self.list(key, plan);
        held
    }

    /// Whether a "workflow not found" may only be early, and so worth some patience.
    pub(crate) fn may_be_early(&self, key: usize, patience: Duration, now: Instant) -> bool {
        self.tokens.get(key).is_some_and(|buffer| {
            !buffer.worked && now.saturating_duration_since(buffer.first_seen) < patience
        })
    }

    /// Gives up the oldest waiting entry for `reason`, of a token if it is given and has one. Returns it
    /// with its token, and whether the next entry lost the beginning of its first line.
    pub(crate) fn evict(
        &mut self,
        of: Option<&EventToken>,
        reason: DropReason,
        plan: &Plan,
    ) -> Option<(EventToken, Entry, Option<u64>)> {
        let own = of.and_then(|event_token| self.keys.get(event_token)).copied();
        let own = own.filter(|key| self.tokens[*key].oldest().is_some());
        let key = own.or_else(|| self.oldest_key())?;
        let buffer = &mut self.tokens[key];
        let entry = match buffer.sealed.pop_front() {
            Some((_, entry)) => entry,
            None => buffer.open.take()?,
        };
        let orphan = buffer.lost(&entry, reason);
        let event_token = buffer.event_token.clone();
        self.list(key, plan);
        Some((event_token, entry, orphan))
    }

    /// Gives up waiting entries for which `hopeless` holds. Returns them with their tokens.
    pub(crate) fn give_up_where(
        &mut self,
        reason: DropReason,
        plan: &Plan,
        hopeless: impl Fn(&Entry) -> bool,
    ) -> Vec<(EventToken, Entry, Option<u64>)> {
        let keys: Vec<usize> = self.tokens.iter().map(|(key, _)| key).collect();
        let mut given_up = Vec::new();
        for key in keys {
            let buffer = &mut self.tokens[key];
            let before = given_up.len();
            while let Some(entry) = buffer.pop_if(&hopeless) {
                let orphan = buffer.lost(&entry, reason);
                given_up.push((buffer.event_token.clone(), entry, orphan));
            }
            if given_up.len() != before {
                self.list(key, plan);
            }
        }
        given_up
    }

    /// Lines of a token that are not settled, those in flight among them.
    pub(crate) fn pending(&self, event_token: &EventToken) -> u64 {
        let Some(&key) = self.keys.get(event_token) else { return 0 };
        let buffer = &self.tokens[key];
        let waiting = buffer.sealed.iter().map(|(_, entry)| entry).chain(&buffer.open);
        let waiting: u64 = waiting.map(|entry| u64::from(entry.lines)).sum();
        waiting + buffer.in_flight.map_or(0, u64::from)
    }

    /// When the oldest waiting line was taken in, nearly: see [`oldest_key`](Self::oldest_key).
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.tokens.get(self.oldest_key()?)?.oldest()
    }

    /// The token whose waiting lines are the oldest, as far as the order in which entries are due
    /// says so: what is due first was taken in first, but for schedules and holds. A search for the
    /// very oldest would look at every token for every line.
    fn oldest_key(&self) -> Option<usize> {
        let waits = |key: &usize| self.tokens.get(*key).is_some_and(|b| b.oldest().is_some());
        let listed = self.due.iter().map(|(_, key)| *key).find(waits);
        // Behind a command that is out, entries wait unlisted.
        listed.or_else(|| self.tokens.iter().map(|(key, _)| key).find(waits))
    }

    /// The place of a tag's token, which is looked up by its text once.
    fn key_of(&mut self, tag: &Tag, now: Instant) -> usize {
        let noted = tag.place.load(Relaxed);
        // A place may have been left, and taken by another token.
        match self.tokens.get(noted) {
            Some(buffer) if buffer.event_token == tag.event_token => noted,
            _ => {
                let key = self.key(&tag.event_token, now);
                tag.place.store(key, Relaxed);
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

    fn budget(&self, key: usize) -> Option<&Budget> {
        self.budgets.get(self.tokens.get(key)?.event_token.workflow())
    }

    /// When the token's next entry is due; `None` while it has none that could go.
    fn due_at(&self, key: usize, plan: &Plan) -> Option<Instant> {
        let buffer = self.tokens.get(key)?;
        if buffer.in_flight.is_some() {
            return None;
        }
        let by_schedule = |lingered: Instant| {
            let at = self.budget(key).and_then(|budget| budget.next_at(&plan.schedule));
            at.map_or(lingered, |at| at.max(lingered))
        };
        let due = match (buffer.sealed.front(), &buffer.open) {
            (Some((at, _)), _) => *at,
            (None, Some(open)) => {
                let held = open.since + plan.max_hold.max(plan.linger);
                by_schedule(open.since + plan.linger).min(held)
            }
            (None, None) => {
                buffer.gap.as_ref().filter(|gap| !gap.waits)?;
                let lingered = buffer.last_used + plan.linger;
                by_schedule(lingered)
            }
        };
        Some(buffer.hold_until.map_or(due, |hold| due.max(hold)))
    }

    /// Brings `due` in line with the token's buffer: when its entry is due, else when it is
    /// forgotten.
    fn list(&mut self, key: usize, plan: &Plan) {
        self.unlist(key);
        let at = self.due_at(key, plan);
        if let Some(buffer) = self.tokens.get_mut(key) {
            let at = match at {
                Some(at) => at,
                None if buffer.in_flight.is_some() => return,
                None => buffer.last_used + FORGET,
            };
            buffer.listed = Some(at);
            self.due.insert((at, key));
        }
    }

    fn unlist(&mut self, key: usize) {
        if let Some(at) = self.tokens.get_mut(key).and_then(|buffer| buffer.listed.take()) {
            self.due.remove(&(at, key));
        }
    }

    fn is_idle(&self, key: usize, now: Instant) -> bool {
        self.tokens
            .get(key)
            .is_some_and(|buffer| now.saturating_duration_since(buffer.last_used) >= FORGET)
    }

    fn remove(&mut self, key: usize) {
        self.unlist(key);
        if let Some(buffer) = self.tokens.try_remove(key) {
            self.keys.remove(&buffer.event_token);
        }
        if self.tokens.is_empty() {
            self.tokens = Slab::new();
            self.keys = HashMap::new();
        }
    }

    fn sweep_budgets(&mut self, now: Instant) {
        if self.budgets.len() >= self.sweep_at {
            self.budgets.retain(|_, budget| !budget.is_forgotten(now));
            self.sweep_at = (self.budgets.len() * 2).max(SWEEP_FROM);
        }
    }
}

/// A token that was idle for so long is forgotten. What its workflow has used is not.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// Budgets are not swept below this number.
const SWEEP_FROM: usize = 1_024;
