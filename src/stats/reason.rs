//! The reasons for which a line can fail to reach its log.

use std::fmt;

/// Why an accepted line was given up, or why a line was refused at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// Refused: the queue between the callers and the worker was full.
    QueueFull,
    /// Refused: the budget of lines or bytes between accept and settle was spent.
    BudgetSpent,
    /// Refused: the worker had been closed.
    Closed,
    /// Refused: its event token already held its share of the queue or of the budget.
    TokenShare,
    /// Dropped: evicted to make room for newer lines (`Overflow::DropOldest`).
    Evicted,
    /// Dropped: its portal already held its share of the budget, or its token too much of that share; or
    /// its text, longer than the line since much of it was escaped, found no room.
    PortalShare,
    /// Dropped: the portal does not accept the event token (forged, damaged, or of another portal).
    TokenDenied,
    /// Dropped: the workflow has ended or was deleted.
    WorkflowGone,
    /// Dropped: the portal refused the entry itself.
    EntryRefused,
    /// Dropped: the credentials are not accepted, or lack the `bizproc` scope.
    CredentialBlocked,
    /// Dropped: the portal is closed, or has no business processes.
    PortalBlocked,
    /// Dropped: no credentials arrived for the portal that the span names.
    UnknownPortal,
    /// Dropped: the app was removed from the portal.
    Uninstalled,
    /// Dropped: retried as long, or as often, as the retry policy allows.
    RetriesSpent,
    /// Dropped: the outcome was unknown and the user prefers a gap to a repeat.
    OutcomeUnknown,
    /// Dropped: still pending when the deadline of the shutdown passed.
    ShutdownDeadline,
    /// Dropped: the oldest lines of a spool that had reached its size.
    SpoolFull,
    /// Dropped: older than a spool keeps lines.
    Expired,
    /// Dropped: the file of the spool that held it was damaged or has vanished.
    SpoolDamaged,
    /// Dropped: it was pending in a forked process, which has no worker. Lines that were pending at the fork
    /// are among them there: the process that has the worker delivers and counts these itself.
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

    /// How many there are: what an array with a place for each needs.
    pub(crate) const COUNT: usize = DropReason::ALL.len();

    /// The reasons for which lines are refused.
    pub(crate) fn refusals() -> impl Iterator<Item = DropReason> {
        DropReason::ALL.iter().copied().filter(|reason| reason.is_refusal())
    }

    /// Whether lines with this reason were turned away at the door, and so never accepted.
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            DropReason::QueueFull
                | DropReason::BudgetSpent
                | DropReason::Closed
                | DropReason::TokenShare
        )
    }

    /// The reason as a label of metrics: a word in `snake_case` that stays as it is.
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

    /// The reason in a few words, as the process log states it.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::QueueFull => "queue full",
            DropReason::BudgetSpent => "memory budget spent",
            DropReason::Closed => "logging was closed",
            DropReason::TokenShare => "too many lines at once",
            DropReason::Evicted => "made room for newer lines",
            DropReason::PortalShare => "portal's share of memory spent",
            DropReason::TokenDenied => "event token denied",
            DropReason::WorkflowGone => "workflow has ended",
            DropReason::EntryRefused => "entry refused",
            DropReason::CredentialBlocked => "credentials not accepted",
            DropReason::PortalBlocked => "portal closed",
            DropReason::UnknownPortal => "portal unknown",
            DropReason::Uninstalled => "app removed from the portal",
            DropReason::RetriesSpent => "portal not reachable in time",
            DropReason::OutcomeUnknown => "outcome unknown",
            DropReason::ShutdownDeadline => "app shut down",
            DropReason::SpoolFull => "disk space for lines spent",
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

    #[test]
    fn every_reason_stands_in_its_own_place() {
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
        }
        let labels: std::collections::BTreeSet<_> =
            DropReason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), DropReason::COUNT);
        assert_eq!(DropReason::COUNT, DropReason::Internal as usize + 1, "it is the last");
    }
}
