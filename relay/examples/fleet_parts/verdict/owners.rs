//! Who owned a portal when a request arrived, and how long it took until another relay continued.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Ending, Evidence, Hit, Moment, Trouble, TroubleKind, Verdict};

/// A change of a shard's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) shard: i16,
    /// `None`: it was given back.
    pub(crate) member: Option<u128>,
    pub(crate) at: Moment,
}

pub(super) fn judge(evidence: &Evidence, verdict: &mut Verdict) {
    let mut by_portal: BTreeMap<usize, Vec<&Hit>> = BTreeMap::new();
    for hit in &evidence.hits {
        by_portal.entry(hit.portal).or_default().push(hit);
    }
    let owners = Owners::new(evidence);
    for (portal, hits) in &by_portal {
        let Some(owned) = evidence.shards.get(*portal).and_then(|shard| owners.0.get(shard)) else {
            continue;
        };
        judge_hits(evidence, owned, hits, verdict);
        measure(evidence, owned, hits, verdict);
    }
    verdict.takeovers.sort_unstable();
    verdict.handovers.sort_unstable();
}

/// A request must not arrive after a later owner has sent a request.
fn judge_hits(
    evidence: &Evidence,
    owned: &[(Moment, Option<u32>)],
    hits: &[&Hit],
    verdict: &mut Verdict,
) {
    for (place, hit) in hits.iter().enumerate() {
        // A request that a replica sends by itself has no owner.
        let is_relay = evidence.runs[hit.run as usize].story.member.is_some();
        if !is_relay || owner_at(owned, hit.arrived) == Some(hit.run) {
            continue;
        }
        let lost_at = owned
            .iter()
            .enumerate()
            .filter(|(_, (from, owner))| *owner == Some(hit.run) && *from <= hit.arrived)
            .filter_map(|(place, _)| owned.get(place + 1))
            .map(|(until, _)| *until)
            .max();
        let Some(lost_at) = lost_at else {
            verdict.unexplained.push(format!("run {} sent, and never owned the portal", hit.run));
            continue;
        };
        let successor_has_sent = hits[..place].iter().any(|other| {
            let of_successor = owner_at(owned, other.arrived) == Some(other.run);
            other.run != hit.run && of_successor && other.arrived >= lost_at
        });
        if successor_has_sent {
            match was_just_paused(&evidence.runs[hit.run as usize].troubles, hit.arrived) {
                true => verdict.after_pause += 1,
                false => {
                    verdict.two_owners += 1;
                    let late = Duration::from_nanos(hit.arrived - lost_at);
                    let (run, portal) = (hit.run, hit.portal);
                    verdict.details.push(format!(
                        "run {run} sent to portal {portal} {late:?} after it had lost it"
                    ));
                }
            }
        }
    }
}

fn owner_at(owned: &[(Moment, Option<u32>)], at: Moment) -> Option<u32> {
    let place = owned.partition_point(|(from, _)| *from <= at);
    owned[..place].last().and_then(|(_, owner)| *owner)
}

/// Whether the relay may have been paused between its last check of the lease and the request.
fn was_just_paused(troubles: &[Trouble], at: Moment) -> bool {
    troubles.iter().any(|trouble| {
        trouble.kind == TroubleKind::Paused && (trouble.until..trouble.until + WAKES).contains(&at)
    })
}

/// The time from the end of an owner to the first request of the next one.
fn measure(
    evidence: &Evidence,
    owned: &[(Moment, Option<u32>)],
    hits: &[&Hit],
    verdict: &mut Verdict,
) {
    for (number, run) in (0..).zip(&evidence.runs) {
        if run.story.member.is_none() {
            continue;
        }
        let first_of_next = |at: Moment| {
            let next = hits.iter().find(|hit| hit.arrived > at && hit.run != number);
            let next = next.filter(|_| owner_at(owned, at) == Some(number));
            next.map(|hit| (hit.arrived, Duration::from_nanos(hit.arrived - at)))
        };
        match run.end {
            Ending::Killed(at) => {
                verdict.takeovers.extend(first_of_next(at).map(|(_, took)| took));
            }
            Ending::Stopped(at) => {
                verdict.handovers.extend(first_of_next(at).map(|(_, took)| took));
            }
            Ending::Finished => {}
        }
        let own = run.troubles.iter().filter(|it| it.kind != TroubleKind::NoDatabase);
        for trouble in own {
            // Otherwise it was over before the lease was.
            let lost = owned.iter().any(|(from, owner)| {
                *owner != Some(number) && (trouble.from..trouble.until).contains(from)
            });
            let next = first_of_next(trouble.from).filter(|_| lost);
            verdict.takeovers.extend(next.map(|(_, took)| took));
        }
    }
}

/// For each shard, which run has owned it since when.
struct Owners(BTreeMap<i16, Vec<(Moment, Option<u32>)>>);

impl Owners {
    fn new(evidence: &Evidence) -> Owners {
        let members: BTreeMap<u128, u32> = (0..)
            .zip(&evidence.runs)
            .filter_map(|(number, run)| run.story.member.map(|member| (member, number)))
            .collect();
        let mut owners: BTreeMap<i16, Vec<(Moment, Option<u32>)>> = BTreeMap::new();
        for taken in &evidence.history {
            let run = taken.member.and_then(|member| members.get(&member).copied());
            owners.entry(taken.shard).or_default().push((taken.at, run));
        }
        owners.values_mut().for_each(|changes| changes.sort_by_key(|(at, _)| *at));
        Owners(owners)
    }
}

/// How long after a pause a request may still leave that was about to leave before the pause. In nanoseconds.
const WAKES: u64 = 300_000_000;

/// Percentiles of sorted times.
pub(crate) mod percentile {
    use std::fmt;
    use std::time::Duration;

    /// The value below which this number of a thousand values are.
    pub(crate) fn of(sorted: &[Duration], of_thousand: usize) -> Duration {
        let place = (sorted.len() * of_thousand).div_ceil(1000).max(1) - 1;
        sorted.get(place).copied().unwrap_or_default()
    }

    /// Shows the number of values and their percentiles.
    pub(crate) struct Of<'a>(pub(crate) &'a [Duration]);

    impl fmt::Display for Of<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let (count, worst) = (self.0.len(), self.0.last().copied().unwrap_or_default());
            let (p50, p99) = (of(self.0, 500), of(self.0, 990));
            write!(f, "{count}, p50={p50:.2?} p99={p99:.2?} worst={worst:.2?}")
        }
    }
}
