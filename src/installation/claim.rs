//! What a request says about its sender. It must not be used before it is verified.

use std::fmt;

use subtle::ConstantTimeEq;

use super::record::Installation;
use crate::error::{EndpointError, RequestError, VerifyError};
use crate::line::PortalId;
use crate::request::{Array, optional, required, seconds};
use crate::transport::auth::{Endpoint, Tokens};

/// The portal that a request names, and its proof. Debug does not show the secrets.
pub(crate) struct Claim {
    pub(crate) portal: PortalId,
    /// `None`: the request has none. This is possible for an install page.
    pub(super) application_token: Option<String>,
    /// The portal's address, as it is in the request.
    pub(super) endpoint: String,
    pub(super) access_token: Option<String>,
    pub(super) refresh_token: Option<String>,
    /// Unix seconds; 0: not known.
    pub(super) expires: u64,
    /// The portal's authorization server, as it is in the request.
    pub(super) server: Option<String>,
    pub(crate) user_id: Option<String>,
}

impl Claim {
    /// Reads the `auth` of a handler's or an event's request.
    pub(crate) fn of(auth: &mut Array) -> Result<Self, RequestError> {
        Ok(Claim {
            portal: PortalId::from(required(auth, "member_id")?),
            application_token: Some(required(auth, "application_token")?),
            endpoint: match optional(auth, "client_endpoint")? {
                Some(endpoint) => endpoint,
                // Not checked here: the endpoint is checked when the request is verified.
                None => match optional(auth, "domain")? {
                    Some(domain) => format!("https://{domain}/rest/"),
                    None => String::new(),
                },
            },
            access_token: optional(auth, "access_token")?,
            refresh_token: optional(auth, "refresh_token")?,
            expires: seconds(auth, "expires")?.unwrap_or(0),
            server: optional(auth, "server_endpoint")?,
            user_id: optional(auth, "user_id")?,
        })
    }

    /// Verifies the request: it has to have the application token, and a host of the installation.
    pub(crate) fn verify(&self, installation: &Installation) -> Result<Endpoint, VerifyError> {
        self.knows(installation)?;
        let endpoint = self.endpoint(installation.allows_http())?;
        if !installation.hosts().allows(&endpoint.host()) {
            return Err(VerifyError::Host {
                named: endpoint.host(),
                stored: installation.hosts().to_string(),
            });
        }
        Ok(endpoint)
    }

    /// Whether it has the application token of the installation. Compared in constant time.
    pub(crate) fn knows(&self, installation: &Installation) -> Result<(), VerifyError> {
        let expected = installation.application_token().as_bytes();
        let given = self.application_token.as_deref().unwrap_or_default().as_bytes();
        // An empty token proves nothing.
        if expected.is_empty() || !bool::from(expected.ct_eq(given)) {
            return Err(VerifyError::ApplicationToken);
        }
        Ok(())
    }

    /// The address that the request names.
    pub(crate) fn endpoint(&self, allow_http: bool) -> Result<Endpoint, VerifyError> {
        let endpoint = Endpoint::parse_with_http(&self.endpoint).map_err(|error| match error {
            EndpointError::Insecure => VerifyError::Insecure,
            EndpointError::NotAUrl | EndpointError::UserInfo => VerifyError::Address,
        })?;
        if endpoint.is_plain() && !allow_http {
            return Err(VerifyError::Insecure);
        }
        Ok(endpoint)
    }

    /// The tokens of the request, for this address. An access token is enough; a refresh token alone is
    /// not.
    pub(crate) fn tokens(&self, endpoint: Endpoint) -> Option<Tokens> {
        let access_token = self.access_token.clone()?;
        let (refresh_token, server) = (self.refresh_token.clone(), self.server.clone());
        Some(Tokens::of(access_token, refresh_token, endpoint, server, self.expires))
    }

    /// The installation that the app would store for this request.
    pub(crate) fn application_token(&self) -> Option<&str> {
        self.application_token.as_deref()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("portal", &self.portal.as_str()).finish_non_exhaustive()
    }
}
