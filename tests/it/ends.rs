//! Many activities that end together, over sockets, on a stand-in portal with limits.

use std::collections::BTreeMap;
use std::time::Duration;

use bizproc_portal::{EventSend, Portal, PortalBuilder, ServerTime, Tariff};
use tracing::{info, info_span};
use tracing_bizproc::Completion;
use tracing_bizproc::config::Quota;

use crate::app::wait;
use crate::stage::{PATIENCE, Stage, lines, token};

/// This number of activities log three lines each and are completed, all at once. Returns the requests.
fn together(portal: PortalBuilder, activities: usize) -> u64 {
    // Lines wait for their ends, even on a slow machine. Otherwise no report would count them.
    let stage = Stage::with(portal, |builder| builder.quota(Quota::Standard).linger(PATIENCE));
    let open: Vec<_> = (0..activities)
        .map(|n| {
            let workflow = stage.portal.start_workflow(&format!("Order {n}"));
            let activity = workflow.activity("Fulfil").returns(["status", "note"]).open();
            (workflow, activity)
        })
        .collect();
    let value = |n: usize| format!("shipped & paid #{n}: 100 % + «ё» [x]");
    // Spans stay open until all ends are requested, because a span that closes sends its lines.
    let mut spans = Vec::new();
    let mut answers = Vec::new();
    for (n, (_, activity)) in open.iter().enumerate() {
        let event_token = token(activity);
        let span = info_span!("activity", event_token = event_token.as_field());
        span.in_scope(|| ["one", "two", "three"].iter().for_each(|line| info!("{line}")));
        spans.push(span);
        let completion =
            Completion::new().value("status", value(n)).value("note", "as given").timeout(PATIENCE);
        let bizproc = stage.bizproc.clone();
        answers.push(async move { bizproc.complete(&event_token, completion).await });
    }
    let reports = wait(at_once(answers));
    drop(spans);
    for report in reports {
        let report = report.unwrap();
        assert_eq!((report.acknowledged(), report.late(), report.lost()), (3, 0, 0), "{report}");
    }
    for (n, (workflow, activity)) in open.iter().enumerate() {
        assert!(activity.wait_for(PATIENCE, |activity| !activity.is_open()));
        assert_eq!(lines(workflow)[..3], ["one", "two", "three"], "before the end's own text");
        assert!(workflow.lost().is_empty());
        let returned: BTreeMap<_, _> =
            activity.completion().unwrap().return_values.into_iter().collect();
        assert_eq!(returned["status"], value(n));
        assert_eq!(returned["note"], "as given");
    }
    let stats = stage.bizproc.stats();
    let all = activities as u64 * 3;
    assert_eq!((stats.acknowledged(), stats.late(), stats.rate_limited()), (all, 0, 0), "{stats}");
    stats.requests()
}

/// Starts all of them before it waits for the first.
async fn at_once<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.into_iter().map(Box::pin).map(Some).collect();
    let mut done: Vec<Option<F::Output>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, done) in pending.iter_mut().zip(&mut done) {
            let polled = future.as_mut().map(|future| future.as_mut().poll(context));
            if let Some(std::task::Poll::Ready(output)) = polled {
                *done = Some(output);
                *future = None;
            }
        }
        match pending.iter().all(Option::is_none) {
            true => std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect()),
            false => std::task::Poll::Pending,
        }
    })
    .await
}

#[test]
fn activities_that_end_together_share_requests() {
    let requests = together(Portal::builder().tariff(Tariff::Standard), 300);
    // 12 on an idle machine. On a busy one, the completions reach the worker more slowly.
    assert!(requests <= 24, "{requests} requests for 600 commands");
}

/// As on the newest servers: the answer is `true`, and a job ends the activity after the request.
#[test]
fn entries_come_first_if_the_portal_ends_activities_in_jobs() {
    for event_send in [EventSend::AtOnce, EventSend::Background] {
        let portal = Portal::builder()
            .tariff(Tariff::Standard)
            .event_send(event_send)
            .server_time(ServerTime::Spent(Duration::from_millis(1)));
        let requests = together(portal, 60);
        assert!(requests <= 12, "{event_send:?}: {requests} requests for 120 commands");
    }
}

/// It does not wait for others, and needs one round trip.
#[test]
fn a_single_completion_is_sent_at_once() {
    let stage = Stage::quick();
    let (_, activity, event_token) = stage.activity();
    wait(stage.bizproc.complete(&event_token, Completion::new())).unwrap();
    assert!(!activity.is_open());
    let hits = stage.portal.journal();
    let methods: Vec<_> = hits.iter().map(|hit| hit.rest_method.as_str()).collect();
    assert_eq!(methods, ["bizproc.event.send"]);
}
