//! Gives lines up: the oldest lines of a full spool, and lines that are too old.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::Run;
use crate::error::SpoolError;
use crate::journal::codec::{Piece, nanos};
use crate::journal::{Evicted, MarkKind, Publisher};
use crate::spool::record::Item;
use crate::stats::DropReason;

impl Run {
    /// Gives up the lines of the oldest segment that has lines. Ends stay while there are lines, because a
    /// workflow waits for each end, and so do notices, which are small. Returns whether anything was given up.
    pub(in crate::spool) fn evict_oldest(&mut self) -> Result<bool, SpoolError> {
        let oldest = |ends_only: bool| {
            let mut live = self.segments.values().filter(|segment| segment.live > 0);
            live.find(|segment| segment.ends_only == ends_only).map(|segment| segment.number)
        };
        let Some(number) = oldest(false).or_else(|| oldest(true)) else { return Ok(false) };
        let ends_too = self.segments[&number].ends_only;
        self.end_if_open(number)?;
        self.evict(number, DropReason::SpoolFull, ends_too)?;
        Ok(true)
    }

    /// Gives up segments whose newest line is older than this.
    pub(in crate::spool) fn expire(&mut self, oldest: SystemTime) -> Result<(), SpoolError> {
        let is_old = |newest: Option<i64>| newest.is_some_and(|newest| newest < nanos(oldest));
        let old = self.segments.values().filter(|s| s.live > 0 && is_old(s.newest));
        let numbers: Vec<_> = old.map(|segment| segment.number).collect();
        for number in numbers {
            self.end_if_open(number)?;
            self.evict(number, DropReason::Expired, true)?;
        }
        Ok(())
    }

    /// Ends the present segment if its first line is older than this. So the lines of a segment expire at about
    /// the same time.
    pub(in crate::spool) fn end_old_segment(
        &mut self,
        oldest: SystemTime,
    ) -> Result<(), SpoolError> {
        let Some(number) = self.writer.as_ref().map(|writer| writer.number) else { return Ok(()) };
        let first = self.segments.get(&number).and_then(|segment| segment.oldest);
        match first.is_some_and(|first| first < nanos(oldest)) {
            true => self.end_segment(),
            false => Ok(()),
        }
    }

    fn end_if_open(&mut self, number: u32) -> Result<(), SpoolError> {
        match self.writer.as_ref().is_some_and(|writer| writer.number == number) {
            true => self.end_segment(),
            false => Ok(()),
        }
    }

    fn evict(&mut self, number: u32, reason: DropReason, ends_too: bool) -> Result<(), SpoolError> {
        let Some(segment) = self.segments.get(&number) else { return Ok(()) };
        let publisher = Publisher(self.publisher);
        let mut evicted: Vec<Evicted> = Vec::new();
        let mut slots = Vec::new();
        let mut readable = BTreeSet::new();
        // The present chunk is the last one of `evicted`.
        let mut begun = false;
        let read = self.scan(number, &mut |item| {
            let Item::Piece { name, slot, first, piece } = item else { return true };
            begun &= !first;
            let Some(name) = name else { return true };
            readable.insert(slot);
            let may_stay = matches!(piece, Piece::End(_) | Piece::Missed(_));
            if segment.is_settled(slot) || (may_stay && !ends_too) {
                return true;
            }
            slots.push(slot);
            let (no, at) = (piece.no(), piece.at());
            if !std::mem::replace(&mut begun, true) {
                let (portal, event_token) = name.name.clone();
                let of = Some((publisher, portal, event_token));
                let numbers = Some((no, no));
                evicted.push(Evicted { of, numbers, lines: 0, ends: 0, since: at, reason });
            }
            let Some(chunk) = evicted.last_mut() else { return true };
            chunk.numbers = chunk.numbers.map(|(from, to)| (from.min(no), to.max(no)));
            chunk.since = chunk.since.min(at);
            match piece {
                Piece::End(_) => chunk.ends += 1,
                Piece::Line(_) => chunk.lines += 1,
                // Those lines were counted when they were lost.
                Piece::Missed(_) | Piece::Seal(_) => (),
            }
            true
        });
        match read {
            Ok(()) => (),
            Err(SpoolError::Vanished { .. }) => {
                self.lose(number, &BTreeSet::new());
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        for slot in slots {
            self.note(number, (number, slot), MarkKind::Settled);
        }
        let told = evicted.into_iter().filter(|evicted| evicted.lines + evicted.ends > 0);
        self.lost.extend(told);
        self.lose(number, &readable);
        let ends = self.segments.get(&number).is_some_and(|segment| segment.live > 0);
        if ends {
            if let Some(segment) = self.segments.get_mut(&number) {
                segment.ends_only = true;
            }
            self.rewrite(number)?;
        }
        self.sweep();
        Ok(())
    }
}
