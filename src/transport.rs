//! The seam between deciding and I/O: a request goes out, a reply comes back.

use std::future::Future;

use crate::line::PortalId;
use crate::protocol::{Reply, Request};

pub(crate) mod auth;
pub(crate) mod http;

/// Carries requests to portals. Decides nothing: it neither retries nor paces.
pub(crate) trait Transport: Clone + Send + 'static {
    /// Sends `request` to `portal` (`None`: the default portal). Every failure is a [`Reply`].
    fn call(
        &self,
        portal: Option<&PortalId>,
        request: Request,
    ) -> impl Future<Output = Reply> + Send;
}
