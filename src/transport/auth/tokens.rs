//! The tokens of one portal. They are secrets: only methods that are made for this show them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::endpoint::Endpoint;
use crate::error::EndpointError;

/// The OAuth tokens of one portal, and the address for calls with them: an access token, and in most
/// cases a refresh token, with which a new pair is requested when the access token has expired.
///
/// Some portals give no refresh token (isolated on-premise portals: "custom auth provider", REST API
/// documentation). Their access token is used as long as the portal accepts it. Then lines wait for the
/// next request of the portal, which brings another token.
///
/// Debug shows the endpoint, and not the tokens.
///
/// ```
/// # use tracing_bizproc::auth::Tokens;
/// # fn main() -> Result<(), tracing_bizproc::error::EndpointError> {
/// let pair = Tokens::new("an access token", "a refresh token", "https://acme.bitrix24.com/rest/")?;
/// assert!(pair.can_be_renewed());
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    access: String,
    /// `None`: the portal gives no refresh token. Invariant: never empty.
    refresh: Option<String>,
    endpoint: Endpoint,
    /// The authorization server that the portal names. Checked when it is used.
    server: Option<String>,
    /// Unix seconds; 0: not known.
    expires: u64,
}

impl Tokens {
    /// The tokens from the authorization server or from a portal's request: `access_token`, `refresh_token`
    /// (may be empty), `client_endpoint`.
    ///
    /// # Errors
    /// When the endpoint is not an https address (http is allowed for loopback hosts). See
    /// [`EndpointError`].
    pub fn new(
        access_token: impl Into<String>,
        refresh_token: impl Into<String>,
        client_endpoint: &str,
    ) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::parse(client_endpoint)?;
        Ok(Tokens::of(access_token.into(), Some(refresh_token.into()), endpoint, None, 0))
    }

    /// As [`new`](Tokens::new), but also accepts plain http to any host: for an on-premise portal in a network
    /// that you trust, because everybody between the app and the portal can read the tokens. They are used
    /// only if [`OAuth::allow_http`](super::OAuth::allow_http) allows the host, too.
    ///
    /// # Errors
    /// As [`new`](Tokens::new).
    pub fn allow_http(
        access_token: impl Into<String>,
        refresh_token: impl Into<String>,
        client_endpoint: &str,
    ) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::parse_with_http(client_endpoint)?;
        Ok(Tokens::of(access_token.into(), Some(refresh_token.into()), endpoint, None, 0))
    }

    /// The portal's authorization server: the `server_endpoint` that comes with the tokens. The pair is renewed
    /// there if [`OAuth`](super::OAuth) allows the server; otherwise at the usual server of the app.
    /// Default: not known.
    #[must_use]
    pub fn server_endpoint(mut self, url: impl Into<String>) -> Self {
        self.server = Some(url.into()).filter(|url| !url.is_empty());
        self
    }

    /// Whether there is a refresh token.
    pub fn can_be_renewed(&self) -> bool {
        self.refresh.is_some()
    }

    /// When the access token expires. This is used to find the newer one of two pairs, and never to
    /// renew a token: only a refusal by the portal leads to that. Not known by default.
    #[must_use]
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        self.expires = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        self
    }

    /// For a store: all of it as one line of JSON, secrets included.
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    /// From a store: what [`to_json`](Tokens::to_json) made. `None` if it is anything else.
    pub fn from_json(text: &str) -> Option<Self> {
        Tokens::of_value(&serde_json::from_str(text).ok()?)
    }

    pub(crate) fn of(
        access: String,
        refresh: Option<String>,
        endpoint: Endpoint,
        server: Option<String>,
        expires: u64,
    ) -> Self {
        let refresh = refresh.filter(|refresh| !refresh.is_empty());
        Tokens { access, refresh, endpoint, server, expires }
    }

    pub(super) fn to_value(&self) -> Value {
        let mut value = json!({
            "access_token": self.access,
            "client_endpoint": self.endpoint.as_str(),
            "expires": self.expires,
        });
        for (name, text) in [("refresh_token", &self.refresh), ("server_endpoint", &self.server)] {
            if let Some(text) = text {
                value[name] = Value::from(text.as_str());
            }
        }
        value
    }

    pub(super) fn of_value(value: &Value) -> Option<Self> {
        let text = |name| value.get(name)?.as_str().filter(|text: &&str| !text.is_empty());
        Some(Tokens {
            access: text("access_token")?.to_owned(),
            refresh: text("refresh_token").map(str::to_owned),
            endpoint: Endpoint::parse_with_http(text("client_endpoint")?).ok()?,
            server: text("server_endpoint").map(str::to_owned),
            expires: value.get("expires").and_then(Value::as_u64).unwrap_or(0),
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn at(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    pub(in crate::transport) fn access(&self) -> &str {
        &self.access
    }

    pub(super) fn refresh(&self) -> Option<&str> {
        self.refresh.as_deref()
    }

    /// The authorization server that the portal names.
    pub(super) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// When the access token expires, in Unix seconds; `None`: not known.
    pub(super) fn expires(&self) -> Option<u64> {
        Some(self.expires).filter(|&expires| expires > 0)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.endpoint.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_same_after_storing_and_loading() {
        let url = "https://a.example/rest/";
        for tokens in [
            Tokens::new("a", "r", url).unwrap(),
            Tokens::new("a", "", url).unwrap(),
            Tokens::new("a", "r", url).unwrap().server_endpoint("https://oauth.example/rest/"),
            Tokens::new("a", "r", url).unwrap().expires_at(UNIX_EPOCH + Duration::from_secs(7)),
            Tokens::allow_http("a", "r", "http://box.local/rest/").unwrap(),
        ] {
            assert_eq!(Tokens::from_json(&tokens.to_json()), Some(tokens));
        }
    }

    #[test]
    fn an_empty_refresh_token_counts_as_missing() {
        let tokens = Tokens::new("a", "", "https://a.example/rest/").unwrap();
        assert!(!tokens.can_be_renewed() && !tokens.to_json().contains("refresh_token"));
        // Former versions have written this.
        let stored = r#"{"access_token":"a","refresh_token":"","client_endpoint":"https://a.example/rest/","expires":0}"#;
        assert_eq!(Tokens::from_json(stored), Some(tokens));
        for damaged in [
            stored.replace("\"a\"", "\"\""),
            stored.replace("https://a.example/rest/", ""),
            "7".to_owned(),
        ] {
            assert_eq!(Tokens::from_json(&damaged), None, "{damaged}");
        }
    }
}
