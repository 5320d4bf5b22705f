//! The verdict: what became of every line and every end. It is computed from the files of the processes and the
//! journals of the portals, without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::line::Line;
use super::record::{Moment, Story};

mod owners;
#[cfg(test)]
mod tests;

pub(crate) use owners::{Taken, percentile};

/// All data for the verdict.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// The stated window: a line is in the journal within this time after it was logged, if the replica and the
    /// database run and are connected.
    pub(crate) window: Duration,
    /// The runs of all processes, by their number.
    pub(crate) runs: Vec<Run>,
    /// The shard of each portal.
    pub(crate) shards: Vec<i16>,
    /// Who took which shard, ordered by time.
    pub(crate) history: Vec<Taken>,
    /// Requests to portals, in the order of their arrival at each.
    pub(crate) hits: Vec<Hit>,
    /// Entries that came to a portal, in the order of their arrival at each.
    pub(crate) entries: Vec<Entry>,
    /// Ends that came to a portal and were executed.
    pub(crate) ends: Vec<End>,
    /// Lines that are missing according to a log: the activity, the reason and the number.
    pub(crate) gaps: Vec<(u32, String, u64)>,
    /// Lines in the logs that no replica has written.
    pub(crate) strangers: Vec<String>,
    /// Data that is missing for the verdict, for example requests that a journal has forgotten.
    pub(crate) unseen: Vec<String>,
}

/// One run of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) story: Story,
    pub(crate) end: Ending,
    /// When it did not run, or had no database.
    pub(crate) troubles: Vec<Trouble>,
}

/// How a run has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    #[default]
    Finished,
    /// It was asked to stop at this time.
    Stopped(Moment),
    Killed(Moment),
}

/// A period of trouble of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
    pub(crate) kind: TroubleKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// It was paused with SIGSTOP.
    Paused,
    /// It did not reach the database.
    CutOff,
    /// No process reached the database.
    NoDatabase,
}

/// A request that arrived at a portal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) portal: usize,
    pub(crate) run: u32,
    pub(crate) arrived: Moment,
    /// It was over the limit of the portal.
    pub(crate) is_refused: bool,
}

/// Lines that arrived at a portal in one command.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The sender.
    pub(crate) run: u32,
    /// Whether it is marked as a possible repeat.
    pub(crate) is_marked: bool,
    pub(crate) lines: Vec<Line>,
    /// Whether all texts are equal to those that the replicas have logged.
    pub(crate) is_intact: bool,
    pub(crate) fate: Fate,
}

/// The result of a command at a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Written,
    /// It answered true, and wrote nothing.
    ThrownAway,
    Refused,
}

/// The end of an activity that arrived at a portal and was executed.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) activity: u32,
    /// The sender.
    pub(crate) run: u32,
    pub(crate) arrived: Moment,
    /// Whether its message and values are equal to those of the replica.
    pub(crate) is_right: bool,
}

/// The results. The last line of its `Display` is a summary.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) logged: u64,
    pub(crate) delivered: u64,
    /// Further copies of lines.
    pub(crate) repeated: u64,
    /// Lines that came more than once without a mark.
    pub(crate) unmarked_repeats: u64,
    /// Copies without a mark that arrived after a marked one: a relay was paused between its last check of the
    /// lease and the request.
    pub(crate) late_copies: u64,
    /// First copies that arrived after later lines of the same replica.
    pub(crate) out_of_order: u64,
    /// Lines that are missing, and were within the stated window when their replica was killed.
    pub(crate) in_window: u64,
    /// Of these, older by the clock: their replica was paused, or the database was away.
    pub(crate) in_trouble: u64,
    /// The age of the oldest of them, without the time of troubles.
    pub(crate) oldest_in_window: Duration,
    pub(crate) lost: BTreeMap<String, u64>,
    /// Requests that a portal refused because they were over its limit.
    pub(crate) refused: u64,
    /// Requests that arrived after another relay had taken the portal and sent a request.
    pub(crate) two_owners: u64,
    /// Of requests like these, those of a relay that had just been paused: not counted above.
    pub(crate) after_pause: u64,
    pub(crate) ends: Ends,
    /// From a kill, a pause or a cut to the first request of the next owner, for each portal, sorted.
    pub(crate) takeovers: Vec<Duration>,
    /// The same for relays that were asked to stop.
    pub(crate) handovers: Vec<Duration>,
    /// The errors that are counted above, one sentence each.
    pub(crate) details: Vec<String>,
    /// Facts without an explanation, one sentence each.
    pub(crate) unexplained: Vec<String>,
}

/// What became of the ends of activities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) asked: u64,
    pub(crate) arrived: u64,
    /// Their replica was killed at once.
    pub(crate) in_window: u64,
    /// They arrived after their deadline.
    pub(crate) late: u64,
    /// Sent by the replica itself, since no relay had answered.
    pub(crate) by_replica: u64,
    /// The replica was told that it could not be sent.
    pub(crate) failed: u64,
    /// From the call to its answer, sorted.
    pub(crate) times: Vec<Duration>,
}

impl Verdict {
    pub(crate) fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    pub(crate) fn is_good(&self) -> bool {
        let Ends { late, failed, .. } = self.ends;
        let wrong = [self.lost(), self.refused, self.unmarked_repeats, self.out_of_order];
        self.unexplained.is_empty()
            && self.delivered > 0
            && wrong.iter().chain(&[self.two_owners, late, failed]).all(|count| *count == 0)
    }
}

/// Computes the verdict.
pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict { unexplained: evidence.unseen.clone(), ..Verdict::default() };
    let stranger = |text: &String| format!("nobody has logged this line: {text}");
    verdict.unexplained.extend(evidence.strangers.iter().map(stranger));
    verdict.refused = evidence.hits.iter().filter(|hit| hit.is_refused).count() as u64;
    judge_copies(evidence, &mut verdict);
    judge_order(evidence, &mut verdict);
    judge_lines(evidence, &mut verdict);
    judge_ends(evidence, &mut verdict);
    owners::judge(evidence, &mut verdict);
    verdict
}

/// All copies of a line except one have to be marked.
fn judge_copies(evidence: &Evidence, verdict: &mut Verdict) {
    let mut copies: BTreeMap<Line, (u64, Vec<u32>)> = BTreeMap::new();
    for entry in written(evidence) {
        for line in &entry.lines {
            let (marked, unmarked) = copies.entry(*line).or_default();
            if entry.is_marked {
                *marked += 1;
            } else {
                verdict.late_copies += u64::from(*marked > 0);
                unmarked.push(entry.run);
            }
        }
        if !entry.is_intact {
            let lines = &entry.lines;
            verdict.unexplained.push(format!("a text was changed on its way: {lines:?}"));
        }
    }
    for (line, (marked, unmarked)) in &copies {
        verdict.repeated += marked + unmarked.len() as u64 - 1;
        if unmarked.len() > 1 {
            verdict.unmarked_repeats += 1;
            verdict.details.push(format!("{line} came without a mark by the runs {unmarked:?}"));
        }
    }
}

/// The first copies of a replica's lines for an activity must arrive in the order in which they were logged, no
/// matter which relays have sent them.
fn judge_order(evidence: &Evidence, verdict: &mut Verdict) {
    let mut newest: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let mut seen: BTreeSet<Line> = BTreeSet::new();
    for entry in written(evidence) {
        for line in entry.lines.iter().filter(|line| seen.insert(**line)) {
            let newest = newest.entry((line.activity, line.run)).or_default();
            if line.number < *newest {
                verdict.out_of_order += 1;
                let by = entry.run;
                verdict.details.push(format!("{line} came behind number {newest}, by run {by}"));
            }
            *newest = line.number.max(*newest);
        }
    }
}

/// Every line that was logged must be in a log, or there must be a reason.
fn judge_lines(evidence: &Evidence, verdict: &mut Verdict) {
    let delivered: BTreeSet<Line> =
        written(evidence).flat_map(|entry| entry.lines.iter().copied()).collect();
    let mut told: BTreeMap<u32, Vec<(String, u64)>> = BTreeMap::new();
    for (activity, reason, lines) in &evidence.gaps {
        told.entry(*activity).or_default().push((reason.clone(), *lines));
    }
    for run in &evidence.runs {
        verdict.logged += run.story.lines.len() as u64;
        let mut counted = run.story.lost.clone();
        for (place, &(at, line)) in run.story.lines.iter().enumerate() {
            if delivered.contains(&line) {
                verdict.delivered += 1;
                continue;
            }
            let is_promised = place < run.story.flushed;
            let age = run.age_at_kill(at);
            if let Some(age) = age.filter(|age| !is_promised && *age <= evidence.window) {
                verdict.in_window += 1;
                verdict.in_trouble += u64::from(run.age_by_clock(at) > evidence.window);
                verdict.oldest_in_window = verdict.oldest_in_window.max(age);
                continue;
            }
            let told = told.entry(line.activity).or_default().iter_mut().chain(&mut counted);
            match told.into_iter().find(|(_, left)| *left > 0) {
                Some((reason, left)) => {
                    *left -= 1;
                    *verdict.lost.entry(reason.clone()).or_default() += 1;
                }
                None => {
                    let what = if is_promised { " although it was flushed" } else { "" };
                    let age = age.map_or(String::new(), |age| format!(", {age:?} before its kill"));
                    verdict.unexplained.push(format!("{line} is missing{what}{age}"));
                }
            }
        }
    }
}

/// Every end that was requested must arrive at its portal in time, or there must be a reason.
fn judge_ends(evidence: &Evidence, verdict: &mut Verdict) {
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
            let in_window = run.age_at_kill(at).is_some_and(|age| age <= evidence.window);
            let Some(end) = arrived.get(&activity) else {
                match answer {
                    Some((.., Some(_))) => verdict.ends.failed += 1,
                    None if in_window => verdict.ends.in_window += 1,
                    Some((.., None)) => verdict
                        .unexplained
                        .push(format!("the end of k{activity} was confirmed, and did not arrive")),
                    None => verdict
                        .unexplained
                        .push(format!("the end of k{activity} is missing, asked by run {number}")),
                }
                continue;
            };
            verdict.ends.arrived += 1;
            verdict.ends.by_replica += u64::from(end.run == number);
            if Duration::from_nanos(end.arrived.saturating_sub(at)) > limit + ON_ITS_WAY {
                verdict.ends.late += 1;
            }
            if !end.is_right {
                verdict.unexplained.push(format!("the end of k{activity} brought another message"));
            }
        }
    }
    verdict.ends.times.sort_unstable();
    let unasked = arrived.keys().filter(|activity| !asked.contains(activity));
    verdict.unexplained.extend(unasked.map(|activity| format!("nobody has ended k{activity}")));
}

fn written(evidence: &Evidence) -> impl Iterator<Item = &Entry> {
    evidence.entries.iter().filter(|entry| entry.fate == Fate::Written)
}

impl Run {
    /// How long before the kill an action was done. Zero if the process was not killed.
    fn age_by_clock(&self, at: Moment) -> Duration {
        match self.end {
            Ending::Killed(killed) => Duration::from_nanos(killed.saturating_sub(at)),
            _ => Duration::ZERO,
        }
    }

    /// The same without the time of troubles. `None` if the process was not killed.
    fn age_at_kill(&self, at: Moment) -> Option<Duration> {
        let Ending::Killed(killed) = self.end else { return None };
        let mut age = killed.saturating_sub(at);
        // Troubles may overlap: each moment counts once.
        let mut from = at;
        let mut troubles = self.troubles.clone();
        troubles.sort_by_key(|trouble| trouble.from);
        for trouble in troubles {
            let start = trouble.from.max(from);
            let end = trouble.until.min(killed);
            age -= end.saturating_sub(start);
            from = from.max(end);
        }
        Some(Duration::from_nanos(age))
    }
}

/// A request that leaves at the deadline arrives a little later.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ends { asked, arrived, in_window, late, by_replica, failed, times } = &self.ends;
        writeln!(
            f,
            "ends: asked={asked} arrived={arrived} in_window={in_window} late={late} \
             by_replica={by_replica} failed={failed}; answered {}",
            percentile::Of(times)
        )?;
        writeln!(
            f,
            "takeovers after a kill, a pause or a cut: {}",
            percentile::Of(&self.takeovers)
        )?;
        writeln!(f, "handovers of relays that were stopped: {}", percentile::Of(&self.handovers))?;
        for (reason, lines) in &self.lost {
            writeln!(f, "lost: {lines} ({reason})")?;
        }
        if self.in_trouble > 0 {
            writeln!(
                f,
                "in_window: {} were older by the clock, but their replica was paused, or the database was away",
                self.in_trouble
            )?;
        }
        writeln!(
            f,
            "out_of_order={} unmarked_repeats={} two_owners={} late_copies={} after_pause={} \
             oldest_in_window={:.1?}",
            self.out_of_order,
            self.unmarked_repeats,
            self.two_owners,
            self.late_copies,
            self.after_pause,
            self.oldest_in_window
        )?;
        for sentence in self.details.iter().take(MOST_SENTENCES) {
            writeln!(f, "wrong: {sentence}")?;
        }
        for sentence in self.unexplained.iter().take(MOST_SENTENCES) {
            writeln!(f, "unexplained: {sentence}")?;
        }
        write!(
            f,
            "logged={} delivered={} repeated={} in_window={} lost={} unexplained={} refused={}",
            self.logged,
            self.delivered,
            self.repeated,
            self.in_window,
            self.lost(),
            self.unexplained.len(),
            self.refused
        )
    }
}

const MOST_SENTENCES: usize = 40;
