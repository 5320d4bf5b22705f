//! By whose leave the portal is called, when it no longer takes what it took: blocks, and how they
//! lift.

use std::time::{Duration, Instant};

use super::{Access, Lane, State};
use crate::protocol::reply::Code;
use crate::stats::DropReason;
use crate::transport::Refreshed;
use crate::worker::ledger::Ledger;
use crate::worker::report::Trouble;
use crate::worker::retry::ASK_AGAIN;

impl Lane {
    /// Asks for other access, unless what was got the last times was refused too.
    pub(super) fn renew(&mut self, access: Access, code: &Code, ledger: &mut Ledger, now: Instant) {
        if self.renewals >= MOST_RENEWALS {
            ledger.report(Trouble::CredentialBlocked, code.to_string());
            return self.block(DropReason::CredentialBlocked, now);
        }
        if self.state != State::Refreshing {
            self.renewals += 1;
            self.state = State::Refreshing;
            self.wanted = Some(access);
        }
    }

    /// What came of asking for other access.
    pub(crate) fn accessed(&mut self, refreshed: Refreshed, ledger: &mut Ledger, now: Instant) {
        match refreshed {
            Refreshed::Renewed => {
                self.state = State::Ready;
                self.completions.retry(now);
            }
            Refreshed::Later(trouble) => {
                // The call is tried again, which asks again.
                ledger.report(Trouble::Unreachable, trouble.to_string());
                self.renewals = 0;
                self.back_off(now);
            }
            Refreshed::Denied(code) => {
                ledger.report(Trouble::CredentialBlocked, code.to_string());
                self.renewals = 0;
                let reason = DropReason::CredentialBlocked;
                self.state = State::Blocked { until: now + ASK_FOR_ACCESS_AGAIN, reason };
            }
        }
    }

    /// New credentials have arrived: what was blocked for want of them is tried again.
    pub(crate) fn unblock(&mut self, now: Instant) {
        self.renewals = 0;
        if let State::Blocked { .. } | State::BackingOff { .. } = self.state {
            self.state = State::Ready;
        }
        self.completions.retry(now);
    }

    pub(super) fn block(&mut self, reason: DropReason, now: Instant) {
        self.state = State::Blocked { until: now + ASK_AGAIN, reason };
    }
}

/// New access that is refused so often in a row is no access.
const MOST_RENEWALS: u32 = 2;
/// How often access that was denied is asked for again, if no news of it arrives. Seldom: apps that
/// renew by schedule may be blocked ("OAuth 2.0: automatic renewal", REST API documentation).
const ASK_FOR_ACCESS_AGAIN: Duration = Duration::from_secs(600);
