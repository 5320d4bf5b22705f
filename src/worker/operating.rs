//! How much operating time the portal still allows: a model of one of its windows, updated from its replies.
//! Time is an argument.

use std::time::{Duration, Instant};

use super::memo::{Reader, Writer};

/// One key of the portal's operating limit: seconds of server work in a sliding ten minutes
/// ("operating" in the time object of a reply; the portal never sends the limit itself).
#[derive(Debug)]
pub(crate) struct OperatingWindow {
    /// The assumed limit in seconds. Refusals lower it.
    limit: f64,
    /// Seconds used, by the last reply. Cumulative; may include requests of other programs.
    used: f64,
    /// When the oldest part of `used` expires.
    resets_at: Instant,
    /// Seconds that a command costs: a moving average.
    per_command: f64,
    /// No command before this time, because the portal refused one.
    blocked_until: Option<Instant>,
    /// No command before this time, to spread the rest until the reset.
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

    /// For the portal's next owner.
    pub(crate) fn write(&self, memo: &mut Writer) {
        memo.seconds(self.limit);
        memo.seconds(self.used);
        memo.time(self.resets_at);
        memo.seconds(self.per_command);
        memo.maybe_time(self.blocked_until);
        memo.time(self.spaced_until);
    }

    /// What an earlier owner has noted. No pause is longer than the portal's own.
    pub(crate) fn read(&self, memo: &mut Reader<'_>, now: Instant) -> Option<Self> {
        let soon = |at: Instant| at.min(now + WINDOW);
        Some(OperatingWindow {
            limit: memo.seconds()?.clamp(LEAST_LIMIT.min(self.limit), self.limit),
            used: memo.seconds()?,
            resets_at: soon(memo.time()?),
            per_command: memo.seconds()?.min(LONGEST_REQUEST),
            blocked_until: memo.maybe_time()?.map(soon),
            spaced_until: soon(memo.time()?),
        })
    }

    /// A reply says how much is used, and when the oldest part of it expires.
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
            // With this pace, the rest is used up exactly at the reset.
            now + Duration::from_secs_f64((worked * until_reset / left).min(until_reset))
        };
    }

    /// The portal executed a command, and its reply has no count.
    pub(crate) fn lifted(&mut self) {
        self.blocked_until = None;
    }

    /// The portal refused a command, because its count is above its limit.
    pub(crate) fn refused(&mut self, now: Instant) {
        if self.used > 0.0 {
            self.limit = self.limit.min(self.used * LEARNED_SHARE).max(LEAST_LIMIT);
        }
        self.blocked_until = Some(now + LONGEST_LIFT);
        self.used = 0.0;
    }

    /// Whether the portal probably refuses now.
    pub(crate) fn is_refused(&self, now: Instant) -> bool {
        self.blocked_until.is_some_and(|until| until > now)
    }

    /// How many of `want` commands may be sent now, or when to ask again.
    pub(crate) fn allowance(&self, want: usize, now: Instant) -> Result<usize, Instant> {
        let hold = self.blocked_until.unwrap_or(self.spaced_until).max(self.spaced_until);
        if now < hold {
            return Err(hold);
        }
        if self.blocked_until.is_some() {
            // The first request after a block is only a test. It has two commands, so that it is a batch if a
            // batch was refused.
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

/// The assumed limit: the smallest known one (server behaviour: 420 s in the code,
/// 480 s in an example of the documentation).
pub(crate) const OPERATING_LIMIT: Duration = Duration::from_secs(420);
/// The sliding window of the limit.
const WINDOW: Duration = Duration::from_secs(600);
/// Portals end a block in one of three known ways: after 300 s, when parts expire, or after ten minutes. This
/// is longer than each of them.
const LONGEST_LIFT: Duration = Duration::from_secs(605);
/// From this part of the limit on, requests are spread.
const SLOW_FROM: f64 = 0.5;
/// The longest that a request can take (REST API limits), in seconds.
const LONGEST_REQUEST: f64 = 60.0;
/// At this part of the limit, they stop.
const STOP_AT: f64 = 0.9;
/// After a refusal, this part of the used time is the new limit.
const LEARNED_SHARE: f64 = 0.95;
/// A refusal does not lower the limit below this, in seconds.
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
    fn a_used_up_window_waits_for_its_reset() {
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
        let waits = (at - now).as_secs_f64();
        assert!((waits - 30.0).abs() < 1e-6, "3 s of 30 s left, over 300 s: {waits}");
        assert_eq!(window.allowance(10, at), Ok(10));
    }

    #[test]
    fn a_refusal_blocks_for_the_longest_known_time_and_sets_the_limit() {
        let now = Instant::now();
        let mut window = OperatingWindow::new(secs(420.0), now);
        window.observed(200.0, Some(secs(400.0)), 10, 3.0, now);
        window.refused(now);
        assert_eq!(window.allowance(50, now), Err(now + LONGEST_LIFT));
        assert_eq!(window.allowance(50, now + LONGEST_LIFT), Ok(2), "the first request asks");
        assert!(window.limit <= 190.0);
    }
}
