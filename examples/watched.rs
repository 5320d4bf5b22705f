//! Monitoring: `/metrics` for Prometheus, and `/health` for alerts.
//!
//! `cargo run --example watched --features metrics` starts a stand-in portal and the app in this process,
//! logs a few lines, and shows the answers of both addresses: when lines are delivered, when the portal does
//! not accept the webhook, and when the worker is closed.
//!
//! The exporter is used without its default features: they add an HTTP server and another TLS provider.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use bizproc_portal::Portal;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tracing::{info, info_span};
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::stats::Status;
use tracing_bizproc::{EventToken, Handle};
use tracing_subscriber::prelude::*;

#[derive(Clone)]
struct AppState {
    handle: Handle,
    prometheus: PrometheusHandle,
}

/// Updates the counters, then returns all metrics, also those of the app.
async fn metrics(State(state): State<AppState>) -> String {
    state.handle.publish_metrics();
    state.prometheus.render()
}

/// The app works without its log, so only `blocked` is an error here.
async fn health(State(state): State<AppState>) -> (StatusCode, String) {
    let health = state.handle.health();
    let code = match health.status() {
        Status::Blocked => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    (code, format!("{health}\n"))
}

fn router(state: AppState) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/health", get(health)).with_state(state)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let portal = Portal::builder().start()?;
    let webhook = Webhook::new(portal.webhook_url())?;
    let (layer, guard) = tracing_bizproc::builder(webhook).self_hosted().build()?;
    tracing_subscriber::registry().with(layer).init();
    let handle = guard.handle();

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let state = AppState { handle: handle.clone(), prometheus };
    let server = tokio::spawn(async move { axum::serve(listener, router(state)).await });

    let activity = portal.start_workflow("Order 1042").open_activity("Fulfil the order");
    let event_token = EventToken::parse(&activity.event_token())?;
    let span = info_span!("activity", event_token = event_token.as_field());
    span.in_scope(|| info!(order = 1042, "Order received"));
    handle.flush(Duration::from_secs(5)).await?;
    let well = read(address, "/health").await?;
    println!("{well}");
    let counted = read(address, "/metrics").await?;
    println!("{counted}");

    portal.revoke_webhook(&portal.webhook_url());
    span.in_scope(|| info!("Nobody reads this"));
    handle.flush(Duration::from_millis(500)).await?;
    let blocked = read(address, "/health").await?;
    println!("{blocked}");

    // Lines for a blocked portal are tried for an hour. The example does not wait for that.
    guard.shutdown(Duration::from_millis(100)).await;
    let closed = read(address, "/health").await?;
    println!("{closed}");
    server.abort();

    let as_expected = well.contains("200 OK")
        && counted.contains("\nbizproc_lines_acknowledged_total 1\n")
        && counted.contains("\nbizproc_health{status=\"ready\"} 1\n")
        && blocked.contains("503")
        && blocked.contains("credentials not accepted")
        && closed.contains("the worker was closed");
    Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A minimal GET.
async fn read(address: SocketAddr, path: &'static str) -> Result<String, Box<dyn Error>> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    });
    Ok(reading.await??)
}
