//! The border between decisions and I/O: sends a request, and returns the reply.

use std::future::{Future, ready};

use self::auth::{Endpoint, Tokens};
use crate::line::PortalId;
use crate::protocol::reply::Code;
use crate::protocol::{Cause, Reply, Request};

pub(crate) mod auth;
mod caught;
pub(crate) mod http;
pub(crate) mod nowhere;
#[cfg(test)]
pub(crate) mod stand_in;

/// Sends requests to portals. It does not retry, and applies no rate limit.
pub(crate) trait Transport: Clone + Send + 'static {
    /// Sends `request` to `portal` (`None`: the default portal). Every failure is a [`Reply`].
    fn call(
        &self,
        portal: Option<&PortalId>,
        request: Request,
    ) -> impl Future<Output = Reply> + Send;

    /// The token of the last call to `portal` was refused ([`Refusal::Grant`]): gets another one. One
    /// call at a time per portal. Without OAuth there is no other token.
    ///
    /// [`Refusal::Grant`]: crate::protocol::reply::Refusal::Grant
    fn refresh(&self, portal: Option<&PortalId>) -> impl Future<Output = Refreshed> + Send {
        let _ = portal;
        ready(Refreshed::Denied(Code("no OAuth".to_owned())))
    }

    /// `portal` says that it has moved to `host` ([`Refusal::Moved`]): calls it there from now on,
    /// if the app allows that host.
    ///
    /// [`Refusal::Moved`]: crate::protocol::reply::Refusal::Moved
    fn relocate(
        &self,
        portal: Option<&PortalId>,
        host: &str,
    ) -> impl Future<Output = Refreshed> + Send {
        let _ = (portal, host);
        ready(Refreshed::Denied(Code("no OAuth".to_owned())))
    }

    /// Stores tokens that have arrived, and returns whether they are used now.
    ///
    /// # Errors
    /// When they could not be stored. They are used in any case.
    fn accept(
        &self,
        portal: &PortalId,
        tokens: Arrived,
    ) -> impl Future<Output = Result<bool, Cause>> + Send {
        let _ = (portal, tokens);
        ready(Ok(false))
    }

    /// Finds out whether a request comes from this portal, and where the portal is.
    fn confirm(
        &self,
        portal: &PortalId,
        question: Question,
    ) -> impl Future<Output = Confirmed> + Send {
        let _ = (portal, question);
        ready(Confirmed::No(Code("no OAuth".to_owned())))
    }

    /// The app was removed from the portal: forgets its tokens.
    ///
    /// # Errors
    /// When they could not be removed from the store. They are not used in any case.
    fn forget(&self, portal: &PortalId) -> impl Future<Output = Result<(), Cause>> + Send {
        let _ = portal;
        ready(Ok(()))
    }
}

/// What has to be confirmed about a request that names a portal.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// Nothing: it has the right application token. These are its tokens.
    Known(Tokens),
    /// It would install the app: do these tokens belong to the portal?
    Install(Tokens),
    /// It has the right application token, and names a new address: is the portal there? With the tokens of
    /// the request, if it has any.
    Renamed(Endpoint, Option<Tokens>),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Confirmed {
    /// The portal is there. Use these tokens from now on: the old refresh token is not valid any more.
    Yes(Endpoint, Option<Box<Tokens>>),
    /// It is not there, or this cannot be confirmed.
    No(Code),
    /// There was no answer now.
    Later(Cause),
}

/// Tokens that have arrived, by the occasion. They were verified.
#[derive(Clone, Debug)]
pub(crate) enum Arrived {
    /// Given by the app, for example after an installation. They always replace the old ones.
    Handed(Tokens),
    /// With the request to a handler. There may be one every second.
    WithRequest(Tokens),
}

/// Why a portal cannot be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAccess {
    /// There are no credentials for it.
    Unknown(&'static str),
    /// There was no answer.
    Later(Cause),
}

impl From<NoAccess> for Reply {
    fn from(why: NoAccess) -> Self {
        match why {
            NoAccess::Unknown(why) => Reply::UnknownPortal(Cause(why.to_owned())),
            NoAccess::Later(trouble) => Reply::NotSent(trouble),
        }
    }
}

impl From<NoAccess> for Refreshed {
    fn from(why: NoAccess) -> Self {
        match why {
            NoAccess::Unknown(why) => Refreshed::Denied(Code(why.to_owned())),
            NoAccess::Later(trouble) => Refreshed::Later(trouble),
        }
    }
}

impl From<NoAccess> for Cause {
    fn from(why: NoAccess) -> Self {
        match why {
            NoAccess::Unknown(why) => Cause(why.to_owned()),
            NoAccess::Later(trouble) => trouble,
        }
    }
}

impl From<Cause> for NoAccess {
    fn from(trouble: Cause) -> Self {
        NoAccess::Later(trouble)
    }
}

/// The result of requesting other access to a portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refreshed {
    /// There is access that has not been tried yet: repeat the request.
    Renewed,
    /// There was no answer: ask again, with backoff.
    Later(Cause),
    /// There is no access until new tokens arrive, or a person fixes something.
    Denied(Code),
}
