//! All portals together: lines in, requests out, replies in. Decides, does no I/O, reads no clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::agenda::Agenda;
use super::ending::Ending;
use super::entry::Gap;
use super::incoming::{Incoming, Stamp};
use super::lane::calls::AppCall;
use super::lane::{Action, EndAsked, Lane, Renewal, Rules, TICK, What};
use super::ledger::{Freed, Ledger, Page, Pending};
use super::render::Renderer;
use super::report::{Report, Trouble};
use super::style::Styles;
use super::turn::Turn;
use crate::error::{CallError, CompleteError};
use crate::journal::Publisher;
use crate::line::{EventToken, LogLine, Missed, PortalId, Tag};
use crate::protocol::{Reply, Request};
use crate::queue::{self, Close, Complete, Expect, Flush, Limits, Overflow, Scope};
use crate::stats::DropReason;
use crate::transport::Refreshed;

mod behind;
mod found;
mod leaving;
mod permits;
mod publish;
mod replay;
mod standing;
mod store;
mod tail;

use behind::Behind;
pub(crate) use permits::Withheld;
use publish::Publishing;
use standing::Standing;
use store::Store;

/// A request in flight: its portal and its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    portal: usize,
    what: What,
}

/// What the worker is to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this, and return the reply.
    Send(Outgoing, Request),
    /// Request this access, and return the result.
    Access(Outgoing, Renewal),
    /// Call again at this time, or when something has arrived.
    Wait(Option<Instant>),
    /// Everything is settled after a close.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Engine {
    rules: Arc<Rules>,
    limits: Limits,
    renderer: Renderer,
    /// Styles of other processes.
    styles: Styles,
    ledger: Ledger,
    portals: Slab<Portal>,
    by_id: HashMap<Option<PortalId>, usize>,
    /// When to ask each portal's lane.
    agenda: Agenda<usize>,
    /// How many lines and ends were received. Numbers them.
    seq: u64,
    /// This run, in a journal.
    publisher: Publisher,
    seed: u64,
    closing: Option<Instant>,
    /// A line is counted, but in no lane yet. After a panic it is lost.
    charged: bool,
    /// Set if there is a journal.
    store: Option<Store>,
    /// Set if lines go to a journal that another process delivers from.
    publishing: Option<Box<Publishing>>,
}

/// All that is known of one portal.
#[derive(Debug)]
struct Portal {
    /// `None`: the default portal.
    id: Option<PortalId>,
    lane: Lane,
    page: Page,
    /// Set while it has lines that are in no lane.
    behind: Option<Box<Behind>>,
    /// Since when its lane has had nothing to remember.
    empty_since: Option<Instant>,
    /// Whether it may send, where others deliver from the journal, too.
    standing: Standing,
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
            styles: Styles::default(),
            ledger,
            portals: Slab::new(),
            by_id: HashMap::new(),
            agenda: Agenda::new(),
            seq: 0,
            publisher: Publisher(0),
            seed,
            closing: None,
            charged: false,
            store: None,
            publishing: None,
        }
    }

    /// Takes a line in.
    pub(crate) fn line(&mut self, line: &LogLine, now: Instant) {
        let key = self.portal_of(&line.tag.portal, now);
        let mut incoming = self.charge(line, key, now);
        if self.publishing.is_some() {
            self.publish(line, &incoming, key, now);
            return self.tell_missed(&line.tag, key, now);
        }
        if self.goes_behind(key, now) {
            self.renderer.write_body(line);
            self.put_behind(&incoming, key, now);
            self.charged = false;
            self.tell_missed(&line.tag, key, now);
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
        self.tell_missed(&line.tag, key, now);
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
    fn refuse(&mut self, line: &Incoming<'_>, key: usize, reason: DropReason, now: Instant) {
        self.turn(key, now).1.settle_line(line, Ending::Dropped(reason));
        if self.publishing.is_some() {
            let portal = self.portals[key].id.clone();
            return self.publish_gap(line.event_token, &portal, (reason, 1, line.at), now);
        }
        let (lane, mut turn) = self.turn(key, now);
        lane.missed(line.event_token, Gap::new(reason, 1, line.at), &mut turn);
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

    pub(crate) fn flush(&mut self, flush: Flush, now: Instant) {
        let Flush { scope, deadline, reply } = flush;
        let event_token = match &scope {
            Scope::All => None,
            Scope::Token(event_token) => Some(event_token),
        };
        self.hurry_publishing();
        let token = event_token.map(EventToken::fingerprint);
        self.cut(token);
        let mut pending = event_token.map_or(0, |event_token| self.unpublished(event_token));
        pending += token.map_or(0, |token| self.elsewhere(token));
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

    /// An activity is to be ended, after its lines if they arrive in time.
    pub(crate) fn complete(&mut self, complete: Complete, now: Instant) {
        if self.publishing.is_some() {
            return self.publish_end(complete, now);
        }
        let Complete { event_token, portal, completion, deadline, reply } = complete;
        let key = match &portal {
            Some(_) => self.portal_of(&portal, now),
            None => match self.portal_that_knows(&event_token) {
                Some(key) => key,
                None if self.rules.default_portal => self.portal_of(&None, now),
                None => {
                    // The caller may have stopped waiting.
                    drop(reply.send(Err(CompleteError::UnknownPortal)));
                    return;
                }
            },
        };
        self.seq += 1;
        let no = self.seq;
        let stored = self.end_to_store((key, &event_token), (no, &completion, deadline), now);
        let publisher = self.publisher;
        let elsewhere = self.elsewhere_of_end(key, &event_token);
        let asked = EndAsked {
            completion,
            deadline,
            patience: None,
            answer: reply,
            stamp: stored.as_ref().map(|_| Stamp { publisher, no }),
            elsewhere,
        };
        let (lane, mut turn) = self.turn(key, now);
        let goes = lane.complete(&event_token, asked, &mut turn);
        if let (Some(end), Some(outbox)) = (stored.filter(|_| goes), self.ledger.outbox()) {
            // Under the name under which it is settled, and the token's lines are stored.
            outbox.end(&self.portals[key].id, &event_token, end, now);
        }
        self.agenda.set(key, now);
    }

    /// The app calls a method of its own.
    pub(crate) fn call(&mut self, call: queue::Call, now: Instant) {
        let queue::Call { portal, method, body, deadline, reply } = call;
        if self.publishing.is_some() {
            // The caller may have stopped waiting.
            return drop(reply.send(Err(CallError::Publishes)));
        }
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
        if self.publishing.is_some() {
            return self.publish_expect(expect, now);
        }
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
        self.close_published(close.deadline, now);
        self.ledger.watch_close(close.deadline, close.reply);
        self.closing = Some(close.deadline);
    }

    /// Processes the reply to a request of a lane.
    pub(crate) fn settle(&mut self, call: Outgoing, reply: &Reply, now: Instant) {
        self.with(call.portal, now, |lane, turn| lane.settle(call.what, reply, turn));
    }

    /// Processes the result of asking for other access.
    pub(crate) fn accessed(&mut self, call: Outgoing, refreshed: Refreshed, now: Instant) {
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
        self.withdraw_portal(portal, now);
        if let Some(&key) = self.by_id.get(&Some(portal.clone())) {
            self.with(key, now, |lane, turn| lane.abandon(DropReason::Uninstalled, turn));
            self.give_up_behind(key, DropReason::Uninstalled);
        }
    }

    /// Something happened to a lane that may block it, or lift that.
    fn with(&mut self, key: usize, now: Instant, act: impl FnOnce(&mut Lane, &mut Turn<'_>)) {
        let (lane, mut turn) = self.turn(key, now);
        act(lane, &mut turn);
        self.stand(key, now);
        self.agenda.set(key, now);
        self.go_on_leaving(key, now);
    }

    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Step {
        if self.is_out_of_time(now) {
            for (_, Portal { lane, page, .. }) in &mut self.portals {
                let mut turn = Turn { ledger: &mut self.ledger, page, now };
                lane.abandon(DropReason::ShutdownDeadline, &mut turn);
            }
            self.leave_behind(now);
            self.leave_unpublished(now);
            return Step::Closed;
        }
        self.share(now);
        self.pass_published(now);
        while let Some(key) = self.agenda.pop(now) {
            if let Some(waits) = self.waits(key, now) {
                if let Some(at) = waits.until {
                    self.agenda.set(key, at);
                }
                continue;
            }
            let (lane, mut turn) = self.turn(key, now);
            let action = lane.next(&mut turn);
            self.stand(key, now);
            let look_again = self.read_more(key, now).then(|| now + LOOK_AGAIN);
            match action {
                Action::Send(what, request) => {
                    // The lane may want more: ends beside its entries.
                    self.agenda.set(key, now);
                    return Step::Send(Outgoing { portal: key, what }, request);
                }
                Action::Access(access) => {
                    self.agenda.set(key, now);
                    return Step::Access(Outgoing { portal: key, what: What::Access }, access);
                }
                // Later than now in any case: nothing else ends this loop.
                Action::Wait(at) => {
                    let at = at.max(now + TICK);
                    self.agenda.set(key, look_again.map_or(at, |again| again.min(at)));
                }
                Action::Idle => match look_again {
                    Some(again) => self.agenda.set(key, again),
                    None => self.forget(key, now),
                },
            }
        }
        let settled = self.ledger.pending().lines + self.ledger.only_stored() == 0;
        let starting = self.is_starting();
        let published = self.publishing.as_ref().is_none_or(|publishing| publishing.is_idle());
        if self.closing.is_some() && settled && published && !starting && !self.is_completing() {
            return Step::Closed;
        }
        let asks_at = self.asks_at().into_iter().chain(self.posts_at(now));
        let others = self.ledger.next_deadline().into_iter().chain(asks_at).chain(self.share_at());
        Step::Wait(self.agenda.next_at().into_iter().chain(others).min())
    }

    /// Shows how a portal stands.
    fn stand(&mut self, key: usize, now: Instant) {
        let Portal { lane, page, behind, .. } = &self.portals[key];
        let mut condition = lane.condition();
        if let Some(behind) = behind {
            let oldest = condition.oldest.into_iter().chain([behind.since]).min();
            condition.oldest = oldest;
        }
        if let Some(publishing) = &self.publishing {
            publishing.show(&mut condition, page.pending().lines + page.stored());
        }
        page.stands(&condition, now);
    }

    /// Forgets a portal whose lane has had nothing to remember for long.
    fn forget(&mut self, key: usize, now: Instant) {
        let portal = &mut self.portals[key];
        let pending = portal.page.pending().lines + portal.page.stored();
        let is_used = portal.behind.is_some() || pending > 0;
        if !portal.lane.is_empty(now) || is_used {
            portal.empty_since = None;
            if !portal.lane.is_out() {
                self.agenda.set(key, now + FORGET);
            }
            return;
        }
        let since = *portal.empty_since.get_or_insert(now);
        // If others deliver from the journal, what was learned of its limits is there, too.
        let forget = if self.is_shared() { FORGET_SHARED } else { FORGET };
        if now.saturating_duration_since(since) < forget {
            self.agenda.set(key, since + forget);
            return;
        }
        self.remove(key);
    }

    fn remove(&mut self, key: usize) -> Portal {
        let portal = self.portals.remove(key);
        self.by_id.remove(&portal.id);
        self.agenda.remove(key);
        self.ledger.close_page(&portal.page);
        portal
    }

    /// Whether the deadline of the shutdown has passed.
    pub(crate) fn is_out_of_time(&self, now: Instant) -> bool {
        self.closing.is_some_and(|deadline| now >= deadline)
    }

    /// Until the deadline of the shutdown. None of it where nothing is left to wait for.
    pub(crate) fn time_left(&self, now: Instant) -> Duration {
        let answers = match &self.store {
            Some(store) => !store.is_away(),
            None => self.publishing.is_some(),
        };
        match self.closing {
            Some(deadline) if answers => deadline.saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }

    /// Answers flushes that are through or out of time. After the budget was told what was settled,
    /// so that whoever is answered finds the counters up to date.
    pub(crate) fn answer(&mut self, now: Instant) {
        let starting = self.is_starting();
        self.note_unpublished();
        self.ledger.answer(starting, now);
        self.answer_deliveries(now);
        self.answer_own_ends();
    }

    /// Whether it is not known yet what earlier runs have left.
    fn is_starting(&self) -> bool {
        let publishing = self.publishing.as_ref();
        self.store.as_ref().is_some_and(Store::is_starting)
            || publishing.is_some_and(|publishing| publishing.is_starting())
    }

    /// Reports that are due. `last`: this is the last call, so everything is reported.
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

    /// When the next report is due.
    pub(crate) fn next_report(&self) -> Option<Instant> {
        self.ledger.next_report()
    }

    /// Lines that were received and are pending.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn pending(&self) -> u64 {
        self.ledger.pending().lines + self.ledger.only_stored()
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
    pub(crate) fn portal(&self, call: Outgoing) -> Option<&PortalId> {
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
        let page = self.ledger.page(id.as_ref());
        let standing = Standing::default();
        let (id, behind) = (id.clone(), None);
        let portal = Portal { id: id.clone(), lane, page, behind, empty_since: None, standing };
        let key = self.portals.insert(portal);
        self.by_id.insert(id, key);
        self.adopt_portal(key);
        key
    }

    fn turn(&mut self, key: usize, now: Instant) -> (&mut Lane, Turn<'_>) {
        let Portal { lane, page, .. } = &mut self.portals[key];
        (lane, Turn { ledger: &mut self.ledger, page, now })
    }

    /// Lines that were refused by the queue are mentioned in the token's log.
    fn tell_missed(&mut self, tag: &Tag, key: usize, now: Instant) {
        if let Some(Missed { lines, since, reason }) = tag.take_refused() {
            if self.publishing.is_some() {
                let lost = (reason, lines, since);
                return self.publish_gap(&tag.event_token, &tag.portal, lost, now);
            }
            let (lane, mut turn) = self.turn(key, now);
            lane.missed(&tag.event_token, Gap::new(reason, lines, since), &mut turn);
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

/// A portal is forgotten when its lane has had nothing to remember for so long. Its counters go with
/// it, and what was learned of its limits.
const FORGET: Duration = Duration::from_secs(3_600);
/// The same for a portal that another process may own by then.
const FORGET_SHARED: Duration = Duration::from_secs(60);
/// When to look again whether there is room for lines that are in no lane.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// What a line holds of the budget once it is text, where it was charged so many bytes.
fn held(charged: usize, text: usize) -> usize {
    charged.clamp(text, text + BESIDE_TEXT)
}

/// Most that a line is charged beside its text: what it was before that is gone.
const BESIDE_TEXT: usize = 1_024;
