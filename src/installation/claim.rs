//! What a request says about its sender: not to be used before it is verified.

use std::fmt;

use subtle::ConstantTimeEq;

use super::record::Installation;
use crate::error::{EndpointError, RequestError, VerifyError};
use crate::line::PortalId;
use crate::request::{Array, optional, required, seconds};
use crate::transport::auth::{Endpoint, Tokens};

/// The portal that a request names, and what it proves itself with. Secrets: Debug shows none.
pub(crate) struct Claim {
    pub(crate) portal: PortalId,
    /// `None`: the request has none, as an install page's may.
    pub(super) application_token: Option<String>,
    /// The portal's address, as it was written.
    pub(super) endpoint: String,
    pub(super) access_token: Option<String>,
    pub(super) refresh_token: Option<String>,
    /// Unix seconds; 0: not said.
    pub(super) expires: u64,
    /// The portal's authorization server, as it was written.
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
                // A host, as it is: the endpoint is checked when the request is verified.
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

    /// Whether it knows the installation's application token. Compared in constant time.
    pub(crate) fn knows(&self, installation: &Installation) -> Result<(), VerifyError> {
        let expected = installation.application_token().as_bytes();
        let given = self.application_token.as_deref().unwrap_or_default().as_bytes();
        // Everybody would know an empty token.
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

    /// The tokens of the request, for this address. An access token alone is one; a refresh token
    /// alone is nothing.
    pub(crate) fn tokens(&self, endpoint: Endpoint) -> Option<Tokens> {
        let access_token = self.access_token.clone()?;
        let (refresh_token, server) = (self.refresh_token.clone(), self.server.clone());
        Some(Tokens::of(access_token, refresh_token, endpoint, server, self.expires))
    }

    /// What the request would have the app store.
    pub(crate) fn application_token(&self) -> Option<&str> {
        self.application_token.as_deref()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("portal", &self.portal.as_str()).finish_non_exhaustive()
    }
}
