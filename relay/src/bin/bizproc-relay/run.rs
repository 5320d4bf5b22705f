//! Delivers, until a signal comes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::yield_now;
use tracing::{info, warn};
use tracing_bizproc::stats::Status;
use tracing_bizproc_relay::{PgError, PgStore, Relay, RunningRelay};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::http::{self, Answer, Pages};
use crate::settings::Settings;
use crate::{Failure, metrics};

pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    let Settings { database, access, listen, max_age, stop_timeout, log, json, delivery } =
        settings;
    let Some(access) = access else {
        return Err(Failure::Usage(
            "no portal can be reached: set BITRIX24_CLIENT_ID and BITRIX24_CLIENT_SECRET for an app, or \
             BITRIX24_WEBHOOK_URL or [webhooks] for webhooks"
                .to_owned(),
        ));
    };
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = if json { lines.json().boxed() } else { lines.boxed() };
    tracing_subscriber::registry().with(lines.with_filter(log)).init();

    // Signals are handled from here on.
    let signal = signal().map_err(Failure::failed)?;
    let store = PgStore::new(database.clone()).map_err(Failure::failed)?;
    // Waiting does not help if the tables are wrong. But a database that cannot be reached may come back.
    match store.check().await {
        Err(
            error @ (PgError::NotMigrated(_) | PgError::TooOld { .. } | PgError::TooNew { .. }),
        ) => {
            return Err(Failure::failed(error));
        }
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "The database does not answer yet")
        }
        Ok(()) => {}
    }
    let credentials = access.credentials(store).map_err(Failure::Usage)?;
    let builder = tracing_bizproc::builder(credentials).config(&delivery);
    let relay = Relay::new(database).max_age(max_age).start(builder).map_err(Failure::failed)?;
    let relay = Arc::new(relay);
    let server = match listen {
        None => None,
        Some(address) => {
            let listener = TcpListener::bind(address).await.map_err(|error| {
                Failure::Failed(format!(
                    "{address} cannot be served: {error}: choose another address (`listen` or \
                         BIZPROC_RELAY_LISTEN), or `off`"
                ))
            })?;
            let address = listener.local_addr().map_err(Failure::failed)?;
            info!(%address, "Health and metrics are served");
            Some(tokio::spawn(http::serve(listener, Arc::new(Served(Arc::clone(&relay))))))
        }
    };
    let member = format!("{:032x}", relay.member().0);
    info!(%member, version = env!("CARGO_PKG_VERSION"), "The relay delivers");

    let name = signal.await;
    info!(signal = name, "The relay stops");
    if let Some(server) = server {
        server.abort();
        // The server's reference to the relay is dropped with it. The references of its connections follow soon.
        let _ = server.await;
    }
    let relay = sole(relay).await;
    let counters = relay.handle();
    relay.stop(stop_timeout.saturating_sub(LAST_WORDS)).await;
    info!(counters = %counters.stats(), "The relay has stopped");
    Ok(())
}

/// Waits until there is no other reference.
async fn sole<T>(mut shared: Arc<T>) -> T {
    loop {
        match Arc::try_unwrap(shared) {
            Ok(sole) => return sole,
            Err(still) => shared = still,
        }
        yield_now().await;
    }
}

/// Waits for a signal, and returns its name.
#[cfg(unix)]
fn signal() -> io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Waits for a signal, and returns its name.
#[cfg(not(unix))]
fn signal() -> io::Result<impl Future<Output = &'static str>> {
    Ok(async {
        // Without it, only the end of the process stops the relay.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl+C"
    })
}

/// The pages of a relay.
struct Served(Arc<RunningRelay>);

impl Pages for Served {
    async fn page(&self, path: &str) -> Option<Answer> {
        match path {
            "/health" => Some(health(&self.0)),
            "/live" => Some(text("200 OK", "alive\n".to_owned())),
            "/metrics" => {
                let backlog = self.0.journal().backlog().await.ok();
                let handle = self.0.handle();
                let (status, portals) = (self.0.status(), handle.portals());
                let body = metrics::text(&status, &handle.stats(), &portals, backlog.as_ref());
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                Some(Answer { status: "200 OK", kind, body })
            }
            _ => None,
        }
    }
}

/// A relay is healthy while it renews its leases. Portals that do not accept lines are named, but they are no
/// reason to restart the relay.
fn health(relay: &RunningRelay) -> Answer {
    let status = relay.status();
    let health = relay.handle().health();
    let shards = status.shards;
    let (code, first) = match status.lease_age {
        None => ("503 Service Unavailable", "starting: no lease was renewed yet".to_owned()),
        Some(age) if age > LEASE => (
            "503 Service Unavailable",
            format!("no lease was renewed for {:.1} s", age.as_secs_f64()),
        ),
        Some(_) if health.status() == Status::Ready => ("200 OK", "ready".to_owned()),
        Some(_) => ("200 OK", health.to_string()),
    };
    text(code, format!("{first}\nshards={shards}\n"))
}

fn text(status: &'static str, body: String) -> Answer {
    Answer { status, kind: "text/plain; charset=utf-8", body }
}

/// How long the process needs to end after everything was let go.
const LAST_WORDS: Duration = Duration::from_secs(4);
/// After this time without a renewal, a relay owns nothing.
const LEASE: Duration = Duration::from_secs(3);
