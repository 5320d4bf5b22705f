//! The data of a segment in memory: counters, two bits per line if they are needed, and which portals it may have
//! lines of.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::record::Key;
use crate::journal::MarkKind;

/// The first and the last number of some lines, and the times of the oldest and the newest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    numbers: (u64, u64),
    /// `None` for a notice: the lines that it is about may be older than anything is kept.
    times: Option<(i64, i64)>,
}

impl Span {
    pub(super) fn widen(span: &mut Option<Span>, no: u64, at: i64) {
        let Span { numbers, times } =
            span.get_or_insert(Span { numbers: (no, no), times: Some((at, at)) });
        *numbers = (numbers.0.min(no), numbers.1.max(no));
        *times = times.map(|(oldest, newest)| (oldest.min(at), newest.max(at)));
    }
}

/// What is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Line,
    End,
    /// A gap or a seal.
    Sign,
}

/// One segment of a run.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) number: u32,
    /// Bytes of its file.
    pub(super) bytes: u64,
    /// One more than the last slot.
    pub(super) slots: u32,
    /// How many lines, gaps and ends its file has, including settled ones.
    pub(super) lines: u32,
    /// How many of them are not settled.
    pub(super) live: u32,
    /// The first and the last number.
    pub(super) numbers: Option<(u64, u64)>,
    /// When the newest of its lines was logged, in nanoseconds since 1970.
    pub(super) newest: Option<i64>,
    pub(super) oldest: Option<i64>,
    portals: Bloom,
    settled: Bits,
    tried: Bits,
    /// Gaps, seals and ends.
    others: Bits,
    /// The ends among them.
    ends: Bits,
    /// Older segments for which its marks are needed.
    pub(super) speaks_of: BTreeSet<u32>,
    /// Its lines were given up, and its unsettled ends and notices were kept.
    pub(super) ends_only: bool,
    /// Its file may have more than its valid lines. The header of the next segment says so, and so it is needed.
    pub(super) surplus: bool,
    /// How many times its file could not be read.
    pub(super) failures: Cell<u8>,
}

impl Segment {
    pub(super) fn new(number: u32) -> Self {
        Segment { number, ..Segment::default() }
    }

    /// Notes a line, a gap, a seal or an end, which is not settled. `at`: none for a gap.
    pub(super) fn add(&mut self, slot: u32, no: u64, at: Option<i64>, portal: Key, kind: Kind) {
        let end = slot.saturating_add(1);
        let span = Span { numbers: (no, no), times: at.map(|at| (at, at)) };
        self.add_lines(end, 1, span, portal);
        if kind != Kind::Line {
            self.others.set(slot, self.slots, true);
        }
        if kind == Kind::End {
            self.ends.set(slot, self.slots, true);
        }
    }

    /// Adds this number of lines, in the slots before `end`.
    pub(super) fn add_lines(&mut self, end: u32, lines: u32, span: Span, portal: Key) {
        self.slots = self.slots.max(end);
        self.lines += lines;
        self.live += lines;
        let Span { numbers: (from, up_to), times } = span;
        let (first, last) = self.numbers.unwrap_or((from, up_to));
        self.numbers = Some((first.min(from), last.max(up_to)));
        if let Some((oldest, newest)) = times {
            self.newest = Some(self.newest.map_or(newest, |before| before.max(newest)));
            self.oldest = Some(self.oldest.map_or(oldest, |before| before.min(oldest)));
        }
        self.portals.add(portal);
    }

    pub(super) fn is_line(&self, slot: u32) -> bool {
        !self.others.has(slot)
    }

    pub(super) fn is_end(&self, slot: u32) -> bool {
        self.ends.has(slot)
    }

    pub(super) fn may_hold(&self, portal: Key) -> bool {
        self.portals.may_have(portal)
    }

    /// Whether a range of numbers may include its lines.
    pub(super) fn meets(&self, from: u64, up_to: u64) -> bool {
        self.numbers.is_some_and(|(first, last)| from <= last && first <= up_to)
    }

    /// Sets the state of a line. Returns whether the state has changed.
    pub(super) fn note(&mut self, slot: u32, kind: MarkKind) -> bool {
        if self.settled.has(slot) {
            return false;
        }
        match kind {
            MarkKind::Tried => self.tried.set(slot, self.slots, true),
            MarkKind::Returned => self.tried.set(slot, self.slots, false),
            MarkKind::Settled => {
                self.live = self.live.saturating_sub(1);
                self.settled.set(slot, self.slots, true)
            }
        }
    }

    /// This slot has no line (any more), or the line cannot be read. It does not count as live.
    pub(super) fn leave_out(&mut self, slot: u32) -> bool {
        self.settled.set(slot, self.slots, true)
    }

    pub(super) fn is_settled(&self, slot: u32) -> bool {
        self.settled.has(slot)
    }

    pub(super) fn is_tried(&self, slot: u32) -> bool {
        self.tried.has(slot)
    }
}

/// A bit per slot. Nothing is allocated while all are 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn has(&self, at: u32) -> bool {
        self.0.get(at as usize / 64).is_some_and(|word| word & 1 << (at % 64) != 0)
    }

    /// Sets a bit. Returns whether it has changed. `most`: how many bits there will be soon.
    pub(super) fn set(&mut self, at: u32, most: u32, on: bool) -> bool {
        if self.has(at) == on {
            return false;
        }
        let place = at as usize / 64;
        if self.0.len() <= place {
            self.0.resize((place + 1).max(most as usize / 64 + 1), 0);
        }
        self.0[place] ^= 1 << (at % 64);
        true
    }
}

/// Which portals a segment may have lines of. With 400 portals, about one in a hundred answers is a wrong yes.
#[derive(Clone, Debug)]
struct Bloom(Box<[u64; 64]>);

impl Default for Bloom {
    fn default() -> Self {
        Bloom(Box::new([0; 64]))
    }
}

impl Bloom {
    fn places(key: Key) -> [usize; 4] {
        [key.0, key.0 >> 16, key.0 >> 32, key.0 >> 48].map(|part| part as usize % 4096)
    }

    fn add(&mut self, key: Key) {
        for place in Bloom::places(key) {
            self.0[place / 64] |= 1 << (place % 64);
        }
    }

    fn may_have(&self, key: Key) -> bool {
        Bloom::places(key).iter().all(|place| self.0[place / 64] & 1 << (place % 64) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settled_line_stays_settled_and_is_counted_once() {
        let mut segment = Segment::new(1);
        for slot in 0..3 {
            segment.add(slot, u64::from(slot) + 10, Some(0), Key(1), Kind::Line);
        }
        assert!(segment.note(1, MarkKind::Tried));
        assert!(!segment.note(1, MarkKind::Tried));
        assert!(segment.is_tried(1));
        assert!(segment.note(1, MarkKind::Returned));
        assert!(!segment.is_tried(1));
        assert!(segment.note(1, MarkKind::Settled));
        assert!(!segment.note(1, MarkKind::Settled));
        assert!(!segment.note(1, MarkKind::Tried));
        assert_eq!((segment.live, segment.lines, segment.slots), (2, 3, 3));
        assert!(segment.meets(12, 99) && segment.meets(0, 10) && !segment.meets(13, 99));
    }

    #[test]
    fn a_portal_that_is_there_is_found() {
        let keys = super::super::record::Keys::default();
        let key = |n: u32| keys.portal(Some(&n.to_string().into()));
        let mut bloom = Bloom::default();
        (0..400).for_each(|n| bloom.add(key(n)));
        assert!((0..400).all(|n| bloom.may_have(key(n))));
        let wrong = (400..10_400).filter(|&n| bloom.may_have(key(n))).count();
        assert!(wrong < 500, "{wrong} of 10,000");
    }
}
