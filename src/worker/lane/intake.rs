//! What arrives for the tokens of a portal: lines, notices, closed spans, and ends of activities. The coalescer gathers
//! it.

use std::sync::Arc;
use std::time::Instant;

use super::{EndAsked, Lane};
use crate::error::{CompleteError, WorkerError};
use crate::line::EventToken;
use crate::stats::DropReason;
use crate::worker::end::End;
use crate::worker::entry::Gap;
use crate::worker::incoming::{Incoming, Stamp};
use crate::worker::style::Style;
use crate::worker::turn::Turn;

impl Lane {
    /// Adds a line with this text, which uses this many bytes of the budget.
    pub(crate) fn line(
        &mut self,
        line: &Incoming<'_>,
        (text, bytes): (&str, usize),
        turn: &mut Turn<'_>,
    ) {
        let event_token = line.event_token;
        match self.coalescer.push(line, (text, bytes), turn.now) {
            Ok(()) => turn.holds(line.fingerprint, line.charged, bytes),
            Err(finished) => turn.settle_line(line, finished.ending()),
        }
        if self.closing.is_some() && !line.earlier {
            // It arrived after the close, so it is sent at once.
            self.coalescer.seal(Some(event_token), turn.now);
        }
    }

    /// Notes lines that were lost before they arrived here.
    pub(crate) fn missed(&mut self, event_token: &EventToken, gap: Gap, turn: &mut Turn<'_>) {
        self.coalescer.missed(event_token, gap, turn.now);
    }

    /// A tagged span has closed.
    pub(crate) fn span_closed(&mut self, event_token: &EventToken, turn: &mut Turn<'_>) {
        self.coalescer.close_span(event_token, turn.now);
    }

    /// Sends gathered lines at once, of one token or of all. Returns whether there were any.
    pub(crate) fn seal(&mut self, event_token: Option<&EventToken>, turn: &mut Turn<'_>) -> bool {
        self.coalescer.seal(event_token, turn.now)
    }

    /// The same for a seal with a name in the journal. Returns whether it is settled with lines.
    pub(crate) fn seal_as(
        &mut self,
        event_token: &EventToken,
        stamp: Stamp,
        turn: &mut Turn<'_>,
    ) -> bool {
        self.coalescer.seal_as(event_token, stamp, turn.now)
    }

    /// Lines and notices of a token read like this from now on.
    pub(crate) fn dress(
        &mut self,
        event_token: &EventToken,
        style: &Arc<Style>,
        turn: &mut Turn<'_>,
    ) {
        self.coalescer.dress(event_token, style, turn.now);
    }

    /// Something with this name has been here.
    pub(crate) fn note(&mut self, event_token: &EventToken, stamp: Stamp, turn: &mut Turn<'_>) {
        self.coalescer.note(event_token, stamp, turn.now);
    }

    /// A line of this token goes to the journal only.
    pub(crate) fn passed(&mut self, line: &Incoming<'_>, turn: &mut Turn<'_>) {
        self.coalescer.passed(line, turn.now);
    }

    /// Lines of this token were found in the journal.
    pub(crate) fn found(&mut self, event_token: &EventToken, lines: u64) {
        self.coalescer.found(event_token, lines);
    }

    /// A line of this token is here that was in the journal only.
    pub(crate) fn arrived(&mut self, event_token: &EventToken) {
        self.coalescer.arrived(event_token);
    }

    /// Lines of this token are lost that were in the journal only.
    pub(crate) fn lost_elsewhere(
        &mut self,
        event_token: &EventToken,
        lines: u64,
        reason: DropReason,
    ) {
        self.coalescer.lost_elsewhere(event_token, lines, reason);
    }

    /// Nothing of this portal is in the journal only any more. `lost`: what was waited for is lost.
    pub(crate) fn all_arrived(&mut self, lost: bool) {
        self.coalescer.all_arrived(lost);
    }

    /// The app ends an activity. Its token accepts no more lines. Returns whether the end was accepted.
    pub(crate) fn complete(
        &mut self,
        event_token: &EventToken,
        asked: EndAsked,
        turn: &mut Turn<'_>,
    ) -> bool {
        let EndAsked { completion, deadline, patience, answer, stamp, elsewhere } = asked;
        self.ends += 1;
        let style = self.coalescer.style(event_token);
        let words = style.map_or(&self.rules.words, |style| &style.words);
        let most_bytes = self.rules.request_bytes;
        let text = event_token.expose();
        let (number, now) = (self.ends, turn.now);
        let ends_by = self.closing.filter(|_| stamp.is_none());
        let deadline = ends_by.map_or(deadline, |ends_by| deadline.min(ends_by));
        let mut end = End::new(number, text, completion, words, most_bytes, deadline, answer, now);
        end.stamp = stamp;
        end.stays = stamp.is_some();
        if let Some(patience) = patience {
            end.give_up_at = deadline + patience;
        }
        if patience.is_some() {
            turn.ledger.hold_found_end(end.bytes());
        } else if !turn.ledger.hold_end(end.bytes()) {
            end.answer(Err(CompleteError::Worker(WorkerError::Busy)), 0);
            return false;
        }
        if let Err(again) = self.coalescer.add_end(event_token, Box::new(end), elsewhere, now) {
            turn.ledger.release_end(again.bytes());
            again.answer(Err(CompleteError::AlreadyCompleted), 0);
            return false;
        }
        true
    }

    /// The portal waits for an activity until this time. Lines that are pending then are late.
    pub(crate) fn expect(
        &mut self,
        event_token: EventToken,
        waits_until: Instant,
        turn: &mut Turn<'_>,
    ) {
        self.deadlines.add(event_token, waits_until, turn.now);
    }
}
