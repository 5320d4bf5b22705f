//! Flushes: of everything or of one token, and until the portal or until a relay has the lines.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::guard::{GRACE, block_until};
use super::{Handle, after};
use crate::error::WorkerError;
use crate::line::EventToken;
use crate::queue::{Control, Flush, Scope};
use crate::stats::FlushReport;

impl Handle {
    /// Sends everything that was logged before this call, without waiting for the schedule. Returns when
    /// all of it is acknowledged, late or lost, or after `timeout`. The delivery of lines that are still
    /// pending then goes on. With a spool, lines of earlier runs that were found before this call count as logged
    /// before it.
    ///
    /// Works on every async runtime. The worker watches the deadline: if its thread is blocked, for example
    /// by an access provider, this waits longer.
    ///
    /// # Errors
    /// When there is no worker, or when it would wait for itself: see [`WorkerError`].
    pub async fn flush(&self, timeout: Duration) -> Result<FlushReport, WorkerError> {
        self.ask(Scope::All, after(timeout))?.await.map_err(|_| WorkerError::Closed)
    }

    /// As [`flush`](Self::flush), for one event token: for example before its activity is ended.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn flush_token(
        &self,
        event_token: &EventToken,
        timeout: Duration,
    ) -> Result<FlushReport, WorkerError> {
        let scope = Scope::Token(event_token.clone());
        self.ask(scope, after(timeout))?.await.map_err(|_| WorkerError::Closed)
    }

    /// As [`flush`](Self::flush), but if lines are published
    /// ([`Builder::publish_to`](crate::Builder::publish_to)), this waits until a relay has delivered them, or has
    /// given them up. `flush` returns when the journal has stored them.
    ///
    /// Lines that are [pending](FlushReport::pending) in the report are in the journal, or wait for it: it covers
    /// all lines of this process so far that no relay has settled.
    ///
    /// ```no_run
    /// # async fn step(handle: tracing_bizproc::Handle) -> Result<(), tracing_bizproc::error::WorkerError> {
    /// use std::time::Duration;
    ///
    /// let report = handle.flush_delivered(Duration::from_secs(30)).await?;
    /// if report.pending() > 0 {
    ///     eprintln!("the relay has not delivered all lines yet: {report}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    #[cfg(feature = "relay")]
    #[cfg_attr(docsrs, doc(cfg(feature = "relay")))]
    pub async fn flush_delivered(&self, timeout: Duration) -> Result<FlushReport, WorkerError> {
        self.ask_as(Control::FlushDelivered, Scope::All, after(timeout))?
            .await
            .map_err(|_| WorkerError::Closed)
    }

    /// As [`flush_delivered`](Self::flush_delivered), for one event token.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    #[cfg(feature = "relay")]
    #[cfg_attr(docsrs, doc(cfg(feature = "relay")))]
    pub async fn flush_token_delivered(
        &self,
        event_token: &EventToken,
        timeout: Duration,
    ) -> Result<FlushReport, WorkerError> {
        let scope = Scope::Token(event_token.clone());
        self.ask_as(Control::FlushDelivered, scope, after(timeout))?
            .await
            .map_err(|_| WorkerError::Closed)
    }

    /// As [`flush`](Self::flush), but blocks the calling thread. For code that is not async. Inside a
    /// runtime it works, too, but blocks a thread of the runtime. On the worker's own thread (in a layer
    /// that handles a report of the worker) it returns [an error](WorkerError::DeliveryThread) at once,
    /// because it would never return.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn flush_blocking(&self, timeout: Duration) -> Result<FlushReport, WorkerError> {
        let deadline = after(timeout);
        block_until(self.ask(Scope::All, deadline)?, deadline + GRACE)
    }

    /// A flush by the simulated clock.
    #[cfg(feature = "simulation")]
    pub(crate) async fn flush_at(&self, deadline: Instant) -> Result<FlushReport, WorkerError> {
        self.ask(Scope::All, deadline)?.await.map_err(|_| WorkerError::Closed)
    }

    fn ask(
        &self,
        scope: Scope,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<FlushReport>, WorkerError> {
        self.ask_as(Control::Flush, scope, deadline)
    }

    fn ask_as(
        &self,
        control: fn(Flush) -> Control,
        scope: Scope,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<FlushReport>, WorkerError> {
        self.may_wait()?;
        let (reply, answer) = oneshot::channel();
        self.send(control(Flush { scope, deadline, reply }))?;
        Ok(answer)
    }
}
