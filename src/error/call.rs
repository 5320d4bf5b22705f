//! Errors of calls to portals, and of registrations, which are made by calls.

use std::fmt;

use super::WorkerError;

/// Why a REST call of the app has no result.
///
/// ```
/// use tracing_bizproc::error::CallError;
/// use tracing_bizproc::{Handle, PortalId};
///
/// async fn deals(handle: &Handle, portal: &PortalId) -> Result<Option<String>, CallError> {
///     match handle.call(Some(portal), "crm.deal.list", "{}").await {
///         Ok(answer) => Ok(Some(answer.result().to_string())),
///         // The app was never installed there.
///         Err(CallError::UnknownPortal { .. }) => Ok(None),
///         Err(error) => Err(error),
///     }
/// }
/// # drop(deals);
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The call is not valid and was not sent.
    #[error("{problem}")]
    #[non_exhaustive]
    Request {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// This process publishes to a relay (`Builder::publish_to`), which owns the portal's rate limit. A call beside
    /// the relay would break the limit. It was not sent.
    #[error(
        "this process publishes to a relay, and a call beside the relay would break the portal's rate limit: \
         call from a process that delivers by itself, behind another address"
    )]
    Publishes,
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
    #[error(
        "the portal does not accept the credentials for this method ({code}); its own words are in \
         `description`"
    )]
    #[non_exhaustive]
    Credential {
        /// The portal's error code.
        code: String,
        /// The portal's description.
        description: Description,
    },
    /// The portal is closed, redirects, or does not have the method. It was not executed.
    #[error("the portal has no such method, is closed, or has moved ({code})")]
    #[non_exhaustive]
    Portal {
        /// The portal's error code, or a description of its answer.
        code: String,
        /// The portal's description.
        description: Description,
    },
    /// The portal refused the call as it is.
    #[error("the portal refused the call ({code}); its own words are in `description`")]
    #[non_exhaustive]
    Refused {
        /// The portal's error code.
        code: String,
        /// The portal's description.
        description: Description,
    },
    /// The method has used up its server time on the portal (`OPERATION_TIME_LIMIT`). It was not
    /// executed; you may call it again in about ten minutes.
    #[error(
        "the server time that the portal allows for this method is used up: call it again in ten \
         minutes"
    )]
    OperatingLimit,
    /// It was tried for two minutes, and was certainly not executed. You may call it again.
    #[error("the call was not sent: {why}; call it again later")]
    #[non_exhaustive]
    NotSent {
        /// Why not.
        why: String,
    },
    /// It may have been executed, or not: no usable answer came. It was not repeated.
    #[error("it is not known whether the portal executed the call: {why}")]
    #[non_exhaustive]
    OutcomeUnknown {
        /// What went wrong.
        why: String,
    },
    /// The result does not have the requested type.
    #[error("the portal's result does not have the requested type")]
    Type,
}

/// The portal's description of an error, in the language of the portal. It may contain what was sent, so
/// neither Debug nor Display shows it.
///
/// ```
/// use tracing_bizproc::error::CallError;
///
/// /// For the app's own log: it may repeat what was sent.
/// fn details(error: &CallError) -> Option<&str> {
///     match error {
///         CallError::Refused { description, .. } => Some(description.as_str()),
///         _ => None,
///     }
/// }
/// # drop(details);
/// ```
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
///
/// ```
/// use tracing_bizproc::app::Installations;
/// use tracing_bizproc::PortalId;
/// use tracing_bizproc::error::RegistrationError;
///
/// async fn repeat(installations: &Installations, portal: &PortalId) {
///     if let Err(RegistrationError::Call(error)) = installations.register(portal).await {
///         eprintln!("{portal} did not take the activities: {error}");
///     }
/// }
/// # drop(repeat);
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
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
    /// A call has failed. You may try again.
    #[error("the app's activities could not be registered: {0}")]
    Call(#[from] CallError),
    /// The portal's answer does not have the documented form.
    #[error("the portal's list of activities does not have the documented form")]
    Answer,
}
