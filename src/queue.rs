//! The bounded queue between callers and worker: its door (which checks the budget), its messages, and
//! its bell (which wakes the worker).
//!
//! Callers have a [`Producer`], the worker has the only [`Consumer`]. A push makes no system call, unless it
//! wakes the worker ("rings the bell"). Nothing here waits, except with [`Overflow::Block`].
//!
//! # The door
//! A line is charged when it is accepted, and released when the worker has settled it (acknowledged, late or
//! lost). Callers charge with one atomic addition, and subtract it if they are refused. Only the worker writes
//! the totals of what it has taken and settled, so callers and worker seldom share a cache line (`budget`).
//! If there is little room, each line checks the sum; otherwise every 32nd line does. The channel has more
//! slots (`door::HEADROOM`) than the door lets lines in, so that a flush does not compete with lines.
//!
//! A token that logs without end would use all room. If there is little room, lines that would leave too little
//! for other tokens are refused (`shares`).
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

use crate::line::{Alive, EventToken, InvalidEventToken, Live, LogLine, PortalId, Tag};
use crate::stats::{DropReason, Hidden, Meant, Unseen};

mod budget;
mod consumer;
mod door;
mod message;
mod shares;
mod signals;

pub(crate) use crate::thread_role::{enter, mark_worker_thread};
pub(crate) use budget::{MOST_BYTES, MOST_LINES};
pub(crate) use consumer::Consumer;
use door::{Charged, Door};
pub(crate) use message::{
    Accept, Call, Caller, Close, Complete, Confirm, Control, Expect, Flush, Forget, Keeps, LetGo,
    Message, Scope,
};
pub(crate) use shares::{Load, Shares};

/// What happens to a line if there is no room.
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
    /// of the same token if it has many ([`token_share`](crate::Builder::token_share)), otherwise
    /// the oldest of all. If the queue to the worker itself is full, the line is refused.
    DropOldest,
    /// The caller's thread waits up to this long for room; then the line is refused and counted. Not for
    /// async code, because it would block a thread of the runtime. On a thread that the worker waits for
    /// ([`on_thread`](crate::auth::on_thread)) it is refused at once, because it would wait for itself.
    Block(Duration),
}

/// How much may be pending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Lines in the channel that the worker has not taken yet.
    pub(crate) queue: usize,
    /// Pending lines: accepted and not yet settled.
    pub(crate) lines: usize,
    /// Bytes of pending lines, as [`LogLine::bytes`] counts them.
    pub(crate) bytes: usize,
    pub(crate) overflow: Overflow,
    /// The share of each of these that one token may use while no other token logs.
    pub(crate) token_share: f64,
}

impl Limits {
    /// Whether this number of lines and bytes is above the limits. A single line is always allowed: otherwise a
    /// large one would never be accepted.
    #[inline]
    pub(crate) fn are_passed_by(&self, lines: u64, bytes: u64) -> bool {
        lines > self.lines as u64 || bytes > self.bytes as u64 && lines > 1
    }
}

/// The callers' end.
#[derive(Clone)]
pub(crate) struct Producer(Arc<Door>);

/// The callers' end, for users that do not keep the queue open.
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

    /// What is alive. The layer reads it at every event.
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
        // Invariant: the worker does not sleep without ticks while a tag is alive. It sets `parked` before it
        // checks for live tags, and here the tag is counted before `parked` is read, so one of the two sees
        // the other. Whoever resets `parked` rings; one ring is enough.
        let parked = &self.0.signals.parked;
        if parked.load(SeqCst) && parked.swap(false, SeqCst) {
            self.0.bell.notify_one();
        }
    }

    /// Whether a line may be accepted, so that it is worth packing. If not, it is counted as refused. This
    /// costs a load and a compare, and more only after a refusal.
    #[inline]
    pub(crate) fn admits(&self, tag: &Tag) -> bool {
        if !self.0.signals.full.load(Relaxed) {
            return true;
        }
        self.0.admits(tag)
    }

    /// Sends a line to the worker, or refuses and counts it.
    #[cfg(any(feature = "log", feature = "simulation", test))]
    pub(crate) fn offer(&self, line: LogLine) -> Result<(), DropReason> {
        let charged = self.charge(&line.tag, line.bytes());
        self.offer_charged(charged, || line)
    }

    /// Charges a line of this size that will be offered.
    #[inline]
    pub(crate) fn charge(&self, tag: &Tag, bytes: usize) -> Charged {
        self.0.reserve(tag, bytes as u64)
    }

    /// As [`offer`](Self::offer), for a line that was charged. The line is created in the place from which it
    /// is sent, because each move would copy its 128 bytes.
    #[inline]
    pub(crate) fn offer_charged(
        &self,
        charged: Charged,
        line: impl FnOnce() -> LogLine,
    ) -> Result<(), DropReason> {
        self.0.offer(charged, line)
    }

    /// Tells the worker that there are no more lines of this tag, unless it never had one.
    pub(crate) fn span_closed(&self, tag: Arc<Tag>) {
        if tag.end_matters() {
            self.0.offer_close(tag);
        }
    }

    /// Sends a request of the app to the worker and wakes it. Returns it if the worker is closed, or if there
    /// are hundreds of requests already.
    pub(crate) fn control(&self, control: Control) -> Result<(), Box<Control>> {
        self.0.signals.asked.store(true, SeqCst);
        if self.0.signals.abandoned.load(SeqCst) {
            return Err(Box::new(control));
        }
        let control = Message::Control(Box::new(control));
        match self.0.sender.try_send(control) {
            Ok(()) => {
                self.0.bell.notify_one();
                // Invariant: no message stays in the channel of a worker that has ended. The worker drops
                // leftovers after it has set `abandoned`, and here `abandoned` is read after the push, so one
                // of the two sees the other.
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

    /// Another layer of this crate handles the same spans.
    pub(crate) fn note_shared_spans(&self) {
        if !self.0.signals.shared_spans.swap(true, SeqCst) {
            self.0.bell.notify_one();
        }
    }

    /// Sets what to do, once, when a line arrives and the worker is closed.
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

    /// Notes that the worker was closed on its own thread, or on one that it waits for, and did not wait for
    /// lines. The worker reports it.
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

    /// Pending lines.
    pub(crate) fn pending(&self) -> u64 {
        self.0.budget.pending_lines()
    }

    /// Lines refused for this reason; 0 for reasons that are not refusals.
    pub(crate) fn refused(&self, reason: DropReason) -> u64 {
        self.0.refused.counter(reason).map_or(0, |counter| counter.load(Relaxed))
    }

    /// Event tokens that could not be used, for whatever reason.
    pub(crate) fn unusable_tokens(&self) -> u64 {
        let unusable = &self.0.unusable;
        InvalidEventToken::ALL.iter().map(|why| unusable.counter(*why).load(Relaxed)).sum()
    }

    /// Spans and events of process logs that the layer did not see.
    pub(crate) fn unseen(&self) -> u64 {
        self.0.unseen.iter().map(|counter| counter.load(Relaxed)).sum()
    }

    /// Counts spans and events that the layer did not see. The worker reports it.
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
