//! The worker's end of the queue.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, PoisonError};

use crossbeam_channel::Receiver;

use super::{Door, Message, Shares};
use crate::line::{InvalidEventToken, Tag};
use crate::stats::{DropReason, Hidden, Meant, Unseen};

/// The worker's end. One per queue. Dropping it closes the queue and drops its messages.
pub(crate) struct Consumer {
    door: Arc<Door>,
    receiver: Receiver<Message>,
    /// Taken since the counters were last published.
    lines: u64,
    closes: u64,
    /// Tags whose close did not fit into the channel.
    left_out: Vec<Arc<Tag>>,
}

/// While it exists, the first tagged span wakes the worker.
pub(crate) struct Parked<'a>(&'a Door);

/// How many messages are taken between two publications of the counters. Each publication costs every caller
/// a cache miss. Messages that are not published yet count as queued for callers.
const PUBLISH_EVERY: u64 = 32;

impl Consumer {
    pub(super) fn new(door: Arc<Door>, receiver: Receiver<Message>) -> Consumer {
        Consumer { door, receiver, lines: 0, closes: 0, left_out: Vec::new() }
    }

    /// The next message, if there is one.
    pub(crate) fn try_take(&mut self) -> Option<Message> {
        // These messages are not counted.
        self.try_recv().or_else(|| self.try_left_out().map(Message::SpanClosed))
    }

    fn try_left_out(&mut self) -> Option<Arc<Tag>> {
        let signal = &self.door.signals.left_out;
        if self.left_out.is_empty() && signal.load(SeqCst) && signal.swap(false, SeqCst) {
            let mut left_out = self.door.left_out.lock().unwrap_or_else(PoisonError::into_inner);
            self.left_out = std::mem::take(&mut *left_out);
        }
        self.left_out.pop()
    }

    fn try_recv(&mut self) -> Option<Message> {
        let message = match self.receiver.try_recv().ok() {
            Some(Message::Scarce(line)) => {
                self.door.shares.take(line.tag.fingerprint(), line.bytes() as u64);
                Some(Message::Line(*line))
            }
            message => message,
        };
        match message {
            Some(Message::Line(_) | Message::Scarce(_)) => self.lines += 1,
            Some(Message::SpanClosed(_)) => self.closes += 1,
            Some(Message::Control(_)) => {}
            None => self.publish(),
        }
        if self.lines + self.closes >= PUBLISH_EVERY {
            self.publish();
        }
        message
    }

    /// What tokens hold, for the worker to keep.
    pub(crate) fn shares(&self) -> Arc<Shares> {
        Arc::clone(&self.door.shares)
    }

    /// Messages in the channel.
    pub(crate) fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Waits until it is woken. Cancel safe. Then take all messages.
    pub(crate) async fn bell(&self) {
        self.door.bell.notified().await;
        // Before the queue is read, so that a later line wakes it again.
        self.door.signals.rung.store(false, SeqCst);
    }

    /// Whether a tagged span is open, or a line is queued or pending.
    pub(crate) fn lines_may_come(&self) -> bool {
        self.door.alive.lines_may_come()
    }

    /// Announces a sleep without ticks: `Some` only if nothing is alive and nothing is queued. Until the
    /// value is dropped, the first tagged span wakes the worker, like control messages.
    pub(crate) fn park(&self) -> Option<Parked<'_>> {
        self.door.signals.parked.store(true, SeqCst);
        let parked = Parked(&self.door);
        (!self.lines_may_come() && self.receiver.is_empty()).then_some(parked)
    }

    /// Releases the budget of these lines, because they are settled.
    pub(crate) fn release(&self, lines: u64, bytes: u64) {
        self.door.budget.release(lines, bytes);
        self.door.made_room();
    }

    /// Charges bytes in addition to the charge of the queue.
    pub(crate) fn hold(&self, bytes: u64) {
        self.door.budget.hold(bytes);
    }

    /// Charges lines that were read from a journal.
    pub(crate) fn take_back(&self, lines: u64, bytes: u64) {
        self.door.budget.take_back(lines, bytes);
    }

    /// From now on every line is refused. Messages that were accepted before can still be taken.
    pub(crate) fn close(&self) {
        self.door.signals.closed.store(true, SeqCst);
        self.door.wake_waiters();
    }

    /// After [`close`](Self::close): whether all accepted lines were taken. It is `false` for some
    /// nanoseconds, while a caller is between the acceptance and the push.
    pub(crate) fn is_drained(&mut self) -> bool {
        self.publish();
        self.receiver.is_empty() && self.door.budget.all_taken()
    }

    /// Whether lines come although the guard was dropped.
    pub(crate) fn is_unguarded(&self) -> bool {
        self.door.signals.unguarded.load(SeqCst) && self.door.budget.accepted_lines() > 0
    }

    /// Whether another layer of this crate takes the same spans.
    pub(crate) fn shares_spans(&self) -> bool {
        self.door.signals.shared_spans.load(SeqCst)
    }

    /// Event tokens that could not be used, by reason.
    pub(crate) fn unusable_tokens(&self) -> impl Iterator<Item = (InvalidEventToken, u64)> + '_ {
        let count = |why| self.door.unusable.counter(why).load(Relaxed);
        InvalidEventToken::ALL.into_iter().map(move |why| (why, count(why)))
    }

    /// Lines refused at the door so far, by reason.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        let count = |why| self.door.refused.counter(why).map_or(0, |counter| counter.load(Relaxed));
        DropReason::refusals().map(move |why| (why, count(why)))
    }

    /// Whether the worker was closed on a thread that delivery waits for, since the last call.
    pub(crate) fn was_closed_without_wait(&self) -> bool {
        // Read first: callers read what lies beside it.
        let closed = &self.door.signals.closed_without_wait;
        closed.load(SeqCst) && closed.swap(false, SeqCst)
    }

    /// How many spans and events the layer did not see, by cause.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = (Unseen, u64)> + '_ {
        Unseen::ALL.into_iter().map(|why| (why, self.door.unseen[why as usize].load(Relaxed)))
    }

    /// Searches for hidden callsites, and notes new ones.
    pub(crate) fn look_for_hidden(&self, meant: Meant) {
        let Some(search) = self.door.search.get() else { return };
        for hidden in search(meant) {
            let known = self.door.hidden.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new = !known.contains(&hidden);
            drop(known);
            if is_new {
                self.door.note_hidden(hidden);
            }
        }
    }

    /// What a filter hides and was noticed after the first so many.
    pub(crate) fn hidden(&self, known: usize) -> Vec<Hidden> {
        let hidden = self.door.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        hidden.get(known..).unwrap_or_default().to_vec()
    }

    /// Whether no line was accepted yet.
    pub(crate) fn has_no_line(&self) -> bool {
        self.door.budget.accepted_lines() == 0
    }

    fn publish(&mut self) {
        if self.lines + self.closes == 0 {
            return;
        }
        self.door.budget.took(self.lines, self.closes);
        (self.lines, self.closes) = (0, 0);
        self.door.made_room();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.close();
        self.door.signals.abandoned.store(true, SeqCst);
        self.door.drop_leftovers();
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.signals.parked.store(false, SeqCst);
    }
}
