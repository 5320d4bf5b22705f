//! Lines that are in the journal of this machine, on their way to the journal of a relay.

use std::time::Instant;

use super::{Engine, What};
use crate::journal::near::Moved;
use crate::journal::{Evicted, Number};
use crate::line::{EventToken, PortalId};
use crate::stats::DropReason;
use crate::worker::ending::Ending;

impl Engine {
    /// A batch is in the journal of this machine: its lines leave memory.
    pub(super) fn was_stored(&mut self, no: u64, now: Instant) {
        let Some(publishing) = &mut self.publishing else { return };
        publishing.stored_since.get_or_insert(now);
        for note in publishing.backlog.appended(no) {
            let (lines, charged) = match note.what {
                What::Lines { lines, charged, .. } => (lines, charged),
                What::End => {
                    if let Some(publishing) = &mut self.publishing {
                        publishing.ends.is_near(note.up_to);
                    }
                    continue;
                }
                What::Gap(_) | What::Seal => continue,
            };
            let key = self.portal_of(&note.portal, now);
            let page = &mut self.portals[key].page;
            self.ledger.stored(page, note.event_token.fingerprint(), lines, charged);
            let Some(publishing) = &mut self.publishing else { return };
            if let Some(logged) = publishing.tokens.get_mut(&note.event_token) {
                logged.stored += lines;
            }
        }
    }

    /// Chunks are in the journal of the relay. `is_all`: nothing is left in the journal of this machine.
    pub(super) fn moved(&mut self, moved: Vec<Moved>, is_all: bool, now: Instant) {
        if !moved.is_empty() {
            self.is_appended_again(now);
        }
        for Moved { portal, event_token, own, lines, is_end, up_to } in moved {
            let key = self.portal_of(&portal, now);
            if !own {
                self.ledger.moved_found(&self.portals[key].page, lines);
                continue;
            }
            if is_end {
                self.end_appended(up_to, &event_token, &portal, now);
            }
            if lines > 0 {
                let page = &mut self.portals[key].page;
                self.ledger.moved(page, &event_token, lines, up_to);
                self.left_near(&event_token, lines, Ending::HandedOver);
            }
            self.stand(key, now);
            self.agenda.set(key, now);
        }
        if is_all {
            self.nothing_is_near(now);
        }
    }

    /// Lines of this run are no longer in the journal of this machine.
    fn left_near(&mut self, event_token: &EventToken, lines: u64, ending: Ending) {
        let Some(publishing) = &mut self.publishing else { return };
        if let Some(logged) = publishing.tokens.get_mut(event_token) {
            logged.stored = logged.stored.saturating_sub(lines);
        }
        publishing.has_ended(event_token, lines, ending);
    }

    /// The journal of this machine is empty. Lines that should still be in it were lost there.
    fn nothing_is_near(&mut self, now: Instant) {
        let Some(publishing) = &mut self.publishing else { return };
        publishing.starting = false;
        publishing.stored_since = None;
        if self.ledger.only_stored() > 0 {
            publishing.is_damaged = true;
            for (event_token, portal, lines) in publishing.tokens.stored() {
                let lost = (lines, self.seq, DropReason::SpoolDamaged);
                self.lose_near(&event_token, &portal, lost, now);
            }
        }
        let Some(publishing) = &mut self.publishing else { return };
        if publishing.is_damaged && self.ledger.pending().lines == 0 {
            // It is not known which flush waits for lines that were lost in a damaged file.
            publishing.is_damaged = false;
            self.ledger.nothing_is_pending();
        }
    }

    fn lose_near(
        &mut self,
        event_token: &EventToken,
        portal: &Option<PortalId>,
        (lines, up_to, reason): (u64, Number, DropReason),
        now: Instant,
    ) {
        let key = self.portal_of(portal, now);
        let page = &mut self.portals[key].page;
        self.ledger.lost_stored(page, (event_token, true), lines, up_to, reason);
        self.left_near(event_token, lines, Ending::Dropped(reason));
        self.stand(key, now);
    }

    /// The journal of this machine has given lines up.
    pub(super) fn evicted_near(&mut self, evicted: Vec<Evicted>, now: Instant) {
        for Evicted { of, numbers, lines, ends, since, reason } in evicted {
            if ends > 0 {
                let portal = of.as_ref().and_then(|(_, portal, _)| portal.as_ref());
                self.ledger.lost_ends(ends, portal.map(PortalId::as_str), reason.as_str());
            }
            // Their tokens may not be known. Lines of this run are found to be missing when nothing is left.
            let Some((publisher, portal, event_token)) = of else { continue };
            if publisher == self.publisher {
                let up_to = numbers.map_or(self.seq, |(_, up_to)| up_to);
                self.lose_near(&event_token, &portal, (lines, up_to, reason), now);
            } else {
                let key = self.portal_of(&portal, now);
                self.ledger.lost_unknown(Some(&self.portals[key].page), lines, reason);
            }
            if lines > 0 {
                self.publish_gap(&event_token, &portal, (reason, lines, since), now);
            }
        }
    }
}
