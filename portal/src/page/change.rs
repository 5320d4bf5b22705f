//! What the page changes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::names;
use crate::core::Core;
use crate::faults::{Fault, FaultPlan};
use crate::outgoing;
use crate::php;
use crate::random::Random;
use crate::settings::Setting;
use crate::state::{Origin, Stage, Step};
use crate::workflow::Workflow;

/// Characters that a title or a name from the page may have.
const NAME_LENGTH: usize = 200;

/// `{"member_id", "title", "activity", "handler"}`, all optional: starts a workflow that waits at
/// an activity, and tells the handler.
///
/// With `"template"`, an id, it is a workflow of that template, as `bizproc.workflow.start` starts
/// one; with `"registered"`, a code, it waits at that registered activity.
pub(crate) fn start_workflow(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let core = portal(core, wish)?;
    let title = name(wish, "title", "Order")?;
    if let Some(id) = wish["template"].as_u64() {
        if core.world().templates.get(id).is_none() {
            return Err(format!("there is no template {id}"));
        }
        let origin = Origin { template: Some(id), ..Origin::default() };
        let id = outgoing::start_from_template(&core, Some(&title), origin);
        return Ok(json!({"id": id}));
    }
    // Everything is read before anything is changed, so that a refused wish changes nothing.
    activity_in(wish, |code| core.world().registry.by_code(code).is_some())?;
    let now = core.clock.now();
    let id = core.world().processes.start(&title, Stage::Running, Origin::default(), now);
    let workflow = Workflow::new(core, id);
    let event_token = come_to(&workflow, wish)?;
    Ok(json!({"id": workflow.id(), "event_token": event_token}))
}

/// `{"activity", "handler", "returns"}`, or `{"registered", "properties"}`: the workflow comes to an
/// activity, perhaps again.
pub(crate) fn open_activity(core: &Arc<Core>, id: &str, wish: &Value) -> Result<Value, String> {
    let core = owner(core, id)?;
    activity_in(wish, |code| core.world().registry.by_code(code).is_some())?;
    let workflow = Workflow::new(core, id.to_owned());
    if !workflow.is_running() {
        return Err("the workflow does not run".to_owned());
    }
    Ok(json!({"event_token": come_to(&workflow, wish)?}))
}

/// Whether a wish names an activity that can be opened.
fn activity_in(wish: &Value, is_registered: impl Fn(&str) -> bool) -> Result<(), String> {
    if let Some(code) = wish["registered"].as_str() {
        let known = is_registered(code);
        return if known { Ok(()) } else { Err(format!("activity {code} is not registered")) };
    }
    name(wish, "activity", "check")?;
    handler(wish).map(|_| ())
}

fn come_to(workflow: &Workflow, wish: &Value) -> Result<String, String> {
    let mut activity = match wish["registered"].as_str() {
        Some(code) => {
            let given = php::Value::from_json(wish["properties"].clone());
            let registered = workflow.registered_with(code, &given);
            registered.ok_or_else(|| format!("activity {code} is not registered"))?
        }
        None => workflow.activity(&name(wish, "activity", "check")?),
    };
    if let Some(url) = handler(wish)? {
        activity = activity.handler(url);
    }
    if let Some(names) = wish["returns"].as_array() {
        activity = activity.returns(names.iter().filter_map(Value::as_str));
    }
    Ok(activity.open().event_token())
}

fn handler(wish: &Value) -> Result<Option<&str>, String> {
    let url = wish["handler"].as_str().map(str::trim).filter(|url| !url.is_empty());
    match url {
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            Err("the handler's URL does not begin with http:// or https://".to_owned())
        }
        url => Ok(url),
    }
}

/// `{"member_id", "name", "activities"}`: a template with these registered activities, each a code
/// or `{"code", "properties"}`.
pub(crate) fn template(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let core = portal(core, wish)?;
    let title = name(wish, "name", "Template")?;
    let activities = wish["activities"].as_array().ok_or("activities is a list")?;
    let step = |activity: &Value| {
        let code = activity.as_str().or_else(|| activity["code"].as_str());
        let properties = php::Value::from_json(activity["properties"].clone());
        let code = code.ok_or("an activity is a code, or has one")?.to_owned();
        Ok::<_, String>(Step { code, properties })
    };
    let steps = activities.iter().map(step).collect::<Result<Vec<_>, _>>()?;
    let id = core.world().templates.add(&title, steps, core.clock.now());
    core.changed();
    Ok(json!({"id": id}))
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
        at_random(&mut world.faults, faults);
    }
    if let Some(fault) = next_fault {
        world.faults.after(0, fault);
    }
    drop(world);
    core.changed();
    Ok(json!({}))
}

fn at_random(plan: &mut FaultPlan, faults: &Value) {
    if let Some(share) = faults["share"].as_f64() {
        let seed = faults["seed"].as_u64().unwrap_or_else(Random::fresh_seed);
        plan.at_random(seed, share, Fault::assorted());
    }
}

/// `{"member_id", "fault", "after", "method"}`, or `{"share", "seed"}`, or `{"clear": true}`: what is
/// to go wrong. A fault is for one hit, after `after` others, or for every hit on a method.
pub(crate) fn faults(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let core = portal(core, wish)?;
    let fault = chosen(wish, "fault", &names::faults())?;
    let mut world = core.world();
    if wish["clear"] == true {
        world.faults.clear();
    }
    match (fault, wish["method"].as_str()) {
        (Some(fault), Some(method)) => world.faults.on_method(method, fault),
        (Some(fault), None) => world.faults.after(wish["after"].as_u64().unwrap_or(0), fault),
        (None, _) => at_random(&mut world.faults, wish),
    }
    drop(world);
    core.changed();
    Ok(json!({}))
}

/// `{"member_id", "name"}`: moves the portal to another name, or to wherever it can.
pub(crate) fn relocate(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let core = portal(core, wish)?;
    let name = wish["name"].as_str().filter(|name| !name.is_empty());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if name.is_some_and(|name| !name.bytes().all(allowed)) {
        return Err("a name has letters, digits, dots and hyphens".to_owned());
    }
    let mover = core.mover.get().ok_or("the portal is not served yet")?;
    mover(name).map_err(|error| error.to_string())?;
    let addresses = core.addresses();
    Ok(json!({"page_url": addresses.url(false), "public_url": addresses.public_url(true)}))
}

/// `{"advance"}`, in seconds: moves the portal's clock forward.
pub(crate) fn clock(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let core = portal(core, wish)?;
    let seconds = wish["advance"].as_f64().and_then(|it| Duration::try_from_secs_f64(it).ok());
    core.clock.advance(seconds.ok_or("advance is a number of seconds, and not negative")?);
    for id in core.world().processes.ids().to_vec() {
        outgoing::advance(&core, &id);
    }
    core.changed();
    Ok(json!({"now": core.clock.now().since_epoch().as_secs_f64()}))
}

pub(super) fn portal(core: &Arc<Core>, wish: &Value) -> Result<Arc<Core>, String> {
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

pub(super) fn name(wish: &Value, what: &str, default: &str) -> Result<String, String> {
    let name = wish[what].as_str().map(str::trim).filter(|name| !name.is_empty());
    let name = name.unwrap_or(default);
    if name.chars().count() > NAME_LENGTH {
        return Err(format!("the {what} is longer than {NAME_LENGTH} characters"));
    }
    Ok(name.to_owned())
}
