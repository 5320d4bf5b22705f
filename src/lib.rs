//! Events of `tracing` in the log of a Bitrix24 business process.
//!
//! When a workflow reaches an activity of an app, the portal calls the app with an `event_token`, and
//! waits. While it waits, the app may write to the log of the workflow. This crate sends ordinary
//! `info!` calls there: put the token into a span, and the events inside that span become lines of the
//! log, for the people who own the process.
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
//! // Without a level, this would print what hyper and reqwest log for each request.
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
//! Apps that log with the `log` crate and not with `tracing` use `BizprocLogger` (feature `log`).
//!
//! # The route of an event
//!
//! ```text
//! caller's thread  layer      finds the tagged span, packs the fields as typed bytes   LogLine
//!                  queue      bounded; refuses and counts lines if it is full             |
//! --------------------------------------------------------------------------------------- v -
//! worker's thread  engine     one lane per portal, one ledger for all results          LogLine
//!                  coalescer  joins lines of one token into an entry, until it is due  Command
//!                  lane       up to 50 commands, when the portal's limits allow        Request
//!                  transport  sends the request over HTTP                              Reply
//!                  lane       an outcome per command: done, retried, or given up       Outcome
//!                  ledger     counts the lines, frees their budget, answers flushes    Stats
//! ```
//!
//! # What is promised
//!
//! An accepted line is sent until the portal acknowledges it, or it is dropped and counted with a reason.
//! When no line is being processed,
//! `accepted + recovered = acknowledged + handed_over + late + lost + pending`
//! ([`Snapshot`](stats::Snapshot)). If lines are missing, the next entry of the token says how many, since
//! when, and why. Order is kept within a token. An entry is in the log twice only if it was not known whether
//! the portal had executed a request; then one of the copies is marked ([`reliability`] names one exception).
//! With a spool (feature `spool`), lines survive a crash of the process as soon as they are on disk, after 100 ms
//! by default. Without it they do not. With a relay (feature `relay`, `Builder::publish_to`), lines are
//! *handed over* when the journal of the relay has them, and the relay keeps this promise.
//!
//! *Acknowledged* means that the portal answered `true`. It also answers `true` for lines that it throws
//! away: after the end of an activity, and if an activity does not wait (`USE_SUBSCRIPTION` is not Y).
//!
//! # Troubleshooting, by counter
//!
//! | [`Snapshot`](stats::Snapshot) | means | look at |
//! |---|---|---|
//! | `accepted` stays 0 | no event was inside a tagged span | the span's level and fields; `unusable_tokens`; `unseen` |
//! | `unusable_tokens` | a token was empty, over 1 KiB, had control characters, or was a redaction | write `event_token = token.as_field()`, not `%token` |
//! | `unseen` | a filter hides tagged spans, or events in spans, from this layer, or another layer panicked while it used the data of a span | the worker's report names what to add to the filter, such as `tracing_bizproc=info`; [recipes](BizprocLayer#filters) |
//! | `refused`: [`QueueFull`](stats::DropReason::QueueFull), [`BudgetSpent`](stats::DropReason::BudgetSpent), [`Closed`](stats::DropReason::Closed) | the queue or the budget was full, or the guard was dropped | `queue_lines`, `pending_lines`, `pending_bytes`; whether a portal is blocked; whether the guard is kept |
//! | `refused`: [`TokenShare`](stats::DropReason::TokenShare) | one event token logged more than its share of the queue or the budget; other tokens lost nothing | a loop that logs; `token_share` |
//! | `pending` grows | the portal is slow, limits the app, or cannot be reached | `rate_limited`, `operating_limited`, [`Handle::portals`], the worker's reports |
//! | [`Evicted`](stats::DropReason::Evicted) | with [`Overflow::DropOldest`](config::Overflow::DropOldest), newer lines needed the room | as for `refused` |
//! | [`PortalShare`](stats::DropReason::PortalShare) | one portal had used its share of the budget | whether that portal is blocked; `portal_share` |
//! | [`TokenDenied`](stats::DropReason::TokenDenied) | the portal does not accept the token | whether the webhook or the app belongs to another portal |
//! | [`WorkflowGone`](stats::DropReason::WorkflowGone) | the workflow has ended or was deleted | whether lines are logged after the end of the process |
//! | [`EntryRefused`](stats::DropReason::EntryRefused) | the portal refused an entry itself, for example for its size | `entry_bytes`, if a proxy in front of the portal accepts less; otherwise please report it |
//! | [`CredentialBlocked`](stats::DropReason::CredentialBlocked) | the webhook was deleted; the app was removed, or its refresh token was used or has expired; or the scope `bizproc` is missing | the settings of the webhook; with [`OAuth`](auth::OAuth), [what the code means](guide), and new tokens with [`Handle::activity`] or [`Handle::accept`] |
//! | [`PortalBlocked`](stats::DropReason::PortalBlocked) | the portal is closed, has moved, or has no business processes | the customer's plan; [`OAuth::hosts`](auth::OAuth::hosts) |
//! | [`UnknownPortal`](stats::DropReason::UnknownPortal) | for ten minutes (with a spool, for its `max_age`) there were no credentials for the portal of the span, or the span names no portal and there is no default portal | the span's `portal`; [`Handle::accept`], [`OAuth::default_portal`](auth::OAuth::default_portal), [`Webhook::for_portal`](auth::Webhook::for_portal) |
//! | [`Uninstalled`](stats::DropReason::Uninstalled) | the app was removed from the portal while lines waited | nothing |
//! | [`RetriesSpent`](stats::DropReason::RetriesSpent) | delivery failed too often or for too long: the portal was not reached, answered with errors, or kept the workflow locked | the worker's reports; the network; `max_age` |
//! | [`OutcomeUnknown`](stats::DropReason::OutcomeUnknown) | an answer was lost, and `on_unknown_outcome` is `GiveUp` | the lines may be in the log |
//! | [`Expired`](stats::DropReason::Expired), with `publish_to` | the journal was away for longer than `max_age` | the database of the relay |
//! | [`ShutdownDeadline`](stats::DropReason::ShutdownDeadline) | the app ended before the lines were sent | `shutdown_timeout`, or a flush before the guard is dropped |
//! | [`SpoolFull`](stats::DropReason::SpoolFull), [`Expired`](stats::DropReason::Expired) | the spool on disk had reached its maximum size, or lines in it were too old | whether a portal is blocked; `max_bytes` and `max_age` of the spool |
//! | [`SpoolDamaged`](stats::DropReason::SpoolDamaged) | a file of the spool was damaged or deleted, or its end is incomplete because the process was killed while it wrote | the disk; whether another program writes into the directory of the spool |
//! | [`Forked`](stats::DropReason::Forked) | a process was forked after the layer was built, and logged | build the layer after the fork |
//! | [`Internal`](stats::DropReason::Internal) | an error in this crate | please report it |
//! | `late` | lines after the end or the timeout of their activity | complete the activity after the last line |
//! | `abandoned` | an [`Activity`](app::Activity) was dropped without an end, and its workflow waits | `complete` or `fail` on every code path |
//! | `repeats` | an answer was lost, and entries that may be in the log were sent again, with a mark | the network; `on_unknown_outcome` |
//! | `recovered` | lines of earlier runs were found on disk | why these runs ended without a shutdown, if you do not expect it |
//! | `unstored` | the disk failed, was full or slow, so lines were delivered from memory alone | the disk of the spool; the worker's reports |
//! | `late_ends` | an activity was ended shortly before a crash, and its portal did not wait until the next start; or its end on disk was damaged or removed | how long the app was away; the worker's reports |
//! | `format_failures` | the app's [`Format`](format::Format) or [`Wording`](format::Wording) panicked, or returned an error | its code; the lines are written in the default format |
//! | `restarts` | something panicked on the worker's thread: a layer of the app that handled a report of the worker, or the worker itself | the message of the panic; if it comes from the worker, please report it |
//! | `acknowledged` grows, but the log is empty | the activity does not wait for the app, or has ended or timed out before | `USE_SUBSCRIPTION` and the timeout of the activity |
//! | `handed_over` grows, but the log is empty | the app publishes to a relay (`Builder::publish_to`), and no relay delivers, or the lines wait for the schedule of entries | the health, the metrics and the log of the relays |
//! | `rolled_off` | the portal keeps only the newest 50 entries | [`Retention`](config::Retention), `max_hold`, fewer flushes |
//!
//! The worker reports trouble through `tracing`, with the target `tracing_bizproc`: each kind at most once
//! a minute, from its own thread, outside of any span. These events are never sent to the portal. After
//! the guard is dropped, the first refused line is reported once, and all of them are counted as
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
#[cfg(not(feature = "journal"))]
#[expect(dead_code, unreachable_pub, reason = "only a journal uses all of it")]
mod journal;
mod layer;
mod line;
#[cfg(feature = "log")]
pub mod logger;
#[cfg(test)]
mod php;
mod protocol;
mod queue;
mod registration;
#[cfg(feature = "relay")]
#[doc(hidden)]
pub mod relay;
#[cfg(all(test, not(feature = "relay")))]
mod relay;
mod request;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
#[cfg(feature = "spool")]
#[cfg_attr(docsrs, doc(cfg(feature = "spool")))]
pub mod spool;
pub mod stats;
mod thread_role;
mod transport;
mod worker;

pub use builder::{Builder, builder, disabled};
pub use completion::{Completion, ReturnValue};
pub use handle::{Handle, ShutdownReport, WorkerGuard};
pub use layer::BizprocLayer;
pub use line::{EventToken, PortalId};

/// An app on its portals: installation, registration of activities and robots, and their requests.
///
/// - **Installation**, update and removal: [`Installations`](app::Installations) handles the portal's
///   requests ([`AppRequest`](app::AppRequest)), and keeps an [`Installation`](app::Installation) for each
///   portal in an [`InstallationStore`](app::InstallationStore).
/// - **Registration**: a [`Registration`](app::Registration) for each activity or robot, with a
///   [`Parameter`](app::Parameter) for each property and return value.
/// - **Requests**: when a process reaches an activity, the portal sends an
///   [`ActivityRequest`](app::ActivityRequest). It is verified, and the activity is [opened](app::Opened).
///   An [`Activity`](app::Activity) has what a handler needs: the properties, a span to log in, and
///   methods that end the activity.
/// - **Calls** of other methods of the portal: [`Handle::call`].
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

/// Credentials: how the app proves to a portal that it may call it.
///
/// - A [`Webhook`](auth::Webhook) is for one portal, and nothing has to be stored.
/// - [`OAuth`](auth::OAuth) is for an app on many portals. Its [`Tokens`](auth::Tokens) are renewed here, and
///   kept in a [`TokenStore`](auth::TokenStore): [`MemoryStore`](auth::MemoryStore),
///   [`FileStore`](auth::FileStore), or your own. [`Hosts`](auth::Hosts) says where they may be sent.
/// - An [`AccessProvider`](auth::AccessProvider) is for everything else, for instance access tokens that
///   another service renews.
///
/// [`builder`] accepts each of them.
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
