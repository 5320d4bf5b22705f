//! The tokens in use, portal by portal: loaded once, renewed when refused, stored before use.
//!
//! Decides nothing about lines. If a token was refused, it returns whether there is another one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;

use super::endpoint::Endpoint;
use super::oauth::OAuth;
use super::store::{CredentialFuture, TokenStore};
use super::tokens::Tokens;
use crate::line::PortalId;
use crate::protocol::grant::{self, Answer, Granted};
use crate::protocol::reply::Code;
use crate::protocol::{Cause, Method, Reply};
use crate::transport::caught::{Panicked, caught};
use crate::transport::http::Clients;
use crate::transport::{Arrived, NoAccess, Refreshed};

mod confirm;
mod relocate;

/// The tokens of all portals of one app.
pub(in crate::transport) struct Grants {
    oauth: OAuth,
    portals: Mutex<HashMap<PortalId, Arc<Grant>>>,
}

/// One portal's.
#[derive(Default)]
struct Grant {
    held: Mutex<Held>,
    /// Locked while the pair is being renewed: one renewal at a time.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    /// The pair in use; `None`: not loaded yet, or there is none.
    tokens: Option<Tokens>,
    /// The access token that the last call was made with.
    used: Option<String>,
    /// The tokens in use have arrived, and could not be stored yet.
    is_unstored: bool,
    /// A new pair that is not stored yet, and the pair that it replaces. The old refresh token is not valid
    /// any more. The new pair is not used before it is stored.
    unstored: Option<(Tokens, Tokens)>,
    /// The tokens in use cannot be renewed.
    denied: Option<Code>,
    /// The last tokens that came with a request and were not fresher than those in use. They are used if
    /// those in use cannot be renewed.
    spare: Option<Tokens>,
}

impl Held {
    /// Uses `tokens` from now on.
    fn adopt(&mut self, tokens: Tokens) {
        self.tokens = Some(tokens);
        self.is_unstored = false;
        self.unstored = None;
        self.denied = None;
        self.spare = None;
    }

    /// These tokens were stored. Others may have arrived in the meantime.
    fn is_stored(&mut self, tokens: &Tokens) {
        if self.uses(tokens) {
            self.is_unstored = false;
        }
    }

    /// Whether these tokens are in use.
    fn uses(&self, tokens: &Tokens) -> bool {
        self.tokens.as_ref() == Some(tokens)
    }

    /// Whether the pair in use is not the one that was refused.
    fn is_unused(&self) -> bool {
        self.tokens.is_some() && self.tokens.as_ref().map(Tokens::access) != self.used.as_deref()
    }
}

impl Grant {
    fn held(&self) -> MutexGuard<'_, Held> {
        // No code panics in the middle of a change, so the value is consistent also if it is poisoned.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grants {
    pub(in crate::transport) fn new(oauth: OAuth) -> Self {
        Grants { oauth, portals: Mutex::default() }
    }

    /// The authorization server's address.
    pub(in crate::transport) fn server(&self) -> &Url {
        &self.oauth.server
    }

    /// The address and the access token to call the portal with.
    pub(in crate::transport) async fn access(
        &self,
        portal: Option<&PortalId>,
        method: &Method,
    ) -> Result<(Url, String), NoAccess> {
        let (portal, grant) = self.grant(portal)?;
        let held = grant.held().tokens.clone();
        let tokens = match held {
            Some(tokens) => tokens,
            None => {
                let Some(loaded) = self.load(portal).await? else {
                    self.forget(portal, &grant);
                    return Err(NO_TOKENS);
                };
                let mut held = grant.held();
                // Tokens that have arrived in the meantime are newer.
                held.tokens.get_or_insert(loaded).clone()
            }
        };
        if !self.oauth.allows(tokens.endpoint()) {
            return Err(PLAIN_HTTP);
        }
        grant.held().used = Some(tokens.access().to_owned());
        Ok((tokens.endpoint().method(method), tokens.access().to_owned()))
    }

    /// The token of the last call was refused: gets another one.
    pub(in crate::transport) async fn refresh(
        &self,
        portal: Option<&PortalId>,
        clients: &Clients,
    ) -> Refreshed {
        let (portal, grant) = match self.grant(portal) {
            Ok(found) => found,
            Err(why) => return why.into(),
        };
        let _one_at_a_time = grant.renewing.lock().await;
        match self.renew(portal, &grant, clients).await {
            Ok(refreshed) => refreshed,
            Err(trouble) => Refreshed::Later(trouble),
        }
    }

    async fn renew(
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
    async fn keep(
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

    /// Stores tokens that have arrived. Returns whether they are used now: always if the app has given them;
    /// if they came with a request, only if it is not known that those in use are about as fresh.
    ///
    /// # Errors
    /// When they could not be stored. They are used in any case.
    pub(in crate::transport) async fn accept(
        &self,
        portal: &PortalId,
        arrived: Arrived,
    ) -> Result<bool, Cause> {
        let (_, grant) = self.grant(Some(portal)).map_err(Cause::from)?;
        let (Arrived::Handed(tokens) | Arrived::WithRequest(tokens)) = &arrived;
        {
            let mut held = grant.held();
            if matches!(arrived, Arrived::WithRequest(_))
                && held.denied.is_none()
                && held.tokens.as_ref().is_some_and(|used| !is_worth_taking(tokens, used))
            {
                held.spare = Some(tokens.clone());
                return Ok(false);
            }
            held.adopt(tokens.clone());
            held.is_unstored = true;
        }
        // At most twice: a process that stores in between also has fresh tokens.
        for _ in 0..2 {
            let stored = self.load(portal).await?;
            // If others have arrived, or the app was removed in the meantime, these must not be stored over that.
            let is_done = stored.as_ref() == Some(tokens) || !grant.held().uses(tokens);
            if is_done || self.swap(portal, stored.as_ref(), tokens).await? {
                break;
            }
        }
        grant.held().is_stored(tokens);
        Ok(true)
    }

    /// Stores the tokens in use if that has failed when they arrived. Otherwise older ones, or none, would be
    /// renewed instead of them. Tokens that another process has stored in the meantime stay if they are newer.
    async fn store_late(&self, portal: &PortalId, grant: &Grant) -> Result<(), Cause> {
        let unstored = {
            let held = grant.held();
            held.tokens.clone().filter(|_| held.is_unstored)
        };
        let Some(tokens) = unstored else { return Ok(()) };
        let stored = self.load(portal).await?;
        let is_newer = stored.as_ref().is_none_or(|stored| is_worth_taking(&tokens, stored));
        if is_newer && grant.held().uses(&tokens) {
            // If not, another process has just stored fresh ones.
            self.swap(portal, stored.as_ref(), &tokens).await?;
        }
        grant.held().is_stored(&tokens);
        Ok(())
    }

    fn portals(&self) -> MutexGuard<'_, HashMap<PortalId, Arc<Grant>>> {
        self.portals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grant<'a>(
        &'a self,
        portal: Option<&'a PortalId>,
    ) -> Result<(&'a PortalId, Arc<Grant>), NoAccess> {
        let portal = portal.or(self.oauth.default_portal.as_ref()).ok_or(NO_DEFAULT)?;
        let mut portals = self.portals();
        if let Some(grant) = portals.get(portal) {
            return Ok((portal, Arc::clone(grant)));
        }
        let grant = Arc::new(Grant::default());
        portals.insert(portal.clone(), Arc::clone(&grant));
        Ok((portal, grant))
    }

    /// Remembers nothing about unknown portals, because spans may name any number of them.
    fn forget(&self, portal: &PortalId, grant: &Arc<Grant>) {
        let mut portals = self.portals();
        // Only the map and this function refer to it, so no tokens are arriving; and it has none.
        if Arc::strong_count(grant) == 2 && grant.held().tokens.is_none() {
            portals.remove(portal);
        }
    }

    async fn ask(&self, tokens: &Tokens, clients: &Clients) -> Answer {
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

    fn is_listed(&self, endpoint: &Endpoint) -> bool {
        self.oauth.hosts.allows(&endpoint.host())
    }

    /// The app was removed from the portal: its tokens are not valid any more.
    pub(in crate::transport) async fn uninstalled(&self, portal: &PortalId) -> Result<(), Cause> {
        if let Some(grant) = self.portals().remove(portal) {
            *grant.held() = Held::default();
        }
        self.in_time(|store| store.remove(portal)).await
    }

    async fn load(&self, portal: &PortalId) -> Result<Option<Tokens>, Cause> {
        self.in_time(|store| store.load(portal)).await
    }

    async fn swap(
        &self,
        portal: &PortalId,
        expected: Option<&Tokens>,
        new: &Tokens,
    ) -> Result<bool, Cause> {
        self.in_time(|store| store.swap(portal, expected, new)).await
    }

    async fn in_time<'a, T>(
        &'a self,
        call: impl FnOnce(&'a dyn TokenStore) -> CredentialFuture<'a, T>,
    ) -> Result<T, Cause> {
        // Called inside, because it may panic before it returns a future.
        let calling = async {
            let answer = call(&*self.oauth.store).await;
            answer.map_err(|error| Cause(format!("the token store failed: {error}")))
        };
        match tokio::time::timeout(self.oauth.store_timeout, caught(calling)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(Panicked)) => Err(Cause("the token store panicked".to_owned())),
            Err(_) => Err(Cause("the token store did not answer in time".to_owned())),
        }
    }
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

/// Whether tokens that came with a request replace those in use. If it is not known when one of them
/// expires, they do, because the refresh token in use may have been used for them.
///
/// A pair is preferred to an access token alone, until it is refused.
fn is_worth_taking(new: &Tokens, used: &Tokens) -> bool {
    match (new.can_be_renewed(), used.can_be_renewed()) {
        (true, false) => return true,
        (false, true) => return false,
        (true, true) | (false, false) => {}
    }
    match (new.expires(), used.expires()) {
        (Some(new), Some(used)) => new >= used.saturating_add(FRESHER),
        _ => new != used,
    }
}

/// How much longer tokens must be valid to replace those in use, in seconds. Otherwise a handler that is
/// called every second would write to the store every second.
const FRESHER: u64 = 600;

/// For an access token without a refresh token that has expired.
const NO_REFRESH: &str = "the access token has expired, and the portal gave no refresh token: wait \
                          for the next request of the portal, which brings a new one";
const PLAIN_HTTP: NoAccess = NoAccess::Unknown(PLAIN_HTTP_WHY);
const PLAIN_HTTP_WHY: &str = "the portal has a plain http address, and `OAuth::allow_http` does not \
                              allow its host";
const NO_TOKENS: NoAccess = NoAccess::Unknown("there are no tokens for this portal");
const NO_DEFAULT: NoAccess =
    NoAccess::Unknown("the span names no portal, and there is no default portal");

/// The new pair, with the address that comes with it if that is valid.
fn renewed(old: &Tokens, granted: Granted) -> Tokens {
    let endpoint = granted.client_endpoint.and_then(|url| Endpoint::parse_with_http(&url).ok());
    let endpoint = endpoint.unwrap_or_else(|| old.endpoint().clone());
    let server = granted.server_endpoint.or_else(|| old.server().map(str::to_owned));
    let refresh_token = Some(granted.refresh_token);
    Tokens::of(granted.access_token, refresh_token, endpoint, server, granted.expires)
}

#[cfg(test)]
mod tests;
