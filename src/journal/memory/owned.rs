//! The journal in memory for several processes: each portal has one owner, and only the owner's requests are
//! permitted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::{Disk, Faults};
use crate::journal::{
    Adopted, Answer, Batch, Evicted, Intent, Journal, JournalFuture, Mark, Memo, Number, Permit,
    Position, Publisher, Query, Read,
};
use crate::line::PortalId;

/// A process, by its number.
pub(crate) type Member = u64;

/// The owners of portals, and the data that owners leave for each other.
#[derive(Debug, Default)]
pub(super) struct Owned {
    /// The owner, and how many owners there were so far.
    owners: HashMap<Option<PortalId>, (Option<Member>, u64)>,
    /// Portals whose owner is about to change. Nobody reads them.
    hidden: HashSet<Option<PortalId>>,
    generations: HashMap<Member, u64>,
    /// Members that do not reach the journal.
    cut: HashSet<Member>,
    /// Every member may send everything. With this, a test shows that it would find the resulting errors.
    unfenced: bool,
    memos: HashMap<Option<PortalId>, BTreeMap<u128, Vec<u8>>>,
    answers: Vec<Answer>,
    /// Requests that were permitted, by member.
    permitted: HashMap<Member, u64>,
    news: Arc<Notify>,
    /// How far the clocks of the processes are ahead of the journal's.
    ahead: Duration,
}

/// The handle of one member.
#[derive(Debug)]
pub(crate) struct Share {
    disk: Disk,
    member: Member,
}

impl Disk {
    /// The handle for a member.
    pub(crate) fn share(&self, member: Member) -> Arc<Share> {
        Arc::new(Share { disk: self.clone(), member })
    }

    /// Makes this member the owner of the portal, or leaves it without an owner.
    pub(crate) fn give(&self, portal: &Option<PortalId>, to: Option<Member>) {
        let mut inside = self.inside();
        inside.owned.hidden.remove(portal);
        let owner = inside.owned.owners.entry(portal.clone()).or_default();
        *owner = (to, owner.1 + 1);
        if let Some(member) = to {
            *inside.owned.generations.entry(member).or_default() += 1;
        }
    }

    /// The owner of the portal is about to let it go, so it gets no more data of the portal.
    pub(crate) fn hide(&self, portal: &Option<PortalId>) {
        self.inside().owned.hidden.insert(portal.clone());
    }

    /// The member reads everything from the start again.
    pub(crate) fn renew(&self, member: Member) {
        *self.inside().owned.generations.entry(member).or_default() += 1;
    }

    /// Sets whether this member reaches the journal.
    pub(crate) fn cut(&self, member: Member, is_cut: bool) {
        let mut inside = self.inside();
        match is_cut {
            true => inside.owned.cut.insert(member),
            false => inside.owned.cut.remove(&member),
        };
    }

    /// From now on, the clocks of all processes are ahead of the journal's clock by this time.
    pub(crate) fn clocks_are_ahead(&self, by: Duration) {
        self.inside().owned.ahead = by;
    }

    /// Permits every request from now on.
    pub(crate) fn permit_everything(&self) {
        self.inside().owned.unfenced = true;
    }

    /// Appends at once, and wakes all readers.
    pub(crate) fn append_now(&self, batch: &Batch) {
        let mut inside = self.inside();
        inside.append(batch);
        inside.owned.news.notify_waiters();
    }

    /// Outcomes of ends so far.
    pub(crate) fn answered(&self) -> Vec<Answer> {
        self.inside().owned.answers.clone()
    }

    /// The memos of a portal.
    pub(crate) fn memos_of(&self, portal: &Option<PortalId>) -> BTreeMap<u128, Vec<u8>> {
        self.inside().owned.memos.get(portal).cloned().unwrap_or_default()
    }
}

impl Owned {
    fn owner(&self, portal: &Option<PortalId>) -> (Option<Member>, u64) {
        self.owners.get(portal).copied().unwrap_or_default()
    }

    fn reads(&self, portal: &Option<PortalId>, member: Member) -> bool {
        self.owner(portal).0 == Some(member) && !self.hidden.contains(portal)
    }

    fn permit(&self, portal: &Option<PortalId>, member: Member) -> Option<Permit> {
        let (owner, epoch) = self.owner(portal);
        (self.unfenced || owner == Some(member)).then_some(Permit(epoch))
    }
}

impl Share {
    async fn faults(&self) -> Result<Faults, crate::journal::JournalError> {
        loop {
            let (faults, cut) = {
                let inside = self.disk.inside();
                (inside.faults, inside.owned.cut.contains(&self.member))
            };
            if cut {
                return Err("the connection was cut".into());
            }
            if !faults.hangs {
                tokio::time::sleep(faults.takes).await;
                return Ok(faults);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

impl Journal for Share {
    fn append<'a>(&'a self, batch: &'a Batch) -> JournalFuture<'a, Position> {
        Box::pin(async move {
            if self.faults().await?.full {
                return Err("no space left".into());
            }
            self.disk.append_now(batch);
            Ok(Position(self.disk.inside().chunks.len() as u128))
        })
    }

    fn read<'a>(&'a self, query: Query<'a>) -> JournalFuture<'a, Read> {
        Box::pin(async move {
            if self.faults().await?.unreadable {
                return Err("input/output error".into());
            }
            let mut inside = self.disk.inside();
            inside.reads += 1;
            let owned = &inside.owned;
            Ok(inside.read(query, |_, chunk| owned.reads(&chunk.portal, self.member)))
        })
    }

    fn mark<'a>(&'a self, marks: &'a [Mark]) -> JournalFuture<'a, ()> {
        Box::pin(async move {
            if self.faults().await?.unmarkable {
                return Err("input/output error".into());
            }
            self.disk.inside().mark(marks);
            Ok(())
        })
    }

    fn adopt<'a>(&'a self) -> JournalFuture<'a, Adopted> {
        Box::pin(async { Ok(Adopted::default()) })
    }

    fn evicted<'a>(&'a self, _now: SystemTime) -> JournalFuture<'a, Vec<Evicted>> {
        Box::pin(async {
            let mut inside = self.disk.inside();
            let (mine, others) = std::mem::take(&mut inside.evicted).into_iter().partition(|of| {
                let portal = of.of.as_ref().map(|(_, portal, _)| portal);
                portal.is_some_and(|portal| inside.owned.reads(portal, self.member))
            });
            inside.evicted = others;
            Ok(mine)
        })
    }

    fn time(&self, local: SystemTime) -> SystemTime {
        local - self.disk.inside().owned.ahead
    }

    fn generation(&self) -> u64 {
        self.disk.inside().owned.generations.get(&self.member).copied().unwrap_or_default()
    }

    fn intend<'a>(&'a self, intents: &'a [Intent]) -> JournalFuture<'a, Vec<Option<Permit>>> {
        Box::pin(async move {
            if self.faults().await?.unmarkable {
                return Err("input/output error".into());
            }
            let mut inside = self.disk.inside();
            let mut permits = Vec::new();
            for Intent { portal, marks, memos } in intents {
                let permit = inside.owned.permit(portal, self.member);
                if permit.is_some() {
                    inside.mark(marks);
                    let kept = inside.owned.memos.entry(portal.clone()).or_default();
                    kept.extend(memos.iter().map(|Memo { key, value }| (*key, value.clone())));
                    *inside.owned.permitted.entry(self.member).or_default() += 1;
                }
                permits.push(permit);
            }
            Ok(permits)
        })
    }

    fn is_permitted(&self, portal: Option<&PortalId>, permit: Permit) -> bool {
        let inside = self.disk.inside();
        inside.owned.unfenced || inside.owned.permit(&portal.cloned(), self.member) == Some(permit)
    }

    fn memos<'a>(&'a self, portal: &'a Option<PortalId>) -> JournalFuture<'a, Vec<Memo>> {
        Box::pin(async move {
            self.faults().await?;
            let memos = self.disk.memos_of(portal).into_iter();
            Ok(memos.map(|(key, value)| Memo { key, value }).collect())
        })
    }

    fn news<'a>(&'a self) -> JournalFuture<'a, ()> {
        Box::pin(async move {
            let news = self.disk.inside().owned.news.clone();
            news.notified().await;
            Ok(())
        })
    }

    fn answer<'a>(&'a self, answers: &'a [Answer]) -> JournalFuture<'a, ()> {
        Box::pin(async move {
            if self.faults().await?.unmarkable {
                return Err("input/output error".into());
            }
            let mut inside = self.disk.inside();
            inside.owned.answers.extend_from_slice(answers);
            inside.answer(answers);
            Ok(())
        })
    }

    fn answers<'a>(
        &'a self,
        publisher: Publisher,
        ends: &'a [Number],
    ) -> JournalFuture<'a, Vec<Answer>> {
        Box::pin(async move {
            self.faults().await?;
            let mut answers = self.disk.answered();
            answers.retain(|answer| answer.publisher == publisher && ends.contains(&answer.no));
            Ok(answers)
        })
    }
}
