//! The wall clock of the app, which can jump: by libfaketime, where that is installed (Debian's package
//! has this name). The app's monotonic clock runs on as it does.

use std::fmt;
use std::fs;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

/// The clock that processes of the app are given.
pub(crate) struct AppClock {
    library: Option<PathBuf>,
    /// How far it is off, in seconds, as libfaketime reads it.
    offset: PathBuf,
}

impl AppClock {
    pub(crate) fn new(directory: &Path) -> io::Result<AppClock> {
        let offset = directory.join("clock");
        fs::write(&offset, "+0\n")?;
        let library = LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists());
        Ok(AppClock { library, offset })
    }

    pub(crate) fn can_jump(&self) -> bool {
        self.library.is_some()
    }

    /// From now on the clock is off by so many seconds. It is seen within a second.
    pub(crate) fn set(&self, seconds: i64) -> io::Result<()> {
        // Replaced as a whole, so that nobody reads a half of it.
        let new = self.offset.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n"))?;
        fs::rename(new, &self.offset)
    }

    pub(crate) fn give_to(&self, process: &mut Command) {
        let Some(library) = &self.library else { return };
        process
            .env("LD_PRELOAD", library)
            .env(OFFSET, &self.offset)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }

    /// Removes what libfaketime of a killed process has left: it would stop another one that happens to get
    /// the same number.
    pub(crate) fn clean_up_after(&self, process: u32) {
        if self.library.is_some() {
            for name in ["faketime_shm", "sem.faketime_sem"] {
                // It is gone where the process came to its end.
                drop(fs::remove_file(format!("/dev/shm/{name}_{process}")));
            }
        }
    }
}

impl fmt::Display for AppClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.library {
            Some(_) => "clock: jumps, by libfaketime",
            None => "clock: does not jump, since libfaketime is not there",
        })
    }
}

/// The true time, also in a process whose clock jumps.
pub(crate) struct TrueTime {
    base: SystemTime,
    at: Instant,
}

impl TrueTime {
    /// Where the clock may jump, the kernel's time is read from a file that was just written.
    pub(crate) fn start(directory: &Path) -> io::Result<TrueTime> {
        if std::env::var_os(OFFSET).is_none() {
            return Ok(TrueTime { base: SystemTime::now(), at: Instant::now() });
        }
        let path = directory.join(format!("time-{}", std::process::id()));
        let mut file = fs::File::create(&path)?;
        let mut write = || -> io::Result<SystemTime> {
            file.rewind()?;
            file.write_all(b"now")?;
            file.metadata()?.modified()
        };
        // That time moves in steps of some milliseconds: the moment of a step is exact.
        let first = write()?;
        let mut base = first;
        while base == first {
            base = write()?;
        }
        let at = Instant::now();
        fs::remove_file(path)?;
        Ok(TrueTime { base, at })
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.base + self.at.elapsed()
    }
}

/// The variable by which libfaketime finds the file with the offset.
const OFFSET: &str = "FAKETIME_TIMESTAMP_FILE";
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];
