//! Lines on disk: accepted lines survive the process.
//!
//! The worker writes lines to files within a fixed time, and the next run of the app delivers lines that this
//! one could not deliver. See [`Spool`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::disk::RealDisk;
use self::files::{Files, Limits};
use crate::journal::{Journal, Publisher};

mod disk;
mod files;
mod folder;
mod frame;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod header;
mod index;
mod record;
mod run;
mod salt;
mod scan;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use crate::error::SpoolError;

/// A directory in which lines and ends of activities are kept until they are acknowledged, late or lost.
///
/// ```
/// use std::time::Duration;
/// use tracing_bizproc::spool::{Durability, Spool};
///
/// let spool = Spool::new("/var/lib/orders/bizproc")
///     .durability(Durability::Fsync)
///     .max_bytes(4 << 30)
///     .max_age(Duration::from_secs(3 * 24 * 3600));
/// # let _ = spool;
/// ```
///
/// # The directory
///
/// It is created with the mode 0700 if it does not exist; its parent directory must exist. Files in it have the
/// mode 0600, because they contain event tokens and return values, which are secrets. (Credentials are never in
/// it.) A directory that other users may use is refused. It must be on a local disk, because network file
/// systems may not support locks.
///
/// Several processes may share it, also at the same time. Each run of an app has its own folder in it, which is
/// locked while the run lives. A running process takes over the lines of runs that have ended. A process that
/// was forked from an app, and goes on without `exec`, keeps the lock: the folder is taken over only after it
/// has ended, too.
#[derive(Clone)]
pub struct Spool {
    dir: PathBuf,
    durability: Durability,
    bound: Duration,
    max_bytes: u64,
    max_age: Duration,
}

/// Which failures lines in a spool survive.
///
/// ```
/// use tracing_bizproc::spool::{Durability, Spool};
///
/// let spool = Spool::new("/var/lib/orders/bizproc").durability(Durability::Fsync);
/// # drop(spool);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Every end of the process: `kill -9`, out of memory, a panic. Not a loss of power.
    #[default]
    Buffered,
    /// Also a loss of power: each write waits until the data is on the disk. The worker's thread and callers
    /// do not wait for that.
    Fsync,
}

impl Spool {
    /// A spool in this directory, with the defaults.
    pub fn new(dir: impl AsRef<Path>) -> Self {
        Spool {
            dir: dir.as_ref().to_owned(),
            durability: Durability::default(),
            bound: Duration::from_millis(100),
            max_bytes: 1 << 30,
            max_age: Duration::from_secs(24 * 3600),
        }
    }

    /// Which failures its lines survive. Default: [`Durability::Buffered`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The longest time until a line is on disk: above 0 and at most 1 minute, otherwise `build` returns an error.
    /// Default: 100 ms. If the process is killed, younger lines may be lost. A shorter time costs more writes.
    #[must_use]
    pub fn bound(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// How many bytes the files of this run and of runs that it took over may have together: 1 MiB or more,
    /// otherwise `build` returns an error. Default: 1 GiB, which is about a day at 100 lines of 100 bytes a second. If
    /// there are more, the oldest lines are dropped and counted as
    /// [`SpoolFull`](crate::stats::DropReason::SpoolFull). Ends of activities are kept as long as possible.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How long lines are kept: above 0, otherwise `build` returns an error. Default: 24 hours. Older lines are
    /// dropped within a sixteenth of this time, and counted as [`Expired`](crate::stats::DropReason::Expired).
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// The spool of one run, for the worker, tests and benches.
    #[doc(hidden)]
    pub fn open(&self, publisher: Publisher) -> Result<impl Journal + use<>, SpoolError> {
        if self.max_bytes < LEAST_BYTES {
            let (option, problem) = ("max_bytes", "is less than 1 MiB");
            return Err(SpoolError::Option { option, problem });
        }
        if self.max_age.is_zero() {
            return Err(SpoolError::Option { option: "max_age", problem: "is zero" });
        }
        let limits = Limits {
            dir: self.dir.clone(),
            fsync: self.durability == Durability::Fsync,
            max_bytes: self.max_bytes,
            max_age: self.max_age,
            segment_bytes: (self.max_bytes / 8).clamp(LEAST_SEGMENT, MOST_SEGMENT),
        };
        Files::open(Arc::new(RealDisk), limits, publisher)
    }

    /// How long lines are kept.
    pub(crate) fn line_age(&self) -> Duration {
        self.max_age
    }

    /// How old a line gets before it is on disk.
    #[doc(hidden)]
    pub fn line_bound(&self) -> Duration {
        self.bound
    }
}

/// The largest segment. A whole segment is given up at once, or read for a mark.
const MOST_SEGMENT: u64 = 4 << 20;

/// The lowest `max_bytes`.
const LEAST_BYTES: u64 = 1 << 20;

/// A small spool has eight segments, but segments are not smaller than this.
const LEAST_SEGMENT: u64 = 64 << 10;

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("dir", &self.dir)
            .field("durability", &self.durability)
            .field("bound", &self.bound)
            .field("max_bytes", &self.max_bytes)
            .field("max_age", &self.max_age)
            .finish()
    }
}
