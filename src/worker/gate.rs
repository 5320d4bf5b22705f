//! The gate before each request, if several processes deliver from one journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tokio::sync::oneshot;

use super::engine::Withheld;
use crate::journal::Journal;
use crate::journal::desk::Permission;
use crate::line::PortalId;
use crate::protocol::Pass;

/// The things that one request needs to leave.
pub(crate) struct Gate {
    /// `None`: the journal's thread has ended.
    pub(crate) journal: Option<Arc<dyn Journal>>,
    pub(crate) permission: oneshot::Receiver<Permission>,
    /// Whether its portal is let go.
    pub(crate) is_leaving: Arc<AtomicBool>,
}

impl Gate {
    /// Waits until the request may leave. Then it must leave at once, and only if the permit is still valid,
    /// because it may have to wait for a connection.
    ///
    /// # Errors
    /// Why it must not leave.
    pub(crate) async fn pass(self, portal: Option<&PortalId>) -> Result<Pass, Withheld> {
        let Gate { journal, permission, is_leaving } = self;
        let permit = match permission.await {
            Ok(Permission::Given(permit)) => permit,
            Ok(Permission::Fenced) => return Err(Withheld::Fenced),
            Ok(Permission::Failed { trouble, intent }) => {
                return Err(Withheld::Failed { trouble, intent: Some(intent) });
            }
            Err(_) => {
                let trouble = "the journal's thread has ended".to_owned();
                return Err(Withheld::Failed { trouble, intent: None });
            }
        };
        if is_leaving.load(SeqCst) {
            return Err(Withheld::LetGo);
        }
        let Some(journal) = journal else { return Err(Withheld::Lapsed) };
        let portal = portal.cloned();
        let may_leave =
            move || !is_leaving.load(SeqCst) && journal.is_permitted(portal.as_ref(), permit);
        if may_leave() { Ok(Pass::new(may_leave)) } else { Err(Withheld::Lapsed) }
    }
}
