//! All portals together: lines in, requests out, replies in. Decides, does no I/O, reads no clock.
//!
//! ```text
//! intake     a line finds room, and goes to the lane of its portal (portals)
//! store      with a journal: a copy goes there, or the line waits only there (behind, replay), also from
//!            other runs (found)
//! tail       several processes deliver from the journal: what others append, and which portals this one
//!            sends to (standing, permits, leaving)
//! publish    another process delivers: lines go to its journal instead of a lane
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use super::incoming::Stamp;
use super::lane::calls::AppCall;
use super::lane::{Action, EndAsked, Lane, Renewal, Rules, TICK, What};
use super::ledger::{Freed, Ledger};
use super::render::Renderer;
use super::report::{Report, Trouble};
use super::style::Styles;
use super::turn::Turn;
use crate::error::{CallError, CompleteError};
use crate::journal::Publisher;
use crate::line::{EventToken, PortalId};
use crate::protocol::{Reply, Request};
use crate::queue::{self, Caller, Close, Complete, Expect, Flush, Limits, Scope};
use crate::stats::DropReason;
use crate::transport::Refreshed;

mod behind;
mod found;
mod intake;
mod leaving;
mod permits;
mod portals;
mod publish;
mod replay;
mod standing;
mod store;
mod tail;

pub(crate) use permits::Withheld;
use portals::{Portal, Portals};
use publish::Publishing;
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
    portals: Portals,
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
            portals: Portals::default(),
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
        for (key, portal) in self.portals.iter_mut() {
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
            None => match self.portals.that_knows(&event_token) {
                Some(key) => key,
                None if self.rules.default_portal => self.portal_of(&None, now),
                None => {
                    // The caller may have stopped waiting.
                    drop(reply.send(Err(CompleteError::UnknownPortal)));
                    return;
                }
            },
        };
        if !self.rules.serves.includes(&self.portals[key].id) {
            // The caller may have stopped waiting.
            return drop(reply.send(Err(CompleteError::NoCredentials)));
        }
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
        let queue::Call { by, portal, method, body, deadline, reply } = call;
        // A registration fits into the part of the portal's limit that a relay does not use.
        if self.publishing.is_some() && by == Caller::App {
            // The caller may have stopped waiting.
            return drop(reply.send(Err(CallError::Publishes)));
        }
        let key = self.portal_of(&portal, now);
        let call = AppCall::new(method, body, deadline, reply, now);
        self.with(key, now, |lane, _| lane.call(call));
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
        for (key, portal) in self.portals.iter_mut() {
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
        if let Some(key) = self.portals.key(portal) {
            self.with(key, now, |lane, _| lane.unblock());
        }
    }

    /// The app was removed from a portal: what is left for it is lost, and its activities cannot be
    /// ended any more.
    pub(crate) fn uninstalled(&mut self, portal: &PortalId, now: Instant) {
        self.withdraw_portal(portal, now);
        if let Some(key) = self.portals.key(&Some(portal.clone())) {
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
            for (_, Portal { lane, page, .. }) in self.portals.iter_mut() {
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

    fn turn(&mut self, key: usize, now: Instant) -> (&mut Lane, Turn<'_>) {
        let Portal { lane, page, .. } = &mut self.portals[key];
        (lane, Turn { ledger: &mut self.ledger, page, now })
    }
}

/// When to look again whether there is room for lines that are in no lane.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
