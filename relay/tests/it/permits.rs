//! No request leaves without a permit, and a permit ends with the claim under which it was given.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing_bizproc::journal::{
    Batch, Chunk, Content, Intent, Journal, Mark, MarkKind, Memo, Permit, Publisher, Query,
    StoredLine,
};
use tracing_bizproc::{EventToken, PortalId};
use tracing_bizproc_relay::{Member, Owner, PgJournal, PgOwnership, RelayJournal};

use crate::database::{Database, wait};
use crate::ownership::Time;

struct Relay {
    owner: Owner,
    reading: Arc<PgJournal>,
    journal: RelayJournal,
}

impl Relay {
    fn new(database: &Database, me: u128) -> Self {
        let ownership = Arc::new(PgOwnership::new(database.config()).unwrap());
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
