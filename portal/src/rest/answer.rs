//! The shapes of an answer: success, error, and what is not JSON at all.

use std::borrow::Cow;
use std::time::Duration;

use super::methods::Answer;
use crate::clock::UnixTime;
use crate::core::World;
use crate::error::Refusal;
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

    /// `{"result":..,"time":{..}}`; a list also says where its next page begins, and how long it
    /// is.
    pub(crate) fn success(answer: Answer, time: Value<'static>) -> Self {
        let mut body: Array<'static> = [("result", answer.value)].into();
        let mut set = |name: &'static str, value| {
            body.insert(Key::Text(Cow::Borrowed(name.as_bytes())), value);
        };
        for (name, number) in [("next", answer.next), ("total", answer.total)] {
            if let Some(number) = number {
                set(name, Value::Int(i64::try_from(number).unwrap_or(i64::MAX)));
            }
        }
        set("time", time);
        Self::json(200, &Value::Array(body))
    }

    /// `{"error":"CODE","error_description":".."}`, without a time.
    pub(crate) fn error(refusal: &Refusal, statuses: Statuses) -> Self {
        let Refusal { error, description } = refusal;
        let body = Value::Array(error_pair(error.code(), description));
        Self::json(error.status(statuses), &body)
    }
}

/// Refuses a whole hit, and says so in the journal.
pub(crate) fn refuse(world: &mut World, hit: u64, refusal: impl Into<Refusal>) -> Reply {
    let refusal = refusal.into();
    world.journal.counters.refused_hits += 1;
    if let Some(hit) = world.journal.hit(hit) {
        hit.error = Some(refusal.error.code().to_owned());
    }
    Reply::error(&refusal, world.settings.statuses)
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
