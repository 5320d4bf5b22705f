//! One HTTP hit on the REST API: what is checked before a method runs, and in which order.

use super::answer::{Reply, time};
use super::batch::batch;
use super::command::{Method, Place, execute};
use super::request::{Head, RestPath, params};
use super::{ErrorCode, substitution::TypeError};
use crate::core::Core;
use crate::php::Array;

/// Answers the hit that the journal knows under `number`.
pub(crate) async fn answer(
    core: &Core,
    number: u64,
    head: &Head,
    path: &RestPath,
    body: &[u8],
) -> Reply {
    let start = core.clock.now();
    let params = params(head, body);
    let caller = {
        let mut world = core.world();
        world.journal.counters.bytes += body.len() as u64;
        if let Some(hit) = world.journal.hit(number) {
            hit.bytes = body.len();
        }
        match admit(&mut world, core, head, path, &params) {
            Ok(caller) => caller,
            Err(error) => return world.refuse(number, error),
        }
    };
    if path.method == "batch" {
        return match batch(core, number, &caller, &params).await {
            Ok(result) => Reply::success(result, time(start, core.clock.now().since(start), None)),
            Err(TypeError) => Reply::html(500, ""),
        };
    }
    let place = Place { hit: number, key: String::new(), caller: &caller };
    let executed = execute(core, &place, &path.method, &params).await;
    match executed.result {
        Ok(result) => Reply::success(result, executed.time),
        Err(error) => core.world().refuse(number, error),
    }
}

/// The rate limit comes first, then the method, and only then the credential (server behaviour).
fn admit(
    world: &mut crate::core::World,
    core: &Core,
    head: &Head,
    path: &RestPath,
    params: &Array<'_>,
) -> Result<super::auth::Caller, ErrorCode> {
    let tariff = world.settings.tariff;
    if !world.rate.admits(head.source, tariff, core.clock.now()) {
        return Err(ErrorCode::QueryLimitExceeded);
    }
    if Method::named(&path.method).is_none() {
        return Err(ErrorCode::MethodNotFound);
    }
    world.credentials.admit(path, head.bearer.as_deref(), params)
}
