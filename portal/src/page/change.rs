//! What the page changes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::names;
use crate::core::{Core, World};
use crate::random::Random;
use crate::state::{Opening, Stage};

/// Characters that a title or a name from the page may have.
const NAME_LENGTH: usize = 200;

/// `{"member_id", "title", "activity"}`, all optional: starts a workflow that waits at an
/// activity.
pub(crate) fn start_workflow(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let core = portal(core, wish)?;
    let title = name(wish, "title", "Order")?;
    let label = name(wish, "activity", "check")?;
    let now = core.clock.now();
    let mut world = core.world();
    let id = world.processes.start(&title, Stage::Running, now);
    let token = open(&core, &mut world, &id, label);
    drop(world);
    core.changed();
    Ok(json!({"id": id, "event_token": token}))
}

/// `{"activity"}`: the workflow comes to an activity, perhaps again.
pub(crate) fn open_activity(core: &Arc<Core>, id: &str, wish: &Value) -> Result<Value, String> {
    let core = owner(core, id)?;
    let label = name(wish, "activity", "check")?;
    let mut world = core.world();
    if world.processes.get(id).is_none_or(|process| process.stage != Stage::Running) {
        return Err("the workflow does not run".to_owned());
    }
    let token = open(&core, &mut world, id, label);
    drop(world);
    core.changed();
    Ok(json!({"event_token": token}))
}

fn open(core: &Core, world: &mut World, id: &str, label: String) -> Option<String> {
    let opening = Opening { label, subscription: true, timeout: None };
    let visit = world.processes.open(id, &opening, core.clock.now())?;
    world.processes.token(id, &opening.label, visit)
}

/// The workflow comes to its end.
pub(crate) fn finish(core: &Arc<Core>, id: &str) -> Result<Value, String> {
    let core = owner(core, id)?;
    if let Some(process) = core.world().processes.get_mut(id) {
        process.stage = Stage::Finished;
    }
    core.changed();
    Ok(json!({}))
}

/// `{"member_id", "tariff", "retention", "faults", "next_fault"}`, all optional.
pub(crate) fn settings(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let core = portal(core, wish)?;
    // Everything is read before anything is changed, so that a refused wish changes nothing.
    let tariff = chosen(wish, "tariff", &names::TARIFFS)?;
    let retention = chosen(wish, "retention", &names::RETENTIONS)?;
    let next_fault = chosen(wish, "next_fault", &names::faults())?;
    let mut world = core.world();
    if let Some(tariff) = tariff {
        world.settings.tariff = tariff;
    }
    if let Some(retention) = retention {
        world.settings.retention = retention;
    }
    if let Some(faults) = wish.get("faults") {
        world.faults.clear();
        if let Some(share) = faults["share"].as_f64() {
            let seed = faults["seed"].as_u64().unwrap_or_else(Random::fresh_seed);
            let assorted = names::faults().into_iter().map(|(_, fault)| fault).collect();
            world.faults.at_random(seed, share, assorted);
        }
    }
    if let Some(fault) = next_fault {
        world.faults.after(0, fault);
    }
    drop(world);
    core.changed();
    Ok(json!({}))
}

fn portal(core: &Arc<Core>, wish: &Value) -> Result<Arc<Core>, String> {
    let Some(id) = wish["member_id"].as_str() else { return Ok(core.clone()) };
    let mut portals = core.cloud.portals().into_iter();
    portals
        .find(|core| core.identity.member_id == id)
        .ok_or_else(|| format!("there is no portal {id}"))
}

/// The portal that has the workflow.
fn owner(core: &Arc<Core>, id: &str) -> Result<Arc<Core>, String> {
    let mut portals = core.cloud.portals().into_iter();
    portals
        .find(|core| core.world().processes.get(id).is_some())
        .ok_or_else(|| format!("there is no workflow {id}"))
}

fn chosen<T: Clone>(wish: &Value, what: &str, table: &[(&str, T)]) -> Result<Option<T>, String> {
    let Some(name) = wish[what].as_str() else { return Ok(None) };
    names::named(table, name).map(Some).ok_or_else(|| format!("there is no {what} {name}"))
}

fn name(wish: &Value, what: &str, default: &str) -> Result<String, String> {
    let name = wish[what].as_str().map(str::trim).filter(|name| !name.is_empty());
    let name = name.unwrap_or(default);
    if name.chars().count() > NAME_LENGTH {
        return Err(format!("the {what} is longer than {NAME_LENGTH} characters"));
    }
    Ok(name.to_owned())
}
