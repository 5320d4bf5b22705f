//! The driver's work for a journal that several processes use: it reads new data, asks whether requests may leave,
//! and stores what the next owner of a portal has to know.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::Driver;
use crate::journal::desk::{Ask, Permission, Said};
use crate::journal::guarded::{generation_of, guarded};
use crate::journal::{Answer, Intent, Journal, JournalError, JournalFuture, Mark, Position, Query};
use crate::line::PortalId;

/// Requests for new data.
pub(super) struct Tails {
    /// The one that is not answered yet.
    tail: Option<Tail>,
    /// The last read of new data has found the end of the journal.
    at_end: bool,
    /// When the journal is asked next for lines that it has given up.
    evict_at: Instant,
}

/// A request for new data.
#[derive(Debug)]
pub(super) struct Tail {
    no: u64,
    after: Option<Position>,
    generation: u64,
    most_bytes: usize,
    /// The read starts at the first time at the earliest, and at the second time at the latest.
    not_before: Instant,
    due: Instant,
    /// The read does not wait for news, because it is known that there is more to read.
    has_more: bool,
}

/// Waits until there is something new.
pub(super) struct News<'a> {
    journal: &'a dyn Journal,
    waiting: Option<JournalFuture<'a, ()>>,
    /// There was news after the last read.
    came: bool,
}

impl<'a> News<'a> {
    pub(super) fn new(journal: &'a dyn Journal) -> Self {
        News { journal, waiting: None, came: false }
    }

    /// Returns when this read is due. Cancel safe: the journal's own future is kept.
    pub(super) async fn wait(&mut self, tail: Option<&Tail>) {
        let Some(tail) = tail else { return };
        if tail.has_more {
            return;
        }
        if !self.came {
            let journal = self.journal;
            let news = || Box::pin(guarded(move || journal.news())) as JournalFuture<'a, ()>;
            let waiting = self.waiting.get_or_insert_with(news);
            tokio::select! {
                biased;
                news = waiting => {
                    self.waiting = None;
                    // If the journal fails here, it is read from time to time.
                    if news.is_err() {
                        sleep_until(tail.due).await;
                    }
                    self.came = true;
                }
                () = sleep_until(tail.due) => {}
            }
        }
        if self.came {
            // Data that arrives in the next moment is read together with it.
            sleep_until(tail.not_before).await;
        }
        self.came = false;
    }
}

impl Tails {
    pub(super) fn new(now: Instant) -> Self {
        Tails { tail: None, at_end: false, evict_at: now }
    }

    pub(super) fn waiting(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }
}

impl Driver {
    #[expect(clippy::disallowed_methods, reason = "it keeps its own time")]
    pub(super) fn start_tail(
        &mut self,
        no: u64,
        after: Option<Position>,
        generation: u64,
        most_bytes: usize,
    ) {
        let is_new = generation_of(&*self.journal).is_ok_and(|now| now != generation);
        let has_more = !self.tails.at_end || is_new;
        let now = Instant::now();
        let (not_before, due) = (now + GATHER, now + TAIL_EVERY);
        self.tails.tail =
            Some(Tail { no, after, generation, most_bytes, not_before, due, has_more });
    }

    #[expect(clippy::disallowed_methods, reason = "it keeps its own time")]
    pub(super) async fn read_tail(&mut self) {
        let Some(tail) = self.tails.tail.take() else { return };
        let told = self.try_tail(tail).await;
        self.tails.at_end = matches!(&told, Ok(Said::Tail { read, .. }) if read.at_end);
        let now = Instant::now();
        if now >= self.tails.evict_at {
            self.tails.evict_at = now + EVICT_EVERY;
            self.look_for_evicted().await;
        }
        self.tell(told.unwrap_or_else(|error| Said::NotTailed { trouble: error.to_string() }));
    }

    async fn try_tail(&mut self, tail: Tail) -> Result<Said, JournalError> {
        let Tail { no, after, generation, most_bytes, .. } = tail;
        let now = generation_of(&*self.journal)?;
        let from = after.filter(|_| generation == now);
        // Otherwise settled lines would be read again.
        self.note_marks().await?;
        let query = Query { portal: None, after: from, most_bytes };
        let read = guarded(|| self.journal.read(query)).await?;
        Ok(Said::Tail { no, from, read, generation: now })
    }

    /// Asks for permission for this request, and for others that wait.
    pub(super) async fn intend(&mut self, intent: Intent, answer: oneshot::Sender<Permission>) {
        let (mut intents, mut answers) = (vec![intent], vec![answer]);
        let (mut marks, mut handed): (Vec<Mark>, usize) = (Vec::new(), 0);
        while intents.len() < MOST_INTENTS {
            match self.asks.try_recv() {
                Ok(Ask::Intend(intent, answer)) => {
                    intents.push(intent);
                    answers.push(answer);
                }
                // These marks only say which lines are settled, so their order does not matter.
                Ok(Ask::Mark(more, None)) => {
                    handed += 1;
                    marks.extend(more);
                }
                Ok(ask) => {
                    self.next = Some(ask);
                    break;
                }
                Err(_) => break,
            }
        }
        match guarded(|| self.journal.intend(&intents)).await {
            Ok(permits) => {
                let permits = permits.into_iter().map(Some).chain(std::iter::repeat(None));
                let asked = answers.into_iter().zip(intents);
                for ((answer, intent), permit) in asked.zip(permits) {
                    let permission = match permit {
                        Some(Some(permit)) => Permission::Given(permit),
                        Some(None) => Permission::Fenced,
                        None => {
                            let trouble = "the journal gave too few answers".to_owned();
                            Permission::Failed { trouble, intent }
                        }
                    };
                    // The worker may have ended.
                    drop(answer.send(permission));
                }
            }
            Err(error) => {
                for (answer, intent) in answers.into_iter().zip(intents) {
                    let trouble = error.to_string();
                    drop(answer.send(Permission::Failed { trouble, intent }));
                }
            }
        }
        if handed > 0 {
            // One answer for each request.
            (1..handed).for_each(|_| self.tell(Said::Marked));
            self.mark(marks, None).await;
        }
    }

    pub(super) async fn memos(&mut self, portal: Option<PortalId>) {
        let memos = guarded(|| self.journal.memos(&portal)).await;
        let memos = memos.map_err(|error| error.to_string());
        self.tell(Said::Memos { portal, memos });
    }

    pub(super) async fn answer(&mut self, answers: Vec<Answer>) {
        if let Err(error) = guarded(|| self.journal.answer(&answers)).await {
            let trouble = error.to_string();
            self.tell(Said::NotAnswered { answers, trouble });
        }
    }

    /// Stores the last marks and memos for portals that are let go. If another process owns a portal already, its
    /// own data is newer, and nothing is stored for this portal.
    pub(super) async fn let_go(&mut self, no: u64, intents: &[Intent]) {
        let mut stored = self.note_marks().await;
        if stored.is_ok() && !intents.is_empty() {
            stored = guarded(|| self.journal.intend(intents)).await.map(drop);
        }
        let stored = stored.map_err(|error| error.to_string());
        self.tell(Said::LetGo { no, stored });
    }
}

/// The longest time between two reads of new data.
const TAIL_EVERY: Duration = Duration::from_millis(100);
/// How often the journal is asked for lines that it has given up.
const EVICT_EVERY: Duration = Duration::from_secs(1);
/// How long a read waits for more data after the first news.
const GATHER: Duration = Duration::from_millis(5);
/// The largest number of requests that ask for permits in one call.
const MOST_INTENTS: usize = 1_000;
