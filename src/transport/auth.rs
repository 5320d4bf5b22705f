//! Credentials: a webhook, or an app with OAuth tokens. Owns the secrets, and does not show them.

use std::fmt;
use std::sync::Arc;

use reqwest::Url;

mod endpoint;
mod grants;
mod oauth;
mod provider;
mod store;
mod tokens;
mod webhook;

pub(crate) use self::endpoint::Endpoint;
pub use self::endpoint::Hosts;
pub(super) use self::grants::Grants;
pub use self::oauth::OAuth;
pub(super) use self::provider::Provided;
pub use self::provider::{Access, AccessProvider};
pub use self::store::{
    CredentialError, CredentialFuture, FileStore, MemoryStore, TokenStore, on_thread,
};
pub use self::tokens::Tokens;
pub use self::webhook::Webhook;

/// The credentials for calls to portals: a [`Webhook`] for one portal, [`OAuth`] for the portals that
/// have installed an app, or your own provider.
///
/// ```
/// # fn main() -> Result<(), tracing_bizproc::error::WebhookError> {
/// use std::collections::HashMap;
/// use tracing_bizproc::PortalId;
/// use tracing_bizproc::auth::{Credentials, Webhook};
///
/// // Two portals, each with a webhook of its own. Spans name the portal.
/// let webhooks = HashMap::from([
///     (PortalId::from("north"), Webhook::new("https://north.bitrix24.com/rest/1/secret/")?),
///     (PortalId::from("south"), Webhook::new("https://south.bitrix24.com/rest/1/secret/")?),
/// ]);
/// let builder = tracing_bizproc::builder(Credentials::provider(webhooks));
/// # drop(builder);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// One portal.
    Webhook(Webhook),
    /// The portals of an app.
    OAuth(OAuth),
    /// The portals that the provider knows.
    Provider(Arc<dyn AccessProvider>),
}

impl Credentials {
    /// Credentials from a provider.
    pub fn provider(provider: impl AccessProvider) -> Self {
        Credentials::Provider(Arc::new(provider))
    }

    /// Whether there may be a portal for spans without the field `portal`.
    pub(crate) fn have_default_portal(&self) -> bool {
        match self {
            Credentials::Webhook(_) => true,
            Credentials::OAuth(oauth) => oauth.default_portal.is_some(),
            // Only the provider knows.
            Credentials::Provider(_) => true,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Webhook(webhook) => webhook.fmt(f),
            Credentials::OAuth(oauth) => oauth.fmt(f),
            Credentials::Provider(_) => f.write_str("Provider(..)"),
        }
    }
}

impl From<Webhook> for Credentials {
    fn from(webhook: Webhook) -> Self {
        Credentials::Webhook(webhook)
    }
}

impl From<OAuth> for Credentials {
    fn from(oauth: OAuth) -> Self {
        Credentials::OAuth(oauth)
    }
}

/// Whether the host is this machine, so that nothing that is sent to it leaves it.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        // RFC 6761, 6.3.
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}
