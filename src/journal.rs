//! What outlives the process: a journal keeps lines and ends of activities until they are settled.
//!
//! The worker writes what it takes in to a journal, says what it is about to send ([`MarkKind::Tried`]) and
//! what is settled ([`MarkKind::Settled`]). Whoever reads the journal later gets what is not settled, in
//! order, and knows which of it may already stand in the log.
//!
//! Each line and each end has a [`Number`] that its [`Publisher`] gave to it: larger than all that came
//! before. A publisher is one run of one app. What a journal guarantees:
//!
//! - [`append`](Journal::append) answers when the batch will survive what the journal promises to survive.
//!   A batch that is appended again adds nothing.
//! - [`read`](Journal::read) returns what one publisher wrote for one token in the order of its numbers, and
//!   all of it: what was appended before the call, and is not settled.
//! - A mark is a fact about numbers of one token. Marks may be written any number of times, and
//!   [`MarkKind::Settled`] wins.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use tracing_core::Level;

use crate::line::{EventToken, PortalId};
use crate::stats::DropReason;

#[doc(hidden)]
pub mod codec;
#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
pub mod contract;
pub(crate) mod driver;
#[cfg(test)]
pub(crate) mod memory;

/// What went wrong in a journal. It is reported, so it must not contain a secret.
pub type JournalError = Box<dyn Error + Send + Sync>;

/// What a journal answers, later.
pub type JournalFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// One run of one app, by a number that no other run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Publisher(pub u128);

/// The number of a line or an end among all that its publisher wrote. Starts at 1.
pub type Number = u64;

/// A place in a journal, whose meaning only that journal knows. Later places are larger, until the
/// journal's [`generation`](Journal::generation) changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u128);

/// The secret itself, for a journal that has to compare tokens without storing them: it stores a hash.
#[doc(hidden)]
pub fn event_token_text(event_token: &EventToken) -> &str {
    event_token.expose()
}

/// What is appended at once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Who wrote it.
    pub publisher: Publisher,
    /// Its number among the batches of this publisher: it is stored once, however often it is appended.
    pub no: u64,
    /// What it holds, in the order of their numbers within each token.
    pub chunks: Vec<Chunk>,
}

/// What one token's activity had to say within a short time.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// `None`: the default portal.
    pub portal: Option<PortalId>,
    /// Whose log it is. A secret.
    pub event_token: EventToken,
    /// What it had to say.
    pub content: Content,
}

/// What a chunk holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// Lines for the log, in the order of their numbers.
    Lines(Vec<StoredLine>),
    /// Lines that were lost before they could be stored, so that the log can tell of them.
    Missed(StoredGap),
    /// The end of the activity.
    End(StoredEnd),
}

/// A line as it is stored: formatted, and not yet made safe.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLine {
    /// The line's number.
    pub no: Number,
    /// When it was logged, by the clock of the app.
    pub at: SystemTime,
    /// Its level: some lines go ahead of the schedule.
    pub level: Level,
    /// Its text, without mark, time and prefix.
    pub body: String,
    /// Bytes of its text that are left out of `body`, because it was longer than a line may be.
    pub cut: u64,
    /// It may stand in the log already. `false` in what is appended.
    pub tried: bool,
}

/// Lines that are missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoredGap {
    /// The number of the gap itself, which is settled like a line.
    pub no: Number,
    /// How many lines.
    pub lines: u64,
    /// When the first of them was logged.
    pub since: SystemTime,
    /// Why.
    pub reason: DropReason,
}

/// The end of an activity as it is stored.
#[derive(Clone, PartialEq)]
pub struct StoredEnd {
    /// The number of the end.
    pub no: Number,
    /// Return values as a JSON object. They are secrets.
    pub values: String,
    /// A last message, not yet made safe.
    pub message: Option<String>,
    /// The message says what went wrong.
    pub failed: bool,
    /// From here on it does not wait for the token's lines any more.
    pub deadline: SystemTime,
    /// The portal waits for the activity until then, if that is known.
    pub waits_until: Option<SystemTime>,
}

/// Without the values and the message, which are the customer's data.
impl fmt::Debug for StoredEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredEnd")
            .field("no", &self.no)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// What has become of some lines of one token, or of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who wrote these lines.
    pub publisher: Publisher,
    /// To which portal they go.
    pub portal: Option<PortalId>,
    /// To whose log they belong.
    pub event_token: EventToken,
    /// The first number of which this is true.
    pub from: Number,
    /// The last number of which this is true. Numbers between them that belong to other tokens are not
    /// meant.
    pub up_to: Number,
    /// What is true.
    pub kind: MarkKind,
}

/// What a [`Mark`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MarkKind {
    /// It may stand in the log from now on: a request with it is about to leave.
    Tried,
    /// It does not stand in the log: the portal said so. Takes `Tried` back.
    Returned,
    /// It has ended, and is not read any more.
    Settled,
}

/// Which part of a journal is read.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Only this portal (`Some(None)`: the default one), or all.
    pub portal: Option<&'a Option<PortalId>>,
    /// What stands behind this place. `None`: from the start.
    pub after: Option<Position>,
    /// About how many bytes of text are wanted.
    pub most_bytes: usize,
}

/// A part of a journal.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// What is not settled, in order, with its publisher.
    pub chunks: Vec<(Publisher, Chunk)>,
    /// Everything up to here was read.
    pub up_to: Position,
    /// There was nothing behind it.
    pub at_end: bool,
}

/// What a journal holds of one portal.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// `None`: the default portal.
    pub portal: Option<PortalId>,
    /// Lines that are not settled.
    pub lines: u64,
}

/// Lines that the journal itself gave up: they were too old, too many, or could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Evicted {
    /// Whose. `None`: it is not known, as in a damaged part of a file.
    pub of: Option<(Publisher, Option<PortalId>, EventToken)>,
    /// Their numbers, from and up to, where that is known.
    pub numbers: Option<(Number, Number)>,
    /// How many.
    pub lines: u64,
    /// How many ends of activities are lost beside them.
    pub ends: u64,
    /// When the first of them was logged.
    pub since: SystemTime,
    /// Why.
    pub reason: DropReason,
}

/// What a journal took over from other runs.
#[derive(Debug, Default)]
pub struct Adopted {
    /// What came with it, portal by portal.
    pub held: Vec<Held>,
    /// There is more to take over: call again soon. One call does a limited amount of work, so that what
    /// is appended meanwhile does not wait for it.
    pub more: bool,
    /// What had to be left alone, and why. It is said at each call.
    pub left: Vec<JournalError>,
}

/// Keeps lines and ends of activities until they are settled.
///
/// All calls come from one thread, which does nothing else: an implementation may block. None of them is
/// made on the worker's thread or a caller's.
pub trait Journal: Send + Sync + 'static {
    /// Stores a batch, and says where the journal ends now.
    fn append<'a>(&'a self, batch: &'a Batch) -> JournalFuture<'a, Position>;

    /// Returns what is not settled.
    ///
    /// One call looks at a limited part of the journal. So it may return no chunk and not be
    /// [at the end](Read::at_end): then go on behind [`up_to`](Read::up_to).
    fn read<'a>(&'a self, query: Query<'a>) -> JournalFuture<'a, Read>;

    /// Notes what has become of lines. Answers when the marks will survive what the journal promises to
    /// survive.
    fn mark<'a>(&'a self, marks: &'a [Mark]) -> JournalFuture<'a, ()>;

    /// What other runs have left here that nobody else reads, taken over by this call: once at the start,
    /// and now and then. It is read from the start then: the generation has changed if there was any.
    fn adopt<'a>(&'a self) -> JournalFuture<'a, Adopted>;

    /// What the journal had to give up since the last call. `now` is the wall clock, by which it judges
    /// what has become too old.
    fn evicted<'a>(&'a self, now: SystemTime) -> JournalFuture<'a, Vec<Evicted>>;

    /// Grows when all positions are void, so that everything has to be read from the start.
    fn generation(&self) -> u64;
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
}
