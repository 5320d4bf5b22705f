//! All lanes together: lines in, requests out, replies in. Decides, does no I/O, reads no clock.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::completions::Completing;
use super::entry::Gap;
use super::lane::{Access, Action, Lane, Rules, TICK, What};
use super::ledger::{Ending, Freed, Ledger};
use super::render::Renderer;
use super::report::{Report, Trouble};
use crate::line::{LogLine, Missed, PortalId, Tag};
use crate::protocol::{Reply, Request};
use crate::queue::{Close, Complete, Expect, Flush, Limits, Overflow, Scope};
use crate::stats::DropReason;
use crate::transport::Refreshed;

/// A lane's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId(usize);

/// A request that is out: whose, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    lane: LaneId,
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
    rules: Rules,
    limits: Limits,
    renderer: Renderer,
    ledger: Ledger,
    lanes: Vec<Lane>,
    portals: Vec<Option<PortalId>>,
    by_portal: HashMap<Option<PortalId>, LaneId>,
    /// When to ask which lane. Invariant: a lane stands here at most once, under `listed`.
    agenda: BTreeSet<(Instant, LaneId)>,
    listed: Vec<Option<Instant>>,
    /// Lines taken in so far, which numbers them.
    seq: u64,
    seed: u64,
    closing: Option<Instant>,
    /// A line is in the books that is in no lane yet: after a panic, that one is lost.
    charged: bool,
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
            rules,
            limits,
            renderer,
            ledger,
            lanes: Vec::new(),
            portals: Vec::new(),
            by_portal: HashMap::new(),
            agenda: BTreeSet::new(),
            listed: Vec::new(),
            seq: 0,
            seed,
            closing: None,
            charged: false,
        }
    }

    /// Takes a line in.
    pub(crate) fn line(&mut self, line: &LogLine, now: Instant) {
        let id = self.lane(&line.tag.portal, now);
        self.charge(line);
        if !self.keeps_share(line, id, now) {
            self.charged = false;
            return;
        }
        let Engine { rules, renderer, lanes, ledger, .. } = self;
        let lane = &mut lanes[id.0];
        let pushed = lane.coalescer.push(line, self.seq, &rules.plan, renderer, now);
        if let Err(finished) = pushed {
            let event_token = &line.tag.event_token;
            ledger.settle_lines(event_token, 1, line.bytes(), self.seq, finished.ending());
        }
        self.charged = false;
        if self.closing.is_some() {
            // It came behind the close: nothing gathers any more.
            let event_token = Some(&line.tag.event_token);
            self.lanes[id.0].coalescer.seal(event_token, &self.rules.plan, now);
        }
        self.tell_missed(&line.tag, id, now);
        self.make_room(now);
        self.list(id, now);
    }

    /// Puts a line into the books, and notes that until it has found its place.
    fn charge(&mut self, line: &LogLine) {
        self.charged = true;
        self.ledger.taken(line.bytes());
        self.seq += 1;
    }

    /// A line was lost inside the worker before it could be taken in.
    pub(crate) fn line_lost(&mut self, line: &LogLine, now: Instant) {
        let id = self.lane(&line.tag.portal, now);
        if !std::mem::take(&mut self.charged) {
            self.charge(line);
            self.charged = false;
        }
        self.refuse(line, id, DropReason::Internal, now);
    }

    /// Drops a line that was just taken in, and tells of it in its log.
    fn refuse(&mut self, line: &LogLine, id: LaneId, reason: DropReason, now: Instant) {
        let event_token = &line.tag.event_token;
        let ending = Ending::Dropped(reason);
        self.ledger.settle_lines(event_token, 1, line.bytes(), self.seq, ending);
        let gap = Gap::new(reason, 1, line.at);
        self.lanes[id.0].coalescer.missed(event_token, gap, &self.rules.plan, now);
        self.list(id, now);
    }

    /// Sees to it that the portal of a line that was just taken in holds no more than its share of
    /// the budget, so that one that fails leaves room for the others. Says whether the line stays.
    fn keeps_share(&mut self, line: &LogLine, id: LaneId, now: Instant) -> bool {
        let share = self.rules.portal_share;
        if share >= 1.0 {
            return true;
        }
        let limits = Limits {
            lines: ((self.limits.lines as f64 * share) as usize).max(1),
            bytes: (self.limits.bytes as f64 * share) as usize,
            ..self.limits
        };
        let over = |(lines, bytes): (u64, usize)| limits.are_passed_by(lines, bytes as u64);
        if self.limits.overflow == Overflow::DropOldest {
            // The oldest make room for it, if there are any: what is in flight stays.
            while over(self.ledger.pending_here()) {
                let Engine { rules, lanes, ledger, .. } = self;
                if !lanes[id.0].evict(DropReason::PortalShare, rules, ledger) {
                    break;
                }
            }
            return true;
        }
        let stays = !over(self.ledger.pending_here());
        if !stays {
            self.refuse(line, id, DropReason::PortalShare, now);
        }
        stays
    }

    /// A tagged span has closed.
    pub(crate) fn span_closed(&mut self, tag: &Tag, now: Instant) {
        let id = self.lane(&tag.portal, now);
        self.tell_missed(tag, id, now);
        self.lanes[id.0].coalescer.close_span(&tag.event_token, &self.rules.plan, now);
        self.list(id, now);
    }

    pub(crate) fn flush(&mut self, flush: Flush, now: Instant) {
        let event_token = match &flush.scope {
            Scope::All => None,
            Scope::Token(event_token) => Some(event_token),
        };
        let mut pending = 0;
        for lane in &mut self.lanes {
            lane.coalescer.seal(event_token, &self.rules.plan, now);
            pending += event_token.map_or(0, |event_token| lane.coalescer.pending(event_token));
        }
        let of = event_token.map(|event_token| (event_token.clone(), pending));
        self.ledger.watch(of, self.seq, flush.deadline, flush.reply);
        self.list_all(now);
    }

    /// An activity is to be ended, after its lines if they are quick.
    pub(crate) fn complete(&mut self, complete: Complete, now: Instant) {
        let Complete { event_token, portal, completion, deadline, reply } = complete;
        let id = self.lane(&portal, now);
        let lane = &mut self.lanes[id.0];
        let (lines, report) = oneshot::channel();
        let pending = lane.coalescer.pending(&event_token);
        let of = Some((event_token.clone(), pending));
        // Answered when the lines are settled, which the completion sees to itself.
        let never = deadline + Duration::from_secs(365 * 86_400);
        self.ledger.watch(of, self.seq, never, lines);
        let lines = (pending, report);
        let completing = Completing::new(event_token, completion, deadline, lines, reply, now);
        lane.complete(completing, &self.rules, now);
        self.list(id, now);
    }

    /// A portal waits for an activity no longer than this.
    pub(crate) fn expect(&mut self, expect: Expect, now: Instant) {
        let Expect { event_token, portal, waits_until } = expect;
        let id = self.lane(&portal, now);
        self.lanes[id.0].expect(event_token, waits_until, now);
        self.list(id, now);
    }

    pub(crate) fn close(&mut self, close: Close, now: Instant) {
        for lane in &mut self.lanes {
            lane.close(&self.rules, close.deadline, now);
        }
        self.ledger.watch(None, u64::MAX, close.deadline, close.reply);
        self.closing = Some(close.deadline);
        self.list_all(now);
    }

    /// Takes in the reply to what a lane sent.
    pub(crate) fn settle(&mut self, call: Call, reply: &Reply, now: Instant) {
        let Call { lane, what } = call;
        self.ledger.turn_to(lane.0);
        self.lanes[lane.0].settle(what, reply, &self.rules, &mut self.ledger, now);
        self.ledger.blocked(self.lanes[lane.0].blocked());
        self.list(lane, now);
    }

    /// Takes in what came of asking for other access.
    pub(crate) fn accessed(&mut self, call: Call, refreshed: Refreshed, now: Instant) {
        self.ledger.turn_to(call.lane.0);
        self.lanes[call.lane.0].accessed(refreshed, &mut self.ledger, now);
        self.ledger.blocked(self.lanes[call.lane.0].blocked());
        self.list(call.lane, now);
    }

    /// New credentials have arrived for a portal.
    pub(crate) fn unblock(&mut self, portal: &Option<PortalId>, now: Instant) {
        if let Some(&id) = self.by_portal.get(portal) {
            self.ledger.turn_to(id.0);
            self.lanes[id.0].unblock(now);
            self.ledger.blocked(None);
            self.list(id, now);
        }
    }

    /// The app was removed from a portal: what is left for it is lost, and its activities cannot be
    /// ended any more.
    pub(crate) fn forget(&mut self, portal: &PortalId, now: Instant) {
        if let Some(&id) = self.by_portal.get(&Some(portal.clone())) {
            self.ledger.turn_to(id.0);
            self.lanes[id.0].abandon(DropReason::Uninstalled, &self.rules, &mut self.ledger);
            self.list(id, now);
        }
    }

    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Step {
        if self.closing.is_some_and(|deadline| now >= deadline) {
            for (page, lane) in self.lanes.iter_mut().enumerate() {
                self.ledger.turn_to(page);
                lane.abandon(DropReason::ShutdownDeadline, &self.rules, &mut self.ledger);
            }
            return Step::Closed;
        }
        while let Some(&(at, id)) = self.agenda.first() {
            if at > now {
                break;
            }
            self.unlist(id);
            self.ledger.turn_to(id.0);
            match self.lanes[id.0].next(&self.rules, &mut self.ledger, now) {
                Action::Send(what, request) => {
                    // The lane may want more: a completion beside its lines.
                    self.list(id, now);
                    return Step::Send(Call { lane: id, what }, request);
                }
                Action::Access(access) => {
                    self.list(id, now);
                    return Step::Access(Call { lane: id, what: What::Access }, access);
                }
                // Later than now in any case: nothing else ends this loop.
                Action::Wait(at) => self.list(id, at.max(now + TICK)),
                Action::Idle => {}
            }
        }
        let settled = self.closing.is_some() && self.ledger.pending().0 == 0;
        if settled && !self.lanes.iter().any(Lane::is_completing) {
            return Step::Closed;
        }
        let due = self.agenda.first().map(|(at, _)| *at);
        let deadline = self.ledger.next_deadline();
        Step::Wait(due.into_iter().chain(deadline).min())
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

    /// Notes trouble that was seen outside of the lanes.
    pub(crate) fn report(&mut self, trouble: Trouble, detail: impl Into<String>) {
        self.ledger.report(trouble, detail);
    }

    /// Lines taken in and not yet settled.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn pending(&self) -> u64 {
        self.ledger.pending().0
    }

    /// What was settled since the last call, for the budget.
    pub(crate) fn freed(&mut self) -> Freed {
        self.ledger.freed()
    }

    /// Where a request goes. `None`: the default portal's.
    pub(crate) fn portal(&self, call: Call) -> Option<&PortalId> {
        self.portals[call.lane.0].as_ref()
    }

    /// The portal's lane, with the ledger turned to its page.
    fn lane(&mut self, portal: &Option<PortalId>, now: Instant) -> LaneId {
        if let Some(&id) = self.by_portal.get(portal) {
            self.ledger.turn_to(id.0);
            return id;
        }
        let id = LaneId(self.lanes.len());
        let seed = self.seed.wrapping_add(id.0 as u64);
        let mut lane = Lane::new(&self.rules, seed, now);
        if let Some(deadline) = self.closing {
            lane.close(&self.rules, deadline, now);
        }
        self.lanes.push(lane);
        self.listed.push(None);
        self.portals.push(portal.clone());
        self.by_portal.insert(portal.clone(), id);
        self.ledger.add_page(portal.as_ref().map(PortalId::as_str));
        self.ledger.turn_to(id.0);
        id
    }

    /// Lines that were refused at the door are told in the token's log.
    fn tell_missed(&mut self, tag: &Tag, id: LaneId, now: Instant) {
        if let Some(Missed { lines, since, reason }) = tag.take_refused() {
            let gap = Gap::new(reason, lines, since);
            self.lanes[id.0].coalescer.missed(&tag.event_token, gap, &self.rules.plan, now);
        }
    }

    /// Keeps to the budget by giving up the oldest lines, where the user asked for that.
    fn make_room(&mut self, now: Instant) {
        if self.limits.overflow != Overflow::DropOldest {
            return;
        }
        let limits = self.limits;
        let over = |(lines, bytes): (u64, usize)| limits.are_passed_by(lines, bytes as u64);
        while over(self.ledger.pending()) {
            let Engine { rules, lanes, ledger, .. } = self;
            let oldest = lanes
                .iter_mut()
                .enumerate()
                .filter_map(|(page, lane)| Some((lane.coalescer.oldest()?, page, lane)))
                .min_by_key(|(oldest, ..)| *oldest);
            let Some((_, page, lane)) = oldest else { return };
            ledger.turn_to(page);
            if !lane.evict(DropReason::Evicted, rules, ledger) {
                return;
            }
            // The end of an activity may have waited for just these lines.
            self.list(LaneId(page), now);
        }
    }

    fn list_all(&mut self, now: Instant) {
        for n in 0..self.lanes.len() {
            self.list(LaneId(n), now);
        }
    }

    fn list(&mut self, id: LaneId, at: Instant) {
        self.unlist(id);
        self.listed[id.0] = Some(at);
        self.agenda.insert((at, id));
    }

    fn unlist(&mut self, id: LaneId) {
        if let Some(at) = self.listed[id.0].take() {
            self.agenda.remove(&(at, id));
        }
    }
}
