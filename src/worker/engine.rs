//! All portals together: lines in, requests out, replies in. Decides, does no I/O, reads no clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::agenda::Agenda;
use super::ending::Ending;
use super::entry::Gap;
use super::lane::calls::AppCall;
use super::lane::{Access, Action, Lane, Rules, TICK, What};
use super::ledger::{Freed, Ledger, Page, Pending};
use super::render::Renderer;
use super::report::{Report, Trouble};
use super::turn::Turn;
use crate::error::CompleteError;
use crate::line::{EventToken, LogLine, Missed, PortalId, Tag};
use crate::protocol::{Reply, Request};
use crate::queue::{self, Close, Complete, Expect, Flush, Limits, Overflow, Scope};
use crate::stats::DropReason;
use crate::transport::Refreshed;

/// A request that is out: whose, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    portal: usize,
    what: What,
}

/// What the worker is to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this, and bring the reply.
    Send(Call, Request),
    /// Get this access, and say what came of it.
    Access(Call, Access),
    /// Come back at this time, or when something has come in.
    Wait(Option<Instant>),
    /// All is settled after a close.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Engine {
    rules: Arc<Rules>,
    limits: Limits,
    renderer: Renderer,
    ledger: Ledger,
    portals: Slab<Portal>,
    by_id: HashMap<Option<PortalId>, usize>,
    /// When to ask which portal's lane.
    agenda: Agenda<usize>,
    /// Lines taken in so far, which numbers them.
    seq: u64,
    seed: u64,
    closing: Option<Instant>,
    /// A line is in the books that is in no lane yet: after a panic, that one is lost.
    charged: bool,
}

/// All that is known of one portal.
#[derive(Debug)]
struct Portal {
    /// `None`: the default portal.
    id: Option<PortalId>,
    lane: Lane,
    page: Page,
    /// Since when its lane has had nothing to remember.
    empty_since: Option<Instant>,
}

impl Engine {
    pub(crate) fn new(
        rules: Rules,
        limits: Limits,
        renderer: Renderer,
        ledger: Ledger,
        seed: u64,
    ) -> Self {
        Engine {
            rules: Arc::new(rules),
            limits,
            renderer,
            ledger,
            portals: Slab::new(),
            by_id: HashMap::new(),
            agenda: Agenda::new(),
            seq: 0,
            seed,
            closing: None,
            charged: false,
        }
    }

    /// Takes a line in.
    pub(crate) fn line(&mut self, line: &LogLine, now: Instant) {
        let key = self.portal_of(&line.tag.portal, now);
        self.charge(line, key, now);
        // What finds no room as it is, is not made text of.
        let charged = line.bytes();
        let mut bytes = charged;
        let mut stays = self.keeps_share(line, bytes, key, now);
        if stays {
            bytes = held(charged, self.renderer.render(line));
            stays = bytes <= charged || self.keeps_share(line, bytes, key, now);
        }
        if !stays {
            self.charged = false;
            return;
        }
        let Engine { renderer, ledger, portals, .. } = self;
        let Portal { lane, page, .. } = &mut portals[key];
        let text = (renderer.text(), bytes);
        lane.line(line, text, self.seq, &mut Turn { ledger, page, now });
        self.charged = false;
        self.tell_missed(&line.tag, key, now);
        self.make_room(&line.tag, key, now);
        self.agenda.set(key, now);
    }

    /// Puts a line into the books, and notes that until it has found its place.
    fn charge(&mut self, line: &LogLine, key: usize, now: Instant) {
        self.charged = true;
        self.seq += 1;
        let token = line.tag.fingerprint();
        self.ledger.taken(&mut self.portals[key].page, token, line.bytes(), self.seq, now);
    }

    /// A line was lost inside the worker before it could be taken in.
    pub(crate) fn line_lost(&mut self, line: &LogLine, now: Instant) {
        let key = self.portal_of(&line.tag.portal, now);
        if !std::mem::take(&mut self.charged) {
            self.charge(line, key, now);
            self.charged = false;
        }
        self.refuse(line, key, DropReason::Internal, now);
    }

    /// Drops a line that was just taken in, and tells of it in its log.
    fn refuse(&mut self, line: &LogLine, key: usize, reason: DropReason, now: Instant) {
        let event_token = &line.tag.event_token;
        let seq = self.seq;
        let (lane, mut turn) = self.turn(key, now);
        turn.settle_lines(event_token, 1, line.bytes(), seq, Ending::Dropped(reason));
        lane.missed(event_token, Gap::new(reason, 1, line.at), &mut turn);
        self.agenda.set(key, now);
    }

    /// Sees to it that the portal of a line that was just taken in holds no more than its share of
    /// the budget, so that one that fails leaves room for the others, and that all of them hold no more
    /// than there is. Says whether the line stays, which holds so many `bytes` as text.
    fn keeps_share(&mut self, line: &LogLine, bytes: usize, key: usize, now: Instant) -> bool {
        let share = self.rules.portal_share;
        let more = bytes.saturating_sub(line.bytes());
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
                let loud = turn.ledger.is_loud(&limits, line.tag.fingerprint());
                let of = loud.then_some(&line.tag.event_token);
                if !lane.evict(of, DropReason::PortalShare, &mut turn) {
                    break;
                }
            }
            return true;
        }
        let all = self.ledger.pending();
        let here = self.portals[key].page.pending();
        // The door has let it in without knowing how long its text would be.
        let too_long = more > 0 && self.limits.are_passed_by(all.lines, (all.bytes + more) as u64);
        let stays = !too_long
            && !over(here)
            && self.ledger.leaves_room(&limits, here, line.tag.fingerprint());
        if !stays {
            self.refuse(line, key, DropReason::PortalShare, now);
        }
        stays
    }

    /// A tagged span has closed.
    pub(crate) fn span_closed(&mut self, tag: &Tag, now: Instant) {
        let key = self.portal_of(&tag.portal, now);
        self.tell_missed(tag, key, now);
        let (lane, mut turn) = self.turn(key, now);
        lane.span_closed(&tag.event_token, &mut turn);
        self.agenda.set(key, now);
    }

    pub(crate) fn flush(&mut self, flush: Flush, now: Instant) {
        let Flush { scope, deadline, reply } = flush;
        let event_token = match &scope {
            Scope::All => None,
            Scope::Token(event_token) => Some(event_token),
        };
        let mut pending = 0;
        for (key, portal) in &mut self.portals {
            let Portal { lane, page, .. } = portal;
            let mut turn = Turn { ledger: &mut self.ledger, page, now };
            if lane.seal(event_token, &mut turn) {
                self.agenda.set(key, now);
            }
            pending += event_token.map_or(0, |event_token| lane.pending(event_token));
        }
        match scope {
            Scope::All => self.ledger.watch_all(deadline, reply),
            Scope::Token(event_token) => {
                self.ledger.watch_token(event_token, pending, deadline, reply);
            }
        }
    }

    /// An activity is to be ended, after its lines if they are quick.
    pub(crate) fn complete(&mut self, complete: Complete, now: Instant) {
        let Complete { event_token, portal, completion, deadline, reply } = complete;
        let key = match &portal {
            Some(_) => self.portal_of(&portal, now),
            None => match self.portal_that_knows(&event_token) {
                Some(key) => key,
                None if self.rules.default_portal => self.portal_of(&None, now),
                None => {
                    // Whoever asked may have gone: then nobody is left to be told.
                    drop(reply.send(Err(CompleteError::UnknownPortal)));
                    return;
                }
            },
        };
        let (lane, mut turn) = self.turn(key, now);
        lane.complete(&event_token, completion, deadline, reply, &mut turn);
        self.agenda.set(key, now);
    }

    /// The app calls a method of its own.
    pub(crate) fn call(&mut self, call: queue::Call, now: Instant) {
        let queue::Call { portal, method, body, deadline, reply } = call;
        let key = self.portal_of(&portal, now);
        let call = AppCall::new(method, body, deadline, reply, now);
        self.with(key, now, |lane, _| lane.call(call));
    }

    /// The portal on which the token has logged, or was taken on: the one without a name first.
    fn portal_that_knows(&self, event_token: &EventToken) -> Option<usize> {
        let unnamed = self.by_id.get(&None).copied();
        let all = unnamed.into_iter().chain(self.portals.iter().map(|(key, _)| key));
        all.into_iter().find(|key| self.portals[*key].lane.knows(event_token))
    }

    /// A portal waits for an activity no longer than this.
    pub(crate) fn expect(&mut self, expect: Expect, now: Instant) {
        let Expect { event_token, portal, waits_until } = expect;
        let key = self.portal_of(&portal, now);
        let (lane, mut turn) = self.turn(key, now);
        lane.expect(event_token, waits_until, &mut turn);
        self.agenda.set(key, now);
    }

    pub(crate) fn close(&mut self, close: Close, now: Instant) {
        for (key, portal) in &mut self.portals {
            portal.lane.close(close.deadline, now);
            self.agenda.set(key, now);
        }
        self.ledger.watch_close(close.deadline, close.reply);
        self.closing = Some(close.deadline);
    }

    /// Takes in the reply to what a lane sent.
    pub(crate) fn settle(&mut self, call: Call, reply: &Reply, now: Instant) {
        self.with(call.portal, now, |lane, turn| lane.settle(call.what, reply, turn));
    }

    /// Takes in what came of asking for other access.
    pub(crate) fn accessed(&mut self, call: Call, refreshed: Refreshed, now: Instant) {
        self.with(call.portal, now, |lane, turn| lane.accessed(refreshed, turn));
    }

    /// New credentials have arrived for a portal.
    pub(crate) fn unblock(&mut self, portal: &Option<PortalId>, now: Instant) {
        if let Some(&key) = self.by_id.get(portal) {
            self.with(key, now, |lane, _| lane.unblock());
        }
    }

    /// The app was removed from a portal: what is left for it is lost, and its activities cannot be
    /// ended any more.
    pub(crate) fn uninstalled(&mut self, portal: &PortalId, now: Instant) {
        if let Some(&key) = self.by_id.get(&Some(portal.clone())) {
            self.with(key, now, |lane, turn| lane.abandon(DropReason::Uninstalled, turn));
        }
    }

    /// Something happened to a lane that may block it, or lift that.
    fn with(&mut self, key: usize, now: Instant, act: impl FnOnce(&mut Lane, &mut Turn<'_>)) {
        let (lane, mut turn) = self.turn(key, now);
        act(lane, &mut turn);
        turn.page.stands(&lane.standing(), now);
        self.agenda.set(key, now);
    }

    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Step {
        if self.closing.is_some_and(|deadline| now >= deadline) {
            for (_, Portal { lane, page, .. }) in &mut self.portals {
                let mut turn = Turn { ledger: &mut self.ledger, page, now };
                lane.abandon(DropReason::ShutdownDeadline, &mut turn);
            }
            return Step::Closed;
        }
        while let Some(key) = self.agenda.pop(now) {
            let (lane, mut turn) = self.turn(key, now);
            let action = lane.next(&mut turn);
            turn.page.stands(&lane.standing(), now);
            match action {
                Action::Send(what, request) => {
                    // The lane may want more: ends beside its entries.
                    self.agenda.set(key, now);
                    return Step::Send(Call { portal: key, what }, request);
                }
                Action::Access(access) => {
                    self.agenda.set(key, now);
                    return Step::Access(Call { portal: key, what: What::Access }, access);
                }
                // Later than now in any case: nothing else ends this loop.
                Action::Wait(at) => self.agenda.set(key, at.max(now + TICK)),
                Action::Idle => self.forget(key, now),
            }
        }
        let settled = self.closing.is_some() && self.ledger.pending().lines == 0;
        if settled && !self.is_completing() {
            return Step::Closed;
        }
        Step::Wait(self.agenda.next_at().into_iter().chain(self.ledger.next_deadline()).min())
    }

    /// Forgets a portal whose lane has had nothing to remember for long.
    fn forget(&mut self, key: usize, now: Instant) {
        let portal = &mut self.portals[key];
        if !portal.lane.is_empty(now) {
            portal.empty_since = None;
            if !portal.lane.is_out() {
                self.agenda.set(key, now + FORGET);
            }
            return;
        }
        let since = *portal.empty_since.get_or_insert(now);
        if now.saturating_duration_since(since) < FORGET {
            self.agenda.set(key, since + FORGET);
            return;
        }
        let portal = self.portals.remove(key);
        self.by_id.remove(&portal.id);
        self.ledger.close_page(&portal.page);
    }

    /// Answers flushes that are through or out of time. After the budget was told what was settled,
    /// so that whoever is answered finds the counters up to date.
    pub(crate) fn answer(&mut self, now: Instant) {
        self.ledger.answer(now);
    }

    /// What may be told of the trouble there was; `last` when nothing can be told later.
    pub(crate) fn due_reports(&mut self, last: bool, now: Instant) -> Vec<Report> {
        self.ledger.due_reports(last, now)
    }

    /// Notes trouble that was seen outside of the lanes; of a portal, where it is one portal's.
    pub(crate) fn report(
        &mut self,
        trouble: Trouble,
        portal: Option<&PortalId>,
        detail: impl Into<String>,
    ) {
        self.ledger.report(trouble, 1, portal.map(PortalId::as_str), detail);
    }

    /// Notes lines that were refused before they came here.
    pub(crate) fn refused_at_door(&mut self, reason: DropReason, lines: u64) {
        self.ledger.refused_at_door(reason, lines);
    }

    /// When something may be told that may not be told yet.
    pub(crate) fn next_report(&self) -> Option<Instant> {
        self.ledger.next_report()
    }

    /// Lines taken in and not yet settled.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn pending(&self) -> u64 {
        self.ledger.pending().lines
    }

    /// Whether lines are not settled, or ends not answered.
    #[cfg(feature = "simulation")]
    pub(crate) fn is_busy(&self) -> bool {
        self.pending() > 0 || self.is_completing()
    }

    fn is_completing(&self) -> bool {
        self.portals.iter().any(|(_, portal)| portal.lane.is_completing())
    }

    /// What was settled since the last call, for the budget.
    pub(crate) fn freed(&mut self) -> Freed {
        self.ledger.freed()
    }

    /// Where a request goes. `None`: the default portal's.
    pub(crate) fn portal(&self, call: Call) -> Option<&PortalId> {
        self.portals[call.portal].id.as_ref()
    }

    /// The portal's place. A lane is made for one that is new.
    fn portal_of(&mut self, id: &Option<PortalId>, now: Instant) -> usize {
        if let Some(&key) = self.by_id.get(id) {
            return key;
        }
        let seed = self.seed.wrapping_add(self.portals.vacant_key() as u64);
        let mut lane = Lane::new(self.rules.clone(), seed, now);
        if let Some(deadline) = self.closing {
            lane.close(deadline, now);
        }
        let page = self.ledger.page(id.as_ref().map(PortalId::as_str));
        let portal = Portal { id: id.clone(), lane, page, empty_since: None };
        let key = self.portals.insert(portal);
        self.by_id.insert(id.clone(), key);
        key
    }

    fn turn(&mut self, key: usize, now: Instant) -> (&mut Lane, Turn<'_>) {
        let Portal { lane, page, .. } = &mut self.portals[key];
        (lane, Turn { ledger: &mut self.ledger, page, now })
    }

    /// Lines that were refused at the door are told in the token's log.
    fn tell_missed(&mut self, tag: &Tag, key: usize, now: Instant) {
        if let Some(Missed { lines, since, reason }) = tag.take_refused() {
            let (lane, mut turn) = self.turn(key, now);
            lane.missed(&tag.event_token, Gap::new(reason, lines, since), &mut turn);
        }
    }

    /// Keeps to the budget by giving up the oldest lines, where the user asked for that: of the token
    /// that has just logged if that is loud, and of all if not.
    fn make_room(&mut self, tag: &Tag, own: usize, now: Instant) {
        if self.limits.overflow != Overflow::DropOldest {
            return;
        }
        let limits = self.limits;
        let over = |Pending { lines, bytes }| limits.are_passed_by(lines, bytes as u64);
        while over(self.ledger.pending()) {
            let loud = self.ledger.is_loud(&limits, tag.fingerprint());
            let (lane, mut turn) = self.turn(own, now);
            let of = Some(&tag.event_token);
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

/// A portal is forgotten when its lane has had nothing to remember for so long. Its counters go with
/// it, and what was learned of its limits.
const FORGET: Duration = Duration::from_secs(3_600);
/// What a line holds of the budget once it is text, where it was charged so many bytes.
fn held(charged: usize, text: usize) -> usize {
    charged.clamp(text, text + BESIDE_TEXT)
}

/// Most that a line is charged beside its text: what it was before that is gone.
const BESIDE_TEXT: usize = 1_024;
