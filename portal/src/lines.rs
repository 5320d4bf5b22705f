//! Lines of a log for comparisons in tests: without marks and times.

use std::fmt;

/// Lines that did not arrive in time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinesMissing {
    /// The first line that is missing.
    pub wanted: String,
    /// The lines that are there.
    pub found: Vec<String>,
    /// Texts that the portal answered with `true` and dropped.
    pub lost: Vec<String>,
}

impl fmt::Display for LinesMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no line {:?} in {:?}", self.wanted, self.found)?;
        if !self.lost.is_empty() {
            write!(f, "; lost silently: {:?}", self.lost)?;
        }
        Ok(())
    }
}

impl std::error::Error for LinesMissing {}

/// The lines of a text, each without its mark and its time.
pub(crate) fn bare_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| bare(line).to_owned()).filter(|line| !line.is_empty())
}

/// The first line of `wanted` that is not, in this order, in `found`.
///
/// A line matches if it begins with the wanted text, so fields after a message do not matter.
pub(crate) fn missing<'a>(wanted: &'a [String], found: &[String]) -> Option<&'a String> {
    let mut found = found.iter();
    wanted.iter().find(|wanted| !found.any(|line| line.starts_with(wanted.as_str())))
}

fn bare(line: &str) -> &str {
    let line = line.trim();
    let line = match line.split_once(' ') {
        Some((mark, rest)) if mark.chars().count() == 1 && !is_word(mark) => rest.trim_start(),
        _ => line,
    };
    let line = match timestamp(line) {
        Some(rest) => rest.trim_start(),
        None => line,
    };
    match line.split_once(' ') {
        Some((time, rest)) if is_time(time) => {
            let rest = rest.trim_start();
            rest.strip_prefix("UTC ").unwrap_or(rest).trim_start()
        }
        _ => line,
    }
}

fn is_word(text: &str) -> bool {
    text.chars().all(char::is_alphanumeric)
}

/// The text after `[timestamp=N]..[/timestamp]`, if a line begins with it.
fn timestamp(line: &str) -> Option<&str> {
    let (number, rest) = line.strip_prefix("[timestamp=")?.split_once(']')?;
    let (_, rest) = rest.split_once("[/timestamp]")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(rest)
}

/// `14:12:08`, with a fraction, a date or a zone, or without.
fn is_time(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_digit() || b":.TZ+-".contains(&byte);
    word.bytes().filter(|byte| *byte == b':').count() >= 2 && word.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_times_are_taken_off_and_nothing_else_is() {
        for (line, expected) in [
            ("• 20:15:09 UTC Card charged (a=1)", "Card charged (a=1)"),
            ("• [timestamp=5]00:00:05 UTC[/timestamp] WARNING: late", "WARNING: late"),
            ("▸ 14:12:08.114 INFO paid", "INFO paid"),
            ("2026-11-27T08:10:05Z paid", "paid"),
            ("paid at 10:00:00", "paid at 10:00:00"),
            ("A 3 paid", "A 3 paid"),
            ("[timestamp=x]y[/timestamp] z", "[timestamp=x]y[/timestamp] z"),
            ("12:30 lunch", "12:30 lunch"),
            ("", ""),
        ] {
            assert_eq!(bare(line), expected, "{line}");
        }
    }

    #[test]
    fn lines_are_found_in_their_order() {
        let texts = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let found = texts(&["Received", "Charged (amount=5)", "Shipped"]);
        assert_eq!(missing(&texts(&["Received", "Shipped"]), &found), None);
        assert_eq!(missing(&texts(&["Charged"]), &found), None);
        let wrong = texts(&["Shipped", "Received"]);
        assert_eq!(missing(&wrong, &found), Some(&"Received".to_owned()));
        assert!(missing(&texts(&["Received", "Received"]), &found).is_some());
    }
}
