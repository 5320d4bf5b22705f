//! An app's OAuth credentials: who it is, and where its portals' tokens are kept.

use std::env::{self, VarError};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::endpoint::Hosts;
use super::is_loopback;
use super::store::TokenStore;
use crate::error::OAuthError;
use crate::line::PortalId;

/// An app's OAuth credentials, for the portals on which it is installed.
///
/// A token is renewed only when the portal has refused it as expired or invalid, once for all who
/// wait for it; never by schedule, for which an app may be blocked. The client secret goes to the
/// authorization server and nowhere else, whatever a request or an answer says.
///
/// Debug shows neither the secret nor tokens.
///
/// ```
/// use tracing_bizproc::{FileStore, Hosts, OAuth};
///
/// let oauth = OAuth::new("local.5e4a77", "the app's secret", FileStore::new("tokens.json"))
///     .hosts(Hosts::from(["*.acme.example"]));
/// # drop(oauth);
/// ```
#[derive(Clone)]
pub struct OAuth {
    pub(super) client_id: Arc<str>,
    pub(super) client_secret: Arc<str>,
    pub(super) server: Url,
    pub(super) store: Arc<dyn TokenStore>,
    pub(super) store_timeout: Duration,
    pub(super) hosts: Hosts,
    pub(super) default_portal: Option<PortalId>,
}

impl OAuth {
    /// The app's `client_id` and `client_secret`, and where tokens are kept:
    /// [`MemoryStore`](super::MemoryStore), [`FileStore`](super::FileStore), or one of your own.
    pub fn new(
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        tokens: impl TokenStore,
    ) -> Self {
        OAuth {
            client_id: client_id.into().into(),
            client_secret: client_secret.into().into(),
            server: Url::parse(SERVER).expect("the address below is one"),
            store: Arc::new(tokens),
            store_timeout: Duration::from_secs(5),
            hosts: Hosts::default(),
            default_portal: None,
        }
    }

    /// The app's credentials from the environment: `BITRIX24_CLIENT_ID` and `BITRIX24_CLIENT_SECRET`,
    /// and if it is set `BITRIX24_OAUTH_URL`, the [authorization server](Self::authorization_server).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tracing_bizproc::{FileStore, OAuth};
    ///
    /// let oauth = OAuth::from_env(FileStore::new("tokens.json"))?;
    /// let (bizproc, _guard) = tracing_bizproc::builder(oauth).build()?;
    /// # let _: tracing_bizproc::BizprocLayer<tracing_subscriber::Registry> = bizproc;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When one of the first two is not set, or one of the three has no usable value. The error names
    /// the variable, and repeats nothing of its value.
    pub fn from_env(tokens: impl TokenStore) -> Result<Self, OAuthError> {
        let [id, secret, server] = OAuth::VARIABLES.map(variable);
        let needed = |value: Option<String>, variable| value.ok_or(OAuthError::NotSet { variable });
        let id = needed(id?, OAuth::VARIABLES[0])?;
        let oauth = OAuth::new(id, needed(secret?, OAuth::VARIABLES[1])?, tokens);
        match server? {
            Some(server) => oauth.authorization_server(&server),
            None => Ok(oauth),
        }
    }

    /// The environment variables that [`from_env`](OAuth::from_env) reads.
    pub const VARIABLES: [&'static str; 3] =
        ["BITRIX24_CLIENT_ID", "BITRIX24_CLIENT_SECRET", "BITRIX24_OAUTH_URL"];

    /// The authorization server's token address. Default: `https://oauth.bitrix.info/oauth/token/`
    /// (the Russian documentation names `https://oauth.bitrix24.tech/oauth/token/`).
    ///
    /// # Errors
    /// When it is no https address (http is taken for loopback hosts).
    pub fn authorization_server(mut self, url: &str) -> Result<Self, OAuthError> {
        let server = Url::parse(url).map_err(|_| OAuthError::NotAUrl)?;
        if server.scheme() != "https" && !(server.scheme() == "http" && is_loopback(&server)) {
            return Err(OAuthError::Insecure);
        }
        self.server = server;
        Ok(self)
    }

    /// Hosts at which a portal may be found that has moved: a redirect to another is not obeyed.
    /// Default: none.
    #[must_use]
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// How long a call of the token store may take. Default: 5 s.
    #[must_use]
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.store_timeout = timeout;
        self
    }

    /// The portal of spans that name none. Default: none, and their lines cannot be sent.
    #[must_use]
    pub fn default_portal(mut self, portal: impl Into<PortalId>) -> Self {
        self.default_portal = Some(portal.into());
        self
    }
}

/// The value of an environment variable, if it is set and not empty.
fn variable(variable: &'static str) -> Result<Option<String>, OAuthError> {
    match env::var(variable) {
        Ok(value) => Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(OAuthError::NotUnicode { variable }),
    }
}

/// "OAuth 2.0: automatic renewal", REST API documentation.
const SERVER: &str = "https://oauth.bitrix.info/oauth/token/";

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth")
            .field("client_id", &self.client_id)
            .field("authorization_server", &self.server.host_str())
            .finish_non_exhaustive()
    }
}
