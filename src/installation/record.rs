//! What an app stores of an installation.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::Value;

use crate::transport::auth::{Endpoint, Hosts};

/// What identifies an installation of the app on one portal. The app stores it at the installation, and
/// verifies the requests of the portal with it.
///
/// [`Installations`](crate::app::Installations) creates and stores it. Without that:
///
/// ```
/// # use tracing_bizproc::app::Installation;
/// # use tracing_bizproc::auth::Hosts;
/// let installation = Installation::new("application token", Hosts::from(["acme.bitrix24.com"]));
/// // One line of JSON, secrets included: for a column of a database.
/// let stored = installation.to_json();
/// assert_eq!(Installation::from_json(&stored), Some(installation));
/// ```
///
/// It can be serialized with serde, in self-describing formats such as JSON. Debug shows only the hosts.
#[derive(Clone, PartialEq, Eq)]
pub struct Installation {
    application_token: String,
    hosts: Hosts,
    allow_http: bool,
}

impl Installation {
    /// The installation's `application_token` (not the `APP_SID` of its pages), and the hosts at
    /// which its portal may be called.
    pub fn new(application_token: impl Into<String>, hosts: Hosts) -> Self {
        Installation { application_token: application_token.into(), hosts, allow_http: false }
    }

    /// Accepts requests of a portal that has a plain http address: for an on-premise portal in a network that
    /// you trust, because everybody between the app and the portal can read its tokens. Off by default;
    /// loopback hosts are always allowed. Calls must be allowed, too:
    /// [`OAuth::allow_http`](crate::auth::OAuth::allow_http).
    #[must_use]
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// The hosts at which its portal may be called.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// For a store: all of it as one line of JSON, secrets included.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and a flag serialise")
    }

    /// From a store: what [`to_json`](Installation::to_json) made. `None` if it is anything else.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn application_token(&self) -> &str {
        &self.application_token
    }

    pub(crate) fn allows_http(&self) -> bool {
        self.allow_http
    }

    /// What is stored when the app is installed on the portal at this address.
    pub(crate) fn of_portal(application_token: &str, endpoint: &Endpoint) -> Self {
        let installation = Installation::new(application_token, Hosts::from([endpoint.host()]));
        // The host was called, so the app has allowed plain http for it.
        if endpoint.is_plain() { installation.allow_http() } else { installation }
    }

    /// With another application token.
    pub(crate) fn with_token(mut self, application_token: &str) -> Self {
        application_token.clone_into(&mut self.application_token);
        self
    }

    /// With only this host: a portal has one host at a time.
    pub(crate) fn at(mut self, host: &str) -> Self {
        self.hosts = Hosts::from([host]);
        self
    }

    fn of(value: &Value) -> Option<Self> {
        let application_token = value.get("application_token")?.as_str()?.to_owned();
        let hosts = value.get("hosts")?.as_array()?.iter().map(Value::as_str);
        let hosts = hosts.collect::<Option<Hosts>>()?;
        let allow_http = match value.get("allow_http") {
            None => false,
            Some(value) => value.as_bool()?,
        };
        Some(Installation { application_token, hosts, allow_http })
    }
}

impl Serialize for Installation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Installation", 3)?;
        fields.serialize_field("application_token", &self.application_token)?;
        fields.serialize_field("hosts", self.hosts.entries())?;
        fields.serialize_field("allow_http", &self.allow_http)?;
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Installation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        // The error does not contain the value, because it has a secret.
        Installation::of(&value).ok_or_else(|| D::Error::custom("not an installation"))
    }
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installation").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}
