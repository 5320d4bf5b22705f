//! All that is known of a subject, in the order of time.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::incidents::Incident;
use crate::journal::{Command, Hit};
use crate::record::Moment;
use crate::run::{Ending, Run};

/// What findings are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Activity(u32),
    Portal(usize),
    Run(u32),
    Campaign,
}

impl Subject {
    pub(super) fn of(finding: &Finding) -> Subject {
        let about = &finding.about;
        match (about.activity, about.portal, about.runs.first()) {
            (Some(activity), ..) => Subject::Activity(activity),
            (None, Some(portal), _) => Subject::Portal(portal),
            (None, None, Some(run)) => Subject::Run(*run),
            (None, None, None) => Subject::Campaign,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Activity(activity) => write!(f, "k{activity}"),
            Subject::Portal(portal) => write!(f, "portal {portal}"),
            Subject::Run(run) => write!(f, "run {run}"),
            Subject::Campaign => f.write_str("the campaign"),
        }
    }
}

/// All that is known.
pub(super) struct Timeline<'a> {
    subject: Subject,
    evidence: &'a Evidence,
    /// The runs that have to do with it.
    pub(super) runs: BTreeSet<u32>,
    pub(super) events: Vec<(Moment, String)>,
}

impl<'a> Timeline<'a> {
    pub(super) fn of(
        subject: Subject,
        findings: &[&Finding],
        evidence: &'a Evidence,
        incidents: &[Incident],
    ) -> Timeline<'a> {
        let runs = findings.iter().flat_map(|finding| finding.about.runs.iter().copied());
        let runs = runs.filter(|run| (*run as usize) < evidence.runs.len()).collect();
        let mut timeline = Timeline { subject, evidence, runs, events: Vec::new() };
        let found = findings.iter().filter_map(|it| Some((it.about.at?, &it.sentence)));
        let moments: Vec<Moment> = found.clone().map(|(at, _)| at).collect();
        match subject {
            Subject::Activity(activity) => {
                timeline.add_records(activity);
                timeline.add_hits(|_, command| command.activity == Some(activity));
            }
            Subject::Portal(portal) => timeline.add_hits(|hit, _| {
                hit.portal == portal && moments.iter().any(|at| hit.arrived.abs_diff(*at) < AROUND)
            }),
            Subject::Run(_) | Subject::Campaign => {}
        }
        let times = || timeline.events.iter().map(|(at, _)| *at).chain(moments.iter().copied());
        // Without a time, everything that happened to these runs may be of interest.
        let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(Moment::MAX));
        let span = (first.saturating_sub(AROUND), last.saturating_add(AROUND));
        timeline.add_failed_hits(span);
        timeline.add_runs(span, &moments);
        timeline.add_incidents(span, incidents);
        timeline.events.extend(found.map(|(at, sentence)| (at, format!("** {sentence}"))));
        timeline.events.sort_by_key(|(at, _)| *at);
        timeline
    }

    /// On which portal it is, if its name does not say so.
    pub(super) fn place(&self) -> String {
        match (self.subject, self.portal()) {
            (Subject::Activity(_), Some(portal)) => format!(" of portal {portal}"),
            _ => String::new(),
        }
    }

    fn portal(&self) -> Option<usize> {
        match self.subject {
            Subject::Activity(activity) => self.evidence.portals.get(activity as usize).copied(),
            Subject::Portal(portal) => Some(portal),
            Subject::Run(_) | Subject::Campaign => None,
        }
    }

    /// What the processes wrote about the activity before they did it.
    fn add_records(&mut self, activity: u32) {
        for (number, Run { story, .. }) in (0..).zip(&self.evidence.runs) {
            let lines = story.lines.iter().filter(|(_, line)| line.activity == activity);
            let lines = lines.map(|(at, line)| (*at, format!("run {number} logs {line}")));
            let ends = story.ends.iter().filter(|(_, ended, _)| *ended == activity);
            let ends = ends.map(|(at, ended, limit)| {
                (*at, format!("run {number} ends k{ended}, limit {limit:?}"))
            });
            let answers = story.ended.iter().filter(|(_, ended, _)| *ended == activity);
            let answers = answers.map(|(at, _, error)| {
                let answer = error.as_deref().unwrap_or("ok");
                (*at, format!("run {number} is answered to its end: {answer}"))
            });
            let before = self.events.len();
            self.events.extend(lines.chain(ends).chain(answers));
            if self.events.len() > before {
                self.runs.insert(number);
            }
        }
    }

    /// The commands that came, and what the portal did with them.
    fn add_hits(&mut self, is_chosen: impl Fn(&Hit, &Command) -> bool) {
        for hit in &self.evidence.hits {
            let chosen: Vec<&Command> =
                hit.commands.iter().filter(|command| is_chosen(hit, command)).collect();
            for command in &chosen {
                self.events.push((hit.arrived, shown(hit, Some(command))));
            }
            if !chosen.is_empty() {
                self.runs.extend(hit.run.filter(|run| (*run as usize) < self.evidence.runs.len()));
            }
        }
    }

    /// How the runs ended, their troubles, and what they noted.
    fn add_runs(&mut self, span: (Moment, Moment), moments: &[Moment]) {
        // Some processes note their state every second: only what is near to a finding is of interest.
        let is_near = |at: Moment| {
            moments.is_empty() || moments.iter().any(|moment| at.abs_diff(*moment) < NEAR)
        };
        let mut events = Vec::new();
        for number in &self.runs {
            let run = &self.evidence.runs[*number as usize];
            let ending = match run.end {
                Ending::Killed(at) => Some((at, format!("run {number} is killed"))),
                Ending::Stopped(at) => Some((at, format!("run {number} is asked to stop"))),
                Ending::Finished => None,
            };
            // However much later it was: a line that is missing waited for its delivery until then.
            events.extend(ending.filter(|(at, _)| *at >= span.0));
            for trouble in &run.troubles {
                if trouble.from <= span.1 && trouble.until >= span.0 {
                    let (kind, length) = (trouble.kind, length(trouble.from, trouble.until));
                    let what = format!("run {number} has trouble for {length:.3?}: {kind:?}");
                    events.push((trouble.from, what));
                }
            }
            let end = run.killed().or(run.story.beats.last().copied()).unwrap_or(0);
            for (from, until) in run.late_beats(span.0, end.min(span.1)) {
                let length = length(from, until);
                if length >= NOTED_LATENESS {
                    let what = format!("run {number} does not run for {length:.3?}, by its beats");
                    events.push((from, what));
                }
            }
            for (at, text) in run.story.notes.iter().filter(|(at, _)| is_near(*at)) {
                events.push((*at, format!("run {number} notes: {text}")));
            }
            for (reason, lines) in &run.story.lost {
                let at = run.story.notes.last().map_or(span.1, |(at, _)| *at);
                let what = format!("run {number} counts lost lines: {lines} ({reason})");
                events.push((at, what));
            }
        }
        self.events.extend(events);
    }

    /// Requests that may have had something of it, but that the portal did not execute.
    fn add_failed_hits(&mut self, span: (Moment, Moment)) {
        let own_portal = self.portal();
        let is_then = |hit: &&Hit| (span.0..=span.1).contains(&hit.arrived);
        for hit in self.evidence.hits.iter().filter(is_then) {
            let is_ours = hit.run.is_none_or(|run| self.runs.contains(&run));
            if Some(hit.portal) == own_portal && hit.commands.is_empty() && is_ours {
                self.events.push((hit.arrived, shown(hit, None)));
            }
        }
    }

    /// Faults that may have to do with it.
    fn add_incidents(&mut self, span: (Moment, Moment), incidents: &[Incident]) {
        let own_portal = self.portal();
        for incident in incidents {
            let is_then = incident.from <= span.1 && incident.until >= span.0;
            let is_here = incident.portal.zip(own_portal).is_none_or(|(one, other)| one == other);
            let is_ours = incident.run.is_none_or(|run| self.runs.contains(&run))
                || self.subject == Subject::Campaign;
            if is_then && is_here && is_ours {
                self.events.push((incident.from, format!("-- {incident}")));
            }
        }
    }
}

/// `None`: the request as a whole, of which no command was executed.
fn shown(hit: &Hit, command: Option<&Command>) -> String {
    let Hit { portal, number, answered, status, error, fault, .. } = hit;
    let run = hit.run.map_or("nobody".to_owned(), |run| format!("run {run}"));
    let (what, message) = match command {
        Some(command) => {
            let Command { method, outcome, message, .. } = command;
            (format!("{method}: {outcome}"), message.as_deref().unwrap_or_default())
        }
        None => ("nothing was executed".to_owned(), ""),
    };
    let mut text = format!("portal {portal} gets hit {number} of {run}: {what}");
    match (answered, status) {
        (Some(at), Some(status)) => {
            text += &format!(", status {status} after {:.3?}", length(hit.arrived, *at));
        }
        _ => text += ", no answer",
    }
    for (what, words) in [("error", error), ("planned fault", fault)] {
        text += &words.as_ref().map_or(String::new(), |words| format!(", {what}: {words}"));
    }
    for line in message.lines() {
        text += &format!("\n      | {line}");
    }
    text
}

fn length(from: Moment, until: Moment) -> Duration {
    Duration::from_nanos(until.saturating_sub(from))
}

/// "16:30:05.123456", in UTC.
pub(super) fn clock(at: Moment) -> String {
    let (seconds, micros) = (at / 1_000_000_000 % 86_400, at / 1000 % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06}")
}

/// How much time before and after a subject is of interest, in nanoseconds.
const AROUND: u64 = 5_000_000_000;
/// How near to a finding a note is of interest, in nanoseconds.
const NEAR: u64 = 2_500_000_000;
/// A beat that is late by less is not worth a line.
const NOTED_LATENESS: Duration = Duration::from_millis(50);
