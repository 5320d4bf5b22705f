//! One exchange on a connection: the steps of every hit.

use std::io;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION};
use hyper::{Request, Response};

use super::body::AnswerBody;
use super::peer::{Peer, hang_up};
use crate::core::Core;
use crate::faults::{Canned, Fault, Moment};
use crate::journal::Hit;
use crate::rest::{self, Head, Reply};

/// What is known before the body was read.
pub(crate) fn head(peer: &Peer, request: &Request<Incoming>) -> Head {
    let header = |name| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let bearer = header(AUTHORIZATION);
    let bearer = bearer.split_once(' ').filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    Head {
        source: peer.source,
        tls: peer.tls,
        http_method: request.method().as_str().to_owned(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        host: host_name(header(HOST)).to_owned(),
        content_type: header(CONTENT_TYPE).to_owned(),
        bearer: bearer.map(|(_, token)| token.trim().to_owned()),
    }
}

/// A host without its port.
fn host_name(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Writes the hit into the journal, and gets its fault from the plan.
pub(crate) fn arrived(core: &Core, head: &Head, path: &str, method: &str) -> (u64, Option<Fault>) {
    let now = core.clock.now();
    let mut world = core.world();
    let fault = world.faults.strike(method);
    let number = world.journal.arrived(Hit {
        number: 0,
        arrived: now,
        answered: None,
        source: head.source,
        tls: head.tls,
        http_method: head.http_method.clone(),
        path: path.to_owned(),
        rest_method: method.to_owned(),
        bytes: 0,
        commands: Vec::new(),
        status: None,
        error: None,
        fault: fault.as_ref().map(|fault| format!("{fault:?}")),
    });
    drop(world);
    core.changed();
    (number, fault)
}

/// Does what the fault asks for at this moment; a reply stands for the portal's own.
pub(crate) async fn strike(
    core: &Core,
    peer: &Peer,
    number: u64,
    fault: Option<&Fault>,
    now: Moment,
) -> io::Result<Option<Reply>> {
    match fault {
        Some(Fault::Delay(moment, pause)) if *moment == now => tokio::time::sleep(*pause).await,
        Some(Fault::Hang(moment)) if *moment == now => std::future::pending().await,
        Some(Fault::Reset(moment)) if *moment == now => {
            peer.line.reset();
            return Err(hang_up());
        }
        Some(Fault::Answer(moment, answer)) if *moment == now => return Ok(Some(canned(answer))),
        Some(Fault::Refuse(error)) if now == Moment::BeforeExecution => {
            return Ok(Some(rest::refuse(&mut core.world(), number, *error)));
        }
        _ => {}
    }
    Ok(None)
}

pub(crate) fn canned(answer: &Canned) -> Reply {
    let body = answer.body.clone().into_owned().into_bytes();
    let content_type = answer.content_type.clone();
    Reply { status: answer.status, content_type, location: None, headers: &[], body }
}

/// Notes the answer and puts it on the wire, or as much of it as the fault leaves.
pub(crate) fn finish(
    core: &Core,
    number: u64,
    fault: Option<&Fault>,
    reply: Reply,
) -> io::Result<Response<AnswerBody>> {
    let now = core.clock.now();
    if let Some(hit) = core.world().journal.hit(number) {
        hit.answered = Some(now);
        hit.status = Some(reply.status);
    }
    core.changed();
    respond(fault, reply)
}

/// Sends a reply without a note in the journal.
pub(crate) fn plain(reply: Reply) -> io::Result<Response<AnswerBody>> {
    respond(None, reply)
}

fn respond(fault: Option<&Fault>, reply: Reply) -> io::Result<Response<AnswerBody>> {
    let body = Bytes::from(reply.body);
    let mut response =
        Response::builder().status(reply.status).header(CONTENT_TYPE, reply.content_type.as_ref());
    for (name, value) in reply.headers {
        response = response.header(*name, *value);
    }
    if let Some(location) = reply.location {
        response = response.header(LOCATION, location);
    }
    let body = match fault {
        Some(Fault::Truncate) => {
            response = response.header(CONTENT_LENGTH, body.len());
            AnswerBody::Cut(Some(body.slice(..body.len() / 2)))
        }
        Some(Fault::Drip(pause)) => AnswerBody::drip(body, *pause),
        _ => AnswerBody::whole(body),
    };
    response.body(body).map_err(io::Error::other)
}
