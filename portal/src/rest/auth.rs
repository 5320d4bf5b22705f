//! Who calls: webhooks and access tokens.

use std::fmt;

use super::ErrorCode;
use super::request::RestPath;
use crate::php::{Array, Value};

/// An incoming webhook.
#[derive(Clone)]
pub(crate) struct Webhook {
    pub(crate) id: u64,
    pub(crate) user: u64,
    pub(crate) code: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) revoked: bool,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("id", &self.id)
            .field("user", &self.user)
            .field("scopes", &self.scopes)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

/// The credentials that a portal knows.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) webhooks: Vec<Webhook>,
}

/// A caller that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) user: u64,
    pub(crate) scopes: Vec<String>,
    pub(crate) kind: CallerKind,
}

/// What the operating limit tells callers apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CallerKind {
    /// The id of the webhook.
    Webhook(u64),
    /// The client id of the application.
    Application(String),
}

impl Credentials {
    /// Lets a caller in. A `Bearer` header wins over `auth` and `access_token`, whose names count
    /// in lower case only (server behaviour).
    pub(crate) fn admit(
        &self,
        path: &RestPath,
        bearer: Option<&str>,
        params: &Array<'_>,
    ) -> Result<Caller, ErrorCode> {
        if let Some((user, code)) = &path.webhook {
            let known = self
                .webhooks
                .iter()
                .find(|webhook| webhook.user == *user && webhook.code == *code && !webhook.revoked);
            let webhook = known.ok_or(ErrorCode::InvalidCredentials)?;
            return Ok(Caller {
                user: webhook.user,
                scopes: webhook.scopes.clone(),
                kind: CallerKind::Webhook(webhook.id),
            });
        }
        let field = |name: &str| params.get(name.as_bytes()).and_then(Value::as_bytes);
        let token = bearer.map(str::as_bytes).or_else(|| field("auth"));
        match token.or_else(|| field("access_token")) {
            None => Err(ErrorCode::NoAuthFound),
            Some(_) => Err(ErrorCode::InvalidToken),
        }
    }
}

impl Caller {
    pub(crate) fn may(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == scope)
    }
}
