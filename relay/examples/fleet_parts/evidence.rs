//! Converts the journal of a portal to data for the verdict.

use std::collections::HashMap;

use bizproc_portal::{CommandOutcome, CommandRecord, Portal};

use super::line::{Line, of_end};
use super::record::{Moment, moment};
use super::verdict::{End, Entry, Evidence, Fate, Hit};

/// A workflow by its id, and an activity of it by its name.
pub(crate) type Place = (String, String);

/// The user in the webhooks of a run. So each portal knows who calls, although all runs have one address.
pub(crate) fn user_of(run: u32) -> u64 {
    u64::from(run) + FIRST_USER
}

/// The run that calls as this user: of "/rest/7/.../batch".
fn run_at(path: &str) -> Option<u32> {
    let user: u64 = path.strip_prefix("/rest/")?.split('/').next()?.parse().ok()?;
    u32::try_from(user.checked_sub(FIRST_USER)?).ok()
}

/// Adds the data of a portal's journal. `activities` says which activity is at a place.
pub(crate) fn read_journal(
    evidence: &mut Evidence,
    number: usize,
    portal: &Portal,
    activities: &HashMap<Place, u32>,
) {
    if portal.forgotten_hits() > 0 {
        evidence.unseen.push("the journal of a portal has forgotten hits".to_owned());
    }
    for hit in portal.journal() {
        let Some(run) = run_at(&hit.path) else {
            evidence.unseen.push(format!("a hit came from nobody: {}", hit.path));
            continue;
        };
        let arrived = moment(hit.arrived.to_system_time());
        let is_over_limit = hit.error.as_deref() == Some(OVER_LIMIT);
        let is_refused = is_over_limit && hit.fault.is_none();
        evidence.hits.push(Hit { portal: number, run, arrived, is_refused });
        for command in &hit.commands {
            let place = command.workflow.clone().zip(command.activity.clone());
            let Some(&activity) = place.and_then(|place| activities.get(&place)) else {
                evidence.strangers.push(format!("{} for nobody", command.method));
                continue;
            };
            match command.method.as_str() {
                "bizproc.activity.log" => read_entry(evidence, command, activity, run),
                "bizproc.event.send" => read_end(evidence, command, activity, run, arrived),
                other => evidence.strangers.push(other.to_owned()),
            }
        }
    }
}

fn read_entry(evidence: &mut Evidence, command: &CommandRecord, activity: u32, run: u32) {
    let fate = match &command.outcome {
        CommandOutcome::Written => Fate::Written,
        CommandOutcome::Refused(_) => Fate::Refused,
        _ => Fate::ThrownAway,
    };
    let mut entry = Entry { run, is_marked: false, lines: Vec::new(), is_intact: true, fate };
    for line in command.message.as_deref().unwrap_or_default().lines() {
        let line = without_time(line);
        if let Some(notice) = line.strip_prefix('(') {
            entry.is_marked |= notice.starts_with("possible repeat");
            let gap = gap(notice).filter(|_| fate == Fate::Written);
            evidence.gaps.extend(gap.map(|(reason, lines)| (activity, reason, lines)));
            continue;
        }
        match Line::read(line.strip_prefix("WARNING: ").unwrap_or(line)) {
            Some((line, is_intact)) => {
                entry.is_intact &= is_intact && line.activity == activity;
                entry.lines.push(line);
            }
            None => evidence.strangers.push(line.to_owned()),
        }
    }
    if !entry.lines.is_empty() {
        evidence.entries.push(entry);
    }
}

fn read_end(
    evidence: &mut Evidence,
    command: &CommandRecord,
    activity: u32,
    run: u32,
    arrived: Moment,
) {
    // A repeated end finds the activity closed. This does no harm.
    if command.outcome == CommandOutcome::Completed {
        let message = command.message.as_deref().unwrap_or_default();
        let is_right = without_time(message) == of_end(activity);
        evidence.ends.push(End { activity, run, arrived, is_right });
    }
}

/// A line without its mark and its time.
fn without_time(line: &str) -> &str {
    let line = line.strip_prefix("• ").unwrap_or(line);
    match line.split_once("[/timestamp] ") {
        Some((time, text)) if time.starts_with("[timestamp=") => text,
        _ => line,
    }
}

/// "3 lines missing since 12:00:05 UTC: queue full)": why, and how many.
fn gap(notice: &str) -> Option<(String, u64)> {
    let (lines, rest) = notice.split_once(' ')?;
    let (what, reason) = rest.rsplit_once(" UTC")?;
    let reason = reason.trim_start_matches("[/timestamp]").trim_start_matches(": ");
    what.contains("missing since").then_some(())?;
    Some((reason.trim_end_matches(')').to_owned(), lines.parse().ok()?))
}

/// Users 0 and 1 are nobody and the administrator.
const FIRST_USER: u64 = 2;
const OVER_LIMIT: &str = "QUERY_LIMIT_EXCEEDED";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_which_run_has_called() {
        for run in [0, 1, 999] {
            assert_eq!(run_at(&format!("/rest/{}/.../batch", user_of(run))), Some(run));
        }
        assert_eq!(run_at("/rest/1/.../batch"), None);
        assert_eq!(run_at("/rest/batch"), None);
    }

    #[test]
    fn lines_and_notices_are_read_as_the_crate_writes_them() {
        let line = "• [timestamp=43205]12:00:05 UTC[/timestamp] k3-r1-7 ok (amount=5)";
        assert_eq!(without_time(line), "k3-r1-7 ok (amount=5)");
        assert_eq!(without_time("• (possible repeat: why)"), "(possible repeat: why)");
        for time in ["12:00:05 UTC", "[timestamp=43205]12:00:05 UTC[/timestamp]"] {
            for (notice, told) in [
                ("3 lines missing since TIME: queue full)", Some(("queue full", 3))),
                ("1 line may be missing since TIME: app shut down)", Some(("app shut down", 1))),
                ("possible repeat: the answer was lost)", None),
            ] {
                let expected = told.map(|(reason, lines)| (reason.to_owned(), lines));
                assert_eq!(gap(&notice.replace("TIME", time)), expected, "{notice}");
            }
        }
    }
}
