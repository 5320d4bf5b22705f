//! Methods about the caller: who it is, and what it may use.

use super::{METHODS, Method, text};
use crate::error::{ErrorCode, Refusal};
use crate::oauth::Stage;
use crate::php::{Array, Value};
use crate::rest::hit::Hit;

/// Scopes that a portal has, so that `scope` with `full` has something to say.
const SCOPES: &[&str] = &[
    "bizproc",
    "calendar",
    "crm",
    "crm_automation_deal",
    "crm_automation_lead",
    "crm_automation_order",
    "department",
    "disk",
    "entity",
    "im",
    "lists",
    "placement",
    "task",
    "tasks_automation",
    "user",
    "user_basic",
    "user_brief",
];

pub(super) fn scope(hit: &Hit<'_>, params: &Array<'_>) -> Value<'static> {
    match is_full(params) {
        true => list(SCOPES.iter().copied()),
        false => list(hit.caller.scopes.iter().map(String::as_str)),
    }
}

/// Those that the credential may use; `full` for all, `scope` for those of one.
pub(super) fn methods(hit: &Hit<'_>, params: &Array<'_>) -> Value<'static> {
    let (full, scope) = (is_full(params), text(params, "scope"));
    let wanted = METHODS.iter().filter(|(_, _, scopes)| match &scope {
        _ if full => true,
        Some(scope) if scope.is_empty() => scopes.is_empty(),
        Some(scope) => scopes.contains(&scope.as_str()),
        None => hit.caller.may_any(scopes),
    });
    list(wanted.map(|(name, ..)| *name))
}

pub(super) fn method_get(hit: &Hit<'_>, params: &Array<'_>) -> Value<'static> {
    let name = text(params, "name").unwrap_or_default();
    let found = Method::named(&name, &hit.core.world().settings).ok();
    let available = found.is_some_and(|(_, scopes)| hit.caller.may_any(scopes));
    let fields =
        [("isExisting", Value::Bool(found.is_some())), ("isAvailable", Value::Bool(available))];
    Value::Array(fields.into())
}

fn is_full(params: &Array<'_>) -> bool {
    params.get_ignoring_case("full").is_some_and(|full| match full.as_bytes() {
        Some(text) => text == b"true" || text == b"1" || text == b"Y",
        None => !full.is_empty(),
    })
}

/// What an application is told of itself; a webhook has an answer of its own.
pub(super) fn app_info(hit: &Hit<'_>) -> Result<Value<'static>, Refusal> {
    let (language, plan) = {
        let settings = &hit.core.world().settings;
        (settings.language.id(), settings.license.clone())
    };
    let license = ("LICENSE", Value::text(format!("{language}_{plan}")));
    let Some(application) = &hit.caller.application else {
        let scopes = list(hit.caller.scopes.iter().map(String::as_str));
        return Ok(Value::Array([("SCOPE", scopes), license].into()));
    };
    let oauth = hit.core.cloud.oauth();
    let there = oauth.installation(&application.client_id, &application.member_id);
    let there = there.ok_or(ErrorCode::ApplicationNotFound)?;
    let expired = if there.paid { "N" } else { "Y" };
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let fields = [
        ("ID", number(there.id)),
        ("CODE", Value::text(application.client_id.as_str())),
        ("VERSION", number(there.version)),
        ("STATUS", Value::text("L")),
        ("INSTALLED", Value::Bool(there.stage == Stage::Installed)),
        ("PAYMENT_EXPIRED", Value::text(expired)),
        ("DAYS", Value::Null),
        ("LANGUAGE_ID", Value::text(language)),
        license,
    ];
    Ok(Value::Array(fields.into()))
}

pub(super) fn profile(hit: &Hit<'_>) -> Value<'static> {
    let fields = [
        ("ID", Value::text(hit.caller.user.to_string())),
        ("ADMIN", Value::Bool(hit.caller.is_admin())),
        ("NAME", Value::text("Portal")),
        ("LAST_NAME", Value::text("Owner")),
        ("PERSONAL_GENDER", Value::text("")),
        ("TIME_ZONE", Value::text("")),
    ];
    Value::Array(fields.into())
}

pub(super) fn user_current(hit: &Hit<'_>) -> Value<'static> {
    let mut department = Array::new();
    department.push(Value::Int(1));
    let fields = [
        ("ID", Value::text(hit.caller.user.to_string())),
        ("ACTIVE", Value::Bool(true)),
        ("NAME", Value::text("Portal")),
        ("LAST_NAME", Value::text("Owner")),
        ("EMAIL", Value::text("owner@portal.example")),
        ("LAST_LOGIN", Value::text(hit.core.clock.now().to_string())),
        ("IS_ONLINE", Value::text("Y")),
        ("PERSONAL_GENDER", Value::text("")),
        ("WORK_POSITION", Value::text("")),
        ("UF_DEPARTMENT", Value::Array(department)),
    ];
    Value::Array(fields.into())
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> Value<'static> {
    let mut array = Array::new();
    names.for_each(|name| array.push(Value::text(name)));
    Value::Array(array)
}
