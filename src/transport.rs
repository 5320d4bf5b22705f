//! The seam between deciding and I/O: a request goes out, a reply comes back.

use std::future::{Future, ready};

use self::auth::{Endpoint, Tokens};
use crate::line::PortalId;
use crate::protocol::reply::Code;
use crate::protocol::{Reply, Request, Trouble};

pub(crate) mod auth;
mod caught;
pub(crate) mod http;
pub(crate) mod nowhere;
#[cfg(test)]
pub(crate) mod stand_in;

/// Carries requests to portals. Decides nothing: it neither retries nor paces.
pub(crate) trait Transport: Clone + Send + 'static {
    /// Sends `request` to `portal` (`None`: the default portal). Every failure is a [`Reply`].
    fn call(
        &self,
        portal: Option<&PortalId>,
        request: Request,
    ) -> impl Future<Output = Reply> + Send;

    /// The token of the last call to `portal` was refused ([`Refusal::Grant`]): gets another one.
    /// Once at a time per portal; without OAuth there is none to get.
    ///
    /// [`Refusal::Grant`]: crate::protocol::reply::Refusal::Grant
    fn refresh(&self, portal: Option<&PortalId>) -> impl Future<Output = Refreshed> + Send {
        let _ = portal;
        ready(Refreshed::Denied(Code("no OAuth".to_owned())))
    }

    /// `portal` says that it lives on `host` now ([`Refusal::Moved`]): calls it there from now on,
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

    /// Takes over tokens that have arrived, and says whether they are used now.
    ///
    /// # Errors
    /// When they could not be stored. They are used all the same.
    fn accept(
        &self,
        portal: &PortalId,
        tokens: Arrived,
    ) -> impl Future<Output = Result<bool, Trouble>> + Send {
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
    /// When they could not be removed from the store. They are not used all the same.
    fn forget(&self, portal: &PortalId) -> impl Future<Output = Result<(), Trouble>> + Send {
        let _ = portal;
        ready(Ok(()))
    }
}

/// What is not known of a request that names a portal.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// None: it knows the application token. These are the tokens that it has.
    Known(Tokens),
    /// It would install the app: are these tokens of the portal?
    Install(Tokens),
    /// It knows the application token, and names a new address: is the portal there? With the tokens
    /// that came with it, if there are any.
    Renamed(Endpoint, Option<Tokens>),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Confirmed {
    /// The portal is there. These tokens are to be used from now on: asking has spent the former.
    Yes(Endpoint, Option<Box<Tokens>>),
    /// It is not, or that cannot be known.
    No(Code),
    /// Nobody could say now.
    Later(Trouble),
}

/// Tokens that have arrived, by the occasion. They were verified.
#[derive(Clone, Debug)]
pub(crate) enum Arrived {
    /// The app hands them over, since it was installed for instance: nobody knows better.
    Handed(Tokens),
    /// With a handler's request, of which there may be one every second.
    WithRequest(Tokens),
}

/// Why a portal cannot be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAccess {
    /// There are no credentials for it.
    Unknown(&'static str),
    /// Nobody could say.
    Later(Trouble),
}

impl From<NoAccess> for Reply {
    fn from(why: NoAccess) -> Self {
        match why {
            NoAccess::Unknown(why) => Reply::UnknownPortal(Trouble(why.to_owned())),
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

impl From<NoAccess> for Trouble {
    fn from(why: NoAccess) -> Self {
        match why {
            NoAccess::Unknown(why) => Trouble(why.to_owned()),
            NoAccess::Later(trouble) => trouble,
        }
    }
}

impl From<Trouble> for NoAccess {
    fn from(trouble: Trouble) -> Self {
        NoAccess::Later(trouble)
    }
}

/// What came of asking for other access to a portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refreshed {
    /// There is access that has not been tried yet: repeat the request.
    Renewed,
    /// Nobody could say: ask again, with backoff.
    Later(Trouble),
    /// There is none until new tokens arrive, or somebody mends something.
    Denied(Code),
}
