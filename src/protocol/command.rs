//! Encodes commands: a direct call for one, a `batch` for up to 50.

use super::Request;

/// Most commands that the portal executes in one batch ("batch", REST API documentation).
pub(crate) const BATCH_COMMANDS: usize = 50;

/// A `bizproc.activity.log` call of its own.
pub(crate) fn activity_log(event_token: &str, message: &str) -> Request {
    let _ = (event_token, message);
    todo!()
}

/// A `batch` under construction, which knows its length in bytes as it grows.
pub(crate) struct Batch {
    body: Vec<u8>,
    commands: usize,
}

impl Batch {
    /// An empty batch.
    pub(crate) fn new() -> Self {
        Batch { body: Vec::new(), commands: 0 }
    }

    /// Appends a `bizproc.activity.log` command.
    pub(crate) fn push_log(&mut self, event_token: &str, message: &str) {
        let _ = (event_token, message);
        todo!()
    }

    /// Bytes that a command adds to the body.
    pub(crate) fn cost(event_token: &str, message: &str) -> usize {
        let _ = (event_token, message);
        todo!()
    }

    pub(crate) fn len(&self) -> usize {
        self.commands
    }

    pub(crate) fn bytes(&self) -> usize {
        self.body.len()
    }

    pub(crate) fn finish(self) -> Request {
        todo!()
    }
}
