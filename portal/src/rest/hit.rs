//! One HTTP hit on the REST API: what is checked before a method runs, and in which order.

use std::sync::Arc;
use std::time::Duration;

use super::answer::{Reply, add_operating, time};
use super::background::{self, Job};
use super::batch::batch;
use super::command::execute;
use super::methods::Method;
use super::refuse;
use super::request::{Head, RestPath, params};
use super::substitution::TypeError;
use crate::core::{Core, World};
use crate::credentials::Caller;
use crate::error::ErrorCode;
use crate::limits::{HitMeter, MeterKey, MeteredAs, Operating};
use crate::php::{Array, Key, Value};
use crate::settings::{Condition, OuterBatch};

/// A hit that was let in.
pub(crate) struct Hit<'a> {
    pub(crate) core: &'a Arc<Core>,
    /// Its number in the journal.
    pub(crate) number: u64,
    pub(crate) caller: &'a Caller,
    pub(crate) meter: HitMeter,
    /// Server time of its calls, which a [`ServerTime::Claimed`](crate::ServerTime::Claimed) lets
    /// no clock show.
    pub(crate) claimed: Duration,
    /// What is to be done after it.
    pub(crate) jobs: Vec<Job>,
    batched: bool,
}

/// Answers the hit that the journal knows under `number`.
pub(crate) async fn answer(
    core: &Arc<Core>,
    number: u64,
    head: &Head,
    path: &RestPath,
    body: &[u8],
) -> Reply {
    let params = params(head, body);
    let caller = {
        let mut world = core.world();
        world.journal.counters.bytes += body.len() as u64;
        if let Some(hit) = world.journal.hit(number) {
            hit.bytes = body.len();
        }
        match admit(&mut world, core, head, path, &params) {
            Ok(caller) => caller,
            Err(error) => return refuse(&mut world, number, error),
        }
    };
    let batched = path.method == "batch";
    let meter = HitMeter::default();
    let claimed = Duration::ZERO;
    let mut hit = Hit { core, number, caller: &caller, meter, claimed, jobs: Vec::new(), batched };
    let reply = if batched {
        whole_batch(&mut hit, &params).await
    } else {
        let executed = execute(&mut hit, String::new(), &path.method, &params).await;
        match executed.result {
            Ok(result) => Reply::success(result, executed.time),
            Err(refusal) => refuse(&mut core.world(), number, refusal),
        }
    };
    core.world().operating.store(hit.meter, core.clock.now());
    background::begin(core, hit.jobs).await;
    reply
}

async fn whole_batch(hit: &mut Hit<'_>, params: &Array<'_>) -> Reply {
    let core = hit.core;
    let start = core.clock.now();
    let key = MeterKey { credential: hit.caller.metered_as.clone(), method: "batch".to_owned() };
    let operating = core.world().settings.operating;
    let outer_batch = operating.map_or(OuterBatch::Unmetered, |limit| limit.outer_batch);
    if outer_batch != OuterBatch::Unmetered
        && let Err(error) = hit.check_operating_limit(&key)
    {
        return refuse(&mut core.world(), hit.number, error);
    }
    let mut result = match batch(hit, params).await {
        Ok(result) => result,
        // PHP ends without an output.
        Err(TypeError) => return Reply::html(500, ""),
    };
    let took = core.clock.now().since(start).max(hit.claimed);
    match outer_batch {
        OuterBatch::Unmetered => {}
        OuterBatch::HalfWeight => hit.meter.add(key.clone(), took / 2),
        OuterBatch::Alone => hit.meter.add(key.clone(), took),
    }
    let now = core.clock.now();
    let report = operating.map(|_| core.world().operating.report(&key, &hit.meter, now));
    if let Some(report) = report.filter(|_| outer_batch == OuterBatch::Alone) {
        say_everywhere(&mut result, report);
    }
    Reply::success(result.into(), time(start, took, report))
}

/// Puts the one sum of the hit into the time of each command.
fn say_everywhere(result: &mut Value<'static>, report: Operating) {
    let Value::Array(sections) = result else { return };
    let times = sections.array_at(Some(Key::from_bytes(b"result_time".as_slice().into())));
    let keys: Vec<_> = times.iter().map(|(key, _)| key.clone()).collect();
    for key in keys {
        add_operating(times.array_at(Some(key)), report);
    }
}

impl Hit<'_> {
    /// Whether the commands of a batch are charged and checked, or the batch alone.
    pub(crate) fn bills_commands(&self) -> bool {
        let operating = self.core.world().settings.operating;
        !self.batched || operating.is_none_or(|limit| limit.outer_batch != OuterBatch::Alone)
    }

    /// Under what the limiter books a method.
    pub(crate) fn meter_key(&self, method: &str) -> MeterKey {
        let credential = match self.caller.metered_as.clone() {
            MeteredAs::Webhook(_) if self.batched => MeteredAs::AnyWebhook,
            credential => credential,
        };
        MeterKey { credential, method: method.to_owned() }
    }

    pub(crate) fn check_operating_limit(&self, key: &MeterKey) -> Result<(), ErrorCode> {
        let mut world = self.core.world();
        let Some(limit) = world.settings.operating else { return Ok(()) };
        if self.batched && limit.outer_batch == OuterBatch::Alone && key.method != "batch" {
            return Ok(());
        }
        let now = self.core.clock.now();
        if world.operating.admits(limit, key, &self.meter, now) {
            Ok(())
        } else {
            Err(ErrorCode::OperationTimeLimit)
        }
    }
}

/// The order is: the rate limit, the portal as a whole, the method, the credential (server behaviour).
fn admit(
    world: &mut World,
    core: &Core,
    head: &Head,
    path: &RestPath,
    params: &Array<'_>,
) -> Result<Caller, ErrorCode> {
    let now = core.clock.now();
    let condition = world.settings.condition;
    if !world.rate.admits(head.source, world.settings.tariff, now) {
        return Err(ErrorCode::QueryLimitExceeded);
    }
    if condition == Condition::Deleted {
        return Err(ErrorCode::PortalDeleted);
    }
    Method::named(&path.method, &world.settings)?;
    if head.is_for(&world.settings.oauth_host) && path.method != "app.info" {
        return Err(ErrorCode::MethodNotFound);
    }
    match condition {
        Condition::Overloaded => Err(ErrorCode::OverloadLimit),
        Condition::WithoutRest => Err(ErrorCode::CommercialPlanOnly),
        Condition::HttpsOnly if !head.tls => Err(ErrorCode::InvalidRequest),
        _ => authorize(world, core, head, path, params),
    }
}

fn authorize(
    world: &World,
    core: &Core,
    head: &Head,
    path: &RestPath,
    params: &Array<'_>,
) -> Result<Caller, ErrorCode> {
    if let Some((user, code)) = &path.webhook {
        return world.credentials.webhook(*user, code);
    }
    let token = access_token(head.bearer.as_deref(), params).ok_or(ErrorCode::NoAuthFound)?;
    if world.settings.condition == Condition::CutOff {
        return Err(ErrorCode::ConnectionError);
    }
    let oauth = core.cloud.oauth();
    let member_id = match head.is_for(&world.settings.oauth_host) {
        // The authorization server knows the applications of every portal.
        true => oauth.portal_of(&token).unwrap_or_default(),
        false => &core.identity.member_id,
    };
    oauth.admit(&token, member_id, core.clock.now())
}

/// The access token of a call. A `Bearer` header wins over `auth` and `access_token`, whose names
/// count in lower case only (server behaviour).
fn access_token(bearer: Option<&str>, params: &Array<'_>) -> Option<String> {
    let field = |name: &str| {
        let value = params.get(name.as_bytes()).and_then(Value::as_bytes);
        value.map(|token| String::from_utf8_lossy(token).into_owned())
    };
    bearer.map(str::to_owned).or_else(|| field("auth")).or_else(|| field("access_token"))
}
