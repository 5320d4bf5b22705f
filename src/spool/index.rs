//! Which line has which slot. Marks need this. It is kept for a few segments, and can be rebuilt from the file.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::record::Key;

/// The indexes of the segments that recent marks were about.
#[derive(Default)]
pub(super) struct Indexes {
    /// The index that was used last comes first.
    kept: VecDeque<(u32, Index)>,
}

/// The limit for the lines of all indexes together. A line takes about 24 bytes.
const MOST_LINES: usize = 256 << 10;

impl Indexes {
    pub(super) fn has(&self, number: u32) -> bool {
        self.kept.iter().any(|kept| kept.0 == number)
    }

    pub(super) fn put(&mut self, number: u32, index: Index) {
        self.kept.push_front((number, index));
        while self.kept.len() > 1 && self.lines() > MOST_LINES {
            self.kept.pop_back();
        }
    }

    fn lines(&self) -> usize {
        self.kept.iter().map(|kept| kept.1.len()).sum()
    }

    pub(super) fn remove(&mut self, number: u32) {
        self.kept.retain(|kept| kept.0 != number);
    }

    /// The index of this segment, if it is kept.
    pub(super) fn of(&mut self, number: u32) -> Option<&mut Index> {
        let at = self.kept.iter().position(|kept| kept.0 == number)?;
        if at > 0 {
            let kept = self.kept.remove(at)?;
            self.kept.push_front(kept);
        }
        self.kept.front_mut().map(|kept| &mut kept.1)
    }

    /// The slots of these numbers, if the segment's index is kept.
    pub(super) fn slots(&mut self, number: u32, log: Key, from: u64, up_to: u64) -> Vec<u32> {
        self.of(number).map(|index| index.slots(log, from, up_to).collect()).unwrap_or_default()
    }
}

/// The lines of one segment by token and number.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Number and slot, in order of the numbers.
    tokens: HashMap<Key, Vec<(u64, u32)>, BuildHasherDefault<KeyHasher>>,
    lines: usize,
}

impl Index {
    pub(super) fn add(&mut self, key: Key, no: u64, slot: u32) {
        let lines = self.tokens.entry(key).or_default();
        self.lines += 1;
        match lines.last() {
            Some(last) if (no, slot) < *last => {
                let at = lines.partition_point(|line| *line < (no, slot));
                lines.insert(at, (no, slot));
            }
            _ => lines.push((no, slot)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lines
    }

    /// The slots of these numbers.
    pub(super) fn slots(&self, key: Key, from: u64, up_to: u64) -> impl Iterator<Item = u32> {
        let lines = self.tokens.get(&key).map(Vec::as_slice).unwrap_or_default();
        let start = lines.partition_point(|line| line.0 < from);
        lines[start..].iter().take_while(move |line| line.0 <= up_to).map(|line| line.1)
    }
}

/// A key is a hash already, with a secret of this process.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_numbers_means_the_lines_of_one_token() {
        let mut index = Index::default();
        for (slot, (key, no)) in [(1, 5), (2, 6), (1, 7), (2, 8), (1, 9)].into_iter().enumerate() {
            index.add(Key(key), no, slot as u32);
        }
        assert_eq!(index.slots(Key(1), 6, 9).collect::<Vec<_>>(), [2, 4]);
        index.add(Key(1), 8, 5);
        assert_eq!(index.slots(Key(1), 0, u64::MAX).collect::<Vec<_>>(), [0, 2, 5, 4]);
        assert_eq!(index.slots(Key(3), 0, u64::MAX).count(), 0);
    }
}
