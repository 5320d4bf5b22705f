//! The bounded queue between callers and worker: its door (the budget), its messages and its bell.
//!
//! Callers hold a [`Producer`], the worker holds the one [`Consumer`]. A push never makes a system
//! call, but for a ring of the bell; nothing here waits, but for [`Overflow::Block`].
//!
//! # The door
//! A line is charged when it is accepted and released when the worker has settled it. Callers add to
//! `accepted_*` with one atomic addition each, and take it back if they are refused; only the worker
//! writes `taken_*` and `released_*`. The two sides are on separate cache lines. The channel has
//! [`HEADROOM`] more slots than the door lets lines in, so that a flush never competes with lines.
//!
//! # The bell
//! While a tag is alive the worker ticks by itself, and a push wakes nobody. The bell is rung when the
//! queue gets half full, on control messages, when a caller waits for room, and when the first tag
//! becomes alive while the worker is parked: see [`Consumer::park`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError, bounded};
use tokio::sync::{Notify, oneshot};

use crate::completion::Completion;
use crate::error::CompleteError;
use crate::line::{Alive, EventToken, InvalidEventToken, Live, LogLine, PortalId, Tag};
use crate::stats::{DropReason, FlushReport};

mod consumer;
mod thread;

pub(crate) use consumer::{Consumer, Excess, Parked};
pub(crate) use thread::{mark_worker_thread, unless_worker};

/// What happens to a line that finds no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// It is refused and counted. The caller never waits. The default.
    #[default]
    DropNewest,
    /// It is let in, and the worker gives up the oldest lines that have not been sent, and counts
    /// them. Refused all the same once the queue to the worker itself is full.
    DropOldest,
    /// The caller's thread waits up to this long for room; then the line is refused and counted.
    /// Not for async code, whose runtime it would hold up.
    Block(Duration),
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Lines in the channel, taken by nobody yet.
    pub(crate) queue: usize,
    /// Lines from accept to settle.
    pub(crate) lines: usize,
    /// Bytes from accept to settle, as [`LogLine::bytes`] counts them.
    pub(crate) bytes: usize,
    pub(crate) overflow: Overflow,
}

/// What the worker takes in, in the order in which it happened.
pub(crate) enum Message {
    Line(LogLine),
    /// The tagged span has closed, or its token was replaced: no more lines come of this tag.
    SpanClosed(Arc<Tag>),
    Control(Box<Control>),
}

/// What the app asks of the worker.
pub(crate) enum Control {
    Flush(Flush),
    Complete(Complete),
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

/// As a [`Flush`] of everything, and then stop.
pub(crate) struct Close {
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<FlushReport>,
}

/// Whose lines a flush is about.
pub(crate) enum Scope {
    All,
    Token(EventToken),
}

/// The callers' end.
#[derive(Clone)]
pub(crate) struct Producer(Arc<Door>);

/// Makes a queue.
pub(crate) fn queue(limits: Limits) -> (Producer, Consumer) {
    let (sender, receiver) = bounded(limits.queue.saturating_add(HEADROOM));
    let door = Arc::new(Door {
        sender,
        limits,
        alive: Arc::default(),
        callers: Callers::default(),
        worker: Worker::default(),
        signals: Signals::default(),
        refused: Refused::default(),
        unusable: Unusable::default(),
        bell: Notify::new(),
        waiting: Mutex::new(()),
        room: Condvar::new(),
        process: std::process::id(),
    });
    (Producer(door.clone()), Consumer::new(door, receiver))
}

/// What both ends share.
struct Door {
    sender: Sender<Message>,
    limits: Limits,
    alive: Arc<Alive>,
    callers: Callers,
    worker: Worker,
    signals: Signals,
    refused: Refused,
    unusable: Unusable,
    bell: Notify,
    /// Held by callers that wait for room, and by the worker for as long as it takes to wake them.
    waiting: Mutex<()>,
    room: Condvar,
    /// The process that has the worker's thread. A fork has not.
    process: u32,
}

/// Written by callers.
#[derive(Default)]
#[repr(align(128))]
struct Callers {
    accepted_lines: AtomicU64,
    accepted_bytes: AtomicU64,
    /// [`Message::SpanClosed`] sent.
    closes: AtomicU64,
}

/// Written by the worker only.
#[derive(Default)]
#[repr(align(128))]
struct Worker {
    taken_lines: AtomicU64,
    taken_closes: AtomicU64,
    released_lines: AtomicU64,
    released_bytes: AtomicU64,
}

/// Read by all, written seldom.
#[derive(Default)]
#[repr(align(128))]
struct Signals {
    closed: AtomicBool,
    /// The worker sleeps without a timer.
    parked: AtomicBool,
    /// The bell was rung for a half full queue, and the worker has not heard it yet.
    rung: AtomicBool,
    /// Somebody was refused: look before packing a line. Only a hint, so a wrong one is harmless.
    full: AtomicBool,
    /// Callers that wait for room.
    waiters: AtomicU64,
}

/// Lines refused at the door, by reason.
#[derive(Default)]
struct Refused {
    queue_full: AtomicU64,
    budget_spent: AtomicU64,
    closed: AtomicU64,
}

/// Event tokens that could not be used, by reason. The worker reports each reason once.
#[derive(Default)]
struct Unusable {
    empty: AtomicU64,
    too_long: AtomicU64,
    control_character: AtomicU64,
    redacted: AtomicU64,
}

/// Slots for messages that are not lines.
const HEADROOM: usize = 1024;

impl Producer {
    /// What is alive, for the layer to hold: it reads that at every event.
    pub(crate) fn alive(&self) -> &Arc<Alive> {
        &self.0.alive
    }

    /// A new tag, which keeps the worker ticking for as long as it lives.
    pub(crate) fn tag(
        &self,
        event_token: EventToken,
        portal: Option<PortalId>,
        late: u64,
    ) -> Arc<Tag> {
        let live = Live::tag(&self.0.alive);
        // Either the worker, which announces its sleep before it looks for live tags, sees the new
        // one, or its announcement is seen here.
        if self.0.signals.parked.load(SeqCst) {
            self.0.bell.notify_one();
        }
        Arc::new(Tag::new(event_token, portal, late, live))
    }

    /// Whether a line is worth packing. `false` has counted it as refused. A load and a compare, but
    /// after a refusal.
    pub(crate) fn admits(&self, tag: &Tag) -> bool {
        if !self.0.signals.full.load(Relaxed) {
            return true;
        }
        self.0.admits(tag)
    }

    /// Hands a line to the worker, or refuses it and counts that.
    pub(crate) fn offer(&self, line: LogLine) -> Result<(), DropReason> {
        let door = &*self.0;
        let tag = Arc::clone(&line.tag);
        let mut deadline = None;
        loop {
            match door.reserve(&line) {
                Ok(queued) => {
                    tag.note_line();
                    return door
                        .push(line, queued)
                        .inspect_err(|reason| door.refuse(&tag, *reason));
                }
                Err(reason) => {
                    let Overflow::Block(patience) = door.limits.overflow else {
                        door.refuse(&tag, reason);
                        return Err(reason);
                    };
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
                    if reason == DropReason::Closed || !door.wait_for_room(&line, deadline) {
                        door.refuse(&tag, reason);
                        return Err(reason);
                    }
                }
            }
        }
    }

    /// Tells the worker that no more lines come of this tag. If the queue is full the worker finds out
    /// by [`Tag::is_closed`].
    pub(crate) fn span_closed(&self, tag: Arc<Tag>) {
        let door = &*self.0;
        tag.close();
        if !tag.has_logged() {
            return;
        }
        door.callers.closes.fetch_add(1, SeqCst);
        let queued = door.queued(door.callers.accepted_lines.load(SeqCst));
        let refused = door.signals.closed.load(SeqCst)
            || queued > door.limits.queue as u64
            || door.sender.try_send(Message::SpanClosed(tag)).is_err();
        if refused {
            door.callers.closes.fetch_sub(1, SeqCst);
        } else {
            door.ring_if_half_full(queued);
        }
    }

    /// Hands a request of the app to the worker and wakes it. Gives it back if the worker is closed,
    /// or if there are a thousand of them already.
    pub(crate) fn control(&self, control: Control) -> Result<(), Control> {
        let control = Message::Control(Box::new(control));
        match self.0.sender.try_send(control) {
            Ok(()) => {
                self.0.bell.notify_one();
                Ok(())
            }
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => match message
            {
                Message::Control(control) => Err(*control),
                Message::Line(_) | Message::SpanClosed(_) => unreachable!("it was a control"),
            },
        }
    }

    /// Whether the worker takes in nothing any more: it was closed, or is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.signals.closed.load(SeqCst)
    }

    /// Lines accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.0.callers.accepted_lines.load(SeqCst)
    }

    /// Lines accepted and not settled yet.
    pub(crate) fn pending(&self) -> u64 {
        self.0.pending_lines()
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

    /// Counts an event token that cannot be used. The worker reports it: here, in the middle of
    /// somebody's span, is no place to log.
    pub(crate) fn note_unusable(&self, why: InvalidEventToken) {
        if self.0.unusable.counter(why).fetch_add(1, Relaxed) == 0 {
            self.0.bell.notify_one();
        }
    }
}

impl Door {
    /// Charges the line, or says why not. Returns how many messages wait in the channel.
    #[inline]
    fn reserve(&self, line: &LogLine) -> Result<u64, DropReason> {
        let bytes = line.bytes() as u64;
        let lines = self.callers.accepted_lines.fetch_add(1, SeqCst) + 1;
        let total = self.callers.accepted_bytes.fetch_add(bytes, SeqCst) + bytes;
        // Looked at after the charge: the worker closes first and then waits for charged lines.
        if self.signals.closed.load(SeqCst) {
            self.revert(bytes);
            return Err(DropReason::Closed);
        }
        let queued = self.queued(lines);
        match self.verdict(queued, lines, total) {
            Ok(()) => Ok(queued),
            Err(reason) => {
                self.revert(bytes);
                Err(reason)
            }
        }
    }

    /// Whether there is room, if the counters of the callers' side stand like this.
    #[inline]
    fn verdict(&self, queued: u64, lines: u64, bytes: u64) -> Result<(), DropReason> {
        if queued > self.limits.queue as u64 {
            return Err(DropReason::QueueFull);
        }
        let lines = lines.saturating_sub(self.worker.released_lines.load(SeqCst));
        let bytes = bytes.saturating_sub(self.worker.released_bytes.load(SeqCst));
        let spent = lines > self.limits.lines as u64 || bytes > self.limits.bytes as u64;
        match self.limits.overflow {
            Overflow::DropOldest => Ok(()),
            Overflow::DropNewest | Overflow::Block(_) if spent => Err(DropReason::BudgetSpent),
            Overflow::DropNewest | Overflow::Block(_) => Ok(()),
        }
    }

    #[inline]
    fn push(&self, line: LogLine, queued: u64) -> Result<(), DropReason> {
        let bytes = line.bytes() as u64;
        let refused = match self.sender.try_send(Message::Line(line)) {
            Ok(()) => {
                self.ring_if_half_full(queued);
                return Ok(());
            }
            Err(TrySendError::Full(_)) => DropReason::QueueFull,
            Err(TrySendError::Disconnected(_)) => DropReason::Closed,
        };
        self.revert(bytes);
        Err(refused)
    }

    fn revert(&self, bytes: u64) {
        self.callers.accepted_lines.fetch_sub(1, SeqCst);
        self.callers.accepted_bytes.fetch_sub(bytes, SeqCst);
    }

    #[cold]
    fn refuse(&self, tag: &Tag, reason: DropReason) {
        if let Some(counter) = self.refused.counter(reason) {
            counter.fetch_add(1, Relaxed);
        }
        tag.note_refusal();
        self.signals.full.store(true, Relaxed);
    }

    #[cold]
    fn admits(&self, tag: &Tag) -> bool {
        if let Overflow::Block(_) = self.limits.overflow {
            return true;
        }
        let lines = self.callers.accepted_lines.load(SeqCst) + 1;
        let bytes = self.callers.accepted_bytes.load(SeqCst) + 1;
        let verdict = match self.signals.closed.load(SeqCst) {
            true => Err(DropReason::Closed),
            false => self.verdict(self.queued(lines), lines, bytes),
        };
        match verdict {
            Ok(()) => self.signals.full.store(false, Relaxed),
            Err(reason) => self.refuse(tag, reason),
        }
        verdict.is_ok()
    }

    /// Messages in the channel, if so many lines were accepted. The worker publishes what it takes in
    /// steps, so this may be a little too high, and is exact when the worker finds the queue empty.
    #[inline]
    fn queued(&self, lines: u64) -> u64 {
        let lines = lines.saturating_sub(self.worker.taken_lines.load(SeqCst));
        let closes = self.callers.closes.load(SeqCst);
        lines + closes.saturating_sub(self.worker.taken_closes.load(SeqCst))
    }

    fn pending_lines(&self) -> u64 {
        let released = self.worker.released_lines.load(SeqCst);
        self.callers.accepted_lines.load(SeqCst).saturating_sub(released)
    }

    #[inline]
    fn ring_if_half_full(&self, queued: u64) {
        // Read first: in a queue that stays over half full everybody passes here.
        if queued * 2 >= self.limits.queue as u64
            && !self.signals.rung.load(SeqCst)
            && !self.signals.rung.swap(true, SeqCst)
        {
            self.bell.notify_one();
        }
    }

    /// Waits until the line may fit; `false` when the deadline has passed or nobody can make room.
    #[cold]
    fn wait_for_room(&self, line: &LogLine, deadline: Instant) -> bool {
        // After a fork the lock may be held by a thread that does not exist here.
        if std::process::id() != self.process || thread::is_worker_thread() {
            return false;
        }
        self.signals.waiters.fetch_add(1, SeqCst);
        self.bell.notify_one();
        let mut guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = loop {
            let lines = self.callers.accepted_lines.load(SeqCst) + 1;
            let bytes = self.callers.accepted_bytes.load(SeqCst) + line.bytes() as u64;
            let closed = self.signals.closed.load(SeqCst);
            if closed || self.verdict(self.queued(lines), lines, bytes).is_ok() {
                break true;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break false };
            let woken = self.room.wait_timeout(guard, left);
            guard = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(guard);
        self.signals.waiters.fetch_sub(1, SeqCst);
        fits
    }

    /// Called by the worker after it made room, or closed.
    fn wake_waiters(&self) {
        if self.signals.waiters.load(SeqCst) > 0 {
            // Held once, so that nobody is between its look at the counters and its sleep.
            drop(self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            self.room.notify_all();
        }
    }
}

impl Refused {
    fn counter(&self, reason: DropReason) -> Option<&AtomicU64> {
        match reason {
            DropReason::QueueFull => Some(&self.queue_full),
            DropReason::BudgetSpent => Some(&self.budget_spent),
            DropReason::Closed => Some(&self.closed),
            _ => None,
        }
    }
}

impl Unusable {
    fn counter(&self, why: InvalidEventToken) -> &AtomicU64 {
        match why {
            InvalidEventToken::Empty => &self.empty,
            InvalidEventToken::TooLong => &self.too_long,
            InvalidEventToken::ControlCharacter => &self.control_character,
            InvalidEventToken::Redacted => &self.redacted,
        }
    }
}

#[cfg(test)]
mod tests;
