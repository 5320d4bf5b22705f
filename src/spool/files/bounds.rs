//! Keeps the spool within its bounds of bytes and age.

use std::time::SystemTime;

use super::{Limits, State};
use crate::error::SpoolError;
use crate::journal::{Batch, Evicted};
use crate::spool::run::{self, Run};

impl State {
    /// Gives up the oldest lines until there is room for this batch.
    pub(super) fn keep_bounds(&mut self, batch: &Batch) -> Result<(), SpoolError> {
        let more = run::bytes(batch);
        // Giving up may leave a file whose marks are needed. That file is rewritten the next time.
        let mut tries = 3;
        while self.bytes() + more > self.limits.max_bytes && tries > 0 {
            let before = self.bytes();
            // Giving up needs no room, so it also works where writing fails.
            let rewritten = match self.rewrite_one() {
                Ok(rewritten) => rewritten,
                Err(error) => {
                    self.note(Err(error));
                    false
                }
            };
            if !rewritten || self.bytes() >= before {
                self.evict_oldest()?;
            }
            tries = if self.bytes() < before { 3 } else { tries - 1 };
        }
        Ok(())
    }

    fn evict_oldest(&mut self) -> Result<(), SpoolError> {
        let adopted = self.adopted.iter_mut().map(|(_, run)| run);
        for run in adopted.chain(std::iter::once(&mut self.own)) {
            if run.evict_oldest()? {
                break;
            }
        }
        self.remove_drained();
        Ok(())
    }

    /// Rewrites one file of which little is needed. Returns whether there was such a file.
    pub(super) fn rewrite_one(&mut self) -> Result<bool, SpoolError> {
        let adopted = self.adopted.iter_mut().map(|(_, run)| run);
        for run in adopted.chain(std::iter::once(&mut self.own)) {
            if let Some(number) = run.worth_rewriting() {
                run.rewrite(number)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the lines that were given up. If there are none, returns the error of the upkeep, if there was one.
    pub(super) fn evicted(&mut self, now: SystemTime) -> Result<Vec<Evicted>, SpoolError> {
        let Limits { max_age, .. } = self.limits;
        let before = |age| now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut done = self.own.end_old_segment(before(max_age / 16));
        let adopted = self.adopted.iter_mut().map(|(_, run)| run);
        for run in adopted.chain(std::iter::once(&mut self.own)) {
            // The other folders expire in any case.
            done = done.and(run.expire(before(max_age)));
            self.lost.append(&mut run.lost);
        }
        self.note(done);
        self.remove_drained();
        // This is early enough, so that no line has to be dropped. Nothing waits for this call.
        if self.bytes() > self.limits.max_bytes / 2 {
            let rewritten = self.rewrite_one().map(|_| ());
            self.note(rewritten);
        }
        if !self.lost.is_empty() {
            return Ok(std::mem::take(&mut self.lost));
        }
        self.trouble.take().map_or(Ok(Vec::new()), Err)
    }

    pub(super) fn remove_drained(&mut self) {
        for (order, run) in std::mem::take(&mut self.adopted) {
            match run.is_drained() {
                true => self.remove(run),
                false => self.adopted.push((order, run)),
            }
        }
    }

    pub(super) fn remove(&mut self, mut run: Run) {
        self.lost.append(&mut run.lost);
        // The next run takes over files that cannot be removed now, and finds them settled.
        run.remove();
    }
}
