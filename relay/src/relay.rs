//! A process that delivers for many replicas.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder as RuntimeBuilder;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing_bizproc::error::{BuildError, WorkerError};
use tracing_bizproc::{Builder, Handle, WorkerGuard};

use crate::clock::now;
use crate::config::PgConfig;
use crate::error::PgError;
use crate::journal::PgJournal;
use crate::ownership::{Member, Owner, Ownership, PgOwnership, SharedLeases};
use crate::shard::Shard;

mod journal;
mod keeper;

use self::journal::Counts;
pub use self::journal::RelayJournal;
use self::keeper::{Keeper, Kept, LetGo, Stop};

/// Delivers what replicas have published to a database, for a fair part of the portals. Any number of relays share
/// the work. When a relay leaves, the others take over its portals.
///
/// It does the same as the program `bizproc-relay`, inside another program. It runs on its own threads.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use tracing_bizproc::auth::OAuth;
/// use tracing_bizproc_relay::{PgConfig, PgStore, Relay};
///
/// let config = PgConfig::from_env()?;
/// let store = PgStore::new(config.clone())?;
/// store.migrate().await?;
/// let relay = Relay::new(config).start(tracing_bizproc::builder(OAuth::from_env(store)?))?;
/// // Here the program waits for a signal.
/// relay.stop(Duration::from_secs(20)).await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it starts with `start`"]
pub struct Relay {
    config: PgConfig,
    max_age: Duration,
    is_fenced: bool,
}

impl Relay {
    /// A relay that uses this database. The tables must exist.
    pub fn new(config: PgConfig) -> Self {
        Relay { config, max_age: Duration::from_secs(24 * 3_600), is_fenced: true }
    }

    /// How long delivery is tried. Older lines are moved to the dead letters, where they are kept for seven days,
    /// and reported as lost for the reason `Expired`. This option replaces
    /// [`Builder::max_age`](tracing_bizproc::Builder::max_age). One day by default. Set the same value for all
    /// relays.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Turns off all guards: see [`RelayJournal::unfenced`]. The owner also has no deadline of its own.
    #[doc(hidden)]
    pub fn unfenced(mut self) -> Self {
        self.is_fenced = false;
        self
    }

    /// Starts delivery with the credentials and options of this builder.
    ///
    /// # Errors
    /// [`RelayError`]. This does not check whether the database can be reached: use [`PgStore::check`] for that.
    ///
    /// [`PgStore::check`]: crate::PgStore::check
    pub fn start(self, builder: Builder) -> Result<RunningRelay, RelayError> {
        let reading = Arc::new(PgJournal::new(self.config.clone())?.max_age(self.max_age));
        let journal_to_look_at = PgJournal::new(self.config.clone())?.max_age(self.max_age);
        let ownership: Arc<dyn Ownership> = Arc::new(PgOwnership::new(self.config)?);
        let mut owner = Owner::new(ownership, Member::random());
        if !self.is_fenced {
            owner = owner.without_deadline();
        }
        let (member, leases, _) = owner.parts();
        let mut journal = RelayJournal::new(Arc::clone(&reading), &owner);
        if !self.is_fenced {
            journal = journal.unfenced();
        }
        let counts = journal.counts();
        // Only the journal gives lines up, so that they become dead letters, which can be put back. For the engine, a
        // line that it has just read has at most half of this age.
        let builder = builder.max_age(self.max_age.saturating_mul(2).saturating_add(DEAD_LETTERS));
        let (engine, guard) = builder.deliver_from(journal.clone())?;
        let handle = engine.handle().clone();
        let let_go: LetGo = Box::new(move |shard| {
            let engine = engine.clone();
            Box::pin(async move {
                // A worker that has ended has no request in flight.
                while let Err(WorkerError::Busy) =
                    engine.let_go(move |portal| Shard::of(portal) != shard).await
                {
                    sleep(ASK_AGAIN).await;
                }
            })
        });
        let kept = Arc::new(Kept::default());
        let keeper = Keeper::new(owner, Arc::clone(&reading), journal, let_go, Arc::clone(&kept));
        let (stop, stopped) = oneshot::channel();
        let runtime = RuntimeBuilder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| PgError::Thread(Arc::new(error)))?;
        let run = move || {
            runtime.block_on(keeper.run(stopped));
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("bizproc-relay".to_owned()).spawn(run);
        thread.map_err(|error| PgError::Thread(Arc::new(error)))?;
        Ok(RunningRelay {
            member,
            handle,
            guard,
            journal: journal_to_look_at,
            reading,
            leases,
            counts,
            kept,
            stop,
        })
    }
}

/// Why a relay does not start. Debug is the text, which says what to do.
///
/// ```
/// use tracing_bizproc_relay::{PgError, RelayError};
///
/// fn advice(error: &RelayError) -> String {
///     match error {
///         RelayError::Postgres(PgError::Tls(_)) => "check the secrets of the deployment".to_owned(),
///         error => error.to_string(),
///     }
/// }
/// # let _ = advice;
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The connection to the database cannot be set up.
    #[error(transparent)]
    Postgres(#[from] PgError),
    /// The options or credentials cannot be used.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// A [`Relay`] that delivers until it is stopped. If it is dropped, it stops at once: use
/// [`stop`](RunningRelay::stop) instead.
///
/// ```no_run
/// use std::time::Duration;
/// use tracing_bizproc_relay::RunningRelay;
///
/// async fn end(relay: RunningRelay) {
///     let counters = relay.handle();
///     // Shorter than the time after which the platform kills the process.
///     relay.stop(Duration::from_secs(20)).await;
///     println!("{}", counters.stats());
/// }
/// # drop(end);
/// ```
pub struct RunningRelay {
    member: Member,
    handle: Handle,
    guard: WorkerGuard,
    /// It has a connection of its own: to count a large table takes seconds, and delivery must not wait for that.
    journal: PgJournal,
    reading: Arc<PgJournal>,
    leases: SharedLeases,
    counts: Arc<Counts>,
    kept: Arc<Kept>,
    stop: oneshot::Sender<Stop>,
}

/// What a relay owns now, and what it has done so far.
///
/// ```
/// use std::time::Duration;
/// use tracing_bizproc_relay::RunningRelay;
///
/// fn is_healthy(relay: &RunningRelay) -> bool {
///     let lease = Duration::from_secs(3);
///     relay.status().lease_age.is_some_and(|age| age < lease)
/// }
/// # let _ = is_healthy;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStatus {
    /// How many of the 256 shards it owns now.
    pub shards: usize,
    /// How long ago the last renewal was sent that was answered. `None`: no renewal was answered yet.
    pub lease_age: Option<Duration>,
    /// Renewals that were answered.
    pub turns: u64,
    /// Renewals that failed.
    pub failed_turns: u64,
    /// Shards that it has taken.
    pub taken: u64,
    /// Shards that it has lost, because its lease had run out.
    pub lost: u64,
    /// Shards that it has given back.
    pub given_back: u64,
    /// Requests that were stored and got a permit.
    pub permitted: u64,
    /// Requests that did not leave because another relay owns their portal.
    pub fenced: u64,
    /// Requests that did not leave because the database could not store them.
    pub not_written: u64,
    /// Requests that were stored and did not leave, because the lease had run out meanwhile.
    pub too_late: u64,
    /// Portals that wait because a newer version has written some of their data, or because the data is damaged.
    pub unreadable_portals: usize,
}

impl RunningRelay {
    /// Its number among the relays. Each run has a new one.
    pub fn member(&self) -> Member {
        self.member
    }

    /// Counters, health and portals of its delivery.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// A journal on the same tables, with a connection of its own: for the backlog, and the dead letters.
    pub fn journal(&self) -> &PgJournal {
        &self.journal
    }

    /// What it owns, and what it has done.
    pub fn status(&self) -> RelayStatus {
        let now = now();
        let (kept, counts) = (&self.kept, &self.counts);
        RelayStatus {
            shards: self.leases.with(|held| {
                let claims = held.claims();
                claims.iter().filter(|claim| held.claim(claim.shard, now).is_some()).count()
            }),
            lease_age: kept.renewed().map(|renewed| now.saturating_duration_since(renewed)),
            turns: kept.turns.load(Ordering::Relaxed),
            failed_turns: kept.failed_turns.load(Ordering::Relaxed),
            taken: kept.taken.load(Ordering::Relaxed),
            lost: kept.lost.load(Ordering::Relaxed),
            given_back: kept.given_back.load(Ordering::Relaxed),
            permitted: counts.permitted.load(Ordering::Relaxed),
            fenced: counts.fenced.load(Ordering::Relaxed),
            not_written: counts.failed.load(Ordering::Relaxed),
            too_late: counts.too_late.load(Ordering::Relaxed),
            unreadable_portals: self.reading.unreadable().len(),
        }
    }

    /// Stops delivery, and gives each portal back as soon as no request to it is in flight. Other relays take over
    /// at once, and nothing is sent twice. After `limit` the relay stops anyway: then the other relays mark the
    /// lines of unanswered requests as possible repeats. The last call to the database and the end of the worker
    /// take up to four seconds more.
    pub async fn stop(self, limit: Duration) {
        let (done, is_done) = oneshot::channel();
        // From now on, also if a call to the database is under way.
        let until = (now() + limit.min(FOREVER)).into();
        if self.stop.send(Stop { until, done }).is_ok() {
            // An error means that the keeper has ended already.
            let _ = is_done.await;
        }
        // Nothing is left to deliver.
        self.guard.shutdown(LAST_WORDS).await;
    }
}

/// How long a dead letter is kept, plus one day in case a clock is wrong.
const DEAD_LETTERS: Duration = Duration::from_secs(8 * 24 * 3_600);
/// The pause before the next try when the worker is too busy to listen.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Longer than any limit makes sense, and within the range of a clock.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);
/// How long the end of an idle worker may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl fmt::Debug for RunningRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningRelay").field("member", &self.member).finish_non_exhaustive()
    }
}
