//! When the next request may go: the portal's rate limit and its operating limit, kept below.
//!
//! Two models of what the portal counts, each fed with what the portal says. Time is an argument.

use std::time::{Duration, Instant};

/// How many requests a portal takes from one source address (REST API limits, "Leaky Bucket").
///
/// The portal counts every HTTP request against a bucket that leaks at a steady rate, and refuses
/// what would overflow it. All apps and webhooks behind one IP address share the bucket, so by
/// default nine tenths of the rate and four fifths of the bucket are used.
///
/// ```
/// use tracing_bizproc::Quota;
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
    /// A limit of your own, used in full.
    Custom {
        /// Requests per second, above zero.
        per_second: f64,
        /// Requests that may go at once, at least 1.
        burst: u32,
    },
    /// No limit of requests: self-hosted portals have none by default.
    Unlimited,
}

impl Quota {
    /// Whether the numbers can be worked with.
    pub(crate) fn is_valid(self) -> bool {
        match self {
            Quota::Custom { per_second, burst } => {
                per_second.is_finite() && per_second >= 0.001 && burst >= 1
            }
            _ => true,
        }
    }

    /// Requests per second and burst that we allow ourselves.
    fn allowed(self) -> Option<(f64, f64)> {
        match self {
            Quota::Standard => Some((2.0 * RATE_SHARE, 50.0 * BURST_SHARE)),
            Quota::Enterprise => Some((5.0 * RATE_SHARE, 250.0 * BURST_SHARE)),
            Quota::Custom { per_second, burst } => Some((per_second, f64::from(burst))),
            Quota::Unlimited => None,
        }
    }
}

/// The portal's bucket as we see it: what we poured in, less what has leaked since.
#[derive(Debug)]
pub(crate) struct LeakyBucket {
    /// `None`: unlimited.
    allowed: Option<(f64, f64)>,
    level: f64,
    at: Instant,
    /// What part of the rate we use: halved by each refusal, restored by success, since others may
    /// pour into the same bucket.
    share: f64,
}

impl LeakyBucket {
    pub(crate) fn new(quota: Quota, now: Instant) -> Self {
        LeakyBucket { allowed: quota.allowed(), level: 0.0, at: now, share: 1.0 }
    }

    /// When the next request may go.
    pub(crate) fn ready_at(&self, now: Instant) -> Instant {
        let Some((rate, burst)) = self.allowed else { return now };
        let over = self.level_at(now, rate) + 1.0 - burst;
        if over <= 0.0 { now } else { now + Duration::from_secs_f64(over / (rate * self.share)) }
    }

    pub(crate) fn sent(&mut self, now: Instant) {
        if let Some((rate, _)) = self.allowed {
            self.level = self.level_at(now, rate) + 1.0;
            self.at = now;
        }
    }

    /// The portal refused a request for its rate: the bucket is full, whoever filled it.
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

/// One key of the portal's operating limit: seconds of server work in a sliding ten minutes
/// ("operating" in the time object of a reply; the limit itself is told nowhere).
#[derive(Debug)]
pub(crate) struct OperatingWindow {
    /// Seconds that we believe the portal grants. Learned downwards from refusals.
    limit: f64,
    /// Seconds used, as the portal last said. Cumulative, and may include the work of others.
    used: f64,
    /// When the oldest part of `used` expires.
    resets_at: Instant,
    /// Seconds that a command costs: a moving average.
    per_command: f64,
    /// No command before this, since the portal refused one.
    blocked_until: Option<Instant>,
    /// No command before this, to spread what is left until the reset.
    spaced_until: Instant,
}

impl OperatingWindow {
    pub(crate) fn new(limit: Duration, now: Instant) -> Self {
        OperatingWindow {
            limit: limit.as_secs_f64(),
            used: 0.0,
            resets_at: now,
            per_command: 0.0,
            blocked_until: None,
            spaced_until: now,
        }
    }

    /// The portal said how much is used, and for how long the oldest part of it still counts.
    pub(crate) fn observed(
        &mut self,
        operating: f64,
        resets_in: Option<Duration>,
        commands: usize,
        worked: f64,
        now: Instant,
    ) {
        self.used = operating.max(0.0);
        self.resets_at = now + resets_in.unwrap_or(WINDOW).min(WINDOW);
        // The portal ends a request at 60 s, whatever else it says of its work.
        let worked = worked.clamp(0.0, LONGEST_REQUEST);
        let cost = worked / commands.max(1) as f64;
        self.per_command += (cost - self.per_command) * COST_WEIGHT;
        self.blocked_until = None;
        let left = (self.stop() - self.used).max(0.0);
        let until_reset = self.resets_at.saturating_duration_since(now).as_secs_f64();
        self.spaced_until = if self.used < self.limit * SLOW_FROM {
            now
        } else if left <= self.per_command {
            self.resets_at
        } else {
            // The same pace kept until the reset spends just what is left.
            now + Duration::from_secs_f64((worked * until_reset / left).min(until_reset))
        };
    }

    /// The portal executed a command, and says nothing of what it counts.
    pub(crate) fn lifted(&mut self) {
        self.blocked_until = None;
    }

    /// The portal refused a command: it has counted more than its limit.
    pub(crate) fn refused(&mut self, now: Instant) {
        if self.used > 0.0 {
            self.limit = self.limit.min(self.used * LEARNED_SHARE).max(LEAST_LIMIT);
        }
        self.blocked_until = Some(now + LONGEST_LIFT);
        self.used = 0.0;
    }

    /// How many of `want` commands may go now, or when to ask again.
    pub(crate) fn allowance(&self, want: usize, now: Instant) -> Result<usize, Instant> {
        let hold = self.blocked_until.unwrap_or(self.spaced_until).max(self.spaced_until);
        if now < hold {
            return Err(hold);
        }
        if self.blocked_until.is_some() {
            // The first request after a block only asks: two commands, so that it is a batch, where
            // a batch was refused.
            return Ok(want.min(2));
        }
        if self.per_command <= 0.0 || now >= self.resets_at {
            return Ok(want);
        }
        let fits = ((self.stop() - self.used) / self.per_command).max(0.0) as usize;
        if fits == 0 { Err(self.resets_at) } else { Ok(want.min(fits)) }
    }

    fn stop(&self) -> f64 {
        self.limit * STOP_AT
    }
}

/// The part of the documented rate that we use by default.
const RATE_SHARE: f64 = 0.9;
/// The part of the documented burst that we use by default.
const BURST_SHARE: f64 = 0.8;
/// The smallest part of the rate that refusals can leave us.
const LEAST_SHARE: f64 = 1.0 / 16.0;
/// What each success gives back of it.
const SHARE_REGAINED: f64 = 0.02;

/// The limit that we assume: the smallest that is known (server behaviour: 420 s in the code,
/// 480 s in an example of the documentation).
pub(crate) const OPERATING_LIMIT: Duration = Duration::from_secs(420);
/// The sliding window of the limit.
const WINDOW: Duration = Duration::from_secs(600);
/// Three ways to lift a block are known: 300 s, when parts expire, and ten minutes. This outlasts
/// them all.
const LONGEST_LIFT: Duration = Duration::from_secs(605);
/// From this part of the limit on, requests are spread.
const SLOW_FROM: f64 = 0.5;
/// The longest that a request can take (REST API limits), in seconds.
const LONGEST_REQUEST: f64 = 60.0;
/// At this part of the limit, they stop.
const STOP_AT: f64 = 0.9;
/// What part of the use seen before a refusal is taken for the limit.
const LEARNED_SHARE: f64 = 0.95;
/// No refusal teaches a limit below this, in seconds.
const LEAST_LIMIT: f64 = 10.0;
/// Weight of the newest reply in the cost of a command.
const COST_WEIGHT: f64 = 0.3;

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
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
            assert!((ready - now).as_secs_f64() - 0.5 < 1e-6, "one every half second");
            now = ready;
            bucket.sent(now);
        }
        assert!((now - start).as_secs_f64() - 2.0 < 1e-6);
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

    #[test]
    fn a_spent_window_waits_for_its_reset() {
        let now = Instant::now();
        let mut window = OperatingWindow::new(secs(100.0), now);
        assert_eq!(window.allowance(50, now), Ok(50));
        window.observed(89.9, Some(secs(30.0)), 50, 25.0, now);
        assert_eq!(window.allowance(50, now), Err(now + secs(30.0)));
        assert!(window.allowance(50, now + secs(30.0)).is_ok());
    }

    #[test]
    fn a_window_past_its_half_spreads_what_is_left_until_the_reset() {
        let now = Instant::now();
        let mut window = OperatingWindow::new(secs(100.0), now);
        window.observed(60.0, Some(secs(300.0)), 10, 3.0, now);
        let at = window.allowance(10, now).expect_err("spaced");
        assert!((at - now).as_secs_f64() - 30.0 < 1e-6, "3 s of 30 s left, over 300 s");
        assert_eq!(window.allowance(10, at), Ok(10));
    }

    #[test]
    fn a_refusal_blocks_for_the_longest_lift_and_teaches_the_limit() {
        let now = Instant::now();
        let mut window = OperatingWindow::new(secs(420.0), now);
        window.observed(200.0, Some(secs(400.0)), 10, 3.0, now);
        window.refused(now);
        assert_eq!(window.allowance(50, now), Err(now + LONGEST_LIFT));
        assert_eq!(window.allowance(50, now + LONGEST_LIFT), Ok(2), "the first request asks");
        assert!(window.limit <= 190.0);
    }
}
