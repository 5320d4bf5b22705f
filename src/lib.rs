//! Events of `tracing` in the log of a Bitrix24 business process.

mod layer;
mod line;
mod protocol;
mod queue;
mod stats;
mod transport;
mod worker;

pub use line::{EventToken, InvalidEventToken, PortalId};
pub use queue::Overflow;
pub use stats::{DropReason, FlushReport, Snapshot};
pub use worker::pace::Quota;
pub use worker::render::LineTime;
pub use worker::retry::UnknownOutcome;
pub use worker::schedule::Retention;
