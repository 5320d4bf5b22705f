//! The model's limits: the rate of an address, and the operating time of a method.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Conditions, Lift};

#[derive(Debug, Default)]
pub(super) struct Bucket {
    level: f64,
    at: Duration,
}

impl Bucket {
    pub(super) fn takes(&mut self, conditions: &Conditions, now: Duration) -> bool {
        if conditions.rate.is_infinite() {
            return true;
        }
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        let net = conditions.neighbour - conditions.rate;
        self.level = (self.level + passed * net).clamp(0.0, conditions.burst);
        if self.level + 1.0 > conditions.burst {
            return false;
        }
        self.level += 1.0;
        true
    }
}

#[derive(Debug, Default)]
pub(super) struct Window {
    /// The minute's number, when it was first used, and its seconds.
    buckets: VecDeque<(u64, Duration, f64)>,
    banned_until: Option<Duration>,
}

impl Window {
    pub(super) fn admits(&mut self, conditions: &Conditions, at: Duration) -> bool {
        let Some(limit) = conditions.operating_limit else { return true };
        if let Some(until) = self.banned_until {
            if at < until {
                return false;
            }
            self.banned_until = None;
            self.buckets.clear();
        }
        while self.buckets.front().is_some_and(|(_, first, _)| *first + TEN_MINUTES <= at) {
            self.buckets.pop_front();
        }
        if self.total(at) <= limit {
            return true;
        }
        self.banned_until = match conditions.lift {
            Lift::Expiry => None,
            Lift::TenMinutes => Some(at + TEN_MINUTES),
            Lift::FiveMinutes => Some(at + TEN_MINUTES / 2),
        };
        false
    }

    /// Counts a hit's sum, if it is over a tenth of a second.
    pub(super) fn store(&mut self, seconds: f64, at: Duration) {
        if seconds <= 0.1 {
            return;
        }
        let minute = at.as_secs() / 60;
        match self.buckets.back_mut() {
            Some((last, _, sum)) if *last == minute => *sum += seconds,
            _ => self.buckets.push_back((minute, at, seconds)),
        }
    }

    pub(super) fn total(&self, at: Duration) -> f64 {
        let counts = self.buckets.iter().filter(|(_, first, _)| *first + TEN_MINUTES > at);
        counts.map(|(_, _, seconds)| seconds).sum()
    }

    pub(super) fn resets_at(&self, at: Duration) -> Duration {
        let first = self.buckets.iter().map(|(_, first, _)| *first + TEN_MINUTES).find(|r| *r > at);
        first.unwrap_or(at + TEN_MINUTES)
    }
}

const TEN_MINUTES: Duration = Duration::from_secs(600);
