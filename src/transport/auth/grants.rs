//! The tokens in use, portal by portal: loaded once, renewed when refused, stored before use.
//!
//! Decides nothing about lines: it is told that a token was refused, and says whether there is
//! another one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Url;

use super::endpoint::Endpoint;
use super::oauth::OAuth;
use super::store::CredentialFuture;
use super::tokens::Tokens;
use crate::line::PortalId;
use crate::protocol::grant::{self, Answer, Granted};
use crate::protocol::reply::{self, Code, Outcome, Sent, Verdict};
use crate::protocol::{Method, Reply, Trouble, command};
use crate::transport::http::{Clients, JSON};
use crate::transport::{Arrived, Confirmed, NoAccess, Question, Refreshed};

/// The tokens of all portals of one app.
pub(in crate::transport) struct Grants {
    oauth: OAuth,
    portals: Mutex<HashMap<PortalId, Arc<Grant>>>,
}

/// One portal's.
#[derive(Default)]
struct Grant {
    held: Mutex<Held>,
    /// Held while the pair is being renewed: one renewal at a time.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    /// The pair in use; `None`: not loaded yet, or there is none.
    tokens: Option<Tokens>,
    /// The access token that the last call was made with.
    used: Option<String>,
    /// A new pair that is not stored yet, and the one that it replaces. It is all that there is:
    /// the old refresh token is spent. Not used before it is stored.
    unstored: Option<(Tokens, Tokens)>,
    /// The tokens in use cannot be renewed.
    denied: Option<Code>,
    /// The last tokens that came with a request and were not fresher than those in use: for when these
    /// cannot be renewed.
    spare: Option<Tokens>,
}

impl Held {
    /// Uses `tokens` from now on.
    fn adopt(&mut self, tokens: Tokens) {
        self.tokens = Some(tokens);
        self.unstored = None;
        self.denied = None;
        self.spare = None;
    }

    /// Whether the pair in use is not the one that was refused.
    fn is_unused(&self) -> bool {
        self.tokens.is_some() && self.tokens.as_ref().map(Tokens::access) != self.used.as_deref()
    }
}

impl Grant {
    fn held(&self) -> MutexGuard<'_, Held> {
        // Every change is whole before anything can panic.
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

    /// Where and with which access token to call the portal.
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
                let loaded = self.load(portal).await?.ok_or(NO_TOKENS)?;
                let mut held = grant.held();
                // What has arrived meanwhile is newer.
                held.tokens.get_or_insert(loaded).clone()
            }
        };
        if !self.oauth.allows(tokens.endpoint()) {
            return Err(PLAIN_HTTP);
        }
        grant.held().used = Some(tokens.access().to_owned());
        Ok((tokens.endpoint().method(method), tokens.access().to_owned()))
    }

    /// The token of the last call was refused: gets another.
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
    ) -> Result<Refreshed, Trouble> {
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
                // A replica may have spent the refresh token: then there is a new pair.
                match self.load(portal).await? {
                    Some(now) if now != stored => {
                        grant.held().adopt(now);
                        Ok(Refreshed::Renewed)
                    }
                    _ => self.give_up(portal, grant, stored, code).await,
                }
            }
            Answer::Later(trouble) => Err(trouble),
        }
    }

    /// The tokens in use cannot be renewed: uses those that came with a request since, if any did.
    async fn give_up(
        &self,
        portal: &PortalId,
        grant: &Grant,
        stored: Tokens,
        code: Code,
    ) -> Result<Refreshed, Trouble> {
        let spare = {
            let mut held = grant.held();
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
    ) -> Result<Refreshed, Trouble> {
        if self.swap(portal, Some(&old), &new).await? {
            grant.held().adopt(new);
            return Ok(Refreshed::Renewed);
        }
        // Somebody has stored another pair since: all use that one.
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

    /// Takes over tokens that have arrived. Says whether they are used now: always if they were
    /// handed over; if they came with a request, unless it is known that those in use are about as
    /// fresh.
    ///
    /// # Errors
    /// When they could not be stored. They are used all the same.
    pub(in crate::transport) async fn accept(
        &self,
        portal: &PortalId,
        arrived: Arrived,
    ) -> Result<bool, Trouble> {
        let (_, grant) = self.grant(Some(portal)).map_err(Trouble::from)?;
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
        }
        // Twice at most: whoever stores in between has fresh tokens too.
        for _ in 0..2 {
            let stored = self.load(portal).await?;
            if stored.as_ref() == Some(tokens) || self.swap(portal, stored.as_ref(), tokens).await?
            {
                break;
            }
        }
        Ok(true)
    }

    /// Whether [`relocate`](Grants::relocate) could find out that the portal is there: the app lists
    /// the host, or there is a refresh token to ask the authorization server with.
    pub(in crate::transport) fn may_relocate(&self, portal: Option<&PortalId>, host: &str) -> bool {
        let Ok((_, grant)) = self.grant(portal) else { return false };
        let held = grant.held();
        self.oauth.hosts.allow(host) || held.tokens.as_ref().is_some_and(Tokens::can_be_renewed)
    }

    /// The portal says that it lives on `host` now: calls it there, if the app lists that host, or if
    /// the authorization server says so.
    pub(in crate::transport) async fn relocate(
        &self,
        portal: Option<&PortalId>,
        host: &str,
        clients: &Clients,
    ) -> Refreshed {
        let (portal, grant) = match self.grant(portal) {
            Ok(found) => found,
            Err(why) => return why.into(),
        };
        let _one_at_a_time = grant.renewing.lock().await;
        let Some(old) = grant.held().tokens.clone() else {
            return Refreshed::Denied(Code("no tokens".to_owned()));
        };
        // Somebody was faster.
        if old.endpoint().host() == host {
            return Refreshed::Renewed;
        }
        let moved = if self.oauth.hosts.allow(host) {
            self.move_to(portal, &grant, old, host).await
        } else {
            self.ask_where(portal, &grant, old, host, clients).await
        };
        moved.unwrap_or_else(Refreshed::Later)
    }

    async fn move_to(
        &self,
        portal: &PortalId,
        grant: &Grant,
        old: Tokens,
        host: &str,
    ) -> Result<Refreshed, Trouble> {
        let scheme = if old.endpoint().as_str().starts_with("http:") { "http" } else { "https" };
        let Ok(endpoint) = Endpoint::parse_with_http(&format!("{scheme}://{host}/")) else {
            return Ok(Refreshed::Denied(Code(format!("{host} is no usable host"))));
        };
        let new = old.clone().at(endpoint);
        self.keep(portal, grant, old, new).await
    }

    /// A renewal says where the portal is. It is worth one: a portal is renamed seldom.
    async fn ask_where(
        &self,
        portal: &PortalId,
        grant: &Grant,
        old: Tokens,
        host: &str,
        clients: &Clients,
    ) -> Result<Refreshed, Trouble> {
        if !old.can_be_renewed() {
            return Ok(Refreshed::Denied(Code(not_confirmed(host))));
        }
        match self.ask(&old, clients).await {
            Answer::Granted(granted) => {
                let new = renewed(&old, granted);
                let confirmed = new.endpoint().host() == host;
                grant.held().unstored = Some((old.clone(), new.clone()));
                let kept = self.keep(portal, grant, old, new).await?;
                Ok(if confirmed { kept } else { Refreshed::Denied(Code(not_confirmed(host))) })
            }
            Answer::Denied(code) => {
                Ok(Refreshed::Denied(Code(format!("{}: {code}", not_confirmed(host)))))
            }
            Answer::Later(trouble) => Err(trouble),
        }
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

    /// Finds out whether a request comes from this portal: the authorization server says of which
    /// portal the tokens are, and where that is, and then the portal has to take them.
    ///
    /// Where nobody can be asked, the app must have named the host.
    pub(in crate::transport) async fn confirm(
        &self,
        portal: &PortalId,
        question: Question,
        clients: &Clients,
    ) -> Confirmed {
        let tokens = match question {
            Question::Known(tokens) => {
                return Confirmed::Yes(tokens.endpoint().clone(), Some(Box::new(tokens)));
            }
            Question::Renamed(endpoint, tokens) if self.is_listed(&endpoint) => {
                return match self.oauth.allows(&endpoint) {
                    true => Confirmed::Yes(endpoint, tokens.map(Box::new)),
                    false => no(PLAIN_HTTP_WHY),
                };
            }
            Question::Renamed(endpoint, None) => return no(cannot_be_asked(&endpoint)),
            Question::Renamed(_, Some(tokens)) | Question::Install(tokens) => tokens,
        };
        let tokens = match self.owned(portal, tokens, clients).await {
            Ok(tokens) => tokens,
            Err(answer) => return answer,
        };
        match self.is_taken(&tokens, clients).await {
            Ok(()) => Confirmed::Yes(tokens.endpoint().clone(), Some(Box::new(tokens))),
            Err(answer) => answer,
        }
    }

    /// The tokens, if they are of this portal. Asking has spent the refresh token.
    async fn owned(
        &self,
        portal: &PortalId,
        tokens: Tokens,
        clients: &Clients,
    ) -> Result<Tokens, Confirmed> {
        let listed = self.is_listed(tokens.endpoint());
        if !tokens.can_be_renewed() {
            return if listed { Ok(tokens) } else { Err(no(cannot_be_asked(tokens.endpoint()))) };
        }
        match self.ask(&tokens, clients).await {
            Answer::Granted(granted) if granted.member_id.as_deref() != Some(portal.as_str()) => {
                Err(no("the tokens are of another portal"))
            }
            Answer::Granted(Granted { client_endpoint: None, .. }) if !listed => {
                Err(no("the authorization server does not say where the portal is"))
            }
            Answer::Granted(granted) => Ok(renewed(&tokens, granted)),
            Answer::Denied(code) => Err(Confirmed::No(code)),
            Answer::Later(trouble) => Err(Confirmed::Later(trouble)),
        }
    }

    /// Whether the portal takes the access token.
    async fn is_taken(&self, tokens: &Tokens, clients: &Clients) -> Result<(), Confirmed> {
        if !self.oauth.allows(tokens.endpoint()) {
            return Err(no(PLAIN_HTTP_WHY));
        }
        let mut body = b"{}".to_vec();
        command::authorize(&mut body, tokens.access());
        let reply = clients.post(tokens.endpoint().named("app.info"), JSON, body).await;
        let refusal = match reply::read(&reply, Sent::Single) {
            Verdict::Ran { outcomes, .. } => match outcomes.into_iter().next() {
                Some(Outcome::Refused(refusal)) => refusal,
                _ => return Ok(()),
            },
            Verdict::Refused(refusal) => refusal,
            Verdict::Unknown(trouble) => return Err(Confirmed::Later(trouble)),
        };
        Err(match refusal.is_final() {
            true => no(refusal.to_string()),
            false => Confirmed::Later(Trouble(refusal.to_string())),
        })
    }

    fn is_listed(&self, endpoint: &Endpoint) -> bool {
        self.oauth.hosts.allow(&endpoint.host())
    }

    /// The app was removed from the portal: its tokens are worth nothing.
    pub(in crate::transport) async fn forget(&self, portal: &PortalId) -> Result<(), Trouble> {
        if let Some(grant) = self.portals().remove(portal) {
            *grant.held() = Held::default();
        }
        self.in_time(self.oauth.store.remove(portal)).await
    }

    async fn load(&self, portal: &PortalId) -> Result<Option<Tokens>, Trouble> {
        self.in_time(self.oauth.store.load(portal)).await
    }

    async fn swap(
        &self,
        portal: &PortalId,
        expected: Option<&Tokens>,
        new: &Tokens,
    ) -> Result<bool, Trouble> {
        self.in_time(self.oauth.store.swap(portal, expected, new)).await
    }

    async fn in_time<T>(&self, call: CredentialFuture<'_, T>) -> Result<T, Trouble> {
        match tokio::time::timeout(self.oauth.store_timeout, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Trouble(format!("the token store failed: {error}"))),
            Err(_) => Err(Trouble("the token store did not answer in time".to_owned())),
        }
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Whether tokens that came with a request are to take the place of those in use. Where one of both
/// does not say when it expires, they are: the refresh token in use may have been spent for them.
///
/// A pair is worth more than an access token alone, until it is refused.
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

/// How much longer tokens must last to be taken over those in use, in seconds: a handler that is
/// called every second would otherwise write to the store every second.
const FRESHER: u64 = 600;

fn no(why: impl Into<String>) -> Confirmed {
    Confirmed::No(Code(why.into()))
}

fn not_confirmed(host: &str) -> String {
    format!(
        "the portal redirects to {host}, and the authorization server does not say that it is there: \
         if it is, name {host} in `OAuth::hosts`"
    )
}

fn cannot_be_asked(endpoint: &Endpoint) -> String {
    format!(
        "without a refresh token the authorization server cannot be asked whether the portal is at \
         {0}: if it is, name {0} in `OAuth::hosts`",
        endpoint.host()
    )
}

/// What happens when an access token that has no refresh token has run out.
const NO_REFRESH: &str = "the access token has run out, and the portal gave no refresh token: its \
                          next request brings another one";
const PLAIN_HTTP: NoAccess = NoAccess::Unknown(PLAIN_HTTP_WHY);
const PLAIN_HTTP_WHY: &str = "the portal is called by plain http, and `OAuth::allow_http` does not \
                              name its host";
const NO_TOKENS: NoAccess = NoAccess::Unknown("there are no tokens for this portal");
const NO_DEFAULT: NoAccess =
    NoAccess::Unknown("the span names no portal, and there is no default one");

/// The new pair, at the address that comes with it if that is usable.
fn renewed(old: &Tokens, granted: Granted) -> Tokens {
    let endpoint = granted.client_endpoint.and_then(|url| Endpoint::parse_with_http(&url).ok());
    let endpoint = endpoint.unwrap_or_else(|| old.endpoint().clone());
    let server = granted.server_endpoint.or_else(|| old.server().map(str::to_owned));
    let refresh_token = Some(granted.refresh_token);
    Tokens::of(granted.access_token, refresh_token, endpoint, server, granted.expires)
}

#[cfg(test)]
mod tests;
