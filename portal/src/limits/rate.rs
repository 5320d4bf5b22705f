//! The rate limit: a leaky bucket for each source IP.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::clock::UnixTime;
use crate::settings::Tariff;

/// How full the bucket of each source is.
///
/// Counted per HTTP hit, not per command (REST API limits, "Leaky Bucket"). A refused hit does
/// not fill the bucket: the documentation says nothing of it, and otherwise an eager client would
/// never get in again.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    buckets: HashMap<IpAddr, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    level: f64,
    measured: UnixTime,
}

impl RateLimit {
    /// Counts a hit of `source`; false if it is refused.
    pub(crate) fn admits(&mut self, source: IpAddr, tariff: Tariff, now: UnixTime) -> bool {
        let Some((capacity, per_second)) = tariff.bucket() else { return true };
        let bucket = self.buckets.entry(source).or_insert(Bucket { level: 0.0, measured: now });
        bucket.level = bucket.level_at(now, per_second);
        bucket.measured = now;
        let admitted = bucket.level + 1.0 <= capacity;
        if admitted {
            bucket.level += 1.0;
        }
        admitted
    }

    /// How full the fullest bucket is.
    pub(crate) fn level(&self, tariff: Tariff, now: UnixTime) -> f64 {
        let Some((_, per_second)) = tariff.bucket() else { return 0.0 };
        self.buckets.values().map(|bucket| bucket.level_at(now, per_second)).fold(0.0, f64::max)
    }
}

impl Bucket {
    fn level_at(&self, now: UnixTime, per_second: f64) -> f64 {
        (self.level - now.since(self.measured).as_secs_f64() * per_second).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const START: UnixTime = UnixTime::new(Duration::from_secs(1_000_000));

    fn source(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    #[test]
    fn a_standard_portal_accepts_fifty_hits_at_once_and_then_two_per_second() {
        let mut limit = RateLimit::default();
        for _ in 0..50 {
            assert!(limit.admits(source(1), Tariff::Standard, START));
        }
        assert!(!limit.admits(source(1), Tariff::Standard, START));
        let later = START + Duration::from_millis(500);
        assert!(limit.admits(source(1), Tariff::Standard, later));
        assert!(!limit.admits(source(1), Tariff::Standard, later));
    }

    #[test]
    fn an_enterprise_portal_accepts_250_hits_at_once() {
        let mut limit = RateLimit::default();
        let admitted =
            (0..300).filter(|_| limit.admits(source(1), Tariff::Enterprise, START)).count();
        assert_eq!(admitted, 250);
        let second = START + Duration::from_secs(1);
        let admitted =
            (0..300).filter(|_| limit.admits(source(1), Tariff::Enterprise, second)).count();
        assert_eq!(admitted, 5);
    }

    #[test]
    fn each_source_has_its_own_bucket() {
        let mut limit = RateLimit::default();
        while limit.admits(source(1), Tariff::Standard, START) {}
        assert!(limit.admits(source(2), Tariff::Standard, START));
        assert_eq!(limit.level(Tariff::Standard, START), 50.0);
        assert_eq!(limit.level(Tariff::Standard, START + Duration::from_secs(30)), 0.0);
    }
}
