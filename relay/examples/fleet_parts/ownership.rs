//! The history of owners of the shards in the database. A trigger of the test records it.

use std::error::Error;

use bizproc_campaign::Moment;
use tokio::runtime::Runtime;
use tokio_postgres::{NoTls, SimpleQueryMessage};
use tracing_bizproc_relay::{PgConfig, PgStore};

use super::owners::Taken;

/// Creates the tables of the relay.
pub(crate) fn migrate(connection: &str) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = PgStore::new(PgConfig::parse(connection)?)?;
    runtime.block_on(store.migrate())?;
    Ok(())
}

/// The history of owners, and the rest of the journal.
pub(crate) struct Watcher {
    runtime: Runtime,
    connection: String,
}

impl Watcher {
    /// Starts to record. The tables of the relay must exist.
    pub(crate) fn start(connection: String) -> Result<Watcher, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let watcher = Watcher { runtime, connection };
        watcher.query(AUDIT)?;
        Ok(watcher)
    }

    /// All changes of owners, in their order.
    pub(crate) fn history(&self) -> Result<Vec<Taken>, Box<dyn Error>> {
        let rows = self.query("SELECT shard, encode(owner, 'hex'), at FROM watched ORDER BY no")?;
        let taken = |row: &Vec<Option<String>>| -> Option<Taken> {
            let [shard, member, at] = &row[..] else { return None };
            let member = member.as_deref().map(|hex| u128::from_str_radix(hex, 16));
            let at: Moment = at.as_deref()?.parse().ok()?;
            Some(Taken {
                shard: shard.as_deref()?.parse().ok()?,
                member: member.transpose().ok()?,
                at,
            })
        };
        let history: Option<Vec<Taken>> = rows.iter().map(taken).collect();
        history.ok_or_else(|| "the history of owners cannot be read".into())
    }

    /// How many chunks are not settled.
    pub(crate) fn left(&self) -> Result<u64, Box<dyn Error>> {
        let rows = self.query("SELECT count(*) FROM bizproc.chunks")?;
        let count = rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok());
        count.ok_or_else(|| "the journal cannot be counted".into())
    }

    fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Box<dyn Error>> {
        self.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.connection, NoTls).await?;
            let driving = tokio::spawn(connection);
            let mut rows = Vec::new();
            for message in client.simple_query(sql).await? {
                if let SimpleQueryMessage::Row(row) = message {
                    rows.push((0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect());
                }
            }
            drop(client);
            driving.await??;
            Ok(rows)
        })
    }
}

/// `renew` does not change the owner, so it costs nothing.
const AUDIT: &str = "
CREATE TABLE watched (
    no bigserial PRIMARY KEY, shard smallint NOT NULL, owner bytea, at bigint NOT NULL
);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO watched (shard, owner, at)
    VALUES (NEW.shard, NEW.owner, (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint);
    RETURN NEW;
END
$$;
CREATE TRIGGER watch AFTER UPDATE OF owner ON bizproc.shards FOR EACH ROW
WHEN (OLD.owner IS DISTINCT FROM NEW.owner OR OLD.epoch <> NEW.epoch) EXECUTE FUNCTION watch();
";
