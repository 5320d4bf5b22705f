//! Leases on shards, in PostgreSQL.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio_postgres::Row;
use tracing_bizproc::journal::Intent;

use super::{Claim, Epoch, Member, Ownership, OwnershipFuture};
use crate::config::PgConfig;
use crate::connection::{Connection, Parameters, column, parameters};
use crate::error::PgError;
use crate::journal::{MarkRows, MemoRows, Steps};
use crate::migrate::{self, in_schema};
use crate::shard::Shard;

/// An [`Ownership`] in the database that holds the journal. Only the clock of the database decides whether a lease
/// has run out. Members only measure how long ago they asked.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use std::sync::Arc;
/// use std::time::Instant;
/// use tracing_bizproc_relay::{Member, Owner, PgConfig, PgOwnership};
///
/// let ownership = PgOwnership::new(PgConfig::from_env()?)?;
/// ownership.migrate().await?;
/// // A number that no other run has.
/// let mut owner = Owner::new(Arc::new(ownership), Member(0x5e4a_7712_3456_78c0));
/// let change = owner.turn(Instant::now).await?;
/// assert!(change.lost.is_empty());
/// # Ok(()) }
/// ```
pub struct PgOwnership {
    connection: Connection,
    sql: Sql,
    lease: Duration,
    /// Names the sender of the intents that are stored here.
    sender: Vec<u8>,
    /// The number of the last intent that was sent.
    sent: Arc<AtomicI64>,
}

struct Sql {
    join: Arc<str>,
    leave: Arc<str>,
    acquire: Arc<str>,
    renew: Arc<str>,
    release: Arc<str>,
    intend: Arc<str>,
}

impl PgOwnership {
    /// Starts its thread. It has a connection of its own, so that renewals do not wait for lines. It connects at
    /// the first call.
    ///
    /// # Errors
    /// [`PgError::Tls`] and [`PgError::Thread`].
    pub fn new(config: PgConfig) -> Result<Self, PgError> {
        let lease = Duration::from_secs(3);
        // A later answer is of no use.
        let timeout = config.call_timeout().min(lease);
        let connection = Connection::new(config.timeout(timeout))?;
        let with_names = |statement| Arc::from(in_schema(statement, connection.schema()));
        let sql = Sql {
            join: with_names("SELECT {schema}.join_members($1, $2 * interval '1 second')"),
            leave: with_names("SELECT {schema}.leave_members($1)"),
            acquire: with_names("SELECT * FROM {schema}.acquire($1, $2 * interval '1 second', $3)"),
            renew: with_names("SELECT * FROM {schema}.renew($1, $2 * interval '1 second', $3, $4)"),
            release: with_names("SELECT {schema}.release($1, $2, $3)"),
            intend: with_names(
                "SELECT {schema}.intend($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
            ),
        };
        let sender = Member::random().0.to_be_bytes().to_vec();
        Ok(PgOwnership { sql, connection, lease, sender, sent: Arc::default() })
    }

    /// Makes the tables, as [`PgStore::migrate`](crate::PgStore::migrate) does.
    ///
    /// # Errors
    /// [`PgError`].
    pub async fn migrate(&self) -> Result<(), PgError> {
        migrate::migrate(&self.connection).await
    }

    async fn claims(
        &self,
        statement: &Arc<str>,
        parameters: Parameters,
    ) -> Result<Vec<Claim>, PgError> {
        let rows = self.connection.rows(statement, parameters).await?;
        rows.iter().map(claim).collect()
    }
}

impl Ownership for PgOwnership {
    fn lease(&self) -> Duration {
        self.lease
    }

    fn join<'a>(&'a self, me: Member) -> OwnershipFuture<'a, usize> {
        Box::pin(async move {
            let parameters = parameters![key(me) => BYTEA, self.lease.as_secs_f64() => FLOAT8];
            let rows = self.connection.rows(&self.sql.join, parameters).await?;
            let members: i64 = rows.first().map_or(Ok(1), |row| column(row, 0))?;
            Ok(usize::try_from(members).unwrap_or(1))
        })
    }

    fn leave<'a>(&'a self, me: Member) -> OwnershipFuture<'a, ()> {
        Box::pin(async move {
            self.connection.rows(&self.sql.leave, parameters![key(me) => BYTEA]).await?;
            Ok(())
        })
    }

    fn acquire<'a>(&'a self, me: Member, most: usize) -> OwnershipFuture<'a, Vec<Claim>> {
        Box::pin(async move {
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let parameters =
                parameters![key(me) => BYTEA, self.lease.as_secs_f64() => FLOAT8, most => INT8];
            Ok(self.claims(&self.sql.acquire, parameters).await?)
        })
    }

    fn renew<'a>(&'a self, me: Member, claims: &'a [Claim]) -> OwnershipFuture<'a, Vec<Claim>> {
        Box::pin(async move {
            let (shards, epochs) = columns(claims);
            let parameters = parameters![
                key(me) => BYTEA,
                self.lease.as_secs_f64() => FLOAT8,
                shards => INT2_ARRAY,
                epochs => INT8_ARRAY,
            ];
            Ok(self.claims(&self.sql.renew, parameters).await?)
        })
    }

    fn release<'a>(&'a self, me: Member, claims: &'a [Claim]) -> OwnershipFuture<'a, ()> {
        Box::pin(async move {
            let (shards, epochs) = columns(claims);
            let parameters =
                parameters![key(me) => BYTEA, shards => INT2_ARRAY, epochs => INT8_ARRAY];
            self.connection.rows(&self.sql.release, parameters).await?;
            Ok(())
        })
    }

    fn intend<'a>(
        &'a self,
        me: Member,
        claims: &'a [Claim],
        intents: &'a [Intent],
    ) -> OwnershipFuture<'a, Vec<Shard>> {
        Box::pin(async move {
            let (shards, epochs) = columns(claims);
            let given = || intents.iter().flat_map(|intent| &intent.marks);
            let marks = MarkRows::of(given());
            let Steps { steps, returned } = Steps::of(given(), &marks);
            let memos = MemoRows::of(intents);
            let parameters = parameters![
                self.sender.clone() => BYTEA,
                key(me) => BYTEA,
                shards => INT2_ARRAY,
                epochs => INT8_ARRAY,
                marks.shards => INT2_ARRAY,
                marks.publishers => BYTEA_ARRAY,
                marks.activities => BYTEA_ARRAY,
                marks.firsts => INT8_ARRAY,
                marks.lasts => INT8_ARRAY,
                steps => INT2_ARRAY,
                returned => BOOL_ARRAY,
                memos.shards => INT2_ARRAY,
                memos.portals => TEXT_ARRAY,
                memos.keys => BYTEA_ARRAY,
                memos.contents => BYTEA_ARRAY,
            ];
            // The database may execute a call late that was given up or repeated here. With the numbers, it then has no
            // effect.
            let rows = self.connection.numbered_rows(&self.sql.intend, &self.sent, parameters);
            let rows = rows.await?;
            let row = rows.first().ok_or_else(|| PgError::Unexpected("no row".to_owned()))?;
            let fenced: Vec<i16> = column(row, 0)?;
            Ok(fenced.into_iter().filter_map(Shard::from_number).collect())
        })
    }
}

fn key(member: Member) -> Vec<u8> {
    member.0.to_be_bytes().to_vec()
}

fn columns(claims: &[Claim]) -> (Vec<i16>, Vec<i64>) {
    let epoch = |claim: &Claim| i64::try_from(claim.epoch.0).unwrap_or(i64::MAX);
    claims.iter().map(|claim| (claim.shard.number(), epoch(claim))).unzip()
}

fn claim(row: &Row) -> Result<Claim, PgError> {
    let (shard, epoch): (i16, i64) = (column(row, 0)?, column(row, 1)?);
    let other = || PgError::Unexpected("a shard with another number".to_owned());
    let shard = Shard::from_number(shard).ok_or_else(other)?;
    Ok(Claim { shard, epoch: Epoch(u64::try_from(epoch).unwrap_or(0)) })
}

impl fmt::Debug for PgOwnership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgOwnership").field("connection", &self.connection).finish_non_exhaustive()
    }
}
