//! What the page changes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::names;
use crate::core::Core;
use crate::faults::Fault;
use crate::random::Random;
use crate::settings::Setting;
use crate::state::{Origin, Stage};
use crate::workflow::Workflow;

/// Characters that a title or a name from the page may have.
const NAME_LENGTH: usize = 200;

/// `{"member_id", "title", "activity", "handler"}`, all optional: starts a workflow that waits at
/// an activity, and tells the handler.
pub(crate) fn start_workflow(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let core = portal(core, wish)?;
    let title = name(wish, "title", "Order")?;
    let label = name(wish, "activity", "check")?;
    let handler = handler(wish)?;
    let id =
        core.world().processes.start(&title, Stage::Running, Origin::default(), core.clock.now());
    let workflow = Workflow::new(core, id);
    let mut activity = workflow.activity(&label);
    if let Some(url) = handler {
        activity = activity.handler(url);
    }
    let event_token = activity.open().event_token();
    Ok(json!({"id": workflow.id(), "event_token": event_token}))
}

fn handler(wish: &Value) -> Result<Option<&str>, String> {
    let url = wish["handler"].as_str().map(str::trim).filter(|url| !url.is_empty());
    match url {
        Some(url) if !url.starts_with("http://") => {
            Err("the handler's URL does not begin with http://".to_owned())
        }
        url => Ok(url),
    }
}

/// `{"activity"}`: the workflow comes to an activity, perhaps again.
pub(crate) fn open_activity(core: &Arc<Core>, id: &str, wish: &Value) -> Result<Value, String> {
    let workflow = Workflow::new(owner(core, id)?, id.to_owned());
    let label = name(wish, "activity", "check")?;
    if !workflow.is_running() {
        return Err("the workflow does not run".to_owned());
    }
    Ok(json!({"event_token": workflow.open_activity(&label).event_token()}))
}

/// The workflow comes to its end.
pub(crate) fn finish(core: &Arc<Core>, id: &str) -> Result<Value, String> {
    Workflow::new(owner(core, id)?, id.to_owned()).finish();
    Ok(json!({}))
}

/// `{"member_id", "faults", "next_fault"}` and every setting by its name, all optional.
///
/// A setting is a text, or a number where one makes sense; `"faults"` is `{"share", "seed"}`, or
/// null for none; `"next_fault"` is for the next hit only.
pub(crate) fn settings(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let core = portal(core, wish)?;
    // Everything is read before anything is changed, so that a refused wish changes nothing.
    let next_fault = chosen(wish, "next_fault", &names::faults())?;
    let mut settings = core.world().settings.clone();
    for (name, value) in wish.as_object().into_iter().flatten() {
        let Some(setting) = Setting::named(name) else {
            if matches!(&**name, "member_id" | "faults" | "next_fault") {
                continue;
            }
            return Err(format!("there is no setting {name}"));
        };
        let words = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        setting.set(&mut settings, &words)?;
    }
    let mut world = core.world();
    world.settings = settings;
    if let Some(faults) = wish.get("faults") {
        world.faults.clear();
        if let Some(share) = faults["share"].as_f64() {
            let seed = faults["seed"].as_u64().unwrap_or_else(Random::fresh_seed);
            world.faults.at_random(seed, share, Fault::assorted());
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
