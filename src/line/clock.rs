//! How the time of an event is read.

use std::time::SystemTime;

/// How exact the time of an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Clock {
    /// As exact as the system has it.
    #[default]
    Exact,
    /// On Linux: the time of the last tick of the system's timer, which comes 100 to 1,000 times a second.
    /// For lines that show seconds. With it, an event takes a quarter less time.
    Coarse,
}

impl Clock {
    #[inline]
    pub(crate) fn now(self) -> SystemTime {
        let coarse = if self == Clock::Coarse { coarse() } else { None };
        #[expect(clippy::disallowed_methods, reason = "the one look at the clock for each event")]
        coarse.unwrap_or_else(SystemTime::now)
    }
}

// Where a pointer has 32 bits, a `timespec` may have private fields.
#[cfg(all(any(target_os = "linux", target_os = "android"), target_pointer_width = "64"))]
#[inline]
#[expect(unsafe_code, reason = "the standard library does not read this clock: see DESIGN.md")]
fn coarse() -> Option<SystemTime> {
    use std::time::Duration;

    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: The call writes one `timespec` to the address that it is given, and keeps nothing. `time` is
    // one, it is alive until the call returns, and nothing else has a reference to it meanwhile.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut time) };
    if done != 0 {
        return None;
    }
    let since = Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

#[cfg(not(all(any(target_os = "linux", target_os = "android"), target_pointer_width = "64")))]
fn coarse() -> Option<SystemTime> {
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_coarse_time_differs_from_the_time_by_at_most_one_tick() {
        let read = [Clock::Exact, Clock::Coarse, Clock::Exact].map(Clock::now);
        // Ticks are at most 10 ms apart; a machine that was halted in between may be late.
        let tick = Duration::from_secs(1);
        assert!(read[1] >= read[0] - tick && read[1] <= read[2], "{read:?}");
        assert!(Clock::Coarse.now() >= read[1], "it goes forwards");
    }
}
