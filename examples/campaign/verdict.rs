//! The verdict: what became of every line and every end, from the app's own files and the portals'
//! journals. It decides from what it is given, and does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::record::{Line, Moment, Story};

#[cfg(test)]
mod tests;

/// What a mode promises of a process that is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// Lines are on disk before they are older than this. Without a spool nothing is on disk: there it
    /// only says which lost lines a spool would not have saved either.
    pub(crate) bound: Duration,
    /// With a spool nothing. Without one: how old a line may be at most that is lost with its process.
    pub(crate) memory: Option<Duration>,
}

/// All that is known.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) promise: Promise,
    /// The processes of the app, in their order.
    pub(crate) processes: Vec<Process>,
    /// The entries that came to a portal, in the order of their arrival there.
    pub(crate) entries: Vec<Entry>,
    /// The ends that came to a portal.
    pub(crate) ends: Vec<End>,
    /// Lines that a log says are missing: of which activity, why, how many.
    pub(crate) gaps: Vec<(u32, String, u64)>,
    /// Lines in the logs that the app does not write.
    pub(crate) strangers: Vec<String>,
    /// What the judge could not see, such as hits that a journal has forgotten.
    pub(crate) unseen: Vec<String>,
}

/// One process of the app.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) story: Story,
    /// When it was killed, if it was.
    pub(crate) killed: Option<Moment>,
    /// Whether it was asked to stop, and did.
    pub(crate) stopped: bool,
    /// From when to when its disk was full.
    pub(crate) disk_full: Vec<(Moment, Moment)>,
}

/// Lines of one activity that came to a portal as one command.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) activity: u32,
    /// Which process has sent it.
    pub(crate) process: usize,
    /// It says that it may be a repeat.
    pub(crate) marked: bool,
    /// The numbers of its lines.
    pub(crate) lines: Vec<u32>,
    /// Whether all their texts are what the app has logged.
    pub(crate) intact: bool,
    pub(crate) fate: Fate,
}

/// What a portal has done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Written,
    /// It said true, and wrote nothing.
    ThrownAway,
    Refused,
}

/// The end of an activity that came to a portal and was executed.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) activity: u32,
    /// Whether its message and its return values are those that the app gave.
    pub(crate) right: bool,
}

/// What became of everything. Its `Display` ends with the one line that says it all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    /// Further copies of lines, all of them marked.
    pub(crate) repeated: u64,
    /// Missing, and younger than the bound when their process was killed.
    pub(crate) in_window: u64,
    /// Of these, older by the clock: the process did not run for a part of that time.
    pub(crate) not_running: u64,
    pub(crate) lost: BTreeMap<String, u64>,
    /// How old the oldest line was that was lost with its process.
    pub(crate) oldest_lost: Duration,
    pub(crate) ends: Ends,
    /// Entries that are marked although nothing of them stands in the log before.
    pub(crate) marked_in_vain: u64,
    /// Without a spool: lines of a killed process that the network held back, so that lines of its
    /// successor, which did not know of them, came first.
    pub(crate) overtaken: u64,
    /// What nothing explains, one sentence each.
    pub(crate) unexplained: Vec<String>,
    /// Whether lines may be lost: without a spool.
    may_lose: bool,
}

/// What became of the ends of activities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) asked: u64,
    pub(crate) arrived: u64,
    pub(crate) in_window: u64,
    pub(crate) lost: u64,
    /// The app was told that it could not be sent.
    pub(crate) failed: u64,
}

impl Verdict {
    pub(crate) fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    pub(crate) fn is_good(&self) -> bool {
        let nothing_lost = self.lost() == 0 && self.ends.lost == 0 && self.ends.failed == 0;
        self.unexplained.is_empty() && self.sent > 0 && (self.may_lose || nothing_lost)
    }
}

/// Judges.
pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict {
        may_lose: evidence.promise.memory.is_some(),
        unexplained: evidence.unseen.clone(),
        ..Verdict::default()
    };
    let stranger = |text: &String| format!("nobody has logged this line: {text}");
    verdict.unexplained.extend(evidence.strangers.iter().map(stranger));
    judge_copies(evidence, &mut verdict);
    judge_order(evidence, &mut verdict);
    judge_lines(evidence, &mut verdict);
    judge_ends(evidence, &mut verdict);
    verdict
}

/// Of the copies of a line all but one have to be marked. (Not all but the first: a request that a killed
/// process has sent may arrive behind the repeat of its successor.)
fn judge_copies(evidence: &Evidence, verdict: &mut Verdict) {
    let mut copies: BTreeMap<Line, (u64, u64)> = BTreeMap::new();
    for entry in written(evidence) {
        let mut is_new = true;
        for line in entry.lines() {
            let (all, unmarked) = copies.entry(line).or_default();
            is_new &= *all == 0;
            *all += 1;
            *unmarked += u64::from(!entry.marked);
        }
        verdict.marked_in_vain += u64::from(entry.marked && is_new);
        if !entry.intact {
            let Entry { activity, lines, .. } = entry;
            verdict
                .unexplained
                .push(format!("a text was changed on its way: k{activity}-{lines:?}"));
        }
    }
    for (line, (all, unmarked)) in copies {
        verdict.repeated += all - 1;
        if unmarked > 1 {
            verdict.unexplained.push(format!("{line} came {unmarked} times without a mark"));
        }
    }
}

/// The first copies of an activity's lines come in the order in which they were logged, whichever process
/// has sent them. And within a process, an entry is behind all that came before it, or repeats the last
/// one: nothing is put behind newer lines to be tried again.
fn judge_order(evidence: &Evidence, verdict: &mut Verdict) {
    let mut newest: BTreeMap<u32, (u32, usize)> = BTreeMap::new();
    let mut seen: BTreeSet<Line> = BTreeSet::new();
    let mut latest: BTreeMap<(u32, usize), &Entry> = BTreeMap::new();
    for entry in written(evidence) {
        let newest = newest.entry(entry.activity).or_default();
        for line in entry.lines().filter(|line| seen.insert(*line)) {
            let (number, process) = *newest;
            if line.number > number {
                *newest = (line.number, entry.process);
            } else if verdict.may_lose && entry.process < process {
                verdict.overtaken += 1;
            } else {
                let sentence = format!("{line} came behind number {number} of its activity");
                verdict.unexplained.push(sentence);
            }
        }
        let key = (entry.activity, entry.process);
        if let Some(before) = latest.insert(key, entry) {
            let is_behind = entry.lines.first() > before.lines.last();
            let is_repeat = entry.lines.iter().all(|number| before.lines.contains(number));
            if !is_behind && !is_repeat {
                verdict.unexplained.push(format!(
                    "process {} sent {:?} of k{} behind {:?}",
                    entry.process, entry.lines, entry.activity, before.lines
                ));
            }
        }
    }
}

/// Every line that was logged is in a log, or something says why not.
fn judge_lines(evidence: &Evidence, verdict: &mut Verdict) {
    let delivered: BTreeSet<Line> = written(evidence).flat_map(Entry::lines).collect();
    let mut told = Told::new(evidence);
    for (number, process) in evidence.processes.iter().enumerate() {
        verdict.sent += process.story.lines.len() as u64;
        for &(at, line) in &process.story.lines {
            if delivered.contains(&line) {
                verdict.delivered += 1;
                continue;
            }
            match process.fate_in_kill(at, evidence.promise) {
                Some(Kill::InWindow { not_running }) => {
                    verdict.in_window += 1;
                    verdict.not_running += u64::from(not_running);
                    continue;
                }
                Some(Kill::Lost { age, reason }) => {
                    verdict.oldest_lost = verdict.oldest_lost.max(age);
                    *verdict.lost.entry(reason.to_owned()).or_default() += 1;
                    continue;
                }
                Some(Kill::Older) | None => {}
            }
            match told.take(line.activity, number) {
                Some(reason) => *verdict.lost.entry(reason).or_default() += 1,
                None => verdict.unexplained.push(format!(
                    "{line} is missing, logged by process {number}{}",
                    process.age_at_kill(at).map_or(String::new(), |(age, running)| format!(
                        " {age:?} before its kill, {running:?} of that running"
                    ))
                )),
            }
        }
    }
}

/// Every end that was asked for came to its portal, or something says why not.
fn judge_ends(evidence: &Evidence, verdict: &mut Verdict) {
    let arrived: BTreeMap<u32, bool> =
        evidence.ends.iter().map(|end| (end.activity, end.right)).collect();
    let mut asked = BTreeSet::new();
    for (number, process) in evidence.processes.iter().enumerate() {
        for &(at, activity) in &process.story.ends {
            asked.insert(activity);
            verdict.ends.asked += 1;
            let answer = process.story.ended.iter().find(|(ended, _)| *ended == activity);
            let kill = process.fate_in_kill(at, evidence.promise);
            match (arrived.get(&activity), answer, kill) {
                (Some(true), ..) => verdict.ends.arrived += 1,
                (Some(false), ..) => {
                    verdict
                        .unexplained
                        .push(format!("the end of k{activity} brought other values"));
                }
                (None, Some((_, None)), _) => verdict
                    .unexplained
                    .push(format!("the end of k{activity} was confirmed, and did not arrive")),
                (None, Some((_, Some(_))), _) => verdict.ends.failed += 1,
                (None, None, Some(Kill::InWindow { .. })) => verdict.ends.in_window += 1,
                (None, None, Some(Kill::Lost { .. })) => verdict.ends.lost += 1,
                (None, None, None) if process.stopped && verdict.may_lose => verdict.ends.lost += 1,
                (None, None, _) => verdict
                    .unexplained
                    .push(format!("the end of k{activity} is missing, asked by process {number}")),
            }
        }
    }
    let unasked = arrived.keys().filter(|activity| !asked.contains(activity));
    let unasked = unasked.map(|activity| format!("nobody has ended k{activity}"));
    verdict.unexplained.extend(unasked);
}

fn written(evidence: &Evidence) -> impl Iterator<Item = &Entry> {
    evidence.entries.iter().filter(|entry| entry.fate == Fate::Written)
}

impl Entry {
    fn lines(&self) -> impl Iterator<Item = Line> {
        self.lines.iter().map(|&number| Line { activity: self.activity, number })
    }
}

/// What a kill says of something that was done before it.
enum Kill {
    InWindow {
        not_running: bool,
    },
    Lost {
        age: Duration,
        reason: &'static str,
    },
    /// It should have survived.
    Older,
}

impl Process {
    /// Nothing if it was not killed.
    fn fate_in_kill(&self, at: Moment, promise: Promise) -> Option<Kill> {
        let (age, running) = self.age_at_kill(at)?;
        let full = self.disk_full.iter().any(|&(from, until)| (from..=until).contains(&at));
        Some(if running <= promise.bound {
            Kill::InWindow { not_running: age > promise.bound }
        } else if promise.memory.is_some_and(|memory| age <= memory) {
            Kill::Lost { age, reason: "killed" }
        } else if full {
            Kill::Lost { age, reason: "killed while the disk was full" }
        } else {
            Kill::Older
        })
    }

    /// How long before the kill something was done: by the clock, and without the time in which the
    /// process did not run (it was stopped, or waited for a processor), as its own beats show.
    ///
    /// Two threads stand between a line and the disk, one behind the other. So where a beat had to wait for
    /// a processor, both may have had to.
    fn age_at_kill(&self, at: Moment) -> Option<(Duration, Duration)> {
        let killed = self.killed?;
        let age = killed.saturating_sub(at);
        let beats = &self.story.beats;
        let from = beats.partition_point(|beat| *beat < at).saturating_sub(1);
        let ends = beats.iter().skip(from + 1).copied().chain([killed]);
        let not_running: u64 = beats[from.min(beats.len())..]
            .iter()
            .zip(ends)
            .map(|(beat, next)| {
                let (beat, next) = ((*beat + BEAT).max(at), next.min(killed));
                let late = next.saturating_sub(beat);
                if late > JITTER { late + late.min(SECOND_THREAD) } else { 0 }
            })
            .sum();
        let running = age.saturating_sub(not_running);
        Some((Duration::from_nanos(age), Duration::from_nanos(running)))
    }
}

/// How often the app notes that it runs, in nanoseconds.
pub(crate) const BEAT: u64 = 20_000_000;
/// A beat that is late by no more than this says nothing.
const JITTER: u64 = 2_000_000;
/// A second thread waits for a processor no longer than this: when a process goes on that was stopped, all
/// its threads do.
const SECOND_THREAD: u64 = 50_000_000;

/// Losses that were told, in a log or by the counters of a process in the end: each explains one line.
struct Told {
    gaps: BTreeMap<u32, Vec<(String, u64)>>,
    counted: Vec<Vec<(String, u64)>>,
}

impl Told {
    fn new(evidence: &Evidence) -> Told {
        let mut gaps: BTreeMap<u32, Vec<(String, u64)>> = BTreeMap::new();
        for (activity, reason, lines) in &evidence.gaps {
            gaps.entry(*activity).or_default().push((reason.clone(), *lines));
        }
        let counted = evidence.processes.iter().map(|process| process.story.lost.clone());
        Told { gaps, counted: counted.collect() }
    }

    fn take(&mut self, activity: u32, process: usize) -> Option<String> {
        let gaps = self.gaps.get_mut(&activity).into_iter().flatten();
        let (reason, left) =
            gaps.chain(self.counted.get_mut(process)?).find(|(_, left)| *left > 0)?;
        *left -= 1;
        Some(reason.clone())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}-{}", self.activity, self.number)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ends { asked, arrived, in_window, lost, failed } = self.ends;
        writeln!(
            f,
            "ends: asked={asked} arrived={arrived} in_window={in_window} lost={lost} failed={failed}"
        )?;
        for (reason, lines) in &self.lost {
            writeln!(f, "lost: {lines} ({reason})")?;
        }
        if !self.oldest_lost.is_zero() {
            writeln!(f, "the oldest of them was logged {:.2?} before its kill", self.oldest_lost)?;
        }
        if self.not_running > 0 {
            writeln!(
                f,
                "in_window: {} are older by the clock, but their process was stopped or had no processor",
                self.not_running
            )?;
        }
        if self.overtaken > 0 {
            writeln!(
                f,
                "lines of a killed process that its successor's came before: {}",
                self.overtaken
            )?;
        }
        writeln!(f, "entries marked in vain: {}", self.marked_in_vain)?;
        for sentence in self.unexplained.iter().take(MOST_SENTENCES) {
            writeln!(f, "unexplained: {sentence}")?;
        }
        write!(
            f,
            "sent={} delivered={} repeated={} in_window={} lost={} unexplained={}",
            self.sent,
            self.delivered,
            self.repeated,
            self.in_window,
            self.lost(),
            self.unexplained.len()
        )
    }
}

const MOST_SENTENCES: usize = 40;
