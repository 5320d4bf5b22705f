//! Which activities this process has opened: those that are still open, and those that ended lately.
//!
//! With this, a request that was delivered twice is recognised, an activity is ended only once, and a
//! shutdown knows what is still open.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::{CompleteError, WorkerError};
use crate::line::{EventToken, PortalId};
use crate::stats::FlushReport;

/// What the worker says of an end.
pub(super) type Ended = Result<FlushReport, CompleteError>;

/// Activities by their event tokens.
#[derive(Default)]
pub(super) struct Activities {
    table: Mutex<Table>,
    /// Notified when an activity is no longer open.
    closed: Condvar,
}

#[derive(Default)]
struct Table {
    by_token: HashMap<EventToken, Entry>,
    /// Those that have ended, oldest first. Invariant: all are in `by_token`, at most [`KEPT`].
    ended: VecDeque<EventToken>,
    /// Those whose end no caller waits for. Some may be in another state in the meantime.
    unwatched: VecDeque<EventToken>,
}

struct Entry {
    portal: Option<PortalId>,
    /// Its workflow waits until it is ended.
    waits: bool,
    /// The app has dropped its [`Activity`](super::Activity): nobody can end it with that any more.
    dropped: bool,
    state: State,
}

enum State {
    /// The app works on it.
    Open,
    /// The worker was asked to end it, and a caller waits for the answer.
    Ending,
    /// The worker was asked to end it, and no caller waits for the answer.
    Unwatched(oneshot::Receiver<Ended>),
    /// It has ended.
    Ended,
}

/// What is known of a token already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Open,
    Ended,
}

impl Activities {
    /// Opens an activity, unless it is known already.
    pub(super) fn open(
        &self,
        event_token: &EventToken,
        portal: &PortalId,
        waits: bool,
    ) -> Result<(), Known> {
        let mut table = self.table();
        table.look_at_some();
        table.look(event_token);
        match table.by_token.get_mut(event_token) {
            Some(Entry { state: State::Ended, .. }) => Err(Known::Ended),
            // Its end has failed, and nobody works on it any more.
            Some(Entry { state: State::Open, dropped: dropped @ true, .. }) => {
                *dropped = false;
                Ok(())
            }
            Some(_) => Err(Known::Open),
            None => {
                let portal = Some(portal.clone());
                let entry = Entry { portal, waits, dropped: false, state: State::Open };
                table.by_token.insert(event_token.clone(), entry);
                Ok(())
            }
        }
    }

    /// An activity is dropped. Returns whether it was never asked to end. Then a second delivery of its
    /// request is treated as the first.
    pub(super) fn give_up(&self, event_token: &EventToken) -> bool {
        let mut table = self.table();
        let Some(entry) = table.by_token.get_mut(event_token) else { return false };
        if !matches!(entry.state, State::Open) {
            entry.dropped = true;
            return false;
        }
        let waits = entry.waits;
        if waits {
            table.by_token.remove(event_token);
        } else {
            table.end(event_token);
        }
        self.closed.notify_all();
        waits
    }

    /// Begins to end an activity, also one that this process has not opened.
    pub(super) fn begin_end(
        &self,
        event_token: &EventToken,
        portal: Option<&PortalId>,
    ) -> Result<Ending<'_>, CompleteError> {
        let mut table = self.table();
        table.look_at_some();
        table.look(event_token);
        let was_open = match table.by_token.get_mut(event_token) {
            Some(Entry { state: state @ State::Open, .. }) => {
                *state = State::Ending;
                true
            }
            Some(_) => return Err(CompleteError::AlreadyCompleted),
            None => {
                let portal = portal.cloned();
                let entry = Entry { portal, waits: false, dropped: false, state: State::Ending };
                table.by_token.insert(event_token.clone(), entry);
                false
            }
        };
        let event_token = event_token.clone();
        Ok(Ending { activities: self, event_token, was_open, answer: None })
    }

    /// Activities that are open or are being ended, and for which a workflow waits.
    pub(super) fn open_ones(&self) -> Vec<(Option<PortalId>, EventToken)> {
        let mut table = self.table();
        table.look_at_all();
        let open = table.by_token.iter().filter(|(_, entry)| entry.is_open());
        open.map(|(event_token, entry)| (entry.portal.clone(), event_token.clone())).collect()
    }

    /// The app was removed from a portal: no workflow of it waits any more.
    pub(super) fn uninstalled(&self, portal: &PortalId) {
        for entry in self.table().by_token.values_mut() {
            entry.waits &= entry.portal.as_ref() != Some(portal);
        }
        self.closed.notify_all();
    }

    /// Waits on the calling thread until no activity is open, or until `deadline`.
    pub(super) fn wait_until_none_is_open(&self, deadline: Instant, now: impl Fn() -> Instant) {
        let mut table = self.table();
        loop {
            table.look_at_all();
            if !table.by_token.values().any(Entry::is_open) {
                return;
            }
            let mut left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return;
            }
            // Nobody notifies when these end.
            if !table.unwatched.is_empty() {
                left = left.min(A_LOOK);
            }
            let waited = self.closed.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code panics in the middle of a change, so the table is consistent also if it is poisoned.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes the result of a completion.
    fn ended(&self, event_token: &EventToken, was_open: bool, ended: Option<&Ended>) {
        let mut table = self.table();
        match ended {
            Some(Ok(_) | Err(CompleteError::HandedOver)) => table.end(event_token),
            _ => table.not_ended(event_token, was_open),
        }
        drop(table);
        self.closed.notify_all();
    }
}

impl Entry {
    fn is_open(&self) -> bool {
        self.waits && !matches!(self.state, State::Ended)
    }
}

impl Table {
    /// Processes the answers for two of those for which no caller waits. Called for each new one, so that they do
    /// not become more and more.
    fn look_at_some(&mut self) {
        for _ in 0..2 {
            let Some(event_token) = self.unwatched.pop_front() else { return };
            self.look(&event_token);
            self.keep_unwatched(event_token);
        }
    }

    /// The same for all of them.
    fn look_at_all(&mut self) {
        for _ in 0..self.unwatched.len() {
            let Some(event_token) = self.unwatched.pop_front() else { return };
            self.look(&event_token);
            self.keep_unwatched(event_token);
        }
    }

    fn keep_unwatched(&mut self, event_token: EventToken) {
        let entry = self.by_token.get(&event_token);
        if entry.is_some_and(|entry| matches!(entry.state, State::Unwatched(_))) {
            self.unwatched.push_back(event_token);
        }
    }

    /// Processes an answer for which no caller waits.
    fn look(&mut self, event_token: &EventToken) {
        let Some(entry) = self.by_token.get_mut(event_token) else { return };
        let State::Unwatched(answer) = &mut entry.state else { return };
        let waits = entry.waits;
        match answer.try_recv() {
            Ok(Ok(_) | Err(CompleteError::HandedOver)) => self.end(event_token),
            Err(oneshot::error::TryRecvError::Empty) => {}
            Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => {
                self.not_ended(event_token, waits);
            }
        }
    }

    fn end(&mut self, event_token: &EventToken) {
        let Some(entry) = self.by_token.get_mut(event_token) else { return };
        if !matches!(entry.state, State::Ended) {
            entry.state = State::Ended;
            self.ended.push_back(event_token.clone());
        }
        if self.ended.len() > KEPT {
            if let Some(oldest) = self.ended.pop_front() {
                self.by_token.remove(&oldest);
            }
        }
    }

    /// The completion failed, so the activity can be completed again.
    fn not_ended(&mut self, event_token: &EventToken, was_open: bool) {
        if !was_open {
            self.by_token.remove(event_token);
        } else if let Some(entry) = self.by_token.get_mut(event_token) {
            entry.state = State::Open;
        }
    }
}

/// An activity that is being ended. If the future is dropped, the worker still ends it.
pub(super) struct Ending<'a> {
    activities: &'a Activities,
    event_token: EventToken,
    /// This process had opened it.
    was_open: bool,
    answer: Option<oneshot::Receiver<Ended>>,
}

impl Ending<'_> {
    /// Sets the answer to wait for. Without one, the worker was not asked.
    pub(super) fn asked(&mut self, answer: oneshot::Receiver<Ended>) {
        self.answer = Some(answer);
    }

    /// Waits for the answer.
    pub(super) async fn wait(mut self) -> Ended {
        let gone = Err(CompleteError::Worker(WorkerError::Closed));
        let Some(answer) = &mut self.answer else { return gone };
        let ended = answer.await.unwrap_or(gone);
        self.answer = None;
        self.activities.ended(&self.event_token, self.was_open, Some(&ended));
        ended
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        match self.answer.take() {
            Some(answer) => {
                let mut table = self.activities.table();
                let table = &mut *table;
                if let Some(entry) = table.by_token.get_mut(&self.event_token) {
                    entry.state = State::Unwatched(answer);
                    table.unwatched.push_back(self.event_token.clone());
                }
            }
            None => {
                let table = self.activities.table();
                let entry = table.by_token.get(&self.event_token);
                let undecided = entry.is_some_and(|entry| matches!(entry.state, State::Ending));
                drop(table);
                // The worker was never asked to end the activity.
                if undecided {
                    self.activities.ended(&self.event_token, self.was_open, None);
                }
            }
        }
    }
}

/// How many ended activities are remembered. Proxies that deliver a request twice do so within seconds.
const KEPT: usize = 10_000;
/// How often a shutdown looks for ends that no caller waits for.
const A_LOOK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn token(n: usize) -> EventToken {
        EventToken::parse(&format!("5e4a77.1|A1|{n}.ff")).unwrap()
    }

    fn open(activities: &Activities, n: usize) -> Result<(), Known> {
        activities.open(&token(n), &PortalId::from("m"), true)
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// Ends an activity with this answer.
    fn end(activities: &Activities, n: usize, answer: Ended) -> Ended {
        let (reply, answered) = oneshot::channel();
        let mut ending = activities.begin_end(&token(n), None)?;
        ending.asked(answered);
        reply.send(answer).unwrap();
        wait(ending.wait())
    }

    #[test]
    fn an_activity_is_known_while_it_is_open_and_after_its_end() {
        let activities = Activities::default();
        assert_eq!(open(&activities, 1), Ok(()));
        assert_eq!(open(&activities, 1), Err(Known::Open));
        assert_eq!(open(&activities, 2), Ok(()));
        assert!(end(&activities, 1, Ok(FlushReport::default())).is_ok());
        assert_eq!(open(&activities, 1), Err(Known::Ended));
        let again = end(&activities, 1, Ok(FlushReport::default()));
        assert_eq!(again, Err(CompleteError::AlreadyCompleted));
        assert_eq!(activities.open_ones().len(), 1);
    }

    #[test]
    fn a_completion_that_failed_can_be_repeated() {
        let activities = Activities::default();
        open(&activities, 1).unwrap();
        for _ in 0..2 {
            let failed = end(&activities, 1, Err(CompleteError::NotSent));
            assert_eq!(failed, Err(CompleteError::NotSent));
            assert_eq!(open(&activities, 1), Err(Known::Open));
        }
        // The worker was not asked: its queue was full.
        drop(activities.begin_end(&token(1), None).unwrap());
        assert!(end(&activities, 1, Ok(FlushReport::default())).is_ok());
        // An activity that this process has not opened is not remembered if its completion fails.
        assert!(end(&activities, 2, Err(CompleteError::NotSent)).is_err());
        assert_eq!(open(&activities, 2), Ok(()));
    }

    #[test]
    fn dropping_the_future_does_not_cancel_the_completion() {
        let activities = Activities::default();
        open(&activities, 1).unwrap();
        for (answer, then) in [
            (Some(Err(CompleteError::NotSent)), Err(Known::Open)),
            (None, Err(Known::Open)),
            (Some(Ok(FlushReport::default())), Err(Known::Ended)),
        ] {
            let (reply, answered) = oneshot::channel();
            let mut ending = activities.begin_end(&token(1), None).unwrap();
            ending.asked(answered);
            drop(ending);
            let again = activities.begin_end(&token(1), None);
            assert_eq!(again.map(drop), Err(CompleteError::AlreadyCompleted));
            match answer {
                Some(answer) => reply.send(answer).unwrap(),
                None => drop(reply),
            }
            assert_eq!(open(&activities, 1), then);
        }
    }

    /// Drops the future of a completion.
    fn end_unwatched(activities: &Activities, n: usize) -> oneshot::Sender<Ended> {
        let (reply, answered) = oneshot::channel();
        let mut ending = activities.begin_end(&token(n), None).unwrap();
        ending.asked(answered);
        drop(ending);
        reply
    }

    /// Regression: nothing of these was ever removed.
    #[test]
    fn activities_whose_futures_are_dropped_are_forgotten_too() {
        let activities = Activities::default();
        for n in 0..KEPT + 1_000 {
            let reply = end_unwatched(&activities, n);
            reply.send(Ok(FlushReport::default())).unwrap();
        }
        let left = activities.table().by_token.len();
        assert!(left <= KEPT + 2, "{left}");
    }

    /// Regression: a second delivery was answered with "under way", but nobody worked on the activity any more.
    #[test]
    fn an_activity_that_was_dropped_and_whose_end_has_failed_can_be_opened_again() {
        let activities = Activities::default();
        open(&activities, 1).unwrap();
        let reply = end_unwatched(&activities, 1);
        assert!(!activities.give_up(&token(1)), "it is on its way");
        assert_eq!(open(&activities, 1), Err(Known::Open));
        reply.send(Err(CompleteError::NotSent)).unwrap();
        assert_eq!(activities.open_ones().len(), 1, "its workflow waits");
        assert_eq!(open(&activities, 1), Ok(()));
        assert_eq!(open(&activities, 1), Err(Known::Open));
    }

    /// Regression: a shutdown waited until its deadline for activities that had ended.
    #[test]
    fn an_end_without_a_caller_ends_the_wait_for_open_activities() {
        let activities = Activities::default();
        open(&activities, 1).unwrap();
        let reply = end_unwatched(&activities, 1);
        std::thread::scope(|scope| {
            // If it waited for the deadline, this would take ten minutes.
            let deadline = super::super::after(std::time::Duration::from_secs(600));
            let now = || super::super::after(std::time::Duration::ZERO);
            let activities = &activities;
            scope.spawn(move || activities.wait_until_none_is_open(deadline, now));
            reply.send(Ok(FlushReport::default())).unwrap();
        });
        assert!(activities.open_ones().is_empty());
    }

    #[test]
    fn activities_of_a_portal_that_has_removed_the_app_are_not_waited_for() {
        let activities = Activities::default();
        open(&activities, 1).unwrap();
        activities.open(&token(2), &PortalId::from("another"), true).unwrap();
        activities.uninstalled(&PortalId::from("m"));
        assert_eq!(activities.open_ones().len(), 1);
    }

    #[test]
    fn an_abandoned_activity_can_be_opened_again() {
        let activities = Activities::default();
        open(&activities, 1).unwrap();
        assert!(activities.give_up(&token(1)));
        assert!(!activities.give_up(&token(1)));
        assert_eq!(open(&activities, 1), Ok(()));
        // No workflow waits for an activity without a subscription, so it ends with its work.
        activities.open(&token(2), &PortalId::from("m"), false).unwrap();
        assert!(!activities.give_up(&token(2)));
        assert_eq!(open(&activities, 2), Err(Known::Ended));
    }

    #[test]
    fn ended_activities_are_forgotten_after_ten_thousand_more() {
        let activities = Activities::default();
        for n in 0..KEPT + 100 {
            open(&activities, n).unwrap();
            end(&activities, n, Ok(FlushReport::default())).unwrap();
        }
        let table = activities.table();
        assert_eq!((table.by_token.len(), table.ended.len()), (KEPT, KEPT));
    }
}
