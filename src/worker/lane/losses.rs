//! What is given up, and why.

use super::settle::put_back;
use super::{CHECK_AGE, Lane, State};
use crate::journal::{Number, Publisher};
use crate::line::EventToken;
use crate::stats::DropReason;
use crate::worker::coalescer::Command;
use crate::worker::entry::Entry;
use crate::worker::retry::UNKNOWN_KEPT;
use crate::worker::turn::Turn;

impl Lane {
    pub(super) fn give_up(&mut self, command: &Command, reason: DropReason, turn: &mut Turn<'_>) {
        let orphan = self.coalescer.given_up(command, reason, turn.now);
        turn.settle_lost(&command.event_token, &command.entry, orphan, reason);
    }

    /// Gives up the oldest waiting entry, of a token if it is given and has one. Returns whether there
    /// was one.
    pub(crate) fn evict(
        &mut self,
        of: Option<&EventToken>,
        reason: DropReason,
        turn: &mut Turn<'_>,
    ) -> bool {
        let evicted = self.coalescer.evict(of, reason, turn.now);
        if let Some((event_token, entry, orphan)) = &evicted {
            turn.settle_lost(event_token, entry, *orphan, reason);
        }
        evicted.is_some()
    }

    /// The journal has given up lines that wait here. What is out is not affected.
    pub(crate) fn bury(
        &mut self,
        event_token: &EventToken,
        numbers: (Publisher, (Number, Number)),
        reason: DropReason,
        turn: &mut Turn<'_>,
    ) {
        let given_up = self.coalescer.give_up_numbers(event_token, numbers, reason, turn.now);
        for (entry, orphan) in given_up {
            turn.bury(event_token, &entry, orphan, reason);
        }
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
        let now = turn.now;
        let is_unknown = self.unknown_since.is_some_and(|since| {
            let unknown_for = now.saturating_duration_since(since);
            reason == DropReason::UnknownPortal && unknown_for >= UNKNOWN_KEPT
        });
        // With a journal they wait for that portal's next request.
        let max_age = match is_unknown && !turn.ledger.has_journal() {
            true => self.rules.retry.max_age.min(UNKNOWN_KEPT),
            false => self.rules.retry.max_age,
        };
        turn.page.because(&*self.failure);
        let ledger = &*turn.ledger;
        let too_old = |entry: &Entry| ledger.age(entry, now) >= max_age;
        let given_up = self.coalescer.give_up_where(reason, now, too_old);
        for (event_token, entry, orphan) in given_up {
            turn.settle_lost(&event_token, &entry, orphan, reason);
        }
        turn.page.because("");
    }

    /// Everything that is left is lost: the deadline of the shutdown has passed, or the app was
    /// removed from the portal.
    pub(crate) fn abandon(&mut self, reason: DropReason, turn: &mut Turn<'_>) {
        // Requests that are out keep their places, or their replies would be taken for those of others.
        for slot in [&mut self.main, &mut self.beside] {
            let Some(request) = &mut slot.in_flight else { continue };
            request.given_up = true;
            for mut command in std::mem::take(&mut request.entries).into_iter().rev() {
                // It may be in the log: its reply is ignored.
                command.entry.tries.in_doubt = true;
                command.entry.tries.just_in_doubt = true;
                put_back(&mut self.coalescer, command, None, turn);
            }
        }
        // Entries that stay there take their notices with them.
        self.keep_gaps(turn);
        // What is in the journal is for the next run.
        let stay = reason == DropReason::ShutdownDeadline && turn.ledger.has_journal();
        let ledger = &*turn.ledger;
        let stays = |entry: &Entry| stay && ledger.has_stored(&entry.stamps);
        for (event_token, entry, orphan) in self.coalescer.leave(reason, turn.now, stays) {
            if stay {
                turn.leave(&event_token, &entry, orphan);
            } else {
                turn.settle_lost(&event_token, &entry, orphan, reason);
            }
        }
        self.keep_gaps(turn);
        self.abandon_ends(stay, turn);
        self.abandon_calls("the app shut down");
    }
}
