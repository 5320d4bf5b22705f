//! The texts that the app logs: each says by itself which line it is, and what it has to be.

use crate::record::Line;

/// The text of a line. It follows from the line's numbers, so that the verdict sees whether it came whole.
pub(crate) fn of_line(line: Line) -> String {
    let mixed = (line.activity.wrapping_mul(31) ^ line.number).wrapping_mul(2_654_435_761);
    let words = (0..3 + mixed % 9).map(|place| WORDS[((mixed >> place) % 8) as usize]);
    let words: Vec<&str> = words.collect();
    format!("k{}-{} {}", line.activity, line.number, words.join(" "))
}

/// The last message of an activity.
pub(crate) fn of_end(activity: u32) -> String {
    format!("k{activity}-end Заказ выполнен")
}

/// A return value of an activity.
pub(crate) fn value(activity: u32) -> String {
    format!("value of {activity}")
}

/// The number of a line, and whether its text is whole; nothing if this is no line of the app's.
///
/// Fields and inner spans stand behind the text.
pub(crate) fn read(text: &str) -> Option<(Line, bool)> {
    let id = text.split(' ').next()?.strip_prefix('k')?;
    let (activity, number) = id.split_once('-')?;
    let line = Line { activity: activity.parse().ok()?, number: number.parse().ok()? };
    Some((line, text.starts_with(&of_line(line))))
}

const WORDS: [&str; 8] =
    ["Проверено", "charged", "50%", "a&b=c", "отправлено", "in stock", "#7", "ok"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_and_a_damaged_one_is_seen() {
        for number in 1..200 {
            let line = Line { activity: 7, number };
            let text = of_line(line);
            assert_eq!(read(&format!("{text} (amount=5)")), Some((line, true)));
            let mut cut = text.clone();
            cut.pop();
            assert_eq!(read(&cut), Some((line, false)));
        }
        assert_eq!(read("(3 lines missing)"), None);
        assert_eq!(read(&of_end(7)), None);
    }
}
