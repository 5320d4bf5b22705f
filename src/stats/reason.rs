//! The reasons for which a line can fail to reach its log.

use std::fmt;

/// Why an accepted line was dropped, or why a line was refused.
///
/// ```
/// use tracing_bizproc::stats::DropReason;
///
/// assert!(DropReason::QueueFull.is_refusal());
/// assert_eq!(DropReason::WorkflowGone.label(), "workflow_gone");
///
/// # fn show(stats: &tracing_bizproc::stats::Snapshot) {
/// for &reason in DropReason::ALL {
///     println!("{}: {}", reason.label(), stats.by_reason(reason));
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// Refused: the queue between the callers and the worker was full.
    QueueFull,
    /// Refused: the budget of pending lines or bytes was used up.
    BudgetSpent,
    /// Refused: the worker was closed, because its guard was dropped.
    Closed,
    /// Refused: its event token had already used its share of the queue or of the budget.
    TokenShare,
    /// Dropped: removed to make room for newer lines (`Overflow::DropOldest`).
    Evicted,
    /// Dropped: its portal had already used its share of the budget, or its event token too much of that
    /// share; or its text became longer because characters were escaped, and there was no memory left.
    PortalShare,
    /// Dropped: the portal does not accept the event token (forged, damaged, or of another portal).
    TokenDenied,
    /// Dropped: the workflow has ended or was deleted.
    WorkflowGone,
    /// Dropped: the portal refused the entry itself.
    EntryRefused,
    /// Dropped: the credentials are not accepted, or lack the `bizproc` scope.
    CredentialBlocked,
    /// Dropped: the portal is closed, has moved to an address that is not confirmed, or has no business
    /// processes.
    PortalBlocked,
    /// Dropped: there were no credentials for the portal of the span, for ten minutes or, with a spool, for its
    /// `max_age`.
    UnknownPortal,
    /// Dropped: the app was removed from the portal.
    Uninstalled,
    /// Dropped: delivery failed for longer than `max_age` (with a spool: its own `max_age`), or too often for this entry: for example, the
    /// portal was not reached, answered with errors, or kept the workflow locked.
    RetriesSpent,
    /// Dropped: it is not known whether the portal wrote it, and `on_unknown_outcome` is `GiveUp`.
    OutcomeUnknown,
    /// Dropped: it was still pending at the deadline of the shutdown.
    ShutdownDeadline,
    /// Dropped: they were the oldest lines of a spool that had reached its maximum size.
    SpoolFull,
    /// Dropped: older than `max_age` of the spool.
    Expired,
    /// Dropped: the file of the spool with this line was damaged or deleted, or its end is incomplete because the
    /// process was killed while it wrote.
    SpoolDamaged,
    /// Dropped: it was pending in a forked process, which has no worker. In the child's counters, this includes
    /// the lines that were pending at the fork. The parent delivers and counts those itself.
    Forked,
    /// Dropped: an error inside this crate. Please report it.
    Internal,
}

impl DropReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: &'static [DropReason] = &[
        DropReason::QueueFull,
        DropReason::BudgetSpent,
        DropReason::Closed,
        DropReason::TokenShare,
        DropReason::Evicted,
        DropReason::PortalShare,
        DropReason::TokenDenied,
        DropReason::WorkflowGone,
        DropReason::EntryRefused,
        DropReason::CredentialBlocked,
        DropReason::PortalBlocked,
        DropReason::UnknownPortal,
        DropReason::Uninstalled,
        DropReason::RetriesSpent,
        DropReason::OutcomeUnknown,
        DropReason::ShutdownDeadline,
        DropReason::SpoolFull,
        DropReason::Expired,
        DropReason::SpoolDamaged,
        DropReason::Forked,
        DropReason::Internal,
    ];

    /// How many there are: the length of an array with a counter for each.
    pub(crate) const COUNT: usize = DropReason::ALL.len();

    /// The reasons for which lines are refused.
    pub(crate) fn refusals() -> impl Iterator<Item = DropReason> {
        DropReason::ALL.iter().copied().filter(|reason| reason.is_refusal())
    }

    /// Whether lines with this reason were refused, and so never accepted.
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            DropReason::QueueFull
                | DropReason::BudgetSpent
                | DropReason::Closed
                | DropReason::TokenShare
        )
    }

    /// The reason as a label of metrics: a word in `snake_case` that will not change.
    ///
    /// ```
    /// assert_eq!(tracing_bizproc::stats::DropReason::QueueFull.label(), "queue_full");
    /// ```
    pub fn label(self) -> &'static str {
        match self {
            DropReason::QueueFull => "queue_full",
            DropReason::BudgetSpent => "budget_spent",
            DropReason::Closed => "closed",
            DropReason::TokenShare => "token_share",
            DropReason::Evicted => "evicted",
            DropReason::PortalShare => "portal_share",
            DropReason::TokenDenied => "token_denied",
            DropReason::WorkflowGone => "workflow_gone",
            DropReason::EntryRefused => "entry_refused",
            DropReason::CredentialBlocked => "credential_blocked",
            DropReason::PortalBlocked => "portal_blocked",
            DropReason::UnknownPortal => "unknown_portal",
            DropReason::Uninstalled => "uninstalled",
            DropReason::RetriesSpent => "retries_spent",
            DropReason::OutcomeUnknown => "outcome_unknown",
            DropReason::ShutdownDeadline => "shutdown_deadline",
            DropReason::SpoolFull => "spool_full",
            DropReason::Expired => "expired",
            DropReason::SpoolDamaged => "spool_damaged",
            DropReason::Forked => "forked",
            DropReason::Internal => "internal",
        }
    }

    /// The reason in a few words, as it is written into the process log.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::QueueFull => "queue full",
            DropReason::BudgetSpent => "memory budget used up",
            DropReason::Closed => "logging was closed",
            DropReason::TokenShare => "too many lines at once",
            DropReason::Evicted => "made room for newer lines",
            DropReason::PortalShare => "portal's share of memory used up",
            DropReason::TokenDenied => "event token not accepted",
            DropReason::WorkflowGone => "workflow has ended",
            DropReason::EntryRefused => "entry refused",
            DropReason::CredentialBlocked => "credentials not accepted",
            DropReason::PortalBlocked => "portal not available",
            DropReason::UnknownPortal => "portal unknown",
            DropReason::Uninstalled => "app removed from the portal",
            DropReason::RetriesSpent => "could not be delivered",
            DropReason::OutcomeUnknown => "outcome unknown",
            DropReason::ShutdownDeadline => "app shut down",
            DropReason::SpoolFull => "disk space for lines used up",
            DropReason::Expired => "too old",
            DropReason::SpoolDamaged => "damaged on disk",
            DropReason::Forked => "logged in a forked process",
            DropReason::Internal => "internal error",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Language, Wording};

    #[test]
    fn the_list_of_all_reasons_is_complete_and_in_order() {
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
        }
        let labels: std::collections::BTreeSet<_> =
            DropReason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), DropReason::COUNT);
        assert_eq!(DropReason::COUNT, DropReason::Internal as usize + 1, "it is the last");
    }

    /// Regression: a process log said "portal closed" for a portal that had moved, and "portal not
    /// reachable in time" for a workflow that another request had locked.
    #[test]
    fn a_reason_with_several_causes_does_not_name_one_of_them() {
        for (reason, too_narrow) in [
            (DropReason::PortalBlocked, ["closed", "закрыт"]),
            (DropReason::RetriesSpent, ["reach", "не отвечал"]),
        ] {
            assert!(!reason.as_str().contains(too_narrow[0]), "{reason}");
            let russian = Language::Russian.reason(reason);
            assert!(!russian.contains(too_narrow[1]), "{russian}");
        }
    }
}
