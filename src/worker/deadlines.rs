//! Timeouts of activities: when to send pending lines quickly, and when to stop.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use slab::Slab;

use super::agenda::Agenda;
use crate::line::EventToken;

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// The timeout is near: pending lines are sent now.
    Soon(EventToken),
    /// The timeout has passed: the portal drops lines and answers `true` (server behaviour).
    Over(EventToken),
}

/// The timeouts of one portal's activities.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    ahead: Slab<Ahead>,
    agenda: Agenda<usize>,
    /// Invariant: has exactly the keys of `ahead`.
    by_token: HashMap<EventToken, usize>,
}

#[derive(Debug)]
struct Ahead {
    event_token: EventToken,
    waits_until: Instant,
    /// It was reported that the timeout is near.
    announced: bool,
}

impl Deadlines {
    /// The portal waits for this activity until this time.
    pub(crate) fn add(&mut self, event_token: EventToken, waits_until: Instant, now: Instant) {
        self.remove(&event_token);
        let left = waits_until.saturating_duration_since(now);
        let soon = waits_until - LAST_PART.min(left.mul_f64(LAST_SHARE));
        let ahead = Ahead { event_token: event_token.clone(), waits_until, announced: false };
        let key = self.ahead.insert(ahead);
        self.by_token.insert(event_token, key);
        self.agenda.set(key, soon);
    }

    /// The app has ended the activity.
    pub(crate) fn remove(&mut self, event_token: &EventToken) {
        if self.by_token.is_empty() {
            return;
        }
        if let Some(key) = self.by_token.remove(event_token) {
            self.agenda.remove(key);
            self.ahead.remove(key);
        }
    }

    /// The time until which the portal waits for this activity.
    pub(crate) fn waits_until(&self, event_token: &EventToken) -> Option<Instant> {
        let key = self.by_token.get(event_token)?;
        Some(self.ahead.get(*key)?.waits_until)
    }

    /// When the next one comes.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.agenda.next_at()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    /// What has come by now, one by one.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Passed> {
        let key = self.agenda.pop(now)?;
        let ahead = self.ahead.get_mut(key)?;
        let event_token = ahead.event_token.clone();
        if std::mem::replace(&mut ahead.announced, true) {
            self.remove(&event_token);
            return Some(Passed::Over(event_token));
        }
        self.agenda.set(key, ahead.waits_until);
        Some(Passed::Soon(event_token))
    }
}

/// The last part of the time, in which lines do not wait for more lines.
const LAST_PART: Duration = Duration::from_secs(10);
/// The same for a short timeout.
const LAST_SHARE: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> EventToken {
        EventToken::parse(text).unwrap()
    }

    #[test]
    fn a_deadline_is_announced_and_then_passes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        deadlines.add(token("long"), at(600), start);
        deadlines.add(token("short"), at(10), start);
        assert_eq!(deadlines.pop(at(7)), None);
        assert_eq!(deadlines.next_at(), Some(at(8)), "a fifth of a short time");
        assert_eq!(deadlines.pop(at(8)), Some(Passed::Soon(token("short"))));
        assert_eq!(deadlines.pop(at(9)), None);
        assert_eq!(deadlines.pop(at(10)), Some(Passed::Over(token("short"))));
        assert_eq!(deadlines.next_at(), Some(at(590)), "ten seconds of a long one");
        assert_eq!(deadlines.pop(at(600)), Some(Passed::Soon(token("long"))));
        assert_eq!(deadlines.pop(at(600)), Some(Passed::Over(token("long"))));
        assert_eq!((deadlines.pop(at(9_999)), deadlines.next_at()), (None, None));
    }

    #[test]
    fn an_activity_that_ended_by_itself_has_no_deadline() {
        let now = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.add(token("a"), now, now);
        deadlines.add(token("a"), now + Duration::from_secs(5), now);
        assert_eq!(deadlines.pop(now), None, "the later word counts");
        deadlines.remove(&token("a"));
        assert_eq!(deadlines.next_at(), None);
    }
}
