//! What must be permitted before a request leaves, where several processes deliver from one journal, and what
//! becomes of a request that is not.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::tail::AGAIN;
use super::{Engine, Outgoing};
use crate::journal::Intent;
use crate::line::PortalId;
use crate::worker::lane::Renewal;
use crate::worker::report::Trouble;

/// Why a request has not left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// Another process owns its portal.
    Fenced,
    /// The permission was no longer valid when it was to leave.
    Lapsed,
    /// Its portal was let go in the meantime.
    LetGo,
    /// The journal has failed.
    Failed(String),
}

impl Engine {
    /// What the journal has to know before this request leaves, which was composed last.
    pub(crate) fn intent(&mut self, call: Outgoing) -> Intent {
        let portal = &mut self.portals[call.portal];
        let marks = portal.page.unsaid();
        Intent { portal: portal.id.clone(), marks, memos: Vec::new() }
    }

    /// Whether a portal is let go, for requests that are about to leave.
    pub(crate) fn is_leaving(&self, call: Outgoing) -> Arc<AtomicBool> {
        self.portals[call.portal].standing.is_leaving.clone()
    }

    /// A request leaves at this time: it has waited for its permission.
    pub(crate) fn left(&mut self, call: Outgoing, at: Instant) {
        if let Some(portal) = self.portals.get_mut(call.portal) {
            portal.lane.left(call.what, at);
        }
    }

    /// A request has not left: what is in it waits as if it had not been tried.
    pub(crate) fn withheld(
        &mut self,
        call: Outgoing,
        renewal: Option<Renewal>,
        why: Withheld,
        now: Instant,
    ) {
        let key = call.portal;
        let (lane, mut turn) = self.turn(key, now);
        lane.give_back(call.what, renewal, &mut turn);
        self.portals[key].standing.held_until = Some(now + AGAIN);
        let portal = self.portals[key].id.clone();
        match why {
            Withheld::Fenced => self.lose(key, now),
            Withheld::Failed(trouble) => {
                let portal = portal.as_ref().map(PortalId::as_str);
                self.ledger.report(Trouble::NotMarked, 1, portal, trouble);
            }
            Withheld::Lapsed | Withheld::LetGo => {}
        }
        if self.portals.contains(key) {
            self.with(key, now, |_, _| {});
        }
    }
}
