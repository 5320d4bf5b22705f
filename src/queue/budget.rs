//! What callers have charged, and what the worker has given back.
//!
//! Totals that only grow, so that neither side ever waits for the other: what is pending is their
//! difference. Each side writes a cache line of its own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// Lines and bytes from accept to settle, and messages in the channel.
#[derive(Default)]
pub(super) struct Budget {
    callers: Charged,
    worker: Settled,
}

#[derive(Default)]
#[repr(align(128))]
struct Charged {
    /// Lines and bytes accepted so far, as a [`word`]: one addition for both.
    charged: AtomicU64,
    /// Messages sent that a span has closed.
    closes: AtomicU64,
}

#[derive(Default)]
#[repr(align(128))]
struct Settled {
    taken_lines: AtomicU64,
    taken_closes: AtomicU64,
    released_lines: AtomicU64,
    released_bytes: AtomicU64,
}

/// How things stand. May be a little too high, never too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Messages in the channel.
    pub(super) queued: u64,
    /// Lines from accept to settle.
    pub(super) lines: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// Bits of a [`word`] that count lines; the others count bytes.
const LINE_BITS: u32 = 28;
const LINES: u64 = (1 << LINE_BITS) - 1;

/// Most lines that may be pending: a quarter of what a word can tell apart.
pub(crate) const MOST_LINES: usize = 1 << (LINE_BITS - 2);
/// Most bytes that may be pending: a quarter of what a word can tell apart.
pub(crate) const MOST_BYTES: u64 = 1 << (62 - LINE_BITS);

/// Lines and bytes in one number. It wraps, and lines carry into bytes: a difference of two words is
/// right all the same, as long as what is pending fits.
fn word(lines: u64, bytes: u64) -> u64 {
    lines.wrapping_add(bytes << LINE_BITS)
}

/// The lines of a difference of two words. It has no sign: what would be below zero is in its upper
/// half, where nothing else comes, and is read as zero, so that a line that is released twice does not
/// shut the door for good.
fn lines(difference: u64) -> u64 {
    let lines = difference & LINES;
    if lines > LINES / 2 { 0 } else { lines }
}

/// The bytes of a difference of two words, as [`lines`].
fn bytes(difference: u64) -> u64 {
    let bytes = difference >> LINE_BITS;
    if bytes > u64::MAX >> (LINE_BITS + 1) { 0 } else { bytes }
}

/// What the worker has done. Read before the callers' side, so that it is never ahead of that.
struct Done {
    taken_lines: u64,
    taken_closes: u64,
    released_lines: u64,
    released_bytes: u64,
}

impl Budget {
    /// Charges a line.
    #[inline]
    pub(super) fn charge(&self, bytes: u64) -> Standing {
        let done = self.done();
        let charge = word(1, bytes);
        let charged = self.callers.charged.fetch_add(charge, SeqCst).wrapping_add(charge);
        self.standing(&done, charged)
    }

    /// Takes a charge back.
    pub(super) fn revert(&self, bytes: u64) {
        self.callers.charged.fetch_sub(word(1, bytes), SeqCst);
    }

    /// How things would stand with one line more.
    pub(super) fn with_line(&self, bytes: u64) -> Standing {
        let done = self.done();
        let charged = self.callers.charged.load(SeqCst).wrapping_add(word(1, bytes));
        self.standing(&done, charged)
    }

    /// Counts a message that a span has closed. Returns how many messages are in the channel.
    pub(super) fn add_close(&self) -> u64 {
        let done = self.done();
        self.callers.closes.fetch_add(1, SeqCst);
        self.standing(&done, self.callers.charged.load(SeqCst)).queued
    }

    pub(super) fn revert_close(&self) {
        self.callers.closes.fetch_sub(1, SeqCst);
    }

    pub(super) fn pending_lines(&self) -> u64 {
        let released = self.worker.released_lines.load(SeqCst);
        lines(self.callers.charged.load(SeqCst).wrapping_sub(released))
    }

    pub(super) fn accepted_lines(&self) -> u64 {
        let released = self.worker.released_lines.load(SeqCst);
        released + lines(self.callers.charged.load(SeqCst).wrapping_sub(released))
    }

    /// Whether all that is charged was taken.
    pub(super) fn all_taken(&self) -> bool {
        let taken = self.worker.taken_lines.load(SeqCst);
        lines(self.callers.charged.load(SeqCst).wrapping_sub(taken)) == 0
    }

    /// The worker has taken these out of the channel.
    pub(super) fn took(&self, lines: u64, closes: u64) {
        grow(&self.worker.taken_lines, lines);
        grow(&self.worker.taken_closes, closes);
    }

    /// The worker has settled these.
    pub(super) fn release(&self, lines: u64, bytes: u64) {
        grow(&self.worker.released_lines, lines);
        grow(&self.worker.released_bytes, bytes);
    }

    #[inline]
    fn done(&self) -> Done {
        Done {
            taken_lines: self.worker.taken_lines.load(SeqCst),
            taken_closes: self.worker.taken_closes.load(SeqCst),
            released_lines: self.worker.released_lines.load(SeqCst),
            released_bytes: self.worker.released_bytes.load(SeqCst),
        }
    }

    #[inline]
    fn standing(&self, done: &Done, charged: u64) -> Standing {
        let closes = self.callers.closes.load(SeqCst).saturating_sub(done.taken_closes);
        let released = word(done.released_lines, done.released_bytes);
        Standing {
            queued: lines(charged.wrapping_sub(done.taken_lines)) + closes,
            lines: lines(charged.wrapping_sub(done.released_lines)),
            bytes: bytes(charged.wrapping_sub(released)),
        }
    }
}

/// The worker is the one writer, so a load and a store will do.
fn grow(total: &AtomicU64, by: u64) {
    total.store(total.load(Relaxed).wrapping_add(by), SeqCst);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn totals_wrap_and_carry_and_their_difference_is_right() {
        let budget = Budget::default();
        // Just before the lines' bits, and the word itself, overflow.
        let (lines, bytes) = (u64::from(u32::MAX) << 4, u64::MAX - 5);
        budget.callers.charged.store(word(lines, bytes), SeqCst);
        budget.took(lines, 0);
        budget.release(lines, bytes);
        assert_eq!(budget.pending_lines(), 0);
        for n in 1..=40 {
            let standing = budget.charge(100);
            assert_eq!(standing, Standing { queued: n, lines: n, bytes: 100 * n });
        }
        budget.took(40, 0);
        budget.release(30, 3_000);
        assert!(budget.all_taken());
        assert_eq!((budget.pending_lines(), budget.accepted_lines()), (10, lines + 40));
        assert_eq!(budget.with_line(7), Standing { queued: 1, lines: 11, bytes: 1_007 });
    }

    #[test]
    fn what_is_released_twice_does_not_shut_the_door() {
        let budget = Budget::default();
        budget.charge(10);
        budget.took(1, 0);
        budget.release(2, 20);
        assert_eq!(budget.pending_lines(), 0);
        let standing = budget.charge(10);
        assert_eq!((standing.queued, standing.lines), (1, 0));
        assert!(standing.bytes < 20);
    }

    proptest! {
        /// Against counters that are kept apart.
        #[test]
        fn one_word_counts_as_two(
            start in any::<(u64, u64)>(),
            steps in prop::collection::vec((0..4_u8, 0..1_u64 << 28), 1..60),
        ) {
            let (start_lines, start_bytes) = (start.0 >> 1, start.1);
            let budget = Budget::default();
            budget.callers.charged.store(word(start_lines, start_bytes), SeqCst);
            budget.took(start_lines, 0);
            budget.release(start_lines, start_bytes);
            let (mut queued, mut settling, mut closes) = (Vec::new(), Vec::new(), 0);
            for (step, bytes) in steps {
                match step {
                    0 => {
                        budget.charge(bytes);
                        queued.push(bytes);
                    }
                    1 => {
                        budget.took(queued.len() as u64, closes);
                        closes = 0;
                        settling.append(&mut queued);
                    }
                    2 => {
                        budget.add_close();
                        closes += 1;
                    }
                    _ => {
                        if let Some(bytes) = settling.pop() {
                            budget.release(1, bytes);
                        }
                    }
                }
                let pending = queued.iter().chain(&settling);
                let expected = Standing {
                    queued: queued.len() as u64 + closes + 1,
                    lines: pending.clone().count() as u64 + 1,
                    bytes: pending.sum::<u64>() + 5,
                };
                prop_assert_eq!(budget.with_line(5), expected);
            }
        }
    }
}
