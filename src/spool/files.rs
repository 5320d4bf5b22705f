//! The spool as a [`Journal`]: its own run, and runs that were taken over.

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
    Adopted, Batch, Evicted, Journal, JournalFuture, Mark, Position, Publisher, Query, Read,
};

mod adopt;
mod bounds;

/// The options of a spool.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) dir: PathBuf,
    pub(super) fsync: bool,
    pub(super) max_bytes: u64,
    pub(super) max_age: Duration,
    /// A segment ends when its file has this number of bytes.
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
    /// The number of the next one.
    recovering: Option<Recovery>,
    generation: u64,
    lost: Vec<Evicted>,
    trouble: Option<SpoolError>,
}

/// In positions, the own run comes after all others.
const OWN: u32 = u32::MAX;

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
        // The place may be after the end, if the segments there are deleted.
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
                // An error in one run does not keep the other runs from being marked.
                result = result.and(run.mark(&of_run));
            }
        }
        self.remove_drained();
        result
    }

    fn append(&mut self, batch: &Batch) -> Result<Position, SpoolError> {
        let bounds = self.keep_bounds(batch);
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

    /// The upkeep has failed. It is tried again, and the error is reported later.
    fn note(&mut self, done: Result<(), SpoolError>) {
        if let Err(error) = done {
            self.trouble = Some(error);
        }
    }

    /// The own folder has vanished: creates a new one. The lines of the old one are lost.
    fn begin_anew(&mut self) -> Result<(), SpoolError> {
        let publisher = self.own.publisher();
        folder::open(&*self.setup.disk, &self.limits.dir)?;
        let (path, lock) = folder::create(&*self.setup.disk, &self.limits.dir, publisher)?;
        let lost = self.own.begin_anew(path, lock);
        self.lost.extend(lost);
        Ok(())
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
        // If nothing is left to settle, the folder is removed. If this fails, the next run does it.
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
