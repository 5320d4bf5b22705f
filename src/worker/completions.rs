//! Ends of activities on their way: each waits for its token's lines, but not for long.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing_core::Level;

use super::coalescer::Coalescer;
use super::retry::Backoff;
use crate::completion::Completion;
use crate::error::CompleteError;
use crate::format::Words;
use crate::line::EventToken;
use crate::protocol::reply::{Outcome, Refusal, Sent, Verdict, read};
use crate::protocol::text::ENTRY_BYTES;
use crate::protocol::{Reply, Request, command};
use crate::stats::FlushReport;

/// The answer to a completion.
pub(crate) type Answer = oneshot::Sender<Result<FlushReport, CompleteError>>;

/// An activity that is to be ended.
#[derive(Debug)]
pub(crate) struct Completing {
    pub(crate) event_token: EventToken,
    request: Completion,
    /// From here on it is sent, whatever its lines do.
    deadline: Instant,
    /// From here on it is no longer tried.
    give_up_at: Instant,
    not_before: Instant,
    attempt: u32,
    /// Lines that were pending when it was asked for.
    pending: u64,
    /// What became of them, once all are settled.
    lines: oneshot::Receiver<FlushReport>,
    answer: Answer,
}

/// The completions of one lane.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    waiting: Vec<Completing>,
    in_flight: Option<Completing>,
}

impl Completing {
    pub(crate) fn new(
        event_token: EventToken,
        request: Completion,
        deadline: Instant,
        (pending, lines): (u64, oneshot::Receiver<FlushReport>),
        answer: Answer,
        now: Instant,
    ) -> Self {
        Completing {
            event_token,
            request,
            deadline,
            give_up_at: deadline + PATIENCE,
            not_before: now,
            attempt: 0,
            pending,
            lines,
            answer,
        }
    }

    /// The call. Its message is made as safe as every line.
    pub(crate) fn request(&self, words: &Words) -> Request {
        let level = if self.request.failed { Level::ERROR } else { Level::INFO };
        let message = self.request.message.as_ref();
        let message = message.map(|message| words.last_message(level, message, ENTRY_BYTES));
        let event_token = self.event_token.expose();
        command::event_send(event_token, &self.request.values, message.as_deref())
    }

    fn answer(mut self, answer: Result<(), CompleteError>) {
        let lines = self.lines.try_recv().unwrap_or_else(|_| {
            // One of them is in flight yet: what becomes of all of them is not known.
            let mut unknown = FlushReport::default();
            unknown.set_pending(self.pending);
            unknown
        });
        // Whoever asked may have gone: then nobody is left to be told.
        drop(self.answer.send(answer.map(|()| lines)));
    }
}

impl Completions {
    pub(crate) fn add(&mut self, completing: Completing) {
        self.waiting.push(completing);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// No completion waits for its lines longer than this: the app is shutting down.
    pub(crate) fn close(&mut self, deadline: Instant) {
        for completing in &mut self.waiting {
            completing.deadline = completing.deadline.min(deadline);
        }
    }

    /// The first that may be sent now: its lines are settled, or its deadline has passed. `busy`:
    /// another request of the lane is out, and worth waiting for until the deadline.
    pub(crate) fn ready(
        &mut self,
        coalescer: &Coalescer,
        busy: bool,
        now: Instant,
    ) -> Option<&Completing> {
        if self.in_flight.is_some() {
            return None;
        }
        let ready = self.waiting.iter().position(|completing| {
            let settled = !busy && coalescer.pending(&completing.event_token) == 0;
            now >= completing.not_before && (settled || now >= completing.deadline)
        })?;
        self.in_flight = Some(self.waiting.remove(ready));
        self.in_flight.as_ref()
    }

    /// When to look again, if nothing comes in before.
    pub(crate) fn next_at(&self, now: Instant) -> Option<Instant> {
        if self.in_flight.is_some() {
            return None;
        }
        let at = |completing: &Completing| {
            if now < completing.not_before { completing.not_before } else { completing.deadline }
        };
        self.waiting.iter().map(at).min()
    }

    /// Puts back what was not sent after all, until `at`.
    pub(crate) fn postpone(&mut self, at: Instant) {
        if let Some(mut completing) = self.in_flight.take() {
            completing.not_before = at;
            self.waiting.push(completing);
        }
    }

    /// What waits for its next try is tried at once: there is news.
    pub(crate) fn retry(&mut self, now: Instant) {
        for completing in &mut self.waiting {
            completing.not_before = completing.not_before.min(now);
        }
    }

    /// Takes in what came of the completion in flight. It may be repeated freely: a closed activity
    /// ignores it (server behaviour). Returns a refusal that concerns the whole lane.
    pub(crate) fn settle(
        &mut self,
        reply: &Reply,
        backoff: &mut Backoff,
        now: Instant,
    ) -> Option<Refusal> {
        let verdict = read(reply, Sent::Single);
        let mut completing = self.in_flight.take()?;
        let refusal = match verdict {
            Verdict::Ran { outcomes, .. } => match outcomes.into_iter().next() {
                Some(Outcome::Refused(refusal)) => Some(refusal),
                Some(Outcome::Done(_)) => {
                    completing.answer(Ok(()));
                    return None;
                }
                Some(Outcome::NotExecuted) | None => None,
            },
            Verdict::Refused(refusal) => Some(refusal),
            Verdict::Unknown(_) => None,
        };
        match &refusal {
            Some(
                Refusal::TokenDenied(code)
                | Refusal::WorkflowGone(code)
                | Refusal::Command(code)
                | Refusal::Credential(code)
                | Refusal::Portal(code),
            ) => {
                let code = code.to_string();
                completing.answer(Err(CompleteError::Refused { code }));
                return None;
            }
            // Repeated as soon as the lane has other access.
            Some(Refusal::Grant(_) | Refusal::Moved(_)) => {
                completing.not_before = match completing.attempt {
                    0 => now,
                    attempt => now + backoff.wait(attempt),
                };
                completing.attempt += 1;
                self.again(completing);
                return refusal;
            }
            Some(
                Refusal::Unreachable(_)
                | Refusal::UnknownPortal(_)
                | Refusal::RateLimit
                | Refusal::OperatingLimit
                | Refusal::TooLarge
                | Refusal::Locked(_)
                | Refusal::Server(_),
            )
            | None => {}
        }
        completing.not_before = now + backoff.wait(completing.attempt);
        completing.attempt += 1;
        self.again(completing);
        refusal
    }

    /// Waits for its next try, if there is to be one.
    fn again(&mut self, completing: Completing) {
        if completing.not_before >= completing.give_up_at {
            completing.answer(Err(CompleteError::NotSent));
        } else {
            self.waiting.push(completing);
        }
    }

    /// The deadline of the shutdown has passed.
    pub(crate) fn abandon(&mut self) {
        for completing in self.waiting.drain(..).chain(self.in_flight.take()) {
            completing.answer(Err(CompleteError::NotSent));
        }
    }
}

/// How long a completion is tried after its deadline.
const PATIENCE: Duration = Duration::from_secs(120);
