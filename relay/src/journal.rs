//! Keeps lines and ends of activities in PostgreSQL until they are settled.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio_postgres::Row;
use tracing_bizproc::journal::codec::Unreadable;
use tracing_bizproc::journal::{
    Adopted, Answer, Batch, Evicted, Held, Journal, JournalError, JournalFuture, Mark, MarkKind,
    Memo, Number, Position, Publisher, Query, Read,
};
use tracing_bizproc::{EventToken, PortalId};

use crate::config::PgConfig;
use crate::connection::{Connection, column, parameters};
use crate::error::PgError;
use crate::migrate::{self, in_schema};
use crate::shard::Shard;

mod clock;
mod numbers;
mod rows;
mod upkeep;

use self::clock::ServerClock;
use self::numbers::Numbers;
use self::rows::{
    AnswerRows, ChunkRows, activity_key, evicted, outcome, portal_name, publisher_key,
    publisher_of, signed, what_is_left,
};
pub(crate) use self::rows::{MarkRows, MemoRows, Steps};
pub use self::upkeep::{Backlog, DeadLetter, OwnedBy, PortalBacklog};

/// A [`Journal`] in PostgreSQL. Many processes write to it and read from it.
///
/// Appended data is on the disk of the database if the server's `synchronous_commit` guarantees this. Ids are in
/// the order of commits, so a reader that continues after the last id misses nothing.
///
/// It returns only data of the [shards](Shard) that it reads. At first it reads none, so a journal that only
/// writes needs no more than [`new`](PgJournal::new). Two readers of one shard would both deliver its lines: see
/// [`Ownership`](crate::Ownership).
///
/// Payloads hold event tokens and the texts of lines, which are secrets; keys hold hashes of the tokens only.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use tracing_bizproc::journal::{Journal, Query};
/// use tracing_bizproc_relay::{PgConfig, PgJournal, Shard};
///
/// let journal = PgJournal::new(PgConfig::from_env()?)?;
/// journal.migrate().await?;
/// journal.read_shards(Shard::all());
/// let read = journal.read(Query { portal: None, after: None, most_bytes: 64 << 10 }).await?;
/// assert!(read.at_end || !read.chunks.is_empty());
/// # Ok(()) }
/// ```
pub struct PgJournal {
    connection: Connection,
    sql: Sql,
    max_age: Duration,
    reading: Mutex<Reading>,
    /// How many times the set of shards that are read has changed.
    changes: AtomicU64,
    clock: ServerClock,
}

/// The shards that are read.
#[derive(Default)]
struct Reading {
    shards: Vec<i16>,
    /// Shards among them that `adopt` has not reported yet.
    new: Vec<i16>,
    /// Portals for which nothing is returned, because some of their data cannot be read.
    unreadable: BTreeMap<Option<String>, Unreadable>,
    /// When the last search for old chunks found none.
    looked: Option<SystemTime>,
    tidied: Option<SystemTime>,
}

struct Sql {
    append: Arc<str>,
    tried: Arc<str>,
    returned: Arc<str>,
    settled: Arc<str>,
    read: Arc<str>,
    read_portal: Arc<str>,
    held: Arc<str>,
    bury: Arc<str>,
    tidy: Arc<str>,
    memos: Arc<str>,
    answer: Arc<str>,
    answers: Arc<str>,
    unsettled: Arc<str>,
}

impl PgJournal {
    /// Starts the journal's thread. It connects at the first call.
    ///
    /// # Errors
    /// [`PgError::Tls`] and [`PgError::Thread`].
    pub fn new(config: PgConfig) -> Result<Self, PgError> {
        let connection = Connection::new(config)?;
        Ok(PgJournal {
            sql: Sql::new(connection.schema()),
            connection,
            max_age: Duration::from_secs(24 * 60 * 60),
            reading: Mutex::default(),
            changes: AtomicU64::new(0),
            clock: ServerClock::default(),
        })
    }

    /// How long lines stay in the journal if they are not settled. Older lines are moved to the table `dead`,
    /// where they are kept for seven days, and reported as lost for the reason `Expired`. Only a journal that
    /// reads a shard does this. One day by default. The time counts from the append, by the clock of the database.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Makes the tables, as [`PgStore::migrate`](crate::PgStore::migrate) does.
    ///
    /// # Errors
    /// [`PgError`].
    pub async fn migrate(&self) -> Result<(), PgError> {
        migrate::migrate(&self.connection).await
    }

    /// Whether the database can be reached and has the tables.
    ///
    /// # Errors
    /// [`PgError`].
    pub async fn check(&self) -> Result<(), PgError> {
        migrate::check(&self.connection).await
    }

    /// Reads these shards from now on, and no others. The next [`adopt`](Journal::adopt) reports what the new
    /// shards contain, and everything is read from the start.
    pub fn read_shards(&self, shards: impl IntoIterator<Item = Shard>) {
        let mut reading = self.reading();
        let mut shards: Vec<i16> = shards.into_iter().map(Shard::number).collect();
        shards.sort_unstable();
        shards.dedup();
        let added = shards.iter().copied().filter(|shard| !reading.shards.contains(shard));
        let new: Vec<i16> = added.chain(reading.new.iter().copied()).collect();
        reading.new = new.into_iter().filter(|shard| shards.contains(shard)).collect();
        if reading.shards != shards {
            reading.shards = shards;
            reading.unreadable.clear();
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Portals that wait because some of their data cannot be read, and why.
    pub(crate) fn unreadable(&self) -> Vec<(Option<String>, Unreadable)> {
        self.reading().unreadable.iter().map(|(portal, why)| (portal.clone(), *why)).collect()
    }

    /// What portals were waiting for may be gone: all of them are read from the start.
    fn read_again(&self) {
        self.reading().unreadable.clear();
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        // Each change is complete, so the data is valid even after a panic.
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn mark_all(&self, kind: MarkKind, marks: &[Mark]) -> Result<(), PgError> {
        let statement = match kind {
            MarkKind::Tried => &self.sql.tried,
            MarkKind::Returned => &self.sql.returned,
            MarkKind::Settled => &self.sql.settled,
            _ => return Err(PgError::Unexpected("a mark of an unknown kind".to_owned())),
        };
        let rows = MarkRows::of(marks);
        if !rows.firsts.is_empty() {
            let parameters = parameters![
                rows.publishers => BYTEA_ARRAY,
                rows.activities => BYTEA_ARRAY,
                rows.firsts => INT8_ARRAY,
                rows.lasts => INT8_ARRAY,
            ];
            self.connection.rows(statement, parameters).await?;
        }
        Ok(())
    }

    /// A row that was read.
    fn take(&self, row: &Row, read: &mut Read) -> Result<(), PgError> {
        let payload: &[u8] = column(row, 2)?;
        let publisher = publisher_of(column(row, 1)?)
            .ok_or_else(|| PgError::Unexpected("a publisher of another length".to_owned()))?;
        let portal: Option<&str> = column(row, 5)?;
        let mut reading = self.reading();
        if reading.unreadable.contains_key(&portal.map(str::to_owned)) {
            return Ok(());
        }
        match what_is_left(payload, &numbers(row, 3)?, &numbers(row, 4)?) {
            Ok(Some(chunk)) => read.chunks.push((publisher, chunk)),
            Ok(None) => {}
            // Later chunks of this portal must not overtake this one.
            Err(why) => drop(reading.unreadable.insert(portal.map(str::to_owned), why)),
        }
        Ok(())
    }
}

impl Sql {
    fn new(schema: &str) -> Self {
        let with_names = |statement| Arc::from(in_schema(statement, schema));
        Sql {
            append: with_names(
                "SELECT {schema}.append($1, $2, $3, $4, $5, $6, $7, $8, $9), clock_timestamp()",
            ),
            tried: with_names("SELECT {schema}.mark_tried($1, $2, $3, $4)"),
            returned: with_names("SELECT {schema}.mark_returned($1, $2, $3, $4)"),
            settled: with_names("SELECT {schema}.mark_settled($1, $2, $3, $4)"),
            // There is always one row, also if there is no chunk.
            read: with_names(
                "SELECT r.*, clock_timestamp(), (SELECT max(c.id) FROM {schema}.chunks c)
                FROM (VALUES (1)) one
                LEFT JOIN {schema}.read_chunks($1, $2, true, NULL, $3, $4) r ON true
                ORDER BY r.id",
            ),
            read_portal: with_names(
                "SELECT r.*, clock_timestamp(), NULL::bigint
                FROM (VALUES (1)) one LEFT JOIN {schema}.read_portal($1, $2, $3, $4, $5) r ON true
                ORDER BY r.id",
            ),
            held: with_names(
                "SELECT c.portal, sum(CASE
                    WHEN c.lines = 0 OR m.settled IS NULL OR NOT c.numbers && m.settled THEN c.lines
                    ELSE (SELECT coalesce(sum(upper(r) - lower(r)), 0)
                        FROM unnest(c.numbers - m.settled) r)
                    END)::bigint
                FROM {schema}.chunks c
                LEFT JOIN {schema}.marks m ON m.publisher = c.publisher AND m.activity = c.activity
                WHERE c.shard = ANY ($1)
                GROUP BY c.portal",
            ),
            bury: with_names("SELECT * FROM {schema}.bury($1, $2 * interval '1 second')"),
            tidy: with_names("SELECT {schema}.tidy()"),
            memos: with_names("SELECT key, value FROM {schema}.memos WHERE portal = $1"),
            answer: with_names("SELECT {schema}.answer($1, $2, $3, $4)"),
            answers: with_names(
                "SELECT no, outcome, code FROM {schema}.answers
                WHERE publisher = $1 AND no = ANY ($2)",
            ),
            unsettled: with_names("SELECT {schema}.unsettled($1, $2, $3)"),
        }
    }
}

/// How many chunks one call reads at most.
const CHUNKS: i64 = 500;

/// Lines that are too old are looked for at most once in this time, because the journal is asked after every call.
const LOOK: Duration = Duration::from_secs(10);

/// A hundred years. Longer times are of no use, and the database may not be able to subtract them.
const LONGEST_AGE: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Rows that nobody needs any more are removed about once an hour.
const TIDY: Duration = Duration::from_secs(3_600);

impl Journal for PgJournal {
    fn append<'a>(&'a self, batch: &'a Batch) -> JournalFuture<'a, Position> {
        Box::pin(async move {
            let rows = ChunkRows::of(batch);
            let no = i64::try_from(batch.no).map_err(|_| {
                PgError::Unexpected("the number of a batch is too large".to_owned())
            })?;
            let parameters = parameters![
                publisher_key(batch.publisher) => BYTEA,
                no => INT8,
                rows.shards => INT2_ARRAY,
                rows.portals => TEXT_ARRAY,
                rows.activities => BYTEA_ARRAY,
                rows.numbers => TEXT_ARRAY,
                rows.lines => INT4_ARRAY,
                rows.logged => TIMESTAMPTZ_ARRAY,
                rows.payloads => BYTEA_ARRAY,
            ];
            let answer = self.connection.rows(&self.sql.append, parameters).await?;
            let row = answer.first().ok_or_else(no_row)?;
            self.clock.set(column(row, 1)?);
            Ok(position(column(row, 0)?))
        })
    }

    fn read<'a>(&'a self, query: Query<'a>) -> JournalFuture<'a, Read> {
        Box::pin(async move {
            let after = query.after.unwrap_or_default();
            let mut read = Read { up_to: after, at_end: true, ..Read::default() };
            let id = i64::try_from(after.0).unwrap_or(i64::MAX);
            let most_bytes = i64::try_from(query.most_bytes).unwrap_or(i64::MAX).max(1);
            let shards = self.reading().shards.clone();
            let (statement, parameters) = match query.portal {
                None if shards.is_empty() => return Ok(read),
                None => {
                    let parameters = parameters![
                        id => INT8, shards => INT2_ARRAY, most_bytes => INT8, CHUNKS => INT8,
                    ];
                    (&self.sql.read, parameters)
                }
                Some(portal) => {
                    let shard = Shard::of(portal.as_ref()).number();
                    if !shards.contains(&shard) {
                        return Ok(read);
                    }
                    let parameters = parameters![
                        id => INT8,
                        shard => INT2,
                        portal_name(portal.as_ref()) => TEXT,
                        most_bytes => INT8,
                        CHUNKS => INT8,
                    ];
                    (&self.sql.read_portal, parameters)
                }
            };
            let rows = self.connection.rows(statement, parameters).await?;
            let last = rows.last().ok_or_else(no_row)?;
            // Deadlines in the chunks are by this clock.
            self.clock.set(column(last, 8)?);
            if let Some(id) = column::<Option<i64>>(last, 0)? {
                for row in &rows {
                    self.take(row, &mut read)?;
                }
                read.up_to = position(id);
                // Everything was found, and it fitted into the answer.
                read.at_end = column::<i64>(last, 6)? < CHUNKS && id == column::<i64>(last, 7)?;
            }
            match query.portal {
                // Another name may be the same text.
                Some(portal) => read.chunks.retain(|(_, chunk)| chunk.portal == *portal),
                // Chunks of other shards are not searched again. Ids are in the order of commits, so nothing that is
                // committed later has a smaller id.
                None if read.at_end => {
                    let newest = column::<Option<i64>>(last, 9)?.map(position);
                    read.up_to = newest.map_or(read.up_to, |newest| newest.max(read.up_to));
                }
                None => {}
            }
            Ok(read)
        })
    }

    /// Marks are applied in their order. If this fails in the middle, the first marks are applied.
    fn mark<'a>(&'a self, marks: &'a [Mark]) -> JournalFuture<'a, ()> {
        Box::pin(async move {
            for same in marks.chunk_by(|one, next| one.kind == next.kind) {
                if let Some(first) = same.first() {
                    self.mark_all(first.kind, same).await?;
                }
            }
            Ok(())
        })
    }

    /// Returns the contents of the shards that [`read_shards`](PgJournal::read_shards) has added.
    fn adopt<'a>(&'a self) -> JournalFuture<'a, Adopted> {
        Box::pin(async move {
            let new = self.reading().new.clone();
            let mut adopted = Adopted::default();
            if !new.is_empty() {
                for row in self
                    .connection
                    .rows(&self.sql.held, parameters![new.clone() => INT2_ARRAY])
                    .await?
                {
                    let portal: Option<String> = column(&row, 0)?;
                    let lines = u64::try_from(column::<i64>(&row, 1)?).unwrap_or(0);
                    adopted.held.push(Held { portal: portal.map(PortalId::from), lines });
                }
            }
            let mut reading = self.reading();
            reading.new.retain(|shard| !new.contains(shard));
            for (portal, why) in &reading.unreadable {
                adopted.left.push(left_alone(portal.as_deref(), *why));
            }
            Ok(adopted)
        })
    }

    /// Only the clock of the database decides what is too old. `now` is used for the pauses between two searches.
    fn evicted<'a>(&'a self, now: SystemTime) -> JournalFuture<'a, Vec<Evicted>> {
        Box::pin(async move {
            let (shards, looked, tidied) = {
                let reading = self.reading();
                (reading.shards.clone(), reading.looked, reading.tidied)
            };
            let is_due = |last: Option<SystemTime>, pause| {
                last.is_none_or(|last| {
                    now.duration_since(last).map_or(true, |since| since >= pause)
                })
            };
            if shards.is_empty() || !is_due(looked, LOOK) {
                return Ok(Vec::new());
            }
            let age = self.max_age.min(LONGEST_AGE).as_secs_f64();
            let parameters = parameters![shards => INT2_ARRAY, age => FLOAT8];
            let rows = self.connection.rows(&self.sql.bury, parameters);
            let (mut gone, mut was_unreadable) = (Vec::new(), false);
            for row in rows.await? {
                let (publisher, since) = (column(&row, 0)?, column(&row, 3)?);
                let (of, settled) = (numbers(&row, 1)?, numbers(&row, 2)?);
                let lines = u64::try_from(column::<i32>(&row, 5)?).unwrap_or(0);
                let evicted = evicted(publisher, &of, &settled, since, column(&row, 4)?, lines);
                was_unreadable |= evicted.as_ref().is_some_and(|evicted| evicted.of.is_none());
                gone.extend(evicted);
            }
            self.reading().looked = gone.is_empty().then_some(now);
            if was_unreadable {
                self.read_again();
            }
            if is_due(tidied, TIDY) {
                match self.connection.rows(&self.sql.tidy, parameters![]).await {
                    Ok(_) => self.reading().tidied = Some(now),
                    Err(error) if gone.is_empty() => return Err(error.into()),
                    // It is tried again with the next call. What is gone is told once only.
                    Err(_) => {}
                }
            }
            Ok(gone)
        })
    }

    /// The clock of the database, as soon as it has answered an append or a read.
    fn time(&self, local: SystemTime) -> SystemTime {
        self.clock.time().unwrap_or(local)
    }

    /// Increases with each new connection: after a failover, the ids may be different.
    fn generation(&self) -> u64 {
        self.connection.reconnects() + self.changes.load(Ordering::Acquire)
    }

    fn memos<'a>(&'a self, portal: &'a Option<PortalId>) -> JournalFuture<'a, Vec<Memo>> {
        Box::pin(async move {
            let parameters = parameters![portal_name(portal.as_ref()) => TEXT];
            let rows = self.connection.rows(&self.sql.memos, parameters).await?;
            let memo = |row: &Row| {
                let (key, value): (&[u8], Vec<u8>) = (column(row, 0)?, column(row, 1)?);
                let other = || PgError::Unexpected("a memo's key of another length".to_owned());
                let key = u128::from_be_bytes(key.try_into().map_err(|_| other())?);
                Ok(Memo { key, value })
            };
            rows.iter().map(memo).collect()
        })
    }

    fn answer<'a>(&'a self, answers: &'a [Answer]) -> JournalFuture<'a, ()> {
        Box::pin(async move {
            let rows = AnswerRows::of(answers);
            let parameters = parameters![
                rows.publishers => BYTEA_ARRAY,
                rows.numbers => INT8_ARRAY,
                rows.outcomes => INT2_ARRAY,
                rows.codes => TEXT_ARRAY,
            ];
            self.connection.rows(&self.sql.answer, parameters).await?;
            Ok(())
        })
    }

    fn answers<'a>(
        &'a self,
        publisher: Publisher,
        ends: &'a [Number],
    ) -> JournalFuture<'a, Vec<Answer>> {
        Box::pin(async move {
            let numbers: Vec<i64> = ends.iter().copied().map(signed).collect();
            let parameters = parameters![publisher_key(publisher) => BYTEA, numbers => INT8_ARRAY];
            let mut answers = Vec::new();
            for row in self.connection.rows(&self.sql.answers, parameters).await? {
                let no = u64::try_from(column::<i64>(&row, 0)?).unwrap_or(0);
                if let Some(outcome) = outcome(column(&row, 1)?, column(&row, 2)?) {
                    answers.push(Answer { publisher, no, outcome });
                }
            }
            Ok(answers)
        })
    }

    fn unsettled<'a>(
        &'a self,
        publisher: Publisher,
        of: Option<(&'a Option<PortalId>, &'a EventToken)>,
        up_to: Number,
    ) -> JournalFuture<'a, u64> {
        Box::pin(async move {
            let activity =
                of.map(|(portal, event_token)| activity_key(portal.as_ref(), event_token));
            let parameters = parameters![
                publisher_key(publisher) => BYTEA,
                activity => BYTEA,
                signed(up_to) => INT8,
            ];
            let rows = self.connection.rows(&self.sql.unsettled, parameters).await?;
            let lines: i64 = column(rows.first().ok_or_else(no_row)?, 0)?;
            Ok(u64::try_from(lines).unwrap_or(0))
        })
    }
}

fn position(id: i64) -> Position {
    Position(u128::try_from(id).unwrap_or(0))
}

fn no_row() -> PgError {
    PgError::Unexpected("no row".to_owned())
}

pub(crate) fn left_alone(portal: Option<&str>, why: Unreadable) -> JournalError {
    let portal = portal.unwrap_or("the default portal");
    format!("lines for {portal} stay in the database, since some of them cannot be read: {why}")
        .into()
}

/// A column with a multirange as text; NULL is the empty one.
fn numbers(row: &Row, n: usize) -> Result<Numbers, PgError> {
    let text: Option<&str> = column(row, n)?;
    text.map_or(Some(Numbers::default()), Numbers::parse)
        .ok_or_else(|| PgError::Unexpected("a multirange of another form".to_owned()))
}

impl fmt::Debug for PgJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgJournal").field("connection", &self.connection).finish_non_exhaustive()
    }
}
