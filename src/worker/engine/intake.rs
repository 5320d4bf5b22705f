//! Takes lines in: each is charged to the budget, finds room or not, and goes to its lane or to a journal.

use std::time::{Instant, SystemTime};

use super::{Engine, Portal};
use crate::line::{EventToken, LogLine, Missed, Tag};
use crate::queue::{Limits, Overflow};
use crate::stats::DropReason;
use crate::worker::ending::Ending;
use crate::worker::entry::Gap;
use crate::worker::incoming::Incoming;
use crate::worker::ledger::Pending;
use crate::worker::trail;
use crate::worker::turn::Turn;

impl Engine {
    /// Takes a line in.
    pub(crate) fn line(&mut self, line: &LogLine, now: Instant) {
        let key = self.portal_of(&line.tag.portal, now);
        let mut incoming = self.charge(line, key, now);
        // The refused lines come before this one.
        self.tell_missed(&line.tag, key, now);
        if self.publishing.is_some() {
            return self.publish(line, &incoming, key, now);
        }
        if self.goes_behind(key, now) {
            self.renderer.write_body(line);
            self.put_behind(&incoming, key, now);
            self.charged = false;
            self.agenda.set(key, now);
            return;
        }
        // A line that finds no room is not rendered.
        let charged = incoming.charged;
        let mut bytes = charged;
        let mut stays = self.keeps_share(&incoming, bytes, key, now);
        if stays {
            self.renderer.write_body(line);
            self.copy(&mut incoming, key, now);
            bytes = held(charged, self.renderer.finish(line.at));
            stays = bytes <= charged || self.keeps_share(&incoming, bytes, key, now);
        }
        if !stays {
            self.charged = false;
            return;
        }
        let Engine { renderer, ledger, portals, .. } = self;
        let Portal { lane, page, .. } = &mut portals[key];
        let text = (renderer.text(), bytes);
        lane.line(&incoming, text, &mut Turn { ledger, page, now });
        self.charged = false;
        self.make_room(&incoming, key, now);
        self.agenda.set(key, now);
    }

    /// Puts a line into the books, and notes that until it has found its place.
    fn charge<'a>(&mut self, line: &'a LogLine, key: usize, now: Instant) -> Incoming<'a> {
        self.charged = true;
        self.seq += 1;
        let line = Incoming::new(line, self.seq, self.publisher, now);
        let page = &mut self.portals[key].page;
        self.ledger.taken(page, line.fingerprint, line.charged, self.seq, now);
        line
    }

    /// A line was lost inside the worker before it could be taken in.
    pub(crate) fn line_lost(&mut self, line: &LogLine, now: Instant) {
        let key = self.portal_of(&line.tag.portal, now);
        let line = if std::mem::take(&mut self.charged) {
            Incoming::new(line, self.seq, self.publisher, now)
        } else {
            self.charge(line, key, now)
        };
        self.charged = false;
        self.refuse(&line, key, DropReason::Internal, now);
    }

    /// Drops a line that was just received, and mentions it in its log.
    pub(super) fn refuse(
        &mut self,
        line: &Incoming<'_>,
        key: usize,
        reason: DropReason,
        now: Instant,
    ) {
        self.turn(key, now).1.settle_line(line, Ending::Dropped(reason));
        self.mention(line.event_token, key, (reason, 1, line.at), now);
    }

    /// The log of a token will say that lines are missing, why, how many, and since when.
    fn mention(
        &mut self,
        event_token: &EventToken,
        key: usize,
        (reason, lines, since): (DropReason, u64, SystemTime),
        now: Instant,
    ) {
        if self.publishing.is_some() {
            let portal = self.portals[key].id.clone();
            return self.publish_gap(event_token, &portal, (reason, lines, since), now);
        }
        let (lane, mut turn) = self.turn(key, now);
        lane.missed(event_token, Gap::new(reason, lines, since), &mut turn);
        self.agenda.set(key, now);
    }

    /// Sees to it that the portal of a line that was just taken in holds no more than its share of
    /// the budget, so that one that fails leaves room for the others, and that all of them hold no more
    /// than there is. Says whether the line stays, which holds so many `bytes` as text.
    fn keeps_share(&mut self, line: &Incoming<'_>, bytes: usize, key: usize, now: Instant) -> bool {
        let share = self.rules.portal_share;
        let more = bytes.saturating_sub(line.charged);
        if share >= 1.0 && more == 0 {
            return true;
        }
        let limits = Limits {
            lines: ((self.limits.lines as f64 * share) as usize).max(1),
            bytes: (self.limits.bytes as f64 * share) as usize,
            ..self.limits
        };
        let over =
            |Pending { lines, bytes }: Pending| limits.are_passed_by(lines, (bytes + more) as u64);
        if self.limits.overflow == Overflow::DropOldest {
            // The oldest make room for it, if there are any: what is in flight stays.
            let (lane, mut turn) = self.turn(key, now);
            while over(turn.page.pending()) {
                let loud = turn.ledger.is_loud(&limits, line.fingerprint);
                let of = loud.then_some(line.event_token);
                if !lane.evict(of, DropReason::PortalShare, &mut turn) {
                    break;
                }
            }
            return true;
        }
        let all = self.ledger.pending();
        let here = self.portals[key].page.pending();
        // The door has accepted it without knowing how long its text would be.
        let too_long = more > 0 && self.limits.are_passed_by(all.lines, (all.bytes + more) as u64);
        let stays =
            !too_long && !over(here) && self.ledger.leaves_room(&limits, here, line.fingerprint);
        if !stays {
            self.refuse(line, key, DropReason::PortalShare, now);
        }
        stays
    }

    /// A tagged span has closed.
    pub(crate) fn span_closed(&mut self, tag: &Tag, now: Instant) {
        let key = self.portal_of(&tag.portal, now);
        self.tell_missed(tag, key, now);
        if self.publishing.is_some() {
            return self.publish_seal(&tag.event_token, now);
        }
        let (lane, mut turn) = self.turn(key, now);
        lane.span_closed(&tag.event_token, &mut turn);
        self.agenda.set(key, now);
    }

    /// Lines that were refused by the queue are mentioned in the token's log.
    fn tell_missed(&mut self, tag: &Tag, key: usize, now: Instant) {
        if let Some(Missed { lines, since, reason }) = tag.take_refused() {
            trail::refused(tag.fingerprint(), lines, reason);
            self.mention(&tag.event_token, key, (reason, lines, since), now);
        }
    }

    /// Keeps to the budget by giving up the oldest lines, where the user asked for that: of the token
    /// that has just logged if that is loud, and of all if not.
    fn make_room(&mut self, line: &Incoming<'_>, own: usize, now: Instant) {
        if self.limits.overflow != Overflow::DropOldest {
            return;
        }
        let limits = self.limits;
        let over = |Pending { lines, bytes }| limits.are_passed_by(lines, bytes as u64);
        while over(self.ledger.pending()) {
            let loud = self.ledger.is_loud(&limits, line.fingerprint);
            let (lane, mut turn) = self.turn(own, now);
            let of = Some(line.event_token);
            if loud && lane.evict(of, DropReason::Evicted, &mut turn) {
                continue;
            }
            let oldest = self
                .portals
                .iter()
                .filter_map(|(key, portal)| Some((portal.lane.oldest()?, key)))
                .min();
            let Some((_, key)) = oldest else { return };
            let (lane, mut turn) = self.turn(key, now);
            if !lane.evict(None, DropReason::Evicted, &mut turn) {
                return;
            }
            // The end of an activity may have waited for just these lines.
            self.agenda.set(key, now);
        }
    }
}

/// What a line holds of the budget once it is text, where it was charged so many bytes.
pub(super) fn held(charged: usize, text: usize) -> usize {
    charged.clamp(text, text + BESIDE_TEXT)
}

/// Most that a line is charged beside its text: what it was before that is gone.
const BESIDE_TEXT: usize = 1_024;
