//! What is given up, and why.

use std::time::Instant;

use super::{CHECK_AGE, Lane, Rules, State};
use crate::line::EventToken;
use crate::stats::DropReason;
use crate::worker::coalescer::{Command, Finished};
use crate::worker::entry::Entry;
use crate::worker::ledger::{Ending, Ledger};
use crate::worker::retry::UNKNOWN_KEPT;

impl Lane {
    pub(super) fn give_up(
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
    pub(super) fn finish(
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
    pub(super) fn check_age(&mut self, rules: &Rules, ledger: &mut Ledger, now: Instant) {
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

    /// Everything that is left is lost: the deadline of the shutdown has passed, or the app was
    /// removed from the portal.
    pub(crate) fn abandon(&mut self, reason: DropReason, rules: &Rules, ledger: &mut Ledger) {
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
