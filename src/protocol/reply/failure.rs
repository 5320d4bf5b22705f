//! Classifies a portal's error codes by what to do next.

use std::fmt;

use serde_json::{Map, Value};

use super::Refusal;

/// The portal's error code: at most 64 ASCII letters, digits, `_`, `-`, `.`. If there is none, our own words.
/// Never the portal's description, which could contain a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) String);

/// An `error` as the portal states it.
pub(in crate::protocol) struct Failure<'a> {
    pub(in crate::protocol) code: Code,
    /// Used only for a code with two meanings. It may be in any language. Never shown.
    description: &'a str,
}

impl<'a> Failure<'a> {
    /// The error at the top of an answer, if it is one.
    pub(in crate::protocol) fn of(answer: &'a Map<String, Value>) -> Option<Self> {
        let (code, nested) = match answer.get("error")? {
            Value::Null | Value::Bool(false) => return None,
            // REST v3 nests it, and so may a proxy in between.
            Value::Object(error) => (error.get("code").unwrap_or(&Value::Null), Some(error)),
            code => (code, None),
        };
        let description = nested
            .and_then(|error| error.get("message"))
            .or_else(|| answer.get("error_description"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        Some(Failure { code: Code::of(code), description })
    }

    /// The error of one command in a batch.
    pub(super) fn of_command(entry: &'a Value) -> Option<Self> {
        match entry {
            Value::Null => None,
            Value::Object(error) => Failure::of(error)
                .or_else(|| Some(Failure { code: Code::of(&Value::Null), description: "" })),
            code => Some(Failure { code: Code::of(code), description: "" }),
        }
    }
}

/// Where an error was. Some codes have different meanings at different places.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// At the top of the answer to a call.
    Call { status: u16 },
    /// At the top of the answer to a batch.
    Batch { status: u16 },
    /// In a batch's `result_error`. The HTTP status is always 200.
    Command,
}

/// Classifies an error. `None` for a request: it is not known whether it was executed. `None` for a command of
/// a batch: it was not executed.
pub(super) fn classify(failure: &Failure<'_>, place: Place) -> Option<Refusal> {
    let code = || failure.code.clone();
    Some(match failure.code.0.to_ascii_uppercase().as_str() {
        "QUERY_LIMIT_EXCEEDED" => Refusal::RateLimit,
        "OPERATION_TIME_LIMIT" => Refusal::OperatingLimit,
        "EXPIRED_TOKEN" | "INVALID_TOKEN" => Refusal::Grant(code()),
        "NO_AUTH_FOUND"
        | "INVALID_CREDENTIALS"
        | "INSUFFICIENT_SCOPE"
        | "INVALID_SCOPE"
        | "USER_ACCESS_ERROR"
        | "INVALID_REQUEST"
        | "AUTHORIZATION_ERROR"
        | "APPLICATION_NOT_FOUND"
        | "PAYMENT_REQUIRED"
        | "METHOD_CONFIRM_WAITING"
        | "METHOD_CONFIRM_DENIED"
        | "WRONG_AUTH_TYPE"
        | "INVALID_CLIENT"
        | "INVALID_GRANT"
        | "WRONG_CLIENT"
        | "NOT_INSTALLED"
        // The vendor has blocked it manually.
        | "OVERLOAD_LIMIT" => Refusal::Credential(code()),
        "ACCESS_DENIED" => access_denied(failure, place),
        "PORTAL_DELETED" | "ERROR_METHOD_NOT_FOUND" => Refusal::Portal(code()),
        // The portal could not reach its authorization server, before it executed anything.
        "CONNECTION_ERROR" => Refusal::Server(code()),
        "INTERNAL_SERVER_ERROR" | "ERROR_UNEXPECTED_ANSWER" => match place {
            Place::Command => Refusal::Server(code()),
            // An exception in the middle: earlier commands are done, but it is not known which.
            Place::Call { .. } | Place::Batch { .. } => return None,
        },
        // Above the portal's limit of commands: the first ones ran, this one did not.
        "ERROR_BATCH_LENGTH_EXCEEDED" => match place {
            Place::Command => return None,
            Place::Call { .. } | Place::Batch { .. } => Refusal::TooLarge,
        },
        // The business process module's own codes are numbers.
        "404" => Refusal::WorkflowGone(code()),
        "423" => Refusal::Locked(code()),
        "ERROR_CORE" | "ERROR_ARGUMENT" | "ERROR_EMPTY_LOG_MESSAGE" => Refusal::Command(code()),
        _ => match place {
            Place::Command => Refusal::Command(code()),
            Place::Call { status } | Place::Batch { status } => match status {
                401 | 403 => Refusal::Credential(code()),
                413 => Refusal::TooLarge,
                429 => Refusal::RateLimit,
                500..=599 => return None,
                _ => Refusal::Command(code()),
            },
        },
    })
}

/// One code for two things: the tariff has no REST ("…commercial plans"), or the event token is
/// not accepted ("Access denied!"). A batch as a whole has no event token.
fn access_denied(failure: &Failure<'_>, place: Place) -> Refusal {
    let description = failure.description.to_lowercase();
    let plan = description.contains("commercial") || description.contains("коммерч");
    match place {
        _ if plan => Refusal::Credential(failure.code.clone()),
        Place::Batch { .. } | Place::Call { status: 401 } => {
            Refusal::Credential(failure.code.clone())
        }
        Place::Call { .. } | Place::Command => Refusal::TokenDenied(failure.code.clone()),
    }
}

impl Code {
    /// Most bytes of a code that are kept.
    const BYTES: usize = 64;

    pub(super) fn of(value: &Value) -> Self {
        let raw = match value {
            Value::String(code) => code.clone(),
            Value::Number(code) => code.to_string(),
            _ => String::new(),
        };
        // A text that is not a code, for example an address or a sentence, is never shown.
        let odd = |b: u8| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        let raw = raw.trim();
        Code(if raw.len() > Self::BYTES || raw.bytes().any(odd) {
            "unreadable".to_owned()
        } else {
            raw.to_owned()
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "no code" } else { &self.0 })
    }
}
