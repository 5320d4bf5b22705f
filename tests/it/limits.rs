//! The limits of the portal. Lost entries are visible.

use std::time::Duration;

use bizproc_portal::{Portal, Retention as Kept};
use tracing::{info, info_span};
use tracing_bizproc::config::Retention;

use crate::stage::{Stage, lines};

#[test]
fn entries_that_the_portal_drops_are_counted_and_mentioned_in_the_log() {
    let stage = Stage::with(Portal::builder().retention(Kept::Cloud), |builder| {
        let base = Duration::from_millis(1);
        builder.retention(Retention::Custom { kept: 50, base, growth: 1.0 })
    });
    let (workflow, _, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    for n in 0..60 {
        span.in_scope(|| info!("line {n}"));
        stage.flushed();
    }
    assert!(workflow.entries().len() <= 50);
    let stats = stage.bizproc.stats();
    assert_eq!((stats.acknowledged(), stats.rolled_off()), (60, 10));
    let log = lines(&workflow);
    assert!(log.contains(&"• (10 older lines are no longer shown by the portal)".to_owned()));
    assert_eq!(log.last().unwrap(), "line 59");
}
