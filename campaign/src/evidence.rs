//! All that the judge gets, and how it is read from the journals of the portals.

use std::time::Duration;

use bizproc_portal::{Hit as PortalHit, Portal};

use crate::finding::{About, Finding, Kind};
use crate::journal::{Activities, Command, Fate, Hit, hits};
use crate::line::{Line, of_end};
use crate::notices;
use crate::record::Moment;
use crate::run::Run;

/// What is promised of lines, ends and requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Promise {
    /// A line is kept where a kill cannot reach it before it is older than this, if its run and what it needs work.
    /// Where nothing is kept, this only says which lost lines a spool would not have saved either.
    pub bound: Duration,
    /// Where nothing is kept: how old a line may be at most that is lost with its run. `None`: no line older than the
    /// bound may be lost.
    pub memory: Option<Duration>,
    /// A run repeats an entry before it sends newer lines of the same activity. Not so if a run may get back what it had
    /// given away, as relays may.
    pub repeats_at_once: bool,
    /// No request is over the limit of its portal. Not so if a run starts that knows nothing of the requests before it.
    pub keeps_limits: bool,
}

/// All that is known.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What is promised.
    pub promise: Promise,
    /// The runs of all processes, by their number.
    pub runs: Vec<Run>,
    /// The portal of each activity, by its number.
    pub portals: Vec<usize>,
    /// The requests that came, for each portal in the order of their arrival.
    pub hits: Vec<Hit>,
    /// The entries that came to a portal, in the same order.
    pub entries: Vec<Entry>,
    /// The ends that came to a portal, and were executed.
    pub ends: Vec<End>,
    /// Lines that are missing according to a log.
    pub gaps: Vec<Gap>,
    /// What is wrong with the evidence itself: what nobody has logged, and what the judge could not see.
    pub findings: Vec<Finding>,
}

/// Lines that came to a portal in one command.
#[derive(Clone, Debug)]
pub struct Entry {
    /// To the log of which activity.
    pub activity: u32,
    /// Which run has sent it.
    pub run: u32,
    /// When it came.
    pub arrived: Moment,
    /// Whether it says that it may be a repeat.
    pub is_marked: bool,
    /// Its lines, in its order.
    pub lines: Vec<Line>,
    /// Whether all their texts are what was logged.
    pub is_intact: bool,
    /// What the portal has done with it.
    pub fate: Fate,
}

/// The end of an activity that came to a portal, and was executed.
#[derive(Clone, Debug)]
pub struct End {
    /// The number of the activity.
    pub activity: u32,
    /// Which run has sent it.
    pub run: u32,
    /// When it came.
    pub arrived: Moment,
    /// Whether its message and its values are those that were given.
    pub is_right: bool,
}

/// Lines that are missing according to a log.
#[derive(Clone, Debug)]
pub struct Gap {
    /// The number of the activity.
    pub activity: u32,
    /// Why.
    pub reason: String,
    /// How many.
    pub lines: u64,
}

impl Evidence {
    /// Reads the journals of the portals. `sender` says which run has sent a request.
    pub fn read_journals(
        &mut self,
        portals: &[Portal],
        activities: &Activities,
        sender: impl Fn(&PortalHit) -> Option<u32>,
    ) {
        self.portals = activities.iter().map(|opened| opened.portal).collect();
        for (number, portal) in portals.iter().enumerate() {
            if portal.forgotten_hits() > 0 {
                let about = About { portal: Some(number), ..About::default() };
                self.unseen(about, "the journal of a portal has forgotten hits");
            }
            self.read_hits(hits(number, portal, activities, &sender));
        }
        for end in &mut self.ends {
            end.is_right &= activities.is_ended_right(end.activity);
        }
    }

    /// Adds something that the judge could not see.
    pub fn unseen(&mut self, about: About, sentence: impl Into<String>) {
        self.findings.push(Finding { kind: Kind::Unseen, about, sentence: sentence.into() });
    }

    /// Reads requests of one portal, in the order of their arrival.
    pub(crate) fn read_hits(&mut self, hits: Vec<Hit>) {
        for hit in &hits {
            let Some(run) = hit.run.filter(|run| (*run as usize) < self.runs.len()) else {
                let sentence =
                    format!("hit {} of portal {} came from nobody", hit.number, hit.portal);
                self.unseen(About::portal(hit.portal, hit.arrived), sentence);
                continue;
            };
            for command in &hit.commands {
                match (command.activity, command.method.as_str()) {
                    (Some(activity), "bizproc.activity.log") => {
                        self.read_entry(command, activity, run, hit.arrived);
                    }
                    (Some(activity), "bizproc.event.send") => {
                        self.read_end(command, activity, run, hit.arrived);
                    }
                    (Some(activity), other) => {
                        self.stranger(About::activity(activity, run, hit.arrived), other);
                    }
                    (None, method) => {
                        let about = About::portal(hit.portal, hit.arrived);
                        let about = About { runs: vec![run], ..about };
                        self.stranger(about, &format!("{method} for nobody"));
                    }
                }
            }
        }
        self.hits.extend(hits);
    }

    fn stranger(&mut self, about: About, text: &str) {
        let sentence = format!("nobody has logged this line: {text}");
        self.findings.push(Finding { kind: Kind::Stranger, about, sentence });
    }

    fn read_entry(&mut self, command: &Command, activity: u32, run: u32, arrived: Moment) {
        let (is_marked, is_intact, fate) = (false, true, command.fate);
        let lines = Vec::new();
        let mut entry = Entry { activity, run, arrived, is_marked, lines, is_intact, fate };
        for line in command.message.as_deref().unwrap_or_default().lines() {
            let line = notices::without_time(line);
            if let Some(notice) = notices::notice(line) {
                entry.is_marked |= notices::is_mark(notice);
                let gap = notices::gap(notice).filter(|_| fate == Fate::Written);
                let gap = gap.map(|(reason, lines)| Gap { activity, reason, lines });
                self.gaps.extend(gap);
                continue;
            }
            match Line::read(line.strip_prefix("WARNING: ").unwrap_or(line)) {
                Some((line, is_intact)) => {
                    entry.is_intact &= is_intact && line.activity == activity;
                    entry.lines.push(line);
                }
                None => self.stranger(About::activity(activity, run, arrived), line),
            }
        }
        if !entry.lines.is_empty() {
            self.entries.push(entry);
        }
    }

    fn read_end(&mut self, command: &Command, activity: u32, run: u32, arrived: Moment) {
        // A repeated end finds the activity closed. This does no harm.
        if command.fate == Fate::Completed {
            let message = command.message.as_deref().unwrap_or_default();
            let is_right = notices::without_time(message) == of_end(activity);
            self.ends.push(End { activity, run, arrived, is_right });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(activity: Option<u32>, method: &str, message: &str, fate: Fate) -> Command {
        let method = method.to_owned();
        Command { activity, method, message: Some(message.into()), fate, outcome: String::new() }
    }

    fn read(commands: Vec<Command>) -> Evidence {
        let mut evidence = Evidence { runs: vec![Run::default(); 3], ..Evidence::default() };
        let hit = Hit { run: Some(2), arrived: 5, ..Hit::default() };
        evidence.read_hits(vec![Hit { commands, ..hit }]);
        evidence
    }

    fn line(number: u32) -> Line {
        Line { activity: 7, run: None, number }
    }

    #[test]
    fn an_entry_is_read_with_its_lines_its_mark_and_its_gaps() {
        let message = format!(
            "• (possible repeat: why)\n• [timestamp=43205]12:00:05 UTC[/timestamp] {} (amount=5)\n\
             • WARNING: {}\n• (3 lines missing since 12:00:05 UTC: queue full)",
            line(1).text(),
            line(2).text(),
        );
        let log = |fate| vec![command(Some(7), "bizproc.activity.log", &message, fate)];
        let evidence = read(log(Fate::Written));
        let Entry { activity, run, arrived, is_marked, ref lines, is_intact, .. } =
            evidence.entries[0];
        assert_eq!((activity, run, arrived, is_marked, is_intact), (7, 2, 5, true, true));
        assert_eq!(*lines, [line(1), line(2)]);
        assert_eq!((evidence.gaps[0].lines, evidence.gaps[0].reason.as_str()), (3, "queue full"));
        assert!(evidence.findings.is_empty(), "{:?}", evidence.findings);
        assert!(read(log(Fate::Refused)).gaps.is_empty(), "nobody can read it");
    }

    #[test]
    fn a_line_in_the_log_of_another_activity_is_not_intact() {
        let message = line(1).text();
        let evidence =
            read(vec![command(Some(8), "bizproc.activity.log", &message, Fate::Written)]);
        assert!(!evidence.entries[0].is_intact);
    }

    #[test]
    fn only_an_end_that_was_executed_is_one() {
        let ends = [Fate::Completed, Fate::Refused, Fate::ThrownAway];
        let send = |fate| command(Some(7), "bizproc.event.send", &of_end(7), fate);
        let evidence = read(ends.map(send).to_vec());
        assert_eq!(evidence.ends.len(), 1);
        assert!(evidence.ends[0].is_right && evidence.ends[0].arrived == 5);
        let other = command(Some(7), "bizproc.event.send", "Done", Fate::Completed);
        assert!(!read(vec![other]).ends[0].is_right);
    }

    #[test]
    fn what_nobody_has_sent_or_logged_is_found() {
        let kinds = |evidence: &Evidence| -> Vec<Kind> {
            evidence.findings.iter().map(|finding| finding.kind).collect()
        };
        let strangers = read(vec![
            command(Some(7), "bizproc.activity.log", "• forged", Fate::Written),
            command(Some(7), "bizproc.task.list", "", Fate::Written),
            command(None, "bizproc.activity.log", &line(1).text(), Fate::Refused),
        ]);
        assert_eq!(kinds(&strangers), [Kind::Stranger; 3]);
        let mut evidence = read(Vec::new());
        evidence.read_hits(vec![Hit::default(), Hit { run: Some(3), ..Hit::default() }]);
        assert_eq!(kinds(&evidence), [Kind::Unseen; 2]);
        assert_eq!(evidence.hits.len(), 3);
    }
}
