//! `/oauth/token/` and `/oauth/authorize/` over HTTP.

use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::{Request, Response};

use crate::core::Core;
use crate::credentials::ADMIN;
use crate::faults::Moment;
use crate::http::{AnswerBody, Peer, arrived, finish, head, strike};
use crate::oauth::{Issued, OAuthError, TokenRequest};
use crate::php::{Array, Key, Value, parse_str};
use crate::rest::{Reply, error_pair, params};
use crate::wire::Form;

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
    let here = Here { host: host.to_owned(), tls: peer.tls };
    let (number, fault) = arrived(&core, &head, &head.path, &method);
    let fault = fault.as_ref();
    for before in [Moment::BeforeRead, Moment::BeforeExecution] {
        if let Some(reply) = strike(&core, &peer, number, fault, before).await? {
            return finish(&core, number, fault, reply);
        }
    }
    let body = peer.read(request.into_body(), BODY_LIMIT).await.map_err(io::Error::other)?;
    let reply = match method.as_str() {
        "oauth/token" => token(&core, &here, &params(&head, &body)),
        "oauth/authorize" => authorize(&core, &here, &parse_str(head.query.as_bytes())),
        _ => Reply::html(404, "There is nothing here."),
    };
    let canned = strike(&core, &peer, number, fault, Moment::AfterExecution).await?;
    finish(&core, number, fault, canned.unwrap_or(reply))
}

fn field<'a>(params: &'a Array<'_>, name: &str) -> Option<&'a str> {
    let bytes = params.get(name.as_bytes()).and_then(Value::as_bytes)?;
    std::str::from_utf8(bytes).ok()
}

fn token(core: &Core, here: &Here, params: &Array<'_>) -> Reply {
    let request = TokenRequest {
        grant_type: field(params, "grant_type"),
        client_id: field(params, "client_id"),
        client_secret: field(params, "client_secret"),
        refresh_token: field(params, "refresh_token"),
        code: field(params, "code"),
    };
    let statuses = core.world().settings.statuses;
    let exchanged = core.cloud.oauth().exchange(&request, statuses, core.clock.now());
    // The first pair comes without these two (complete protocol, step 2).
    let first = request.grant_type == Some("authorization_code");
    match exchanged {
        Ok(issued) => Reply::json(200, &Value::Array(grant(core, here, issued, !first))),
        Err(error) => refuse(error),
    }
}

fn refuse(error: OAuthError) -> Reply {
    let (code, description, status) = error.row();
    Reply::json(status, &Value::Array(error_pair(code, description)))
}

/// The fields of a grant; `domain` is the OAuth server's here, not the portal's (OAuth 2.0
/// protocol).
fn grant(core: &Core, here: &Here, issued: Issued, renewed: bool) -> Array<'static> {
    let portals = core.cloud.portals();
    let portal = portals.iter().find(|portal| portal.identity.member_id == issued.member_id);
    let portal = portal.map_or_else(|| core.addresses(), |portal| portal.addresses());
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let mut grant: Array<'static> = [("access_token", Value::text(issued.access_token))].into();
    let mut set = |name: &'static str, value| {
        grant.insert(Key::from_bytes(name.as_bytes().into()), value);
    };
    if renewed {
        set("expires", number(issued.expires.as_secs()));
    }
    set("expires_in", number(issued.expires_in));
    set("scope", Value::text(issued.scopes.join(",")));
    set("domain", Value::text(here.name(core)));
    set("server_endpoint", Value::text(here.server_endpoint(core)));
    set("status", Value::text("L"));
    set("client_endpoint", Value::text(format!("{}rest/", portal.public_url(here.tls))));
    set("member_id", Value::text(issued.member_id));
    if renewed {
        set("user_id", number(issued.user));
    }
    set("refresh_token", Value::text(issued.refresh_token));
    grant
}

/// By which address the authorization server was called.
struct Here {
    host: String,
    tls: bool,
}

impl Here {
    /// The server's name: the one of the settings, or that of the request.
    fn name(&self, core: &Core) -> String {
        let name = core.world().settings.oauth_host.clone();
        if !name.is_empty() {
            return name;
        }
        self.host.split(':').next().unwrap_or_default().to_owned()
    }

    fn server_endpoint(&self, core: &Core) -> String {
        if !core.world().settings.oauth_host.is_empty() {
            return core.server_endpoint(self.tls);
        }
        format!("{}://{}/rest/", if self.tls { "https" } else { "http" }, self.host)
    }
}

/// Sends the user, who is taken to have agreed, back to the application with a code. An error is
/// shown to the user, and the application hears nothing.
fn authorize(core: &Core, here: &Here, query: &Array<'_>) -> Reply {
    let member_id = &core.identity.member_id;
    let Some(client_id) = field(query, "client_id") else {
        return refuse(OAuthError::InvalidRequest);
    };
    let addresses = core.addresses();
    let domain = addresses.host(addresses.domain.as_deref(), here.tls);
    let server_domain = here.name(core);
    let mut oauth = core.cloud.oauth();
    let (redirect_uri, scopes) = match oauth.redirection(client_id, member_id) {
        Ok(found) => found,
        Err(error) => return refuse(error),
    };
    let code = oauth.authorize(client_id, member_id, ADMIN, core.clock.now());
    drop(oauth);
    let mut form = Form::default();
    form.field("code", &code)
        .field("state", field(query, "state").unwrap_or_default())
        .field("domain", &domain)
        .field("member_id", member_id)
        .field("scope", &scopes.join(","))
        .field("server_domain", &server_domain);
    let separator = if redirect_uri.contains('?') { '&' } else { '?' };
    let location = format!("{redirect_uri}{separator}{}", form.as_str());
    Reply { location: Some(location), ..Reply::html(302, "") }
}
