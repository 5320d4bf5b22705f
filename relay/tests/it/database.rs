//! A server for all tests of this binary, and a database for each test.

use std::future::Future;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bizproc_test_postgres::{Pooler, Postgres, or_skip};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls, Row};
use tracing_bizproc::auth::{CredentialError, Tokens};
use tracing_bizproc_relay::{PgConfig, PgJournal, PgStore, Shard};

/// The data need not survive, so the server does not wait for the disk.
static SERVER: LazyLock<Option<Postgres>> = LazyLock::new(|| {
    Postgres::start_or_skip(&["fsync=off", "synchronous_commit=off", "max_connections=200"])
});

/// A database of one test, on the server that all tests share.
pub(crate) struct Database {
    pub(crate) name: String,
    server: &'static Postgres,
    admin: Admin,
}

/// A connection of an administrator.
struct Admin {
    runtime: Runtime,
    client: Client,
}

impl Admin {
    fn new(connection: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(connection, NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        });
        Admin { runtime, client }
    }

    fn sql(&self, statements: &str) {
        self.runtime.block_on(self.client.batch_execute(statements)).unwrap();
    }

    fn row(&self, query: &str) -> Row {
        self.runtime.block_on(self.client.query_one(query, &[])).unwrap()
    }
}

impl Database {
    /// `None`: PostgreSQL is not installed, and a message was printed.
    pub(crate) fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = SERVER.as_ref()?;
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Admin::new(&server.socket("postgres")).sql(&format!("CREATE DATABASE {name}"));
        let admin = Admin::new(&server.socket(&name));
        Some(Database { name, server, admin })
    }

    /// A connection by the server's socket.
    pub(crate) fn config(&self) -> PgConfig {
        PgConfig::parse(&self.server.socket(&self.name)).unwrap()
    }

    /// The port on loopback, for connections by TCP.
    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    /// A store whose tables exist. Each store has a connection of its own, as in a separate process.
    pub(crate) fn store(&self) -> PgStore {
        let store = PgStore::new(self.config()).unwrap();
        wait(store.migrate()).unwrap();
        store
    }

    /// A journal that reads everything, and whose tables exist.
    pub(crate) fn journal(&self) -> PgJournal {
        let journal = PgJournal::new(self.config()).unwrap();
        wait(journal.migrate()).unwrap();
        journal.read_shards(Shard::all());
        journal
    }

    /// A pooler before the server. `None`: no pooler is installed, and a message was printed.
    pub(crate) fn pooler(&self) -> Option<Pooler> {
        or_skip(self.server.start_pooler())
    }

    /// Runs SQL as an administrator.
    pub(crate) fn sql(&self, statements: &str) {
        self.admin.sql(statements);
    }

    /// Makes everything in the journal older by this time. The clock of the database cannot be set.
    pub(crate) fn age(&self, by: Duration) {
        let by = format!("interval '{} milliseconds'", by.as_millis());
        for (table, time) in [
            ("chunks", "appended_at"),
            ("dead", "died_at"),
            ("publishers", "seen_at"),
            ("answers", "answered_at"),
            ("memos", "changed_at"),
            ("intents", "stored_at"),
        ] {
            self.sql(&format!("UPDATE bizproc.{table} SET {time} = {time} - {by}"));
        }
    }

    /// Reads one number.
    pub(crate) fn number(&self, query: &str) -> i64 {
        self.admin.row(query).get(0)
    }

    /// Reads one text.
    pub(crate) fn text(&self, query: &str) -> String {
        self.admin.row(query).get(0)
    }

    /// Cuts all connections that the crate has to this database.
    pub(crate) fn cut_connections(&self) {
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
    }
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn tokens(name: &str) -> Tokens {
    let (access, refresh) = (format!("s3cret-a-{name}"), format!("s3cret-r-{name}"));
    Tokens::new(access, refresh, "https://a.example/rest/").unwrap()
}

/// Everything that an error shows: Debug, Display and sources.
pub(crate) fn shown(error: &CredentialError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text} {error} {error:?}");
        source = error.source();
    }
    text
}
