//! Lines that are in the journal only, and how they come back.
//!
//! ```text
//! direct   a line goes to its lane, and a copy to the journal
//! behind   the lane has enough: a line goes to the journal only, leaves memory when it is stored, and
//!          is read again when there is room, in order
//! ```
//! A portal becomes behind at the first line that its lane has no room for. This ends when a read has found the
//! end of the journal, and no line was taken in since that read was requested. While the journal is away (it
//! hangs, or cannot be read), lines go to their lanes in any case.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::intake::held;
use super::{Engine, Portal};
use crate::journal::{MarkKind, Number, Position, Publisher, StoredLine};
use crate::line::{EventToken, Fingerprint};
use crate::queue::Limits;
use crate::stats::DropReason;
use crate::worker::elsewhere::Elsewhere;
use crate::worker::ending::Ending;
use crate::worker::entry::Gap;
use crate::worker::incoming::{Incoming, Stamp};
use crate::worker::ledger::Pending;
use crate::worker::outbox::{Outbox, ToStore, Whose};
use crate::worker::retry::UnknownOutcome;
use crate::worker::turn::Turn;

/// A portal with lines that are in no lane.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) since: Instant,
    /// The position to read from. `None`: from the start.
    pub(super) after: Option<Position>,
    pub(super) generation: u64,
    pub(super) reading: bool,
    /// Number of the last read.
    pub(super) read: u64,
    /// The newest line that went to the journal only, now and at the time of the last read.
    pub(super) newest: Number,
    pub(super) asked_at: Number,
    /// Lines that could not be stored, in order of their numbers. They wait for the lines before them.
    pub(super) held: VecDeque<Held>,
    /// Lines that are in no lane and not stored yet. The budget counts them.
    pub(super) under_way: Pending,
    /// Lines up to this one were flushed.
    pub(super) flushed: Number,
    /// Lines of other runs, and lines of this run up to this number, count as lost when they are read.
    pub(super) given_up: Option<(DropReason, Number)>,
    /// For a journal that others write to: up to which number of a publisher the lines of a token were counted.
    pub(super) counted: HashMap<(u32, Publisher), Number>,
    /// Its lines that are in no lane.
    pub(super) elsewhere: Elsewhere,
}

/// A line that could not be stored.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) event_token: EventToken,
    pub(super) line: StoredLine,
    pub(super) charged: usize,
}

impl Behind {
    pub(super) fn new(after: Option<Position>, generation: u64, now: Instant) -> Self {
        Behind {
            since: now,
            after,
            generation,
            reading: false,
            read: 0,
            newest: 0,
            asked_at: 0,
            held: VecDeque::new(),
            under_way: Pending::default(),
            flushed: 0,
            given_up: None,
            counted: HashMap::new(),
            elsewhere: Elsewhere::default(),
        }
    }
}

impl Engine {
    /// Whether the portal's next line goes to the journal only.
    pub(super) fn goes_behind(&mut self, key: usize, now: Instant) -> bool {
        let Some(store) = &self.store else { return false };
        if store.away {
            return false;
        }
        if self.portals[key].behind.is_some() {
            return true;
        }
        let behind = if store.starting {
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
    pub(super) fn is_over(&self, part: usize, here: Pending) -> bool {
        let share = self.rules.portal_share / (2 * part) as f64;
        let lines = (self.limits.lines as f64 * share) as u64;
        let bytes = (self.limits.bytes as f64 * share) as usize;
        here.lines >= lines.max(1) || here.bytes >= bytes
    }

    /// A line goes to the journal only. Its body was formatted.
    pub(super) fn put_behind(&mut self, incoming: &Incoming<'_>, key: usize, now: Instant) {
        let (body, cut) = self.renderer.body();
        let line = to_store(incoming, body, cut);
        let Engine { ledger, portals, store, .. } = self;
        let Portal { id, lane, page, behind, .. } = &mut portals[key];
        let (true, Some(behind)) = (store.is_some(), behind) else { return };
        let waits = |after, up_to| ledger.divide(incoming.event_token, after + 1, up_to + 1);
        behind.elsewhere.put(incoming.fingerprint, waits);
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

    /// A copy of a line that goes to its lane goes to the journal. Its body was formatted. No copy is made if the
    /// portal is behind and the journal is away, because the line would be read again.
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

    /// Lines of a token that are in no lane.
    pub(super) fn elsewhere(&self, token: Fingerprint) -> u64 {
        let behind = self.portals.iter().filter_map(|(_, portal)| portal.behind.as_ref());
        behind.map(|behind| behind.elsewhere.of(token)).sum()
    }

    /// A flush of one token, or of all. Lines that are in no lane are sent at once when they come back, and lines
    /// after the flush are kept apart from lines before it.
    pub(super) fn cut(&mut self, token: Option<Fingerprint>) {
        let seq = self.seq;
        for (_, portal) in self.portals.iter_mut() {
            if let Some(behind) = &mut portal.behind {
                behind.flushed = seq;
                behind.elsewhere.cut(token, seq);
            }
        }
        if let Some(outbox) = self.ledger.outbox() {
            outbox.cut(token);
        }
    }

    /// Lines of a portal that are in no lane count as lost when they are read.
    pub(super) fn give_up_behind(&mut self, key: usize, reason: DropReason) {
        if let Some(behind) = &mut self.portals[key].behind {
            behind.given_up = Some((reason, self.seq));
        }
    }

    /// Lines before this number that could not be stored go to their lane.
    pub(super) fn feed_held(&mut self, key: usize, before: Number, in_order: bool, now: Instant) {
        loop {
            let Some(behind) = &mut self.portals[key].behind else { return };
            if behind.held.front().is_none_or(|held| held.line.no >= before) {
                return;
            }
            let Some(Held { event_token, line, charged }) = behind.held.pop_front() else { return };
            behind.under_way.sub(1, charged);
            if !in_order {
                // The line goes without its number. If it was stored although the journal returned an error, it
                // must not be read again.
                let stamp = (line.no, line.no);
                let page = &mut self.portals[key].page;
                let kind = MarkKind::Settled;
                self.ledger.mark(page, &event_token, self.publisher, stamp, kind, now);
            }
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
    pub(super) fn hand_in(
        &mut self,
        key: usize,
        incoming: &Incoming<'_>,
        line: &StoredLine,
        now: Instant,
    ) {
        let own = incoming.stamp.publisher == self.publisher;
        let Engine { renderer, ledger, portals, rules, .. } = self;
        let Portal { lane, page, behind, .. } = &mut portals[key];
        if let Some(behind) = behind {
            let (token, seq) = (incoming.fingerprint, incoming.seq);
            let elsewhere = &mut behind.elsewhere;
            let _ = if own {
                elsewhere.take(token, seq, 1)
            } else {
                elsewhere.take_found(token, seq, 1)
            };
        }
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
        // A flush that waits for a part of an entry waits for the whole entry.
        let apart = |before| turn.ledger.divide(incoming.event_token, before, incoming.seq);
        if lane.open_seq(incoming.event_token).is_some_and(apart) {
            lane.seal(Some(incoming.event_token), &mut turn);
        }
        let text = renderer.render_body(&line.body, line.cut, line.at);
        let bytes = held(incoming.charged, text);
        lane.line(incoming, (renderer.text(), bytes), &mut turn);
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
        for key in self.portals.keys() {
            let Some(behind) = self.portals[key].behind.take() else { continue };
            for Held { event_token, line, charged } in behind.held {
                let page = &mut self.portals[key].page;
                let ending = Ending::Dropped(reason);
                self.ledger.settle(page, &event_token, 1, charged, line.no, ending);
                let stamp = (line.no, line.no);
                let kind = MarkKind::Settled;
                self.ledger.mark(page, &event_token, self.publisher, stamp, kind, now);
                // The next run tells it.
                let (lane, mut turn) = self.turn(key, now);
                lane.missed(&event_token, Gap::new(reason, 1, line.at), &mut turn);
            }
            let (lane, mut turn) = self.turn(key, now);
            lane.keep_gaps(&mut turn);
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

/// The charge of each of some lines, if only the sum is known.
pub(super) fn split(charged: usize, lines: usize) -> impl Iterator<Item = usize> {
    let each = charged / lines.max(1);
    let rest = charged - each * lines;
    (0..lines).map(move |n| if n == 0 { each + rest } else { each })
}

impl Limits {
    /// Whether half of the limit of pending lines or bytes is reached.
    pub(super) fn are_half_passed_by(&self, Pending { lines, bytes }: Pending) -> bool {
        lines * 2 >= self.lines as u64 || bytes * 2 >= self.bytes
    }
}
