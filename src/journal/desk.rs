//! The messages between the worker and the driver of its journal, and the worker's end of the channel.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use super::near::Moved;
use super::{
    Answer, Batch, Chunk, Evicted, Intent, Journal, Mark, Memo, Number, Permit, Position,
    Publisher, Read,
};
use crate::line::{EventToken, PortalId};

/// A request of the worker to its journal.
#[derive(Debug)]
pub(crate) enum Ask {
    Append(Batch),
    /// Answered when the marks are stored, if somebody waits for this.
    Mark(Vec<Mark>, Option<oneshot::Sender<()>>),
    Read {
        /// The number of this request.
        no: u64,
        portal: Option<PortalId>,
        after: Option<Position>,
        generation: u64,
        most_bytes: usize,
    },
    /// Asks for new data of all portals, one request at a time. Answered when there is new data, or after a short time.
    Tail {
        /// The number of this request.
        no: u64,
        after: Option<Position>,
        generation: u64,
        most_bytes: usize,
    },
    /// Whether a request may leave.
    Intend(Intent, oneshot::Sender<Permission>),
    /// The memos that earlier owners of a portal have left.
    Memos {
        portal: Option<PortalId>,
    },
    /// Outcomes of ends.
    Answer(Vec<Answer>),
    /// The last marks for portals that are let go.
    LetGo {
        /// The number of this request.
        no: u64,
        intents: Vec<Intent>,
    },
    /// Only of a driver that publishes.
    Inquire(Inquiry),
    /// The last request. Answered when all earlier requests are done.
    Close(oneshot::Sender<()>),
}

/// Whether a request may leave.
#[derive(Clone, Debug)]
pub(crate) enum Permission {
    /// It may leave, if this permit is still valid at that moment.
    Given(Permit),
    /// Another process owns its portal.
    Fenced,
    /// The journal has failed. It may have stored the intent.
    Failed { trouble: String, intent: Intent },
}

/// The result of a request.
#[derive(Debug)]
pub(crate) enum Said {
    Appended {
        no: u64,
        up_to: Position,
        generation: u64,
    },
    /// Only of a driver that publishes: the journal near by has it.
    Stored {
        no: u64,
    },
    /// The same: the journal near by fails.
    NotStored {
        trouble: String,
    },
    /// The same: chunks are in the other journal now. `is_all`: nothing else is left near by.
    Moved {
        moved: Vec<Moved>,
        is_all: bool,
    },
    /// The batch could not be stored, and comes back.
    NotAppended {
        batch: Batch,
        trouble: String,
    },
    Marked,
    NotMarked {
        trouble: String,
    },
    Read {
        no: u64,
        portal: Option<PortalId>,
        read: Read,
        generation: u64,
    },
    NotRead {
        no: u64,
        portal: Option<PortalId>,
        trouble: String,
    },
    /// The data of other runs is being read.
    Adopting,
    /// All data of these other runs.
    Adopted {
        publishers: Vec<Publisher>,
        left: Vec<Left>,
        ends: Vec<(Publisher, Chunk)>,
    },
    NotAdopted {
        trouble: String,
    },
    /// Some data of other runs cannot be taken over.
    LeftAlone {
        trouble: String,
    },
    Evicted(Vec<Evicted>),
    /// New data of all portals, after this position.
    Tail {
        no: u64,
        from: Option<Position>,
        read: Read,
        generation: u64,
    },
    NotTailed {
        trouble: String,
    },
    /// `None`: they could not be read.
    Memos {
        portal: Option<PortalId>,
        memos: Result<Vec<Memo>, String>,
    },
    /// Outcomes could not be stored, and come back.
    NotAnswered {
        answers: Vec<Answer>,
        trouble: String,
    },
    /// Whether the last marks are stored.
    LetGo {
        no: u64,
        stored: Result<(), String>,
    },
    /// The answer to an inquiry.
    Known(Known),
    /// The journal's own upkeep does not work.
    Failing {
        trouble: String,
    },
}

/// Lines of other runs for one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) portal: Option<PortalId>,
    pub(crate) event_token: EventToken,
    pub(crate) lines: u64,
}

/// A question of a process that publishes.
#[derive(Clone, Debug)]
pub(crate) enum Inquiry {
    /// Asks for the outcomes of these ends.
    Answers(Vec<Number>),
    /// Asks how many lines up to this number are not settled: of one token, or of all.
    Unsettled { of: Option<(Option<PortalId>, EventToken)>, up_to: Number },
}

/// The answer of the journal. `None`: it did not answer.
#[derive(Debug)]
pub(crate) enum Known {
    Answers(Option<Vec<Answer>>),
    Unsettled(Option<u64>),
}

/// The worker's end.
pub(crate) struct Desk {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) asks: mpsc::UnboundedSender<Ask>,
    pub(super) told: mpsc::UnboundedReceiver<Said>,
}

impl Desk {
    /// Sends a request. If the driver has ended, the request is dropped, and [`told`](Self::told) reports this.
    pub(crate) fn ask(&self, ask: Ask) {
        drop(self.asks.send(ask));
    }

    /// The journal's present generation. If the journal panics, this is the highest possible number.
    pub(crate) fn generation(&self) -> u64 {
        let generation = AssertUnwindSafe(|| self.journal.generation());
        std::panic::catch_unwind(generation).unwrap_or(u64::MAX)
    }

    /// The time by the clock of the journal. If the journal panics, it is the time of this process.
    pub(crate) fn time(&self, local: SystemTime) -> SystemTime {
        let time = AssertUnwindSafe(|| self.journal.time(local));
        std::panic::catch_unwind(time).unwrap_or(local)
    }

    /// The journal itself, for calls that must not wait for the driver.
    pub(crate) fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// Waits for a result. `None`: the driver has ended. Cancel safe.
    pub(crate) async fn told(&mut self) -> Option<Said> {
        self.told.recv().await
    }

    /// The same without waiting: a result if there is one.
    pub(crate) fn try_told(&mut self) -> Option<Said> {
        self.told.try_recv().ok()
    }
}
