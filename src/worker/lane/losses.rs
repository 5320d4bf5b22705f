//! What is given up, and why.

use super::{CHECK_AGE, Lane, State};
use crate::stats::DropReason;
use crate::worker::coalescer::Command;
use crate::worker::retry::UNKNOWN_KEPT;
use crate::worker::turn::Turn;

impl Lane {
    pub(super) fn give_up(&mut self, command: &Command, reason: DropReason, turn: &mut Turn<'_>) {
        let orphan = self.coalescer.given_up(command, reason, turn.now);
        turn.settle_lost(&command.event_token, &command.entry, orphan, reason);
    }

    /// Gives up the oldest waiting entry. Returns whether there was one.
    pub(crate) fn evict(&mut self, reason: DropReason, turn: &mut Turn<'_>) -> bool {
        let evicted = self.coalescer.evict(reason, turn.now);
        if let Some((event_token, entry, orphan)) = &evicted {
            turn.settle_lost(event_token, entry, *orphan, reason);
        }
        evicted.is_some()
    }

    /// Gives up what has waited longer than the retry policy allows.
    pub(super) fn check_age(&mut self, turn: &mut Turn<'_>) {
        if turn.now < self.next_check {
            return;
        }
        self.next_check = turn.now + CHECK_AGE;
        let reason = match self.state {
            State::Blocked { reason, .. } => reason,
            _ => DropReason::RetriesSpent,
        };
        let max_age = match reason {
            DropReason::UnknownPortal => self.rules.retry.max_age.min(UNKNOWN_KEPT),
            _ => self.rules.retry.max_age,
        };
        let now = turn.now;
        let given_up = self.coalescer.give_up_where(reason, now, |entry| {
            now.saturating_duration_since(entry.since) >= max_age
        });
        for (event_token, entry, orphan) in given_up {
            turn.settle_lost(&event_token, &entry, orphan, reason);
        }
    }

    /// The deadline of the shutdown has passed: everything that is left is lost.
    pub(crate) fn abandon(&mut self, turn: &mut Turn<'_>) {
        let reason = DropReason::ShutdownDeadline;
        if let Some(request) = self.main.in_flight.take() {
            for command in request.entries.into_iter().rev() {
                self.put_back(command, None, turn);
            }
        }
        for (event_token, entry, orphan) in self.coalescer.give_up_where(reason, turn.now, |_| true)
        {
            turn.settle_lost(&event_token, &entry, orphan, reason);
        }
        self.abandon_ends(turn);
    }
}
