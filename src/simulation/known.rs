//! What the client may know of the ends of activities: what it sent, and what the answers say that reached
//! it. A lost answer says nothing, nor does a request that stopped.

use std::collections::BTreeMap;
use std::time::Duration;

/// What the client may know of all activities.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_workflow: BTreeMap<u32, OfActivity>,
    /// What the answer to the hit under way will say, unless it gets lost.
    saying: Vec<Said>,
}

/// What the client may know of one activity.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfActivity {
    /// When it last sent an end, whatever became of that.
    pub(super) end_sent: Option<Duration>,
    /// When an answer first said that the activity has ended.
    pub(super) ended: Option<Duration>,
    /// An answer said that an end was refused.
    pub(super) end_refused: bool,
    /// An answer said that an entry was refused, and that the end behind it was not.
    pub(super) passed: bool,
    /// Entries that it sent although it knew of the end.
    pub(super) after_end: u32,
}

/// What an answer says of one command.
#[derive(Clone, Copy, Debug)]
struct Said {
    workflow: u32,
    is_end: bool,
    is_done: bool,
}

impl Known {
    pub(super) fn of(&self, workflow: u32) -> OfActivity {
        self.by_workflow.get(&workflow).copied().unwrap_or_default()
    }

    /// The client sends an entry or an end.
    pub(super) fn sends(&mut self, workflow: u32, is_end: bool, now: Duration) {
        let known = self.by_workflow.entry(workflow).or_default();
        if is_end {
            known.end_sent = Some(now);
        } else if known.ended.is_some_and(|ended| ended < now && now < ended + REMEMBERED) {
            known.after_end += 1;
        }
    }

    /// The portal has executed a command.
    pub(super) fn will_say(&mut self, workflow: u32, is_end: bool, is_done: bool) {
        self.saying.push(Said { workflow, is_end, is_done });
    }

    /// The answer to the hit arrives then, or never.
    pub(super) fn answer(&mut self, arrives: Option<Duration>) {
        let said = std::mem::take(&mut self.saying);
        let Some(at) = arrives else { return };
        for Said { workflow, is_end, is_done } in &said {
            let known = self.by_workflow.entry(*workflow).or_default();
            match (is_end, is_done) {
                (true, true) => {
                    known.ended.get_or_insert(at);
                    let refused = |said: &&Said| !said.is_end && !said.is_done;
                    let mut others = said.iter().filter(refused);
                    known.passed |= others.any(|said| said.workflow == *workflow);
                }
                (true, false) => known.end_refused = true,
                (false, _) => {}
            }
        }
    }
}

/// An idle token is remembered for this time. Later lines may be sent for nothing.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);
