//! The methods of the portal, and which credential may use them.

mod application;
mod events;
mod lists;
mod registration;
mod workflows;

use super::hit::Hit;
use crate::error::{ErrorCode, Refusal};
use crate::php::{Array, Value};
use crate::settings::{Condition, MissingMethods, Settings};

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Log,
    EventSend,
    Batch,
    Plain(Plain),
}

/// A method that is one step: it reads or changes the world and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    ServerTime,
    Scope,
    Methods,
    MethodGet,
    Profile,
    AppInfo,
    UserCurrent,
    UserAdmin,
    EventBind,
    EventUnbind,
    EventGet,
    Add(Kind),
    Update(Kind),
    Delete(Kind),
    List(Kind),
    WorkflowStart,
    WorkflowInstances,
    WorkflowTerminate,
    WorkflowKill,
    TemplateList,
}

use crate::state::Kind::{self, Activity, Robot};
use Method::{Batch, EventSend, Log};
use Plain::*;

/// Scopes of which any one will do; none for what everybody may use.
type Scopes = &'static [&'static str];

const BASIC: Scopes = &[];
const BIZPROC: Scopes = &["bizproc"];
const USER: Scopes = &["user", "user_basic", "user_brief"];
/// Robots of other modules write to their logs, too (server behaviour).
const LOG: Scopes = &[
    "bizproc",
    "crm_automation_lead",
    "crm_automation_deal",
    "crm_automation_order",
    "tasks_automation",
];

const METHODS: &[(&str, Method, Scopes)] = &[
    ("bizproc.activity.log", Log, LOG),
    ("bizproc.event.send", EventSend, LOG),
    ("batch", Batch, BASIC),
    ("server.time", Method::Plain(ServerTime), BASIC),
    ("scope", Method::Plain(Scope), BASIC),
    ("methods", Method::Plain(Methods), BASIC),
    ("method.get", Method::Plain(MethodGet), BASIC),
    ("profile", Method::Plain(Profile), BASIC),
    ("app.info", Method::Plain(AppInfo), BASIC),
    ("user.admin", Method::Plain(UserAdmin), BASIC),
    ("user.current", Method::Plain(UserCurrent), USER),
    ("event.bind", Method::Plain(EventBind), BASIC),
    ("event.unbind", Method::Plain(EventUnbind), BASIC),
    ("event.get", Method::Plain(EventGet), BASIC),
    ("bizproc.activity.add", Method::Plain(Add(Activity)), BIZPROC),
    ("bizproc.activity.update", Method::Plain(Update(Activity)), BIZPROC),
    ("bizproc.activity.delete", Method::Plain(Delete(Activity)), BIZPROC),
    ("bizproc.activity.list", Method::Plain(List(Activity)), BIZPROC),
    ("bizproc.robot.add", Method::Plain(Add(Robot)), BIZPROC),
    ("bizproc.robot.update", Method::Plain(Update(Robot)), BIZPROC),
    ("bizproc.robot.delete", Method::Plain(Delete(Robot)), BIZPROC),
    ("bizproc.robot.list", Method::Plain(List(Robot)), BIZPROC),
    ("bizproc.workflow.start", Method::Plain(WorkflowStart), BIZPROC),
    ("bizproc.workflow.instances", Method::Plain(WorkflowInstances), BIZPROC),
    ("bizproc.workflow.instance.list", Method::Plain(WorkflowInstances), BIZPROC),
    ("bizproc.workflow.terminate", Method::Plain(WorkflowTerminate), BIZPROC),
    ("bizproc.workflow.kill", Method::Plain(WorkflowKill), BIZPROC),
    ("bizproc.workflow.template.list", Method::Plain(TemplateList), BIZPROC),
];

/// Methods of real portals that are not implemented, in families with implemented methods. A full list, so
/// that a misspelled name is not mistaken for one of them.
const NOT_HERE: &[&str] = &[
    "access.name",
    "app.option.get",
    "app.option.set",
    "bizproc.provider.add",
    "bizproc.provider.delete",
    "bizproc.provider.list",
    "bizproc.task.complete",
    "bizproc.task.delegate",
    "bizproc.task.list",
    "bizproc.workflow.template.add",
    "bizproc.workflow.template.delete",
    "bizproc.workflow.template.update",
    "event.offline.clear",
    "event.offline.error",
    "event.offline.get",
    "event.offline.list",
    "events",
    "feature.get",
    "user.access",
    "user.add",
    "user.fields",
    "user.get",
    "user.option.get",
    "user.option.set",
    "user.search",
    "user.update",
];

/// First words of the families of which it has nothing.
const FAMILIES: &[&str] = &[
    "ai",
    "biconnector",
    "booking",
    "calendar",
    "catalog",
    "crm",
    "department",
    "disk",
    "documentgenerator",
    "entity",
    "humanresources",
    "im",
    "imbot",
    "imconnector",
    "imopenlines",
    "landing",
    "lists",
    "log",
    "mailservice",
    "messageservice",
    "placement",
    "pull",
    "rpa",
    "sale",
    "salescenter",
    "sign",
    "socialnetwork",
    "sonet_group",
    "task",
    "tasks",
    "telephony",
    "timeman",
    "userconsent",
    "userfieldconfig",
    "userfieldtype",
    "voximplant",
];

/// Whether a real portal has a method that this one has not.
fn is_real(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
    let family = name.split_once('.').is_some_and(|(first, _)| FAMILIES.contains(&first));
    NOT_HERE.contains(&name) || family && name.bytes().all(plain)
}

impl Method {
    /// The method of this name, if the portal has it; the error says what is missing.
    pub(crate) fn named(name: &str, settings: &Settings) -> Result<(Self, Scopes), ErrorCode> {
        let known = METHODS.iter().find(|(known, ..)| *known == name);
        let Some((_, method, scopes)) = known else {
            let named = settings.missing_methods == MissingMethods::Named;
            let bizproc =
                name.starts_with("bizproc.") && settings.condition == Condition::WithoutBizproc;
            return Err(match named && is_real(name) && !bizproc {
                true => ErrorCode::NotInStandIn,
                false => ErrorCode::MethodNotFound,
            });
        };
        let missing = name.starts_with("bizproc.");
        if missing && settings.condition == Condition::WithoutBizproc {
            return Err(ErrorCode::MethodNotFound);
        }
        Ok((*method, scopes))
    }
}

/// The result of a method.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) value: Value<'static>,
    /// The start of the next page of a list.
    pub(crate) next: Option<usize>,
    pub(crate) total: Option<usize>,
}

impl From<Value<'static>> for Answer {
    fn from(value: Value<'static>) -> Self {
        Self { value, next: None, total: None }
    }
}

/// Runs a method that is one step.
pub(crate) fn run(hit: &Hit<'_>, method: Plain, params: &Array<'_>) -> Result<Answer, Refusal> {
    let value = match method {
        ServerTime => Value::text(hit.core.clock.now().to_string()),
        Scope => application::scope(hit, params),
        Methods => application::methods(hit, params),
        MethodGet => application::method_get(hit, params),
        Profile => application::profile(hit),
        AppInfo => application::app_info(hit)?,
        UserCurrent => application::user_current(hit),
        UserAdmin => Value::Bool(hit.caller.is_admin()),
        EventBind => events::bind(hit, params)?,
        EventUnbind => events::unbind(hit, params)?,
        EventGet => events::get(hit)?,
        Add(kind) => registration::add(hit, kind, params)?,
        Update(kind) => registration::update(hit, kind, params)?,
        Delete(kind) => registration::delete(hit, kind, params)?,
        List(kind) => registration::list(hit, kind)?,
        WorkflowStart => workflows::start(hit, params)?,
        WorkflowTerminate => workflows::terminate(hit, params)?,
        WorkflowKill => workflows::kill(hit, params)?,
        WorkflowInstances => return workflows::instances(hit, params),
        TemplateList => return workflows::templates(hit, params),
    };
    Ok(value.into())
}

/// A text parameter of any name in any case.
fn text(params: &Array<'_>, name: &str) -> Option<String> {
    let value = params.get_ignoring_case(name)?.to_bytes()?;
    Some(String::from_utf8_lossy(&value).into_owned())
}

/// The caller's application; a webhook has none.
fn application_of(hit: &Hit<'_>) -> Result<String, Refusal> {
    let application = hit.caller.application.as_ref();
    let application = application.ok_or(ErrorCode::ApplicationContextRequired)?;
    Ok(application.client_id.clone())
}

fn administrator(hit: &Hit<'_>) -> Result<(), Refusal> {
    if hit.caller.is_admin() { Ok(()) } else { Err(ErrorCode::AccessDenied.into()) }
}
