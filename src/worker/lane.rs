//! One portal's lane: a state machine with one request in flight. Says what to send and when, and
//! what a reply means for each command.
//!
//! Does no I/O and reads no clock.

use std::time::{Duration, Instant};

use super::coalescer::{Coalescer, Command, Finished, Plan};
use super::completions::{Completing, Completions};
use super::deadlines::{Deadlines, Passed};
use super::entry::Entry;
use super::ledger::{Ending, Ledger};
use super::meters::{Meters, Within};
use super::pace::{LeakyBucket, Quota};
use super::report::Trouble;
use super::retry::{
    ASK_AGAIN, Backoff, EARLY, RetryPolicy, TRIES_ALONE, TRIES_IN_ALL, TRIES_LOCKED, UNKNOWN_KEPT,
    UnknownOutcome,
};
use crate::line::EventToken;
use crate::protocol::command::{self, BATCH_COMMANDS, Batch};
use crate::protocol::reply::{self, Code, Outcome, Refusal, Sent, Verdict};
use crate::protocol::text::Astral;
use crate::protocol::{Reply, Request};
use crate::stats::DropReason;
use crate::transport::Refreshed;

/// What a lane is told once.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) plan: Plan,
    pub(crate) quota: Quota,
    pub(crate) operating_limit: Duration,
    pub(crate) request_bytes: usize,
    pub(crate) retry: RetryPolicy,
    pub(crate) astral: Astral,
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
        let request = completing.request(rules.astral);
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
        self.send(commands, batch, ledger, now)
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
            command.entry.write_message(&mut self.message);
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
                only.entry.write_message(&mut self.message);
                (command::activity_log(only.event_token.expose(), &self.message), Sent::Single)
            }
            _ => (batch.finish(), Sent::Batch(commands.len())),
        };
        self.bucket.sent(now);
        self.in_flight = Some(InFlight { commands, sent, at: now });
        Action::Send(What::Log, request)
    }

    /// Takes in what came of a request.
    pub(crate) fn settle(
        &mut self,
        what: What,
        reply: &Reply,
        rules: &Rules,
        ledger: &mut Ledger,
        now: Instant,
    ) {
        if what == What::End {
            let refusal = self.completions.settle(reply, &mut self.backoff, now);
            match refusal {
                Some(Refusal::Grant(code)) => self.renew(Access::Refresh, &code, ledger, now),
                Some(Refusal::Moved(Some(host))) => {
                    self.renew(Access::Relocate(host.clone()), &Code(host), ledger, now);
                }
                Some(Refusal::UnknownPortal(trouble)) => {
                    ledger.report(Trouble::UnknownPortal, trouble.to_string());
                    self.block(DropReason::UnknownPortal, now);
                }
                Some(Refusal::RateLimit) => self.bucket.refused(now),
                _ => {}
            }
            return;
        }
        let Some(sent) = self.in_flight.as_ref().map(|in_flight| in_flight.sent) else { return };
        // Read before anything is taken apart: a panic in a parser costs no line.
        let verdict = reply::read(reply, sent);
        let Some(InFlight { commands, at, .. }) = self.in_flight.take() else { return };
        match verdict {
            Verdict::Ran { outcomes, time } => {
                self.ran(commands.len(), now.saturating_duration_since(at));
                self.meters.observe(sent, &outcomes, time, now);
                let mut outcomes = outcomes.into_iter();
                for command in commands {
                    let outcome = outcomes.next().unwrap_or(Outcome::NotExecuted);
                    self.settle_command(command, sent, outcome, rules, ledger, now);
                }
            }
            Verdict::Refused(refusal) => {
                self.refused(commands, sent, &refusal, rules, ledger, now);
            }
            Verdict::Unknown(trouble) => {
                ledger.stats().unknown_outcome();
                ledger.report(Trouble::UnknownOutcome, trouble.to_string());
                self.unknown(commands, rules, ledger, now);
            }
        }
    }

    fn ran(&mut self, commands: usize, took: Duration) {
        self.state = State::Ready;
        self.renewals = 0;
        self.successes += 1;
        self.bucket.succeeded();
        self.most = (self.most * 2).min(BATCH_COMMANDS);
        let per_command = took.as_secs_f64() / commands.max(1) as f64;
        self.per_command += (per_command - self.per_command) * COST_WEIGHT;
    }

    fn settle_command(
        &mut self,
        mut command: Command,
        sent: Sent,
        outcome: Outcome,
        rules: &Rules,
        ledger: &mut Ledger,
        now: Instant,
    ) {
        let plan = &rules.plan;
        match outcome {
            Outcome::Done(_) => {
                self.worked = true;
                let rolled_off = self.coalescer.acknowledged(&command, plan, now);
                ledger.stats().rolled_off(rolled_off);
                ledger.settle(&command.event_token, &command.entry, Ending::Acknowledged);
            }
            Outcome::NotExecuted => self.put_back(command, None, rules, ledger),
            Outcome::Refused(refusal) => match refusal {
                Refusal::OperatingLimit => {
                    ledger.operating_limited();
                    self.meters.refused(sent, Within::Command, now);
                    self.put_back(command, None, rules, ledger);
                }
                Refusal::Locked(_) if command.entry.tries.waited < TRIES_LOCKED => {
                    self.hold(command, rules, ledger, now);
                }
                Refusal::WorkflowGone(_)
                    if self.coalescer.may_be_early(command.key, EARLY, now) && !self.closing =>
                {
                    self.hold(command, rules, ledger, now);
                }
                Refusal::Server(_) if command.entry.tries.alone < TRIES_ALONE => {
                    command.entry.tries.alone += 1;
                    command.entry.tries.in_doubt = true;
                    self.hold(command, rules, ledger, now);
                }
                Refusal::Locked(_) | Refusal::Server(_) => {
                    self.give_up(&command, DropReason::RetriesSpent, rules, ledger, now);
                }
                Refusal::WorkflowGone(_) => {
                    self.finish(command, DropReason::WorkflowGone, rules, ledger, now);
                }
                Refusal::TokenDenied(code) => {
                    if !self.worked {
                        ledger.report(Trouble::NeverWorked, code.to_string());
                    }
                    self.finish(command, DropReason::TokenDenied, rules, ledger, now);
                }
                Refusal::Command(_) | Refusal::TooLarge => {
                    self.give_up(&command, DropReason::EntryRefused, rules, ledger, now);
                }
                Refusal::Grant(code) => {
                    self.renew(Access::Refresh, &code, ledger, now);
                    self.put_back(command, None, rules, ledger);
                }
                Refusal::Credential(code) => {
                    ledger.report(Trouble::CredentialBlocked, code.to_string());
                    self.block(DropReason::CredentialBlocked, now);
                    self.put_back(command, None, rules, ledger);
                }
                Refusal::Portal(code) => {
                    ledger.report(Trouble::PortalBlocked, code.to_string());
                    self.block(DropReason::PortalBlocked, now);
                    self.put_back(command, None, rules, ledger);
                }
                // Never of a command; but should it be, a pause does no harm.
                Refusal::RateLimit
                | Refusal::Unreachable(_)
                | Refusal::UnknownPortal(_)
                | Refusal::Moved(_) => {
                    self.bucket.refused(now);
                    self.put_back(command, None, rules, ledger);
                }
            },
        }
    }

    /// The portal refused the request as a whole: nothing of it was executed.
    fn refused(
        &mut self,
        mut commands: Vec<Command>,
        sent: Sent,
        refusal: &Refusal,
        rules: &Rules,
        ledger: &mut Ledger,
        now: Instant,
    ) {
        match refusal {
            Refusal::RateLimit => {
                ledger.stats().rate_limited();
                ledger.report(Trouble::RateLimited, "");
                self.bucket.refused(now);
                self.back_off(now);
            }
            Refusal::Unreachable(trouble) => {
                ledger.report(Trouble::Unreachable, trouble.to_string());
                self.back_off(now);
            }
            Refusal::UnknownPortal(trouble) => {
                ledger.report(Trouble::UnknownPortal, trouble.to_string());
                self.block(DropReason::UnknownPortal, now);
            }
            Refusal::OperatingLimit => {
                ledger.operating_limited();
                self.meters.refused(sent, Within::Request, now);
            }
            Refusal::Grant(code) => self.renew(Access::Refresh, code, ledger, now),
            Refusal::Credential(code) => {
                ledger.report(Trouble::CredentialBlocked, code.to_string());
                self.block(DropReason::CredentialBlocked, now);
            }
            Refusal::Portal(code) => {
                ledger.report(Trouble::PortalBlocked, code.to_string());
                self.block(DropReason::PortalBlocked, now);
            }
            Refusal::Moved(host) => match host {
                Some(host) => {
                    let code = Code(host.clone());
                    self.renew(Access::Relocate(host.clone()), &code, ledger, now);
                }
                None => {
                    ledger.report(Trouble::PortalBlocked, "moved, nobody knows where");
                    self.block(DropReason::PortalBlocked, now);
                }
            },
            _ => {
                // The portal stumbled over the request: find out over which command.
                self.back_off(now);
                self.stumbled(&mut commands);
                commands = self.drop_hopeless(commands, rules, ledger, now);
            }
        }
        self.put_all_back(commands, rules, ledger);
    }

    /// The outcome is unknown: each command may stand in the log already.
    fn unknown(
        &mut self,
        mut commands: Vec<Command>,
        rules: &Rules,
        ledger: &mut Ledger,
        now: Instant,
    ) {
        self.back_off(now);
        for command in &mut commands {
            command.entry.tries.in_doubt = true;
        }
        if rules.retry.on_unknown == UnknownOutcome::GiveUp {
            for command in &commands {
                self.give_up(command, DropReason::OutcomeUnknown, rules, ledger, now);
            }
            return;
        }
        self.stumbled(&mut commands);
        let commands = self.drop_hopeless(commands, rules, ledger, now);
        self.put_all_back(commands, rules, ledger);
    }

    /// Halves the next request; a command that was alone stays alone from now on.
    fn stumbled(&mut self, commands: &mut [Command]) {
        if let [only] = commands {
            if only.entry.tries.alone == 0 {
                only.entry.tries.alone_since = self.successes;
            }
            only.entry.tries.alone += 1;
        }
        self.most = (commands.len() / 2).max(1);
    }

    /// Gives up a command over which the portal stumbles while others pass, or that was tried too
    /// often in any case.
    fn drop_hopeless(
        &mut self,
        commands: Vec<Command>,
        rules: &Rules,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Vec<Command> {
        let (hopeless, hopeful): (Vec<_>, Vec<_>) = commands.into_iter().partition(|command| {
            let tries = command.entry.tries;
            let others_pass = self.successes > tries.alone_since;
            tries.alone >= TRIES_IN_ALL || (tries.alone >= TRIES_ALONE && others_pass)
        });
        for command in &hopeless {
            self.give_up(command, DropReason::RetriesSpent, rules, ledger, now);
        }
        hopeful
    }

    fn put_all_back(&mut self, commands: Vec<Command>, rules: &Rules, ledger: &mut Ledger) {
        let until = match self.state {
            State::BackingOff { until, .. } => Some(until),
            _ => None,
        };
        for command in commands.into_iter().rev() {
            // A command that fails alone lets the others pass first, to show who is at fault.
            let hold = until.filter(|_| command.entry.tries.solo()).map(|until| until + TAKE_ALONG);
            self.put_back(command, hold, rules, ledger);
        }
    }

    /// Back to the front of its token, unless that has ended meanwhile.
    fn put_back(
        &mut self,
        command: Command,
        hold_until: Option<Instant>,
        rules: &Rules,
        ledger: &mut Ledger,
    ) {
        if let Some((command, finished)) = self.coalescer.put_back(command, hold_until, &rules.plan)
        {
            ledger.settle(&command.event_token, &command.entry, finished.ending());
        }
    }

    /// The portal asked for patience with this command only.
    fn hold(&mut self, mut command: Command, rules: &Rules, ledger: &mut Ledger, now: Instant) {
        let wait = self.backoff.wait(command.entry.tries.waited.min(LONGEST_HOLD));
        command.entry.tries.waited += 1;
        self.put_back(command, Some(now + wait), rules, ledger);
    }

    fn back_off(&mut self, now: Instant) {
        let attempt = match self.state {
            State::BackingOff { attempt, .. } => attempt + 1,
            _ => 0,
        };
        let wait = self.backoff.wait(if self.closing { 0 } else { attempt });
        self.state = State::BackingOff { until: now + wait, attempt };
    }

    /// Asks for other access, unless what was got the last times was refused too.
    fn renew(&mut self, access: Access, code: &Code, ledger: &mut Ledger, now: Instant) {
        if self.renewals >= MOST_RENEWALS {
            ledger.report(Trouble::CredentialBlocked, code.to_string());
            return self.block(DropReason::CredentialBlocked, now);
        }
        if self.state != State::Refreshing {
            self.renewals += 1;
            self.state = State::Refreshing;
            self.wanted = Some(access);
        }
    }

    /// What came of asking for other access.
    pub(crate) fn accessed(&mut self, refreshed: Refreshed, ledger: &mut Ledger, now: Instant) {
        match refreshed {
            Refreshed::Renewed => self.state = State::Ready,
            Refreshed::Later(trouble) => {
                // The call is tried again, which asks again.
                ledger.report(Trouble::Unreachable, trouble.to_string());
                self.renewals = 0;
                self.back_off(now);
            }
            Refreshed::Denied(code) => {
                ledger.report(Trouble::CredentialBlocked, code.to_string());
                self.renewals = 0;
                let reason = DropReason::CredentialBlocked;
                self.state = State::Blocked { until: now + ASK_FOR_ACCESS_AGAIN, reason };
            }
        }
    }

    /// New credentials have arrived: what was blocked for want of them is tried again.
    pub(crate) fn unblock(&mut self, now: Instant) {
        self.renewals = 0;
        if let State::Blocked { .. } | State::BackingOff { .. } = self.state {
            self.state = State::Ready;
        }
        self.completions.retry(now);
    }

    fn block(&mut self, reason: DropReason, now: Instant) {
        self.state = State::Blocked { until: now + ASK_AGAIN, reason };
    }

    fn give_up(
        &mut self,
        command: &Command,
        reason: DropReason,
        rules: &Rules,
        ledger: &mut Ledger,
        now: Instant,
    ) {
        let orphan = self.coalescer.given_up(command, reason, &rules.plan, now);
        settle_lost(ledger, &command.event_token, &command.entry, orphan, reason);
    }

    /// The token takes no more lines: this command and all that it still holds are lost.
    fn finish(
        &mut self,
        command: Command,
        reason: DropReason,
        rules: &Rules,
        ledger: &mut Ledger,
        now: Instant,
    ) {
        let event_token = command.event_token.clone();
        self.put_back(command, None, rules, ledger);
        let finished = Finished::Refused(reason);
        for entry in self.coalescer.end(&event_token, finished, &rules.plan, now) {
            ledger.settle(&event_token, &entry, Ending::Dropped(reason));
        }
    }

    /// Gives up the oldest waiting entry. Returns whether there was one.
    pub(crate) fn evict(&mut self, reason: DropReason, rules: &Rules, ledger: &mut Ledger) -> bool {
        match self.coalescer.evict(reason, &rules.plan) {
            Some((event_token, entry, orphan)) => {
                settle_lost(ledger, &event_token, &entry, orphan, reason);
                true
            }
            None => false,
        }
    }

    /// Gives up what has waited longer than the retry policy allows.
    fn check_age(&mut self, rules: &Rules, ledger: &mut Ledger, now: Instant) {
        if now < self.next_check {
            return;
        }
        self.next_check = now + CHECK_AGE;
        let reason = match self.state {
            State::Blocked { reason, .. } => reason,
            _ => DropReason::RetriesSpent,
        };
        let max_age = match reason {
            DropReason::UnknownPortal => rules.retry.max_age.min(UNKNOWN_KEPT),
            _ => rules.retry.max_age,
        };
        let given_up = self.coalescer.give_up_where(reason, &rules.plan, |entry| {
            now.saturating_duration_since(entry.since) >= max_age
        });
        for (event_token, entry, orphan) in given_up {
            settle_lost(ledger, &event_token, &entry, orphan, reason);
        }
    }

    /// The deadline of the shutdown has passed: everything that is left is lost.
    pub(crate) fn abandon(&mut self, rules: &Rules, ledger: &mut Ledger) {
        let reason = DropReason::ShutdownDeadline;
        if let Some(in_flight) = self.in_flight.take() {
            self.put_all_back(in_flight.commands, rules, ledger);
        }
        for (event_token, entry, orphan) in
            self.coalescer.give_up_where(reason, &rules.plan, |_| true)
        {
            settle_lost(ledger, &event_token, &entry, orphan, reason);
        }
        self.completions.abandon();
    }
}

/// Settles an entry as lost, and the line that went on in a later one.
fn settle_lost(
    ledger: &mut Ledger,
    event_token: &EventToken,
    entry: &Entry,
    orphan: Option<u64>,
    reason: DropReason,
) {
    ledger.settle(event_token, entry, Ending::Dropped(reason));
    if let Some(seq) = orphan {
        ledger.settle_lines(event_token, 1, 0, seq, Ending::Dropped(reason));
    }
}

/// A request that goes anyway takes along what is due so soon.
const TAKE_ALONG: Duration = Duration::from_millis(100);
/// Requests are sized to be answered within this; the portal ends them at 60 s (REST API limits).
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// Weight of the newest reply in the time that a command takes.
const COST_WEIGHT: f64 = 0.3;
/// New access that is refused so often in a row is no access.
const MOST_RENEWALS: u32 = 2;
/// How often access that was denied is asked for again, if no news of it arrives. Seldom: apps that
/// renew by schedule may be blocked ("OAuth 2.0: automatic renewal", REST API documentation).
const ASK_FOR_ACCESS_AGAIN: Duration = Duration::from_secs(600);
/// How often waiting entries are checked for their age.
const CHECK_AGE: Duration = Duration::from_secs(1);
/// No lane is asked more often than this without cause.
const TICK: Duration = Duration::from_millis(1);
/// Where the waits for one command stop growing (2^4 s at most).
const LONGEST_HOLD: u32 = 4;
