//! The spool alone: the cost of a line on disk and in time, and how fast lines are read again.
//!
//! `cargo bench --bench spool --features spool` prints one line per figure; `-- NAME` runs the figures whose name
//! contains NAME, `-- --test` everything once, small. Files are in the directory that `SPOOL_DIR` names, otherwise
//! in the target directory of `cargo`.
#![expect(clippy::print_stdout, reason = "figures are what a bench prints")]
#![expect(clippy::disallowed_methods, reason = "it is a measurement")]

use std::alloc::System;
use std::fs;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tracing::Level;
use tracing_bizproc::journal::{
    Batch, Chunk, Content, Journal, JournalFuture, Mark, MarkKind, Publisher, Query, StoredLine,
};
use tracing_bizproc::spool::{Durability, Spool};
use tracing_bizproc::{EventToken, PortalId};

#[global_allocator]
static ALLOCATED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let smoke = arguments.iter().any(|argument| argument == "--test");
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let figures: [(&str, Figures); 4] =
        [("append", append), ("settle", settle), ("recover", recover), ("memory", memory)];
    for (name, figures) in figures {
        if wanted.is_none_or(|wanted| name.contains(wanted.as_str())) {
            figures(smoke);
        }
    }
}

/// Prints some figures. `true`: a short run.
type Figures = fn(bool);

fn figure(name: &str, value: impl std::fmt::Display, target: &str) {
    println!("figure {name} = {value} (target {target})");
}

/// A directory that is empty at the start and removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let root = std::env::var_os("SPOOL_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = root.join(format!("bizproc-bench-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    fn spool(&self) -> Spool {
        Spool::new(&self.0).max_bytes(64 << 30).max_age(Duration::from_secs(1 << 30))
    }

    fn bytes(&self) -> u64 {
        bytes(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bytes(path: &Path) -> u64 {
    let entries =
        fs::read_dir(path).expect("the spool's directory").map(|entry| entry.expect("read"));
    let size = |entry: fs::DirEntry| match entry.path() {
        path if path.is_dir() => bytes(&path),
        path => fs::metadata(path).expect("a file").len(),
    };
    entries.map(size).sum()
}

fn now<T>(mut future: JournalFuture<'_, T>) -> T {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.expect("the disk works"),
        Poll::Pending => panic!("it blocks instead"),
    }
}

/// Lines of 100 bytes, some for each of many tokens on a hundred portals.
struct Load {
    tokens: Vec<(PortalId, EventToken)>,
    body: String,
    no: u64,
    batch: u64,
}

impl Load {
    fn new(tokens: usize) -> Self {
        let token = |n: usize| {
            let text =
                format!("68f1e5d2a3b4c1.{n:08}|A12345_6789_1011_1213|42.{}", "c0ffee00".repeat(8));
            let portal = format!("0123456789abcdef0123456789ab{:04}", n % 100);
            (PortalId::from(portal), EventToken::parse(&text).expect("a token's shape"))
        };
        Load { tokens: (0..tokens).map(token).collect(), body: "x".repeat(100), no: 0, batch: 0 }
    }

    fn batch(&mut self, chunks: usize, lines: usize) -> Batch {
        self.batch += 1;
        let chunks = (0..chunks).map(|n| {
            let at = (self.batch as usize * chunks + n) % self.tokens.len();
            let (portal, event_token) = self.tokens[at].clone();
            let lines = (0..lines).map(|_| {
                self.no += 1;
                let at = UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + self.no);
                let body = self.body.clone();
                StoredLine { no: self.no, at, level: Level::INFO, body, cut: 0, tried: false }
            });
            let content = Content::Lines(lines.collect());
            Chunk { portal: Some(portal), event_token, content, about: None }
        });
        let chunks = chunks.collect();
        Batch { publisher: Publisher(1), no: self.batch, chunks }
    }
}

fn append(smoke: bool) {
    let batches = if smoke { 20 } else { 3_000 };
    for (durability, name) in [(Durability::Buffered, "buffered"), (Durability::Fsync, "fsync")] {
        for (tokens, lines) in [(1_000, 1), (100, 1), (1_000, 10)] {
            let folder = Folder::new();
            let journal = folder.spool().durability(durability).open(Publisher(1)).expect("opened");
            let mut load = Load::new(tokens);
            let batches: Vec<Batch> = (0..batches).map(|_| load.batch(100, lines)).collect();
            let (start, cpu) = (Instant::now(), cpu());
            for batch in &batches {
                now(journal.append(batch));
            }
            let (took, cpu) = (start.elapsed(), self::cpu().saturating_sub(cpu));
            let chunks = batches.len() as f64 * 100.0;
            let name =
                format!("{name}, {tokens} tokens, {lines} lines a chunk, 100 chunks a batch");
            figure(&format!("chunks/s {name}"), format!("{:.0}", chunks / took.as_secs_f64()), "-");
            let lines = chunks * lines as f64;
            figure(&format!("lines/s {name}"), format!("{:.0}", lines / took.as_secs_f64()), "-");
            let micros = cpu.as_secs_f64() * 1e6;
            figure(&format!("us of CPU a chunk, {name}"), format!("{:.2}", micros / chunks), "-");
            let bytes = folder.bytes() as f64;
            figure(&format!("bytes a chunk, {name}"), format!("{:.0}", bytes / chunks), "-");
            figure(&format!("bytes a line, {name}"), format!("{:.0}", bytes / lines), "-");
        }
    }
}

/// Like the worker, it marks the lines of one request twice: as tried, and as settled.
fn settle(smoke: bool) {
    let rounds = if smoke { 20 } else { 3_000 };
    for (durability, name) in [(Durability::Buffered, "buffered"), (Durability::Fsync, "fsync")] {
        let folder = Folder::new();
        let journal = folder.spool().durability(durability).open(Publisher(1)).expect("opened");
        let mut load = Load::new(1_000);
        let (start, cpu) = (Instant::now(), cpu());
        for _ in 0..rounds {
            let batch = load.batch(100, 10);
            now(journal.append(&batch));
            for kind in [MarkKind::Tried, MarkKind::Settled] {
                let marks: Vec<Mark> = batch.chunks.iter().map(|chunk| mark(chunk, kind)).collect();
                now(journal.mark(&marks));
            }
        }
        let (took, cpu) = (start.elapsed(), self::cpu().saturating_sub(cpu));
        let lines = rounds as f64 * 1_000.0;
        let name = format!("appended, tried and settled, 10 a chunk, {name}");
        figure(
            &format!("lines/s {name}"),
            format!("{:.0}", lines / took.as_secs_f64()),
            ">= 100000",
        );
        let micros = cpu.as_secs_f64() * 1e6;
        figure(&format!("us of CPU a line, {name}"), format!("{:.2}", micros / lines), "-");
        figure(&format!("bytes left of them, {name}"), folder.bytes(), "-");
    }
}

fn mark(chunk: &Chunk, kind: MarkKind) -> Mark {
    let Content::Lines(lines) = &chunk.content else { panic!("a chunk of lines") };
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { panic!("it has lines") };
    let (portal, event_token) = (chunk.portal.clone(), chunk.event_token.clone());
    Mark { publisher: Publisher(1), portal, event_token, from: first.no, up_to: last.no, kind }
}

/// Takes over the data of a killed run, and reads all of it.
fn recover(smoke: bool) {
    let sizes: &[u64] = if smoke { &[10_000] } else { &[1_000_000, 8_640_000] };
    for &lines in sizes {
        let folder = Folder::new();
        let dead = folder.spool().open(Publisher(1)).expect("opened");
        let mut load = Load::new(1_000);
        for _ in 0..lines / 1_000 {
            now(dead.append(&load.batch(100, 10)));
        }
        drop(dead);
        let bytes = folder.bytes();
        let journal = folder.spool().open(Publisher(2)).expect("opened");
        let start = Instant::now();
        let mut found = 0;
        let mut slowest = Duration::ZERO;
        loop {
            let step = Instant::now();
            let adopted = now(journal.adopt());
            slowest = slowest.max(step.elapsed());
            found += adopted.held.iter().map(|held| held.lines).sum::<u64>();
            if !adopted.more {
                break;
            }
        }
        assert_eq!(found, lines);
        let took = start.elapsed();
        let name = format!("{lines} lines, {} MB", bytes / 1_000_000);
        let target = if lines == 1_000_000 { "<= 10 s" } else { "-" };
        figure(&format!("taking over {name}"), format!("{:.2} s", took.as_secs_f64()), target);
        figure(&format!("slowest step of {name}"), format!("{} ms", slowest.as_millis()), "-");
        let start = Instant::now();
        assert_eq!(read(&journal), lines);
        let took = start.elapsed();
        figure(&format!("reading {name}"), format!("{:.2} s", took.as_secs_f64()), "-");
    }
}

fn read(journal: &impl Journal) -> u64 {
    let (mut after, mut lines) = (None, 0);
    loop {
        let read = now(journal.read(Query { portal: None, after, most_bytes: 1 << 20 }));
        for (_, chunk) in &read.chunks {
            let Content::Lines(stored) = &chunk.content else { continue };
            lines += stored.len() as u64;
        }
        after = Some(read.up_to);
        if read.at_end {
            return lines;
        }
    }
}

/// A day without a portal: memory has only the lines that are being written.
fn memory(smoke: bool) {
    let lines = if smoke { 10_000 } else { 8_640_000 };
    let folder = Folder::new();
    let region = Region::new(ALLOCATED);
    let kept = || {
        let change = region.change();
        change.bytes_allocated.saturating_sub(change.bytes_deallocated)
    };
    let journal = folder.spool().open(Publisher(1)).expect("opened");
    let mut load = Load::new(1_000);
    let without = kept();
    for _ in 0..lines / 100 {
        now(journal.append(&load.batch(10, 10)));
        now(journal.evicted(SystemTime::UNIX_EPOCH));
    }
    let appended = kept().saturating_sub(without);
    figure(&format!("bytes of memory after {lines} lines"), appended, "<= 16777216");
    figure(&format!("bytes on disk after {lines} lines"), folder.bytes(), "-");
    assert_eq!(read(&journal), lines);
    let settled = load.batch(100, 1);
    let marks: Vec<Mark> = settled
        .chunks
        .iter()
        .map(|chunk| Mark { from: 1, up_to: lines / 2, ..mark(chunk, MarkKind::Settled) })
        .collect();
    let start = Instant::now();
    now(journal.mark(&marks));
    let took = start.elapsed();
    let name = format!("settling half of the lines of 100 of 1,000 tokens among {lines}");
    figure(&name, format!("{:.2} s", took.as_secs_f64()), "-");
    figure("bytes of memory after that", kept().saturating_sub(without), "<= 16777216");
}

/// The processor time of this process so far.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |n: usize| fields.split_whitespace().nth(n).and_then(|field| field.parse().ok());
    let (user, system): (u64, u64) = (ticks(11).unwrap_or(0), ticks(12).unwrap_or(0));
    // A tick is 10 ms on every Linux.
    Duration::from_millis((user + system) * 10)
}
