//! The route of a workflow: from activity to activity. Each one is sent to its handler.

use std::sync::Arc;

use super::forms::{Place, Told};
use super::send;
use crate::core::Core;
use crate::oauth::{Issued, Stage as Installed};
use crate::php::{Array, Value};
use crate::state::{
    Delivery, Opening, Origin, Processes, PropertyValue, Stage, Step, Steps, values,
};

/// Who is told of an activity, and what.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) client_id: String,
    pub(crate) url: String,
    /// What the application calls the activity.
    pub(crate) code: String,
    /// Whose token it gets.
    pub(crate) user: u64,
    pub(crate) properties: Vec<(String, PropertyValue)>,
}

/// The workflow comes to an activity, and the handler is told; returns the index of the visit.
///
/// If the application is gone or unpaid, the workflow fails instead (server behaviour).
pub(crate) fn open(
    core: &Arc<Core>,
    workflow: &str,
    opening: &Opening,
    notice: Option<Notice>,
) -> Option<usize> {
    let now = core.clock.now();
    let visit = {
        let world = &mut *core.world();
        world.processes.open(workflow, opening, now, &world.settings)?
    };
    if let Some(notice) = notice {
        tell(core, workflow, opening, visit, notice);
    }
    core.changed();
    Some(visit)
}

fn tell(core: &Arc<Core>, workflow: &str, opening: &Opening, visit: usize, notice: Notice) {
    let label = opening.label.clone();
    let Some((tokens, application_token)) = tokens(core, &notice.client_id, notice.user) else {
        let reason = format!("The application of activity {} is not installed", notice.code);
        core.world().processes.break_down(workflow, &reason, &label, core.clock.now());
        return;
    };
    let place = Place::of(core);
    let form = {
        let world = core.world();
        let token = world.processes.token(workflow, &label, visit);
        let (Some(process), Some(event_token)) = (world.processes.get(workflow), token) else {
            return;
        };
        let told = Told {
            workflow,
            code: &notice.code,
            event_token: &event_token,
            opening,
            properties: &notice.properties,
        };
        place.activity(&told, process, core.clock.now().as_secs(), &tokens, &application_token)
    };
    let workflow = workflow.to_owned();
    let what = format!("activity {}", notice.code);
    send(core, &what, &notice.url, form, move |core, delivery| {
        set_delivery(&mut core.world().processes, &workflow, &label, visit, delivery);
    });
}

fn set_delivery(
    processes: &mut Processes,
    workflow: &str,
    label: &str,
    visit: usize,
    delivery: &Delivery,
) {
    let process = processes.get_mut(workflow);
    if let Some(visit) = process.and_then(|process| process.visit_mut(label, visit)) {
        visit.delivery = Some(delivery.clone());
    }
}

/// A pair of tokens, and what requests prove themselves with; nothing for an application that is
/// gone or unpaid.
pub(super) fn tokens(core: &Core, client_id: &str, user: u64) -> Option<(Issued, String)> {
    let member_id = &core.identity.member_id;
    let mut oauth = core.cloud.oauth();
    let there = oauth.installation(client_id, member_id)?;
    if there.stage == Installed::Removed || !there.paid {
        return None;
    }
    let application_token = there.application_token.clone();
    let issued = oauth.issue(client_id, member_id, user, core.clock.now())?;
    Some((issued, application_token))
}

/// How a registered activity is opened, and who is told; nothing if nobody has registered it.
///
/// `given` are the values of its properties that differ from their defaults.
pub(crate) fn notice_of(
    core: &Core,
    code: &str,
    user: u64,
    given: &Array<'_>,
) -> Option<(Opening, Notice)> {
    let world = core.world();
    let known = world.registry.by_code(code)?;
    let opening = Opening {
        label: known.code.clone(),
        subscription: known.waits(world.settings.blank_subscription),
        timeout: None,
        returns: Some(known.return_properties.iter().map(|it| it.name.clone()).collect()),
    };
    let notice = Notice {
        client_id: known.client_id.clone(),
        url: known.handler.clone(),
        code: known.code.clone(),
        user: known.auth_user.unwrap_or(user),
        properties: values(&known.properties, given),
    };
    Some((opening, notice))
}

/// Starts a workflow of a template, which must be there; returns its id.
pub(crate) fn start_from_template(core: &Arc<Core>, title: Option<&str>, origin: Origin) -> String {
    let id = {
        let world = &mut *core.world();
        let template = origin.template.and_then(|id| world.templates.get(id));
        let steps = match template.map(|template| &template.steps) {
            Some(Steps::Listed(steps)) => steps.clone(),
            Some(Steps::Registered) => {
                let codes = world.registry.all().iter().map(|known| known.code.clone());
                codes.map(|code| Step { code, properties: Value::Array(Array::new()) }).collect()
            }
            None => Vec::new(),
        };
        let title = title.map_or_else(|| origin.document[2].clone(), str::to_owned);
        let id = world.processes.start(&title, Stage::Running, origin, core.clock.now());
        if let Some(process) = world.processes.get_mut(&id) {
            process.ahead = steps.into();
        }
        id
    };
    core.changed();
    advance(core, &id);
    id
}

/// Leads a workflow of a template on, as far as it comes without an answer.
pub(crate) fn advance(core: &Arc<Core>, workflow: &str) {
    // A workflow of activities that do not wait comes to its end at once.
    while let Some(step) = next_step(core, workflow) {
        let user = core.world().processes.get(workflow).map_or(1, |process| process.origin.user);
        let empty = Array::new();
        let given = step.properties.as_array().unwrap_or(&empty);
        let Some((opening, notice)) = notice_of(core, &step.code, user, given) else {
            let reason = format!("Activity {} is not registered", step.code);
            core.world().processes.break_down(workflow, &reason, &step.code, core.clock.now());
            core.changed();
            return;
        };
        let visit = open(core, workflow, &opening, Some(notice));
        if let Some(process) = core.world().processes.get_mut(workflow) {
            process.at = visit.map(|visit| (opening.label, visit));
        }
    }
}

/// The next activity of a workflow that can go on; at the last one it is finished.
fn next_step(core: &Core, workflow: &str) -> Option<Step> {
    let now = core.clock.now();
    let world = &mut *core.world();
    world.processes.settled(workflow, now, &world.settings)?;
    let process = world.processes.get_mut(workflow)?;
    let by_template = process.origin.template.is_some() && process.stage == Stage::Running;
    if !by_template || process.is_waiting() {
        return None;
    }
    let step = process.ahead.pop_front();
    if step.is_none() {
        process.stage = Stage::Finished;
        process.modified = now;
    }
    step
}
