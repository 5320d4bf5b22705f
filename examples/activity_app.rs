//! A whole Bitrix24 app: axum receives the requests of four portals, tasks do the work, and ordinary
//! `tracing` calls become lines of the process logs.
//!
//! `cargo run --example activity_app --features axum` starts four bare stand-in portals in this process.
//! The app is installed on each of them, and registers its activity. Then workflows run. In the meantime,
//! `north` is renamed, `south` gets an update of the app, a proxy delivers a request of `west` twice, and
//! `box` gives no refresh tokens. At the end there is a SIGTERM while work is running. The results are
//! printed from the journals of the portals.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRef, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bizproc_portal::{Authorization, CommandOutcome, Portal, Workflow};
use tokio::sync::watch;
use tracing::{Instrument, info, warn};
use tracing_bizproc::Completion;
use tracing_bizproc::app::{
    Activity, AppRequest, Installations, Opened, Parameter, Registration, ValueKind,
};
use tracing_bizproc::auth::{Hosts, MemoryStore, OAuth};
use tracing_bizproc::error::{CompleteError, InstallError};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// The state of the app's handlers.
#[derive(Clone)]
struct AppState {
    installations: Installations,
    /// Whether the app is being stopped. Long work checks it.
    stopping: watch::Receiver<bool>,
}

impl FromRef<AppState> for Installations {
    fn from_ref(state: &AppState) -> Self {
        state.installations.clone()
    }
}

/// Installation, update, removal: the crate handles them, and registers the activity. In a task, because axum
/// drops a handler when the client closes the connection.
async fn life(
    State(installations): State<Installations>,
    request: AppRequest,
) -> Result<StatusCode, InstallError> {
    let handling = tokio::spawn(async move { installations.handle(request).await });
    match handling.await {
        Ok(handled) => handled.map(|_| StatusCode::OK),
        Err(_) => Ok(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// The portal sends its request once and does not wait: answer at once, and work in a task.
async fn activity(State(state): State<AppState>, opened: Opened) -> StatusCode {
    let activity = match opened {
        Opened::First(activity) => activity,
        Opened::Again(repeat) => {
            println!("{repeat}");
            return StatusCode::OK;
        }
    };
    let span = activity.span();
    let work = async move {
        if let Err(error) = fulfil(&activity, state.stopping).await {
            warn!(%error, "The workflow was not told that its activity has ended");
        }
    };
    tokio::spawn(work.instrument(span));
    StatusCode::OK
}

/// The work itself. Of Bitrix24 it knows only the end of the activity.
async fn fulfil(
    activity: &Activity,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), CompleteError> {
    let order = match activity.input("Order").text() {
        Ok(order) => order,
        Err(error) => return activity.fail(error.to_string()).await.map(drop),
    };
    info!(order, "Order received");
    if order.ends_with("declined") {
        warn!(order, "Card declined");
        return activity.fail(format!("{order} is not paid")).await.map(drop);
    }
    info!(order, "Card charged");
    if order.ends_with("long") {
        // Runs until the app is stopped, and then a short time more.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
    if order.ends_with("endless") {
        std::future::pending::<()>().await;
    }
    let completion = Completion::new().value("status", "shipped").message(format!("{order} done"));
    activity.complete(completion).await.map(drop)
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let sites = Site::four()?;
    let store = Arc::new(MemoryStore::new());
    let first = &sites[0];
    let oauth = OAuth::new(first.app.client_id(), first.app.client_secret(), Arc::clone(&store))
        .authorization_server(&first.portal.oauth_url())?
        // An on-premise portal without refresh tokens: the authorization server cannot confirm it.
        .hosts(Hosts::from([sites[3].portal.client_endpoint()]));
    let (layer, guard) = tracing_bizproc::builder(oauth)
        .self_hosted()
        .fail_open_activities("The app was stopped: start the workflow again")
        .build()?;
    tracing_subscriber::registry()
        .with(fmt::layer().with_writer(std::io::stderr).with_filter(LevelFilter::WARN))
        .with(layer)
        .init();
    let handle = guard.handle();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let registration =
        Registration::activity("fulfil", format!("{url}/activity"), "Fulfil the order")
            .property("Order", Parameter::new(ValueKind::Text, "Order").required())
            .return_value("status", Parameter::new(ValueKind::Text, "Status"));
    let installations = Installations::new(handle.clone(), store)
        .declare(registration)?
        .life_events(format!("{url}/life"));
    let (stop, stopping) = watch::channel(false);
    let router = Router::new()
        .route("/activity", post(activity).layer(middleware::from_fn(proxy)))
        .route("/life", post(life))
        .with_state(AppState { installations, stopping });
    let server = axum::serve(listener, router).with_graceful_shutdown(sigterm());
    let served = tokio::spawn(server.into_future());

    // The portals. This waits with blocking calls, and ends with SIGTERM.
    let portals = tokio::task::spawn_blocking(move || run(sites, &url));
    served.await??;
    // There are no more requests. Open activities end or are failed, and then the lines are delivered.
    stop.send_replace(true);
    let report = guard.shutdown(Duration::from_secs(8)).await;
    let sites = portals.await?;

    let mut right = report.failed().len() == 4 && report.open().is_empty();
    for site in &sites {
        right &= site.check();
    }
    println!("at SIGTERM: {report}");
    let stats = handle.stats();
    println!(
        "accepted={} acknowledged={} late={} lost={}",
        stats.accepted(),
        stats.acknowledged(),
        stats.late(),
        stats.lost()
    );
    right &= stats.acknowledged() == stats.accepted() && stats.abandoned() == 0;
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A bad proxy in front of the app: it delivers a request of `west` twice.
async fn proxy(request: Request, next: Next) -> Response {
    static DELIVERED: AtomicBool = AtomicBool::new(false);
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 1 << 20).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let request = |body: Bytes| Request::from_parts(head.clone(), Body::from(body));
    let of_west = body.windows(b"west-1".len()).any(|window| window == b"west-1");
    if of_west && !DELIVERED.swap(true, Ordering::Relaxed) {
        next.clone().run(request(body.clone())).await;
    }
    next.run(request(body)).await
}

/// Waits for the signal that stops services.
async fn sigterm() {
    #[cfg(unix)]
    if let Ok(mut signal) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        signal.recv().await;
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
}

/// Installs the app, starts all workflows, and changes the portals in the meantime.
fn run(mut sites: Vec<Site>, url: &str) -> Vec<Site> {
    for site in &sites {
        site.app.install_at(&format!("{url}/life"));
        site.is_registered(1);
    }
    for half in ["1", "2"] {
        let orders: Vec<_> = sites
            .iter_mut()
            .flat_map(|site| [site.start(half), site.start(&format!("{half}-declined"))])
            .collect();
        for order in orders {
            order.wait_for(PATIENCE, |order| !order.is_open());
        }
        if half == "1" {
            sites[0].portal.move_away().expect("there is a free port");
            sites[1].app.update_with_new_token();
            sites[1].is_registered(2);
            // Access tokens are valid for an hour. Here they expire now.
            sites.iter().for_each(|site| site.app.expire_access_tokens());
        }
    }
    for site in &mut sites {
        let (long, endless) = (site.start("long"), site.start("endless"));
        for order in [long, endless] {
            order.wait_for(PATIENCE, |order| order.delivery().is_some());
        }
    }
    let id = std::process::id().to_string();
    let killed = std::process::Command::new("kill").args(["-TERM", &id]).status();
    assert!(killed.is_ok_and(|status| status.success()), "SIGTERM could not be sent");
    sites
}

const PATIENCE: Duration = Duration::from_secs(30);

/// A portal with the app, and its workflows by order.
struct Site {
    name: &'static str,
    portal: Portal,
    app: bizproc_portal::App,
    workflows: Vec<(String, Workflow)>,
}

impl Site {
    /// Four portals with one authorization server, and the app on all of them.
    fn four() -> Result<Vec<Site>, Box<dyn Error>> {
        let first = Portal::builder().start()?;
        let app = first.install_app();
        let workflows = Vec::new;
        let mut sites = vec![Site { name: "north", portal: first, app, workflows: workflows() }];
        for name in ["south", "west", "box"] {
            let mut builder = Portal::builder().beside(&sites[0].portal);
            if name == "box" {
                builder = builder.authorization(Authorization::Isolated);
            }
            let portal = builder.start()?;
            let app = portal.install_known_app(&sites[0].app);
            sites.push(Site { name, portal, app, workflows: workflows() });
        }
        Ok(sites)
    }

    /// Waits until the app has registered its activity this number of times, and has bound its events.
    fn is_registered(&self, times: usize) {
        let count = |portal: &Portal, method: &str| {
            portal
                .journal()
                .iter()
                .filter(|hit| hit.rest_method == method && hit.status == Some(200))
                .count()
        };
        let registered = self.portal.wait_for(PATIENCE, |portal| {
            count(portal, "bizproc.activity.add") >= times
                && count(portal, "event.bind") >= 2 * times
        });
        assert!(registered, "{}: the app did not register its activity", self.name);
    }

    fn start(&mut self, order: &str) -> bizproc_portal::Activity {
        let order = format!("{}-{order}", self.name);
        let workflow = self.portal.start_workflow(&order);
        let activity = workflow.registered_activity("fulfil").expect("the app has registered it");
        let activity = activity.property("Order", order.as_str()).open();
        self.workflows.push((order, workflow));
        activity
    }

    /// Whether the portal's journal has every line in the right workflow and in order, and all activities have
    /// ended.
    fn check(&self) -> bool {
        let journal = self.portal.journal();
        let mut right = true;
        for (order, workflow) in &self.workflows {
            use CommandOutcome::{Completed, Written};
            let commands = journal.iter().flat_map(|hit| &hit.commands);
            let written: Vec<&str> = commands
                .filter(|command| command.workflow.as_deref() == Some(workflow.id()))
                .filter(|command| matches!(command.outcome, Written | Completed))
                .filter_map(|command| command.message.as_deref())
                .flat_map(str::lines)
                .collect();
            let (expected, became): (&[&str], _) = match order {
                order if order.ends_with("declined") => {
                    (&["received", "declined", "is not paid"], "not paid")
                }
                order if order.ends_with("endless") => {
                    (&["received", "charged", "was stopped"], "failed, since the app was stopped")
                }
                _ => (&["received", "charged", "done"], "shipped"),
            };
            let is_right = written.len() == expected.len()
                && written.iter().zip(expected).all(|(line, text)| line.contains(text))
                && workflow.lost().is_empty();
            match is_right {
                true => println!("{order}: {became}, {} lines", written.len()),
                false => println!("{order}: {written:#?}"),
            }
            right &= is_right;
        }
        right
    }
}
