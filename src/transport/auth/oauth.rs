//! An app's OAuth credentials: who it is, and where its portals' tokens are kept.

use std::env::{self, VarError};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::endpoint::{Endpoint, Hosts};
use super::is_loopback;
use super::store::TokenStore;
use super::tokens::Tokens;
use crate::error::OAuthError;
use crate::line::PortalId;

/// An app's OAuth credentials, for the portals on which it is installed.
///
/// A token is renewed only after the portal has refused it as expired or invalid, once for all requests
/// that wait for it. It is never renewed by schedule, because the vendor may block apps that do this.
/// The client secret is sent to the authorization server and nowhere else, whatever a request or an
/// answer says.
///
/// Debug shows neither the secret nor tokens.
///
/// ```
/// use tracing_bizproc::auth::{FileStore, Hosts, OAuth};
///
/// let oauth = OAuth::new("local.5e4a77", "the app's secret", FileStore::new("tokens.json"))
///     .hosts(Hosts::from(["*.acme.example"]));
/// # drop(oauth);
/// ```
#[derive(Clone)]
pub struct OAuth {
    pub(super) client_id: Arc<str>,
    pub(super) client_secret: Arc<str>,
    /// The token address for portals that name no server of `servers`.
    pub(super) server: Url,
    /// The servers to which the client secret may go.
    servers: Hosts,
    pub(super) store: Arc<dyn TokenStore>,
    pub(super) store_timeout: Duration,
    pub(super) hosts: Hosts,
    /// Hosts that may be called by plain http.
    http: Hosts,
    pub(super) default_portal: Option<PortalId>,
}

impl OAuth {
    /// The app's `client_id` and `client_secret`, and where tokens are kept:
    /// [`MemoryStore`](super::MemoryStore), [`FileStore`](super::FileStore), or your own store.
    pub fn new(
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        tokens: impl TokenStore,
    ) -> Self {
        OAuth {
            client_id: client_id.into().into(),
            client_secret: client_secret.into().into(),
            server: Url::parse(SERVER).expect("the address below is one"),
            servers: Hosts::from(VENDOR),
            store: Arc::new(tokens),
            store_timeout: Duration::from_secs(5),
            hosts: Hosts::default(),
            http: Hosts::default(),
            default_portal: None,
        }
    }

    /// The app's credentials from the environment: `BITRIX24_CLIENT_ID` and `BITRIX24_CLIENT_SECRET`,
    /// and if it is set `BITRIX24_OAUTH_URL`, the [authorization server](Self::authorization_server).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tracing_bizproc::auth::{FileStore, OAuth};
    ///
    /// let oauth = OAuth::from_env(FileStore::new("tokens.json"))?;
    /// let (bizproc, _guard) = tracing_bizproc::builder(oauth).build()?;
    /// # let _: tracing_bizproc::BizprocLayer<tracing_subscriber::Registry> = bizproc;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When one of the first two is not set, or one of the three does not have a valid value. The error
    /// names the variable and does not contain its value.
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

    /// The token address of the authorization server. It is then used for all portals, whatever server
    /// they name. Default: `https://oauth.bitrix.info/oauth/token/`; for portals that name another
    /// server of the vendor, that server. See
    /// [`authorization_servers`](OAuth::authorization_servers).
    ///
    /// # Errors
    /// When it is not an https address (http is allowed for loopback hosts).
    pub fn authorization_server(mut self, url: &str) -> Result<Self, OAuthError> {
        let server = Url::parse(url).map_err(|_| OAuthError::NotAUrl)?;
        if !is_safe(&server) {
            return Err(OAuthError::Insecure);
        }
        self.servers = Hosts::from([host(&server)]);
        self.server = server;
        Ok(self)
    }

    /// The authorization servers that a portal may name (`server_endpoint`): its tokens are renewed
    /// there, at the path `/oauth/token/`. They get the client secret. If a portal names another server,
    /// its tokens are renewed at the [usual server](OAuth::authorization_server) instead.
    ///
    /// Default: `oauth.bitrix.info` and `oauth.bitrix24.tech`, which are the vendor's. Call it after
    /// `authorization_server`, which allows its own server only.
    #[must_use]
    pub fn authorization_servers(mut self, hosts: Hosts) -> Self {
        self.servers = hosts;
        self
    }

    /// Hosts that may be called by plain http: for on-premise portals in a network that you trust.
    /// Everybody between the app and the portal can read the tokens and use them. Default: none. Loopback
    /// hosts are always allowed.
    ///
    /// ```
    /// use tracing_bizproc::auth::{Hosts, MemoryStore, OAuth};
    ///
    /// let oauth = OAuth::new("local.5e4a77", "the app's secret", MemoryStore::new())
    ///     .allow_http(Hosts::from(["bitrix.office.example"]));
    /// # drop(oauth);
    /// ```
    #[must_use]
    pub fn allow_http(mut self, hosts: Hosts) -> Self {
        self.http = hosts;
        self
    }

    /// Hosts that are trusted when a portal is renamed or installs the app. A redirect to another host
    /// is not followed. Default: none; then the authorization server is asked where the portal is. For
    /// an on-premise portal without refresh tokens it cannot be asked: name the host here.
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

    /// The portal of spans without the field `portal`. Default: none, and then their lines cannot be
    /// sent.
    #[must_use]
    pub fn default_portal(mut self, portal: impl Into<PortalId>) -> Self {
        self.default_portal = Some(portal.into());
        self
    }
}

impl OAuth {
    /// Whether its tokens outlive the process.
    pub(crate) fn lasts(&self) -> bool {
        self.store.lasts()
    }

    /// Where the tokens are renewed.
    pub(super) fn server_for(&self, tokens: &Tokens) -> Url {
        let named = tokens.server().and_then(|named| self.allowed_server(named));
        named.unwrap_or_else(|| self.server.clone())
    }

    /// The host of the server that the portal names, if the secret must not be sent there. For a report.
    pub(super) fn unknown_server(&self, tokens: &Tokens) -> Option<String> {
        let named = tokens.server().filter(|named| self.allowed_server(named).is_none())?;
        let url = Url::parse(named).ok();
        Some(url.as_ref().map_or_else(|| "(not a URL)".to_owned(), host))
    }

    fn allowed_server(&self, named: &str) -> Option<Url> {
        let mut url = Url::parse(named).ok()?;
        let no_login = url.username().is_empty() && url.password().is_none();
        if !is_safe(&url) || !no_login || !self.servers.allows(&host(&url)) {
            return None;
        }
        url.set_path(TOKEN_PATH);
        url.set_query(None);
        url.set_fragment(None);
        Some(url)
    }

    /// Whether the portal may be called there at all.
    pub(super) fn allows(&self, endpoint: &Endpoint) -> bool {
        !endpoint.is_plain() || self.http.allows(&endpoint.host())
    }
}

/// Whether requests to it cannot be read on the way.
fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// The host, with its port where it is not the usual one.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The vendor's servers: the usual one, and that of the Russian documentation.
const VENDOR: [&str; 2] = ["oauth.bitrix.info", "oauth.bitrix24.tech"];
/// The path at which an authorization server gives tokens ("OAuth 2.0: automatic renewal").
const TOKEN_PATH: &str = "/oauth/token/";
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::auth::MemoryStore;

    fn oauth() -> OAuth {
        OAuth::new("app", "s3cret", MemoryStore::new())
    }

    fn naming(server: &str) -> Tokens {
        Tokens::new("a", "r", "https://a.example/rest/").unwrap().server_endpoint(server)
    }

    #[test]
    fn the_secret_is_sent_only_to_known_servers() {
        let (usual, regional) = (SERVER, "https://oauth.bitrix24.tech/oauth/token/");
        let own = "https://auth.acme.example/oauth/token/";
        let list = Hosts::from(["auth.acme.example"]);
        for (named, expected) in [
            ("", usual),
            ("https://oauth.bitrix.info/rest/", usual),
            ("https://oauth.bitrix24.tech/rest/", regional),
            ("https://OAUTH.bitrix24.tech/rest/?x=1#y", regional),
            ("http://oauth.bitrix24.tech/rest/", usual),
            ("https://oauth.bitrix24.tech:8443/rest/", usual),
            ("https://u:p@oauth.bitrix24.tech/rest/", usual),
            ("https://oauth.bitrix24.tech.evil.example/rest/", usual),
            ("https://evil.example/oauth.bitrix24.tech/", usual),
            ("https://auth.acme.example/rest/", usual),
            ("oauth.bitrix24.tech", usual),
            ("ftp://oauth.bitrix24.tech/", usual),
        ] {
            assert_eq!(oauth().server_for(&naming(named)).as_str(), expected, "{named}");
        }
        let listed = oauth().authorization_servers(list);
        let named = naming("https://auth.acme.example/rest/");
        assert_eq!(listed.server_for(&named).as_str(), own);
        assert_eq!(listed.server_for(&naming("https://oauth.bitrix24.tech/rest/")).as_str(), usual);
        // The app itself has named this address.
        let given = oauth().authorization_server(own).unwrap();
        assert_eq!(given.server_for(&naming("https://oauth.bitrix24.tech/")).as_str(), own);
        assert_eq!(
            given.unknown_server(&naming("https://x.example/")).as_deref(),
            Some("x.example")
        );
        assert_eq!(given.unknown_server(&named), None);
    }

    #[test]
    fn plain_http_is_allowed_only_for_hosts_that_the_app_names() {
        let endpoint = |url| Endpoint::parse_with_http(url).unwrap();
        let oauth = oauth().allow_http(Hosts::from(["box.local", "box.local:8080"]));
        for url in [
            "http://box.local/rest/",
            "http://BOX.local:8080/rest/",
            "http://127.0.0.1:81/rest/",
            "https://else.example/rest/",
        ] {
            assert!(oauth.allows(&endpoint(url)), "{url}");
        }
        for url in ["http://else.local/rest/", "http://box.local:8081/rest/", "http://x.box.local/"]
        {
            assert!(!oauth.allows(&endpoint(url)), "{url}");
        }
    }
}
