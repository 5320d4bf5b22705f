//! What is known about callsites: which have had a span of this layer, and which have fields that need a check.

use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use tracing_core::Metadata;

/// A set with false positives: it finds everything that was inserted, and sometimes something else.
///
/// While tagged spans are alive, events in other spans do not have to lock the extensions of their
/// spans, which is a fifth of their cost. The exception: spans of the same callsite are also inside of
/// tagged spans.
#[derive(Default)]
pub(super) struct Callsites([AtomicU64; WORDS]);

const WORDS: usize = 16;

impl Callsites {
    /// Relaxed is enough: a thread in a span has got the span from the thread that created it.
    #[inline]
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

/// Computes an answer and stores it. A separate function, so that the caller needs no registers for it.
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
    /// An event: whether some field needs a check, or may contain a token. A span: whether it declares the
    /// token field. (Nearly all spans with fields need checks.)
    pub(super) is_special: bool,
    /// Whether the level of the layer allows it.
    pub(super) is_wanted: bool,
}

/// A cache of one answer for each callsite. It is exact: two callsites with one place replace each other.
pub(super) struct Answers([AtomicUsize; PLACES]);

const PLACES: usize = 128;

impl Default for Answers {
    fn default() -> Self {
        Answers([const { AtomicUsize::new(0) }; PLACES])
    }
}

impl Answers {
    /// The result of `find` for these metadata, perhaps an earlier one.
    #[inline]
    pub(super) fn get(
        &self,
        metadata: &'static Metadata<'static>,
        find: impl FnOnce() -> Answer,
    ) -> Answer {
        match self.known(metadata) {
            Some(answer) => answer,
            None => found(self.place(metadata), ptr::from_ref(metadata).addr(), find),
        }
    }

    /// An earlier result for these metadata, if there is one. A place has the address, which is a multiple of
    /// eight, and the answer in its lowest bits. So one load is enough, without ordering.
    #[inline]
    pub(super) fn known(&self, metadata: &'static Metadata<'static>) -> Option<Answer> {
        const { assert!(align_of::<Metadata<'static>>() >= 4) };
        let known = self.place(metadata).load(Relaxed);
        if known & !3 != ptr::from_ref(metadata).addr() {
            return None;
        }
        Some(Answer { is_special: known & 1 != 0, is_wanted: known & 2 != 0 })
    }

    #[inline]
    fn place(&self, metadata: &'static Metadata<'static>) -> &AtomicUsize {
        let address = ptr::from_ref(metadata).addr();
        let hash = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 57;
        &self.0[hash as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use tracing::info_span;
    use tracing_core::Callsite;

    use super::*;

    #[test]
    fn the_set_has_no_false_negatives_and_few_false_positives() {
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
    fn each_callsite_gets_its_own_cached_answer() {
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
        // Another callsite with the same place replaces it, and is never mistaken for it.
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
