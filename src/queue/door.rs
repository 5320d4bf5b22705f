//! The door of the queue: which lines are accepted, what they are charged, and who is woken.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::Notify;

use super::budget::{Budget, Standing, UNSEEN};
use super::shares::Shares;
use super::signals::{Refused, Signals, Unusable};
use super::{Limits, Message, Overflow};
use crate::line::{Alive, LogLine, Tag};
use crate::stats::{DropReason, Hidden, Meant, Unseen};
use crate::thread_role::is_delivery_thread;

/// The state that both ends share.
pub(super) struct Door {
    pub(super) sender: Sender<Message>,
    /// What the worker left in the channel when it ended.
    leftovers: Receiver<Message>,
    pub(super) limits: Limits,
    pub(super) alive: &'static Alive,
    pub(super) budget: Budget,
    pub(super) shares: Arc<Shares>,
    pub(super) signals: Signals,
    pub(super) refused: Refused,
    pub(super) unusable: Unusable,
    /// Tags whose close did not fit into the channel. The worker still has to report their refused lines.
    pub(super) left_out: Mutex<Vec<Arc<Tag>>>,
    /// How many spans and events the layer did not see, by [`Unseen`].
    pub(super) unseen: [AtomicU64; Unseen::ALL.len()],
    /// Known hidden callsites, each once.
    pub(super) hidden: Mutex<Vec<Hidden>>,
    /// Searches for hidden callsites. The layer provides it.
    pub(super) search: OnceLock<Box<dyn Fn(Meant) -> Vec<Hidden> + Send + Sync>>,
    pub(super) bell: Notify,
    /// What to do with the first line that arrives when the worker is closed.
    pub(super) when_closed: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Locked by callers that wait for room, and for a moment by the worker that wakes them.
    pub(super) waiting: Mutex<()>,
    pub(super) room: Condvar,
    /// The process that has the worker's thread. A forked child has none.
    pub(super) process: u32,
}

/// For a line that was charged: how many messages are in the channel (0 if this line did not check), and
/// whether there is little room, so that the line counts for its token. Packed into one word, which is
/// returned in a register.
#[derive(Clone, Copy)]
pub(crate) struct Place(u64);

/// The place of a line, or why it is refused.
pub(crate) type Charged = Result<Place, DropReason>;

impl Place {
    const UNKNOWN: Place = Place(0);

    fn new(queued: u64, scarce: bool) -> Place {
        Place(queued << 1 | u64::from(scarce))
    }

    #[inline]
    fn queued(self) -> u64 {
        self.0 >> 1
    }

    #[inline]
    fn is_scarce(self) -> bool {
        self.0 & 1 == 1
    }
}

/// Longest wait for room: a longer one could not be added to the clock, and means "for ever" anyway.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Callsites that are told to be hidden.
const MOST_HIDDEN: usize = 32;

/// Slots for messages that are not lines.
const HEADROOM: usize = 1024;

/// Most tags that wait beside the channel. Refused lines of further tags are counted and reported, but
/// their logs do not mention them.
const MOST_LEFT_OUT: usize = 65_536;

impl Door {
    pub(super) fn new(limits: Limits) -> (Arc<Door>, Receiver<Message>) {
        let (sender, receiver) = bounded(limits.queue.saturating_add(HEADROOM));
        let mut door = Door {
            sender,
            leftovers: receiver.clone(),
            limits,
            alive: Alive::new(),
            budget: Budget::default(),
            shares: Arc::new(Shares::new(limits.token_share)),
            signals: Signals::default(),
            refused: Refused::default(),
            unusable: Unusable::default(),
            left_out: Mutex::default(),
            unseen: Default::default(),
            hidden: Mutex::default(),
            search: OnceLock::new(),
            bell: Notify::new(),
            when_closed: OnceLock::new(),
            waiting: Mutex::new(()),
            room: Condvar::new(),
            process: std::process::id(),
        };
        *door.signals.tight.get_mut() = !door.is_roomy(Standing::default());
        (Arc::new(door), receiver)
    }

    #[inline]
    pub(super) fn offer(
        &self,
        charged: Charged,
        line: impl FnOnce() -> LogLine,
    ) -> Result<(), DropReason> {
        match charged {
            Ok(place) if place.is_scarce() => self.push_scarce(line(), place),
            Ok(place) => self.push(Message::Line(line()), place),
            Err(reason) => self.offer_again(line(), reason),
        }
    }

    #[cold]
    #[expect(clippy::disallowed_methods, reason = "a caller that was asked to wait needs a clock")]
    fn offer_again(&self, line: LogLine, mut reason: DropReason) -> Result<(), DropReason> {
        if let Overflow::Block(patience) = self.limits.overflow {
            let deadline = Instant::now() + patience.min(LONGEST_WAIT);
            while reason != DropReason::Closed && self.wait_for_room(&line, deadline) {
                match self.reserve(&line.tag, line.bytes() as u64) {
                    Ok(place) => return self.offer(Ok(place), || line),
                    Err(again) => reason = again,
                }
            }
        }
        self.refuse(&line.tag, reason);
        Err(reason)
    }

    /// A close may use half of the headroom when there is no room for lines, because it may carry the count
    /// of refused lines. If there is no room at all: a close with refused lines is kept in `left_out`;
    /// another one is dropped, and the entry only waits for its linger.
    pub(super) fn offer_close(&self, tag: Arc<Tag>) {
        let queued = self.budget.add_close();
        let closed = self.signals.closed.load(SeqCst);
        let message = Message::SpanClosed(tag);
        let refused = match closed || queued > (self.limits.queue + HEADROOM / 2) as u64 {
            true => Some(message),
            false => self.sender.try_send(message).err().map(TrySendError::into_inner),
        };
        match refused {
            None => self.ring_if_half_full(queued),
            Some(message) => {
                self.budget.revert_close();
                if let (false, Message::SpanClosed(tag)) = (closed, message) {
                    self.leave_out(tag);
                }
            }
        }
    }

    #[cold]
    fn leave_out(&self, tag: Arc<Tag>) {
        if !tag.has_refused() {
            return;
        }
        // Held for as long as it takes to push, or to take all.
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        if left_out.len() < MOST_LEFT_OUT {
            left_out.push(tag);
        }
        drop(left_out);
        self.signals.left_out.store(true, SeqCst);
    }

    /// Charges a line of this tag, or says why not.
    #[inline]
    pub(super) fn reserve(&self, tag: &Tag, bytes: u64) -> Charged {
        let looks = self.budget.charge(bytes);
        // Looked at after the charge: the worker closes first and then waits for charged lines.
        if self.signals.closed.load(SeqCst) {
            self.budget.revert(bytes);
            return Err(DropReason::Closed);
        }
        let place = match looks || self.signals.tight.load(Relaxed) {
            true => self.look(tag, bytes)?,
            false => Place::UNKNOWN,
        };
        tag.note_line();
        Ok(place)
    }

    /// Whether there is room for a line that was just charged, and how tight it is.
    #[inline(never)]
    fn look(&self, tag: &Tag, bytes: u64) -> Charged {
        let standing = self.budget.standing();
        if !self.is_roomy(standing) && !self.signals.tight.load(SeqCst) {
            self.signals.tight.store(true, SeqCst);
        }
        let verdict = self.verdict_for(tag, standing);
        if verdict.is_err() {
            self.budget.revert(bytes);
            // A caller may be waiting for the room that was charged for a moment.
            if matches!(self.limits.overflow, Overflow::Block(_)) && !self.is_forked() {
                self.wake_waiters();
            }
        }
        let scarce = self.signals.tight.load(Relaxed);
        verdict.map(|()| Place::new(standing.queued, scarce))
    }

    /// Whether there is room for the last line of those, which is one of this tag.
    fn verdict_for(&self, tag: &Tag, standing: Standing) -> Result<(), DropReason> {
        self.verdict(standing)?;
        let tight = self.signals.tight.load(Relaxed);
        if tight && !self.shares.admit(&self.limits, standing, tag.fingerprint()) {
            return Err(DropReason::TokenShare);
        }
        Ok(())
    }

    /// Whether there is room for the last line of those.
    #[inline]
    fn verdict(&self, standing: Standing) -> Result<(), DropReason> {
        let Standing { queued, lines, bytes } = standing;
        if queued > self.limits.queue as u64 {
            return Err(DropReason::QueueFull);
        }
        let spent = self.limits.are_passed_by(lines, bytes);
        match self.limits.overflow {
            Overflow::DropOldest => Ok(()),
            Overflow::DropNewest | Overflow::Block(_) if spent => Err(DropReason::BudgetSpent),
            Overflow::DropNewest | Overflow::Block(_) => Ok(()),
        }
    }

    #[inline]
    fn push(&self, message: Message, place: Place) -> Result<(), DropReason> {
        match self.sender.try_send(message) {
            Ok(()) => {
                self.ring_if_half_full(place.queued());
                Ok(())
            }
            Err(error) => Err(self.not_sent(error)),
        }
    }

    /// As [`push`](Self::push), and counts the line for its token, from before it can be taken.
    #[cold]
    #[inline(never)]
    fn push_scarce(&self, line: LogLine, place: Place) -> Result<(), DropReason> {
        self.shares.push(line.tag.fingerprint(), line.bytes() as u64);
        self.push(Message::Scarce(Box::new(line)), place)
    }

    #[cold]
    fn not_sent(&self, error: TrySendError<Message>) -> DropReason {
        let reason = match error {
            TrySendError::Full(_) => DropReason::QueueFull,
            TrySendError::Disconnected(_) => DropReason::Closed,
        };
        let line = match error.into_inner() {
            Message::Line(line) => line,
            Message::Scarce(line) => {
                self.shares.take(line.tag.fingerprint(), line.bytes() as u64);
                *line
            }
            Message::SpanClosed(_) | Message::Control(_) => return reason,
        };
        self.budget.revert(line.bytes() as u64);
        self.refuse(&line.tag, reason);
        reason
    }

    #[cold]
    fn refuse(&self, tag: &Tag, reason: DropReason) {
        if let Some(counter) = self.refused.counter(reason) {
            counter.fetch_add(1, Relaxed);
        }
        tag.note_refusal(reason);
        self.signals.full.store(true, Relaxed);
        if reason == DropReason::Closed {
            self.tell_closed();
        }
    }

    /// Counts something that a filter hides. The list of what is hidden does not grow for ever.
    pub(super) fn note_hidden(&self, hidden: Hidden) {
        self.unseen[Unseen::Filtered as usize].fetch_add(1, Relaxed);
        let mut known = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MOST_HIDDEN && !known.contains(&hidden) {
            known.push(hidden);
            self.bell.notify_one();
        }
    }

    /// The worker is gone: drops what is still in the channel, so that nobody waits for an answer.
    /// Called by the worker, and by callers whose message may have come after that.
    pub(super) fn drop_leftovers(&self) {
        while let Ok(message) = self.leftovers.try_recv() {
            drop(message);
        }
    }

    /// The worker is gone and cannot report that lines are refused. Not during a panic: the next line
    /// reports it.
    fn tell_closed(&self) {
        if self.signals.missed_worker.load(Relaxed) || std::thread::panicking() || self.is_forked()
        {
            return;
        }
        if !self.signals.missed_worker.swap(true, SeqCst) {
            if let Some(tell) = self.when_closed.get() {
                tell();
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.verdict(self.budget.with_line(1)).is_err()
    }

    #[cold]
    pub(super) fn admits(&self, tag: &Tag) -> bool {
        if matches!(self.limits.overflow, Overflow::Block(_)) && !self.signals.closed.load(SeqCst) {
            return true;
        }
        let verdict = match self.signals.closed.load(SeqCst) {
            true => Err(DropReason::Closed),
            false => self.verdict_for(tag, self.budget.with_line(1)),
        };
        match verdict {
            Ok(()) => self.signals.full.store(false, Relaxed),
            Err(reason) => self.refuse(tag, reason),
        }
        verdict.is_ok()
    }

    #[inline]
    fn ring_if_half_full(&self, queued: u64) {
        // Read first: if a queue stays over half full, all callers come here.
        if queued * 2 >= self.limits.queue as u64
            && !self.signals.rung.load(SeqCst)
            && !self.signals.rung.swap(true, SeqCst)
        {
            self.bell.notify_one();
        }
    }

    /// Waits until the line may fit; `false` when the deadline has passed or nobody can make room.
    #[cold]
    #[expect(clippy::disallowed_methods, reason = "a caller that was asked to wait needs a clock")]
    fn wait_for_room(&self, line: &LogLine, deadline: Instant) -> bool {
        if self.is_forked() || is_delivery_thread() {
            return false;
        }
        self.signals.waiters.fetch_add(1, SeqCst);
        self.bell.notify_one();
        let mut guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = loop {
            let closed = self.signals.closed.load(SeqCst);
            let standing = self.budget.with_line(line.bytes() as u64);
            if closed || self.verdict_for(&line.tag, standing).is_ok() {
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

    /// Whether this process is a fork of the one that has the worker's thread. What other threads held
    /// then is held for ever.
    pub(super) fn is_forked(&self) -> bool {
        std::process::id() != self.process
    }

    /// Whether there is room for all that may be charged without a look, whoever charges it.
    fn is_roomy(&self, standing: Standing) -> bool {
        let standing = standing + UNSEEN;
        self.verdict(standing).is_ok() && self.shares.are_open(&self.limits, standing)
    }

    /// Called by the worker after it made room.
    pub(super) fn made_room(&self) {
        if self.signals.tight.load(SeqCst) && self.is_roomy(self.budget.standing() + UNSEEN) {
            self.signals.tight.store(false, SeqCst);
            // Invariant: the flag is set while there is little room. A caller that has charged a line in the
            // meantime sets it again, or the new sum is seen here.
            if !self.is_roomy(self.budget.standing()) {
                self.signals.tight.store(true, SeqCst);
            }
        }
        self.wake_waiters();
    }

    /// Called by the worker after it made room, or closed.
    pub(super) fn wake_waiters(&self) {
        if self.signals.waiters.load(SeqCst) > 0 {
            // Held once, so that nobody is between its look at the counters and its sleep.
            drop(self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            self.room.notify_all();
        }
    }
}
