//! A portal that has moved to another host.

use super::renew::renewed;
use super::{Grant, Grants};
use crate::line::PortalId;
use crate::protocol::Cause;
use crate::protocol::grant::Answer;
use crate::protocol::reply::Code;
use crate::transport::Refreshed;
use crate::transport::auth::endpoint::Endpoint;
use crate::transport::auth::tokens::Tokens;
use crate::transport::http::Clients;

impl Grants {
    /// Whether [`relocate`](Grants::relocate) can confirm that the portal is there: the app lists the host,
    /// or there is a refresh token for a question to the authorization server.
    pub(in crate::transport) fn may_relocate(&self, portal: Option<&PortalId>, host: &str) -> bool {
        let Ok((_, grant)) = self.grant(portal) else { return false };
        let held = grant.held();
        self.oauth.hosts.allows(host) || held.tokens.as_ref().is_some_and(Tokens::can_be_renewed)
    }

    /// The portal has moved to `host`: calls it there, if the app lists that host, or if the authorization
    /// server confirms it.
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
        if let Err(trouble) = self.store_late(portal, &grant).await {
            return Refreshed::Later(trouble);
        }
        let Some(old) = grant.held().tokens.clone() else {
            return Refreshed::Denied(Code("no tokens".to_owned()));
        };
        // Another task has done it.
        if old.endpoint().host() == host {
            return Refreshed::Renewed;
        }
        let moved = if self.oauth.hosts.allows(host) {
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
    ) -> Result<Refreshed, Cause> {
        let scheme = if old.endpoint().as_str().starts_with("http:") { "http" } else { "https" };
        let Ok(endpoint) = Endpoint::parse_with_http(&format!("{scheme}://{host}/")) else {
            return Ok(Refreshed::Denied(Code(format!("{host} is not a valid host"))));
        };
        let new = old.clone().at(endpoint);
        self.keep(portal, grant, old, new).await
    }

    /// A renewal says where the portal is. This happens seldom.
    async fn ask_where(
        &self,
        portal: &PortalId,
        grant: &Grant,
        old: Tokens,
        host: &str,
        clients: &Clients,
    ) -> Result<Refreshed, Cause> {
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
}

fn not_confirmed(host: &str) -> String {
    format!(
        "the portal redirects to {host}, and the authorization server does not confirm that it is \
         there: if this is correct, add {host} to `OAuth::hosts`"
    )
}
