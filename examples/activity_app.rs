//! A Bitrix24 app: axum takes the requests of two portals, tasks do the work, and the processes' logs
//! fill with ordinary `tracing` calls.
//!
//! `cargo run --example activity_app --features axum` starts two stand-in portals in this process,
//! which share an authorization server, and 20 workflows on each. Midway all access tokens expire.
//! Some customers' cards are declined, and some carriers do not answer. At the end the portals' own
//! journals are compared with what was to be written.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::post;
use bizproc_portal::{App, CommandOutcome, Portal, Workflow};
use tracing::{Instrument, info, warn};
use tracing_bizproc::{
    Activity, Bizproc, CompleteError, Completion, Hosts, Installation, Installations, MemoryStore,
    OAuth, PortalId, VerifiedActivity,
};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// What the app's handlers know.
#[derive(Clone)]
struct AppState {
    bizproc: Bizproc,
    /// What was stored when the app was installed on each portal.
    installations: Arc<dyn Installations>,
}

impl FromRef<AppState> for Arc<dyn Installations> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.installations)
    }
}

/// The portal sends its request once and does not wait: answer at once, and work in a task.
async fn handler(State(state): State<AppState>, verified: VerifiedActivity) -> StatusCode {
    let activity = state.bizproc.activity(verified);
    let span = activity.span();
    let work = async move {
        if let Err(error) = fulfil(&activity).await {
            warn!(%error, "The workflow was not told that its activity has ended");
        }
    };
    tokio::spawn(work.instrument(span));
    StatusCode::OK
}

/// The work itself: it knows nothing of Bitrix24 but how the activity ends.
async fn fulfil(activity: &Activity) -> Result<(), CompleteError> {
    let order = activity.property("Order").and_then(|order| order.as_str()).unwrap_or("unknown");
    info!(order, "Order received");
    let Some(receipt) = charge(order).await else {
        warn!(order, "Card declined");
        activity.fail(format!("{order} is not paid")).await?;
        return Ok(());
    };
    info!(order, receipt, "Card charged");
    match tokio::time::timeout(Duration::from_millis(50), book_carrier(order)).await {
        Ok(tracking) => info!(order, tracking, "Carrier booked"),
        Err(_) => warn!(order, "The carrier does not answer: the parcel goes by post"),
    }
    let completion = Completion::new().value("status", "shipped").message(format!("{order} done"));
    activity.complete(completion).await?;
    Ok(())
}

async fn charge(order: &str) -> Option<u32> {
    tokio::task::yield_now().await;
    (!order.ends_with('3')).then_some(4_242)
}

async fn book_carrier(order: &str) -> &'static str {
    if order.ends_with('7') {
        std::future::pending::<()>().await;
    }
    "JD014600003RU"
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let sites = Site::two()?;
    let oauth = OAuth::new(
        sites[0].app.client_id(),
        sites[0].app.client_secret(),
        // The tokens come with each request; an app that calls its portals by itself keeps them in
        // a file or a database.
        MemoryStore::new(),
    )
    .authorization_server(&sites[0].portal.oauth_url())?;

    let (layer, guard) = tracing_bizproc::builder(oauth).self_hosted().build()?;
    tracing_subscriber::registry()
        .with(fmt::layer().with_writer(std::io::stderr).with_filter(LevelFilter::WARN))
        .with(layer)
        .init();
    let bizproc = guard.handle();

    let installations: HashMap<_, _> = sites.iter().map(Site::installation).collect();
    let installations: Arc<dyn Installations> = Arc::new(installations);
    let state = AppState { bizproc: bizproc.clone(), installations };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/activity", listener.local_addr()?);
    let router = Router::new().route("/activity", post(handler)).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });

    // The portals' side. It waits with blocking calls.
    let sites = tokio::task::spawn_blocking(move || run(sites, &url)).await?;
    drop(guard);

    let mut right = true;
    for site in &sites {
        right &= site.check();
    }
    let renewals = sites[0].portal.journal();
    let renewals = renewals.iter().filter(|hit| hit.rest_method == "oauth/token").count();
    println!("{renewals} renewals of tokens on {} portals", sites.len());
    for portal in bizproc.portals() {
        println!("{portal}");
    }
    let stats = bizproc.stats();
    println!(
        "accepted={} acknowledged={} late={} lost={}",
        stats.accepted(),
        stats.acknowledged(),
        stats.late(),
        stats.lost()
    );
    right &= renewals == sites.len() && stats.acknowledged() == stats.accepted();
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts all workflows, and waits until their activities have ended.
fn run(mut sites: Vec<Site>, url: &str) -> Vec<Site> {
    for half in 0..2 {
        let mut open = Vec::new();
        for site in &mut sites {
            for n in 0..WORKFLOWS / 2 {
                open.push(site.start(half * WORKFLOWS / 2 + n, url));
            }
        }
        for activity in open {
            activity.wait_for(Duration::from_secs(30), |activity| !activity.is_open());
        }
        // Tokens live for an hour. Here their hour is over now.
        if half == 0 {
            sites.iter().for_each(|site| site.app.expire_access_tokens());
        }
    }
    sites
}

/// Workflows on each portal.
const WORKFLOWS: usize = 20;

/// A portal on which the app is installed, and its workflows by their orders.
struct Site {
    name: &'static str,
    portal: Portal,
    app: App,
    workflows: Vec<(String, Workflow)>,
}

impl Site {
    /// Two portals with one authorization server, and the app installed on both.
    fn two() -> Result<Vec<Site>, Box<dyn Error>> {
        let first = Portal::builder().start()?;
        let second = Portal::builder().beside(&first).start()?;
        let app = first.install_app();
        let same = second.install_known_app(&app);
        let site = |name, portal, app| Site { name, portal, app, workflows: Vec::new() };
        Ok(vec![site("north", first, app), site("south", second, same)])
    }

    /// What the app stores at its installation: whom to believe, and where the portal may be called.
    fn installation(&self) -> (PortalId, Installation) {
        let endpoint = self.portal.client_endpoint();
        let host = endpoint.split('/').nth(2).unwrap_or_default();
        let installation = Installation::new(self.app.application_token(), Hosts::from([host]));
        (PortalId::from(self.portal.member_id()), installation)
    }

    fn start(&mut self, n: usize, url: &str) -> bizproc_portal::Activity {
        let order = format!("{}-{n}", self.name);
        let workflow = self.portal.start_workflow(&order);
        let activity = workflow.activity("Fulfil the order").handler(url).app(&self.app);
        let activity = activity.property("Order", order.as_str()).timeout(Duration::from_secs(60)).open();
        self.workflows.push((order, workflow));
        activity
    }

    /// Whether the portal's journal has every line in the workflow that it is about, in order.
    fn check(&self) -> bool {
        let journal = self.portal.journal();
        let mut right = true;
        for (order, workflow) in &self.workflows {
            let written: Vec<&str> = journal
                .iter()
                .flat_map(|hit| &hit.commands)
                .filter(|command| command.workflow.as_deref() == Some(workflow.id()))
                .filter(|command| {
                    use CommandOutcome::{Completed, Written};
                    matches!(command.outcome, Written | Completed)
                })
                .filter_map(|command| command.message.as_deref())
                .flat_map(str::lines)
                .collect();
            let expected: &[&str] = match order {
                order if order.ends_with('3') => &["received", "declined", "is not paid"],
                order if order.ends_with('7') => &["received", "charged", "by post", "done"],
                _ => &["received", "charged", "booked", "done"],
            };
            let theirs = written.len() == expected.len()
                && written
                    .iter()
                    .zip(expected)
                    .all(|(line, text)| line.contains(text) && is_about(line, order));
            if !theirs || !workflow.lost().is_empty() {
                println!("{order}: {written:#?}");
                right = false;
            }
        }
        println!(
            "{}: {} workflows in {} requests, each line where it belongs: {right}",
            self.name,
            self.workflows.len(),
            self.portal.counters().hits
        );
        right
    }
}

/// Whether the order's whole name stands in the line.
fn is_about(line: &str, order: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == order)
}
