//! Keeps a part of the shards, and stops delivery for shards that it loses.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use super::journal::RelayJournal;
use crate::clock::now;
use crate::journal::{PgJournal, left_alone};
use crate::ownership::{Claim, Owner};
use crate::shard::Shard;

/// Stops delivery for a shard. Resolves when no request for it is in flight any more.
pub(super) type LetGo =
    Box<dyn Fn(Shard) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// How to stop: until when to wait for requests in flight, and whom to tell.
pub(super) struct Stop {
    pub(super) until: tokio::time::Instant,
    pub(super) done: oneshot::Sender<()>,
}

/// The state that others may read.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) turns: AtomicU64,
    pub(super) failed_turns: AtomicU64,
    pub(super) taken: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) given_back: AtomicU64,
    /// When the last renewal was sent that was answered.
    renewed: Mutex<Option<Instant>>,
}

impl Kept {
    pub(super) fn renewed(&self) -> Option<Instant> {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Keeper {
    owner: Owner,
    /// The journal, which is told which shards to read.
    reading: Arc<PgJournal>,
    /// The journal, which is told which requests may leave.
    journal: RelayJournal,
    let_go: LetGo,
    kept: Arc<Kept>,
    /// Claims that may still have requests in flight. They are renewed, and not read any more.
    going: BTreeSet<Claim>,
    /// Shards that were lost and may still have lines in memory, with how many times this is so. Under a new claim
    /// they have to wait, because these lines in memory do not show what another owner has sent meanwhile.
    losing: BTreeMap<Shard, usize>,
    gone: JoinSet<Gone>,
    fails: bool,
    /// Portals that were already reported because some of their data cannot be read.
    unreadable: BTreeSet<Option<String>>,
}

/// A shard that has no lines in memory and no request in flight any more.
enum Gone {
    ToGiveBack(Claim),
    Lost(Shard),
}

impl Keeper {
    pub(super) fn new(
        owner: Owner,
        reading: Arc<PgJournal>,
        journal: RelayJournal,
        let_go: LetGo,
        kept: Arc<Kept>,
    ) -> Self {
        let (going, losing, gone) = (BTreeSet::new(), BTreeMap::new(), JoinSet::new());
        let (fails, unreadable) = (false, BTreeSet::new());
        Keeper { owner, reading, journal, let_go, kept, going, losing, gone, fails, unreadable }
    }

    /// Runs until it is stopped, or until nobody can stop it any more.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<Stop>) {
        let mut turns = interval(self.owner.interval());
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = loop {
            tokio::select! {
                biased;
                stop = &mut stop => break stop.ok(),
                Some(gone) = self.gone.join_next() => self.has_gone(gone.ok()).await,
                _ = turns.tick() => self.turn().await,
            }
        };
        let (until, done) = match stop {
            Some(Stop { until, done }) => (until, Some(done)),
            None => (now().into(), None),
        };
        self.leave(until).await;
        if let Some(done) = done {
            // The caller that stopped it may not wait any more.
            let _ = done.send(());
        }
    }

    async fn turn(&mut self) {
        self.report_unreadable();
        let sent = now();
        let change = match self.owner.turn(now).await {
            Ok(change) => change,
            Err(error) => return self.failed(&*error),
        };
        self.is_back(sent);
        add(&self.kept.taken, change.gained.len());
        self.lost(&change.lost);
        let surplus: Vec<Claim> =
            change.surplus.into_iter().filter(|claim| !self.going.contains(claim)).collect();
        self.going.extend(&surplus);
        // Reading a shard ends before the shard is let go, so that its lines do not come back.
        self.read();
        self.start_to_let_go(surplus);
        if !change.gained.is_empty() || !change.lost.is_empty() {
            let (gained, lost) = (change.gained.len(), change.lost.len());
            tracing::info!(target: TARGET, gained, lost, shards = self.held().len(), "Shards changed");
        }
    }

    fn report_unreadable(&mut self) {
        for (portal, why) in self.reading.unreadable() {
            if self.unreadable.insert(portal.clone()) {
                let trouble = left_alone(portal.as_deref(), why);
                tracing::error!(target: TARGET, error = &*trouble as &dyn std::error::Error, "A portal waits");
            }
        }
    }

    /// Reads the shards that it keeps. Requests for shards that are being let go may still get permits.
    fn read(&self) {
        let mut held = self.held();
        held.retain(|claim| !self.losing.contains_key(&claim.shard));
        self.journal.activate(held.iter().copied());
        let read = held.iter().filter(|claim| !self.going.contains(claim));
        self.reading.read_shards(read.map(|claim| claim.shard));
    }

    fn held(&self) -> Vec<Claim> {
        self.owner.leases().claims()
    }

    fn start_to_let_go(&mut self, claims: Vec<Claim>) {
        for claim in claims {
            let going = (self.let_go)(claim.shard);
            self.gone.spawn(async move {
                going.await;
                Gone::ToGiveBack(claim)
            });
        }
    }

    /// Other relays own these shards now. Their requests here are fenced.
    fn lost(&mut self, claims: &[Claim]) {
        add(&self.kept.lost, claims.len());
        for claim in claims {
            self.going.remove(claim);
            *self.losing.entry(claim.shard).or_default() += 1;
        }
        if claims.is_empty() {
            return;
        }
        self.read();
        for claim in claims {
            let (shard, going) = (claim.shard, (self.let_go)(claim.shard));
            self.gone.spawn(async move {
                going.await;
                Gone::Lost(shard)
            });
        }
    }

    /// Handles shards that were let go: this one, and others that are ready.
    async fn has_gone(&mut self, first: Option<Gone>) {
        let mut all: Vec<Gone> = first.into_iter().collect();
        while let Some(gone) = self.gone.try_join_next() {
            all.extend(gone.ok());
        }
        let (mut claims, mut lost) = (Vec::new(), false);
        for gone in all {
            match gone {
                // A shard that was lost meanwhile is not given back.
                Gone::ToGiveBack(claim) if self.going.remove(&claim) => claims.push(claim),
                Gone::ToGiveBack(_) => {}
                Gone::Lost(shard) => {
                    lost = true;
                    if let Some(times) = self.losing.get_mut(&shard) {
                        *times -= 1;
                    }
                }
            }
        }
        if lost {
            self.losing.retain(|_, times| *times > 0);
            self.read();
        }
        if claims.is_empty() {
            return;
        }
        add(&self.kept.given_back, claims.len());
        if let Err(error) = self.owner.give_back(&claims).await {
            self.failed(&*error);
        }
        self.read();
    }

    /// Lets go of everything, and leaves. Shards that it still holds at this time go to the next owners, which
    /// mark lines of unanswered requests as possible repeats.
    async fn leave(&mut self, until: tokio::time::Instant) {
        // At this time, every wait is given up.
        drop(timeout_at(until, self.let_go_of_all()).await);
        if let Err(error) = self.owner.leave().await {
            tracing::warn!(
                target: TARGET, error,
                "Cannot say that this relay goes; others wait until its leases run out"
            );
        }
    }

    async fn let_go_of_all(&mut self) {
        let mut renewals = interval(self.owner.interval());
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let all = self.held();
        let new = all.iter().filter(|claim| !self.going.contains(claim)).copied().collect();
        self.going.extend(all);
        self.read();
        self.start_to_let_go(new);
        while !self.going.is_empty() {
            tokio::select! {
                biased;
                Some(gone) = self.gone.join_next() => self.has_gone(gone.ok()).await,
                _ = renewals.tick() => {
                    let sent = now();
                    match self.owner.renew(now).await {
                        Ok(lost) => {
                            self.is_back(sent);
                            self.lost(&lost);
                        }
                        Err(error) => self.failed(&*error),
                    }
                }
            }
        }
    }

    fn is_back(&mut self, sent: Instant) {
        self.kept.turns.fetch_add(1, Ordering::Relaxed);
        *self.kept.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
        if std::mem::take(&mut self.fails) {
            tracing::info!(target: TARGET, "The leases are renewed again");
        }
    }

    fn failed(&mut self, error: &(dyn std::error::Error + 'static)) {
        self.kept.failed_turns.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.fails, true) {
            tracing::warn!(
                target: TARGET, error,
                "The leases cannot be renewed; without them, this relay delivers nothing"
            );
        }
    }
}

fn add(counter: &AtomicU64, claims: usize) {
    counter.fetch_add(u64::try_from(claims).unwrap_or(0), Ordering::Relaxed);
}

const TARGET: &str = "tracing_bizproc";

#[cfg(test)]
mod tests;
