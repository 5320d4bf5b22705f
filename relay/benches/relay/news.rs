//! How a relay learns of new chunks: it looks from time to time, or the server notifies it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bizproc_test_postgres::Postgres;
use tokio_postgres::{AsyncMessage, NoTls};
use tracing_bizproc::journal::{Batch, Journal, Position, Publisher, Query};
use tracing_bizproc_relay::{PgConfig, PgJournal, Shard};

use super::{Run, chunk, empty, wait};

/// How often a relay looks if the last look found nothing.
const POLL: Duration = Duration::from_millis(100);

pub(crate) fn compare(server: &Postgres, config: &PgConfig, small: bool) {
    let journal = PgJournal::new(config.clone()).unwrap();
    journal.read_shards(Shard::all());
    let reads = if small { 3 } else { 2_000 };
    let run = Run::new(server);
    for _ in 0..reads {
        let query = Query { portal: None, after: None, most_bytes: 1 << 20 };
        assert!(wait(journal.read(query)).unwrap().chunks.is_empty());
    }
    run.print("reads of nothing", reads);

    let appends = if small { 3 } else { 500 };
    commits(server, config, "appends of one chunk", appends, small);
    let polled = latencies(config, small, Publisher(100), |_: &()| thread::sleep(POLL), ());
    print("news by polling", &polled);

    let sql = |statement: &str| {
        wait(async {
            let (client, connection) =
                tokio_postgres::connect(&server.socket("postgres"), NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(statement).await.unwrap();
        });
    };
    sql("CREATE FUNCTION bizproc.tell() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_notify(''bizproc'', ''''); RETURN NULL; END'; \
         CREATE TRIGGER tell AFTER INSERT ON bizproc.chunks \
         FOR EACH STATEMENT EXECUTE FUNCTION bizproc.tell()");
    commits(server, config, "the same with NOTIFY", appends, small);
    let (tell, told) = channel();
    listen(server.socket("postgres"), tell);
    let wait_for_news = |told: &Receiver<()>| {
        // No notification has arrived. The relay looks in any case.
        let _ = told.recv_timeout(POLL * 10);
    };
    let told_of = latencies(config, small, Publisher(101), wait_for_news, told);
    print("news by NOTIFY", &told_of);
    sql("DROP TRIGGER tell ON bizproc.chunks; DROP FUNCTION bizproc.tell()");
}

/// Four publishers, each with one chunk in a batch.
fn commits(server: &Postgres, config: &PgConfig, what: &str, appends: u64, small: bool) {
    let run = Run::new(server);
    thread::scope(|scope| {
        for publisher in 0..4 {
            let journal = PgJournal::new(config.clone()).unwrap();
            let publisher = Publisher(publisher + if what.contains("NOTIFY") { 20 } else { 10 });
            scope.spawn(move || {
                for no in 1..=appends {
                    let batch = Batch { publisher, no, chunks: vec![chunk(no)] };
                    wait(journal.append(&batch)).unwrap();
                }
            });
        }
    });
    run.print(what, 4 * appends);
    if !small {
        empty(config);
    }
}

/// The time from the answer to an append until a reader has the chunk.
fn latencies<T: Send>(
    config: &PgConfig,
    small: bool,
    publisher: Publisher,
    wait_for_news: impl Fn(&T) + Send,
    told: T,
) -> Vec<Duration> {
    let rounds = if small { 2 } else { 100 };
    let (has_appended, appended) = channel();
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    let reader_config = config.clone();
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let journal = PgJournal::new(reader_config).unwrap();
            journal.read_shards(Shard::all());
            let mut after: Option<Position> = None;
            let mut latencies = Vec::new();
            while !is_done.load(Ordering::Relaxed) || latencies.len() < rounds {
                let query = Query { portal: None, after, most_bytes: 1 << 20 };
                let read = wait(journal.read(query)).unwrap();
                after = Some(read.up_to);
                let seen = Instant::now();
                for _ in read.chunks.iter().take(rounds - latencies.len()) {
                    let at: Instant = appended.recv().unwrap();
                    latencies.push(seen.saturating_duration_since(at));
                }
                if latencies.len() == rounds {
                    return latencies;
                }
                wait_for_news(&told);
            }
            latencies
        });
        let journal = PgJournal::new(config.clone()).unwrap();
        for no in 1..=rounds as u64 {
            thread::sleep(Duration::from_millis(137));
            let batch = Batch { publisher, no, chunks: vec![chunk(no)] };
            wait(journal.append(&batch)).unwrap();
            has_appended.send(Instant::now()).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    })
}

/// Passes on notifications of the server.
fn listen(connection: String, tell: Sender<()>) {
    thread::spawn(move || {
        wait(async {
            let (client, mut connection) =
                tokio_postgres::connect(&connection, NoTls).await.unwrap();
            let listening = tokio::spawn(async move {
                while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                    if matches!(message, AsyncMessage::Notification(_)) && tell.send(()).is_err() {
                        return;
                    }
                }
            });
            client.batch_execute("LISTEN bizproc").await.unwrap();
            listening.await.unwrap();
        });
    });
}

pub(crate) fn print(what: &str, durations: &[Duration]) {
    let mut durations = durations.to_vec();
    durations.sort();
    let millis = |share: f64| {
        let at = (durations.len() as f64 * share) as usize;
        durations.get(at.min(durations.len() - 1)).map_or(0.0, |d| d.as_secs_f64() * 1e3)
    };
    println!("{what:<28} p50 {:>7.1} ms, p99 {:>7.1} ms", millis(0.5), millis(0.99));
}
