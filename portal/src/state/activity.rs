//! An activity of a workflow, and its visits (each time that the workflow reaches it).

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::error::ErrorCode;

/// An activity of one workflow.
#[derive(Debug)]
pub(crate) struct ActivityState {
    /// Its name for people.
    pub(crate) label: String,
    /// Its name in tokens.
    pub(crate) name: String,
    pub(crate) visits: Vec<Visit>,
}

/// One time that the workflow came to the activity: a loop comes several times.
#[derive(Debug)]
pub(crate) struct Visit {
    event: String,
    deadline: Option<UnixTime>,
    /// `None` while the activity waits.
    closed: Option<LostReason>,
    /// The names that an application may return, if they were declared.
    returns: Option<Vec<String>>,
    completion: Option<Completion>,
    /// How the handler request was taken, once it was.
    pub(crate) delivery: Option<Delivery>,
}

/// How to open an activity: what the workflow itself needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) label: String,
    pub(crate) subscription: bool,
    pub(crate) timeout: Option<Duration>,
    /// The names that an application may return; nothing where none were declared, and every name
    /// is taken.
    pub(crate) returns: Option<Vec<String>>,
}

/// A name and a value that an application returns.
pub(crate) type ReturnValue = (String, String);

/// Why a line was lost silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostReason {
    /// `bizproc.event.send` had closed the activity.
    Completed,
    /// The activity had run out of time.
    TimedOut,
    /// The activity does not wait for the application (`use_subscription` is not `Y`).
    NoSubscription,
    /// The workflow has left the activity: it came to it again, with a new event id, or went on
    /// without an answer.
    Left,
    /// The workflow has no such activity.
    UnknownActivity,
    /// The document is gone: the workflow was terminated instead.
    DocumentGone,
    /// The background job of `bizproc.event.send` failed with this error
    /// ([`EventSend::Background`](crate::EventSend::Background)). The activity stays as it was.
    Background(ErrorCode),
}

/// How the application took the handler request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// It answered with this HTTP status.
    Answered(u16),
    /// It did not answer, for this reason.
    Failed(String),
}

/// The completion by `bizproc.event.send`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Completion {
    /// The server's time of the call.
    pub at: UnixTime,
    /// The entry that it wrote.
    pub message: Arc<str>,
    /// The return values, by name; a value that is not a text is given as JSON. Where names were
    /// declared, only those are here, as they were declared.
    pub return_values: Vec<(String, String)>,
    /// Names that were not declared. A portal drops them silently.
    pub undeclared: Vec<String>,
}

impl ActivityState {
    pub(crate) fn new(label: String, name: String) -> Self {
        Self { label, name, visits: Vec::new() }
    }

    /// The workflow comes here, and leaves whatever visit was still open.
    pub(crate) fn visit(&mut self, event: String, opening: &Opening, now: UnixTime) {
        self.visits.iter_mut().for_each(|earlier| earlier.close(LostReason::Left));
        self.visits.push(Visit {
            event,
            deadline: opening.timeout.map(|timeout| now + timeout),
            closed: (!opening.subscription).then_some(LostReason::NoSubscription),
            returns: opening.returns.clone(),
            completion: None,
            delivery: None,
        });
    }

    /// The visit of this event id, if it still waits.
    pub(crate) fn waiting(&mut self, event: &str) -> Result<&mut Visit, LostReason> {
        let visit = self.visits.iter_mut().find(|visit| visit.event == event);
        let visit = visit.ok_or(LostReason::UnknownActivity)?;
        match visit.closed {
            Some(reason) => Err(reason),
            None => Ok(visit),
        }
    }
}

impl Visit {
    pub(crate) fn event(&self) -> &str {
        &self.event
    }

    pub(crate) fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    pub(crate) fn completion(&self) -> Option<&Completion> {
        self.completion.as_ref()
    }

    /// Closes the visit, unless it is closed for another reason already.
    pub(crate) fn close(&mut self, reason: LostReason) {
        self.closed.get_or_insert(reason);
    }

    pub(crate) fn complete(&mut self, at: UnixTime, message: Arc<str>, values: &[ReturnValue]) {
        self.close(LostReason::Completed);
        let (mut return_values, mut undeclared) = (Vec::new(), Vec::new());
        for (name, value) in values {
            // Names are compared without regard to case (server behaviour).
            let kept = match &self.returns {
                None => Some(name),
                Some(declared) => declared.iter().find(|own| own.eq_ignore_ascii_case(name)),
            };
            match kept {
                Some(name) => return_values.push((name.clone(), value.clone())),
                None => undeclared.push(name.clone()),
            }
        }
        self.completion = Some(Completion { at, message, return_values, undeclared });
    }

    /// Closes a visit after its timeout. Returns when it was.
    pub(crate) fn run_out(&mut self, now: UnixTime) -> Option<UnixTime> {
        let due = self.deadline.filter(|due| *due <= now && self.is_open())?;
        self.close(LostReason::TimedOut);
        Some(due)
    }
}
