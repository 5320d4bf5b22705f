//! Calls of a journal on a thread of its own, so that a disk that hangs stops nothing else.
//!
//! A call that is not answered in time counts as failed. Its work may still be done. Until it returns, further
//! calls are refused at once.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::guarded::guarded;
use super::{Journal, JournalError};

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The calls that wait for the journal's thread.
pub(super) type Jobs = mpsc::UnboundedReceiver<Job>;

/// The caller's end.
pub(super) struct Aside {
    journal: Arc<dyn Journal>,
    jobs: mpsc::UnboundedSender<Job>,
    /// A call that was not answered in time. Its sender is dropped when it returns.
    late: Option<oneshot::Receiver<()>>,
}

impl Aside {
    /// The caller's end, and what [`serve`] needs.
    pub(super) fn new(journal: Arc<dyn Journal>) -> (Aside, Jobs) {
        let (jobs, to_serve) = mpsc::unbounded_channel();
        (Aside { journal, jobs, late: None }, to_serve)
    }

    /// Whether a late call has not returned yet. Then every call is refused.
    pub(super) fn is_late(&mut self) -> bool {
        let has_returned =
            |late: &mut oneshot::Receiver<()>| late.try_recv() != Err(TryRecvError::Empty);
        self.late.take_if(has_returned);
        self.late.is_some()
    }

    /// Calls the journal.
    pub(super) async fn call<T, F>(
        &mut self,
        call: impl FnOnce(Arc<dyn Journal>) -> F + Send + 'static,
    ) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, JournalError>> + Send + 'static,
    {
        if self.is_late() {
            return Err(NO_ANSWER.into());
        }
        let (reply, answer) = oneshot::channel();
        let journal = self.journal.clone();
        let returned = self.give(async move {
            // After a late call, nobody waits.
            drop(reply.send(guarded(move || call(journal)).await));
        });
        match timeout(PATIENCE, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err("the journal's thread has ended".into())),
            Err(_) => {
                self.late = Some(returned);
                Err(NO_ANSWER.into())
            }
        }
    }

    /// Drops the journal on its thread. Waits for this if no call is late.
    pub(super) async fn close(mut self) {
        let is_late = self.is_late();
        let journal = self.journal.clone();
        let dropped = self.give(async move { drop(journal) });
        // The job has the last one.
        drop(self);
        if !is_late {
            // Only the end of the sender is of interest.
            drop(dropped.await);
        }
    }

    /// Gives the thread a job. The sender of the result is dropped when the job is done.
    fn give(&self, job: impl Future<Output = ()> + Send + 'static) -> oneshot::Receiver<()> {
        let (done, returned) = oneshot::channel::<()>();
        let job = Box::pin(async move {
            job.await;
            drop(done);
        });
        // If the thread has ended, the job is dropped, and the caller sees this.
        drop(self.jobs.send(job));
        returned
    }
}

/// Makes the calls, one after the other, until the caller's end is dropped.
pub(super) async fn serve(mut jobs: Jobs) {
    while let Some(job) = jobs.recv().await {
        job.await;
    }
}

const NO_ANSWER: &str = "the disk does not answer";
/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests read the paused clock")]
mod tests {
    use super::*;
    use crate::journal::memory::Disk;

    /// The thread itself is blocked, as by a system call to a disk that hangs. By the paused clock, which goes on
    /// when nothing else is to do.
    #[tokio::test(start_paused = true)]
    async fn a_call_that_blocks_its_thread_is_late_and_others_are_refused_until_it_returns() {
        let (mut aside, jobs) = Aside::new(Disk::new().open());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(serve(jobs));
        });
        let (go_on, blocked) = std::sync::mpsc::channel::<()>();
        let hangs = |_| async move { Ok(blocked.recv()?) };
        assert_eq!(aside.call(hangs).await.unwrap_err().to_string(), NO_ANSWER);
        assert!(aside.is_late());
        let began = tokio::time::Instant::now();
        let refused = aside.call(|_| async { Ok(()) }).await.unwrap_err();
        assert_eq!((refused.to_string().as_str(), began.elapsed().as_secs()), (NO_ANSWER, 0));
        go_on.send(()).unwrap();
        assert!(aside.late.as_mut().unwrap().await.is_err(), "it has returned");
        assert!(!aside.is_late());
        aside.close().await;
        thread.join().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_close_does_not_wait_for_a_late_call() {
        let (mut aside, jobs) = Aside::new(Disk::new().open());
        tokio::spawn(serve(jobs));
        let hangs = |_| async { std::future::pending().await };
        assert!(aside.call::<(), _>(hangs).await.is_err());
        let began = tokio::time::Instant::now();
        aside.close().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_of_the_journal_is_a_failure_of_one_call() {
        let (mut aside, jobs) = Aside::new(Disk::new().open());
        tokio::spawn(serve(jobs));
        let panics = |_| async { panic!("as the test asked for") };
        assert!(aside.call::<(), _>(panics).await.is_err());
        assert_eq!(aside.call(|_| async { Ok(1) }).await.unwrap(), 1);
    }
}
