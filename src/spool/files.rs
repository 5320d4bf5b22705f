//! The spool as a [`Journal`]: the own run, and those that were taken over.

use std::future::ready;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::disk::Disk;
use super::folder;
use super::record::Keys;
use super::run::{Place, Reading, Recovery, Run, Setup};
use crate::error::SpoolError;
use crate::journal::{
    Adopted, Batch, Evicted, Held, Journal, JournalFuture, Mark, Position, Publisher, Query, Read,
};

/// What a spool was told.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) dir: PathBuf,
    pub(super) fsync: bool,
    pub(super) max_bytes: u64,
    pub(super) max_age: Duration,
    /// A segment is ended when its file has so many bytes.
    pub(super) segment_bytes: u64,
}

/// The spool of one run.
pub(crate) struct Files(Mutex<State>);

struct State {
    setup: Arc<Setup>,
    limits: Limits,
    own: Run,
    /// Other runs' folders, in the order in which they were taken over.
    adopted: Vec<(u32, Run)>,
    /// The next of them.
    recovering: Option<Recovery>,
    generation: u64,
    lost: Vec<Evicted>,
    trouble: Option<SpoolError>,
}

/// In positions, the own run stands behind all others.
const OWN: u32 = u32::MAX;

/// So many bytes of other runs' files are read in one call.
const STEP_BYTES: u64 = 32 << 20;

impl Files {
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        limits: Limits,
        publisher: Publisher,
    ) -> Result<Files, SpoolError> {
        folder::open(&*disk, &limits.dir)?;
        let (path, lock) = folder::create(&*disk, &limits.dir, publisher.0)?;
        let Limits { fsync, segment_bytes, .. } = limits;
        let setup = Setup { disk, keys: Keys::default(), fsync, segment_bytes };
        let setup = Arc::new(setup);
        let own = Run::new(setup.clone(), path, publisher.0, lock);
        let (adopted, recovering) = (Vec::new(), None);
        let state = State {
            setup,
            limits,
            own,
            adopted,
            recovering,
            generation: 0,
            lost: Vec::new(),
            trouble: None,
        };
        Ok(Files(Mutex::new(state)))
    }

    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, SpoolError>,
    ) -> JournalFuture<'static, T> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(ready(work(&mut state).map_err(Into::into)))
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.adopted.iter().map(|(_, run)| run.bytes()).sum::<u64>() + self.own.bytes()
    }

    fn read(&mut self, query: Query<'_>) -> Result<Read, SpoolError> {
        let (after, place) = query.after.map_or((0, (0, 0)), place_of);
        let mut reading = Reading::new(query.portal, query.most_bytes);
        let own = std::iter::once((OWN, &mut self.own));
        let runs = self.adopted.iter_mut().map(|(order, run)| (*order, run)).chain(own);
        let mut stopped = None;
        for (order, run) in runs.filter(|(order, _)| *order >= after) {
            let from = if order == after { place } else { (0, 0) };
            if let Some(place) = run.read(&mut reading, from)? {
                stopped = Some(position(order, place));
                break;
            }
        }
        let at_end = stopped.is_none();
        let up_to = stopped.unwrap_or_else(|| position(OWN, self.own.end()));
        // The place may lie behind the end, if what was there is deleted.
        let up_to = query.after.map_or(up_to, |after| up_to.max(after));
        Ok(Read { chunks: reading.chunks, up_to, at_end })
    }

    fn mark(&mut self, marks: &[Mark]) -> Result<(), SpoolError> {
        let mut result = Ok(());
        let adopted = self.adopted.iter_mut().map(|(_, run)| run);
        for run in adopted.chain(std::iter::once(&mut self.own)) {
            let of_run: Vec<_> =
                marks.iter().filter(|mark| mark.publisher.0 == run.publisher()).collect();
            if !of_run.is_empty() {
                // The others are marked in any case.
                result = result.and(run.mark(&of_run));
            }
        }
        self.remove_drained();
        // In time, so that nothing has to be given up for it.
        if self.bytes() > self.limits.max_bytes / 2 {
            let rewritten = self.rewrite_one().map(|_| ());
            self.note(rewritten);
        }
        result
    }

    fn remove_drained(&mut self) {
        for (order, run) in std::mem::take(&mut self.adopted) {
            match run.is_drained() {
                true => self.remove(run),
                false => self.adopted.push((order, run)),
            }
        }
    }

    fn remove(&mut self, mut run: Run) {
        self.lost.append(&mut run.lost);
        // What cannot be removed now is taken over by the next run, which finds it settled.
        run.remove();
    }

    fn append(&mut self, batch: &Batch) -> Result<Position, SpoolError> {
        let bounds = self.keep_bounds();
        self.note(bounds);
        let end = match self.own.append(batch.no, &batch.chunks) {
            Err(SpoolError::Vanished { .. }) => {
                self.begin_anew()?;
                self.own.append(batch.no, &batch.chunks)?
            }
            end => end?,
        };
        Ok(position(OWN, end))
    }

    /// Something beside what was asked for did not work. That is tried again, and told later.
    fn note(&mut self, done: Result<(), SpoolError>) {
        if let Err(error) = done {
            self.trouble = Some(error);
        }
    }

    /// The own folder has vanished: makes another one. What was in it is lost.
    fn begin_anew(&mut self) -> Result<(), SpoolError> {
        let publisher = self.own.publisher();
        folder::open(&*self.setup.disk, &self.limits.dir)?;
        let (path, lock) = folder::create(&*self.setup.disk, &self.limits.dir, publisher)?;
        let lost = self.own.begin_anew(path, lock);
        self.lost.extend(lost);
        Ok(())
    }

    /// Gives up the oldest, as long as there is too much.
    fn keep_bounds(&mut self) -> Result<(), SpoolError> {
        while self.bytes() > self.limits.max_bytes {
            let before = self.bytes();
            if !self.rewrite_one()? {
                let adopted = self.adopted.iter_mut().map(|(_, run)| run);
                for run in adopted.chain(std::iter::once(&mut self.own)) {
                    if run.evict_oldest()? {
                        break;
                    }
                }
                self.remove_drained();
            }
            if self.bytes() >= before {
                break;
            }
        }
        Ok(())
    }

    /// Makes one file smaller, of which little is needed. Returns whether there was one.
    fn rewrite_one(&mut self) -> Result<bool, SpoolError> {
        let adopted = self.adopted.iter_mut().map(|(_, run)| run);
        for run in adopted.chain(std::iter::once(&mut self.own)) {
            if let Some(number) = run.worth_rewriting() {
                run.rewrite(number)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn adopt(&mut self) -> Result<Adopted, SpoolError> {
        let mut adopted = Adopted::default();
        let mut budget = STEP_BYTES;
        let mut candidates = Vec::new();
        if self.recovering.is_none() {
            candidates = folder::runs(&*self.setup.disk, &self.limits.dir)?;
            candidates.retain(|(_, publisher)| !self.has(*publisher));
            candidates.reverse();
        }
        loop {
            if self.recovering.is_none() {
                let Some((path, publisher)) = candidates.pop() else { return Ok(adopted) };
                let bytes = folder::bytes(&*self.setup.disk, &path);
                // What is taken over must not make room for itself.
                if !self.adopted.is_empty() && self.bytes() + bytes > self.limits.max_bytes / 2 {
                    return Ok(adopted);
                }
                match self.begin(path, publisher) {
                    Ok(begun) => self.recovering = begun,
                    Err(error) => adopted.left.push(error.into()),
                }
            }
            let Some(mut recovery) = self.recovering.take() else { continue };
            if budget == 0 {
                self.recovering = Some(recovery);
                adopted.more = true;
                return Ok(adopted);
            }
            match recovery.step(budget) {
                Ok(true) => {
                    let (run, held) = recovery.finish();
                    budget = budget.saturating_sub(run.bytes().max(1));
                    self.keep(run, held, &mut adopted.held);
                }
                Ok(false) => {
                    self.recovering = Some(recovery);
                    budget = 0;
                }
                Err(error) => adopted.left.push(error.into()),
            }
        }
    }

    fn has(&self, publisher: u128) -> bool {
        let adopted = self.adopted.iter().map(|(_, run)| run);
        adopted.chain([&self.own]).any(|run| run.publisher() == publisher)
    }

    fn begin(&self, path: PathBuf, publisher: u128) -> Result<Option<Recovery>, SpoolError> {
        let Some(lock) = folder::take(&*self.setup.disk, &path)? else { return Ok(None) };
        Recovery::begin(self.setup.clone(), path, publisher, lock).map(Some)
    }

    fn keep(&mut self, mut run: Run, held: Vec<Held>, all: &mut Vec<Held>) {
        self.lost.append(&mut run.lost);
        if run.is_drained() {
            return self.remove(run);
        }
        let order = self.adopted.last().map_or(0, |(last, _)| last + 1);
        self.adopted.push((order, run));
        self.generation += 1;
        for new in held {
            match all.iter_mut().find(|held| held.portal == new.portal) {
                Some(held) => held.lines += new.lines,
                None => all.push(new),
            }
        }
    }

    /// What was given up. If there is nothing, what did not work.
    fn evicted(&mut self, now: SystemTime) -> Result<Vec<Evicted>, SpoolError> {
        let Limits { max_age, .. } = self.limits;
        let before = |age| now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut done = self.own.end_old_segment(before(max_age / 16));
        let adopted = self.adopted.iter_mut().map(|(_, run)| run);
        for run in adopted.chain(std::iter::once(&mut self.own)) {
            // The others expire in any case.
            done = done.and(run.expire(before(max_age)));
            self.lost.append(&mut run.lost);
        }
        self.note(done);
        self.remove_drained();
        match self.trouble.take().filter(|_| self.lost.is_empty()) {
            Some(trouble) => Err(trouble),
            None => Ok(std::mem::take(&mut self.lost)),
        }
    }
}

impl Journal for Files {
    fn append<'a>(&'a self, batch: &'a Batch) -> JournalFuture<'a, Position> {
        self.with(|state| state.append(batch))
    }

    fn read<'a>(&'a self, query: Query<'a>) -> JournalFuture<'a, Read> {
        self.with(|state| state.read(query))
    }

    fn mark<'a>(&'a self, marks: &'a [Mark]) -> JournalFuture<'a, ()> {
        self.with(|state| state.mark(marks))
    }

    fn adopt<'a>(&'a self) -> JournalFuture<'a, Adopted> {
        self.with(State::adopt)
    }

    fn evicted<'a>(&'a self, now: SystemTime) -> JournalFuture<'a, Vec<Evicted>> {
        self.with(|state| state.evicted(now))
    }

    fn generation(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).generation
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // If nothing is left to be settled, nothing stays. If that cannot be removed, the next run does it.
        self.own.remove();
    }
}

fn position(order: u32, (segment, slot): Place) -> Position {
    Position(u128::from(order) << 64 | u128::from(segment) << 32 | u128::from(slot))
}

fn place_of(Position(position): Position) -> (u32, Place) {
    let word = |shift: u32| (position >> shift) as u32;
    (word(64), (word(32), word(0)))
}
