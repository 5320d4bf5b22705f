//! Who owned a portal when a request arrived, and how long it took until another relay continued.

use std::collections::BTreeMap;
use std::time::Duration;

use bizproc_campaign::{
    About, Ending, Evidence, Hit, Incident, Kind, Moment, Run, Trouble, TroubleKind, Verdict,
};

#[cfg(test)]
mod tests;

/// What is known of owners.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ownership {
    /// The shard of each portal.
    pub(crate) shards: Vec<i16>,
    /// Who took which shard, ordered by time.
    pub(crate) history: Vec<Taken>,
}

/// A change of a shard's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) shard: i16,
    /// `None`: it was given back.
    pub(crate) member: Option<u128>,
    pub(crate) at: Moment,
}

/// Figures that are not findings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Requests that arrived after the next owner had sent one, but were from a relay that had just been paused.
    pub(crate) after_pause: u64,
    /// From a kill, a pause or a cut to the first request of the next owner, for each portal, sorted.
    pub(crate) takeovers: Vec<Duration>,
    /// The same for relays that were asked to stop.
    pub(crate) handovers: Vec<Duration>,
}

/// Adds findings to the verdict.
pub(crate) fn judge(evidence: &Evidence, ownership: &Ownership, verdict: &mut Verdict) -> Figures {
    let mut by_portal: BTreeMap<usize, Vec<Sent<'_>>> = BTreeMap::new();
    for hit in &evidence.hits {
        // The judge has found requests of nobody already.
        if let Some(run) = hit.run {
            by_portal.entry(hit.portal).or_default().push(Sent { hit, run });
        }
    }
    let owners = Owners::new(evidence, ownership);
    let mut figures = Figures::default();
    for (portal, sent) in &by_portal {
        let shard = ownership.shards.get(*portal);
        let Some(owned) = shard.and_then(|shard| owners.0.get(shard)) else { continue };
        judge_requests(evidence, owned, sent, verdict, &mut figures);
        measure(evidence, owned, sent, &mut figures);
    }
    figures.takeovers.sort_unstable();
    figures.handovers.sort_unstable();
    figures
}

/// A request, and who has sent it.
struct Sent<'a> {
    hit: &'a Hit,
    run: u32,
}

/// A request must not arrive after a later owner has sent a request.
fn judge_requests(
    evidence: &Evidence,
    owned: &[(Moment, Option<u32>)],
    sent: &[Sent<'_>],
    verdict: &mut Verdict,
    figures: &mut Figures,
) {
    for (place, &Sent { hit, run }) in sent.iter().enumerate() {
        let Some(Run { story, troubles, .. }) = evidence.runs.get(run as usize) else { continue };
        // A request that a replica sends by itself has no owner.
        let is_relay = story.member.is_some();
        if !is_relay || owner_at(owned, hit.arrived) == Some(run) {
            continue;
        }
        let about = About { runs: vec![run], ..About::portal(hit.portal, hit.arrived) };
        let lost_at = owned
            .iter()
            .enumerate()
            .filter(|(_, (from, owner))| *owner == Some(run) && *from <= hit.arrived)
            .filter_map(|(place, _)| owned.get(place + 1))
            .map(|(until, _)| *until)
            .max();
        let Some(lost_at) = lost_at else {
            let portal = hit.portal;
            let sentence = format!("run {run} sent to portal {portal}, and never owned it");
            verdict.find(Kind::TwoOwners, about, sentence);
            continue;
        };
        let successor = sent[..place].iter().find(|other| {
            let is_owner = owner_at(owned, other.hit.arrived) == Some(other.run);
            other.run != run && is_owner && other.hit.arrived >= lost_at
        });
        let Some(successor) = successor.map(|sent| sent.run) else { continue };
        if was_just_paused(troubles, hit.arrived) {
            figures.after_pause += 1;
        } else {
            let late = Duration::from_nanos(hit.arrived - lost_at);
            let portal = hit.portal;
            let sentence = format!(
                "run {run} sent to portal {portal} {late:?} after it had lost it to run {successor}"
            );
            verdict.find(Kind::TwoOwners, About { runs: vec![run, successor], ..about }, sentence);
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
    sent: &[Sent<'_>],
    figures: &mut Figures,
) {
    for (number, run) in (0..).zip(&evidence.runs) {
        if run.story.member.is_none() {
            continue;
        }
        let first_of_next = |at: Moment| {
            let next = sent.iter().find(|it| it.hit.arrived > at && it.run != number);
            let next = next.filter(|_| owner_at(owned, at) == Some(number));
            next.map(|it| Duration::from_nanos(it.hit.arrived - at))
        };
        match run.end {
            Ending::Killed(at) => figures.takeovers.extend(first_of_next(at)),
            Ending::Stopped(at) => figures.handovers.extend(first_of_next(at)),
            Ending::Finished => {}
        }
        let own = run.troubles.iter().filter(|it| it.kind != TroubleKind::NoDatabase);
        for trouble in own {
            // Otherwise it was over before the lease was.
            let lost = owned.iter().any(|(from, owner)| {
                *owner != Some(number) && (trouble.from..trouble.until).contains(from)
            });
            figures.takeovers.extend(first_of_next(trouble.from).filter(|_| lost));
        }
    }
}

/// For each shard, which run has owned it since when.
struct Owners(BTreeMap<i16, Vec<(Moment, Option<u32>)>>);

impl Owners {
    fn new(evidence: &Evidence, ownership: &Ownership) -> Owners {
        let members = members(evidence);
        let mut owners: BTreeMap<i16, Vec<(Moment, Option<u32>)>> = BTreeMap::new();
        for taken in &ownership.history {
            let run = taken.member.and_then(|member| members.get(&member).copied());
            owners.entry(taken.shard).or_default().push((taken.at, run));
        }
        owners.values_mut().for_each(|changes| changes.sort_by_key(|(at, _)| *at));
        Owners(owners)
    }
}

/// The run of each member.
fn members(evidence: &Evidence) -> BTreeMap<u128, u32> {
    let runs = (0..).zip(&evidence.runs);
    runs.filter_map(|(number, run)| run.story.member.map(|member| (member, number))).collect()
}

impl Ownership {
    /// The same for readers of what is kept: who owned which portal from when on.
    pub(crate) fn incidents(&self, evidence: &Evidence) -> Vec<Incident> {
        let members = members(evidence);
        let mut incidents = Vec::new();
        for taken in &self.history {
            let what = match taken.member.map(|member| members.get(&member)) {
                Some(Some(run)) => format!("run {run} is the owner from now on"),
                Some(None) => "an unknown member is the owner from now on".to_owned(),
                None => "nobody is the owner from now on".to_owned(),
            };
            let shards = self.shards.iter().enumerate();
            for (portal, _) in shards.filter(|(_, shard)| **shard == taken.shard) {
                incidents.push(Incident::at(taken.at, what.clone()).of_portal(portal));
            }
        }
        incidents
    }
}

/// How long after a pause a request may still leave that was about to leave before the pause. In nanoseconds.
const WAKES: u64 = 300_000_000;
