//! The messages to the worker: lines, spans that have closed, and requests of the app.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::call::CallAnswer;
use crate::completion::Completion;
use crate::error::{CallError, CompleteError};
use crate::line::{EventToken, LogLine, PortalId, Tag};
use crate::protocol::{Cause, Method};
use crate::stats::FlushReport;
use crate::transport::{Arrived, Confirmed, Question};

/// The messages to the worker, in the order in which they were sent.
///
/// Aligned, so that no two slots of the channel share a cache line. Without this, an event cost a sixth more
/// if two threads log at once.
#[repr(align(64))]
pub(crate) enum Message {
    Line(LogLine),
    /// A line that was accepted while there was little room, and counts for its token: see `shares`. The
    /// consumer turns it into a plain line. Boxed, so that a message is not larger than a plain line.
    Scarce(Box<LogLine>),
    /// The tagged span has closed, or its token was replaced: no more lines come of this tag.
    SpanClosed(Arc<Tag>),
    Control(Box<Control>),
}

/// Requests of the app to the worker.
pub(crate) enum Control {
    Flush(Flush),
    /// A flush that waits for a relay, if lines are published.
    #[cfg_attr(not(feature = "relay"), expect(dead_code, reason = "only with a relay"))]
    FlushDelivered(Flush),
    Complete(Complete),
    Accept(Accept),
    Call(Call),
    Confirm(Confirm),
    Forget(Forget),
    Expect(Expect),
    /// An activity was dropped without an end.
    Abandoned {
        event_token: EventToken,
        portal: PortalId,
    },
    /// The portal does not wait for an activity with this code, so it has no log.
    #[cfg(feature = "log")]
    NoLog(String),
    /// Other processes deliver to some portals from now on.
    #[cfg_attr(
        not(any(test, feature = "relay")),
        expect(dead_code, reason = "only a relay does so")
    )]
    LetGo(LetGo),
    Close(Close),
}

/// Says which portals this process keeps.
pub(crate) type Keeps = Box<dyn Fn(Option<&PortalId>) -> bool + Send>;

/// Let all other portals go.
pub(crate) struct LetGo {
    pub(crate) keep: Keeps,
    /// Answered when nothing of them is out, and their last marks are stored.
    pub(crate) reply: oneshot::Sender<()>,
}

/// Sends what was accepted so far, without waiting for the schedule, and returns the results.
pub(crate) struct Flush {
    pub(crate) scope: Scope,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<FlushReport>,
}

/// End an activity, after its lines if they are settled by the deadline.
pub(crate) struct Complete {
    pub(crate) event_token: EventToken,
    pub(crate) portal: Option<PortalId>,
    pub(crate) completion: Completion,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<FlushReport, CompleteError>>,
}

/// Take over tokens of a portal that were verified.
pub(crate) struct Accept {
    pub(crate) portal: PortalId,
    pub(crate) tokens: Arrived,
}

/// A REST call of the app.
pub(crate) struct Call {
    pub(crate) by: Caller,
    pub(crate) portal: Option<PortalId>,
    pub(crate) method: Method,
    /// A JSON object.
    pub(crate) body: Vec<u8>,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<CallAnswer, CallError>>,
}

/// Who makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The app, as often as it likes.
    App,
    /// A registration of the app's activities: a few calls for each installation and each update.
    Registration,
}

/// Checks whether these tokens belong to this portal, and stores them if they do.
pub(crate) struct Confirm {
    pub(crate) portal: PortalId,
    pub(crate) question: Question,
    pub(crate) reply: oneshot::Sender<Confirmed>,
}

/// The app was removed from this portal: forget its tokens, and give up its lines.
pub(crate) struct Forget {
    pub(crate) portal: PortalId,
    pub(crate) reply: oneshot::Sender<Result<(), Cause>>,
}

/// The time until which the portal waits for this activity.
pub(crate) struct Expect {
    pub(crate) event_token: EventToken,
    pub(crate) portal: Option<PortalId>,
    pub(crate) waits_until: Instant,
}

/// As a [`Flush`] of everything; then the worker ends.
pub(crate) struct Close {
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<FlushReport>,
}

/// Which lines a flush covers.
pub(crate) enum Scope {
    All,
    Token(EventToken),
}
