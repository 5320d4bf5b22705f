//! The token endpoint: `refresh_token` with rotation, and `authorization_code`.

use super::{CODE_LIFE, Grant, OAuthServer, REFRESH_LIFE, Stage};
use crate::clock::UnixTime;
use crate::settings::Statuses;

/// How the OAuth server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OAuthError {
    /// A parameter is missing or makes no sense.
    InvalidRequest,
    /// There is no such application, or its secret is another one.
    InvalidClient,
    /// The refresh token or code is unknown, used, or too old: authorize again.
    InvalidGrant,
    /// The scope is more than was granted.
    InsufficientScope,
    /// There is no such scope.
    InvalidScope,
    /// The subscription has run out.
    PaymentRequired,
    /// The application is not installed on the portal, as official SDKs know it. By the
    /// documentation ([`Statuses::Documented`]) that is an
    /// [`InvalidClient`](Self::InvalidClient).
    NotInstalled,
    /// The same as [`InvalidClient`](Self::InvalidClient), as official SDKs know it: with HTTP
    /// status 200.
    WrongClient,
}

impl OAuthError {
    /// Every error.
    pub const ALL: &[Self] = &[
        Self::InvalidRequest,
        Self::InvalidClient,
        Self::InvalidGrant,
        Self::InsufficientScope,
        Self::InvalidScope,
        Self::PaymentRequired,
        Self::NotInstalled,
        Self::WrongClient,
    ];

    /// The code in `error`.
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status of the answer.
    pub fn status(self) -> u16 {
        self.row().2
    }

    /// Code, text and HTTP status.
    pub(crate) fn row(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::InvalidRequest => ("invalid_request", "Wrong request parameters", 400),
            Self::InvalidClient => ("invalid_client", "Wrong client id or secret", 401),
            Self::InvalidGrant => ("invalid_grant", "The grant is invalid or expired", 400),
            Self::InsufficientScope => ("insufficient_scope", "The scope was not granted", 403),
            Self::InvalidScope => ("invalid_scope", "There is no such scope", 400),
            Self::PaymentRequired => ("PAYMENT_REQUIRED", "Payment required", 402),
            Self::NotInstalled => ("NOT_INSTALLED", "Application not installed", 400),
            Self::WrongClient => ("WRONG_CLIENT", "Wrong client", 200),
        }
    }
}

/// The parameters of a request for tokens.
pub(crate) struct TokenRequest<'a> {
    pub(crate) grant_type: Option<&'a str>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) client_secret: Option<&'a str>,
    pub(crate) refresh_token: Option<&'a str>,
    pub(crate) code: Option<&'a str>,
}

/// A fresh pair of tokens and what they are for.
pub(crate) struct Issued {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) expires: UnixTime,
    pub(crate) expires_in: u64,
    pub(crate) scopes: Vec<String>,
    pub(crate) member_id: String,
    pub(crate) user: u64,
}

impl OAuthServer {
    /// Answers a request for tokens. A refresh token or code is spent by it.
    pub(crate) fn exchange(
        &mut self,
        request: &TokenRequest<'_>,
        statuses: Statuses,
        now: UnixTime,
    ) -> Result<Issued, OAuthError> {
        let client_id = request.client_id.ok_or(OAuthError::InvalidRequest)?;
        let secret = request.client_secret.ok_or(OAuthError::InvalidRequest)?;
        let app = self.app(client_id).filter(|app| app.client_secret == secret);
        let app = app.ok_or(OAuthError::InvalidClient)?;
        if let Some(refusal) = app.refusal {
            return Err(refusal);
        }
        let (spendable, token) = match request.grant_type {
            Some("refresh_token") => (&self.refresh, request.refresh_token),
            Some("authorization_code") => (&self.codes, request.code),
            _ => return Err(OAuthError::InvalidRequest),
        };
        let token = token.ok_or(OAuthError::InvalidRequest)?;
        let grant = spendable.get(token).filter(|grant| grant.client_id == client_id).cloned();
        let grant = grant.filter(|grant| grant.expires > now).ok_or(OAuthError::InvalidGrant)?;
        let installation = self.installation(&grant.client_id, &grant.member_id);
        let installation = installation.filter(|there| there.stage != Stage::Removed);
        let not_installed = match statuses {
            // "The application may not be installed" (authorization server error codes).
            Statuses::Documented => OAuthError::InvalidClient,
            Statuses::Server => OAuthError::NotInstalled,
        };
        if !installation.ok_or(not_installed)?.paid {
            return Err(OAuthError::PaymentRequired);
        }
        self.refresh.remove(token);
        self.codes.remove(token);
        self.issue(&grant.client_id, &grant.member_id, grant.user, now).ok_or(not_installed)
    }

    /// A fresh pair of tokens for an application that is installed there.
    pub(crate) fn issue(
        &mut self,
        client_id: &str,
        member_id: &str,
        user: u64,
        now: UnixTime,
    ) -> Option<Issued> {
        let life = self.app(client_id)?.access_life;
        let grant = |expires| Grant {
            client_id: client_id.to_owned(),
            member_id: member_id.to_owned(),
            user,
            expires,
        };
        let (access, refresh) = (grant(now + life), grant(now + REFRESH_LIFE));
        let scopes = self.installation(client_id, member_id)?.scopes.clone();
        let (access_token, refresh_token) = (self.random.hex(), self.random.hex());
        let expires = access.expires;
        self.access.insert(access_token.clone(), access);
        self.refresh.insert(refresh_token.clone(), refresh);
        let (member_id, expires_in) = (member_id.to_owned(), life.as_secs());
        Some(Issued { access_token, refresh_token, expires, expires_in, scopes, member_id, user })
    }

    /// A code that can be exchanged once, within 30 seconds.
    pub(crate) fn authorize(
        &mut self,
        client_id: &str,
        member_id: &str,
        user: u64,
        now: UnixTime,
    ) -> String {
        let code = self.random.hex();
        let (client_id, member_id) = (client_id.to_owned(), member_id.to_owned());
        let grant = Grant { client_id, member_id, user, expires: now + CODE_LIFE };
        self.codes.insert(code.clone(), grant);
        code
    }

    /// Where the user of an application is sent back to, and the scopes of the application.
    pub(crate) fn redirection(
        &self,
        client_id: &str,
        member_id: &str,
    ) -> Result<(String, Vec<String>), OAuthError> {
        let app = self.app(client_id).ok_or(OAuthError::InvalidClient)?;
        let there = app.installation(member_id).filter(|there| there.stage != Stage::Removed);
        let there = there.ok_or(OAuthError::NotInstalled)?;
        let uri = there.redirect_uri.clone().ok_or(OAuthError::InvalidRequest)?;
        Ok((uri, there.scopes.clone()))
    }
}
