//! When the lane sends nothing, or less: pauses after failures, blocks, and how other access lifts them.

use std::time::{Duration, Instant};

use super::compose::TAKE_ALONG;
use super::reaction::OfLane;
use super::settle::LONGEST_HOLD;
use super::{Lane, Pause, Renewal, State};
use crate::protocol::reply::Code;
use crate::stats::DropReason;
use crate::transport::Refreshed;
use crate::worker::report::Trouble;
use crate::worker::turn::Turn;

impl Lane {
    /// Until when an entry that failed alone waits, so that others pass first and show who is at fault.
    pub(super) fn entry_hold(&self) -> Option<Instant> {
        match self.state {
            State::BackingOff(Pause { until, .. }) => Some(until + TAKE_ALONG),
            _ => None,
        }
    }

    /// The attempt by which a wait is chosen: a shutdown has no time for long pauses.
    pub(super) fn hurried(&self, attempt: u32) -> u32 {
        if self.closing.is_some() { 0 } else { attempt }
    }

    pub(super) fn back_off(&mut self, now: Instant) {
        if matches!(self.state, State::Refreshing { .. }) {
            return;
        }
        let attempt = match self.state {
            State::BackingOff(Pause { attempt, .. }) => attempt + 1,
            _ => 0,
        };
        let wait = self.backoff.wait(self.hurried(attempt));
        self.state = State::BackingOff(Pause { until: now + wait, attempt });
    }

    /// A request with ends has failed. All ends wait together, so that they go together again; not as
    /// long as entries, since processes wait for them.
    pub(super) fn pause_ends(&mut self, lane: &OfLane, access: u64, now: Instant) {
        let renewed = access != self.access || matches!(self.state, State::Refreshing { .. });
        if *lane == OfLane::GoesOn || matches!(lane, OfLane::Renews(_)) && renewed {
            return;
        }
        let attempt = match self.ends_pause {
            // One pause for all commands of a request.
            Some(pause) if pause.until > now => return,
            Some(pause) => (pause.attempt + 1).min(LONGEST_HOLD),
            None => 0,
        };
        let wait = self.backoff.wait(self.hurried(attempt));
        self.ends_pause = Some(Pause { until: now + wait, attempt });
    }

    pub(super) fn block(&mut self, reason: DropReason, ask_again: Duration, now: Instant) {
        self.state = State::Blocked { until: now + ask_again, reason };
        match reason {
            DropReason::UnknownPortal => drop(self.unknown_since.get_or_insert(now)),
            _ => self.unknown_since = None,
        }
    }

    /// Asks for other access, unless what was got the last times was refused too.
    pub(super) fn renew(&mut self, other: Renewal, code: &Code, turn: &mut Turn<'_>) {
        match self.state {
            State::Refreshing { .. } => return,
            // Ends ask while entries wait; but for access only as often as entries do.
            State::Blocked { until, .. } if until > turn.now => return,
            _ => {}
        }
        if self.renewals >= MOST_RENEWALS {
            turn.report(Trouble::CredentialBlocked, code.to_string());
            // When it is asked again, access may be got anew.
            self.renewals = 0;
            return self.block(DropReason::CredentialBlocked, ASK_FOR_ACCESS_AGAIN, turn.now);
        }
        self.renewals += 1;
        self.state = State::Refreshing { wanted: Some(other) };
    }

    /// What came of asking for other access.
    pub(crate) fn accessed(&mut self, refreshed: Refreshed, turn: &mut Turn<'_>) {
        match refreshed {
            Refreshed::Renewed => {
                self.access += 1;
                (self.unanswered, self.unknown_since) = (0, None);
                self.state = State::Ready;
                self.ends_pause = None;
            }
            Refreshed::Later(trouble) => {
                // The call is tried again, which asks again.
                turn.report(Trouble::Unreachable, trouble.to_string());
                self.renewals = 0;
                let attempt = self.hurried(self.unanswered);
                self.unanswered += 1;
                let until = turn.now + self.backoff.wait(attempt);
                self.state = State::BackingOff(Pause { until, attempt });
                self.pause_ends(&OfLane::BacksOff, self.access, turn.now);
            }
            Refreshed::Denied(code) => {
                self.failure = code.to_string();
                turn.report(Trouble::CredentialBlocked, code.to_string());
                (self.renewals, self.unanswered) = (0, 0);
                self.block(DropReason::CredentialBlocked, ASK_FOR_ACCESS_AGAIN, turn.now);
            }
        }
    }

    /// New credentials have arrived: what was blocked for want of them is tried again.
    pub(crate) fn unblock(&mut self) {
        (self.renewals, self.unanswered, self.unknown_since) = (0, 0, None);
        self.access += 1;
        self.ends_pause = None;
        if let State::Blocked { .. } | State::BackingOff(_) = self.state {
            self.state = State::Ready;
        }
    }
}

/// New access that is refused so often in a row is no access.
const MOST_RENEWALS: u32 = 2;
/// How often access that was denied is asked for again, if no news of it arrives. Seldom: apps that
/// renew by schedule may be blocked ("OAuth 2.0: automatic renewal", REST API documentation).
const ASK_FOR_ACCESS_AGAIN: Duration = Duration::from_secs(600);
