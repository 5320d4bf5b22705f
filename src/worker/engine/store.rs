//! The engine's state for its journal, and the messages between both. Does no I/O.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use super::behind::{Held, split};
use super::tail::Shared;
use super::{Engine, Portal};
use crate::journal::desk::{Ask, Said};
use crate::journal::{Batch, Content, Number, Position, Publisher};
use crate::line::{EventToken, PortalId};
use crate::worker::outbox::{Outbox, Whose};
use crate::worker::report::Trouble;

/// The engine's state for its journal.
#[derive(Debug)]
pub(super) struct Store {
    /// When the run began. None of its lines is older.
    pub(super) started: Instant,
    /// The data of other runs is not known yet, so all portals may have stored lines.
    pub(super) starting: bool,
    /// Ends that were requested before that. Lines of their tokens may be in the journal.
    pub(super) early_ends: Vec<(usize, EventToken)>,
    /// Tokens of portals with notices of other runs that are not read yet, and no lines. Their ends wait for that as
    /// for one line.
    pub(super) unread_gaps: HashSet<(usize, EventToken)>,
    /// It hangs, or cannot be read.
    pub(super) away: bool,
    /// While the journal is away, one read at this time checks whether it is back.
    pub(super) probe_at: Instant,
    /// The end of the journal after the last append.
    pub(super) end: Position,
    pub(super) generation: u64,
    /// The numbers that lines of other runs got when they were found.
    pub(super) found_as: HashMap<Publisher, Number>,
    /// The portals to read.
    pub(super) reads: Vec<Ask>,
    /// How many reads were requested. The number identifies a read.
    pub(super) read: u64,
    /// How many reads are not answered.
    pub(super) reading: usize,
    /// How many requests with marks are not answered.
    pub(super) marking: usize,
    /// Set if other processes deliver from the journal, too.
    pub(super) shared: Option<Box<Shared>>,
    /// How long the journal has not answered, and the time of the last check. Time in which the process was
    /// stopped hardly counts, because the journal's thread was stopped, too.
    waited: Duration,
    looked: Instant,
}

impl Store {
    /// Whether it hangs, or cannot be read.
    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// Whether the data of other runs is not known yet.
    pub(super) fn is_starting(&self) -> bool {
        self.starting
    }
}

impl Engine {
    /// From now on, lines that are taken in go to a journal, too.
    pub(crate) fn keep(&mut self, outbox: Outbox, now: Instant) {
        self.publisher = outbox.publisher();
        self.ledger.keep(outbox);
        self.store = Some(Store {
            started: now,
            starting: true,
            early_ends: Vec::new(),
            unread_gaps: HashSet::new(),
            away: false,
            probe_at: now,
            end: Position::default(),
            generation: 0,
            found_as: HashMap::new(),
            reads: Vec::new(),
            read: 0,
            reading: 0,
            marking: 0,
            shared: None,
            waited: Duration::ZERO,
            looked: now,
        });
    }

    /// Sets the present time of the app's clock.
    pub(crate) fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.ledger.set_clock(now, wall);
    }

    /// Whether the journal has to store something before a request leaves.
    pub(crate) fn asks_first(&mut self) -> bool {
        let answers = self.store.as_ref().is_some_and(|store| !store.away);
        answers && self.ledger.outbox().is_some_and(|outbox| outbox.has_tried())
    }

    /// Whether enough is gathered for the journal to be handed over.
    pub(crate) fn has_full_batch(&mut self) -> bool {
        self.has_full_post() || self.ledger.outbox().is_some_and(|outbox| outbox.is_full())
    }

    /// The requests for the journal's driver, in this order. `all`: also those that could wait for more data.
    pub(crate) fn asks(&mut self, all: bool, now: Instant) -> Vec<Ask> {
        if self.publishing.is_some() {
            return self.posts(all, now);
        }
        self.look_for_hang(now);
        let mut asks = self.answers_to_store();
        let Some(store) = &mut self.store else { return asks };
        let reads = std::mem::take(&mut store.reads);
        let Some(outbox) = self.ledger.outbox() else { return asks };
        // A read has to find lines that were taken in before it, and must not find settled lines.
        let closing = self.closing.is_some();
        let due = outbox.due_at(true).is_some_and(|at| closing || at <= now);
        if all || due || !reads.is_empty() || !asks.is_empty() {
            let seq = (!store.away).then_some(&mut self.seq);
            asks.extend(outbox.batch(seq, now).map(Ask::Append));
            // Marks are limited here, and not in the driver. Marks of a request that is about to leave are sent in
            // any case: there is at most one such request for each portal.
            if store.marking >= MOST_MARKING && !outbox.has_tried() {
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

    /// When [`asks`](Self::asks) has something to return.
    pub(crate) fn asks_at(&mut self) -> Option<Instant> {
        let store = self.store.as_ref()?;
        let marks = store.marking < MOST_MARKING;
        let due = self.ledger.outbox().and_then(|outbox| outbox.due_at(marks));
        let looks = (!store.away && self.waits_for_journal()).then(|| store.looked + LOOK_EVERY);
        due.into_iter().chain(looks).min()
    }

    /// Whether the journal has yet to answer.
    fn waits_for_journal(&self) -> bool {
        let asked = self
            .store
            .as_ref()
            .is_some_and(|store| store.starting || store.reading > 0 || store.marking > 0);
        asked || self.ledger.has_batches_out()
    }

    /// Whether nothing is left that the journal has not stored.
    pub(crate) fn has_stored_all(&mut self) -> bool {
        self.has_published_all() && self.ledger.outbox().is_none_or(|outbox| outbox.is_empty())
    }

    pub(super) fn look_for_hang(&mut self, now: Instant) {
        let waits = self.waits_for_journal();
        let Some(store) = &mut self.store else { return };
        let since = now.saturating_duration_since(store.looked);
        store.looked = now;
        store.waited = match waits {
            true => store.waited + since.min(LOOK_EVERY),
            false => Duration::ZERO,
        };
        if !store.away && store.waited >= HANGS_AFTER {
            self.journal_is_away("it does not answer", now);
        }
    }

    /// The journal hangs or cannot be read. Lines that wait for it in memory continue without it.
    pub(crate) fn journal_is_away(&mut self, trouble: &str, now: Instant) {
        let Some(store) = &mut self.store else { return };
        store.away = true;
        store.probe_at = now + READ_AGAIN;
        store.starting = false;
        self.free_early_ends(now);
        self.ledger.report(Trouble::NotRead, 1, None, trouble);
        for key in self.portals.keys() {
            self.feed_held(key, Number::MAX, false, now);
        }
    }

    /// Handles a message of the journal's driver.
    pub(crate) fn told(&mut self, told: Said, now: Instant) {
        if self.publishing.is_some() {
            return self.posted(told, now);
        }
        if let Some(store) = &mut self.store {
            store.waited = Duration::ZERO;
        }
        match told {
            Said::Appended { no, up_to, generation } => self.appended(no, up_to, generation, now),
            Said::NotAppended { batch, trouble } => self.not_appended(batch, &trouble, now),
            Said::Marked => {
                self.is_back();
                self.was_marked();
            }
            Said::NotMarked { trouble } => {
                self.was_marked();
                self.ledger.report(Trouble::NotMarked, 1, None, trouble);
            }
            Said::Read { no, portal, read, generation } => {
                self.read((no, &portal), read, generation, now);
            }
            Said::NotRead { no, portal, trouble } => {
                self.was_read();
                if let Some(key) = self.reader(no, &portal) {
                    if let Some(behind) = &mut self.portals[key].behind {
                        behind.reading = false;
                    }
                    self.agenda.set(key, now + READ_AGAIN);
                }
                self.journal_is_away(&trouble, now);
            }
            // The other messages are for a process that publishes.
            Said::Adopting
            | Said::Known(_)
            | Said::Stored { .. }
            | Said::NotStored { .. }
            | Said::Moved { .. } => {}
            Said::LeftAlone { trouble } => {
                self.ledger.report(Trouble::LeftAlone, 1, None, trouble);
            }
            Said::Adopted { publishers, left, ends } => {
                self.adopted(&publishers, left, ends, now);
            }
            Said::NotAdopted { trouble } => {
                self.ledger.report(Trouble::LeftAlone, 1, None, trouble);
                self.has_started(now);
            }
            Said::Evicted(evicted) => self.evicted(evicted, now),
            Said::Tail { no, from, read, generation } => {
                self.tailed((no, from), read, generation, now);
            }
            Said::NotTailed { trouble } => self.not_tailed(trouble, now),
            Said::Memos { portal, memos } => self.adopted_portal(&portal, memos, now),
            Said::NotAnswered { answers, trouble } => self.not_answered(answers, trouble, now),
            Said::LetGo { no, stored } => self.has_let_go(no, stored, now),
            Said::Failing { trouble } => {
                self.ledger.report(Trouble::NotStored, 1, None, trouble);
            }
        }
    }

    /// Whether a read may be requested. While the journal is away, only one read from time to time may be.
    pub(super) fn may_read(&self, now: Instant) -> bool {
        let Some(store) = &self.store else { return false };
        !store.starting && (!store.away || store.reading == 0 && store.probe_at <= now)
    }

    /// The journal answers again.
    pub(super) fn is_back(&mut self) {
        if let Some(store) = &mut self.store {
            store.away = false;
        }
    }

    pub(super) fn was_marked(&mut self) {
        if let Some(store) = &mut self.store {
            store.marking = store.marking.saturating_sub(1);
        }
    }

    pub(super) fn was_read(&mut self) {
        if let Some(store) = &mut self.store {
            store.reading = store.reading.saturating_sub(1);
        }
    }

    pub(super) fn appended(&mut self, no: u64, up_to: Position, generation: u64, now: Instant) {
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

    /// An end continues from memory. It is not left to the next run.
    fn end_not_stored(
        &mut self,
        portal: &Option<PortalId>,
        event_token: &EventToken,
        no: Number,
        now: Instant,
    ) {
        if let Some(outbox) = self.ledger.outbox() {
            outbox.unstored(outbox.publisher(), no, no);
        }
        let key = self.portal_of(portal, now);
        self.portals[key].lane.end_not_stored(event_token, no);
        self.agenda.set(key, now);
    }

    /// Lines continue from memory. Lines of lanes are there, and the others wait for the lines before them.
    pub(super) fn not_appended(&mut self, batch: Batch, trouble: &str, now: Instant) {
        // Lines are counted one by one below.
        let others =
            batch.chunks.iter().filter(|chunk| !matches!(chunk.content, Content::Lines(_)));
        self.ledger.report(Trouble::NotStored, others.count() as u64, None, trouble);
        let Some(outbox) = self.ledger.outbox() else { return };
        let notes = outbox.answered(batch.no);
        for (chunk, note) in batch.chunks.into_iter().zip(notes) {
            let lines = match chunk.content {
                Content::Lines(lines) => lines,
                Content::End(end) => {
                    self.end_not_stored(&chunk.portal, &chunk.event_token, end.no, now);
                    continue;
                }
                Content::Missed(gap) => {
                    if let Some(outbox) = self.ledger.outbox() {
                        let whose = (chunk.portal.as_ref(), &chunk.event_token);
                        outbox.gap_not_stored(batch.publisher, whose, gap, now);
                    }
                    continue;
                }
                Content::Seal(_) => continue,
            };
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
}

/// How long the journal may take for an answer before lines go on without it.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// How often to check whether the journal answers.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// When a journal that cannot be read is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// The largest number of requests with marks that are not answered.
const MOST_MARKING: usize = 16;
