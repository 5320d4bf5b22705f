//! Receives the new data of a shared journal, for all portals together.
//!
//! ```text
//! tail -> lane      while the portal is direct: its chunks are handed in as they come
//!      -> counted   while it is behind: its own reads find them (`replay`), but for ends, which go at once
//! ```
//! A new portal waits for the memos of its earlier owners before it sends anything.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Engine;
use super::behind::Behind;
use super::leaving::{Leaving, Left};
use super::standing::AGAIN;
use crate::journal::desk::Ask;
use crate::journal::{Answer, Chunk, Content, Position, Publisher, Read};
use crate::line::PortalId;
use crate::worker::incoming::Stamp;
use crate::worker::report::Trouble;
use crate::worker::style::Style;

/// The engine's state for a journal that other processes deliver from, too.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The tail was read up to here, in this generation.
    after: Option<Position>,
    generation: u64,
    /// Number of the last request for more, and whether it is answered.
    pub(super) asked: u64,
    pub(super) is_asked: bool,
    /// After a failure, the next request is not made before this time.
    again_at: Option<Instant>,
    /// Portals that were let go, as long as older reads may return chunks of them.
    pub(super) left: Vec<Left>,
    pub(super) leaving: Vec<Leaving>,
    /// Requests of the last kind so far.
    pub(super) let_go: u64,
    /// Portals that another process may own, and when to check whether they are back.
    pub(super) retake: HashMap<Option<PortalId>, Instant>,
    /// Outcomes of ends that are not stored yet, and the time of the next try.
    pub(super) answers: Vec<Answer>,
    pub(super) answer_at: Option<Instant>,
}

impl Engine {
    /// From now on, other processes also write to the journal and deliver from it.
    pub(crate) fn deliver(&mut self) {
        self.ledger.share();
        if let Some(store) = &mut self.store {
            store.starting = false;
            store.shared = Some(Box::default());
        }
    }

    /// Whether others deliver from the journal, too.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared().is_some()
    }

    pub(super) fn shared(&self) -> Option<&Shared> {
        self.store.as_ref()?.shared.as_deref()
    }

    pub(super) fn shared_mut(&mut self) -> Option<&mut Shared> {
        self.store.as_mut()?.shared.as_deref_mut()
    }

    /// Makes the requests that are due.
    pub(super) fn share(&mut self, now: Instant) {
        if !self.is_shared() {
            return;
        }
        self.ask_for_tail(now);
        self.retake(now);
        self.go_on_letting_go(now);
        self.hand_over_answers(now);
    }

    /// When [`share`](Self::share) has something to do.
    pub(super) fn share_at(&self) -> Option<Instant> {
        let shared = self.shared()?;
        let tail = shared.again_at.filter(|_| !shared.is_asked && self.closing.is_none());
        let leaving = shared.leaving.iter().filter_map(|leaving| leaving.again_at());
        let others = tail.into_iter().chain(shared.answer_at).chain(leaving);
        others.chain(shared.retake.values().copied()).min()
    }

    fn ask_for_tail(&mut self, now: Instant) {
        let is_closing = self.closing.is_some();
        let Some(store) = &mut self.store else { return };
        let Some(shared) = &mut store.shared else { return };
        if is_closing || shared.is_asked || shared.again_at.is_some_and(|at| at > now) {
            return;
        }
        shared.is_asked = true;
        shared.again_at = None;
        shared.asked += 1;
        let (no, after, generation) = (shared.asked, shared.after, shared.generation);
        store.reads.push(Ask::Tail { no, after, generation, most_bytes: TAIL_BYTES });
    }

    pub(super) fn not_tailed(&mut self, trouble: String, now: Instant) {
        if let Some(shared) = self.shared_mut() {
            shared.is_asked = false;
            shared.again_at = Some(now + AGAIN);
        }
        self.ledger.report(Trouble::NotRead, 1, None, trouble);
    }

    /// Handles new data of all portals.
    pub(super) fn tailed(
        &mut self,
        (no, from): (u64, Option<Position>),
        read: Read,
        generation: u64,
        now: Instant,
    ) {
        self.is_back();
        if let Some(store) = &mut self.store {
            store.generation = generation;
        }
        let Read { chunks, up_to, .. } = read;
        for (publisher, chunk) in chunks {
            self.tail_chunk((no, from, generation), publisher, chunk, now);
        }
        let Some(shared) = self.shared_mut() else { return };
        shared.is_asked = false;
        shared.after = Some(up_to);
        shared.generation = generation;
        // Reads return no chunks of portals that were let go before the read began.
        shared.left.retain(|left| left.is_in_reads(no + 1, generation));
    }

    fn tail_chunk(
        &mut self,
        (no, from, generation): (u64, Option<Position>, u64),
        publisher: Publisher,
        chunk: Chunk,
        now: Instant,
    ) {
        let Some(shared) = self.shared_mut() else { return };
        let portal = &chunk.portal;
        let was_left =
            |left: &Left| left.is_in_reads(no, generation) && !left.keeps(portal.as_ref());
        if shared.retake.contains_key(portal) {
            return;
        }
        if shared.left.iter().any(was_left) {
            // The portal is checked later in any case: it may be back already.
            let portal = portal.clone();
            shared.retake.insert(portal, now + AGAIN);
            return;
        }
        let key = self.portal_of(portal, now);
        if self.portals[key].standing.leaves {
            // The portal is back before it was let go. It is read from the start after that.
            let portal = chunk.portal.clone();
            if let Some(shared) = self.shared_mut() {
                shared.retake.insert(portal, now + AGAIN);
            }
            return;
        }
        if self.portals[key].behind.is_none() && self.is_full(key) {
            let behind = Behind::new(from, generation, now);
            self.portals[key].behind = Some(Box::new(behind));
        }
        self.agenda.set(key, now);
        self.heed(key, &chunk, now);
        if self.portals[key].behind.is_some() && !matches!(chunk.content, Content::End(_)) {
            return self.pass_by(key, publisher, &chunk);
        }
        let mut hurried = HashSet::new();
        self.read_chunk(key, publisher, chunk, &mut hurried, now);
        self.seal(key, hurried, now);
    }

    /// The style of a chunk's lines, and until when the portal waits for their activity.
    pub(super) fn heed(&mut self, key: usize, chunk: &Chunk, now: Instant) -> Option<Arc<Style>> {
        let about = chunk.about.as_ref()?;
        let style = self.styles.of(about, self.renderer.words());
        let wall = self.ledger.wall(now);
        let (lane, mut turn) = self.turn(key, now);
        lane.dress(&chunk.event_token, &style, &mut turn);
        if let (Some(until), Some(wall)) = (about.waits_until, wall) {
            let until = now + until.duration_since(wall).unwrap_or_default().min(LONGEST_WAIT);
            let known = lane.waits_until(&chunk.event_token);
            let differs = |known: Instant| {
                known.max(until).saturating_duration_since(known.min(until)) > A_SECOND
            };
            if known.is_none_or(differs) {
                lane.expect(chunk.event_token.clone(), until, &mut turn);
            }
        }
        Some(style)
    }

    /// Whether a portal's next lines have to wait in the journal.
    fn is_full(&self, key: usize) -> bool {
        self.is_over(1, self.portals[key].page.pending())
            || self.limits.are_half_passed_by(self.ledger.pending())
    }

    /// Lines of a portal that is behind: its own reads find them.
    fn pass_by(&mut self, key: usize, publisher: Publisher, chunk: &Chunk) {
        let Content::Lines(lines) = &chunk.content else { return };
        let Engine { ledger, portals, store, seq, .. } = self;
        let portal = &mut portals[key];
        let (Some(store), Some(behind)) = (store, &mut portal.behind) else { return };
        let event_token = &chunk.event_token;
        let token = event_token.fingerprint();
        let counted = behind.counted.entry((token.0, publisher)).or_default();
        let is_new =
            |no| no > *counted && !portal.lane.has_had(event_token, Stamp { publisher, no });
        let new = lines.iter().filter(|line| is_new(line.no)).count() as u64;
        *counted = lines.last().map_or(*counted, |line| line.no.max(*counted));
        if new > 0 {
            let seq = *store.found_as.entry(publisher).or_insert_with(|| {
                *seq += 1;
                *seq
            });
            ledger.found(&mut portal.page, new, seq);
            portal.lane.found(event_token, new);
            behind.elsewhere.find(token, seq, new);
        }
    }

    /// Stores outcomes of ends. This comes before the marks that settle the ends.
    pub(super) fn answers_to_store(&mut self) -> Vec<Ask> {
        match self.ledger.has_answers() {
            true => vec![Ask::Answer(self.ledger.answers())],
            false => Vec::new(),
        }
    }

    /// Stores outcomes of ends that could not be stored before.
    fn hand_over_answers(&mut self, now: Instant) {
        let Some(store) = &mut self.store else { return };
        let Some(shared) = &mut store.shared else { return };
        if shared.answer_at.is_none_or(|at| at > now) {
            return;
        }
        shared.answer_at = None;
        store.reads.push(Ask::Answer(std::mem::take(&mut shared.answers)));
    }

    pub(super) fn not_answered(&mut self, answers: Vec<Answer>, trouble: String, now: Instant) {
        self.ledger.report(Trouble::NotMarked, answers.len() as u64, None, trouble);
        let Some(shared) = self.shared_mut() else { return };
        let room = MOST_ANSWERS.saturating_sub(shared.answers.len());
        shared.answers.extend(answers.into_iter().take(room));
        shared.answer_at.get_or_insert(now + AGAIN);
    }
}

/// Times that differ by less count as equal.
const A_SECOND: Duration = Duration::from_secs(1);
/// No portal waits longer for an activity. Longer times could exceed the range of a clock.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How much new data is read at once.
const TAIL_BYTES: usize = 256 << 10;
/// The largest number of outcomes that wait while the journal fails. For further ones, the waiting process sends
/// the end itself.
const MOST_ANSWERS: usize = 65_536;
