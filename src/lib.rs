//! Events of `tracing` in the log of a Bitrix24 business process.

mod error;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod line;
mod protocol;
mod queue;
mod stats;
mod transport;

pub use error::{TransportError, WebhookError};
pub use line::{EventToken, PortalId};
pub use stats::DropReason;
pub use transport::auth::Webhook;
