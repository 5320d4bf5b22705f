//! What the relay (`tracing-bizproc-relay`) uses of the worker: it delivers lines of other processes from a
//! journal that several relays share.
//!
//! Not part of the public API: it may change with every version.
//!
//! The relay decides which portals this process owns. The [`Journal`](crate::journal::Journal) that it passes
//! has to know that, too:
//!
//! - [`read`](crate::journal::Journal::read) returns chunks of owned portals only.
//! - The [`generation`](crate::journal::Journal::generation) increases when portals are added. Then
//!   everything is read from the start.
//! - [`intend`](crate::journal::Journal::intend) permits requests to owned portals only. Its marks are applied in
//!   their order. Some of them may be [`Returned`](crate::journal::MarkKind::Returned).
//! - [`mark`](crate::journal::Journal::mark) only gets [`Settled`](crate::journal::MarkKind::Settled). This mark
//!   is valid for every owner of the portal.
//! - A portal that another process may have owned in between is neither read nor permitted before
//!   [`let_go`](RelayHandle::let_go) has returned for it: until then, the worker has its lines in memory as they
//!   were before.
//! - [`append`](crate::journal::Journal::append) gets notices about lines that the worker has given up. The
//!   portal's next owner reads and tells them.

use std::fmt;

use tokio::sync::oneshot;

use crate::error::WorkerError;
use crate::handle::Handle;
use crate::line::PortalId;
use crate::queue::{Control, LetGo, Producer};

/// A handle to the worker of a relay. Cheap to clone.
#[derive(Clone)]
pub struct RelayHandle {
    producer: Producer,
    handle: Handle,
}

impl RelayHandle {
    pub(crate) fn new(producer: Producer, handle: Handle) -> Self {
        RelayHandle { producer, handle }
    }

    /// The handle that every worker has.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Lets go of all portals for which `keep` is false (`None`: the default portal). Nothing of them is sent from
    /// the moment that the worker has received this, and their lines leave memory unsettled. Returns when no
    /// request to them is in flight, and their last marks and memos are stored.
    ///
    /// Before the call, reads of the journal must have stopped returning chunks of these portals. When the portals
    /// come back, the journal's generation must have increased.
    ///
    /// `keep` must be quick, and must not panic: the worker calls it, and keeps it for a while.
    ///
    /// # Errors
    /// When the worker has ended, or has very much to do.
    pub async fn let_go(
        &self,
        keep: impl Fn(Option<&PortalId>) -> bool + Send + 'static,
    ) -> Result<(), WorkerError> {
        let (reply, is_done) = oneshot::channel();
        let let_go = LetGo { keep: Box::new(keep), reply };
        if self.producer.control(Control::LetGo(let_go)).is_err() {
            let closed = self.producer.is_closed();
            return Err(if closed { WorkerError::Closed } else { WorkerError::Busy });
        }
        is_done.await.map_err(|_| WorkerError::Closed)
    }
}

impl fmt::Debug for RelayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayHandle").finish_non_exhaustive()
    }
}
