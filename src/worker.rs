//! The worker: the only loop, which reads the clock for all that it calls. It receives lines, asks the engine what
//! to do, and gives it the replies.
//!
//! ```text
//! queue -> engine -> lane -> coalescer        lines in
//!          engine <- lane <- coalescer        requests out, sent by a task each (tasks)
//!          engine -> lane -> ledger           replies in, lines settled
//! journal <-> engine                          lines and marks for a journal, if there is one (exchange)
//! ```
#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "any instant will do for tests to start from")
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::engine::{Engine, Outgoing, Step};
use self::exchange::Exchange;
use self::gate::Gate;
use self::lane::Renewal;
use self::report::{ReportSink, Trouble};
use self::runtime::WorkerRuntime;
use self::tasks::{Awaited, Came, Tasks};
use self::told::Told;
use crate::journal::desk::Desk;
use crate::protocol::{self, Reply, Request};
use crate::queue::{Consumer, Control, Message, Scope};
use crate::stats::{Meant, Stats};
use crate::transport::{Refreshed, Transport};

pub(crate) mod agenda;
pub(crate) mod backlog;
pub(crate) mod budgets;
pub(crate) mod coalescer;
pub(crate) mod deadlines;
pub(crate) mod elsewhere;
pub(crate) mod end;
pub(crate) mod ending;
pub(crate) mod engine;
pub(crate) mod entry;
mod exchange;
pub(crate) mod gaps;
pub(crate) mod gate;
pub(crate) mod incoming;
pub(crate) mod lane;
pub(crate) mod ledger;
pub(crate) mod memo;
pub(crate) mod meters;
pub(crate) mod operating;
pub(crate) mod outbox;
pub(crate) mod rate;
pub(crate) mod render;
pub(crate) mod report;
pub(crate) mod retry;
pub(crate) mod runtime;
pub(crate) mod schedule;
pub(crate) mod style;
mod tasks;
mod told;
pub(crate) mod turn;
pub(crate) mod watches;

/// The worker, made on the thread that it runs on.
pub(crate) struct Worker<T> {
    consumer: Consumer,
    engine: Engine,
    stats: Arc<Stats>,
    tasks: Tasks<T>,
    /// The message that is being processed. It is kept here so that a panic does not lose it without a
    /// count.
    taking: Option<Message>,
    exchange: Exchange,
    /// What the journal could take was handed over for the last time.
    handed_rest: bool,
    /// Where it writes its reports.
    sink: ReportSink,
    told: Told,
    /// How often the queue is looked at while lines may come.
    tick: Duration,
    /// When the timer last fired, nothing was alive, so the worker may park. Without this, each of many short
    /// spans would wake it. True at the start.
    at_rest: bool,
    closing: bool,
}

#[expect(clippy::disallowed_methods, reason = "the loop reads the clock for all that it calls")]
impl<T: Transport> Worker<T> {
    pub(crate) fn new(
        consumer: Consumer,
        engine: Engine,
        transport: T,
        stats: Arc<Stats>,
        tick: Duration,
    ) -> Self {
        Worker {
            consumer,
            engine,
            stats,
            tasks: Tasks::new(transport),
            taking: None,
            exchange: Exchange::new(None),
            handed_rest: false,
            sink: ReportSink::default(),
            told: Told::default(),
            tick,
            at_rest: true,
            closing: false,
        }
    }

    /// The same, with another place for its reports.
    pub(crate) fn with_sink(self, sink: ReportSink) -> Self {
        Worker { sink, ..self }
    }

    /// The same, with the desk of its engine's journal.
    pub(crate) fn with_journal(self, desk: Option<Desk>) -> Self {
        Worker { exchange: Exchange::new(desk), ..self }
    }

    /// Runs until closed, on `runtime`, through panics: what was pending is still there after one.
    pub(crate) fn run_on(mut self, runtime: &WorkerRuntime) {
        while catch_unwind(AssertUnwindSafe(|| runtime.block_on(self.run()))).is_err() {
            self.stats.restarted();
            self.engine.report(Trouble::Panicked, None, "");
            // Not at once, because a panic that repeats would use a whole core. Inside of the runtime,
            // because a timer outside of one panics.
            runtime.block_on(async { tokio::time::sleep(AFTER_PANIC).await });
        }
    }

    /// Receives, acts and waits, until closed. May be called again after a panic.
    pub(crate) async fn run(&mut self) {
        if let Some(Message::Line(line)) = self.taking.take() {
            self.engine.line_lost(&line, Instant::now().into_std());
        }
        loop {
            self.take_in();
            let wake_at = loop {
                let mut now = Instant::now().into_std();
                self.exchange.hear(&mut self.engine, now);
                if self.engine.is_out_of_time(now)
                    && !std::mem::replace(&mut self.handed_rest, true)
                {
                    self.exchange.hand_over_rest(&mut self.engine, now).await;
                    self.take_in();
                    now = Instant::now().into_std();
                }
                let step = self.engine.next(now);
                if matches!(step, Step::Closed) && self.consumer.is_drained() {
                    self.exchange.close(&mut self.engine, now).await;
                }
                let freed = self.engine.freed();
                if freed.held > 0 {
                    self.consumer.hold(freed.held as u64);
                }
                if freed.read.lines > 0 {
                    self.consumer.take_back(freed.read.lines, freed.read.bytes as u64);
                }
                if freed.lines > 0 || freed.bytes > 0 {
                    self.consumer.release(freed.lines, freed.bytes as u64);
                }
                self.engine.answer(now);
                match step {
                    Step::Send(call, request) => self.send(call, request),
                    Step::Access(call, access) => self.access(call, access),
                    Step::Wait(at) => {
                        self.exchange.hand_over(&mut self.engine, false, now);
                        break at;
                    }
                    Step::Closed if self.consumer.is_drained() => return self.tell(true),
                    Step::Closed => {
                        // A full batch would keep the queue from being drained.
                        self.exchange.hand_over(&mut self.engine, true, now);
                        break Some((Instant::now() + AFTER_CLOSE).into_std());
                    }
                }
            };
            self.tell(false);
            // Also if nothing else happens, so that reports that wait for their minute are written.
            let wake_at = wake_at.into_iter().chain(self.engine.next_report()).min();
            self.wait(wake_at).await;
        }
    }

    /// Reports trouble through `tracing`, with limits.
    fn tell(&mut self, last: bool) {
        self.told.look(&self.consumer, &self.stats, &mut self.engine);
        for report in self.engine.due_reports(last, Instant::now().into_std()) {
            report.emit(self.sink);
        }
    }

    fn take_in(&mut self) {
        let now = Instant::now().into_std();
        self.exchange.set_clock(&mut self.engine, now);
        for _ in 0..TAKE_AT_ONCE {
            if self.exchange.has_journal() && self.engine.has_full_batch() {
                return;
            }
            self.taking = self.consumer.try_take();
            match &self.taking {
                None => return,
                Some(Message::Line(line)) => self.engine.line(line, now),
                Some(Message::Scarce(line)) => self.engine.line(line, now),
                Some(Message::SpanClosed(tag)) => {
                    self.engine.span_closed(tag, now);
                }
                Some(Message::Control(_)) => {}
            }
            if let Some(Message::Control(control)) = self.taking.take() {
                let meant = match &*control {
                    Control::Complete(_) | Control::Expect(_) => Some(Meant::Activity),
                    Control::Flush(flush) => Some(match flush.scope {
                        Scope::Token(_) => Meant::Activity,
                        Scope::All => Meant::Code,
                    }),
                    Control::Close(_) => Some(Meant::Code),
                    _ => None,
                };
                match *control {
                    Control::Flush(flush) => self.engine.flush(flush, now),
                    Control::FlushDelivered(flush) => self.engine.flush_delivered(flush, now),
                    Control::Complete(complete) => self.engine.complete(complete, now),
                    Control::Accept(accept) => self.tasks.accept(accept),
                    Control::Call(call) => self.engine.call(call, now),
                    Control::Confirm(confirm) => self.tasks.confirm(confirm, now),
                    Control::Forget(forget) => {
                        self.engine.uninstalled(&forget.portal, now);
                        self.tasks.forget(forget);
                    }
                    Control::Expect(expect) => self.engine.expect(expect, now),
                    Control::Abandoned { event_token, portal } => {
                        let detail = event_token.to_string();
                        self.engine.report(Trouble::Abandoned, Some(&portal), detail);
                    }
                    #[cfg(feature = "log")]
                    Control::NoLog(code) => self.engine.report(Trouble::NoLog, None, code),
                    Control::LetGo(let_go) => {
                        let generation = self.exchange.generation();
                        self.engine.let_go(let_go, generation, now);
                    }
                    Control::Close(close) => {
                        self.closing = true;
                        self.consumer.close();
                        self.engine.close(close, now);
                    }
                }
                // Last, because this calls code of the app.
                if let Some(meant) = meant {
                    self.told.look_for_hidden(&self.consumer, meant, now);
                }
            }
        }
    }

    fn send(&mut self, call: Outgoing, request: Request) {
        let gate = self.gate(call);
        let noted = self.exchange.announce(&mut self.engine, Instant::now().into_std());
        let portal = self.engine.portal(call).cloned();
        self.tasks.send(call, portal, request, (gate, noted));
    }

    fn access(&mut self, call: Outgoing, access: Renewal) {
        let portal = self.engine.portal(call).cloned();
        let gate = self.gate(call);
        self.tasks.access(call, portal, access, gate);
    }

    /// Asks whether a request may leave, if other processes deliver from the journal, too.
    fn gate(&mut self, call: Outgoing) -> Option<Gate> {
        self.exchange.gate(&mut self.engine, call, Instant::now().into_std())
    }

    /// Waits for the bell, a reply, the given time, or the next tick.
    async fn wait(&mut self, wake_at: Option<std::time::Instant>) {
        let more = self.consumer.len() > 0;
        let parks = self.at_rest && !self.closing && !more;
        let parked = if parks { self.consumer.park() } else { None };
        let now = Instant::now();
        let tick = if more { Some(now) } else { parked.is_none().then(|| now + self.tick) };
        let wake_at = wake_at.map(Instant::from_std).into_iter().chain(tick).min();
        let timer = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let mut told = None;
        let came = tokio::select! {
            biased;
            said = self.exchange.said() => {
                told = Some(said);
                None
            }
            Some(came) = self.tasks.next() => Some(came),
            () = self.consumer.bell() => {
                self.at_rest = false;
                None
            }
            () = timer => {
                self.at_rest = !self.consumer.lines_may_come();
                None
            }
        };
        drop(parked);
        match told {
            Some(Some(told)) => {
                self.exchange.tell(&mut self.engine, told, Instant::now().into_std());
            }
            Some(None) => self.exchange.ended(&mut self.engine, Instant::now().into_std()),
            None => {}
        }
        if let Some(came) = came {
            self.came(came);
        }
        while let Some(came) = self.tasks.try_next() {
            self.came(came);
        }
    }

    /// Processes the result of a task.
    fn came(&mut self, came: Came) {
        let now = Instant::now().into_std();
        match came {
            Came::Reply(call, reply, left) => {
                if let Some(left) = left {
                    self.engine.left(call, left);
                }
                self.engine.settle(call, &reply, now);
            }
            Came::Withheld(call, renewal, why) => self.engine.withheld(call, renewal, why, now),
            Came::Access(call, refreshed) => self.engine.accessed(call, refreshed, now),
            // The tokens in use are about as fresh, and were refused for another reason.
            Came::Accepted(_, Ok(false)) => {}
            Came::Accepted(portal, accepted) => {
                if let Err(trouble) = accepted {
                    let detail = trouble.to_string();
                    self.engine.report(Trouble::Unstored, Some(&portal), detail);
                }
                self.engine.unblock(&Some(portal), now);
            }
            // Panics of libraries and of code of the app are caught where they happen. This one is an
            // error in this crate.
            Came::Panicked(awaited) => {
                self.stats.restarted();
                let portal =
                    awaited.and_then(|awaited| self.engine.portal(awaited.call())).cloned();
                self.engine.report(Trouble::Panicked, portal.as_ref(), "");
                let trouble =
                    protocol::Cause("the request panicked inside of tracing-bizproc".to_owned());
                match awaited {
                    Some(Awaited::Reply(call)) => {
                        self.engine.settle(call, &Reply::Unanswered(trouble), now);
                    }
                    Some(Awaited::Access(call)) => {
                        self.engine.accessed(call, Refreshed::Later(trouble), now);
                    }
                    None => {}
                }
            }
        }
    }
}

/// How many messages are received between two checks of what is due.
const TAKE_AT_ONCE: usize = 4_096;
/// Pause after a panic.
const AFTER_PANIC: Duration = Duration::from_millis(100);
/// A line that was accepted before the close may not be in the channel yet.
const AFTER_CLOSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
