//! Creates and changes the tables step by step. Each step is applied once.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::connection::{Connection, Failure};
use crate::error::PgError;

/// The steps. Each step is applied once, in this order. A step is never changed after a release: every change is a
/// new step. `{schema}` is the schema's name.
const STEPS: &[&str] = &[
    include_str!("migrate/0001_portals.sql"),
    include_str!("migrate/0002_journal.sql"),
    include_str!("migrate/0003_shards.sql"),
    include_str!("migrate/0004_relays.sql"),
    include_str!("migrate/0005_clocks_and_order.sql"),
];

/// The version of the tables after all steps.
#[expect(clippy::cast_possible_truncation, reason = "a few steps")]
const NEWEST: i32 = STEPS.len() as i32;

/// Puts the schema's name into a statement.
pub(crate) fn in_schema(statement: &str, schema: &str) -> String {
    statement.replace("{schema}", schema)
}

/// Brings the tables to the newest version. Any number of processes may do it at the same time.
pub(crate) async fn migrate(connection: &Connection) -> Result<(), PgError> {
    let schema = connection.schema().to_owned();
    connection.run_within(PATIENCE, move |client, _| apply(client, schema.clone())).await
}

/// A step may have to change large tables.
const PATIENCE: Duration = Duration::from_secs(300);

/// Whether the tables have the version that this program needs.
pub(crate) async fn check(connection: &Connection) -> Result<(), PgError> {
    let schema = connection.schema().to_owned();
    connection
        .run(move |client, _| {
            let schema = schema.clone();
            async move {
                match version(&client, &schema).await? {
                    Some(found) if found > NEWEST => {
                        Err(PgError::TooNew { found, known: NEWEST }.into())
                    }
                    Some(found) if found < NEWEST => {
                        Err(PgError::TooOld { found, needed: NEWEST }.into())
                    }
                    Some(_) => Ok(()),
                    None => Err(PgError::NotMigrated(schema).into()),
                }
            }
        })
        .await
}

/// All in one transaction, sent as one text: it is applied whole, or not at all.
async fn apply(client: Arc<Client>, schema: String) -> Result<(), Failure> {
    let found = version(&client, &schema).await?;
    if let Some(found) = found.filter(|found| *found > NEWEST) {
        return Err(PgError::TooNew { found, known: NEWEST }.into());
    }
    if found == Some(NEWEST) {
        return Ok(());
    }
    let mut script = String::from("BEGIN;\n");
    script.push_str(&in_schema(LOCK, &schema));
    // `CREATE SCHEMA` needs a right even if the schema exists, and the owner of the schema may not have it.
    if !has_schema(&client, &schema).await? {
        script.push_str(&in_schema("CREATE SCHEMA IF NOT EXISTS {schema};\n", &schema));
    }
    script.push_str(&in_schema(VERSIONS, &schema));
    for (version, step) in (1..).zip(STEPS) {
        // The version is read while the lock is held: another process may have been faster.
        let step = in_schema(step, &schema);
        script.push_str(&format!(
            "DO $step$ BEGIN\n\
             IF NOT EXISTS (SELECT FROM {schema}.migrations WHERE version = {version}) THEN\n\
             {step}\n\
             INSERT INTO {schema}.migrations (version) VALUES ({version});\n\
             END IF; END $step$;\n"
        ));
    }
    script.push_str("COMMIT;");
    if let Err(error) = client.batch_execute(&script).await {
        // Ends the transaction in any case.
        client.batch_execute("ROLLBACK").await?;
        return Err(error.into());
    }
    Ok(())
}

/// Every process that creates tables in this schema waits for this lock.
const LOCK: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended('tracing-bizproc.{schema}', 0));\n";

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS {schema}.migrations (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
";

async fn has_schema(client: &Client, schema: &str) -> Result<bool, Failure> {
    let found = client
        .query_typed("SELECT FROM pg_namespace WHERE nspname = $1", &[(&schema, Type::NAME)])
        .await?;
    Ok(!found.is_empty())
}

/// The version of the tables. `None`: there are no tables.
async fn version(client: &Client, schema: &str) -> Result<Option<i32>, Failure> {
    let there = "SELECT to_regclass($1) IS NOT NULL";
    let table = format!("{schema}.migrations");
    let row = client.query_typed_one(there, &[(&table, Type::TEXT)]).await?;
    if !row.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let newest = in_schema("SELECT max(version) FROM {schema}.migrations", schema);
    Ok(client.query_typed_one(&newest, &[]).await?.try_get(0)?)
}
