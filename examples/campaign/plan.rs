//! What happens to the app, by seed.

use std::time::Duration;

use tracing_bizproc::simulation::Random;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Deed {
    /// SIGKILL.
    Kill,
    /// SIGKILL, and once more so long after the next process was started: while it recovers.
    KillTwice(Duration),
    /// SIGSTOP, and SIGCONT after this time.
    Pause(Duration),
    /// SIGSTOP, and SIGKILL after this time.
    PauseAndKill(Duration),
    /// SIGTERM: the app shuts down within its deadline.
    Restart,
    /// This portal cannot be reached for this time.
    Outage(usize, Duration),
    /// The disk of the spool is full for this time.
    DiskFull(Duration),
    /// The wall clock of the app is off by so many seconds from now on.
    ClockJump(i64),
}

/// What there is to be spoilt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spoils {
    pub(crate) portals: usize,
    /// Whether there is a disk that can be filled.
    pub(crate) disk: bool,
    /// Whether there is a clock that can jump.
    pub(crate) clock: bool,
}

/// Deeds without an end, each with the time to wait before it.
pub(crate) struct Plan {
    random: Random,
    pace: Duration,
    spoils: Spoils,
    count: usize,
}

impl Plan {
    pub(crate) fn new(seed: u64, pace: Duration, spoils: Spoils) -> Plan {
        Plan { random: Random::new(seed, 1), pace, spoils, count: 0 }
    }

    fn time(&mut self, low: f64, high: f64) -> Duration {
        Duration::from_secs_f64(self.random.within(low, high))
    }
}

impl Iterator for Plan {
    type Item = (Duration, Deed);

    fn next(&mut self) -> Option<(Duration, Deed)> {
        let wait = self.pace.mul_f64(self.random.within(0.1, 1.9));
        self.count += 1;
        // The first deed is a kill, so that a run of any length has one.
        let deed = match self.random.below(20) {
            _ if self.count == 1 => Deed::Kill,
            0..=8 => Deed::Kill,
            9..=10 => Deed::KillTwice(self.time(0.0, 0.6)),
            11 => Deed::Pause(self.time(0.1, 4.0)),
            12..=13 => Deed::PauseAndKill(self.time(0.1, 3.0)),
            14..=15 => Deed::Restart,
            16 if self.spoils.disk => Deed::DiskFull(self.time(1.0, 5.0)),
            17..=18 if self.spoils.clock => {
                Deed::ClockJump(self.random.within(-FARTHEST, FARTHEST) as i64)
            }
            _ => Deed::Outage(self.random.below(self.spoils.portals), self.time(0.5, 8.0)),
        };
        Some((wait, deed))
    }
}

/// How far the clock is off at most, in seconds. From one end to the other it is less than an end waits for
/// its lines.
const FARTHEST: f64 = 300.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn deeds(seed: u64, all: bool) -> Vec<(Duration, Deed)> {
        let spoils = Spoils { portals: 4, disk: all, clock: all };
        Plan::new(seed, Duration::from_secs(6), spoils).take(200).collect()
    }

    #[test]
    fn the_same_seed_has_the_same_plan() {
        assert_eq!(deeds(3, true), deeds(3, true));
        assert_ne!(deeds(3, true), deeds(4, true));
    }

    #[test]
    fn most_deeds_are_kills_and_what_cannot_be_spoilt_is_not() {
        let deeds = deeds(3, false);
        let is_kill =
            |deed: &Deed| matches!(deed, Deed::Kill | Deed::KillTwice(_) | Deed::PauseAndKill(_));
        assert!(deeds.iter().filter(|(_, deed)| is_kill(deed)).count() > 100);
        let is_special = |deed: &Deed| matches!(deed, Deed::DiskFull(_) | Deed::ClockJump(_));
        assert!(!deeds.iter().any(|(_, deed)| is_special(deed)));
        assert_eq!(deeds[0].1, Deed::Kill);
    }
}
