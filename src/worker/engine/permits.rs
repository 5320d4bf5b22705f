//! Permits of requests, if several processes deliver from one journal, and the handling of requests without a
//! permit.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::standing::AGAIN;
use super::{Engine, Outgoing, Portal};
use crate::journal::{Intent, Memo};
use crate::line::PortalId;
use crate::worker::lane::Renewal;
use crate::worker::memo::Clocks;
use crate::worker::report::Trouble;

/// Why a request has not left.
#[derive(Clone, Debug)]
pub(crate) enum Withheld {
    /// Another process owns its portal.
    Fenced,
    /// The permit was no longer valid when the request was about to leave.
    Lapsed,
    /// Its portal was let go in the meantime.
    LetGo,
    /// The journal has failed. The intent comes back, if the journal's thread still runs.
    Failed { trouble: String, intent: Option<Intent> },
}

impl Portal {
    /// Notes for the next owner.
    pub(super) fn unsaid_memos(&mut self, clocks: Clocks) -> Vec<Memo> {
        let mut memos = self.lane.memos(clocks);
        for memo in std::mem::take(&mut self.standing.memos) {
            if memos.iter().all(|newer| newer.key != memo.key) {
                memos.push(memo);
            }
        }
        memos
    }

    /// The intent may not be stored. It is sent again with the next request, before newer marks.
    fn unsay(&mut self, intent: &Intent) {
        self.page.say_again(intent.marks.clone());
        self.standing.memos = intent.memos.clone();
    }
}

impl Engine {
    /// The intent of the request that was composed last. The journal has to store it before the request leaves.
    pub(crate) fn intent(&mut self, call: Outgoing, now: Instant) -> Intent {
        let clocks = self.clocks(now);
        let portal = &mut self.portals[call.portal];
        let marks = portal.page.unsaid();
        let memos = portal.unsaid_memos(clocks);
        Intent { portal: portal.id.clone(), marks, memos }
    }

    pub(super) fn clocks(&self, now: Instant) -> Clocks {
        // It is set before anything else happens.
        let wall = self.ledger.wall(now).unwrap_or(std::time::UNIX_EPOCH);
        Clocks { now, wall }
    }

    /// Whether a portal is let go, for requests that are about to leave.
    pub(crate) fn is_leaving(&self, call: Outgoing) -> Arc<AtomicBool> {
        self.portals[call.portal].standing.is_leaving.clone()
    }

    /// A request leaves at this time. It has waited for its permit.
    pub(crate) fn left(&mut self, call: Outgoing, at: Instant) {
        if let Some(portal) = self.portals.get_mut(call.portal) {
            portal.lane.left(call.what, at);
        }
    }

    /// A request has not left. Its lines and ends wait again, as if it had not been tried.
    pub(crate) fn withheld(
        &mut self,
        call: Outgoing,
        renewal: Option<Renewal>,
        why: Withheld,
        now: Instant,
    ) {
        let key = call.portal;
        if let Withheld::Failed { intent: Some(intent), .. } = &why {
            self.portals[key].unsay(intent);
        }
        let (lane, mut turn) = self.turn(key, now);
        lane.give_back(call.what, renewal, &mut turn);
        self.portals[key].standing.held_until = Some(now + AGAIN);
        let portal = self.portals[key].id.clone();
        match why {
            Withheld::Fenced => self.lose(key, now),
            Withheld::Failed { trouble, .. } => {
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
