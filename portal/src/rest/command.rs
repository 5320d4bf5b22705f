//! One call of one method, alone or from a batch.

use std::time::Duration;

use super::ErrorCode;
use super::answer::time;
use super::auth::Caller;
use crate::core::Core;
use crate::journal::{CommandOutcome, CommandRecord};
use crate::php::{Array, Key, Value};
use crate::settings::ServerTime;
use crate::state::Call;

/// The methods that this portal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Log,
    EventSend,
    Batch,
    ServerTime,
    Scope,
    Methods,
    Profile,
    AppInfo,
}

const METHODS: &[(&str, Method)] = &[
    ("bizproc.activity.log", Method::Log),
    ("bizproc.event.send", Method::EventSend),
    ("batch", Method::Batch),
    ("server.time", Method::ServerTime),
    ("scope", Method::Scope),
    ("methods", Method::Methods),
    ("profile", Method::Profile),
    ("app.info", Method::AppInfo),
];

impl Method {
    pub(crate) fn named(name: &str) -> Option<Self> {
        METHODS.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
    }

    fn needs_bizproc(self) -> bool {
        matches!(self, Self::Log | Self::EventSend)
    }
}

/// How a call ended, with its `time` if it ended well.
pub(crate) struct Executed {
    pub(crate) result: Result<Value<'static>, ErrorCode>,
    pub(crate) time: Value<'static>,
}

/// Where a call stands: in which hit, under which key, from whom.
pub(crate) struct Place<'a> {
    pub(crate) hit: u64,
    pub(crate) key: String,
    pub(crate) caller: &'a Caller,
}

/// Checks the scope, runs the method, and writes the journal.
pub(crate) async fn execute(
    core: &Core,
    place: &Place<'_>,
    method_name: &str,
    params: &Array<'_>,
) -> Executed {
    let start = core.clock.now();
    let (outcome, result, took) = run(core, place, method_name, params).await;
    let mut world = core.world();
    let message = params.get_ignoring_case("LOG_MESSAGE").and_then(Value::as_bytes);
    let token = params.get_ignoring_case("EVENT_TOKEN").and_then(Value::as_bytes);
    let token = token.and_then(|token| std::str::from_utf8(token).ok());
    let names = token.and_then(|token| world.processes.names_in(token));
    let (workflow, activity) = names.unzip();
    let record = CommandRecord {
        key: place.key.clone(),
        method: method_name.to_owned(),
        workflow,
        activity,
        message: message.map(|message| String::from_utf8_lossy(message).into()),
        outcome,
    };
    world.journal.command(place.hit, record);
    drop(world);
    core.changed();
    Executed { result, time: time(start, took, None) }
}

type Run = (CommandOutcome, Result<Value<'static>, ErrorCode>, Duration);

async fn run(core: &Core, place: &Place<'_>, method_name: &str, params: &Array<'_>) -> Run {
    let refused = |error: ErrorCode| {
        (CommandOutcome::Refused(error.code().to_owned()), Err(error), Duration::ZERO)
    };
    let Some(method) = Method::named(method_name) else {
        return refused(ErrorCode::MethodNotFound);
    };
    if method.needs_bizproc() && !place.caller.may("bizproc") {
        return refused(ErrorCode::InsufficientScope);
    }
    let answered = |value| (CommandOutcome::Answered, Ok(value), Duration::ZERO);
    let call = match method {
        Method::Log => Call::Log,
        Method::EventSend => Call::Complete,
        Method::Batch => return refused(ErrorCode::BatchMethodNotAllowed),
        Method::ServerTime => return answered(Value::text(core.clock.now().to_string())),
        Method::Scope => return answered(list(place.caller.scopes.iter().map(String::as_str))),
        Method::Methods => return answered(list(METHODS.iter().map(|(name, _)| *name))),
        Method::Profile => return answered(profile(place.caller)),
        Method::AppInfo => return answered(app_info(place.caller)),
    };
    let begun = core.clock.now();
    let (started, server_time) = {
        let mut world = core.world();
        let server_time = world.settings.server_time;
        match world.processes.begin(call, params) {
            Ok(started) => (started, server_time),
            Err(error) => return refused(error),
        }
    };
    if let ServerTime::Spent(duration) = server_time {
        tokio::time::sleep(duration).await;
    }
    let now = core.clock.now();
    let took = match server_time {
        ServerTime::Claimed(duration) => duration,
        ServerTime::Measured | ServerTime::Spent(_) => now.since(begun),
    };
    let mut world = core.world();
    let world = &mut *world;
    let outcome = match world.processes.finish(&started, now, &world.settings) {
        Ok(Some(reason)) => CommandOutcome::Lost(reason),
        Ok(None) if call == Call::Complete => CommandOutcome::Completed,
        Ok(None) => CommandOutcome::Written,
        Err(error) => {
            return (CommandOutcome::Refused(error.code().to_owned()), Err(error), took);
        }
    };
    (outcome, Ok(Value::Bool(true)), took)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> Value<'static> {
    let mut array = Array::new();
    names.for_each(|name| array.push(Value::text(name)));
    Value::Array(array)
}

fn profile(caller: &Caller) -> Value<'static> {
    let fields = [
        ("ID", Value::text(caller.user.to_string())),
        ("ADMIN", Value::Bool(true)),
        ("NAME", Value::text("Portal")),
        ("LAST_NAME", Value::text("Owner")),
        ("PERSONAL_GENDER", Value::text("")),
        ("TIME_ZONE", Value::text("")),
    ];
    Value::Array(fields.into())
}

fn app_info(caller: &Caller) -> Value<'static> {
    let scopes = list(caller.scopes.iter().map(String::as_str));
    Value::Array([("SCOPE", scopes), ("LICENSE", Value::text("en_selfhosted"))].into())
}

/// The text of a batch key, for the journal.
pub(crate) fn key_text(key: &Key<'_>) -> String {
    String::from_utf8_lossy(&key.to_bytes()).into_owned()
}
