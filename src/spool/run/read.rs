//! Reads lines that are not settled.

use std::collections::BTreeSet;

use super::{Place, Run};
use crate::error::SpoolError;
use crate::journal::codec::{Piece, time};
use crate::journal::{Chunk, Content, Evicted, Publisher};
use crate::line::PortalId;
use crate::spool::record::{Item, NameRead};
use crate::stats::DropReason;

/// How much one call reads, and what it has read already.
pub(in crate::spool) struct Reading<'a> {
    portal: Option<&'a Option<PortalId>>,
    /// Bytes of text that are still wanted.
    wanted: usize,
    /// Bytes of files that may still be looked at.
    allowed: u64,
    pub(in crate::spool) chunks: Vec<(Publisher, Chunk)>,
}

/// How many bytes of files one call reads, plus at most one segment. Appends wait for this.
const MOST_LOOKED_AT: u64 = 4 << 20;

impl<'a> Reading<'a> {
    pub(in crate::spool) fn new(portal: Option<&'a Option<PortalId>>, wanted: usize) -> Self {
        Reading { portal, wanted: wanted.max(1), allowed: MOST_LOOKED_AT, chunks: Vec::new() }
    }

    pub(in crate::spool) fn is_over(&self) -> bool {
        self.wanted == 0 || self.allowed == 0
    }

    fn take(
        &mut self,
        publisher: u128,
        name: &NameRead,
        piece: Piece<'_>,
        first: bool,
        tried: bool,
    ) {
        let content = match piece {
            Piece::Line(line) => {
                let mut line = line.stored();
                line.tried = tried;
                self.wanted = self.wanted.saturating_sub(line.body.len().max(1));
                if let (false, Some((_, Chunk { content: Content::Lines(lines), .. }))) =
                    (first, self.chunks.last_mut())
                {
                    lines.push(line);
                    return;
                }
                Content::Lines(vec![line])
            }
            Piece::Missed(gap) => Content::Missed(gap),
            Piece::End(end) => {
                let end = end.stored();
                self.wanted = self.wanted.saturating_sub(end.values.len().max(1));
                Content::End(end)
            }
            Piece::Seal(seal) => Content::Seal(seal),
        };
        let (portal, event_token) = name.name.clone();
        self.chunks
            .push((Publisher(publisher), Chunk { portal, event_token, content, about: None }));
    }
}

impl Run {
    /// Reads from this place on. Returns where it stopped, or `None` at the end.
    pub(in crate::spool) fn read(
        &mut self,
        reading: &mut Reading<'_>,
        from: Place,
    ) -> Result<Option<Place>, SpoolError> {
        let portal = reading.portal.map(|portal| self.setup.keys.portal(portal.as_ref()));
        let numbers: Vec<_> = self.segments.range(from.0..).map(|(number, _)| *number).collect();
        for number in numbers {
            let slot = if number == from.0 { from.1 } else { 0 };
            let segment = &self.segments[&number];
            if segment.live == 0 || portal.is_some_and(|portal| !segment.may_hold(portal)) {
                continue;
            }
            if reading.is_over() {
                return Ok(Some((number, slot)));
            }
            reading.allowed = reading.allowed.saturating_sub(segment.bytes);
            match self.read_segment(reading, number, slot) {
                Ok(None) => (),
                Ok(Some(slot)) => return Ok(Some((number, slot))),
                Err(SpoolError::Vanished { .. }) => self.lose(number, &BTreeSet::new()),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Returns the slot at which it stopped, or `None` at the end.
    fn read_segment(
        &mut self,
        reading: &mut Reading<'_>,
        number: u32,
        from: u32,
    ) -> Result<Option<u32>, SpoolError> {
        let segment = &self.segments[&number];
        let portal = reading.portal.map(|portal| self.setup.keys.portal(portal.as_ref()));
        let mut stopped = None;
        let mut found = 0;
        // The present chunk was added when its first line was taken.
        let mut begun = false;
        self.scan(number, &mut |item| {
            let Item::Piece { name, slot, first, piece } = item else { return true };
            if first {
                begun = false;
                if slot >= from && reading.wanted == 0 {
                    stopped = Some(slot);
                    return false;
                }
            }
            let Some(name) = name.filter(|_| !segment.is_settled(slot)) else { return true };
            found += 1;
            if slot >= from && portal.is_none_or(|portal| portal == name.keys.portal) {
                reading.take(self.publisher, name, piece, !begun, segment.is_tried(slot));
                begun = true;
            }
            true
        })?;
        if stopped.is_none() && found < segment.live {
            let mut readable = BTreeSet::new();
            self.scan(number, &mut |item| {
                if let Item::Piece { name: Some(_), slot, .. } = item {
                    readable.insert(slot);
                }
                true
            })?;
            self.lose(number, &readable);
        }
        Ok(stopped)
    }

    /// Gives up all lines of a segment except these. The others cannot be read any more.
    pub(super) fn lose(&mut self, number: u32, readable: &BTreeSet<u32>) {
        let Some(segment) = self.segments.get_mut(&number) else { return };
        let (mut lines, mut ends, mut all) = (0, 0, 0);
        for slot in 0..segment.slots {
            if !readable.contains(&slot) && segment.leave_out(slot) {
                all += 1;
                lines += u64::from(segment.is_line(slot));
                ends += u64::from(segment.is_end(slot));
            }
        }
        segment.live = segment.live.saturating_sub(all);
        if all == 0 {
            return;
        }
        let since = time(segment.oldest.unwrap_or(0));
        // Lines that a notice is about were counted before.
        if lines + ends > 0 {
            let reason = DropReason::SpoolDamaged;
            self.lost.push(Evicted { of: None, numbers: None, lines, ends, since, reason });
        }
        self.sweep();
    }
}
