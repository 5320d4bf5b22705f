//! What is kept of a bad verdict: enough to find the fault later.
//!
//! The journals of the portals are in memory, so they are gone with the campaign. For each activity, portal or run that a
//! finding is about, the file has one timeline of all that is known: the records of the processes, the commands that came,
//! and what happened at that time. Then it has the reports of the processes themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::folder::Folder;
use crate::incidents::Incident;
use crate::verdict::Verdict;

use self::timeline::{Subject, Timeline, clock};

#[cfg(test)]
mod tests;
mod timeline;

/// Writes the file `findings.txt` into the folder, if there are findings, and returns where it is. `secrets` are left out
/// of it wherever they stand: event tokens, codes of webhooks.
///
/// # Errors
///
/// If it cannot be written.
pub fn keep_findings(
    folder: &Folder,
    evidence: &Evidence,
    verdict: &Verdict,
    incidents: &[Incident],
    secrets: &[String],
) -> io::Result<Option<PathBuf>> {
    if verdict.findings.is_empty() {
        return Ok(None);
    }
    let mut by_subject: BTreeMap<Subject, Vec<&Finding>> = BTreeMap::new();
    for finding in &verdict.findings {
        by_subject.entry(Subject::of(finding)).or_default().push(finding);
    }
    let mut text = HEAD.to_owned();
    let mut runs = BTreeSet::new();
    for (subject, findings) in by_subject.iter().take(MOST_SUBJECTS) {
        let timeline = Timeline::of(*subject, findings, evidence, incidents);
        runs.extend(timeline.runs.iter().copied());
        push(&mut text, format_args!("=== {subject}{}", timeline.place()));
        for finding in findings {
            let kind = finding.kind;
            push(&mut text, format_args!("{} ({kind:?}): {}", finding.word(), finding.sentence));
        }
        for (at, what) in &timeline.events {
            push(&mut text, format_args!("  {} {what}", clock(*at)));
        }
        text.push('\n');
    }
    if by_subject.len() > MOST_SUBJECTS {
        let more = by_subject.len() - MOST_SUBJECTS;
        push(&mut text, format_args!("=== and {more} more, of which nothing is kept\n"));
    }
    for run in runs {
        push(&mut text, format_args!("=== the last reports of run {run}, by its own clock"));
        let reports = folder.last_reports(run, MOST_REPORTS);
        let reports = if reports.is_empty() { "(none)" } else { &reports };
        push(&mut text, format_args!("{reports}\n"));
    }
    let path = folder.path().join("findings.txt");
    fs::write(&path, without(&text, secrets))?;
    Ok(Some(path))
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // A `String` takes everything.
    let _: std::fmt::Result = writeln!(text, "{line}");
}

fn without(text: &str, secrets: &[String]) -> String {
    let secrets = secrets.iter().filter(|secret| !secret.is_empty());
    secrets.fold(text.to_owned(), |text, secret| match text.contains(secret.as_str()) {
        true => text.replace(secret.as_str(), "[secret]"),
        false => text,
    })
}

const HEAD: &str = "\
Times are in UTC. Behind ** is what is wrong, behind -- what the campaign did.
Records of processes come before their actions. Commands have the time at which their request came.

";
/// With more than so many subjects, the first ones are enough to see what is wrong.
const MOST_SUBJECTS: usize = 100;
/// Lines of the standard error of a run.
const MOST_REPORTS: usize = 200;
