//! The journal of a relay: no request leaves without a claim on its shard.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tracing_bizproc::journal::{
    Adopted, Answer, Batch, Evicted, Intent, Journal, JournalFuture, Mark, Memo, Number, Permit,
    Position, Publisher, Query, Read,
};
use tracing_bizproc::{EventToken, PortalId};

use crate::clock::now;
use crate::journal::PgJournal;
use crate::ownership::{Claim, Epoch, Member, Owner, Ownership, SharedLeases};
use crate::shard::Shard;

/// A [`PgJournal`] of one [`Owner`]. A request may leave while the owner holds the shard of its portal in the same
/// epoch in which it stored the contents of the request.
///
/// The permit of a request is that epoch. Requests need a permit in an epoch that was
/// [activated](RelayJournal::activate). If a shard was lost and taken again, its delivery starts when no data of
/// the earlier epoch is in memory any more.
#[derive(Clone)]
pub struct RelayJournal {
    journal: Arc<PgJournal>,
    me: Member,
    leases: SharedLeases,
    active: Arc<Mutex<BTreeMap<Shard, Epoch>>>,
    ownership: Arc<dyn Ownership>,
    counts: Arc<Counts>,
    is_fenced: Arc<AtomicBool>,
}

/// Counts the results of requests that asked for a permit.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// They got a permit.
    pub(crate) permitted: AtomicU64,
    /// Another relay owns the shard.
    pub(crate) fenced: AtomicU64,
    /// The database could not store them.
    pub(crate) failed: AtomicU64,
    /// They had a permit, but it was not valid any more when they were about to leave.
    pub(crate) too_late: AtomicU64,
}

impl RelayJournal {
    /// The journal of this owner. It reads the shards that the owner tells it to read.
    pub fn new(journal: Arc<PgJournal>, owner: &Owner) -> Self {
        let (me, leases, ownership) = owner.parts();
        let (active, counts, is_fenced) = (Arc::default(), Arc::default(), Arc::new(true.into()));
        RelayJournal { journal, me, leases, active, ownership, counts, is_fenced }
    }

    /// From now on, permits requests under these claims only, and only while the owner holds them.
    pub fn activate(&self, claims: impl IntoIterator<Item = Claim>) {
        let claims = claims.into_iter().map(|claim| (claim.shard, claim.epoch)).collect();
        *self.active() = claims;
    }

    fn active(&self) -> MutexGuard<'_, BTreeMap<Shard, Epoch>> {
        // It is replaced as a whole.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The claim under which a request may leave now.
    fn claim(&self, portal: Option<&PortalId>, now: Instant) -> Option<Claim> {
        let shard = Shard::of(portal);
        let epoch = self.active().get(&shard).copied()?;
        self.leases.claim(shard, now).filter(|claim| claim.epoch == epoch)
    }

    /// Permits every request, even if another member owns its portal. Then lines are sent twice without a mark.
    /// For tests that have to find this error.
    #[doc(hidden)]
    pub fn unfenced(self) -> Self {
        self.is_fenced.store(false, Ordering::Relaxed);
        self
    }

    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Stores the contents of requests, and returns the claim under which each request may leave.
    async fn write(
        &self,
        intents: &[Intent],
    ) -> Result<Vec<Option<Claim>>, tracing_bizproc::journal::JournalError> {
        let start = now();
        let claim = |intent: &Intent| self.claim(intent.portal.as_ref(), start);
        let mut held: Vec<Option<Claim>> = intents.iter().map(claim).collect();
        let mut claims: Vec<Claim> = held.iter().flatten().copied().collect();
        claims.sort_unstable();
        claims.dedup();
        if claims.is_empty() {
            return Ok(held);
        }
        // Nothing is stored for requests without a claim, also if the owner has a claim on their shard by now.
        let with_claim = || intents.iter().zip(&held).filter(|(_, claim)| claim.is_some());
        let fenced = if with_claim().count() == intents.len() {
            self.ownership.intend(self.me, &claims, intents).await?
        } else {
            let intents: Vec<Intent> = with_claim().map(|(intent, _)| intent.clone()).collect();
            self.ownership.intend(self.me, &claims, &intents).await?
        };
        for claim in &mut held {
            *claim = claim.filter(|claim| !fenced.contains(&claim.shard));
        }
        Ok(held)
    }
}

impl Journal for RelayJournal {
    fn append<'a>(&'a self, batch: &'a Batch) -> JournalFuture<'a, Position> {
        self.journal.append(batch)
    }

    fn read<'a>(&'a self, query: Query<'a>) -> JournalFuture<'a, Read> {
        self.journal.read(query)
    }

    fn mark<'a>(&'a self, marks: &'a [Mark]) -> JournalFuture<'a, ()> {
        self.journal.mark(marks)
    }

    fn adopt<'a>(&'a self) -> JournalFuture<'a, Adopted> {
        self.journal.adopt()
    }

    fn evicted<'a>(&'a self, now: SystemTime) -> JournalFuture<'a, Vec<Evicted>> {
        self.journal.evicted(now)
    }

    fn generation(&self) -> u64 {
        self.journal.generation()
    }

    fn time(&self, local: SystemTime) -> SystemTime {
        self.journal.time(local)
    }

    fn intend<'a>(&'a self, intents: &'a [Intent]) -> JournalFuture<'a, Vec<Option<Permit>>> {
        Box::pin(async move {
            if !self.is_fenced.load(Ordering::Relaxed) {
                let marks = intents.iter().flat_map(|intent| intent.marks.iter().cloned());
                self.journal.mark(&marks.collect::<Vec<Mark>>()).await?;
                return Ok(vec![Some(Permit::default()); intents.len()]);
            }
            let count = |counter: &AtomicU64, intents: usize| {
                counter.fetch_add(u64::try_from(intents).unwrap_or(0), Ordering::Relaxed);
            };
            let written = self.write(intents).await.inspect_err(|_| {
                count(&self.counts.failed, intents.len());
            })?;
            let fenced = written.iter().filter(|claim| claim.is_none()).count();
            count(&self.counts.fenced, fenced);
            count(&self.counts.permitted, written.len() - fenced);
            let permit = |claim: Option<Claim>| claim.map(|claim| Permit(claim.epoch.0));
            Ok(written.into_iter().map(permit).collect())
        })
    }

    fn is_permitted(&self, portal: Option<&PortalId>, permit: Permit) -> bool {
        if !self.is_fenced.load(Ordering::Relaxed) {
            return true;
        }
        let claim = self.claim(portal, now());
        // A later claim does not count: the owner between the two claims may have sent these lines.
        let is_permitted = claim.is_some_and(|claim| claim.epoch.0 == permit.0);
        if !is_permitted {
            self.counts.too_late.fetch_add(1, Ordering::Relaxed);
        }
        is_permitted
    }

    fn memos<'a>(&'a self, portal: &'a Option<PortalId>) -> JournalFuture<'a, Vec<Memo>> {
        self.journal.memos(portal)
    }

    fn news<'a>(&'a self) -> JournalFuture<'a, ()> {
        self.journal.news()
    }

    fn answer<'a>(&'a self, answers: &'a [Answer]) -> JournalFuture<'a, ()> {
        self.journal.answer(answers)
    }

    fn answers<'a>(
        &'a self,
        publisher: Publisher,
        ends: &'a [Number],
    ) -> JournalFuture<'a, Vec<Answer>> {
        self.journal.answers(publisher, ends)
    }

    fn unsettled<'a>(
        &'a self,
        publisher: Publisher,
        of: Option<(&'a Option<PortalId>, &'a EventToken)>,
        up_to: Number,
    ) -> JournalFuture<'a, u64> {
        self.journal.unsettled(publisher, of, up_to)
    }
}

impl fmt::Debug for RelayJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayJournal").field("journal", &self.journal).finish_non_exhaustive()
    }
}
