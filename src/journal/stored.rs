//! What a journal stores: batches of chunks. A chunk has the lines of a token, a notice, or an end.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tracing_core::Level;

use super::{Number, Publisher};
use crate::format::{Language, LineTime};
use crate::line::{EventToken, PortalId};
use crate::stats::DropReason;

/// Lines and ends that are appended together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Who wrote it.
    pub publisher: Publisher,
    /// Its number among the batches of this publisher. It is stored once, also if it is appended again.
    pub no: u64,
    /// Its contents, in the order of their numbers within each token.
    pub chunks: Vec<Chunk>,
}

/// The lines of one token from a short period, or the end of its activity.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// `None`: the default portal.
    pub portal: Option<PortalId>,
    /// The event token of the log. A secret.
    pub event_token: EventToken,
    /// The contents.
    pub content: Content,
    /// How another process writes it, if another one does.
    pub about: Option<Arc<About>>,
}

/// What another process has to know to write the lines of an app as the app would.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct About {
    /// The language of notices.
    pub language: Language,
    /// How the time of a line is written.
    pub line_time: LineTime,
    /// What stands before each line. Not yet made safe.
    pub line_prefix: String,
    /// The portal waits for the activity until this time, if it is known.
    pub waits_until: Option<SystemTime>,
}

/// The contents of a chunk.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// Lines for the log, in the order of their numbers.
    Lines(Vec<StoredLine>),
    /// A gap: lines that were lost before they could be stored. The log mentions them.
    Missed(StoredGap),
    /// The end of the activity.
    End(StoredEnd),
    /// The lines of this token so far are to be sent soon: its span has closed, or the app waits for them. It
    /// has a number of its own, and is settled like a line.
    Seal(StoredSeal),
}

/// A line as it is stored: formatted, and not yet made safe.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLine {
    /// The line's number.
    pub no: Number,
    /// When it was logged, by the clock of the app.
    pub at: SystemTime,
    /// Its level. Severe lines may be sent before the schedule.
    pub level: Level,
    /// Its text, without mark, time and prefix.
    pub body: String,
    /// How many bytes of its text are missing in `body`, because the line was too long.
    pub cut: u64,
    /// It may be in the log already. When it is appended: another run was about to append it, too.
    pub tried: bool,
}

/// A gap: lines that were lost before they were stored.
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

/// A point up to which the lines of a token are to be sent soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSeal {
    /// The number of the seal itself, which is settled like a line.
    pub no: Number,
    /// When it was asked for.
    pub at: SystemTime,
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
    /// The message is the text of an error.
    pub failed: bool,
    /// After this time it does not wait for lines of the token.
    pub deadline: SystemTime,
    /// The portal waits for the activity until this time, if it is known.
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
