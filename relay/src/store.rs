//! Tokens of portals and installations in PostgreSQL.

use std::fmt;
use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::types::Type;
use tracing_bizproc::PortalId;
use tracing_bizproc::app::{Installation, InstallationStore};
use tracing_bizproc::auth::{CredentialError, CredentialFuture, TokenStore, Tokens};

use crate::config::PgConfig;
use crate::connection::{Connection, Failure};
use crate::error::PgError;
use crate::migrate::{self, in_schema};

/// Keeps tokens and installations in PostgreSQL, for all replicas of an app.
///
/// A new pair of tokens replaces the old pair in one atomic step. So replicas that share the database agree on one
/// pair, and no replica uses up a refresh token that another one needs.
///
/// It has one connection, on a thread of its own, so it can be awaited on every runtime. The connection is made
/// when it is needed. If it is lost, the call is repeated on a new connection. Clones share the connection.
///
/// If the tokens of a portal cannot be read, they are ignored, and the next tokens of this portal replace them.
/// This is reported through `tracing` at target `tracing_bizproc`. An installation that cannot be read is an
/// error: if it were ignored, anybody could install the app in the name of the portal.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tracing_bizproc::auth::OAuth;
/// use tracing_bizproc_relay::{PgConfig, PgStore};
///
/// let store = PgStore::new(PgConfig::from_env()?)?;
/// store.migrate().await?;
/// let oauth = OAuth::from_env(store.clone())?;
/// let (bizproc, _guard) = tracing_bizproc::builder(oauth).build()?;
/// # let _: tracing_bizproc::BizprocLayer<tracing_subscriber::Registry> = bizproc;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PgStore {
    connection: Connection,
    tokens: Arc<Statements>,
    installations: Arc<Statements>,
}

/// The statements on one table.
struct Statements {
    select: String,
    insert: String,
    update: String,
    delete: String,
}

impl PgStore {
    /// Starts the store's thread. It connects at the first call.
    ///
    /// # Errors
    /// [`PgError::Tls`] and [`PgError::Thread`].
    pub fn new(config: PgConfig) -> Result<Self, PgError> {
        let connection = Connection::new(config)?;
        let statements =
            |table, column| Arc::new(Statements::new(connection.schema(), table, column));
        Ok(PgStore {
            tokens: statements("tokens", "tokens"),
            installations: statements("installations", "installation"),
            connection,
        })
    }

    /// Creates the tables, or changes them to the version of this program. Does nothing if they have this version.
    /// Any number of replicas may call it at the same time. Tables of a newer version are an error.
    ///
    /// # Errors
    /// [`PgError`], also if the role may not create tables.
    pub async fn migrate(&self) -> Result<(), PgError> {
        migrate::migrate(&self.connection).await
    }

    /// Checks that the database can be reached and has the tables. Call it at the start of an app, also if the
    /// role of the app may not [`migrate`](PgStore::migrate).
    ///
    /// # Errors
    /// [`PgError`].
    pub async fn check(&self) -> Result<(), PgError> {
        migrate::check(&self.connection).await
    }

    async fn text(
        &self,
        statements: &Arc<Statements>,
        portal: &PortalId,
    ) -> Result<Option<String>, CredentialError> {
        let (statements, portal) = (Arc::clone(statements), name(portal)?);
        let select = move |client: Arc<Client>, _| {
            let (statements, portal) = (Arc::clone(&statements), portal.clone());
            async move { statements.select(&client, &portal).await }
        };
        Ok(self.connection.run(select).await?)
    }

    /// Replaces `expected` with `new`. Returns whether the stored value was `expected`.
    async fn swap_text<T: PartialEq + Clone + Send + Sync + 'static>(
        &self,
        statements: &Arc<Statements>,
        portal: &PortalId,
        read: fn(&str) -> Result<Option<T>, PgError>,
        expected: Option<T>,
        new: Option<(T, String)>,
    ) -> Result<bool, CredentialError> {
        let (statements, portal) = (Arc::clone(statements), name(portal)?);
        let swap = move |client: Arc<Client>, again| {
            let (statements, portal) = (Arc::clone(&statements), portal.clone());
            let (expected, new) = (expected.clone(), new.clone());
            async move {
                loop {
                    let stored = statements.select(&client, &portal).await?;
                    let there = stored.as_deref().map(read).transpose()?.flatten();
                    if there != expected {
                        let is_new = there.as_ref() == new.as_ref().map(|(new, _)| new);
                        // The first try has succeeded, and its answer was lost with the connection.
                        return Ok(again && is_new);
                    }
                    let new = new.as_ref().map(|(_, text)| text.as_str());
                    if statements.put(&client, &portal, stored.as_deref(), new).await? {
                        return Ok(true);
                    }
                    // Another process was faster: read again.
                }
            }
        };
        Ok(self.connection.run(swap).await?)
    }
}

impl Statements {
    fn new(schema: &str, table: &str, column: &str) -> Self {
        let with_names = |statement: &str| {
            in_schema(statement, schema).replace("{table}", table).replace("{column}", column)
        };
        Statements {
            select: with_names("SELECT {column} FROM {schema}.{table} WHERE portal = $1"),
            insert: with_names(
                "INSERT INTO {schema}.{table} (portal, {column}) VALUES ($1, $2) \
                 ON CONFLICT DO NOTHING",
            ),
            update: with_names(
                "UPDATE {schema}.{table} SET {column} = $2, changed_at = now() \
                 WHERE portal = $1 AND {column} = $3",
            ),
            delete: with_names(
                "DELETE FROM {schema}.{table} WHERE portal = $1 AND ($2::text IS NULL OR {column} = $2)",
            ),
        }
    }

    async fn select(&self, client: &Client, portal: &str) -> Result<Option<String>, Failure> {
        let row = client.query_typed_opt(&self.select, &[(&portal, Type::TEXT)]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Replaces `stored` with `new`, if `stored` is still there.
    async fn put(
        &self,
        client: &Client,
        portal: &str,
        stored: Option<&str>,
        new: Option<&str>,
    ) -> Result<bool, Failure> {
        let portal = (&portal as _, Type::TEXT);
        let changed = match (&stored, &new) {
            (None, None) => return Ok(true),
            (None, Some(new)) => {
                client.execute_typed(&self.insert, &[portal, (new, Type::TEXT)]).await?
            }
            (Some(stored), Some(new)) => {
                let parameters = [portal, (new as _, Type::TEXT), (stored as _, Type::TEXT)];
                client.execute_typed(&self.update, &parameters).await?
            }
            (Some(_), None) => {
                client.execute_typed(&self.delete, &[portal, (&stored, Type::TEXT)]).await?
            }
        };
        Ok(changed == 1)
    }
}

impl TokenStore for PgStore {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        Box::pin(async move {
            let stored = self.text(&self.tokens, portal).await?;
            let tokens = stored.as_deref().and_then(Tokens::from_json);
            if stored.is_some() && tokens.is_none() {
                tracing::warn!(
                    target: "tracing_bizproc",
                    parent: None,
                    portal = portal.as_str(),
                    "the tokens of this portal in the database cannot be read: they are ignored until new tokens \
                     come with the next request of the portal"
                );
            }
            Ok(tokens)
        })
    }

    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        let read = |text: &str| Ok(Tokens::from_json(text));
        let new = Some((new.clone(), new.to_json()));
        let expected = expected.cloned();
        Box::pin(async move { self.swap_text(&self.tokens, portal, read, expected, new).await })
    }

    fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()> {
        Box::pin(async move {
            let (statements, portal) = (Arc::clone(&self.tokens), name(portal)?);
            let delete = move |client: Arc<Client>, _| {
                let (statements, portal) = (Arc::clone(&statements), portal.clone());
                async move {
                    let any = None::<&str>;
                    let parameters = [(&portal as _, Type::TEXT), (&any as _, Type::TEXT)];
                    client.execute_typed(&statements.delete, &parameters).await?;
                    Ok(())
                }
            };
            Ok(self.connection.run(delete).await?)
        })
    }
}

impl InstallationStore for PgStore {
    fn installation<'a>(
        &'a self,
        portal: &'a PortalId,
    ) -> CredentialFuture<'a, Option<Installation>> {
        Box::pin(async move {
            let stored = self.text(&self.installations, portal).await?;
            Ok(stored.as_deref().map(read_installation).transpose()?.flatten())
        })
    }

    fn swap_installation<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Installation>,
        new: Option<&'a Installation>,
    ) -> CredentialFuture<'a, bool> {
        let new = new.map(|new| (new.clone(), new.to_json()));
        let expected = expected.cloned();
        Box::pin(async move {
            let table = &self.installations;
            self.swap_text(table, portal, read_installation, expected, new).await
        })
    }
}

fn read_installation(text: &str) -> Result<Option<Installation>, PgError> {
    let unreadable = || {
        PgError::Unexpected(
            "there is no installation under this portal that can be read: remove its row from the \
             table `installations`, and install the app there again"
                .to_owned(),
        )
    };
    Installation::from_json(text).map(Some).ok_or_else(unreadable)
}

/// The portal's name as a text of PostgreSQL, which cannot contain NUL.
fn name(portal: &PortalId) -> Result<String, CredentialError> {
    if portal.as_str().contains('\0') {
        return Err("the name of the portal contains a NUL character".into());
    }
    Ok(portal.as_str().to_owned())
}

impl fmt::Debug for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStore").field("connection", &self.connection).finish_non_exhaustive()
    }
}
