//! Sends nothing, and answers as if all was sent: for apps that run without a portal.

use super::Transport;
use crate::line::PortalId;
use crate::protocol::{Cause, Method, Reply, Request};

/// A portal that is not there.
#[derive(Clone, Debug)]
pub(crate) struct Nowhere;

impl Transport for Nowhere {
    async fn call(&self, _: Option<&PortalId>, request: Request) -> Reply {
        match request.method {
            // A call of the app: its result is not known.
            Method::Named(_) => {
                Reply::UnknownPortal(Cause("nothing is sent, the layer is disabled".to_owned()))
            }
            // Only ends of activities: with the level OFF there are no lines.
            _ => Reply::Http { status: 200, body: br#"{"result":true}"#.to_vec() },
        }
    }
}
