//! When to look at which token: for an entry, for an end, or to forget it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use slab::Slab;

use super::Coalescer;
use super::buffer::TokenBuffer;
use crate::worker::agenda::Agenda;
use crate::worker::end::End;

/// What a token waits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// An entry, and then its end: the customer's process waits for it.
    Ending,
    /// An entry.
    Lines,
    /// Only a notice about missing lines.
    Notice,
    /// An entry behind a command that is out. By the age of its oldest line; nothing to take yet.
    Behind,
}

impl Class {
    const ALL: [Class; 4] = [Class::Ending, Class::Lines, Class::Notice, Class::Behind];
    /// In the order in which entries are taken.
    pub(super) const TAKEN: [Class; 3] = [Class::Ending, Class::Lines, Class::Notice];
}

/// The agendas of one portal's tokens. Times of entries are never too late, sometimes too early: they
/// are computed again when their turn comes.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// By [`Class`]. Invariant: a token stands in one of them at the most.
    waiting: [Agenda<usize>; 4],
    /// Ends that may go with the next request, since no entry is left before them.
    pub(super) ready: Agenda<usize>,
    /// Ends that may go behind their token's last entry. Invariant: not in `ready`.
    pub(super) pairs: Agenda<usize>,
    /// Ends that go whatever their lines do.
    pub(super) overdue: Agenda<usize>,
    /// As `ready` and `overdue`, of ends that can share no request: they take turns with the others,
    /// and so stand apart.
    pub(super) lone: Agenda<usize>,
    pub(super) lone_overdue: Agenda<usize>,
    /// When ends are given up.
    pub(super) lapse: Agenda<usize>,
    /// Tokens that nothing waits for, and when they are forgotten. Some of them are in use again, or were
    /// used later than it says: that is looked at when their time comes, since it would be an entry more
    /// in this list for each entry of a log.
    idle: Agenda<usize>,
}

impl Listing {
    pub(super) fn waiting(&self, class: Class) -> &Agenda<usize> {
        &self.waiting[class as usize]
    }

    /// Tokens with lines that wait, as they are now.
    pub(super) fn with_lines(&self) -> Vec<usize> {
        let classes = [Class::Ending, Class::Lines, Class::Behind];
        classes.into_iter().flat_map(|class| self.waiting(class).keys()).collect()
    }

    /// Tokens with lines that wait, those that are due first at the front.
    pub(super) fn oldest(&self) -> impl Iterator<Item = usize> + '_ {
        let classes = [Class::Ending, Class::Lines, Class::Behind];
        let mut heads: Vec<_> =
            classes.map(|class| (self.waiting(class).next_at(), class)).into_iter().collect();
        heads.retain(|(at, _)| at.is_some());
        heads.sort_by_key(|(at, _)| *at);
        heads.into_iter().flat_map(|(_, class)| self.waiting(class).keys())
    }

    fn remove(&mut self, key: usize) {
        for agenda in &mut self.waiting {
            agenda.remove(key);
        }
        let of_ends = [&mut self.ready, &mut self.pairs, &mut self.overdue];
        let of_lone = [&mut self.lone, &mut self.lone_overdue];
        let others = [&mut self.lapse, &mut self.idle];
        for agenda in of_ends.into_iter().chain(of_lone).chain(others) {
            agenda.remove(key);
        }
    }
}

impl Coalescer {
    /// When something may be due; never too late, sometimes too early.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let classes = Class::TAKEN.into_iter();
        classes.filter_map(|class| self.listing.waiting(class).next_at()).min()
    }

    /// How many entries are due by `until`, counted up to `enough`.
    pub(crate) fn due_by(&self, until: Instant, enough: usize) -> usize {
        let due = Class::TAKEN.map(|class| self.listing.waiting(class).due_by(until, enough));
        due.into_iter().sum::<usize>().min(enough)
    }

    /// When tokens are looked at next for being idle.
    pub(crate) fn next_idle(&self) -> Option<Instant> {
        self.listing.idle.next_at()
    }

    /// Forgets tokens that were idle for long, and the oldest ones if there are very many. Notices about missing lines
    /// that are older than `max_age` are not sent alone any more, and neither are those of the oldest tokens if there
    /// are very many: they wait for a line or an end of their token. Returns how many lines nobody is told of, because
    /// their token is forgotten.
    pub(crate) fn forget_idle(&mut self, max_age: Duration, now: Instant) -> u64 {
        while let Some((_, key)) = self.listing.waiting(Class::Notice).first() {
            let many = self.listing.waiting(Class::Notice).len() > MOST_NOTICES;
            let buffer = &mut self.tokens[key];
            // By the schedule others may be older: they are found when their turn comes.
            if !many && now.saturating_duration_since(buffer.newest_loss()) < max_age {
                break;
            }
            if let Some(gap) = &mut buffer.gap {
                gap.waits = true;
            }
            self.list(key);
        }
        let mut untold = 0;
        while let Some((at, key)) = self.listing.idle.first() {
            let many = self.listing.idle.len() > MOST_IDLE;
            if at > now && !many {
                break;
            }
            let idle_until = self.tokens.get(key).filter(|buffer| !buffer.is_in_use());
            match idle_until.map(TokenBuffer::forgotten_at) {
                // It was used meanwhile.
                Some(until) if until > now && until > at => self.listing.idle.set(key, until),
                Some(_) => untold += self.remove(key),
                None => self.listing.idle.remove(key),
            }
        }
        untold
    }

    /// Whether nothing is left to remember.
    pub(crate) fn is_empty(&mut self, now: Instant) -> bool {
        self.tokens.is_empty() && self.budgets.forget_old(now)
    }

    /// When the token's next entry is due, and as what; `None` while it has none.
    pub(super) fn due_at(&self, key: usize) -> Option<(Class, Instant)> {
        let buffer = self.tokens.get(key)?;
        if buffer.in_flight.is_some() {
            return Some((Class::Behind, buffer.oldest()?));
        }
        let by_schedule = |lingered: Instant| {
            if buffer.hurried {
                return lingered;
            }
            let workflow = buffer.event_token.workflow();
            let at = self.budgets.next_at(workflow, &self.plan.schedule);
            at.map_or(lingered, |at| at.max(lingered))
        };
        let linger = self.plan.linger;
        let class = if buffer.end.is_some() { Class::Ending } else { Class::Lines };
        let (class, due) = match (buffer.sealed.front(), &buffer.open) {
            (Some((at, _)), _) => (class, *at),
            (None, Some(open)) => {
                let held = open.since + self.plan.max_hold.max(linger);
                (class, by_schedule(open.since + linger).min(held))
            }
            (None, None) => {
                buffer.gap.as_ref().filter(|gap| !gap.waits)?;
                match class {
                    Class::Ending => (class, buffer.gap_since),
                    _ => {
                        let since = buffer.gap_since.max(buffer.last_used);
                        (Class::Notice, by_schedule(since + linger))
                    }
                }
            }
        };
        Some((class, buffer.hold_until.map_or(due, |hold| due.max(hold))))
    }

    /// Brings all agendas in line with the token's buffer.
    pub(super) fn list(&mut self, key: usize) {
        let due = self.due_at(key);
        let Some(buffer) = self.tokens.get_mut(key) else { return };
        for class in Class::ALL {
            let at = due.filter(|(of, _)| *of == class).map(|(_, at)| at);
            self.listing.waiting[class as usize].put(key, at);
        }
        let end = buffer.end.as_deref();
        let shares = end.is_some_and(|end| end.command().is_some());
        let next = end.filter(|end| end.out == 0 && buffer.in_flight.is_none());
        let ready = next.filter(|_| buffer.is_clear()).map(|end| end.not_before);
        let pair = next.filter(|_| shares && buffer.entries() > 0 && buffer.may_pair());
        let pair = pair.and_then(|end| Some(end.not_before.max(due?.1)));
        let overdue = end.and_then(End::goes_at);
        self.listing.pairs.put(key, pair);
        self.listing.ready.put(key, ready.filter(|_| shares));
        self.listing.lone.put(key, ready.filter(|_| !shares));
        self.listing.overdue.put(key, overdue.filter(|_| shares));
        self.listing.lone_overdue.put(key, overdue.filter(|_| !shares));
        self.listing.lapse.put(key, end.map(|end| end.give_up_at));
        if buffer.is_in_use() {
            // It stays on the list of idle tokens, which is looked at in a quarter of an hour.
            return;
        }
        if buffer.sealed.capacity() > 0 {
            buffer.sealed = Default::default();
        }
        if self.listing.idle.at(key).is_none() {
            self.listing.idle.set(key, buffer.last_used + FORGET);
        }
    }

    /// Returns how many lines its log is not told of.
    fn remove(&mut self, key: usize) -> u64 {
        self.listing.remove(key);
        self.gathering.remove(&key);
        let mut untold = 0;
        if let Some(buffer) = self.tokens.try_remove(key) {
            self.keys.remove(&buffer.event_token);
            untold = buffer.gap.as_ref().map_or(0, |gap| gap.lines());
            self.gone_gaps.extend(buffer.gap.into_iter().flat_map(|gap| gap.kept));
        }
        if self.tokens.is_empty() {
            self.tokens = Slab::new();
            self.keys = HashMap::new();
        }
        untold
    }
}

impl TokenBuffer {
    /// When the newest line was noted as lost that no entry has mentioned. A token that goes on losing lines has a
    /// notice that is never old.
    fn newest_loss(&self) -> Instant {
        self.gap.as_ref().and_then(|gap| gap.newest).unwrap_or(self.gap_since)
    }

    fn forgotten_at(&self) -> Instant {
        let idle_until = self.last_used + FORGET;
        match self.gap {
            Some(_) => idle_until.max(self.newest_loss() + FORGET_NOTICE),
            None => idle_until,
        }
    }
}

/// A token that was idle for so long is forgotten. What its workflow has used is not.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// Most idle tokens that are remembered. If a token is forgotten after the end of its activity, further
/// lines are sent, have no effect, and are not counted as late.
const MOST_IDLE: usize = 16_384;
/// The same for a token whose log has to mention lost lines.
const FORGET_NOTICE: Duration = Duration::from_secs(24 * 3_600);
/// Most tokens whose notice about missing lines is sent alone. The notices of others wait for a line or an end.
const MOST_NOTICES: usize = 4_096;
