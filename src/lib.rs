//! Events of `tracing` in the log of a Bitrix24 business process.

mod line;
mod protocol;
mod queue;
mod stats;
mod transport;

pub use line::{EventToken, PortalId};
pub use stats::DropReason;
