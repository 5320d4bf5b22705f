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
}

/// Deeds without an end, each with the time to wait before it.
pub(crate) struct Plan {
    random: Random,
    pace: Duration,
    portals: usize,
    /// Whether there is a disk that can be filled.
    disk: bool,
    count: usize,
}

impl Plan {
    pub(crate) fn new(seed: u64, pace: Duration, portals: usize, disk: bool) -> Plan {
        Plan { random: Random::new(seed, 1), pace, portals, disk, count: 0 }
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
            11..=12 => Deed::Pause(self.time(0.1, 4.0)),
            13..=14 => Deed::PauseAndKill(self.time(0.1, 3.0)),
            15..=16 => Deed::Restart,
            17 if self.disk => Deed::DiskFull(self.time(1.0, 5.0)),
            _ => Deed::Outage(self.random.below(self.portals), self.time(0.5, 8.0)),
        };
        Some((wait, deed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deeds(seed: u64, disk: bool) -> Vec<(Duration, Deed)> {
        Plan::new(seed, Duration::from_secs(6), 4, disk).take(200).collect()
    }

    #[test]
    fn the_same_seed_has_the_same_plan() {
        assert_eq!(deeds(3, true), deeds(3, true));
        assert_ne!(deeds(3, true), deeds(4, true));
    }

    #[test]
    fn most_deeds_are_kills_and_a_disk_that_cannot_be_filled_is_not() {
        let deeds = deeds(3, false);
        let is_kill =
            |deed: &Deed| matches!(deed, Deed::Kill | Deed::KillTwice(_) | Deed::PauseAndKill(_));
        assert!(deeds.iter().filter(|(_, deed)| is_kill(deed)).count() > 100);
        assert!(!deeds.iter().any(|(_, deed)| matches!(deed, Deed::DiskFull(_))));
        assert_eq!(deeds[0].1, Deed::Kill);
    }
}
