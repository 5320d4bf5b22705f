//! How much each event token holds, so that a token that logs without end leaves room for the others.
//!
//! A token may hold a multiple of what is still free. A token that logs alone gets its whole share. If
//! several tokens log much, each gets less, and some room is always free for the others.
//!
//! Callers count only when there is little room: from then on they count what they push. The worker
//! always counts what it holds, in memory that only it writes. There are two tables of counts, indexed
//! by hashes of the token, and the smaller count is used. So two tokens are mixed up only if they
//! collide in both tables, once in a million pairs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::budget::{Standing, UNSEEN, bytes, lines, word};
use super::{Limits, Overflow};
use crate::line::Fingerprint;

/// What tokens hold.
#[derive(Debug)]
pub(crate) struct Shares {
    /// How many times what is free a token may hold. `None`: as much as there is.
    times_free: Option<f64>,
    /// In the worker. It alone writes here.
    held: Table,
    /// In the channel, of what was pushed while room was tight.
    queued: Table,
}

/// Lines and bytes, each in a [`word`].
#[derive(Debug)]
struct Table([Box<[AtomicU64]>; ROWS]);

/// Lines and bytes of one token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

const ROWS: usize = 2;
const PLACES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 10;

/// Up to these limits there are no shares: too little is left of them for others.
const LEAST_LINES: u64 = 2 * UNSEEN.lines;
const LEAST_BYTES: u64 = 2 * UNSEEN.bytes;

/// When there is little room, a token may queue 1/`PART_OF_FREE` of the free room. The rest is for tokens
/// that come later, because lines that were queued before were not counted.
const PART_OF_FREE: u64 = 3;

/// A token that uses at least 1/`LOUD_PART` of the limits logs much. There can be at most `LOUD_PART` of
/// them, and other tokens lose nothing.
const LOUD_PART: u64 = 16;

impl Shares {
    /// A token that is alone may hold this share of each limit.
    pub(super) fn new(share: f64) -> Self {
        let times_free = (share < 1.0).then(|| share / (1.0 - share));
        Shares { times_free, held: Table::new(), queued: Table::new() }
    }

    /// The worker holds a line of this token.
    pub(crate) fn hold(&self, token: Fingerprint, lines: u64, bytes: u64) {
        if self.times_free.is_some() {
            self.held.add_alone(token, word(lines, bytes));
        }
    }

    /// The worker has settled this much of what it held.
    pub(crate) fn settle(&self, token: Fingerprint, lines: u64, bytes: u64) {
        if self.times_free.is_some() {
            self.held.add_alone(token, word(lines, bytes).wrapping_neg());
        }
    }

    /// A line was pushed while room was tight.
    pub(super) fn push(&self, token: Fingerprint, bytes: u64) {
        self.queued.add(token, word(1, bytes));
    }

    /// It was taken, or could not be pushed after all.
    pub(super) fn take(&self, token: Fingerprint, bytes: u64) {
        self.queued.add(token, word(1, bytes).wrapping_neg());
    }

    /// What the worker holds of this token.
    pub(crate) fn held(&self, token: Fingerprint) -> Load {
        self.held.read(token)
    }

    /// Whether so much may be pending or queued before anybody can hold more than a share of it.
    pub(super) fn are_open(&self, limits: &Limits, standing: Standing) -> bool {
        let Some(times) = self.times_free else { return true };
        let open = |limit: u64, used: u64, least: u64| {
            limit <= least || used as f64 <= limit as f64 * (times / (1.0 + times))
        };
        let budget = limits.overflow != Overflow::DropOldest;
        open(limits.queue as u64, standing.queued, LEAST_LINES)
            && (!budget || open(limits.lines as u64, standing.lines, LEAST_LINES))
            && (!budget || open(limits.bytes as u64, standing.bytes, LEAST_BYTES))
    }

    /// Whether this token leaves room for others with one line more. For when room is tight.
    pub(super) fn admit(&self, limits: &Limits, standing: Standing, token: Fingerprint) -> bool {
        if self.times_free.is_none() {
            return true;
        }
        let (held, queued) = (self.held.read(token), self.queued.read(token));
        let leaves = |limit: usize, used: u64, least: u64, held: u64, queued: u64| {
            let free = (limit as u64).saturating_sub(used);
            limit as u64 <= least || queued <= free / PART_OF_FREE && self.fits(held + queued, free)
        };
        let budget = limits.overflow != Overflow::DropOldest;
        leaves(limits.queue, standing.queued, LEAST_LINES, 0, queued.lines)
            && (!budget
                || leaves(limits.lines, standing.lines, LEAST_LINES, held.lines, queued.lines)
                    && leaves(limits.bytes, standing.bytes, LEAST_BYTES, held.bytes, queued.bytes))
    }

    /// Whether a token leaves room for others in what the worker may hold, where so much is pending.
    pub(crate) fn leaves_room(&self, limits: &Limits, pending: Load, token: Fingerprint) -> bool {
        let held = self.held(token);
        let leaves = |limit: usize, used: u64, least: u64, held: u64| {
            limit as u64 <= least || self.fits(held, (limit as u64).saturating_sub(used))
        };
        leaves(limits.lines, pending.lines, LEAST_LINES, held.lines)
            && leaves(limits.bytes, pending.bytes, LEAST_BYTES, held.bytes)
    }

    /// Whether a token holds so much that its own lines are to make room for more of them, where the
    /// oldest lines make room.
    pub(crate) fn is_loud(&self, limits: &Limits, token: Fingerprint) -> bool {
        let held = self.held(token);
        let much = |limit: usize, least: u64, held: u64| {
            limit as u64 > least && held >= limit as u64 / LOUD_PART
        };
        self.times_free.is_some()
            && (much(limits.lines, LEAST_LINES, held.lines)
                || much(limits.bytes, LEAST_BYTES, held.bytes))
    }

    fn fits(&self, own: u64, free: u64) -> bool {
        self.times_free.is_none_or(|times| own as f64 <= times * free as f64)
    }
}

impl Table {
    fn new() -> Self {
        Table(std::array::from_fn(|_| (0..PLACES).map(|_| AtomicU64::new(0)).collect()))
    }

    fn of(&self, token: Fingerprint) -> [&AtomicU64; ROWS] {
        let places = places(token);
        std::array::from_fn(|row| &self.0[row][places[row]])
    }

    fn add(&self, token: Fingerprint, more: u64) {
        for count in self.of(token) {
            count.fetch_add(more, Relaxed);
        }
    }

    /// As [`add`](Self::add), where nobody else writes.
    fn add_alone(&self, token: Fingerprint, more: u64) {
        for count in self.of(token) {
            count.store(count.load(Relaxed).wrapping_add(more), Relaxed);
        }
    }

    fn read(&self, token: Fingerprint) -> Load {
        let [one, other] = self.of(token).map(|count| count.load(Relaxed));
        Load { lines: lines(one).min(lines(other)), bytes: bytes(one).min(bytes(other)) }
    }
}

/// A place in each row.
fn places(token: Fingerprint) -> [usize; ROWS] {
    std::array::from_fn(|row| (token.0 >> (row as u32 * PLACE_BITS)) as usize % PLACES)
}

#[cfg(test)]
impl Shares {
    /// What the channel holds of this token, as far as it is counted.
    pub(super) fn queued(&self, token: Fingerprint) -> Load {
        self.queued.read(token)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::line::EventToken;

    fn token(n: u32) -> Fingerprint {
        let text = format!("5c1dc1c3f0{n:04}.78875596|A1|{n}.abcdef0123456789abcdef0123456789");
        EventToken::parse(&text).unwrap().fingerprint()
    }

    const LIMITS: Limits = Limits {
        queue: 10_000,
        lines: 100_000,
        bytes: 10_000_000,
        overflow: Overflow::DropNewest,
        token_share: 0.75,
    };

    #[test]
    fn held_lines_are_counted_for_each_token() {
        let shares = Shares::new(0.75);
        for n in 0..100 {
            shares.hold(token(n), 1, u64::from(n));
            shares.hold(token(n), 1, 100);
            shares.settle(token(n), 1, 100);
        }
        for n in 0..100 {
            assert_eq!(shares.held(token(n)), Load { lines: 1, bytes: n.into() });
            shares.settle(token(n), 1, n.into());
            assert_eq!(shares.held(token(n)), Load::default());
        }
    }

    #[test]
    fn hash_collisions_in_both_rows_are_rare() {
        let places: HashSet<_> = (0..2_000).map(|n| super::places(token(n))).collect();
        assert!(places.len() >= 1_990, "{}", places.len());
        let row: HashSet<_> = places.iter().map(|places| places[0]).collect();
        assert!(row.len() > PLACES * 3 / 4, "all places are used: {}", row.len());
    }

    /// However many tokens log much, some room is free for a token that logs little.
    #[test]
    fn tokens_that_log_much_leave_room_for_others() {
        for loud in [1, 2, 10, 100] {
            let shares = Shares::new(0.75);
            let mut held = 0;
            let standing = |held| Standing { queued: 0, lines: held, bytes: held * 100 };
            // Each takes what it is given, in turn.
            loop {
                let before = held;
                for n in 0..loud {
                    if shares.admit(&LIMITS, standing(held), token(n)) {
                        shares.hold(token(n), 1, 100);
                        held += 1;
                    }
                }
                if held == before {
                    break;
                }
            }
            let free = 100_000 - held;
            let expected = 100_000.0 / (1.0 + 3.0 * f64::from(loud));
            assert!((free as f64 - expected).abs() < 10.0, "{free} are free beside {loud}");
            assert!(shares.admit(&LIMITS, standing(held), token(1_000)));
        }
    }

    #[test]
    fn lines_that_are_queued_while_there_is_little_room_leave_room_for_others() {
        let shares = Shares::new(0.75);
        let mut queued = 7_500;
        while shares.admit(&LIMITS, Standing { queued, ..Standing::default() }, token(0)) {
            shares.push(token(0), 100);
            queued += 1;
        }
        assert!((8_000..8_200).contains(&queued), "{queued}");
        shares.take(token(0), 100);
        assert!(shares.admit(&LIMITS, Standing { queued, ..Standing::default() }, token(1)));
    }

    #[test]
    fn a_share_of_all_and_small_limits_mean_no_shares() {
        let spent = Standing { queued: 9_999, lines: 99_999, bytes: 9_999_999 };
        let shares = Shares::new(1.0);
        shares.hold(token(0), 99_000, 0);
        assert!(shares.admit(&LIMITS, spent, token(0)) && shares.are_open(&LIMITS, spent));
        let small = Limits { queue: 10, lines: 10, bytes: 10_000, ..LIMITS };
        let shares = Shares::new(0.75);
        shares.hold(token(0), 10, 10_000);
        let spent = Standing { queued: 10, lines: 10, bytes: 10_000 };
        assert!(shares.admit(&small, spent, token(0)) && shares.are_open(&small, spent));
    }
}
