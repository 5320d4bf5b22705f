//! A journal keeps lines and ends of activities beyond the process, until they are settled (acknowledged,
//! late or lost).
//!
//! The worker writes lines and ends to a journal. It marks what it is about to send ([`MarkKind::Tried`]) and
//! what is settled ([`MarkKind::Settled`]). A later run reads what is not settled, in order, and knows which
//! lines may already be in the log.
//!
//! Each line and each end has a [`Number`] from its [`Publisher`]. Later numbers are larger. A publisher is one
//! run of one app. A journal guarantees:
//!
//! - [`append`](Journal::append) returns when the batch is stored safely, as the journal promises. To append a
//!   batch again has no effect.
//! - [`read`](Journal::read) returns everything that one publisher has appended for one token before the call
//!   and that is not settled, in the order of its numbers.
//! - A mark changes the state of a range of lines of one token. The same mark may be written several times, and
//!   [`MarkKind::Settled`] has priority.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use crate::line::{EventToken, PortalId};
use crate::stats::DropReason;

mod aside;
#[doc(hidden)]
pub mod codec;
#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
pub mod contract;
pub(crate) mod desk;
pub(crate) mod driver;
mod guarded;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod near;
pub(crate) mod posting;
mod stored;

pub use stored::{About, Batch, Chunk, Content, StoredEnd, StoredGap, StoredLine, StoredSeal};

/// What went wrong in a journal. It is reported, so it must not contain a secret.
pub type JournalError = Box<dyn Error + Send + Sync>;

/// The answer of a journal.
pub type JournalFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// One run of one app: a number that no other run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Publisher(pub u128);

/// The number of a line or an end of its publisher. Starts at 1.
pub type Number = u64;

/// A position in a journal. Only that journal knows its meaning. Later positions are larger, until the
/// journal's [`generation`](Journal::generation) changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u128);

/// The secret itself, for a journal that has to compare tokens without storing them: it stores a hash.
#[doc(hidden)]
pub fn event_token_text(event_token: &EventToken) -> &str {
    event_token.expose()
}

/// The state of a range of lines of one token, or of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who wrote these lines.
    pub publisher: Publisher,
    /// Their portal.
    pub portal: Option<PortalId>,
    /// Their event token.
    pub event_token: EventToken,
    /// The first number of the range.
    pub from: Number,
    /// The last number of the range. Numbers in between that belong to other tokens are not affected.
    pub up_to: Number,
    /// The state.
    pub kind: MarkKind,
}

/// The state in a [`Mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MarkKind {
    /// It may be in the log from now on: a request with it will be sent.
    Tried,
    /// It is not in the log: the portal has said so. Cancels `Tried`.
    Returned,
    /// It is settled, and is not read any more.
    Settled,
}

/// A request that is about to leave. Only journals that several processes read need to know of each.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Where it goes.
    pub portal: Option<PortalId>,
    /// The lines and ends in it, as [`MarkKind::Tried`].
    pub marks: Vec<Mark>,
    /// What the next owner of the portal has to know. Stored with the marks.
    pub memos: Vec<Memo>,
}

/// The right to send one request. Its number belongs to the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permit(pub u64);

/// A note about a portal for its next owner: for example, how many entries a workflow has used. A memo
/// replaces the one with the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memo {
    /// Its key among the memos of the portal.
    pub key: u128,
    /// Its contents. Only the engine knows their meaning.
    pub value: Vec<u8>,
}

/// The outcome of an end, for the process that asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who asked.
    pub publisher: Publisher,
    /// The number of the end.
    pub no: Number,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The portal has accepted it.
    Accepted,
    /// The portal has refused it, with this code.
    Refused(String),
    /// The portal was not reached in time.
    NotSent,
}

impl Outcome {
    /// Whether this outcome replaces `other` of the same end. Accepted is better than refused, and refused is better
    /// than not sent.
    ///
    /// ```
    /// # #[cfg(any(feature = "spool", feature = "relay"))] {
    /// use tracing_bizproc::journal::Outcome;
    ///
    /// assert!(Outcome::Accepted.is_better_than(&Outcome::NotSent));
    /// assert!(!Outcome::NotSent.is_better_than(&Outcome::Refused("499".to_owned())));
    /// # }
    /// ```
    #[must_use]
    pub fn is_better_than(&self, other: &Outcome) -> bool {
        self.rank() < other.rank()
    }

    fn rank(&self) -> u8 {
        match self {
            Outcome::Accepted => 0,
            Outcome::Refused(_) => 1,
            Outcome::NotSent => 2,
        }
    }
}

/// The part of a journal to read.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Only this portal (`Some(None)`: the default one), or all.
    pub portal: Option<&'a Option<PortalId>>,
    /// Read after this position. `None`: from the start.
    pub after: Option<Position>,
    /// About how many bytes of text to return.
    pub most_bytes: usize,
}

/// A part of a journal.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// The chunks that are not settled, in order, with their publishers.
    pub chunks: Vec<(Publisher, Chunk)>,
    /// Everything up to this position was read.
    pub up_to: Position,
    /// There is nothing after it.
    pub at_end: bool,
}

/// The contents of a journal for one portal, which has something that is not settled.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// `None`: the default portal.
    pub portal: Option<PortalId>,
    /// Lines that are not settled. 0: only ends or notices are not settled.
    pub lines: u64,
}

/// Lines that the journal has given up: they were too old or too many, or could not be read. Where it is
/// known whose they are, they were appended as one chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Evicted {
    /// Their event token. `None`: it is not known, for example in a damaged part of a file.
    pub of: Option<(Publisher, Option<PortalId>, EventToken)>,
    /// Their first and last number, if they are known.
    pub numbers: Option<(Number, Number)>,
    /// How many.
    pub lines: u64,
    /// How many ends of activities are lost with them.
    pub ends: u64,
    /// When the first of them was logged.
    pub since: SystemTime,
    /// Why.
    pub reason: DropReason,
}

/// The data that a journal has taken over from other runs.
#[derive(Debug, Default)]
pub struct Adopted {
    /// Its contents, for each portal.
    pub held: Vec<Held>,
    /// There is more to take over: call again soon. One call does a limited amount of work, so that batches
    /// do not wait long.
    pub more: bool,
    /// Data that could not be taken over, and why. Returned by each call.
    pub left: Vec<JournalError>,
}

/// Keeps lines and ends of activities until they are settled.
///
/// All calls come from one separate thread, so an implementation may block. Calls of a process that publishes may
/// overlap: it asks for answers while an append is under way. It drops a call that takes longer than 30 s, and then
/// appends the same batch again.
pub trait Journal: Send + Sync + 'static {
    /// Stores a batch, and returns the new end of the journal.
    fn append<'a>(&'a self, batch: &'a Batch) -> JournalFuture<'a, Position>;

    /// Returns what is not settled.
    ///
    /// One call reads a limited part of the journal. So it may return no chunk although it is not
    /// [at the end](Read::at_end). Then read again after [`up_to`](Read::up_to).
    fn read<'a>(&'a self, query: Query<'a>) -> JournalFuture<'a, Read>;

    /// Stores marks. Returns when they are stored safely, as the journal promises.
    fn mark<'a>(&'a self, marks: &'a [Mark]) -> JournalFuture<'a, ()>;

    /// Takes over the data of runs that have ended. Call it at the start, and from time to time. If it has
    /// taken over anything, the generation has changed: then read from the start again.
    fn adopt<'a>(&'a self) -> JournalFuture<'a, Adopted>;

    /// The lines that the journal has given up since the last call. `now` is the wall clock of this process, for the
    /// age of lines if no other process uses the journal.
    fn evicted<'a>(&'a self, now: SystemTime) -> JournalFuture<'a, Vec<Evicted>>;

    /// Increases when earlier positions are not valid any more, so that everything must be read from the start.
    fn generation(&self) -> u64;

    /// The time now by the clock that all processes of this journal share. `local` is the time by the clock of this
    /// process, which may be wrong. Deadlines in the journal are by this clock, and the age of lines is counted by
    /// it. Called often, so it must not block. The default returns `local`.
    fn time(&self, local: SystemTime) -> SystemTime {
        local
    }

    /// Asks whether these requests may leave, and stores what they contain. Returns one answer for each: `None`
    /// means that it must not leave, because another process owns its portal. If this fails, none may leave.
    ///
    /// The default is for journals that one process reads: it stores the marks, and every request may leave.
    fn intend<'a>(&'a self, intents: &'a [Intent]) -> JournalFuture<'a, Vec<Option<Permit>>> {
        Box::pin(async move {
            let marks: Vec<Mark> =
                intents.iter().flat_map(|intent| intent.marks.iter().cloned()).collect();
            self.mark(&marks).await?;
            Ok(vec![Some(Permit::default()); intents.len()])
        })
    }

    /// Whether a request with this permit may still leave. Called directly before it does, from any thread, so
    /// it must not block.
    fn is_permitted(&self, portal: Option<&PortalId>, permit: Permit) -> bool {
        let _ = (portal, permit);
        true
    }

    /// The memos of a portal from its earlier owners.
    fn memos<'a>(&'a self, portal: &'a Option<PortalId>) -> JournalFuture<'a, Vec<Memo>> {
        let _ = portal;
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Returns when there may be something new to read. It may also return without a reason. The default never
    /// returns: then the journal is read from time to time.
    fn news<'a>(&'a self) -> JournalFuture<'a, ()> {
        Box::pin(std::future::pending())
    }

    /// Stores the outcomes of ends, for those who asked for them. If there are several outcomes of one end, in one
    /// call or in several, the [best](Outcome::is_better_than) one counts: an end that one relay could not send may
    /// have been sent by another one.
    fn answer<'a>(&'a self, answers: &'a [Answer]) -> JournalFuture<'a, ()> {
        let _ = answers;
        Box::pin(async { Ok(()) })
    }

    /// The outcomes of these ends of a publisher, as far as they are known.
    fn answers<'a>(
        &'a self,
        publisher: Publisher,
        ends: &'a [Number],
    ) -> JournalFuture<'a, Vec<Answer>> {
        let _ = (publisher, ends);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// How many lines of a publisher up to this number are not settled: of one token, or of all.
    fn unsettled<'a>(
        &'a self,
        publisher: Publisher,
        of: Option<(&'a Option<PortalId>, &'a EventToken)>,
        up_to: Number,
    ) -> JournalFuture<'a, u64> {
        let _ = (publisher, of, up_to);
        Box::pin(async { Ok(0) })
    }
}

impl<T: Journal + ?Sized> Journal for Arc<T> {
    fn append<'a>(&'a self, batch: &'a Batch) -> JournalFuture<'a, Position> {
        (**self).append(batch)
    }

    fn read<'a>(&'a self, query: Query<'a>) -> JournalFuture<'a, Read> {
        (**self).read(query)
    }

    fn mark<'a>(&'a self, marks: &'a [Mark]) -> JournalFuture<'a, ()> {
        (**self).mark(marks)
    }

    fn adopt<'a>(&'a self) -> JournalFuture<'a, Adopted> {
        (**self).adopt()
    }

    fn evicted<'a>(&'a self, now: SystemTime) -> JournalFuture<'a, Vec<Evicted>> {
        (**self).evicted(now)
    }

    fn generation(&self) -> u64 {
        (**self).generation()
    }

    fn time(&self, local: SystemTime) -> SystemTime {
        (**self).time(local)
    }

    fn intend<'a>(&'a self, intents: &'a [Intent]) -> JournalFuture<'a, Vec<Option<Permit>>> {
        (**self).intend(intents)
    }

    fn is_permitted(&self, portal: Option<&PortalId>, permit: Permit) -> bool {
        (**self).is_permitted(portal, permit)
    }

    fn memos<'a>(&'a self, portal: &'a Option<PortalId>) -> JournalFuture<'a, Vec<Memo>> {
        (**self).memos(portal)
    }

    fn news<'a>(&'a self) -> JournalFuture<'a, ()> {
        (**self).news()
    }

    fn answer<'a>(&'a self, answers: &'a [Answer]) -> JournalFuture<'a, ()> {
        (**self).answer(answers)
    }

    fn answers<'a>(
        &'a self,
        publisher: Publisher,
        ends: &'a [Number],
    ) -> JournalFuture<'a, Vec<Answer>> {
        (**self).answers(publisher, ends)
    }

    fn unsettled<'a>(
        &'a self,
        publisher: Publisher,
        of: Option<(&'a Option<PortalId>, &'a EventToken)>,
        up_to: Number,
    ) -> JournalFuture<'a, u64> {
        (**self).unsettled(publisher, of, up_to)
    }
}
