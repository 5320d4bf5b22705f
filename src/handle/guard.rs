//! The guard: closes the worker, and waits for it on the calling thread.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::shutdown::ShutdownReport;
use super::{Handle, after};
use crate::error::WorkerError;
use crate::stats::{DropReason, FlushReport};
use crate::thread_role::is_delivery_thread;

/// Closes the worker when it is dropped: keep it until the end of `main`.
///
/// Give it a name (`_guard`, and not `_`), in a scope that lasts as long as the app. If it is dropped
/// before anything was logged, for example in a function that sets up logging, it closes nothing: lines
/// are delivered, and a warning says that lines which are pending at the end of the process will be
/// lost. If it is dropped later, it closes the worker; the first line that is refused after that leads
/// to a warning. (Warnings go to `tracing`, or to standard error if no subscriber shows them.)
///
/// Dropping it refuses further lines, sends pending lines, and waits for them at most `shutdown_timeout`
/// (an option of the builder, 5 s by default), also if the portal never answers. Lines that are still
/// pending then are counted as lost, or stay in the spool. The drop never panics, also inside a runtime. It does not wait for
/// open activities: use [`shutdown`](WorkerGuard::shutdown) for that. On the worker's own thread, or on
/// a thread that the worker waits for, it closes without waiting, and this is reported. In a forked
/// process, which has no worker, it does nothing.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
/// use tracing_subscriber::prelude::*;
///
/// let (bizproc, guard) = tracing_bizproc::builder(webhook).build()?;
/// let subscriber = tracing_subscriber::registry().with(bizproc);
/// // .. the app runs ..
/// # drop(subscriber);
/// let report = guard.shutdown_blocking(std::time::Duration::from_secs(2));
/// assert!(report.is_complete());
/// # Ok(())
/// # }
/// ```
#[must_use = "the worker is closed when the guard is dropped: bind it to a name"]
pub struct WorkerGuard {
    handle: Handle,
    timeout: Duration,
    /// The text with which open activities are ended.
    fail_with: Option<String>,
    thread: Option<thread::JoinHandle<()>>,
}

impl WorkerGuard {
    pub(crate) fn new(
        handle: Handle,
        timeout: Duration,
        fail_with: Option<String>,
        thread: thread::JoinHandle<()>,
    ) -> Self {
        WorkerGuard { handle, timeout, fail_with, thread: Some(thread) }
    }

    /// A handle to flush, to end activities, and to read counters.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Shuts down within `timeout`. First it waits for open activities, for at most three quarters of the
    /// time; lines and ends are still sent. Then, with
    /// [`Builder::fail_open_activities`](crate::Builder::fail_open_activities), it ends the activities that
    /// are left. At last it sends pending lines, and closes the worker.
    ///
    /// Stop accepting requests before that. With axum, on SIGTERM:
    ///
    /// ```no_run
    /// # async fn run(
    /// #     listener: std::net::TcpListener,
    /// #     sigterm: impl Future<Output = ()>,
    /// #     guard: tracing_bizproc::WorkerGuard,
    /// #     serve: impl AsyncFnOnce(std::net::TcpListener, &mut dyn Future<Output = ()>),
    /// # ) {
    /// # let mut sigterm = std::pin::pin!(sigterm);
    /// // axum::serve(listener, router).with_graceful_shutdown(sigterm).await?;
    /// # serve(listener, &mut sigterm).await;
    /// let report = guard.shutdown(std::time::Duration::from_secs(20)).await;
    /// if !report.is_complete() {
    ///     eprintln!("not all is done: {report}");
    /// }
    /// # }
    /// ```
    ///
    /// Works on every async runtime. If you drop the future, the shutdown goes on.
    pub async fn shutdown(self, timeout: Duration) -> ShutdownReport {
        let (reply, answer) = oneshot::channel();
        let handle = self.handle.clone();
        let started = thread::Builder::new().name("bizproc-shutdown".to_owned()).spawn(move || {
            // The caller may no longer wait.
            drop(reply.send(self.shutdown_blocking(timeout)));
        });
        // Without a thread the guard has been dropped, which closes too.
        drop(started);
        answer.await.unwrap_or_else(|_| unanswered(&handle))
    }

    /// As [`shutdown`](Self::shutdown), but blocks the calling thread. Activities whose work runs on this
    /// thread cannot end during that time.
    pub fn shutdown_blocking(mut self, timeout: Duration) -> ShutdownReport {
        let began = after(Duration::ZERO);
        let now = || after(Duration::ZERO);
        // On the worker's own thread this would never return.
        if !is_delivery_thread() && !self.handle.producer.is_forked() {
            self.handle.activities.wait_until_none_is_open(began + timeout / 4 * 3, now);
        }
        self.close(timeout.saturating_sub(now().saturating_duration_since(began)))
    }

    fn close(&mut self, timeout: Duration) -> ShutdownReport {
        let Some(thread) = self.thread.take() else { return ShutdownReport::default() };
        if self.handle.producer.is_forked() {
            return unanswered(&self.handle);
        }
        let failing = self
            .fail_with
            .as_deref()
            .map_or_else(Vec::new, |text| self.handle.fail_open(text, after(timeout / 2)));
        let deadline = after(timeout);
        if is_delivery_thread() {
            // Waiting here would never end. The worker closes when this call has returned.
            self.handle.producer.note_close_without_wait();
            drop(self.handle.ask_close(deadline));
            return unanswered(&self.handle);
        }
        let closed =
            self.ask_close(deadline).and_then(|answer| block_until(answer, deadline + GRACE));
        let Ok(lines) = closed else { return unanswered(&self.handle) };
        // The thread has nothing left to do, except that layers of the app get its last reports. They may
        // be slow, so the wait is short.
        let patience = after(LAST_REPORTS);
        while !thread.is_finished() && after(Duration::ZERO) < patience {
            thread::park_timeout(A_MOMENT);
        }
        if thread.is_finished() {
            drop(thread.join());
        }
        let open = self.handle.open_activities();
        let failed = failing.into_iter().filter(|failing| !open.contains(failing)).collect();
        ShutdownReport { lines, failed, open }
    }

    /// Tries until there is room for the request: the queue may be full of other requests of the app.
    fn ask_close(&self, deadline: Instant) -> Result<oneshot::Receiver<FlushReport>, WorkerError> {
        loop {
            match self.handle.ask_close(deadline) {
                Err(WorkerError::Busy) if after(Duration::ZERO) < deadline => {
                    thread::park_timeout(A_MOMENT);
                }
                asked => return asked,
            }
        }
    }
}

/// The report if the worker does not answer.
fn unanswered(handle: &Handle) -> ShutdownReport {
    let stats = handle.stats();
    let mut lines = FlushReport::default();
    lines.set_pending(stats.pending(), u64::MAX);
    lines.count_dropped(DropReason::Forked, stats.by_reason(DropReason::Forked));
    ShutdownReport { lines, failed: Vec::new(), open: handle.open_activities() }
}

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        if self.thread.is_some() && self.handle.outlives_guard() {
            return;
        }
        self.close(self.timeout);
    }
}

impl fmt::Debug for WorkerGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerGuard")
            .field("handle", &self.handle)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Waits on the calling thread. The blocking methods of tokio panic inside a runtime.
pub(super) fn block_until(
    answer: oneshot::Receiver<FlushReport>,
    deadline: Instant,
) -> Result<FlushReport, WorkerError> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut answer = pin!(answer);
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
            return answer.map_err(|_| WorkerError::Closed);
        }
        let left = deadline.saturating_duration_since(after(Duration::ZERO));
        if left.is_zero() {
            return Err(WorkerError::NoAnswer);
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

/// Between two looks at whether the thread has ended, or has room for a request.
const A_MOMENT: Duration = Duration::from_millis(1);
/// The worker keeps the deadline. A caller waits this much longer for its answer.
pub(super) const GRACE: Duration = Duration::from_millis(60);
/// How long a shutdown waits for the end of the worker's thread, which has only its last reports to make.
/// With [`GRACE`] less than the 100 ms that a shutdown may take beyond its deadline.
const LAST_REPORTS: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::builder::{Parts, builder};
    use crate::queue::{Control, Flush, Message, Scope};
    use crate::transport::auth::Webhook;

    /// Regression: if the app had requested a thousand flushes, there was no room for the close, and nothing was
    /// closed.
    #[test]
    fn a_close_waits_for_room_if_the_queue_is_full_of_requests() {
        let webhook = Webhook::new("https://b24.example/rest/1/secret/").unwrap();
        let Parts { producer, mut consumer, stats, .. } = builder(webhook).parts(1);
        let handle = Handle::new(producer, Arc::clone(&stats), Duration::ZERO);
        let patience = Duration::from_secs(60);
        let flush = || {
            let (reply, _) = oneshot::channel();
            Control::Flush(Flush { scope: Scope::All, deadline: after(patience), reply })
        };
        while handle.send(flush()).is_ok() {}
        assert!(matches!(handle.send(flush()), Err(WorkerError::Busy)));

        let worker = thread::spawn(|| {});
        let guard = WorkerGuard::new(handle.clone(), patience, None, worker);
        let closing = thread::spawn(move || guard.shutdown_blocking(patience));
        let close = loop {
            match consumer.try_take() {
                Some(Message::Control(control)) => match *control {
                    Control::Close(close) => break close,
                    _ => continue,
                },
                Some(_) => panic!("nothing else was sent"),
                None => thread::yield_now(),
            }
        };
        let mut told = FlushReport::default();
        told.count_acknowledged(7);
        close.reply.send(told.clone()).unwrap();
        assert_eq!(*closing.join().unwrap().lines(), told);
    }
}
