//! Sends nothing, and says that all is well: for apps that run without a portal.

use super::Transport;
use crate::line::PortalId;
use crate::protocol::{Method, Reply, Request, Trouble};

/// A portal that is not there.
#[derive(Clone, Debug)]
pub(crate) struct Nowhere;

impl Transport for Nowhere {
    async fn call(&self, _: Option<&PortalId>, request: Request) -> Reply {
        match request.method {
            // A call of the app's own: what it would bring is not known.
            Method::Named(_) => {
                Reply::UnknownPortal(Trouble("nothing is sent, the layer is disabled".to_owned()))
            }
            // Ends of activities: without a level there are no lines.
            _ => Reply::Http { status: 200, body: br#"{"result":true}"#.to_vec() },
        }
    }
}
