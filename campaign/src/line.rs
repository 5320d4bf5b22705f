//! The lines that processes log. Each line says which line it is, and its text can be checked.

use std::fmt;

/// A line of an activity's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Line {
    /// The number of the activity in the campaign.
    pub activity: u32,
    /// The run that logs it, if each run counts its own lines of an activity. `None`: a run goes on with the numbers of
    /// the run before it.
    pub run: Option<u32>,
    /// Its number in its series, from 1 on.
    pub number: u32,
}

/// Lines that have one order: of an activity, and of a run if each run counts its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    /// The number of the activity.
    pub activity: u32,
    /// As in [`Line`].
    pub run: Option<u32>,
}

impl Line {
    /// Its text. It is computed from the numbers, so that the judge can check whether it is complete.
    pub fn text(self) -> String {
        let Line { activity, run, number } = self;
        let mixed =
            activity.wrapping_mul(31) ^ run.unwrap_or_default().wrapping_mul(7_919) ^ number;
        let mixed = mixed.wrapping_mul(2_654_435_761);
        let words = (0..3 + mixed % 9).map(|place| WORDS[((mixed >> place) % 8) as usize]);
        let words: Vec<&str> = words.collect();
        format!("{self} {}", words.join(" "))
    }

    /// Reads the line that a log has, and whether its text is complete; nothing if no process writes such lines. Fields
    /// and spans may stand behind the text.
    pub fn read(text: &str) -> Option<(Line, bool)> {
        let id = text.split(' ').next()?.strip_prefix('k')?;
        let (activity, rest) = id.split_once('-')?;
        let (run, number) = match rest.strip_prefix('r') {
            Some(rest) => {
                let (run, number) = rest.split_once('-')?;
                (Some(run.parse().ok()?), number)
            }
            None => (None, rest),
        };
        let line = Line { activity: activity.parse().ok()?, run, number: number.parse().ok()? };
        Some((line, text.starts_with(&line.text())))
    }

    /// The series to which it belongs.
    pub fn series(self) -> Series {
        Series { activity: self.activity, run: self.run }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { activity, run, number } = self;
        match run {
            Some(run) => write!(f, "k{activity}-r{run}-{number}"),
            None => write!(f, "k{activity}-{number}"),
        }
    }
}

/// The last message of an activity.
pub fn of_end(activity: u32) -> String {
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
            for run in [None, Some(3)] {
                let line = Line { activity: 7, run, number };
                let text = line.text();
                assert_eq!(Line::read(&format!("{text} (amount=5)")), Some((line, true)));
                let mut cut = text.clone();
                cut.pop();
                assert_eq!(Line::read(&cut), Some((line, false)));
            }
        }
        for other in ["(3 lines missing)", "k7-r3 ok", "k7-r3-x ok", &of_end(7)] {
            assert_eq!(Line::read(other), None, "{other}");
        }
    }
}
