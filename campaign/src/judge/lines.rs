//! Every line that was logged is in a log, or something says why not.

use std::collections::{BTreeMap, BTreeSet};

use super::written;
use crate::evidence::Evidence;
use crate::finding::{About, Kind};
use crate::line::Line;
use crate::record::Moment;
use crate::run::{Kill, Run};
use crate::verdict::Verdict;

pub(super) fn judge(evidence: &Evidence, verdict: &mut Verdict) {
    let delivered: BTreeSet<Line> =
        written(evidence).flat_map(|entry| entry.lines.iter().copied()).collect();
    let mut told = Told::new(evidence);
    for (number, run) in (0..).zip(&evidence.runs) {
        verdict.sent += run.story.lines.len() as u64;
        for (place, &(at, line)) in run.story.lines.iter().enumerate() {
            if delivered.contains(&line) {
                verdict.delivered += 1;
            } else {
                let missing = Missing { at, line, is_kept: place < run.story.flushed, number, run };
                missing.judge(evidence, &mut told, verdict);
            }
        }
    }
}

/// A line that no log has.
struct Missing<'a> {
    at: Moment,
    line: Line,
    /// The crate had reported that it was kept.
    is_kept: bool,
    /// The run that has logged it.
    number: u32,
    run: &'a Run,
}

impl Missing<'_> {
    fn judge(&self, evidence: &Evidence, told: &mut Told, verdict: &mut Verdict) {
        let Missing { at, line, is_kept, number, run } = *self;
        let fate = run.fate_in_kill(at, evidence.promise).filter(|_| !is_kept);
        let reason = match fate {
            Some(Kill::InWindow { running, is_older_by_clock }) => {
                verdict.in_window += 1;
                verdict.older_by_clock += u64::from(is_older_by_clock);
                verdict.oldest_in_window = verdict.oldest_in_window.max(running);
                return;
            }
            Some(Kill::Lost { age, reason }) => {
                verdict.oldest_lost = verdict.oldest_lost.max(age);
                Some(reason.to_owned())
            }
            Some(Kill::Older) | None => told.take(line.activity, number),
        };
        let mut about = About::activity(line.activity, number, at);
        if line.run.is_none() && evidence.runs.len() > number as usize + 1 {
            // The next run should have found what this one has left.
            about.runs.push(number + 1);
        }
        match reason {
            Some(reason) => {
                if evidence.promise.memory.is_none() {
                    let sentence = format!("{line} was lost, logged by run {number}: {reason}");
                    verdict.find(Kind::Lost, about, sentence);
                }
                *verdict.lost.entry(reason).or_default() += 1;
            }
            None => {
                let kept = if is_kept { " although it was flushed" } else { "" };
                let age = run.age_at_kill(at).map_or(String::new(), |age| {
                    let (by_clock, running) = (age.by_clock, age.running);
                    format!(" {by_clock:?} before its kill, {running:?} of that running")
                });
                let sentence = format!("{line} is missing{kept}, logged by run {number}{age}");
                verdict.find(Kind::Missing, about, sentence);
            }
        }
    }
}

/// Losses that were told, in a log or by the counters of a run in the end: each explains one line.
struct Told {
    gaps: BTreeMap<u32, Vec<(String, u64)>>,
    counted: Vec<Vec<(String, u64)>>,
}

impl Told {
    fn new(evidence: &Evidence) -> Told {
        let mut gaps: BTreeMap<u32, Vec<(String, u64)>> = BTreeMap::new();
        for gap in &evidence.gaps {
            gaps.entry(gap.activity).or_default().push((gap.reason.clone(), gap.lines));
        }
        let counted = evidence.runs.iter().map(|run| run.story.lost.clone()).collect();
        Told { gaps, counted }
    }

    fn take(&mut self, activity: u32, run: u32) -> Option<String> {
        let gaps = self.gaps.get_mut(&activity).into_iter().flatten();
        let counted = self.counted.get_mut(run as usize).into_iter().flatten();
        let (reason, left) = gaps.chain(counted).find(|(_, left)| *left > 0)?;
        *left -= 1;
        Some(reason.clone())
    }
}
