//! From a request on a connection to the part of the portal that answers it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::LengthLimitError;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::{Method, Request, Response, Version};
use tokio::time::timeout;

use super::oauth;
use crate::core::Core;
use crate::faults::{Canned, Moment};
use crate::http::{AnswerBody, Peer, arrived, canned, finish, head, plain, strike};
use crate::page;
use crate::rest::{self, Head, Reply, RestPath, rest_path};

/// Bytes of a URL that a stock nginx reads.
const URL_LIMIT: usize = 8 << 10;
/// Verbs that it lets through.
const VERBS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// Answers one request; an error ends the connection.
pub(crate) async fn route(
    core: Arc<Core>,
    peer: Peer,
    request: Request<Incoming>,
) -> io::Result<Response<AnswerBody>> {
    if let Some(status) = refused_by_server(&request) {
        return plain(canned(&Canned::html(status)));
    }
    let path = request.uri().path();
    match rest_path(path) {
        Some(_) if request.method() == Method::OPTIONS => plain(Reply::preflight()),
        Some(path) => rest_hit(core, peer, path, request).await,
        None if path.starts_with("/oauth/") => oauth::answer(core, peer, request).await,
        None => page::answer(&core, &peer, request).await,
    }
}

/// What the web server in front of the portal refuses by itself, with a page of its own.
fn refused_by_server(request: &Request<Incoming>) -> Option<u16> {
    let url = request.uri().path_and_query().map_or(0, |url| url.as_str().len());
    let host = request.headers().contains_key(HOST) || request.version() == Version::HTTP_10;
    match () {
        () if url > URL_LIMIT => Some(414),
        () if !host => Some(400),
        () if !VERBS.contains(request.method()) => Some(405),
        () => None,
    }
}

async fn rest_hit(
    core: Arc<Core>,
    peer: Peer,
    path: RestPath,
    request: Request<Incoming>,
) -> io::Result<Response<AnswerBody>> {
    let head = head(&peer, &request);
    let shown = match &path.webhook {
        Some((user, _)) => format!("/rest/{user}/.../{}", path.method),
        None => head.path.clone(),
    };
    let (number, fault) = arrived(&core, &head, &shown, &path.method);
    let fault = fault.as_ref();
    if let Some(location) = moved(&core, &peer, &head) {
        let reply = Reply { location: Some(location), ..Reply::html(302, "") };
        return finish(&core, number, None, reply);
    }
    if let Some(reply) = strike(&core, &peer, number, fault, Moment::BeforeRead).await? {
        return finish(&core, number, fault, reply);
    }
    let limit = core.world().settings.body_limit;
    let body = match peer.read(request.into_body(), limit).await {
        Ok(body) => body,
        Err(error) if error.is::<LengthLimitError>() => {
            return finish(&core, number, None, canned(&Canned::html(413)));
        }
        Err(error) => return Err(io::Error::other(error)),
    };
    if let Some(reply) = strike(&core, &peer, number, fault, Moment::BeforeExecution).await? {
        return finish(&core, number, fault, reply);
    }
    let reply = execute(&core, number, head, path, body).await?;
    let canned = strike(&core, &peer, number, fault, Moment::AfterExecution).await?;
    finish(&core, number, fault, canned.unwrap_or(reply))
}

/// Where to, if the request came to a former address of the portal, or by a former name.
fn moved(core: &Core, peer: &Peer, head: &Head) -> Option<String> {
    let addresses = core.addresses();
    let former = addresses.former_domains.iter().any(|name| head.is_for(name));
    let root = match () {
        () if former => addresses.public_url(peer.tls),
        () if peer.generation < addresses.generation => addresses.url(peer.tls),
        () => return None,
    };
    let query = if head.query.is_empty() { "" } else { "?" };
    Some(format!("{root}{}{query}{}", head.path.trim_start_matches('/'), head.query))
}

/// Runs the hit to its end even if the client leaves or the proxy gives up meanwhile, as PHP does.
async fn execute(
    core: &Arc<Core>,
    number: u64,
    head: Head,
    path: RestPath,
    body: Bytes,
) -> io::Result<Reply> {
    let limit = core.world().settings.request_limit;
    let core = core.clone();
    let hit = async move { rest::answer(&core, number, &head, &path, &body).await };
    match timeout(limit, tokio::spawn(hit)).await {
        Ok(reply) => reply.map_err(io::Error::other),
        Err(_) => Ok(canned(&Canned::html(504))),
    }
}
