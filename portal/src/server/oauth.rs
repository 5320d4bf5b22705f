//! `/oauth/token/` and `/oauth/authorize/` over HTTP.

use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::{Request, Response};

use crate::core::Core;
use crate::faults::Moment;
use crate::http::{AnswerBody, Peer, arrived, finish, head, strike};
use crate::oauth::{Issued, OAuthError, TokenRequest};
use crate::php::{Array, Value, parse_str, urlencode};
use crate::rest::{Reply, error_pair, params};

/// Bytes that a request for tokens may have.
const BODY_LIMIT: usize = 1 << 16;

/// Answers what comes below `/oauth/`. Faults strike it only by its name, `oauth/token`.
pub(crate) async fn answer(
    core: Arc<Core>,
    peer: Peer,
    request: Request<Incoming>,
) -> io::Result<Response<AnswerBody>> {
    let method = request.uri().path().trim_matches('/').to_owned();
    let head = head(&peer, &request);
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let here = format!("{}://{host}/", if peer.tls { "https" } else { "http" });
    let (number, fault) = arrived(&core, &head, &head.path, &method);
    let fault = fault.as_ref();
    for before in [Moment::BeforeRead, Moment::BeforeExecution] {
        if let Some(reply) = strike(&core, &peer, number, fault, before).await? {
            return finish(&core, number, fault, reply);
        }
    }
    let body = Limited::new(request.into_body(), BODY_LIMIT).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    let reply = match method.as_str() {
        "oauth/token" => token(&core, &here, &params(&head, &body)),
        "oauth/authorize" => authorize(&core, &parse_str(head.query.as_bytes())),
        _ => Reply::html(404, "There is nothing here."),
    };
    let canned = strike(&core, &peer, number, fault, Moment::AfterExecution).await?;
    finish(&core, number, fault, canned.unwrap_or(reply))
}

fn field<'a>(params: &'a Array<'_>, name: &str) -> Option<&'a str> {
    let bytes = params.get(name.as_bytes()).and_then(Value::as_bytes)?;
    std::str::from_utf8(bytes).ok()
}

fn token(core: &Core, here: &str, params: &Array<'_>) -> Reply {
    let request = TokenRequest {
        grant_type: field(params, "grant_type"),
        client_id: field(params, "client_id"),
        client_secret: field(params, "client_secret"),
        refresh_token: field(params, "refresh_token"),
        code: field(params, "code"),
    };
    let exchanged = core.cloud.oauth().exchange(&request, core.clock.now());
    match exchanged {
        Ok(issued) => Reply::json(200, &Value::Array(grant(core, here, issued))),
        Err(error) => refuse(error),
    }
}

fn refuse(error: OAuthError) -> Reply {
    let (code, description, status) = error.row();
    Reply::json(status, &Value::Array(error_pair(code, description)))
}

/// The fields of a grant; `domain` is the OAuth server's here, not the portal's (OAuth 2.0
/// protocol).
fn grant(core: &Core, here: &str, issued: Issued) -> Array<'static> {
    let portals = core.cloud.portals();
    let portal = portals.iter().find(|portal| portal.identity.member_id == issued.member_id);
    let tls = here.starts_with("https");
    let portal = portal.map_or_else(|| core.addresses(), |portal| portal.addresses());
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let domain = here.split('/').nth(2).unwrap_or_default();
    let domain = domain.split(':').next().unwrap_or_default();
    [
        ("access_token", Value::text(issued.access_token)),
        ("expires", number(issued.expires.as_secs())),
        ("expires_in", number(issued.expires_in)),
        ("scope", Value::text(issued.scopes.join(","))),
        ("domain", Value::text(domain)),
        ("server_endpoint", Value::text(format!("{here}rest/"))),
        ("status", Value::text("L")),
        ("client_endpoint", Value::text(format!("{}rest/", portal.url(tls)))),
        ("member_id", Value::text(issued.member_id)),
        ("user_id", number(issued.user)),
        ("refresh_token", Value::text(issued.refresh_token)),
    ]
    .into()
}

/// Sends the user, who is taken to have agreed, back to the application with a code.
fn authorize(core: &Core, query: &Array<'_>) -> Reply {
    let member_id = &core.identity.member_id;
    let Some(client_id) = field(query, "client_id") else {
        return refuse(OAuthError::InvalidRequest);
    };
    let mut oauth = core.cloud.oauth();
    let redirect_uri = match oauth.redirect_uri(client_id, member_id) {
        Ok(uri) => uri,
        Err(error) => return refuse(error),
    };
    let code = oauth.authorize(client_id, member_id, 1, core.clock.now());
    drop(oauth);
    let state = urlencode(field(query, "state").unwrap_or_default());
    let separator = if redirect_uri.contains('?') { '&' } else { '?' };
    let location =
        format!("{redirect_uri}{separator}code={code}&state={state}&member_id={member_id}");
    Reply { location: Some(location), ..Reply::html(302, "") }
}
