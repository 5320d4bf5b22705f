//! The backlog of a process that publishes: lines, gaps, seals and ends that are accepted and not yet appended to
//! its journal. They are in order, and gathered into chunks. The journal has at most one batch at a time. Does no
//! I/O.

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::row::{Row, Waiting};
use crate::journal::{
    About, Batch, Chunk, Content, Number, Publisher, StoredEnd, StoredGap, StoredLine, StoredSeal,
};
use crate::line::{EventToken, PortalId};
use crate::stats::DropReason;

mod row;

/// See the module.
#[derive(Debug)]
pub(crate) struct Backlog {
    publisher: Publisher,
    waiting: Row,
    /// The batch that the journal has.
    out: Option<Out>,
    batches: u64,
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
    Gap(StoredGap),
    Seal,
    End,
}

impl Note {
    fn new(chunk: &Chunk, charged: usize) -> Self {
        let (what, up_to) = match &chunk.content {
            Content::Lines(lines) => {
                let first = lines.first().map_or(std::time::SystemTime::UNIX_EPOCH, |line| line.at);
                let up_to = lines.last().map_or(0, |line| line.no);
                (What::Lines { lines: lines.len() as u64, charged, first }, up_to)
            }
            Content::Missed(gap) => (What::Gap(*gap), gap.no),
            Content::Seal(seal) => (What::Seal, seal.no),
            Content::End(end) => (What::End, end.no),
        };
        let Chunk { portal, event_token, .. } = chunk;
        Note { portal: portal.clone(), event_token: event_token.clone(), what, up_to }
    }
}

/// When the first line of a chunk was logged.
pub(crate) type StoredTime = std::time::SystemTime;

impl Backlog {
    pub(crate) fn new(publisher: Publisher) -> Self {
        Backlog { publisher, waiting: Row::default(), out: None, batches: 0, urgent: false }
    }

    /// Adds a line. `charged`: its charge to the budget.
    pub(crate) fn line(&mut self, of: Of<'_>, line: StoredLine, charged: usize, now: Instant) {
        self.waiting.line(of, line, charged, now);
    }

    /// Lines in gaps that are not told, because there were too many gaps. Since the last call.
    pub(crate) fn untold(&mut self) -> u64 {
        self.waiting.untold()
    }

    /// Lines of this token are missing here. Gaps are told unless there are very many of them.
    pub(crate) fn gap(&mut self, of: Of<'_>, gap: StoredGap, now: Instant) {
        self.waiting.gap(of, gap, now);
    }

    /// The lines of this token so far are to be sent soon.
    pub(crate) fn seal(&mut self, of: Of<'_>, seal: StoredSeal, now: Instant) {
        self.waiting.seal(of, seal, now);
    }

    pub(crate) fn end(&mut self, of: Of<'_>, end: StoredEnd, now: Instant) {
        self.waiting.end(of, end, now);
    }

    /// Waiting chunks are handed over as soon as the journal has answered the batch before them. A flush waits for
    /// these chunks, and not for later lines. So later lines go into new chunks.
    pub(crate) fn hurry(&mut self) {
        self.urgent = true;
        self.waiting.part();
    }

    /// Whether there is a batch to hand over, or enough for one.
    pub(crate) fn is_full(&self) -> bool {
        self.out.is_none()
            && (self.waiting.bytes() >= BATCH_BYTES || self.waiting.len() >= BATCH_CHUNKS)
    }

    /// When the next batch is to be handed over. `None`: not before the journal has answered, or something
    /// arrives.
    pub(crate) fn due_at(&self, gather: Duration) -> Option<Instant> {
        let oldest = self.waiting.oldest().filter(|_| self.out.is_none())?;
        let at_once = self.urgent || self.is_full();
        Some(if at_once { oldest } else { oldest + gather })
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
            let Some(next) = self.waiting.pop_if(fits) else { break };
            let Waiting { chunk, since: at, bytes: more, charged } = next;
            let Some(chunk) = chunk else { continue };
            bytes += more;
            since.get_or_insert(at);
            notes.push(Note::new(&chunk, charged));
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
        self.waiting.pop_older(before)
    }

    /// Removes the oldest waiting chunk of lines: of this token, if it is given and has one. A gap replaces the
    /// chunk.
    pub(crate) fn evict(&mut self, of: Option<&EventToken>, reason: DropReason) -> Option<Note> {
        self.waiting.evict(of, reason)
    }

    /// Removes the waiting chunks for which this is true.
    pub(crate) fn withdraw(&mut self, which: impl Fn(&Chunk) -> bool) -> Vec<Note> {
        self.waiting.withdraw(which)
    }

    /// Lines that the journal does not have yet.
    pub(crate) fn lines(&self) -> u64 {
        let out = self.out.iter().flat_map(|out| &out.notes);
        let out = out.map(|note| match note.what {
            What::Lines { lines, .. } => lines,
            _ => 0,
        });
        self.waiting.lines() + out.sum::<u64>()
    }

    /// Whether nothing waits, and the journal has answered for everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.out.is_none()
    }

    /// Since when the oldest chunk has waited.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let out = self.out.as_ref().map(|out| out.since);
        out.or_else(|| self.waiting.oldest())
    }
}

/// About the memory of a line in addition to its body.
pub(crate) const BESIDE_BODY: usize = 128;
/// A batch has about this size at most. In bytes.
const BATCH_BYTES: usize = 256 << 10;
/// The largest number of chunks in a batch.
const BATCH_CHUNKS: usize = 1_000;
#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;
    use tracing_core::Level;

    use super::row::SPARE_PLACES;
    use super::*;

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
            prop_assert!(backlog.waiting.has_counted_all());
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
                if backlog.waiting.lines() > 500 {
                    backlog.evict(None, DropReason::Evicted);
                }
            }
        }
        assert!(backlog.waiting.len() < 2_500, "{} places", backlog.waiting.len());
        assert!(backlog.waiting.gaps() <= 2 * tokens.len(), "{} gaps", backlog.waiting.gaps());
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
