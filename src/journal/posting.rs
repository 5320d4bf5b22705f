//! Drives a journal for a process that publishes. It appends one batch after the other, repeats each append until
//! it succeeds, and asks for results. The worker never waits.
//!
//! With a journal [near](super::near) by, batches are stored there first. If this fails, or takes too long, a
//! batch is sent from memory.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::desk::{Ask, Inquiry, Known, Said};
use super::guarded::guarded;
use super::near::{Load, Near, Next};
use super::{Batch, Journal, JournalError, Mark, Position, Publisher};

type Call<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Tried<T> = Result<T, JournalError>;

/// See the module.
struct Posting {
    journal: Arc<dyn Journal>,
    publisher: Publisher,
    told: mpsc::UnboundedSender<Said>,
    /// The batch that has to be appended.
    batch: Option<Arc<Batch>>,
    appending: Option<Call<Tried<Position>>>,
    append_again: Again,
    marks: Vec<Mark>,
    /// How many marks, from the first one, are being stored now.
    marking: Option<(Call<Tried<()>>, usize)>,
    mark_again: Again,
    inquiry: Option<Call<Known>>,
    near: Option<Near>,
    /// The part of `near` that the batch contains.
    load: Option<Load>,
    /// A batch that could not be stored near by, and since when. It is appended after the stored data.
    unstored: Option<(Arc<Batch>, Instant)>,
    /// The worker's number of such a batch, which is on its way.
    unstored_no: Option<u64>,
}

/// When something that has failed is tried again.
#[derive(Default)]
struct Again {
    failures: u32,
    at: Option<Instant>,
}

impl Again {
    fn is_due(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| at <= now)
    }

    fn failed(&mut self, publisher: Publisher, now: Instant) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
        self.failures += 1;
        // So replicas that lost the same database do not all try again at the same moment.
        let spread = (publisher.0 as u64).wrapping_add(self.failures.into());
        let share = (spread.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
        self.at = Some(now + wait / 2 + wait.mul_f64(f64::from(share) / f64::from(u32::MAX) / 2.0));
    }
}

/// Serves requests until the worker has ended.
#[expect(clippy::disallowed_methods, reason = "it keeps its own time")]
pub(super) async fn run(
    journal: Arc<dyn Journal>,
    publisher: Publisher,
    near: Option<Near>,
    mut asks: mpsc::UnboundedReceiver<Ask>,
    told: mpsc::UnboundedSender<Said>,
) {
    let mut posting = Posting {
        journal,
        publisher,
        told,
        batch: None,
        appending: None,
        append_again: Again::default(),
        marks: Vec::new(),
        marking: None,
        mark_again: Again::default(),
        inquiry: None,
        near,
        load: None,
        unstored: None,
        unstored_no: None,
    };
    let mut closing: Option<oneshot::Sender<()>> = None;
    loop {
        if closing.is_some() && (posting.marks.is_empty() || posting.mark_again.failures > 0) {
            break;
        }
        let near_at = match closing {
            None => posting.move_on(Instant::now()).await,
            Some(_) => None,
        };
        let wake_at = posting.start(Instant::now()).into_iter().chain(near_at).min();
        tokio::select! {
            biased;
            ask = asks.recv(), if closing.is_none() => match ask {
                Some(Ask::Close(done)) => {
                    // The worker has counted the lines that are not appended.
                    (posting.batch, posting.appending) = (None, None);
                    closing = Some(done);
                }
                Some(ask) => posting.take(ask, Instant::now()).await,
                None => return,
            },
            appended = of(posting.appending.as_mut()) => {
                posting.appended(appended, Instant::now()).await;
            }
            marked = of(posting.marking.as_mut().map(|(call, _)| call)) => {
                posting.marked(marked, Instant::now());
            }
            known = of(posting.inquiry.as_mut()) => {
                posting.inquiry = None;
                posting.tell(Said::Known(known));
            }
            () = until(wake_at) => {}
        }
    }
    let near = posting.near.take();
    drop(posting);
    if let Some(near) = near {
        near.close().await;
    }
    if let Some(done) = closing {
        // The worker may no longer wait.
        let _ = done.send(());
    }
}

impl Posting {
    async fn take(&mut self, ask: Ask, now: Instant) {
        match ask {
            Ask::Append(batch) => match &mut self.near {
                Some(near) => {
                    let batch = Arc::new(batch);
                    match near.store(&batch, now).await {
                        Ok(()) => {
                            self.unstored = None;
                            self.tell(Said::Stored { no: batch.no });
                            self.look_for_evicted().await;
                        }
                        Err(error) => {
                            self.unstored = Some((batch, now));
                            self.tell(Said::NotStored { trouble: error.to_string() });
                        }
                    }
                }
                None => {
                    // The batch before this one was answered or given up.
                    (self.appending, self.append_again) = (None, Again::default());
                    self.batch = Some(Arc::new(batch));
                }
            },
            Ask::Mark(marks, _) => {
                if let Some(near) = &mut self.near {
                    near.mark(&marks).await;
                }
                self.marks.extend(marks);
            }
            Ask::Inquire(inquiry) => self.inquiry = Some(self.inquire(inquiry)),
            // Such a driver does not read, and the end of the run is handled elsewhere.
            _ => {}
        }
    }

    /// Takes the next batch from the journal near by. Returns when to call it again.
    async fn move_on(&mut self, now: Instant) -> Option<Instant> {
        let near = self.near.as_mut()?;
        if self.batch.is_some() {
            return None;
        }
        match near.next(now).await {
            Next::Load(load) => {
                self.batch = Some(Arc::new(load.batch.clone()));
                self.load = Some(load);
                return None;
            }
            Next::Nothing { news: true } => {
                self.tell(Said::Moved { moved: Vec::new(), is_all: true });
            }
            Next::Failed { trouble } => self.tell(Said::NotStored { trouble: trouble.to_string() }),
            Next::Nothing { news: false } | Next::Wait => {}
        }
        let near = self.near.as_mut()?;
        let waited = |since: Instant| now.saturating_duration_since(since) >= WAIT_FOR_NEAR;
        let is_failing = near.failing_since().is_some_and(waited);
        match self.unstored.take_if(|(_, since)| near.is_read() || is_failing || waited(*since)) {
            Some((batch, _)) => {
                let mut batch = Arc::unwrap_or_clone(batch);
                let of_worker = batch.no;
                batch.no = near.next_batch();
                self.batch = Some(Arc::new(batch));
                self.unstored_no = Some(of_worker);
                None
            }
            None => {
                let unstored = self.unstored.as_ref().map(|(_, since)| *since + WAIT_FOR_NEAR);
                Some(unstored.into_iter().chain([near.wake_at()]).min()?)
            }
        }
    }

    async fn look_for_evicted(&mut self) {
        let Some(near) = &mut self.near else { return };
        #[expect(clippy::disallowed_methods, reason = "lines age by the clock of the app")]
        let now = std::time::SystemTime::now();
        match near.evicted(now, self.load.as_ref()).await {
            Ok(evicted) if evicted.is_empty() => {}
            Ok(evicted) => self.tell(Said::Evicted(evicted)),
            Err(error) => self.tell(Said::NotStored { trouble: error.to_string() }),
        }
    }

    /// Starts the calls that are due. Returns when to call it again.
    fn start(&mut self, now: Instant) -> Option<Instant> {
        let mut wake_at = None;
        if let (Some(batch), None) = (&self.batch, &self.appending) {
            if self.append_again.is_due(now) {
                let (journal, batch) = (self.journal.clone(), batch.clone());
                self.appending =
                    Some(Box::pin(
                        async move { in_time(guarded(|| journal.append(&batch))).await },
                    ));
            } else {
                wake_at = self.append_again.at;
            }
        }
        if self.marking.is_none() && !self.marks.is_empty() {
            if self.mark_again.is_due(now) {
                let (journal, marks) = (self.journal.clone(), self.marks.clone());
                let count = marks.len();
                let call = Box::pin(async move { in_time(guarded(|| journal.mark(&marks))).await });
                self.marking = Some((call, count));
            } else {
                wake_at = wake_at.into_iter().chain(self.mark_again.at).min();
            }
        }
        wake_at
    }

    async fn appended(&mut self, appended: Tried<Position>, now: Instant) {
        self.appending = None;
        match appended {
            Ok(up_to) => {
                self.append_again = Again::default();
                let Some(batch) = self.batch.take() else { return };
                if let (Some(mut load), Some(near)) = (self.load.take(), &mut self.near) {
                    let moved = std::mem::take(&mut load.moved);
                    near.settle(load).await;
                    self.tell(Said::Moved { moved, is_all: false });
                    return self.look_for_evicted().await;
                }
                // Nothing is read here, so the generation is of no use.
                let no = self.unstored_no.take().unwrap_or(batch.no);
                self.tell(Said::Appended { no, up_to, generation: 0 });
            }
            Err(error) => {
                self.append_again.failed(self.publisher, now);
                self.tell(Said::Failing { trouble: error.to_string() });
            }
        }
    }

    fn marked(&mut self, marked: Tried<()>, now: Instant) {
        let count = self.marking.take().map_or(0, |(_, count)| count);
        match marked {
            Ok(()) => {
                self.marks.drain(..count);
                self.mark_again = Again::default();
            }
            Err(_) => self.mark_again.failed(self.publisher, now),
        }
    }

    fn inquire(&self, inquiry: Inquiry) -> Call<Known> {
        let (journal, publisher) = (self.journal.clone(), self.publisher);
        Box::pin(async move {
            match inquiry {
                Inquiry::Answers(ends) => {
                    let answers = guarded(|| journal.answers(publisher, &ends));
                    Known::Answers(in_time(answers).await.ok())
                }
                Inquiry::Unsettled { of, up_to } => {
                    let of = of.as_ref().map(|(portal, event_token)| (portal, event_token));
                    let unsettled = guarded(|| journal.unsettled(publisher, of, up_to));
                    Known::Unsettled(in_time(unsettled).await.ok())
                }
            }
        })
    }

    fn tell(&self, told: Said) {
        // If the worker is gone, nobody needs the answer.
        drop(self.told.send(told));
    }
}

/// The result of a call. Never returns if no call is under way. Cancel safe.
async fn of<T>(call: Option<&mut Call<T>>) -> T {
    match call {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

/// A call that hangs counts as failed. Its work may still be done.
async fn in_time<T>(call: impl Future<Output = Tried<T>>) -> Tried<T> {
    tokio::time::timeout(LONGEST_CALL, call)
        .await
        .unwrap_or_else(|_| Err("the journal does not answer".into()))
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// How long it waits before the second try, and the longest wait before any try.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long a batch that could not be stored near by waits for earlier batches that are stored there. If nothing
/// could be read there for as long, it does not wait.
const WAIT_FOR_NEAR: Duration = Duration::from_secs(5);
/// How long a call of the journal may take.
const LONGEST_CALL: Duration = Duration::from_secs(30);
