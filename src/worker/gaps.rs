//! Keeps notices about missing lines in the journal until they are told.
//!
//! Without this, a notice that is not told yet would be lost with the process. So it is stored, and settled when
//! the entry that begins with it is acknowledged. The next run finds the notices that are left, and tells them.
//! This module does not know entries.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::SystemTime;

use crate::journal::{Chunk, Content, Mark, MarkKind, Number, Publisher, StoredGap};
use crate::line::{EventToken, Fingerprint, PortalId};
use crate::stats::DropReason;

/// Names a notice of one token, about lines that are missing for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GapId {
    token: u32,
    n: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct KeptGaps {
    gaps: BTreeMap<GapId, KeptGap>,
    /// Notices of which not all lines are in the journal.
    unsaved: BTreeSet<GapId>,
    /// Notices that were found in the journal.
    found: HashSet<(Publisher, Number)>,
    /// Notices of this run that another process tells, unless their portal comes back.
    left: BTreeSet<Number>,
    /// How many notices there were so far.
    count: u64,
}

#[derive(Debug)]
struct KeptGap {
    portal: Option<PortalId>,
    event_token: EventToken,
    reason: DropReason,
    since: SystemTime,
    lines: u64,
    /// Another process will tell this notice when it is stored.
    goes: bool,
    /// Chunks that are in the journal, or on their way: number and lines.
    stored: Vec<(Publisher, Number, u64)>,
}

impl KeptGaps {
    /// A new notice.
    pub(crate) fn keep(
        &mut self,
        (portal, event_token): (Option<&PortalId>, &EventToken),
        (reason, lines, since): (DropReason, u64, SystemTime),
    ) -> GapId {
        let id = self.id(event_token);
        let (portal, event_token) = (portal.cloned(), event_token.clone());
        let (goes, stored) = (false, Vec::new());
        self.gaps.insert(id, KeptGap { portal, event_token, reason, since, lines, goes, stored });
        self.unsaved.insert(id);
        id
    }

    /// A notice that was found in the journal. `None`: it was found before.
    pub(crate) fn find(
        &mut self,
        publisher: Publisher,
        (portal, event_token): (Option<&PortalId>, &EventToken),
        gap: StoredGap,
    ) -> Option<GapId> {
        let StoredGap { no, lines, since, reason } = gap;
        if !self.found.insert((publisher, no)) {
            return None;
        }
        let id = self.id(event_token);
        let (portal, event_token) = (portal.cloned(), event_token.clone());
        let (goes, stored) = (false, vec![(publisher, no, lines)]);
        self.gaps.insert(id, KeptGap { portal, event_token, reason, since, lines, goes, stored });
        Some(id)
    }

    fn id(&mut self, event_token: &EventToken) -> GapId {
        self.count += 1;
        GapId { token: event_token.fingerprint().0, n: self.count }
    }

    /// More lines are missing.
    pub(crate) fn widen(&mut self, id: GapId, lines: u64, since: SystemTime) {
        if let Some(gap) = self.gaps.get_mut(&id) {
            gap.lines += lines;
            gap.since = gap.since.min(since);
            self.unsaved.insert(id);
        }
    }

    /// The reason, and how many lines it speaks of.
    pub(crate) fn about(&self, id: GapId) -> Option<(DropReason, u64)> {
        self.gaps.get(&id).map(|gap| (gap.reason, gap.lines))
    }

    /// The notice is told, or there is no log left for it. Returns the marks for the journal.
    pub(crate) fn told(&mut self, id: GapId) -> Vec<Mark> {
        self.unsaved.remove(&id);
        let Some(gap) = self.gaps.remove(&id) else { return Vec::new() };
        gap.forget(&mut self.found);
        gap.marks().collect()
    }

    /// Another process delivers to this portal from now on, and tells the stored notices.
    pub(crate) fn let_go(&mut self, own: Publisher, portal: Option<&PortalId>) {
        let KeptGaps { gaps, unsaved, found, left, .. } = self;
        gaps.retain(|id, gap| {
            let goes = gap.portal.as_ref() == portal;
            gap.goes |= goes;
            let stays = !goes || unsaved.contains(id);
            if !stays {
                gap.forget(found);
                gap.leave(own, left);
            }
            stays
        });
    }

    /// Whether a notice of this run was left to another process, and so is not known here any more.
    pub(crate) fn was_left(&mut self, no: Number) -> bool {
        self.left.remove(&no)
    }

    /// A range of numbers of a token is settled. Parts of untold notices in this range are settled with it, so
    /// they have to be stored again.
    pub(crate) fn settled(
        &mut self,
        token: Fingerprint,
        of: Publisher,
        (from, up_to): (Number, Number),
    ) {
        if self.gaps.is_empty() || from == up_to {
            return;
        }
        let ids = GapId { token: token.0, n: 0 }..=GapId { token: token.0, n: u64::MAX };
        for (id, gap) in self.gaps.range_mut(ids) {
            let before = gap.stored.len();
            gap.stored
                .retain(|(publisher, no, _)| *publisher != of || !(from..=up_to).contains(no));
            if gap.stored.len() != before {
                self.unsaved.insert(*id);
            }
        }
    }

    /// A chunk could not be stored.
    pub(crate) fn not_stored(
        &mut self,
        of: Publisher,
        whose: (Option<&PortalId>, &EventToken),
        gap: StoredGap,
    ) {
        let StoredGap { no: number, lines, since, reason } = gap;
        if self.was_left(number) {
            // No other process can tell it yet.
            let id = self.keep(whose, (reason, lines, since));
            if let Some(gap) = self.gaps.get_mut(&id) {
                gap.goes = true;
            }
            return;
        }
        for (id, gap) in &mut self.gaps {
            let before = gap.stored.len();
            gap.stored.retain(|(publisher, no, _)| *publisher != of || *no != number);
            if gap.stored.len() != before {
                self.unsaved.insert(*id);
            }
        }
    }

    /// Whether something is to be stored.
    pub(crate) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// The chunks to store, and marks for the chunks that they replace. `seq`: the last number in use.
    pub(crate) fn save(&mut self, own: Publisher, seq: &mut Number) -> (Vec<Chunk>, Vec<Mark>) {
        let (mut chunks, mut marks) = (Vec::new(), Vec::new());
        for id in std::mem::take(&mut self.unsaved) {
            let Some(gap) = self.gaps.get_mut(&id) else { continue };
            if gap.stored.len() >= MOST_CHUNKS {
                marks.extend(gap.marks());
                for (publisher, no, _) in gap.stored.drain(..) {
                    self.found.remove(&(publisher, no));
                }
            }
            let stored: u64 = gap.stored.iter().map(|(_, _, lines)| lines).sum();
            let lines = gap.lines.saturating_sub(stored);
            if lines == 0 {
                continue;
            }
            *seq += 1;
            let no = *seq;
            gap.stored.push((own, no, lines));
            let (portal, event_token) = (gap.portal.clone(), gap.event_token.clone());
            let content =
                Content::Missed(StoredGap { no, lines, since: gap.since, reason: gap.reason });
            chunks.push(Chunk { portal, event_token, content, about: None });
        }
        let KeptGaps { gaps, found, left, .. } = self;
        gaps.retain(|_, gap| {
            if gap.goes {
                gap.forget(found);
                gap.leave(own, left);
            }
            !gap.goes
        });
        (chunks, marks)
    }
}

impl KeptGap {
    fn forget(&self, found: &mut HashSet<(Publisher, Number)>) {
        for (publisher, no, _) in &self.stored {
            found.remove(&(*publisher, *no));
        }
    }

    fn leave(&self, own: Publisher, left: &mut BTreeSet<Number>) {
        let of_own = self.stored.iter().filter(|(publisher, ..)| *publisher == own);
        left.extend(of_own.map(|(_, no, _)| *no));
        while left.len() > MOST_LEFT {
            left.pop_first();
        }
    }

    fn marks(&self) -> impl Iterator<Item = Mark> + '_ {
        self.stored.iter().map(|(publisher, no, _)| Mark {
            publisher: *publisher,
            portal: self.portal.clone(),
            event_token: self.event_token.clone(),
            from: *no,
            up_to: *no,
            kind: MarkKind::Settled,
        })
    }
}

/// A growing notice is stored in parts. At this number of parts, one chunk replaces them.
const MOST_CHUNKS: usize = 16;
/// The largest number of notices that are remembered after they were left to another process. Most are told there.
const MOST_LEFT: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Publisher = Publisher(1);
    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    fn token() -> EventToken {
        EventToken::parse("5e.1|A|1.ff").unwrap()
    }

    fn keep(gaps: &mut KeptGaps, lines: u64) -> GapId {
        gaps.keep((None, &token()), (DropReason::QueueFull, lines, AT))
    }

    /// The numbers and lines of the chunks to store.
    fn saved(gaps: &mut KeptGaps, seq: &mut Number) -> (Vec<(Number, u64)>, Vec<Number>) {
        let (chunks, marks) = gaps.save(OWN, seq);
        let part = |chunk: &Chunk| match &chunk.content {
            Content::Missed(gap) => (gap.no, gap.lines),
            other => panic!("{other:?}"),
        };
        (chunks.iter().map(part).collect(), marks.iter().map(|mark| mark.from).collect())
    }

    #[test]
    fn a_notice_that_grows_is_stored_in_parts_and_settled_as_a_whole() {
        let (mut gaps, mut seq) = (KeptGaps::default(), 10);
        let id = keep(&mut gaps, 3);
        gaps.widen(id, 2, AT);
        assert_eq!(saved(&mut gaps, &mut seq), (vec![(11, 5)], vec![]));
        assert!(!gaps.has_unsaved());
        gaps.widen(id, 1, AT);
        seq = 20;
        assert_eq!(saved(&mut gaps, &mut seq), (vec![(21, 1)], vec![]));
        let numbers: Vec<_> = gaps.told(id).iter().map(|mark| (mark.from, mark.up_to)).collect();
        assert_eq!(numbers, [(11, 11), (21, 21)]);
        assert_eq!((gaps.told(id).len(), gaps.about(id)), (0, None));
    }

    #[test]
    fn many_parts_are_replaced_by_one() {
        let (mut gaps, mut seq) = (KeptGaps::default(), 0);
        let id = keep(&mut gaps, 1);
        let mut settled = Vec::new();
        for _ in 0..100 {
            settled.extend(saved(&mut gaps, &mut seq).1);
            gaps.widen(id, 1, AT);
        }
        assert!(gaps.gaps[&id].stored.len() <= MOST_CHUNKS);
        let (last, _) = saved(&mut gaps, &mut seq);
        let left = gaps.told(id);
        assert_eq!(settled.len() + left.len(), 101, "{last:?}");
        assert_eq!(seq, 101);
    }

    #[test]
    fn parts_that_were_settled_with_lines_or_not_stored_are_stored_again() {
        let (mut gaps, mut seq) = (KeptGaps::default(), 0);
        let id = keep(&mut gaps, 4);
        saved(&mut gaps, &mut seq);
        gaps.settled(token().fingerprint(), OWN, (1, 1));
        gaps.settled(token().fingerprint(), Publisher(2), (1, 9));
        assert!(!gaps.has_unsaved());
        gaps.settled(token().fingerprint(), OWN, (1, 9));
        assert_eq!(saved(&mut gaps, &mut seq).0, [(2, 4)]);
        let gap = StoredGap { no: 2, lines: 4, since: AT, reason: DropReason::QueueFull };
        gaps.not_stored(OWN, (None, &token()), gap);
        assert_eq!(saved(&mut gaps, &mut seq).0, [(3, 4)]);
        assert_eq!(gaps.told(id).len(), 1);
    }

    #[test]
    fn a_notice_of_another_run_is_found_once() {
        let mut gaps = KeptGaps::default();
        let gap = StoredGap { no: 7, lines: 3, since: AT, reason: DropReason::QueueFull };
        let id = gaps.find(Publisher(2), (None, &token()), gap).unwrap();
        assert!(gaps.find(Publisher(2), (None, &token()), gap).is_none());
        assert_eq!((gaps.about(id), gaps.has_unsaved()), (Some((DropReason::QueueFull, 3)), false));
        let marks = gaps.told(id);
        assert_eq!((marks[0].publisher, marks[0].from), (Publisher(2), 7));
    }
}
