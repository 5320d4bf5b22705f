//! One portal's lane: a state machine with one request in flight. Says what to send and when, and
//! what a reply means for each command.
//!
//! Does no I/O and reads no clock.

use std::time::{Duration, Instant};

use super::coalescer::{Coalescer, Command, Finished, Plan};
use super::completions::{Completing, Completions};
use super::deadlines::{Deadlines, Passed};
use super::ledger::{Ending, Ledger};
use super::meters::Meters;
use super::pace::{LeakyBucket, Quota};
use super::report::Trouble;
use super::retry::{Backoff, RetryPolicy};
use crate::format::Words;
use crate::line::EventToken;
use crate::protocol::Request;
use crate::protocol::command::{self, BATCH_COMMANDS, Batch};
use crate::protocol::reply::Sent;
use crate::stats::DropReason;

mod access;
mod losses;
mod outcome;

/// What a lane is told once.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) plan: Plan,
    pub(crate) quota: Quota,
    pub(crate) operating_limit: Duration,
    pub(crate) request_bytes: usize,
    pub(crate) retry: RetryPolicy,
    pub(crate) words: Words,
    /// The share of the budget that one portal may hold: above 0, at most 1.
    pub(crate) portal_share: f64,
}

/// What a lane wants.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send this.
    Send(What, Request),
    /// Get other access to the portal; nothing goes to it meanwhile.
    Access(Access),
    /// Ask again at this time.
    Wait(Instant),
    /// Nothing to do until something comes in.
    Idle,
}

/// What a lane has under way. One of each may be out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Writes entries.
    Log,
    /// Ends an activity.
    End,
    /// Gets other access to the portal.
    Access,
}

/// Which other access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The access token was refused: another one.
    Refresh,
    /// The portal says that it lives on this host now.
    Relocate(String),
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) coalescer: Coalescer,
    bucket: LeakyBucket,
    meters: Meters,
    state: State,
    /// Invariant: at most one request with entries is out.
    in_flight: Option<InFlight>,
    completions: Completions,
    deadlines: Deadlines,
    /// Access that is to be got, and not asked for yet.
    wanted: Option<Access>,
    /// Times in a row that new access was refused again.
    renewals: u32,
    backoff: Backoff,
    /// Most commands in a request: halved when the portal stumbles, doubled by success, so that a
    /// command that it stumbles over ends up alone.
    most: usize,
    /// Seconds from request to reply per command: a moving average.
    per_command: f64,
    /// Requests that ran.
    successes: u64,
    /// The portal has acknowledged something on this credential.
    worked: bool,
    /// Waiting entries are checked for their age at this time.
    next_check: Instant,
    closing: bool,
    /// Scratch space for one message.
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Ready,
    /// Failures in a row: `attempt`.
    BackingOff {
        until: Instant,
        attempt: u32,
    },
    /// Other access is to be got, or on its way.
    Refreshing,
    /// The portal wants something mended first. It is asked again now and then.
    Blocked {
        until: Instant,
        reason: DropReason,
    },
}

#[derive(Debug)]
struct InFlight {
    commands: Vec<Command>,
    sent: Sent,
    at: Instant,
}

impl Lane {
    pub(crate) fn new(rules: &Rules, seed: u64, now: Instant) -> Self {
        Lane {
            coalescer: Coalescer::new(),
            bucket: LeakyBucket::new(rules.quota, now),
            meters: Meters::new(rules.operating_limit, now),
            state: State::Ready,
            in_flight: None,
            completions: Completions::default(),
            deadlines: Deadlines::default(),
            wanted: None,
            renewals: 0,
            backoff: Backoff::new(seed),
            most: BATCH_COMMANDS,
            per_command: 0.0,
            successes: 0,
            worked: false,
            next_check: now + CHECK_AGE,
            closing: false,
            message: String::new(),
        }
    }

    /// The app is shutting down: what waits only to be polite goes now.
    pub(crate) fn close(&mut self, rules: &Rules, deadline: Instant, now: Instant) {
        self.closing = true;
        // Half of what is left is for the lines, half for the end itself.
        self.completions.close(now + deadline.saturating_duration_since(now) / 2);
        self.coalescer.seal(None, &rules.plan, now);
        self.coalescer.lift_holds(&rules.plan);
        if let State::BackingOff { attempt, .. } = self.state {
            self.state = State::BackingOff { until: now, attempt };
        }
    }

    /// An activity is to be ended. Its token takes no more lines.
    pub(crate) fn complete(&mut self, completing: Completing, rules: &Rules, now: Instant) {
        self.coalescer.finish(&completing.event_token, Finished::Late, &rules.plan, now);
        self.completions.add(completing);
    }

    /// The portal waits for an activity until then. What is pending then is late.
    pub(crate) fn expect(&mut self, event_token: EventToken, waits_until: Instant, now: Instant) {
        self.deadlines.add(event_token, waits_until, now);
    }

    /// Why nothing is sent for now, if something has to be mended first.
    pub(crate) fn blocked(&self) -> Option<DropReason> {
        match self.state {
            State::Blocked { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Whether ends of activities are on their way.
    pub(crate) fn is_completing(&self) -> bool {
        !self.completions.is_empty()
    }

    /// What to do now.
    pub(crate) fn next(&mut self, rules: &Rules, ledger: &mut Ledger, now: Instant) -> Action {
        if let Some(access) = self.wanted.take() {
            return Action::Access(access);
        }
        if let Some(request) = self.next_end(rules, ledger, now) {
            return Action::Send(What::End, request);
        }
        self.pass_deadlines(rules, ledger, now);
        let action = self.next_log(rules, ledger, now);
        // What waits for other access is looked at when that has come.
        let refreshing = self.state == State::Refreshing;
        let end = if refreshing { None } else { self.completions.next_at(now) };
        let look = end.into_iter().chain(self.deadlines.next_at()).min();
        match (action, look) {
            (Action::Wait(at), Some(look)) => Action::Wait(at.min(look)),
            (Action::Idle, Some(look)) => Action::Wait(look),
            (action, _) => action,
        }
    }

    /// The portals' patience with activities has come to an end, or nearly so.
    fn pass_deadlines(&mut self, rules: &Rules, ledger: &mut Ledger, now: Instant) {
        while let Some(passed) = self.deadlines.pop(now) {
            match passed {
                Passed::Soon(event_token) => {
                    if self.coalescer.pending(&event_token) > 0 {
                        ledger.report(Trouble::TimeRunsOut, event_token.to_string());
                    }
                    self.coalescer.hurry(&event_token, &rules.plan, now);
                }
                Passed::Over(event_token) => {
                    let held = self.coalescer.end(&event_token, Finished::Late, &rules.plan, now);
                    for entry in held {
                        ledger.settle(&event_token, &entry, Ending::Late);
                    }
                }
            }
        }
    }

    /// The end of an activity goes ahead of all lines, and needs no more than a place in the rate:
    /// logging never holds up the customer's process.
    fn next_end(&mut self, rules: &Rules, ledger: &mut Ledger, now: Instant) -> Option<Request> {
        if self.state == State::Refreshing {
            return None;
        }
        let completing = self.completions.ready(&self.coalescer, self.in_flight.is_some(), now)?;
        let ready_at = self.bucket.ready_at(now);
        if ready_at > now {
            self.completions.postpone(ready_at);
            return None;
        }
        let request = completing.request(&rules.words);
        let event_token = &completing.event_token;
        self.deadlines.remove(event_token);
        let held = self.coalescer.end(event_token, Finished::Late, &rules.plan, now);
        for entry in held {
            ledger.settle(event_token, &entry, Ending::Late);
        }
        ledger.stats().request(1);
        self.bucket.sent(now);
        Some(request)
    }

    fn next_log(&mut self, rules: &Rules, ledger: &mut Ledger, now: Instant) -> Action {
        if self.in_flight.is_some() {
            return Action::Idle;
        }
        self.check_age(rules, ledger, now);
        let at = match self.ready_at(now) {
            Ok(at) => at,
            Err(idle) => return idle,
        };
        if at > now {
            return Action::Wait(at);
        }
        let until = now + TAKE_ALONG;
        let one = self.coalescer.due_by(until, 2) < 2;
        let allowed = match self.meters.allowance(one, self.most_now(), now) {
            Ok(allowed) => allowed,
            Err(at) => return Action::Wait(self.or_check(at)),
        };
        let (commands, batch) = self.gather(allowed, until, rules, ledger, now);
        if commands.is_empty() {
            return match self.coalescer.next_due() {
                Some(at) => Action::Wait(at.max(now + TICK)),
                None => Action::Idle,
            };
        }
        self.send(commands, batch, rules, ledger, now)
    }

    /// When the next request may go, or what to do when there is none.
    fn ready_at(&self, now: Instant) -> Result<Instant, Action> {
        let due = self.coalescer.next_due().ok_or(Action::Idle)?;
        let held = match self.state {
            State::Ready => now,
            State::Refreshing => return Err(Action::Idle),
            State::BackingOff { until, .. } | State::Blocked { until, .. } => until,
        };
        let at = due.max(held).max(self.bucket.ready_at(now));
        Ok(if due <= now && at > now { self.or_check(at) } else { at })
    }

    /// What is due but held back is checked for its age meanwhile.
    fn or_check(&self, at: Instant) -> Instant {
        at.min(self.next_check)
    }

    /// Commands that a request may carry, so that the portal answers well within its own 60 s.
    fn most_now(&self) -> usize {
        let in_time = if self.per_command > 0.0 {
            (REPLY_WITHIN.as_secs_f64() / self.per_command) as usize
        } else {
            BATCH_COMMANDS
        };
        self.most.min(in_time).clamp(1, BATCH_COMMANDS)
    }

    /// Takes what is due, oldest first, as far as it fits one request.
    fn gather(
        &mut self,
        allowed: usize,
        until: Instant,
        rules: &Rules,
        ledger: &mut Ledger,
        now: Instant,
    ) -> (Vec<Command>, Batch) {
        let (mut commands, mut batch) = (Vec::new(), Batch::new());
        while commands.len() < allowed {
            let Some(command) = self.coalescer.take(until, &rules.plan, now) else { break };
            self.message.clear();
            command.entry.write_message(&rules.words, &mut self.message);
            let event_token = command.event_token.expose();
            let alone = command.entry.tries.solo();
            let bytes = batch.bytes() + Batch::cost(event_token, &self.message);
            if !commands.is_empty() && (alone || bytes > rules.request_bytes) {
                self.put_back(command, None, rules, ledger);
                break;
            }
            batch.push_log(event_token, &self.message);
            commands.push(command);
            if alone {
                break;
            }
        }
        (commands, batch)
    }

    fn send(
        &mut self,
        commands: Vec<Command>,
        batch: Batch,
        rules: &Rules,
        ledger: &Ledger,
        now: Instant,
    ) -> Action {
        ledger.stats().request(commands.len() as u64);
        let in_doubt = commands.iter().filter(|command| command.entry.tries.in_doubt).count();
        ledger.stats().repeats(in_doubt as u64);
        let (request, sent) = match commands.as_slice() {
            [only] => {
                // The scratch may hold the message of one that did not fit any more.
                self.message.clear();
                only.entry.write_message(&rules.words, &mut self.message);
                (command::activity_log(only.event_token.expose(), &self.message), Sent::Single)
            }
            _ => (batch.finish(), Sent::Batch(commands.len())),
        };
        self.bucket.sent(now);
        self.in_flight = Some(InFlight { commands, sent, at: now });
        Action::Send(What::Log, request)
    }
}

/// A request that goes anyway takes along what is due so soon.
const TAKE_ALONG: Duration = Duration::from_millis(100);
/// Requests are sized to be answered within this; the portal ends them at 60 s (REST API limits).
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// How often waiting entries are checked for their age.
const CHECK_AGE: Duration = Duration::from_secs(1);
/// No lane is asked more often than this without cause.
pub(super) const TICK: Duration = Duration::from_millis(1);
