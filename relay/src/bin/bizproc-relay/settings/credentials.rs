//! The credentials for portals: an app, or webhooks.

use std::collections::HashMap;
use std::fmt;
use std::future::ready;

use toml::Value;
use tracing_bizproc::PortalId;
use tracing_bizproc::auth::{
    Access as Given, AccessProvider, CredentialFuture, Credentials, OAuth, Webhook,
};
use tracing_bizproc_relay::PgStore;

use super::source::Source;
use super::{Webhooks, webhook};

/// Debug shows no secret.
pub(crate) enum Access {
    OAuth { client_id: String, client_secret: String, server: Option<String> },
    Webhooks { default: Option<Webhook>, portals: Webhooks },
}

pub(super) fn access(source: &mut Source) -> Result<Option<Access>, String> {
    let [id, secret, server] = OAuth::VARIABLES;
    let client_id = source.get("oauth.client_id", id, |text| Ok(text.to_owned()))?;
    let client_secret = source.secret("oauth.client_secret", secret)?.map(|(_, secret)| secret);
    let from_file = source.file("oauth.client_secret_file", "BITRIX24_CLIENT_SECRET_FILE")?;
    let server = source.get("oauth.server", server, |text| Ok(text.to_owned()))?;
    if client_secret.is_some() && from_file.is_some() {
        return Err("the client secret is given twice: as text and as a file; remove one of them"
            .to_owned());
    }
    let client_secret = client_secret.or(from_file).map(|secret| secret.trim().to_owned());

    let default = match source.secret("webhook", Webhook::VARIABLE)? {
        None => None,
        Some((name, url)) => Some(webhook(&url).map_err(|why| format!("{name}: {why}"))?),
    };
    let mut portals = HashMap::new();
    for (name, value) in source.table("webhooks")? {
        let Value::String(url) = value else {
            return Err(format!("webhooks.{name}: expected a URL in quotes"));
        };
        let webhook = webhook(&url).map_err(|why| format!("webhooks.{name}: {why}"))?;
        portals.insert(PortalId::from(name), webhook);
    }
    let has_webhooks = default.is_some() || !portals.is_empty();
    match (client_id, client_secret, has_webhooks) {
        (Some(_), _, true) | (_, Some(_), true) => Err(
            "an app and webhooks exclude each other in one relay: run a relay for each, with schemas of \
             their own"
                .to_owned(),
        ),
        (Some(client_id), Some(client_secret), false) => {
            Ok(Some(Access::OAuth { client_id, client_secret, server }))
        }
        (Some(_), None, false) => Err(format!(
            "the client secret is not set: {secret} or BITRIX24_CLIENT_SECRET_FILE, or `client_secret` or \
             `client_secret_file` under [oauth]"
        )),
        (None, Some(_), false) => {
            Err(format!("the client id is not set: {id}, or `client_id` under [oauth]"))
        }
        (None, None, _) if server.is_some() => {
            Err("oauth.server has no effect without a client id".to_owned())
        }
        (None, None, true) => Ok(Some(Access::Webhooks { default, portals })),
        (None, None, false) => Ok(None),
    }
}

impl Access {
    /// The credentials for the engine. Tokens of an app are in the database.
    pub(crate) fn credentials(self, tokens: PgStore) -> Result<Credentials, String> {
        match self {
            Access::OAuth { client_id, client_secret, server } => {
                let mut oauth = OAuth::new(client_id, client_secret, tokens);
                if let Some(server) = server {
                    oauth = oauth
                        .authorization_server(&server)
                        .map_err(|error| format!("oauth.server: {error}"))?;
                }
                Ok(oauth.into())
            }
            Access::Webhooks { default: Some(webhook), portals } if portals.is_empty() => {
                Ok(webhook.into())
            }
            Access::Webhooks { default, portals } => {
                Ok(Credentials::provider(Provided { default, portals }))
            }
        }
    }
}

/// Webhooks by portal, and one for the portal without a name.
struct Provided {
    default: Option<Webhook>,
    portals: Webhooks,
}

impl AccessProvider for Provided {
    fn access<'a>(
        &'a self,
        portal: Option<&'a PortalId>,
        _refused: Option<&'a Given>,
    ) -> CredentialFuture<'a, Option<Given>> {
        let webhook = portal.map_or(self.default.as_ref(), |portal| self.portals.get(portal));
        Box::pin(ready(Ok(webhook.cloned().map(Given::webhook))))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Access::OAuth { .. } => f.write_str("OAuth(..)"),
            Access::Webhooks { portals, .. } => write!(f, "Webhooks({})", portals.len()),
        }
    }
}
