//! What the app holds: a handle to flush and to read counters, and the guard that closes.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::completion::Completion;
use crate::error::{CompleteError, FlushError};
use crate::line::EventToken;
use crate::queue::{Close, Complete, Control, Flush, Producer, Scope};
use crate::stats::{AtDoor, DropReason, FlushReport, Snapshot, Stats};

/// A handle to the worker, cheap to clone: flushes, and reads counters.
///
/// ```no_run
/// # async fn handler(bizproc: tracing_bizproc::Bizproc) -> Result<(), tracing_bizproc::FlushError> {
/// use std::time::Duration;
///
/// let report = bizproc.flush(Duration::from_secs(5)).await?;
/// if !report.is_complete() {
///     eprintln!("the process log is not complete: {report}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bizproc {
    producer: Producer,
    stats: Arc<Stats>,
}

impl Bizproc {
    pub(crate) fn new(producer: Producer, stats: Arc<Stats>) -> Self {
        Bizproc { producer, stats }
    }

    /// Sends everything that was logged before this call, ahead of every schedule, and waits until
    /// all of it is settled, or `timeout` has passed. Lines that are pending then stay under way.
    ///
    /// Needs no runtime, and works on any.
    ///
    /// # Errors
    /// When there is no worker to ask: see [`FlushError`].
    pub async fn flush(&self, timeout: Duration) -> Result<FlushReport, FlushError> {
        self.ask(Scope::All, after(timeout))?.await.map_err(|_| FlushError::WorkerGone)
    }

    /// As [`flush`](Self::flush), for one event token: before its activity is ended, for instance.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn flush_token(
        &self,
        event_token: &EventToken,
        timeout: Duration,
    ) -> Result<FlushReport, FlushError> {
        let scope = Scope::Token(event_token.clone());
        self.ask(scope, after(timeout))?.await.map_err(|_| FlushError::WorkerGone)
    }

    /// As [`flush`](Self::flush), and holds the calling thread meanwhile. For code that is not
    /// async; inside a runtime it works too, but holds up the runtime's thread.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn flush_blocking(&self, timeout: Duration) -> Result<FlushReport, FlushError> {
        let deadline = after(timeout);
        block_until(self.ask(Scope::All, deadline)?, deadline + GRACE)
    }

    /// Ends the activity of `event_token` with `bizproc.event.send`, after its lines: waits for these
    /// at most the completion's timeout, then ends the activity whatever became of them. Lines that
    /// come later, or are still waiting then, are counted as [late](Snapshot::late) and not sent.
    ///
    /// Returns what became of the lines. Needs no runtime.
    ///
    /// # Errors
    /// When the portal refuses, or cannot be told within two minutes. See [`CompleteError`].
    pub async fn complete(
        &self,
        event_token: &EventToken,
        completion: Completion,
    ) -> Result<FlushReport, CompleteError> {
        let (reply, answer) = oneshot::channel();
        let deadline = after(completion.timeout);
        let event_token = event_token.clone();
        self.send(Control::Complete(Complete {
            event_token,
            portal: None,
            completion,
            deadline,
            reply,
        }))?;
        answer.await.map_err(|_| CompleteError::Worker(FlushError::WorkerGone))?
    }

    /// All counters at this moment.
    pub fn stats(&self) -> Snapshot {
        let refused = |reason| (reason, self.producer.refused(reason));
        self.stats.snapshot(&AtDoor {
            accepted: self.producer.accepted(),
            pending: self.producer.pending(),
            refused: [DropReason::QueueFull, DropReason::BudgetSpent, DropReason::Closed]
                .map(refused),
            unusable_tokens: self.producer.unusable_tokens(),
        })
    }

    fn ask(
        &self,
        scope: Scope,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<FlushReport>, FlushError> {
        let (reply, answer) = oneshot::channel();
        self.send(Control::Flush(Flush { scope, deadline, reply }))?;
        Ok(answer)
    }

    fn ask_close(&self, deadline: Instant) -> Result<oneshot::Receiver<FlushReport>, FlushError> {
        let (reply, answer) = oneshot::channel();
        self.send(Control::Close(Close { deadline, reply }))?;
        Ok(answer)
    }

    /// A flush by the simulated clock.
    #[cfg(feature = "simulation")]
    pub(crate) async fn flush_at(&self, deadline: Instant) -> Result<FlushReport, FlushError> {
        self.ask(Scope::All, deadline)?.await.map_err(|_| FlushError::WorkerGone)
    }

    /// A shutdown by the simulated clock.
    #[cfg(feature = "simulation")]
    pub(crate) async fn close_at(&self, deadline: Instant) -> Result<FlushReport, FlushError> {
        self.ask_close(deadline)?.await.map_err(|_| FlushError::WorkerGone)
    }

    fn send(&self, control: Control) -> Result<(), FlushError> {
        if self.producer.is_forked() {
            return Err(FlushError::Forked);
        }
        self.producer.control(control).map_err(|_| match self.producer.is_closed() {
            true => FlushError::WorkerGone,
            false => FlushError::Busy,
        })
    }
}

impl fmt::Debug for Bizproc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bizproc({})", self.stats())
    }
}

/// Closes the worker when it is dropped: keep it until the end of `main`.
///
/// A drop refuses further lines, sends what is pending, and waits for that up to the shutdown
/// timeout (an option of the builder, 5 s by default), also against a portal that never answers.
/// What is pending then is counted as lost. It never panics, inside a runtime neither.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::Webhook::new("https://b24.example/rest/1/secret/")?;
/// use tracing_subscriber::prelude::*;
///
/// let (bizproc, guard) = tracing_bizproc::builder(webhook).build()?;
/// let subscriber = tracing_subscriber::registry().with(bizproc);
/// // .. the app runs ..
/// # drop(subscriber);
/// let report = guard.shutdown(std::time::Duration::from_secs(2));
/// assert!(report.is_complete());
/// # Ok(())
/// # }
/// ```
#[must_use = "the worker is closed when the guard is dropped: bind it to a name"]
pub struct WorkerGuard {
    bizproc: Bizproc,
    timeout: Duration,
    thread: Option<thread::JoinHandle<()>>,
}

impl WorkerGuard {
    pub(crate) fn new(bizproc: Bizproc, timeout: Duration, thread: thread::JoinHandle<()>) -> Self {
        WorkerGuard { bizproc, timeout, thread: Some(thread) }
    }

    /// A handle for those who flush or read counters.
    pub fn handle(&self) -> Bizproc {
        self.bizproc.clone()
    }

    /// Closes the worker as a drop does, within `timeout`, and says what became of the pending
    /// lines. Holds the calling thread meanwhile.
    pub fn shutdown(mut self, timeout: Duration) -> FlushReport {
        self.close(timeout)
    }

    fn close(&mut self, timeout: Duration) -> FlushReport {
        let Some(thread) = self.thread.take() else { return FlushReport::default() };
        let deadline = after(timeout);
        let closed = self
            .bizproc
            .ask_close(deadline)
            .and_then(|answer| block_until(answer, deadline + GRACE));
        match closed {
            Ok(report) => {
                // It has nothing left to do but to end.
                drop(thread.join());
                report
            }
            Err(_) => {
                let mut report = FlushReport::default();
                report.set_pending(self.bizproc.stats().pending());
                report
            }
        }
    }
}

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        self.close(self.timeout);
    }
}

impl fmt::Debug for WorkerGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerGuard")
            .field("bizproc", &self.bizproc)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The deadline of a wait that begins now. "For ever" is a year.
fn after(timeout: Duration) -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a deadline counts from the call")]
    let now = Instant::now();
    now + timeout.min(Duration::from_secs(365 * 86_400))
}

/// Waits on the calling thread. tokio's own blocking forms panic inside a runtime.
fn block_until(
    answer: oneshot::Receiver<FlushReport>,
    deadline: Instant,
) -> Result<FlushReport, FlushError> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut answer = pin!(answer);
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
            return answer.map_err(|_| FlushError::WorkerGone);
        }
        let left = deadline.saturating_duration_since(after(Duration::ZERO));
        if left.is_zero() {
            return Err(FlushError::WorkerGone);
        }
        thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The worker keeps the deadline; beyond it, a caller gives the worker so long to say so.
const GRACE: Duration = Duration::from_millis(250);
