//! What travels from the caller to the worker: whose log ([`Tag`]) and what was said ([`LogLine`]).

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tracing_core::Metadata;

/// The key of one waiting activity (or robot), which names the workflow's log to write to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventToken(Arc<str>);

/// Which portal a line is for: its `member_id`, or the default portal's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortalId(Arc<str>);

/// Whose log: shared by all lines of a tagged span.
pub(crate) struct Tag {
    pub(crate) event_token: EventToken,
    /// `None`: the default portal.
    pub(crate) portal: Option<PortalId>,
}

/// One event, packed on the caller's thread; text is made of it by the worker.
pub(crate) struct LogLine {
    pub(crate) tag: Arc<Tag>,
    pub(crate) metadata: &'static Metadata<'static>,
    pub(crate) at: SystemTime,
    pub(crate) fields: Packed,
    /// The spans between the tagged span (exclusive) and the event, innermost first by `up`.
    pub(crate) span: Option<Arc<SpanFields>>,
}

/// A span's own fields, and through `up` those of the spans around it.
pub(crate) struct SpanFields {
    pub(crate) up: Option<Arc<SpanFields>>,
    pub(crate) metadata: &'static Metadata<'static>,
    pub(crate) fields: Packed,
}

/// Fields as typed bytes.
pub(crate) struct Packed(Box<[u8]>);

/// One unpacked value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F64(f64),
    Bool(bool),
    /// Text, and how many bytes of it were cut at the door.
    Str(&'a str, usize),
}
