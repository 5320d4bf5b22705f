//! The counters of a relay, as text for Prometheus.

use std::fmt::{Display, Write};

use tracing_bizproc::stats::{DropReason, PortalSnapshot, Snapshot};
use tracing_bizproc_relay::{Backlog, RelayStatus};

/// All metrics. `backlog` is `None` if the database did not answer.
pub(crate) fn text(
    status: &RelayStatus,
    counters: &Snapshot,
    portals: &[PortalSnapshot],
    backlog: Option<&Backlog>,
) -> String {
    let mut page = Page::default();
    page.gauge("database_up", "1 if the database answered this request", backlog.is_some() as u8);
    if let Some(backlog) = backlog {
        let oldest = backlog.oldest.unwrap_or_default().as_secs_f64();
        page.gauge(
            "oldest_unsettled_seconds",
            "Age of the oldest chunk in the journal, of all portals",
            oldest,
        );
        page.gauge("journal_chunks", "Chunks in the journal, of all portals", backlog.chunks);
        page.gauge("journal_lines", "Lines in the journal, of all portals", backlog.lines);
        page.gauge(
            "dead_chunks",
            "Chunks that were given up and are still kept",
            backlog.dead_chunks,
        );
        page.gauge("dead_lines", "Lines that were given up and are still kept", backlog.dead_lines);
    }
    page.gauge("shards_owned", "Shards that this relay owns, of 256", status.shards);
    if let Some(age) = status.lease_age {
        page.gauge(
            "lease_age_seconds",
            "Time since the last renewal that was answered",
            age.as_secs_f64(),
        );
    }
    for (name, help, value) in [
        ("renewals_total", "Renewals of leases that were answered", status.turns),
        ("renewals_failed_total", "Renewals of leases that failed", status.failed_turns),
        ("shards_taken_total", "Shards that were taken", status.taken),
        ("shards_lost_total", "Shards whose lease ran out", status.lost),
        ("shards_given_back_total", "Shards that were given back", status.given_back),
        ("intents_total", "Requests that were stored and got a permit to leave", status.permitted),
        (
            "fenced_total",
            "Requests that did not leave: another relay owns their portal",
            status.fenced,
        ),
        (
            "intents_failed_total",
            "Requests that did not leave: the database could not store them",
            status.not_written,
        ),
        (
            "too_late_total",
            "Requests that did not leave: the lease ran out meanwhile",
            status.too_late,
        ),
        ("lines_recovered_total", "Lines that were read from the journal", counters.recovered()),
        (
            "lines_acknowledged_total",
            "Lines of entries that a portal has acknowledged",
            counters.acknowledged(),
        ),
        ("lines_late_total", "Lines whose activity had ended", counters.late()),
        ("lines_lost_total", "Lines that were lost, for any reason", counters.lost()),
        (
            "lines_handed_over_total",
            "Lines that were left in the journal for another relay",
            counters.handed_over(),
        ),
        (
            "ends_late_total",
            "Ends of activities for which the portal did not wait any more",
            counters.late_ends(),
        ),
        ("requests_total", "Requests to portals", counters.requests()),
        ("commands_total", "Commands in them", counters.commands()),
        ("repeated_total", "Entries that were sent again, with a mark", counters.repeats()),
        (
            "in_doubt_total",
            "Entries of which it is not known whether they were written",
            counters.unknown_outcomes(),
        ),
        (
            "rate_limited_total",
            "Requests that a portal refused because of its rate limit",
            counters.rate_limited(),
        ),
        (
            "operating_limited_total",
            "Commands that a portal refused because of its operating limit",
            counters.operating_limited(),
        ),
        (
            "worker_restarts_total",
            "How often the worker was started again after a panic",
            counters.restarts(),
        ),
    ] {
        page.counter(name, help, value);
    }
    page.head("lines_lost_by_reason_total", "Lines that were lost, by reason", "counter");
    for reason in DropReason::ALL {
        let labels = format!("{{reason=\"{}\"}}", reason.label());
        page.value("lines_lost_by_reason_total", &labels, counters.by_reason(*reason));
    }
    page.gauge("lines_pending", "Lines in memory", counters.pending());
    page.gauge("portals", "Portals that are delivered to", portals.len());
    let blocked = portals.iter().filter(|portal| portal.blocked().is_some()).count();
    page.gauge("portals_blocked", "Portals that accept nothing until something is fixed", blocked);
    let failing = portals.iter().filter(|portal| portal.failing_for().is_some()).count();
    page.gauge("portals_failing", "Portals to which requests fail", failing);
    page.gauge(
        "portals_unreadable",
        "Portals that wait because a newer version has written something for them, or because a row is damaged",
        status.unreadable_portals,
    );
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "gauge");
        self.value(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.value(name, "", value);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "{PREFIX}{name}{labels} {value}");
    }
}

const PREFIX: &str = "bizproc_relay_";
