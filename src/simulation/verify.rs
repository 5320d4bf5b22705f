//! Invariants that must be true after every run, with any faults.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use super::{Completed, Outcome};
use crate::error::CompleteError;
use crate::stats::FlushReport;

/// How long lines waited, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// On average.
    pub mean: f64,
    /// At worst.
    pub worst: f64,
}

impl Outcome {
    /// Checks that no line is lost without a count, that the order is kept, and that notices are correct.
    /// `Err` says what is wrong.
    ///
    /// # Errors
    /// When an invariant is violated.
    pub fn verify(&self) -> Result<(), String> {
        let mut wrong = String::new();
        let stats = &self.stats;
        let settled = stats.acknowledged() + stats.late() + stats.lost() + stats.pending();
        if stats.accepted() != settled {
            let _ = writeln!(wrong, "conservation: {stats}");
        }
        if stats.pending() != 0 {
            let _ = writeln!(wrong, "pending after the shutdown: {stats}");
        }
        let logged: usize = self.sent.values().map(Vec::len).sum();
        if stats.accepted() + stats.refused() != logged as u64 {
            let _ = writeln!(wrong, "{logged} lines were logged, counted are {stats}");
        }
        let (mut readable, mut thrown) = (0, 0);
        for &workflow in self.sent.keys() {
            match self.read(workflow) {
                Ok(lines) => readable += lines.len() as u64,
                Err(problem) => {
                    let _ = writeln!(wrong, "workflow {workflow}: {problem}");
                }
            }
        }
        for (&workflow, completed) in &self.completions {
            match self.read_end(workflow, completed) {
                Ok(lines) => thrown += lines,
                Err(problem) => {
                    let _ = writeln!(wrong, "end of workflow {workflow}: {problem}");
                }
            }
        }
        // The portal answered `true` to these, so they are there; or it dropped lines that may have been there.
        if readable + thrown < stats.acknowledged() {
            let _ = writeln!(wrong, "{readable} lines are in the logs: {stats}");
        }
        let reported =
            self.completions.values().filter_map(|completed| completed.answer.as_ref().ok());
        let reported: u64 = reported.map(FlushReport::late).sum();
        let most = self.most_late();
        if !(reported..=most).contains(&stats.late()) {
            let _ = writeln!(
                wrong,
                "completions tell of {reported} late lines, {most} may be: {stats}"
            );
        }
        let missing = self.told_missing();
        if missing > stats.lost() + stats.refused() {
            let _ = writeln!(wrong, "the logs tell of {missing} missing lines: {stats}");
        }
        if let Err(problem) = &self.told {
            let _ = writeln!(wrong, "lost lines: {problem}");
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("seed {}:\n{wrong}", self.seed)) }
    }

    /// How long the lines of a workflow waited until they were written, in seconds.
    pub fn waits(&self, workflow: u32) -> Waits {
        let sent = self.sent.get(&workflow).map_or(&[][..], Vec::as_slice);
        let mut written = BTreeSet::new();
        let (mut sum, mut worst) = (0.0, 0.0_f64);
        for entry in self.portal.log(workflow) {
            for n in numbers(&entry.text) {
                if let (true, Some(at)) = (written.insert(n), sent.get(n as usize)) {
                    let wait = entry.at.saturating_sub(*at).as_secs_f64();
                    sum += wait;
                    worst = worst.max(wait);
                }
            }
        }
        Waits { mean: sum / (written.len().max(1) as f64), worst }
    }

    /// How many lines of a workflow are not visible at the end.
    pub fn unreadable(&self, workflow: u32) -> usize {
        let shown = self.portal.shown(workflow);
        let readable: BTreeSet<_> = shown.iter().flat_map(|entry| numbers(&entry.text)).collect();
        self.sent.get(&workflow).map_or(0, Vec::len) - readable.len()
    }

    /// Compares a completion with the portal. Returns the lines that the portal dropped and that are not in
    /// the log.
    fn read_end(&self, workflow: u32, completed: &Completed) -> Result<u64, String> {
        let Completed { lines, deadline, answered, answer, .. } = completed;
        let (ended, known) = (self.portal.ended(workflow), self.portal.known(workflow));
        match answer {
            Ok(_) if known.ended.is_none() => {
                return Err("it was acknowledged, and no answer says so".to_owned());
            }
            Ok(_) if ended.is_none() && self.portal.ends_at_once() => {
                return Err("it was acknowledged, and has not ended".to_owned());
            }
            Err(CompleteError::Refused { .. }) if !known.end_refused => {
                return Err("it was refused, and no answer says so".to_owned());
            }
            Err(CompleteError::NotSent) if known.ended.is_some_and(|at| at < *answered) => {
                return Err("it was not sent, and an answer says that it was".to_owned());
            }
            _ => {}
        }
        if let Some(ended) = ended {
            if ended.values["workflow"].as_str() != Some(&*workflow.to_string()) {
                return Err(format!("its values are {}", ended.values));
            }
        }
        if *answered > *deadline + PATIENCE {
            return Err(format!("it was answered at {answered:?}, due at {deadline:?}"));
        }
        let late = answer.as_ref().map_or(0, FlushReport::late);
        if late > 0 && !self.may_be_late(workflow, completed) {
            return Err(format!("{late} lines are late without a reason"));
        }
        if known.after_end > 0 {
            return Err(format!("{} entries were sent after its end was known", known.after_end));
        }
        let read = self.read(workflow)?;
        let mut thrown = BTreeSet::new();
        for entry in self.portal.thrown(workflow) {
            let repeat = entry.text.contains("(possible repeat");
            for n in numbers(&entry.text).filter(|n| !read.contains(n)) {
                if (n as usize) < *lines && !repeat {
                    return Err(format!("line {n} stands behind the end"));
                }
                thrown.insert(n);
            }
        }
        Ok(thrown.len() as u64)
    }

    /// Whether lines from before the end of an activity may be late: one was refused in the request in
    /// which the end went through, as far as the client was told, or an end went when its deadline had
    /// passed.
    fn may_be_late(&self, workflow: u32, completed: &Completed) -> bool {
        let known = self.portal.known(workflow);
        known.passed || known.end_sent.is_some_and(|at| at >= completed.deadline)
    }

    /// The most lines that may be late: all that were logged when their end had been asked for, and of
    /// those before it what [`may_be_late`](Self::may_be_late) allows.
    fn most_late(&self) -> u64 {
        let of_one = |(workflow, completed): (&u32, &Completed)| {
            let logged = self.sent.get(workflow).map_or(0, Vec::len);
            if self.may_be_late(*workflow, completed) { logged } else { logged - completed.lines }
        };
        self.completions.iter().map(of_one).sum::<usize>() as u64
    }

    /// How many lines are missing by the notices in the logs, each counted once.
    pub fn told_missing(&self) -> u64 {
        self.sent.keys().map(|workflow| self.told_missing_in(*workflow)).sum()
    }

    /// How many lines are missing by the notices in a workflow's log. Lines that may have been reported
    /// before, and notices of repeated entries, do not count.
    fn told_missing_in(&self, workflow: u32) -> u64 {
        let log = self.portal.log(workflow).iter();
        let told_once = log.filter(|entry| !entry.text.contains("(possible repeat"));
        let counts = told_once.map(|entry| notices(&entry.text));
        counts.map(|(lines, retold)| lines.saturating_sub(retold)).sum()
    }

    /// The numbers of the lines in a workflow's log. `Err` if they are out of order, or are there twice
    /// without a mark.
    fn read(&self, workflow: u32) -> Result<BTreeSet<u64>, String> {
        let mut seen = BTreeSet::new();
        let mut newest = None;
        for entry in self.portal.log(workflow) {
            let repeat = entry.text.contains("(possible repeat");
            let mut newest_here = None;
            for n in numbers(&entry.text) {
                if newest_here.is_some_and(|newest| n <= newest) {
                    return Err(format!("line {n} is out of order in its entry"));
                }
                newest_here = Some(n);
                if newest.is_some_and(|newest| n <= newest) && !repeat {
                    return Err(format!("line {n} comes late or twice, without a mark"));
                }
                seen.insert(n);
            }
            newest = newest.max(newest_here);
        }
        Ok(seen)
    }
}

/// How many lines are missing by the notices in an entry, and how many of them may have been reported before.
pub(super) fn notices(text: &str) -> (u64, u64) {
    let is_notice = |line: &&str| line.starts_with("\u{2022} (") && line.contains("missing since ");
    let notices = text.lines().filter(is_notice);
    notices.fold((0, 0), |(lines, retold), notice| {
        let of_notice = number_before(notice, " line");
        let of_them = number_before(notice, " of them may have been reported");
        (lines + of_notice, retold + of_them)
    })
}

/// The number before `words`; 0 if there is none.
fn number_before(text: &str, words: &str) -> u64 {
    let number = text.split_once(words).and_then(|(before, _)| before.rsplit([' ', '(']).next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The numbers of the lines, in their order: "#12#".
pub(super) fn numbers(text: &str) -> impl Iterator<Item = u64> + '_ {
    text.split('#').filter_map(|part| part.parse().ok())
}

/// How long after its deadline an end is tried, and a little more: simulated requests take their time.
const PATIENCE: Duration = Duration::from_secs(121);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{Conditions, EventSend, Faults, Run, run};

    const HOUR: Duration = Duration::from_secs(3_600);

    fn builder() -> crate::Builder {
        let webhook = crate::auth::Webhook::new("https://b24.example/rest/1/secret/").unwrap();
        crate::builder(webhook)
    }

    /// The answer to an entry takes 30 s. A line comes meanwhile, and its activity is to end in 5 s.
    fn with_a_line_that_is_late() -> Outcome {
        let conditions = Conditions { request: 30.0, ..Conditions::default() };
        let outcome = run(1, builder(), conditions, HOUR, |run| async move {
            run.log(1, 20);
            run.until(Duration::from_secs(3)).await;
            run.log(1, 20);
            run.complete(1, Duration::from_secs(5));
        });
        assert_eq!((outcome.stats.acknowledged(), outcome.stats.late()), (1, 1));
        outcome
    }

    #[test]
    fn a_line_may_be_late_if_the_deadline_of_its_end_has_passed_and_not_otherwise() {
        let mut outcome = with_a_line_that_is_late();
        assert_eq!(outcome.verify(), Ok(()));
        outcome.completions.get_mut(&1).unwrap().deadline += HOUR;
        let problem = outcome.verify().unwrap_err();
        assert!(problem.contains("1 lines are late without a reason"), "{problem}");
        assert!(problem.contains("1 late lines, 0 may be"), "{problem}");
    }

    #[test]
    fn the_counters_and_the_answer_to_a_completion_tell_of_the_same_late_lines() {
        let mut outcome = with_a_line_that_is_late();
        let answer = &mut outcome.completions.get_mut(&1).unwrap().answer;
        answer.as_mut().unwrap().count_late(1);
        let problem = outcome.verify().unwrap_err();
        assert!(problem.contains("completions tell of 2 late lines"), "{problem}");
    }

    /// Activities whose workflows are locked now and then: some entries are refused in the very request
    /// that ends their activity.
    async fn locked_now_and_then(run: Run) {
        for workflow in 0..200 {
            run.log(workflow, 20);
        }
        run.flush(HOUR).await;
        for workflow in 0..200 {
            run.log(workflow, 20);
            run.complete(workflow, HOUR);
        }
    }

    #[test]
    fn a_line_may_be_late_if_it_was_refused_in_the_request_that_ended_its_activity() {
        let faults = Faults { locked: 0.2, ..Faults::default() };
        let conditions = Conditions { faults, ..Conditions::default() };
        let mut outcome = run(1, builder(), conditions, HOUR, locked_now_and_then);
        assert_eq!(outcome.verify(), Ok(()));
        assert!(outcome.stats.late() > 0, "{}", outcome.stats);
        outcome.portal.known = Default::default();
        let problem = outcome.verify().unwrap_err();
        assert!(problem.contains("it was acknowledged, and no answer says so"), "{problem}");
        assert!(problem.contains("late lines, 0 may be"), "{problem}");
    }

    /// The portal says true to an end whose job then fails, or whose answer is lost: what the client
    /// cannot know breaks no law.
    #[test]
    fn what_the_client_cannot_know_violates_no_invariant() {
        let faults = Faults { locked: 0.3, lost_answer: 0.3, midway: 0.3, ..Faults::default() };
        for seed in 0..20 {
            let event_send = if seed % 2 == 0 { EventSend::Background } else { EventSend::AtOnce };
            let conditions = Conditions { faults, event_send, ..Conditions::default() };
            let outcome = run(seed, builder(), conditions, HOUR, locked_now_and_then);
            assert_eq!(outcome.verify(), Ok(()));
        }
    }
}
