//! The shapes of an answer: success, error, and what is not JSON at all.

use std::borrow::Cow;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::core::World;
use crate::error::ErrorCode;
use crate::limits::Operating;
use crate::php::{Array, Key, Value, json_encode};
use crate::settings::Statuses;

/// What goes back over the wire.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: Cow<'static, str>,
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(status: u16, value: &Value<'_>) -> Self {
        let content_type = "application/json; charset=utf-8";
        Self { status, content_type: content_type.into(), location: None, body: json_encode(value) }
    }

    pub(crate) fn html(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let content_type = "text/html; charset=utf-8";
        Self { status, content_type: content_type.into(), location: None, body: body.into() }
    }

    /// `{"result":..,"time":{..}}`
    pub(crate) fn success(result: Value<'static>, time: Value<'static>) -> Self {
        Self::json(200, &Value::Array([("result", result), ("time", time)].into()))
    }

    /// `{"error":"CODE","error_description":".."}`, without a time.
    pub(crate) fn error(error: ErrorCode, statuses: Statuses) -> Self {
        let body = Value::Array(error_pair(error.code(), error.description()));
        Self::json(error.status(statuses), &body)
    }
}

/// Refuses a whole hit, and says so in the journal.
pub(crate) fn refuse(world: &mut World, hit: u64, error: ErrorCode) -> Reply {
    world.journal.counters.refused_hits += 1;
    if let Some(hit) = world.journal.hit(hit) {
        hit.error = Some(error.code().to_owned());
    }
    Reply::error(error, world.settings.statuses)
}

/// `error` and `error_description`, as they stand in an answer and in `result_error`.
pub(crate) fn error_pair(code: &str, description: &str) -> Array<'static> {
    [("error", Value::text(code)), ("error_description", Value::text(description))].into()
}

/// The `time` of a call that began at `start` and took `took`.
pub(crate) fn time(
    start: UnixTime,
    took: Duration,
    operating: Option<Operating>,
) -> Value<'static> {
    let finish = start + took;
    // As microtime() has them.
    let seconds = |time: Duration| Value::Float(time.as_micros() as f64 / 1e6);
    let mut time: Array<'static> = [
        ("start", seconds(start.since_epoch())),
        ("finish", seconds(finish.since_epoch())),
        ("duration", seconds(took)),
        ("processing", seconds(took)),
        ("date_start", Value::text(start.to_string())),
        ("date_finish", Value::text(finish.to_string())),
    ]
    .into();
    if let Some(operating) = operating {
        let key = |name: &'static str| Key::Text(Cow::Borrowed(name.as_bytes()));
        let reset_at = i64::try_from(operating.reset_at.as_secs()).unwrap_or(i64::MAX);
        time.insert(key("operating_reset_at"), Value::Int(reset_at));
        time.insert(key("operating"), seconds(operating.used));
    }
    Value::Array(time)
}
