//! The page at `/`.

use std::fmt::Write as _;
use std::io;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response};

use crate::core::Core;
use crate::server::AnswerBody;

/// Answers everything that is not the REST API.
pub(crate) async fn answer(
    core: &Core,
    request: Request<Incoming>,
) -> io::Result<Response<AnswerBody>> {
    let (status, content_type, body) = match request.uri().path() {
        "/" => (200, "text/html; charset=utf-8", page(core)),
        _ => (404, "text/plain", "There is nothing here.".to_owned()),
    };
    let response = Response::builder().status(status).header(CONTENT_TYPE, content_type);
    response.body(AnswerBody::whole(body)).map_err(io::Error::other)
}

fn page(core: &Core) -> String {
    let mut html = String::from("<!doctype html><meta charset=utf-8><title>Portal</title>");
    let world = core.world();
    for id in world.processes.ids() {
        let Some(process) = world.processes.get(id) else { continue };
        // Writing to a String cannot fail.
        let _ = write!(html, "<h2>{}</h2><ol reversed>", escaped(&process.title));
        for entry in process.log.entries().rev() {
            let _ = write!(html, "<li>{} {}", entry.at, escaped(&entry.text));
        }
        html.push_str("</ol>");
    }
    html
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
