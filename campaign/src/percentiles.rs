//! Percentiles of times.

use std::fmt;
use std::time::Duration;

/// The value below which this number of a thousand values are. The values have to be sorted.
pub fn percentile(sorted: &[Duration], of_thousand: usize) -> Duration {
    let place = (sorted.len() * of_thousand).div_ceil(1000).max(1) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

/// Shows the number of sorted values and their percentiles.
#[derive(Clone, Copy, Debug)]
pub struct Percentiles<'a>(pub &'a [Duration]);

impl fmt::Display for Percentiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, worst) = (self.0.len(), self.0.last().copied().unwrap_or_default());
        let (p50, p99) = (percentile(self.0, 500), percentile(self.0, 990));
        write!(f, "{count}, p50={p50:.2?} p99={p99:.2?} worst={worst:.2?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 500), Duration::from_millis(100));
        assert_eq!(percentile(&times, 990), Duration::from_millis(198));
        assert_eq!(percentile(&times[..1], 990), Duration::from_millis(1));
        assert_eq!(percentile(&[], 500), Duration::ZERO);
    }
}
