//! A worker that delivers what other processes have written to a journal.

use std::sync::Arc;
use std::time::Duration;

use super::keeping::Keep;
use super::keeping::{Keeping, Role};
use super::{Builder, ReportSink};
use crate::error::BuildError;
use crate::handle::WorkerGuard;
use crate::journal::{Journal, Publisher};
use crate::relay::RelayHandle;

impl Builder {
    /// Starts a worker that delivers from this journal. Other processes write to it and deliver from it, too.
    ///
    /// # Errors
    /// The same as for [`build`](Self::build).
    #[doc(hidden)]
    pub fn deliver_from(
        mut self,
        journal: impl Journal,
    ) -> Result<(RelayHandle, WorkerGuard), BuildError> {
        if !matches!(self.keep, Keep::Nothing) {
            let (option, problem) =
                ("spool", "has no effect in a relay: its journal keeps the lines");
            return Err(BuildError::Option { option, problem });
        }
        if self.publish.is_some() {
            let (option, problem) = ("publish_to", "has no effect in a relay: it delivers");
            return Err(BuildError::Option { option, problem });
        }
        let max_age = self.line_age();
        // From here on, the journal has it.
        self.max_age = None;
        self = self.keeping(delivering(Arc::new(journal), max_age));
        let (producer, guard) = self.start(ReportSink::Tracing)?;
        let handle = guard.handle();
        Ok((RelayHandle::new(producer, handle), guard))
    }
}

/// How a relay uses its journal.
pub(crate) fn delivering(journal: Arc<dyn Journal>, max_age: Duration) -> Keeping {
    // A relay appends notices about lines that it has given up.
    let (publisher, role, near) = (Publisher(super::random()), Role::Deliver, None);
    Keeping { journal, publisher, bound: BOUND, max_age, role, near }
}

/// A mark waits at most a quarter of this time for other marks.
const BOUND: Duration = Duration::from_millis(200);
