//! Takes lines in that are published, with what belongs to them: lines that are missing, spans that have closed, and
//! activities that the portal waits for. All of it goes to the backlog.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::tokens::EndState;
use crate::journal::{StoredGap, StoredLine, StoredSeal};
use crate::line::{EventToken, LogLine, PortalId};
use crate::queue::{Expect, Overflow};
use crate::stats::DropReason;
use crate::worker::backlog::{BESIDE_BODY, Of};
use crate::worker::ending::Ending;
use crate::worker::engine::intake::held;
use crate::worker::engine::{Engine, Portal};
use crate::worker::incoming::Incoming;
use crate::worker::ledger::Pending;
use crate::worker::turn::Turn;

impl Engine {
    /// Publishes a line that was charged to the budget.
    pub(in super::super) fn publish(
        &mut self,
        line: &LogLine,
        incoming: &Incoming<'_>,
        key: usize,
        now: Instant,
    ) {
        let Some(publishing) = &mut self.publishing else { return };
        let logged = publishing.tokens.logged(incoming.event_token, &line.tag.portal, now);
        self.portals[key].empty_since = None;
        if logged.end != EndState::Open {
            self.charged = false;
            let Portal { page, .. } = &mut self.portals[key];
            let mut turn = Turn { ledger: &mut self.ledger, page, now };
            return turn.settle_line(incoming, Ending::Late);
        }
        // Code of the app may run here, in its format.
        self.renderer.write_body(line);
        let (body, cut) = self.renderer.body();
        let bytes = held(incoming.charged, body.len() + BESIDE_BODY);
        let more = bytes.saturating_sub(incoming.charged);
        let all = self.ledger.pending();
        // The door has accepted it without knowing how long its text would be.
        let too_long = more > 0 && self.limits.are_passed_by(all.lines, (all.bytes + more) as u64);
        if too_long && self.limits.overflow != Overflow::DropOldest {
            self.charged = false;
            return self.refuse(incoming, key, DropReason::BudgetSpent, now);
        }
        let line = StoredLine {
            no: incoming.seq,
            at: incoming.at,
            level: incoming.level,
            body: body.to_owned(),
            cut,
            tried: false,
        };
        let Portal { id, page, .. } = &mut self.portals[key];
        self.ledger.holds(page, incoming.fingerprint, incoming.charged, bytes);
        logged.pending += 1;
        logged.unsealed = true;
        let (portal, event_token) = (&*id, incoming.event_token);
        let of = Of { portal, event_token, about: &logged.about };
        publishing.backlog.line(of, line, bytes, now);
        self.charged = false;
        if self.limits.overflow == Overflow::DropOldest {
            self.make_room_for(incoming, now);
        }
    }

    /// Gives up the oldest lines to keep within the budget.
    fn make_room_for(&mut self, line: &Incoming<'_>, now: Instant) {
        let limits = self.limits;
        let over = |Pending { lines, bytes }| limits.are_passed_by(lines, bytes as u64);
        while over(self.ledger.pending()) {
            let of = self.ledger.is_loud(&limits, line.fingerprint).then_some(line.event_token);
            let Some(publishing) = &mut self.publishing else { return };
            let Some(note) = publishing.backlog.evict(of, DropReason::Evicted) else { return };
            self.settle_note(&note, Ending::Dropped(DropReason::Evicted), now);
        }
    }

    /// Lines of a token are missing: its log will say so.
    pub(in super::super) fn publish_gap(
        &mut self,
        event_token: &EventToken,
        portal: &Option<PortalId>,
        (reason, lines, since): (DropReason, u64, SystemTime),
        now: Instant,
    ) {
        let Some(publishing) = &mut self.publishing else { return };
        self.seq += 1;
        let gap = StoredGap { no: self.seq, lines, since, reason };
        let logged = publishing.tokens.logged(event_token, portal, now);
        // Behind an end that is asked for, the relay tells it if the end still waits.
        if logged.end == EndState::Done {
            return;
        }
        logged.unsealed = true;
        let of = Of { portal, event_token, about: &logged.about };
        publishing.backlog.gap(of, gap, now);
    }

    /// The span of a token has closed.
    pub(in super::super) fn publish_seal(&mut self, event_token: &EventToken, now: Instant) {
        let at = self.ledger.wall(now).unwrap_or(SystemTime::UNIX_EPOCH);
        let Some(publishing) = &mut self.publishing else { return };
        let Some(logged) = publishing.tokens.get_mut(event_token) else { return };
        if !std::mem::take(&mut logged.unsealed) || logged.end != EndState::Open {
            return;
        }
        self.seq += 1;
        let of = Of { portal: &logged.portal, event_token, about: &logged.about };
        publishing.backlog.seal(of, StoredSeal { no: self.seq, at }, now);
    }

    /// The portal waits for an activity until this time: its chunks say so.
    pub(in super::super) fn publish_expect(&mut self, expect: Expect, now: Instant) {
        let wall = self.ledger.wall(now);
        let Some(publishing) = &mut self.publishing else { return };
        let Expect { event_token, portal, waits_until } = expect;
        let mut about = publishing.tokens.style();
        let left = waits_until.saturating_duration_since(now);
        about.waits_until = wall.and_then(|wall| wall.checked_add(left));
        let logged = publishing.tokens.logged(&event_token, &portal, now);
        logged.about = Arc::new(about);
        logged.waits_until = Some(waits_until);
    }

    /// Lines of a token that are not appended.
    pub(in super::super) fn unpublished(&self, event_token: &EventToken) -> u64 {
        let publishing = self.publishing.as_ref();
        let logged = publishing.and_then(|publishing| publishing.tokens.get(event_token));
        logged.map_or(0, |logged| logged.pending)
    }
}
