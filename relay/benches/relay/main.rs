//! How many operations of the relay one PostgreSQL server on this machine does per second, with `fsync`, as in
//! production.
//!
//! `cargo bench -p tracing-bizproc-relay --bench relay` takes two to five minutes. With `--test`, each part runs
//! once and small; with `complete`, only ends of activities are measured. In addition to the rates, it prints how
//! much of a core the client and the server used. On a machine with other load, these figures are more reliable.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "a bench that fails says where")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::future::Future;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bizproc_test_postgres::{Postgres, own_cpu};
use tokio::runtime::Builder;
use tracing_bizproc::journal::{
    Batch, Chunk, Content, Intent, Journal, Mark, MarkKind, Memo, Publisher, Query, StoredLine,
};
use tracing_bizproc::{EventToken, PortalId};
use tracing_bizproc_relay::{Member, Owner, PgConfig, PgJournal, PgOwnership, RelayJournal, Shard};

mod complete;
mod news;
mod takeover;

const TOKENS: u64 = 1_000;
const PORTALS: u64 = 100;
const BATCH: u64 = 1_000;

fn main() {
    let small = std::env::args().any(|argument| argument == "--test");
    let batches = if small { 2 } else { 100 };
    let Some(server) = Postgres::start_or_skip(&["autovacuum_naptime=5s", "max_wal_size=4GB"])
    else {
        return;
    };
    let config = PgConfig::parse(&server.socket("postgres")).unwrap();
    let config = config.timeout(Duration::from_secs(60));
    wait(PgJournal::new(config.clone()).unwrap().migrate()).unwrap();

    if std::env::args().any(|argument| argument == "complete") {
        return complete::compare(&config, small);
    }
    println!(
        "chunks of one line of 100 bytes, in batches of {BATCH}; {TOKENS} tokens on {PORTALS} portals"
    );
    for publishers in [1, 4] {
        let run = Run::new(&server);
        thread::scope(|scope| {
            for publisher in 0..publishers {
                let journal = PgJournal::new(config.clone()).unwrap();
                scope.spawn(move || publish(&journal, Publisher(publisher), batches));
            }
        });
        let chunks = u64::try_from(publishers).unwrap() * batches * BATCH;
        run.print(&format!("chunks, publishers: {publishers}"), chunks);
        empty(&config);
    }

    let journal = PgJournal::new(config.clone()).unwrap();
    journal.read_shards(Shard::all());
    let before = number(&server, WAL);
    publish(&journal, Publisher(7), batches);
    let per_chunk = |bytes: i64| bytes / i64::try_from(batches * BATCH).unwrap();
    println!(
        "bytes of a chunk: {} in the table and its indexes, {} of WAL",
        per_chunk(number(&server, "SELECT pg_total_relation_size('bizproc.chunks')")),
        per_chunk(number(&server, WAL) - before),
    );
    let run = Run::new(&server);
    let mut read = 0;
    let mut after = None;
    loop {
        let query = Query { portal: None, after, most_bytes: 1 << 20 };
        let part = wait(journal.read(query)).unwrap();
        read += part.chunks.len() as u64;
        after = Some(part.up_to);
        if part.at_end {
            break;
        }
    }
    assert_eq!(read, batches * BATCH);
    run.print("chunks that are read", read);

    intents(&server, &config, small);

    let run = Run::new(&server);
    for batch in 0..batches {
        let settled: Vec<Mark> =
            (0..BATCH).map(|n| mark(batch * BATCH + n + 1, MarkKind::Settled)).collect();
        wait(journal.mark(&settled)).unwrap();
    }
    run.print("settles, 1,000 in one call", batches * BATCH);
    let left = wait(journal.read(Query { portal: None, after: None, most_bytes: 1 })).unwrap();
    assert!(left.chunks.is_empty() && left.at_end);

    news::compare(&server, &config, small);
    takeover::measure(&config, small);
    complete::compare(&config, small);
}

/// Intents on lines that are there, each with a memo, as a relay writes them before each request.
fn intents(server: &Postgres, config: &PgConfig, small: bool) {
    let ownership = PgOwnership::new(config.clone()).unwrap();
    let mut owner = Owner::new(Arc::new(ownership), Member(1));
    let journal = RelayJournal::new(Arc::new(PgJournal::new(config.clone()).unwrap()), &owner);
    for (bulk, calls) in [(1, 2_000), (50, 1_000)] {
        let calls = if small { 3 } else { calls };
        let run = Run::new(server);
        let mut renewed = None::<Instant>;
        for call in 0..calls {
            if renewed.is_none_or(|at| at.elapsed() > owner.interval()) {
                assert_eq!(wait(owner.turn(Instant::now)).unwrap().lost, []);
                journal.activate(owner.leases().claims());
                renewed = Some(Instant::now());
            }
            let intent = |n: u64| {
                let number = (call * bulk + n) % BATCH + 1;
                let memo = Memo { key: u128::from(number % TOKENS), value: vec![7; 40] };
                let marks = vec![mark(number, MarkKind::Tried)];
                Intent { portal: portal(number), marks, memos: vec![memo] }
            };
            let intents: Vec<Intent> = (0..bulk).map(intent).collect();
            let permits = wait(journal.intend(&intents)).unwrap();
            assert!(permits.iter().all(Option::is_some));
        }
        run.print(&format!("intents, {bulk} in one call"), calls * bulk);
    }
    wait(owner.leave()).unwrap();
}

fn publish(journal: &PgJournal, publisher: Publisher, batches: u64) {
    for no in 0..batches {
        let chunks = (0..BATCH).map(|n| chunk(no * BATCH + n + 1)).collect();
        wait(journal.append(&Batch { publisher, no: no + 1, chunks })).unwrap();
    }
}

/// Settles everything.
fn empty(config: &PgConfig) {
    let journal = PgJournal::new(config.clone()).unwrap();
    journal.read_shards(Shard::all());
    loop {
        let query = Query { portal: None, after: None, most_bytes: 1 << 22 };
        let read = wait(journal.read(query)).unwrap();
        let settled: Vec<Mark> = read
            .chunks
            .iter()
            .map(|(publisher, chunk)| {
                let Content::Lines(lines) = &chunk.content else { panic!("not lines") };
                Mark { publisher: *publisher, ..mark(lines[0].no, MarkKind::Settled) }
            })
            .collect();
        if settled.is_empty() {
            return;
        }
        wait(journal.mark(&settled)).unwrap();
    }
}

fn event_token(number: u64) -> EventToken {
    EventToken::parse(&format!("5e4a77.{:08}|A1|7.{:0100}", number % TOKENS, number % TOKENS))
        .unwrap()
}

fn portal(number: u64) -> Option<PortalId> {
    Some(PortalId::from(format!("a223c6b3710f85df22e9377d6c4f75{:02}", number % TOKENS % PORTALS)))
}

fn chunk(number: u64) -> Chunk {
    let line = StoredLine {
        no: number,
        at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + number),
        level: tracing::Level::INFO,
        body: format!("{number:0100}"),
        cut: 0,
        tried: false,
    };
    let (portal, event_token) = (portal(number), event_token(number));
    Chunk { portal, event_token, content: Content::Lines(vec![line]), about: None }
}

fn mark(number: u64, kind: MarkKind) -> Mark {
    let (portal, event_token) = (portal(number), event_token(number));
    Mark { publisher: Publisher(7), portal, event_token, from: number, up_to: number, kind }
}

/// A part of the bench.
struct Run<'a> {
    server: &'a Postgres,
    started: Instant,
    client_cpu: Duration,
    server_cpu: Duration,
}

impl<'a> Run<'a> {
    fn new(server: &'a Postgres) -> Self {
        Run {
            server,
            started: Instant::now(),
            client_cpu: own_cpu().unwrap_or_default(),
            server_cpu: server.cpu().unwrap_or_default(),
        }
    }

    fn print(&self, what: &str, count: u64) {
        let per_second = count as f64 / self.started.elapsed().as_secs_f64();
        let each = |used: Option<Duration>, before: Duration| {
            used.unwrap_or_default().saturating_sub(before).as_secs_f64() * 1e6 / count as f64
        };
        let (client, server) =
            (each(own_cpu(), self.client_cpu), each(self.server.cpu(), self.server_cpu));
        println!("{what:<28} {per_second:>9.0}/s {client:>9.1} us client {server:>9.1} us server");
    }
}

const WAL: &str = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";

/// Asks the server for a number.
fn number(server: &Postgres, query: &str) -> i64 {
    wait(async {
        let (client, connection) =
            tokio_postgres::connect(&server.socket("postgres"), tokio_postgres::NoTls)
                .await
                .unwrap();
        tokio::spawn(connection);
        client.query_one(query, &[]).await.unwrap().get(0)
    })
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
