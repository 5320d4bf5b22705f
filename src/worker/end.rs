//! The end of an activity on its way: what is sent, when, and who waits for the answer.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing_core::Level;

use super::ending::Ending;
use super::incoming::Stamp;
use crate::completion::Completion;
use crate::error::CompleteError;
use crate::format::Words;
use crate::protocol::Request;
use crate::protocol::command::{self, EndCommand};
use crate::protocol::text::ENTRY_BYTES;
use crate::stats::FlushReport;

/// The answer to a completion.
pub(crate) type Answer = oneshot::Sender<Result<FlushReport, CompleteError>>;

/// An activity that is to be ended.
#[derive(Debug)]
pub(crate) struct End {
    /// Tells it from other ends that its token had.
    pub(crate) number: u64,
    /// Its name in the journal.
    pub(crate) stamp: Option<Stamp>,
    completion: Completion,
    /// The form that may stand in a batch, if that means the same.
    command: Option<EndCommand>,
    /// From here on it is sent, whatever its lines do.
    pub(crate) deadline: Instant,
    /// From here on it is no longer tried.
    pub(crate) give_up_at: Instant,
    /// The portal asked for patience with it.
    pub(crate) not_before: Instant,
    /// Times that the portal asked for patience.
    pub(crate) waited: u32,
    /// Requests that carry it now.
    pub(crate) out: u8,
    /// When the last of them went.
    pub(crate) sent_at: Instant,
    /// The portal failed on it when it was alone: it goes alone from now on.
    pub(crate) solo: bool,
    /// What became of its token's lines since it was asked for.
    report: FlushReport,
    answer: Answer,
}

impl End {
    /// `most_bytes`: of a request. `deadline`: how long it waits for its token's lines.
    #[expect(clippy::too_many_arguments, reason = "an end is all of this")]
    pub(crate) fn new(
        number: u64,
        event_token: &str,
        mut completion: Completion,
        words: &Words,
        most_bytes: usize,
        deadline: Instant,
        answer: Answer,
        now: Instant,
    ) -> Self {
        let level = if completion.failed { Level::ERROR } else { Level::INFO };
        // Its message is made as safe as every line.
        completion.message = completion
            .message
            .as_deref()
            .map(|message| words.last_message(level, message, ENTRY_BYTES));
        let message = completion.message.as_deref();
        let command = command::end_command(event_token, &completion.values, message)
            .filter(|command| command.cost() < most_bytes / 2);
        End {
            number,
            stamp: None,
            completion,
            command,
            deadline,
            give_up_at: deadline + PATIENCE,
            not_before: now,
            waited: 0,
            out: 0,
            sent_at: now,
            solo: false,
            report: FlushReport::default(),
            answer,
        }
    }

    /// The form in which it may stand beside other commands now.
    pub(crate) fn command(&self) -> Option<&EndCommand> {
        self.command.as_ref().filter(|_| !self.solo)
    }

    /// The call by itself, which is JSON: values keep their types.
    pub(crate) fn request(&self, event_token: &str) -> Request {
        let Completion { values, message, .. } = &self.completion;
        command::event_send(event_token, values, message.as_deref())
    }

    /// What it holds while it waits.
    pub(crate) fn bytes(&self) -> usize {
        let values = self.completion.values.iter();
        let values: usize = values.map(|(name, value)| name.len() + command::bytes(value)).sum();
        let message = self.completion.message.as_ref().map_or(0, String::len);
        size_of::<End>() + values + message + self.command.as_ref().map_or(0, EndCommand::bytes)
    }

    /// When it goes whatever its lines do. While it is out, it is sent once more if the answer takes
    /// too long: that does no harm, since a closed activity ignores it (server behaviour).
    pub(crate) fn goes_at(&self) -> Option<Instant> {
        match self.out {
            0 => Some(self.deadline.max(self.not_before)),
            1 => Some(self.deadline.max(self.sent_at + RESEND_AFTER)),
            _ => None,
        }
    }

    /// Lines of its token have ended.
    pub(crate) fn count(&mut self, ending: Ending, lines: u64) {
        ending.count(&mut self.report, lines);
    }

    /// Answers the caller. `pending`: lines that are not settled yet.
    pub(crate) fn answer(mut self, answer: Result<(), CompleteError>, pending: u64) {
        self.report.set_pending(pending, u64::MAX);
        // The caller may no longer wait for the answer.
        drop(self.answer.send(answer.map(|()| self.report)));
    }
}

/// How long a completion is tried after its deadline.
const PATIENCE: Duration = Duration::from_secs(120);
/// A request that is out for so long no longer counts as the end's try.
const RESEND_AFTER: Duration = Duration::from_secs(10);
