//! All portals: each has a lane and its counters. A portal is added when it is first named, and forgotten when there
//! has been nothing to remember for a while.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::time::{Duration, Instant};

use slab::Slab;

use super::Engine;
use super::behind::Behind;
use super::standing::Standing;
use crate::line::{EventToken, PortalId};
use crate::worker::lane::Lane;
use crate::worker::ledger::Page;

/// See the module. Each portal has a key, which stays the same.
#[derive(Debug, Default)]
pub(super) struct Portals {
    all: Slab<Portal>,
    /// The key of each of them.
    by_id: HashMap<Option<PortalId>, usize>,
}

/// All that is known of one portal.
#[derive(Debug)]
pub(super) struct Portal {
    /// `None`: the default portal.
    pub(super) id: Option<PortalId>,
    pub(super) lane: Lane,
    pub(super) page: Page,
    /// Set while it has lines that are in no lane.
    pub(super) behind: Option<Box<Behind>>,
    /// Since when its lane has had nothing to remember.
    pub(super) empty_since: Option<Instant>,
    /// Whether it may send, where others deliver from the journal, too.
    pub(super) standing: Standing,
}

impl Portals {
    pub(super) fn key(&self, id: &Option<PortalId>) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub(super) fn get(&self, key: usize) -> Option<&Portal> {
        self.all.get(key)
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Portal> {
        self.all.get_mut(key)
    }

    pub(super) fn contains(&self, key: usize) -> bool {
        self.all.contains(key)
    }

    pub(super) fn iter(&self) -> slab::Iter<'_, Portal> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> slab::IterMut<'_, Portal> {
        self.all.iter_mut()
    }

    pub(super) fn keys(&self) -> Vec<usize> {
        self.all.iter().map(|(key, _)| key).collect()
    }

    /// The portal on which the token has logged, or was taken on: the one without a name first.
    pub(super) fn that_knows(&self, event_token: &EventToken) -> Option<usize> {
        let unnamed = self.key(&None);
        let all = unnamed.into_iter().chain(self.all.iter().map(|(key, _)| key));
        all.into_iter().find(|key| self.all[*key].lane.knows(event_token))
    }

    /// The key of the next portal that is added.
    fn next_key(&self) -> usize {
        self.all.vacant_key()
    }

    fn add(&mut self, portal: Portal) -> usize {
        let id = portal.id.clone();
        let key = self.all.insert(portal);
        self.by_id.insert(id, key);
        key
    }

    fn remove(&mut self, key: usize) -> Portal {
        let portal = self.all.remove(key);
        self.by_id.remove(&portal.id);
        portal
    }
}

impl Index<usize> for Portals {
    type Output = Portal;

    fn index(&self, key: usize) -> &Portal {
        &self.all[key]
    }
}

impl IndexMut<usize> for Portals {
    fn index_mut(&mut self, key: usize) -> &mut Portal {
        &mut self.all[key]
    }
}

impl Engine {
    /// The portal's key. A lane is made for one that is new.
    pub(super) fn portal_of(&mut self, id: &Option<PortalId>, now: Instant) -> usize {
        if let Some(key) = self.portals.key(id) {
            return key;
        }
        let seed = self.seed.wrapping_add(self.portals.next_key() as u64);
        let mut lane = Lane::new(self.rules.clone(), seed, now);
        if let Some(deadline) = self.closing {
            lane.close(deadline, now);
        }
        let page = self.ledger.page(id.as_ref());
        let standing = Standing::default();
        let (id, behind) = (id.clone(), None);
        let key = self.portals.add(Portal { id, lane, page, behind, empty_since: None, standing });
        self.adopt_portal(key);
        key
    }

    /// Shows how a portal stands.
    pub(super) fn stand(&mut self, key: usize, now: Instant) {
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
    pub(super) fn forget(&mut self, key: usize, now: Instant) {
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

    pub(super) fn remove(&mut self, key: usize) -> Portal {
        let portal = self.portals.remove(key);
        self.agenda.remove(key);
        self.ledger.close_page(&portal.page);
        portal
    }
}

/// A portal is forgotten when its lane has had nothing to remember for so long. Its counters go with
/// it, and what was learned of its limits.
const FORGET: Duration = Duration::from_secs(3_600);
/// The same for a portal that another process may own by then.
const FORGET_SHARED: Duration = Duration::from_secs(60);
