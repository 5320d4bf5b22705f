//! Errors that users meet: each says what was wrong and what to do, keeps its source, and repeats
//! no secret.

use std::error::Error;

/// An error whose type is no part of this crate's API.
type Source = Box<dyn Error + Send + Sync>;

/// Why a webhook's URL was not taken. The URL is a secret, so no message repeats any of it.
#[derive(Debug, thiserror::Error)]
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
         `Webhook::allow_http` where you trust the network (loopback needs neither)"
    )]
    Insecure,
    /// It is a URL, but not one of a webhook.
    #[error(
        "the webhook's URL {problem}: expected https://HOST/rest/USER/CODE/ and nothing behind"
    )]
    #[non_exhaustive]
    Shape {
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Why an app's OAuth credentials were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OAuthError {
    /// It is not a URL.
    #[error("the authorization server is not a URL: expected https://HOST/oauth/token/")]
    NotAUrl,
    /// The environment variable is not set, or empty.
    #[error("{variable} is not set: see the app's page on the portal, or that of its vendor")]
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
    #[error("the authorization server's URL is not https, so the client secret could be read")]
    Insecure,
}

/// Why an address was not taken as that of a portal, its `client_endpoint`. No message repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
        "the portal's endpoint is not https, so the tokens could be read on the way: expected \
         https://HOST/rest/ (http is taken for loopback hosts)"
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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No cryptography for TLS is linked, and the app has installed none. Also for a portal that is
    /// called without TLS: the HTTP client needs one in any case.
    #[error(
        "there is no TLS provider: enable the feature `aws-lc-rs` (it is a default one) or `ring` of \
         tracing-bizproc, or install a provider (`CryptoProvider::install_default` of rustls) before \
         `build`"
    )]
    NoTlsProvider,
    /// The system's certificate roots could not be loaded.
    #[error(
        "no certificate roots to check the portal with: install the system's CA certificates \
         (package ca-certificates), or give roots of your own"
    )]
    Roots(#[source] Source),
    /// The additional roots are not certificates.
    #[error("the additional certificate roots are not PEM certificates")]
    ExtraRoots(#[source] Source),
    /// Anything else.
    #[error("the HTTP client could not be set up")]
    Client(#[source] Source),
}

/// Why a handler's request was not understood. No message repeats anything of the request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivityError {
    /// It has more than 1 MiB.
    #[error("the request is larger than 1 MiB: answer it with 413")]
    TooLarge,
    /// Its keys are nested too deep.
    #[error("the request's keys are nested deeper than 16 levels")]
    TooDeep,
    /// It has too many fields.
    #[error("the request has more than 4,096 fields")]
    TooMany,
    /// It holds text that is not UTF-8.
    #[error("the request is not UTF-8")]
    NotUtf8,
    /// It is neither a form nor JSON by its content type.
    #[error("the request is neither a form nor JSON: answer it with 415")]
    ContentType,
    /// It is not JSON.
    #[error("the request is not JSON (line {line}, column {column})")]
    NotJson {
        /// Where reading stopped, from 1.
        line: usize,
        /// Where in the line, from 1.
        column: usize,
    },
    /// Two values under one key: nobody can say which was meant.
    #[error("the request has two values for one field")]
    Duplicate,
    /// A field is not there.
    #[error("the request has no field {field}: is the handler's address called by a portal?")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field is text where it should be an array, or the other way round.
    #[error("{field} is of the wrong type")]
    WrongType {
        /// The field.
        field: &'static str,
    },
    /// A field has a value that it cannot have.
    #[error("the request's field {field} has no usable value")]
    #[non_exhaustive]
    Invalid {
        /// The field.
        field: &'static str,
    },
}

/// Why a handler's request was not believed. Answer it with 403, and do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The request's application token is not the one of this installation.
    #[error(
        "the request's application_token is not the portal's: it is forged, or the app was \
         installed again and its new token was not stored"
    )]
    ApplicationToken,
    /// The request names an address to call that is not on the list.
    #[error("the request names a host that is not among the hosts allowed for the portal")]
    Host,
    /// The address to call is not https.
    #[error("the request names an address that is not https")]
    Insecure,
}

/// Why a handler did not get an activity. As a response: 400, 403, 413, 415, or 500 for a lookup
/// that failed.
#[cfg(feature = "axum")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivityRejection {
    /// The body could not be read.
    #[error("the request's body could not be read")]
    Body(#[source] Source),
    /// The request was not understood.
    #[error(transparent)]
    Request(#[from] ActivityError),
    /// The app is not installed on the portal that the request names.
    #[error("the app is not installed on the portal that the request names")]
    UnknownPortal,
    /// The request was not believed.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The installation could not be looked up.
    #[error("the installation could not be looked up")]
    Lookup(#[source] Source),
}

/// A text that is no value of an option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is none of its values: expected {expected}")]
pub struct InvalidOption {
    text: String,
    expected: &'static str,
}

impl InvalidOption {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        InvalidOption { text: text.to_owned(), expected }
    }
}

/// Why options that were given as text were not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such option.
    #[error("{name} is no option{}", .meant.as_ref().map(|meant| format!(": is {meant} meant?")).unwrap_or_default())]
    #[non_exhaustive]
    Unknown {
        /// The option or the variable, as it was given.
        name: String,
        /// One that differs in a letter or two.
        meant: Option<String>,
    },
    /// The value is none of the option's.
    #[error("{name} is {value:?}: expected {expected}")]
    #[non_exhaustive]
    Value {
        /// The option or the variable.
        name: String,
        /// The value, as it was given.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The file that the option names could not be read.
    #[error("{name} names a file that could not be read: {}", .path.display())]
    #[non_exhaustive]
    File {
        /// The option or the variable.
        name: String,
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The variable holds no UTF-8.
    #[error("{variable} is not UTF-8")]
    #[non_exhaustive]
    NotUnicode {
        /// The variable.
        variable: String,
    },
}

impl ConfigError {
    pub(crate) fn value(name: &str, value: &str, expected: &'static str) -> Self {
        ConfigError::Value { name: name.to_owned(), value: value.to_owned(), expected }
    }

    pub(crate) fn from_option(name: &str, error: InvalidOption) -> Self {
        let InvalidOption { text, expected } = error;
        ConfigError::Value { name: name.to_owned(), value: text, expected }
    }
}

/// Why a layer could not be built.
#[derive(Debug, thiserror::Error)]
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
    /// The worker's runtime could not be made.
    #[error("the worker's runtime could not be made: is the process out of file descriptors?")]
    Runtime(#[source] std::io::Error),
    /// The worker's thread could not be started.
    #[error("the worker's thread could not be started: is the process at its limit of threads?")]
    Thread(#[source] std::io::Error),
}

/// Why nobody could be asked to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The worker was closed: its guard was dropped.
    #[error("the worker has been closed: keep its guard until after the last flush")]
    WorkerGone,
    /// Too many requests to the worker are waiting already: hundreds in the queue to it, or ends of
    /// activities that hold as many bytes as lines may
    /// ([`pending_bytes`](crate::Builder::pending_bytes)).
    #[error("too many requests are waiting for the worker: try again later")]
    Busy,
    /// The process is a fork of the one that has the worker's thread.
    #[error("the worker's thread did not survive the fork: build the layer after forking")]
    Forked,
    /// It was asked for on the worker's own thread, or on one that the worker waits for: in a layer,
    /// at one of the worker's reports, or in a token store or an access provider.
    #[error(
        "called on the thread that delivers, or on one that it waits for, where it would wait for \
         itself: flush and complete on a thread of the app's"
    )]
    DeliveryThread,
    /// The worker did not answer by the deadline, not even with what it knows: something holds its
    /// thread. Only of the forms that hold the calling thread, too.
    #[error(
        "the worker did not answer in time: something holds its thread, such as a layer that waits, or \
         a token store or an access provider that blocks (see `on_thread`)"
    )]
    NoAnswer,
}

/// Why an activity could not be ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompleteError {
    /// There is no worker to do it.
    #[error(transparent)]
    Worker(#[from] FlushError),
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
    /// The activity was completed before, or is being completed. What this completion says is not
    /// sent. Known for at least 15 minutes.
    #[error(
        "the activity was completed before, or is being completed: complete each activity once"
    )]
    AlreadyCompleted,
    /// No span with this event token has logged lately, and there is no default portal to ask.
    #[error(
        "nobody knows which portal the event token is of: name it, with `complete_on`, or set a \
         default portal"
    )]
    UnknownPortal,
    /// The portal could not be reached in two minutes, or the app shut down before.
    #[error("the portal could not be told that the activity has ended: end it again later")]
    NotSent,
}
