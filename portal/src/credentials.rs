//! Credentials of callers: webhooks and access tokens.

use std::fmt;

use crate::error::ErrorCode;
use crate::limits::MeteredAs;
use crate::random::Random;

/// The user who is an administrator.
pub(crate) const ADMIN: u64 = 1;

/// An incoming webhook.
struct Webhook {
    id: u64,
    user: u64,
    code: String,
    scopes: Vec<String>,
    revoked: bool,
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

/// The webhooks that a portal knows.
#[derive(Debug)]
pub(crate) struct Credentials {
    random: Random,
    webhooks: Vec<Webhook>,
}

/// A verified caller.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: u64,
    pub(crate) scopes: Vec<String>,
    pub(crate) metered_as: MeteredAs,
    /// Nothing for a webhook.
    pub(crate) application: Option<Membership>,
}

/// An application on one portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) client_id: String,
    pub(crate) member_id: String,
}

impl Credentials {
    pub(crate) fn new(random: Random) -> Self {
        Self { random, webhooks: Vec::new() }
    }

    /// A new webhook of this user; returns user and code.
    pub(crate) fn create(&mut self, user: u64, scopes: &[&str]) -> (u64, String) {
        let code = self.random.hex()[..16].to_owned();
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let id = self.webhooks.len() as u64 + 1;
        self.webhooks.push(Webhook { id, user, code: code.clone(), scopes, revoked: false });
        (user, code)
    }

    pub(crate) fn revoke(&mut self, code: &str) {
        for webhook in self.webhooks.iter_mut().filter(|webhook| webhook.code == code) {
            webhook.revoked = true;
        }
    }

    /// The caller that the webhook in a path stands for.
    pub(crate) fn webhook(&self, user: u64, code: &str) -> Result<Caller, ErrorCode> {
        let known = self
            .webhooks
            .iter()
            .find(|webhook| webhook.user == user && webhook.code == code && !webhook.revoked);
        let webhook = known.ok_or(ErrorCode::InvalidCredentials)?;
        Ok(Caller {
            user: webhook.user,
            scopes: webhook.scopes.clone(),
            metered_as: MeteredAs::Webhook(webhook.id),
            application: None,
        })
    }
}

impl Caller {
    /// User 1 is the portal's administrator, and the only one.
    pub(crate) fn is_admin(&self) -> bool {
        self.user == ADMIN
    }

    /// Whether it has one of these scopes; everybody may use what needs none.
    pub(crate) fn may_any(&self, scopes: &[&str]) -> bool {
        scopes.is_empty() || self.scopes.iter().any(|own| scopes.contains(&own.as_str()))
    }
}
