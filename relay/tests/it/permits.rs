//! No request leaves without a permit, and a permit ends with the claim under which it was given.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bizproc_test_postgres::PASSWORD;
use tracing_bizproc::journal::{
    Batch, Chunk, Content, Intent, Journal, Mark, MarkKind, Memo, Permit, Publisher, Query,
    StoredLine,
};
use tracing_bizproc::{EventToken, PortalId};
use tracing_bizproc_relay::{Member, Owner, PgConfig, PgJournal, PgOwnership, RelayJournal};

use crate::database::{Database, wait};
use crate::ownership::Time;
use crate::proxy::Proxy;

struct Relay {
    owner: Owner,
    reading: Arc<PgJournal>,
    journal: RelayJournal,
}

impl Relay {
    fn new(database: &Database, me: u128) -> Self {
        Relay::with(database, me, database.config())
    }

    /// A relay that writes intents over this connection.
    fn with(database: &Database, me: u128, config: PgConfig) -> Self {
        let ownership = Arc::new(PgOwnership::new(config).unwrap());
        let reading = Arc::new(PgJournal::new(database.config()).unwrap());
        wait(reading.migrate()).unwrap();
        let owner = Owner::new(ownership, Member(me));
        let journal = RelayJournal::new(Arc::clone(&reading), &owner);
        Relay { owner, reading, journal }
    }

    fn turn(&mut self, now: impl Fn() -> Instant) {
        wait(self.owner.turn(now)).unwrap();
        let claims = self.owner.leases().claims();
        self.reading.read_shards(claims.iter().map(|claim| claim.shard));
        self.journal.activate(claims);
    }

    fn intend(&self, intents: &[Intent]) -> Vec<Option<Permit>> {
        wait(self.journal.intend(intents)).unwrap()
    }

    /// Whether each line was tried.
    fn tried(&self) -> Vec<bool> {
        let query = Query { portal: None, after: None, most_bytes: 1 << 20 };
        let read = wait(self.journal.read(query)).unwrap();
        let lines = read.chunks.into_iter().filter_map(|(_, chunk)| match chunk.content {
            Content::Lines(lines) => Some(lines),
            _ => None,
        });
        lines.flatten().map(|line| line.tried).collect()
    }
}

fn event_token() -> EventToken {
    EventToken::parse("s3cret").unwrap()
}

fn portal(name: &str) -> Option<PortalId> {
    Some(PortalId::from(name))
}

fn chunk(of: &str, no: u64) -> Chunk {
    let line = StoredLine {
        no,
        at: std::time::UNIX_EPOCH,
        level: tracing::Level::INFO,
        body: "line".to_owned(),
        cut: 0,
        tried: false,
    };
    let content = Content::Lines(vec![line]);
    Chunk { portal: portal(of), event_token: event_token(), content, about: None }
}

fn intent(of: &str, no: u64, memo: &[u8]) -> Intent {
    let mark = Mark {
        publisher: Publisher(1),
        portal: portal(of),
        event_token: event_token(),
        from: no,
        up_to: no,
        kind: MarkKind::Tried,
    };
    let memos = vec![Memo { key: 7, value: memo.to_vec() }];
    Intent { portal: portal(of), marks: vec![mark], memos }
}

#[test]
fn a_request_leaves_only_under_the_claim_in_which_it_was_stored() {
    let Some(database) = Database::new() else { return };
    let (mut one, mut two) = (Relay::new(&database, 1), Relay::new(&database, 2));
    let mut time = Time::new(&database);
    let chunks = vec![chunk("north", 1), chunk("south", 2)];
    wait(one.journal.append(&Batch { publisher: Publisher(1), no: 1, chunks })).unwrap();

    assert_eq!(one.intend(&[intent("north", 1, b"early")]), [None], "it owns nothing yet");
    one.turn(|| time.now());
    assert_eq!(one.tried(), [false, false]);
    let both = [intent("north", 1, b"first"), intent("south", 2, b"first")];
    let permits = one.intend(&both);
    let [Some(north), Some(south)] = permits[..] else { panic!("{permits:?}") };
    let may = |relay: &Relay, name: &str, permit| {
        relay.journal.is_permitted(portal(name).as_ref(), permit)
    };
    assert!(may(&one, "north", north) && may(&one, "south", south));
    assert!(!may(&one, "north", Permit(north.0 + 1)));
    assert_eq!(one.tried(), [true, true]);

    // Its lease runs out, and another member takes all shards.
    time.advance(Duration::from_secs(4));
    two.turn(|| time.now());
    assert_eq!(two.tried(), [true, true], "the next owner knows");
    let memo = |relay: &Relay, name: &str| wait(relay.journal.memos(&portal(name))).unwrap();
    assert_eq!(memo(&two, "north"), [Memo { key: 7, value: b"first".to_vec() }]);
    let [Some(next)] = two.intend(&[intent("north", 1, b"second")])[..] else { panic!() };
    assert!(next.0 > north.0 && may(&two, "north", next));

    // Nothing is stored for a fenced request.
    assert_eq!(
        one.intend(&[intent("north", 1, b"late"), intent("south", 2, b"late")]),
        [None, None]
    );
    assert_eq!(memo(&one, "north")[0].value, b"second");
    assert_eq!(memo(&one, "south")[0].value, b"first");
    one.turn(|| time.now());
    assert!(!may(&one, "north", north), "it knows that it has lost it");

    // It gets the shard back. A permit from before is not valid now.
    wait(two.owner.leave()).unwrap();
    wait(one.owner.turn(|| time.now())).unwrap();
    assert_eq!(one.intend(&[intent("north", 1, b"")]), [None], "it is not active yet");
    one.turn(|| time.now());
    assert!(!may(&one, "north", north) && !may(&one, "south", south));
    let [Some(again)] = one.intend(&[intent("north", 1, b"third")])[..] else { panic!() };
    assert!(may(&one, "north", again));
}

#[test]
fn a_request_without_lines_needs_a_permit_too() {
    let Some(database) = Database::new() else { return };
    let (mut one, mut two) = (Relay::new(&database, 1), Relay::new(&database, 2));
    let mut time = Time::new(&database);
    let plain = Intent { portal: None, marks: Vec::new(), memos: Vec::new() };
    one.turn(|| time.now());
    assert!(one.intend(std::slice::from_ref(&plain))[0].is_some());
    time.advance(Duration::from_secs(4));
    two.turn(|| time.now());
    assert_eq!(one.intend(&[plain]), [None]);
}

#[test]
fn when_the_database_is_away_nothing_leaves() {
    let Some(database) = Database::new() else { return };
    let mut one = Relay::new(&database, 1);
    let time = Time::new(&database);
    one.turn(|| time.now());
    database.sql("ALTER FUNCTION bizproc.mark_tried RENAME TO away");
    assert!(wait(one.journal.intend(&[intent("north", 1, b"")])).is_err());
    assert!(wait(one.journal.memos(&portal("north"))).unwrap().is_empty());
}

#[test]
fn marks_of_a_request_are_applied_in_their_order() {
    let Some(database) = Database::new() else { return };
    let mut one = Relay::new(&database, 1);
    let time = Time::new(&database);
    one.turn(|| time.now());
    let chunks = (1..=5).map(|no| chunk("north", no)).collect();
    wait(one.journal.append(&Batch { publisher: Publisher(1), no: 1, chunks })).unwrap();
    let marks = |marks: &[(u64, u64, MarkKind)]| {
        let mark = |(from, up_to, kind): &(u64, u64, MarkKind)| Mark {
            from: *from,
            up_to: *up_to,
            kind: *kind,
            ..intent("north", 1, b"").marks[0].clone()
        };
        let marks = marks.iter().map(mark).collect();
        Intent { portal: portal("north"), marks, memos: Vec::new() }
    };
    use MarkKind::{Returned, Tried};
    one.intend(&[marks(&[(1, 3, Tried)])]);
    assert_eq!(one.tried(), [true, true, true, false, false]);
    one.intend(&[marks(&[(1, 2, Returned), (2, 2, Tried)]), marks(&[(5, 5, Tried)])]);
    assert_eq!(one.tried(), [false, true, true, false, true]);
    one.intend(&[marks(&[(1, 5, Tried)]), marks(&[(4, 5, Returned)]), marks(&[(5, 5, Tried)])]);
    assert_eq!(one.tried(), [true, true, true, false, true]);
    one.intend(&[marks(&[(1, 5, Returned)])]);
    assert_eq!(one.tried(), [false; 5]);
}

/// Regression: the network held an intent back until a later one was stored. Then the database stored the old one, too. It
/// took back the mark of a line that was out, so that the next owner would have repeated the line without a mark. It also
/// took back a memo, so that the next owner would have used entries twice.
#[test]
fn an_intent_that_arrives_after_a_later_one_has_no_effect() {
    let Some(database) = Database::new() else { return };
    let proxy = Proxy::to(database.port());
    let (port, name) = (proxy.port(), &database.name);
    let config =
        PgConfig::parse(&format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{name}"));
    let config = config.unwrap().timeout(Duration::from_secs(1));
    let mut one = Relay::with(&database, 1, config);
    let time = Time::new(&database);
    wait(one.journal.append(&Batch {
        publisher: Publisher(1),
        no: 1,
        chunks: vec![chunk("north", 1)],
    }))
    .unwrap();
    one.turn(|| time.now());
    one.intend(&[intent("north", 1, b"first")]);

    // The portal has refused the first request. So the next intent says that the line is not in the log.
    let mut returned = intent("north", 1, b"second");
    returned.marks[0].kind = MarkKind::Returned;
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND client_addr IS NOT NULL";
    proxy.hold();
    assert!(
        wait(one.journal.intend(std::slice::from_ref(&returned))).is_err(),
        "no answer in time"
    );
    // It is said again with the next request, which leaves.
    let mut third = intent("north", 1, b"third");
    third.marks.insert(0, returned.marks[0].clone());
    assert!(one.intend(&[third])[0].is_some());
    assert_eq!(database.number(sessions), 2);
    proxy.release();
    // The server has executed what arrived late, and its connection has ended.
    while database.number(sessions) > 1 {
        std::thread::yield_now();
    }

    assert_eq!(one.tried(), [true], "the line is out");
    let memos = wait(one.journal.memos(&portal("north"))).unwrap();
    assert_eq!(memos, [Memo { key: 7, value: b"third".to_vec() }]);
    assert!(one.intend(&[intent("north", 1, b"fourth")])[0].is_some(), "later ones are stored");
}

/// A virtual machine with a relay is suspended for longer than the lease. Its clock stands still meanwhile, so the relay
/// believes that its lease still runs. In this test, only the clock of the database advances.
#[test]
fn a_relay_that_was_suspended_sends_nothing_before_the_database_says_so() {
    let Some(database) = Database::new() else { return };
    let (mut one, mut two) = (Relay::new(&database, 1), Relay::new(&database, 2));
    let mut elsewhere = Time::new(&database);
    let real = Time::new(&database);
    let chunks = vec![chunk("north", 1), chunk("south", 2)];
    wait(one.journal.append(&Batch { publisher: Publisher(1), no: 1, chunks })).unwrap();
    one.turn(|| real.now());
    let [Some(permit)] = one.intend(&[intent("north", 1, b"")])[..] else { panic!() };

    elsewhere.advance(Duration::from_secs(60));
    two.turn(|| elsewhere.now());
    // Most probably it was suspended somewhere else than between the intent and the request. Then it asks first.
    assert_eq!(one.intend(&[intent("south", 2, b""), intent("north", 1, b"")]), [None, None]);
    // A request that was about to leave leaves, because nothing on this machine says that time has passed. The next owner
    // knows it, and marks its own copy of the line.
    assert!(one.journal.is_permitted(portal("north").as_ref(), permit));
    assert_eq!(two.tried(), [true, false]);
    // The next turn says that everything is lost. Then that request does not leave, either.
    let change = wait(one.owner.turn(|| real.now())).unwrap();
    assert_eq!(change.lost.len(), 256);
    assert!(!one.journal.is_permitted(portal("north").as_ref(), permit));
}
