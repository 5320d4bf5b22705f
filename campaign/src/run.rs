//! One run of a process: what it did, how it ended, and when it could not work.

use std::time::Duration;

use crate::evidence::Promise;
use crate::record::{Moment, Story};

/// One run of a process. Runs are counted from 0 on in the order of their start.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Its records.
    pub story: Story,
    /// How it ended.
    pub end: Ending,
    /// When something kept it from working.
    pub troubles: Vec<Trouble>,
}

/// How a run has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// It had done all that it was told to do, or it ended by itself.
    #[default]
    Finished,
    /// It was asked to stop at this time, and did.
    Stopped(Moment),
    /// It was killed at this time.
    Killed(Moment),
}

/// A time of trouble of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// When it began.
    pub from: Moment,
    /// When it was over.
    pub until: Moment,
    /// What it was.
    pub kind: TroubleKind,
}

/// The kind of a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// It was paused with SIGSTOP.
    Paused,
    /// It did not reach the database.
    CutOff,
    /// No process reached the database.
    NoDatabase,
    /// Its disk was full. What is logged then is in memory only, and may be lost in a kill. This is told as a loss.
    DiskFull,
}

/// How long before the kill of its run something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// By the clock.
    pub by_clock: Duration,
    /// Without the time in which the run could not work.
    pub running: Duration,
}

/// What a kill says of something that was done before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// It was younger than the bound: it may be gone.
    InWindow { running: Duration, is_older_by_clock: bool },
    /// It is gone, for a reason that is known.
    Lost { age: Duration, reason: &'static str },
    /// It should have survived.
    Older,
}

impl Run {
    /// When it was killed, if it was.
    pub fn killed(&self) -> Option<Moment> {
        match self.end {
            Ending::Killed(at) => Some(at),
            Ending::Finished | Ending::Stopped(_) => None,
        }
    }

    /// What the kill says of something that was done at this time. `None` if the run was not killed.
    pub(crate) fn fate_in_kill(&self, at: Moment, promise: Promise) -> Option<Kill> {
        let Age { by_clock, running } = self.age_at_kill(at)?;
        let is_full = self
            .troubles
            .iter()
            .any(|it| it.kind == TroubleKind::DiskFull && (it.from..=it.until).contains(&at));
        Some(if running <= promise.bound {
            Kill::InWindow { running, is_older_by_clock: by_clock > promise.bound }
        } else if promise.memory.is_some_and(|memory| by_clock <= memory) {
            Kill::Lost { age: by_clock, reason: "killed" }
        } else if is_full {
            Kill::Lost { age: by_clock, reason: "killed while the disk was full" }
        } else {
            Kill::Older
        })
    }

    /// How long before the kill something was done: by the clock, and without the time in which the run could not work.
    /// That is the time of its troubles, and time in which it did not run (it was stopped, or waited for a processor), as
    /// its beats show. `None` if the run was not killed.
    ///
    /// Two threads stand between a line and the disk, one behind the other. So where a beat had to wait for a processor,
    /// both may have had to.
    pub fn age_at_kill(&self, at: Moment) -> Option<Age> {
        let killed = self.killed()?;
        let age = killed.saturating_sub(at);
        let late = self.late_beats(at, killed);
        let second_thread: u64 =
            late.iter().map(|(from, until)| (until - from).min(SECOND_THREAD)).sum();
        let waits = |it: &&Trouble| it.kind != TroubleKind::DiskFull;
        let troubles = self.troubles.iter().filter(waits).map(|it| (it.from, it.until));
        let mut idle: Vec<(Moment, Moment)> = troubles.chain(late).collect();
        idle.sort_unstable();
        // They may overlap: each moment counts once.
        let (mut running, mut counted) = (age.saturating_sub(second_thread), at);
        for (from, until) in idle {
            let until = until.min(killed);
            running = running.saturating_sub(until.saturating_sub(from.max(counted)));
            counted = counted.max(until);
        }
        let (by_clock, running) = (Duration::from_nanos(age), Duration::from_nanos(running));
        Some(Age { by_clock, running })
    }

    /// When beats were missing between these times: from when the next one was due, to when it came.
    pub(crate) fn late_beats(&self, at: Moment, end: Moment) -> Vec<(Moment, Moment)> {
        let beats = &self.story.beats;
        let first = beats.partition_point(|beat| *beat < at).saturating_sub(1);
        let next = beats.iter().skip(first + 1).copied().chain([end]);
        let between = beats[first.min(beats.len())..].iter().zip(next);
        let due = between.map(|(beat, next)| ((*beat + BEAT).max(at), next.min(end)));
        due.filter(|(due, next)| next.saturating_sub(*due) > JITTER).collect()
    }
}

/// How often a process with beats notes that it runs, in nanoseconds.
pub const BEAT: u64 = 20_000_000;
/// A beat that is late by no more than this says nothing.
const JITTER: u64 = 2_000_000;
/// A second thread waits for a processor no longer than this: when a process goes on that was stopped, all its threads do.
const SECOND_THREAD: u64 = 50_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 100 * SECOND;

    fn trouble(from: u64, until: u64) -> Trouble {
        let (from, until) = (START + from * SECOND, START + until * SECOND);
        Trouble { from, until, kind: TroubleKind::CutOff }
    }

    fn running(run: &Run, seconds: u64) -> Option<Duration> {
        run.age_at_kill(START + seconds * SECOND).map(|age| age.running)
    }

    #[test]
    fn the_time_of_troubles_does_not_count_for_the_window_and_counts_once() {
        let run = Run {
            end: Ending::Killed(START + 20 * SECOND),
            troubles: vec![trouble(12, 16), trouble(1, 4), trouble(10, 15), trouble(13, 14)],
            ..Run::default()
        };
        assert_eq!(running(&run, 18), Some(Duration::from_secs(2)));
        assert_eq!(running(&run, 11), Some(Duration::from_secs(4)));
        assert_eq!(running(&run, 3), Some(Duration::from_secs(10)));
        assert_eq!(Run::default().age_at_kill(START), None);
    }

    #[test]
    fn a_pause_that_the_beats_show_too_counts_once() {
        let mut run = Run {
            end: Ending::Killed(START + 20 * SECOND),
            troubles: vec![trouble(5, 15)],
            ..Run::default()
        };
        let beats = (0..=20 * SECOND / BEAT).map(|beat| START + beat * BEAT);
        let stopped = START + 5 * SECOND..START + 15 * SECOND;
        run.story.beats = beats.filter(|beat| !stopped.contains(beat)).collect();
        // The second thread waits for 50 ms more.
        assert_eq!(running(&run, 3), Some(Duration::from_millis(6950)));
        run.troubles.clear();
        assert_eq!(running(&run, 3), Some(Duration::from_millis(6950)));
    }

    #[test]
    fn a_full_disk_does_not_stop_the_clock_and_is_a_reason() {
        let mut run = Run { end: Ending::Killed(START + 20 * SECOND), ..Run::default() };
        run.troubles = vec![Trouble { kind: TroubleKind::DiskFull, ..trouble(5, 15) }];
        assert_eq!(running(&run, 3), Some(Duration::from_secs(17)));
        let promise = Promise { bound: Duration::from_secs(1), ..Promise::default() };
        let fate = |seconds: u64| run.fate_in_kill(START + seconds * SECOND, promise);
        assert!(matches!(
            fate(15),
            Some(Kill::Lost { reason: "killed while the disk was full", .. })
        ));
        assert_eq!(fate(16), Some(Kill::Older));
    }
}
