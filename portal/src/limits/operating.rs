//! The operating limit: how much server time a method may use up in ten minutes.
//!
//! The time of a hit is collected in a [`HitMeter`] and stored when the hit ends; what is stored
//! lies in buckets of a minute. Checked before each call, so the call that crosses the limit
//! still completes.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::settings::{OperatingLimit, Release};

/// A bucket collects for a minute of the clock and is emptied this long after its first use.
const BUCKET_SPAN: u64 = 60;
const BUCKET_LIFE: Duration = Duration::from_secs(600);
/// Less than this is not worth storing (server behaviour).
const NOTICED: Duration = Duration::from_millis(100);
/// How long newer servers block a method, come what may.
const BAN: Duration = Duration::from_secs(300);
/// How long a method stays blocked by the Russian documentation.
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// Whose time it is: the kind and id of the credential, and the method.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MeterKey {
    pub(crate) credential: MeteredAs,
    pub(crate) method: String,
}

/// What the limiter knows a caller as.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MeteredAs {
    Webhook(u64),
    /// A command of a batch: the webhook's id does not come through, so all webhooks of the
    /// portal share one meter (server behaviour).
    AnyWebhook,
    Application(String),
}

/// The time that one hit has used so far.
#[derive(Debug, Default)]
pub(crate) struct HitMeter {
    used: HashMap<MeterKey, HitUse>,
}

#[derive(Debug, Default)]
struct HitUse {
    /// All of it, which is stored when the hit ends.
    total: Duration,
    /// The calls that were long enough to be noticed at once.
    noticed: Duration,
}

impl HitMeter {
    pub(crate) fn add(&mut self, key: MeterKey, took: Duration) {
        let used = self.used.entry(key).or_default();
        used.total += took;
        if took > NOTICED {
            used.noticed += took;
        }
    }
}

/// The stored time of all methods.
#[derive(Debug, Default)]
pub(crate) struct OperatingMeter {
    meters: HashMap<MeterKey, Meter>,
}

#[derive(Debug, Default)]
struct Meter {
    buckets: Vec<Bucket>,
    blocked_until: Option<UnixTime>,
}

#[derive(Debug)]
struct Bucket {
    minute: u64,
    expires: UnixTime,
    used: Duration,
}

/// What stands in the `time` of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operating {
    pub(crate) used: Duration,
    pub(crate) reset_at: UnixTime,
}

impl OperatingMeter {
    /// Whether a call may begin.
    pub(crate) fn admits(
        &mut self,
        limit: OperatingLimit,
        key: &MeterKey,
        hit: &HitMeter,
        now: UnixTime,
    ) -> bool {
        let meter = self.meters.entry(key.clone()).or_default();
        meter.forget(now);
        if meter.blocked_until.is_some() {
            return false;
        }
        let in_hit = hit.used.get(key).map_or(Duration::ZERO, |used| used.noticed);
        if meter.used() + in_hit <= limit.limit {
            return true;
        }
        match limit.release {
            Release::Expiry => {}
            Release::TenMinutes => meter.blocked_until = Some(now + TEN_MINUTES),
            Release::Ban => {
                meter.buckets.clear();
                meter.blocked_until = Some(now + BAN);
            }
        }
        false
    }

    /// Stores the time of a hit that has ended.
    pub(crate) fn store(&mut self, hit: HitMeter, now: UnixTime) {
        for (key, used) in hit.used.into_iter().filter(|(_, used)| used.total > NOTICED) {
            let meter = self.meters.entry(key).or_default();
            meter.forget(now);
            let minute = now.as_secs() / BUCKET_SPAN;
            match meter.buckets.iter_mut().find(|bucket| bucket.minute == minute) {
                Some(bucket) => bucket.used += used.total,
                None => {
                    let expires = now + BUCKET_LIFE;
                    meter.buckets.push(Bucket { minute, expires, used: used.total });
                }
            }
        }
    }

    /// What an answer says: the time used, this hit's included, and when some of it comes back.
    pub(crate) fn report(&self, key: &MeterKey, hit: &HitMeter, now: UnixTime) -> Operating {
        let meter = self.meters.get(key);
        let stored = meter.map_or(Duration::ZERO, |meter| meter.used_at(now));
        let in_hit = hit.used.get(key).map_or(Duration::ZERO, |used| used.noticed);
        let blocked = meter.and_then(|meter| meter.blocked_until);
        let oldest = meter.and_then(|meter| {
            meter.buckets.iter().map(|bucket| bucket.expires).filter(|expires| *expires > now).min()
        });
        let reset_at = blocked.or(oldest).unwrap_or(now + BUCKET_LIFE);
        Operating { used: stored + in_hit, reset_at }
    }

    /// The most time that a method has used, and the latest end of a block.
    pub(crate) fn fullest(&self, now: UnixTime) -> (Duration, Option<UnixTime>) {
        let used = self.meters.values().map(|meter| meter.used_at(now)).max();
        let blocked = self.meters.values().filter_map(|meter| meter.blocked_until);
        (used.unwrap_or_default(), blocked.filter(|until| *until > now).max())
    }
}

impl Meter {
    fn used(&self) -> Duration {
        self.buckets.iter().map(|bucket| bucket.used).sum()
    }

    fn used_at(&self, now: UnixTime) -> Duration {
        self.buckets.iter().filter(|bucket| bucket.expires > now).map(|bucket| bucket.used).sum()
    }

    fn forget(&mut self, now: UnixTime) {
        self.buckets.retain(|bucket| bucket.expires > now);
        if self.blocked_until.is_some_and(|until| until <= now) {
            self.blocked_until = None;
            // Whatever was used before the block has been paid for by it.
            self.buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime::new(Duration::from_secs(1_800_000_000));

    fn key() -> MeterKey {
        MeterKey { credential: MeteredAs::Webhook(1), method: "bizproc.activity.log".into() }
    }

    fn used(took: &[u64]) -> HitMeter {
        let mut hit = HitMeter::default();
        took.iter().for_each(|millis| hit.add(key(), Duration::from_millis(*millis)));
        hit
    }

    /// A meter that is one hit over a limit of ten seconds, and the time of that hit.
    fn crossed(release: Release) -> (OperatingMeter, OperatingLimit) {
        let limit = OperatingLimit::new(Duration::from_secs(10)).release(release);
        let mut meter = OperatingMeter::default();
        assert!(meter.admits(limit, &key(), &HitMeter::default(), START));
        meter.store(used(&[9_000]), START);
        assert!(meter.admits(limit, &key(), &HitMeter::default(), START));
        meter.store(used(&[9_000]), START);
        assert!(!meter.admits(limit, &key(), &HitMeter::default(), START));
        (meter, limit)
    }

    fn lifts_after(release: Release) -> u64 {
        let (mut meter, limit) = crossed(release);
        (0..2000)
            .find(|seconds| {
                let now = START + Duration::from_secs(*seconds);
                meter.admits(limit, &key(), &HitMeter::default(), now)
            })
            .unwrap()
    }

    #[test]
    fn the_limit_lifts_in_each_of_the_three_ways() {
        assert_eq!(lifts_after(Release::Expiry), 600);
        assert_eq!(lifts_after(Release::TenMinutes), 600);
        assert_eq!(lifts_after(Release::Ban), 300);
    }

    #[test]
    fn a_ban_ends_with_all_time_free_and_names_its_end() {
        let (mut meter, limit) = crossed(Release::Ban);
        let report = meter.report(&key(), &HitMeter::default(), START);
        assert_eq!(report.reset_at, START + BAN);
        assert!(meter.admits(limit, &key(), &HitMeter::default(), START + BAN));
        assert_eq!(meter.report(&key(), &HitMeter::default(), START + BAN).used, Duration::ZERO);
    }

    #[test]
    fn each_minute_expires_ten_minutes_after_its_first_use() {
        let limit = OperatingLimit::new(Duration::from_secs(10)).release(Release::Expiry);
        let mut meter = OperatingMeter::default();
        let second = START + Duration::from_secs(120);
        meter.store(used(&[6_000]), START);
        meter.store(used(&[6_000]), second);
        assert!(!meter.admits(limit, &key(), &HitMeter::default(), second));
        let report = meter.report(&key(), &HitMeter::default(), second);
        assert_eq!((report.used.as_secs(), report.reset_at), (12, START + BUCKET_LIFE));
        assert!(meter.admits(limit, &key(), &HitMeter::default(), START + BUCKET_LIFE));
        let report = meter.report(&key(), &HitMeter::default(), START + BUCKET_LIFE);
        assert_eq!((report.used.as_secs(), report.reset_at), (6, second + BUCKET_LIFE));
    }

    #[test]
    fn short_hits_are_not_stored_but_short_calls_of_a_long_hit_are() {
        let mut meter = OperatingMeter::default();
        meter.store(used(&[60]), START);
        meter.store(used(&[30, 30, 30]), START);
        assert_eq!(meter.fullest(START).0, Duration::ZERO);
        meter.store(used(&[60, 60]), START);
        assert_eq!(meter.fullest(START).0, Duration::from_millis(120));
    }

    #[test]
    fn within_a_hit_only_long_calls_count_before_it_ends() {
        let limit = OperatingLimit::new(Duration::from_secs(1));
        let mut meter = OperatingMeter::default();
        assert!(meter.admits(limit, &key(), &used(&[90; 20]), START));
        assert!(!meter.admits(limit, &key(), &used(&[600, 600]), START));
    }
}
