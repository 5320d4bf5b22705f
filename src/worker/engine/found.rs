//! Data of other runs, ends of activities, and lines that the journal has given up.

use std::time::Instant;

use tokio::sync::oneshot;

use super::behind::Behind;
use super::store::Store;
use super::{Engine, Portal};
use crate::completion::Completion;
use crate::journal::desk::Left;
use crate::journal::{Chunk, Content, Evicted, Number, Outcome, Publisher, StoredEnd};
use crate::line::{EventToken, PortalId};
use crate::worker::entry::Gap;
use crate::worker::incoming::Stamp;
use crate::worker::lane::EndAsked;
use crate::worker::trail;
use crate::worker::turn::Turn;

impl Engine {
    /// Handles a request for an end. Returns how many lines in no lane the end waits for. Until the data of other
    /// runs is known, it also waits for one line that may not exist.
    pub(super) fn elsewhere_of_end(&mut self, key: usize, event_token: &EventToken) -> u64 {
        let elsewhere = self.elsewhere_in(key, event_token);
        match &mut self.store {
            Some(store) if store.is_starting() => {
                store.early_ends.push((key, event_token.clone()));
                elsewhere + 1
            }
            _ => elsewhere,
        }
    }

    /// Lines of a token that are in no lane of this portal.
    fn elsewhere_in(&self, key: usize, event_token: &EventToken) -> u64 {
        let behind = self.portals[key].behind.as_ref();
        let lines = behind.map_or(0, |behind| behind.elsewhere.of(event_token.fingerprint()));
        let unread = self.store.as_ref().is_some_and(|store| {
            !store.unread_gaps.is_empty() && store.unread_gaps.contains(&(key, event_token.clone()))
        });
        lines + u64::from(unread)
    }

    /// A notice of another run was read, or there is none.
    pub(super) fn gap_is_read(&mut self, key: usize, event_token: &EventToken) {
        let Some(store) = &mut self.store else { return };
        if store.unread_gaps.is_empty() {
            return;
        }
        if store.unread_gaps.remove(&(key, event_token.clone())) {
            self.portals[key].lane.arrived(event_token);
        }
    }

    /// Now it is known which lines the earlier ends wait for.
    pub(super) fn free_early_ends(&mut self, now: Instant) {
        let Some(store) = &mut self.store else { return };
        for (key, event_token) in std::mem::take(&mut store.early_ends) {
            if let Some(portal) = self.portals.get_mut(key) {
                portal.lane.arrived(&event_token);
                self.agenda.set(key, now);
            }
        }
    }

    /// An end that was asked for, as it is stored.
    pub(super) fn end_to_store(
        &self,
        (key, event_token): (usize, &EventToken),
        (no, completion, deadline): (Number, &Completion, Instant),
        now: Instant,
    ) -> Option<StoredEnd> {
        let store = self.store.as_ref().filter(|store| !store.away)?;
        let wall = self.ledger.wall(now)?;
        let at = |at: Instant| wall + at.saturating_duration_since(now.max(store.started));
        Some(StoredEnd {
            no,
            values: completion.values_text(),
            message: completion.message.clone(),
            failed: completion.failed,
            deadline: at(deadline),
            waits_until: self.portals[key].lane.waits_until(event_token).map(at),
        })
    }

    /// Lines and ends of other runs were found. The ends do not wait until their lines are read.
    pub(super) fn adopted(
        &mut self,
        publishers: &[Publisher],
        left: Vec<Left>,
        ends: Vec<(Publisher, Chunk)>,
        now: Instant,
    ) {
        self.is_back();
        // Later flushes wait for them.
        self.seq += 1;
        let seq = self.seq;
        if let Some(store) = &mut self.store {
            store.found_as.extend(publishers.iter().map(|publisher| (*publisher, seq)));
        }
        for Left { portal, event_token, lines } in left {
            let key = self.portal_of(&portal, now);
            let Engine { ledger, portals, store, .. } = self;
            let Portal { lane, page, behind, .. } = &mut portals[key];
            let Some(store) = store else { return };
            ledger.found(page, lines, seq);
            lane.found(&event_token, lines);
            if lines == 0 && store.unread_gaps.insert((key, event_token.clone())) {
                lane.found(&event_token, 1);
            }
            let behind =
                behind.get_or_insert_with(|| Box::new(Behind::new(None, store.generation, now)));
            behind.elsewhere.find(event_token.fingerprint(), seq, lines);
            behind.after = None;
        }
        for (publisher, Chunk { portal, event_token, content, .. }) in ends {
            if let Content::End(end) = content {
                self.end_found(&portal, &event_token, Stamp { publisher, no: end.no }, end, now);
            }
        }
        self.has_started(now);
    }

    /// The data of other runs is known now, or it is clear that it cannot be read.
    pub(super) fn has_started(&mut self, now: Instant) {
        let Some(store) = &mut self.store else { return };
        store.starting = false;
        self.free_early_ends(now);
        for (key, portal) in self.portals.iter() {
            if portal.behind.is_some() {
                self.agenda.set(key, now);
            }
        }
    }

    /// An end of another run is sent, unless its portal no longer waits for it.
    pub(super) fn end_found(
        &mut self,
        portal: &Option<PortalId>,
        event_token: &EventToken,
        stamp: Stamp,
        end: StoredEnd,
        now: Instant,
    ) {
        let key = self.portal_of(portal, now);
        let StoredEnd { values, message, failed, deadline, waits_until, .. } = end;
        let wall = self.ledger.wall(now).unwrap_or(deadline);
        let elsewhere = self.elsewhere_in(key, event_token);
        let patience = Some(self.rules.retry.max_age);
        let (lane, mut turn) = self.turn(key, now);
        match lane.knows_end(event_token, stamp) {
            // It was read again.
            Some(true) => return,
            Some(false) => return turn.settle_end(event_token, Some(stamp)),
            None => {}
        }
        if waits_until.is_some_and(|until| until <= wall) {
            turn.ledger.late_end(turn.page);
            turn.ledger.answer_end(stamp, Outcome::NotSent);
            return turn.settle_end(event_token, Some(stamp));
        }
        let Some(completion) = Completion::stored(&values, message, failed) else {
            turn.ledger.lost_ends(1, turn.page.portal(), "its return values are damaged");
            turn.ledger.answer_end(stamp, Outcome::NotSent);
            return turn.settle_end(event_token, Some(stamp));
        };
        let deadline = now + deadline.duration_since(wall).unwrap_or_default();
        // Nobody waits for this end any more.
        let (answer, _) = oneshot::channel();
        let asked =
            EndAsked { completion, deadline, patience, answer, stamp: Some(stamp), elsewhere };
        if let Some(until) = waits_until {
            let until = now + until.duration_since(wall).unwrap_or_default();
            lane.expect(event_token.clone(), until, &mut turn);
        }
        if !lane.complete(event_token, asked, &mut turn) {
            turn.ledger.answer_end(stamp, Outcome::Refused(ENDED_BEFORE.to_owned()));
            turn.settle_end(event_token, Some(stamp));
        }
        self.agenda.set(key, now);
    }

    /// The journal has given lines up.
    pub(super) fn evicted(&mut self, evicted: Vec<Evicted>, now: Instant) {
        let is_shared = self.is_shared();
        for Evicted { of, numbers, lines, ends, since, reason } in evicted {
            if ends > 0 {
                let portal = of.as_ref().and_then(|(_, portal, _)| portal.as_ref());
                self.ledger.lost_ends(ends, portal.map(PortalId::as_str), reason.as_str());
            }
            let Some((publisher, portal, event_token)) = of else {
                // A relay has counted none of them: lines that cannot be read are in no lane.
                if self.is_shared() || self.store.as_ref().is_some_and(Store::is_starting) {
                    self.ledger.lost_unknown(None, lines, reason);
                } else {
                    // Some of these lines may be in lanes. The others are found to be missing when their portal is
                    // read.
                    self.ledger.damaged(lines);
                }
                continue;
            };
            let key = self.portal_of(&portal, now);
            let own = publisher == self.publisher;
            let (_, last) = numbers.unwrap_or((0, Number::MAX));
            let Engine { ledger, portals, store, .. } = self;
            let Portal { lane, page, behind, .. } = &mut portals[key];
            // Lines that are in a lane are delivered from there.
            if lane.has_had(&event_token, Stamp { publisher, no: last }) {
                if let Some(numbers) = numbers {
                    if is_shared {
                        let mut turn = Turn { ledger, page, now };
                        lane.bury(&event_token, (publisher, numbers), reason, &mut turn);
                        self.agenda.set(key, now);
                    } else {
                        ledger.given_up(publisher, numbers);
                    }
                }
                continue;
            }
            let token = event_token.fingerprint();
            let found_as = store.as_ref().and_then(|store| store.found_as.get(&publisher));
            let part = behind.as_mut().and_then(|behind| match own {
                true => behind.elsewhere.take(token, last, lines),
                false => behind.elsewhere.take_found(token, *found_as?, lines),
            });
            let (counted, seq) = part.map_or((0, 0), |part| (part.lines, part.seq));
            lane.lost_elsewhere(&event_token, counted, reason);
            ledger.lost_stored(page, (&event_token, own), counted, seq, reason);
            let mut lost = counted;
            if !own {
                // They were given up before they were counted.
                trail::lost(token, lines - counted, reason);
                ledger.lost_unknown(Some(page), lines - counted, reason);
                lost = lines;
            }
            if lost > 0 {
                let mut turn = Turn { ledger, page, now };
                lane.missed(&event_token, Gap::new(reason, lost, since), &mut turn);
                self.agenda.set(key, now);
            }
        }
    }
}

/// The code for an end whose activity was ended by another end, or is being ended by it.
const ENDED_BEFORE: &str = "ALREADY_COMPLETED";
