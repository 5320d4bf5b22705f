//! The names by which the page and the portal speak of the same thing.

use std::time::Duration;

use crate::error::ErrorCode;
use crate::faults::{Canned, Fault, Moment};
use crate::state::{EntryKind, LostReason, Stage};

/// The entry of a name.
pub(crate) fn named<T: Clone>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
}

/// What can be planned for the next hit.
pub(crate) fn faults() -> Vec<(&'static str, Fault)> {
    use Moment::{AfterExecution, BeforeExecution, BeforeRead};
    vec![
        ("delay", Fault::Delay(BeforeExecution, Duration::from_secs(2))),
        ("reset_unread", Fault::Reset(BeforeRead)),
        ("reset_executed", Fault::Reset(AfterExecution)),
        ("truncate", Fault::Truncate),
        ("bad_gateway", Fault::Answer(BeforeExecution, Canned::html(502))),
        ("gateway_timeout", Fault::Answer(AfterExecution, Canned::html(504))),
        ("query_limit", Fault::Refuse(ErrorCode::QueryLimitExceeded)),
        ("server_error", Fault::Refuse(ErrorCode::InternalServerError)),
    ]
}

pub(crate) fn stage(stage: &Stage) -> &'static str {
    match stage {
        Stage::Starting => "starting",
        Stage::Running => "running",
        Stage::Finished => "finished",
        Stage::Terminated(_) => "terminated",
    }
}

pub(crate) fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Executed => "executed",
        EntryKind::Closed => "closed",
        EntryKind::Custom => "custom",
        EntryKind::Report => "report",
        EntryKind::Fault => "fault",
    }
}

pub(crate) fn lost(reason: LostReason) -> &'static str {
    match reason {
        LostReason::Completed => "completed",
        LostReason::TimedOut => "timed_out",
        LostReason::NoSubscription => "no_subscription",
        LostReason::Left => "left",
        LostReason::UnknownActivity => "unknown_activity",
        LostReason::DocumentGone => "document_gone",
        LostReason::Background(_) => "background",
    }
}
