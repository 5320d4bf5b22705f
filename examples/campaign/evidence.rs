//! From the journal of a portal to what the verdict is given.

use std::collections::HashMap;
use std::net::IpAddr;

use bizproc_portal::{CommandOutcome, CommandRecord, Portal};

use crate::proxy::process_at;
use crate::text;
use crate::verdict::{End, Entry, Evidence, Fate};

/// A workflow by its id, and an activity of it by its name.
pub(crate) type Place = (String, String);

/// Adds what the journal of `portal` has. `activities` says which activity is at a place.
pub(crate) fn read_journal(
    evidence: &mut Evidence,
    portal: &Portal,
    activities: &HashMap<Place, u32>,
) {
    if portal.forgotten_hits() > 0 {
        evidence.unseen.push("the journal of a portal has forgotten hits".to_owned());
    }
    for hit in portal.journal() {
        let process = match hit.source {
            IpAddr::V4(address) => process_at(address),
            IpAddr::V6(_) => None,
        };
        let Some(process) = process else {
            evidence.unseen.push("a hit came from an unknown address".to_owned());
            continue;
        };
        for command in &hit.commands {
            let place = command.workflow.clone().zip(command.activity.clone());
            let Some(&activity) = place.and_then(|place| activities.get(&place)) else {
                evidence.strangers.push(format!("{} for nobody", command.method));
                continue;
            };
            match command.method.as_str() {
                "bizproc.activity.log" => read_entry(evidence, command, activity, process),
                "bizproc.event.send" => read_end(evidence, command, activity),
                other => evidence.strangers.push(other.to_owned()),
            }
        }
    }
}

fn read_entry(evidence: &mut Evidence, command: &CommandRecord, activity: u32, process: usize) {
    let fate = match &command.outcome {
        CommandOutcome::Written => Fate::Written,
        CommandOutcome::Refused(_) => Fate::Refused,
        _ => Fate::ThrownAway,
    };
    let message = command.message.as_deref().unwrap_or_default();
    let mut entry =
        Entry { activity, process, marked: false, lines: Vec::new(), intact: true, fate };
    for line in message.lines() {
        let line = without_time(line);
        if let Some(notice) = line.strip_prefix('(') {
            entry.marked |= notice.starts_with("possible repeat");
            let gap = gap(notice).filter(|_| fate == Fate::Written);
            evidence.gaps.extend(gap.map(|(reason, lines)| (activity, reason, lines)));
            continue;
        }
        match text::read(line.strip_prefix("WARNING: ").unwrap_or(line)) {
            Some((line, intact)) => {
                entry.intact &= intact && line.activity == activity;
                entry.lines.push(line.number);
            }
            None => evidence.strangers.push(line.to_owned()),
        }
    }
    if !entry.lines.is_empty() {
        evidence.entries.push(entry);
    }
}

fn read_end(evidence: &mut Evidence, command: &CommandRecord, activity: u32) {
    // An end that was repeated found the activity closed, which does no harm.
    if command.outcome == CommandOutcome::Completed {
        let message = command.message.as_deref().unwrap_or_default();
        let right = without_time(message) == text::of_end(activity);
        evidence.ends.push(End { activity, right });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_notices_are_read_as_the_crate_writes_them() {
        let line = "• [timestamp=43205]12:00:05 UTC[/timestamp] k3-7 ok (amount=5)";
        assert_eq!(without_time(line), "k3-7 ok (amount=5)");
        assert_eq!(
            without_time("• (possible repeat: the answer to the first try was lost)"),
            "(possible repeat: the answer to the first try was lost)"
        );
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
