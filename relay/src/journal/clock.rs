//! The clock of the database. All processes of a journal share it, so the wrong clock of one process does no harm.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use crate::clock;

/// The clock of the database, as far as its last answer told it.
#[derive(Debug, Default)]
pub(super) struct ServerClock(Mutex<Option<(Instant, SystemTime)>>);

impl ServerClock {
    /// An answer has arrived that contains the time of the database. It is late by the time that the answer took. So
    /// this clock may be slow by that time, and then lines look younger than they are.
    pub(super) fn set(&self, time: SystemTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((clock::now(), time));
    }

    /// The time of the database now. `None`: it has not told the time yet.
    pub(super) fn time(&self) -> Option<SystemTime> {
        let (at, time) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        time.checked_add(clock::now().saturating_duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn it_goes_on_from_the_last_answer() {
        let clock = ServerClock::default();
        assert_eq!(clock.time(), None);
        let told = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        clock.set(told);
        let first = clock.time().unwrap();
        assert!(first >= told && first < told + Duration::from_secs(600));
        // The database's own clock was put back.
        clock.set(UNIX_EPOCH);
        assert!(clock.time().unwrap() < told);
    }
}
