//! Who delivers for which portals: each shard has one owner at a time.
//!
//! An owner holds a lease, and renews it. Three things keep two relays from delivering the same lines:
//!
//! - *The owner's own deadline.* It is counted from when the owner *sent* the last renewal that was answered, so
//!   it passes before the lease does, also if the owner was paused. After it, the owner sends nothing.
//! - *The epoch.* It grows each time a shard is taken. Whoever has an older one is fenced.
//! - *The intent.* Before each request the owner writes down which lines it is about to send, and that
//!   succeeds only in its epoch. So the next owner knows all lines that may stand in the log already.
//!
//! The order is: write the intent, look at the deadline, send. What is left is a pause between the last look
//! and the write to the socket.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tracing_bizproc::journal::{self, JournalError};

use crate::shard::Shard;

mod leases;
mod owner;
mod pg;

pub use self::leases::Leases;
pub(crate) use self::owner::SharedLeases;
pub use self::owner::{Change, Intent, Owner};
pub use self::pg::PgOwnership;

/// What an ownership answers, later.
pub type OwnershipFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// One run of one relay, by a number that no other run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(pub u128);

/// How often a shard was taken so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A shard that was taken in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// What was taken.
    pub shard: Shard,
    /// Since when.
    pub epoch: Epoch,
}

/// Says which relay owns which shard. All relays that read one journal share one.
pub trait Ownership: Send + Sync + 'static {
    /// How long a lease lasts from when it is renewed.
    fn lease(&self) -> Duration;

    /// Says that `me` is there, for the time of a lease, and returns how many members are.
    fn join<'a>(&'a self, me: Member) -> OwnershipFuture<'a, usize>;

    /// Gives back everything that `me` owns, and says that it goes.
    fn leave<'a>(&'a self, me: Member) -> OwnershipFuture<'a, ()>;

    /// Takes up to `most` shards that nobody owns, or whose lease has run out.
    fn acquire<'a>(&'a self, me: Member, most: usize) -> OwnershipFuture<'a, Vec<Claim>>;

    /// Renews the leases of what is still owned, and returns it. The rest has another owner.
    fn renew<'a>(&'a self, me: Member, claims: &'a [Claim]) -> OwnershipFuture<'a, Vec<Claim>>;

    /// Gives back what is still owned of this.
    fn release<'a>(&'a self, me: Member, claims: &'a [Claim]) -> OwnershipFuture<'a, ()>;

    /// Stores what requests contain: marks lines as [tried](journal::MarkKind::Tried) or
    /// [returned](journal::MarkKind::Returned) in the order of the marks, and replaces memos, where the shard
    /// of the portal is owned by one of the claims, in one atomic step. Returns the shards of the claims that
    /// are not owned any more: requests for them must not be sent. Any other kind of mark counts as tried.
    fn intend<'a>(
        &'a self,
        me: Member,
        claims: &'a [Claim],
        intents: &'a [journal::Intent],
    ) -> OwnershipFuture<'a, Vec<Shard>>;
}
