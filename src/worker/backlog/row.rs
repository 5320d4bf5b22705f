//! The chunks that wait in the backlog, in order. Lines join the last chunk of their token. A chunk that is taken out of
//! the middle leaves an empty place, or a gap.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{BESIDE_BODY, Note, Of, What};
use crate::journal::{Chunk, Content, StoredEnd, StoredGap, StoredLine, StoredSeal};
use crate::line::EventToken;
use crate::stats::DropReason;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Row {
    chunks: VecDeque<Waiting>,
    /// How many chunks have left the front of `chunks` so far.
    left: u64,
    /// Where the last chunk of each token is, counted from the first chunk ever.
    last: HashMap<EventToken, u64>,
    /// The same for a gap before all lines of its token, where lines were given up.
    first_gap: HashMap<EventToken, u64>,
    /// How many gaps are waiting, and how many places in `chunks` are empty.
    gaps: usize,
    empty: usize,
    /// Lines in gaps for which there was no room.
    untold: u64,
    bytes: usize,
    lines: u64,
}

/// A place in the row.
#[derive(Debug)]
pub(super) struct Waiting {
    /// `None`: the chunk was taken out of its place.
    pub(super) chunk: Option<Chunk>,
    pub(super) since: Instant,
    pub(super) bytes: usize,
    pub(super) charged: usize,
}

impl Row {
    /// Adds a line. `charged`: its charge to the budget.
    pub(super) fn line(&mut self, of: Of<'_>, line: StoredLine, charged: usize, now: Instant) {
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

    pub(super) fn untold(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }

    /// Lines of this token are missing here. Gaps are told unless there are very many of them.
    pub(super) fn gap(&mut self, of: Of<'_>, gap: StoredGap, now: Instant) {
        let last = self.last_of(of.event_token).and_then(|waiting| waiting.chunk.as_mut());
        if let Some(Chunk { content: Content::Missed(before), .. }) = last {
            if before.reason == gap.reason {
                before.lines += gap.lines;
                before.since = before.since.min(gap.since);
                return;
            }
        }
        if self.gaps >= MOST_GAPS {
            self.untold += gap.lines;
            return;
        }
        self.gaps += 1;
        self.bytes += BESIDE_BODY;
        self.push(of, Content::Missed(gap), (BESIDE_BODY, 0), now);
    }

    /// The lines of this token so far are to be sent soon.
    pub(super) fn seal(&mut self, of: Of<'_>, seal: StoredSeal, now: Instant) {
        self.bytes += BESIDE_BODY;
        self.push(of, Content::Seal(seal), (BESIDE_BODY, 0), now);
    }

    pub(super) fn end(&mut self, of: Of<'_>, end: StoredEnd, now: Instant) {
        let bytes = BESIDE_BODY + end.values.len() + end.message.as_ref().map_or(0, String::len);
        self.bytes += bytes;
        self.push(of, Content::End(end), (bytes, 0), now);
    }

    fn last_of(&mut self, event_token: &EventToken) -> Option<&mut Waiting> {
        let place = self.last.get(event_token)?.checked_sub(self.left)?;
        self.chunks.get_mut(usize::try_from(place).ok()?)
    }

    fn push(
        &mut self,
        of: Of<'_>,
        content: Content,
        (bytes, charged): (usize, usize),
        now: Instant,
    ) {
        let Of { portal, event_token, about } = of;
        self.last.insert(event_token.clone(), self.left + self.chunks.len() as u64);
        let chunk = Chunk {
            portal: portal.clone(),
            event_token: event_token.clone(),
            content,
            about: Some(about.clone()),
        };
        self.chunks.push_back(Waiting { chunk: Some(chunk), since: now, bytes, charged });
    }

    /// Later lines go into new chunks.
    pub(super) fn part(&mut self) {
        self.last.clear();
    }

    /// Removes and returns the oldest place, if this is true of it.
    pub(super) fn pop_if(&mut self, which: impl FnOnce(&Waiting) -> bool) -> Option<Waiting> {
        self.chunks.front().is_some_and(which).then(|| self.pop()).flatten()
    }

    /// Removes and returns the oldest chunk.
    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.chunks.pop_front()?;
        self.left += 1;
        match &waiting.chunk {
            Some(chunk) => self.gone(chunk, waiting.bytes),
            None => self.empty -= 1,
        }
        let left = self.left;
        for places in [&mut self.last, &mut self.first_gap] {
            if self.chunks.is_empty() {
                places.clear();
            } else if places.len() > 2 * self.chunks.len() + SPARE_PLACES {
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
        if self.empty < SPARE_PLACES || self.empty < self.chunks.len() / 2 {
            return;
        }
        self.chunks.retain(|waiting| waiting.chunk.is_some());
        self.empty = 0;
        // Those before the last `hurry` stay as they are.
        let growing: HashSet<EventToken> = self.last.drain().map(|(token, _)| token).collect();
        self.first_gap.clear();
        let mut with_lines = HashSet::new();
        for (place, waiting) in (self.left..).zip(&self.chunks) {
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

    /// Removes the oldest chunk, if it is older than this time.
    pub(super) fn pop_older(&mut self, before: Instant) -> Option<Note> {
        loop {
            let front = self.chunks.front()?;
            if front.chunk.is_some() && front.since > before {
                return None;
            }
            let Waiting { chunk, charged, .. } = self.pop()?;
            if let Some(chunk) = chunk {
                return Some(Note::new(&chunk, charged));
            }
        }
    }

    /// Removes the oldest waiting chunk of lines: of this token, if it is given and has one. A gap replaces the
    /// chunk.
    pub(super) fn evict(&mut self, of: Option<&EventToken>, reason: DropReason) -> Option<Note> {
        let is_lines = |waiting: &Waiting| {
            let chunk = waiting.chunk.as_ref();
            chunk.is_some_and(|chunk| matches!(chunk.content, Content::Lines(_)))
        };
        let is_own = |waiting: &Waiting| {
            let chunk = waiting.chunk.as_ref();
            is_lines(waiting) && chunk.is_some_and(|chunk| Some(&chunk.event_token) == of)
        };
        let place = match of.and_then(|_| self.chunks.iter().position(is_own)) {
            Some(place) => place,
            None => self.chunks.iter().position(is_lines)?,
        };
        let Waiting { chunk, bytes, charged, since } = &mut self.chunks[place];
        let (bytes, charged, since) = (*bytes, *charged, *since);
        let chunk = chunk.take()?;
        self.gone(&chunk, bytes);
        let note = Note::new(&chunk, charged);
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
        let before = before.and_then(|at| self.chunks.get_mut(usize::try_from(at).ok()?));
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
            if let Content::Missed(gap) = gap.content {
                self.untold += gap.lines;
            }
            return;
        }
        self.gaps += 1;
        self.bytes += BESIDE_BODY;
        self.first_gap.insert(gap.event_token.clone(), self.left + place as u64);
        self.chunks[place] = Waiting { chunk: Some(gap), since, bytes: BESIDE_BODY, charged: 0 };
    }

    /// Removes the waiting chunks for which this is true.
    pub(super) fn withdraw(&mut self, which: impl Fn(&Chunk) -> bool) -> Vec<Note> {
        let mut notes = Vec::new();
        for n in 0..self.chunks.len() {
            let Some(chunk) = self.chunks[n].chunk.take_if(|chunk| which(chunk)) else { continue };
            notes.push(Note::new(&chunk, self.chunks[n].charged));
            let bytes = self.chunks[n].bytes;
            self.gone(&chunk, bytes);
            self.empty += 1;
        }
        self.close_up();
        notes
    }

    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.chunks.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Since when the oldest chunk has waited.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.chunks.front().map(|waiting| waiting.since)
    }

    #[cfg(test)]
    pub(super) fn gaps(&self) -> usize {
        self.gaps
    }

    /// Whether nothing is counted that is not there, once everything has left.
    #[cfg(test)]
    pub(super) fn has_counted_all(&self) -> bool {
        (self.lines, self.bytes, self.gaps, self.empty) == (0, 0, 0, 0)
    }
}

/// The largest size of a chunk, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// The longest time between the first and the last line of a chunk. So the age of a chunk is about that of its lines.
const CHUNK_SPAN: Duration = Duration::from_secs(1);
/// The largest number of waiting gaps. Lines of further gaps are counted, and not mentioned in their logs.
const MOST_GAPS: usize = 10_000;
/// How many tokens or empty places are remembered beyond those that have something waiting, before they are looked through.
pub(super) const SPARE_PLACES: usize = 1_024;
