//! What a command costs the portal, in seconds from request to reply, so that requests stay well within
//! the time that the portal allows.

use std::time::Duration;

use crate::protocol::reply::Outcome;

/// Moving averages, apart for entries and ends: on some servers the workflow runs on inside of the
/// request that ends its activity (server behaviour).
#[derive(Debug, Default)]
pub(super) struct Costs {
    entry: Option<f64>,
    end: Option<f64>,
}

impl Costs {
    /// A request came back after `took`, with these outcomes of its entries and its ends.
    pub(super) fn observe(&mut self, took: Duration, entries: &[Outcome], ends: &[Outcome]) {
        let took = took.as_secs_f64();
        if ends.is_empty() {
            learn(&mut self.entry, took / entries.len().max(1) as f64);
            return;
        }
        let told: Option<Vec<f64>> = ends.iter().map(duration).collect();
        let for_ends = match told {
            Some(told) => told.iter().sum(),
            // Not told: all that entries do not explain.
            None => (took - self.entry.unwrap_or(0.0) * entries.len() as f64).max(0.0),
        };
        let for_ends = if entries.is_empty() { took } else { for_ends.min(took) };
        learn(&mut self.end, for_ends / ends.len() as f64);
        if !entries.is_empty() {
            learn(&mut self.entry, (took - for_ends) / entries.len() as f64);
        }
    }

    /// How many commands fit a request, of ends and of entries, the ends first.
    pub(super) fn entry(&self) -> f64 {
        self.entry.unwrap_or(0.0)
    }

    pub(super) fn end(&self) -> f64 {
        self.end.unwrap_or(UNKNOWN_END)
    }
}

fn duration(outcome: &Outcome) -> Option<f64> {
    match outcome {
        Outcome::Done(time) => time.duration,
        _ => None,
    }
}

fn learn(average: &mut Option<f64>, cost: f64) {
    let before = average.unwrap_or(cost);
    *average = Some(before + (cost - before) * WEIGHT);
}

/// Weight of the newest reply.
const WEIGHT: f64 = 0.3;
/// What an end is taken to cost before one was seen: few go in the first request.
const UNKNOWN_END: f64 = 1.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::reply::ServerTime;

    fn done(duration: Option<f64>) -> Outcome {
        Outcome::Done(ServerTime { duration, ..ServerTime::default() })
    }

    #[test]
    fn costs_of_entries_and_ends_are_measured_separately() {
        let mut costs = Costs::default();
        let took = Duration::from_secs(3);
        costs.observe(took, &[done(Some(0.1)), done(Some(0.1))], &[done(Some(2.8))]);
        assert!((costs.entry() - 0.1).abs() < 1e-9 && (costs.end() - 2.8).abs() < 1e-9);
        costs.observe(Duration::from_secs(1), &[], &[done(None)]);
        assert!((costs.end() - 2.26).abs() < 1e-9, "{}", costs.end());
    }

    #[test]
    fn the_rest_of_the_time_is_the_cost_of_the_ends() {
        let mut costs = Costs::default();
        costs.observe(Duration::from_secs(1), &[done(None), done(None)], &[]);
        costs.observe(Duration::from_secs(4), &[done(None)], &[done(None)]);
        assert!((costs.entry() - 0.5).abs() < 1e-9);
        assert!((costs.end() - 3.5).abs() < 1e-9);
    }

    #[test]
    fn the_cost_of_an_end_is_assumed_high_until_one_was_measured() {
        assert_eq!((Costs::default().entry(), Costs::default().end()), (0.0, 1.0));
    }
}
