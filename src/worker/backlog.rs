//! The backlog of a process that publishes: lines, gaps, seals and ends that are accepted and not yet appended to
//! its journal. They are in order, and gathered into chunks. The journal has at most one batch at a time. Does no
//! I/O.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::journal::{
    About, Batch, Chunk, Content, Number, Publisher, StoredEnd, StoredGap, StoredLine, StoredSeal,
};
use crate::line::{EventToken, PortalId};

/// See the module.
#[derive(Debug)]
pub(crate) struct Backlog {
    publisher: Publisher,
    waiting: VecDeque<Waiting>,
    /// How many chunks have left the front of `waiting` so far.
    left: u64,
    /// Where the last chunk of each token is, counted from the first chunk ever.
    last: HashMap<EventToken, u64>,
    /// The same for a gap before all lines of its token, where lines were given up.
    first_gap: HashMap<EventToken, u64>,
    /// How many gaps are waiting, and how many places in `waiting` are empty.
    gaps: usize,
    empty: usize,
    bytes: usize,
    /// The batch that the journal has.
    out: Option<Out>,
    batches: u64,
    /// Waiting lines, without those of `out`.
    lines: u64,
    /// Waiting chunks are handed over without waiting for more.
    urgent: bool,
}

/// The token of a chunk, and how another process writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Of<'a> {
    pub(crate) portal: &'a Option<PortalId>,
    pub(crate) event_token: &'a EventToken,
    pub(crate) about: &'a Arc<About>,
}

#[derive(Debug)]
struct Waiting {
    /// `None`: the chunk was taken out of its place.
    chunk: Option<Chunk>,
    since: Instant,
    bytes: usize,
    charged: usize,
}

#[derive(Debug)]
struct Out {
    no: u64,
    since: Instant,
    notes: Vec<Note>,
}

/// A chunk that has left, as far as the worker is concerned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    pub(crate) portal: Option<PortalId>,
    pub(crate) event_token: EventToken,
    pub(crate) what: What,
    /// The last number in it.
    pub(crate) up_to: Number,
}

/// The contents of a chunk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// Lines, and their charge to the budget.
    Lines {
        lines: u64,
        charged: usize,
        first: StoredTime,
    },
    /// A gap, or a seal.
    Sign,
    End,
}

/// When the first line of a chunk was logged.
pub(crate) type StoredTime = std::time::SystemTime;

impl Backlog {
    pub(crate) fn new(publisher: Publisher) -> Self {
        Backlog {
            publisher,
            waiting: VecDeque::new(),
            left: 0,
            last: HashMap::new(),
            first_gap: HashMap::new(),
            gaps: 0,
            empty: 0,
            bytes: 0,
            out: None,
            batches: 0,
            lines: 0,
            urgent: false,
        }
    }

    /// Adds a line. `charged`: its charge to the budget.
    pub(crate) fn line(&mut self, of: Of<'_>, line: StoredLine, charged: usize, now: Instant) {
        let bytes = line.body.len() + BESIDE_BODY;
        self.lines += 1;
        self.bytes += bytes;
        if let Some(waiting) = self.last_of(of.event_token) {
            let young = now.saturating_duration_since(waiting.since) < CHUNK_SPAN;
            let fits = waiting.bytes + bytes <= CHUNK_BYTES;
            if let (true, Some(chunk)) = (young && fits, &mut waiting.chunk) {
                let same = chunk.portal == *of.portal
                    && chunk.about.as_ref().is_some_and(|about| Arc::ptr_eq(about, of.about));
                if let (true, Content::Lines(lines)) = (same, &mut chunk.content) {
                    lines.push(line);
                    waiting.bytes += bytes;
                    waiting.charged += charged;
                    return;
                }
            }
        }
        self.push(of, Content::Lines(vec![line]), (bytes, charged), now);
    }

    /// Lines of this token are missing here. Gaps are told unless there are very many of them.
    pub(crate) fn gap(&mut self, of: Of<'_>, gap: StoredGap, now: Instant) {
        let last = self.last_of(of.event_token).and_then(|waiting| waiting.chunk.as_mut());
        if let Some(Chunk { content: Content::Missed(before), .. }) = last {
            if before.reason == gap.reason {
                before.lines += gap.lines;
                before.since = before.since.min(gap.since);
                return;
            }
        }
        if self.gaps >= MOST_GAPS {
            return;
        }
        self.gaps += 1;
        self.bytes += BESIDE_BODY;
        self.push(of, Content::Missed(gap), (BESIDE_BODY, 0), now);
    }

    /// The lines of this token so far are to be sent soon.
    pub(crate) fn seal(&mut self, of: Of<'_>, seal: StoredSeal, now: Instant) {
        self.bytes += BESIDE_BODY;
        self.push(of, Content::Seal(seal), (BESIDE_BODY, 0), now);
    }

    pub(crate) fn end(&mut self, of: Of<'_>, end: StoredEnd, now: Instant) {
        let bytes = BESIDE_BODY + end.values.len() + end.message.as_ref().map_or(0, String::len);
        self.bytes += bytes;
        self.push(of, Content::End(end), (bytes, 0), now);
    }

    fn last_of(&mut self, event_token: &EventToken) -> Option<&mut Waiting> {
        let place = self.last.get(event_token)?.checked_sub(self.left)?;
        self.waiting.get_mut(usize::try_from(place).ok()?)
    }

    fn push(
        &mut self,
        of: Of<'_>,
        content: Content,
        (bytes, charged): (usize, usize),
        now: Instant,
    ) {
        let Of { portal, event_token, about } = of;
        self.last.insert(event_token.clone(), self.left + self.waiting.len() as u64);
        let chunk = Chunk {
            portal: portal.clone(),
            event_token: event_token.clone(),
            content,
            about: Some(about.clone()),
        };
        self.waiting.push_back(Waiting { chunk: Some(chunk), since: now, bytes, charged });
    }

    /// Waiting chunks are handed over as soon as the journal has answered the batch before them. A flush waits for
    /// these chunks, and not for later lines. So later lines go into new chunks.
    pub(crate) fn hurry(&mut self) {
        self.urgent = true;
        self.last.clear();
    }

    /// Whether there is a batch to hand over, or enough for one.
    pub(crate) fn is_full(&self) -> bool {
        self.out.is_none() && (self.bytes >= BATCH_BYTES || self.waiting.len() >= BATCH_CHUNKS)
    }

    /// When the next batch is to be handed over. `None`: not before the journal has answered, or something
    /// arrives.
    pub(crate) fn due_at(&self, gather: Duration) -> Option<Instant> {
        let oldest = self.waiting.front().filter(|_| self.out.is_none())?;
        let at_once = self.urgent || self.is_full();
        Some(if at_once { oldest.since } else { oldest.since + gather })
    }

    /// The next batch, if the journal has none.
    pub(crate) fn batch(&mut self) -> Option<Batch> {
        if self.out.is_some() {
            return None;
        }
        let (mut chunks, mut notes, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut since = None;
        while chunks.len() < BATCH_CHUNKS {
            let fits = |next: &Waiting| chunks.is_empty() || bytes + next.bytes <= BATCH_BYTES;
            if !self.waiting.front().is_some_and(fits) {
                break;
            }
            let Some(Waiting { chunk, since: at, bytes: more, charged }) = self.pop() else {
                break;
            };
            let Some(chunk) = chunk else { continue };
            bytes += more;
            since.get_or_insert(at);
            notes.push(note(&chunk, charged));
            chunks.push(chunk);
        }
        if self.waiting.is_empty() {
            self.urgent = false;
        }
        let since = since?;
        self.batches += 1;
        let no = self.batches;
        self.out = Some(Out { no, since, notes });
        Some(Batch { publisher: self.publisher, no, chunks })
    }

    /// Removes and returns the oldest chunk.
    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.left += 1;
        match &waiting.chunk {
            Some(chunk) => self.gone(chunk, waiting.bytes),
            None => self.empty -= 1,
        }
        let left = self.left;
        for places in [&mut self.last, &mut self.first_gap] {
            if self.waiting.is_empty() {
                places.clear();
            } else if places.len() > 2 * self.waiting.len() + SPARE_PLACES {
                places.retain(|_, place| *place >= left);
            }
        }
        Some(waiting)
    }

    fn gone(&mut self, chunk: &Chunk, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        match &chunk.content {
            Content::Lines(lines) => self.lines -= lines.len() as u64,
            Content::Missed(_) => self.gaps -= 1,
            Content::End(_) | Content::Seal(_) => {}
        }
    }

    /// Removes empty places, if there are many.
    fn close_up(&mut self) {
        if self.empty < SPARE_PLACES || self.empty < self.waiting.len() / 2 {
            return;
        }
        self.waiting.retain(|waiting| waiting.chunk.is_some());
        self.empty = 0;
        // Those before the last `hurry` stay as they are.
        let growing: HashSet<EventToken> = self.last.drain().map(|(token, _)| token).collect();
        self.first_gap.clear();
        let mut with_lines = HashSet::new();
        for (place, waiting) in (self.left..).zip(&self.waiting) {
            let Some(Chunk { event_token, content, .. }) = &waiting.chunk else { continue };
            if growing.contains(event_token) {
                self.last.insert(event_token.clone(), place);
            }
            match content {
                Content::Lines(_) => drop(with_lines.insert(event_token)),
                Content::Missed(_) if !with_lines.contains(event_token) => {
                    self.first_gap.insert(event_token.clone(), place);
                }
                _ => {}
            }
        }
    }

    /// The journal has stored this batch. Returns its contents.
    pub(crate) fn appended(&mut self, no: u64) -> Vec<Note> {
        let out = self.out.take_if(|out| out.no == no);
        out.map(|out| out.notes).unwrap_or_default()
    }

    /// Gives up the batch that the journal has not answered, if it is older than this time. It may be stored
    /// nevertheless.
    pub(crate) fn give_up_out(&mut self, before: Option<Instant>) -> Vec<Note> {
        let old = |out: &mut Out| before.is_none_or(|before| out.since <= before);
        self.out.take_if(old).map(|out| out.notes).unwrap_or_default()
    }

    /// Removes the oldest chunk, if it is older than this time.
    pub(crate) fn pop_older(&mut self, before: Instant) -> Option<Note> {
        loop {
            let front = self.waiting.front()?;
            if front.chunk.is_some() && front.since > before {
                return None;
            }
            let Waiting { chunk, charged, .. } = self.pop()?;
            if let Some(chunk) = chunk {
                return Some(note(&chunk, charged));
            }
        }
    }

    /// Removes the oldest waiting chunk of lines: of this token, if it is given and has one. A gap replaces the
    /// chunk.
    pub(crate) fn evict(
        &mut self,
        of: Option<&EventToken>,
        reason: crate::stats::DropReason,
    ) -> Option<Note> {
        let is_lines = |waiting: &Waiting| {
            let chunk = waiting.chunk.as_ref();
            chunk.is_some_and(|chunk| matches!(chunk.content, Content::Lines(_)))
        };
        let is_own = |waiting: &Waiting| {
            let chunk = waiting.chunk.as_ref();
            is_lines(waiting) && chunk.is_some_and(|chunk| Some(&chunk.event_token) == of)
        };
        let place = match of.and_then(|_| self.waiting.iter().position(is_own)) {
            Some(place) => place,
            None => self.waiting.iter().position(is_lines)?,
        };
        let Waiting { chunk, bytes, charged, since } = &mut self.waiting[place];
        let (bytes, charged, since) = (*bytes, *charged, *since);
        let chunk = chunk.take()?;
        self.gone(&chunk, bytes);
        let note = note(&chunk, charged);
        if let What::Lines { lines, first, .. } = note.what {
            let gap = StoredGap { no: note.up_to, lines, since: first, reason };
            self.leave_gap(place, Chunk { content: Content::Missed(gap), ..chunk }, since);
        }
        self.close_up();
        Some(note)
    }

    /// The oldest lines of a token were given up at this place. If others were given up before, one gap tells
    /// both.
    fn leave_gap(&mut self, place: usize, gap: Chunk, since: Instant) {
        let before = self.first_gap.get(&gap.event_token).and_then(|at| at.checked_sub(self.left));
        let before = before.and_then(|at| self.waiting.get_mut(usize::try_from(at).ok()?));
        let before = before.and_then(|waiting| waiting.chunk.as_mut());
        if let (
            Some(Chunk { event_token, content: Content::Missed(before), .. }),
            Content::Missed(more),
        ) = (before, &gap.content)
        {
            if *event_token == gap.event_token && before.reason == more.reason {
                before.lines += more.lines;
                self.empty += 1;
                return;
            }
        }
        if self.gaps >= MOST_GAPS {
            self.empty += 1;
            return;
        }
        self.gaps += 1;
        self.bytes += BESIDE_BODY;
        self.first_gap.insert(gap.event_token.clone(), self.left + place as u64);
        self.waiting[place] = Waiting { chunk: Some(gap), since, bytes: BESIDE_BODY, charged: 0 };
    }

    /// Removes the waiting chunks for which this is true.
    pub(crate) fn withdraw(&mut self, which: impl Fn(&Chunk) -> bool) -> Vec<Note> {
        let mut notes = Vec::new();
        for n in 0..self.waiting.len() {
            let Some(chunk) = self.waiting[n].chunk.take_if(|chunk| which(chunk)) else { continue };
            notes.push(note(&chunk, self.waiting[n].charged));
            let bytes = self.waiting[n].bytes;
            self.gone(&chunk, bytes);
            self.empty += 1;
        }
        self.close_up();
        notes
    }

    /// Lines that the journal does not have yet.
    pub(crate) fn lines(&self) -> u64 {
        let out = self.out.iter().flat_map(|out| &out.notes);
        let out = out.map(|note| match note.what {
            What::Lines { lines, .. } => lines,
            _ => 0,
        });
        self.lines + out.sum::<u64>()
    }

    /// Whether nothing waits, and the journal has answered for everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.out.is_none()
    }

    /// Since when the oldest chunk has waited.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let out = self.out.as_ref().map(|out| out.since);
        out.or_else(|| self.waiting.front().map(|waiting| waiting.since))
    }
}

fn note(chunk: &Chunk, charged: usize) -> Note {
    let (what, up_to) = match &chunk.content {
        Content::Lines(lines) => {
            let first = lines.first().map_or(std::time::SystemTime::UNIX_EPOCH, |line| line.at);
            let up_to = lines.last().map_or(0, |line| line.no);
            (What::Lines { lines: lines.len() as u64, charged, first }, up_to)
        }
        Content::Missed(gap) => (What::Sign, gap.no),
        Content::Seal(seal) => (What::Sign, seal.no),
        Content::End(end) => (What::End, end.no),
    };
    let Chunk { portal, event_token, .. } = chunk;
    Note { portal: portal.clone(), event_token: event_token.clone(), what, up_to }
}

/// About the memory of a line in addition to its body.
pub(crate) const BESIDE_BODY: usize = 128;
/// A batch has about this size at most. In bytes.
const BATCH_BYTES: usize = 256 << 10;
/// The largest number of chunks in a batch.
const BATCH_CHUNKS: usize = 1_000;
/// The largest size of a chunk, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// The longest time between the first and the last line of a chunk. So the age of a chunk is about that of its lines.
const CHUNK_SPAN: Duration = Duration::from_secs(1);
/// The largest number of waiting gaps. Lines of further gaps are counted, and not mentioned in their logs.
const MOST_GAPS: usize = 10_000;
/// How many tokens or empty places are remembered beyond those that have something waiting, before they are looked through.
const SPARE_PLACES: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;
    use tracing_core::Level;

    use super::*;
    use crate::stats::DropReason;

    /// A token's items in the backlog, in order: the number of a line, or how many lines are missing.
    #[derive(Clone, Debug, PartialEq)]
    enum Piece {
        Line(u64),
        Missing(u64),
    }

    fn line(no: u64) -> StoredLine {
        let (at, body) = (SystemTime::UNIX_EPOCH, "x".repeat(no as usize % 300));
        StoredLine { no, at, level: Level::INFO, body, cut: 0, tried: false }
    }

    fn pieces(chunks: &[Chunk], event_token: &EventToken) -> Vec<Piece> {
        let of_token = chunks.iter().filter(|chunk| chunk.event_token == *event_token);
        let mut pieces = Vec::new();
        for chunk in of_token {
            match &chunk.content {
                Content::Lines(lines) => {
                    pieces.extend(lines.iter().map(|line| Piece::Line(line.no)))
                }
                Content::Missed(gap) => pieces.push(Piece::Missing(gap.lines)),
                Content::End(_) | Content::Seal(_) => {}
            }
        }
        pieces
    }

    proptest! {
        /// In all cases, each line is handed over, or missing at its place, or reported as lost.
        #[test]
        fn nothing_is_lost_without_a_note_and_the_order_is_kept(
            steps in prop::collection::vec((0..12_u8, 0..4_usize), 1..400),
        ) {
            #[expect(clippy::disallowed_methods, reason = "any instant will do to start from")]
            let start = Instant::now();
            let tokens: Vec<EventToken> =
                (0..4).map(|n| EventToken::parse(&format!("5e.{n}|A|1.ff")).unwrap()).collect();
            let about = Arc::new(About::default());
            let mut backlog = Backlog::new(Publisher(1));
            let (mut no, mut now, mut handed, mut noted) = (0, start, Vec::new(), 0);
            for (step, token) in steps {
                let of = Of { portal: &None, event_token: &tokens[token], about: &about };
                match step {
                    0..=5 => {
                        no += 1;
                        backlog.line(of, line(no), 100, now);
                    }
                    6 => backlog.seal(of, StoredSeal { no: 0, at: SystemTime::UNIX_EPOCH }, now),
                    7 => now += Duration::from_millis(700),
                    8 | 9 => {
                        let own = (step == 8).then_some(&tokens[token]);
                        if let Some(note) = backlog.evict(own, DropReason::Evicted) {
                            let What::Lines { lines, charged, .. } = note.what else {
                                panic!("only lines are given up")
                            };
                            prop_assert_eq!(charged as u64, lines * 100);
                            noted += lines;
                        }
                    }
                    10 => handed.extend(backlog.batch().map(|batch| batch.chunks).unwrap_or_default()),
                    _ => {
                        let no = backlog.batches;
                        backlog.appended(no);
                    }
                }
            }
            loop {
                let last = backlog.batches;
                backlog.appended(last);
                let Some(batch) = backlog.batch() else { break };
                handed.extend(batch.chunks);
            }
            prop_assert!(backlog.is_empty());
            prop_assert_eq!((backlog.lines, backlog.bytes, backlog.gaps, backlog.empty), (0, 0, 0, 0));
            let (mut lines, mut missing) = (0, 0);
            for event_token in &tokens {
                let mut last = 0;
                for piece in pieces(&handed, event_token) {
                    match piece {
                        Piece::Line(no) => {
                            prop_assert!(no > last, "{} after {}", no, last);
                            last = no;
                            lines += 1;
                        }
                        Piece::Missing(n) => missing += n,
                    }
                }
            }
            prop_assert_eq!((lines + missing, missing), (no, noted));
        }
    }

    /// Regression: lines that came after a flush joined a chunk of before it, so the flush waited for them, too.
    #[test]
    fn lines_after_a_flush_have_chunks_of_their_own_when_places_were_closed_up() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to start from")]
        let now = Instant::now();
        let token = |n| EventToken::parse(&format!("5e.{n}|A|1.ff")).unwrap();
        let (about, gone) = (Arc::new(About::default()), Some(PortalId::from("gone")));
        let mut backlog = Backlog::new(Publisher(1));
        let last = SPARE_PLACES as u64 + 1;
        for n in 1..=last {
            let portal = if n < last { &gone } else { &None };
            let of = Of { portal, event_token: &token(n), about: &about };
            backlog.line(of, line(n), 100, now);
        }
        backlog.hurry();
        assert_eq!(backlog.withdraw(|chunk| chunk.portal == gone).len(), SPARE_PLACES);
        assert_eq!(backlog.waiting.len(), 1, "the places are closed up");
        for n in 1..=2 {
            let of = Of { portal: &None, event_token: &token(last), about: &about };
            backlog.line(of, line(last + n), 100, now);
        }
        let lines = |chunk: &Chunk| match &chunk.content {
            Content::Lines(lines) => lines.len(),
            _ => 0,
        };
        let batch = backlog.batch().unwrap();
        assert_eq!(batch.chunks.iter().map(lines).collect::<Vec<_>>(), [1, 2]);
    }

    /// Regression: each chunk that made room left a gap, so a long outage used memory without end.
    #[test]
    fn gaps_and_empty_places_of_a_long_outage_are_bounded() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to start from")]
        let start = Instant::now();
        let about = Arc::new(About::default());
        let mut backlog = Backlog::new(Publisher(1));
        let tokens: Vec<EventToken> =
            (0..50).map(|n| EventToken::parse(&format!("5e.{n}|A|1.ff")).unwrap()).collect();
        for second in 0..2_000 {
            let now = start + Duration::from_secs(second);
            for (n, event_token) in tokens.iter().enumerate() {
                let of = Of { portal: &None, event_token, about: &about };
                backlog.line(of, line(second * 50 + n as u64 + 1), 100, now);
                if backlog.lines > 500 {
                    backlog.evict(None, DropReason::Evicted);
                }
            }
        }
        assert!(backlog.waiting.len() < 2_500, "{} places", backlog.waiting.len());
        assert!(backlog.gaps <= 2 * tokens.len(), "{} gaps", backlog.gaps);
        let mut missing = 0;
        while let Some(batch) = backlog.batch() {
            for event_token in &tokens {
                let pieces = pieces(&batch.chunks, event_token);
                missing += pieces
                    .iter()
                    .map(|piece| if let Piece::Missing(n) = piece { *n } else { 0 })
                    .sum::<u64>();
            }
            let no = batch.no;
            backlog.appended(no);
        }
        assert_eq!(missing, 100_000 - 500);
    }
}
