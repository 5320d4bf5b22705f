//! How long to wait before the next try, and how many tries there are. Depends only on numbers.

use std::time::Duration;

/// How long delivery is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RetryPolicy {
    /// Lines older than this are given up.
    pub(crate) max_age: Duration,
    /// What to do when a request may have been executed.
    pub(crate) on_unknown: UnknownOutcome,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy { max_age: MAX_AGE, on_unknown: UnknownOutcome::default() }
    }
}

/// What to do with an entry when it is not known whether the portal wrote it.
///
/// `bizproc.activity.log` does not recognize a repeat, so either the log may have the entry twice, or the
/// entry may be missing.
///
/// ```
/// # fn main() -> Result<(), tracing_bizproc::error::InvalidOption> {
/// use tracing_bizproc::config::UnknownOutcome;
///
/// assert_eq!("give-up".parse::<UnknownOutcome>()?, UnknownOutcome::GiveUp);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownOutcome {
    /// Send the entry again, marked as a possible repeat. The default.
    #[default]
    Repeat,
    /// Do not send it again, and count its lines as
    /// [`DropReason::OutcomeUnknown`](crate::stats::DropReason::OutcomeUnknown).
    GiveUp,
}

/// Exponential backoff with full jitter above a floor that is never zero.
#[derive(Debug)]
pub(crate) struct Backoff {
    seed: u64,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Backoff { seed }
    }

    /// The wait before try number `attempt` (0: the first repeat).
    pub(crate) fn wait(&mut self, attempt: u32) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
        LEAST + (ceiling - LEAST).mul_f64(self.unit())
    }

    /// A number in 0..1 (SplitMix64: small, and the same for the same seed).
    fn unit(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Default age at which a line is given up.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(3_600);
/// Tries of an entry that makes the portal fail when it is sent alone, while others succeed. Only if this goes on
/// for [`FAILS_FOR`], because a portal that often fails for some seconds may fail with one entry five times.
pub(crate) const TRIES_ALONE: u32 = 5;
/// For how long an entry has to fail at least before it is given up by [`TRIES_ALONE`].
pub(crate) const FAILS_FOR: Duration = Duration::from_secs(60);
/// Tries of a command whose workflow is locked by another request.
pub(crate) const TRIES_LOCKED: u32 = 12;
/// A workflow is saved at the end of the request that starts it, so "404" may mean "not yet" (server
/// behaviour). How long an entry of a token that never worked is repeated.
pub(crate) const EARLY: Duration = Duration::from_secs(30);
/// How often a blocked lane tries again.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long lines wait for the credentials of an unknown portal.
pub(crate) const UNKNOWN_KEPT: Duration = Duration::from_secs(600);

const LEAST: Duration = Duration::from_millis(200);
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_minute_and_are_never_zero() {
        let mut backoff = Backoff::new(7);
        for attempt in 0..200 {
            let ceiling = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
            for _ in 0..50 {
                let wait = backoff.wait(attempt);
                assert!(wait >= LEAST && wait <= ceiling, "{attempt}: {wait:?}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let waits = |seed: u64| (0..20).map(|n| Backoff::new(seed + n).wait(5)).collect::<Vec<_>>();
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(100));
    }
}
