//! All counters at one moment: those of the worker and those of the queue's door.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::{DropReason, Stats};

/// What the queue has counted at its door.
#[derive(Debug)]
pub(crate) struct AtDoor {
    pub(crate) accepted: u64,
    pub(crate) pending: u64,
    /// There is no worker in this process: what is pending here will never be settled.
    pub(crate) is_forked: bool,
    pub(crate) refused: Vec<(DropReason, u64)>,
    pub(crate) unusable_tokens: u64,
    pub(crate) unseen: u64,
}

/// All counters at one moment. Its `Display` is one line of text.
///
/// Counters only grow, except [`pending`](Self::pending), and [`accepted`](Self::accepted) while lines
/// are being refused. They are read one after the other, so they may differ by the lines that are in
/// motion. When no line is in motion, this is true: [`accepted`](Self::accepted) +
/// [`recovered`](Self::recovered) = [`acknowledged`](Self::acknowledged) +
/// [`handed_over`](Self::handed_over) + [`late`](Self::late) + [`lost`](Self::lost) +
/// [`pending`](Self::pending).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
/// # let (layer, guard) = tracing_bizproc::builder(webhook).build()?;
/// # let _: Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry>> = Box::new(layer);
/// let snapshot = guard.handle().stats();
/// assert_eq!(snapshot.to_string(), "accepted=0 acknowledged=0 lost=0");
/// # Ok(())
/// # }
/// ```
///
/// # What is counted
///
/// The metrics are those of [`publish_metrics`], with the feature `metrics`.
///
/// | here | metric | what it counts |
/// |---|---|---|
/// | [`accepted`](Self::accepted) | `bizproc_lines_accepted_total` | lines that the queue accepted |
/// | [`acknowledged`](Self::acknowledged) | `bizproc_lines_acknowledged_total` | lines of entries that the portal answered with `true` |
/// | [`late`](Self::late) | `bizproc_lines_late_total` | lines after the end of their activity |
/// | [`lost`](Self::lost), [`by_reason`](Self::by_reason) | `bizproc_lines_dropped_total`, by `reason` | accepted lines that were dropped |
/// | [`refused`](Self::refused), [`by_reason`](Self::by_reason) | `bizproc_lines_refused_total`, by `reason` | lines that were refused, so never accepted |
/// | [`rolled_off`](Self::rolled_off) | `bizproc_lines_rolled_off_total` | lines that the portal no longer shows |
/// | [`pending`](Self::pending) | `bizproc_pending_lines` (gauge) | lines accepted or recovered, and not yet acknowledged, late or lost |
/// | [`recovered`](Self::recovered) | `bizproc_lines_recovered_total` | lines of earlier runs, found on disk |
/// | [`handed_over`](Self::handed_over) | `bizproc_lines_handed_over_total` | lines that another process delivers |
/// | [`unstored`](Self::unstored) | `bizproc_lines_unstored_total` | lines that would not survive a crash, because the disk failed, was full or was slow |
/// | [`late_ends`](Self::late_ends) | `bizproc_late_ends_total` | ends of activities that were found on disk too late, or were damaged or removed there |
/// | [`PortalSnapshot::oldest_pending`] | `bizproc_oldest_pending_seconds` (gauge) | how long the oldest of them has waited; 0 if there is none |
/// | [`PortalSnapshot::since_success`] | `bizproc_last_success_timestamp_seconds` (gauge) | when a portal last acknowledged something, in Unix time |
/// | [`requests`](Self::requests) | `bizproc_requests_total` | requests sent to portals |
/// | [`commands`](Self::commands) | `bizproc_commands_total` | commands in those requests |
/// | [`repeats`](Self::repeats) | `bizproc_repeats_total` | entries sent again after an unknown outcome |
/// | [`rate_limited`](Self::rate_limited) | `bizproc_rate_limited_total` | requests that a portal refused for their rate |
/// | [`operating_limited`](Self::operating_limited) | `bizproc_operating_limited_total` | replies with a refusal for operating time |
/// | [`unknown_outcomes`](Self::unknown_outcomes) | `bizproc_unknown_outcomes_total` | requests whose outcome could not be known |
/// | [`unusable_tokens`](Self::unusable_tokens) | `bizproc_unusable_tokens_total` | values of the token's field that cannot be event tokens |
/// | [`unseen`](Self::unseen) | `bizproc_unseen_total` | tagged spans, or events in spans, that were hidden from the layer |
/// | [`format_failures`](Self::format_failures) | `bizproc_format_failures_total` | lines and notices whose format or wording failed |
/// | [`abandoned`](Self::abandoned) | `bizproc_abandoned_activities_total` | activities that were dropped without an end |
/// | [`restarts`](Self::restarts) | `bizproc_restarts_total` | restarts of the worker after a panic |
/// | [`Handle::portals`](crate::Handle::portals) | `bizproc_portals` (gauge) | portals that the worker knows |
/// | [`PortalSnapshot::blocked`] | `bizproc_blocked_portals` (gauge) | portals that accept nothing until something is fixed |
/// | [`Handle::health`](crate::Handle::health) | `bizproc_health` (gauge), by `status` | 1 for the current status, 0 for the others |
///
/// Counters have the unit 1; the values of `reason` are [`DropReason::label`]s, and those of `status`
/// [`Status::as_str`]s.
///
/// [`publish_metrics`]: crate::Handle#method.publish_metrics
/// [`PortalSnapshot::oldest_pending`]: super::PortalSnapshot::oldest_pending
/// [`PortalSnapshot::since_success`]: super::PortalSnapshot::since_success
/// [`PortalSnapshot::blocked`]: super::PortalSnapshot::blocked
/// [`Status::as_str`]: super::Status::as_str
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    accepted: u64,
    pending: u64,
    acknowledged: u64,
    late: u64,
    by_reason: [u64; DropReason::COUNT],
    requests: u64,
    commands: u64,
    repeats: u64,
    rolled_off: u64,
    rate_limited: u64,
    operating_limited: u64,
    unknown_outcomes: u64,
    unusable_tokens: u64,
    unseen: u64,
    restarts: u64,
    abandoned: u64,
    format_failures: u64,
    recovered: u64,
    handed_over: u64,
    withheld: u64,
    unstored: u64,
    late_ends: u64,
}

impl Snapshot {
    /// Lines that the queue accepted.
    ///
    /// A line that is being refused may be counted for a short moment, here and in
    /// [`pending`](Self::pending): at most one line per thread. So compute a rate from two snapshots with
    /// `saturating_sub`.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Lines of entries that the portal answered with `true`. (It also answers `true` for entries that
    /// it throws away, for example after the end of an activity: server behaviour.)
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Lines that were logged, or were still pending, when their activity had ended or timed out.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Lines that are accepted or recovered, and not yet acknowledged, late or lost. Includes lines on disk.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Lines of earlier runs that were found on disk (`Builder::spool`). The number gets smaller if some of
    /// them turn out to be delivered already, or too old.
    pub fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Lines that another process delivers: they are in the journal of a relay (`Builder::publish_to`). The
    /// relay counts what becomes of them.
    pub fn handed_over(&self) -> u64 {
        self.handed_over
    }

    /// Requests of a relay that did not leave, because another relay owned their portal, or the journal did not
    /// permit them in time. Their lines were not sent by them.
    #[doc(hidden)]
    pub fn withheld(&self) -> u64 {
        self.withheld
    }

    /// Accepted lines that are delivered from memory only, because the disk failed, was full or was slow.
    /// They would not survive a crash. They are also counted by their result.
    pub fn unstored(&self) -> u64 {
        self.unstored
    }

    /// Ends of activities that were found on disk when their portal no longer waited for them, or that were
    /// damaged or removed there. They are not sent from disk.
    pub fn late_ends(&self) -> u64 {
        self.late_ends
    }

    /// Accepted lines that were dropped, for any reason.
    pub fn lost(&self) -> u64 {
        self.sum(|reason| !reason.is_refusal())
    }

    /// Lines that were refused and never accepted.
    pub fn refused(&self) -> u64 {
        self.sum(DropReason::is_refusal)
    }

    /// Lines that were dropped or refused for `reason`.
    pub fn by_reason(&self, reason: DropReason) -> u64 {
        self.by_reason[reason as usize]
    }

    /// Requests sent to portals, including repeats.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Commands in those requests. Most of them are entries.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Entries sent again after an unknown outcome, marked in the log as possible repeats.
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Lines that the portal no longer shows, because it keeps only the newest entries of a workflow.
    pub fn rolled_off(&self) -> u64 {
        self.rolled_off
    }

    /// Requests that a portal refused because there were too many (`QUERY_LIMIT_EXCEEDED`).
    pub fn rate_limited(&self) -> u64 {
        self.rate_limited
    }

    /// Replies that say that the server time is used up (`OPERATION_TIME_LIMIT`).
    pub fn operating_limited(&self) -> u64 {
        self.operating_limited
    }

    /// Requests of which it is not known whether they were executed.
    pub fn unknown_outcomes(&self) -> u64 {
        self.unknown_outcomes
    }

    /// Values of the field `event_token` that cannot be event tokens. Their spans are not tagged.
    pub fn unusable_tokens(&self) -> u64 {
        self.unusable_tokens
    }

    /// Tagged spans, and events in spans, that this layer could not see: a filter hides them, or another
    /// layer panicked while it used the data of the span. Not all of them can be counted. Their lines are
    /// in no other counter. The worker's report says what to add to the filter.
    pub fn unseen(&self) -> u64 {
        self.unseen
    }

    /// How often the worker was restarted after a panic. Either the panic was its own (please report
    /// it), or a layer of the app panicked while it handled a report of the worker. (Token stores and
    /// providers that panic are reported as failed, and asked again.)
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Activities that the app opened, and dropped without an end. Their workflows wait until the timeout
    /// of the activity, if there is one.
    pub fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// Lines and notices that were written in the default format, because the [`Format`] or the [`Wording`]
    /// of the app panicked or returned an error. None of them is lost.
    ///
    /// [`Format`]: crate::format::Format
    /// [`Wording`]: crate::format::Wording
    pub fn format_failures(&self) -> u64 {
        self.format_failures
    }

    fn sum(&self, which: impl Fn(DropReason) -> bool) -> u64 {
        DropReason::ALL.iter().filter(|reason| which(**reason)).map(|r| self.by_reason(*r)).sum()
    }
}

impl Stats {
    /// Reads all counters, except those of the door, which the queue has.
    pub(crate) fn snapshot(&self, door: &AtDoor) -> Snapshot {
        let mut by_reason = std::array::from_fn(|n| self.by_reason[n].load(Relaxed));
        for &(reason, lines) in &door.refused {
            by_reason[reason as usize] += lines;
        }
        let mut pending = door.pending + self.stored.load(Relaxed);
        if door.is_forked {
            by_reason[DropReason::Forked as usize] += std::mem::take(&mut pending);
        }
        Snapshot {
            accepted: door.accepted,
            pending,
            recovered: self.recovered.load(Relaxed),
            handed_over: self.handed_over.load(Relaxed),
            withheld: self.withheld.load(Relaxed),
            unstored: self.unstored.load(Relaxed),
            late_ends: self.late_ends.load(Relaxed),
            unusable_tokens: door.unusable_tokens,
            unseen: door.unseen,
            acknowledged: self.acknowledged.load(Relaxed),
            late: self.late.load(Relaxed),
            by_reason,
            requests: self.requests.load(Relaxed),
            commands: self.commands.load(Relaxed),
            repeats: self.repeats.load(Relaxed),
            rolled_off: self.rolled_off.load(Relaxed),
            rate_limited: self.rate_limited.load(Relaxed),
            operating_limited: self.operating_limited.load(Relaxed),
            unknown_outcomes: self.unknown_outcomes.load(Relaxed),
            restarts: self.restarts.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            format_failures: self.format_failures(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted={} acknowledged={} lost={}",
            self.accepted,
            self.acknowledged,
            self.lost()
        )?;
        let others = [
            ("recovered", self.recovered),
            ("handed_over", self.handed_over),
            ("late", self.late),
            ("pending", self.pending),
            ("refused", self.refused()),
            ("unusable_tokens", self.unusable_tokens),
            ("unseen", self.unseen),
            ("unstored", self.unstored),
            ("late_ends", self.late_ends),
            ("abandoned", self.abandoned),
            ("format_failures", self.format_failures),
            ("restarts", self.restarts),
        ];
        for (name, count) in others {
            if count > 0 {
                write!(f, " {name}={count}")?;
            }
        }
        write_reasons(f, &self.by_reason)
    }
}

/// " (queue full: 3, workflow has ended: 1)", or nothing.
pub(super) fn write_reasons(
    f: &mut fmt::Formatter<'_>,
    by_reason: &[u64; DropReason::COUNT],
) -> fmt::Result {
    let mut open = " (";
    for &reason in DropReason::ALL {
        let lines = by_reason[reason as usize];
        if lines > 0 {
            write!(f, "{open}{reason}: {lines}")?;
            open = ", ";
        }
    }
    if open == ", " { f.write_str(")") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_shows_only_the_counters_that_are_above_zero() {
        let stats = Stats::default();
        let mut door = AtDoor {
            accepted: 0,
            pending: 0,
            is_forked: false,
            refused: Vec::new(),
            unusable_tokens: 0,
            unseen: 0,
        };
        assert_eq!(stats.snapshot(&door).to_string(), "accepted=0 acknowledged=0 lost=0");
        (door.unusable_tokens, door.unseen) = (2, 3);
        stats.abandoned();
        stats.restarted();
        let shown = stats.snapshot(&door).to_string();
        let wrong = "unusable_tokens=2 unseen=3 abandoned=1 restarts=1";
        assert_eq!(shown, format!("accepted=0 acknowledged=0 lost=0 {wrong}"));
    }
}
