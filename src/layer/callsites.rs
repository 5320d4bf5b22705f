//! Which callsites have had a span of ours.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
