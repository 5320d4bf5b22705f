//! One portal's lane: decides what is sent to the portal, and when.
//!
//! ```text
//! intake             lines and ends arrive, and are gathered by the coalescer
//! next -> compose    what the next request contains                   Request
//! settle -> reaction what a reply means, for the lane and each command
//! ```
//!
//! Does no I/O and reads no clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::coalescer::{Coalescer, Command, EndRef, Finished, Plan};
use super::deadlines::{Deadlines, Passed};
use super::end::Answer;
use super::ending::Ending;
use super::incoming::Stamp;
use super::ledger::Condition;
use super::meters::Meters;
use super::rate::{LeakyBucket, Quota};
use super::report::Trouble;
use super::retry::{Backoff, RetryPolicy};
use super::turn::Turn;
use crate::completion::Completion;
use crate::format::Words;
use crate::line::{EventToken, PortalId};
use crate::protocol::Request;
use crate::protocol::command::BATCH_COMMANDS;
use crate::protocol::reply::Sent;
use crate::stats::DropReason;

use self::calls::Calls;
use self::costs::Costs;

mod access;
pub(crate) mod calls;
mod compose;
mod costs;
mod ends;
mod intake;
mod leaving;
mod losses;
mod memos;
mod reaction;
mod settle;

/// The options of a lane.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) plan: Arc<Plan>,
    pub(crate) quota: Quota,
    pub(crate) operating_limit: Duration,
    pub(crate) request_bytes: usize,
    pub(crate) retry: RetryPolicy,
    pub(crate) words: Words,
    /// The share of the budget that one portal may use: above 0, at most 1.
    pub(crate) portal_share: f64,
    /// Spans without the field `portal` have a default portal.
    pub(crate) default_portal: bool,
    pub(crate) serves: Serves,
}

/// The portals for which there may be credentials.
#[derive(Clone, Debug)]
pub(crate) enum Serves {
    /// Only the credentials know.
    Any,
    /// Spans without a portal, and those of this portal.
    One(Option<PortalId>),
}

impl Serves {
    pub(crate) fn includes(&self, portal: &Option<PortalId>) -> bool {
        match self {
            Serves::Any => true,
            Serves::One(of_webhook) => portal.is_none() || portal == of_webhook,
        }
    }
}

/// The request of the app to end an activity.
#[derive(Debug)]
pub(crate) struct EndAsked {
    pub(crate) completion: Completion,
    /// How long it waits for the lines of its token.
    pub(crate) deadline: Instant,
    /// How long it is tried after that, if it was found in the journal.
    pub(crate) patience: Option<Duration>,
    pub(crate) answer: Answer,
    /// Its name in the journal.
    pub(crate) stamp: Option<Stamp>,
    /// Lines of its token that are in the journal only.
    pub(crate) elsewhere: u64,
}

/// What a lane wants.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send this.
    Send(What, Request),
    /// Request new access to the portal. Nothing is sent in the meantime.
    Access(Renewal),
    /// Ask again at this time.
    Wait(Instant),
    /// Nothing to do until something arrives.
    Idle,
}

/// What a lane has in flight. One of each kind may be in flight at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A request with entries, with ends, or with both.
    Main,
    /// A request with overdue ends, next to the main one.
    Beside,
    /// A call of the app.
    Call,
    /// A request for new access to the portal.
    Access,
}

/// Which new access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Another access token, because this one was refused.
    Refresh,
    /// The portal has moved to this host.
    Relocate(String),
}

#[derive(Debug)]
pub(crate) struct Lane {
    rules: Arc<Rules>,
    coalescer: Coalescer,
    bucket: LeakyBucket,
    meters: Meters,
    state: State,
    /// Invariant: all entries in flight are in this request, so that the order within a token is kept.
    main: Slot,
    beside: Slot,
    calls: Calls,
    /// The last end that was sent was a direct one. Then a batch has its turn.
    lone_was_last: bool,
    /// No end is sent before this time, because a request with ends has failed.
    ends_pause: Option<Pause>,
    deadlines: Deadlines,
    /// How many times in a row new access was refused again.
    renewals: u32,
    /// How many times in a row a request for new access was not answered.
    unanswered: u32,
    /// Since when there are no credentials for the portal, if that is so.
    unknown_since: Option<Instant>,
    /// How often new access was received. A refusal of older access does not count for the newer one.
    access: u64,
    backoff: Backoff,
    costs: Costs,
    /// How many requests were executed.
    successes: u64,
    /// The portal has acknowledged something with these credentials.
    worked: bool,
    /// Why the last request as a whole failed; empty after one that ran.
    failure: String,
    /// Waiting entries are checked for their age at this time.
    next_check: Instant,
    /// The app is shutting down: no end waits for lines longer than this.
    closing: Option<Instant>,
    /// Ends so far, which numbers them.
    ends: u64,
    /// Scratch space for one message.
    message: String,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Ready,
    /// No entries are sent before this time.
    BackingOff(Pause),
    /// Nothing is sent until there is new access.
    Refreshing {
        wanted: Option<Renewal>,
    },
    /// A person has to fix something on the portal first. It is tried again once a minute.
    Blocked {
        until: Instant,
        reason: DropReason,
    },
}

/// A pause after failures in a row: `attempt`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pause {
    until: Instant,
    attempt: u32,
}

/// The state of one request in flight.
#[derive(Debug)]
struct Slot {
    in_flight: Option<InFlight>,
    /// The maximum number of commands in a request: halved when the portal fails, doubled after a success, so
    /// that a command that makes the portal fail is sent alone in the end.
    most: usize,
}

#[derive(Debug)]
struct InFlight {
    /// In the order of the request: entries, then ends.
    entries: Vec<Command>,
    ends: Vec<EndRef>,
    sent: Sent,
    at: Instant,
    /// The access that it was sent with.
    access: u64,
    /// Its commands were given up in the meantime, so its reply is ignored.
    given_up: bool,
}

impl Slot {
    fn new() -> Self {
        Slot { in_flight: None, most: BATCH_COMMANDS }
    }
}

impl Lane {
    pub(crate) fn new(rules: Arc<Rules>, seed: u64, now: Instant) -> Self {
        Lane {
            coalescer: Coalescer::new(rules.plan.clone()),
            bucket: LeakyBucket::new(rules.quota, now),
            meters: Meters::new(rules.operating_limit, now),
            rules,
            state: State::Ready,
            main: Slot::new(),
            beside: Slot::new(),
            calls: Calls::default(),
            lone_was_last: false,
            ends_pause: None,
            deadlines: Deadlines::default(),
            renewals: 0,
            unanswered: 0,
            unknown_since: None,
            access: 0,
            backoff: Backoff::new(seed),
            costs: Costs::default(),
            successes: 0,
            worked: false,
            failure: String::new(),
            next_check: now + CHECK_AGE,
            closing: None,
            ends: 0,
            message: String::new(),
        }
    }

    /// Pending lines of a token.
    pub(crate) fn pending(&self, event_token: &EventToken) -> u64 {
        self.coalescer.pending(event_token)
    }

    /// About when the oldest waiting line was received.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.coalescer.oldest()
    }

    /// Whether anything is known of the token.
    pub(crate) fn knows(&self, event_token: &EventToken) -> bool {
        self.coalescer.knows(event_token)
    }

    /// The app is shutting down: lines that wait only for the schedule are sent now.
    pub(crate) fn close(&mut self, deadline: Instant, now: Instant) {
        // Half of what is left is for the lines, half for the end itself.
        let ends_by = now + deadline.saturating_duration_since(now) / 2;
        self.closing = Some(ends_by);
        self.coalescer.close_ends(ends_by);
        self.coalescer.seal(None, now);
        self.coalescer.lift_holds();
        self.ends_pause = None;
        if let State::BackingOff(pause) = &mut self.state {
            pause.until = now;
        }
    }

    /// Whether an end with this name is tried (`true`), or was tried before.
    pub(crate) fn knows_end(&self, event_token: &EventToken, stamp: Stamp) -> Option<bool> {
        self.coalescer.knows_end(event_token, stamp)
    }

    /// Until when the portal waits for an activity, if that is known.
    pub(crate) fn waits_until(&self, event_token: &EventToken) -> Option<Instant> {
        self.deadlines.waits_until(event_token)
    }

    /// The number of the newest line that a token gathers in an entry that takes more lines.
    pub(crate) fn open_seq(&self, event_token: &EventToken) -> Option<u64> {
        self.coalescer.open_seq(event_token)
    }

    /// Whether this line has been here.
    pub(crate) fn has_had(&self, event_token: &EventToken, stamp: Stamp) -> bool {
        self.coalescer.has_had(event_token, stamp)
    }

    /// Whether the portal accepts entries now.
    pub(crate) fn takes_entries(&self) -> bool {
        self.state == State::Ready
    }

    /// How it stands, for the portal's counters.
    pub(crate) fn condition(&self) -> Condition {
        let blocked = match self.state {
            State::Blocked { reason, .. } => Some(reason),
            _ => None,
        };
        let slots =
            [&self.main, &self.beside].into_iter().filter_map(|slot| slot.in_flight.as_ref());
        let out = slots.flat_map(|out| &out.entries).map(|command| command.entry.born).min();
        Condition {
            blocked,
            is_failing: matches!(self.state, State::BackingOff(_)),
            oldest: self.coalescer.oldest().into_iter().chain(out).min(),
        }
    }

    /// Whether ends of activities, or calls, are on their way.
    pub(crate) fn is_completing(&self) -> bool {
        self.coalescer.has_ends() || !self.calls.is_empty()
    }

    /// The state of a request of this kind.
    fn slot(&mut self, what: What) -> &mut Slot {
        if what == What::Beside { &mut self.beside } else { &mut self.main }
    }

    /// Whether something is in flight whose result will arrive.
    pub(crate) fn is_out(&self) -> bool {
        let refreshing = matches!(self.state, State::Refreshing { .. });
        let requests = [&self.main, &self.beside];
        let requests = requests.iter().any(|slot| slot.in_flight.is_some());
        refreshing || requests || self.calls.is_out()
    }

    /// Whether nothing is pending, so that the lane may be removed.
    pub(crate) fn is_empty(&mut self, now: Instant) -> bool {
        let empty = self.deadlines.is_empty() && self.calls.is_empty();
        !self.is_out() && empty && self.coalescer.is_empty(now)
    }

    /// What to do now.
    pub(crate) fn next(&mut self, turn: &mut Turn<'_>) -> Action {
        if let State::Refreshing { wanted } = &mut self.state {
            if let Some(access) = wanted.take() {
                return Action::Access(access);
            }
        }
        self.pass_deadlines(turn);
        self.lapse_ends(turn);
        self.coalescer.forget_idle(self.rules.retry.max_age, turn.now);
        self.keep_gaps(turn);
        if self.is_calls_turn(turn.now) {
            if let Ok(send) = self.next_call(turn) {
                return send;
            }
        }
        let request_at = match self.next_request(turn) {
            Ok(send) => {
                self.calls.was_last = false;
                return send;
            }
            Err(at) => at,
        };
        let call_at = match self.next_call(turn) {
            Ok(send) => return send,
            Err(at) => at,
        };
        let others = [
            call_at,
            self.deadlines.next_at(),
            self.coalescer.next_lapse(),
            self.coalescer.next_idle(),
        ];
        match request_at.into_iter().chain(others.into_iter().flatten()).min() {
            Some(at) => Action::Wait(at),
            None => Action::Idle,
        }
    }

    /// Keeps notices about missing lines in the journal until they are told.
    fn keep_gaps(&mut self, turn: &mut Turn<'_>) {
        for id in self.coalescer.gone_gaps() {
            turn.ledger.gap_told(id, turn.now);
        }
        self.coalescer.changed_gaps(|event_token, gap| turn.keep_gap(event_token, gap));
    }

    /// Handles activities that have timed out, or will soon.
    fn pass_deadlines(&mut self, turn: &mut Turn<'_>) {
        while let Some(passed) = self.deadlines.pop(turn.now) {
            match passed {
                Passed::Soon(event_token) => {
                    if self.coalescer.pending(&event_token) > 0 {
                        turn.report(Trouble::TimeRunsOut, event_token.to_string());
                    }
                    self.coalescer.hurry(&event_token, turn.now);
                }
                Passed::Over(event_token) => {
                    for entry in self.coalescer.end(&event_token, Finished::Late, turn.now) {
                        turn.settle(&event_token, &entry, Ending::Late);
                    }
                }
            }
        }
    }
}

/// How often waiting entries are checked for their age.
const CHECK_AGE: Duration = Duration::from_secs(1);
/// No lane is asked more often than this without cause.
pub(super) const TICK: Duration = Duration::from_millis(1);
