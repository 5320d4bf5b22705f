//! Reads a portal's answer: one [`Outcome`] per command, or one [`Refusal`] of the whole request.

use super::{Reply, Trouble};

/// What the portal did with a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It ran: an outcome for each command, in the order sent.
    Ran { outcomes: Vec<Outcome>, time: ServerTime },
    /// It was refused as a whole: no command was executed.
    Refused(Refusal),
    /// Not known: some, all or none of the commands may have been executed.
    Unknown(Trouble),
}

/// What became of one command of a request that ran.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The portal said true.
    Done(ServerTime),
    /// The portal refused this command, and only this one.
    Refused(Refusal),
    /// The portal never came to it (its key is in neither section).
    NotExecuted,
}

/// Why a request or a command was refused, sorted by what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many hits from this address: slow down, repeat with backoff.
    RateLimit,
    /// The method's operating time is spent: pause until the window lifts.
    OperatingLimit,
    /// The access token has expired or is not valid: refresh once, repeat.
    Grant(Code),
    /// The credential is not accepted until somebody mends it.
    Credential(Code),
    /// The portal is closed or lacks business processes.
    Portal(Code),
    /// The event token is not accepted: this token is finished.
    TokenDenied(Code),
    /// The workflow instance is gone (or, for a fresh token, not there yet).
    WorkflowGone(Code),
    /// Another hit holds the workflow: repeat this command later.
    Locked(Code),
    /// This command can never succeed: do not repeat it.
    Command(Code),
    /// The portal stumbled: a few repeats, nothing was executed.
    Server(Code),
}

/// The portal's error code, cleaned: at most 64 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) String);

/// The parts of a `time` object that pacing needs. Absent parts are `None`: self-hosted portals
/// run without the limiter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ServerTime {
    /// Seconds that the portal worked on it.
    pub(crate) duration: Option<f64>,
    /// Seconds counted against the key (credential and method), cumulative in its window.
    pub(crate) operating: Option<f64>,
    /// When the first bucket of the window expires, Unix seconds, by the portal's clock.
    pub(crate) operating_reset_at: Option<i64>,
    /// The portal's clock when it finished, Unix seconds.
    pub(crate) finish: Option<f64>,
}

/// How the request was sent, which decides where its codes may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// One command, called by its own method.
    Single,
    /// This many commands in one `batch`.
    Batch(usize),
}

/// Reads `reply` as the answer to a request sent as `sent`.
pub(crate) fn read(reply: &Reply, sent: Sent) -> Verdict {
    let _ = (reply, sent);
    todo!()
}
