//! The transport over HTTP: sends each request to its portal, with the credentials.

use std::sync::Arc;

use super::auth::{Credentials, Grants, Provided, Webhook};
use super::{Arrived, Confirmed, NoAccess, Question, Refreshed, Transport};
use crate::error::TransportError;
use crate::line::PortalId;
use crate::protocol::reply::Code;
use crate::protocol::{Cause, Method, Reply, Request, command};

mod client;
mod departure;
mod redirect;
mod resolver;
mod tls;
mod trust;

pub(crate) use self::client::HttpOptions;
pub(super) use self::client::{Clients, JSON};
pub(crate) use self::trust::Fingerprint;

/// Calls portals.
#[derive(Clone)]
pub(crate) struct Http {
    clients: Clients,
    caller: Caller,
}

/// The credentials in use.
#[derive(Clone)]
enum Caller {
    Webhook(Arc<Webhook>),
    OAuth(Arc<Grants>),
    Provider(Arc<Provided>),
}

impl Http {
    /// Sets up everything that can fail before the first request: it sends nothing.
    ///
    /// # Errors
    /// When there is no TLS provider, when there are no root certificates for an https portal, or when the
    /// extra ones are not valid.
    pub(crate) fn new(
        credentials: impl Into<Credentials>,
        options: HttpOptions,
    ) -> Result<Self, TransportError> {
        tls::readable(&options.extra_roots)?;
        let clients = Clients::new(options)?;
        let caller = match credentials.into() {
            Credentials::Webhook(webhook) => {
                clients.client(&webhook.method(&Method::Batch))?;
                Caller::Webhook(Arc::new(webhook))
            }
            Credentials::OAuth(oauth) => {
                let grants = Grants::new(oauth);
                clients.client(grants.server())?;
                Caller::OAuth(Arc::new(grants))
            }
            Credentials::Provider(provider) => Caller::Provider(Arc::new(Provided::new(provider))),
        };
        Ok(Http { clients, caller })
    }
}

impl Http {
    /// The portal has moved. If the new host cannot be used automatically, the error says what to do.
    fn moved(&self, portal: Option<&PortalId>, host: String) -> Reply {
        let advice = match &self.caller {
            Caller::Webhook(_) => "write this host into the webhook's URL",
            Caller::Provider(_) => "return this address from your `AccessProvider`",
            Caller::OAuth(grants) if grants.may_relocate(portal, &host) => {
                return Reply::Moved { host: Some(host) };
            }
            Caller::OAuth(_) => "if this is correct, add it to `OAuth::hosts`",
        };
        Reply::Redirected(Code(format!("the portal has moved to {host}: {advice}")))
    }
}

impl Transport for Http {
    async fn call(&self, portal: Option<&PortalId>, request: Request) -> Reply {
        let Request { method, mut body, pass, .. } = request;
        let url = match &self.caller {
            Caller::Webhook(webhook) if webhook.serves(portal) => webhook.method(&method),
            Caller::Webhook(_) => return NoAccess::Unknown(ONE_PORTAL).into(),
            Caller::OAuth(grants) => match grants.access(portal, &method).await {
                Ok((url, access_token)) => {
                    command::authorize(&mut body, &access_token);
                    url
                }
                Err(why) => return why.into(),
            },
            Caller::Provider(provided) => match provided.access(portal).await {
                Ok(access) => {
                    let (url, access_token) = access.to(&method);
                    if let Some(access_token) = access_token {
                        command::authorize(&mut body, access_token);
                    }
                    url
                }
                Err(why) => return why.into(),
            },
        };
        let reply = self.clients.post_if(url, JSON, body, pass).await;
        match reply {
            Reply::Moved { host: Some(host) } => self.moved(portal, host),
            reply => reply,
        }
    }

    async fn refresh(&self, portal: Option<&PortalId>) -> Refreshed {
        match &self.caller {
            Caller::Webhook(_) => Refreshed::Denied(Code("a webhook has no tokens".to_owned())),
            Caller::OAuth(grants) => grants.refresh(portal, &self.clients).await,
            Caller::Provider(provided) => provided.refresh(portal).await,
        }
    }

    async fn relocate(&self, portal: Option<&PortalId>, host: &str) -> Refreshed {
        match &self.caller {
            Caller::Webhook(_) | Caller::Provider(_) => {
                Refreshed::Denied(Code("only the app can change the address".to_owned()))
            }
            Caller::OAuth(grants) => grants.relocate(portal, host, &self.clients).await,
        }
    }

    async fn accept(&self, portal: &PortalId, tokens: Arrived) -> Result<bool, Cause> {
        match &self.caller {
            Caller::Webhook(_) | Caller::Provider(_) => Ok(false),
            Caller::OAuth(grants) => grants.accept(portal, tokens).await,
        }
    }

    async fn confirm(&self, portal: &PortalId, question: Question) -> Confirmed {
        match &self.caller {
            Caller::Webhook(_) | Caller::Provider(_) => Confirmed::No(Code(NO_OAUTH.to_owned())),
            Caller::OAuth(grants) => grants.confirm(portal, question, &self.clients).await,
        }
    }

    async fn forget(&self, portal: &PortalId) -> Result<(), Cause> {
        match &self.caller {
            Caller::Webhook(_) | Caller::Provider(_) => Ok(()),
            Caller::OAuth(grants) => grants.uninstalled(portal).await,
        }
    }
}

/// Without OAuth there is no server that can say to whom the tokens belong.
const NO_OAUTH: &str = "the app's credentials are not `OAuth`";

/// An event token is a secret of its portal: it is not sent to another portal.
const ONE_PORTAL: &str = "the span names a portal, but the webhook is not bound to this portal: \
                          call `Webhook::for_portal`, or remove `portal` from the span";

#[cfg(test)]
mod tests;
