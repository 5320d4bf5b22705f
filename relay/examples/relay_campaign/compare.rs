//! Figures that show the use of a relay: requests that a portal refuses, and how long an end takes.

use std::error::Error;
use std::time::{Duration, Instant};

use bizproc_campaign::Percentiles;
use bizproc_portal::{Portal, Tariff};
use bizproc_test_postgres::Postgres;
use tracing::{Dispatch, Span, dispatcher, info, info_span};
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::config::Quota;
use tracing_bizproc::{Completion, EventToken, Handle, WorkerGuard};
use tracing_bizproc_relay::{PgConfig, PgJournal, Relay, RunningRelay};
use tracing_subscriber::prelude::*;

use crate::parts::ownership::migrate;

/// Replicas behind one address log to one portal of a standard plan. Returns whether the relay keeps the limit.
pub(crate) fn requests(replicas: usize, length: Duration) -> Result<bool, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let postgres = Postgres::start()?;
    migrate(&postgres.socket("postgres"))?;
    let length = length.min(LONGEST);
    println!("{replicas} replicas, one portal of a standard plan, {length:?} each time");
    let mut refused_by_relay = 0;
    for with_relay in [false, true] {
        let portal = Portal::builder().tariff(Tariff::Standard).start()?;
        let database = with_relay.then(|| postgres.socket("postgres"));
        let (lines, all_there) =
            runtime.block_on(load(&portal, database.as_deref(), replicas, length))?;
        let counters = portal.counters();
        println!(
            "{}: lines={lines} delivered={all_there} requests={} refused={}",
            if with_relay { "with a relay" } else { "without a relay" },
            counters.hits,
            counters.refused_hits
        );
        if with_relay {
            refused_by_relay = counters.refused_hits;
        }
    }
    Ok(refused_by_relay == 0)
}

async fn load(
    portal: &Portal,
    database: Option<&str>,
    replicas: usize,
    length: Duration,
) -> Result<(usize, bool), Box<dyn Error>> {
    let quota = Quota::Standard;
    let relay = database.map(|database| relay(portal, database, quota)).transpose()?;
    let mut all = Vec::new();
    for number in 0..replicas {
        let workflow = portal.start_workflow(&format!("Order {number}"));
        let activity = workflow.open_activity("Step");
        let replica = Replica::new(portal, database, &activity.event_token(), quota)?;
        all.push((replica, workflow));
    }
    let end = Instant::now() + length;
    let mut lines = 0;
    while Instant::now() < end {
        for (replica, _) in &all {
            replica.log(lines);
        }
        lines += 1;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let mut all_there = true;
    for (Replica { guard, .. }, _) in &all {
        guard.handle().flush_delivered(Duration::from_secs(120)).await?;
    }
    for (Replica { guard, .. }, workflow) in all {
        all_there &= workflow.lines().len() >= lines;
        guard.shutdown(Duration::from_secs(1)).await;
    }
    stop(relay).await;
    Ok((lines * replicas, all_there))
}

/// How long it takes to end activities, directly and by a relay.
pub(crate) fn ends(count: usize) -> Result<bool, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let postgres = Postgres::start()?;
    migrate(&postgres.socket("postgres"))?;
    let mut is_good = true;
    for with_relay in [false, true] {
        // The portal has no limit of requests, because otherwise only this limit would be measured.
        let portal = Portal::builder().start()?;
        let database = with_relay.then(|| postgres.socket("postgres"));
        let mut times = runtime.block_on(end_all(&portal, database.as_deref(), count))?;
        times.sort_unstable();
        is_good &= times.last().is_some_and(|worst| *worst < END_TIMEOUT);
        let how = if with_relay { "with a relay" } else { "without a relay" };
        println!("ends {how}: {}", Percentiles(&times));
    }
    Ok(is_good)
}

async fn end_all(
    portal: &Portal,
    database: Option<&str>,
    count: usize,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let quota = Quota::Unlimited;
    let relay = database.map(|database| relay(portal, database, quota)).transpose()?;
    let mut times = Vec::new();
    let first = portal.start_workflow("Order").open_activity("Step");
    let mut replica = Replica::new(portal, database, &first.event_token(), quota)?;
    for number in 0..count {
        let activity = portal.start_workflow(&format!("Order {number}")).open_activity("Step");
        let event_token = EventToken::parse(&activity.event_token())?;
        replica.turn_to(&event_token);
        replica.log(number);
        let asked = Instant::now();
        let completion = Completion::new().timeout(END_TIMEOUT);
        replica.handle().complete(&event_token, completion).await?;
        times.push(asked.elapsed());
    }
    replica.guard.shutdown(Duration::from_secs(1)).await;
    stop(relay).await;
    Ok(times)
}

fn relay(portal: &Portal, database: &str, quota: Quota) -> Result<RunningRelay, Box<dyn Error>> {
    let relay = Relay::new(PgConfig::parse(database)?);
    Ok(relay.start(tracing_bizproc::builder(Webhook::new(portal.webhook_url())?).quota(quota))?)
}

async fn stop(relay: Option<RunningRelay>) {
    if let Some(relay) = relay {
        relay.stop(Duration::from_secs(10)).await;
    }
}

/// A replica in this process: a subscriber and a worker of its own.
struct Replica {
    subscriber: Dispatch,
    guard: WorkerGuard,
    span: Span,
}

impl Replica {
    /// `database`: it publishes there. `None`: it delivers by itself.
    fn new(
        portal: &Portal,
        database: Option<&str>,
        event_token: &str,
        quota: Quota,
    ) -> Result<Replica, Box<dyn Error>> {
        let mut builder = tracing_bizproc::builder(Webhook::new(portal.webhook_url())?);
        builder = match database {
            Some(database) => builder.publish_to(PgJournal::new(PgConfig::parse(database)?)?),
            None => builder.quota(quota),
        };
        let (layer, guard) = builder.build()?;
        let subscriber = Dispatch::new(tracing_subscriber::registry().with(layer));
        let mut replica = Replica { subscriber, guard, span: Span::none() };
        replica.turn_to(&EventToken::parse(event_token)?);
        Ok(replica)
    }

    fn handle(&self) -> Handle {
        self.guard.handle()
    }

    /// The next lines are for this activity.
    fn turn_to(&mut self, event_token: &EventToken) {
        self.span = dispatcher::with_default(&self.subscriber, || {
            info_span!("activity", event_token = event_token.as_field())
        });
    }

    fn log(&self, number: usize) {
        dispatcher::with_default(&self.subscriber, || {
            self.span.in_scope(|| info!(number, "Working"));
        });
    }
}

/// The default of a completion.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// More ends would give no better figures.
const LONGEST: Duration = Duration::from_secs(60);
