//! The lines that replicas log. Each line says which line it is, and its text can be checked.

use std::fmt;

/// A line of an activity's log: by the number of the activity, the run of the replica that logs it, and its
/// number among the lines of both, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) activity: u32,
    pub(crate) run: u32,
    pub(crate) number: u32,
}

impl Line {
    /// Its text. It is computed from the numbers, so that the verdict can check whether it is complete.
    pub(crate) fn text(self) -> String {
        let Line { activity, run, number } = self;
        let mixed = activity.wrapping_mul(31) ^ run.wrapping_mul(7_919) ^ number;
        let mixed = mixed.wrapping_mul(2_654_435_761);
        let words = (0..3 + mixed % 9).map(|place| WORDS[((mixed >> place) % 8) as usize]);
        let words: Vec<&str> = words.collect();
        format!("{self} {}", words.join(" "))
    }

    /// Reads the line that a log has, and whether its text is whole; nothing if no replica writes such lines.
    /// Fields may stand behind the text.
    pub(crate) fn read(text: &str) -> Option<(Line, bool)> {
        let mut parts = text.split(' ').next()?.strip_prefix('k')?.splitn(3, '-');
        let activity = parts.next()?.parse().ok()?;
        let run = parts.next()?.strip_prefix('r')?.parse().ok()?;
        let line = Line { activity, run, number: parts.next()?.parse().ok()? };
        Some((line, text.starts_with(&line.text())))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}-r{}-{}", self.activity, self.run, self.number)
    }
}

/// The last message of an activity.
pub(crate) fn of_end(activity: u32) -> String {
    format!("k{activity}-end Заказ выполнен")
}

const WORDS: [&str; 8] =
    ["Проверено", "charged", "50%", "a&b=c", "отправлено", "in stock", "#7", "ok"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_and_a_damaged_one_is_seen() {
        for number in 1..200 {
            let line = Line { activity: 7, run: 3, number };
            let text = line.text();
            assert_eq!(Line::read(&format!("{text} (amount=5)")), Some((line, true)));
            let mut cut = text.clone();
            cut.pop();
            assert_eq!(Line::read(&cut), Some((line, false)));
        }
        assert_eq!(Line::read("(3 lines missing)"), None);
        assert_eq!(Line::read(&of_end(7)), None);
    }
}
