//! The errors of the public API. Each says what was wrong and what to do, keeps its source, and contains
//! no secret.
//!
//! | when | error |
//! |---|---|
//! | a layer is built | [`BuildError`], which may contain a [`TransportError`] |
//! | credentials are made | [`WebhookError`], [`OAuthError`], [`EndpointError`] |
//! | a spool is opened or used, with the feature `spool` | `SpoolError` |
//! | options are given as text | [`ConfigError`], [`InvalidOption`] |
//! | an event token is read | [`InvalidEventToken`] |
//! | the worker is asked for something: a flush, for instance | [`WorkerError`] |
//! | an activity is ended | [`CompleteError`] |
//! | another method of the portal is called | [`CallError`] |
//! | a portal's request arrives | [`RequestError`], [`VerifyError`], [`InstallError`], [`ActivityRejection`] |
//! | a property is read | [`PropertyError`], [`DateFormatError`] |
//! | activities are registered | [`RegistrationError`] |
//!
//! Debug shows the text and its sources, too, so that a `main` that returns an error says what to do.
//!
//! Delivery has no errors: lines that do not arrive are counted, by [reason](crate::stats::DropReason).

use std::error::Error;

pub use crate::line::InvalidEventToken;

mod app;
mod call;
mod config;
mod shown;
#[cfg(feature = "spool")]
mod spool;

pub use self::app::{
    ActivityRejection, DateFormatError, InstallError, PropertyError, RequestError, VerifyError,
};
pub use self::call::{CallError, Description, RegistrationError};
pub use self::config::{ConfigError, InvalidOption};

#[cfg(feature = "spool")]
pub use self::spool::SpoolError;

/// An error whose type is not part of this crate's API.
type Source = Box<dyn Error + Send + Sync>;

/// Why the URL of a webhook was not accepted. The URL is a secret, so no message contains any part of
/// it.
///
/// ```
/// use tracing_bizproc::auth::Webhook;
/// use tracing_bizproc::error::WebhookError;
///
/// let error = Webhook::new("http://portal.example/rest/1/c0de/").unwrap_err();
/// assert!(matches!(error, WebhookError::Insecure));
/// assert!(!error.to_string().contains("c0de"));
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The environment variable is not set, or empty.
    #[error(
        "{variable} is not set: give it the URL of an inbound webhook with the scope `bizproc`"
    )]
    NotSet {
        /// The variable's name.
        variable: &'static str,
    },
    /// The environment variable holds no UTF-8.
    #[error("{variable} is not UTF-8: copy the webhook's URL again")]
    NotUnicode {
        /// The variable's name.
        variable: &'static str,
    },
    /// It is not a URL.
    #[error("the webhook is not a URL: expected https://HOST/rest/USER/CODE/")]
    NotAUrl(#[source] Source),
    /// It would send the secret in clear text over a network.
    #[error(
        "the webhook's URL is not https, so its secret could be read on the way: use https, or \
         `Webhook::allow_http` in a network that you trust (loopback addresses need neither)"
    )]
    Insecure,
    /// It is a URL, but not one of a webhook.
    #[error(
        "the webhook's URL {problem}: expected https://HOST/rest/USER/CODE/ and nothing after it"
    )]
    #[non_exhaustive]
    Shape {
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Why an app's OAuth credentials were not accepted.
///
/// ```
/// use tracing_bizproc::auth::{MemoryStore, OAuth};
/// use tracing_bizproc::error::OAuthError;
///
/// let oauth = OAuth::new("local.5e4a77", "the app's secret", MemoryStore::new());
/// let error = oauth.authorization_server("http://oauth.example/oauth/token/").unwrap_err();
/// assert_eq!(error, OAuthError::Insecure);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OAuthError {
    /// It is not a URL.
    #[error("the authorization server is not a URL: expected https://HOST/oauth/token/")]
    NotAUrl,
    /// The environment variable is not set, or empty.
    #[error(
        "{variable} is not set: copy it from the app's page on the portal (local app), or from the \
         partner cabinet (Market app)"
    )]
    #[non_exhaustive]
    NotSet {
        /// The variable's name.
        variable: &'static str,
    },
    /// The environment variable holds no UTF-8.
    #[error("{variable} is not UTF-8: copy it again")]
    #[non_exhaustive]
    NotUnicode {
        /// The variable's name.
        variable: &'static str,
    },
    /// The client secret would go over a network in clear text.
    #[error(
        "the authorization server's URL is not https, so the client secret could be read on the way: \
         use https (plain http only for loopback addresses)"
    )]
    Insecure,
}

/// Why the address of a portal (its `client_endpoint`) was not accepted. No message contains it.
///
/// ```
/// use tracing_bizproc::auth::Access;
/// use tracing_bizproc::error::EndpointError;
///
/// let error = Access::token("http://portal.example/rest/", "an access token").unwrap_err();
/// assert_eq!(error, EndpointError::Insecure);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is not a URL with a host.
    #[error(
        "the portal's endpoint is not a URL: expected https://HOST/rest/, the `client_endpoint` \
         that comes with the tokens"
    )]
    NotAUrl,
    /// The tokens would go over a network in clear text.
    #[error(
        "the portal's endpoint is not https, so the tokens could be read on the way: use https, or \
         `Tokens::allow_http` and `OAuth::allow_http` in a network that you trust"
    )]
    Insecure,
    /// It has a user name or a password before its host.
    #[error(
        "the portal's endpoint has a user name or a password before its host: expected \
         https://HOST/rest/"
    )]
    UserInfo,
}

/// Why the connection to portals could not be set up.
///
/// ```
/// use tracing_bizproc::error::{BuildError, TransportError};
///
/// fn advice(error: &BuildError) -> &'static str {
///     match error {
///         BuildError::Transport(TransportError::Roots(_)) => "install ca-certificates in the image",
///         BuildError::Transport(_) => "see the features of TLS",
///         _ => "see the options",
///     }
/// }
/// # drop(advice);
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No cryptography for TLS is linked, and the app has installed none. Also for a portal that is
    /// called without TLS: the HTTP client needs one in any case.
    #[error(
        "there is no TLS provider: enable the feature `aws-lc-rs` (enabled by default) or `ring` of \
         tracing-bizproc, or install a provider (`CryptoProvider::install_default` of rustls) before \
         `build`"
    )]
    NoTlsProvider,
    /// The system's root certificates could not be loaded.
    #[error(
        "no root certificates were found, so the portal's certificate cannot be checked: install the \
         system's CA certificates (package ca-certificates), or set `Builder::extra_roots`"
    )]
    Roots(#[source] Source),
    /// The additional roots are not certificates.
    #[error(
        "`Builder::extra_roots` needs certificates in PEM: the text has none, or one of them is damaged"
    )]
    ExtraRoots(#[source] Source),
    /// The app has installed a TLS provider that cannot compute fingerprints.
    #[error(
        "`Builder::trust_certificate` needs SHA-256, and the installed TLS provider has only cipher suites \
         without it: enable one with SHA-256, for example TLS13_AES_128_GCM_SHA256"
    )]
    NoFingerprints,
    /// Anything else.
    #[error("the HTTP client could not be set up")]
    Client(#[source] Source),
}

/// Why a layer could not be built.
///
/// ```
/// use tracing_bizproc::error::BuildError;
/// use tracing_subscriber::Registry;
///
/// let error = tracing_bizproc::disabled().portal_share(2.0).build::<Registry>().unwrap_err();
/// assert!(matches!(error, BuildError::Option { option: "portal_share", .. }));
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An option is out of its bounds.
    #[error("the option {option} {problem}")]
    #[non_exhaustive]
    Option {
        /// The option's name on the builder.
        option: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The connection to portals could not be set up.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The spool could not be opened.
    #[cfg(feature = "spool")]
    #[cfg_attr(docsrs, doc(cfg(feature = "spool")))]
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The worker's runtime could not be made.
    #[error("the worker's runtime could not be made: is the process out of file descriptors?")]
    Runtime(#[source] std::io::Error),
    /// The worker's thread could not be started.
    #[error("the worker's thread could not be started: is the process at its limit of threads?")]
    Thread(#[source] std::io::Error),
}

/// Why the worker did not do what it was asked for: a flush, the end of an activity, a call, or the
/// tokens of a portal.
///
/// ```
/// use tracing_bizproc::Handle;
/// use tracing_bizproc::error::WorkerError;
///
/// async fn step(handle: &Handle) -> Result<(), WorkerError> {
///     match handle.flush(std::time::Duration::from_secs(5)).await {
///         Ok(report) => println!("{report}"),
///         // Without a worker nothing is delivered any more, but the work goes on.
///         Err(WorkerError::Closed) => println!("the log is closed"),
///         Err(error) => return Err(error),
///     }
///     Ok(())
/// }
/// # drop(step);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The worker was closed: its guard was dropped.
    #[error("the worker is closed: keep its guard as long as the app needs the worker")]
    Closed,
    /// Too many requests to the worker are waiting already: hundreds in its queue, or ends of
    /// activities with more bytes than [`pending_bytes`](crate::Builder::pending_bytes).
    #[error("too many requests are waiting for the worker: try again later")]
    Busy,
    /// The process is a fork of the one that has the worker's thread.
    #[error("the worker's thread did not survive the fork: build the layer after forking")]
    Forked,
    /// It was called on the worker's own thread, or on a thread that the worker waits for: in a layer
    /// that handles a report of the worker, in a token store, or in an access provider.
    #[error(
        "called on the worker's thread, or on one that the worker waits for (in a layer, a token store \
         or an access provider), where it would never return: call it on another thread of the app"
    )]
    DeliveryThread,
    /// The worker did not answer by the deadline, because something blocks its thread. Only the blocking
    /// methods return this.
    #[error(
        "the worker did not answer in time: something blocks its thread, for example a layer that \
         waits, or a token store or an access provider that blocks (see `on_thread`)"
    )]
    NoAnswer,
}

/// Why an activity could not be ended.
///
/// ```
/// use tracing_bizproc::app::Activity;
/// use tracing_bizproc::Completion;
/// use tracing_bizproc::error::CompleteError;
///
/// async fn end(activity: &Activity) -> Result<(), CompleteError> {
///     match activity.complete(Completion::new().value("status", "shipped")).await {
///         Ok(_) | Err(CompleteError::AlreadyCompleted) => Ok(()),
///         // The portal could not be reached: end it again later.
///         Err(error) => Err(error),
///     }
/// }
/// # drop(end);
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompleteError {
    /// There is no worker to do it.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The portal refused it.
    #[error(
        "the portal refused to end the activity ({code}): it has been ended, its workflow is gone, \
         or the credentials do not allow it"
    )]
    #[non_exhaustive]
    Refused {
        /// The portal's error code.
        code: String,
    },
    /// A return value that the activity was not registered with: the portal would drop it.
    #[error(
        "the activity was registered without the return value {name:?}, so the portal would drop it: \
         declare it with `Registration::return_value`"
    )]
    #[non_exhaustive]
    Undeclared {
        /// The value's name.
        name: String,
    },
    /// A return value of another kind than the one that was declared.
    #[error("the return value {name:?} was declared as {expected}, and this one is not")]
    #[non_exhaustive]
    WrongKind {
        /// The value's name.
        name: String,
        /// What was declared.
        expected: &'static str,
    },
    /// It was completed before, or is being completed. This completion is not sent, because the portal
    /// answers a second one with `true` and drops its values (server behaviour). A completion is
    /// remembered for at least 15 minutes.
    #[error(
        "the activity was completed before, or is being completed: complete each activity once; was \
         the portal's request delivered twice?"
    )]
    AlreadyCompleted,
    /// No span with this event token has logged lately, and there is no default portal to ask.
    #[error(
        "the portal of this event token is not known: call `complete_on`, or set \
         `OAuth::default_portal`"
    )]
    UnknownPortal,
    /// There are no credentials for the portal of the activity: the webhook belongs to another one. Nothing is sent,
    /// because no other portal may see the event token.
    #[error(
        "the webhook is not bound to the portal of the activity, so nothing is sent: call `Webhook::for_portal`, or \
         remove `portal` from the span"
    )]
    NoCredentials,
    /// The app shut down before a relay had answered. The relay ends the activity, so do not complete it again.
    #[error(
        "the app shut down before the relay had answered: the relay ends the activity, so do not complete \
         it again"
    )]
    HandedOver,
    /// The portal could not be reached in two minutes, there were no credentials for it, or the app shut down before.
    #[error(
        "the activity could not be ended: the portal was not reached, or there are no credentials for it; the \
         reports with the target `tracing_bizproc` say which. Complete it again later"
    )]
    NotSent,
    /// The app shut down before the end could be sent. The end is in the spool with the lines that it waits for, and
    /// the next run sends both, or `Builder::drain_blocking`. If the portal has stopped waiting by then, the end is
    /// counted in [`Snapshot::late_ends`](crate::stats::Snapshot::late_ends).
    #[error(
        "the app shut down before the activity was ended: the end is on disk, and the next run with this \
         spool sends it"
    )]
    OnDisk,
}
