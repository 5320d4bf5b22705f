//! The spool as a whole, on a file system in memory and on a real one.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing_core::Level;

use super::disk::Disk;
use super::disk::fake::FakeDisk;
use super::files::{Files, Limits};
use super::*;
use crate::journal::{
    Adopted, Batch, Chunk, Content, Evicted, Journal, JournalError, JournalFuture, Mark, MarkKind,
    Number, Position, Query, StoredEnd, StoredLine,
};
use crate::line::{EventToken, PortalId};

mod crashes;
mod damage;
mod limits;
#[cfg(unix)]
mod real;
mod whole;

const DIR: &str = "/spool";

/// The answer of a spool, which is always ready at once.
fn now<T>(future: JournalFuture<'_, T>) -> Result<T, JournalError> {
    let mut future = future;
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it blocks instead"),
    }
}

fn limits(fsync: bool) -> Limits {
    let max_age = Duration::from_secs(24 * 3600);
    Limits { dir: DIR.into(), fsync, max_bytes: 1 << 30, max_age, segment_bytes: 4 << 20 }
}

fn open(disk: &FakeDisk, publisher: u128) -> Files {
    Files::open(Arc::new(disk.clone()), limits(false), Publisher(publisher)).unwrap()
}

fn token(n: usize) -> EventToken {
    EventToken::parse(&format!("5e4a77.{n:08}|A1|7.s3cr3t-{n}")).unwrap()
}

fn at(no: Number) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000) + Duration::from_millis(no)
}

fn line(no: Number) -> StoredLine {
    let body = format!("line {no}");
    StoredLine { no, at: at(no), level: Level::INFO, body, cut: 0, tried: false }
}

fn chunk(n: usize, numbers: &[Number]) -> Chunk {
    let content = Content::Lines(numbers.iter().map(|no| line(*no)).collect());
    Chunk { portal: portal(n), event_token: token(n), content, about: None }
}

/// Each tenth token is one of the default portal.
fn portal(n: usize) -> Option<PortalId> {
    (n % 10 != 0).then(|| PortalId::from(format!("portal-{}", n % 10)))
}

fn batch(publisher: u128, no: u64, chunks: Vec<Chunk>) -> Batch {
    Batch { publisher: Publisher(publisher), no, chunks }
}

fn mark(publisher: u128, n: usize, (from, up_to): (Number, Number), kind: MarkKind) -> Mark {
    let (publisher, portal, event_token) = (Publisher(publisher), portal(n), token(n));
    Mark { publisher, portal, event_token, from, up_to, kind }
}

fn append(files: &Files, batch: &Batch) -> Position {
    now(files.append(batch)).unwrap()
}

fn adopt_all(files: &Files) -> Adopted {
    let mut all = Adopted::default();
    loop {
        let adopted = now(files.adopt()).unwrap();
        all.held.extend(adopted.held);
        all.left.extend(adopted.left);
        if !adopted.more {
            return all;
        }
    }
}

/// Reads everything, in parts of this number of bytes.
fn read_all(
    files: &Files,
    portal: Option<&Option<PortalId>>,
    most_bytes: usize,
) -> Vec<(u128, Chunk)> {
    let mut chunks = Vec::new();
    let mut after = None;
    loop {
        let read = now(files.read(Query { portal, after, most_bytes })).unwrap();
        chunks.extend(read.chunks.into_iter().map(|(publisher, chunk)| (publisher.0, chunk)));
        if read.at_end {
            return chunks;
        }
        assert!(after.is_none_or(|after| after < read.up_to), "it goes on");
        after = Some(read.up_to);
    }
}

/// The numbers of lines, and whether they were tried, by publisher and token, in the order of reading.
type Lines = BTreeMap<(u128, EventTokenText), Vec<(Number, bool)>>;
type EventTokenText = String;

fn lines(chunks: &[(u128, Chunk)]) -> Lines {
    let mut lines = Lines::new();
    for (publisher, chunk) in chunks {
        let key = (*publisher, chunk.event_token.expose().to_owned());
        let Content::Lines(stored) = &chunk.content else { continue };
        let of_token = lines.entry(key).or_default();
        of_token.extend(stored.iter().map(|line| (line.no, line.tried)));
    }
    lines
}

fn evicted(files: &Files) -> Vec<Evicted> {
    now(files.evicted(at(0))).unwrap()
}

fn count(chunks: &[(u128, Chunk)]) -> usize {
    lines(chunks).values().map(Vec::len).sum()
}
