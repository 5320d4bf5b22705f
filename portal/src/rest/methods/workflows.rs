//! `bizproc.workflow.*`: workflows that applications start, list and end.

use super::lists::{Row, page};
use super::{Answer, administrator, text};
use crate::error::{ErrorCode, Refusal};
use crate::outgoing;
use crate::php::{Array, Value};
use crate::rest::hit::Hit;
use crate::state::{DOCUMENT_TYPE, Origin, Process, Stage};

pub(super) fn start(hit: &Hit<'_>, params: &Array<'_>) -> Result<Value<'static>, Refusal> {
    administrator(hit)?;
    let wrong_id = |text: &'static str| Refusal::new(ErrorCode::WrongWorkflowId, text);
    let template = params.get_ignoring_case("TEMPLATE_ID").filter(|given| !given.is_empty());
    template.ok_or_else(|| wrong_id("Empty TEMPLATE_ID"))?;
    let id = text(params, "TEMPLATE_ID").and_then(|id| id.parse().ok());
    let known = id.filter(|id| hit.core.world().templates.get(*id).is_some());
    let template = known.ok_or_else(|| wrong_id("Template not found"))?;
    let document = document(params)?;
    let origin = Origin { document, user: hit.caller.user, template: Some(template) };
    Ok(Value::text(outgoing::start_from_template(hit.core, None, origin)))
}

/// `[module, entity, id]` of a deal: the only documents that this portal has templates for.
fn document(params: &Array<'_>) -> Result<[String; 3], Refusal> {
    let wrong = |text: &'static str| Refusal::new(ErrorCode::WrongDocument, text);
    let given = params.get_ignoring_case("DOCUMENT_ID").and_then(Value::as_array);
    let parts = given.into_iter().flat_map(Array::iter).filter_map(|(_, part)| part.to_bytes());
    let parts: Vec<String> =
        parts.map(|part| String::from_utf8_lossy(&part).into_owned()).collect();
    let document: [String; 3] = parts.try_into().map_err(|_| wrong("Wrong DOCUMENT_ID!"))?;
    if document.iter().any(String::is_empty) {
        return Err(wrong("Wrong DOCUMENT_ID!"));
    }
    if document[..2] != DOCUMENT_TYPE[..2] {
        return Err(wrong("Template type and DOCUMENT_ID mismatch!"));
    }
    if !document[2].starts_with("DEAL_") {
        return Err(wrong("Incorrect document type!"));
    }
    Ok(document)
}

/// Ends a workflow and keeps its data.
pub(super) fn terminate(hit: &Hit<'_>, params: &Array<'_>) -> Result<Value<'static>, Refusal> {
    let id = running(hit, params)?;
    let status = text(params, "STATUS").filter(|status| !status.is_empty());
    let status = status.unwrap_or_else(|| "Terminated".to_owned());
    let mut world = hit.core.world();
    if let Some(process) = world.processes.get_mut(&id) {
        process.stage = Stage::Terminated(status);
        process.modified = hit.core.clock.now();
    }
    Ok(Value::Bool(true))
}

/// Ends a workflow and forgets it.
pub(super) fn kill(hit: &Hit<'_>, params: &Array<'_>) -> Result<Value<'static>, Refusal> {
    let id = running(hit, params)?;
    hit.core.world().processes.remove(&id);
    Ok(Value::Bool(true))
}

fn running(hit: &Hit<'_>, params: &Array<'_>) -> Result<String, Refusal> {
    administrator(hit)?;
    let id = text(params, "ID").filter(|id| !id.is_empty());
    let empty = || Refusal::new(ErrorCode::WrongWorkflowId, "Empty workflow instance ID");
    let id = id.ok_or_else(empty)?;
    match hit.core.world().processes.get(&id) {
        Some(process) if process.stage == Stage::Running => Ok(id),
        _ => Err(ErrorCode::WorkflowNotFound.into()),
    }
}

pub(super) fn instances(hit: &Hit<'_>, params: &Array<'_>) -> Result<Answer, Refusal> {
    administrator(hit)?;
    let world = hit.core.world();
    let ids = world.processes.ids().iter();
    let found = ids.filter_map(|id| Some((id, world.processes.get(id)?)));
    let running = found.filter(|(_, process)| process.stage == Stage::Running);
    let rows = running.map(|(id, process)| instance(id, process)).collect();
    Ok(page(rows, params, &["ID", "MODIFIED", "OWNED_UNTIL"], ("MODIFIED", true)))
}

fn instance(id: &str, process: &Process) -> Row {
    let Origin { document: [module, entity, document], user, template } = &process.origin;
    let owned = match process.is_locked() {
        true => Value::text(process.modified.to_string()),
        false => Value::Null,
    };
    let template = template.map_or("0".to_owned(), |template| template.to_string());
    vec![
        ("ID", Value::text(id)),
        ("MODIFIED", Value::text(process.modified.to_string())),
        ("OWNED_UNTIL", owned),
        ("MODULE_ID", Value::text(module.as_str())),
        ("ENTITY", Value::text(entity.as_str())),
        ("DOCUMENT_ID", Value::text(document.as_str())),
        ("STARTED", Value::text(process.started.to_string())),
        ("STARTED_BY", Value::text(user.to_string())),
        ("TEMPLATE_ID", Value::text(template)),
    ]
}

pub(super) fn templates(hit: &Hit<'_>, params: &Array<'_>) -> Result<Answer, Refusal> {
    administrator(hit)?;
    let world = hit.core.world();
    let empty = || Value::Array(Array::new());
    let row = |template: &crate::state::Template| -> Row {
        vec![
            ("ID", Value::text(template.id.to_string())),
            ("MODULE_ID", Value::text(DOCUMENT_TYPE[0])),
            ("ENTITY", Value::text(DOCUMENT_TYPE[1])),
            ("DOCUMENT_TYPE", Value::text(DOCUMENT_TYPE[2])),
            ("AUTO_EXECUTE", Value::text("0")),
            ("NAME", Value::text(template.name.as_str())),
            ("TEMPLATE", empty()),
            ("PARAMETERS", empty()),
            ("VARIABLES", empty()),
            ("CONSTANTS", empty()),
            ("MODIFIED", Value::text(template.modified.to_string())),
            ("IS_MODIFIED", Value::text("N")),
            ("USER_ID", Value::text("1")),
            ("SYSTEM_CODE", Value::text("")),
        ]
    };
    let rows = world.templates.all().iter().map(row).collect();
    Ok(page(rows, params, &["ID"], ("ID", false)))
}
