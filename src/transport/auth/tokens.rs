//! The tokens of one portal. Secrets: shown only to who asks for them by name.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::endpoint::Endpoint;
use crate::error::EndpointError;

/// An OAuth pair of one portal, and where the portal is called with it.
///
/// Debug shows the endpoint, and of the tokens nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    access: String,
    refresh: String,
    endpoint: Endpoint,
    /// Unix seconds; 0: not known.
    expires: u64,
}

impl Tokens {
    /// A pair as the authorization server or a handler's request gives it: `access_token`,
    /// `refresh_token`, `client_endpoint`.
    ///
    /// # Errors
    /// When the endpoint is no https address (http is taken for loopback hosts). See
    /// [`EndpointError`].
    pub fn new(
        access_token: impl Into<String>,
        refresh_token: impl Into<String>,
        client_endpoint: &str,
    ) -> Result<Self, EndpointError> {
        Ok(Tokens {
            access: access_token.into(),
            refresh: refresh_token.into(),
            endpoint: Endpoint::parse(client_endpoint)?,
            expires: 0,
        })
    }

    /// When the access token expires, to tell which of two pairs is fresher. (It is never refreshed
    /// for that: the portal's own word counts.) Not known by default.
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

    pub(crate) fn of(access: String, refresh: String, endpoint: Endpoint, expires: u64) -> Self {
        Tokens { access, refresh, endpoint, expires }
    }

    pub(super) fn to_value(&self) -> Value {
        json!({
            "access_token": self.access,
            "refresh_token": self.refresh,
            "client_endpoint": self.endpoint.as_str(),
            "expires": self.expires,
        })
    }

    pub(super) fn of_value(value: &Value) -> Option<Self> {
        let text = |name| value.get(name)?.as_str().filter(|text: &&str| !text.is_empty());
        Some(Tokens {
            access: text("access_token")?.to_owned(),
            refresh: text("refresh_token")?.to_owned(),
            endpoint: Endpoint::parse(text("client_endpoint")?).ok()?,
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

    pub(super) fn access(&self) -> &str {
        &self.access
    }

    pub(super) fn refresh(&self) -> &str {
        &self.refresh
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
