//! When the portal's rate limit allows the next request: a model of its bucket. Time is an argument.

use std::time::{Duration, Instant};

/// How many requests a portal accepts from one IP address (REST API limits, "Leaky Bucket").
///
/// The portal counts every HTTP request in a bucket that leaks at a steady rate, and refuses requests
/// that would overflow it. All apps and webhooks behind one IP address share the bucket, so by default
/// this crate uses 90 % of the rate and 80 % of the bucket.
///
/// ```
/// use tracing_bizproc::config::Quota;
///
/// let half_of_the_address = Quota::Custom { per_second: 1.0, burst: 25 };
/// # assert_ne!(half_of_the_address, Quota::Standard);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Quota {
    /// Every tariff but Enterprise: 2 requests per second, bursts of 50. The default.
    #[default]
    Standard,
    /// The Enterprise tariff: 5 requests per second, bursts of 250.
    Enterprise,
    /// Your own limit. It is used completely.
    Custom {
        /// Requests per second, above zero.
        per_second: f64,
        /// Requests that may be sent at once, at least 1.
        burst: u32,
    },
    /// No limit of requests: self-hosted portals have none by default.
    Unlimited,
}

impl Quota {
    /// Whether the numbers are valid.
    pub(crate) fn is_valid(self) -> bool {
        match self {
            Quota::Custom { per_second, burst } => {
                per_second.is_finite() && per_second >= 0.001 && burst >= 1
            }
            _ => true,
        }
    }

    /// Requests per second and burst that are used.
    fn allowed(self) -> Option<(f64, f64)> {
        match self {
            Quota::Standard => Some((2.0 * RATE_SHARE, 50.0 * BURST_SHARE)),
            Quota::Enterprise => Some((5.0 * RATE_SHARE, 250.0 * BURST_SHARE)),
            Quota::Custom { per_second, burst } => Some((per_second, f64::from(burst))),
            Quota::Unlimited => None,
        }
    }
}

/// The model of the portal's bucket: requests that were sent, minus those that have leaked.
#[derive(Debug)]
pub(crate) struct LeakyBucket {
    /// `None`: unlimited.
    allowed: Option<(f64, f64)>,
    level: f64,
    at: Instant,
    /// When a request was sent, by this process or by another one.
    used_at: Option<Instant>,
    /// The part of the rate that is used: each refusal halves it, success restores it, because other programs
    /// may use the same bucket.
    share: f64,
}

impl LeakyBucket {
    pub(crate) fn new(quota: Quota, now: Instant) -> Self {
        LeakyBucket { allowed: quota.allowed(), level: 0.0, at: now, used_at: None, share: 1.0 }
    }

    /// When the next request may be sent.
    pub(crate) fn ready_at(&self, now: Instant) -> Instant {
        let Some((rate, burst)) = self.allowed else { return now };
        let over = self.level_at(now, rate) + 1.0 - burst;
        if over <= 0.0 { now } else { now + Duration::from_secs_f64(over / (rate * self.share)) }
    }

    /// When the last request was sent, by this process or by an earlier one.
    pub(crate) fn used_at(&self) -> Option<Instant> {
        self.used_at
    }

    pub(crate) fn sent(&mut self, now: Instant) {
        self.used_at = Some(now);
        if let Some((rate, _)) = self.allowed {
            self.level = self.level_at(now, rate) + 1.0;
            self.at = now;
        }
    }

    /// Another process has sent requests until this time, nobody knows how many.
    pub(crate) fn was_used(&mut self, until: Instant) {
        self.used_at = Some(until);
        if let Some((_, burst)) = self.allowed {
            (self.level, self.at) = (burst, until);
        }
    }

    /// A request that was counted has not left.
    pub(crate) fn not_sent(&mut self) {
        self.level = (self.level - 1.0).max(0.0);
    }

    /// The portal refused a request for its rate, so the bucket is full.
    pub(crate) fn refused(&mut self, now: Instant) {
        if let Some((_, burst)) = self.allowed {
            self.level = burst;
            self.at = now;
            self.share = (self.share / 2.0).max(LEAST_SHARE);
        }
    }

    pub(crate) fn succeeded(&mut self) {
        self.share = (self.share + SHARE_REGAINED).min(1.0);
    }

    fn level_at(&self, now: Instant, rate: f64) -> f64 {
        let leaked = now.saturating_duration_since(self.at).as_secs_f64() * rate * self.share;
        (self.level - leaked).max(0.0)
    }
}

/// The part of the documented rate that we use by default.
const RATE_SHARE: f64 = 0.9;
/// The part of the documented burst that we use by default.
const BURST_SHARE: f64 = 0.8;
/// The smallest part of the rate after refusals.
const LEAST_SHARE: f64 = 1.0 / 16.0;
/// How much each success restores.
const SHARE_REGAINED: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_about(waited: Duration, seconds: f64) -> bool {
        (waited.as_secs_f64() - seconds).abs() < 1e-6
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut now = start;
        let mut bucket = LeakyBucket::new(Quota::Custom { per_second: 2.0, burst: 3 }, start);
        for _ in 0..3 {
            assert_eq!(bucket.ready_at(now), now);
            bucket.sent(now);
        }
        for _ in 0..4 {
            let ready = bucket.ready_at(now);
            assert!(is_about(ready - now, 0.5), "one every half second");
            now = ready;
            bucket.sent(now);
        }
        assert!(is_about(now - start, 2.0));
    }

    #[test]
    fn the_default_stays_below_the_portals_own_bucket() {
        let start = Instant::now();
        let mut now = start;
        let mut ours = LeakyBucket::new(Quota::Standard, start);
        let mut portal = 0.0_f64;
        let mut last = start;
        for _ in 0..5_000 {
            now = ours.ready_at(now);
            ours.sent(now);
            portal = (portal - (now - last).as_secs_f64() * 2.0).max(0.0) + 1.0;
            last = now;
            assert!(portal <= 50.0);
        }
    }

    #[test]
    fn a_refusal_halves_the_rate_and_success_restores_it_slowly() {
        let now = Instant::now();
        let mut bucket = LeakyBucket::new(Quota::Standard, now);
        bucket.refused(now);
        assert_eq!(bucket.share, 0.5);
        assert!(bucket.ready_at(now) > now);
        bucket.succeeded();
        assert!(bucket.share < 0.6);
        for _ in 0..40 {
            bucket.succeeded();
        }
        assert_eq!(bucket.share, 1.0);
    }

    #[test]
    fn an_unlimited_quota_never_waits() {
        let now = Instant::now();
        let mut bucket = LeakyBucket::new(Quota::Unlimited, now);
        for _ in 0..1_000 {
            bucket.sent(now);
        }
        bucket.refused(now);
        assert_eq!(bucket.ready_at(now), now);
    }
}
