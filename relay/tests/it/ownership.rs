//! Shards have one owner at a time, and the next owner knows what the owner before it was about to send.
//!
//! The clock of the database cannot be set. So `advance` moves the leases back in time, and moves the clocks of
//! the members forward by the same time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing_bizproc::journal::{Batch, Chunk, Content, Journal, Mark, MarkKind, Publisher, Query};
use tracing_bizproc::{EventToken, PortalId};
use tracing_bizproc_relay::{Change, Claim, Epoch, Member, Owner, Ownership, PgOwnership, Shard};

use crate::database::{Database, wait};

/// A member with a connection and a clock of its own.
struct Relay {
    ownership: Arc<PgOwnership>,
    owner: Owner,
    me: Member,
}

fn relay(database: &Database, me: u128) -> Relay {
    let ownership = Arc::new(PgOwnership::new(database.config()).unwrap());
    wait(ownership.migrate()).unwrap();
    let owner = Owner::new(ownership.clone(), Member(me));
    Relay { ownership, owner, me: Member(me) }
}

/// The time since the start, for all members.
pub(crate) struct Time<'a> {
    database: &'a Database,
    start: Instant,
    passed: Duration,
}

impl<'a> Time<'a> {
    #[expect(clippy::disallowed_methods, reason = "a clock to count from")]
    pub(crate) fn new(database: &'a Database) -> Self {
        Time { database, start: Instant::now(), passed: Duration::ZERO }
    }

    /// The time now. It advances with the real clock, like the clock of the database.
    pub(crate) fn now(&self) -> Instant {
        self.start + self.start.elapsed() + self.passed
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.passed += by;
        let by = by.as_millis();
        self.database.sql(&format!(
            "UPDATE bizproc.shards SET until = until - interval '{by} milliseconds'; \
             UPDATE bizproc.members SET until = until - interval '{by} milliseconds'"
        ));
    }
}

impl Relay {
    fn turn(&mut self, time: &Time<'_>) -> Change {
        wait(self.owner.turn(|| time.now())).unwrap()
    }

    fn held(&self) -> usize {
        self.owner.leases().claims().len()
    }
}

const A_LEASE: Duration = Duration::from_secs(3);

fn portal_in(shard: Shard) -> PortalId {
    let names = (0..).map(|n| PortalId::from(format!("portal-{n}")));
    names.into_iter().find(|portal| Shard::of(Some(portal)) == shard).unwrap()
}

fn mark(portal: &PortalId, number: u64) -> Mark {
    Mark {
        publisher: Publisher(1),
        portal: Some(portal.clone()),
        event_token: EventToken::parse("s3cret").unwrap(),
        from: number,
        up_to: number,
        kind: MarkKind::Tried,
    }
}

/// A journal with one line for this portal.
fn one_line(database: &Database, portal: &PortalId) -> impl Journal {
    let journal = database.journal();
    let line = tracing_bizproc::journal::StoredLine {
        no: 1,
        at: std::time::UNIX_EPOCH,
        level: tracing::Level::INFO,
        body: "line".to_owned(),
        cut: 0,
        tried: false,
    };
    let chunk = Chunk {
        portal: Some(portal.clone()),
        event_token: EventToken::parse("s3cret").unwrap(),
        content: Content::Lines(vec![line]),
        about: None,
    };
    let batch = Batch { publisher: Publisher(1), no: 1, chunks: vec![chunk] };
    wait(journal.append(&batch)).unwrap();
    journal
}

fn is_tried(journal: &dyn Journal) -> bool {
    let read = wait(journal.read(Query { portal: None, after: None, most_bytes: 1 })).unwrap();
    let Content::Lines(lines) = &read.chunks[0].1.content else { panic!("not lines") };
    lines[0].tried
}

#[test]
fn two_members_share_fairly_and_what_one_leaves_the_other_takes() {
    let Some(database) = Database::new() else { return };
    let time = Time::new(&database);
    let (mut a, mut b) = (relay(&database, 1), relay(&database, 2));
    assert_eq!(a.turn(&time).gained.len(), 256);
    assert_eq!(b.turn(&time), Change::default(), "nothing is free yet");
    let surplus = a.turn(&time).surplus;
    assert_eq!(surplus.len(), 128);
    assert_eq!(a.held(), 256, "it still finishes what is on the way");
    wait(a.owner.give_back(&surplus)).unwrap();
    let gained = b.turn(&time).gained;
    assert_eq!((a.held(), b.held()), (128, 128));
    let shards = |claims: &[Claim]| claims.iter().map(|claim| claim.shard).collect::<BTreeSet<_>>();
    assert_eq!(shards(&gained), shards(&surplus));
    assert!(gained.iter().all(|claim| claim.epoch == Epoch(2)));
    assert_eq!((a.turn(&time), b.turn(&time)), (Change::default(), Change::default()));

    // It leaves in an orderly way, so nobody waits for its leases.
    wait(a.owner.leave()).unwrap();
    assert_eq!((a.held(), b.turn(&time).gained.len(), b.held()), (0, 128, 256));
}

#[test]
fn shards_of_a_killed_member_are_free_after_the_lease() {
    let Some(database) = Database::new() else { return };
    let mut time = Time::new(&database);
    let (mut a, mut b) = (relay(&database, 1), relay(&database, 2));
    a.turn(&time);
    drop(a);
    assert_eq!(b.turn(&time).gained, []);
    time.advance(A_LEASE);
    assert_eq!(b.turn(&time).gained.len(), 256);
    assert_eq!(wait(b.ownership.join(b.me)).unwrap(), 1);
}

/// This is the most important test. A pause may end at any step, so two checks stop the old owner: its own clock,
/// and the database.
#[test]
fn a_paused_owner_sends_nothing_and_the_next_one_knows_its_intent() {
    let Some(database) = Database::new() else { return };
    let mut time = Time::new(&database);
    let (mut a, mut b) = (relay(&database, 1), relay(&database, 2));
    let shard = a.turn(&time).gained[100].shard;
    let portal = portal_in(shard);
    let journal = one_line(&database, &portal);
    let line = [mark(&portal, 1)];

    // It is paused after the intent: the line may be in the log.
    let before_the_pause = time.now();
    let intent = wait(a.owner.intend(&line, time.now())).unwrap();
    assert!(intent.fenced().is_empty() && a.owner.may_send(&intent, shard, time.now()));
    time.advance(A_LEASE);
    assert!(!a.owner.may_send(&intent, shard, time.now()));
    assert_eq!(b.turn(&time).gained.len(), 256);
    assert!(is_tried(&journal));
    wait(journal.mark(&[Mark { kind: MarkKind::Returned, ..line[0].clone() }])).unwrap();

    // Its own clock says that it owns nothing. If that clock stood still, the database says so.
    assert_eq!(wait(a.owner.intend(&line, time.now())).unwrap().fenced(), [shard]);
    let fenced = wait(a.owner.intend(&line, before_the_pause)).unwrap();
    assert_eq!(fenced.fenced(), [shard]);
    assert!(!a.owner.may_send(&fenced, shard, before_the_pause));
    assert!(!is_tried(&journal), "a fenced intent leaves no mark");

    let of_b = wait(b.owner.intend(&line, time.now())).unwrap();
    assert!(b.owner.may_send(&of_b, shard, time.now()) && is_tried(&journal));
    let change = a.turn(&time);
    assert_eq!((change.lost.len(), change.gained.len(), a.held()), (256, 0, 0));

    // It gets the shard back. The intent from before does not count any more.
    wait(b.owner.leave()).unwrap();
    a.turn(&time);
    assert!(a.owner.leases().claim(shard, time.now()).is_some());
    assert!(!a.owner.may_send(&intent, shard, time.now()));
}

#[test]
fn an_intent_for_two_shards_is_written_for_the_one_that_is_owned() {
    let Some(database) = Database::new() else { return };
    let mut time = Time::new(&database);
    let (mut a, b) = (relay(&database, 1), relay(&database, 2));
    let gained = a.turn(&time).gained;
    let (kept, lost) = (gained[0], gained[1]);
    let portals = [portal_in(kept.shard), portal_in(lost.shard)];
    let journal = one_line(&database, &portals[0]);
    let frozen = time.now();
    time.advance(A_LEASE);
    // It renews all shards in time except one, which another member takes.
    let renewed: Vec<Claim> = gained.iter().copied().filter(|claim| *claim != lost).collect();
    assert_eq!(wait(a.ownership.renew(a.me, &renewed)).unwrap().len(), 255);
    let taken = wait(b.ownership.acquire(b.me, 10)).unwrap();
    assert_eq!(taken, [Claim { shard: lost.shard, epoch: Epoch(2) }]);
    let marks = portals.map(|portal| mark(&portal, 1));
    assert_eq!(wait(a.owner.intend(&marks, frozen)).unwrap().fenced(), [lost.shard]);
    assert!(is_tried(&journal));
    // It also cannot renew or give back a shard that it does not own any more.
    assert_eq!(wait(a.ownership.renew(a.me, &[lost])).unwrap(), []);
    wait(a.ownership.release(a.me, &[lost])).unwrap();
    assert_eq!(wait(b.ownership.renew(b.me, &taken)).unwrap(), taken);
}

#[test]
fn a_connection_that_is_cut_costs_no_shard() {
    let Some(database) = Database::new() else { return };
    let time = Time::new(&database);
    let mut a = relay(&database, 1);
    a.turn(&time);
    for _ in 0..3 {
        database.cut_connections();
        assert_eq!(a.turn(&time), Change::default());
    }
    assert_eq!(a.held(), 256);
}

#[test]
fn without_the_database_a_member_gives_everything_up_when_its_leases_run_out() {
    let Some(database) = Database::new() else { return };
    let mut time = Time::new(&database);
    let mut a = relay(&database, 1);
    let shard = a.turn(&time).gained[0].shard;
    let name = &database.name;
    database.sql(&format!("ALTER TABLE bizproc.members RENAME TO away_{name}"));
    assert!(wait(a.owner.turn(|| time.now())).is_err());
    assert!(a.owner.leases().claim(shard, time.now()).is_some(), "the lease still runs");
    time.passed += A_LEASE;
    assert_eq!(a.turn(&time).lost.len(), 256);
    assert!(wait(a.owner.turn(|| time.now())).is_err());
    assert_eq!(a.held(), 0);
}

/// Members are paused, killed, slow and started again, in random order. By their own clocks, two members never own
/// the same shard. A member that owns a shard by its own clock also owns it in the database.
#[test]
fn two_members_never_own_one_shard() {
    let Some(database) = Database::new() else { return };
    let mut time = Time::new(&database);
    let mut relays: Vec<Relay> = (0..3).map(|n| relay(&database, n)).collect();
    let mut seed = 7_u64;
    let mut random = |end: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % end
    };
    let mut owned_by_somebody = 0;
    for step in 0..150 {
        let n = random(3) as usize;
        match random(10) {
            0..5 => {
                let surplus = relays[n].turn(&time).surplus;
                if random(2) == 0 {
                    wait(relays[n].owner.give_back(&surplus)).unwrap();
                }
            }
            5..9 => time.advance(Duration::from_millis(random(1_500))),
            _ => relays[n] = relay(&database, 10 + step),
        }
        let now = time.now();
        for shard in Shard::all().step_by(17) {
            let owners: Vec<&Relay> = relays
                .iter()
                .filter(|relay| relay.owner.leases().claim(shard, now).is_some())
                .collect();
            assert!(owners.len() <= 1, "step {step}: {} own {shard:?}", owners.len());
            for relay in owners {
                owned_by_somebody += 1;
                let intent = wait(relay.owner.intend(&[mark(&portal_in(shard), 1)], now)).unwrap();
                assert_eq!(intent.fenced(), [], "step {step}");
            }
        }
    }
    assert!(owned_by_somebody > 300, "{owned_by_somebody}");
}
