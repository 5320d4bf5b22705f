//! Every end that was asked for came to its portal in time, or something says why not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::evidence::{End, Evidence};
use crate::finding::{About, Kind};
use crate::record::Moment;
use crate::run::{Ending, Kill, Run};
use crate::verdict::Verdict;

pub(super) fn judge(evidence: &Evidence, verdict: &mut Verdict) {
    let arrived: BTreeMap<u32, &End> =
        evidence.ends.iter().map(|end| (end.activity, end)).collect();
    let mut asked = BTreeSet::new();
    for (number, run) in (0..).zip(&evidence.runs) {
        for &(at, activity, limit) in &run.story.ends {
            asked.insert(activity);
            verdict.ends.asked += 1;
            let answer = run.story.ended.iter().find(|(_, ended, _)| *ended == activity);
            if let Some((answered, ..)) = answer {
                verdict.ends.times.push(Duration::from_nanos(answered.saturating_sub(at)));
            }
            let asked = Asked { activity, at, limit, number, run };
            match arrived.get(&activity) {
                Some(end) => asked.arrived(end, verdict),
                None => asked.missing(evidence, answer.map(|(.., error)| error), verdict),
            }
        }
    }
    verdict.ends.times.sort_unstable();
    for (activity, end) in arrived {
        if !asked.contains(&activity) {
            let sentence = format!("nobody has ended k{activity}");
            verdict.find(Kind::End, About::activity(activity, end.run, end.arrived), sentence);
        }
    }
}

/// An end that a process has asked for.
struct Asked<'a> {
    activity: u32,
    at: Moment,
    /// How long it waits for its lines.
    limit: Duration,
    number: u32,
    run: &'a Run,
}

impl Asked<'_> {
    fn arrived(&self, end: &End, verdict: &mut Verdict) {
        let Asked { activity, at, limit, number, .. } = *self;
        let about = About::activity(activity, number, end.arrived);
        verdict.ends.arrived += 1;
        verdict.ends.sent_by_asker += u64::from(end.run == number);
        let about = About { runs: vec![number, end.run], ..about };
        let took = Duration::from_nanos(end.arrived.saturating_sub(at));
        if took > limit + ON_ITS_WAY {
            verdict.ends.late += 1;
            let sentence = format!("the end of k{activity} came after {took:.1?}, limit {limit:?}");
            verdict.find(Kind::LateEnd, about.clone(), sentence);
        }
        if !end.is_right {
            let sentence = format!("the end of k{activity} brought another message or value");
            verdict.find(Kind::End, about, sentence);
        }
    }

    /// `answer`: nothing, or what the crate has answered to the process: success, or an error.
    fn missing(&self, evidence: &Evidence, answer: Option<&Option<String>>, verdict: &mut Verdict) {
        let Asked { activity, at, number, run, .. } = *self;
        let may_lose = evidence.promise.memory.is_some();
        let kill = run.fate_in_kill(at, evidence.promise);
        let about = About::activity(activity, number, at);
        match (answer, kill) {
            (Some(None), _) => {
                let sentence = format!("the end of k{activity} was confirmed, and did not arrive");
                verdict.find(Kind::End, about, sentence);
            }
            (Some(Some(error)), _) => {
                verdict.ends.failed += 1;
                if !may_lose {
                    let sentence = format!("the end of k{activity} could not be sent: {error}");
                    verdict.find(Kind::LostEnd, about, sentence);
                }
            }
            (None, Some(Kill::InWindow { .. })) => verdict.ends.in_window += 1,
            (None, Some(Kill::Lost { reason, .. })) => {
                verdict.ends.lost += 1;
                if !may_lose {
                    let sentence = format!("the end of k{activity} was lost: {reason}");
                    verdict.find(Kind::LostEnd, about, sentence);
                }
            }
            (None, None) if may_lose && matches!(run.end, Ending::Stopped(_)) => {
                verdict.ends.lost += 1;
            }
            (None, _) => {
                let sentence = format!("the end of k{activity} is missing, asked by run {number}");
                verdict.find(Kind::End, about, sentence);
            }
        }
    }
}

/// A request that leaves at the deadline arrives a little later.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
