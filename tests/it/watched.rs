//! Health and metrics.

use std::time::Duration;

use bizproc_portal::{Canned, Fault, Moment, Portal};
use tracing::{info, info_span};
use tracing_bizproc::stats::DropReason;
use tracing_bizproc::stats::{Cause, Status};

use crate::stage::{PATIENCE, Stage};

#[test]
fn health_is_ready_degraded_or_blocked_and_says_why() {
    let stage = Stage::with(Portal::builder(), |builder| builder.pending_lines(2));
    let (_, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    assert_eq!(stage.bizproc.health().to_string(), "ready", "nothing was logged yet");

    span.in_scope(|| info!("received"));
    stage.flushed();
    assert_eq!(stage.bizproc.health().status(), Status::Ready);
    let portal = stage.bizproc.portals().remove(0);
    assert!(portal.since_success().unwrap() < PATIENCE);
    assert_eq!((portal.oldest_pending(), portal.failing_for()), (None, None));

    let broken = Fault::Answer(Moment::BeforeExecution, Canned::html(502));
    stage.portal.faults().at_random(1, 1.0, vec![broken]);
    span.in_scope(|| info!("tried"));
    let degraded = |_: &Portal| stage.bizproc.health().status() == Status::Degraded;
    assert!(stage.portal.wait_for(PATIENCE, degraded), "{}", stage.bizproc.health());
    let health = stage.bizproc.health();
    assert!(matches!(health.causes(), [Cause::PortalFailing { portal: None, .. }]), "{health}");
    stage.portal.faults().clear();
    stage.flushed();
    assert_eq!(stage.bizproc.health().to_string(), "ready");

    stage.portal.revoke_webhook(&stage.portal.webhook_url());
    span.in_scope(|| (0..3).for_each(|n| info!(n, "waits")));
    stage.bizproc.flush_blocking(Duration::from_millis(500)).unwrap();
    let health = stage.bizproc.health();
    assert_eq!(health.status(), Status::Blocked);
    assert_eq!(
        health.to_string(),
        "blocked: no room for another line; the default portal: credentials not accepted"
    );
    let reason = DropReason::CredentialBlocked;
    assert!(
        matches!(health.causes(), [Cause::NoRoom, Cause::PortalBlocked { reason: why, .. }] if *why == reason)
    );
    assert!(stage.bizproc.portals()[0].oldest_pending().is_some());

    let bizproc = stage.bizproc.clone();
    stage.guard.shutdown_blocking(Duration::ZERO);
    assert_eq!(bizproc.health().causes()[0], Cause::Closed);
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_have_the_names_that_the_documentation_gives_them() {
    use metrics_exporter_prometheus::PrometheusBuilder;

    let stage = Stage::with(Portal::builder(), |builder| builder.pending_lines(2));
    let (_, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    stage.portal.faults().next(Fault::Delay(Moment::BeforeExecution, Duration::from_millis(100)));
    span.in_scope(|| (0..5).for_each(|n| info!(n, "received")));
    stage.flushed();

    let recorder = PrometheusBuilder::new().build_recorder();
    let exporter = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        stage.bizproc.publish_metrics();
        // Counters are absolute: published twice, they are not doubled.
        stage.bizproc.publish_metrics();
    });
    let shown = exporter.render();
    for line in [
        "bizproc_lines_accepted_total 2",
        "bizproc_lines_acknowledged_total 2",
        "bizproc_lines_refused_total{reason=\"budget_spent\"} 3",
        "bizproc_lines_dropped_total{reason=\"credential_blocked\"} 0",
        "bizproc_pending_lines 0",
        "bizproc_oldest_pending_seconds 0",
        "bizproc_portals 1",
        "bizproc_blocked_portals 0",
        "bizproc_health{status=\"ready\"} 1",
        "bizproc_health{status=\"blocked\"} 0",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    let success = shown.lines().find_map(|line| {
        line.strip_prefix("bizproc_last_success_timestamp_seconds ")?.parse::<f64>().ok()
    });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!((now.as_secs_f64() - success.unwrap()).abs() < PATIENCE.as_secs_f64());

    let documented = include_str!("../../src/stats/snapshot.rs");
    let mut names: Vec<_> = documented
        .lines()
        .filter(|line| line.starts_with("/// | "))
        .filter_map(|line| line.split('`').find(|word| word.starts_with("bizproc_")))
        .collect();
    let mut there: Vec<_> =
        shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    names.sort_unstable();
    there.sort_unstable();
    assert_eq!(names, there, "as many as the table has");
}
