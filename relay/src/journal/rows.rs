//! Converts chunks and marks to rows, and rows to chunks.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tracing_bizproc::journal::codec::{Unreadable, decode, encode};
use tracing_bizproc::journal::{
    Answer, Batch, Chunk, Content, Evicted, Intent, Mark, MarkKind, Number, Outcome, Publisher,
    event_token_text,
};
use tracing_bizproc::stats::DropReason;
use tracing_bizproc::{EventToken, PortalId};

use super::numbers::Numbers;
use crate::shard::Shard;

/// The name of a publisher as a key.
pub(crate) fn publisher_key(publisher: Publisher) -> Vec<u8> {
    publisher.0.to_be_bytes().to_vec()
}

pub(crate) fn publisher_of(key: &[u8]) -> Option<Publisher> {
    Some(Publisher(u128::from_be_bytes(key.try_into().ok()?)))
}

/// Portal and token as a key that does not reveal the token: half of a SHA-256 hash.
pub(crate) fn activity_key(portal: Option<&PortalId>, event_token: &EventToken) -> Vec<u8> {
    let mut hash = Sha256::new();
    match portal {
        None => hash.update([0]),
        Some(portal) => {
            hash.update([1]);
            hash.update((portal.as_str().len() as u64).to_be_bytes());
            hash.update(portal.as_str());
        }
    }
    hash.update(event_token_text(event_token));
    hash.finalize()[..16].to_vec()
}

/// The columns of a batch.
#[derive(Default)]
pub(crate) struct ChunkRows {
    pub(crate) shards: Vec<i16>,
    pub(crate) portals: Vec<Option<String>>,
    pub(crate) activities: Vec<Vec<u8>>,
    pub(crate) numbers: Vec<String>,
    pub(crate) lines: Vec<i32>,
    pub(crate) logged: Vec<SystemTime>,
    pub(crate) payloads: Vec<Vec<u8>>,
}

impl ChunkRows {
    /// The rows of a batch. Empty chunks are left out.
    pub(crate) fn of(batch: &Batch) -> Self {
        let mut rows = ChunkRows::default();
        for chunk in &batch.chunks {
            let (numbers, lines, at) = match &chunk.content {
                Content::Lines(lines) => {
                    let Some(first) = lines.first() else { continue };
                    let numbers = Numbers::of(lines.iter().map(|line| line.no));
                    (numbers, i32::try_from(lines.len()).unwrap_or(i32::MAX), first.at)
                }
                Content::Missed(gap) => (Numbers::of([gap.no]), 0, gap.since),
                Content::End(end) => (Numbers::of([end.no]), 0, end.deadline),
                Content::Seal(seal) => (Numbers::of([seal.no]), 0, seal.at),
                // A kind of content that this version does not know. It cannot be written without numbers.
                _ => continue,
            };
            let portal = chunk.portal.as_ref();
            rows.shards.push(Shard::of(portal).number());
            rows.portals.push(portal.map(portal_text));
            rows.activities.push(activity_key(portal, &chunk.event_token));
            rows.numbers.push(numbers.to_text());
            rows.lines.push(lines);
            rows.logged.push(plausible(at));
            let mut payload = Vec::new();
            encode(chunk, &mut payload);
            rows.payloads.push(payload);
        }
        rows
    }
}

/// Limits a time to what a timestamp can hold, because the clock of an app may be wrong.
fn plausible(at: SystemTime) -> SystemTime {
    let latest = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    at.clamp(UNIX_EPOCH, latest)
}

/// The columns of marks.
#[derive(Default)]
pub(crate) struct MarkRows {
    pub(crate) shards: Vec<i16>,
    pub(crate) publishers: Vec<Vec<u8>>,
    pub(crate) activities: Vec<Vec<u8>>,
    pub(crate) firsts: Vec<i64>,
    pub(crate) lasts: Vec<i64>,
}

impl MarkRows {
    pub(crate) fn of<'a>(marks: impl IntoIterator<Item = &'a Mark>) -> Self {
        let mut rows = MarkRows::default();
        for mark in marks.into_iter().filter(is_range) {
            let portal = mark.portal.as_ref();
            rows.shards.push(Shard::of(portal).number());
            rows.publishers.push(publisher_key(mark.publisher));
            rows.activities.push(activity_key(portal, &mark.event_token));
            rows.firsts.push(signed(mark.from));
            rows.lasts.push(signed(mark.up_to));
        }
        rows
    }
}

/// For each mark, its step: marks of the same lines are applied in their order, so they are in different steps.
#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) steps: Vec<i16>,
    pub(crate) returned: Vec<bool>,
}

impl Steps {
    /// The steps of the same marks as in [`MarkRows::of`].
    pub(crate) fn of<'a>(marks: impl IntoIterator<Item = &'a Mark>, rows: &MarkRows) -> Self {
        let mut steps = Steps::default();
        let mut last = HashMap::new();
        let keys = rows.publishers.iter().zip(&rows.activities);
        for (mark, (publisher, activity)) in marks.into_iter().filter(is_range).zip(keys) {
            let returned = mark.kind == MarkKind::Returned;
            let (step, kind) = last.entry((publisher, activity)).or_insert((0_i16, returned));
            if *kind != returned {
                (*step, *kind) = (step.saturating_add(1), returned);
            }
            steps.steps.push(*step);
            steps.returned.push(returned);
        }
        steps
    }
}

fn is_range(mark: &&Mark) -> bool {
    mark.from <= mark.up_to
}

/// The columns of memos.
#[derive(Default)]
pub(crate) struct MemoRows {
    pub(crate) shards: Vec<i16>,
    pub(crate) portals: Vec<String>,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) contents: Vec<Vec<u8>>,
}

impl MemoRows {
    pub(crate) fn of(intents: &[Intent]) -> Self {
        let mut rows = MemoRows::default();
        for Intent { portal, memos, .. } in intents {
            for memo in memos {
                rows.shards.push(Shard::of(portal.as_ref()).number());
                rows.portals.push(portal_name(portal.as_ref()));
                rows.keys.push(memo.key.to_be_bytes().to_vec());
                rows.contents.push(memo.value.clone());
            }
        }
        rows
    }
}

/// The name of a portal in the table of memos. No portal has an empty name, so the empty name stands for the
/// default portal.
pub(crate) fn portal_name(portal: Option<&PortalId>) -> String {
    portal.map(portal_text).unwrap_or_default()
}

/// The name of a portal as a text of the database, which has no NUL. A span of an app may name any portal, and a
/// batch that the database refuses would hold up all others. Chunks hold the name as it is.
pub(crate) fn portal_text(portal: &PortalId) -> String {
    portal.as_str().replace('\0', "\u{fffd}")
}

/// The columns of answers.
#[derive(Default)]
pub(crate) struct AnswerRows {
    pub(crate) publishers: Vec<Vec<u8>>,
    pub(crate) numbers: Vec<i64>,
    pub(crate) outcomes: Vec<i16>,
    pub(crate) codes: Vec<Option<String>>,
}

impl AnswerRows {
    pub(crate) fn of(answers: &[Answer]) -> Self {
        let mut rows = AnswerRows::default();
        for Answer { publisher, no, outcome } in answers {
            let (outcome, code) = match outcome {
                Outcome::Accepted => (ACCEPTED, None),
                Outcome::Refused(code) => (REFUSED, Some(code.replace('\0', ""))),
                // Also kinds that only a later version knows.
                _ => (NOT_SENT, None),
            };
            rows.publishers.push(publisher_key(*publisher));
            rows.numbers.push(signed(*no));
            rows.outcomes.push(outcome);
            rows.codes.push(code);
        }
        rows
    }
}

/// Reads the outcome of an end from its columns. `None`: a later version wrote it.
pub(crate) fn outcome(outcome: i16, code: Option<String>) -> Option<Outcome> {
    match outcome {
        ACCEPTED => Some(Outcome::Accepted),
        REFUSED => Some(Outcome::Refused(code.unwrap_or_default())),
        NOT_SENT => Some(Outcome::NotSent),
        _ => None,
    }
}

const ACCEPTED: i16 = 0;
const REFUSED: i16 = 1;
const NOT_SENT: i16 = 2;

/// A number as the database stores it. The database stores `[a,b]` as `[a,b+1)`, so the largest number cannot be
/// used.
pub(crate) fn signed(number: Number) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX).min(i64::MAX - 1)
}

/// The rest of a stored chunk: without lines that are settled, and with the tried lines marked. `None`: nothing is
/// left.
pub(crate) fn what_is_left(
    payload: &[u8],
    tried: &Numbers,
    settled: &Numbers,
) -> Result<Option<Chunk>, Unreadable> {
    let mut chunk = decode(payload)?;
    let something = match &mut chunk.content {
        Content::Lines(lines) => {
            lines.retain(|line| !settled.contains(line.no));
            for line in lines.iter_mut() {
                // Another run may have appended this line before.
                line.tried |= tried.contains(line.no);
            }
            !lines.is_empty()
        }
        Content::Missed(gap) => !settled.contains(gap.no),
        Content::End(end) => !settled.contains(end.no),
        Content::Seal(seal) => !settled.contains(seal.no),
        _ => true,
    };
    Ok(something.then_some(chunk))
}

/// The lines that are lost with a chunk that was too old. `lines`: how many the chunk had, which is needed if it
/// cannot be read.
pub(crate) fn evicted(
    publisher: &[u8],
    numbers: &Numbers,
    settled: &Numbers,
    since: SystemTime,
    payload: &[u8],
    lines: u64,
) -> Option<Evicted> {
    let reason = DropReason::Expired;
    let unknown = Evicted { of: None, numbers: numbers.ends(), lines: 0, ends: 0, since, reason };
    let Ok(left) = what_is_left(payload, &Numbers::default(), settled) else {
        // Without the chunk, only the numbers say which of its lines were settled.
        let left = if lines > 0 { numbers.count_without(settled) } else { 0 };
        return Some(Evicted { lines: left, ..unknown });
    };
    let chunk = left?;
    let (lines, ends, numbers) = match &chunk.content {
        Content::Lines(lines) => {
            (lines.len() as u64, 0, Numbers::of(lines.iter().map(|line| line.no)).ends())
        }
        Content::End(_) => (0, 1, numbers.ends()),
        _ => (0, 0, numbers.ends()),
    };
    let of = publisher_of(publisher).map(|publisher| (publisher, chunk.portal, chunk.event_token));
    Some(Evicted { of, numbers, lines, ends, ..unknown })
}
