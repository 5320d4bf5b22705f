//! Lines that are in the journal only, and how they come back.
//!
//! ```text
//! direct   a line goes to its lane, and a copy to the journal
//! behind   the lane has enough: a line goes to the journal only, leaves memory when it is stored, and
//!          is read again when there is room, in order
//! ```
//! A portal is behind from the first line that its lane has no room for until a read has found the end of
//! the journal and nothing was taken in since that read was asked for. While the journal is away (it
//! hangs, or cannot be read) lines go to their lanes all the same.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::{Engine, Portal, held};
use crate::completion::Completion;
use crate::journal::driver::{Ask, Left, Said};
use crate::journal::{
    Batch, Chunk, Content, Evicted, MarkKind, Number, Position, Publisher, Read, StoredEnd,
    StoredGap, StoredLine,
};
use crate::line::{EventToken, Fingerprint, PortalId};
use crate::queue::Limits;
use crate::stats::DropReason;
use crate::worker::agenda::NumberHasher;
use crate::worker::ending::Ending;
use crate::worker::entry::Gap;
use crate::worker::incoming::{Incoming, Stamp};
use crate::worker::lane::EndAsked;
use crate::worker::ledger::Pending;
use crate::worker::outbox::{Outbox, ToStore, Whose};
use crate::worker::report::Trouble;
use crate::worker::retry::UnknownOutcome;
use crate::worker::turn::Turn;

/// What the engine knows of its journal.
#[derive(Debug)]
pub(super) struct Store {
    /// When the run began: no line of it is older.
    started: Instant,
    /// Until it is known what other runs have left, all portals are behind; but not longer than this.
    starts_until: Option<Instant>,
    /// Ends that were asked for before that: lines of their tokens may be in the journal.
    early_ends: Vec<(usize, EventToken)>,
    /// It hangs, or cannot be read.
    away: bool,
    /// Where it ended when something was last stored.
    end: Position,
    generation: u64,
    /// Lines of each token that are in no lane, by its fingerprint.
    elsewhere: HashMap<u64, u64, BuildHasherDefault<NumberHasher>>,
    /// What is to be read.
    reads: Vec<Ask>,
    /// Since when the oldest read is not answered, and how many are not.
    reading: Option<(Instant, usize)>,
    /// How many times marks were handed over that are not answered.
    marking: usize,
}

/// A portal with lines that are in no lane.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) since: Instant,
    /// It is read from here on; `None`: from the start.
    after: Option<Position>,
    generation: u64,
    reading: bool,
    /// The newest line that went this way, and that at the time of the last read.
    newest: Number,
    asked_at: Number,
    /// Lines that could not be stored, in order of their numbers. They wait for those before them.
    held: VecDeque<Held>,
    /// Lines in no lane and not stored yet, which the budget counts.
    under_way: Pending,
    /// Lines up to this one were flushed.
    flushed: Number,
    /// Lines of other runs, and of this one up to that number, are lost when they are read.
    given_up: Option<(DropReason, Number)>,
}

#[derive(Debug)]
struct Held {
    event_token: EventToken,
    line: StoredLine,
    charged: usize,
}

impl Behind {
    fn new(after: Option<Position>, generation: u64, now: Instant) -> Self {
        Behind {
            since: now,
            after,
            generation,
            reading: false,
            newest: 0,
            asked_at: 0,
            held: VecDeque::new(),
            under_way: Pending::default(),
            flushed: 0,
            given_up: None,
        }
    }
}

impl Store {
    /// Whether it hangs, or cannot be read.
    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// Whether it is not known yet what other runs have left.
    pub(super) fn is_starting(&self) -> bool {
        self.starts_until.is_some()
    }
}

impl Engine {
    /// What is taken in goes to a journal, too.
    pub(crate) fn keep(&mut self, outbox: Outbox, now: Instant) {
        self.publisher = outbox.publisher();
        self.ledger.keep(outbox);
        self.store = Some(Store {
            started: now,
            starts_until: Some(now + HANGS_AFTER),
            early_ends: Vec::new(),
            away: false,
            end: Position::default(),
            generation: 0,
            elsewhere: HashMap::default(),
            reads: Vec::new(),
            reading: None,
            marking: 0,
        });
    }

    /// The app's clock shows this time now.
    pub(crate) fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.ledger.set_clock(now, wall);
    }

    /// Whether the portal's next line goes to the journal only.
    pub(super) fn goes_behind(&mut self, key: usize, now: Instant) -> bool {
        let Some(store) = &self.store else { return false };
        if store.away {
            return false;
        }
        if self.portals[key].behind.is_some() {
            return true;
        }
        let behind = if store.starts_until.is_some() {
            Behind::new(None, store.generation, now)
        } else if self.is_over(1, self.portals[key].page.pending())
            || self.limits.are_half_passed_by(self.ledger.pending())
        {
            Behind::new(Some(store.end), store.generation, now)
        } else {
            return false;
        };
        self.portals[key].behind = Some(Box::new(behind));
        true
    }

    /// Whether a portal holds so much that its window, or this part of it, is full.
    fn is_over(&self, part: usize, here: Pending) -> bool {
        let share = self.rules.portal_share / (2 * part) as f64;
        let lines = (self.limits.lines as f64 * share) as u64;
        let bytes = (self.limits.bytes as f64 * share) as usize;
        here.lines >= lines.max(1) || here.bytes >= bytes
    }

    /// A line, whose body was written, goes to the journal only.
    pub(super) fn put_behind(&mut self, incoming: &Incoming<'_>, key: usize, now: Instant) {
        let (body, cut) = self.renderer.body();
        let line = to_store(incoming, body, cut);
        let Engine { ledger, portals, store, .. } = self;
        let Portal { id, lane, page, behind, .. } = &mut portals[key];
        let (Some(store), Some(behind)) = (store, behind) else { return };
        *store.elsewhere.entry(incoming.fingerprint.0.into()).or_default() += 1;
        lane.passed(incoming, &mut Turn { ledger, page, now });
        behind.newest = incoming.seq;
        behind.under_way.lines += 1;
        behind.under_way.bytes += incoming.charged;
        let (event_token, charged) = (incoming.event_token, incoming.charged);
        let fits = ledger.outbox().is_some_and(|outbox| outbox.has_room(line.body.len()));
        if !fits || !behind.held.is_empty() {
            ledger.unstored(line.no, 1);
            behind.held.push_back(Held { event_token: event_token.clone(), line, charged });
            return;
        }
        if let Some(outbox) = ledger.outbox() {
            let fingerprint = incoming.fingerprint;
            let portal = &*id;
            let behind = true;
            outbox.line(ToStore { portal, event_token, fingerprint, line, behind, charged }, now);
        }
    }

    /// A copy of a line that goes to its lane, and whose body was written, goes to the journal. Not if its
    /// portal is behind and the journal is away: it would be read again.
    pub(super) fn copy(&mut self, incoming: &mut Incoming<'_>, key: usize, now: Instant) {
        if self.store.is_none() {
            return;
        }
        let (body, cut) = self.renderer.body();
        let Portal { id, behind, .. } = &self.portals[key];
        incoming.in_order = behind.is_none();
        let fits = self.ledger.outbox().is_some_and(|outbox| outbox.has_room(body.len()));
        if !fits || behind.is_some() {
            self.ledger.unstored(incoming.seq, 1);
            return;
        }
        let store = ToStore {
            portal: id,
            event_token: incoming.event_token,
            fingerprint: incoming.fingerprint,
            line: to_store(incoming, body, cut),
            behind: false,
            charged: incoming.charged,
        };
        if let Some(outbox) = self.ledger.outbox() {
            outbox.line(store, now);
        }
    }

    /// An end that was asked for, as it is stored.
    pub(super) fn end_to_store(
        &self,
        (key, event_token): (usize, &EventToken),
        (no, completion, deadline): (Number, &Completion, Instant),
        now: Instant,
    ) -> Option<StoredEnd> {
        let store = self.store.as_ref().filter(|store| !store.away)?;
        let wall = self.ledger.wall(now)?;
        let at = |at: Instant| wall + at.saturating_duration_since(now.max(store.started));
        Some(StoredEnd {
            no,
            values: completion.values_text(),
            message: completion.message.clone(),
            failed: completion.failed,
            deadline: at(deadline),
            waits_until: self.portals[key].lane.waits_until(event_token).map(at),
        })
    }

    /// An end is asked for. Returns for how many lines it waits that are in no lane: for one that may not
    /// exist, too, until it is known what other runs have left.
    pub(super) fn elsewhere_of_end(&mut self, key: usize, event_token: &EventToken) -> u64 {
        let elsewhere = self.elsewhere(event_token);
        match &mut self.store {
            Some(store) if store.starts_until.is_some() => {
                store.early_ends.push((key, event_token.clone()));
                elsewhere + 1
            }
            _ => elsewhere,
        }
    }

    /// It is known now for which lines the ends wait that were asked for before.
    fn free_early_ends(&mut self, now: Instant) {
        let Some(store) = &mut self.store else { return };
        for (key, event_token) in std::mem::take(&mut store.early_ends) {
            if let Some(portal) = self.portals.get_mut(key) {
                portal.lane.arrived(&event_token);
                self.agenda.set(key, now);
            }
        }
    }

    /// Lines of a token that are in no lane.
    pub(super) fn elsewhere(&self, event_token: &EventToken) -> u64 {
        let Some(store) = &self.store else { return 0 };
        let fingerprint = u64::from(event_token.fingerprint().0);
        store.elsewhere.get(&fingerprint).copied().unwrap_or(0)
    }

    /// What is flushed and in no lane goes on at once when it comes back.
    pub(super) fn flush_behind(&mut self) {
        let seq = self.seq;
        for (_, portal) in &mut self.portals {
            if let Some(behind) = &mut portal.behind {
                behind.flushed = seq;
            }
        }
    }

    /// Lines of a portal that are in no lane are lost when they are read.
    pub(super) fn give_up_behind(&mut self, key: usize, reason: DropReason) {
        if let Some(behind) = &mut self.portals[key].behind {
            behind.given_up = Some((reason, self.seq));
        }
    }

    /// Whether the journal has to know of something before a request leaves.
    pub(crate) fn asks_first(&mut self) -> bool {
        let answers = self.store.as_ref().is_some_and(|store| !store.away);
        answers && self.ledger.outbox().is_some_and(|outbox| outbox.has_tried())
    }

    /// Whether what is gathered for the journal is enough to be handed over.
    pub(crate) fn has_full_batch(&mut self) -> bool {
        self.ledger.outbox().is_some_and(|outbox| outbox.is_full())
    }

    /// What the journal's driver is to do, in this order. `all`: also what could wait for company.
    pub(crate) fn asks(&mut self, all: bool, now: Instant) -> Vec<Ask> {
        self.look_for_hang(now);
        let Some(store) = &mut self.store else { return Vec::new() };
        let reads = std::mem::take(&mut store.reads);
        let Some(outbox) = self.ledger.outbox() else { return Vec::new() };
        let mut asks = Vec::new();
        // A read has to find what was taken in before, and not what was settled.
        let closing = self.closing.is_some();
        let due = outbox.due_at().is_some_and(|at| closing || at <= now);
        if all || due || !reads.is_empty() {
            asks.extend(outbox.batch(now).map(Ask::Append));
            if store.marking >= MOST_MARKING {
                // They are bounded here, and not with the driver.
                store.reads = reads;
                return asks;
            }
            let marks = outbox.marks();
            if !marks.is_empty() {
                store.marking += 1;
                asks.push(Ask::Mark(marks, None));
            }
        }
        asks.extend(reads);
        asks
    }

    /// When [`asks`](Self::asks) has something to say.
    pub(crate) fn asks_at(&mut self) -> Option<Instant> {
        let store = self.store.as_ref()?;
        let mut hangs = store.starts_until;
        if !store.away {
            let waits = self.ledger.outbox().and_then(|outbox| outbox.waits_since());
            let waits = waits.into_iter().chain(store.reading.map(|(since, _)| since)).min();
            hangs = hangs.into_iter().chain(waits.map(|since| since + HANGS_AFTER)).min();
        }
        let due = self.ledger.outbox().and_then(|outbox| outbox.due_at());
        due.into_iter().chain(hangs).min()
    }

    /// Whether nothing is left that the journal has not stored.
    pub(crate) fn has_stored_all(&mut self) -> bool {
        self.ledger.outbox().is_none_or(|outbox| outbox.lines() == 0)
    }

    fn look_for_hang(&mut self, now: Instant) {
        let waits = self.ledger.outbox().and_then(|outbox| outbox.waits_since());
        let Some(store) = &mut self.store else { return };
        if store.away {
            return;
        }
        let reads = store.reading.map(|(since, _)| since);
        let hangs = waits.into_iter().chain(reads).any(|since| now >= since + HANGS_AFTER);
        if hangs || store.starts_until.is_some_and(|until| now >= until) {
            self.journal_is_away("it does not answer", now);
        }
    }

    /// The journal hangs or cannot be read: what waits for it in memory goes on.
    pub(crate) fn journal_is_away(&mut self, trouble: &str, now: Instant) {
        let Some(store) = &mut self.store else { return };
        store.away = true;
        store.starts_until = None;
        self.free_early_ends(now);
        self.ledger.report(Trouble::NotRead, 1, None, trouble);
        let keys: Vec<usize> = self.portals.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.feed_held(key, Number::MAX, false, now);
        }
    }

    /// The journal's driver has said something.
    pub(crate) fn told(&mut self, told: Said, now: Instant) {
        match told {
            Said::Appended { no, up_to, generation } => self.appended(no, up_to, generation, now),
            Said::NotAppended { batch, trouble } => self.not_appended(batch, &trouble, now),
            Said::Marked => self.was_marked(),
            Said::NotMarked { trouble } => {
                self.was_marked();
                self.ledger.report(Trouble::NotStored, 1, None, trouble);
            }
            Said::Read { portal, read, generation } => self.read(&portal, read, generation, now),
            Said::NotRead { portal, trouble } => {
                self.was_read();
                let key = self.portal_of(&portal, now);
                if let Some(behind) = &mut self.portals[key].behind {
                    behind.reading = false;
                }
                self.journal_is_away(&trouble, now);
                self.agenda.set(key, now + READ_AGAIN);
            }
            Said::Adopting => {
                if let Some(store) = &mut self.store {
                    store.starts_until = store.starts_until.map(|_| now + HANGS_AFTER);
                }
            }
            Said::LeftAlone { trouble } => {
                self.ledger.report(Trouble::NotRead, 1, None, trouble);
            }
            Said::Adopted { left, ends } => self.adopted(left, ends, now),
            Said::NotAdopted { trouble } => {
                self.ledger.report(Trouble::NotRead, 1, None, trouble);
                self.has_started(now);
            }
            Said::Evicted(evicted) => self.evicted(evicted, now),
        }
    }

    /// The journal answers.
    fn is_back(&mut self) {
        if let Some(store) = &mut self.store {
            store.away = false;
        }
    }

    fn was_marked(&mut self) {
        if let Some(store) = &mut self.store {
            store.marking = store.marking.saturating_sub(1);
        }
    }

    fn was_read(&mut self) {
        if let Some(store) = &mut self.store {
            store.reading = store.reading.and_then(|(since, reads)| match reads {
                1 => None,
                _ => Some((since, reads - 1)),
            });
        }
    }

    fn appended(&mut self, no: u64, up_to: Position, generation: u64, now: Instant) {
        self.is_back();
        if let Some(store) = &mut self.store {
            (store.end, store.generation) = (up_to, generation);
        }
        let Some(outbox) = self.ledger.outbox() else { return };
        for note in outbox.answered(no) {
            let Some(Whose { portal, event_token }) = note.behind else { continue };
            let key = self.portal_of(&portal, now);
            let Portal { page, behind, .. } = &mut self.portals[key];
            let fingerprint = event_token.fingerprint();
            self.ledger.stored(page, fingerprint, note.lines, note.charged);
            if let Some(behind) = behind {
                behind.under_way.sub(note.lines, note.charged);
            }
            self.agenda.set(key, now);
        }
    }

    /// Lines go on from memory: those of lanes are there, the others wait for those before them.
    fn not_appended(&mut self, batch: Batch, trouble: &str, now: Instant) {
        self.ledger.report(Trouble::NotStored, 1, None, trouble);
        let Some(outbox) = self.ledger.outbox() else { return };
        let notes = outbox.answered(batch.no);
        for (chunk, note) in batch.chunks.into_iter().zip(notes) {
            let Content::Lines(lines) = chunk.content else { continue };
            for line in &lines {
                self.ledger.unstored(line.no, 1);
            }
            if note.behind.is_none() {
                continue;
            }
            let key = self.portal_of(&chunk.portal, now);
            let Some(behind) = &mut self.portals[key].behind else { continue };
            let charges = split(note.charged, lines.len());
            let event_token = &chunk.event_token;
            for (line, charged) in lines.into_iter().zip(charges) {
                let at = behind.held.partition_point(|held| held.line.no < line.no);
                let event_token = event_token.clone();
                behind.held.insert(at, Held { event_token, line, charged });
            }
            self.agenda.set(key, now);
        }
    }

    /// Lines of other runs are there, and ends, which do not wait until their lines are read.
    fn adopted(&mut self, left: Vec<Left>, ends: Vec<(Publisher, Chunk)>, now: Instant) {
        self.is_back();
        for Left { portal, event_token, lines } in left {
            let key = self.portal_of(&portal, now);
            let Engine { ledger, portals, store, .. } = self;
            let Portal { lane, page, behind, .. } = &mut portals[key];
            let Some(store) = store else { return };
            ledger.found(page, lines);
            lane.found(&event_token, lines);
            *store.elsewhere.entry(event_token.fingerprint().0.into()).or_default() += lines;
            let behind =
                behind.get_or_insert_with(|| Box::new(Behind::new(None, store.generation, now)));
            behind.after = None;
        }
        for (publisher, Chunk { portal, event_token, content }) in ends {
            if let Content::End(end) = content {
                self.end_found(&portal, &event_token, Stamp { publisher, no: end.no }, end, now);
            }
        }
        self.has_started(now);
    }

    /// It is known what other runs have left, or that this cannot be known.
    fn has_started(&mut self, now: Instant) {
        let Some(store) = &mut self.store else { return };
        store.starts_until = None;
        self.free_early_ends(now);
        for (key, portal) in &self.portals {
            if portal.behind.is_some() {
                self.agenda.set(key, now);
            }
        }
    }

    /// An end of another run is sent, unless its portal no longer waits for it.
    fn end_found(
        &mut self,
        portal: &Option<PortalId>,
        event_token: &EventToken,
        stamp: Stamp,
        end: StoredEnd,
        now: Instant,
    ) {
        let key = self.portal_of(portal, now);
        let StoredEnd { values, message, failed, deadline, waits_until, .. } = end;
        let wall = self.ledger.wall(now).unwrap_or(deadline);
        let elsewhere = self.elsewhere(event_token);
        let patience = Some(self.rules.retry.max_age);
        let (lane, mut turn) = self.turn(key, now);
        if waits_until.is_some_and(|until| until <= wall) {
            turn.ledger.lost_ends(1);
            return turn.settle_end(event_token, Some(stamp));
        }
        let Some(completion) = Completion::stored(&values, message, failed) else {
            turn.report(Trouble::NotRead, "the return values of an end are damaged");
            return turn.settle_end(event_token, Some(stamp));
        };
        let deadline = now + deadline.duration_since(wall).unwrap_or_default();
        // Whoever asked for it is gone.
        let (answer, _) = oneshot::channel();
        let asked =
            EndAsked { completion, deadline, patience, answer, stamp: Some(stamp), elsewhere };
        if let Some(until) = waits_until {
            let until = now + until.duration_since(wall).unwrap_or_default();
            lane.expect(event_token.clone(), until, &mut turn);
        }
        if !lane.complete(event_token, asked, &mut turn) {
            turn.settle_end(event_token, Some(stamp));
        }
        self.agenda.set(key, now);
    }

    /// The journal has given lines up.
    fn evicted(&mut self, evicted: Vec<Evicted>, now: Instant) {
        for Evicted { of, numbers, lines, ends, since, reason } in evicted {
            if ends > 0 {
                self.ledger.lost_ends(ends);
            }
            let Some((publisher, portal, event_token)) = of else {
                self.ledger.lost_unknown(None, lines, reason);
                continue;
            };
            let key = self.portal_of(&portal, now);
            let own = publisher == self.publisher;
            let (_, last) = numbers.unwrap_or((0, Number::MAX));
            let Engine { ledger, portals, store, .. } = self;
            let Portal { lane, page, .. } = &mut portals[key];
            // Those that are in a lane are delivered from there.
            if lane.has_had(&event_token, Stamp { publisher, no: last }) {
                continue;
            }
            let elsewhere = store
                .as_mut()
                .and_then(|store| store.elsewhere.get_mut(&u64::from(event_token.fingerprint().0)));
            let counted = elsewhere.map_or(0, |elsewhere| {
                let counted = lines.min(*elsewhere);
                *elsewhere -= counted;
                counted
            });
            for _ in 0..counted {
                lane.arrived(&event_token);
            }
            let last_seq = if own { last.min(self.seq) } else { 0 };
            ledger.lost_stored(page, (&event_token, own), counted, last_seq, reason);
            let mut lost = counted;
            if !own {
                // They were given up before they were counted.
                ledger.lost_unknown(Some(page), lines - counted, reason);
                lost = lines;
            }
            if lost > 0 {
                let mut turn = Turn { ledger, page, now };
                lane.missed(&event_token, Gap::new(reason, lost, since), &mut turn);
                self.agenda.set(key, now);
            }
        }
    }

    /// Asks for more of a portal's lines if there is room. Returns whether something is to be read that
    /// has to wait.
    pub(super) fn read_more(&mut self, key: usize, now: Instant) -> bool {
        let Some(store) = &self.store else { return false };
        if store.starts_until.is_some() {
            return false;
        }
        let Portal { id, lane, page, behind, .. } = &self.portals[key];
        let Some(behind) = behind else { return false };
        if behind.reading {
            return false;
        }
        let mut here = page.pending();
        here.sub(behind.under_way.lines, behind.under_way.bytes);
        let half_empty = !self.is_over(2, here)
            && lane.takes_entries()
            && !self.limits.are_half_passed_by(self.ledger.pending());
        if store.away || !(half_empty || here.lines == 0) {
            return true;
        }
        let after = behind.after.filter(|_| behind.generation == store.generation);
        let share = self.rules.portal_share / 8.0;
        let lines = (self.limits.lines as f64 * share) as usize;
        let bytes = (self.limits.bytes as f64 * share) as usize;
        let most_bytes = bytes.min(lines * SHORT_LINE).clamp(1, READ_BYTES);
        let (portal, generation) = (id.clone(), store.generation);
        let read = Ask::Read { portal, after, generation, most_bytes };
        if let Some(behind) = &mut self.portals[key].behind {
            behind.reading = true;
            behind.asked_at = behind.newest;
        }
        if let Some(store) = &mut self.store {
            store.reads.push(read);
            let (since, reads) = store.reading.unwrap_or((now, 0));
            store.reading = Some((since, reads + 1));
        }
        false
    }

    fn read(&mut self, portal: &Option<PortalId>, read: Read, generation: u64, now: Instant) {
        self.is_back();
        self.was_read();
        let key = self.portal_of(portal, now);
        if let Some(store) = &mut self.store {
            if store.generation != generation {
                (store.generation, store.end) = (generation, read.up_to);
            }
        }
        let Read { chunks, up_to, at_end } = read;
        let mut hurried = HashSet::new();
        for (publisher, chunk) in chunks {
            self.read_chunk(key, publisher, chunk, &mut hurried, now);
        }
        self.seal(key, hurried, now);
        self.agenda.set(key, now);
        let Some(behind) = &mut self.portals[key].behind else { return };
        behind.reading = false;
        behind.after = Some(up_to);
        behind.generation = generation;
        if !at_end {
            return;
        }
        // What was taken in since the read was asked for is still here, as long as it was not handed over.
        let asked_at = behind.asked_at;
        let handed_over = self.ledger.outbox().is_some_and(|outbox| outbox.awaits(portal));
        if behind.newest == asked_at || !handed_over {
            self.catch_up(key, portal, now);
        }
    }

    /// All that is stored of a portal was read: the rest is here, and it is direct from now on.
    fn catch_up(&mut self, key: usize, portal: &Option<PortalId>, now: Instant) {
        let recalled = self.ledger.outbox().map(|outbox| outbox.recall(portal)).unwrap_or_default();
        let Some(behind) = &mut self.portals[key].behind else { return };
        for (event_token, lines, charged) in recalled {
            let charges = split(charged, lines.len());
            for (line, charged) in lines.into_iter().zip(charges) {
                let at = behind.held.partition_point(|held| held.line.no < line.no);
                let event_token = event_token.clone();
                behind.held.insert(at, Held { event_token, line, charged });
            }
        }
        let hurried = behind.held.iter().filter(|held| held.line.no <= behind.flushed);
        let hurried = hurried.map(|held| held.event_token.clone()).collect();
        self.feed_held(key, Number::MAX, true, now);
        self.seal(key, hurried, now);
        let Portal { page, behind, .. } = &mut self.portals[key];
        *behind = None;
        // None is left that was counted.
        self.ledger.correct(page);
    }

    /// What these tokens have gathered goes at once; at the end of the run, all of it.
    fn seal(&mut self, key: usize, hurried: HashSet<EventToken>, now: Instant) {
        let closing = self.closing.is_some();
        let (lane, mut turn) = self.turn(key, now);
        if closing {
            lane.seal(None, &mut turn);
        } else {
            for event_token in hurried {
                lane.seal(Some(&event_token), &mut turn);
            }
        }
    }

    /// `hurried`: tokens whose lines were flushed.
    fn read_chunk(
        &mut self,
        key: usize,
        publisher: Publisher,
        chunk: Chunk,
        hurried: &mut HashSet<EventToken>,
        now: Instant,
    ) {
        let Chunk { event_token, content, .. } = chunk;
        let mut last = 0;
        match content {
            Content::Lines(lines) => {
                for line in lines {
                    last = line.no;
                    self.read_line(key, publisher, &event_token, line, now);
                }
            }
            Content::Missed(gap) => self.read_gap(key, publisher, &event_token, gap, now),
            // Those of other runs were found when these were adopted.
            Content::End(_) => {}
        }
        let behind = self.portals[key].behind.as_ref();
        let own = publisher == self.publisher;
        if own && behind.is_some_and(|behind| last > 0 && last <= behind.flushed) {
            hurried.insert(event_token);
        }
    }

    /// A gap that was stored is told, once.
    fn read_gap(
        &mut self,
        key: usize,
        publisher: Publisher,
        event_token: &EventToken,
        gap: StoredGap,
        now: Instant,
    ) {
        let (lane, mut turn) = self.turn(key, now);
        let StoredGap { no, lines, since, reason } = gap;
        lane.missed(event_token, Gap::new(reason, lines, since), &mut turn);
        turn.settle_end(event_token, Some(Stamp { publisher, no }));
    }

    fn read_line(
        &mut self,
        key: usize,
        publisher: Publisher,
        event_token: &EventToken,
        line: StoredLine,
        now: Instant,
    ) {
        let stamp = Stamp { publisher, no: line.no };
        if self.portals[key].lane.has_had(event_token, stamp) {
            return;
        }
        let own = publisher == self.publisher;
        if own {
            self.feed_held(key, line.no, true, now);
            let held = self.portals[key].behind.as_ref().and_then(|behind| behind.held.front());
            if held.is_some_and(|held| held.line.no == line.no) {
                // It was stored although the journal said no.
                return;
            }
        } else {
            self.seq += 1;
        }
        let seq = if own { line.no } else { self.seq };
        let Some(store) = &self.store else { return };
        let wall = self.ledger.wall(now).unwrap_or(line.at);
        let age = wall.duration_since(line.at).unwrap_or_default();
        let since = now.checked_sub(age).unwrap_or(now);
        let incoming = Incoming {
            event_token,
            fingerprint: event_token.fingerprint(),
            place: None,
            at: line.at,
            level: line.level,
            charged: line.body.len() + BESIDE_BODY,
            seq,
            stamp,
            since: if own { since.max(store.started) } else { since },
            tried: line.tried,
            earlier: true,
            in_order: true,
        };
        let page = &mut self.portals[key].page;
        self.ledger.read_back(page, &incoming, !own, now);
        self.hand_in(key, &incoming, &line, now);
    }

    /// Lines that could not be stored go to their lane: those before this number.
    fn feed_held(&mut self, key: usize, before: Number, in_order: bool, now: Instant) {
        loop {
            let Some(behind) = &mut self.portals[key].behind else { return };
            if behind.held.front().is_none_or(|held| held.line.no >= before) {
                return;
            }
            let Some(Held { event_token, line, charged }) = behind.held.pop_front() else { return };
            behind.under_way.sub(1, charged);
            let incoming = Incoming {
                event_token: &event_token,
                fingerprint: event_token.fingerprint(),
                place: None,
                at: line.at,
                level: line.level,
                charged,
                seq: line.no,
                stamp: Stamp { publisher: self.publisher, no: line.no },
                since: now,
                tried: false,
                earlier: true,
                in_order,
            };
            self.hand_in(key, &incoming, &line, now);
            self.agenda.set(key, now);
        }
    }

    /// A line that was in no lane goes to its own.
    fn hand_in(&mut self, key: usize, incoming: &Incoming<'_>, line: &StoredLine, now: Instant) {
        self.is_here(incoming.fingerprint);
        let own = incoming.stamp.publisher == self.publisher;
        let Engine { renderer, ledger, portals, rules, .. } = self;
        let Portal { lane, page, behind, .. } = &mut portals[key];
        lane.arrived(incoming.event_token);
        let mut turn = Turn { ledger, page, now };
        let given_up = behind.as_ref().and_then(|behind| behind.given_up);
        if let Some((reason, _)) = given_up.filter(|(_, up_to)| !own || line.no <= *up_to) {
            return turn.settle_line(incoming, Ending::Dropped(reason));
        }
        if incoming.tried && rules.retry.on_unknown == UnknownOutcome::GiveUp {
            let reason = DropReason::OutcomeUnknown;
            turn.settle_line(incoming, Ending::Dropped(reason));
            let gap = Gap::new(reason, 1, incoming.at).in_doubt();
            return lane.missed(incoming.event_token, gap, &mut turn);
        }
        let text = renderer.render_body(&line.body, line.cut, line.at);
        let bytes = held(incoming.charged, text);
        lane.line(incoming, (renderer.text(), bytes), &mut turn);
    }

    fn is_here(&mut self, token: Fingerprint) {
        let Some(store) = &mut self.store else { return };
        let key = u64::from(token.0);
        if let Some(elsewhere) = store.elsewhere.get_mut(&key) {
            *elsewhere = elsewhere.saturating_sub(1);
            if *elsewhere == 0 {
                store.elsewhere.remove(&key);
            }
        }
    }

    /// The run ends: lines that are in no lane and were not stored are lost.
    pub(super) fn leave_behind(&mut self, now: Instant) {
        let reason = DropReason::ShutdownDeadline;
        let given_up = self.ledger.outbox().map(Outbox::give_up).unwrap_or_default();
        for note in given_up {
            let Some(Whose { portal, event_token }) = note.behind else { continue };
            let key = self.portal_of(&portal, now);
            let page = &mut self.portals[key].page;
            let ending = Ending::Dropped(reason);
            self.ledger.settle(page, &event_token, note.lines, note.charged, note.up_to, ending);
        }
        let keys: Vec<usize> = self.portals.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(behind) = self.portals[key].behind.take() else { continue };
            for Held { event_token, line, charged } in behind.held {
                let page = &mut self.portals[key].page;
                let ending = Ending::Dropped(reason);
                self.ledger.settle(page, &event_token, 1, charged, line.no, ending);
                let stamp = (line.no, line.no);
                let kind = MarkKind::Settled;
                self.ledger.mark(page, &event_token, self.publisher, stamp, kind, now);
            }
        }
    }
}

fn to_store(incoming: &Incoming<'_>, body: &str, cut: u64) -> StoredLine {
    StoredLine {
        no: incoming.stamp.no,
        at: incoming.at,
        level: incoming.level,
        body: body.to_owned(),
        cut,
        tried: false,
    }
}

/// What each of some lines was charged, where only the sum is known.
fn split(charged: usize, lines: usize) -> impl Iterator<Item = usize> {
    let each = charged / lines.max(1);
    let rest = charged - each * lines;
    (0..lines).map(move |n| if n == 0 { each + rest } else { each })
}

/// How long the journal may take for an answer before lines go on without it.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// When a journal that cannot be read is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// The length of lines with which a read is reckoned, where few may be pending.
const SHORT_LINE: usize = 32;
/// Most bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// Most times that marks are with the driver.
const MOST_MARKING: usize = 16;
/// What a line that was read holds beside its body.
const BESIDE_BODY: usize = 64;

impl Limits {
    /// Whether half of what may be pending is.
    fn are_half_passed_by(&self, Pending { lines, bytes }: Pending) -> bool {
        lines * 2 >= self.lines as u64 || bytes * 2 >= self.bytes
    }
}
