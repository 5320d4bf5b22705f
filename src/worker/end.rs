//! The end of an activity: what is sent, when, and who waits for the answer.

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

/// An activity that the app ends.
#[derive(Debug)]
pub(crate) struct End {
    /// Distinguishes it from other ends of its token.
    pub(crate) number: u64,
    /// Its name in the journal.
    pub(crate) stamp: Option<Stamp>,
    /// It is in the journal, or on its way there: the next run sends it, if this one does not.
    pub(crate) stays: bool,
    completion: Completion,
    /// The command for a batch, if it means the same there.
    command: Option<EndCommand>,
    /// From this time on it is sent, also if lines are pending.
    pub(crate) deadline: Instant,
    /// After this time it is not tried any more.
    pub(crate) give_up_at: Instant,
    /// It is not sent before this time: the workflow was locked or not found.
    pub(crate) not_before: Instant,
    /// How often the workflow was locked or not found.
    pub(crate) waited: u32,
    /// How many requests with it are in flight.
    pub(crate) out: u8,
    /// When the last of them was sent.
    pub(crate) sent_at: Instant,
    /// The portal has failed with it when it was alone. It is sent alone from now on.
    pub(crate) solo: bool,
    /// The results of its token's lines since the app has ended the activity.
    report: FlushReport,
    answer: Answer,
}

impl End {
    /// `most_bytes`: the largest request. `deadline`: how long it waits for the lines of its token.
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
        // Its message is made safe like every line.
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
            stays: false,
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

    /// Its command for a batch, if it may be in one now.
    pub(crate) fn command(&self) -> Option<&EndCommand> {
        self.command.as_ref().filter(|_| !self.solo)
    }

    /// The direct call, which is JSON: values keep their types.
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

    /// When it is sent also if lines are pending. If there is no answer for too long, it is sent once more; a
    /// closed activity ignores it (server behaviour).
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

    /// Answers the caller. `pending`: lines that are still pending.
    pub(crate) fn answer(mut self, answer: Result<(), CompleteError>, pending: u64) {
        self.report.set_pending(pending, u64::MAX);
        // The caller may have stopped waiting.
        drop(self.answer.send(answer.map(|()| self.report)));
    }
}

/// How long a completion is tried after its deadline.
const PATIENCE: Duration = Duration::from_secs(120);
/// If there is no answer for this time, the end is sent once more.
const RESEND_AFTER: Duration = Duration::from_secs(10);
