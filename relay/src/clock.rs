//! The clock by which a member counts its leases.

use std::time::Instant;

/// The time now. It also advances while the process is paused, but not while a virtual machine is suspended. After that,
/// the database refuses the next intent, because another relay owns the shard.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
