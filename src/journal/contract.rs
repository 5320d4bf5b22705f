//! A test of the contract that every journal has to fulfil.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use tracing_core::Level;

use super::{
    Batch, Chunk, Content, Journal, Mark, MarkKind, Number, Publisher, Query, StoredEnd, StoredGap,
    StoredLine, StoredSeal,
};
use crate::line::{EventToken, PortalId};
use crate::stats::DropReason;

/// Makes many random calls to an empty journal that returns the data of these publishers. Compares what it returns
/// with a model.
///
/// # Panics
/// When they differ.
pub async fn holds(journal: &dyn Journal, publishers: &[Publisher], seed: u64, steps: usize) {
    let mut random = Random(seed);
    let publishers = publishers.iter().map(|publisher| (*publisher, Written::default())).collect();
    let mut model = Model { publishers, held: BTreeMap::new() };
    for step in 0..steps {
        match random.below(10) {
            0..4 => {
                let batch = model.write(&mut random);
                journal.append(&batch).await.expect("appended");
            }
            4 => {
                if let Some(batch) = model.last_batch(&mut random) {
                    journal.append(&batch).await.expect("appended again");
                }
            }
            5..9 => {
                let marks: Vec<Mark> =
                    (0..=random.below(6)).filter_map(|_| model.mark(&mut random)).collect();
                journal.mark(&marks).await.expect("marked");
                if random.below(4) == 0 {
                    // Marks may be repeated any number of times.
                    journal.mark(&marks).await.expect("marked again");
                    for mark in &marks {
                        model.apply(mark);
                    }
                }
            }
            _ => model.compare(journal, &mut random, seed, step).await,
        }
    }
    model.compare(journal, &mut random, seed, steps).await;
    let all: Vec<Mark> = model.everything().collect();
    journal.mark(&all).await.expect("settled");
    for mark in &all {
        model.apply(mark);
    }
    model.compare(journal, &mut random, seed, steps + 1).await;
}

/// The data that one publisher wrote for one token.
type Key = (Publisher, Option<PortalId>, String);

struct Model {
    publishers: Vec<(Publisher, Written)>,
    /// The unsettled items, in order.
    held: BTreeMap<Key, BTreeMap<Number, Piece>>,
}

#[derive(Default)]
struct Written {
    next: Number,
    last: Option<Batch>,
}

/// One line, gap or end, and whether it was tried.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    content: Content,
    tried: bool,
}

impl Model {
    /// A batch as a publisher makes it.
    fn write(&mut self, random: &mut Random) -> Batch {
        let writer = random.below(self.publishers.len() as u64) as usize;
        let (publisher, written) = &mut self.publishers[writer];
        let publisher = *publisher;
        let mut chunks = Vec::new();
        for _ in 0..random.below(5) {
            let portal = [None, Some("one"), Some("two")][random.below(3) as usize];
            let token = ["a", "b", "\u{436}"][random.below(3) as usize];
            let chunk = Chunk {
                portal: portal.map(PortalId::from),
                event_token: EventToken::parse(token).expect("it is one"),
                content: content(&mut written.next, random),
                about: None,
            };
            chunks.push(chunk);
        }
        let no =
            written.last.as_ref().map_or(random.below(3), |last| last.no + 1 + random.below(3));
        let batch = Batch { publisher, no, chunks };
        written.last = Some(batch.clone());
        for chunk in &batch.chunks {
            let held = self.held.entry(key(publisher, chunk)).or_default();
            held.extend(pieces(&chunk.content));
        }
        batch
    }

    /// The last batch of a publisher. To append it again has no effect.
    fn last_batch(&self, random: &mut Random) -> Option<Batch> {
        let (_, written) = random.pick(self.publishers.iter())?;
        written.last.clone()
    }

    /// A mark on some numbers of one token. Sometimes the numbers are settled, or belong to another token.
    fn mark(&mut self, random: &mut Random) -> Option<Mark> {
        let (key, held) = random.pick(self.held.iter())?;
        let numbers: Vec<Number> = held.keys().copied().collect();
        let from = random.pick(numbers.into_iter()).unwrap_or(1);
        let from = from.saturating_sub(random.below(3)).max(1);
        // Nobody marks lines that were not written yet.
        let mut written = self.publishers.iter().filter(|(publisher, _)| *publisher == key.0);
        let up_to = written.next()?.1.next.min(from + random.below(8));
        let kind = match random.below(5) {
            0 | 1 => MarkKind::Tried,
            2 => MarkKind::Returned,
            _ => MarkKind::Settled,
        };
        let mark = mark(key, from, up_to, kind);
        self.apply(&mark);
        Some(mark)
    }

    /// Marks that settle everything.
    fn everything(&self) -> impl Iterator<Item = Mark> {
        let last = |held: &BTreeMap<Number, Piece>| held.keys().next_back().copied().unwrap_or(1);
        self.held.iter().map(move |(key, held)| mark(key, 1, last(held), MarkKind::Settled))
    }

    fn apply(&mut self, mark: &Mark) {
        let token = super::event_token_text(&mark.event_token).to_owned();
        let held = self.held.entry((mark.publisher, mark.portal.clone(), token)).or_default();
        match mark.kind {
            MarkKind::Settled => held.retain(|no, _| !(mark.from..=mark.up_to).contains(no)),
            kind => {
                for (_, piece) in held.range_mut(mark.from..=mark.up_to) {
                    // Gaps and ends have no field for `tried`.
                    let tells = matches!(piece.content, Content::Lines(_));
                    piece.tried = tells && kind == MarkKind::Tried;
                }
            }
        }
    }

    async fn compare(&self, journal: &dyn Journal, random: &mut Random, seed: u64, step: usize) {
        let at = format!("seed {seed}, step {step}");
        let read = read(journal, None, random).await;
        let held: BTreeMap<_, _> = self.held.iter().filter(|(_, held)| !held.is_empty()).collect();
        for (key, pieces) in &read {
            let numbers: Vec<Number> = pieces.iter().map(|(no, _)| *no).collect();
            assert!(numbers.is_sorted(), "{at}: {key:?} in the order {numbers:?}");
        }
        assert_eq!(
            read.keys().collect::<Vec<_>>(),
            held.keys().copied().collect::<Vec<_>>(),
            "{at}"
        );
        for ((key, pieces), held) in read.iter().zip(held.values()) {
            let (read, held) = (pieces.iter(), held.iter());
            let differ = read.zip(held).find(|(read, held)| (&read.0, &read.1) != *held);
            assert_eq!(differ, None, "{at}: of {key:?}, what was read and what should be there");
            assert_eq!(pieces.len(), self.held[key].len(), "{at}: {key:?}");
        }

        let portal = [None, Some(PortalId::from("one"))][random.below(2) as usize].clone();
        let of_one = self::read(journal, Some(&portal), random).await;
        let expected: Vec<&Key> = held.keys().copied().filter(|key| key.1 == portal).collect();
        assert_eq!(of_one.keys().collect::<Vec<_>>(), expected, "{at}: of {portal:?}");
    }
}

/// Reads the whole journal, in steps.
async fn read(
    journal: &dyn Journal,
    portal: Option<&Option<PortalId>>,
    random: &mut Random,
) -> BTreeMap<Key, Vec<(Number, Piece)>> {
    let mut all: BTreeMap<Key, Vec<(Number, Piece)>> = BTreeMap::new();
    let mut after = None;
    let most_bytes = [1, 200, 1_000_000][random.below(3) as usize];
    loop {
        let read = journal.read(Query { portal, after, most_bytes }).await.expect("read");
        for (publisher, chunk) in &read.chunks {
            assert!(pieces(&chunk.content).next().is_some(), "a chunk with nothing in it");
            all.entry(key(*publisher, chunk)).or_default().extend(pieces(&chunk.content));
        }
        if read.at_end {
            return all;
        }
        assert!(after.is_none_or(|after| after < read.up_to), "it goes on");
        after = Some(read.up_to);
    }
}

fn key(publisher: Publisher, chunk: &Chunk) -> Key {
    let token = super::event_token_text(&chunk.event_token).to_owned();
    (publisher, chunk.portal.clone(), token)
}

fn mark((publisher, portal, token): &Key, from: Number, up_to: Number, kind: MarkKind) -> Mark {
    let event_token = EventToken::parse(token).expect("it was one");
    Mark { publisher: *publisher, portal: portal.clone(), event_token, from, up_to, kind }
}

/// The items of a chunk, one by one.
fn pieces(content: &Content) -> impl Iterator<Item = (Number, Piece)> {
    let alone =
        |no, content: &Content| vec![(no, Piece { content: content.clone(), tried: false })];
    let pieces = match content {
        Content::Lines(lines) => lines.iter().map(line_piece).collect(),
        Content::Missed(gap) => alone(gap.no, content),
        Content::End(end) => alone(end.no, content),
        Content::Seal(seal) => alone(seal.no, content),
    };
    pieces.into_iter()
}

fn line_piece(line: &StoredLine) -> (Number, Piece) {
    let untried = StoredLine { tried: false, ..line.clone() };
    (line.no, Piece { content: Content::Lines(vec![untried]), tried: line.tried })
}

/// A random chunk with the next numbers. Some numbers are left out, as if they belonged to other tokens.
fn content(next: &mut Number, random: &mut Random) -> Content {
    let mut number = || {
        *next += 1 + random.below(3) / 2;
        *next
    };
    let at = |no: Number| UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + no);
    let first = number();
    match random.below(8) {
        0 => Content::Missed(StoredGap {
            no: first,
            lines: 1 + random.below(9),
            since: at(first),
            reason: DropReason::QueueFull,
        }),
        1 => Content::Seal(StoredSeal { no: first, at: at(first) }),
        2 => Content::End(StoredEnd {
            no: first,
            values: r#"{"Sum":"7"}"#.to_owned(),
            message: (random.below(2) == 0).then(|| "ends".to_owned()),
            failed: random.below(2) == 0,
            deadline: at(first),
            waits_until: (random.below(2) == 0).then(|| at(first + 1)),
        }),
        _ => {
            let mut lines = Vec::new();
            let mut no = first;
            for _ in 0..=random.below(4) {
                let body = "line \u{436} ".repeat(random.below(12) as usize);
                let (level, cut) = (Level::WARN, random.below(2));
                lines.push(StoredLine { no, at: at(no), level, body, cut, tried: false });
                *next += 1 + random.below(3) / 2;
                no = *next;
            }
            Content::Lines(lines)
        }
    }
}

/// Numbers that are the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<T>(&mut self, mut all: impl ExactSizeIterator<Item = T>) -> Option<T> {
        let count = all.len() as u64;
        if count == 0 { None } else { all.nth(self.below(count) as usize) }
    }
}
