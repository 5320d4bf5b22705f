//! Events of `tracing` in the log of a Bitrix24 business process.

mod activity;
mod builder;
mod completion;
mod error;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod layer;
mod line;
#[cfg(test)]
mod php;
mod protocol;
mod queue;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod stats;
mod transport;
mod worker;

#[cfg(feature = "axum")]
pub use activity::Installations;
pub use activity::{ActivityRequest, Installation, Property, VerifiedActivity};
pub use builder::{Builder, builder};
pub use completion::{Completion, ReturnValue};
#[cfg(feature = "axum")]
pub use error::ActivityRejection;
pub use error::{
    ActivityError, BuildError, CompleteError, FlushError, OAuthError, TransportError, VerifyError,
    WebhookError,
};
pub use handle::{Activity, Bizproc, WorkerGuard};
pub use layer::{BizprocLayer, EventLevel};
pub use line::{EventToken, InvalidEventToken, PortalId};
pub use queue::Overflow;
pub use stats::{DropReason, FlushReport, PortalSnapshot, Snapshot};
pub use transport::auth::{
    Access, AccessProvider, CredentialError, CredentialFuture, Credentials, FileStore, Hosts,
    MemoryStore, OAuth, TokenStore, Tokens, Webhook, on_thread,
};
pub use worker::pace::Quota;
pub use worker::render::LineTime;
pub use worker::retry::UnknownOutcome;
pub use worker::schedule::Retention;
