//! A member that keeps its part of the shards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_bizproc::journal::{self, JournalError, Mark};

use super::{Claim, Leases, Member, Ownership};
use crate::shard::Shard;

/// A member that keeps a fair part of the shards: renews its leases, takes what is free, and says what others
/// should have.
///
/// ```no_run
/// use std::sync::Arc;
/// use std::time::Instant;
///
/// use tracing_bizproc::journal::{Journal, JournalError, Mark};
/// use tracing_bizproc_relay::{Owner, PgJournal, Shard};
///
/// // Once in `owner.interval()`.
/// async fn keep(owner: &mut Owner, journal: &PgJournal) -> Result<(), JournalError> {
///     let change = owner.turn(Instant::now).await?;
///     // Nothing of the surplus is on the way any more.
///     owner.give_back(&change.surplus).await?;
///     journal.read_shards(owner.leases().claims().iter().map(|claim| claim.shard));
///     Ok(())
/// }
///
/// // For each request: `tried` says which lines are in it, all of them for portals of one shard.
/// async fn send(owner: &Owner, shard: Shard, tried: &[Mark]) -> Result<bool, JournalError> {
///     let intent = owner.intend(tried, Instant::now()).await?;
///     // Here the request would leave.
///     Ok(owner.may_send(&intent, shard, Instant::now()))
/// }
/// ```
pub struct Owner {
    ownership: Arc<dyn Ownership>,
    me: Member,
    leases: SharedLeases,
}

/// What a member holds, for those who send in its name. Locked for moments only, never while something is
/// awaited.
#[derive(Clone)]
pub(crate) struct SharedLeases(Arc<Mutex<Leases>>);

impl SharedLeases {
    fn new(leases: Leases) -> Self {
        SharedLeases(Arc::new(Mutex::new(leases)))
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Leases) -> T) -> T {
        // Each change is whole, whatever panicked beside it.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn claim(&self, shard: Shard, now: Instant) -> Option<Claim> {
        self.with(|leases| leases.claim(shard, now))
    }
}

/// What is different after a [`turn`](Owner::turn).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Taken: read what they hold, from the start.
    pub gained: Vec<Claim>,
    /// Not owned any more: send nothing more of them.
    pub lost: Vec<Claim>,
    /// More than a fair part: finish what is on the way, and [`give_back`](Owner::give_back).
    pub surplus: Vec<Claim>,
}

impl Owner {
    /// Owns nothing yet.
    pub fn new(ownership: Arc<dyn Ownership>, me: Member) -> Self {
        let leases = SharedLeases::new(Leases::new(ownership.lease()));
        Owner { ownership, me, leases }
    }

    /// Has no deadline of its own: it goes on until the ownership says that another one owns the rest. For tests
    /// that have to find what comes of that.
    pub(crate) fn without_deadline(self) -> Self {
        self.leases.with(|held| *held = Leases::new(NEVER));
        self
    }

    /// Who it is, what it holds now and in the future, and where that is written.
    pub(crate) fn parts(&self) -> (Member, SharedLeases, Arc<dyn Ownership>) {
        (self.me, self.leases.clone(), Arc::clone(&self.ownership))
    }

    /// How long to wait between two turns: three of them may fail before a lease runs out.
    pub fn interval(&self) -> Duration {
        self.ownership.lease() * 7 / 30
    }

    /// Renews, and takes what is free. `clock` is read before each request is sent.
    ///
    /// # Errors
    /// Whatever the ownership fails with. What was changed before is not lost: it is part of the next answer,
    /// or runs out by itself.
    pub async fn turn(&mut self, clock: impl Fn() -> Instant) -> Result<Change, JournalError> {
        let (mut change, members) = self.keep(&clock).await?;
        let Some(members) = members else { return Ok(change) };
        let missing;
        (change.surplus, missing) =
            self.leases.with(|held| (held.surplus(members), held.missing(members)));
        if missing > 0 {
            let sent = clock();
            match self.ownership.acquire(self.me, missing).await {
                Ok(gained) => {
                    self.leases.with(|held| held.extend(&gained, sent));
                    change.gained = gained;
                }
                Err(error) if change == Change::default() => return Err(error),
                // What is to be said is worth more. The error comes again in the next turn.
                Err(_) => {}
            }
        }
        Ok(change)
    }

    /// Renews, and takes nothing: for a member that is about to leave. Returns what was lost.
    ///
    /// # Errors
    /// As [`turn`](Owner::turn).
    pub async fn renew(&mut self, clock: impl Fn() -> Instant) -> Result<Vec<Claim>, JournalError> {
        Ok(self.keep(&clock).await?.0.lost)
    }

    /// Says that it is there, and renews. Returns how many members there are; `None`: that failed, and something
    /// was lost before.
    async fn keep(
        &mut self,
        clock: &impl Fn() -> Instant,
    ) -> Result<(Change, Option<usize>), JournalError> {
        let mut change =
            Change { lost: self.leases.with(|held| held.expire(clock())), ..Change::default() };
        let members = match self.ownership.join(self.me).await {
            Ok(members) => members,
            // What has run out has run out, whatever the database says.
            Err(_) if !change.lost.is_empty() => return Ok((change, None)),
            Err(error) => return Err(error),
        };
        let claims = self.leases.with(|held| held.claims());
        if !claims.is_empty() {
            let sent = clock();
            let renewed = match self.ownership.renew(self.me, &claims).await {
                Ok(renewed) => renewed,
                Err(_) if !change.lost.is_empty() => return Ok((change, None)),
                Err(error) => return Err(error),
            };
            let lost: Vec<Claim> =
                claims.into_iter().filter(|claim| !renewed.contains(claim)).collect();
            self.leases.with(|held| {
                held.extend(&renewed, sent);
                held.forget(&lost);
            });
            change.lost.extend(lost);
        }
        Ok((change, Some(members)))
    }

    /// Gives back claims of which nothing is on the way any more.
    ///
    /// # Errors
    /// Whatever the ownership fails with. The leases then run out by themselves.
    pub async fn give_back(&mut self, claims: &[Claim]) -> Result<(), JournalError> {
        self.leases.with(|held| held.forget(claims));
        self.ownership.release(self.me, claims).await
    }

    /// Gives back everything, and goes: others need not wait until the leases run out.
    ///
    /// # Errors
    /// Whatever the ownership fails with.
    pub async fn leave(&mut self) -> Result<(), JournalError> {
        self.leases.with(|held| *held = Leases::new(self.ownership.lease()));
        self.ownership.leave(self.me).await
    }

    /// What is held now.
    pub fn leases(&self) -> Leases {
        self.leases.with(|held| held.clone())
    }

    /// Writes down that these lines are about to be sent. Call [`may_send`](Owner::may_send) afterwards, right
    /// before the request.
    ///
    /// # Errors
    /// Whatever the ownership fails with: then nothing may be sent.
    pub async fn intend(&self, marks: &[Mark], now: Instant) -> Result<Intent, JournalError> {
        let mut shards: Vec<Shard> =
            marks.iter().map(|mark| Shard::of(mark.portal.as_ref())).collect();
        shards.sort_unstable();
        shards.dedup();
        let mut written: Vec<Claim> =
            shards.iter().filter_map(|shard| self.leases.claim(*shard, now)).collect();
        if !written.is_empty() {
            // Each mark names its own portal.
            let intent = journal::Intent { portal: None, marks: marks.to_vec(), memos: Vec::new() };
            let fenced = self.ownership.intend(self.me, &written, &[intent]).await?;
            written.retain(|claim| !fenced.contains(&claim.shard));
        }
        shards.retain(|shard| written.iter().all(|claim| claim.shard != *shard));
        Ok(Intent { written, fenced: shards })
    }

    /// Whether a request for this shard may leave now, with lines of this intent.
    pub fn may_send(&self, intent: &Intent, shard: Shard, now: Instant) -> bool {
        // Not under a later claim on the same shard: its owner between the two did not leave these lines
        // alone.
        self.leases.claim(shard, now).is_some_and(|claim| intent.written.contains(&claim))
    }
}

/// What an owner is about to send, and may send while it keeps the claims under which that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    written: Vec<Claim>,
    fenced: Vec<Shard>,
}

impl Intent {
    /// Shards whose lines must not be sent: they are somebody else's. Read them again if they come back.
    pub fn fenced(&self) -> &[Shard] {
        &self.fenced
    }
}

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(24 * 3_600);
