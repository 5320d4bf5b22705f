//! Reads back lines that are in the journal only, when their lane has room.

use std::collections::HashSet;
use std::time::Instant;

use super::behind::{Held, split};
use super::{Engine, Portal};
use crate::journal::desk::Ask;
use crate::journal::{Chunk, Content, Number, Publisher, Read, StoredGap, StoredLine};
use crate::line::{EventToken, PortalId};
use crate::stats::DropReason;
use crate::worker::entry::Gap;
use crate::worker::incoming::{Incoming, Stamp};

impl Engine {
    /// Requests more lines of a portal if there is room. Returns whether there are lines to read that have to
    /// wait.
    pub(super) fn read_more(&mut self, key: usize, now: Instant) -> bool {
        let Some(store) = &self.store else { return false };
        if store.starting {
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
        // A read that only asks whether the journal is back needs no room, and returns little.
        let probes = store.away;
        if !self.may_read(now) || !(probes || half_empty || here.lines == 0) {
            return true;
        }
        let after = behind.after.filter(|_| behind.generation == store.generation);
        let share = self.rules.portal_share / 8.0;
        let lines = (self.limits.lines as f64 * share) as usize;
        let bytes = (self.limits.bytes as f64 * share) as usize;
        let most_bytes = if probes { 1 } else { bytes.min(lines * SHORT_LINE) };
        let most_bytes = most_bytes.clamp(1, READ_BYTES);
        let (portal, generation, no) = (id.clone(), store.generation, store.read + 1);
        let read = Ask::Read { no, portal, after, generation, most_bytes };
        if let Some(behind) = &mut self.portals[key].behind {
            behind.reading = true;
            behind.read = no;
            behind.asked_at = behind.newest;
        }
        if let Some(store) = &mut self.store {
            store.reads.push(read);
            store.read = no;
            store.reading += 1;
        }
        false
    }

    /// The portal that waits for this read. `None` if the portal was let go since.
    pub(super) fn reader(&self, no: u64, portal: &Option<PortalId>) -> Option<usize> {
        let key = self.portals.key(portal)?;
        let behind = self.portals[key].behind.as_ref()?;
        (behind.reading && behind.read == no).then_some(key)
    }

    pub(super) fn read(
        &mut self,
        (no, portal): (u64, &Option<PortalId>),
        read: Read,
        generation: u64,
        now: Instant,
    ) {
        self.is_back();
        self.was_read();
        let Some(key) = self.reader(no, portal) else { return };
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
        // Lines that were taken in since the read was requested are still here, unless they were handed over.
        let asked_at = behind.asked_at;
        let handed_over = self.ledger.outbox().is_some_and(|outbox| outbox.awaits(portal));
        if behind.newest == asked_at || !handed_over {
            self.catch_up(key, portal, now);
        }
    }

    /// All stored lines of a portal were read. The rest is in memory, and the portal is direct from now on.
    pub(super) fn catch_up(&mut self, key: usize, portal: &Option<PortalId>, now: Instant) {
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
        let Portal { page, behind, lane, .. } = &mut self.portals[key];
        // Lines that the journal has lost were counted, too. Nobody must wait for them.
        let parts = behind.take().map(|behind| behind.elsewhere.left()).unwrap_or_default();
        let lost = self.ledger.correct(page, &parts);
        lane.all_arrived(lost);
        if let (Some(store), true) =
            (&mut self.store, self.portals.iter().all(|(_, portal)| portal.behind.is_none()))
        {
            store.found_as.clear();
        }
    }

    /// The lines that these tokens have gathered are sent at once. At the end of the run, all lines are.
    pub(super) fn seal(&mut self, key: usize, hurried: HashSet<EventToken>, now: Instant) {
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
    pub(super) fn read_chunk(
        &mut self,
        key: usize,
        publisher: Publisher,
        chunk: Chunk,
        hurried: &mut HashSet<EventToken>,
        now: Instant,
    ) {
        let style = self.heed(key, &chunk, now);
        self.renderer.dress(style);
        self.take_chunk(key, publisher, chunk, hurried, now);
        self.renderer.dress(None);
    }

    fn take_chunk(
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
            // Lines of other runs were counted when the runs were adopted.
            Content::End(end) => {
                if self.is_shared() {
                    let portal = self.portals[key].id.clone();
                    self.end_found(
                        &portal,
                        &event_token,
                        Stamp { publisher, no: end.no },
                        end,
                        now,
                    );
                }
            }
            Content::Seal(seal) => {
                let stamp = Stamp { publisher, no: seal.no };
                let (lane, mut turn) = self.turn(key, now);
                let is_new = !lane.has_had(&event_token, stamp);
                if is_new && !lane.seal_as(&event_token, stamp, &mut turn) {
                    turn.settle_end(&event_token, Some(stamp));
                }
                return;
            }
        }
        let behind = self.portals[key].behind.as_ref();
        if publisher != self.publisher && last > 0 {
            last = self.found_as(publisher).unwrap_or(0);
        }
        if behind.is_some_and(|behind| last > 0 && last <= behind.flushed) {
            hurried.insert(event_token);
        }
    }

    /// A notice of another run will be told. Until then, it stays in the journal.
    pub(super) fn read_gap(
        &mut self,
        key: usize,
        publisher: Publisher,
        event_token: &EventToken,
        gap: StoredGap,
        now: Instant,
    ) {
        let outbox = self.ledger.outbox();
        // Those of this run are known, unless the portal was let go since.
        if publisher == self.publisher && !outbox.is_some_and(|of| of.gaps().was_left(gap.no)) {
            return;
        }
        let stamp = Stamp { publisher, no: gap.no };
        let is_shared = self.is_shared();
        let (lane, mut turn) = self.turn(key, now);
        // A shared journal may return a notice again after it was told.
        if is_shared && lane.has_had(event_token, stamp) {
            return;
        }
        let found = turn.ledger.gap_found(turn.page, publisher, event_token, gap);
        let Some(id) = found else { return };
        let StoredGap { lines, since, reason, .. } = gap;
        let gap = Gap::new(reason, lines, since);
        let mut gap = if reason == DropReason::OutcomeUnknown { gap.in_doubt() } else { gap };
        gap.kept.push(id);
        lane.missed(event_token, gap, &mut turn);
        if is_shared {
            lane.note(event_token, stamp, &mut turn);
        }
    }

    /// The number of a line of another run that was read. The line was counted when its run was found, or is
    /// counted now.
    fn seq_of_found(&mut self, key: usize, publisher: Publisher) -> Number {
        let found_as = self.found_as(publisher);
        let page = &mut self.portals[key].page;
        if let Some(seq) = found_as.filter(|_| page.found() > 0) {
            return seq;
        }
        self.seq += 1;
        self.ledger.found(page, 1, self.seq);
        self.seq
    }

    fn found_as(&self, publisher: Publisher) -> Option<Number> {
        self.store.as_ref()?.found_as.get(&publisher).copied()
    }

    pub(super) fn read_line(
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
                // It was stored although the journal returned an error.
                return;
            }
        }
        let seq = if own { line.no } else { self.seq_of_found(key, publisher) };
        let Some(store) = &self.store else { return };
        let wall = self.ledger.wall(now).unwrap_or(line.at);
        let mut age = wall.duration_since(line.at).unwrap_or_default();
        if self.is_shared() {
            // The journal decides when a line is too old. The clock of its app may be wrong.
            age = age.min(self.rules.retry.max_age / 2);
        }
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
        self.ledger.read_back(page, &incoming, own, now);
        self.hand_in(key, &incoming, &line, now);
    }
}

/// The assumed length of lines for the size of a read, if few lines may be pending.
const SHORT_LINE: usize = 32;
/// The largest number of bytes in one read.
const READ_BYTES: usize = 256 << 10;
/// The memory of a line that was read, in addition to its body.
const BESIDE_BODY: usize = 64;
