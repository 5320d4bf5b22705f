//! A call on its way to a workflow: what `bizproc.activity.log` and `bizproc.event.send` share.

use std::borrow::Cow;

use super::token::Claims;
use crate::error::ErrorCode;
use crate::php::{self, Array, Value};

/// The text in the log if the application gave no usable message (our own wording).
const DEFAULT_MESSAGE: &[u8] = b"The application has answered";

/// The request of a call to a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `bizproc.activity.log`
    Log,
    /// `bizproc.event.send`
    Complete,
}

/// A call whose token was found good. Once `Processes::begin` has locked its workflow, it must be
/// given to `Processes::finish`.
#[derive(Debug)]
pub(crate) struct Started<'a> {
    pub(crate) workflow: String,
    pub(crate) activity: String,
    pub(crate) event: String,
    pub(crate) call: Call,
    pub(crate) message: Cow<'a, [u8]>,
    pub(crate) return_values: Vec<(String, String)>,
}

impl<'a> Started<'a> {
    /// Reads what the call says, after its token was found good.
    ///
    /// What PHP calls empty is refused in a log call, and is replaced by a sentence of the
    /// portal's in the other one; what is no text is always replaced (server behaviour).
    pub(crate) fn read(
        call: Call,
        claims: &Claims<'_>,
        params: &'a Array<'a>,
    ) -> Result<Self, ErrorCode> {
        let given = params.get_ignoring_case("LOG_MESSAGE").filter(|given| !given.is_empty());
        if call == Call::Log && given.is_none() {
            return Err(ErrorCode::EmptyLogMessage);
        }
        Ok(Self {
            workflow: claims.workflow.to_owned(),
            activity: claims.activity.to_owned(),
            event: claims.event.to_owned(),
            call,
            message: Cow::Borrowed(given.and_then(Value::as_bytes).unwrap_or(DEFAULT_MESSAGE)),
            return_values: return_values(params),
        })
    }

    /// The same with storage of its own, for a job that runs after the hit.
    pub(crate) fn into_owned(self) -> Started<'static> {
        Started { message: Cow::Owned(self.message.into_owned()), ..self }
    }
}

fn return_values(params: &Array<'_>) -> Vec<(String, String)> {
    let values = params.get_ignoring_case("RETURN_VALUES").and_then(Value::as_array);
    let read = values.into_iter().flat_map(Array::iter).map(|(name, value)| {
        let value = match value.as_bytes() {
            Some(bytes) => php::lossy(bytes),
            None => php::lossy(&php::json_encode(value)),
        };
        (php::lossy(&name.to_bytes()).to_string(), value.to_string())
    });
    read.collect()
}
