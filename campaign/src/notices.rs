//! How the crate writes lines and notices into a log.

/// A line without its mark and its time.
pub(crate) fn without_time(line: &str) -> &str {
    let line = line.strip_prefix("• ").unwrap_or(line);
    match line.split_once("[/timestamp] ") {
        Some((time, text)) if time.starts_with("[timestamp=") => text,
        _ => line,
    }
}

/// A notice of the crate's own, without its first parenthesis. `line` has no time any more.
pub(crate) fn notice(line: &str) -> Option<&str> {
    line.strip_prefix('(')
}

/// Whether a notice says that the entry may be a repeat.
pub(crate) fn is_mark(notice: &str) -> bool {
    notice.starts_with("possible repeat")
}

/// "3 lines missing since 12:00:05 UTC: queue full)": why, and how many.
pub(crate) fn gap(notice: &str) -> Option<(String, u64)> {
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
        for line in ["k3-7 ok (amount=5)", "k3-r1-7 ok (amount=5)"] {
            let shown = format!("• [timestamp=43205]12:00:05 UTC[/timestamp] {line}");
            assert_eq!(without_time(&shown), line);
        }
        let repeat = "(possible repeat: the answer to the first try was lost)";
        assert_eq!(without_time(&format!("• {repeat}")), repeat);
        assert!(notice(repeat).is_some_and(is_mark));
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
