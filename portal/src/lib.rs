#![doc = include_str!("../README.md")]
//!
//! # The route of a hit
//!
//! ```text
//! server/connection   TCP, TLS, HTTP/1.1
//!   server/route      journal and faults (when a plan says so), by http/exchange
//!     rest/hit        rate limit, portal, method, credential
//!       rest/batch    up to 50 commands: php (parse_url, parse_str), rest/substitution
//!         rest/command    scope, operating limit, one method
//!           state/processes   token, message, lock; then written, completed or lost
//!           outgoing/flow     the next activity of a template, told to its handler (wire)
//!       rest/background     ends that were queued (`EventSend::Background`)
//! ```
//!
//! `state`, `limits`, `oauth`, `php` and `faults` decide and do no I/O; the time is an argument.
//! `server`, `http`, `wire` and `page` do I/O and decide nothing. `core` is what both share.
//! `outgoing` is what the portal does by itself. `workflow`, `activity`, `app` and `portal` are
//! the API for tests. `tests/it/arrows.rs` checks which module may import which.

mod activity;
mod app;
mod clock;
mod core;
mod credentials;
mod error;
mod faults;
mod http;
mod journal;
#[cfg(test)]
mod judged_by_php;
mod limits;
mod lines;
mod oauth;
mod outgoing;
mod page;
mod php;
mod portal;
mod random;
mod rest;
mod server;
mod settings;
mod socket;
mod state;
mod tls;
mod wire;
mod workflow;

pub use activity::{Activity, ActivityOptions};
pub use app::{App, Tokens};
pub use clock::{Clock, UnixTime};
pub use error::ErrorCode;
pub use faults::{Canned, Fault, Moment};
pub use journal::{CommandOutcome, CommandRecord, Counters, Hit, Sent};
pub use lines::LinesMissing;
pub use oauth::OAuthError;
pub use portal::{Faults, Portal, PortalBuilder};
pub use settings::{
    Authorization, BlankSubscription, Charset, Condition, EventSend, Language, MissingMethods,
    OperatingLimit, OuterBatch, OwnEntries, Release, Retention, ServerTime, Setting, SqlMode,
    Statuses, Substitution, Tariff,
};
pub use state::{Completion, Delivery, Entry, EntryKind, Lost, LostReason, PropertyValue};
pub use workflow::{Workflow, WorkflowLock};
