//! The bounded queue between callers and worker: its door (which checks the budget), its messages, and
//! its bell (which wakes the worker).
//!
//! Callers hold a [`Producer`], the worker holds the one [`Consumer`]. A push makes no system call,
//! unless it rings the bell. Nothing here waits, except with [`Overflow::Block`].
//!
//! # The door
//! A line is charged when it is accepted and released when the worker has settled it. Callers charge
//! with one atomic addition, and take it back if they are refused; only the worker writes the totals of
//! what it took and settled, so that hardly any two of them share a cache line (`budget`). If there is
//! little room, each line checks the sum; otherwise every 32nd line does. The channel has more slots
//! (`door::HEADROOM`) than the door lets lines in, so that a flush does not compete with lines.
//!
//! A token that logs without end would use up all room. Once there is little room, lines are refused
//! that would leave too little for other tokens (`shares`).
//!
//! # The bell
//! While a tag is alive, the worker looks at the queue regularly, and a push does not wake it. The bell
//! is rung when the queue gets half full, on control messages, when a caller waits for room, and when
//! the first tag becomes alive while the worker is parked: see [`Consumer::park`].

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::TrySendError;
use tokio::sync::oneshot;

use crate::call::CallAnswer;
use crate::completion::Completion;
use crate::error::{CallError, CompleteError};
use crate::line::{Alive, EventToken, InvalidEventToken, Live, LogLine, PortalId, Tag};
use crate::protocol::{Cause, Method};
use crate::stats::{DropReason, FlushReport, Hidden, Meant, Unseen};
use crate::transport::{Arrived, Confirmed, Question};

mod budget;
mod consumer;
mod door;
mod shares;

pub(crate) use crate::thread_role::{enter, mark_worker_thread};
pub(crate) use budget::{MOST_BYTES, MOST_LINES};
pub(crate) use consumer::Consumer;
use door::{Charged, Door};
pub(crate) use shares::{Load, Shares};

/// What happens to a line that finds no room.
///
/// ```
/// # fn main() -> Result<(), tracing_bizproc::error::InvalidOption> {
/// use std::time::Duration;
/// use tracing_bizproc::config::Overflow;
///
/// let batch_job = Overflow::Block(Duration::from_millis(100));
/// assert_eq!("block 100ms".parse::<Overflow>()?, batch_job);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// It is refused and counted. The caller never waits. The default.
    #[default]
    DropNewest,
    /// It is accepted, and the worker drops and counts the oldest lines that have not been sent: lines
    /// of the same token if that holds many ([`token_share`](crate::Builder::token_share)), otherwise
    /// the oldest of all. If the queue to the worker itself is full, the line is refused.
    DropOldest,
    /// The caller's thread waits up to this long for room; then the line is refused and counted. Not for
    /// async code, because it would block a thread of the runtime. On a thread that delivery waits for
    /// ([`on_thread`](crate::auth::on_thread)) it is refused at once: the room could never come.
    Block(Duration),
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Lines in the channel that the worker has not taken yet.
    pub(crate) queue: usize,
    /// Lines from accept to settle.
    pub(crate) lines: usize,
    /// Bytes from accept to settle, as [`LogLine::bytes`] counts them.
    pub(crate) bytes: usize,
    pub(crate) overflow: Overflow,
    /// The share of each of these that one token may hold while it is alone.
    pub(crate) token_share: f64,
}

impl Limits {
    /// Whether so many lines, with so many bytes, are more than may be pending. A single line never is:
    /// a large one would never be accepted otherwise.
    #[inline]
    pub(crate) fn are_passed_by(&self, lines: u64, bytes: u64) -> bool {
        lines > self.lines as u64 || bytes > self.bytes as u64 && lines > 1
    }
}

/// The messages to the worker, in the order in which they were sent.
///
/// Aligned, so that no two slots of the channel share a cache line: where the end of one message lay
/// beside the stamp of the next slot, an event cost two threads that log at once a sixth more.
#[repr(align(64))]
pub(crate) enum Message {
    Line(LogLine),
    /// A line that was let in while room was tight, and counts for its token: see `shares`. The
    /// consumer makes a plain line of it. Boxed, so that a usual line is a message as it is.
    Scarce(Box<LogLine>),
    /// The tagged span has closed, or its token was replaced: no more lines come of this tag.
    SpanClosed(Arc<Tag>),
    Control(Box<Control>),
}

/// What the app asks of the worker.
pub(crate) enum Control {
    Flush(Flush),
    Complete(Complete),
    Accept(Accept),
    Call(Call),
    Confirm(Confirm),
    Forget(Forget),
    Expect(Expect),
    /// An activity was dropped without an end.
    Abandoned {
        event_token: EventToken,
        portal: PortalId,
    },
    /// The portal does not wait for an activity with this code, so it has no log.
    #[cfg(feature = "log")]
    NoLog(String),
    Close(Close),
}

/// Send what was accepted so far, whatever the schedule says, and report.
pub(crate) struct Flush {
    pub(crate) scope: Scope,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<FlushReport>,
}

/// End an activity, after its lines if they are settled by the deadline.
pub(crate) struct Complete {
    pub(crate) event_token: EventToken,
    pub(crate) portal: Option<PortalId>,
    pub(crate) completion: Completion,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<FlushReport, CompleteError>>,
}

/// Take over tokens of a portal that were verified.
pub(crate) struct Accept {
    pub(crate) portal: PortalId,
    pub(crate) tokens: Arrived,
}

/// Call a method of the app's own.
pub(crate) struct Call {
    pub(crate) portal: Option<PortalId>,
    pub(crate) method: Method,
    /// A JSON object.
    pub(crate) body: Vec<u8>,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<CallAnswer, CallError>>,
}

/// Find out whether these tokens are of this portal, and take them over if they are.
pub(crate) struct Confirm {
    pub(crate) portal: PortalId,
    pub(crate) question: Question,
    pub(crate) reply: oneshot::Sender<Confirmed>,
}

/// The app was removed from this portal: forget its tokens, and give up its lines.
pub(crate) struct Forget {
    pub(crate) portal: PortalId,
    pub(crate) reply: oneshot::Sender<Result<(), Cause>>,
}

/// Until when the portal waits for this activity.
pub(crate) struct Expect {
    pub(crate) event_token: EventToken,
    pub(crate) portal: Option<PortalId>,
    pub(crate) waits_until: Instant,
}

/// As a [`Flush`] of everything, and then stop.
pub(crate) struct Close {
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<FlushReport>,
}

/// Which lines a flush covers.
pub(crate) enum Scope {
    All,
    Token(EventToken),
}

/// The callers' end.
#[derive(Clone)]
pub(crate) struct Producer(Arc<Door>);

/// The callers' end for those who do not keep the queue open.
pub(crate) struct WeakProducer(Weak<Door>);

/// Makes a queue.
pub(crate) fn queue(limits: Limits) -> (Producer, Consumer) {
    let (door, receiver) = Door::new(limits);
    (Producer(door.clone()), Consumer::new(door, receiver))
}

impl WeakProducer {
    /// As [`Producer::span_closed`], if the queue still exists.
    pub(crate) fn span_closed(&self, tag: Arc<Tag>) {
        if let Some(door) = self.0.upgrade() {
            Producer(door).span_closed(tag);
        }
    }
}

impl Producer {
    pub(crate) fn downgrade(&self) -> WeakProducer {
        WeakProducer(Arc::downgrade(&self.0))
    }

    /// What is alive, for the layer to hold: it reads that at every event.
    pub(crate) fn alive(&self) -> &'static Alive {
        self.0.alive
    }

    /// A new tag, which keeps the worker ticking for as long as it lives.
    pub(crate) fn tag(
        &self,
        event_token: EventToken,
        portal: Option<PortalId>,
        tagged_by: u64,
    ) -> Arc<Tag> {
        let live = Live::tag(self.0.alive);
        self.ring_if_parked();
        Arc::new(Tag::new(event_token, portal, tagged_by, live))
    }

    /// Counts a span that has its token from the start, with the tag that it may get.
    #[inline]
    pub(crate) fn tagged_span(&self) -> Live {
        let live = Live::tagged_span(self.0.alive);
        self.ring_if_parked();
        live
    }

    /// After a new tag was counted.
    #[inline]
    fn ring_if_parked(&self) {
        // Either the worker, which announces its sleep before it looks for live tags, sees the new
        // one, or its announcement is seen here. Read first, and then taken back: one ring is enough.
        let parked = &self.0.signals.parked;
        if parked.load(SeqCst) && parked.swap(false, SeqCst) {
            self.0.bell.notify_one();
        }
    }

    /// Whether a line is worth packing. If not, it has been counted as refused. This costs a load and a
    /// compare, and more only after a refusal.
    #[inline]
    pub(crate) fn admits(&self, tag: &Tag) -> bool {
        if !self.0.signals.full.load(Relaxed) {
            return true;
        }
        self.0.admits(tag)
    }

    /// Hands a line to the worker, or refuses it and counts that.
    #[cfg(any(feature = "log", feature = "simulation", test))]
    pub(crate) fn offer(&self, line: LogLine) -> Result<(), DropReason> {
        let charged = self.charge(&line.tag, line.bytes());
        self.offer_charged(charged, || line)
    }

    /// Charges a line that is about to be offered, and has so many bytes.
    #[inline]
    pub(crate) fn charge(&self, tag: &Tag, bytes: usize) -> Charged {
        self.0.reserve(tag, bytes as u64)
    }

    /// As [`offer`](Self::offer), of a line that was charged. It is made where it is sent from: each
    /// time that it is moved, its 128 bytes are copied.
    #[inline]
    pub(crate) fn offer_charged(
        &self,
        charged: Charged,
        line: impl FnOnce() -> LogLine,
    ) -> Result<(), DropReason> {
        self.0.offer(charged, line)
    }

    /// Tells the worker that no more lines of this tag come, unless it never had one.
    pub(crate) fn span_closed(&self, tag: Arc<Tag>) {
        if tag.end_matters() {
            self.0.offer_close(tag);
        }
    }

    /// Hands a request of the app to the worker and wakes it. Gives it back if the worker is closed,
    /// or if there are hundreds of them already.
    pub(crate) fn control(&self, control: Control) -> Result<(), Box<Control>> {
        self.0.signals.asked.store(true, SeqCst);
        if self.0.signals.abandoned.load(SeqCst) {
            return Err(Box::new(control));
        }
        let control = Message::Control(Box::new(control));
        match self.0.sender.try_send(control) {
            Ok(()) => {
                self.0.bell.notify_one();
                // Either the worker finds it when it goes, or that it is gone is seen here.
                if self.0.signals.abandoned.load(SeqCst) {
                    self.0.drop_leftovers();
                }
                Ok(())
            }
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => match message
            {
                Message::Control(control) => Err(control),
                Message::Line(_) | Message::Scarce(_) | Message::SpanClosed(_) => {
                    unreachable!("it was a control")
                }
            },
        }
    }

    /// The guard is dropped. Returns whether the worker goes on: if there was nothing to deliver so far,
    /// this is not the end of the app, and the worker lives as long as the layer.
    pub(crate) fn outlives_guard(&self) -> bool {
        let signals = &self.0.signals;
        let is_used = signals.asked.load(SeqCst)
            || self.accepted() > 0
            || self.0.alive.lines_may_come()
            || self.is_closed()
            || self.is_forked();
        if is_used {
            return false;
        }
        signals.unguarded.store(true, SeqCst);
        !signals.layer_gone.load(SeqCst)
    }

    /// The layer is dropped. If the guard is gone, too, the worker is no longer needed.
    pub(crate) fn layer_dropped(&self) {
        self.0.signals.layer_gone.store(true, SeqCst);
        if self.0.signals.unguarded.load(SeqCst) {
            #[expect(clippy::disallowed_methods, reason = "it closes now: nothing is pending")]
            let deadline = Instant::now();
            let (reply, _nobody) = oneshot::channel();
            // A worker that is gone needs no message.
            drop(self.control(Control::Close(Close { deadline, reply })));
        }
    }

    /// Another layer of this crate takes the same spans.
    pub(crate) fn note_shared_spans(&self) {
        if !self.0.signals.shared_spans.swap(true, SeqCst) {
            self.0.bell.notify_one();
        }
    }

    /// What is done, once, when a line comes and the worker is closed.
    pub(crate) fn when_closed(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _first = self.0.when_closed.set(Box::new(tell));
    }

    /// Whether this process is a fork of the one that has the worker's thread.
    pub(crate) fn is_forked(&self) -> bool {
        self.0.is_forked()
    }

    /// Whether the worker accepts nothing any more: it was closed, or is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.signals.closed.load(SeqCst)
    }

    /// Notes that somebody closed the worker on a thread that delivery waits for, and was not waited for.
    /// The worker reports it.
    pub(crate) fn note_close_without_wait(&self) {
        self.0.signals.closed_without_wait.store(true, SeqCst);
        self.0.bell.notify_one();
    }

    /// Whether there is no room for another line.
    pub(crate) fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Lines accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.0.budget.accepted_lines()
    }

    /// Lines accepted and not settled yet.
    pub(crate) fn pending(&self) -> u64 {
        self.0.budget.pending_lines()
    }

    /// Lines refused at the door for this reason; 0 for reasons that are no refusals.
    pub(crate) fn refused(&self, reason: DropReason) -> u64 {
        self.0.refused.counter(reason).map_or(0, |counter| counter.load(Relaxed))
    }

    /// Event tokens that could not be used, for whatever reason.
    pub(crate) fn unusable_tokens(&self) -> u64 {
        let unusable = &self.0.unusable;
        InvalidEventToken::ALL.iter().map(|why| unusable.counter(*why).load(Relaxed)).sum()
    }

    /// Spans and events that were meant for a log and not shown to the layer.
    pub(crate) fn unseen(&self) -> u64 {
        self.0.unseen.iter().map(|counter| counter.load(Relaxed)).sum()
    }

    /// Counts what was not shown to the layer. The worker reports it.
    #[cold]
    pub(crate) fn note_unseen(&self, why: Unseen) {
        if self.0.unseen[why as usize].fetch_add(1, Relaxed) == 0 {
            self.0.bell.notify_one();
        }
    }

    /// Counts what a filter hides. The worker says what to add to the filter.
    pub(crate) fn note_hidden(&self, hidden: Hidden) {
        self.0.note_hidden(hidden);
    }

    /// How the worker may look for what a filter hides.
    pub(crate) fn search_by(&self, search: impl Fn(Meant) -> Vec<Hidden> + Send + Sync + 'static) {
        let _first = self.0.search.set(Box::new(search));
    }

    /// Counts an event token that cannot be used. The worker reports it, because logging here would
    /// happen in the middle of the app's span.
    pub(crate) fn note_unusable(&self, why: InvalidEventToken) {
        if self.0.unusable.counter(why).fetch_add(1, Relaxed) == 0 {
            self.0.bell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
