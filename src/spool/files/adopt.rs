//! Takes over the folders of other runs.

use std::path::PathBuf;

use super::State;
use crate::error::SpoolError;
use crate::journal::{Adopted, Held};
use crate::spool::folder;
use crate::spool::run::{Recovery, Run};

/// How many bytes of other runs' files one call reads. Appends wait for this, about 30 ms.
const STEP_BYTES: u64 = 8 << 20;
/// A folder counts as at least this number of bytes, because even a small one is listed, locked and synced.
const LEAST_BYTES: u64 = STEP_BYTES / 8;

impl State {
    pub(super) fn adopt(&mut self) -> Result<Adopted, SpoolError> {
        let mut adopted = Adopted::default();
        let mut budget = STEP_BYTES;
        let mut candidates = None;
        loop {
            if self.recovering.is_none() {
                let candidates = match &mut candidates {
                    Some(candidates) => candidates,
                    none => none.insert(self.candidates()?),
                };
                let Some((path, publisher)) = candidates.pop() else { return Ok(adopted) };
                let bytes = folder::bytes(&*self.setup.disk, &path);
                // Lines that are taken over must not push out other lines.
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
                    budget = budget.saturating_sub(run.bytes().max(LEAST_BYTES));
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

    /// Folders of other runs, the oldest last.
    fn candidates(&self) -> Result<Vec<(PathBuf, u128)>, SpoolError> {
        let mut runs = folder::runs(&*self.setup.disk, &self.limits.dir)?;
        runs.retain(|(_, publisher)| !self.has(*publisher));
        runs.reverse();
        Ok(runs)
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
}
