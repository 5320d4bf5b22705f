//! Requests to a portal and its answers, as text. Pure: no I/O, no clock, no other module.

use std::fmt;
use std::sync::Arc;

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
    /// One that the app calls.
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
    /// How many commands the body carries: 1, or up to 50 in a batch.
    pub(crate) commands: usize,
}

/// Without the body, which holds event tokens.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} commands, {} bytes)", self.method.name(), self.commands, self.body.len())
    }
}

/// What came of a [`Request`].
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// An answer, whole. Whether it is JSON is for [`reply::read`] to find out.
    Http { status: u16, body: Vec<u8> },
    /// A redirect, not followed, to another name of the portal: its host, when it is known.
    Moved { host: Option<String> },
    /// A redirect, not followed, that somebody has to do something about: what it seems to be.
    Redirected(reply::Code),
    /// Certainly not executed: there was no address, no connection, or no TLS.
    NotSent(Cause),
    /// Not sent: there are no credentials for the portal. They may still arrive.
    UnknownPortal(Cause),
    /// The request may have been executed, but no whole answer came: the outcome is unknown.
    Unanswered(Cause),
}

/// What went wrong below HTTP, in words that hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause(pub(crate) String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
