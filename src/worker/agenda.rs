//! An agenda: for each key, when to handle it next.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::time::Instant;

/// Keys by the time at which they are due. A key is in it at most once.
#[derive(Debug)]
pub(crate) struct Agenda<K> {
    by_time: BTreeSet<(Instant, K)>,
    /// Invariant: contains exactly what `by_time` contains.
    by_key: HashMap<K, Instant, BuildHasherDefault<NumberHasher>>,
}

impl<K: Copy + Ord + Hash> Agenda<K> {
    pub(crate) fn new() -> Self {
        Agenda { by_time: BTreeSet::new(), by_key: HashMap::default() }
    }

    /// Sets the time of `key` to `at`. Replaces its earlier time.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        match self.by_key.insert(key, at) {
            Some(before) if before == at => return,
            Some(before) => {
                self.by_time.remove(&(before, key));
            }
            None => {}
        }
        self.by_time.insert((at, key));
    }

    /// Sets the time of `key`, or removes it.
    pub(crate) fn put(&mut self, key: K, at: Option<Instant>) {
        match at {
            Some(at) => self.set(key, at),
            None => self.remove(key),
        }
    }

    pub(crate) fn remove(&mut self, key: K) {
        if self.by_key.is_empty() {
            return;
        }
        if let Some(at) = self.by_key.remove(&key) {
            self.by_time.remove(&(at, key));
        }
    }

    /// When `key` is due.
    pub(crate) fn at(&self, key: K) -> Option<Instant> {
        self.by_key.get(&key).copied()
    }

    /// The key that is due first, and its time.
    pub(crate) fn first(&self) -> Option<(Instant, K)> {
        self.by_time.first().copied()
    }

    /// When the first is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.first().map(|(at, _)| at)
    }

    /// Removes the key that is due first, if it is due by `until`.
    pub(crate) fn pop(&mut self, until: Instant) -> Option<K> {
        let (at, key) = self.first().filter(|(at, _)| *at <= until)?;
        self.by_key.remove(&key);
        self.by_time.remove(&(at, key));
        Some(key)
    }

    /// How many are due by `until`, counted up to `enough`.
    pub(crate) fn due_by(&self, until: Instant, enough: usize) -> usize {
        self.due(until).take(enough).count()
    }

    /// The keys that are due by `until`, in the order of their times.
    pub(crate) fn due(&self, until: Instant) -> impl Iterator<Item = K> + '_ {
        self.by_time.iter().take_while(move |(at, _)| *at <= until).map(|(_, key)| *key)
    }

    /// All keys, in the order of their times.
    pub(crate) fn keys(&self) -> impl Iterator<Item = K> + '_ {
        self.by_time.iter().map(|(_, key)| *key)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }
}

impl<K: Copy + Ord + Hash> Default for Agenda<K> {
    fn default() -> Self {
        Agenda::new()
    }
}

/// Hashes numbers that this crate creates, so nobody can choose colliding ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The upper bits choose within a group, the lower ones the group: both have to differ.
        let mixed = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Set(u8, u64),
        Remove(u8),
        Pop(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..12_u8, 0..20_u64).prop_map(|(key, at)| Step::Set(key, at)),
            1 => (0..12_u8).prop_map(Step::Remove),
            1 => (0..20_u64).prop_map(Step::Pop),
        ]
    }

    proptest! {
        /// Compared with a plain map from key to time.
        #[test]
        fn an_agenda_is_a_map_with_its_earliest_key(
            steps in prop::collection::vec(step(), 0..200),
        ) {
            #[expect(clippy::disallowed_methods, reason = "any instant will do to start from")]
            let start = Instant::now();
            let at = |seconds| start + Duration::from_secs(seconds);
            let (mut agenda, mut map) = (Agenda::new(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Set(key, seconds) => {
                        agenda.set(key, at(seconds));
                        map.insert(key, seconds);
                    }
                    Step::Remove(key) => {
                        agenda.remove(key);
                        map.remove(&key);
                    }
                    Step::Pop(until) => {
                        let first = map.iter().map(|(key, at)| (*at, *key)).min();
                        let due = first.filter(|(at, _)| *at <= until).map(|(_, key)| key);
                        prop_assert_eq!(agenda.pop(at(until)), due);
                        due.map(|key| map.remove(&key));
                    }
                }
                prop_assert_eq!(agenda.len(), map.len());
                prop_assert_eq!(agenda.is_empty(), map.is_empty());
                prop_assert_eq!(agenda.next_at(), map.values().min().map(|s| at(*s)));
                let due = map.values().filter(|seconds| **seconds <= 9).count();
                prop_assert_eq!(agenda.due_by(at(9), 5), due.min(5));
                for key in 0..12 {
                    prop_assert_eq!(agenda.at(key), map.get(&key).map(|s| at(*s)));
                }
                prop_assert_eq!(agenda.keys().count(), map.len());
            }
        }
    }
}
