//! The guard: closes the worker, and waits for it on the calling thread.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Bizproc, after};
use crate::error::FlushError;
use crate::stats::FlushReport;
use crate::thread_role::is_delivery_thread;

/// Closes the worker when it is dropped: keep it until the end of `main`.
///
/// It has to have a name (`_guard`, but not `_`), in a scope that lasts as long as the app. One that is
/// dropped before anything was logged, in a function that sets up logging, say, closes nothing: lines are
/// delivered, and a warning says that those which are pending at the end of the process will be lost. One
/// that is dropped later closes the worker; when a line is refused after that, a warning says so once.
/// (Warnings go to `tracing`, and to standard error where no subscriber shows them.)
///
/// A drop refuses further lines, sends what is pending, and waits for that up to the shutdown
/// timeout (an option of the builder, 5 s by default), also against a portal that never answers.
/// What is pending then is counted as lost. It never panics, inside a runtime neither. On the worker's
/// own thread, or on one that the worker waits for, it closes and does not wait, which is reported.
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
        if is_delivery_thread() {
            // To wait here would be to wait for oneself. The worker closes once it is back.
            self.bizproc.producer.note_close_without_wait();
            drop(self.bizproc.ask_close(deadline));
            return self.all_pending();
        }
        let closed = self
            .bizproc
            .ask_close(deadline)
            .and_then(|answer| block_until(answer, deadline + GRACE));
        match closed {
            Ok(report) => {
                // It has nothing left to do but to end. Only the app's own layers, which take in its
                // last reports, could hold it up: not for longer than a moment.
                let patience = after(GRACE);
                while !thread.is_finished() && after(Duration::ZERO) < patience {
                    thread::park_timeout(A_MOMENT);
                }
                if thread.is_finished() {
                    drop(thread.join());
                }
                report
            }
            Err(_) => self.all_pending(),
        }
    }

    /// What is known of the lines where nobody can be asked.
    fn all_pending(&self) -> FlushReport {
        let mut report = FlushReport::default();
        report.set_pending(self.bizproc.stats().pending());
        report
    }
}

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        if self.thread.is_some() && self.bizproc.outlives_guard() {
            return;
        }
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

/// Waits on the calling thread. tokio's own blocking forms panic inside a runtime.
pub(super) fn block_until(
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
            return Err(FlushError::NoAnswer);
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

/// Between two looks at whether the thread has ended.
const A_MOMENT: Duration = Duration::from_millis(1);
/// The worker keeps the deadline; beyond it, a caller gives the worker so long to say so.
pub(super) const GRACE: Duration = Duration::from_millis(250);
