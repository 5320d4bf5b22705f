//! The data that the worker holds for its journal: lines and ends to append, and marks. It is limited, so that a
//! journal that fails or hangs costs no more memory than the limit. Does no I/O.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::{Duration, Instant};

use super::agenda::NumberHasher;
use super::gaps::KeptGaps;
use crate::journal::{
    Batch, Chunk, Content, Mark, MarkKind, Number, Publisher, StoredEnd, StoredGap, StoredLine,
};
use crate::line::{EventToken, Fingerprint, PortalId};

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    publisher: Publisher,
    /// The gathered chunks. Invariant: each chunk has its note.
    chunks: Vec<Chunk>,
    notes: Vec<Note>,
    /// A token's last chunk of lines among them.
    last: HashMap<u64, usize, BuildHasherDefault<NumberHasher>>,
    /// Notices about missing lines that are not told yet.
    gaps: KeptGaps,
    bytes: usize,
    /// When the oldest chunk was taken in.
    since: Option<Instant>,
    /// When notices that could not be stored are stored again.
    gaps_at: Option<Instant>,
    marks: Vec<Mark>,
    /// When the oldest mark was made.
    marks_since: Option<Instant>,
    /// Batches that are not answered yet, oldest first.
    out: VecDeque<Out>,
    out_bytes: usize,
    /// How many batches were handed over so far.
    batches: u64,
    /// The largest number of bytes that may be gathered and unanswered.
    most_bytes: usize,
    /// How long a line may wait until it is stored.
    bound: Duration,
    /// Lines that are in lanes and not in the journal: they went on from memory alone, or the journal has
    /// given them up. In ascending ranges of their numbers.
    unstored: HashMap<Publisher, Vec<(Number, Number)>>,
}

/// The meaning of a chunk for the worker.
#[derive(Debug, Default)]
pub(crate) struct Note {
    /// Its lines are in no lane, and are read again later. This is their token.
    pub(crate) behind: Option<Whose>,
    pub(crate) lines: u64,
    /// Their charge to the budget.
    pub(crate) charged: usize,
    /// The number of the last line.
    pub(crate) up_to: Number,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) portal: Option<PortalId>,
    pub(crate) event_token: EventToken,
}

/// A batch that the journal has.
#[derive(Debug)]
struct Out {
    no: u64,
    /// The lowest number in it.
    first: Number,
    notes: Vec<Note>,
    bytes: usize,
}

/// A line for the journal.
#[derive(Debug)]
pub(crate) struct ToStore<'a> {
    pub(crate) portal: &'a Option<PortalId>,
    pub(crate) event_token: &'a EventToken,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) line: StoredLine,
    pub(crate) behind: bool,
    pub(crate) charged: usize,
}

impl Outbox {
    /// `bound`: how long a line may wait until it is stored. `most_bytes`: how many bytes may wait.
    pub(crate) fn new(publisher: Publisher, bound: Duration, most_bytes: usize) -> Self {
        Outbox {
            publisher,
            chunks: Vec::new(),
            notes: Vec::new(),
            last: HashMap::default(),
            gaps: KeptGaps::default(),
            bytes: 0,
            since: None,
            gaps_at: None,
            marks: Vec::new(),
            marks_since: None,
            out: VecDeque::new(),
            out_bytes: 0,
            batches: 0,
            most_bytes,
            bound,
            unstored: HashMap::new(),
        }
    }

    pub(crate) fn publisher(&self) -> Publisher {
        self.publisher
    }

    /// Whether a line of this length can be taken.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.bytes + self.out_bytes + bytes + BESIDE_BODY <= self.most_bytes
    }

    pub(crate) fn line(&mut self, store: ToStore<'_>, now: Instant) {
        let ToStore { portal, event_token, fingerprint, line, behind, charged } = store;
        self.grow(line.body.len(), now);
        let key = u64::from(fingerprint.0);
        if let Some(&n) = self.last.get(&key) {
            let (chunk, note) = (&mut self.chunks[n], &mut self.notes[n]);
            if let (true, true, true, Content::Lines(lines)) = (
                note.behind.is_some() == behind,
                chunk.event_token == *event_token,
                chunk.portal == *portal,
                &mut chunk.content,
            ) {
                note.up_to = line.no;
                lines.push(line);
                note.lines += 1;
                note.charged += charged;
                return;
            }
        }
        self.last.insert(key, self.chunks.len());
        let whose = || Whose { portal: portal.clone(), event_token: event_token.clone() };
        let note = Note { behind: behind.then(whose), lines: 1, charged, up_to: line.no };
        self.push(portal, event_token, Content::Lines(vec![line]), note);
    }

    /// A flush of one token, or of all, came: lines before it and after it are not in one chunk.
    pub(crate) fn cut(&mut self, token: Option<Fingerprint>) {
        match token {
            Some(token) => drop(self.last.remove(&u64::from(token.0))),
            None => self.last.clear(),
        }
    }

    /// An end comes after the gathered lines of its token.
    pub(crate) fn end(
        &mut self,
        portal: &Option<PortalId>,
        event_token: &EventToken,
        end: StoredEnd,
        now: Instant,
    ) {
        self.grow(end.values.len() + end.message.as_ref().map_or(0, String::len), now);
        self.last.remove(&u64::from(event_token.fingerprint().0));
        self.push(portal, event_token, Content::End(end), Note::default());
    }

    fn grow(&mut self, bytes: usize, now: Instant) {
        self.bytes += bytes + BESIDE_BODY;
        self.since.get_or_insert(now);
    }

    fn push(
        &mut self,
        portal: &Option<PortalId>,
        event_token: &EventToken,
        content: Content,
        note: Note,
    ) {
        let (portal, event_token) = (portal.clone(), event_token.clone());
        self.chunks.push(Chunk { portal, event_token, content, about: None });
        self.notes.push(note);
    }

    /// Notices about missing lines that are not told yet. See [`gaps_changed`](Self::gaps_changed).
    pub(crate) fn gaps(&mut self) -> &mut KeptGaps {
        &mut self.gaps
    }

    /// A notice could not be stored.
    pub(crate) fn gap_not_stored(
        &mut self,
        of: Publisher,
        whose: (Option<&PortalId>, &EventToken),
        gap: StoredGap,
        now: Instant,
    ) {
        self.gaps.not_stored(of, whose, gap);
        self.gaps_at.get_or_insert(now + STORE_AGAIN);
    }

    /// Notices have changed, and have to be stored.
    pub(crate) fn gaps_changed(&mut self, now: Instant) {
        if self.gaps.has_unsaved() {
            self.since.get_or_insert(now);
        }
    }

    /// Adds marks. If the journal takes no marks for a long time, the oldest marks are dropped. After a crash, the
    /// lines of these marks may then be sent again with a mark.
    pub(crate) fn mark(&mut self, mark: Mark, now: Instant) {
        if mark.kind == MarkKind::Settled {
            let Mark { publisher, from, up_to, .. } = mark;
            self.gaps.settled(mark.event_token.fingerprint(), publisher, (from, up_to));
            self.gaps_changed(now);
        }
        if self.marks.len() >= MOST_MARKS {
            self.marks.drain(..MOST_MARKS / 4);
        }
        self.marks_since.get_or_insert(now);
        self.marks.push(mark);
    }

    /// These lines, or this end, continue from memory alone.
    pub(crate) fn unstored(&mut self, publisher: Publisher, from: Number, up_to: Number) {
        let ranges = self.unstored.entry(publisher).or_default();
        let first = ranges.partition_point(|(_, last)| last.saturating_add(1) < from);
        let meets = |(first, _): &(Number, Number)| *first <= up_to.saturating_add(1);
        let end = first + ranges[first..].partition_point(meets);
        let Some(touched) = ranges.get(first..end).filter(|touched| !touched.is_empty()) else {
            if ranges.len() < MOST_RANGES {
                return ranges.insert(first, (from, up_to));
            }
            // If there are very many ranges, the numbers between them count as not stored, too.
            match ranges.get_mut(first) {
                Some(next) => next.0 = from,
                None => {
                    if let Some(last) = ranges.last_mut() {
                        last.1 = up_to;
                    }
                }
            }
            return;
        };
        let from = from.min(touched[0].0);
        let up_to = up_to.max(touched[touched.len() - 1].1);
        ranges.drain(first + 1..end);
        ranges[first] = (from, up_to);
    }

    /// Whether all of these lines are stored.
    pub(crate) fn has_stored(&self, publisher: Publisher, from: Number, up_to: Number) -> bool {
        let missing = self.unstored.get(&publisher).is_some_and(|ranges| {
            let behind = ranges.partition_point(|(_, last)| *last < from);
            ranges.get(behind).is_some_and(|(first, _)| *first <= up_to)
        });
        if missing || publisher != self.publisher {
            return !missing;
        }
        let waiting = self.chunks.iter().filter_map(|chunk| first_no(&chunk.content));
        let waiting = waiting.chain(self.out.iter().map(|out| out.first)).min();
        waiting.is_none_or(|first| up_to < first)
    }

    /// Whether enough is gathered to be handed over.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES
    }

    /// When the next batch is due; with `marks`, marks count, too. A line was in the queue for up to an eighth of the
    /// bound before. If the disk is slower than that, lines go on gathering until it has answered.
    pub(crate) fn due_at(&self, marks: bool) -> Option<Instant> {
        let waits = self.out.len() >= MOST_OUT;
        let since = self.since.filter(|_| !waits || self.is_full()).map(|since| {
            let gathers = if self.is_full() { Duration::ZERO } else { self.bound / 8 };
            since + gathers
        });
        let gaps_at = self.gaps_at.filter(|_| !waits);
        let marks_since = self.marks_since.filter(|_| marks);
        let marks_at = marks_since.map(|since| since + self.bound / 4);
        since.into_iter().chain(gaps_at).chain(marks_at).min()
    }

    /// The gathered chunks, as a batch for the journal. `seq`: the number of the last line or end, after which notices
    /// are numbered. `None`: no notices now.
    pub(crate) fn batch(&mut self, seq: Option<&mut Number>, now: Instant) -> Option<Batch> {
        if let Some(seq) = seq.filter(|_| self.gaps.has_unsaved()) {
            let (chunks, marks) = self.gaps.save(self.publisher, seq);
            for chunk in chunks {
                self.grow(0, now);
                self.push(&chunk.portal, &chunk.event_token, chunk.content, Note::default());
            }
            for mark in marks {
                self.mark(mark, now);
            }
        }
        self.since = None;
        self.gaps_at = self.gaps.has_unsaved().then(|| now + STORE_AGAIN);
        if self.chunks.is_empty() {
            return None;
        }
        self.batches += 1;
        self.last.clear();
        let bytes = std::mem::take(&mut self.bytes);
        self.out_bytes += bytes;
        let notes = std::mem::take(&mut self.notes);
        let first = self.chunks.iter().filter_map(|chunk| first_no(&chunk.content)).min();
        let first = first.unwrap_or(0);
        self.out.push_back(Out { no: self.batches, first, notes, bytes });
        let chunks = std::mem::take(&mut self.chunks);
        Some(Batch { publisher: self.publisher, no: self.batches, chunks })
    }

    /// Whether a request is about to leave that the journal does not know yet.
    pub(crate) fn has_tried(&self) -> bool {
        self.marks.iter().any(|mark| mark.kind == MarkKind::Tried)
    }

    /// The gathered marks.
    pub(crate) fn marks(&mut self) -> Vec<Mark> {
        self.marks_since = None;
        std::mem::take(&mut self.marks)
    }

    /// The journal has answered a batch. Returns the notes of its chunks.
    pub(crate) fn answered(&mut self, no: u64) -> Vec<Note> {
        if self.out.front().is_none_or(|out| out.no != no) {
            return Vec::new();
        }
        let Some(out) = self.out.pop_front() else { return Vec::new() };
        self.out_bytes -= out.bytes;
        out.notes
    }

    /// Whether a batch has not been answered yet.
    pub(crate) fn has_batches_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether the journal has lines of this portal that are not answered yet and in no lane.
    pub(crate) fn awaits(&self, portal: &Option<PortalId>) -> bool {
        let notes = self.out.iter().flat_map(|out| &out.notes);
        notes.filter_map(|note| note.behind.as_ref()).any(|whose| whose.portal == *portal)
    }

    /// Gathered lines of this portal that are in no lane. They go to its lane now. Per token, with their charge.
    pub(crate) fn recall(
        &mut self,
        portal: &Option<PortalId>,
    ) -> Vec<(EventToken, Vec<StoredLine>, usize)> {
        let mut recalled = Vec::new();
        for (chunk, note) in self.chunks.iter().zip(&mut self.notes) {
            let of_portal = note.behind.as_ref().is_some_and(|whose| whose.portal == *portal);
            if let (true, Content::Lines(lines)) = (of_portal, &chunk.content) {
                note.behind = None;
                recalled.push((chunk.event_token.clone(), lines.clone(), note.charged));
            }
        }
        recalled
    }

    /// Lines that are in no lane and not stored either: the run ends.
    pub(crate) fn give_up(&mut self) -> Vec<Note> {
        let out = self.out.iter_mut().flat_map(|out| std::mem::take(&mut out.notes));
        let gathered = self.notes.iter_mut().map(std::mem::take);
        out.chain(gathered).filter(|note| note.behind.is_some()).collect()
    }

    /// Whether nothing is on its way to the journal.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.out.is_empty() && !self.gaps.has_unsaved()
    }

    /// Lines that are not stored yet.
    pub(crate) fn lines(&self) -> u64 {
        let out = self.out.iter().flat_map(|out| &out.notes);
        self.notes.iter().chain(out).map(|note| note.lines).sum()
    }
}

/// The number with which a chunk begins.
fn first_no(content: &Content) -> Option<Number> {
    match content {
        Content::Lines(lines) => lines.first().map(|line| line.no),
        Content::Missed(gap) => Some(gap.no),
        Content::End(end) => Some(end.no),
        Content::Seal(seal) => Some(seal.no),
    }
}

/// About the memory of a line here in addition to its body: its share of the chunk, and the token.
const BESIDE_BODY: usize = 128;
/// When notices are stored again after the journal did not take them.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// A batch is handed over at this size. In bytes.
const BATCH_BYTES: usize = 256 << 10;
/// The number of unanswered batches from which on others wait.
const MOST_OUT: usize = 2;
/// The largest number of waiting marks.
const MOST_MARKS: usize = 65_536;
/// The largest number of separate ranges of unstored lines.
const MOST_RANGES: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_not_stored_are_known_in_whatever_order_they_were_told() {
        let (own, other) = (Publisher(1), Publisher(2));
        let mut outbox = Outbox::new(own, Duration::from_millis(100), 1 << 20);
        for (from, up_to) in [(50, 60), (10, 20), (30, 30), (5, 9), (25, 40), (61, 61)] {
            outbox.unstored(own, from, up_to);
        }
        assert_eq!(outbox.unstored[&own], [(5, 20), (25, 40), (50, 61)]);
        for (from, up_to) in [(1, 5), (20, 24), (22, 25), (33, 34), (1, 100), (61, 70)] {
            assert!(!outbox.has_stored(own, from, up_to), "{from}..={up_to}");
            assert!(outbox.has_stored(other, from, up_to));
        }
        for (from, up_to) in [(1, 4), (21, 24), (41, 49), (62, 70)] {
            assert!(outbox.has_stored(own, from, up_to), "{from}..={up_to}");
        }
        outbox.unstored(other, 3, 3);
        assert!(!outbox.has_stored(other, 1, 3));
    }

    /// Each batch is synced. A disk that takes longer for that than lines gather gets fewer and larger ones.
    #[test]
    fn a_slow_disk_gets_fewer_and_larger_batches() {
        let now = Instant::now();
        let mut outbox = Outbox::new(Publisher(1), Duration::from_millis(80), 1 << 20);
        let event_token = EventToken::parse("5e.1|A|1.ff").unwrap();
        let mut no = 0;
        let mut gather = |outbox: &mut Outbox, bytes| {
            no += 1;
            let (at, level) = (std::time::UNIX_EPOCH, tracing_core::Level::INFO);
            let line = StoredLine { no, at, level, body: "x".repeat(bytes), cut: 0, tried: false };
            let fingerprint = event_token.fingerprint();
            let (portal, event_token, behind) = (&None, &event_token, false);
            let store = ToStore { portal, event_token, fingerprint, line, behind, charged: 1 };
            outbox.line(store, now);
        };
        for _ in 0..MOST_OUT {
            gather(&mut outbox, 10);
            assert_eq!(outbox.due_at(true), Some(now + Duration::from_millis(10)));
            outbox.batch(None, now).unwrap();
        }
        for _ in 0..10 {
            gather(&mut outbox, 10);
            assert_eq!(outbox.due_at(true), None);
        }
        outbox.answered(1);
        assert_eq!(outbox.due_at(true), Some(now + Duration::from_millis(10)));
        let batch = outbox.batch(None, now).unwrap();
        assert!(
            matches!(&batch.chunks[..], [Chunk { content: Content::Lines(lines), .. }] if lines.len() == 10)
        );
        gather(&mut outbox, BATCH_BYTES);
        assert_eq!(outbox.due_at(true), Some(now), "what is full does not wait");
    }

    #[test]
    fn lines_before_and_after_a_flush_are_in_chunks_of_their_own() {
        let now = Instant::now();
        let mut outbox = Outbox::new(Publisher(1), Duration::from_millis(100), 1 << 20);
        let event_token = EventToken::parse("5e.1|A|1.ff").unwrap();
        let fingerprint = event_token.fingerprint();
        for (no, cut) in [(1, None), (2, Some(Some(fingerprint))), (3, Some(None)), (4, None)] {
            if let Some(of) = cut {
                outbox.cut(of);
            }
            let line = StoredLine {
                no,
                at: std::time::UNIX_EPOCH,
                level: tracing_core::Level::INFO,
                body: "x".to_owned(),
                cut: 0,
                tried: false,
            };
            let (portal, event_token) = (&None, &event_token);
            let behind = true;
            let store = ToStore { portal, event_token, fingerprint, line, behind, charged: 1 };
            outbox.line(store, now);
        }
        let chunks = outbox.batch(None, now).unwrap().chunks;
        let first: Vec<_> = chunks.iter().filter_map(|chunk| first_no(&chunk.content)).collect();
        assert_eq!(first, [1, 2, 3]);
    }

    #[test]
    fn very_many_ranges_that_are_not_stored_are_taken_together() {
        let own = Publisher(1);
        let mut outbox = Outbox::new(own, Duration::from_millis(100), 1 << 20);
        for n in 1..=2 * MOST_RANGES as u64 {
            outbox.unstored(own, n * 10, n * 10);
        }
        outbox.unstored(own, 1, 2);
        let ranges = &outbox.unstored[&own];
        assert_eq!(ranges.len(), MOST_RANGES);
        assert_eq!((ranges[0].0, ranges[MOST_RANGES - 1].1), (1, 20 * MOST_RANGES as u64));
        assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}
