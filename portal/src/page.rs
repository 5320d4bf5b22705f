//! The page at `/` and the interface behind it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /assets/..` | what it is made of |
//! | `GET /api/state?search=` | portals, their workflows, applications, settings, counters, gauges |
//! | `GET /api/workflows/{id}?search=&after=&before=` | one process log, newest entry first |
//! | `GET /api/workflows/{id}/entries` | all of it, oldest entry first |
//! | `GET /api/workflows/{id}/lost` | what was lost silently, and why |
//! | `GET /api/workflows/{id}/returned` | what each activity has returned |
//! | `GET /api/workflows/{id}/secrets` | the webhook's URL and the event tokens |
//! | `GET /api/journal` | every hit, with its commands |
//! | `GET /api/sent` | every request to an application, and how it was taken |
//! | `GET /api/apps/{client_id}/secrets` | secrets, and a fresh pair of tokens |
//! | `GET /api/events` | server-sent events: `change`, and `tick` each second |
//! | `POST /api/workflows` | starts a workflow: with an open activity, or of a template |
//! | `POST /api/workflows/{id}/activities` | opens an activity, by a name or as it is registered |
//! | `POST /api/workflows/{id}/finish` | brings the workflow to its end |
//! | `POST /api/templates` | makes a template of registered activities |
//! | `POST /api/apps` | makes an application, and installs it at a URL |
//! | `POST /api/apps/{client_id}/{action}` | `expire`, `revoke`, `spend`, `unpaid`, `paid`, `update`, `update_token`, `finish`, `open`, `install`, `uninstall`, `clean` |
//! | `POST /api/settings` | changes settings and faults |
//! | `POST /api/faults` | plans a fault, or clears all plans |
//! | `POST /api/clock` | moves the portal's clock forward |
//! | `POST /api/move` | moves the portal to another name |
//!
//! It shows secrets to the developer who has started the portal. So it answers only requests with a host name
//! of this machine, and accepts changes only as JSON, which a form of another site cannot send.

mod apps;
mod assets;
mod change;
mod display;
mod events;
mod log;
mod names;
mod overview;
mod reports;
mod wanted;

use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use crate::core::Core;
use crate::http::{AnswerBody, Peer};
use wanted::Wanted;

/// Bytes that a change may have.
const BODY_LIMIT: usize = 1 << 16;

/// Content security policy: nothing from other servers, no other scripts or styles, and our scripts cannot turn
/// text of a log into markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// Answers everything that is neither REST nor OAuth.
pub(crate) async fn answer(
    core: &Arc<Core>,
    peer: &Peer,
    request: Request<Incoming>,
) -> io::Result<Response<AnswerBody>> {
    if !is_ours(core, &request) {
        return text(403, "text/plain", "This page is only for the machine that it runs on.");
    }
    let path = request.uri().path().to_owned();
    if request.method() == Method::POST {
        return change(core, peer, &path, request).await;
    }
    if request.method() != Method::GET {
        return text(405, "text/plain", "This page is read with GET.");
    }
    if let Some(asset) = assets::at(&path) {
        return text(200, asset.content_type, asset.text);
    }
    let wanted = Wanted::in_query(request.uri().query().unwrap_or_default());
    let found = match path.split('/').skip(1).collect::<Vec<_>>()[..] {
        ["api", "state"] => Some(overview::state(core, &wanted)),
        ["api", "workflows", id] => log::workflow(core, id, &wanted),
        ["api", "workflows", id, "entries"] => reports::entries(core, id),
        ["api", "workflows", id, "lost"] => reports::lost(core, id),
        ["api", "workflows", id, "returned"] => reports::returned(core, id),
        ["api", "workflows", id, "secrets"] => log::secrets(core, id),
        ["api", "journal"] => Some(reports::journal(core)),
        ["api", "sent"] => Some(reports::sent(core)),
        ["api", "apps", client_id, "secrets"] => apps::secrets(core, client_id),
        ["api", "events"] => return events::stream(core),
        _ => None,
    };
    found.map_or_else(not_found, |found| json_answer(200, &found))
}

async fn change(
    core: &Arc<Core>,
    peer: &Peer,
    path: &str,
    request: Request<Incoming>,
) -> io::Result<Response<AnswerBody>> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|kind| kind.starts_with("application/json")) {
        return json_answer(415, &json!({"error": "send application/json"}));
    }
    let body = match peer.read(request.into_body(), BODY_LIMIT).await {
        Ok(body) => body,
        Err(error) => return json_answer(400, &json!({"error": error.to_string()})),
    };
    let wish = match serde_json::from_slice(&body) {
        Ok(wish) => wish,
        Err(error) => return json_answer(400, &json!({"error": error.to_string()})),
    };
    let done = match path.split('/').skip(1).collect::<Vec<_>>()[..] {
        ["api", "workflows"] => change::start_workflow(core, &wish),
        ["api", "workflows", id, "activities"] => change::open_activity(core, id, &wish),
        ["api", "workflows", id, "finish"] => change::finish(core, id),
        ["api", "templates"] => change::template(core, &wish),
        ["api", "apps"] => apps::install(core, &wish),
        ["api", "apps", client_id, action] => apps::act(core, client_id, action, &wish),
        ["api", "settings"] => change::settings(core, &wish),
        ["api", "faults"] => change::faults(core, &wish),
        ["api", "move"] => change::relocate(core, &wish),
        ["api", "clock"] => change::clock(core, &wish),
        _ => return not_found(),
    };
    match done {
        Ok(answer) => json_answer(200, &answer),
        Err(complaint) => json_answer(400, &json!({"error": complaint})),
    }
}

/// Whether the request has a host name of this machine, and not another one that resolves to it.
fn is_ours(core: &Core, request: &Request<Incoming>) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost")
        || core.addresses().domain.as_deref() == Some(name)
        || core.identity.host_names.iter().any(|own| own == name)
}

fn not_found() -> io::Result<Response<AnswerBody>> {
    text(404, "text/plain", "There is nothing here.")
}

fn json_answer(status: u16, value: &Value) -> io::Result<Response<AnswerBody>> {
    text(status, "application/json", value.to_string())
}

fn text(
    status: u16,
    content_type: &str,
    body: impl Into<bytes::Bytes>,
) -> io::Result<Response<AnswerBody>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .header(CACHE_CONTROL, "no-store")
        .header(CONTENT_SECURITY_POLICY, POLICY)
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(REFERRER_POLICY, "no-referrer")
        .body(AnswerBody::whole(body))
        .map_err(io::Error::other)
}
