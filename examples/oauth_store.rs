//! OAuth tokens in the app's own database, for an app that is installed on many portals and runs
//! in several replicas.
//!
//! `cargo run --example oauth_store` starts a stand-in portal in this process, installs an app
//! there, and logs. In the middle the access token expires: it is renewed once, and the new pair is in the
//! database before it is used.
//!
//! For PostgreSQL, the crate `tracing-bizproc-relay` has such a store: `PgStore`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bizproc_portal::Portal;
use rusqlite::{Connection, OptionalExtension, params};
use tracing::{info, info_span};
use tracing_bizproc::auth::{
    CredentialError, CredentialFuture, OAuth, TokenStore, Tokens, on_thread,
};
use tracing_bizproc::{EventToken, PortalId};
use tracing_subscriber::prelude::*;

/// One row for each portal. Clones share the connection.
#[derive(Clone)]
struct Database(Arc<Mutex<Connection>>);

impl Database {
    fn open(path: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS portals (id TEXT PRIMARY KEY, tokens TEXT NOT NULL)",
        )?;
        Ok(Database(Arc::new(Mutex::new(connection))))
    }

    /// SQLite blocks, so it runs on its own thread.
    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, CredentialError> + Send + 'static,
    ) -> CredentialFuture<'static, T> {
        let database = self.clone();
        on_thread(move || work(&database.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl TokenStore for Database {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        let portal = portal.to_string();
        self.with(move |connection| {
            let stored: Option<String> = connection
                .query_row("SELECT tokens FROM portals WHERE id = ?1", [portal], |row| row.get(0))
                .optional()?;
            match stored.as_deref().map(Tokens::from_json) {
                Some(None) => Err("the row holds no tokens".into()),
                Some(tokens) => Ok(tokens),
                None => Ok(None),
            }
        })
    }

    /// One statement, so that replicas that share the database agree on one pair.
    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        let (portal, new) = (portal.to_string(), new.to_json());
        let expected = expected.map(Tokens::to_json);
        self.with(move |connection| {
            let changed = match expected {
                Some(expected) => connection.execute(
                    "UPDATE portals SET tokens = ?3 WHERE id = ?1 AND tokens = ?2",
                    params![portal, expected, new],
                )?,
                None => connection.execute(
                    "INSERT OR IGNORE INTO portals (id, tokens) VALUES (?1, ?2)",
                    params![portal, new],
                )?,
            };
            Ok(changed == 1)
        })
    }

    fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()> {
        let portal = portal.to_string();
        self.with(move |connection| {
            connection.execute("DELETE FROM portals WHERE id = ?1", [portal])?;
            Ok(())
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let portal = Portal::builder().start()?;
    let app = portal.install_app();
    let id = PortalId::from(portal.member_id());

    // When an app is installed (`ONAPPINSTALL`), it stores the tokens.
    let database = Database::open(":memory:")?;
    let given = app.issue_tokens();
    let tokens = Tokens::new(given.access_token, given.refresh_token, &portal.client_endpoint())?;
    database.swap(&id, None, &tokens).await.map_err(|error| error.to_string())?;

    let oauth = OAuth::new(app.client_id(), app.client_secret(), database.clone())
        .authorization_server(&portal.oauth_url())?;
    let (bizproc, guard) =
        tracing_bizproc::builder(oauth).linger(Duration::from_millis(50)).build()?;
    tracing_subscriber::registry().with(bizproc).init();
    let handle = guard.handle();

    let workflow = portal.start_workflow("Order 1042");
    let activity = workflow.open_activity("Fulfil the order");
    let event_token = EventToken::parse(&activity.event_token())?;
    let span =
        info_span!("activity", event_token = event_token.as_field(), portal = portal.member_id());

    span.in_scope(|| info!("Order received"));
    handle.flush(Duration::from_secs(10)).await?;
    app.expire_access_tokens();
    span.in_scope(|| info!("Order fulfilled"));
    handle.flush(Duration::from_secs(10)).await?;
    drop(span);
    drop(guard);

    for entry in workflow.texts() {
        println!("{entry}");
    }
    let is_renewal = |path: &str| path.trim_matches('/').starts_with("oauth/token");
    let renewals = portal.journal().iter().filter(|hit| is_renewal(&hit.path)).count();
    let stored = database.load(&id).await.map_err(|error| error.to_string())?;
    let kept = stored.is_some_and(|stored| stored != tokens);
    let counters = handle.stats();
    println!("renewals={renewals} new pair kept={kept}");
    println!("{counters}");
    let complete = counters.acknowledged() == 2 && workflow.texts().len() == 2;
    Ok(if complete && renewals == 1 && kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
