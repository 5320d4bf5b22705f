//! Deletes files that are not needed any more.

use super::{Run, UNFINISHED};
use crate::spool::disk::child;
use crate::spool::folder;

impl Run {
    /// Deletes the files of segments whose lines are all settled, unless their marks are needed.
    pub(super) fn sweep(&mut self) {
        if !self.sync_deleted() {
            return;
        }
        let open = self.writer.as_ref().map(|writer| writer.number);
        let numbers: Vec<_> = self.segments.keys().copied().collect();
        for number in numbers {
            let segment = &self.segments[&number];
            let before = self.segments.get(&number.wrapping_sub(1));
            if Some(number) == open
                || segment.live > 0
                || !segment.speaks_of.is_empty()
                || before.is_some_and(|before| before.surplus)
            {
                continue;
            }
            if !self.delete(number) {
                return;
            }
        }
    }

    /// Deletes a segment's file. Returns whether it is gone.
    pub(super) fn delete(&mut self, number: u32) -> bool {
        let disk = &*self.setup.disk;
        match disk.remove_file(&self.file(number)) {
            Ok(()) => (),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (),
            // This is tried again when the next lines are settled.
            Err(_) => return false,
        }
        self.segments.remove(&number);
        self.indexes.remove(number);
        for other in self.segments.values_mut() {
            self.unsynced |= other.speaks_of.remove(&number);
        }
        self.sync_deleted()
    }

    /// If power is lost, a file that was deleted must not come back without the marks of its lines.
    fn sync_deleted(&mut self) -> bool {
        let synced =
            !self.unsynced || !self.setup.fsync || self.setup.disk.sync_dir(&self.path).is_ok();
        self.unsynced &= !synced;
        synced
    }

    /// Removes files that were being written when a process was killed.
    fn remove_unfinished(&self) -> bool {
        let names = self.setup.disk.list(&self.path).unwrap_or_default();
        let unfinished = names.iter().filter(|name| name.ends_with(UNFINISHED));
        let paths = unfinished.map(|name| child(&self.path, name));
        paths.into_iter().all(|path| self.setup.disk.remove_file(&path).is_ok())
    }

    fn remove_folder(&self) -> bool {
        folder::remove(&*self.setup.disk, &self.path).is_ok()
    }

    /// Deletes the whole folder, if nothing is left to settle. Returns whether it is deleted.
    pub(in crate::spool) fn remove(&mut self) -> bool {
        if !self.is_drained() {
            return false;
        }
        self.writer = None;
        let numbers: Vec<_> = self.segments.keys().copied().collect();
        // In their order: a file must not outlive the marks of its lines.
        numbers.into_iter().all(|number| self.delete(number))
            && self.remove_unfinished()
            && self.remove_folder()
    }
}
