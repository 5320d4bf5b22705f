//! Moments, as numbers that any thread may read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What moments are counted from: the first of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Start(Arc<OnceLock<Instant>>);

/// A moment, or none. In milliseconds from the start, and one: zero is none.
#[derive(Debug, Default)]
pub(super) struct Mark(AtomicU64);

impl Mark {
    pub(super) fn set(&self, at: Option<Instant>, start: &Start) {
        let mark = at.map_or(0, |at| {
            let since = at.saturating_duration_since(*start.0.get_or_init(|| at));
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX - 1) + 1
        });
        if self.0.load(Relaxed) != mark {
            self.0.store(mark, Relaxed);
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    /// How long ago it was.
    pub(super) fn ago(&self, now: Instant, start: &Start) -> Option<Duration> {
        let since = Duration::from_millis(self.0.load(Relaxed).checked_sub(1)?);
        Some(now.saturating_duration_since(*start.0.get()?).saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_as_long_ago_as_it_was() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to start from")]
        let now = Instant::now();
        let (start, mark) = (Start::default(), Mark::default());
        assert_eq!((mark.is_set(), mark.ago(now, &start)), (false, None));
        mark.set(Some(now), &start);
        assert_eq!(mark.ago(now + Duration::from_secs(5), &start), Some(Duration::from_secs(5)));
        mark.set(Some(now + Duration::from_secs(3)), &start);
        assert_eq!(mark.ago(now + Duration::from_secs(5), &start), Some(Duration::from_secs(2)));
        assert_eq!(mark.ago(now, &start), Some(Duration::ZERO), "clocks of threads may be apart");
        mark.set(None, &start);
        assert_eq!(mark.ago(now, &start), None);
    }
}
