//! Drives a journal on a thread of its own. The worker sends requests and never waits. Requests are served in
//! their order. So a read finds what was appended before it, and does not find what was settled before it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;
use std::{io, thread};

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::aside::{self, Jobs};
use super::desk::{Ask, Desk, Said};
use super::guarded::{generation_of, guarded};
use super::near::{MOST_MARKS, Near};
use super::posting;
use super::{About, Batch, Journal, JournalError, Mark, Position, Publisher, Query, Read};
use crate::line::PortalId;

mod adopt;
mod shared;

use adopt::Adoption;
use shared::{News, Tails};

/// The journal's side.
pub(crate) struct Driver {
    journal: Arc<dyn Journal>,
    asks: mpsc::UnboundedReceiver<Ask>,
    told: mpsc::UnboundedSender<Said>,
    /// Marks that could not be stored.
    marks: Vec<Mark>,
    adoption: Adoption,
    /// Other processes use the journal, too. Then there are no runs to take over from.
    is_shared: bool,
    tails: Tails,
    /// A request that was taken out of the queue too early. It is the next one.
    next: Option<Ask>,
    /// The part for a process that publishes.
    posts_for: Option<Publisher>,
    /// The journal near by, which stores everything first.
    near: Option<Near>,
    /// The calls of the journal near by, until a thread serves them.
    near_jobs: Option<Jobs>,
    /// Reads that wait until all lines that they may find are counted.
    reads: VecDeque<Ask>,
}

impl Driver {
    /// A driver of this journal for a run, and the worker's end of it.
    #[expect(clippy::disallowed_methods, reason = "it keeps its own time")]
    pub(crate) fn new(journal: Arc<dyn Journal>, publisher: Publisher) -> (Desk, Driver) {
        let (asks, from_worker) = mpsc::unbounded_channel();
        let (told, to_worker) = mpsc::unbounded_channel();
        let driver = Driver {
            journal: journal.clone(),
            asks: from_worker,
            told,
            marks: Vec::new(),
            adoption: Adoption::new(publisher, Instant::now()),
            is_shared: false,
            tails: Tails::new(Instant::now()),
            next: None,
            posts_for: None,
            near: None,
            near_jobs: None,
            reads: VecDeque::new(),
        };
        (Desk { journal, asks, told: to_worker }, driver)
    }

    /// The same for a journal that other processes use, too.
    pub(crate) fn shared(self) -> Driver {
        Driver { is_shared: true, ..self }
    }

    /// The same for a process that publishes. Then the driver takes nothing over, and repeats the append of each
    /// batch until the journal has it.
    pub(crate) fn posting(journal: Arc<dyn Journal>, publisher: Publisher) -> (Desk, Driver) {
        let (desk, driver) = Driver::new(journal, publisher);
        (desk, Driver { posts_for: Some(publisher), ..driver })
    }

    /// The same, and stores everything in a journal near by first. `left`: data that earlier runs have left there
    /// gets this publisher. `style`: how another process writes lines of this app.
    #[expect(clippy::disallowed_methods, reason = "it keeps its own time")]
    pub(crate) fn by_way_of(self, near: Arc<dyn Journal>, left: Publisher, style: About) -> Driver {
        let near = self.posts_for.map(|own| Near::new(near, own, left, style, Instant::now()));
        let (near, near_jobs) = near.unzip();
        Driver { near, near_jobs, ..self }
    }

    /// Starts the thread, and another one for a journal near by. They end when the worker is gone.
    ///
    /// # Errors
    /// When the system has no thread or no runtime for it.
    pub(crate) fn start(mut self) -> io::Result<()> {
        if let Some(jobs) = self.near_jobs.take() {
            spawn(NEAR_THREAD, aside::serve(jobs))?;
        }
        spawn(THREAD, self.run())
    }

    /// Serves requests in their order, and looks for data of other runs.
    pub(crate) async fn run(mut self) {
        if let Some(publisher) = self.posts_for {
            let run = posting::run(self.journal, publisher, self.near, self.asks, self.told);
            let Some(jobs) = self.near_jobs else { return run.await };
            return tokio::select! {
                biased;
                () = run => {}
                () = async { aside::serve(jobs).await; std::future::pending().await } => {}
            };
        }
        let journal = self.journal.clone();
        let mut news = News::new(&*journal);
        loop {
            if let Some(ask) = self.next.take() {
                match ask {
                    Ask::Close(done) => return self.close(done).await,
                    ask => self.serve(ask).await,
                }
                continue;
            }
            let ask = tokio::select! {
                biased;
                ask = self.asks.recv() => match ask {
                    Some(ask) => Some(ask),
                    None => return,
                },
                () = news.wait(self.tails.waiting()), if self.tails.waiting().is_some() => {
                    self.read_tail().await;
                    continue;
                }
                () = std::future::ready(()), if self.adoption.scan.is_some() => None,
                () = sleep_until(self.adoption.next_at), if !self.is_shared => None,
            };
            match ask {
                Some(Ask::Close(done)) => return self.close(done).await,
                Some(ask) => self.serve(ask).await,
                None if self.adoption.scan.is_some() => self.scan_on().await,
                None => self.adopt().await,
            }
            self.serve_reads().await;
        }
    }

    /// Serves the reads that have waited.
    async fn serve_reads(&mut self) {
        while !self.adoption.is_counting() {
            let Some(ask) = self.reads.pop_front() else { return };
            self.serve(ask).await;
        }
    }

    async fn serve(&mut self, ask: Ask) {
        if matches!(ask, Ask::Read { .. }) && self.adoption.is_counting() {
            return self.reads.push_back(ask);
        }
        match ask {
            Ask::Append(batch) => self.append(batch).await,
            Ask::Mark(marks, noted) => self.mark(marks, noted).await,
            Ask::Read { no, portal, after, generation, most_bytes } => {
                self.read((no, portal), after, generation, most_bytes).await;
            }
            Ask::Tail { no, after, generation, most_bytes } => {
                self.start_tail(no, after, generation, most_bytes);
            }
            Ask::Intend(intent, answer) => self.intend(intent, answer).await,
            Ask::Memos { portal } => self.memos(portal).await,
            Ask::Answer(answers) => self.answer(answers).await,
            Ask::LetGo { no, intents } => self.let_go(no, &intents).await,
            // This is the last request. The loop ends after it.
            Ask::Close(_) | Ask::Inquire(_) => {}
        }
    }

    /// Serves all requests so far, and finishes taking over.
    #[cfg(feature = "simulation")]
    #[expect(clippy::disallowed_methods, reason = "it keeps its own time")]
    pub(crate) async fn catch_up(&mut self) {
        while let Ok(ask) = self.asks.try_recv() {
            self.serve(ask).await;
        }
        while self.adoption.next_at <= Instant::now() {
            self.adopt().await;
        }
        while self.adoption.scan.is_some() {
            self.scan_on().await;
        }
        self.serve_reads().await;
    }

    /// Drops the journal on this thread.
    async fn close(mut self, done: oneshot::Sender<()>) {
        if let Err(error) = self.note_marks().await {
            self.tell(Said::NotMarked { trouble: error.to_string() });
        }
        drop(self);
        // The worker may no longer wait.
        let _ = done.send(());
    }

    async fn append(&mut self, batch: Batch) {
        let appended = guarded(|| self.journal.append(&batch)).await;
        let appended = appended.and_then(|up_to| Ok((up_to, generation_of(&*self.journal)?)));
        let told = match appended {
            Ok((up_to, generation)) => Said::Appended { no: batch.no, up_to, generation },
            Err(error) => Said::NotAppended { batch, trouble: error.to_string() },
        };
        self.tell(told);
        self.look_for_evicted().await;
    }

    async fn mark(&mut self, marks: Vec<Mark>, noted: Option<oneshot::Sender<()>>) {
        let room = MOST_MARKS.saturating_sub(marks.len());
        if self.marks.len() > room {
            self.marks.drain(..self.marks.len() - room);
        }
        self.marks.extend(marks);
        match self.note_marks().await {
            Ok(()) => {
                self.tell(Said::Marked);
                if let Some(noted) = noted {
                    // The request may no longer wait for it.
                    let _ = noted.send(());
                }
            }
            // The sender is dropped, so a waiting caller gets an answer at once.
            Err(error) => self.tell(Said::NotMarked { trouble: error.to_string() }),
        }
    }

    /// Stores the new marks, and the marks that failed before.
    async fn note_marks(&mut self) -> Result<(), JournalError> {
        if self.marks.is_empty() {
            return Ok(());
        }
        guarded(|| self.journal.mark(&self.marks)).await?;
        self.marks.clear();
        Ok(())
    }

    async fn read(
        &mut self,
        (no, portal): (u64, Option<PortalId>),
        after: Option<Position>,
        generation: u64,
        most_bytes: usize,
    ) {
        let read = self.try_read(&portal, after, generation, most_bytes).await;
        // This comes before the read data, so that the worker knows what is missing in it.
        if !self.is_shared {
            self.look_for_evicted().await;
        }
        self.tell(match read {
            Ok((read, generation)) => Said::Read { no, portal, read, generation },
            Err(error) => Said::NotRead { no, portal, trouble: error.to_string() },
        });
    }

    /// The same, with the generation of the data that was read.
    async fn try_read(
        &mut self,
        portal: &Option<PortalId>,
        after: Option<Position>,
        generation: u64,
        most_bytes: usize,
    ) -> Result<(Read, u64), JournalError> {
        let now = generation_of(&*self.journal)?;
        let after = after.filter(|_| generation == now);
        // Otherwise, what is settled would be read again.
        self.note_marks().await?;
        let query = Query { portal: Some(portal), after, most_bytes };
        Ok((guarded(|| self.journal.read(query)).await?, now))
    }

    async fn look_for_evicted(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "lines age by the clock of the app")]
        let now = SystemTime::now();
        match guarded(|| self.journal.evicted(now)).await {
            Ok(evicted) if evicted.is_empty() => {}
            Ok(evicted) => self.tell(Said::Evicted(evicted)),
            Err(error) => self.tell(Said::Failing { trouble: error.to_string() }),
        }
    }

    fn tell(&self, told: Said) {
        // If the worker is gone, nobody needs the answer.
        drop(self.told.send(told));
    }
}

fn spawn(name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        crate::thread_role::mark_worker_thread();
        runtime.block_on(task);
        runtime.shutdown_background();
    })?;
    Ok(())
}

/// The thread of a journal near by.
const NEAR_THREAD: &str = "bizproc-spool";
/// The driver's thread.
const THREAD: &str = "bizproc-journal";
