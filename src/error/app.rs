//! Errors in requests from portals.

use super::{RegistrationError, Source, WorkerError};

/// Why a portal's request to the app could not be parsed. No message contains anything of the request.
///
/// ```
/// use tracing_bizproc::app::ActivityRequest;
/// use tracing_bizproc::error::RequestError;
///
/// let error = ActivityRequest::parse(None, b"name=value").unwrap_err();
/// assert!(matches!(error, RequestError::Missing { .. }));
/// ```
#[derive(thiserror::Error)]
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
    /// It has text that is not UTF-8.
    #[error(
        "the request is not UTF-8: a portal whose site is in windows-1251 sends such forms; convert \
         the site to UTF-8"
    )]
    NotUtf8,
    /// It declares windows-1251 as its encoding.
    #[error(
        "the request is in windows-1251, the encoding of the portal's site: convert the site to UTF-8"
    )]
    Windows1251,
    /// Its content type is neither a form nor JSON.
    #[error("the request is neither a form nor JSON: answer it with 415")]
    ContentType,
    /// It is not JSON.
    #[error("the request is not JSON (line {line}, column {column})")]
    NotJson {
        /// The line of the error, from 1.
        line: usize,
        /// The column of the error, from 1.
        column: usize,
    },
    /// Two values under one key: it is not clear which one was meant.
    #[error("the request has two values for one field")]
    Duplicate,
    /// A field is missing.
    #[error("the request has no field {field}: does it come from a portal?")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field is text where it should be an array, or the other way round.
    #[error("the request's field {field} has the wrong type")]
    WrongType {
        /// The field.
        field: &'static str,
    },
    /// A field has a value that is not valid.
    #[error("the request's field {field} has a value that is not valid")]
    #[non_exhaustive]
    Invalid {
        /// The field.
        field: &'static str,
    },
}

/// Why a property of an activity is not what the app needs. The text does not contain the value.
///
/// ```
/// use tracing_bizproc::app::Activity;
/// use tracing_bizproc::error::{CompleteError, PropertyError};
///
/// async fn work(activity: &Activity) -> Result<(), CompleteError> {
///     let amount = match activity.input("Amount").number() {
///         Ok(amount) => amount,
///         Err(PropertyError::NotSet { .. }) => 0.0,
///         // The author of the template reads it in the log.
///         Err(error) => return activity.fail(error.to_string()).await.map(drop),
///     };
///     # let _ = amount;
///     Ok(())
/// }
/// # drop(work);
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// It is missing or empty.
    #[error("the property {name:?} is not set in the template")]
    #[non_exhaustive]
    NotSet {
        /// The property's name.
        name: String,
    },
    /// It has another type.
    #[error("the property {name:?} is not {expected}")]
    #[non_exhaustive]
    Kind {
        /// The property's name.
        name: String,
        /// What was expected.
        expected: &'static str,
    },
}

/// The text is not a date format.
///
/// ```
/// use tracing_bizproc::app::DateFormat;
/// use tracing_bizproc::error::DateFormatError;
///
/// // The year is missing.
/// assert_eq!(DateFormat::parse("DD.MM HH:MI").unwrap_err(), DateFormatError);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a date format needs YYYY, MM and DD, each once, and may have HH, MI, SS and T, for example \
     DD.MM.YYYY HH:MI:SS"
)]
pub struct DateFormatError;

/// Why a portal's request failed verification. Answer it with 403, and do nothing.
///
/// ```
/// use tracing_bizproc::app::{ActivityRequest, Installation, VerifiedActivity};
/// use tracing_bizproc::error::VerifyError;
///
/// fn trust(request: ActivityRequest, installation: &Installation) -> Option<VerifiedActivity> {
///     match request.verify(installation) {
///         Ok(verified) => Some(verified),
///         // Somebody else has sent it: answer 403.
///         Err(VerifyError::ApplicationToken) => None,
///         Err(error) => {
///             eprintln!("{error}");
///             None
///         }
///     }
/// }
/// # drop(trust);
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The request's application token is not the one of this installation.
    #[error(
        "the request's application_token is not the stored one: the request is forged; or the app was \
         installed again and its new token was not stored; or the APP_SID of an install page was \
         stored, which is not the application token"
    )]
    ApplicationToken,
    /// The request names a host that is not the stored one, and it is not confirmed that the portal was
    /// renamed.
    #[error(
        "the request names the host {named}, but the stored host of the portal is {stored}: if the \
         portal was renamed, add the new host to `OAuth::hosts`, or to the stored installation"
    )]
    #[non_exhaustive]
    Host {
        /// The host that the request names.
        named: String,
        /// The hosts of the stored installation.
        stored: String,
    },
    /// The address to call is not a URL.
    #[error("the portal's address in the request is not a valid URL")]
    Address,
    /// The address to call is not https.
    #[error(
        "the portal's address in the request is not https, so tokens could be read on the way: use \
         https, or `Installation::allow_http` and `OAuth::allow_http` in a network that you trust"
    )]
    Insecure,
}

/// Why a handler did not get an activity. As a response: 400, 403, 413, 415, 500 if the store failed, or
/// 503 if it could not be checked whether the portal was renamed.
///
/// ```
/// use tracing_bizproc::error::ActivityRejection;
///
/// /// What a handler answers, with a framework of your own.
/// fn status(rejection: &ActivityRejection) -> u16 {
///     match rejection {
///         ActivityRejection::Request(_) | ActivityRejection::Body(_) => 400,
///         ActivityRejection::UnknownPortal | ActivityRejection::Verify(_) => 403,
///         ActivityRejection::Unconfirmed { .. } => 503,
///         _ => 500,
///     }
/// }
/// # drop(status);
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ActivityRejection {
    /// The body could not be read.
    #[error("the request's body could not be read")]
    Body(#[source] Source),
    /// The request could not be parsed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The app is not installed on the portal that the request names.
    #[error(
        "the app is not installed on the portal that the request names: install it there (again, if the store \
         was emptied; a `MemoryStore` forgets everything when the process ends)"
    )]
    UnknownPortal,
    /// The request failed verification.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The portal seems to have been renamed, and this could not be confirmed now. If the request is
    /// delivered again later, it may succeed.
    #[error("it could not be checked whether the portal was renamed: {why}")]
    #[non_exhaustive]
    Unconfirmed {
        /// What went wrong.
        why: String,
    },
    /// The installation could not be loaded or stored.
    #[error("the store of installations failed")]
    Store(#[source] Source),
}

/// Why an installation, an update or a removal failed. Nothing has changed then, unless the variant says
/// so. As a response: 400, 403, 500 if a store failed, or 503 if it may succeed later.
///
/// ```
/// use tracing_bizproc::error::InstallError;
///
/// /// What the address for the app's life answers.
/// fn status(error: &InstallError) -> u16 {
///     match error {
///         InstallError::NoApplicationToken | InstallError::NoTokens => 400,
///         InstallError::Verify(_) | InstallError::Denied { .. } | InstallError::UnknownPortal => 403,
///         InstallError::Store(_) => 500,
///         _ => 503,
///     }
/// }
/// # drop(status);
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The request has no `application_token`, which is needed to verify later requests.
    #[error(
        "the request has no application_token (on an install page it is APPLICATION_TOKEN; APP_SID is \
         another value): wait for the event ONAPPINSTALL, which has one"
    )]
    NoApplicationToken,
    /// The request has no access token, so it cannot be checked.
    #[error(
        "the request has no access token, so it cannot be checked whether it comes from the portal: \
         open the app on the portal, or install it again"
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
    /// An installation or an update could not be checked now, or its tokens could not be stored.
    #[error(
        "the installation or update could not be confirmed now: {why}; open the app on the portal \
         later, or install it again"
    )]
    #[non_exhaustive]
    Later {
        /// What went wrong.
        why: String,
    },
    /// The app was removed from the portal, and its installation is deleted, but the token store failed:
    /// it may still have the tokens of the portal.
    #[error(
        "the app was removed, but the portal's tokens could not be deleted: {why}; delete them in the \
         token store"
    )]
    #[non_exhaustive]
    TokensRemain {
        /// What went wrong.
        why: String,
    },
    /// The app is not installed on that portal.
    #[error(
        "the app is not installed on the portal that the request names: install it there (again, if the store \
         was emptied; a `MemoryStore` forgets everything when the process ends)"
    )]
    UnknownPortal,
    /// Another process has changed the same installation at the same time.
    #[error("the installation was changed by another process at the same time: try again")]
    Raced,
    /// The store of installations failed.
    #[error("the store of installations failed")]
    Store(#[source] Source),
    /// There is no worker to ask.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The app is installed, but its activities could not be registered. Call
    /// [`Installations::register`](crate::app::Installations::register) again.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
}
