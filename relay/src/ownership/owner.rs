//! A member that owns a part of the shards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_bizproc::journal::{self, JournalError, Mark};

use super::{Claim, Leases, Member, Ownership};
use crate::shard::Shard;

/// A member that owns a fair part of the shards. It renews its leases, takes free shards, and names the shards
/// that it should give to others.
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
///     // Wait until no request for the surplus is in flight. Then:
///     owner.give_back(&change.surplus).await?;
///     journal.read_shards(owner.leases().claims().iter().map(|claim| claim.shard));
///     Ok(())
/// }
///
/// // For each request. `tried` says which lines are in it. All of them belong to portals of one shard.
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

/// The leases of a member, shared with the code that sends its requests. The lock is held for a moment only, and
/// never across an await.
#[derive(Clone)]
pub(crate) struct SharedLeases(Arc<Mutex<Leases>>);

impl SharedLeases {
    fn new(leases: Leases) -> Self {
        SharedLeases(Arc::new(Mutex::new(leases)))
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Leases) -> T) -> T {
        // Each change is complete, so the data is valid even after a panic.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn claim(&self, shard: Shard, now: Instant) -> Option<Claim> {
        self.with(|leases| leases.claim(shard, now))
    }
}

/// What a [`turn`](Owner::turn) has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// New claims. Read their contents from the start.
    pub gained: Vec<Claim>,
    /// Claims that are not owned any more. Send nothing more for them.
    pub lost: Vec<Claim>,
    /// Claims beyond a fair part. Finish their requests that are in flight, and call
    /// [`give_back`](Owner::give_back).
    pub surplus: Vec<Claim>,
}

impl Owner {
    /// An owner that owns nothing yet.
    pub fn new(ownership: Arc<dyn Ownership>, me: Member) -> Self {
        let leases = SharedLeases::new(Leases::new(ownership.lease()));
        Owner { ownership, me, leases }
    }

    /// Turns off the owner's own deadline: it continues until the ownership says that another member owns its
    /// shards. For tests that have to find the resulting errors.
    pub(crate) fn without_deadline(self) -> Self {
        self.leases.with(|held| *held = Leases::new(NEVER));
        self
    }

    /// The member, its leases and the ownership. The leases always show the present state.
    pub(crate) fn parts(&self) -> (Member, SharedLeases, Arc<dyn Ownership>) {
        (self.me, self.leases.clone(), Arc::clone(&self.ownership))
    }

    /// How long to wait between two turns. Three turns may fail before a lease runs out.
    pub fn interval(&self) -> Duration {
        self.ownership.lease() * 7 / 30
    }

    /// Renews the leases, and takes free shards. `clock` is read before each request is sent.
    ///
    /// # Errors
    /// The error of the ownership. Changes before the error are not lost: they are part of the next answer, or
    /// their leases run out.
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
                // The changes are more important than the error. The error comes again in the next turn.
                Err(_) => {}
            }
        }
        Ok(change)
    }

    /// Renews the leases, and takes no shards: for a member that is about to leave. Returns the claims that were lost.
    ///
    /// # Errors
    /// The same as for [`turn`](Owner::turn).
    pub async fn renew(&mut self, clock: impl Fn() -> Instant) -> Result<Vec<Claim>, JournalError> {
        Ok(self.keep(&clock).await?.0.lost)
    }

    /// Registers the member, and renews the leases. Returns how many members there are. `None`: this failed, and
    /// claims were lost before.
    async fn keep(
        &mut self,
        clock: &impl Fn() -> Instant,
    ) -> Result<(Change, Option<usize>), JournalError> {
        let mut change =
            Change { lost: self.leases.with(|held| held.expire(clock())), ..Change::default() };
        let members = match self.ownership.join(self.me).await {
            Ok(members) => members,
            // A lease that has run out is lost, even if the database has not noticed yet.
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

    /// Gives back claims that have no request in flight any more.
    ///
    /// # Errors
    /// The error of the ownership. Then the leases run out by themselves.
    pub async fn give_back(&mut self, claims: &[Claim]) -> Result<(), JournalError> {
        self.leases.with(|held| held.forget(claims));
        self.ownership.release(self.me, claims).await
    }

    /// Gives back everything, and leaves. So other members need not wait until the leases run out.
    ///
    /// # Errors
    /// Whatever the ownership fails with.
    pub async fn leave(&mut self) -> Result<(), JournalError> {
        self.leases.with(|held| *held = Leases::new(self.ownership.lease()));
        self.ownership.leave(self.me).await
    }

    /// The leases that are held now.
    pub fn leases(&self) -> Leases {
        self.leases.with(|held| held.clone())
    }

    /// Stores that these lines are about to be sent. Call [`may_send`](Owner::may_send) after it, directly before
    /// the request.
    ///
    /// # Errors
    /// The error of the ownership. Then nothing may be sent.
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

    /// Whether a request with lines of this intent may be sent for this shard now.
    pub fn may_send(&self, intent: &Intent, shard: Shard, now: Instant) -> bool {
        // A later claim on the same shard does not count: the owner between the two claims may have sent these
        // lines.
        self.leases.claim(shard, now).is_some_and(|claim| intent.written.contains(&claim))
    }
}

/// The lines that an owner is about to send. It may send them while it keeps the claims under which the intent was
/// stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    written: Vec<Claim>,
    fenced: Vec<Shard>,
}

impl Intent {
    /// Shards whose lines must not be sent, because another member owns them. Read them again if they come back.
    pub fn fenced(&self) -> &[Shard] {
        &self.fenced
    }
}

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(24 * 3_600);
