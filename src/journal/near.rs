//! A journal on this machine, before the journal that relays read. Everything that a process publishes is stored
//! here first. So it survives a kill while the other journal cannot be reached.
//!
//! ```text
//! batch -> append here -> stored, out of memory
//!          read here -> mark as tried -> append there -> mark as settled
//! ```
//! This run also appends the data of earlier runs there. It uses a separate publisher for them, because their
//! numbers of batches are not known any more. If a run was killed while a batch was on its way, the lines of this
//! batch may be there already. So they are appended as tried.
//!
//! A disk that hangs is like one that fails: see [`aside`](super::aside). If a late call has stored a batch in spite of
//! this, the batch is marked as settled before anything is read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::aside::{Aside, Jobs};
use super::{
    About, Batch, Chunk, Content, Evicted, Journal, JournalError, Mark, MarkKind, Number, Position,
    Publisher, Query,
};
use crate::line::{EventToken, PortalId};

mod evicted;

/// See the module.
pub(super) struct Near {
    journal: Aside,
    own: Numbering,
    /// The publisher for data that earlier runs have left.
    left: Numbering,
    /// The last number of this publisher.
    left_number: Number,
    /// How another process writes lines of this app, and exceptions for single tokens.
    style: Arc<About>,
    abouts: HashMap<EventToken, Arc<About>>,
    after: Option<Position>,
    generation: u64,
    /// There may be something to read.
    has_more: bool,
    /// Something was read since the last report that nothing is left.
    is_news: bool,
    chunks: VecDeque<(Publisher, Chunk)>,
    /// Marks of settled lines that could not be stored here.
    marks: Vec<Mark>,
    next_adopt: Instant,
    /// After a failure, it is not read before this time.
    again_at: Option<Instant>,
    /// Since when it cannot be read.
    failing_since: Option<Instant>,
    /// What the journal has given up, also if it has said so too late for the call.
    evicted: Arc<Mutex<Vec<Evicted>>>,
    /// What has left since the last look at what was given up. It is not lost, also if the journal has given it up
    /// before it could be marked.
    left_since: Vec<Mark>,
}

/// The batches of one publisher, as the other journal counts them.
struct Numbering {
    publisher: Publisher,
    batches: u64,
}

/// The batch that is on its way to the other journal.
pub(super) struct Load {
    pub(super) batch: Batch,
    /// The same lines, as marks for this journal.
    marks: Vec<Mark>,
    pub(super) moved: Vec<Moved>,
}

/// A chunk that has moved to the other journal.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) portal: Option<PortalId>,
    pub(crate) event_token: EventToken,
    /// It is of this run.
    pub(crate) own: bool,
    pub(crate) lines: u64,
    pub(crate) is_end: bool,
    /// The last number in it.
    pub(crate) up_to: Number,
}

/// The next step.
pub(super) enum Next {
    Load(Load),
    /// Nothing is left here. `news`: before, something was left.
    Nothing {
        news: bool,
    },
    /// It cannot be read now.
    Failed {
        trouble: JournalError,
    },
    /// Ask again at this time.
    Wait,
}

impl Near {
    /// The journal, and the calls that its thread has to serve.
    pub(super) fn new(
        journal: Arc<dyn Journal>,
        own: Publisher,
        left: Publisher,
        style: About,
        now: Instant,
    ) -> (Self, Jobs) {
        let numbering = |publisher| Numbering { publisher, batches: 0 };
        let (journal, jobs) = Aside::new(journal);
        let near = Near {
            journal,
            own: numbering(own),
            left: numbering(left),
            left_number: 0,
            style: Arc::new(style),
            abouts: HashMap::new(),
            after: None,
            generation: 0,
            has_more: true,
            is_news: true,
            chunks: VecDeque::new(),
            marks: Vec::new(),
            next_adopt: now,
            again_at: None,
            failing_since: None,
            evicted: Arc::default(),
            left_since: Vec::new(),
        };
        (near, jobs)
    }

    /// Stores a batch of this run.
    pub(super) async fn store(
        &mut self,
        batch: &Arc<Batch>,
        now: Instant,
    ) -> Result<(), JournalError> {
        for chunk in &batch.chunks {
            let Some(about) = &chunk.about else { continue };
            // Segments of a spool do not hold it. Most tokens have the style of the app.
            if **about != *self.style {
                if self.abouts.len() >= MOST_ABOUTS {
                    self.abouts.clear();
                }
                self.abouts.insert(chunk.event_token.clone(), about.clone());
            }
        }
        self.has_more = true;
        let is_refused = self.journal.is_late();
        let stored = {
            let batch = batch.clone();
            self.journal.call(|journal| async move { journal.append(&batch).await }).await
        };
        if self.journal.is_late() {
            self.failing_since.get_or_insert(now);
        }
        if stored.is_err() && !is_refused {
            // The batch is sent from memory. If it was stored in spite of the error, it must not be read.
            let marks = batch.chunks.iter().map(|chunk| {
                let (from, up_to, _) = numbers(&chunk.content);
                let Chunk { portal, event_token, .. } = chunk;
                let (portal, event_token) = (portal.clone(), event_token.clone());
                let (publisher, kind) = (batch.publisher, MarkKind::Settled);
                Mark { publisher, portal, event_token, from, up_to, kind }
            });
            self.have_left(marks.collect());
        }
        stored.map(|_| ())
    }

    /// Whether everything that is stored here was read.
    pub(super) fn is_read(&self) -> bool {
        !self.has_more && self.chunks.is_empty()
    }

    /// The number of the next batch of this run for the other journal.
    pub(super) fn next_batch(&mut self) -> u64 {
        self.own.batches += 1;
        self.own.batches
    }

    /// When [`next`](Self::next) has something to do although nothing was stored.
    pub(super) fn wake_at(&self) -> Instant {
        match self.again_at {
            Some(at) if self.has_more => at.min(self.next_adopt),
            _ => self.next_adopt,
        }
    }

    /// What is to be appended to the other journal next.
    pub(super) async fn next(&mut self, now: Instant) -> Next {
        if now >= self.next_adopt {
            self.next_adopt = now + ADOPT_EVERY;
            match self.journal.call(|journal| async move { journal.adopt().await }).await {
                Ok(adopted) => {
                    if adopted.more {
                        self.next_adopt = now;
                        return Next::Wait;
                    }
                    self.has_more |= !adopted.held.is_empty();
                }
                Err(trouble) => {
                    // A late call may have taken something over.
                    self.has_more = true;
                    self.failed(now);
                    return Next::Failed { trouble };
                }
            }
        }
        if self.chunks.is_empty() && self.has_more && self.again_at.is_none_or(|at| at <= now) {
            if let Err(trouble) = self.read().await {
                self.failed(now);
                return Next::Failed { trouble };
            }
            (self.again_at, self.failing_since) = (None, None);
        }
        match self.load() {
            Some(load) => {
                self.is_news = true;
                // If the mark cannot be stored and the process is killed in the next moment, the lines may be
                // repeated without a mark. Waiting for a broken disk would be worse.
                let _ = self.mark_now(load.marks.clone()).await;
                Next::Load(load)
            }
            None if self.has_more => Next::Wait,
            None => Next::Nothing { news: std::mem::take(&mut self.is_news) },
        }
    }

    fn failed(&mut self, now: Instant) {
        self.again_at = Some(now + READ_AGAIN);
        self.failing_since.get_or_insert(now);
    }

    /// Since when it cannot be read.
    pub(super) fn failing_since(&self) -> Option<Instant> {
        self.failing_since
    }

    async fn read(&mut self) -> Result<(), JournalError> {
        // Otherwise settled lines would be read again.
        self.note_marks().await?;
        let (generation, after) = (self.generation, self.after);
        let call = move |journal: Arc<dyn Journal>| async move {
            let now = journal.generation();
            let after = after.filter(|_| now == generation);
            let query = Query { portal: None, after, most_bytes: READ_BYTES };
            Ok((journal.read(query).await?, now))
        };
        let (read, now) = self.journal.call(call).await?;
        self.generation = now;
        self.after = Some(read.up_to);
        self.has_more = !read.at_end;
        self.chunks.extend(read.chunks);
        Ok(())
    }

    async fn note_marks(&mut self) -> Result<(), JournalError> {
        if !self.marks.is_empty() {
            self.mark_now(self.marks.clone()).await?;
            self.marks.clear();
        }
        Ok(())
    }

    async fn mark_now(&mut self, marks: Vec<Mark>) -> Result<(), JournalError> {
        self.journal.call(|journal| async move { journal.mark(&marks).await }).await
    }

    /// Takes chunks of this run, or of others, as a batch.
    fn load(&mut self) -> Option<Load> {
        let own_publisher = self.own.publisher;
        let is_own = self.chunks.front()?.0 == own_publisher;
        let (mut chunks, mut marks, mut moved) = (Vec::new(), Vec::new(), Vec::new());
        while chunks.len() < BATCH_CHUNKS {
            let of_same = |(by, _): &(Publisher, Chunk)| (*by == own_publisher) == is_own;
            if !self.chunks.front().is_some_and(of_same) {
                break;
            }
            let Some((publisher, mut chunk)) = self.chunks.pop_front() else { break };
            let (from, up_to, lines) = numbers(&chunk.content);
            let Chunk { portal, event_token, .. } = &chunk;
            marks.push(Mark {
                publisher,
                portal: portal.clone(),
                event_token: event_token.clone(),
                from,
                up_to,
                kind: MarkKind::Tried,
            });
            moved.push(Moved {
                portal: portal.clone(),
                event_token: event_token.clone(),
                own: is_own,
                lines,
                is_end: matches!(chunk.content, Content::End(_)),
                up_to,
            });
            let about = self.abouts.get(event_token).filter(|_| is_own);
            chunk.about = Some(about.unwrap_or(&self.style).clone());
            if !is_own {
                self.renumber(&mut chunk.content);
            }
            chunks.push(chunk);
        }
        let numbering = if is_own { &mut self.own } else { &mut self.left };
        numbering.batches += 1;
        let (publisher, no) = (numbering.publisher, numbering.batches);
        Some(Load { batch: Batch { publisher, no, chunks }, marks, moved })
    }

    fn renumber(&mut self, content: &mut Content) {
        let mut next = || {
            self.left_number += 1;
            self.left_number
        };
        match content {
            Content::Lines(lines) => lines.iter_mut().for_each(|line| line.no = next()),
            Content::Missed(gap) => gap.no = next(),
            Content::End(end) => end.no = next(),
            Content::Seal(seal) => seal.no = next(),
        }
    }

    /// The other journal has it.
    pub(super) async fn settle(&mut self, load: Load) {
        let settled = load.marks.into_iter().map(|mark| Mark { kind: MarkKind::Settled, ..mark });
        self.have_left(settled.collect());
        // Marks that fail are stored before the next read.
        let _ = self.note_marks().await;
    }

    /// Ends that no process has to send any more.
    pub(super) async fn mark(&mut self, marks: &[Mark]) {
        self.marks.extend_from_slice(marks);
        let _ = self.note_marks().await;
    }

    /// Drops the journal, and does not wait for a call that hangs.
    pub(super) async fn close(self) {
        self.journal.close().await;
    }
}

/// The first and the last number in it, and how many lines there are.
fn numbers(content: &Content) -> (Number, Number, u64) {
    match content {
        Content::Lines(lines) => {
            let first = lines.first().map_or(0, |line| line.no);
            (first, lines.last().map_or(0, |line| line.no), lines.len() as u64)
        }
        Content::Missed(gap) => (gap.no, gap.no, 0),
        Content::End(end) => (end.no, end.no, 0),
        Content::Seal(seal) => (seal.no, seal.no, 0),
    }
}

/// How often to look for data of other runs.
const ADOPT_EVERY: Duration = Duration::from_secs(60);
/// When it is read again after a failure.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// How much is read at once. In bytes.
const READ_BYTES: usize = 256 << 10;
/// The largest number of chunks in a batch.
const BATCH_CHUNKS: usize = 1_000;
/// The largest number of marks that wait while a journal fails.
pub(super) const MOST_MARKS: usize = 65_536;
/// The largest number of tokens whose end of waiting is remembered. For others, this time is lost.
const MOST_ABOUTS: usize = 10_000;
