//! One call of one method, alone or from a batch.

use std::time::Duration;

use super::answer::time;
use super::background::Job;
use super::hit::Hit;
use super::methods::{self, Answer, Method};
use crate::error::{ErrorCode, Refusal};
use crate::journal::{CommandOutcome, CommandRecord};
use crate::limits::{MeterKey, Operating};
use crate::outgoing;
use crate::php::{self, Array, Value};
use crate::settings::{EventSend, ServerTime};
use crate::state::{Call, Started};

/// How a call ended, with its `time` if it ended well.
pub(crate) struct Executed {
    pub(crate) result: Result<Answer, Refusal>,
    pub(crate) time: Value<'static>,
}

/// A call that went well.
struct Done {
    outcome: CommandOutcome,
    answer: Answer,
    took: Duration,
    /// What is left to do after the hit.
    queued: Option<Started<'static>>,
}

impl Done {
    fn new(outcome: CommandOutcome, answer: impl Into<Answer>, took: Duration) -> Self {
        Self { outcome, answer: answer.into(), took, queued: None }
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
        Err(refusal) => CommandOutcome::Refused(refusal.error.code().to_owned()),
    };
    let place = record(hit, key, method, params, outcome);
    match done {
        Ok(done) => {
            hit.jobs.extend(done.queued.map(|started| Job::new(started, hit.number, place)));
            let operating = charge(hit, method, done.took);
            Executed { result: Ok(done.answer), time: time(start, done.took, operating) }
        }
        Err(refusal) => Executed { result: Err(refusal), time: Value::Null },
    }
}

async fn run(hit: &Hit<'_>, method_name: &str, params: &Array<'_>) -> Result<Done, Refusal> {
    let (method, scopes) = Method::named(method_name, &hit.core.world().settings)?;
    if !hit.caller.may_any(scopes) {
        return Err(ErrorCode::InsufficientScope.into());
    }
    if params.get(b"token").is_some() {
        // A signed link. This portal has not signed any.
        return Err(ErrorCode::LinkCheckFailed.into());
    }
    hit.check_operating_limit(&hit.meter_key(method_name))?;
    let answer = match method {
        Method::Log => return Ok(call(hit, Call::Log, params).await?),
        Method::EventSend => return Ok(call(hit, Call::Complete, params).await?),
        Method::Batch => return Err(ErrorCode::BatchMethodNotAllowed.into()),
        Method::Plain(method) => methods::run(hit, method, params)?,
    };
    Ok(Done::new(CommandOutcome::Answered, answer, Duration::ZERO))
}

/// A call that reaches a workflow: lock, let time pass, write.
///
/// Where no time is to pass, all of it is one step, so that hits of one workflow get in each
/// other's way only if a test asks for it.
async fn call(hit: &Hit<'_>, call: Call, params: &Array<'_>) -> Result<Done, ErrorCode> {
    let core = hit.core;
    let begun = core.clock.now();
    let (started, event_send, server_time) = {
        let world = core.world();
        let started = world.processes.read(call, params)?;
        (started, world.settings.event_send, world.settings.server_time)
    };
    if call == Call::Complete && event_send == EventSend::Background {
        let done = Done::new(CommandOutcome::Queued, Value::Bool(true), Duration::ZERO);
        return Ok(Done { queued: Some(started.into_owned()), ..done });
    }
    let done = match server_time.spent() {
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
    let took = match server_time {
        ServerTime::Claimed(duration) => duration,
        ServerTime::Measured | ServerTime::Spent(_) => core.clock.now().since(begun),
    };
    if call == Call::Complete {
        outgoing::advance(core, &started.workflow);
    }
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
    if hit.bills_commands() {
        hit.meter.add(key.clone(), took);
    }
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
