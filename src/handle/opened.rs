//! The result of opening an activity: the activity, or the fact that the request was seen before.

use std::fmt;

use super::activity::Activity;
use crate::activity::VerifiedActivity;

/// What [`Handle::activity`](crate::Handle::activity) returns for a request.
///
/// A portal sends a request once, but a proxy, or a person who replays it, may deliver it twice. An app that
/// handles both does the work twice, and the portal drops the values of the second completion.
///
/// A repeat is recognized within one process, for activities that are open and for the 10,000 that ended
/// last. An activity that was dropped without an end may be delivered again.
///
/// ```
/// # use tracing_bizproc::Handle;
/// # use tracing_bizproc::app::{Opened, VerifiedActivity};
/// fn handler(handle: &Handle, verified: VerifiedActivity) {
///     match handle.activity(verified) {
///         Opened::First(activity) => { /* work in a task, and end it */ drop(activity) }
///         // It is under way, or done: answer 200, and do nothing.
///         Opened::Again(repeat) => println!("{repeat}"),
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use = "its workflow waits until the activity is ended"]
pub enum Opened {
    /// The activity. The handler has to end it.
    First(Activity),
    /// The same request was delivered before.
    Again(Repeat),
}

impl Opened {
    /// The activity, if the request is the first one.
    pub fn first(self) -> Option<Activity> {
        match self {
            Opened::First(activity) => Some(activity),
            Opened::Again(_) => None,
        }
    }
}

/// A request that was delivered before.
///
/// ```
/// use tracing_bizproc::app::Opened;
///
/// fn answer(opened: Opened) -> &'static str {
///     match opened {
///         Opened::First(activity) => { /* work in a task */ drop(activity); "accepted" }
///         Opened::Again(repeat) if repeat.is_open() => "under way",
///         Opened::Again(_) => "done already",
///     }
/// }
/// # drop(answer);
/// ```
#[derive(Debug)]
pub struct Repeat {
    pub(super) verified: VerifiedActivity,
    pub(super) is_open: bool,
}

impl Repeat {
    /// Whether the activity is still open. If it is not, it has been ended.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// The request.
    pub fn verified(&self) -> &VerifiedActivity {
        &self.verified
    }
}

impl fmt::Display for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, event_token) = (self.verified.code(), self.verified.event_token());
        let state = if self.is_open { "is open" } else { "has ended" };
        write!(
            f,
            "the request for the activity {code} ({event_token}) was delivered twice; the activity {state}"
        )
    }
}
