//! The worker: the only clock and the only loop. It receives lines, asks the engine what to do, and
//! gives it the replies.
//!
//! ```text
//! queue -> engine -> lane -> coalescer        lines in
//!          engine <- lane <- coalescer        requests out, sent by a task each
//!          engine -> lane -> ledger           replies in, lines settled
//! ```
#![expect(clippy::disallowed_methods, reason = "this is the one file that reads the clock")]

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use self::engine::{Engine, Outgoing, Step, Withheld};
use self::gate::Gate;
use self::lane::Renewal;
use self::report::{ReportSink, Trouble};
use self::runtime::WorkerRuntime;
use crate::journal::driver::{Ask, Desk, Said};
use crate::line::{InvalidEventToken, PortalId};
use crate::protocol::{self, Reply, Request};
use crate::queue::{Accept, Confirm, Consumer, Control, Forget, Message, Scope};
use crate::stats::{DropReason, Meant, Stats, Unseen};
use crate::transport::{Arrived, Confirmed, Question, Refreshed, Transport};

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
pub(crate) mod trail;
pub(crate) mod turn;
pub(crate) mod watches;

/// The worker, made on the thread that it runs on.
pub(crate) struct Worker<T> {
    consumer: Consumer,
    engine: Engine,
    transport: T,
    stats: Arc<Stats>,
    /// Requests in flight.
    calls: JoinSet<Came>,
    /// The portal of each request. It is known also if the call panics.
    callers: HashMap<Id, Awaited>,
    /// The message that is being processed. It is kept here so that a panic does not lose it without a
    /// count.
    taking: Option<Message>,
    /// Set if there is a journal, until the end of the run.
    desk: Option<Desk>,
    /// What the journal could take was handed over for the last time.
    handed_rest: bool,
    /// Where it writes its reports.
    sink: ReportSink,
    /// Reports that are made only once.
    told: Told,
    /// Kinds of unusable tokens that were reported.
    unusable: [u64; InvalidEventToken::ALL.len()],
    /// When the authorization server was asked about unverified requests.
    asked: VecDeque<std::time::Instant>,
    /// Lines refused at the door that were reported, by reason.
    refused: [u64; DropReason::COUNT],
    /// Failures of the app's format that were reported.
    format_failures: u64,
    /// How often the queue is looked at while lines may come.
    tick: Duration,
    /// When the timer last fired, nothing was alive, so the worker may park. Without this, each of many short
    /// spans would wake it. True at the start.
    at_rest: bool,
    closing: bool,
}

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
            transport,
            stats,
            calls: JoinSet::new(),
            callers: HashMap::new(),
            taking: None,
            desk: None,
            handed_rest: false,
            sink: ReportSink::default(),
            told: Told::default(),
            unusable: [0; InvalidEventToken::ALL.len()],
            asked: VecDeque::new(),
            refused: [0; DropReason::COUNT],
            format_failures: 0,
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
        Worker { desk, ..self }
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
                self.hear(now);
                if self.engine.is_out_of_time(now)
                    && !std::mem::replace(&mut self.handed_rest, true)
                {
                    self.hand_over_rest(now).await;
                    self.take_in();
                    now = Instant::now().into_std();
                }
                let step = self.engine.next(now);
                if matches!(step, Step::Closed) && self.consumer.is_drained() {
                    self.end_journal(now).await;
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
                        self.hand_over(false, now);
                        break at;
                    }
                    Step::Closed if self.consumer.is_drained() => return self.tell(true),
                    Step::Closed => {
                        // A full batch would keep the queue from being drained.
                        self.hand_over(true, now);
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
        for (n, (why, count)) in self.consumer.unusable_tokens().enumerate() {
            if count > self.unusable[n] {
                self.unusable[n] = count;
                self.engine.report(Trouble::UnusableToken(why), None, why.to_string());
            }
        }
        for (why, lines) in self.consumer.refused() {
            let told = std::mem::replace(&mut self.refused[why as usize], lines);
            if lines > told {
                self.engine.refused_at_door(why, lines - told);
            }
        }
        if self.consumer.was_closed_without_wait() {
            self.engine.report(Trouble::ClosedByItself, None, "");
        }
        let failures = self.stats.format_failures();
        if failures > self.format_failures {
            self.engine.report(Trouble::FormatFailed, None, format!("{failures} so far"));
            self.format_failures = failures;
        }
        for hidden in self.consumer.hidden(self.told.hidden) {
            self.told.hidden += 1;
            let detail = hidden.to_string();
            self.engine.report(Trouble::Unseen(Unseen::Filtered), None, detail);
        }
        for (n, (why, count)) in self.consumer.unseen().enumerate() {
            // Each hidden callsite is reported once, by its name.
            if why != Unseen::Filtered && count > self.told.unseen[n] {
                self.told.unseen[n] = count;
                self.engine.report(Trouble::Unseen(why), None, "");
            }
        }
        if self.consumer.is_unguarded() && !std::mem::replace(&mut self.told.unguarded, true) {
            self.engine.report(Trouble::Unguarded, None, "");
        }
        if self.consumer.shares_spans() && !std::mem::replace(&mut self.told.shared_spans, true) {
            self.engine.report(Trouble::SharedSpans, None, "");
        }
        for report in self.engine.due_reports(last, Instant::now().into_std()) {
            report.emit(self.sink);
        }
    }

    fn take_in(&mut self) {
        let now = Instant::now().into_std();
        if self.desk.is_some() {
            self.engine.set_clock(now, SystemTime::now());
        }
        for _ in 0..TAKE_AT_ONCE {
            if self.desk.is_some() && self.engine.has_full_batch() {
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
                    Control::Accept(accept) => self.accept(accept),
                    Control::Call(call) => self.engine.call(call, now),
                    Control::Confirm(confirm) => self.confirm(confirm, now),
                    Control::Forget(forget) => self.forget(forget, now),
                    Control::Expect(expect) => self.engine.expect(expect, now),
                    Control::Abandoned { event_token, portal } => {
                        let detail = event_token.to_string();
                        self.engine.report(Trouble::Abandoned, Some(&portal), detail);
                    }
                    #[cfg(feature = "log")]
                    Control::NoLog(code) => self.engine.report(Trouble::NoLog, None, code),
                    Control::LetGo(let_go) => {
                        let generation = self.desk.as_ref().map_or(0, Desk::generation);
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
                    self.look_for_hidden(meant, now);
                }
            }
        }
    }

    /// Searches for hidden spans if an app works on activities and logs nothing. This takes a millisecond, so
    /// it is not done for each activity.
    fn look_for_hidden(&mut self, meant: Meant, now: std::time::Instant) {
        let pause = if self.consumer.has_no_line() { A_MINUTE } else { 60 * A_MINUTE };
        let is_time = |looked: std::time::Instant| now.saturating_duration_since(looked) >= pause;
        if self.told.looked.is_none_or(is_time) {
            self.told.looked = Some(now);
            self.consumer.look_for_hidden(meant);
        }
    }

    /// Gives the journal's driver what it is to do. `all`: also what could wait for company.
    fn hand_over(&mut self, all: bool, now: std::time::Instant) {
        let Some(desk) = &self.desk else { return };
        for ask in self.engine.asks(all, now) {
            desk.ask(ask);
        }
    }

    /// The same before a request leaves. Returns when the journal knows that it does, if it has to know.
    fn announce(&mut self, now: std::time::Instant) -> Option<oneshot::Receiver<()>> {
        let desk = self.desk.as_ref()?;
        if !self.engine.asks_first() {
            return None;
        }
        let (noted, is_noted) = oneshot::channel();
        let mut noted = Some(noted);
        for ask in self.engine.asks(true, now) {
            desk.ask(match ask {
                Ask::Mark(marks, _) => Ask::Mark(marks, noted.take()),
                ask => ask,
            });
        }
        Some(is_noted)
    }

    /// Takes in what the journal's driver has said.
    fn hear(&mut self, now: std::time::Instant) {
        while let Some(told) = self.desk.as_mut().and_then(Desk::try_told) {
            self.engine.told(told, now);
        }
    }

    /// The shutdown's time is over: what was accepted in the last moment is stored all the same, if the
    /// journal answers soon.
    async fn hand_over_rest(&mut self, now: std::time::Instant) {
        self.hand_over(true, now);
        let until = Instant::now() + LAST_WORD;
        while let Some(desk) = &mut self.desk {
            if self.engine.has_stored_all() {
                return;
            }
            match tokio::time::timeout_at(until, desk.told()).await {
                Ok(Some(told)) => self.engine.told(told, Instant::now().into_std()),
                _ => return,
            }
        }
    }

    /// The run ends: the last marks are noted, if the journal answers by the deadline.
    async fn end_journal(&mut self, now: std::time::Instant) {
        self.hand_over(true, now);
        let Some(desk) = self.desk.take() else { return };
        let (done, is_done) = oneshot::channel();
        desk.ask(Ask::Close(done));
        let patience = self.engine.time_left(now) + LAST_WORD;
        // A journal that hangs has none of it.
        drop(tokio::time::timeout(patience, is_done).await);
    }

    /// Asks whether a request may leave, if other processes deliver from the journal, too.
    fn gate(&mut self, call: Outgoing) -> Option<Gate> {
        if !self.engine.is_shared() {
            return None;
        }
        let intent = self.engine.intent(call, Instant::now().into_std());
        let is_leaving = self.engine.is_leaving(call);
        let (answer, permission) = oneshot::channel();
        let journal = self.desk.as_ref().map(|desk| {
            desk.ask(Ask::Intend(intent, answer));
            desk.journal().clone()
        });
        Some(Gate { journal, permission, is_leaving })
    }

    fn send(&mut self, call: Outgoing, mut request: Request) {
        let gate = self.gate(call);
        let noted = self.announce(Instant::now().into_std());
        let transport = self.transport.clone();
        let portal = self.engine.portal(call).cloned();
        let sending = async move {
            if let Some(mut noted) = noted {
                // A journal that hangs or has failed must not delay a request for longer. The wait is in steps, so
                // that time in which the process was stopped does not count.
                for _ in 0..NOTED_STEPS {
                    if tokio::time::timeout(NOTED_STEP, &mut noted).await.is_ok() {
                        break;
                    }
                }
            }
            let mut left = None;
            if let Some(gate) = gate {
                match gate.pass(portal.as_ref()).await {
                    Ok(pass) => request.pass = pass,
                    Err(why) => return Came::Withheld(call, None, why),
                }
                left = Some(Instant::now());
            }
            let pass = request.pass.clone();
            let reply = transport.call(portal.as_ref(), request).await;
            if pass.has_refused() {
                return Came::Withheld(call, None, Withheld::Lapsed);
            }
            Came::Reply(call, reply, left)
        };
        let id = self.calls.spawn(sending).id();
        self.callers.insert(id, Awaited::Reply(call));
    }

    fn access(&mut self, call: Outgoing, access: Renewal) {
        let transport = self.transport.clone();
        let portal = self.engine.portal(call).cloned();
        let gate = self.gate(call);
        let asking = async move {
            if let Some(gate) = gate {
                if let Err(why) = gate.pass(portal.as_ref()).await {
                    return Came::Withheld(call, Some(access), why);
                }
            }
            let refreshed = match access {
                Renewal::Refresh => transport.refresh(portal.as_ref()).await,
                Renewal::Relocate(host) => transport.relocate(portal.as_ref(), &host).await,
            };
            Came::Access(call, refreshed)
        };
        let id = self.calls.spawn(asking).id();
        self.callers.insert(id, Awaited::Access(call));
    }

    fn accept(&mut self, accept: Accept) {
        let transport = self.transport.clone();
        let Accept { portal, tokens } = accept;
        self.calls.spawn(async move {
            let accepted = transport.accept(&portal, tokens).await;
            Came::Accepted(portal, accepted)
        });
    }

    /// Checks whether a portal is where a request says, and stores its tokens if it is.
    fn confirm(&mut self, confirm: Confirm, now: std::time::Instant) {
        let Confirm { portal, question, reply } = confirm;
        while self.asked.front().is_some_and(|&at| now.saturating_duration_since(at) >= A_MINUTE) {
            self.asked.pop_front();
        }
        if matches!(question, Question::Known(_)) {
            // No server is asked, so it does not count.
        } else if self.asked.len() >= QUESTIONS_A_MINUTE {
            let trouble = "more than 60 unverified requests in a minute".to_owned();
            // The caller may have stopped waiting.
            drop(reply.send(Confirmed::Later(protocol::Cause(trouble))));
            return;
        } else {
            self.asked.push_back(now);
        }
        let transport = self.transport.clone();
        self.calls.spawn(async move {
            let confirmed = transport.confirm(&portal, question).await;
            let accepted = match &confirmed {
                Confirmed::Yes(_, Some(tokens)) => {
                    transport.accept(&portal, Arrived::Handed((**tokens).clone())).await
                }
                _ => Ok(false),
            };
            drop(reply.send(match &accepted {
                // Then the app is not installed: it would have no tokens after its next start.
                Err(trouble) => Confirmed::Later(trouble.clone()),
                Ok(_) => confirmed,
            }));
            Came::Accepted(portal, accepted)
        });
    }

    fn forget(&mut self, forget: Forget, now: std::time::Instant) {
        let Forget { portal, reply } = forget;
        self.engine.uninstalled(&portal, now);
        let transport = self.transport.clone();
        self.calls.spawn(async move {
            let forgotten = transport.forget(&portal).await;
            drop(reply.send(forgotten));
            Came::Accepted(portal, Ok(false))
        });
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
        let joined = tokio::select! {
            biased;
            said = told_by(&mut self.desk) => {
                told = Some(said);
                None
            }
            Some(joined) = self.calls.join_next_with_id() => Some(joined),
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
            Some(Some(told)) => self.engine.told(told, Instant::now().into_std()),
            Some(None) => {
                self.desk = None;
                self.engine.journal_is_away("its thread has ended", Instant::now().into_std());
            }
            None => {}
        }
        if let Some(joined) = joined {
            self.joined(joined);
        }
        while let Some(joined) = self.calls.try_join_next_with_id() {
            self.joined(joined);
        }
    }

    fn joined(&mut self, joined: Result<(Id, Came), tokio::task::JoinError>) {
        let now = Instant::now().into_std();
        match joined {
            Ok((id, came)) => {
                self.callers.remove(&id);
                match came {
                    Came::Reply(call, reply, left) => {
                        if let Some(left) = left {
                            self.engine.left(call, left.into_std());
                        }
                        self.engine.settle(call, &reply, now);
                    }
                    Came::Withheld(call, renewal, why) => {
                        self.engine.withheld(call, renewal, why, now);
                    }
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
                }
            }
            Err(panic) => {
                // Panics of libraries and of code of the app are caught where they happen. This one is an
                // error in this crate.
                self.stats.restarted();
                let awaited = self.callers.remove(&panic.id());
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

/// What the journal's driver says next; never, without one.
async fn told_by(desk: &mut Option<Desk>) -> Option<Said> {
    match desk {
        Some(desk) => desk.told().await,
        None => std::future::pending().await,
    }
}

/// What was reported about the app's setup. The setup does not change, so each report is made once.
#[derive(Default)]
struct Told {
    unguarded: bool,
    shared_spans: bool,
    /// When hidden spans were looked for.
    looked: Option<std::time::Instant>,
    /// How much of what a filter hides.
    hidden: usize,
    /// How often, by the cause.
    unseen: [u64; Unseen::ALL.len()],
}

/// The result of a task.
enum Came {
    /// With the time when it left, if that was later than it was composed.
    Reply(Outgoing, Reply, Option<Instant>),
    Access(Outgoing, Refreshed),
    /// It has not left, with the access that it was to ask for.
    Withheld(Outgoing, Option<Renewal>, Withheld),
    /// Whether new tokens are used now.
    Accepted(PortalId, Result<bool, protocol::Cause>),
}

/// The expected result of a task.
#[derive(Clone, Copy)]
enum Awaited {
    Reply(Outgoing),
    Access(Outgoing),
}

impl Awaited {
    fn call(self) -> Outgoing {
        match self {
            Awaited::Reply(call) | Awaited::Access(call) => call,
        }
    }
}

/// Anybody can send unverified requests. The authorization server is asked about at most this number of them
/// in a minute, because an app that asks too often may be blocked.
const QUESTIONS_A_MINUTE: usize = 60;
const A_MINUTE: Duration = Duration::from_secs(60);
/// How many messages are received between two checks of what is due.
const TAKE_AT_ONCE: usize = 4_096;
/// How long a request waits at most until the journal knows that it leaves.
const NOTED_STEP: Duration = Duration::from_millis(25);
const NOTED_STEPS: usize = 40;
/// How long the journal has at the end for what could not be said before.
const LAST_WORD: Duration = Duration::from_millis(40);
/// Pause after a panic.
const AFTER_PANIC: Duration = Duration::from_millis(100);
/// A line that was accepted before the close may not be in the channel yet.
const AFTER_CLOSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
