//! Whether requests to a portal may be sent, if several processes deliver from one journal. A new portal waits for
//! the memos of its earlier owners. A portal that another process may have owned is read from the start when it
//! comes back.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::Engine;
use super::behind::Behind;
use crate::journal::Memo;
use crate::journal::desk::Ask;
use crate::line::PortalId;
use crate::worker::report::Trouble;

/// Whether requests to a portal may be sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// The memos of earlier owners have not arrived yet. The time says when to ask for them.
    pub(super) adopts: bool,
    pub(super) adopt_at: Option<Instant>,
    /// A request was held back: nothing is sent before this time.
    pub(super) held_until: Option<Instant>,
    /// The portal is let go: nothing is sent to it. Requests check this at the last moment.
    pub(super) is_leaving: Arc<AtomicBool>,
    pub(super) leaves: bool,
    /// Notes for the next owner that could not be stored.
    pub(super) memos: Vec<Memo>,
}

/// Nothing may be sent to a portal until this time, or until an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    pub(super) until: Option<Instant>,
}

impl Engine {
    /// A new portal waits for the memos of its earlier owners.
    pub(super) fn adopt_portal(&mut self, key: usize) {
        if self.is_shared() {
            self.portals[key].standing.adopts = true;
            self.ask_for_memos(key);
        }
    }

    fn ask_for_memos(&mut self, key: usize) {
        let portal = self.portals[key].id.clone();
        if let Some(store) = &mut self.store {
            store.reads.push(Ask::Memos { portal });
        }
    }

    /// The memos have arrived.
    pub(super) fn adopted_portal(
        &mut self,
        portal: &Option<PortalId>,
        memos: Result<Vec<Memo>, String>,
        now: Instant,
    ) {
        let Some(key) = self.portals.key(portal) else { return };
        if !self.portals[key].standing.adopts {
            return;
        }
        match memos {
            Ok(memos) => {
                let clocks = self.clocks(now);
                let portal = &mut self.portals[key];
                portal.standing.adopts = false;
                portal.lane.inherit(&memos, clocks);
            }
            Err(trouble) => {
                self.portals[key].standing.adopt_at = Some(now + AGAIN);
                self.ledger.report(
                    Trouble::NotRead,
                    1,
                    portal.as_ref().map(PortalId::as_str),
                    trouble,
                );
            }
        }
        self.agenda.set(key, now);
    }

    /// Whether nothing may be sent to a portal now.
    pub(super) fn waits(&mut self, key: usize, now: Instant) -> Option<Waits> {
        let standing = &mut self.portals[key].standing;
        if standing.leaves {
            return Some(Waits { until: None });
        }
        if standing.adopts {
            let until = standing.adopt_at.filter(|at| *at > now);
            if until.is_none() && standing.adopt_at.take().is_some() {
                self.ask_for_memos(key);
            }
            return Some(Waits { until });
        }
        let until = standing.held_until.filter(|at| *at > now)?;
        Some(Waits { until: Some(until) })
    }

    /// Checks whether portals have come back that another process may have owned. If so, they are read from the
    /// start.
    pub(super) fn retake(&mut self, now: Instant) {
        let Some(shared) = self.shared_mut() else { return };
        if shared.retake.values().all(|at| *at > now) {
            return;
        }
        let due = shared.retake.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone());
        for portal in due.collect::<Vec<_>>() {
            let known = self.portals.key(&portal);
            if known.is_some_and(|key| self.portals[key].standing.leaves) {
                if let Some(shared) = self.shared_mut() {
                    shared.retake.insert(portal, now + AGAIN);
                }
                continue;
            }
            let Some(shared) = self.shared_mut() else { return };
            shared.retake.remove(&portal);
            let generation = self.store.as_ref().map_or(0, |store| store.generation);
            let key = self.portal_of(&portal, now);
            let behind = &mut self.portals[key].behind;
            behind.get_or_insert_with(|| Box::new(Behind::new(None, generation, now))).after = None;
            self.agenda.set(key, now);
        }
    }
}

/// The wait before a failed call is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
