//! One call of one method, alone or from a batch.

use std::time::Duration;

use super::answer::time;
use super::background::Job;
use super::hit::Hit;
use crate::credentials::Caller;
use crate::error::ErrorCode;
use crate::journal::{CommandOutcome, CommandRecord};
use crate::limits::{MeterKey, Operating};
use crate::php::{self, Array, Value};
use crate::settings::{Condition, EventSend, ServerTime};
use crate::state::{Call, Started};

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
    /// The method of this name, if a portal in this condition has it.
    pub(crate) fn named(name: &str, condition: Condition) -> Option<Self> {
        let (_, method) = METHODS.iter().find(|(known, _)| *known == name)?;
        let missing = method.needs_bizproc() && condition == Condition::WithoutBizproc;
        (!missing).then_some(*method)
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

/// A call that went well.
struct Done {
    outcome: CommandOutcome,
    value: Value<'static>,
    took: Duration,
    /// What is left to do after the hit.
    queued: Option<Started<'static>>,
}

impl Done {
    fn new(outcome: CommandOutcome, value: Value<'static>, took: Duration) -> Self {
        Self { outcome, value, took, queued: None }
    }
}

/// Checks scope and limit, runs the method, and writes the journal.
///
/// `key` is the command's key in its batch; empty for a call of its own.
pub(crate) async fn execute(
    hit: &mut Hit<'_>,
    key: String,
    method: &str,
    params: &Array<'_>,
) -> Executed {
    let start = hit.core.clock.now();
    let done = run(hit, method, params).await;
    let outcome = match &done {
        Ok(done) => done.outcome.clone(),
        Err(error) => CommandOutcome::Refused(error.code().to_owned()),
    };
    let place = record(hit, key, method, params, outcome);
    match done {
        Ok(done) => {
            hit.jobs.extend(done.queued.map(|started| Job::new(started, hit.number, place)));
            let operating = charge(hit, method, done.took);
            Executed { result: Ok(done.value), time: time(start, done.took, operating) }
        }
        Err(error) => Executed { result: Err(error), time: Value::Null },
    }
}

async fn run(hit: &Hit<'_>, method_name: &str, params: &Array<'_>) -> Result<Done, ErrorCode> {
    let condition = hit.core.world().settings.condition;
    let method = Method::named(method_name, condition).ok_or(ErrorCode::MethodNotFound)?;
    if method.needs_bizproc() && !hit.caller.may("bizproc") {
        return Err(ErrorCode::InsufficientScope);
    }
    if params.get(b"token").is_some() {
        // A signed link: this portal has signed none.
        return Err(ErrorCode::LinkCheckFailed);
    }
    hit.check_operating_limit(&hit.meter_key(method_name))?;
    let scopes = || list(hit.caller.scopes.iter().map(String::as_str));
    let value = match method {
        Method::Log => return call(hit, Call::Log, params).await,
        Method::EventSend => return call(hit, Call::Complete, params).await,
        Method::Batch => return Err(ErrorCode::BatchMethodNotAllowed),
        Method::ServerTime => Value::text(hit.core.clock.now().to_string()),
        Method::Scope => scopes(),
        Method::Methods => list(METHODS.iter().map(|(name, _)| *name)),
        Method::Profile => profile(hit.caller),
        Method::AppInfo => {
            Value::Array([("SCOPE", scopes()), ("LICENSE", Value::text("en_selfhosted"))].into())
        }
    };
    Ok(Done::new(CommandOutcome::Answered, value, Duration::ZERO))
}

/// A call that reaches a workflow: lock, let time pass, write.
///
/// Where no time is to pass, all of it is one step, so that hits of one workflow get in each
/// other's way only if a test asks for it.
async fn call(hit: &Hit<'_>, call: Call, params: &Array<'_>) -> Result<Done, ErrorCode> {
    let core = hit.core;
    let begun = core.clock.now();
    let (started, settings) = {
        let world = core.world();
        (world.processes.read(call, params)?, world.settings.clone())
    };
    if call == Call::Complete && settings.event_send == EventSend::Background {
        let done = Done::new(CommandOutcome::Queued, Value::Bool(true), Duration::ZERO);
        return Ok(Done { queued: Some(started.into_owned()), ..done });
    }
    let done = match settings.server_time.spent() {
        None => {
            let world = &mut *core.world();
            world.processes.begin(&started)?;
            world.processes.finish(&started, core.clock.now(), &world.settings)
        }
        Some(duration) => {
            core.world().processes.begin(&started)?;
            tokio::time::sleep(duration).await;
            let world = &mut *core.world();
            world.processes.finish(&started, core.clock.now(), &world.settings)
        }
    };
    let took = match settings.server_time {
        ServerTime::Claimed(duration) => duration,
        ServerTime::Measured | ServerTime::Spent(_) => core.clock.now().since(begun),
    };
    let outcome = match done? {
        Some(reason) => CommandOutcome::Lost(reason),
        None if call == Call::Complete => CommandOutcome::Completed,
        None => CommandOutcome::Written,
    };
    Ok(Done::new(outcome, Value::Bool(true), took))
}

/// Only what went well is charged: an error leaves the method before the limiter hears of it.
fn charge(hit: &mut Hit<'_>, method: &str, took: Duration) -> Option<Operating> {
    hit.claimed += took;
    let key: MeterKey = hit.meter_key(method);
    let now = hit.core.clock.now();
    hit.meter.add(key.clone(), took);
    let world = hit.core.world();
    world.settings.operating.map(|_| world.operating.report(&key, &hit.meter, now))
}

/// Writes the journal, and returns the command's place in it.
fn record(
    hit: &Hit<'_>,
    key: String,
    method: &str,
    params: &Array<'_>,
    outcome: CommandOutcome,
) -> usize {
    let field = |name| params.get_ignoring_case(name).and_then(Value::as_bytes);
    let token = field("EVENT_TOKEN").and_then(|token| std::str::from_utf8(token).ok());
    let message = field("LOG_MESSAGE").map(php::lossy);
    let mut world = hit.core.world();
    let (workflow, activity) = token.and_then(|token| world.processes.names_in(token)).unzip();
    let method = method.to_owned();
    let record = CommandRecord { key, method, workflow, activity, message, outcome };
    let place = world.journal.command(hit.number, record);
    drop(world);
    hit.core.changed();
    place
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
