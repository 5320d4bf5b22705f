#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod config;
mod connection;
mod error;
mod journal;
mod migrate;
mod ownership;
mod relay;
mod shard;
mod store;
mod tls;

pub use config::PgConfig;
pub use error::PgError;
pub use journal::{Backlog, DeadLetter, OwnedBy, PgJournal, PortalBacklog};
pub use ownership::{
    Change, Claim, Epoch, Intent, Leases, Member, Owner, Ownership, OwnershipFuture, PgOwnership,
};
pub use relay::{Relay, RelayError, RelayJournal, RelayStatus, RunningRelay};
pub use shard::Shard;
pub use store::PgStore;
