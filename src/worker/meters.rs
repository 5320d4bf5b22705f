//! Which operating counters of the portal a request increases, and what its reply says about them.
//!
//! The portal counts by credential and method, and a batch is counted by itself besides its commands
//! (server behaviour). For entries, each of these counters is kept below its limit. Ends of activities are
//! never slowed down: only their refusals are remembered, which decide how an end is sent. In a batch, if
//! `batch` was not refused; otherwise as a direct call.

use std::time::{Duration, Instant};

use super::memo::{Reader, Writer};
use super::operating::OperatingWindow;
use crate::protocol::reply::{Outcome, Sent, ServerTime};

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Writes an entry.
    Entry,
    /// Ends an activity.
    End,
}

/// The windows of one credential on one portal.
#[derive(Debug)]
pub(crate) struct Meters {
    /// `bizproc.activity.log`, called directly.
    direct: OperatingWindow,
    /// `bizproc.activity.log` inside a batch: its own key for webhooks.
    batched: OperatingWindow,
    /// `batch` itself.
    outer: OperatingWindow,
    /// Until when ends are not sent directly, and not in a batch, because they were refused there.
    no_direct_end: Option<Instant>,
    no_batched_end: Option<Instant>,
}

impl Meters {
    pub(crate) fn new(limit: Duration, now: Instant) -> Self {
        let window = || OperatingWindow::new(limit, now);
        Meters {
            direct: window(),
            batched: window(),
            outer: window(),
            no_direct_end: None,
            no_batched_end: None,
        }
    }

    /// For the portal's next owner.
    pub(crate) fn write(&self, memo: &mut Writer) {
        for window in [&self.direct, &self.batched, &self.outer] {
            window.write(memo);
        }
        memo.maybe_time(self.no_direct_end);
        memo.maybe_time(self.no_batched_end);
    }

    /// What an earlier owner has noted.
    pub(crate) fn read(&self, memo: &mut Reader<'_>, now: Instant) -> Option<Self> {
        let soon = |at: Instant| at.min(now + END_REFUSED);
        Some(Meters {
            direct: self.direct.read(memo, now)?,
            batched: self.batched.read(memo, now)?,
            outer: self.outer.read(memo, now)?,
            no_direct_end: memo.maybe_time()?.map(soon),
            no_batched_end: memo.maybe_time()?.map(soon),
        })
    }

    /// How many of `want` entries may be sent now, or when to ask again. `alone`: there is one, and nothing
    /// else is in its request.
    pub(crate) fn entries(&self, alone: bool, want: usize, now: Instant) -> Result<usize, Instant> {
        if alone || want == 1 || self.outer.is_refused(now) {
            return self.direct.allowance(1, now);
        }
        self.outer.allowance(1, now)?;
        match self.batched.allowance(want, now)? {
            // A single entry is a direct call, and is counted as one.
            1 => self.direct.allowance(1, now),
            fits => Ok(fits),
        }
    }

    /// Whether `batch` itself was refused. Then commands are sent one at a time.
    pub(crate) fn batch_is_refused(&self, now: Instant) -> bool {
        self.outer.is_refused(now)
    }

    /// Whether ends may be sent in a batch.
    pub(crate) fn takes_batched_ends(&self, now: Instant) -> bool {
        !self.batch_is_refused(now) && self.no_batched_end.is_none_or(|until| until <= now)
    }

    /// Whether an end may be a direct call. If neither form is allowed, it is still sent, with pauses.
    pub(crate) fn takes_direct_ends(&self, now: Instant) -> bool {
        self.no_direct_end.is_none_or(|until| until <= now)
    }

    /// Reads the `time` parts of a reply.
    pub(crate) fn observe(
        &mut self,
        sent: Sent,
        entries: &[Outcome],
        ends: &[Outcome],
        time: ServerTime,
        now: Instant,
    ) {
        match sent {
            Sent::Single if ends.is_empty() => {
                observe(&mut self.direct, time, 1, time.duration.unwrap_or(0.0), now);
            }
            Sent::Single => {}
            Sent::Batch(_) => {
                let done = || {
                    entries.iter().filter_map(|outcome| match outcome {
                        Outcome::Done(time) => Some(*time),
                        _ => None,
                    })
                };
                let worked: f64 = done().filter_map(|time| time.duration).sum();
                let commands = done().count();
                // Cumulative: the count of the last command includes the others.
                if let Some(mut last) = done().next_back() {
                    last.finish = last.finish.or(time.finish);
                    observe(&mut self.batched, last, commands, worked, now);
                }
                observe(&mut self.outer, time, 1, time.duration.unwrap_or(0.0), now);
            }
        }
        if ends.iter().any(|outcome| matches!(outcome, Outcome::Done(_))) {
            match sent {
                Sent::Single => self.no_direct_end = None,
                Sent::Batch(_) => self.no_batched_end = None,
            }
        }
    }

    /// The portal refused for operating time: the request itself (`whole`), or a command.
    pub(crate) fn refused(&mut self, sent: Sent, sort: Sort, whole: bool, now: Instant) {
        match (sent, sort) {
            (Sent::Batch(_), _) if whole => self.outer.refused(now),
            (Sent::Single, Sort::Entry) => self.direct.refused(now),
            (Sent::Batch(_), Sort::Entry) => self.batched.refused(now),
            (Sent::Single, Sort::End) => self.no_direct_end = Some(now + END_REFUSED),
            (Sent::Batch(_), Sort::End) => self.no_batched_end = Some(now + END_REFUSED),
        }
    }
}

fn observe(
    window: &mut OperatingWindow,
    time: ServerTime,
    commands: usize,
    worked: f64,
    now: Instant,
) {
    let Some(operating) = time.operating else { return window.lifted() };
    // Both times are from the portal's clock, so ours does not matter.
    let resets_in = match (time.operating_reset_at, time.finish) {
        (Some(reset), Some(finish)) => {
            Duration::try_from_secs_f64((reset as f64 - finish).max(0.0)).ok()
        }
        _ => None,
    };
    window.observed(operating, resets_in, commands, worked, now);
}

/// For how long ends avoid a form in which they were refused: the longest known block (server behaviour, and
/// documentation).
const END_REFUSED: Duration = Duration::from_secs(605);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(100);

    /// The next owner keeps to the limits that this one has found.
    #[test]
    fn the_next_owner_knows_the_limits() {
        let now = Instant::now() + Duration::from_secs(1_000);
        let clocks = crate::worker::memo::Clocks { now, wall: std::time::SystemTime::now() };
        let mut meters = Meters::new(LIMIT, now);
        meters.refused(Sent::Batch(2), Sort::Entry, true, now);
        meters.refused(Sent::Single, Sort::End, false, now);
        let mut memo = Writer::new(1, clocks);
        meters.write(&mut memo);
        let memo = memo.finish();
        let mut read = Reader::new(1, &memo, clocks).unwrap();
        let next = Meters::new(LIMIT, now).read(&mut read, now).unwrap();
        assert!(next.batch_is_refused(now) && !next.takes_direct_ends(now));
        let later = now + END_REFUSED + Duration::from_secs(1);
        assert!(!next.batch_is_refused(later) && next.takes_direct_ends(later));
    }

    proptest::proptest! {
        #[test]
        fn a_memo_of_any_bytes_blocks_nothing_for_long(bytes: Vec<u8>) {
            let now = Instant::now();
            let clocks = crate::worker::memo::Clocks { now, wall: std::time::SystemTime::now() };
            let meters = Meters::new(LIMIT, now);
            if let Some(mut memo) = Reader::new(1, &bytes, clocks) {
                if let Some(read) = meters.read(&mut memo, now) {
                    let later = now + END_REFUSED + Duration::from_secs(600);
                    proptest::prop_assert!(read.entries(true, 1, later).is_ok());
                }
            }
        }
    }

    fn at(operating: f64, duration: f64) -> ServerTime {
        ServerTime {
            operating: Some(operating),
            duration: Some(duration),
            operating_reset_at: Some(1_300),
            finish: Some(1_000.0),
        }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn direct_entries_and_entries_in_batches_are_counted_apart() {
        let now = Instant::now();
        let mut meters = Meters::new(LIMIT, now);
        meters.observe(Sent::Single, &[Outcome::Done(at(95.0, 1.0))], &[], at(95.0, 1.0), now);
        assert_eq!(meters.entries(true, 1, now), Err(now + secs(300)), "until the reset");
        assert_eq!(meters.entries(false, 50, now), Ok(50));

        let outcomes = [Outcome::Done(at(40.0, 1.0)), Outcome::Done(at(95.0, 1.0))];
        let mut meters = Meters::new(LIMIT, now);
        meters.observe(Sent::Batch(2), &outcomes, &[], at(2.0, 2.0), now);
        assert_eq!(meters.entries(false, 50, now), Err(now + secs(300)), "by the last command");
        assert_eq!(meters.entries(true, 1, now), Ok(1));
    }

    #[test]
    fn a_refused_batch_leaves_single_calls() {
        let now = Instant::now();
        let mut meters = Meters::new(LIMIT, now);
        meters.refused(Sent::Batch(50), Sort::Entry, true, now);
        assert_eq!(meters.entries(false, 50, now), Ok(1), "one at a time");
        assert_eq!(meters.entries(false, 50, now + secs(605)), Ok(50));
        assert!(!meters.takes_batched_ends(now) && meters.takes_direct_ends(now));
        assert!(meters.takes_batched_ends(now + secs(605)));
    }

    #[test]
    fn the_operating_limit_of_entries_does_not_block_ends() {
        let now = Instant::now();
        let mut meters = Meters::new(LIMIT, now);
        meters.refused(Sent::Batch(50), Sort::Entry, false, now);
        meters.refused(Sent::Single, Sort::Entry, false, now);
        assert!(meters.entries(false, 50, now).is_err() && meters.entries(true, 1, now).is_err());
        assert!(meters.takes_batched_ends(now) && meters.takes_direct_ends(now));
        // Half of the limit is used, so entries are spread. Ends are not.
        let mut meters = Meters::new(LIMIT, now);
        meters.observe(Sent::Batch(1), &[], &[], at(80.0, 5.0), now);
        assert!(meters.entries(false, 50, now).is_err());
        assert!(meters.takes_batched_ends(now));
    }

    #[test]
    fn ends_avoid_the_form_in_which_they_were_refused() {
        let now = Instant::now();
        let mut meters = Meters::new(LIMIT, now);
        meters.refused(Sent::Batch(2), Sort::End, false, now);
        assert!(!meters.takes_batched_ends(now) && meters.takes_direct_ends(now));
        meters.refused(Sent::Single, Sort::End, true, now);
        assert!(!meters.takes_direct_ends(now));
        let done = [Outcome::Done(ServerTime::default())];
        meters.observe(Sent::Single, &[], &done, ServerTime::default(), now);
        assert!(meters.takes_direct_ends(now) && !meters.takes_batched_ends(now));
        assert_eq!(meters.entries(false, 50, now), Ok(50), "entries are counted elsewhere");
    }

    #[test]
    fn a_reply_without_counts_lifts_a_block() {
        let now = Instant::now();
        let mut meters = Meters::new(LIMIT, now);
        meters.refused(Sent::Single, Sort::Entry, true, now);
        assert!(meters.entries(true, 1, now).is_err());
        let time = ServerTime::default();
        meters.observe(Sent::Single, &[Outcome::Done(time)], &[], time, now);
        assert_eq!(meters.entries(true, 1, now), Ok(1));
    }
}
