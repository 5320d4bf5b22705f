//! Errors in requests from portals, and in calls to them.

use std::fmt;

use super::{Source, WorkerError};

/// Why a portal's request to the app could not be parsed. No message contains anything of the request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
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
    #[error(
        "the request is not UTF-8: a portal whose site is in windows-1251 sends such forms, and has \
         to be moved to UTF-8"
    )]
    NotUtf8,
    /// It says that it is in windows-1251, and it is.
    #[error(
        "the request is in windows-1251, the encoding of the portal's site: move the site to UTF-8"
    )]
    Windows1251,
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
    /// Two values under one key: it is not clear which one was meant.
    #[error("the request has two values for one field")]
    Duplicate,
    /// A field is not there.
    #[error("the request has no field {field}: is the address called by a portal?")]
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

/// Why a property of an activity is not what the app needs. The value is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// It is not there, or is empty.
    #[error("the property {name:?} is not set in the template")]
    #[non_exhaustive]
    NotSet {
        /// The property's name.
        name: String,
    },
    /// It is something else.
    #[error("the property {name:?} should be {expected}, and is something else")]
    #[non_exhaustive]
    Kind {
        /// The property's name.
        name: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// What was given is no format of dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a format of dates needs YYYY, MM and DD, each once, and may have HH, MI, SS and T: \
     DD.MM.YYYY HH:MI:SS, for instance"
)]
pub struct DateFormatError;

/// Why a portal's request failed verification. Answer it with 403, and do nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The request's application token is not the one of this installation.
    #[error(
        "the request's application_token is not the portal's: it is forged; or the app was \
         installed again and its new token was not stored; or what is stored is the APP_SID of an \
         install page, which is something else"
    )]
    ApplicationToken,
    /// The request names an address that is not on the list, and it is not confirmed that the portal was
    /// renamed.
    #[error(
        "the request names the host {named}, and the portal is known at {stored}: if the portal \
         was renamed, add the host to `OAuth::hosts`, or to the stored installation"
    )]
    #[non_exhaustive]
    Host {
        /// The host that the request names.
        named: String,
        /// The hosts of the stored installation.
        stored: String,
    },
    /// The address to call is not a URL.
    #[error("the request names a portal's address that is not a usable URL")]
    Address,
    /// The address to call is not https.
    #[error(
        "the request names an address that is not https, so tokens could be read on the way: in a \
         network that you trust, see `Installation::allow_http` and `OAuth::allow_http`"
    )]
    Insecure,
}

/// Why a handler did not get an activity. As a response: 400, 403, 413, 415, 500 if the store failed, or
/// 503 if it could not be found out whether the portal was renamed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivityRejection {
    /// The body could not be read.
    #[error("the request's body could not be read")]
    Body(#[source] Source),
    /// The request was not understood.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The app is not installed on the portal that the request names.
    #[error("the app is not installed on the portal that the request names")]
    UnknownPortal,
    /// The request failed verification.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The portal seems to have been renamed, and this could not be confirmed now. If the request is
    /// delivered again later, it may succeed.
    #[error("nobody could say whether the portal was renamed: {why}")]
    #[non_exhaustive]
    Unconfirmed {
        /// What went wrong.
        why: String,
    },
    /// The installation could not be looked up, or not be changed.
    #[error("the store of installations failed")]
    Store(#[source] Source),
}

/// Why an installation, an update or a removal failed. Nothing has changed then. As a response: 400,
/// 403, 500 if the store failed, or 503 if it may succeed later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The request has no `application_token`, by which later requests are known.
    #[error(
        "the request has no application_token (an install page's APPLICATION_TOKEN; its APP_SID is \
         something else): wait for the event ONAPPINSTALL, which has one"
    )]
    NoApplicationToken,
    /// The request has no access token, so it cannot be checked.
    #[error(
        "the request has no access token, so nobody can say whether it comes from the portal: open \
         the app on the portal, or install it again"
    )]
    NoTokens,
    /// The request failed verification.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The authorization server, or the portal, says that the tokens are not the portal's.
    #[error("the request does not come from the portal that it names: {why}")]
    #[non_exhaustive]
    Denied {
        /// Why not.
        why: String,
    },
    /// It could not be checked now, or its tokens could not be stored.
    #[error("the request could not be confirmed: {why}; install the app again later")]
    #[non_exhaustive]
    Later {
        /// What went wrong.
        why: String,
    },
    /// The app is not installed on that portal.
    #[error("the app is not installed on the portal that the request names")]
    UnknownPortal,
    /// Another process keeps changing the same installation.
    #[error("the installation was changed by somebody else at the same time: try again")]
    Raced,
    /// The store of installations failed.
    #[error("the store of installations failed")]
    Store(#[source] Source),
    /// There is no worker to ask.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The app is installed, and its activities could not be registered: do that again with
    /// [`Installations::register`](crate::app::Installations::register).
    #[error(transparent)]
    Registration(#[from] RegistrationError),
}

/// Why a REST call of the app's own has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The call is not valid and was not sent.
    #[error("{problem}")]
    #[non_exhaustive]
    Request {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no worker, or a thousand calls of this portal are waiting already.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// There are no credentials for the portal.
    #[error("the portal cannot be called: {why}")]
    #[non_exhaustive]
    UnknownPortal {
        /// Why not.
        why: String,
    },
    /// The credentials are not accepted, or lack a scope. It was not executed.
    #[error("the portal does not accept the credentials for this method ({code})")]
    #[non_exhaustive]
    Credential {
        /// The portal's error code.
        code: String,
        /// What the portal says of it.
        description: Description,
    },
    /// The portal is closed, leads elsewhere, or does not have the method. It was not executed.
    #[error("the portal does not have the method, or is not where it was ({code})")]
    #[non_exhaustive]
    Portal {
        /// The portal's error code, or what it seems to be.
        code: String,
        /// What the portal says of it.
        description: Description,
    },
    /// The portal refused the call as it is.
    #[error("the portal refused the call ({code})")]
    #[non_exhaustive]
    Refused {
        /// The portal's error code.
        code: String,
        /// What the portal says of it.
        description: Description,
    },
    /// The method has used up the time that the portal grants it (`OPERATION_TIME_LIMIT`). It was not
    /// executed; it may be called again in about ten minutes.
    #[error("the portal grants the method no more time for now: call it again in ten minutes")]
    OperatingLimit,
    /// It was certainly not executed, for two minutes: it may be called again.
    #[error("the portal could not be called: {why}")]
    #[non_exhaustive]
    NotSent {
        /// Why not.
        why: String,
    },
    /// It may have been executed, or not: no usable answer came. It was not repeated.
    #[error("nobody knows whether the portal executed the call: {why}")]
    #[non_exhaustive]
    OutcomeUnknown {
        /// What went wrong.
        why: String,
    },
    /// The result is of another type than the one that was asked for.
    #[error("the portal's result is of another type than the one that was asked for")]
    Type,
}

/// The portal's description of an error, in the language of the portal. It may contain what was sent, so
/// neither Debug nor Display shows it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Description(pub(crate) String);

impl Description {
    /// The text; empty if there is none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Description(..)")
    }
}

/// Why the app's activities and robots could not be registered on a portal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The portal would refuse it.
    #[error("the registration {code:?} {problem}")]
    #[non_exhaustive]
    Invalid {
        /// The activity's or the robot's code.
        code: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A call has failed. You may simply try again.
    #[error("the app's activities could not be registered: see the source")]
    Call(#[from] CallError),
    /// The answer of the portal is not of a known form.
    #[error("the portal's list of registrations is not as documented")]
    Answer,
}
