//! What happens to ends of activities: they are sent again, or their callers get an answer.

use std::time::Instant;

use super::Lane;
use super::compose::TAKE_ALONG;
use super::reaction::{OfEnd, Patience};
use super::settle::LONGEST_HOLD;
use crate::error::CompleteError;
use crate::journal::{Number, Outcome};
use crate::line::EventToken;
use crate::protocol::reply::Refusal;
use crate::worker::coalescer::{EndRef, Lapsed};
use crate::worker::end::End;
use crate::worker::ending::Ending;
use crate::worker::retry::EARLY;
use crate::worker::turn::Turn;

impl Lane {
    pub(super) fn react_end(
        &mut self,
        end: EndRef,
        reaction: OfEnd,
        refusal: Option<&Refusal>,
        turn: &mut Turn<'_>,
    ) {
        let patient = match reaction {
            OfEnd::Returns => return self.coalescer.note_end(end, |_| {}),
            OfEnd::IsRefused => false,
            OfEnd::Waits(Patience::Early) => self.coalescer.may_be_early(end.key, EARLY, turn.now),
            OfEnd::Waits(Patience::Locked | Patience::Stumbled) => true,
        };
        if patient {
            let most = self.hurried(LONGEST_HOLD);
            let backoff = &mut self.backoff;
            self.coalescer.note_end(end, |end| {
                end.not_before = turn.now + backoff.wait(end.waited.min(most));
                end.waited += 1;
            });
        } else if let Some(Lapsed { event_token, end, pending }) = self.coalescer.end_refused(end) {
            self.deadlines.remove(&event_token);
            let code = refusal.map_or_else(String::new, Refusal::to_string);
            answer(&event_token, end, Err(CompleteError::Refused { code }), pending, turn);
        }
    }

    /// A direct end has failed. Others are sent first, because the reason may be this end itself, and
    /// otherwise it would always be the first again.
    pub(super) fn hold_lone_end(&mut self, end: EndRef, now: Instant) {
        let pause = self.ends_pause.map_or(now, |pause| pause.until);
        let most = self.hurried(LONGEST_HOLD);
        let backoff = &mut self.backoff;
        self.coalescer.hold_lone_end(end, |end| {
            let wait = backoff.wait(end.waited.min(most));
            end.not_before = (now + wait).max(pause + TAKE_ALONG);
            end.waited += 1;
        });
    }

    pub(super) fn end_done(&mut self, end: EndRef, turn: &mut Turn<'_>) {
        let event_token = self.coalescer.token_of(end).cloned();
        let (lapsed, held) = self.coalescer.end_done(end, turn.now);
        let Some(event_token) = event_token else { return };
        for entry in held {
            turn.settle(&event_token, &entry, Ending::Late);
        }
        if let Some(Lapsed { end, pending, .. }) = lapsed {
            self.worked = true;
            self.deadlines.remove(&event_token);
            answer(&event_token, end, Ok(()), pending, turn);
        }
    }

    /// Answers ends whose time is over.
    pub(super) fn lapse_ends(&mut self, turn: &mut Turn<'_>) {
        while let Some(lapsed) = self.coalescer.pop_lapsed(turn.now) {
            let Lapsed { event_token, end, pending } = lapsed;
            answer(&event_token, end, Err(CompleteError::NotSent), pending, turn);
        }
    }

    /// No end is sent any more. `stay`: those that are in the journal stay there.
    pub(super) fn abandon_ends(&mut self, stay: bool, turn: &mut Turn<'_>) {
        for Lapsed { event_token, mut end, pending } in self.coalescer.abandon_ends() {
            let stamp = if stay && end.stays { end.stamp.take() } else { None };
            let why = match stamp.is_some_and(|stamp| turn.ledger.has_stored_end(stamp)) {
                true => CompleteError::OnDisk,
                // If it is on its way there, nobody knows.
                false => CompleteError::NotSent,
            };
            answer(&event_token, end, Err(why), pending, turn);
        }
    }

    /// An end could not be stored: it has to be sent by this run.
    pub(crate) fn end_not_stored(&mut self, event_token: &EventToken, no: Number) {
        self.coalescer.end_not_stored(event_token, no);
        if let Some(ends_by) = self.closing {
            self.coalescer.close_ends(ends_by);
        }
    }
}

/// The same for another process that waits for it.
fn outcome(answer: &Result<(), CompleteError>) -> Outcome {
    match answer {
        Ok(()) => Outcome::Accepted,
        Err(CompleteError::Refused { code }) => Outcome::Refused(code.clone()),
        Err(_) => Outcome::NotSent,
    }
}

fn answer(
    event_token: &EventToken,
    end: End,
    answer: Result<(), CompleteError>,
    pending: u64,
    turn: &mut Turn<'_>,
) {
    turn.ledger.release_end(end.bytes());
    if let Some(stamp) = end.stamp {
        turn.ledger.answer_end(stamp, outcome(&answer));
    }
    turn.settle_end(event_token, end.stamp);
    end.answer(answer, pending);
}
