//! What is known of callsites: which have had a span of ours, which have fields that need a look.

use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use tracing_core::Metadata;

/// A set with false positives: it finds everything that was put in, and sometimes something that was
/// not.
///
/// While tagged spans are alive, events in other spans do not have to lock the extensions of their
/// spans, which is a fifth of their cost. The exception: spans of the same callsite are also inside of
/// tagged spans.
#[derive(Default)]
pub(super) struct Callsites([AtomicU64; WORDS]);

const WORDS: usize = 16;

impl Callsites {
    /// Relaxed is enough: a thread that is in a span got the span from the thread that made it.
    pub(super) fn insert(&self, metadata: &'static Metadata<'static>) {
        let (word, bit) = self.place(metadata);
        if word.load(Relaxed) & bit == 0 {
            word.fetch_or(bit, Relaxed);
        }
    }

    #[inline]
    pub(super) fn may_contain(&self, metadata: &'static Metadata<'static>) -> bool {
        let (word, bit) = self.place(metadata);
        word.load(Relaxed) & bit != 0
    }

    #[inline]
    fn place(&self, metadata: &'static Metadata<'static>) -> (&AtomicU64, u64) {
        // Multiplied by 2^64 over the golden ratio, the high bits depend on all of the address.
        let hash =
            (ptr::from_ref(metadata).addr() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54;
        (&self.0[(hash / 64) as usize % WORDS], 1 << (hash % 64))
    }
}

/// Finds an answer, and keeps it. Apart, so that whoever asks needs no registers for it.
#[cold]
#[inline(never)]
fn found(place: &AtomicUsize, address: usize, find: impl FnOnce() -> Answer) -> Answer {
    let answer = find();
    let (special, wanted) = (usize::from(answer.is_special), usize::from(answer.is_wanted));
    place.store(address | special | wanted << 1, Relaxed);
    answer
}

/// What follows from the names and the level of a callsite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whether some field needs a look, or may hold a token.
    pub(super) is_special: bool,
    /// Whether the layer's level lets it in.
    pub(super) is_wanted: bool,
}

/// A cache of one answer for each callsite. It is exact: two callsites that fall on one place displace
/// each other.
pub(super) struct Answers([AtomicUsize; PLACES]);

const PLACES: usize = 128;

impl Default for Answers {
    fn default() -> Self {
        Answers([const { AtomicUsize::new(0) }; PLACES])
    }
}

impl Answers {
    /// What `find` says of these metadata, or said before. A place holds the address, which is a
    /// multiple of eight, and the answer in its lowest bits; so one load is enough, and needs no order.
    #[inline]
    pub(super) fn get(
        &self,
        metadata: &'static Metadata<'static>,
        find: impl FnOnce() -> Answer,
    ) -> Answer {
        const { assert!(align_of::<Metadata<'static>>() >= 4) };
        let address = ptr::from_ref(metadata).addr();
        let hash = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 57;
        let place = &self.0[hash as usize % PLACES];
        let known = place.load(Relaxed);
        if known & !3 == address {
            return Answer { is_special: known & 1 != 0, is_wanted: known & 2 != 0 };
        }
        found(place, address, find)
    }
}

#[cfg(test)]
mod tests {
    use tracing::info_span;
    use tracing_core::Callsite;

    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_little_else() {
        let subscriber = tracing_subscriber::registry();
        let _default = tracing::subscriber::set_default(subscriber);
        let (one, other) = (info_span!("one"), info_span!("other"));
        let (one, other) = (one.metadata().unwrap(), other.metadata().unwrap());
        let callsites = Callsites::default();
        assert!(!callsites.may_contain(one) && !callsites.may_contain(other));
        callsites.insert(one);
        callsites.insert(one);
        assert!(callsites.may_contain(one));
        let bits: u32 = callsites.0.iter().map(|word| word.load(Relaxed).count_ones()).sum();
        assert_eq!(bits, 1);
    }

    #[test]
    fn an_answer_is_found_once_and_is_that_callsites_own() {
        let subscriber = tracing_subscriber::registry();
        let _default = tracing::subscriber::set_default(subscriber);
        let (one, other) = (info_span!("one"), info_span!("other"));
        let (one, other) = (one.metadata().unwrap(), other.metadata().unwrap());
        let answers = Answers::default();
        let all = [(true, true), (true, false), (false, true), (false, false)];
        for (is_special, is_wanted) in all {
            let answer = Answer { is_special, is_wanted };
            let answers = Answers::default();
            assert_eq!(answers.get(one, || answer), answer);
            assert_eq!(answers.get(one, || unreachable!("it is known")), answer);
        }
        let [yes, no] = [true, false].map(|is| Answer { is_special: is, is_wanted: is });
        for _ in 0..2 {
            assert_eq!(answers.get(one, || yes), yes);
            assert_eq!(answers.get(other, || no), no);
        }
        // Whoever falls on its place displaces it, and is never taken for it.
        let displaced = Answers([const { AtomicUsize::new(usize::MAX) }; PLACES]);
        assert_eq!(displaced.get(one, || no), no);
    }

    #[test]
    fn addresses_are_spread_over_all_words() {
        struct Sample;
        impl Callsite for Sample {
            fn set_interest(&self, _: tracing_core::Interest) {}
            fn metadata(&self) -> &Metadata<'_> {
                unreachable!("nobody registers it")
            }
        }
        static SAMPLE: Sample = Sample;
        let metadata = || {
            Metadata::new(
                "sample",
                "sample",
                tracing_core::Level::INFO,
                None,
                None,
                None,
                tracing_core::field::FieldSet::new(&[], tracing_core::identify_callsite!(&SAMPLE)),
                tracing_core::Kind::SPAN,
            )
        };
        let all: &'static [Metadata<'static>] =
            Box::leak((0..400).map(|_| metadata()).collect::<Vec<_>>().into_boxed_slice());
        let callsites = Callsites::default();
        all.iter().for_each(|metadata| callsites.insert(metadata));
        let bits: u32 = callsites.0.iter().map(|word| word.load(Relaxed).count_ones()).sum();
        assert!(bits > 250, "{bits} of 1024 bits for 400 callsites");
        assert!(callsites.0.iter().all(|word| word.load(Relaxed) != 0));
    }
}
