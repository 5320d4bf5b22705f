//! The verdict: counts, and what is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::finding::{About, Finding, Kind};
use crate::percentiles::Percentiles;

/// What became of every line and every end.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Lines that were logged, by the records.
    pub sent: u64,
    /// Of these, lines that are in a log.
    pub delivered: u64,
    /// Further copies of lines.
    pub repeated: u64,
    /// Missing, and younger than the bound when their run was killed.
    pub in_window: u64,
    /// Of these, older by the clock: their run could not work for a part of that time.
    pub older_by_clock: u64,
    /// The age of the oldest of them, without the time in which the run could not work.
    pub oldest_in_window: Duration,
    /// Other missing lines, by the reason that was told.
    pub lost: BTreeMap<String, u64>,
    /// How old the oldest line was that was lost with its run.
    pub oldest_lost: Duration,
    /// What became of the ends of activities.
    pub ends: Ends,
    /// Entries that are marked although nothing of them stands in the log before.
    pub marked_in_vain: u64,
    /// Copies without a mark that came after a marked one: they were on their way when their run was killed or paused.
    pub late_copies: u64,
    /// Where nothing is kept: lines of a killed run that the network held back, so that lines of its successor, which did
    /// not know of them, came first.
    pub overtaken: u64,
    /// Requests that a portal refused because they were over its limit.
    pub refused: u64,
    /// All that is wrong.
    pub findings: Vec<Finding>,
}

/// What became of the ends of activities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The processes have asked for so many.
    pub asked: u64,
    /// Of these, so many came to their portals.
    pub arrived: u64,
    /// Asked for just before a kill.
    pub in_window: u64,
    /// Gone with their run, for a reason that is known.
    pub lost: u64,
    /// They came after their deadline.
    pub late: u64,
    /// The process was told that it could not be sent.
    pub failed: u64,
    /// Sent by the run that has asked for them.
    pub sent_by_asker: u64,
    /// From the call to its answer, sorted.
    pub times: Vec<Duration>,
}

impl Verdict {
    /// Adds a finding.
    pub fn find(&mut self, kind: Kind, about: About, sentence: impl Into<String>) {
        self.findings.push(Finding { kind, about, sentence: sentence.into() });
    }

    /// How many findings of this kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.findings.iter().filter(|finding| finding.kind == kind).count()
    }

    /// Lines that were lost for a reason that was told.
    pub fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Findings that nothing explains.
    pub fn unexplained(&self) -> usize {
        self.findings.iter().filter(|finding| !finding.kind.is_explained()).count()
    }

    /// Nothing is wrong. A campaign that has delivered nothing proves nothing.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty() && self.delivered > 0
    }

    /// The last line of a report, where `sent` is the word for lines that were logged.
    pub fn in_one_line(&self, sent: &str) -> String {
        let Verdict { sent: lines, delivered, repeated, in_window, .. } = self;
        let (lost, unexplained) = (self.lost(), self.unexplained());
        format!(
            "{sent}={lines} delivered={delivered} repeated={repeated} in_window={in_window} \
             lost={lost} unexplained={unexplained}"
        )
    }
}

/// Everything but the last line.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ends { asked, arrived, in_window, lost, late, failed, sent_by_asker, times } =
            &self.ends;
        writeln!(
            f,
            "ends: asked={asked} arrived={arrived} in_window={in_window} lost={lost} late={late} \
             failed={failed} sent_by_asker={sent_by_asker}; answered {}",
            Percentiles(times)
        )?;
        for (reason, lines) in &self.lost {
            writeln!(f, "lost: {lines} ({reason})")?;
        }
        if !self.oldest_lost.is_zero() {
            writeln!(f, "the oldest of them was logged {:.2?} before its kill", self.oldest_lost)?;
        }
        if self.older_by_clock > 0 {
            writeln!(
                f,
                "in_window: {} are older by the clock, but their process could not work: it was \
                 stopped, or had no processor, or no database",
                self.older_by_clock
            )?;
        }
        if self.overtaken > 0 {
            writeln!(
                f,
                "lines of a killed process that its successor's came before: {}",
                self.overtaken
            )?;
        }
        writeln!(
            f,
            "out_of_order={} unmarked_repeats={} late_copies={} marked_in_vain={} \
             oldest_in_window={:.2?}",
            self.count(Kind::OutOfOrder),
            self.count(Kind::UnmarkedRepeat),
            self.late_copies,
            self.marked_in_vain,
            self.oldest_in_window
        )?;
        for finding in self.findings.iter().take(MOST_SENTENCES) {
            writeln!(f, "{}: {}", finding.word(), finding.sentence)?;
        }
        let more = self.findings.len().saturating_sub(MOST_SENTENCES);
        if more > 0 {
            writeln!(f, "and {more} more")?;
        }
        Ok(())
    }
}

const MOST_SENTENCES: usize = 40;
