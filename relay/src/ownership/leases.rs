//! The shards that a member holds, by its own clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Claim, Epoch};
use crate::shard::Shard;

/// The shards that a member holds, each with a deadline of the member's own. Reads no clock and does no I/O.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tracing_bizproc_relay::{Claim, Epoch, Leases, Shard};
///
/// let mut leases = Leases::new(Duration::from_secs(3));
/// let claim = Claim { shard: Shard::of(None), epoch: Epoch(1) };
/// let sent = Instant::now();
/// leases.extend(&[claim], sent);
/// assert_eq!(leases.claim(claim.shard, sent), Some(claim));
/// assert_eq!(leases.claim(claim.shard, sent + Duration::from_secs(3)), None);
/// ```
#[derive(Clone, Debug)]
pub struct Leases {
    lease: Duration,
    held: BTreeMap<Shard, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    epoch: Epoch,
    until: Instant,
}

impl Leases {
    /// Leases of a member that holds nothing.
    pub fn new(lease: Duration) -> Self {
        Leases { lease, held: BTreeMap::new() }
    }

    /// Notes that these claims were taken or renewed by a request that was sent at `sent`. The lease began later,
    /// when the request arrived.
    pub fn extend(&mut self, claims: &[Claim], sent: Instant) {
        // Clocks do not run at exactly the same speed.
        let until = sent + self.lease - self.lease / 50;
        for claim in claims {
            self.held.insert(claim.shard, Held { epoch: claim.epoch, until });
        }
    }

    /// Removes these claims.
    pub fn forget(&mut self, claims: &[Claim]) {
        for claim in claims {
            if self.held.get(&claim.shard).is_some_and(|held| held.epoch == claim.epoch) {
                self.held.remove(&claim.shard);
            }
        }
    }

    /// Removes all claims whose deadline has passed, and returns them.
    pub fn expire(&mut self, now: Instant) -> Vec<Claim> {
        let gone: Vec<Claim> = self.claims_where(|held| held.until <= now).collect();
        self.forget(&gone);
        gone
    }

    /// The claim on a shard, if requests for it may be sent now.
    pub fn claim(&self, shard: Shard, now: Instant) -> Option<Claim> {
        let held = self.held.get(&shard).filter(|held| now < held.until)?;
        Some(Claim { shard, epoch: held.epoch })
    }

    /// All claims that are held, also those whose deadline has passed.
    pub fn claims(&self) -> Vec<Claim> {
        self.claims_where(|_| true).collect()
    }

    /// The claims beyond a fair part, with this number of members.
    pub fn surplus(&self, members: usize) -> Vec<Claim> {
        self.claims_where(|_| true).skip(fair_part(members)).collect()
    }

    /// How many more shards this member needs for a fair part.
    pub fn missing(&self, members: usize) -> usize {
        fair_part(members).saturating_sub(self.held.len())
    }

    fn claims_where(&self, chosen: impl Fn(&Held) -> bool) -> impl Iterator<Item = Claim> {
        let chosen = self.held.iter().filter(move |(_, held)| chosen(held));
        chosen.map(|(shard, held)| Claim { shard: *shard, epoch: held.epoch })
    }
}

fn fair_part(members: usize) -> usize {
    Shard::COUNT.div_ceil(members.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(3);

    fn claims(numbers: std::ops::Range<i16>, epoch: u64) -> Vec<Claim> {
        numbers
            .filter_map(Shard::from_number)
            .map(|shard| Claim { shard, epoch: Epoch(epoch) })
            .collect()
    }

    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_deadline_is_counted_from_when_the_renewal_was_sent() {
        let (start, shards) = (start(), claims(7..8, 1));
        let mut leases = Leases::new(LEASE);
        leases.extend(&shards, start);
        let shard = shards[0].shard;
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(leases.claim(shard, at(2_900)), Some(shards[0]));
        assert_eq!(leases.claim(shard, at(2_950)), None, "before the lease is over");
        // The renewal was sent in time, and answered after a pause. This does not permit to send.
        leases.extend(&shards, at(700));
        assert_eq!(leases.claim(shard, at(3_700)), None);
        assert_eq!(leases.claim(shard, at(3_500)), Some(shards[0]));
        assert_eq!(leases.expire(at(3_500)), []);
        assert_eq!(leases.expire(at(3_700)), shards);
        assert_eq!(leases.claims(), []);
    }

    #[test]
    fn forgetting_an_older_epoch_changes_nothing() {
        let start = start();
        let mut leases = Leases::new(LEASE);
        leases.extend(&claims(0..2, 5), start);
        leases.forget(&claims(0..2, 4));
        assert_eq!(leases.claims(), claims(0..2, 5));
        leases.forget(&claims(1..2, 5));
        assert_eq!(leases.claims(), claims(0..1, 5));
    }

    #[test]
    fn parts_are_fair_and_cover_all_shards() {
        let start = start();
        for members in 0..300 {
            let part = fair_part(members);
            assert!(part * members.max(1) >= Shard::COUNT, "{members}");
            let mut leases = Leases::new(LEASE);
            leases.extend(&claims(0..256, 1), start);
            assert_eq!(leases.surplus(members).len(), 256 - part, "{members}");
            leases.forget(&leases.surplus(members));
            assert_eq!((leases.claims().len(), leases.missing(members)), (part, 0), "{members}");
        }
        assert_eq!(Leases::new(LEASE).missing(3), 86);
    }
}
