//! The plan of events for the fleet. The seed determines it.

use std::time::Duration;

use tracing_bizproc::simulation::Random;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Deed {
    /// SIGKILL. Another process takes its place after this time.
    Kill(Who, Duration),
    /// SIGSTOP, and SIGCONT after this time.
    Pause(Who, Duration),
    /// The connections of a process to the database are cut, and new ones are refused for this time.
    CutOff(Who, Duration),
    /// Nothing passes between a process and the database for this time.
    Silence(Who, Duration),
    /// Everything between a process and the database takes longer by the first time, for the second one.
    Slow(Who, Duration, Duration),
    /// The database crashes, and starts again after this time.
    Crash(Duration),
    /// All relays are stopped as services are, and started again, one after the other.
    Roll,
    /// A replica is stopped as services are, and started again.
    Restart(usize),
}

impl Deed {
    /// To whom it happens, if it is one process.
    pub(crate) fn who(self) -> Option<Who> {
        match self {
            Deed::Kill(who, _)
            | Deed::Pause(who, _)
            | Deed::CutOff(who, _)
            | Deed::Silence(who, _)
            | Deed::Slow(who, ..) => Some(who),
            Deed::Restart(replica) => Some(Who::Replica(replica)),
            Deed::Crash(_) | Deed::Roll => None,
        }
    }
}

/// A place in the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Relay(usize),
    Replica(usize),
}

/// The size of the fleet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) relays: usize,
    pub(crate) replicas: usize,
}

/// An endless series of events, each with the time to wait before it.
pub(crate) struct Plan {
    random: Random,
    pace: Duration,
    crowd: Crowd,
    count: usize,
    pauses_only: bool,
}

impl Plan {
    pub(crate) fn new(seed: u64, pace: Duration, crowd: Crowd) -> Plan {
        Plan { random: Random::new(seed, 1), pace, crowd, count: 0, pauses_only: false }
    }

    /// Only long pauses of relays, because fencing protects against these.
    pub(crate) fn pauses_only(self) -> Plan {
        Plan { pauses_only: true, ..self }
    }

    fn time(&mut self, low: f64, high: f64) -> Duration {
        Duration::from_secs_f64(self.random.within(low, high))
    }

    fn relay(&mut self) -> Who {
        Who::Relay(self.random.below(self.crowd.relays))
    }

    fn replica(&mut self) -> Who {
        Who::Replica(self.random.below(self.crowd.replicas))
    }

    fn anybody(&mut self) -> Who {
        if self.random.chance(0.5) { self.relay() } else { self.replica() }
    }

    fn deed(&mut self, number: usize) -> Deed {
        match number {
            0 | 1 => Deed::Kill(self.relay(), self.time(0.5, 6.0)),
            2 | 3 => Deed::Kill(self.replica(), self.time(0.2, 3.0)),
            4 | 5 => Deed::Pause(self.relay(), LONG_PAUSE),
            // A time that is near the length of a lease.
            6 => Deed::Pause(self.relay(), self.time(1.0, 7.0)),
            7 => Deed::Pause(self.replica(), self.time(0.1, 5.0)),
            8 | 9 => Deed::CutOff(self.anybody(), self.time(0.0, 8.0)),
            10 => Deed::CutOff(self.relay(), self.time(2.0, 10.0)),
            11 => Deed::Silence(self.anybody(), self.time(1.0, 10.0)),
            12 | 13 => Deed::Slow(self.anybody(), self.time(0.002, 0.2), self.time(2.0, 12.0)),
            14 | 15 => Deed::Crash(self.time(0.0, 4.0)),
            16 | 17 => Deed::Roll,
            _ => Deed::Restart(self.random.below(self.crowd.replicas)),
        }
    }
}

impl Iterator for Plan {
    type Item = (Duration, Deed);

    fn next(&mut self) -> Option<(Duration, Deed)> {
        let wait = self.pace.mul_f64(self.random.within(0.1, 1.9));
        self.count += 1;
        // Every run begins with one event of each important kind.
        if self.pauses_only {
            return Some((wait, Deed::Pause(self.relay(), LONG_PAUSE)));
        }
        let number = match FIRST.get(self.count - 1) {
            Some(number) => *number,
            None => self.random.below(20),
        };
        Some((wait, self.deed(number)))
    }
}

/// A pause that is longer than any lease.
pub(crate) const LONG_PAUSE: Duration = Duration::from_secs(20);
const FIRST: [usize; 7] = [0, 4, 2, 14, 16, 10, 8];

#[cfg(test)]
mod tests {
    use super::*;

    fn deeds(seed: u64) -> Vec<(Duration, Deed)> {
        let crowd = Crowd { relays: 3, replicas: 10 };
        Plan::new(seed, Duration::from_secs(6), crowd).take(300).collect()
    }

    #[test]
    fn the_same_seed_has_the_same_plan() {
        assert_eq!(deeds(3), deeds(3));
        assert_ne!(deeds(3), deeds(4));
    }

    #[test]
    fn a_plan_begins_with_what_matters_most_and_has_everything_in_the_end() {
        let deeds = deeds(3);
        let kind = |deed: &Deed| std::mem::discriminant(deed);
        let first: Vec<_> = deeds[..5].iter().map(|(_, deed)| *deed).collect();
        assert!(matches!(
            first[..],
            [
                Deed::Kill(Who::Relay(_), _),
                Deed::Pause(Who::Relay(_), LONG_PAUSE),
                Deed::Kill(Who::Replica(_), _),
                Deed::Crash(_),
                Deed::Roll,
            ]
        ));
        let kinds: std::collections::HashSet<_> =
            deeds.iter().map(|(_, deed)| kind(deed)).collect();
        assert_eq!(kinds.len(), 8);
    }
}
