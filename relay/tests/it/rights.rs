//! Tables and rights: who may create the tables, and what the role of the app may do.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use tracing_bizproc::PortalId;
use tracing_bizproc::auth::TokenStore;
use tracing_bizproc::journal::{Answer, Intent, Journal, Memo, Outcome, Publisher, contract};
use tracing_bizproc_relay::{
    Member, Owner, PgConfig, PgError, PgJournal, PgOwnership, PgStore, RelayJournal, Shard,
};

use crate::database::{Database, shown, tokens, wait};

#[test]
fn many_replicas_make_the_tables_at_once() {
    let Some(database) = Database::new() else { return };
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| database.store());
        }
    });
    let versions = "SELECT count(*) FROM bizproc.migrations";
    let steps = database.number(versions);
    assert!(steps >= 1);
    wait(database.store().check()).unwrap();
    assert_eq!(database.number(versions), steps);
}

#[test]
fn tables_of_a_newer_version_are_left_alone() {
    let Some(database) = Database::new() else { return };
    let store = database.store();
    database.sql("INSERT INTO bizproc.migrations (version) VALUES (1000)");
    for answer in [wait(store.migrate()), wait(store.check())] {
        assert!(matches!(answer, Err(PgError::TooNew { found: 1000, .. })));
    }
    database.sql("DELETE FROM bizproc.migrations");
    database.sql("INSERT INTO bizproc.migrations (version) VALUES (0)");
    assert!(matches!(wait(store.check()), Err(PgError::TooOld { found: 0, .. })));
}

/// All SQL in the README under this heading.
fn sql_of_the_readme(heading: &str) -> String {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once(&format!("\n## {heading}\n")).unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("```sql\n").skip(1);
    blocks.map(|block| block.split_once("```").unwrap().0).collect()
}

/// What the README tells an administrator to run, and what the role of the app can do then.
#[test]
fn the_role_of_the_readme_may_use_the_tables_and_nothing_else() {
    let Some(database) = Database::new() else { return };
    let script = sql_of_the_readme("A role with no more rights than it needs");
    // Roles belong to the whole server, which all tests share.
    let role = format!("bizproc_{}", database.name);
    let script = script
        .replace("bizproc_app", &role)
        .replace("DATABASE app", &format!("DATABASE {}", database.name));
    wait(database.store().migrate()).unwrap();
    database.sql(&script);
    // The script runs twice, because an administrator runs it again after an update of the tables.
    database.sql(&script.replace(&format!("CREATE ROLE {role}"), &format!("ALTER ROLE {role}")));
    database.sql("CREATE TABLE public.of_the_app (secret text)");
    // An update from version 4, after which the administrator runs nothing.
    database.sql(
        "DROP TABLE bizproc.intents; DROP INDEX bizproc.chunks_of_portal; \
         DROP FUNCTION bizproc.read_portal; DROP FUNCTION bizproc.bury(smallint[], interval); \
         DROP FUNCTION bizproc.tidy(); DELETE FROM bizproc.migrations WHERE version = 5; \
         DO $$ BEGIN EXECUTE (SELECT 'DROP FUNCTION ' || oid::regprocedure FROM pg_proc \
         WHERE proname = 'intend' AND pronargs = 16); END $$",
    );
    wait(database.store().migrate()).unwrap();

    let password = "a-long-random-password";
    let connection =
        format!("postgres://{role}:{password}@127.0.0.1:{}/{}", database.port(), database.name);
    let store = PgStore::new(PgConfig::parse(&connection).unwrap()).unwrap();
    let portal = PortalId::from("one");
    wait(store.check()).unwrap();
    // The tables are up to date, so no right is needed.
    wait(store.migrate()).unwrap();
    assert!(wait(store.swap(&portal, None, &tokens("old"))).unwrap());
    assert!(wait(store.swap(&portal, Some(&tokens("old")), &tokens("new"))).unwrap());
    assert_eq!(wait(store.load(&portal)).unwrap(), Some(tokens("new")));
    wait(store.remove(&portal)).unwrap();

    let config = || PgConfig::parse(&connection).unwrap();
    let journal = PgJournal::new(config()).unwrap();
    journal.read_shards(Shard::all());
    wait(contract::holds(&journal, &[Publisher(1)], 7, 30));
    wait(journal.evicted(UNIX_EPOCH + Duration::from_secs(4_000_000_000))).unwrap();
    let ownership = PgOwnership::new(config()).unwrap();
    let mut owner = Owner::new(Arc::new(ownership), Member(1));
    #[expect(clippy::disallowed_methods, reason = "a clock to count from")]
    let now = Instant::now();
    assert_eq!(wait(owner.turn(|| now)).unwrap().gained.len(), Shard::COUNT);
    assert!(wait(owner.intend(&[], now)).unwrap().fenced().is_empty());
    let relay = RelayJournal::new(Arc::new(PgJournal::new(config()).unwrap()), &owner);
    relay.activate(owner.leases().claims());
    let memos = vec![Memo { key: 1, value: vec![2] }];
    let intent = Intent { portal: Some(portal.clone()), marks: Vec::new(), memos };
    assert!(wait(relay.intend(&[intent])).unwrap()[0].is_some());
    assert_eq!(wait(relay.memos(&Some(portal))).unwrap().len(), 1);
    let answer = Answer { publisher: Publisher(1), no: 1, outcome: Outcome::Accepted };
    wait(relay.answer(std::slice::from_ref(&answer))).unwrap();
    assert_eq!(wait(relay.answers(Publisher(1), &[1])).unwrap(), [answer]);
    assert_eq!(wait(relay.unsettled(Publisher(1), None, 1)).unwrap(), 0);
    wait(owner.leave()).unwrap();

    let denied = |statement: &str| {
        wait(async {
            let (client, connection) =
                tokio_postgres::connect(&connection, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            let error = client.batch_execute(statement).await.unwrap_err();
            assert_eq!(error.code().unwrap().code(), "42501", "{statement}");
        });
    };
    denied("CREATE TABLE bizproc.more (id int)");
    denied("DROP TABLE bizproc.tokens");
    denied("TRUNCATE bizproc.chunks");
    denied("TRUNCATE bizproc.tokens");
    denied("INSERT INTO bizproc.migrations (version) VALUES (7)");
    denied("SELECT * FROM public.of_the_app");
    denied("CREATE SCHEMA other");

    let other = PgConfig::parse(&connection).unwrap().schema("other").unwrap();
    let error = wait(PgStore::new(other).unwrap().migrate()).unwrap_err();
    assert!(shown(&error.into()).contains("42501"));
}
