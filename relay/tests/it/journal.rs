//! The journal in the database.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bizproc_test_postgres::{PASSWORD, Postgres};
use tracing_bizproc::journal::{
    Answer, Batch, Chunk, Content, Journal, Mark, MarkKind, Number, Outcome, Publisher, Query,
    Read, StoredEnd, StoredLine, StoredSeal, contract,
};
use tracing_bizproc::stats::DropReason;
use tracing_bizproc::{EventToken, PortalId};
use tracing_bizproc_relay::{PgConfig, PgJournal, Shard};

use crate::database::{Database, wait};
use crate::proxy::{Fault, Proxy};

const ONE: Publisher = Publisher(1);
const TOKEN: &str = "s3cret-token";

fn lines(portal: Option<&str>, numbers: &[Number]) -> Chunk {
    let line = |no: &Number| StoredLine {
        no: *no,
        at: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        level: tracing::Level::INFO,
        body: format!("s3cret line {no}"),
        cut: 0,
        tried: false,
    };
    Chunk {
        portal: portal.map(PortalId::from),
        event_token: EventToken::parse(TOKEN).unwrap(),
        content: Content::Lines(numbers.iter().map(line).collect()),
        about: None,
    }
}

fn batch(publisher: Publisher, no: u64, chunks: Vec<Chunk>) -> Batch {
    Batch { publisher, no, chunks }
}

fn mark(portal: Option<&str>, from: Number, up_to: Number, kind: MarkKind) -> Mark {
    let event_token = EventToken::parse(TOKEN).unwrap();
    Mark { publisher: ONE, portal: portal.map(PortalId::from), event_token, from, up_to, kind }
}

fn read(journal: &PgJournal) -> Read {
    wait(journal.read(Query { portal: None, after: None, most_bytes: 1_000_000 })).unwrap()
}

/// The numbers of all lines, and whether they were tried.
fn numbers(read: &Read) -> Vec<(Number, bool)> {
    let of_chunk = |chunk: &Chunk| match &chunk.content {
        Content::Lines(lines) => lines.iter().map(|line| (line.no, line.tried)).collect(),
        _ => Vec::new(),
    };
    read.chunks.iter().flat_map(|(_, chunk)| of_chunk(chunk)).collect()
}

/// Compares the journal with a model of what the docs of the trait promise, with two publishers at the same time.
#[test]
fn it_does_what_every_journal_has_to_do() {
    let Some(database) = Database::new() else { return };
    for seed in 0..8 {
        let config = database.config().schema(format!("seed_{seed}")).unwrap();
        let journal = PgJournal::new(config).unwrap();
        wait(journal.migrate()).unwrap();
        journal.read_shards(Shard::all());
        wait(contract::holds(&journal, &[ONE, Publisher(u128::MAX)], seed, 80));
        for table in ["chunks", "marks"] {
            let rows = database.number(&format!("SELECT count(*) FROM seed_{seed}.{table}"));
            assert_eq!(rows, 0, "seed {seed}: {table} are left");
        }
    }
}

#[test]
fn a_batch_whose_answer_was_lost_is_stored_once() {
    let Some(database) = Database::new() else { return };
    let reader = database.journal();
    let proxy = Proxy::to(database.port());
    let (port, name) = (proxy.port(), &database.name);
    let config =
        PgConfig::parse(&format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{name}"));
    let journal = PgJournal::new(config.unwrap()).unwrap();
    wait(journal.check()).unwrap();
    let mut places = Vec::new();
    for no in 0..4 {
        let batch = batch(ONE, no, vec![lines(None, &[no + 1])]);
        proxy.fault(Fault::LoseAnswer);
        let place = wait(journal.append(&batch)).unwrap();
        assert_eq!(wait(journal.append(&batch)).unwrap(), place, "again, and the same place");
        places.push(place);
    }
    assert!(places.is_sorted());
    assert_eq!(numbers(&read(&reader)), [(1, false), (2, false), (3, false), (4, false)]);
    // A batch with a lower number was stored before.
    wait(journal.append(&batch(ONE, 2, vec![lines(None, &[99])]))).unwrap();
    assert_eq!(numbers(&read(&reader)).len(), 4);
}

/// Ids are in the order of commits. Otherwise a reader would miss a chunk that is committed later.
#[test]
fn a_reader_that_continues_after_the_last_id_misses_nothing() {
    const WRITERS: u128 = 4;
    const BATCHES: u64 = 60;
    let Some(database) = Database::new() else { return };
    let reader = database.journal();
    let writing = AtomicUsize::new(WRITERS as usize);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (journal, writing) = (database.journal(), &writing);
            scope.spawn(move || {
                for no in 0..BATCHES {
                    let chunks = vec![lines(None, &[2 * no + 1]), lines(None, &[2 * no + 2])];
                    wait(journal.append(&batch(Publisher(writer), no, chunks))).unwrap();
                }
                writing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        let (mut after, mut seen) = (None, vec![Vec::new(); WRITERS as usize]);
        loop {
            let last = writing.load(Ordering::SeqCst) == 0;
            let read = wait(reader.read(Query { portal: None, after, most_bytes: 300 })).unwrap();
            for (publisher, chunk) in &read.chunks {
                let Content::Lines(lines) = &chunk.content else { panic!("not lines") };
                seen[publisher.0 as usize].extend(lines.iter().map(|line| line.no));
            }
            after = Some(read.up_to);
            if last && read.at_end {
                break;
            }
        }
        let all: Vec<u64> = (1..=2 * BATCHES).collect();
        assert!(seen.iter().all(|numbers| *numbers == all), "{seen:?}");
    });
}

#[test]
fn only_shards_that_are_read_are_returned_and_new_ones_are_told() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    journal.read_shards([]);
    let chunks = vec![lines(Some("one"), &[1, 2]), lines(Some("two"), &[3]), lines(None, &[4])];
    wait(journal.append(&batch(ONE, 1, chunks))).unwrap();
    assert!(read(&journal).chunks.is_empty() && read(&journal).at_end);
    assert!(wait(journal.adopt()).unwrap().held.is_empty());

    let shard = |portal: &str| Shard::of(Some(&PortalId::from(portal)));
    let generation = journal.generation();
    journal.read_shards([shard("one")]);
    assert!(journal.generation() > generation);
    let held = wait(journal.adopt()).unwrap().held;
    assert_eq!(held.iter().map(|held| held.lines).collect::<Vec<_>>(), [2]);
    assert!(wait(journal.adopt()).unwrap().held.is_empty(), "told once");
    assert_eq!(numbers(&read(&journal)), [(1, false), (2, false)]);

    wait(journal.mark(&[mark(Some("one"), 1, 1, MarkKind::Settled)])).unwrap();
    let generation = journal.generation();
    journal.read_shards([shard("one"), shard("two")]);
    assert!(journal.generation() > generation);
    assert_eq!(wait(journal.adopt()).unwrap().held.len(), 1);
    assert_eq!(numbers(&read(&journal)), [(2, false), (3, false)]);
    let other = Some(PortalId::from("two"));
    let of_two = Query { portal: Some(&other), after: None, most_bytes: 1 };
    assert_eq!(numbers(&wait(journal.read(of_two)).unwrap()), [(3, false)]);
    let not_read = Query { portal: Some(&None), after: None, most_bytes: 1 };
    assert!(wait(journal.read(not_read)).unwrap().chunks.is_empty());

    // Settled lines are not reported as held.
    journal.read_shards([]);
    journal.read_shards([shard("one")]);
    let held = wait(journal.adopt()).unwrap().held;
    assert_eq!(held.iter().map(|held| held.lines).collect::<Vec<_>>(), [1]);
}

#[test]
fn lines_that_are_too_old_are_kept_apart_for_seven_days_and_counted() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal().max_age(Duration::from_secs(3_600));
    let end = Chunk {
        content: Content::End(StoredEnd {
            no: 5,
            values: "{}".to_owned(),
            message: None,
            failed: false,
            deadline: UNIX_EPOCH,
            waits_until: None,
        }),
        ..lines(None, &[])
    };
    let chunks = vec![lines(None, &[1, 2, 3]), end, lines(None, &[])];
    wait(journal.append(&batch(ONE, 1, chunks))).unwrap();
    wait(journal.mark(&[mark(None, 2, 2, MarkKind::Settled)])).unwrap();
    assert!(wait(journal.evicted(server_time())).unwrap().is_empty());
    const HOUR: Duration = Duration::from_secs(3_600);
    // The journal searches again after a while. Its process may have any clock.
    let mut hours = 0;
    let mut later = |by: u32| {
        hours += by;
        database.age(by * HOUR);
        wait(journal.evicted(UNIX_EPOCH + hours * HOUR)).unwrap()
    };
    let gone = later(2);
    let counted: Vec<_> =
        gone.iter().map(|gone| (gone.numbers, gone.lines, gone.ends, gone.reason)).collect();
    let reason = DropReason::Expired;
    assert_eq!(counted, [(Some((1, 3)), 2, 0, reason), (Some((5, 5)), 0, 1, reason)]);
    let (publisher, portal, token) = gone[0].of.clone().unwrap();
    assert_eq!((publisher, portal, token), (ONE, None, EventToken::parse(TOKEN).unwrap()));
    assert!(read(&journal).chunks.is_empty());
    assert!(later(1).is_empty());

    let dead = "SELECT count(*) FROM bizproc.dead";
    assert_eq!(database.number(dead), 2);
    later(6 * 24);
    assert_eq!(database.number(dead), 2);
    later(2 * 24);
    assert_eq!(database.number(dead), 0);
    assert_eq!(database.number("SELECT count(*) FROM bizproc.marks"), 0);
}

/// Relays have to be updated first. An old relay must not send chunks after a chunk that it cannot read, because
/// that would change the order.
#[test]
fn a_portal_with_a_chunk_of_a_newer_version_waits() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    let chunks = vec![
        lines(Some("one"), &[1]),
        lines(Some("one"), &[2]),
        lines(Some("two"), &[3]),
        lines(Some("one"), &[4]),
    ];
    wait(journal.append(&batch(ONE, 1, chunks))).unwrap();
    database.sql(
        "UPDATE bizproc.chunks SET payload = set_byte(payload, 0, 200) \
         WHERE id = (SELECT min(id) + 1 FROM bizproc.chunks)",
    );
    assert_eq!(numbers(&read(&journal)), [(1, false), (3, false)]);
    assert_eq!(numbers(&read(&journal)), [(3, false)], "from the start, it is known already");
    let left = wait(journal.adopt()).unwrap().left;
    let said = left.iter().map(ToString::to_string).collect::<String>();
    assert!(said.contains("one") && said.contains("200") && !said.contains("s3cret"), "{said}");
    assert_eq!(database.number("SELECT count(*) FROM bizproc.chunks"), 4);
}

/// Regression: the portal waited for a row that was among the dead letters, until the relay was started again.
#[test]
fn a_portal_goes_on_when_the_chunk_that_cannot_be_read_has_died() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    let chunks =
        vec![lines(Some("one"), &[0, 1]), lines(Some("two"), &[2]), lines(Some("one"), &[3])];
    wait(journal.append(&batch(ONE, 1, chunks))).unwrap();
    database.sql(
        "UPDATE bizproc.chunks SET payload = set_byte(payload, 0, 200), \
         appended_at = now() - interval '2 days' WHERE id = (SELECT min(id) FROM bizproc.chunks)",
    );
    assert_eq!(numbers(&read(&journal)), [(2, false)]);
    let generation = journal.generation();
    let gone = wait(journal.evicted(server_time())).unwrap();
    assert_eq!(gone.iter().map(|gone| gone.lines).collect::<Vec<_>>(), [2], "they are counted");
    assert!(journal.generation() > generation, "it is read from the start");
    assert_eq!(numbers(&read(&journal)), [(2, false), (3, false)]);
    assert_eq!(wait(journal.adopt()).unwrap().left.len(), 0);
}

/// Regression: lines that were moved to the dead letters were never counted if tidying up failed after that.
#[test]
fn what_is_given_up_is_told_though_tidying_up_fails() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal().max_age(Duration::from_secs(3_600));
    wait(journal.append(&batch(ONE, 1, vec![lines(None, &[1, 2])]))).unwrap();
    database.sql("ALTER FUNCTION bizproc.tidy() RENAME TO not_there");
    database.age(Duration::from_secs(7_200));
    let now = server_time();
    let gone = wait(journal.evicted(now)).unwrap();
    assert_eq!(gone.iter().map(|gone| gone.lines).collect::<Vec<_>>(), [2]);
    assert!(wait(journal.evicted(now)).is_err(), "then it is said");
}

/// Regression: the clock of one relay was a year ahead. It made dead letters of everything that it read, and removed
/// dead letters, answers and memos that were new.
#[test]
fn the_wrong_clock_of_a_relay_buries_and_removes_nothing() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal().max_age(Duration::from_secs(60));
    wait(journal.append(&batch(ONE, 1, vec![lines(None, &[1])]))).unwrap();
    database.age(Duration::from_secs(3_600));
    assert_eq!(wait(journal.evicted(server_time())).unwrap().len(), 1);
    wait(journal.append(&batch(ONE, 2, vec![lines(None, &[2])]))).unwrap();
    let answer = Answer { publisher: ONE, no: 3, outcome: Outcome::Accepted };
    wait(journal.answer(std::slice::from_ref(&answer))).unwrap();

    let year = Duration::from_secs(365 * 86_400);
    for wrong in [server_time() + year, server_time() - year, UNIX_EPOCH] {
        assert_eq!(wait(journal.evicted(wrong)).unwrap(), []);
        assert_eq!(numbers(&read(&journal)), [(2, false)]);
        assert_eq!(wait(journal.answers(ONE, &[3])).unwrap(), std::slice::from_ref(&answer));
        let rows = "SELECT (SELECT count(*) FROM bizproc.dead) + (SELECT count(*) FROM bizproc.publishers)";
        assert_eq!(database.number(rows), 2);
    }
}

/// Deadlines are compared with this time, so a wrong clock of a relay or a replica makes no end too late.
#[test]
fn a_journal_tells_the_time_of_the_database() {
    let Some(database) = Database::new() else { return };
    let (writer, reader) = (database.journal(), database.journal());
    let wrong = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    assert_eq!(reader.time(wrong), wrong, "the database has not told its time yet");
    assert!(read(&reader).chunks.is_empty());
    wait(writer.append(&batch(ONE, 1, vec![lines(None, &[1])]))).unwrap();
    for journal in [&writer, &reader] {
        let now = server_time();
        let differ =
            journal.time(wrong).duration_since(now).unwrap_or_else(|error| error.duration());
        assert!(differ < Duration::from_secs(60), "{differ:?}");
    }
    let portal = Some(PortalId::from("one"));
    let other = database.journal();
    let query = Query { portal: Some(&portal), after: None, most_bytes: 1 };
    assert!(wait(other.read(query)).unwrap().chunks.is_empty());
    assert_ne!(other.time(wrong), wrong, "a read of one portal tells it, too");
}

/// Regression: a relay whose shards were empty searched all chunks of the other shards ten times per second.
#[test]
fn chunks_of_other_shards_are_searched_once() {
    let Some(database) = Database::new() else { return };
    let (writer, reader) = (database.journal(), database.journal());
    let shard = |portal: &str| Shard::of(Some(&PortalId::from(portal)));
    reader.read_shards([shard("one")]);
    let chunks = vec![lines(Some("one"), &[1]), lines(Some("two"), &[2]), lines(Some("two"), &[3])];
    let end = wait(writer.append(&batch(ONE, 1, chunks))).unwrap();
    let first = read(&reader);
    assert_eq!((numbers(&first), first.up_to, first.at_end), (vec![(1, false)], end, true));
    // What comes later is found behind this position.
    wait(writer.append(&batch(ONE, 2, vec![lines(Some("one"), &[4])]))).unwrap();
    let query = Query { portal: None, after: Some(first.up_to), most_bytes: 1 };
    assert_eq!(numbers(&wait(reader.read(query)).unwrap()), [(4, false)]);
    // Everything is settled, so the table is empty. The position does not go back.
    wait(writer.mark(&[
        mark(Some("one"), 1, 4, MarkKind::Settled),
        mark(Some("two"), 1, 4, MarkKind::Settled),
    ]))
    .unwrap();
    let query = Query { portal: None, after: Some(first.up_to), most_bytes: 1 };
    let last = wait(reader.read(query)).unwrap();
    assert_eq!((last.up_to, last.at_end, last.chunks.len()), (end, true, 0));
}

/// Regression: the database refused the batch again and again, and everything behind it waited.
#[test]
fn a_name_of_a_portal_that_no_text_can_hold_stops_nothing() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    let (strange, other) = ("a\0b", "a\u{fffd}b");
    let chunks =
        vec![lines(Some(strange), &[1]), lines(Some(other), &[2]), lines(Some("one"), &[3])];
    wait(journal.append(&batch(ONE, 1, chunks))).unwrap();
    assert_eq!(numbers(&read(&journal)), [(1, false), (2, false), (3, false)]);
    for (name, number) in [(strange, 1), (other, 2)] {
        let portal = Some(PortalId::from(name));
        // A relay has both in one shard, or asks for the shard of the name.
        let query = Query { portal: Some(&portal), after: None, most_bytes: 1_000_000 };
        assert_eq!(numbers(&wait(journal.read(query)).unwrap()), [(number, false)]);
        assert_eq!(wait(journal.memos(&portal)).unwrap().len(), 0);
        let event_token = EventToken::parse(TOKEN).unwrap();
        let of = Some((&portal, &event_token));
        assert_eq!(wait(journal.unsettled(ONE, of, u64::MAX)).unwrap(), 1);
        wait(journal.mark(&[mark(Some(name), number, number, MarkKind::Settled)])).unwrap();
    }
    assert_eq!(numbers(&read(&journal)), [(3, false)]);
}

/// The clock of the database, which is that of this machine.
#[expect(clippy::disallowed_methods, reason = "a test has the real clock of the server beside it")]
pub(crate) fn server_time() -> SystemTime {
    SystemTime::now()
}

#[test]
fn only_payloads_hold_secrets() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    wait(journal.append(&batch(ONE, 1, vec![lines(None, &[1, 2])]))).unwrap();
    wait(journal.mark(&[mark(None, 1, 1, MarkKind::Tried)])).unwrap();
    let keys = database.text(
        "SELECT string_agg((to_jsonb(c) - 'payload')::text || encode(c.activity, 'escape') || m::text, ' ') \
         FROM bizproc.chunks c, bizproc.marks m",
    );
    assert!(keys.contains("appended_at") && !keys.contains("s3cret"), "{keys}");
    let payload = database.text("SELECT encode(payload, 'escape') FROM bizproc.chunks");
    assert!(payload.contains(TOKEN));
    assert!(!format!("{journal:?}").contains("s3cret"));
}

#[test]
fn what_was_appended_survives_a_crash_and_is_read_from_the_start() {
    let Some(server) = Postgres::start_or_skip(&[]) else { return };
    let journal = PgJournal::new(PgConfig::parse(&server.socket("postgres")).unwrap()).unwrap();
    wait(journal.migrate()).unwrap();
    journal.read_shards(Shard::all());
    wait(journal.append(&batch(ONE, 1, vec![lines(None, &[1, 2, 3])]))).unwrap();
    wait(journal.mark(&[mark(None, 1, 2, MarkKind::Tried), mark(None, 1, 1, MarkKind::Settled)]))
        .unwrap();
    let generation = journal.generation();
    server.crash();
    assert!(wait(journal.append(&batch(ONE, 2, vec![lines(None, &[4])]))).is_err());
    server.resume().unwrap();
    wait(journal.append(&batch(ONE, 2, vec![lines(None, &[4])]))).unwrap();
    assert!(journal.generation() > generation);
    assert_eq!(numbers(&read(&journal)), [(2, true), (3, false), (4, false)]);
}

#[test]
fn it_says_how_many_lines_are_not_settled() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    let chunks = vec![
        lines(Some("one"), &[1, 2, 5]),
        lines(Some("two"), &[3, 4]),
        lines(Some("one"), &[6, 7]),
        Chunk {
            content: Content::Seal(StoredSeal { no: 8, at: UNIX_EPOCH }),
            ..lines(Some("one"), &[])
        },
    ];
    wait(journal.append(&batch(ONE, 1, chunks))).unwrap();
    let (one, two) = (Some(PortalId::from("one")), Some(PortalId::from("two")));
    let event_token = EventToken::parse(TOKEN).unwrap();
    let all = |up_to| wait(journal.unsettled(ONE, None, up_to)).unwrap();
    let of =
        |portal, up_to| wait(journal.unsettled(ONE, Some((portal, &event_token)), up_to)).unwrap();
    assert_eq!((all(u64::MAX), all(0), all(5), all(6)), (7, 0, 5, 6));
    assert_eq!((of(&one, u64::MAX), of(&one, 4), of(&two, 3), of(&None, 9)), (5, 2, 1, 0));
    assert_eq!(wait(journal.unsettled(Publisher(2), None, u64::MAX)).unwrap(), 0);
    let settled = |portal, from, up_to| mark(Some(portal), from, up_to, MarkKind::Settled);
    wait(journal.mark(&[settled("one", 2, 6), settled("two", 1, 9)])).unwrap();
    assert_eq!((all(u64::MAX), of(&one, 6), of(&one, 7), of(&two, 9)), (2, 1, 2, 0));
    wait(journal.mark(&[settled("one", 1, 8)])).unwrap();
    assert_eq!(all(u64::MAX), 0);
    assert_eq!(database.number("SELECT count(*) FROM bizproc.chunks"), 0, "the seal, too");
}

#[test]
fn outcomes_of_ends_are_told_to_the_publisher_that_asked() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    let answer = |no, outcome| Answer { publisher: ONE, no, outcome };
    let told = |ends: &[Number]| {
        let mut told = wait(journal.answers(ONE, ends)).unwrap();
        told.sort_by_key(|answer| answer.no);
        told
    };
    assert_eq!(told(&[1, 2]), []);
    let refused = Outcome::Refused("ERROR_CODE".to_owned());
    let first =
        [answer(1, Outcome::NotSent), answer(2, refused.clone()), answer(3, Outcome::Accepted)];
    wait(journal.answer(&first)).unwrap();
    wait(journal.answer(&first)).unwrap();
    assert_eq!(told(&[1, 2, 3, 4]), first);
    assert_eq!(wait(journal.answers(Publisher(2), &[1])).unwrap(), []);
    // Another relay has sent the end after all. An accepted end stays accepted.
    let later = [answer(1, Outcome::Accepted), answer(3, refused)];
    wait(journal.answer(&later)).unwrap();
    assert_eq!(told(&[1, 3]), [answer(1, Outcome::Accepted), answer(3, Outcome::Accepted)]);
    wait(journal.answer(&[])).unwrap();
}

/// Regression: one call with "accepted" and then "not sent" for the same end stored "not sent", and a later "not sent"
/// replaced what the portal had said. Then the replica sent an end that was sent before.
#[test]
fn the_best_outcome_of_an_end_counts_in_any_order() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    let refused = Outcome::Refused("ERROR_CODE".to_owned());
    let all = [Outcome::Accepted, refused, Outcome::NotSent];
    let mut no = 0;
    for first in &all {
        for second in &all {
            let best = if second.is_better_than(first) { second } else { first };
            let answer =
                |no, outcome: &Outcome| Answer { publisher: ONE, no, outcome: outcome.clone() };
            // In one call, and in two calls.
            wait(journal.answer(&[answer(no, first), answer(no, second)])).unwrap();
            wait(journal.answer(&[answer(no + 1, first)])).unwrap();
            wait(journal.answer(&[answer(no + 1, second)])).unwrap();
            for no in [no, no + 1] {
                let told = wait(journal.answers(ONE, &[no])).unwrap();
                assert_eq!(told, [answer(no, best)], "{first:?}, then {second:?}");
            }
            no += 2;
        }
    }
}

/// Regression: to read one portal, to look for old chunks and to count the lines of one token read all chunks.
#[test]
fn what_is_asked_for_one_portal_or_token_does_not_read_the_others() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    database.sql(
        "INSERT INTO bizproc.chunks
            (shard, portal, publisher, activity, numbers, lines, logged_at, payload)
        SELECT g % 256, 'other-' || g % 1000, substr(sha256('1'), 1, 16),
            substr(sha256((g % 50)::text::bytea), 1, 16), int8multirange(int8range(g, g + 1)), 1, now(), ''
        FROM generate_series(1, 5000) g; ANALYZE bizproc.chunks",
    );
    for (no, portal) in [Some("one"), None].into_iter().enumerate() {
        wait(journal.append(&batch(ONE, no as u64 + 1, vec![lines(portal, &[no as u64])])))
            .unwrap();
    }
    // How many rows of the table a statement looks at.
    let looked_at = |statement: &str| {
        let so_far = "SELECT sum(pg_stat_get_xact_tuples_returned(c.oid))::bigint FROM pg_class c \
             WHERE c.oid = 'bizproc.chunks'::regclass OR c.oid IN \
             (SELECT indexrelid FROM pg_index WHERE indrelid = 'bizproc.chunks'::regclass)";
        database.sql("BEGIN");
        let before = database.number(so_far);
        database.sql(statement);
        let rows = database.number(so_far) - before;
        database.sql("COMMIT");
        rows
    };
    assert!(looked_at("SELECT count(*) FROM bizproc.chunks") >= 5_000, "the check can fail");
    for (portal, name) in [(Some(PortalId::from("one")), "one"), (None, "")] {
        let query = Query { portal: Some(&portal), after: None, most_bytes: 1_000_000 };
        assert_eq!(wait(journal.read(query)).unwrap().chunks.len(), 1);
        let of_portal =
            format!("(SELECT shard FROM bizproc.chunks WHERE coalesce(portal, '') = '{name}')");
        let shard = database.number(&format!("SELECT {of_portal}::bigint"));
        let read = format!("SELECT bizproc.read_portal(0, {shard}::smallint, '{name}', 1000, 500)");
        assert_eq!(looked_at(&read), 1, "{name}");
    }
    let bury = "SELECT bizproc.bury(ARRAY[301]::smallint[], interval '1 day')";
    assert!(looked_at(bury) < 100, "the first chunk is not too old, so the others are not");
    let publisher = "substr(sha256('1'), 1, 16)";
    let unsettled = |activity: &str| {
        looked_at(&format!("SELECT bizproc.unsettled({publisher}, {activity}, 100000)"))
    };
    assert_eq!(unsettled("substr(sha256('7'), 1, 16)"), 100);
    assert_eq!(unsettled("NULL"), 5_000);
    let read = "SELECT bizproc.read_chunks(5002, ARRAY[301]::smallint[], true, NULL, 1000, 500)";
    assert!(looked_at(read) <= 1);
}
