//! Requests to a portal and its answers, as text. Pure: no I/O, no clock, no other module.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

pub(crate) mod call;
pub(crate) mod command;
pub(crate) mod grant;
#[cfg(test)]
mod php_oracle;
pub(crate) mod reply;
pub(crate) mod text;

/// A REST method.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    ActivityLog,
    EventSend,
    Batch,
    /// A method that the app calls.
    Named(Arc<str>),
}

impl Method {
    /// The name in the URL.
    pub(crate) fn name(&self) -> &str {
        match self {
            Method::ActivityLog => "bizproc.activity.log",
            Method::EventSend => "bizproc.event.send",
            Method::Batch => "batch",
            Method::Named(name) => name,
        }
    }
}

/// One REST call without its address and credentials. The body is JSON.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) body: Vec<u8>,
    /// How many commands the body has: 1, or up to 50 in a batch.
    pub(crate) commands: usize,
    /// Whether it may still leave.
    pub(crate) pass: Pass,
}

/// Says at the last moment whether a request may leave. By default, it may.
#[derive(Clone, Default)]
pub(crate) struct Pass(Option<Arc<Check>>);

struct Check {
    may_leave: Box<dyn Fn() -> bool + Send + Sync>,
    has_refused: AtomicBool,
}

impl Pass {
    pub(crate) fn new(may_leave: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let may_leave = Box::new(may_leave);
        Pass(Some(Arc::new(Check { may_leave, has_refused: AtomicBool::new(false) })))
    }

    /// Called directly before the request leaves.
    pub(crate) fn may_leave(&self) -> bool {
        let Some(check) = &self.0 else { return true };
        let may_leave = (check.may_leave)();
        check.has_refused.fetch_or(!may_leave, SeqCst);
        may_leave
    }

    /// Whether the request was not allowed to leave.
    pub(crate) fn has_refused(&self) -> bool {
        self.0.as_ref().is_some_and(|check| check.has_refused.load(SeqCst))
    }
}

/// Without the body, which contains event tokens.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} commands, {} bytes)", self.method.name(), self.commands, self.body.len())
    }
}

/// The result of a [`Request`].
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A complete answer. [`reply::read`] finds out whether it is JSON.
    Http { status: u16, body: Vec<u8> },
    /// A redirect to another host of the portal, if the host is known. It was not followed.
    Moved { host: Option<String> },
    /// Another redirect, with a description. It was not followed, and a person has to fix the cause.
    Redirected(reply::Code),
    /// Certainly not executed: there was no address, no connection, or no TLS.
    NotSent(Cause),
    /// Not sent: there are no credentials for the portal. They may still arrive.
    UnknownPortal(Cause),
    /// The request may have been executed, but there was no complete answer: the outcome is unknown.
    Unanswered(Cause),
}

/// What failed below HTTP, in words without a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause(pub(crate) String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
