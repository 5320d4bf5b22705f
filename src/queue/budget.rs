//! The charges of callers, and the releases of the worker.
//!
//! Both are totals that only grow, so that neither side waits for the other. What is pending is their
//! difference. (One exception: if lines are longer as text, the worker subtracts that from what it has
//! released.) Each thread adds to one of several stripes, so that threads seldom share a cache line. The
//! sum is computed now and then, and for each line if there is little room. (One total for all threads
//! cost an eighth of an event with two threads.)

use std::cell::Cell;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

/// Pending lines and their bytes, and messages in the channel.
#[derive(Default)]
pub(super) struct Budget {
    charged: [Stripe; STRIPES],
    closes: Closes,
    worker: Settled,
}

/// Lines and bytes accepted so far by the threads of this stripe, as a [`word`]: one addition for both.
#[derive(Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

/// Messages sent that a span has closed.
#[derive(Default)]
#[repr(align(128))]
struct Closes(AtomicU64);

#[derive(Default)]
#[repr(align(128))]
struct Settled {
    taken_lines: AtomicU64,
    taken_closes: AtomicU64,
    released_lines: AtomicU64,
    released_bytes: AtomicU64,
}

/// The current state. May be a little too high, never too low.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Messages in the channel.
    pub(super) queued: u64,
    /// Pending lines: accepted and not yet settled.
    pub(super) lines: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl Add for Standing {
    type Output = Standing;

    fn add(self, more: Standing) -> Standing {
        Standing {
            queued: self.queued + more.queued,
            lines: self.lines + more.lines,
            bytes: self.bytes + more.bytes,
        }
    }
}

/// Bits of a [`word`] that count lines; the others count bytes.
const LINE_BITS: u32 = 28;
const LINES: u64 = (1 << LINE_BITS) - 1;

/// Most lines that may be pending: a quarter of what a word can tell apart.
pub(crate) const MOST_LINES: usize = 1 << (LINE_BITS - 2);
/// Most bytes that may be pending: a quarter of what a word can tell apart.
pub(crate) const MOST_BYTES: u64 = 1 << (62 - LINE_BITS);

/// Lines and bytes in one number. It wraps, and lines carry into bytes, but the difference of two words is
/// correct as long as the pending lines and bytes fit.
#[inline]
pub(super) fn word(lines: u64, bytes: u64) -> u64 {
    lines.wrapping_add(bytes << LINE_BITS)
}

/// The lines of a difference of two words. It has no sign: a value below zero is in the upper half, where no
/// other value can be, and is read as zero. So a line that is released twice does not refuse all later lines.
pub(super) fn lines(difference: u64) -> u64 {
    let lines = difference & LINES;
    if lines > LINES / 2 { 0 } else { lines }
}

/// The bytes of a difference of two words, as [`lines`].
pub(super) fn bytes(difference: u64) -> u64 {
    let bytes = difference >> LINE_BITS;
    if bytes > u64::MAX >> (LINE_BITS + 1) { 0 } else { bytes }
}

const STRIPES: usize = 8;

/// One of this number of lines on a stripe checks the sum, which takes about 150 ns with two threads.
const LOOK_EVERY: u64 = 32;

/// A larger line always checks the sum.
const MOST_UNSEEN_BYTES: u64 = 256;

/// How much may be charged between two checks, twice, because a check takes time. More only if many threads
/// are suspended in the middle of a check.
pub(super) const UNSEEN: Standing = {
    let lines = 2 * STRIPES as u64 * LOOK_EVERY;
    Standing { queued: lines, lines, bytes: lines * MOST_UNSEEN_BYTES }
};

/// The calling thread's stripe.
#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static STRIPE: Cell<usize> = const { Cell::new(STRIPES) });
    // At the end of a thread there may be no stripe any more. Then any stripe is used.
    let mut stripe = STRIPE.try_with(Cell::get).unwrap_or(0);
    if stripe == STRIPES {
        stripe = NEXT.fetch_add(1, Relaxed) % STRIPES;
        let _ = STRIPE.try_with(|own| own.set(stripe));
    }
    stripe
}

impl Budget {
    /// Charges a line. Returns whether this line has to check the sum.
    #[inline]
    pub(super) fn charge(&self, bytes: u64) -> bool {
        let before = self.charged[stripe()].0.fetch_add(word(1, bytes), SeqCst);
        before % LOOK_EVERY == 0 || bytes > MOST_UNSEEN_BYTES
    }

    /// Subtracts a charge.
    pub(super) fn revert(&self, bytes: u64) {
        self.charged[stripe()].0.fetch_sub(word(1, bytes), SeqCst);
    }

    /// The current state, with what the calling thread has charged.
    pub(super) fn standing(&self) -> Standing {
        self.standing_with(0)
    }

    /// The state with one more line.
    pub(super) fn with_line(&self, bytes: u64) -> Standing {
        self.standing_with(word(1, bytes))
    }

    fn charged(&self) -> u64 {
        self.charged.iter().fold(0, |sum, stripe| sum.wrapping_add(stripe.0.load(SeqCst)))
    }

    /// Counts a message that a span has closed. Returns how many messages are in the channel.
    pub(super) fn add_close(&self) -> u64 {
        self.closes.0.fetch_add(1, SeqCst);
        self.standing().queued
    }

    pub(super) fn revert_close(&self) {
        self.closes.0.fetch_sub(1, SeqCst);
    }

    pub(super) fn pending_lines(&self) -> u64 {
        let released = self.worker.released_lines.load(SeqCst);
        lines(self.charged().wrapping_sub(released))
    }

    pub(super) fn accepted_lines(&self) -> u64 {
        let released = self.worker.released_lines.load(SeqCst);
        // Below zero where lines were read from a journal that this run has not charged.
        released.wrapping_add(lines(self.charged().wrapping_sub(released)))
    }

    /// Whether all that is charged was taken.
    pub(super) fn all_taken(&self) -> bool {
        let taken = self.worker.taken_lines.load(SeqCst);
        lines(self.charged().wrapping_sub(taken)) == 0
    }

    /// The worker has taken these out of the channel.
    pub(super) fn took(&self, lines: u64, closes: u64) {
        grow(&self.worker.taken_lines, lines);
        grow(&self.worker.taken_closes, closes);
    }

    /// The worker has settled these lines.
    pub(super) fn release(&self, lines: u64, bytes: u64) {
        grow(&self.worker.released_lines, lines);
        grow(&self.worker.released_bytes, bytes);
    }

    /// The worker holds these lines again, or lines that were never charged.
    pub(super) fn take_back(&self, lines: u64, bytes: u64) {
        grow(&self.worker.released_lines, lines.wrapping_neg());
        self.hold(bytes);
    }

    /// The worker uses more bytes than were charged. They are subtracted from the settled bytes.
    pub(super) fn hold(&self, bytes: u64) {
        grow(&self.worker.released_bytes, bytes.wrapping_neg());
    }

    fn standing_with(&self, more: u64) -> Standing {
        // The worker's totals first, so that they are never larger than the callers'.
        let taken_lines = self.worker.taken_lines.load(SeqCst);
        let taken_closes = self.worker.taken_closes.load(SeqCst);
        let released_lines = self.worker.released_lines.load(SeqCst);
        let released = word(released_lines, self.worker.released_bytes.load(SeqCst));
        let charged = self.charged().wrapping_add(more);
        let closes = self.closes.0.load(SeqCst).saturating_sub(taken_closes);
        Standing {
            queued: lines(charged.wrapping_sub(taken_lines)) + closes,
            lines: lines(charged.wrapping_sub(released_lines)),
            bytes: bytes(charged.wrapping_sub(released)),
        }
    }
}

/// The worker is the only writer, so a load and a store are enough.
fn grow(total: &AtomicU64, by: u64) {
    total.store(total.load(Relaxed).wrapping_add(by), SeqCst);
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    impl Budget {
        /// As if so much had been charged, taken and settled.
        fn after(lines: u64, bytes: u64) -> Budget {
            let budget = Budget::default();
            budget.charged[3].0.store(word(lines, bytes), SeqCst);
            budget.took(lines, 0);
            budget.release(lines, bytes);
            budget
        }
    }

    #[test]
    fn differences_of_totals_are_correct_after_wrapping() {
        // Just before the lines' bits, and the word itself, overflow.
        let (lines, bytes) = (u64::from(u32::MAX) << 4, u64::MAX - 5);
        let budget = Budget::after(lines, bytes);
        assert_eq!(budget.pending_lines(), 0);
        for n in 1..=40 {
            budget.charge(100);
            assert_eq!(budget.standing(), Standing { queued: n, lines: n, bytes: 100 * n });
        }
        budget.took(40, 0);
        budget.release(30, 3_000);
        assert!(budget.all_taken());
        assert_eq!((budget.pending_lines(), budget.accepted_lines()), (10, lines + 40));
        assert_eq!(budget.with_line(7), Standing { queued: 1, lines: 11, bytes: 1_007 });
    }

    #[test]
    fn releasing_a_line_twice_does_not_refuse_all_lines() {
        let budget = Budget::default();
        budget.charge(10);
        budget.took(1, 0);
        budget.release(2, 20);
        assert_eq!(budget.pending_lines(), 0);
        budget.charge(10);
        let standing = budget.standing();
        assert_eq!((standing.queued, standing.lines), (1, 0));
        assert!(standing.bytes < 20);
    }

    #[test]
    fn additional_bytes_of_the_worker_are_pending_until_they_are_released() {
        let budget = Budget::default();
        budget.charge(100);
        budget.took(1, 0);
        budget.hold(900);
        assert_eq!(budget.standing(), Standing { queued: 0, lines: 1, bytes: 1_000 });
        budget.release(1, 1_000);
        assert_eq!(budget.standing(), Standing::default());
    }

    #[test]
    fn the_sum_of_the_stripes_is_checked_often_enough() {
        const THREADS: u64 = 3 * STRIPES as u64;
        const LINES: u64 = 1_000;
        let budget = Budget::default();
        let looks: u64 = thread::scope(|scope| {
            let charge = || (0..LINES).filter(|_| budget.charge(200)).count() as u64;
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(charge)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let lines = THREADS * LINES;
        assert_eq!(budget.standing(), Standing { queued: lines, lines, bytes: 200 * lines });
        assert!(lines < looks * LOOK_EVERY + UNSEEN.lines, "{looks} looks");
        assert!(budget.charge(MOST_UNSEEN_BYTES + 1), "a long line looks itself");
    }

    proptest! {
        /// Against counters that are kept apart.
        #[test]
        fn one_word_counts_as_two(
            start in any::<(u64, u64)>(),
            steps in prop::collection::vec((0..4_u8, 0..1_u64 << 28), 1..60),
        ) {
            let budget = Budget::after(start.0 >> 1, start.1);
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
