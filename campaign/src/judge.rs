//! The judge: from evidence to a verdict. It decides from what it is given, and does no I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Entry, Evidence};
use crate::finding::{About, Kind};
use crate::journal::Fate;
use crate::line::{Line, Series};
use crate::record::Moment;
use crate::verdict::Verdict;

mod ends;
mod lines;
#[cfg(test)]
mod tests;

/// Judges.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict { findings: evidence.findings.clone(), ..Verdict::default() };
    judge_requests(evidence, &mut verdict);
    judge_copies(evidence, &mut verdict);
    judge_order(evidence, &mut verdict);
    if evidence.promise.repeats_at_once {
        judge_repeats(evidence, &mut verdict);
    }
    lines::judge(evidence, &mut verdict);
    ends::judge(evidence, &mut verdict);
    verdict
}

fn judge_requests(evidence: &Evidence, verdict: &mut Verdict) {
    for hit in evidence.hits.iter().filter(|hit| hit.is_over_limit()) {
        verdict.refused += 1;
        if evidence.promise.keeps_limits {
            let about = About::portal(hit.portal, hit.arrived);
            let about = About { runs: hit.run.into_iter().collect(), ..about };
            let sentence =
                format!("portal {} refused hit {}: over its limit", hit.portal, hit.number);
            verdict.find(Kind::Refused, about, sentence);
        }
    }
}

/// Of the copies of a line all but one have to be marked. (Not all but the first: a request that a killed process has
/// sent may arrive behind the repeat of its successor.)
fn judge_copies(evidence: &Evidence, verdict: &mut Verdict) {
    // How many copies with a mark, and who sent those without one, and when.
    let mut copies: BTreeMap<Line, (u64, Vec<(u32, Moment)>)> = BTreeMap::new();
    for entry in written(evidence) {
        let mut is_new = true;
        for line in &entry.lines {
            let (marked, unmarked) = copies.entry(*line).or_default();
            is_new &= *marked == 0 && unmarked.is_empty();
            if entry.is_marked {
                *marked += 1;
            } else {
                verdict.late_copies += u64::from(*marked > 0);
                unmarked.push((entry.run, entry.arrived));
            }
        }
        verdict.marked_in_vain += u64::from(entry.is_marked && is_new);
        if !entry.is_intact {
            let lines = shown(&entry.lines);
            let sentence = format!("a text was changed on its way: {lines}");
            verdict.find(
                Kind::Changed,
                About::activity(entry.activity, entry.run, entry.arrived),
                sentence,
            );
        }
    }
    for (line, (marked, unmarked)) in copies {
        verdict.repeated += marked + unmarked.len() as u64 - 1;
        if unmarked.len() > 1 {
            let runs: Vec<u32> = unmarked.iter().map(|(run, _)| *run).collect();
            let (times, last) = (unmarked.len(), unmarked.last().map(|(_, arrived)| *arrived));
            let sentence =
                format!("{line} came {times} times without a mark, by the runs {runs:?}");
            let about = About { activity: Some(line.activity), portal: None, runs, at: last };
            verdict.find(Kind::UnmarkedRepeat, about, sentence);
        }
    }
}

/// The first copies of the lines of a series come in the order in which they were logged, whichever run has sent them.
fn judge_order(evidence: &Evidence, verdict: &mut Verdict) {
    // The number of the newest line of a series, and who sent it.
    let mut newest: BTreeMap<Series, (u32, u32)> = BTreeMap::new();
    let mut seen: BTreeSet<Line> = BTreeSet::new();
    let may_be_overtaken = evidence.promise.memory.is_some();
    for entry in written(evidence) {
        for line in entry.lines.iter().filter(|line| seen.insert(**line)) {
            let newest = newest.entry(line.series()).or_default();
            let (number, run) = *newest;
            if line.number > number {
                *newest = (line.number, entry.run);
            } else if may_be_overtaken && line.run.is_none() && entry.run < run {
                verdict.overtaken += 1;
            } else {
                let by = entry.run;
                let sentence = format!(
                    "{line} came behind number {number}, which run {run} had sent, by run {by}"
                );
                let about = About::activity(line.activity, by, entry.arrived);
                let about = About { runs: vec![run, by], ..about };
                verdict.find(Kind::OutOfOrder, about, sentence);
            }
        }
    }
}

/// Within a run and a series, an entry is behind all that came before it, or repeats the last one: nothing is put behind
/// newer lines to be tried again.
fn judge_repeats(evidence: &Evidence, verdict: &mut Verdict) {
    let mut latest: BTreeMap<(Series, u32), Vec<u32>> = BTreeMap::new();
    for entry in written(evidence) {
        let mut by_series: BTreeMap<Series, Vec<u32>> = BTreeMap::new();
        for line in &entry.lines {
            by_series.entry(line.series()).or_default().push(line.number);
        }
        for (series, numbers) in by_series {
            let run = entry.run;
            let Some(before) = latest.insert((series, run), numbers.clone()) else { continue };
            let is_behind = numbers.first() > before.last();
            let is_repeat = numbers.iter().all(|number| before.contains(number));
            if !is_behind && !is_repeat {
                let activity = series.activity;
                let sentence =
                    format!("run {run} sent {numbers:?} of k{activity} behind {before:?}");
                verdict.find(
                    Kind::RepeatedLater,
                    About::activity(activity, run, entry.arrived),
                    sentence,
                );
            }
        }
    }
}

fn written(evidence: &Evidence) -> impl Iterator<Item = &Entry> {
    evidence.entries.iter().filter(|entry| entry.fate == Fate::Written)
}

fn shown(lines: &[Line]) -> String {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    lines.join(" ")
}
