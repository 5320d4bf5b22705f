//! Renews the tokens of a portal: one process asks for a new pair, and all use the one that is stored.

use std::time::Duration;

use super::Grants;
use super::held::{Grant, Held};
use crate::line::PortalId;
use crate::protocol::grant::{self, Answer, Granted};
use crate::protocol::reply::Code;
use crate::protocol::{Cause, Reply};
use crate::transport::Refreshed;
use crate::transport::auth::endpoint::Endpoint;
use crate::transport::auth::oauth::OAuth;
use crate::transport::auth::tokens::Tokens;
use crate::transport::http::Clients;

impl Grants {
    pub(super) async fn renew(
        &self,
        portal: &PortalId,
        grant: &Grant,
        clients: &Clients,
    ) -> Result<Refreshed, Cause> {
        let unstored = {
            let held = grant.held();
            if held.unstored.is_none() && held.is_unused() {
                return Ok(Refreshed::Renewed);
            }
            held.unstored.clone()
        };
        if let Some((old, new)) = unstored {
            return self.keep(portal, grant, old, new).await;
        }
        self.store_late(portal, grant).await?;
        let Some(stored) = self.load(portal).await? else {
            return Ok(Refreshed::Denied(Code("no tokens".to_owned())));
        };
        let denied = {
            let mut held = grant.held();
            if Some(stored.access()) != held.used.as_deref() {
                // A replica has renewed it, or new tokens have come with a handler's request.
                held.adopt(stored);
                return Ok(Refreshed::Renewed);
            }
            held.denied.clone()
        };
        if let Some(code) = denied {
            return Ok(Refreshed::Denied(code));
        }
        if !stored.can_be_renewed() {
            return self.give_up(portal, grant, stored, Code(NO_REFRESH.to_owned())).await;
        }
        match self.ask(&stored, clients).await {
            Answer::Granted(granted) => {
                let new = renewed(&stored, granted);
                grant.held().unstored = Some((stored.clone(), new.clone()));
                self.keep(portal, grant, stored, new).await
            }
            Answer::Denied(code) => {
                // A replica may have used the refresh token: then the store has a new pair, or soon has one.
                for pause in STORED_BY_THEN {
                    tokio::time::sleep(pause).await;
                    match self.load(portal).await? {
                        Some(now) if now == stored => {}
                        Some(now) => {
                            grant.held().adopt(now);
                            return Ok(Refreshed::Renewed);
                        }
                        None => break,
                    }
                }
                self.give_up(portal, grant, stored, code).await
            }
            Answer::Later(trouble) => Err(trouble),
        }
    }

    /// The tokens in use cannot be renewed: uses those that came with a later request, if there are any.
    async fn give_up(
        &self,
        portal: &PortalId,
        grant: &Grant,
        stored: Tokens,
        code: Code,
    ) -> Result<Refreshed, Cause> {
        let spare = {
            let mut held = grant.held();
            if held.tokens.as_ref().is_some_and(|used| used.access() != stored.access()) {
                // Others have arrived in the meantime. They may not be stored yet, but were not refused.
                return Ok(Refreshed::Renewed);
            }
            let spare = held.spare.take();
            let spare = spare.filter(|spare| Some(spare.access()) != held.used.as_deref());
            if spare.is_none() {
                held.denied = Some(code.clone());
            }
            spare
        };
        match spare {
            Some(spare) => self.keep(portal, grant, stored, spare).await,
            None => Ok(Refreshed::Denied(code)),
        }
    }

    /// Stores a new pair, and then uses it.
    pub(super) async fn keep(
        &self,
        portal: &PortalId,
        grant: &Grant,
        old: Tokens,
        new: Tokens,
    ) -> Result<Refreshed, Cause> {
        if self.swap(portal, Some(&old), &new).await? {
            grant.held().adopt(new);
            return Ok(Refreshed::Renewed);
        }
        // Another process has stored another pair: all use that one.
        match self.load(portal).await? {
            Some(theirs) => {
                grant.held().adopt(theirs);
                Ok(Refreshed::Renewed)
            }
            None => {
                *grant.held() = Held::default();
                Ok(Refreshed::Denied(Code("no tokens".to_owned())))
            }
        }
    }

    pub(super) async fn ask(&self, tokens: &Tokens, clients: &Clients) -> Answer {
        let OAuth { client_id, client_secret, .. } = &self.oauth;
        let refresh_token = tokens.refresh().unwrap_or_default();
        let form = grant::refresh_form(client_id, client_secret, refresh_token);
        let reply: Reply = clients.post(self.oauth.server_for(tokens), FORM, form).await;
        match (grant::read(&reply), self.oauth.unknown_server(tokens)) {
            (Answer::Denied(code), Some(named)) => Answer::Denied(Code(format!(
                "{code}, and the portal names the authorization server {named}, which \
                 `OAuth::authorization_servers` does not allow"
            ))),
            (answer, _) => answer,
        }
    }
}

/// The new pair, with the address that comes with it if that is valid.
pub(super) fn renewed(old: &Tokens, granted: Granted) -> Tokens {
    let endpoint = granted.client_endpoint.and_then(|url| Endpoint::parse_with_http(&url).ok());
    let endpoint = endpoint.unwrap_or_else(|| old.endpoint().clone());
    let server = granted.server_endpoint.or_else(|| old.server().map(str::to_owned));
    let refresh_token = Some(granted.refresh_token);
    Tokens::of(granted.access_token, refresh_token, endpoint, server, granted.expires)
}

/// A replica that was given a new pair stores it at once. The store is read again after each of these
/// pauses: a second in all.
const STORED_BY_THEN: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
];

const FORM: &str = "application/x-www-form-urlencoded";

/// For an access token without a refresh token that has expired.
const NO_REFRESH: &str = "the access token has expired, and the portal gave no refresh token: wait \
                          for the next request of the portal, which brings a new one";
