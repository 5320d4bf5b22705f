//! The errors of the REST API: code, text and HTTP status.

use std::borrow::Cow;

use crate::settings::Statuses;

/// Every error that the portal answers with.
///
/// If documentation and server have different HTTP statuses, [`Statuses`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The rate limit of the portal, for one source IP.
    QueryLimitExceeded,
    /// A method has used up its server time.
    OperationTimeLimit,
    /// The vendor has blocked the REST API of the portal manually.
    OverloadLimit,
    /// The access token has expired.
    ExpiredToken,
    /// The access token is not valid.
    InvalidToken,
    /// The call has no authorization.
    NoAuthFound,
    /// The webhook is unknown or was deleted.
    InvalidCredentials,
    /// The credential may not use this group of methods.
    InsufficientScope,
    /// The application may not act for this user.
    UserAccessError,
    /// The call must use https.
    InvalidRequest,
    /// The plan of the portal does not include REST.
    CommercialPlanOnly,
    /// The user could not be authorized.
    AuthorizationError,
    /// The application is not installed.
    ApplicationNotFound,
    /// The application's subscription has expired.
    PaymentRequired,
    /// An administrator has not confirmed the method yet.
    MethodConfirmWaiting,
    /// The method cannot be used with this kind of authorization.
    WrongAuthType,
    /// An administrator has refused the method.
    MethodConfirmDenied,
    /// The portal cannot reach the authorization server.
    ConnectionError,
    /// The portal was closed.
    PortalDeleted,
    /// There is no such method on this portal.
    MethodNotFound,
    /// An internal error.
    InternalServerError,
    /// An answer could not be written.
    UnexpectedAnswer,
    /// An exception without its own code.
    Core,
    /// The same, with an error of the database inside.
    SqlError,
    /// An argument has the wrong type.
    Argument,
    /// More than 50 commands.
    BatchLengthExceeded,
    /// A method that no batch may contain.
    BatchMethodNotAllowed,
    /// The message is empty for PHP: missing, `""` or `"0"`.
    EmptyLogMessage,
    /// The event token does not belong to this portal.
    AccessDenied,
    /// The instance of the workflow does not exist any more.
    WorkflowNotFound,
    /// The workflow is locked by another hit.
    WorkflowLocked,
    /// The process failed.
    ProcessError,
    /// Signed links are checked before anything else, and this one is not signed.
    LinkCheckFailed,
    /// Text in another encoding than the portal's.
    WrongEncoding,
    /// The method is for applications, and the caller is a webhook.
    ApplicationContextRequired,
    /// A field of the activity or robot to register is not valid.
    ActivityValidation,
    /// A handler's URL is neither http nor https.
    UnsupportedProtocol,
    /// A handler's URL is not valid, or is not on the application's domain.
    WrongHandlerUrl,
    /// The application has an activity or a robot of this code.
    ActivityAlreadyInstalled,
    /// The application has no activity or robot of this code.
    ActivityNotFound,
    /// There is no such template or workflow.
    WrongWorkflowId,
    /// A document that no template fits. Its code is empty.
    WrongDocument,
    /// There is no such event.
    EventNotFound,
    /// Real portals have this method, but this stand-in does not implement it. Real portals do not have this
    /// code.
    NotInStandIn,
}

impl ErrorCode {
    /// Every code, in the order of the documentation.
    pub const ALL: &[Self] = &[
        Self::QueryLimitExceeded,
        Self::OperationTimeLimit,
        Self::OverloadLimit,
        Self::ExpiredToken,
        Self::InvalidToken,
        Self::NoAuthFound,
        Self::InvalidCredentials,
        Self::InsufficientScope,
        Self::UserAccessError,
        Self::InvalidRequest,
        Self::CommercialPlanOnly,
        Self::AuthorizationError,
        Self::ApplicationNotFound,
        Self::PaymentRequired,
        Self::MethodConfirmWaiting,
        Self::WrongAuthType,
        Self::MethodConfirmDenied,
        Self::ConnectionError,
        Self::PortalDeleted,
        Self::MethodNotFound,
        Self::InternalServerError,
        Self::UnexpectedAnswer,
        Self::Core,
        Self::SqlError,
        Self::Argument,
        Self::BatchLengthExceeded,
        Self::BatchMethodNotAllowed,
        Self::EmptyLogMessage,
        Self::AccessDenied,
        Self::WorkflowNotFound,
        Self::WorkflowLocked,
        Self::ProcessError,
        Self::LinkCheckFailed,
        Self::WrongEncoding,
        Self::ApplicationContextRequired,
        Self::ActivityValidation,
        Self::UnsupportedProtocol,
        Self::WrongHandlerUrl,
        Self::ActivityAlreadyInstalled,
        Self::ActivityNotFound,
        Self::WrongWorkflowId,
        Self::WrongDocument,
        Self::EventNotFound,
        Self::NotInStandIn,
    ];

    /// The code in `error`.
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// The text in `error_description`.
    pub fn description(self) -> &'static str {
        self.row().1
    }

    /// The HTTP status of a hit that fails with this error.
    pub fn status(self, statuses: Statuses) -> u16 {
        let (_, _, documented, server) = self.row();
        match statuses {
            Statuses::Documented => documented,
            Statuses::Server => server,
        }
    }

    /// Code, text, status by the documentation, status by the server's source.
    fn row(self) -> (&'static str, &'static str, u16, u16) {
        match self {
            Self::QueryLimitExceeded => ("QUERY_LIMIT_EXCEEDED", "Too many requests", 503, 503),
            Self::OperationTimeLimit => {
                ("OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.", 429, 429)
            }
            Self::OverloadLimit => {
                ("OVERLOAD_LIMIT", "REST API is blocked due to overload.", 503, 401)
            }
            Self::ExpiredToken => {
                ("expired_token", "The access token provided has expired.", 401, 401)
            }
            Self::InvalidToken => ("invalid_token", "Unable to get application by token", 401, 401),
            Self::NoAuthFound => ("NO_AUTH_FOUND", "Wrong authorization data", 401, 401),
            Self::InvalidCredentials => {
                ("INVALID_CREDENTIALS", "Invalid request credentials", 403, 401)
            }
            Self::InsufficientScope => (
                "insufficient_scope",
                "The request requires higher privileges than provided by the access token",
                403,
                401,
            ),
            Self::UserAccessError => {
                ("user_access_error", "The user does not have access to the application.", 403, 401)
            }
            Self::InvalidRequest => ("INVALID_REQUEST", "Https required.", 400, 401),
            Self::CommercialPlanOnly => {
                ("ACCESS_DENIED", "REST is available only on commercial plans.", 403, 401)
            }
            Self::AuthorizationError => {
                ("authorization_error", "Unable to authorize user", 401, 401)
            }
            Self::ApplicationNotFound => {
                ("APPLICATION_NOT_FOUND", "Application not found", 401, 401)
            }
            Self::PaymentRequired => ("PAYMENT_REQUIRED", "Payment required", 401, 401),
            Self::MethodConfirmWaiting => {
                ("METHOD_CONFIRM_WAITING", "Waiting for confirmation", 401, 401)
            }
            Self::WrongAuthType => (
                "WRONG_AUTH_TYPE",
                "Current authorization type is denied for this method",
                403,
                403,
            ),
            Self::MethodConfirmDenied => ("METHOD_CONFIRM_DENIED", "Method call denied", 403, 403),
            Self::ConnectionError => {
                ("CONNECTION_ERROR", "Error connecting to authorization server", 401, 401)
            }
            Self::PortalDeleted => ("PORTAL_DELETED", "Portal was deleted", 500, 403),
            Self::MethodNotFound => ("ERROR_METHOD_NOT_FOUND", "Method not found!", 404, 404),
            Self::InternalServerError => {
                ("INTERNAL_SERVER_ERROR", "Internal server error", 500, 500)
            }
            Self::UnexpectedAnswer => ("ERROR_UNEXPECTED_ANSWER", "Unexpected answer", 500, 500),
            Self::Core => ("ERROR_CORE", "Core error", 400, 400),
            Self::SqlError => ("ERROR_CORE", "Mysql query error", 500, 500),
            Self::Argument => ("ERROR_ARGUMENT", "Wrong argument", 400, 400),
            Self::BatchLengthExceeded => {
                ("ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded", 400, 400)
            }
            Self::BatchMethodNotAllowed => (
                "ERROR_BATCH_METHOD_NOT_ALLOWED",
                "Method is not allowed for batch usage",
                405,
                405,
            ),
            Self::EmptyLogMessage => ("ERROR_EMPTY_LOG_MESSAGE", "Empty log message!", 400, 400),
            Self::AccessDenied => ("ACCESS_DENIED", "Access denied!", 403, 403),
            Self::WorkflowNotFound => ("404", "Workflow instance is not found", 400, 400),
            Self::WorkflowLocked => ("423", "Workflow instance is locked", 400, 400),
            Self::ProcessError => ("499", "The process has failed", 400, 400),
            Self::LinkCheckFailed => ("ACCESS_DENIED", "Link check failed", 403, 403),
            Self::WrongEncoding => ("WRONG_ENCODING", "Wrong request encoding", 200, 200),
            Self::ApplicationContextRequired => {
                ("ACCESS_DENIED", "Application context required", 403, 403)
            }
            Self::ActivityValidation => {
                ("ERROR_ACTIVITY_VALIDATION_FAILURE", "Empty data!", 400, 400)
            }
            Self::UnsupportedProtocol => {
                ("ERROR_UNSUPPORTED_PROTOCOL", "Unsupported handler protocol", 400, 400)
            }
            Self::WrongHandlerUrl => ("ERROR_WRONG_HANDLER_URL", "Wrong handler URL", 400, 400),
            Self::ActivityAlreadyInstalled => (
                "ERROR_ACTIVITY_ALREADY_INSTALLED",
                "Activity or Robot already installed!",
                400,
                400,
            ),
            Self::ActivityNotFound => {
                ("ERROR_ACTIVITY_NOT_FOUND", "Activity or Automation rule not found!", 400, 400)
            }
            Self::WrongWorkflowId => ("ERROR_WRONG_WORKFLOW_ID", "Template not found", 400, 400),
            Self::WrongDocument => ("", "Wrong DOCUMENT_ID!", 400, 400),
            Self::EventNotFound => ("ERROR_EVENT_NOT_FOUND", "Event not found", 400, 400),
            Self::NotInStandIn => (
                "STAND_IN_WITHOUT_METHOD",
                "Real portals may have this method; this stand-in portal has not",
                501,
                501,
            ),
        }
    }
}

/// An error with another text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorCode,
    pub(crate) description: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        Self { error, description: description.into() }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self::new(error, error.description())
    }
}
