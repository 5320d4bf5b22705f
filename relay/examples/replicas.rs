//! Three replicas of an app that share the tokens of a portal in PostgreSQL.
//!
//! `cargo run -p tracing-bizproc-relay --example replicas` starts a PostgreSQL server of its own in a temporary
//! folder and a stand-in portal in this process. Three times, all access tokens expire at the same moment, and
//! each replica notices this by itself. A refresh token works once. So without a store that compares and swaps,
//! the app would lose its access to the portal.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use bizproc_portal::Portal;
use bizproc_test_postgres::Postgres;
use tracing::{Dispatch, dispatcher, info, info_span};
use tracing_bizproc::auth::{OAuth, TokenStore, Tokens};
use tracing_bizproc::{EventToken, PortalId, WorkerGuard};
use tracing_bizproc_relay::{PgConfig, PgStore};
use tracing_subscriber::prelude::*;

/// One replica: a subscriber, a worker and a connection to the database of its own.
struct Replica {
    subscriber: Dispatch,
    guard: WorkerGuard,
    event_token: EventToken,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let server = Postgres::start()?;
    let portal = Portal::builder().start()?;
    let app = portal.install_app();
    let id = PortalId::from(portal.member_id());

    // The app does this when it is installed.
    let config = PgConfig::parse(&server.socket("postgres"))?;
    let store = PgStore::new(config.clone())?;
    store.migrate().await?;
    let given = app.issue_tokens();
    let first = Tokens::new(given.access_token, given.refresh_token, &portal.client_endpoint())?;
    store.swap(&id, None, &first).await.map_err(|error| error.to_string())?;

    let workflow = portal.start_workflow("Order 1042");
    let mut replicas = Vec::new();
    for n in 1..=3 {
        let store = PgStore::new(config.clone())?;
        let oauth = OAuth::new(app.client_id(), app.client_secret(), store)
            .authorization_server(&portal.oauth_url())?;
        let (layer, guard) =
            tracing_bizproc::builder(oauth).linger(Duration::from_millis(50)).build()?;
        let activity = workflow.open_activity(&format!("Part {n}"));
        replicas.push(Replica {
            subscriber: Dispatch::new(tracing_subscriber::registry().with(layer)),
            guard,
            event_token: EventToken::parse(&activity.event_token())?,
        });
    }

    for round in 1..=4 {
        for Replica { subscriber, event_token, .. } in &replicas {
            dispatcher::with_default(subscriber, || {
                let portal = portal.member_id();
                let span = info_span!("activity", event_token = event_token.as_field(), portal);
                span.in_scope(|| info!(round, "Working"));
            });
        }
        for replica in &replicas {
            replica.guard.handle().flush(Duration::from_secs(30)).await?;
        }
        app.expire_access_tokens();
    }

    let (mut acknowledged, mut lost) = (0, 0);
    for Replica { guard, subscriber, .. } in replicas {
        let counters = guard.handle().stats();
        acknowledged += counters.acknowledged();
        lost += counters.lost();
        drop(guard);
        drop(subscriber);
    }
    for entry in workflow.texts() {
        println!("{entry}");
    }
    let is_renewal = |path: &str| path.trim_matches('/').starts_with("oauth/token");
    let renewals = portal.journal().iter().filter(|hit| is_renewal(&hit.path)).count();
    let stored = store.load(&id).await.map_err(|error| error.to_string())?;
    let kept = stored.is_some_and(|stored| stored != first);
    println!("renewals={renewals} new pair kept={kept}");
    println!("acknowledged={acknowledged} lost={lost}");
    // Each time, one of them renews. The others may ask with the old refresh token before they see the new pair.
    let shared = (3..=9).contains(&renewals) && kept;
    Ok(if acknowledged == 12 && lost == 0 && shared {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
