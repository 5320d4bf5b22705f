//! REST calls of the app, through the portal's lane. They share its access tokens and its rate limit. A call
//! in flight delays no lines or ends; at the rate limit, calls and entries take turns. A block of the log
//! does not block calls.
//!
//! One call is in flight at a time. It is repeated only if it was certainly not executed.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Action, Lane, Renewal, State, What};
use crate::call::CallAnswer;
use crate::error::{CallError, Description, WorkerError};
use crate::protocol::call::{self, Answer, Called};
use crate::protocol::reply::{Code, Refusal};
use crate::protocol::{Method, Pass, Reply, Request};
use crate::worker::report::Trouble;
use crate::worker::turn::Turn;

/// A call on its way.
#[derive(Debug)]
pub(crate) struct AppCall {
    pub(crate) method: Method,
    pub(crate) body: Body,
    /// After this time it is not tried any more.
    pub(crate) deadline: Instant,
    pub(crate) answer: CallReply,
    /// Not sent before this.
    not_before: Instant,
    /// Times that it was not executed.
    attempt: u32,
}

/// The caller.
pub(crate) type CallReply = oneshot::Sender<Result<CallAnswer, CallError>>;

/// Parameters, which are the customer's data.
pub(crate) struct Body(pub(crate) Vec<u8>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl AppCall {
    pub(crate) fn new(
        method: Method,
        body: Vec<u8>,
        deadline: Instant,
        answer: CallReply,
        now: Instant,
    ) -> Self {
        AppCall { method, body: Body(body), deadline, answer, not_before: now, attempt: 0 }
    }

    fn answer(self, answer: Result<CallAnswer, CallError>) {
        // The caller may have stopped waiting.
        drop(self.answer.send(answer));
    }
}

/// The calls of one lane.
#[derive(Debug, Default)]
pub(super) struct Calls {
    waiting: VecDeque<AppCall>,
    in_flight: Option<InFlight>,
    /// The last request was a call: what the log has goes first now.
    pub(super) was_last: bool,
}

#[derive(Debug)]
struct InFlight {
    /// `None`: it was given up meanwhile.
    call: Option<AppCall>,
    /// The access that it was sent with.
    access: u64,
}

impl Calls {
    pub(super) fn is_out(&self) -> bool {
        self.in_flight.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.is_out()
    }

    /// When the first of them may go, or is given up.
    fn next_at(&self) -> Option<Instant> {
        self.waiting.iter().map(|call| call.not_before.min(call.deadline)).min()
    }
}

impl Lane {
    /// Takes a call in.
    pub(crate) fn call(&mut self, call: AppCall) {
        if self.calls.waiting.len() >= MOST_WAITING {
            return call.answer(Err(CallError::Worker(WorkerError::Busy)));
        }
        self.calls.waiting.push_back(call);
    }

    /// Whether a call is sent before entries: at the rate limit they take turns. Ends of activities are sent
    /// first.
    pub(super) fn is_calls_turn(&self, now: Instant) -> bool {
        let ends = self.coalescer.next_end().and_then(|due| self.ends_from(due));
        let ends = ends.is_some_and(|at| at <= now);
        !self.calls.was_last && !ends && !self.calls.waiting.is_empty()
    }

    /// The next call, or when to look again.
    pub(super) fn next_call(&mut self, turn: &mut Turn<'_>) -> Result<Action, Option<Instant>> {
        let now = turn.now;
        self.lapse_calls(now);
        if self.calls.is_out() || matches!(self.state, State::Refreshing { .. }) {
            return Err(self.calls.waiting.iter().map(|call| call.deadline).min());
        }
        let ready = self.calls.waiting.iter().position(|call| call.not_before <= now);
        let Some(ready) = ready else { return Err(self.calls.next_at()) };
        let at = self.bucket.ready_at(now);
        if at > now {
            return Err(Some(at));
        }
        let Some(call) = self.calls.waiting.remove(ready) else { return Err(None) };
        let request = Request {
            method: call.method.clone(),
            body: call.body.0.clone(),
            commands: 1,
            pass: Pass::default(),
        };
        turn.stats().request(1);
        self.bucket.sent(now);
        self.calls.was_last = true;
        self.calls.in_flight = Some(InFlight { call: Some(call), access: self.access });
        Ok(Action::Send(What::Call, request))
    }

    /// Answers calls whose time is over, and drops calls for which nobody waits any more.
    fn lapse_calls(&mut self, now: Instant) {
        let waiting = std::mem::take(&mut self.calls.waiting);
        for call in waiting {
            if call.answer.is_closed() {
                continue;
            }
            if now >= call.deadline {
                let why = self.why_not();
                call.answer(Err(CallError::NotSent { why }));
            } else {
                self.calls.waiting.push_back(call);
            }
        }
    }

    fn why_not(&self) -> String {
        match self.failure.is_empty() {
            true => "the request limit of the portal is reached".to_owned(),
            false => self.failure.clone(),
        }
    }

    /// Processes the result of a call.
    pub(super) fn settle_call(&mut self, reply: &Reply, turn: &mut Turn<'_>) {
        // Parsed before the state changes, so that a panic in the parser loses no call.
        let called = call::read(reply);
        let Some(InFlight { call: Some(call), access }) = self.calls.in_flight.take() else {
            return;
        };
        let (refusal, said) = match called {
            Called::Done(Answer { result, next, total }) => {
                self.renewals = 0;
                self.bucket.succeeded();
                return call.answer(Ok(CallAnswer { result, next, total }));
            }
            Called::Unknown(trouble) => {
                turn.stats().unknown_outcome();
                return call.answer(Err(CallError::OutcomeUnknown { why: trouble.to_string() }));
            }
            Called::Refused(refusal, said) => (refusal, said),
        };
        let code = refusal.to_string();
        let description = Description(said);
        match refusal {
            Refusal::RateLimit => {
                turn.stats().rate_limited();
                turn.report(Trouble::RateLimited, "");
                self.bucket.refused(turn.now);
                self.call_again(call, code, turn.now);
            }
            // It did not reach the portal, or the portal did not accept it.
            Refusal::Unreachable(_) | Refusal::Server(_) => self.call_again(call, code, turn.now),
            Refusal::Grant(_) | Refusal::Moved(Some(_)) => {
                let other = match refusal {
                    Refusal::Moved(Some(host)) => Renewal::Relocate(host),
                    _ => Renewal::Refresh,
                };
                // What was sent before the newest access was got says nothing of that.
                if access == self.access {
                    self.renew(other, &Code(code.clone()), turn);
                }
                let renews = matches!(self.state, State::Refreshing { .. });
                if renews || access != self.access {
                    self.calls.waiting.push_front(call);
                } else {
                    call.answer(Err(CallError::Credential { code, description }));
                }
            }
            Refusal::OperatingLimit => call.answer(Err(CallError::OperatingLimit)),
            Refusal::UnknownPortal(_) => call.answer(Err(CallError::UnknownPortal { why: code })),
            Refusal::Credential(_) => {
                call.answer(Err(CallError::Credential { code, description }));
            }
            Refusal::Portal(_) | Refusal::Redirected(_) | Refusal::Moved(None) => {
                call.answer(Err(CallError::Portal { code, description }));
            }
            Refusal::TooLarge
            | Refusal::TokenDenied(_)
            | Refusal::WorkflowGone(_)
            | Refusal::Locked(_)
            | Refusal::Command(_) => call.answer(Err(CallError::Refused { code, description })),
        }
    }

    /// It was not executed: again after a pause, while there is time.
    fn call_again(&mut self, mut call: AppCall, why: String, now: Instant) {
        call.not_before = now + self.backoff.wait(call.attempt);
        call.attempt += 1;
        if call.not_before >= call.deadline {
            call.answer(Err(CallError::NotSent { why }));
        } else {
            self.calls.waiting.push_back(call);
        }
    }

    /// A call has not left.
    pub(super) fn give_back_call(&mut self) {
        if let Some(InFlight { call: Some(call), .. }) = self.calls.in_flight.take() {
            self.calls.waiting.push_front(call);
        }
    }

    /// Nothing is sent any more.
    pub(super) fn abandon_calls(&mut self, why: &str) {
        // It keeps its place, or its reply would be taken for that of another.
        let out = self.calls.in_flight.as_mut().and_then(|out| out.call.take());
        for call in std::mem::take(&mut self.calls.waiting) {
            call.answer(Err(CallError::NotSent { why: why.to_owned() }));
        }
        if let Some(call) = out {
            call.answer(Err(CallError::OutcomeUnknown { why: why.to_owned() }));
        }
    }
}

/// Calls of one portal that may wait.
const MOST_WAITING: usize = 1_000;
