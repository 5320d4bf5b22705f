//! Processes replies: reads each once, looks up its row in the table, and does what that says. Nothing
//! else changes the state of the lane, its pace, or its count of failures.

use std::time::{Duration, Instant};

use super::reaction::{self, OfEnd, OfEntry, OfLane, Patience, Reaction, Within};
use super::{InFlight, Lane, State, What};
use crate::protocol::Reply;
use crate::protocol::command::BATCH_COMMANDS;
use crate::protocol::reply::{self, Code, Outcome, Refusal, Sent, ServerTime, Verdict};
use crate::stats::DropReason;
use crate::worker::coalescer::{Coalescer, Command, Finished};
use crate::worker::ending::Ending;
use crate::worker::entry::Entry;
use crate::worker::meters::Sort;
use crate::worker::report::Trouble;
use crate::worker::retry::{ASK_AGAIN, EARLY, TRIES_LOCKED, UnknownOutcome};
use crate::worker::turn::Turn;

impl Lane {
    /// Processes the result of a request.
    pub(crate) fn settle(&mut self, what: What, reply: &Reply, turn: &mut Turn<'_>) {
        let slot = match what {
            What::Main => &mut self.main,
            What::Beside => &mut self.beside,
            What::Call => return self.settle_call(reply, turn),
            What::Access => return,
        };
        let Some(sent) = slot.in_flight.as_ref().map(|in_flight| in_flight.sent) else { return };
        // Parsed before the state changes, so that a panic in the parser loses no line.
        let verdict = reply::read(reply, sent);
        let Some(request) = slot.in_flight.take().filter(|request| !request.given_up) else {
            return;
        };
        match verdict {
            Verdict::Ran { outcomes, .. }
                if outcomes.iter().all(|outcome| *outcome == Outcome::NotExecuted) =>
            {
                self.react(what, request, &reaction::of_nothing_executed(), None, turn);
            }
            Verdict::Ran { outcomes, time } => self.ran(what, request, outcomes, time, turn),
            Verdict::Refused(refusal) => {
                self.failure = refusal.to_string();
                let row = reaction::of_request(&refusal, sent);
                self.react(what, request, &row, Some(&refusal), turn);
            }
            Verdict::Unknown(trouble) => {
                self.failure = trouble.to_string();
                turn.stats().unknown_outcome();
                let kind = Trouble::unknown_outcome(self.rules.retry.on_unknown);
                turn.report(kind, trouble.to_string());
                self.react(what, request, &reaction::of_silence(), None, turn);
            }
        }
    }

    /// It ran: each command has an outcome of its own.
    fn ran(
        &mut self,
        what: What,
        request: InFlight,
        mut outcomes: Vec<Outcome>,
        time: ServerTime,
        turn: &mut Turn<'_>,
    ) {
        let InFlight { entries, ends, sent, at, access, .. } = request;
        let of_ends = outcomes.split_off(entries.len().min(outcomes.len()));
        self.failure.clear();
        let took = turn.now.saturating_duration_since(at);
        self.costs.observe(took, &outcomes, &of_ends);
        self.meters.observe(sent, &outcomes, &of_ends, time, turn.now);
        if !matches!(self.state, State::Refreshing { .. }) {
            self.state = State::Ready;
        }
        let done = |outcome: &Outcome| matches!(outcome, Outcome::Done(_));
        if outcomes.iter().chain(&of_ends).any(done) {
            (self.renewals, self.unanswered) = (0, 0);
        }
        self.unknown_since = None;
        if of_ends.iter().any(is_about_the_end) {
            self.ends_pause = None;
        }
        self.successes += 1;
        self.bucket.succeeded();
        let slot = self.slot(what);
        slot.most = (slot.most * 2).min(BATCH_COMMANDS);

        for (command, outcome) in entries.into_iter().zip(outcomes) {
            let (row, refusal) = match &outcome {
                Outcome::Done(_) => {
                    self.worked = true;
                    let rolled_off = self.coalescer.acknowledged(&command, turn.now);
                    turn.stats().rolled_off(rolled_off);
                    turn.settle(&command.event_token, &command.entry, Ending::Acknowledged);
                    continue;
                }
                Outcome::NotExecuted => (reaction::of_not_executed(), None),
                Outcome::Refused(refusal) => (reaction::of_command(refusal), Some(refusal)),
            };
            self.react_lane(&row.lane, refusal, (sent, Sort::Entry), access, turn);
            let until = self.entry_hold();
            self.react_entry(command, row.entry, refusal, until, turn);
        }
        for (end, outcome) in ends.into_iter().zip(of_ends) {
            let (row, refusal) = match &outcome {
                Outcome::Done(_) => {
                    self.end_done(end, turn);
                    continue;
                }
                Outcome::NotExecuted => (reaction::of_not_executed(), None),
                Outcome::Refused(refusal) => (reaction::of_command(refusal), Some(refusal)),
            };
            self.react_lane(&row.lane, refusal, (sent, Sort::End), access, turn);
            self.pause_ends(&row.lane, access, turn.now);
            self.react_end(end, row.end, refusal, turn);
        }
    }

    /// All commands of the request share one row.
    fn react(
        &mut self,
        what: What,
        request: InFlight,
        row: &Reaction,
        refusal: Option<&Refusal>,
        turn: &mut Turn<'_>,
    ) {
        let InFlight { mut entries, ends, sent, access, .. } = request;
        let commands = entries.len() + ends.len();
        let sort = if entries.is_empty() { Sort::End } else { Sort::Entry };
        if entries.is_empty() && matches!(row.lane, OfLane::BacksOff | OfLane::Halves) {
            // Entries had no part in it: they try for themselves.
            self.report_refusal(refusal, turn);
        } else {
            self.react_lane(&row.lane, refusal, (sent, sort), access, turn);
        }
        if !ends.is_empty() {
            self.pause_ends(&row.lane, access, turn.now);
        }
        let halves = row.lane == OfLane::Halves;
        if halves {
            self.slot(what).most = (commands / 2).max(1);
        }
        if let (true, [only], true) = (halves, entries.as_mut_slice(), ends.is_empty()) {
            only.entry.tries.failed_alone(self.successes, turn.now);
        }
        let until = self.entry_hold();
        // From the last to the first, since each goes to the front of its token.
        for command in entries.into_iter().rev() {
            self.react_entry(command, row.entry, refusal, until, turn);
        }
        let solo = halves && commands == 1;
        for end in ends {
            if solo {
                self.coalescer.mark_solo(end);
            }
            if commands == 1 && row.end == OfEnd::Returns {
                self.hold_lone_end(end, turn.now);
            }
            self.react_end(end, row.end, refusal, turn);
        }
    }

    fn report_refusal(&mut self, refusal: Option<&Refusal>, turn: &mut Turn<'_>) {
        if let Some((trouble, detail)) = refusal.and_then(reaction::trouble) {
            turn.report(trouble, detail);
        }
    }

    fn react_lane(
        &mut self,
        reaction: &OfLane,
        refusal: Option<&Refusal>,
        (sent, sort): (Sent, Sort),
        access: u64,
        turn: &mut Turn<'_>,
    ) {
        self.report_refusal(refusal, turn);
        match reaction {
            OfLane::GoesOn => {}
            OfLane::SlowsDown => {
                turn.stats().rate_limited();
                self.bucket.refused(turn.now);
                self.back_off(turn.now);
            }
            OfLane::Pauses(within) => {
                turn.stats().operating_limited();
                let whole = *within == Within::Request;
                self.meters.refused(sent, sort, whole, turn.now);
            }
            OfLane::BacksOff | OfLane::Halves => self.back_off(turn.now),
            OfLane::Renews(other) => {
                // Sent before the newest access was got: it says nothing of that.
                if access == self.access {
                    let code = Code(refusal.map_or_else(String::new, Refusal::to_string));
                    self.renew(other.clone(), &code, turn);
                }
            }
            // New access is on its way, and is tried first. If it is refused, too, that blocks.
            OfLane::Blocks(_) if matches!(self.state, State::Refreshing { .. }) => {}
            OfLane::Blocks(reason) => self.block(*reason, ASK_AGAIN, turn.now),
        }
    }

    fn react_entry(
        &mut self,
        command: Command,
        reaction: OfEntry,
        refusal: Option<&Refusal>,
        until: Option<Instant>,
        turn: &mut Turn<'_>,
    ) {
        turn.page.because(refusal.map_or_else(|| self.failure.clone(), Refusal::to_string));
        self.entry_reacts(command, reaction, refusal, until, turn);
        turn.page.because("");
    }

    fn entry_reacts(
        &mut self,
        mut command: Command,
        reaction: OfEntry,
        refusal: Option<&Refusal>,
        until: Option<Instant>,
        turn: &mut Turn<'_>,
    ) {
        match reaction {
            OfEntry::Returns => {
                let hold = until.filter(|_| command.entry.tries.solo());
                self.put_back(command, hold, turn);
            }
            OfEntry::Waits(patience) => {
                let tries = &mut command.entry.tries;
                let (patient, spent) = match patience {
                    // A shutdown has a deadline of its own, and what is on disk then is for the next run.
                    Patience::Locked => {
                        let patient = tries.waited < TRIES_LOCKED || self.closing.is_some();
                        (patient, DropReason::RetriesSpent)
                    }
                    Patience::Early => {
                        if !self.coalescer.may_be_early(command.key, EARLY, turn.now) {
                            return self.finish(command, DropReason::WorkflowGone, turn);
                        }
                        (true, DropReason::WorkflowGone)
                    }
                    Patience::Stumbled => {
                        tries.failed_alone(self.successes, turn.now);
                        let patient = !tries.is_hopeless(turn.now);
                        tries.in_doubt |= patient;
                        tries.just_in_doubt |= patient;
                        (patient, DropReason::RetriesSpent)
                    }
                };
                if !patient {
                    return self.give_up(&command, spent, turn);
                }
                let wait = self.hold(command.entry.tries.waited);
                command.entry.tries.waited += 1;
                self.put_back(command, Some(turn.now + wait), turn);
            }
            OfEntry::IsInDoubt if self.rules.retry.on_unknown == UnknownOutcome::GiveUp => {
                command.entry.tries.in_doubt = true;
                self.give_up(&command, DropReason::OutcomeUnknown, turn);
            }
            OfEntry::IsInDoubt | OfEntry::IsSuspected => {
                if reaction == OfEntry::IsInDoubt {
                    command.entry.tries.in_doubt = true;
                    command.entry.tries.just_in_doubt = true;
                }
                if command.entry.tries.is_hopeless(turn.now) {
                    return self.give_up(&command, DropReason::RetriesSpent, turn);
                }
                let hold = self.hold_of(&command.entry, until, turn.now);
                self.put_back(command, hold, turn);
            }
            OfEntry::IsGivenUp(reason) => self.give_up(&command, reason, turn),
            OfEntry::Finishes(reason) => {
                if let (false, Some(refusal)) = (self.worked, refusal) {
                    turn.report(Trouble::NeverWorked, refusal.to_string());
                }
                self.finish(command, reason, turn);
            }
        }
    }

    /// Until when an entry that failed alone waits: the longer, the more often it failed, and in any case until others
    /// have had their turn, which is `until`.
    fn hold_of(&mut self, entry: &Entry, until: Option<Instant>, now: Instant) -> Option<Instant> {
        if !entry.tries.solo() {
            return None;
        }
        let own = now + self.hold(entry.tries.alone() - 1);
        Some(until.map_or(own, |until| own.max(until)))
    }

    /// How long one command waits after so many tries.
    fn hold(&mut self, tries: u32) -> Duration {
        self.backoff.wait(self.hurried(tries.min(LONGEST_HOLD)))
    }

    /// Puts it back to the front of its token, unless the token has ended in the meantime.
    pub(super) fn put_back(
        &mut self,
        mut command: Command,
        hold_until: Option<Instant>,
        turn: &mut Turn<'_>,
    ) {
        turn.retract(&command.event_token, &mut command.entry);
        put_back(&mut self.coalescer, command, hold_until, turn);
    }

    /// The token accepts no more lines: this command and its other lines are lost.
    fn finish(&mut self, command: Command, reason: DropReason, turn: &mut Turn<'_>) {
        let event_token = command.event_token.clone();
        self.put_back(command, None, turn);
        let finished = Finished::Refused(reason);
        for entry in self.coalescer.end(&event_token, finished, turn.now) {
            turn.settle(&event_token, &entry, Ending::Dropped(reason));
        }
    }
}

/// Whether the answer is about this end only, so that other ends are sent as usual.
fn is_about_the_end(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done(_) => true,
        Outcome::NotExecuted => false,
        Outcome::Refused(refusal) => reaction::of_command(refusal).lane == OfLane::GoesOn,
    }
}

/// As [`Lane::put_back`], while the rest of the lane is borrowed.
pub(super) fn put_back(
    coalescer: &mut Coalescer,
    command: Command,
    hold_until: Option<Instant>,
    turn: &mut Turn<'_>,
) {
    if let Some((command, finished)) = coalescer.put_back(command, hold_until) {
        turn.settle(&command.event_token, &command.entry, finished.ending());
    }
}

/// The try from which the waits for one command do not grow any more (at most 2^4 s).
pub(super) const LONGEST_HOLD: u32 = 4;
