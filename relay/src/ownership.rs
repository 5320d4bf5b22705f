//! Who delivers for which portals: each shard has one owner at a time.
//!
//! An owner holds a lease, and renews it. Three things keep two relays from delivering the same lines:
//!
//! - *The owner's own deadline.* It is counted from the time when the owner *sent* the last renewal that was
//!   answered. So it passes before the lease runs out, also if the owner was paused. After this deadline, the
//!   owner sends nothing.
//! - *The epoch.* It increases each time a shard is taken. An owner with an older epoch is fenced: it cannot write
//!   any more.
//! - *The intent.* Before each request, the owner stores which lines it is about to send. This succeeds only in
//!   its epoch. So the next owner knows all lines that may be in the log already.
//!
//! The order is: store the intent, check the deadline, send. One case remains: a pause between the last check and
//! the write to the socket.

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
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

/// The future answer of an ownership.
pub type OwnershipFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// One run of one relay: a number that no other run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(pub u128);

impl Member {
    /// A number that no other run has.
    pub(crate) fn random() -> Self {
        let half = || u128::from(RandomState::new().build_hasher().finish());
        Member(half() << 64 | half())
    }
}

/// How many times a shard was taken so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A shard that was taken in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The shard.
    pub shard: Shard,
    /// The epoch since which it is owned.
    pub epoch: Epoch,
}

/// Says which relay owns which shard. All relays that read one journal share one.
pub trait Ownership: Send + Sync + 'static {
    /// How long a lease lasts after a renewal.
    fn lease(&self) -> Duration;

    /// Registers `me` as a member for the time of a lease, and returns how many members there are.
    fn join<'a>(&'a self, me: Member) -> OwnershipFuture<'a, usize>;

    /// Gives back everything that `me` owns, and removes it from the members.
    fn leave<'a>(&'a self, me: Member) -> OwnershipFuture<'a, ()>;

    /// Takes up to `most` shards that nobody owns, or whose lease has run out.
    fn acquire<'a>(&'a self, me: Member, most: usize) -> OwnershipFuture<'a, Vec<Claim>>;

    /// Renews the leases of the claims that are still owned, and returns these claims. The others are not owned
    /// any more.
    fn renew<'a>(&'a self, me: Member, claims: &'a [Claim]) -> OwnershipFuture<'a, Vec<Claim>>;

    /// Gives back those of these claims that are still owned.
    fn release<'a>(&'a self, me: Member, claims: &'a [Claim]) -> OwnershipFuture<'a, ()>;

    /// Stores what requests contain: marks lines as [tried](journal::MarkKind::Tried) or
    /// [returned](journal::MarkKind::Returned) in the order of the marks, and replaces memos. It does so only if
    /// one of the claims owns the shard of the portal, all in one atomic step. Returns the shards of the claims
    /// that are not owned any more: requests for these shards must not be sent. Any other kind of mark counts as
    /// tried.
    fn intend<'a>(
        &'a self,
        me: Member,
        claims: &'a [Claim],
        intents: &'a [journal::Intent],
    ) -> OwnershipFuture<'a, Vec<Shard>>;
}
