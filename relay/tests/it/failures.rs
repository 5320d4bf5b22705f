//! The database cannot be reached, is slow, or answers too late.

use std::time::Duration;

use bizproc_test_postgres::{PASSWORD, Postgres};
use tracing_bizproc::PortalId;
use tracing_bizproc::app::{Installation, InstallationStore};
use tracing_bizproc::auth::{Hosts, TokenStore};
use tracing_bizproc_relay::{PgConfig, PgError, PgStore};

use crate::database::{Database, shown, tokens, wait};
use crate::proxy::{Fault, Proxy};

fn by_tcp(database: &Database, ports: &[u16]) -> PgConfig {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let name = &database.name;
    PgConfig::parse(&format!("postgres://postgres:{PASSWORD}@{}/{name}", hosts.join(","))).unwrap()
}

fn through(proxy: &Proxy, database: &Database) -> PgStore {
    let store = PgStore::new(by_tcp(database, &[proxy.port()])).unwrap();
    wait(store.migrate()).unwrap();
    store
}

#[test]
fn a_connection_that_was_cut_is_made_again() {
    let Some(database) = Database::new() else { return };
    let store = database.store();
    let portal = PortalId::from("one");
    for n in 0..5 {
        database.cut_connections();
        let expected = (n > 0).then(|| tokens(&n.to_string()));
        let new = tokens(&(n + 1).to_string());
        assert!(wait(store.swap(&portal, expected.as_ref(), &new)).unwrap());
    }
}

/// The pair was stored, and the answer was lost. The second try finds the new pair in the table. If it returned
/// `false`, the app would believe that another replica was faster, and would drop the new pair.
#[test]
fn a_swap_whose_answer_was_lost_is_recognised_as_done() {
    let Some(database) = Database::new() else { return };
    let proxy = Proxy::to(database.port());
    let store = through(&proxy, &database);
    let portal = PortalId::from("one");
    assert!(wait(store.swap(&portal, None, &tokens("old"))).unwrap());
    // The answers to the first and to the second statement.
    for (lost, name) in ["one", "two"].into_iter().enumerate() {
        let before = wait(store.load(&portal)).unwrap();
        let connections = proxy.connections();
        proxy.fault(Fault::LoseAnswer);
        assert!(wait(store.swap(&portal, before.as_ref(), &tokens(name))).unwrap(), "{lost}");
        assert_eq!(wait(store.load(&portal)).unwrap(), Some(tokens(name)));
        assert_eq!(proxy.connections(), connections + 1);
    }
    let installation = Installation::new("s3cret", Hosts::from(["a.example"]));
    proxy.fault(Fault::LoseAnswer);
    assert!(wait(store.swap_installation(&portal, None, Some(&installation))).unwrap());
    proxy.fault(Fault::LoseAnswer);
    assert!(wait(store.swap_installation(&portal, Some(&installation), None)).unwrap());
    assert_eq!(wait(store.installation(&portal)).unwrap(), None);
}

#[test]
fn a_silent_database_is_an_error_in_time_and_later_calls_work() {
    let Some(database) = Database::new() else { return };
    let proxy = Proxy::to(database.port());
    let portal = PortalId::from("one");
    wait(through(&proxy, &database).check()).unwrap();
    let limit = Duration::from_secs(3);
    let store = PgStore::new(by_tcp(&database, &[proxy.port()]).timeout(limit)).unwrap();
    wait(store.check()).unwrap();
    proxy.fault(Fault::Silence);
    let error = wait(store.load(&portal)).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(PgError::Timeout(time)) if *time == limit));
    proxy.fault(Fault::None);
    assert_eq!(wait(store.load(&portal)).unwrap(), None);
}

#[test]
fn while_the_server_is_away_calls_fail_and_then_work_again() {
    let Some(server) = Postgres::start_or_skip(&[]) else { return };
    let config = PgConfig::parse(&server.tcp("postgres")).unwrap();
    let store = PgStore::new(config).unwrap();
    wait(store.migrate()).unwrap();
    let portal = PortalId::from("one");
    assert!(wait(store.swap(&portal, None, &tokens("kept"))).unwrap());
    server.crash();
    // Calls that wait share the result.
    let (one, two) = wait(async { tokio::join!(store.load(&portal), store.load(&portal)) });
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert!(matches!(error.downcast_ref(), Some(PgError::Connect(_))), "{error}");
        assert!(!shown(&error).contains(PASSWORD), "{error}");
    }
    server.resume().unwrap();
    assert_eq!(wait(store.load(&portal)).unwrap(), Some(tokens("kept")));
}

#[test]
fn the_next_host_is_used_when_one_cannot_be_reached() {
    let Some(database) = Database::new() else { return };
    let (first, second) = (Proxy::to(database.port()), Proxy::to(database.port()));
    let config = by_tcp(&database, &[first.port(), second.port()]);
    let store = PgStore::new(config).unwrap();
    wait(store.migrate()).unwrap();
    let portal = PortalId::from("one");
    assert!(wait(store.swap(&portal, None, &tokens("old"))).unwrap());
    assert_eq!((first.connections(), second.connections()), (1, 0));
    first.fault(Fault::Refuse);
    database.cut_connections();
    assert!(wait(store.swap(&portal, Some(&tokens("old")), &tokens("new"))).unwrap());
    assert_eq!((first.connections(), second.connections()), (1, 1));
}

/// After a failover, the old primary may be a standby, which answers but refuses writes.
#[test]
fn a_read_only_server_is_not_used_any_more() {
    let Some(database) = Database::new() else { return };
    let proxy = Proxy::to(database.port());
    let store = through(&proxy, &database);
    let portal = PortalId::from("one");
    let connections = proxy.connections();
    let name = &database.name;
    database.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    database.cut_connections();
    let error = wait(store.swap(&portal, None, &tokens("new"))).unwrap_err();
    assert!(shown(&error).contains("25006") && !shown(&error).contains("s3cret"), "{error}");
    assert!(proxy.connections() > connections + 1, "it is asked again over another one");
    database.sql(&format!(
        "BEGIN READ WRITE; ALTER DATABASE {name} SET default_transaction_read_only = off; COMMIT"
    ));
    assert!(wait(store.swap(&portal, None, &tokens("new"))).unwrap());
}

#[test]
fn errors_say_what_to_do_and_hold_no_secret() {
    let Some(database) = Database::new() else { return };
    let portal = PortalId::from("one");
    let no_tables = PgStore::new(database.config()).unwrap();
    let error = wait(no_tables.swap(&portal, None, &tokens("new"))).unwrap_err();
    assert!(shown(&error).contains("bizproc-relay migrate") && !shown(&error).contains("s3cret"));
    assert!(
        matches!(wait(no_tables.check()), Err(PgError::NotMigrated(schema)) if schema == "bizproc")
    );

    let port = database.port();
    for (connection, said, advice) in [
        (format!("postgres://postgres:s3cret@127.0.0.1:{port}/postgres"), "28P01", "the password"),
        (format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/none"), "3D000", "create the"),
        ("postgres://postgres:s3cret@127.0.0.1:1/postgres".to_owned(), "refused", "host and port"),
        (format!("postgres://postgres@127.0.0.1:{port}/postgres"), "missing", "put the password"),
        (
            format!("postgres://postgres:s3cret@127.0.0.1:{port}/postgres?sslmode=require"),
            "does not support TLS",
            "switch on `ssl`",
        ),
    ] {
        let store = PgStore::new(PgConfig::parse(&connection).unwrap()).unwrap();
        let error = wait(store.load(&portal)).unwrap_err();
        let shown = format!("{} {store:?}", shown(&error));
        assert!(shown.contains(said) && shown.contains(advice), "{shown}");
        assert!(!shown.contains("s3cret") && !shown.contains(PASSWORD), "{shown}");
    }
}
