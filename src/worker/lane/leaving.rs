//! Requests that have not left after all, and a lane that another process takes over.

use std::time::Instant;

use super::{Lane, Renewal, State, What};
use crate::error::CompleteError;
use crate::stats::DropReason;
use crate::worker::coalescer::Lapsed;
use crate::worker::turn::Turn;

impl Lane {
    /// A request leaves at this time, later than it was composed.
    pub(crate) fn left(&mut self, what: What, at: Instant) {
        if let (What::Main | What::Beside, Some(out)) = (what, &mut self.slot(what).in_flight) {
            out.at = at;
        }
    }

    /// A request has not left: what is in it waits as if it had not been tried. `renewal`: the access that it
    /// was to ask for.
    pub(crate) fn give_back(&mut self, what: What, renewal: Option<Renewal>, turn: &mut Turn<'_>) {
        match what {
            What::Access => {
                if let State::Refreshing { wanted } = &mut self.state {
                    *wanted = renewal;
                }
            }
            What::Call => {
                turn.stats().withheld(1, 0);
                self.bucket.not_sent();
                self.give_back_call();
            }
            What::Main | What::Beside => {
                let Some(out) = self.slot(what).in_flight.take() else { return };
                let in_doubt = out.entries.iter().filter(|command| command.entry.tries.in_doubt);
                let (repeats, commands) = (in_doubt.count(), out.entries.len() + out.ends.len());
                turn.stats().withheld(commands as u64, repeats as u64);
                self.bucket.not_sent();
                // From the last to the first, since each goes to the front of its token.
                for command in out.entries.into_iter().rev() {
                    self.put_back(command, None, turn);
                }
                for end in out.ends {
                    self.coalescer.note_end(end, |_| {});
                }
            }
        }
    }

    /// Another process takes over: what waits is that one's, and what is out comes back here.
    pub(crate) fn let_go(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.state, State::Refreshing { wanted: Some(_) }) {
            self.state = State::Ready;
        }
        // The next owner tells what is lost.
        self.keep_gaps(turn);
        // Nothing is lost here, so the reason does not matter.
        let reason = DropReason::ShutdownDeadline;
        for (event_token, entry, orphan) in self.coalescer.leave(reason, turn.now, |_| true) {
            turn.hand_over(&event_token, &entry, orphan);
        }
        for Lapsed { end, pending, .. } in self.coalescer.release_ends() {
            turn.ledger.release_end(end.bytes());
            end.answer(Err(CompleteError::NotSent), pending);
        }
        self.abandon_calls("another process delivers to this portal now");
    }
}
