//! Behind a pooler, each transaction may go over another connection to the server.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use tracing_bizproc::PortalId;
use tracing_bizproc::auth::TokenStore;
use tracing_bizproc::journal::{Publisher, contract};
use tracing_bizproc_relay::{Member, Owner, PgConfig, PgJournal, PgOwnership, PgStore, Shard};

use crate::database::{Database, tokens, wait};

#[test]
fn everything_works_behind_a_pooler_that_shares_connections() {
    let Some(database) = Database::new() else { return };
    let Some(pooler) = database.pooler() else { return };
    let config = || PgConfig::parse(&pooler.tcp(&database.name)).unwrap();
    wait(PgStore::new(config()).unwrap().migrate()).unwrap();
    thread::scope(|scope| {
        for replica in 0..4 {
            let (store, portal) =
                (PgStore::new(config()).unwrap(), PortalId::from(format!("{replica}")));
            scope.spawn(move || {
                wait(async {
                    store.check().await.unwrap();
                    let mut stored = None;
                    for n in 0..20 {
                        let new = tokens(&format!("{replica}-{n}"));
                        assert!(store.swap(&portal, stored.as_ref(), &new).await.unwrap());
                        assert_eq!(store.load(&portal).await.unwrap(), Some(new.clone()));
                        stored = Some(new);
                    }
                });
            });
        }
        let journal = PgJournal::new(config()).unwrap();
        journal.read_shards(Shard::all());
        scope.spawn(move || wait(contract::holds(&journal, &[Publisher(1), Publisher(2)], 3, 40)));
    });
    let mut owner = Owner::new(Arc::new(PgOwnership::new(config()).unwrap()), Member(1));
    #[expect(clippy::disallowed_methods, reason = "a clock to count from")]
    let now = Instant::now();
    assert_eq!(wait(owner.turn(|| now)).unwrap().gained.len(), Shard::COUNT);
    wait(owner.leave()).unwrap();
}
