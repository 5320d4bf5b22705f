//! What the next request contains: first ends of activities, each with the last entry of its token, then
//! entries that are due. In the request all entries come before all ends, because an end may finish a
//! workflow to which another token still logs.
//!
//! | state | entries | ends |
//! |---|---|---|
//! | the rate limit is reached | wait | wait |
//! | the operating limit of the log is reached | wait | are sent |
//! | `batch` was refused for operating time | one at a time | one at a time |
//! | the lane backs off | wait | are sent; after a failure of ends, all ends pause |
//! | the lane is blocked | one request per minute | are sent |
//! | new access tokens are being requested | wait | wait |
//!
//! An end waits at most until its limit. Then its caller gets an error.

use std::time::{Duration, Instant};

use super::{Action, InFlight, Lane, State, What};
use crate::protocol::Request;
use crate::protocol::command::{self, BATCH_COMMANDS, Batch};
use crate::protocol::reply::Sent;
use crate::worker::coalescer::{Command, EndRef};
use crate::worker::ending::Ending;
use crate::worker::turn::Turn;

/// A request under construction.
struct Draft {
    entries: Vec<Command>,
    /// The keys of their tokens. They are added when the request is complete.
    ends: Vec<Chosen>,
    batch: Batch,
    /// Bytes that the ends will add.
    end_bytes: usize,
    /// The maximum number of commands, and the seconds that it may take.
    most: usize,
    time: f64,
}

#[derive(Clone, Copy)]
struct Chosen {
    key: usize,
    pair: bool,
}

impl Draft {
    fn commands(&self) -> usize {
        self.entries.len() + self.ends.len()
    }

    fn bytes(&self) -> usize {
        self.batch.bytes() + self.end_bytes
    }

    /// Whether this much more fits. A single command always fits.
    fn fits(&self, commands: usize, time: f64, bytes: usize, most_bytes: usize) -> bool {
        let rest = self.commands() > 0 || commands > 1;
        self.commands() + commands <= self.most
            && (!rest || time <= self.time && self.bytes() + bytes <= most_bytes)
    }
}

impl Lane {
    /// The next request, or when to look again.
    pub(super) fn next_request(&mut self, turn: &mut Turn<'_>) -> Result<Action, Option<Instant>> {
        if self.main.in_flight.is_some() {
            return self.next_beside(turn);
        }
        let now = turn.now;
        let entries_at = self.coalescer.next_due().and_then(|due| self.entries_from(due));
        if entries_at.is_some() {
            self.check_age(turn);
        }
        let entries_at = self.coalescer.next_due().and_then(|due| self.entries_from(due));
        let ends_at = self.coalescer.next_end().and_then(|due| self.ends_from(due));
        // Ends that are sent with entries are sent when the entries are.
        let ends = self.ends_from(now).is_some_and(|at| at <= now);
        let Some(at) = entries_at.into_iter().chain(ends_at).min() else { return Err(None) };
        let at = at.max(self.bucket.ready_at(now));
        if at > now {
            return Err(Some(self.or_check(at, now)));
        }
        self.compose(ends, entries_at, turn)
    }

    /// When entries that are due at `due` may be sent.
    fn entries_from(&self, due: Instant) -> Option<Instant> {
        match self.state {
            State::Ready => Some(due),
            State::Refreshing { .. } => None,
            State::BackingOff(pause) => Some(due.max(pause.until)),
            State::Blocked { until, .. } => Some(due.max(until)),
        }
    }

    /// When ends that are due at `due` may be sent.
    pub(super) fn ends_from(&self, due: Instant) -> Option<Instant> {
        match self.state {
            State::Refreshing { .. } => None,
            _ => Some(self.ends_pause.map_or(due, |pause| due.max(pause.until))),
        }
    }

    /// Entries that are due but have to wait are checked for their age in the meantime.
    fn or_check(&self, at: Instant, now: Instant) -> Instant {
        let held = self.coalescer.next_due().is_some_and(|due| due <= now);
        if held { at.min(self.next_check) } else { at }
    }

    /// A request with overdue ends, while the main request is in flight.
    fn next_beside(&mut self, turn: &mut Turn<'_>) -> Result<Action, Option<Instant>> {
        if self.beside.in_flight.is_some() {
            return Err(None);
        }
        let due = self.coalescer.next_overdue().and_then(|due| self.ends_from(due));
        let Some(at) = due else { return Err(None) };
        let at = at.max(self.bucket.ready_at(turn.now));
        if at > turn.now {
            return Err(Some(at));
        }
        let mut draft = self.draft(self.beside.most);
        let overdue = self.coalescer.overdue_ends(CANDIDATES, turn.now);
        let lone = self.coalescer.lone_overdue_end(turn.now);
        match lone {
            Some(lone) if overdue.is_empty() || self.is_lone_ends_turn(turn.now) => {
                Ok(self.send_lone_end(What::Beside, lone, turn))
            }
            _ => {
                self.lone_was_last = false;
                self.choose_ends(overdue, 0, &mut draft, turn);
                Ok(self.send(What::Beside, draft, turn))
            }
        }
    }

    fn draft(&self, most: usize) -> Draft {
        Draft {
            entries: Vec::new(),
            ends: Vec::new(),
            batch: Batch::new(),
            end_bytes: 0,
            most: most.clamp(1, BATCH_COMMANDS),
            time: REPLY_WITHIN.as_secs_f64(),
        }
    }

    /// An end that can share no request takes turns with all that can, since there may be many of
    /// either kind. One that would be refused by itself lets the others go first.
    fn compose(
        &mut self,
        ends: bool,
        entries_at: Option<Instant>,
        turn: &mut Turn<'_>,
    ) -> Result<Action, Option<Instant>> {
        let lone = if ends { self.coalescer.lone_end(turn.now) } else { None };
        match lone {
            Some(lone) if self.is_lone_ends_turn(turn.now) => {
                Ok(self.send_lone_end(What::Main, lone, turn))
            }
            Some(lone) => match self.compose_shared(ends, entries_at, turn) {
                Err(_) => Ok(self.send_lone_end(What::Main, lone, turn)),
                sent => {
                    self.lone_was_last = false;
                    sent
                }
            },
            None => self.compose_shared(ends, entries_at, turn),
        }
    }

    fn is_lone_ends_turn(&self, now: Instant) -> bool {
        !self.lone_was_last && self.meters.takes_direct_ends(now)
    }

    fn send_lone_end(&mut self, what: What, key: usize, turn: &mut Turn<'_>) -> Action {
        self.lone_was_last = true;
        let mut draft = self.draft(1);
        self.choose_ends(vec![key], 0, &mut draft, turn);
        self.send(what, draft, turn)
    }

    fn compose_shared(
        &mut self,
        ends: bool,
        entries_at: Option<Instant>,
        turn: &mut Turn<'_>,
    ) -> Result<Action, Option<Instant>> {
        let now = turn.now;
        let mut draft = self.draft(self.main.most);
        let entries_due = entries_at.is_some_and(|at| at <= now);
        let (mut candidates, mut overdue) = (Vec::new(), false);
        if ends {
            candidates = self.coalescer.overdue_ends(CANDIDATES, now);
            overdue = !candidates.is_empty();
            let entries_go = || self.meters.entries(false, draft.most, now).is_ok();
            let pairs = entries_due && !overdue && entries_go();
            candidates.extend(self.coalescer.ready_ends(pairs, CANDIDATES, now));
        }
        let until = now + TAKE_ALONG;
        let alone = self.meters.batch_is_refused(now)
            || candidates.is_empty() && self.coalescer.due_by(until, 2) < 2;
        let allowed = match entries_at {
            // What is overdue goes without entries, which may be what held it up.
            _ if overdue => Ok(0),
            Some(_) if entries_due => self.meters.entries(alone, draft.most, now),
            later => Err(later.unwrap_or(now + LOOK_AGAIN)),
        };
        let most_entries = *allowed.as_ref().unwrap_or(&0);
        self.choose_ends(candidates, most_entries, &mut draft, turn);
        self.choose_entries(most_entries, until, &mut draft, turn);
        let single = draft.entries.len() == 1 && draft.ends.is_empty();
        if let (true, Err(at)) = (single && !alone, self.meters.entries(true, 1, now)) {
            // It goes by itself after all, and is counted there: what was due beside it did not fit.
            for command in draft.entries.drain(..) {
                self.put_back(command, None, turn);
            }
            return Err(Some(self.or_check(at, now)));
        }
        if draft.commands() > 0 {
            return Ok(self.send(What::Main, draft, turn));
        }
        // Nothing may go: entries are held, and ends wait for them.
        let overdue = self.coalescer.next_overdue().filter(|at| *at > now);
        let held = allowed.err().or(self.coalescer.next_due()).filter(|at| *at > now);
        let at = overdue.into_iter().chain(held).min().unwrap_or(now + LOOK_AGAIN);
        Err(Some(self.or_check(at, now)))
    }

    /// Chooses ends, each with its token's last entry, which is taken out at once.
    fn choose_ends(
        &mut self,
        candidates: Vec<usize>,
        most_entries: usize,
        draft: &mut Draft,
        turn: &mut Turn<'_>,
    ) {
        let now = turn.now;
        let most_bytes = self.rules.request_bytes;
        let batched = self.meters.takes_batched_ends(now)
            // Neither form may go: the cheaper one asks.
            || !self.meters.takes_direct_ends(now);
        for key in candidates {
            if draft.ends.iter().any(|chosen| chosen.key == key) {
                continue;
            }
            let Some((_, end)) = self.coalescer.end_of(key) else { continue };
            let overdue = end.goes_at().is_some_and(|at| at <= now);
            let pair = most_entries > draft.entries.len() && self.coalescer.is_pair(key, now);
            if !pair && !overdue && !self.coalescer.is_clear(key) {
                continue;
            }
            let Some(command) = end.command().filter(|_| batched) else {
                // It goes by itself, when it is its turn. Its entry goes first.
                if draft.commands() == 0 && (overdue || self.coalescer.is_clear(key)) {
                    draft.ends.push(Chosen { key, pair: false });
                    draft.most = 1;
                    return;
                }
                continue;
            };
            let (end_bytes, end_time) = (command.cost(), self.costs.end());
            if pair {
                let command = self.coalescer.take_pair(key, now);
                self.message.clear();
                command.entry.write_message(&self.rules.words, &mut self.message);
                let event_token = command.event_token.expose();
                let bytes = end_bytes + Batch::cost(event_token, &self.message);
                let time = end_time + self.costs.entry();
                if !draft.fits(2, time, bytes, most_bytes) {
                    // A pair goes whole or not at all.
                    self.put_back(command, None, turn);
                    break;
                }
                draft.time -= self.costs.entry();
                draft.batch.push_log(event_token, &self.message);
                draft.entries.push(command);
            } else if !draft.fits(1, end_time, end_bytes, most_bytes) {
                break;
            }
            draft.time -= end_time;
            draft.end_bytes += end_bytes;
            draft.ends.push(Chosen { key, pair });
        }
    }

    /// Takes entries that are due, as far as they fit beside the ends.
    fn choose_entries(
        &mut self,
        most: usize,
        until: Instant,
        draft: &mut Draft,
        turn: &mut Turn<'_>,
    ) {
        while draft.entries.len() < most && draft.commands() < draft.most {
            let Some(command) = self.coalescer.take(until, turn.now) else { break };
            self.message.clear();
            command.entry.write_message(&self.rules.words, &mut self.message);
            let event_token = command.event_token.expose();
            let alone = command.entry.tries.solo();
            let bytes = Batch::cost(event_token, &self.message);
            let time = self.costs.entry();
            let others = draft.commands() > 0;
            if others && (alone || !draft.fits(1, time, bytes, self.rules.request_bytes)) {
                self.put_back(command, None, turn);
                break;
            }
            draft.time -= time;
            draft.batch.push_log(event_token, &self.message);
            draft.entries.push(command);
            if alone {
                break;
            }
        }
    }

    fn send(&mut self, what: What, mut draft: Draft, turn: &mut Turn<'_>) -> Action {
        let now = turn.now;
        for Command { event_token, entry, .. } in &mut draft.entries {
            turn.announce(event_token, entry);
        }
        let commands = draft.commands();
        turn.stats().request(commands as u64);
        let in_doubt = draft.entries.iter().filter(|command| command.entry.tries.in_doubt).count();
        turn.stats().repeats(in_doubt as u64);
        let single = match (draft.entries.as_slice(), draft.ends.as_slice()) {
            ([only], []) => {
                self.message.clear();
                only.entry.write_message(&self.rules.words, &mut self.message);
                Some(command::activity_log(only.event_token.expose(), &self.message))
            }
            ([], [only]) => self.single_end(only.key, now),
            _ => None,
        };
        let (request, sent) = match single {
            Some(request) => (request, Sent::Single),
            None => {
                let mut batch = draft.batch;
                for chosen in &draft.ends {
                    let end = self.coalescer.end_of(chosen.key).and_then(|(_, end)| end.command());
                    if let Some(command) = end {
                        batch.push_end(command);
                    }
                }
                (batch.finish(), Sent::Batch(commands))
            }
        };
        let ends = draft.ends.iter().map(|chosen| self.end_goes(*chosen, turn)).collect();
        self.bucket.sent(now);
        let (entries, access) = (draft.entries, self.access);
        let out = InFlight { entries, ends, sent, at: now, access, given_up: false };
        self.slot(what).in_flight = Some(out);
        Action::Send(what, request)
    }

    /// The call of an end that is alone in its request; `None` where a batch of one has to do.
    fn single_end(&self, key: usize, now: Instant) -> Option<Request> {
        let (event_token, end) = self.coalescer.end_of(key)?;
        let direct = self.meters.takes_direct_ends(now) || !self.meters.takes_batched_ends(now);
        (direct || end.command().is_none()).then(|| end.request(event_token.expose()))
    }

    /// The end leaves. What its token still holds is late: it was due whatever its lines do.
    fn end_goes(&mut self, chosen: Chosen, turn: &mut Turn<'_>) -> EndRef {
        let (end, held) = self.coalescer.send_end(chosen.key, chosen.pair, turn.now);
        if !held.is_empty() {
            let event_token = self.coalescer.event_token(chosen.key).clone();
            for entry in held {
                turn.settle(&event_token, &entry, Ending::Late);
            }
        }
        end
    }
}

/// A request that goes anyway takes along what is due so soon.
pub(super) const TAKE_ALONG: Duration = Duration::from_millis(100);
/// Requests are sized to be answered within this; the portal ends them at 60 s (REST API limits).
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// Ends that are looked at for one request: more than it can carry, since some go by themselves.
const CANDIDATES: usize = 128;
/// When to look again at what is held, if nothing says when it no longer is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
