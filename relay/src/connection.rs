//! One connection to the database, on a thread with a runtime of its own.
//!
//! A store may be awaited on any runtime, or without a runtime. A connection needs a runtime that lives as long as
//! the connection. Calls are sent one after the other, without waiting for answers.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::config::PgConfig;
use crate::error::{PgError, is_conflict, wants_another_connection};
use crate::tls::Tls;

/// Values with their types.
pub(crate) type Parameters = Vec<(Box<dyn ToSql + Sync + Send>, Type)>;

macro_rules! parameters {
    ($($value:expr => $kind:ident),* $(,)?) => {
        vec![$((
            Box::new($value) as Box<dyn tokio_postgres::types::ToSql + Sync + Send>,
            tokio_postgres::types::Type::$kind,
        )),*]
    };
}
pub(crate) use parameters;

/// A connection that is made when it is needed, and made again when it is lost. It is closed when the last clone
/// is dropped.
#[derive(Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    thread: Arc<Thread>,
}

struct Shared {
    config: PgConfig,
    tls: Tls,
    client: Mutex<Option<Arc<Client>>>,
    /// How many times a connection was tried.
    tries: AtomicU64,
    /// Why the last try failed.
    failure: StdMutex<Option<PgError>>,
    /// How many connections were made.
    made: AtomicU64,
}

/// The thread ends when this is dropped.
struct Thread {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

/// The error of a piece of work.
pub(crate) enum Failure {
    Postgres(tokio_postgres::Error),
    Other(PgError),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::Postgres(error)
    }
}

impl From<PgError> for Failure {
    fn from(error: PgError) -> Self {
        Failure::Other(error)
    }
}

impl Connection {
    /// Starts the thread. The connection is made by the first call.
    pub(crate) fn new(config: PgConfig) -> Result<Self, PgError> {
        let tls = config.tls()?;
        let failed = |error| PgError::Thread(Arc::new(error));
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, has_started) = mpsc::sync_channel(1);
        // The runtime is made, used and dropped on the thread: dropped inside of another runtime, it would panic.
        let run = move || match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                // The caller of `new` may have given up.
                let _ = started.send(Ok(runtime.handle().clone()));
                // Ends when the sender is dropped.
                let _ = runtime.block_on(stopped);
                // Does not wait for a resolver that hangs.
                runtime.shutdown_background();
            }
            Err(error) => drop(started.send(Err(error))),
        };
        thread::Builder::new().name("bizproc-pg".to_owned()).spawn(run).map_err(failed)?;
        let handle = has_started.recv().map_err(|_| PgError::Closed)?.map_err(failed)?;
        let shared = Shared {
            config,
            tls,
            client: Mutex::default(),
            tries: AtomicU64::new(0),
            failure: StdMutex::default(),
            made: AtomicU64::new(0),
        };
        let thread = Thread { runtime: handle, _stop: stop };
        Ok(Connection { shared: Arc::new(shared), thread: Arc::new(thread) })
    }

    /// How many times the connection was made again.
    pub(crate) fn reconnects(&self) -> u64 {
        self.shared.made.load(Ordering::Acquire).saturating_sub(1)
    }

    pub(crate) fn schema(&self) -> &str {
        self.shared.config.schema_name()
    }

    /// Runs a statement that may be run any number of times.
    pub(crate) async fn rows(
        &self,
        statement: &Arc<str>,
        parameters: Parameters,
    ) -> Result<Vec<Row>, PgError> {
        self.ask(statement, None, parameters).await
    }

    /// The same, with a number as the first parameter. Each try has the next number.
    pub(crate) async fn numbered_rows(
        &self,
        statement: &Arc<str>,
        numbers: &Arc<AtomicI64>,
        parameters: Parameters,
    ) -> Result<Vec<Row>, PgError> {
        self.ask(statement, Some(Arc::clone(numbers)), parameters).await
    }

    async fn ask(
        &self,
        statement: &Arc<str>,
        numbers: Option<Arc<AtomicI64>>,
        parameters: Parameters,
    ) -> Result<Vec<Row>, PgError> {
        let (statement, parameters) = (Arc::clone(statement), Arc::new(parameters));
        let run = move |client: Arc<Client>, _| {
            let (statement, parameters) = (Arc::clone(&statement), Arc::clone(&parameters));
            let number = numbers.as_ref().map(|last| last.fetch_add(1, Ordering::AcqRel) + 1);
            async move {
                let number =
                    number.iter().map(|number| (number as &(dyn ToSql + Sync), Type::INT8));
                let parameters = parameters
                    .iter()
                    .map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone()));
                let parameters: Vec<_> = number.chain(parameters).collect();
                Ok(client.query_typed(&statement, &parameters).await?)
            }
        };
        self.run(run).await
    }

    /// Does some work within the time of one call. The work continues even if nobody waits for it any more.
    ///
    /// If the connection is lost meanwhile, the work is done again, and it is told that this is a repeat: the
    /// first try may have succeeded.
    pub(crate) async fn run<T, W, F>(&self, work: W) -> Result<T, PgError>
    where
        T: Send + 'static,
        W: Fn(Arc<Client>, bool) -> F + Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        self.run_within(self.shared.config.call_timeout(), work).await
    }

    /// Like [`run`](Connection::run), with this time limit.
    pub(crate) async fn run_within<T, W, F>(&self, limit: Duration, work: W) -> Result<T, PgError>
    where
        T: Send + 'static,
        W: Fn(Arc<Client>, bool) -> F + Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let shared = Arc::clone(&self.shared);
        let task = self.thread.runtime.spawn(async move { shared.within(limit, work).await });
        // The thread lives while a caller waits.
        let _thread = Arc::clone(&self.thread);
        task.await.unwrap_or(Err(PgError::Closed))
    }
}

impl Shared {
    async fn within<T, W, F>(&self, limit: Duration, work: W) -> Result<T, PgError>
    where
        W: Fn(Arc<Client>, bool) -> F,
        F: Future<Output = Result<T, Failure>>,
    {
        let mut used = None;
        if let Ok(answer) = timeout(limit, self.try_again(work, &mut used)).await {
            return answer;
        }
        // Requests that the connection still waits for must not delay the next call.
        if let Some(client) = used {
            self.give_up(&client).await;
        }
        Err(PgError::Timeout(limit))
    }

    async fn try_again<T, W, F>(
        &self,
        work: W,
        used: &mut Option<Arc<Client>>,
    ) -> Result<T, PgError>
    where
        W: Fn(Arc<Client>, bool) -> F,
        F: Future<Output = Result<T, Failure>>,
    {
        let mut tries = 0;
        loop {
            let client = self.client().await?;
            *used = Some(Arc::clone(&client));
            let error = match work(Arc::clone(&client), tries > 0).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Postgres(error)) => error,
            };
            tries += 1;
            let is_lost = wants_another_connection(&error);
            if is_lost {
                self.give_up(&client).await;
            }
            if tries == TRIES || !(is_lost || is_conflict(&error)) {
                return Err(PgError::of_statement(&error, self.config.schema_name()));
            }
        }
    }

    /// The connection. It is made now if there is none. Callers that wait meanwhile share the result.
    async fn client(&self) -> Result<Arc<Client>, PgError> {
        let tries = self.tries.load(Ordering::Acquire);
        let mut held = self.client.lock().await;
        if let Some(client) = held.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let failure = || self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if self.tries.load(Ordering::Acquire) != tries {
            if let Some(error) = failure().clone() {
                return Err(error);
            }
        }
        let trying = Trying(self);
        *failure() = Some(PgError::Timeout(self.config.call_timeout()));
        let connected = self.config.postgres().connect(self.tls.clone()).await;
        drop(trying);
        match connected {
            Ok((client, connection)) => {
                // This task ends with the connection. Each call gets the error by itself.
                tokio::spawn(async move { drop(connection.await) });
                *failure() = None;
                self.made.fetch_add(1, Ordering::AcqRel);
                let client = Arc::new(client);
                *held = Some(Arc::clone(&client));
                Ok(client)
            }
            Err(error) => {
                let error = PgError::of_connecting(&error);
                *failure() = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Takes this connection out of use, unless another one is in use already.
    async fn give_up(&self, client: &Arc<Client>) {
        let mut held = self.client.lock().await;
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, client)) {
            *held = None;
        }
    }
}

/// A column of a row.
pub(crate) fn column<'a, T: FromSql<'a>>(row: &'a Row, n: usize) -> Result<T, PgError> {
    row.try_get(n).map_err(|error| PgError::Unexpected(error.to_string()))
}

/// How many times a call is tried: one connection may be dead, and the next one may lead to the old primary.
const TRIES: u32 = 3;

/// Counts a try to connect when it has ended, also if it was cancelled.
struct Trying<'a>(&'a Shared);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.0.tries.fetch_add(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.shared.config).finish()
    }
}
