//! A line arrives once, in order, in the log of its span.

use std::collections::BTreeMap;

use bizproc_portal::{Portal, Tariff};
use tracing::{Instrument, info, info_span, instrument, warn};
use tracing_bizproc::config::Quota;
use tracing_bizproc::{Completion, EventToken};

use crate::stage::{PATIENCE, Stage, lines, token};

#[test]
fn an_info_call_appears_in_the_process_log() {
    let stage = Stage::quick();
    let (workflow, _, event_token) = stage.activity();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
        info!(order = 1042, "Card charged");
    });
    stage.flushed();
    assert_eq!(lines(&workflow), ["Card charged (order=1042)"]);
    assert_eq!(stage.bizproc.stats().to_string(), "accepted=1 acknowledged=1 lost=0");
}

#[test]
fn every_form_of_the_token_field_tags_the_span() {
    let stage = Stage::quick();
    let mut expected = BTreeMap::new();
    let mut workflows = Vec::new();
    let mut tagged = |form: &'static str, span: &dyn Fn(&EventToken) -> tracing::Span| {
        let (workflow, _, event_token) = stage.activity();
        span(&event_token).in_scope(|| info!("{form}"));
        expected.insert(workflow.id().to_owned(), vec![form.to_owned()]);
        workflows.push(workflow);
    };
    // Only the portal gives the raw token. EventToken hides it.
    let raw = |stage: &Stage| stage.activity();
    tagged("tag", &|token| info_span!("activity", event_token = token.as_field()));
    tagged("recorded later", &|token| {
        let span = info_span!("activity", event_token = tracing::field::Empty);
        span.record("event_token", token.as_field());
        span
    });
    for form in ["str", "string", "display", "debug"] {
        let (workflow, activity, _) = raw(&stage);
        let text = activity.event_token();
        let span = match form {
            "str" => info_span!("activity", event_token = text.as_str()),
            "string" => info_span!("activity", event_token = text.clone()),
            "display" => info_span!("activity", event_token = %text),
            _ => info_span!("activity", event_token = ?text),
        };
        span.in_scope(|| info!("{form}"));
        expected.insert(workflow.id().to_owned(), vec![form.to_owned()]);
        workflows.push(workflow);
    }
    stage.flushed();
    let found: BTreeMap<_, _> =
        workflows.iter().map(|workflow| (workflow.id().to_owned(), lines(workflow))).collect();
    assert_eq!(found, expected);
}

#[instrument(fields(event_token = event_token.as_field()), skip_all)]
async fn instrumented(event_token: &EventToken, order: u32) {
    info!(order, "before");
    tokio::task::yield_now().await;
    async { warn!("inside") }.instrument(info_span!("shipping", carrier = "DHL")).await;
    info!("after");
}

#[tokio::test(flavor = "current_thread")]
async fn instrumented_async_functions_keep_their_lines_apart() {
    let stage = Stage::quick();
    let (one, _, one_token) = stage.activity();
    let (two, _, two_token) = stage.activity();
    tokio::join!(instrumented(&one_token, 1), instrumented(&two_token, 2));
    let report = stage.bizproc.flush(PATIENCE).await.unwrap();
    assert_eq!(report.acknowledged(), 6);
    for (workflow, n) in [(one, 1), (two, 2)] {
        let expected =
            [format!("before (order={n})"), "WARNING: inside (shipping: carrier=DHL)".to_owned()];
        assert_eq!(lines(&workflow)[..2], expected);
    }
}

#[test]
fn ten_thousand_lines_over_200_tokens_arrive_in_order_within_the_rate_limit() {
    let stage = Stage::with(Portal::builder().tariff(Tariff::Standard), |builder| {
        builder.quota(Quota::Standard).queue_lines(16_384)
    });
    let activities: Vec<_> = (0..200).map(|_| stage.activity()).collect();
    let spans: Vec<_> = activities
        .iter()
        .map(|(_, _, event_token)| info_span!("activity", event_token = event_token.as_field()))
        .collect();
    for n in 0..50 {
        for span in &spans {
            span.in_scope(|| info!("line {n}"));
        }
    }
    stage.flushed();
    assert_eq!(stage.bizproc.stats().to_string(), "accepted=10000 acknowledged=10000 lost=0");
    let expected: Vec<_> = (0..50).map(|n| format!("line {n}")).collect();
    for (workflow, _, _) in &activities {
        assert_eq!(lines(workflow), expected);
    }
    let counters = stage.portal.counters();
    println!("10,000 lines over 200 tokens: {} requests", counters.hits);
    assert_eq!(counters.refused_hits, 0, "never above the portal's rate");
    assert_eq!(counters.lines, 10_000);
}

#[test]
fn a_completed_activity_gets_its_lines_first_and_then_its_end() {
    let stage = Stage::quick();
    let (workflow, activity, event_token) = stage.activity();
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| info!("Charged"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let completion = Completion::new().value("status", "paid").message("Thank you");
    let report = runtime.block_on(stage.bizproc.complete(&event_token, completion)).unwrap();
    assert_eq!(report.acknowledged(), 1);
    assert_eq!(lines(&workflow), ["Charged", "Thank you"]);
    assert!(!activity.is_open());

    span.in_scope(|| info!("too late"));
    stage.bizproc.flush_blocking(PATIENCE).unwrap();
    assert_eq!(stage.bizproc.stats().late(), 1);
    assert_eq!(lines(&workflow).len(), 2, "nothing is sent into the void");
}

#[test]
fn parallel_branches_of_a_workflow_share_its_log() {
    let stage = Stage::quick();
    let workflow = stage.portal.start_workflow("Order 1042");
    for name in ["left", "right"] {
        let event_token = token(&workflow.open_activity(name));
        info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("{name}"));
    }
    stage.flushed();
    let mut found = lines(&workflow);
    found.sort();
    assert_eq!(found, ["left", "right"]);
}
