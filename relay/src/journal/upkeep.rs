//! What an operator asks a journal, and does to it.

use std::time::{Duration, SystemTime};

use tracing_bizproc::PortalId;

use super::PgJournal;
use crate::connection::{column, parameters};
use crate::error::PgError;
use crate::migrate::in_schema;
use crate::ownership::Member;

/// What is in the journal, of all portals and all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Chunks that are not settled: rows of the table.
    pub chunks: u64,
    /// Lines in them. Of a chunk of which a part is settled, all lines are counted.
    pub lines: u64,
    /// How long ago the oldest of them was appended, by the clock of the database. `None`: there is none.
    pub oldest: Option<Duration>,
    /// Chunks that were given up, and are still kept.
    pub dead_chunks: u64,
    /// Lines in them.
    pub dead_lines: u64,
}

/// What is in the journal for one portal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortalBacklog {
    /// `None`: the default portal.
    pub portal: Option<PortalId>,
    /// Chunks that are not settled.
    pub chunks: u64,
    /// Lines in them.
    pub lines: u64,
    /// How long ago the oldest of them was appended.
    pub oldest: Duration,
}

/// A relay, and how much it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedBy {
    /// Who. `None`: nobody owns them.
    pub member: Option<Member>,
    /// How many shards.
    pub shards: u64,
    /// For how long its lease still lasts, by the clock of the database. Zero: it has run out.
    pub lasts: Duration,
}

/// A chunk that was given up because it was too old. Without its contents, which are secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its number, by which it can be put back.
    pub id: u64,
    /// `None`: the default portal.
    pub portal: Option<PortalId>,
    /// How many lines it has. 0: the end of an activity, or a notice of missing lines.
    pub lines: u64,
    /// When the first of them was logged.
    pub logged_at: SystemTime,
    /// When it was given up. It is kept for seven days from then on.
    pub died_at: SystemTime,
}

impl PgJournal {
    /// What is in the journal. Reads the whole table of chunks, so do not ask more often than every few
    /// seconds.
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

    /// The portals with the oldest chunks, at most so many.
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

    /// Who owns how many shards.
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

    /// How many chunks that were in the journal at the time of the answer `up_to` are not settled, and what
    /// to ask with the next time. With `None`: all that there are now.
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

    /// Chunks that were given up, from the oldest: of one portal (`Some(None)`: the default one) or of all,
    /// after this number, at most so many.
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

    /// Puts chunks that were given up back, behind everything else, as if they were appended now: of one
    /// portal or of all, or only the one with this number. Returns how many chunks and lines. Lines that may
    /// stand in the log already are still known as such.
    ///
    /// # Errors
    /// [`PgError`]. Then none was put back, or all were.
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
