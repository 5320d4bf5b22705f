//! Counters and gauges for the facade `metrics`.

use std::time::{Duration, SystemTime};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::Handle;
use crate::stats::{DropReason, Snapshot, Status};

/// With the feature `metrics`.
impl Handle {
    /// Passes the current counters and gauges to the recorder of the crate
    /// [`metrics`](https://docs.rs/metrics) that the app has installed. Without a recorder nothing happens.
    ///
    /// Call it before metrics are read: in the handler of `/metrics` (as in `examples/watched.rs`), or on a
    /// timer if the exporter pushes. It takes a few microseconds, and sends nothing.
    ///
    /// [`Snapshot`](crate::stats::Snapshot#what-is-counted) has a table of all metrics. Their names, labels
    /// and units will not change.
    pub fn publish_metrics(&self) {
        let stats = self.stats();
        for (name, help, count) in counters(&stats) {
            describe_counter!(name, Unit::Count, help);
            counter!(name).absolute(count);
        }
        describe_counter!(DROPPED, Unit::Count, "accepted lines that were dropped");
        describe_counter!(REFUSED, Unit::Count, "lines that were turned away at the door");
        for reason in DropReason::ALL {
            let name = if reason.is_refusal() { REFUSED } else { DROPPED };
            counter!(name, "reason" => reason.label()).absolute(stats.by_reason(*reason));
        }
        let portals = self.portals();
        let oldest = portals.iter().filter_map(|portal| portal.oldest_pending()).max();
        describe_gauge!(PENDING, Unit::Count, "lines accepted and not yet settled");
        gauge!(PENDING).set(stats.pending() as f64);
        describe_gauge!(OLDEST, Unit::Seconds, "how long the oldest pending line has waited");
        gauge!(OLDEST).set(oldest.unwrap_or_default().as_secs_f64());
        describe_gauge!(SUCCESS, Unit::Seconds, "when a portal last acknowledged something");
        if let Some(ago) = portals.iter().filter_map(|portal| portal.since_success()).min() {
            gauge!(SUCCESS).set(unix_seconds(ago));
        }
        let blocked = portals.iter().filter(|portal| portal.blocked().is_some()).count();
        describe_gauge!(PORTALS, Unit::Count, "portals of which the worker knows");
        gauge!(PORTALS).set(portals.len() as f64);
        describe_gauge!(BLOCKED, Unit::Count, "portals that take nothing for now");
        gauge!(BLOCKED).set(blocked as f64);
        describe_gauge!(HEALTH, Unit::Count, "1 at the present status");
        let health = self.health();
        for status in Status::ALL {
            let here = if health.status() == status { 1.0 } else { 0.0 };
            gauge!(HEALTH, "status" => status.as_str()).set(here);
        }
    }
}

/// The Unix time of the moment `ago`.
fn unix_seconds(ago: Duration) -> f64 {
    #[expect(clippy::disallowed_methods, reason = "the gauge is a time of the clock")]
    let at = SystemTime::now() - ago;
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Counters without labels: their names, what they count, and how much.
fn counters(stats: &Snapshot) -> [(&'static str, &'static str, u64); 19] {
    [
        ("bizproc_lines_accepted_total", "lines that the queue took in", stats.accepted()),
        (
            "bizproc_lines_acknowledged_total",
            "lines of entries to which the portal said true",
            stats.acknowledged(),
        ),
        ("bizproc_lines_late_total", "lines after the end of their activity", stats.late()),
        (
            "bizproc_lines_rolled_off_total",
            "lines that the portal no longer shows",
            stats.rolled_off(),
        ),
        ("bizproc_requests_total", "requests sent to portals", stats.requests()),
        ("bizproc_commands_total", "commands in those requests", stats.commands()),
        ("bizproc_repeats_total", "entries sent again after an unknown outcome", stats.repeats()),
        (
            "bizproc_rate_limited_total",
            "requests that a portal refused for their rate",
            stats.rate_limited(),
        ),
        (
            "bizproc_operating_limited_total",
            "replies with a refusal for operating time",
            stats.operating_limited(),
        ),
        (
            "bizproc_unknown_outcomes_total",
            "requests whose outcome could not be known",
            stats.unknown_outcomes(),
        ),
        (
            "bizproc_unusable_tokens_total",
            "values of the token's field that no portal issues",
            stats.unusable_tokens(),
        ),
        (
            "bizproc_unseen_total",
            "tagged spans, or events in spans, that were hidden from the layer",
            stats.unseen(),
        ),
        (
            "bizproc_format_failures_total",
            "lines and notices whose format or wording failed",
            stats.format_failures(),
        ),
        (
            "bizproc_abandoned_activities_total",
            "activities that were dropped without an end",
            stats.abandoned(),
        ),
        (
            "bizproc_lines_recovered_total",
            "lines of earlier runs, found on disk",
            stats.recovered(),
        ),
        (
            "bizproc_lines_handed_over_total",
            "lines that another process delivers",
            stats.handed_over(),
        ),
        (
            "bizproc_lines_unstored_total",
            "lines that would not survive a crash, since the disk failed, was full or was slow",
            stats.unstored(),
        ),
        (
            "bizproc_late_ends_total",
            "ends of activities that were found on disk too late, or were damaged or removed there",
            stats.late_ends(),
        ),
        ("bizproc_restarts_total", "restarts of the worker after a panic", stats.restarts()),
    ]
}

const DROPPED: &str = "bizproc_lines_dropped_total";
const REFUSED: &str = "bizproc_lines_refused_total";
const PENDING: &str = "bizproc_pending_lines";
const OLDEST: &str = "bizproc_oldest_pending_seconds";
const SUCCESS: &str = "bizproc_last_success_timestamp_seconds";
const PORTALS: &str = "bizproc_portals";
const BLOCKED: &str = "bizproc_blocked_portals";
const HEALTH: &str = "bizproc_health";
