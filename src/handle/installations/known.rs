//! The installations that this process has read or written last. They are used while their store fails.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::installation::Installation;
use crate::line::PortalId;

/// See the module.
#[derive(Default)]
pub(super) struct Known {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_portal: HashMap<PortalId, Installation>,
    /// The portals of `by_portal`, in the order in which they were added. The first one is forgotten first.
    order: VecDeque<PortalId>,
}

impl Known {
    /// The store has this now. `None`: the app is not installed there.
    pub(super) fn note(&self, portal: &PortalId, stored: Option<&Installation>) {
        let mut table = self.table();
        let Some(stored) = stored else {
            if table.by_portal.remove(portal).is_some() {
                table.order.retain(|known| known != portal);
            }
            return;
        };
        if table.by_portal.insert(portal.clone(), stored.clone()).is_none() {
            table.order.push_back(portal.clone());
        }
        if table.order.len() > MOST {
            if let Some(oldest) = table.order.pop_front() {
                table.by_portal.remove(&oldest);
            }
        }
    }

    /// What the store had when this process last saw it.
    pub(super) fn last(&self, portal: &PortalId) -> Option<Installation> {
        self.table().by_portal.get(portal).cloned()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code panics in the middle of a change, so the table is consistent also if it is poisoned.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many portals are remembered. Each needs about 300 bytes.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::auth::Hosts;

    fn installation(host: &str) -> Installation {
        Installation::new("an application token", Hosts::from([host]))
    }

    #[test]
    fn the_newest_is_known_and_what_is_removed_is_not() {
        let (known, portal) = (Known::default(), PortalId::from("m"));
        assert_eq!(known.last(&portal), None);
        for host in ["a.example", "b.example"] {
            known.note(&portal, Some(&installation(host)));
            assert_eq!(known.last(&portal), Some(installation(host)));
        }
        known.note(&portal, None);
        assert_eq!(known.last(&portal), None);
        assert!(known.table().order.is_empty());
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let known = Known::default();
        let portal = |n: usize| PortalId::from(format!("m{n}").as_str());
        for n in 0..MOST + 10 {
            known.note(&portal(n), Some(&installation("a.example")));
        }
        let lengths = |table: &Table| (table.by_portal.len(), table.order.len());
        assert_eq!(lengths(&known.table()), (MOST, MOST));
        assert_eq!(known.last(&portal(9)), None);
        assert!(known.last(&portal(10)).is_some());
    }
}
