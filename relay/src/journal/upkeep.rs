//! Calls for operators: the state of a journal, and its dead letters.

use std::time::{Duration, SystemTime};

use tracing_bizproc::PortalId;

use super::PgJournal;
use crate::connection::{column, parameters};
use crate::error::PgError;
use crate::migrate::in_schema;
use crate::ownership::Member;

/// The contents of the journal, for all portals and all shards.
///
/// ```no_run
/// use std::time::Duration;
/// use tracing_bizproc_relay::{PgError, PgJournal};
///
/// async fn is_late(journal: &PgJournal) -> Result<bool, PgError> {
///     let backlog = journal.backlog().await?;
///     // Lines wait for their schedule up to ten minutes by default.
///     Ok(backlog.oldest.is_some_and(|oldest| oldest > Duration::from_secs(900)))
/// }
/// # drop(is_late);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Chunks that are not settled: rows of the table.
    pub chunks: u64,
    /// Lines in these chunks. If a part of a chunk is settled, all its lines are counted nevertheless.
    pub lines: u64,
    /// The age of the oldest chunk since it was appended, by the clock of the database. `None`: there is no chunk.
    pub oldest: Option<Duration>,
    /// Chunks that were given up, and are still kept.
    pub dead_chunks: u64,
    /// Lines in them.
    pub dead_lines: u64,
}

/// The contents of the journal for one portal.
///
/// ```no_run
/// use tracing_bizproc_relay::{PgError, PgJournal};
///
/// async fn print(journal: &PgJournal) -> Result<(), PgError> {
///     for waiting in journal.oldest_portals(10).await? {
///         let name = waiting.portal.as_ref().map_or("-", |portal| portal.as_str());
///         println!("{name}: {} lines, {:?}", waiting.lines, waiting.oldest);
///     }
///     Ok(())
/// }
/// # drop(print);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortalBacklog {
    /// `None`: the default portal.
    pub portal: Option<PortalId>,
    /// Chunks that are not settled.
    pub chunks: u64,
    /// Lines in them.
    pub lines: u64,
    /// The age of the oldest chunk since it was appended.
    pub oldest: Duration,
}

/// A relay, and how many shards it owns.
///
/// ```no_run
/// use tracing_bizproc_relay::{PgError, PgJournal};
///
/// async fn without_a_relay(journal: &PgJournal) -> Result<u64, PgError> {
///     let owners = journal.owners().await?;
///     let idle = owners.iter().filter(|owner| owner.member.is_none() || owner.lasts.is_zero());
///     Ok(idle.map(|owner| owner.shards).sum())
/// }
/// # drop(without_a_relay);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedBy {
    /// The relay. `None`: nobody owns these shards.
    pub member: Option<Member>,
    /// How many shards.
    pub shards: u64,
    /// The remaining time of its lease, by the clock of the database. Zero: it has run out.
    pub lasts: Duration,
}

/// A chunk that was given up because it was too old. Its contents are not shown, because they are secrets.
///
/// ```no_run
/// use std::time::Duration;
/// use tracing_bizproc_relay::{PgError, PgJournal};
///
/// /// Puts back what was given up in the last hour.
/// async fn retry(journal: &PgJournal) -> Result<(), PgError> {
///     for letter in journal.dead_letters(None, 0, 1_000).await? {
///         if letter.died_at.elapsed().is_ok_and(|age| age < Duration::from_secs(3_600)) {
///             journal.requeue(None, Some(letter.id)).await?;
///         }
///     }
///     Ok(())
/// }
/// # drop(retry);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its number. Use it to put the chunk back.
    pub id: u64,
    /// `None`: the default portal.
    pub portal: Option<PortalId>,
    /// How many lines it has. 0: the end of an activity, or a notice of missing lines.
    pub lines: u64,
    /// When the first line was logged.
    pub logged_at: SystemTime,
    /// When it was given up. It is kept for seven days after that.
    pub died_at: SystemTime,
}

impl PgJournal {
    /// Returns how much is in the journal. Reads the whole table of chunks, so do not call it more often than
    /// every few seconds.
    ///
    /// # Errors
    /// [`PgError`].
    pub async fn backlog(&self) -> Result<Backlog, PgError> {
        let sql = self.sql_of(
            "SELECT count(*), coalesce(sum(lines), 0)::bigint,
                extract(epoch FROM clock_timestamp() - min(appended_at))::float8,
                (SELECT count(*) FROM {schema}.dead),
                (SELECT coalesce(sum(lines), 0)::bigint FROM {schema}.dead)
            FROM {schema}.chunks",
        );
        let rows = self.connection.rows(&sql, parameters![]).await?;
        let row = rows.first().ok_or_else(super::no_row)?;
        Ok(Backlog {
            chunks: count(column(row, 0)?),
            lines: count(column(row, 1)?),
            oldest: column::<Option<f64>>(row, 2)?.map(seconds),
            dead_chunks: count(column(row, 3)?),
            dead_lines: count(column(row, 4)?),
        })
    }

    /// The portals with the oldest chunks: at most this number of portals.
    ///
    /// # Errors
    /// [`PgError`].
    pub async fn oldest_portals(&self, most: u32) -> Result<Vec<PortalBacklog>, PgError> {
        let sql = self.sql_of(
            "SELECT portal, count(*), sum(lines)::bigint,
                extract(epoch FROM clock_timestamp() - min(appended_at))::float8
            FROM {schema}.chunks GROUP BY portal ORDER BY min(appended_at) LIMIT $1",
        );
        let rows = self.connection.rows(&sql, parameters![i64::from(most) => INT8]).await?;
        let portal = |row| {
            Ok(PortalBacklog {
                portal: column::<Option<String>>(row, 0)?.map(PortalId::from),
                chunks: count(column(row, 1)?),
                lines: count(column(row, 2)?),
                oldest: seconds(column(row, 3)?),
            })
        };
        rows.iter().map(portal).collect()
    }

    /// How many shards each relay owns.
    ///
    /// # Errors
    /// [`PgError`].
    pub async fn owners(&self) -> Result<Vec<OwnedBy>, PgError> {
        let sql = self.sql_of(
            "SELECT s.owner, count(*),
                coalesce(extract(epoch FROM min(s.until) - clock_timestamp()), 0)::float8
            FROM (
                SELECT owner, CASE WHEN owner IS NULL THEN NULL ELSE until END FROM {schema}.shards
            ) s (owner, until)
            GROUP BY s.owner ORDER BY 2 DESC, 1",
        );
        let rows = self.connection.rows(&sql, parameters![]).await?;
        let owner = |row| {
            let member: Option<&[u8]> = column(row, 0)?;
            let other = || PgError::Unexpected("a member of another length".to_owned());
            let member = member
                .map(|key| key.try_into().map(u128::from_be_bytes).map_err(|_| other()))
                .transpose()?;
            Ok(OwnedBy {
                member: member.map(Member),
                shards: count(column(row, 1)?),
                lasts: seconds(column(row, 2)?),
            })
        };
        rows.iter().map(owner).collect()
    }

    /// Returns how many chunks are not settled, and the `up_to` for the next call. With `up_to` from an earlier
    /// answer, only chunks are counted that were in the journal at the time of that answer. With `None`, all
    /// chunks are counted.
    ///
    /// # Errors
    /// [`PgError`].
    pub async fn left_of(&self, up_to: Option<u64>) -> Result<(u64, u64), PgError> {
        let sql = self.sql_of(
            "SELECT count(*), coalesce($1, max(id), 0) FROM {schema}.chunks
            WHERE $1 IS NULL OR id <= $1",
        );
        let up_to = up_to.map(|id| i64::try_from(id).unwrap_or(i64::MAX));
        let rows = self.connection.rows(&sql, parameters![up_to => INT8]).await?;
        let row = rows.first().ok_or_else(super::no_row)?;
        Ok((count(column(row, 0)?), count(column(row, 1)?)))
    }

    /// Chunks that were given up, oldest first: of one portal (`Some(None)`: the default portal) or of all
    /// portals, after the number `after`, and at most as many as asked for.
    ///
    /// # Errors
    /// [`PgError`].
    pub async fn dead_letters(
        &self,
        portal: Option<Option<&PortalId>>,
        after: u64,
        most: u32,
    ) -> Result<Vec<DeadLetter>, PgError> {
        let sql = self.sql_of(
            "SELECT id, portal, lines::bigint, logged_at, died_at FROM {schema}.dead
            WHERE ($1 OR portal IS NOT DISTINCT FROM $2) AND id > $3 ORDER BY id LIMIT $4",
        );
        let name = portal.flatten().map(|portal| portal.as_str().to_owned());
        let parameters = parameters![
            portal.is_none() => BOOL,
            name => TEXT,
            i64::try_from(after).unwrap_or(i64::MAX) => INT8,
            i64::from(most) => INT8,
        ];
        let rows = self.connection.rows(&sql, parameters).await?;
        let letter = |row| {
            Ok(DeadLetter {
                id: count(column(row, 0)?),
                portal: column::<Option<String>>(row, 1)?.map(PortalId::from),
                lines: count(column(row, 2)?),
                logged_at: column(row, 3)?,
                died_at: column(row, 4)?,
            })
        };
        rows.iter().map(letter).collect()
    }

    /// Puts back chunks that were given up, after everything else, as if they were appended now: those of one
    /// portal, those of all portals, or only the chunk with this number. Returns how many chunks and lines were
    /// put back. The journal still knows which of the lines may be in the log already.
    ///
    /// # Errors
    /// [`PgError`]. Then either all chunks were put back, or none.
    pub async fn requeue(
        &self,
        portal: Option<Option<&PortalId>>,
        id: Option<u64>,
    ) -> Result<(u64, u64), PgError> {
        let sql = self.sql_of("SELECT * FROM {schema}.requeue($1, $2, $3, $4)");
        let name = portal.flatten().map(|portal| portal.as_str().to_owned());
        let only = id.map(|id| i64::try_from(id).unwrap_or(i64::MAX));
        let parameters = parameters![
            portal.is_none() => BOOL,
            name => TEXT,
            only.unwrap_or(0) => INT8,
            only.unwrap_or(i64::MAX) => INT8,
        ];
        let rows = self.connection.rows(&sql, parameters).await?;
        let row = rows.first().ok_or_else(super::no_row)?;
        Ok((count(column(row, 0)?), count(column(row, 1)?)))
    }

    fn sql_of(&self, statement: &str) -> std::sync::Arc<str> {
        in_schema(statement, self.connection.schema()).into()
    }
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
