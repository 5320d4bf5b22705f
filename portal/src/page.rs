//! The page at `/` and the interface behind it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /assets/..` | what it is made of |
//! | `GET /api/state` | portals, their workflows, counters and gauges |
//! | `GET /api/workflows/{id}` | one process log, newest entry first |
//! | `GET /api/events` | server-sent events: `change`, and `tick` each second |
//! | `POST /api/workflows` | starts a workflow with an open activity |
//! | `POST /api/settings` | changes tariff, retention, operating limit or faults |
//!
//! What it answers names secrets (webhook, event tokens), since it is made for the developer who
//! started the portal; so it answers nobody who came by a foreign host name, and takes changes
//! only as JSON, which no other site's form can send.

mod api;
mod display;
mod events;

use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use serde_json::json;

use crate::core::Core;
use crate::server::AnswerBody;

const INDEX: &str = include_str!("page/assets/index.html");

/// Name, type and text of everything below `/assets/`.
const ASSETS: &[(&str, &str, &str)] = &[
    ("page.js", "text/javascript; charset=utf-8", include_str!("page/assets/page.js")),
    ("page.css", "text/css; charset=utf-8", include_str!("page/assets/page.css")),
];

/// Bytes that a change may have.
const BODY_LIMIT: usize = 1 << 16;

/// Answers everything that is neither REST nor OAuth.
pub(crate) async fn answer(
    core: &Arc<Core>,
    request: Request<Incoming>,
) -> io::Result<Response<AnswerBody>> {
    if !is_ours(core, &request) {
        return text(403, "text/plain", "This page is only for the machine that it runs on.");
    }
    let path = request.uri().path().to_owned();
    if request.method() == Method::POST {
        return change(core, &path, request).await;
    }
    if request.method() != Method::GET {
        return text(405, "text/plain", "This page is read with GET.");
    }
    if let Some(name) = path.strip_prefix("/assets/") {
        return match ASSETS.iter().find(|(known, ..)| *known == name) {
            Some((_, content_type, asset)) => text(200, content_type, *asset),
            None => not_found(),
        };
    }
    match path.as_str() {
        "/" => text(200, "text/html; charset=utf-8", INDEX),
        "/api/state" => json_answer(200, &api::state(core)),
        "/api/events" => events::stream(core),
        _ => match path.strip_prefix("/api/workflows/").and_then(|id| api::workflow(core, id)) {
            Some(workflow) => json_answer(200, &workflow),
            None => not_found(),
        },
    }
}

async fn change(
    core: &Arc<Core>,
    path: &str,
    request: Request<Incoming>,
) -> io::Result<Response<AnswerBody>> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|kind| kind.starts_with("application/json")) {
        return json_answer(415, &json!({"error": "send application/json"}));
    }
    let body = match Limited::new(request.into_body(), BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return json_answer(400, &json!({"error": error.to_string()})),
    };
    let wish = match serde_json::from_slice(&body) {
        Ok(wish) => wish,
        Err(error) => return json_answer(400, &json!({"error": error.to_string()})),
    };
    let done = match path {
        "/api/workflows" => api::start_workflow(core, &wish),
        "/api/settings" => api::change_settings(core, &wish),
        _ => return not_found(),
    };
    match done {
        Ok(answer) => json_answer(200, &answer),
        Err(complaint) => json_answer(400, &json!({"error": complaint})),
    }
}

/// Whether the request came by a name of this machine, and not by one that a stranger had point
/// to it.
fn is_ours(core: &Core, request: &Request<Incoming>) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost")
        || core.identity.host_names.iter().any(|own| own == name)
}

fn not_found() -> io::Result<Response<AnswerBody>> {
    text(404, "text/plain", "There is nothing here.")
}

fn json_answer(status: u16, value: &serde_json::Value) -> io::Result<Response<AnswerBody>> {
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
        // Nothing from elsewhere, and no script that is not ours, whatever stands in a log.
        .header(CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'")
        .body(AnswerBody::whole(body))
        .map_err(io::Error::other)
}
