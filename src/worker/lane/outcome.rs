//! What a reply means for each command that was sent.

use std::time::{Duration, Instant};

use super::{Access, InFlight, Lane, Rules, State, TAKE_ALONG, What};
use crate::protocol::Reply;
use crate::protocol::command::BATCH_COMMANDS;
use crate::protocol::reply::{self, Code, Outcome, Refusal, Sent, Verdict};
use crate::stats::DropReason;
use crate::worker::coalescer::Command;
use crate::worker::ledger::{Ending, Ledger};
use crate::worker::meters::Within;
use crate::worker::report::Trouble;
use crate::worker::retry::{EARLY, TRIES_ALONE, TRIES_IN_ALL, TRIES_LOCKED, UnknownOutcome};

impl Lane {
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
            // It ran, and came to none of the commands: as a portal answers to a body that it could
            // not read (server behaviour). Again at once would be so for ever.
            Verdict::Ran { outcomes, .. }
                if outcomes.iter().all(|outcome| *outcome == Outcome::NotExecuted) =>
            {
                self.back_off(now);
                self.put_all_back(commands, rules, ledger);
            }
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

    pub(super) fn ran(&mut self, commands: usize, took: Duration) {
        self.state = State::Ready;
        self.renewals = 0;
        self.successes += 1;
        self.bucket.succeeded();
        self.most = (self.most * 2).min(BATCH_COMMANDS);
        let per_command = took.as_secs_f64() / commands.max(1) as f64;
        self.per_command += (per_command - self.per_command) * COST_WEIGHT;
    }

    pub(super) fn settle_command(
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
                    command.entry.tries.just_in_doubt = true;
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
                | Refusal::Moved(_)
                | Refusal::Redirected(_) => {
                    self.bucket.refused(now);
                    self.put_back(command, None, rules, ledger);
                }
            },
        }
    }

    /// The portal refused the request as a whole: nothing of it was executed.
    pub(super) fn refused(
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
            Refusal::Redirected(code) => {
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
    pub(super) fn unknown(
        &mut self,
        mut commands: Vec<Command>,
        rules: &Rules,
        ledger: &mut Ledger,
        now: Instant,
    ) {
        self.back_off(now);
        for command in &mut commands {
            command.entry.tries.in_doubt = true;
            command.entry.tries.just_in_doubt = true;
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
    pub(super) fn stumbled(&mut self, commands: &mut [Command]) {
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
    pub(super) fn drop_hopeless(
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

    pub(super) fn put_all_back(
        &mut self,
        commands: Vec<Command>,
        rules: &Rules,
        ledger: &mut Ledger,
    ) {
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
    pub(super) fn put_back(
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
    pub(super) fn hold(
        &mut self,
        mut command: Command,
        rules: &Rules,
        ledger: &mut Ledger,
        now: Instant,
    ) {
        let wait = self.backoff.wait(command.entry.tries.waited.min(LONGEST_HOLD));
        command.entry.tries.waited += 1;
        self.put_back(command, Some(now + wait), rules, ledger);
    }

    pub(super) fn back_off(&mut self, now: Instant) {
        let attempt = match self.state {
            State::BackingOff { attempt, .. } => attempt + 1,
            _ => 0,
        };
        let wait = self.backoff.wait(if self.closing { 0 } else { attempt });
        self.state = State::BackingOff { until: now + wait, attempt };
    }
}

/// Weight of the newest reply in the time that a command takes.
const COST_WEIGHT: f64 = 0.3;
/// Where the waits for one command stop growing (2^4 s at most).
const LONGEST_HOLD: u32 = 4;
