//! Tokens and installations that several processes share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use tracing_bizproc::PortalId;
use tracing_bizproc::app::{Installation, InstallationStore};
use tracing_bizproc::auth::{Hosts, TokenStore};

use crate::database::{Database, shown, tokens, wait};

fn installation(name: &str) -> Installation {
    Installation::new(format!("s3cret-{name}"), Hosts::from(["a.example"]))
}

#[test]
fn a_pair_is_stored_only_over_the_one_it_replaces() {
    let Some(database) = Database::new() else { return };
    let (store, other) = (database.store(), database.store());
    let (one, two) = (PortalId::from("one"), PortalId::from("two"));
    let (old, new) = (tokens("old"), tokens("new"));
    assert_eq!(wait(store.load(&one)).unwrap(), None);
    assert!(!wait(store.swap(&one, Some(&old), &new)).unwrap());
    assert!(wait(store.swap(&one, None, &old)).unwrap());
    assert!(!wait(other.swap(&one, None, &new)).unwrap());
    assert!(wait(other.swap(&one, Some(&old), &new)).unwrap());
    assert!(!wait(store.swap(&one, Some(&old), &old)).unwrap());
    assert!(!wait(store.swap(&one, Some(&old), &new)).unwrap(), "it was another process");
    assert_eq!(wait(store.load(&one)).unwrap(), Some(new));
    assert_eq!(wait(store.load(&two)).unwrap(), None);
}

#[test]
fn tokens_and_installations_are_removed_one_without_the_other() {
    let Some(database) = Database::new() else { return };
    let store = database.store();
    let portal = PortalId::from("one");
    let (first, second) = (installation("first"), installation("second"));
    assert_eq!(wait(store.installation(&portal)).unwrap(), None);
    assert!(!wait(store.swap_installation(&portal, Some(&first), None)).unwrap());
    assert!(wait(store.swap_installation(&portal, None, Some(&first))).unwrap());
    assert!(!wait(store.swap_installation(&portal, None, Some(&second))).unwrap());
    assert!(!wait(store.swap_installation(&portal, None, None)).unwrap());
    assert!(wait(store.swap(&portal, None, &tokens("new"))).unwrap());
    wait(store.remove(&portal)).unwrap();
    wait(store.remove(&PortalId::from("unknown"))).unwrap();
    assert_eq!(wait(store.load(&portal)).unwrap(), None);
    assert_eq!(wait(store.installation(&portal)).unwrap(), Some(first.clone()));
    assert!(wait(store.swap_installation(&portal, Some(&first), Some(&second))).unwrap());
    assert!(wait(store.swap(&portal, None, &tokens("new"))).unwrap());
    assert!(wait(store.swap_installation(&portal, Some(&second), None)).unwrap());
    assert!(wait(store.swap_installation(&portal, None, None)).unwrap());
    assert_eq!(wait(store.installation(&portal)).unwrap(), None);
    assert_eq!(wait(store.load(&portal)).unwrap(), Some(tokens("new")));
}

/// Replicas that refresh at the same time must not use one refresh token twice. So each pair has exactly one
/// successor.
#[test]
fn exactly_one_of_many_processes_replaces_a_pair() {
    let Some(database) = Database::new() else { return };
    let portal = PortalId::from("one");
    wait(database.store().swap(&portal, None, &tokens("0"))).unwrap();
    let swapped = AtomicUsize::new(0);
    let name = |n: usize| tokens(&n.to_string());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let store = database.store();
                wait(async {
                    for n in 0..40 {
                        // Each process sees the pair of this round, or a later one.
                        if store.swap(&portal, Some(&name(n)), &name(n + 1)).await.unwrap() {
                            swapped.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            });
        }
    });
    assert_eq!(swapped.into_inner(), 40);
    assert_eq!(wait(database.store().load(&portal)).unwrap(), Some(name(40)));
}

#[test]
fn exactly_one_of_many_simultaneous_installations_is_the_first() {
    let Some(database) = Database::new() else { return };
    let portal = PortalId::from("one");
    let first = AtomicUsize::new(0);
    thread::scope(|scope| {
        for n in 0..8 {
            let (first, portal, store) = (&first, &portal, database.store());
            scope.spawn(move || {
                let new = installation(&n.to_string());
                if wait(store.swap_installation(portal, None, Some(&new))).unwrap() {
                    first.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(first.into_inner(), 1);
}

#[test]
fn unreadable_tokens_are_replaced_and_other_portals_are_not_affected() {
    let Some(database) = Database::new() else { return };
    let store = database.store();
    let (one, two) = (PortalId::from("one"), PortalId::from("two"));
    assert!(wait(store.swap(&two, None, &tokens("two"))).unwrap());
    for poison in ["", "s3cret", "7", "null", r#"{"access_token":"s3cret"}"#] {
        database.sql(&format!(
            "INSERT INTO bizproc.tokens VALUES ('one', '{poison}') \
             ON CONFLICT (portal) DO UPDATE SET tokens = excluded.tokens"
        ));
        assert_eq!(wait(store.load(&one)).unwrap(), None, "{poison}");
        assert!(!wait(store.swap(&one, Some(&tokens("new")), &tokens("new"))).unwrap());
        assert!(wait(store.swap(&one, None, &tokens("new"))).unwrap(), "{poison}");
        assert_eq!(wait(store.load(&one)).unwrap(), Some(tokens("new")), "{poison}");
    }
    assert_eq!(wait(store.load(&two)).unwrap(), Some(tokens("two")));
}

/// If it were ignored, the app would seem not to be installed. Then anybody could install it for this portal.
#[test]
fn an_installation_that_cannot_be_read_is_an_error() {
    let Some(database) = Database::new() else { return };
    let store = database.store();
    let portal = PortalId::from("one");
    database.sql("INSERT INTO bizproc.installations VALUES ('one', '{\"s3cret\":1}')");
    let error = wait(store.installation(&portal)).unwrap_err();
    assert!(shown(&error).contains("table `installations`") && !shown(&error).contains("s3cret"));
    let new = installation("new");
    assert!(wait(store.swap_installation(&portal, None, Some(&new))).is_err());
    assert!(wait(store.swap_installation(&portal, None, None)).is_err());
    let kept = "SELECT count(*) FROM bizproc.installations WHERE installation = '{\"s3cret\":1}'";
    assert_eq!(database.number(kept), 1);
}

/// Another version may write the same pair with different spaces. Only the values are compared.
#[test]
fn pairs_are_compared_by_value_and_not_as_text() {
    let Some(database) = Database::new() else { return };
    let store = database.store();
    let portal = PortalId::from("one");
    assert!(wait(store.swap(&portal, None, &tokens("old"))).unwrap());
    database
        .sql("UPDATE bizproc.tokens SET tokens = jsonb_pretty(tokens::jsonb || '{\"later\":1}')");
    assert!(wait(store.swap(&portal, Some(&tokens("old")), &tokens("new"))).unwrap());
}

#[test]
fn the_name_of_a_portal_may_be_anything() {
    let Some(database) = Database::new() else { return };
    let store = database.store();
    for name in ["'; DROP TABLE bizproc.tokens; --", "ж", "", " ", "\u{1F600}", &"x".repeat(2_000)]
    {
        let portal = PortalId::from(name);
        assert!(wait(store.swap(&portal, None, &tokens(name))).unwrap(), "{name}");
        assert_eq!(wait(store.load(&portal)).unwrap(), Some(tokens(name)), "{name}");
    }
    let portal = PortalId::from("a\0b");
    assert!(shown(&wait(store.load(&portal)).unwrap_err()).contains("NUL"));
    assert!(wait(store.swap(&portal, None, &tokens("new"))).is_err());
    assert!(wait(store.remove(&portal)).is_err());
    assert!(wait(store.installation(&portal)).is_err());
}

#[test]
fn two_apps_in_two_schemas_share_a_database_and_nothing_else() {
    let Some(database) = Database::new() else { return };
    let portal = PortalId::from("one");
    let [one, two] = ["app_one", "app_two"].map(|schema| {
        let config = database.config().schema(schema).unwrap();
        let store = tracing_bizproc_relay::PgStore::new(config).unwrap();
        wait(store.migrate()).unwrap();
        store
    });
    assert!(wait(one.swap(&portal, None, &tokens("one"))).unwrap());
    assert_eq!(wait(two.load(&portal)).unwrap(), None);
    assert!(wait(two.swap(&portal, None, &tokens("two"))).unwrap());
    assert_eq!(wait(one.load(&portal)).unwrap(), Some(tokens("one")));
}

/// A waker that unparks a thread. A future needs nothing else.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn it_is_awaited_without_any_runtime() {
    let Some(database) = Database::new() else { return };
    let store = database.store();
    let portal = PortalId::from("one");
    let mut load = store.load(&portal);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let loaded = loop {
        match load.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(loaded) => break loaded,
            Poll::Pending => thread::park(),
        }
    };
    assert_eq!(loaded.unwrap(), None);
}

#[test]
fn it_may_be_made_and_dropped_inside_of_a_runtime() {
    let Some(database) = Database::new() else { return };
    database.store();
    wait(async {
        let store = tracing_bizproc_relay::PgStore::new(database.config()).unwrap();
        store.check().await.unwrap();
        drop(store);
    });
}

#[test]
fn its_thread_and_its_connection_end_with_the_last_clone() {
    let Some(database) = Database::new() else { return };
    let store = database.store();
    let clone = store.clone();
    drop(store);
    wait(clone.check()).unwrap();
    let connections = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert_eq!(database.number(connections), 1);
    drop(clone);
    while database.number(connections) > 0 {
        thread::yield_now();
    }
}
