//! How often a workflow's log gets a new entry: the schedule.
//!
//! A cloud portal keeps the newest 50 entries of a workflow, shared with its own (server behaviour). So
//! that the whole story stays readable, the entry after `k` others goes no earlier than
//! `T(k) = base * (growth^k - 1) / (growth - 1)` after the first. The first lines appear at once, and a
//! workflow that logs for an hour still fits.

use std::time::Duration;

/// How many entries of a workflow its portal keeps. The schedule of new entries follows from it.
///
/// The entry after `k` others is sent no earlier than `T(k) = base * (growth^k - 1) / (growth - 1)` after
/// the first. With the default base of 1 s and growth of 1.3, the 5th entry is sent after 6 s, the 10th
/// after 32 s, the 20th after 8 minutes, unless `max_hold` is reached earlier.
///
/// Flushes, full entries, and ends of activities do not wait for the schedule. Lines of a tagged span that
/// closes do not wait either, until the workflow has used half of the entries that the portal keeps.
///
/// ```
/// use tracing_bizproc::config::Retention;
///
/// assert_eq!(Retention::default(), Retention::Cloud);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Retention {
    /// The newest 50 entries are kept: entries follow the schedule. The default.
    #[default]
    Cloud,
    /// All entries are kept: every entry is sent after its `linger`.
    SelfHosted,
    /// Your own numbers.
    Custom {
        /// Entries that the portal keeps, at least 1.
        kept: u32,
        /// Earliest distance between the first two entries, above zero and at most a year.
        base: Duration,
        /// Factor from each distance to the next, at least 1 and at most 10.
        growth: f64,
    },
}

impl Retention {
    /// Whether the numbers are valid.
    pub(crate) fn is_valid(self) -> bool {
        match self {
            Retention::Custom { kept, base, growth } => {
                kept >= 1 && !base.is_zero() && base <= YEAR && (1.0..=10.0).contains(&growth)
            }
            _ => true,
        }
    }
}

/// `T(k)`, computed once.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// `after[k]`: the time from the first entry to the entry after `k` others.
    after: Vec<Duration>,
    /// From each entry to the next beyond these.
    step: Duration,
    /// Entries of a workflow that the portal keeps.
    pub(crate) kept: Option<usize>,
}

impl Schedule {
    pub(crate) fn new(retention: Retention) -> Self {
        let (kept, base, growth) = match retention {
            Retention::SelfHosted => return Schedule::none(),
            Retention::Cloud => (CLOUD_KEEPS, CLOUD_BASE, CLOUD_GROWTH),
            Retention::Custom { kept, base, growth } => (kept, base, growth),
        };
        let mut after = Vec::new();
        let (mut at, mut step) = (0.0, base.as_secs_f64());
        while at < LONGEST && after.len() < STEPS {
            after.push(Duration::from_secs_f64(at));
            at += step;
            step *= growth;
        }
        let step = Duration::from_secs_f64(step.min(LONGEST));
        Schedule { after, step, kept: Some(kept as usize) }
    }

    /// Every entry may go at once.
    fn none() -> Self {
        Schedule { after: vec![Duration::ZERO], step: Duration::ZERO, kept: None }
    }

    /// How long after the first entry the next one may go, if so many were sent.
    pub(crate) fn after(&self, entries: u32) -> Duration {
        let last = self.after.len() - 1;
        let beyond = u32::try_from((entries as usize).saturating_sub(last)).unwrap_or(u32::MAX);
        self.after[(entries as usize).min(last)] + self.step.saturating_mul(beyond).min(YEAR)
    }
}

/// Entries of a workflow that a cloud portal keeps (server behaviour).
const CLOUD_KEEPS: u32 = 50;
const CLOUD_BASE: Duration = Duration::from_secs(1);
const CLOUD_GROWTH: f64 = 1.3;
/// No schedule is computed past a year, in seconds.
const LONGEST: f64 = 365.0 * 86_400.0;
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// Nor past this many entries (a growth of 1 or nearly).
const STEPS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_the_documented_sum() {
        let schedule = Schedule::new(Retention::Cloud);
        for k in 0..40_u32 {
            let sum = (1.3_f64.powi(k as i32) - 1.0) / 0.3;
            let stated = schedule.after(k).as_secs_f64();
            assert!((stated - sum).abs() < 1e-6 * sum.max(1.0), "T({k}) = {stated}, not {sum}");
        }
    }

    #[test]
    fn a_growth_of_one_is_an_even_pace() {
        let base = Duration::from_secs(10);
        let schedule = Schedule::new(Retention::Custom { kept: 5, base, growth: 1.0 });
        assert_eq!(schedule.after(7), Duration::from_secs(70));
    }
}
