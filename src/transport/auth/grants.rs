//! The tokens in use, portal by portal: loaded once, renewed when refused, stored before use.
//!
//! Decides nothing about lines. If a token was refused, it returns whether there is another one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Url;

use super::endpoint::Endpoint;
use super::oauth::OAuth;
use super::store::{CredentialFuture, TokenStore};
use super::tokens::Tokens;
use crate::line::PortalId;
use crate::protocol::{Cause, Method};
use crate::transport::caught::{Panicked, caught};
use crate::transport::http::Clients;
use crate::transport::{Arrived, NoAccess, Refreshed};

mod confirm;
mod held;
mod relocate;
mod renew;

use held::{Grant, Held};

/// The tokens of all portals of one app.
pub(in crate::transport) struct Grants {
    oauth: OAuth,
    portals: Mutex<HashMap<PortalId, Arc<Grant>>>,
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

const PLAIN_HTTP: NoAccess = NoAccess::Unknown(PLAIN_HTTP_WHY);
const PLAIN_HTTP_WHY: &str = "the portal has a plain http address, and `OAuth::allow_http` does not \
                              allow its host";
const NO_TOKENS: NoAccess = NoAccess::Unknown("there are no tokens for this portal");
const NO_DEFAULT: NoAccess =
    NoAccess::Unknown("the span names no portal, and there is no default portal");

#[cfg(test)]
mod tests;
