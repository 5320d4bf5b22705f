//! Writes the file of one segment.

use std::path::PathBuf;

use super::disk::{Disk, DiskFile, write_all};
use super::header::{Header, LENGTH};
use super::record::{Dictionary, Keys};
use super::salt::Salt;
use crate::error::SpoolError;

/// The file of the segment that is being written.
pub(super) struct Writer {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    pub(super) number: u32,
    pub(super) salt: Salt,
    pub(super) dictionary: Dictionary,
    /// The buffer for the next write. It is kept, so that it is not allocated each time.
    pub(super) buffer: Vec<u8>,
    /// Bytes of the file that are valid.
    pub(super) bytes: u64,
    /// The file has data that was not synced.
    unsynced: bool,
}

/// A larger buffer is not kept.
const KEPT_BUFFER: usize = 1 << 20;

impl Writer {
    /// Creates the file.
    pub(super) fn create(
        disk: &dyn Disk,
        path: PathBuf,
        header: &Header,
        keys: Keys,
    ) -> Result<Writer, SpoolError> {
        let file = disk.create(&path).map_err(|e| SpoolError::new("making", &path, e))?;
        let mut writer = Writer {
            file,
            path,
            number: header.segment,
            salt: header.salt(),
            dictionary: Dictionary::new(keys),
            buffer: Vec::new(),
            bytes: LENGTH as u64,
            unsynced: true,
        };
        if let Err(error) = write_all(&mut *writer.file, &header.write()) {
            // Otherwise the name would be taken at the next try. The file is empty.
            let _ = disk.remove_file(&writer.path);
            return Err(SpoolError::new("writing", &writer.path, error));
        }
        Ok(writer)
    }

    /// Writes the buffer. If this fails, nothing of it is valid, and the file may have to be given up.
    pub(super) fn write(&mut self, sync: bool) -> Result<(), Failed> {
        self.unsynced = true;
        let written = match write_all(&mut *self.file, &self.buffer) {
            Ok(()) if sync => self.sync(),
            written => written.map_err(|error| self.failed("writing", error)),
        };
        // Writing to a deleted file gives no error.
        let written = written.and_then(|()| match self.file.is_linked() {
            Ok(true) => Ok(()),
            Ok(false) => {
                let error = SpoolError::Vanished { path: self.path.clone() };
                Err(Failed { error, give_up: true })
            }
            Err(error) => Err(self.failed("looking at", error)),
        });
        match written {
            Ok(()) => self.bytes += self.buffer.len() as u64,
            Err(mut failed) => {
                self.dictionary.take_back();
                failed.give_up |= self.file.truncate(self.bytes).is_err();
                // Otherwise the end may be back after a loss of power.
                failed.give_up |= sync && self.file.sync().is_err();
                self.clear();
                return Err(failed);
            }
        }
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
    }

    /// Makes all written data survive a loss of power.
    pub(super) fn sync(&mut self) -> Result<(), Failed> {
        if self.unsynced {
            // After a failure it is unknown what is on the disk, because the next sync may report success.
            self.file
                .sync()
                .map_err(|error| Failed { give_up: true, ..self.failed("syncing", error) })?;
            self.unsynced = false;
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str, error: std::io::Error) -> Failed {
        Failed { error: SpoolError::new(doing, &self.path, error), give_up: false }
    }
}

/// A write that failed.
pub(super) struct Failed {
    pub(super) error: SpoolError,
    /// The file must not be written to any more.
    pub(super) give_up: bool,
}
