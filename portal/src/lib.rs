//! A stand-in Bitrix24 portal, for testing apps that take part in business processes.

mod activity;
mod builder;
mod clock;
mod cloud;
mod core;
mod faults;
mod handler;
mod journal;
#[cfg(test)]
mod judged_by_php;
mod limits;
mod oauth;
mod page;
mod php;
mod portal;
mod random;
mod rest;
mod server;
mod settings;
mod state;
mod workflow;

pub use activity::{Activity, ActivityOptions};
pub use builder::PortalBuilder;
pub use clock::{Clock, UnixTime};
pub use faults::{Canned, Fault, Faults, Moment};
pub use handler::Delivery;
pub use journal::{CommandOutcome, CommandRecord, Counters, Hit};
pub use limits::{OperatingLimit, OuterBatch, Release};
pub use oauth::{App, OAuthError, Tokens};
pub use portal::Portal;
pub use rest::ErrorCode;
pub use settings::{
    Charset, Condition, OwnEntries, Retention, ServerTime, SqlMode, Statuses, Substitution, Tariff,
};
pub use state::{Completion, Entry, EntryKind, Lost, LostReason};
pub use workflow::{Workflow, WorkflowLock};
