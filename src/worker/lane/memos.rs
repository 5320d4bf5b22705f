//! What the next owner of a portal has to know: how much of its limits is used, and that it is blocked.

use super::{Lane, State};
use crate::journal::Memo;
use crate::stats::DropReason;
use crate::worker::memo::{Clocks, Reader, Writer};
use crate::worker::retry::ASK_AGAIN;

impl Lane {
    /// What is to be noted with the next request.
    pub(crate) fn memos(&mut self, clocks: Clocks) -> Vec<Memo> {
        let mut memos = self.coalescer.budget_memos(clocks);
        // If nobody has sent anything, there is nothing to know.
        let Some(used_at) = self.bucket.used_at() else { return memos };
        let mut memo = Writer::new(FORM, clocks);
        memo.time(used_at);
        self.meters.write(&mut memo);
        let (reason, until) = match self.state {
            State::Blocked { until, reason } => (code_of(reason), Some(until)),
            _ => (0, None),
        };
        memo.number(reason);
        memo.maybe_time(until);
        memos.push(Memo { key: OF_PORTAL, value: memo.finish() });
        memos
    }

    /// The notes of earlier owners. Called once, before the first request.
    pub(crate) fn inherit(&mut self, memos: &[Memo], clocks: Clocks) {
        let of_portal = memos.iter().find(|memo| memo.key == OF_PORTAL);
        if let Some(memo) = of_portal {
            // A memo that has no sense says at least that there was an owner.
            if self.read_memo(&memo.value, clocks).is_none() {
                self.bucket.was_used(clocks.now);
            }
        }
        self.coalescer.inherit_budgets(memos, clocks);
    }

    fn read_memo(&mut self, memo: &[u8], clocks: Clocks) -> Option<()> {
        let mut memo = Reader::new(FORM, memo, clocks)?;
        let used_until = memo.time()?.min(clocks.now);
        let meters = self.meters.read(&mut memo, clocks.now)?;
        let (reason, until) = (reason_of(memo.number()?), memo.maybe_time()?);
        self.bucket.was_used(used_until);
        self.meters = meters;
        if let (Some(reason), Some(until)) = (reason, until) {
            let until = until.min(clocks.now + ASK_AGAIN);
            self.state = State::Blocked { until, reason };
        }
        Some(())
    }
}

fn code_of(reason: DropReason) -> u64 {
    CODES.iter().find(|(_, of)| *of == reason).map_or(0, |(code, _)| *code)
}

fn reason_of(code: u64) -> Option<DropReason> {
    CODES.iter().find(|(of, _)| *of == code).map(|(_, reason)| *reason)
}

/// Reasons for which a lane is blocked. The numbers stand in memos, so they never change.
const CODES: [(u64, DropReason); 3] = [
    (1, DropReason::CredentialBlocked),
    (2, DropReason::PortalBlocked),
    (3, DropReason::UnknownPortal),
];
/// The form of this memo.
const FORM: u8 = 1;
/// Its key. Those of workflows are odd.
const OF_PORTAL: u128 = 0;
