//! Events of `tracing` in the log of a Bitrix24 business process.

mod layer;
mod line;
mod protocol;
mod queue;
mod stats;
mod transport;

pub use layer::{BizprocLayer, EventLevel};
pub use line::{EventToken, InvalidEventToken, PortalId};
pub use queue::Overflow;
pub use stats::{DropReason, FlushReport};
