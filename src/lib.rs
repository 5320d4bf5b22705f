//! Events of `tracing` in the log of a Bitrix24 business process.
//!
//! When a workflow reaches an app's activity, the portal calls the app with an `event_token` and
//! waits. While it waits the app may write to the workflow's log. This crate makes that log a place
//! where ordinary `info!` calls go: tag a span with the token, and the events inside it become lines
//! for the people who own the process.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tracing::level_filters::LevelFilter;
//! use tracing::{info, info_span};
//! use tracing_bizproc::EventToken;
//! use tracing_bizproc::auth::Webhook;
//! use tracing_subscriber::prelude::*;
//!
//! let (bizproc, _guard) = tracing_bizproc::builder(Webhook::from_env()?).build()?;
//! // Without a level it would print what hyper and reqwest say of each request at DEBUG and TRACE.
//! let printed = tracing_subscriber::fmt::layer().with_filter(LevelFilter::INFO);
//! tracing_subscriber::registry().with(printed).with(bizproc).init();
//!
//! # let token_of_the_request = String::new();
//! let event_token = EventToken::parse(&token_of_the_request)?;
//! info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
//!     info!(amount = 99.5, "Card charged");
//! });
//! # Ok(())
//! # }
//! ```
//!
//! Apps that log with the `log` crate and not with `tracing`: `BizprocLogger`, with the feature `log`.
//!
//! # The route of an event
//!
//! ```text
//! caller's thread     layer      finds the tagged span, packs the fields as typed bytes     LogLine
//!                     queue      bounded; refuses at the door, and counts                      |
//! ------------------------------------------------------------------------------------------- v --
//! worker's thread     engine     one lane per portal, one ledger for all that ends          LogLine
//!                     coalescer  lines of one token become one entry, when it is due        Command
//!                     lane       up to 50 commands, when the portal's limits allow          Request
//!                     transport  HTTP; decides nothing                                        Reply
//!                     lane       an outcome per command: done, retried, or given up         Outcome
//!                     ledger     counts the lines, frees their budget, answers flushes        Stats
//! ```
//!
//! # What is promised
//!
//! An accepted line is sent until the portal acknowledges it, or dropped for a counted reason. When
//! nothing is in motion, `accepted = acknowledged + late + lost + pending` ([`Snapshot`](stats::Snapshot)). Where
//! lines are missing, the token's next entry says how many, since when, and why. Order is kept within
//! a token. An entry stands in the log twice only if the outcome of a request was unknown, and then
//! the repeat is marked. Nothing survives a crash of the process.
//!
//! *Acknowledged* means that the portal said true. It says true also for lines that it throws away:
//! after the end of an activity, and where an activity does not wait (`USE_SUBSCRIPTION` is not Y).
//!
//! # Troubleshooting, by counter
//!
//! | [`Snapshot`](stats::Snapshot) | means | look at |
//! |---|---|---|
//! | `accepted` stays 0 | no event was inside a tagged span | the span's level and fields; `unusable_tokens`; `unseen` |
//! | `unusable_tokens` | a token was empty, over 1 KiB, had control characters, or was a redaction | write `event_token = token.as_field()`, not `%token` |
//! | `unseen` | tagged spans, or events in spans, were hidden from this layer by a filter, or another layer panicked while it held a span's data | the worker's report names what to add to the filter, such as `tracing_bizproc=info`; [recipes](BizprocLayer#filters) |
//! | `refused`: [`QueueFull`](stats::DropReason::QueueFull), [`BudgetSpent`](stats::DropReason::BudgetSpent), [`Closed`](stats::DropReason::Closed) | the queue or the budget was full, or the guard was dropped | `queue_lines`, `pending_lines`, `pending_bytes`, or a portal that is blocked; keep the guard |
//! | `refused`: [`TokenShare`](stats::DropReason::TokenShare) | one event token logged more than its share of the queue or the budget; the others lost nothing | a loop that logs; `token_share` |
//! | `pending` grows | the portal is slow, limits, or is unreachable | `rate_limited`, `operating_limited`, [`Handle::portals`], the worker's reports |
//! | [`Evicted`](stats::DropReason::Evicted) | with [`Overflow::DropOldest`](config::Overflow::DropOldest), newer lines needed the room | as for `refused` |
//! | [`PortalShare`](stats::DropReason::PortalShare) | one portal had its share of the budget pending | is that portal blocked? `portal_share` |
//! | [`TokenDenied`](stats::DropReason::TokenDenied) | the portal does not know the token | a webhook of another portal or app |
//! | [`WorkflowGone`](stats::DropReason::WorkflowGone) | the workflow has ended | lines after the end of the process |
//! | [`EntryRefused`](stats::DropReason::EntryRefused) | the portal refused an entry as it is, for its size for instance | `entry_bytes`, if a proxy before the portal takes less; else please report it |
//! | [`CredentialBlocked`](stats::DropReason::CredentialBlocked) | the webhook is gone; the app was removed, or its refresh token is spent; or either lacks the scope `bizproc` | the webhook's settings; with [`OAuth`](auth::OAuth), [what the code means](guide), and new tokens by [`Handle::activity`] or [`Handle::accept`] |
//! | [`PortalBlocked`](stats::DropReason::PortalBlocked) | the portal is closed, has moved, or has no business processes | the customer's plan; [`OAuth::hosts`](auth::OAuth::hosts) |
//! | [`UnknownPortal`](stats::DropReason::UnknownPortal) | for ten minutes there were no credentials for the portal that the span names, or it names none | the span's `portal`; [`Handle::accept`], [`OAuth::default_portal`](auth::OAuth::default_portal), [`Webhook::for_portal`](auth::Webhook::for_portal) |
//! | [`Uninstalled`](stats::DropReason::Uninstalled) | the app was removed from the portal while lines waited | nothing |
//! | [`RetriesSpent`](stats::DropReason::RetriesSpent) | the portal could not be reached, or answered with nothing usable, for too long or too often | the network; `max_age` |
//! | [`OutcomeUnknown`](stats::DropReason::OutcomeUnknown) | an answer was lost, and a gap was preferred to a repeat | `on_unknown_outcome`; the lines may stand in the log |
//! | [`ShutdownDeadline`](stats::DropReason::ShutdownDeadline) | the app ended before they were sent | `shutdown_timeout`, or a flush before the guard is dropped |
//! | [`SpoolFull`](stats::DropReason::SpoolFull), [`Expired`](stats::DropReason::Expired) | the spool on disk had reached its size, or lines in it their age | a portal that is blocked; the spool's `max_bytes`, `max_age` |
//! | [`SpoolDamaged`](stats::DropReason::SpoolDamaged) | a file of the spool was damaged or deleted, or the process was killed while it wrote | the disk; who else writes into the spool's directory |
//! | [`Forked`](stats::DropReason::Forked) | this process is a fork of the one that has the worker | build the layer after the fork |
//! | [`Internal`](stats::DropReason::Internal) | an error in this crate | please report it |
//! | `late` | lines after the end of their activity | complete the activity after the last line |
//! | `abandoned` | an [`Activity`](app::Activity) was dropped without an end, and its workflow waits | `complete` or `fail` on every way out |
//! | `repeats` | an answer was lost, and what may stand in the log was sent again, with a mark | the network; `on_unknown_outcome` |
//! | `format_failures` | the app's [`Format`](format::Format) or [`Wording`](format::Wording) panicked, or returned an error | its code; the lines are written as by default |
//! | `restarts` | something panicked on the worker's thread: a layer of the app's at one of the worker's reports, or the worker itself | the panic's message; if it is ours, please report it |
//! | `acknowledged` grows, but the log is empty | the activity does not wait for the app, or has ended before | `USE_SUBSCRIPTION` of the activity; where spans name a `portal`, end it with [`Handle::complete_on`] |
//! | `rolled_off` | the portal keeps the newest 50 entries only | [`Retention`](config::Retention), `max_hold`, fewer flushes |
//!
//! The worker reports trouble through `tracing` at target `tracing_bizproc`: each kind once a minute,
//! from its own thread, outside of any span. These events never go to the portal. Once the guard is
//! dropped there is no worker to report. Lines that come later are only counted, as
//! [`Closed`](stats::DropReason::Closed).
//!
//! What to set up on the portal, how to deploy, and what each error of the portal means: [`guide`]. What
//! becomes of a line when something fails, and what was measured: [`reliability`].

#![cfg_attr(docsrs, feature(doc_cfg))]

mod activity;
mod builder;
mod call;
mod completion;
pub mod config;
pub mod error;
pub mod fields;
pub mod format;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod installation;
#[cfg(feature = "journal")]
pub mod journal;
mod layer;
mod line;
#[cfg(feature = "log")]
pub mod logger;
#[cfg(test)]
mod php;
mod protocol;
mod queue;
mod registration;
mod request;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
pub mod stats;
mod thread_role;
mod transport;
mod worker;

pub use builder::{Builder, builder, disabled};
pub use completion::{Completion, ReturnValue};
pub use handle::{Handle, ShutdownReport, WorkerGuard};
pub use layer::BizprocLayer;
pub use line::{EventToken, PortalId};

/// An app on its portals: it is installed, registers activities and robots, and works on them.
///
/// - **It is installed**, updated and removed: [`Installations`](app::Installations) takes the portal's
///   requests ([`AppRequest`](app::AppRequest)), and keeps an [`Installation`](app::Installation) for each
///   portal in an [`InstallationStore`](app::InstallationStore).
/// - **It registers** what a process may use: a [`Registration`](app::Registration) for each activity or
///   robot, with a [`Parameter`](app::Parameter) for each property and return value.
/// - **It is called** when a process reaches an activity: an [`ActivityRequest`](app::ActivityRequest) is
///   verified, and [opened](app::Opened). The [`Activity`](app::Activity) is what a handler works with: its
///   properties, its span to log in, and its end.
/// - **It calls** other methods of the portal, by [`Handle::call`].
///
/// The chapters of the [guide] show all of it in order.
pub mod app {
    pub use crate::activity::{ActivityRequest, DateFormat, Input, SiteDate, VerifiedActivity};
    pub use crate::call::CallAnswer;
    pub use crate::handle::{Activity, Installations, Opened, Repeat};
    pub use crate::installation::{
        AppRequest, InstallRequest, Installation, InstallationStore, UninstallRequest,
        UpdateRequest,
    };
    pub use crate::registration::{Parameter, Registered, Registration, ValueKind};
    pub use crate::request::Property;
}

/// Credentials: with which rights portals are called.
///
/// - A [`Webhook`](auth::Webhook) is for one portal, and nothing has to be stored.
/// - [`OAuth`](auth::OAuth) is for an app on many portals. Its [`Tokens`](auth::Tokens) are renewed here, and
///   kept in a [`TokenStore`](auth::TokenStore): [`MemoryStore`](auth::MemoryStore),
///   [`FileStore`](auth::FileStore), or one of your own. [`Hosts`](auth::Hosts) says where they may be sent.
/// - An [`AccessProvider`](auth::AccessProvider) is for everything else, for instance access tokens that
///   another service renews.
///
/// [`builder`] takes any of them.
pub mod auth {
    pub use crate::transport::auth::{
        Access, AccessProvider, CredentialError, CredentialFuture, Credentials, FileStore, Hosts,
        MemoryStore, OAuth, TokenStore, Tokens, Webhook, on_thread,
    };
}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/guide.md")]
pub mod guide {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/RELIABILITY.md")]
pub mod reliability {}

/// The README's code is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
