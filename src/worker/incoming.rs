//! A line as the worker takes it in, whatever it came from: the queue, or a journal.

use std::sync::atomic::AtomicUsize;
use std::time::{Instant, SystemTime};

use tracing_core::Level;

use crate::journal::{Number, Publisher};
use crate::line::{EventToken, Fingerprint, LogLine};

/// All of a line but its text, which the renderer holds meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) event_token: &'a EventToken,
    pub(crate) fingerprint: Fingerprint,
    /// Where the coalescer notes the token's place, if many lines share the note.
    pub(crate) place: Option<&'a AtomicUsize>,
    /// When it was logged, by the clock of the app.
    pub(crate) at: SystemTime,
    pub(crate) level: Level,
    /// What the budget was charged for it.
    pub(crate) charged: usize,
    /// Its place among all lines that this worker took in, for flushes.
    pub(crate) seq: u64,
    pub(crate) stamp: Stamp,
    /// From when on its age counts.
    pub(crate) since: Instant,
    /// It may stand in the log already: an earlier run was about to send it.
    pub(crate) tried: bool,
    /// It was taken in before others of its token: an end that was asked for since does not make it late.
    pub(crate) earlier: bool,
    /// Lines of its token with lower numbers are here, or settled: none is in the journal only. Where this
    /// is not so, the line itself is in no journal.
    pub(crate) in_order: bool,
}

/// The name of a line or an end in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) publisher: Publisher,
    pub(crate) no: Number,
}

impl<'a> Incoming<'a> {
    /// A line of this run.
    pub(crate) fn new(line: &'a LogLine, seq: u64, publisher: Publisher, now: Instant) -> Self {
        Incoming {
            event_token: &line.tag.event_token,
            fingerprint: line.tag.fingerprint(),
            place: Some(&line.tag.place),
            at: line.at,
            level: *line.metadata.level(),
            charged: line.bytes(),
            seq,
            stamp: Stamp { publisher, no: seq },
            since: now,
            tried: false,
            earlier: false,
            in_order: true,
        }
    }
}
