//! The forms of an answer: success, error, and answers that are not JSON.

use std::borrow::Cow;
use std::time::Duration;

use super::methods::Answer;
use crate::clock::UnixTime;
use crate::core::World;
use crate::error::Refusal;
use crate::limits::Operating;
use crate::php::{Array, Key, Value, json_encode};
use crate::settings::Statuses;

/// The HTTP response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: Cow<'static, str>,
    pub(crate) location: Option<String>,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: Vec<u8>,
}

/// What lets the scripts of any site read an answer of the REST API (server behaviour).
const FOR_EVERYBODY: &[(&str, &str)] = &[
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "origin, content-type, accept"),
    ("X-Content-Type-Options", "nosniff"),
];

impl Reply {
    pub(crate) fn json(status: u16, value: &Value<'_>) -> Self {
        let content_type = "application/json; charset=utf-8";
        let (content_type, body) = (content_type.into(), json_encode(value));
        Self { status, content_type, location: None, headers: &[], body }
    }

    pub(crate) fn html(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let content_type = "text/html; charset=utf-8";
        let (content_type, body) = (content_type.into(), body.into());
        Self { status, content_type, location: None, headers: &[], body }
    }

    /// What a browser asks before it sends what a script wants to send.
    pub(crate) fn preflight() -> Self {
        Self { headers: FOR_EVERYBODY, ..Self::html(200, "") }
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
        Self { headers: FOR_EVERYBODY, ..Self::json(200, &Value::Array(body)) }
    }

    /// `{"error":"CODE","error_description":".."}`, without a time.
    pub(crate) fn error(refusal: &Refusal, statuses: Statuses) -> Self {
        let Refusal { error, description } = refusal;
        let body = Value::Array(error_pair(error.code(), description));
        Self { headers: FOR_EVERYBODY, ..Self::json(error.status(statuses), &body) }
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
        add_operating(&mut time, operating);
    }
    Value::Array(time)
}

/// Says how much server time was used up, and when some of it comes back.
pub(crate) fn add_operating(time: &mut Array<'static>, operating: Operating) {
    let key = |name: &'static str| Key::Text(Cow::Borrowed(name.as_bytes()));
    let reset_at = i64::try_from(operating.reset_at.as_secs()).unwrap_or(i64::MAX);
    time.insert(key("operating_reset_at"), Value::Int(reset_at));
    time.insert(key("operating"), seconds(operating.used));
}

/// As microtime() has them.
fn seconds(time: Duration) -> Value<'static> {
    Value::Float(time.as_micros() as f64 / 1e6)
}
