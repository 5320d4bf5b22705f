//! A journal in memory, for tests. Several runs may use it one after the other, as if each run was killed. A test
//! can let it fail, hang or be slow.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::{
    Adopted, Answer, Batch, Chunk, Content, Evicted, Held, Journal, JournalFuture, Mark, MarkKind,
    Number, Outcome, Position, Publisher, Query, Read,
};
use crate::line::{EventToken, PortalId};

pub(crate) mod owned;

/// The data that outlives the runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    chunks: Vec<(Publisher, Chunk)>,
    batches: HashMap<Publisher, u64>,
    numbers: HashMap<(Publisher, EventToken), Vec<Number>>,
    settled: HashSet<(Publisher, EventToken, Number)>,
    tried: HashSet<(Publisher, EventToken, Number)>,
    ever_tried: HashSet<(Publisher, EventToken, Number)>,
    faults: Faults,
    reads: u64,
    /// How often it was asked how many lines are not settled.
    asked: u64,
    evicted: Vec<Evicted>,
    answers: HashMap<(Publisher, Number), Outcome>,
    runs: u128,
    owned: owned::Owned,
}

/// The faults that are switched on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Nothing can be appended.
    pub(crate) full: bool,
    /// Appended data is stored, but an error is returned.
    pub(crate) lies: bool,
    /// Nothing can be read.
    pub(crate) unreadable: bool,
    /// No mark can be stored.
    pub(crate) unmarkable: bool,
    /// No call is answered.
    pub(crate) hangs: bool,
    /// Each call panics.
    pub(crate) panics: bool,
    /// How long each call takes.
    pub(crate) takes: Duration,
}

/// The handle of one run.
#[derive(Debug)]
pub(crate) struct MemoryJournal {
    disk: Disk,
    /// Runs whose lines it reads.
    mine: Mutex<HashSet<Publisher>>,
    generation: std::sync::atomic::AtomicU64,
}

impl Disk {
    /// An empty journal.
    pub(crate) fn new() -> Disk {
        Disk::default()
    }

    /// The handle for a new run. The new run takes over the data of the runs before it.
    pub(crate) fn open(&self) -> Arc<dyn Journal> {
        Arc::new(MemoryJournal {
            disk: self.clone(),
            mine: Mutex::default(),
            generation: std::sync::atomic::AtomicU64::new(1),
        })
    }

    /// A number for a run.
    pub(crate) fn next_publisher(&self) -> u128 {
        let mut inside = self.inside();
        inside.runs += 1;
        inside.runs
    }

    /// Switches on these faults.
    pub(crate) fn fail(&self, faults: Faults) {
        self.inside().faults = faults;
    }

    /// Gives up the oldest chunk of lines that is not settled.
    pub(crate) fn evict(&self) {
        let mut inside = self.inside();
        let oldest = inside.chunks.iter().find_map(|(publisher, chunk)| {
            let left = inside.left(*publisher, chunk)?;
            matches!(left.content, Content::Lines(_)).then_some((*publisher, left))
        });
        let Some((publisher, chunk)) = oldest else { return };
        let Content::Lines(lines) = &chunk.content else { return };
        for line in lines {
            inside.settled.insert((publisher, chunk.event_token.clone(), line.no));
        }
        let numbers = (lines[0].no, lines[lines.len() - 1].no);
        inside.evicted.push(Evicted {
            of: Some((publisher, chunk.portal.clone(), chunk.event_token.clone())),
            numbers: Some(numbers),
            lines: lines.len() as u64,
            ends: 0,
            since: lines[0].at,
            reason: crate::stats::DropReason::SpoolFull,
        });
    }

    /// Loses the newest lines of a portal. Then it is not known which tokens they belonged to.
    pub(crate) fn damage(&self, portal: Option<&PortalId>, lines: usize) {
        let mut inside = self.inside();
        let mut gone = Vec::new();
        for (publisher, chunk) in &inside.chunks {
            if let (true, Content::Lines(lines)) = (chunk.portal.as_ref() == portal, &chunk.content)
            {
                let key = |no| (*publisher, chunk.event_token.clone(), no);
                gone.extend(lines.iter().map(|line| key(line.no)));
            }
        }
        gone.retain(|key| !inside.settled.contains(key));
        let gone = gone.split_off(gone.len().saturating_sub(lines));
        inside.evicted.push(Evicted {
            of: None,
            numbers: None,
            lines: gone.len() as u64,
            ends: 0,
            since: SystemTime::UNIX_EPOCH,
            reason: crate::stats::DropReason::SpoolDamaged,
        });
        inside.settled.extend(gone);
    }

    /// How many times it was read.
    pub(crate) fn reads(&self) -> u64 {
        self.inside().reads
    }

    /// Lines that are stored and not settled.
    pub(crate) fn unsettled(&self) -> u64 {
        let inside = self.inside();
        inside.chunks.iter().map(|(publisher, chunk)| inside.lines(*publisher, chunk)).sum()
    }

    /// How often it was asked how many lines are not settled.
    pub(crate) fn asked(&self) -> u64 {
        self.inside().asked
    }

    /// Ends that are stored and not settled.
    pub(crate) fn unsettled_ends(&self) -> usize {
        let inside = self.inside();
        let ends = inside.chunks.iter().filter(|(publisher, chunk)| match &chunk.content {
            Content::End(end) => !inside.is_settled(*publisher, chunk, end.no),
            _ => false,
        });
        ends.count()
    }

    /// Everything that is stored and not settled.
    pub(crate) fn everything_unsettled(&self) -> u64 {
        let inside = self.inside();
        let left = inside.chunks.iter().filter_map(|(publisher, chunk)| {
            let left = inside.left(*publisher, chunk)?;
            Some(numbers(&left).len() as u64)
        });
        left.sum()
    }

    /// Everything that is stored, in order.
    pub(crate) fn chunks(&self) -> Vec<Chunk> {
        self.inside().chunks.iter().map(|(_, chunk)| chunk.clone()).collect()
    }

    /// A relay answers all ends that are stored.
    pub(crate) fn answer_ends(&self, outcome: &Outcome) {
        let mut inside = self.inside();
        let Inside { chunks, answers, .. } = &mut *inside;
        for (publisher, chunk) in chunks {
            if let Content::End(end) = &chunk.content {
                answers.insert((*publisher, end.no), outcome.clone());
            }
        }
    }

    /// The same for the newest end alone.
    pub(crate) fn answer_newest_end(&self, outcome: &Outcome) {
        let mut inside = self.inside();
        let Inside { chunks, answers, .. } = &mut *inside;
        let newest = chunks.iter().rev().find_map(|(publisher, chunk)| match &chunk.content {
            Content::End(end) => Some((*publisher, end.no)),
            _ => None,
        });
        answers.extend(newest.map(|end| (end, outcome.clone())));
    }

    /// A relay delivers everything that is stored.
    pub(crate) fn settle_all(&self) {
        let mut inside = self.inside();
        let Inside { chunks, settled, .. } = &mut *inside;
        for (publisher, chunk) in chunks {
            for no in numbers(chunk) {
                settled.insert((*publisher, chunk.event_token.clone(), no));
            }
        }
    }

    /// Lines of notices that are stored and not settled.
    pub(crate) fn untold(&self) -> u64 {
        let inside = self.inside();
        let gaps = inside.chunks.iter().map(|(publisher, chunk)| match &chunk.content {
            Content::Missed(gap) if !inside.is_settled(*publisher, chunk, gap.no) => gap.lines,
            _ => 0,
        });
        gaps.sum()
    }

    /// Texts of lines that were stored.
    pub(crate) fn stored(&self) -> Vec<String> {
        let inside = self.inside();
        let lines = inside.chunks.iter().filter_map(|(_, chunk)| match &chunk.content {
            Content::Lines(lines) => Some(lines),
            _ => None,
        });
        lines.flatten().map(|line| line.body.clone()).collect()
    }

    /// Texts of all lines that any request was about to carry.
    pub(crate) fn ever_tried(&self) -> BTreeSet<String> {
        let inside = self.inside();
        let mut tried = BTreeSet::new();
        for (publisher, chunk) in &inside.chunks {
            let Content::Lines(lines) = &chunk.content else { continue };
            for line in lines {
                if inside.ever_tried.contains(&(*publisher, chunk.event_token.clone(), line.no)) {
                    tried.insert(line.body.clone());
                }
            }
        }
        tried
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// The best outcome of each end counts.
    fn answer(&mut self, answers: &[Answer]) {
        for Answer { publisher, no, outcome } in answers {
            let known = self.answers.entry((*publisher, *no)).or_insert(outcome.clone());
            if outcome.is_better_than(known) {
                *known = outcome.clone();
            }
        }
    }

    fn is_settled(&self, publisher: Publisher, chunk: &Chunk, no: Number) -> bool {
        self.settled.contains(&(publisher, chunk.event_token.clone(), no))
    }

    fn lines(&self, publisher: Publisher, chunk: &Chunk) -> u64 {
        match &chunk.content {
            Content::Lines(lines) => {
                let left = lines.iter().filter(|l| !self.is_settled(publisher, chunk, l.no));
                left.count() as u64
            }
            _ => 0,
        }
    }

    fn append(&mut self, batch: &Batch) {
        let last = self.batches.entry(batch.publisher).or_default();
        if batch.no > *last {
            *last = batch.no;
            for chunk in &batch.chunks {
                let key = (batch.publisher, chunk.event_token.clone());
                self.numbers.entry(key).or_default().extend(numbers(chunk));
                self.chunks.push((batch.publisher, chunk.clone()));
            }
        }
    }

    fn mark(&mut self, marks: &[Mark]) {
        for Mark { publisher, event_token, from, up_to, kind, .. } in marks {
            let of_token = self.numbers.get(&(*publisher, event_token.clone()));
            let of_token = of_token.map(Vec::as_slice).unwrap_or_default();
            let range = of_token.partition_point(|no| no < from)
                ..of_token.partition_point(|no| no <= up_to);
            let marked: Vec<Number> = of_token[range].into();
            for no in marked {
                let key = (*publisher, event_token.clone(), no);
                match kind {
                    MarkKind::Tried => {
                        self.ever_tried.insert(key.clone());
                        self.tried.insert(key);
                    }
                    MarkKind::Returned => drop(self.tried.remove(&key)),
                    MarkKind::Settled => drop(self.settled.insert(key)),
                }
            }
        }
    }

    /// The unsettled part of an item, if it is `wanted`.
    fn read(&self, query: Query<'_>, wanted: impl Fn(Publisher, &Chunk) -> bool) -> Read {
        let mut at = query.after.map_or(0, |after| after.0 as usize);
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        while let Some((publisher, chunk)) = self.chunks.get(at) {
            if bytes >= query.most_bytes {
                break;
            }
            at += 1;
            let of_portal = query.portal.is_none_or(|portal| *portal == chunk.portal);
            if !of_portal || !wanted(*publisher, chunk) {
                continue;
            }
            if let Some(chunk) = self.left(*publisher, chunk) {
                bytes += match &chunk.content {
                    Content::Lines(lines) => lines.iter().map(|line| line.body.len()).sum(),
                    _ => 100,
                };
                chunks.push((*publisher, chunk));
            }
        }
        let at_end = at == self.chunks.len();
        Read { chunks, up_to: Position(at as u128), at_end }
    }

    /// The unsettled part of a chunk.
    fn left(&self, publisher: Publisher, chunk: &Chunk) -> Option<Chunk> {
        let mut chunk = chunk.clone();
        let key = |chunk: &Chunk, no| (publisher, chunk.event_token.clone(), no);
        match &chunk.content {
            Content::Lines(lines) => {
                let mut lines = lines.clone();
                lines.retain(|line| !self.settled.contains(&key(&chunk, line.no)));
                for line in &mut lines {
                    line.tried = self.tried.contains(&key(&chunk, line.no));
                }
                if lines.is_empty() {
                    return None;
                }
                chunk.content = Content::Lines(lines);
            }
            Content::Missed(gap) if self.settled.contains(&key(&chunk, gap.no)) => return None,
            Content::End(end) if self.settled.contains(&key(&chunk, end.no)) => return None,
            Content::Seal(seal) if self.settled.contains(&key(&chunk, seal.no)) => return None,
            _ => {}
        }
        Some(chunk)
    }
}

fn numbers(chunk: &Chunk) -> Vec<Number> {
    match &chunk.content {
        Content::Lines(lines) => lines.iter().map(|line| line.no).collect(),
        Content::Missed(gap) => vec![gap.no],
        Content::End(end) => vec![end.no],
        Content::Seal(seal) => vec![seal.no],
    }
}

impl MemoryJournal {
    /// Is slow or hangs, if a fault says so.
    async fn faults(&self) -> Faults {
        loop {
            let faults = self.disk.inside().faults;
            if !faults.hangs {
                tokio::time::sleep(faults.takes).await;
                return faults;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn may_panic(&self) {
        assert!(!self.disk.inside().faults.panics, "the journal panics, as the test asked for");
    }

    fn mine(&self) -> MutexGuard<'_, HashSet<Publisher>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn append<'a>(&'a self, batch: &'a Batch) -> JournalFuture<'a, Position> {
        self.may_panic();
        Box::pin(async move {
            let faults = self.faults().await;
            if faults.full {
                return Err("no space left".into());
            }
            self.mine().insert(batch.publisher);
            let mut inside = self.disk.inside();
            inside.append(batch);
            if faults.lies {
                return Err("no answer from the disk".into());
            }
            Ok(Position(inside.chunks.len() as u128))
        })
    }

    fn read<'a>(&'a self, query: Query<'a>) -> JournalFuture<'a, Read> {
        self.may_panic();
        Box::pin(async move {
            if self.faults().await.unreadable {
                return Err("input/output error".into());
            }
            let mine = self.mine().clone();
            let mut inside = self.disk.inside();
            inside.reads += 1;
            Ok(inside.read(query, |publisher, _| mine.contains(&publisher)))
        })
    }

    fn mark<'a>(&'a self, marks: &'a [Mark]) -> JournalFuture<'a, ()> {
        self.may_panic();
        Box::pin(async move {
            if self.faults().await.unmarkable {
                return Err("input/output error".into());
            }
            self.disk.inside().mark(marks);
            Ok(())
        })
    }

    fn adopt<'a>(&'a self) -> JournalFuture<'a, Adopted> {
        self.may_panic();
        Box::pin(async move {
            if self.faults().await.unreadable {
                return Err("input/output error".into());
            }
            let mut mine = self.mine();
            let inside = self.disk.inside();
            let mut held: Vec<Held> = Vec::new();
            let before = mine.clone();
            for (publisher, chunk) in &inside.chunks {
                if before.contains(publisher) || inside.left(*publisher, chunk).is_none() {
                    continue;
                }
                mine.insert(*publisher);
                let lines = inside.lines(*publisher, chunk);
                match held.iter_mut().find(|held| held.portal == chunk.portal) {
                    Some(held) => held.lines += lines,
                    None => held.push(Held { portal: chunk.portal.clone(), lines }),
                }
            }
            if !held.is_empty() {
                self.generation.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            Ok(Adopted { held, ..Adopted::default() })
        })
    }

    fn evicted<'a>(&'a self, _now: SystemTime) -> JournalFuture<'a, Vec<Evicted>> {
        self.may_panic();
        Box::pin(async { Ok(std::mem::take(&mut self.disk.inside().evicted)) })
    }

    fn generation(&self) -> u64 {
        self.may_panic();
        self.generation.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn answer<'a>(&'a self, answers: &'a [Answer]) -> JournalFuture<'a, ()> {
        Box::pin(async move {
            if self.faults().await.unmarkable {
                return Err("input/output error".into());
            }
            self.disk.inside().answer(answers);
            Ok(())
        })
    }

    fn answers<'a>(
        &'a self,
        publisher: Publisher,
        ends: &'a [Number],
    ) -> JournalFuture<'a, Vec<Answer>> {
        Box::pin(async move {
            if self.faults().await.unreadable {
                return Err("input/output error".into());
            }
            let inside = self.disk.inside();
            let known = ends.iter().filter_map(|&no| {
                let outcome = inside.answers.get(&(publisher, no))?.clone();
                Some(Answer { publisher, no, outcome })
            });
            Ok(known.collect())
        })
    }

    fn unsettled<'a>(
        &'a self,
        publisher: Publisher,
        of: Option<(&'a Option<PortalId>, &'a EventToken)>,
        up_to: Number,
    ) -> JournalFuture<'a, u64> {
        Box::pin(async move {
            if self.faults().await.unreadable {
                return Err("input/output error".into());
            }
            let mut inside = self.disk.inside();
            inside.asked += 1;
            let of_token = |chunk: &Chunk| {
                of.is_none_or(|(portal, event_token)| {
                    chunk.portal == *portal && chunk.event_token == *event_token
                })
            };
            let unsettled =
                inside.chunks.iter().filter(|(by, chunk)| *by == publisher && of_token(chunk));
            let unsettled =
                unsettled.filter_map(|(_, chunk)| match inside.left(publisher, chunk)?.content {
                    Content::Lines(lines) => {
                        Some(lines.iter().filter(|line| line.no <= up_to).count())
                    }
                    _ => None,
                });
            Ok(unsettled.sum::<usize>() as u64)
        })
    }
}
