//! Publishers and relays are paused, killed, cut off and slow, in random order. Nothing is lost, nothing is out of
//! order, and lines that arrive twice are marked.
//!
//! The relays here do the work of a relay step by step: read, store the intent, check the deadline and send,
//! settle. So each fault can happen between any two steps. The test advances the time by itself, as in
//! `ownership`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tracing_bizproc::journal::{
    Batch, Chunk, Content, Journal, Mark, MarkKind, Number, Position, Publisher, Query, StoredLine,
};
use tracing_bizproc::{EventToken, PortalId};
use tracing_bizproc_relay::{Intent, Member, Owner, PgJournal, PgOwnership, Shard};

use crate::database::{Database, wait};
use crate::ownership::Time;

/// The log of a portal: which line, and whether it was marked as a possible repeat.
#[derive(Default)]
struct Log {
    lines: Vec<(Publisher, u64, Number, bool)>,
    /// How many times two relays believed at the same time that they may send for a shard.
    two_owners: usize,
}

/// A relay, and where it is in its work.
struct Relay {
    owner: Owner,
    journal: PgJournal,
    stage: Stage,
    read: VecDeque<(Publisher, Chunk)>,
    after: Option<Position>,
    generation: u64,
    fenced: bool,
}

enum Stage {
    Looking,
    Intended(Publisher, Chunk, Option<Intent>),
    Sent(Publisher, Chunk),
}

/// The numbers of a chunk's lines, and whether they were tried.
fn lines_of(chunk: &Chunk) -> impl Iterator<Item = (Number, bool)> {
    let Content::Lines(lines) = &chunk.content else { panic!("not lines") };
    lines.iter().map(|line| (line.no, line.tried))
}

fn activity(number: u64) -> (PortalId, EventToken) {
    let portal = PortalId::from(format!("portal-{}", number % 5));
    (portal, EventToken::parse(&format!("token-{number}")).unwrap())
}

fn number_of(chunk: &Chunk) -> u64 {
    (0..ACTIVITIES).find(|number| activity(*number).1 == chunk.event_token).unwrap()
}

const ACTIVITIES: u64 = 10;

fn mark(publisher: Publisher, chunk: &Chunk, kind: MarkKind) -> Mark {
    let numbers: Vec<Number> = lines_of(chunk).map(|(number, _)| number).collect();
    let (portal, event_token) = (chunk.portal.clone(), chunk.event_token.clone());
    let (from, up_to) = (numbers[0], numbers[numbers.len() - 1]);
    Mark { publisher, portal, event_token, from, up_to, kind }
}

impl Relay {
    fn new(database: &Database, me: u128, fenced: bool) -> Self {
        let ownership = Arc::new(PgOwnership::new(database.config()).unwrap());
        Relay {
            owner: Owner::new(ownership, Member(me)),
            journal: PgJournal::new(database.config()).unwrap(),
            stage: Stage::Looking,
            read: VecDeque::new(),
            after: None,
            generation: 0,
            fenced,
        }
    }

    /// Another relay may own the lines that were read, or they may be marked by now. So they are read again.
    fn start_again(&mut self) {
        self.read.clear();
        self.after = None;
        self.generation = self.journal.generation();
    }

    fn turn(&mut self, time: &Time<'_>) {
        // An error means that the connection was cut several times. The next turn tries again.
        let Ok(change) = wait(self.owner.turn(|| time.now())) else { return };
        if matches!(self.stage, Stage::Looking) && !change.surplus.is_empty() {
            drop(wait(self.owner.give_back(&change.surplus)));
        }
        let held = self.owner.leases().claims();
        self.journal.read_shards(held.iter().map(|claim| claim.shard));
        if !change.gained.is_empty() || !change.lost.is_empty() || !change.surplus.is_empty() {
            self.start_again();
        }
    }

    /// One step of its work.
    fn step(&mut self, time: &Time<'_>, log: &mut Log, others: &[&Relay]) {
        match std::mem::replace(&mut self.stage, Stage::Looking) {
            Stage::Looking => self.look(time),
            Stage::Intended(publisher, chunk, intent) => {
                let shard = Shard::of(chunk.portal.as_ref());
                let may_send = |intent: &Intent| self.owner.may_send(intent, shard, time.now());
                if !intent.as_ref().is_none_or(may_send) {
                    self.start_again();
                    return;
                }
                let owns =
                    |other: &&&Relay| other.owner.leases().claim(shard, time.now()).is_some();
                let too = others.iter().filter(owns);
                log.two_owners += too.count();
                let activity = number_of(&chunk);
                let lines = lines_of(&chunk);
                log.lines.extend(lines.map(|(number, tried)| (publisher, activity, number, tried)));
                self.stage = Stage::Sent(publisher, chunk);
            }
            Stage::Sent(publisher, chunk) => {
                let settled = mark(publisher, &chunk, MarkKind::Settled);
                if wait(self.journal.mark(&[settled])).is_err() {
                    self.start_again();
                }
            }
        }
    }

    fn look(&mut self, time: &Time<'_>) {
        if self.generation != self.journal.generation() {
            self.start_again();
        }
        let Some((publisher, chunk)) = self.read.pop_front() else {
            let query = Query { portal: None, after: self.after, most_bytes: 400 };
            if let Ok(read) = wait(self.journal.read(query)) {
                self.after = Some(read.up_to);
                self.read.extend(read.chunks);
            }
            return;
        };
        let tried = [mark(publisher, &chunk, MarkKind::Tried)];
        let intent = if self.fenced {
            let intent = wait(self.owner.intend(&tried, time.now()));
            intent.ok().filter(|intent| intent.fenced().is_empty()).map(Some)
        } else {
            wait(self.journal.mark(&tried)).ok().map(|()| None)
        };
        match intent {
            Some(intent) => self.stage = Stage::Intended(publisher, chunk, intent),
            None => self.start_again(),
        }
    }
}

/// A replica: it appends, and repeats appends that failed.
struct Replica {
    publisher: Publisher,
    journal: PgJournal,
    batch: Option<Batch>,
    batches: u64,
    lines: Number,
    written: BTreeMap<u64, Vec<Number>>,
}

impl Replica {
    fn step(&mut self, random: &mut impl FnMut(u64) -> u64) {
        if self.batch.is_none() {
            self.batches += 1;
            let mut chunks = Vec::new();
            for _ in 0..=random(3) {
                let activity_number = random(ACTIVITIES);
                let (portal, event_token) = activity(activity_number);
                let mut lines = Vec::new();
                for _ in 0..=random(2) {
                    self.lines += 1;
                    self.written.entry(activity_number).or_default().push(self.lines);
                    lines.push(StoredLine {
                        no: self.lines,
                        at: UNIX_EPOCH,
                        level: tracing::Level::INFO,
                        body: "line".to_owned(),
                        cut: 0,
                        tried: false,
                    });
                }
                let content = Content::Lines(lines);
                chunks.push(Chunk { portal: Some(portal), event_token, content, about: None });
            }
            self.batch = Some(Batch { publisher: self.publisher, no: self.batches, chunks });
        }
        if let Some(batch) = &self.batch {
            if wait(self.journal.append(batch)).is_ok() {
                self.batch = None;
            }
        }
    }
}

/// The errors that were found in a log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    lost: usize,
    out_of_order: usize,
    unmarked_repeats: usize,
    two_owners: usize,
}

fn judge(log: &Log, replicas: &[Replica]) -> (Verdict, usize) {
    let mut verdict = Verdict { two_owners: log.two_owners, ..Verdict::default() };
    let mut repeats = 0;
    for replica in replicas {
        for (activity, written) in &replica.written {
            let mut seen: Vec<Number> = Vec::new();
            for (_, _, number, marked) in
                log.lines.iter().filter(|line| (line.0, line.1) == (replica.publisher, *activity))
            {
                if seen.contains(number) {
                    repeats += 1;
                    verdict.unmarked_repeats += usize::from(!marked);
                } else {
                    verdict.out_of_order += usize::from(seen.last() > Some(number));
                    seen.push(*number);
                }
            }
            verdict.lost += written.iter().filter(|number| !seen.contains(number)).count();
        }
    }
    (verdict, repeats)
}

/// Two replicas and three relays: first some hundred steps with faults, then steps without faults until everything
/// is delivered.
fn run(seed: u64, fenced: bool) -> (Verdict, usize, usize) {
    let database = Database::new().unwrap();
    database.journal();
    let mut time = Time::new(&database);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = |end: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    };
    let mut replicas: Vec<Replica> = (0..2)
        .map(|n| Replica {
            publisher: Publisher(n),
            journal: PgJournal::new(database.config()).unwrap(),
            batch: None,
            batches: 0,
            lines: 0,
            written: BTreeMap::new(),
        })
        .collect();
    let mut relays: Vec<Relay> = (0..3).map(|n| Relay::new(&database, n, fenced)).collect();
    let mut paused_until = [0; 3];
    let mut log = Log::default();
    for step in 0..600_u64 {
        let n = random(3) as usize;
        let awake = step >= paused_until[n];
        match random(100) {
            0..12 => replicas[random(2) as usize].step(&mut random),
            12..30 if awake => relays[n].turn(&time),
            30..92 if awake => {
                let mut relay = relays.remove(n);
                relay.step(&time, &mut log, &relays.iter().collect::<Vec<_>>());
                relays.insert(n, relay);
            }
            92..95 => time.advance(Duration::from_millis(300 + random(1_200))),
            // Faults happen at the worst place: between the intent and the end of a request.
            95..98 if matches!(relays[n].stage, Stage::Looking) && random(4) > 0 => {}
            // Time passes while the relay is paused.
            95 => {
                paused_until[n] = step + 40 + random(60);
                time.advance(Duration::from_millis(3_100));
            }
            96 => relays[n] = Relay::new(&database, 100 + u128::from(step), fenced),
            97 => database.cut_connections(),
            98 if awake && matches!(relays[n].stage, Stage::Looking) => {
                drop(wait(relays[n].owner.leave()));
                relays[n].start_again();
            }
            _ => {}
        }
    }
    let is_left = "SELECT count(*) FROM bizproc.chunks";
    for round in 0.. {
        assert!(round < 2_000, "seed {seed}: it does not come to an end");
        for replica in replicas.iter_mut().filter(|replica| replica.batch.is_some()) {
            replica.step(&mut random);
        }
        for n in 0..3 {
            relays[n].turn(&time);
            let mut relay = relays.remove(n);
            for _ in 0..30 {
                relay.step(&time, &mut log, &relays.iter().collect::<Vec<_>>());
            }
            relays.insert(n, relay);
        }
        time.advance(Duration::from_millis(100));
        if replicas.iter().all(|replica| replica.batch.is_none()) && database.number(is_left) == 0 {
            break;
        }
    }
    assert_eq!(database.number("SELECT count(*) FROM bizproc.marks"), 0, "seed {seed}");
    let (verdict, repeats) = judge(&log, &replicas);
    (verdict, repeats, log.lines.len())
}

/// This test has found an error: an owner stored an intent, lost the shard, and got it back before it checked
/// whether it may send. It was permitted under the new claim, but the owner in between had sent the same lines.
#[test]
fn nothing_is_lost_out_of_order_or_repeated_without_a_mark() {
    if Database::new().is_none() {
        return;
    }
    let (mut repeats, mut lines) = (0, 0);
    for seed in 1..=3 {
        let (verdict, repeated, logged) = run(seed, true);
        assert_eq!(verdict, Verdict::default(), "seed {seed}");
        repeats += repeated;
        lines += logged;
    }
    assert!(lines > 200 && repeats > 0, "too little happened: {lines} lines, {repeats} repeats");
}

/// This shows that the check above can fail: without the epoch and the owner's own deadline, it fails.
#[test]
fn without_the_fences_lines_come_twice_without_a_mark() {
    if Database::new().is_none() {
        return;
    }
    let found = (1..=8).any(|seed| {
        let (verdict, ..) = run(seed, false);
        assert_eq!(verdict.lost, 0, "seed {seed}");
        verdict.unmarked_repeats > 0
    });
    assert!(found);
}
