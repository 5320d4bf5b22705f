//! The clock by which a member counts its leases.

use std::time::Instant;

/// The time now. It also advances while the process is paused.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
