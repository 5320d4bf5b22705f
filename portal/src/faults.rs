//! Faults: what fails, when, and for which hit. (A *hit* is an HTTP request to the portal.)

mod plan;

use std::borrow::Cow;
use std::time::Duration;

use crate::error::ErrorCode;

pub(crate) use plan::FaultPlan;

/// A fault of a hit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The hit waits, and then goes on as usual.
    Delay(Moment, Duration),
    /// The hit is never answered; the connection stays open.
    Hang(Moment),
    /// The connection is reset.
    Reset(Moment),
    /// Another server answers, for example a proxy in front of the portal.
    Answer(Moment, Canned),
    /// The hit is executed, and half of its answer arrives before the connection closes.
    Truncate,
    /// The hit is executed, and its answer arrives byte by byte, with this pause between them.
    Drip(Duration),
    /// The portal refuses the hit with this error, without executing it.
    Refuse(ErrorCode),
}

impl Fault {
    /// A selection of all faults that a client must handle, for
    /// [`Faults::at_random`](crate::Faults::at_random).
    pub fn assorted() -> Vec<Self> {
        vec![
            Self::Delay(Moment::BeforeExecution, Duration::from_secs(2)),
            Self::Reset(Moment::BeforeRead),
            Self::Reset(Moment::AfterExecution),
            Self::Truncate,
            Self::Answer(Moment::BeforeExecution, Canned::html(502)),
            Self::Answer(Moment::AfterExecution, Canned::html(504)),
            Self::Refuse(ErrorCode::QueryLimitExceeded),
            Self::Refuse(ErrorCode::InternalServerError),
        ]
    }
}

/// When a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The head was read, the body was not. Nothing is executed.
    BeforeRead,
    /// The whole hit was read. Nothing is executed.
    BeforeExecution,
    /// The hit was executed, and nothing was answered: for the client, the outcome is unknown.
    AfterExecution,
}

/// A prepared answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canned {
    pub(crate) status: u16,
    pub(crate) content_type: Cow<'static, str>,
    pub(crate) body: Cow<'static, str>,
}

impl Canned {
    /// An answer of any shape.
    pub fn new(
        status: u16,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, content_type: content_type.into(), body: body.into() }
    }

    /// A page of HTML, as a proxy sends it: 502, 504, 413, ..
    pub fn html(status: u16) -> Self {
        let body = format!(
            "<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"
        );
        Self::new(status, "text/html", body)
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self::new(status, "text/html", "")
    }

    /// A body with the content type JSON. It may be invalid JSON.
    pub fn json(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        Self::new(status, "application/json; charset=utf-8", body)
    }
}
