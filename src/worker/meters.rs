//! Which of the portal's operating counters a request feeds, and what its reply says of them.

use std::time::{Duration, Instant};

use super::pace::OperatingWindow;
use crate::protocol::reply::{Outcome, Sent, ServerTime};

/// The portal counts by credential and method, and a batch is counted by itself besides its
/// commands (server behaviour), so three windows matter to us.
#[derive(Debug)]
pub(crate) struct Meters {
    /// `bizproc.activity.log`, called directly.
    direct: OperatingWindow,
    /// `bizproc.activity.log` inside a batch: its own key for webhooks.
    batched: OperatingWindow,
    /// `batch` itself.
    outer: OperatingWindow,
}

impl Meters {
    pub(crate) fn new(limit: Duration, now: Instant) -> Self {
        let window = || OperatingWindow::new(limit, now);
        Meters { direct: window(), batched: window(), outer: window() }
    }

    /// How many of `want` commands may go now, or when to ask again.
    pub(crate) fn allowance(&self, one: bool, want: usize, now: Instant) -> Result<usize, Instant> {
        if one || want == 1 {
            return self.direct.allowance(1, now);
        }
        self.outer.allowance(1, now)?;
        match self.batched.allowance(want, now)? {
            // One command goes by itself, and is counted there.
            1 => self.direct.allowance(1, now),
            fits => Ok(fits),
        }
    }

    /// Reads the `time` parts of a reply.
    pub(crate) fn observe(
        &mut self,
        sent: Sent,
        outcomes: &[Outcome],
        time: ServerTime,
        now: Instant,
    ) {
        match sent {
            Sent::Single => observe(&mut self.direct, time, 1, time.duration.unwrap_or(0.0), now),
            Sent::Batch(_) => {
                let done = || {
                    outcomes.iter().filter_map(|outcome| match outcome {
                        Outcome::Done(time) => Some(*time),
                        _ => None,
                    })
                };
                let worked: f64 = done().filter_map(|time| time.duration).sum();
                let commands = done().count();
                // Cumulative, so the last command's count includes the others'.
                if let Some(mut last) = done().next_back() {
                    last.finish = last.finish.or(time.finish);
                    observe(&mut self.batched, last, commands, worked, now);
                }
                observe(&mut self.outer, time, 1, time.duration.unwrap_or(0.0), now);
            }
        }
    }

    /// The portal refused for operating time: the request itself, or a command in a batch.
    pub(crate) fn refused(&mut self, sent: Sent, within: Within, now: Instant) {
        match (sent, within) {
            (Sent::Single, _) => self.direct.refused(now),
            (Sent::Batch(_), Within::Request) => self.outer.refused(now),
            (Sent::Batch(_), Within::Command) => self.batched.refused(now),
        }
    }
}

/// Where a refusal stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    Request,
    Command,
}

fn observe(
    window: &mut OperatingWindow,
    time: ServerTime,
    commands: usize,
    worked: f64,
    now: Instant,
) {
    let Some(operating) = time.operating else { return window.lifted() };
    // Both times are of the portal's clock, so ours does not matter.
    let resets_in = match (time.operating_reset_at, time.finish) {
        (Some(reset), Some(finish)) => {
            Duration::try_from_secs_f64((reset as f64 - finish).max(0.0)).ok()
        }
        _ => None,
    };
    window.observed(operating, resets_in, commands, worked, now);
}
