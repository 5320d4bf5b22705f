//! Dates in the format of a portal's site.

use crate::error::DateFormatError;

/// The format of a site's dates, as its settings have it: `DD.MM.YYYY HH:MI:SS`.
///
/// `YYYY` is the year, `MM` the month, `DD` the day, `HH`, `H`, `GG` and `G` the hour, `MI` the minute,
/// `SS` the second, `T` and `TT` am or pm. Everything else must be in the text as it is. The time may be
/// missing in a text, and numbers other than the year may be without leading zeros.
///
/// A request does not say which format the portal has: `27.11.2026` can only be one day, but
/// `11/12/2026` can be two. Ask for the format when the app is set up, or let the template pass it as a
/// property.
///
/// ```
/// # fn main() -> Result<(), tracing_bizproc::error::DateFormatError> {
/// use tracing_bizproc::app::DateFormat;
///
/// let german = DateFormat::parse("DD.MM.YYYY HH:MI:SS")?;
/// let date = german.read("27.11.2026 14:10:05").expect("it is in this format");
/// assert_eq!((date.year, date.month, date.day, date.hour), (2026, 11, 27, 14));
/// assert_eq!(german.read("11/27/2026"), None);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateFormat(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    HalfOfDay,
    Other(char),
}

/// A date as a site writes it. Its time is in the zone of the site, or of the user for whom it was
/// written. Portals do not say which; newer ones append an offset.
///
/// ```
/// # fn main() -> Result<(), tracing_bizproc::error::DateFormatError> {
/// use tracing_bizproc::app::DateFormat;
///
/// let date = DateFormat::parse("DD.MM.YYYY HH:MI:SS")?.read("27.11.2026 14:10:05 [10800]");
/// let date = date.expect("it is in this format");
/// assert_eq!((date.day, date.hour, date.offset), (27, 14, Some(10_800)));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct SiteDate {
    /// For example 2026.
    pub year: u16,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
    /// From 0 to 23; 0 for a day without a time.
    pub hour: u8,
    /// From 0.
    pub minute: u8,
    /// From 0.
    pub second: u8,
    /// Seconds ahead of UTC, if the portal has added them: `[10800]` after the time.
    pub offset: Option<i32>,
}

impl DateFormat {
    /// Reads a format.
    ///
    /// # Errors
    /// When it does not name year, month and day, each once, and the parts of the time at most once.
    pub fn parse(format: &str) -> Result<Self, DateFormatError> {
        let mut parts = Vec::new();
        let mut rest = format.trim();
        while let Some(first) = rest.chars().next() {
            let known = WORDS.iter().find(|(word, _)| rest.starts_with(word));
            let (length, part) = match known {
                Some((word, part)) => (word.len(), *part),
                // An unknown letter would have to be in every date.
                None if first.is_alphabetic() => return Err(DateFormatError),
                None => (first.len_utf8(), Part::Other(first)),
            };
            parts.push(part);
            rest = &rest[length..];
        }
        let count = |wanted| parts.iter().filter(|part| **part == wanted).count();
        let dates = [Part::Year, Part::Month, Part::Day].map(count);
        let times = [Part::Hour, Part::Minute, Part::Second, Part::HalfOfDay].map(count);
        if dates != [1; 3] || times.iter().any(|&count| count > 1) || parts.len() > MOST_PARTS {
            return Err(DateFormatError);
        }
        Ok(DateFormat(parts))
    }

    /// Reads a date; `None` if it is not in this format, or does not exist.
    pub fn read(&self, text: &str) -> Option<SiteDate> {
        let (text, offset) = match text.trim().strip_suffix(']') {
            Some(text) => {
                let (text, offset) = text.rsplit_once('[')?;
                (
                    text.trim_end(),
                    Some(offset.parse().ok().filter(|o| (-86_400..=86_400).contains(o))?),
                )
            }
            None => (text.trim(), None),
        };
        let mut date =
            SiteDate { year: 0, month: 0, day: 0, hour: 0, minute: 0, second: 0, offset };
        let (mut afternoon, mut hours, mut minutes) = (None, false, false);
        let mut rest = text;
        for part in &self.0 {
            // The time may be missing, with the text before it.
            if rest.is_empty() && date.is_a_day() {
                break;
            }
            rest = match part {
                Part::Other(expected) => {
                    let (first, tail) = split_first(rest)?;
                    if first != *expected {
                        return None;
                    }
                    tail
                }
                Part::HalfOfDay => {
                    let (half, tail) = rest.split_at_checked(2)?;
                    afternoon = Some(match half.to_ascii_lowercase().as_str() {
                        "am" => false,
                        "pm" => true,
                        _ => return None,
                    });
                    tail
                }
                Part::Year => {
                    let (year, tail) = digits(rest, 4)?;
                    // Of "26" it is not known which century is meant.
                    if rest.len() - tail.len() != 4 {
                        return None;
                    }
                    date.year = year;
                    tail
                }
                Part::Month | Part::Day | Part::Hour | Part::Minute | Part::Second => {
                    let (number, tail) = digits(rest, 2)?;
                    let number = u8::try_from(number).ok()?;
                    hours |= *part == Part::Hour;
                    minutes |= *part == Part::Minute;
                    match part {
                        Part::Month => date.month = number,
                        Part::Day => date.day = number,
                        Part::Hour => date.hour = number,
                        Part::Minute => date.minute = number,
                        _ => date.second = number,
                    }
                    tail
                }
            };
        }
        if let Some(afternoon) = afternoon {
            // 12 am is midnight, and 12 pm is noon.
            if !(1..=12).contains(&date.hour) {
                return None;
            }
            date.hour = date.hour % 12 + if afternoon { 12 } else { 0 };
        }
        // Seconds may be missing. An hour alone is a text that was cut off.
        let whole = hours == minutes || !self.0.contains(&Part::Minute);
        (rest.is_empty() && whole && date.is_possible()).then_some(date)
    }
}

impl SiteDate {
    fn is_a_day(&self) -> bool {
        let days = match self.month {
            2 if self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        self.year > 0 && (1..=days).contains(&self.day)
    }

    fn is_possible(&self) -> bool {
        self.is_a_day() && self.hour < 24 && self.minute < 60 && self.second < 60
    }
}

fn split_first(text: &str) -> Option<(char, &str)> {
    let first = text.chars().next()?;
    Some((first, &text[first.len_utf8()..]))
}

/// A number of at most so many digits.
fn digits(text: &str, most: usize) -> Option<(u16, &str)> {
    let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(length)?;
    Some((number.parse().ok()?, rest))
}

/// Longer ones before those that they begin with.
const WORDS: [(&str, Part); 11] = [
    ("YYYY", Part::Year),
    ("MM", Part::Month),
    ("MI", Part::Minute),
    ("DD", Part::Day),
    ("HH", Part::Hour),
    ("H", Part::Hour),
    ("GG", Part::Hour),
    ("G", Part::Hour),
    ("SS", Part::Second),
    ("TT", Part::HalfOfDay),
    ("T", Part::HalfOfDay),
];

/// Real ones have up to 13.
const MOST_PARTS: usize = 40;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn format(format: &str) -> DateFormat {
        DateFormat::parse(format).unwrap()
    }

    #[test]
    fn dates_are_read_as_sites_write_them() {
        let (german, english) = (format("DD.MM.YYYY HH:MI:SS"), format("MM/DD/YYYY H:MI:SS T"));
        let moment = |hour| SiteDate {
            year: 2026,
            month: 11,
            day: 27,
            hour,
            minute: 10,
            second: 5,
            offset: None,
        };
        let day = SiteDate { hour: 0, minute: 0, second: 0, ..moment(0) };
        for (format, text, expected) in [
            (&german, "27.11.2026 14:10:05", moment(14)),
            (&german, " 27.11.2026 ", day),
            (
                &german,
                "27.11.2026 14:10:05 [10800]",
                SiteDate { offset: Some(10_800), ..moment(14) },
            ),
            (
                &german,
                "27.11.2026 14:10:05[-3600]",
                SiteDate { offset: Some(-3_600), ..moment(14) },
            ),
            (&english, "11/27/2026 02:10:05 pm", moment(14)),
            (&english, "11/27/2026 2:10:05 AM", moment(2)),
            (&english, "11/27/2026 12:10:05 am", moment(0)),
            (&english, "11/27/2026 12:10:05 pm", moment(12)),
            (&english, "11/27/2026", day),
            (&format("YYYY-MM-DD HH:MI:SS"), "2026-11-27 14:10:05", moment(14)),
        ] {
            assert_eq!(format.read(text), Some(expected), "{text}");
        }
        let without_seconds = german.read("27.11.2026 14:10").map(|d| (d.minute, d.second));
        assert_eq!(without_seconds, Some((10, 0)));
        assert_eq!(format("DD.MM.YYYY").read("1.2.2026").map(|d| (d.day, d.month)), Some((1, 2)));
        let leap = format("DD.MM.YYYY");
        assert!(leap.read("29.02.2028").is_some() && leap.read("29.02.2026").is_none());
    }

    #[test]
    fn texts_that_are_not_dates_in_this_format_are_none() {
        let german = format("DD.MM.YYYY HH:MI:SS");
        for text in [
            "",
            "11/27/2026",
            "32.01.2026",
            "00.01.2026",
            "1.13.2026",
            "27.11.2026 24:00:00",
            "27.11.2026 14:60:00",
            "27.11.2026 14",
            "27.11.2026 14:10:05 pm",
            "27.11.0000",
            // Regression: the year 26.
            "27.11.26",
            "27.11.202",
            "27.11.2026 14:10:05 [x]",
            "27.11.2026 14:10:05 [999999]",
            "ж7.11.2026",
            "27.11.2026]",
        ] {
            assert_eq!(german.read(text), None, "{text}");
        }
    }

    #[test]
    fn a_format_names_each_part_once() {
        for wrong in ["", "DD.MM", "DD.MM.YYYY DD", "DD.MM.YYYY HH H", "D.M.Y", "DD.MM.YYYY x"] {
            assert_eq!(DateFormat::parse(wrong), Err(DateFormatError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(format in "[YMDHISGT. :/]{0,24}", text in "\\PC{0,24}") {
            if let Ok(format) = DateFormat::parse(&format) {
                let _ = format.read(&text);
            }
        }

        #[test]
        fn every_date_comes_back(
            year in 1_u16..9_999, month in 1_u8..=12, day in 1_u8..=28, hour in 0_u8..24,
            minute in 0_u8..60, second in 0_u8..60,
        ) {
            let date = SiteDate { year, month, day, hour, minute, second, offset: None };
            let text = format!("{day:02}.{month:02}.{year:04} {hour:02}:{minute:02}:{second:02}");
            prop_assert_eq!(format("DD.MM.YYYY HH:MI:SS").read(&text), Some(date));
            let (half, twelve) = (if hour < 12 { "am" } else { "pm" }, (hour + 11) % 12 + 1);
            let text = format!("{month}/{day}/{year:04} {twelve}:{minute:02}:{second:02} {half}");
            prop_assert_eq!(format("MM/DD/YYYY H:MI:SS T").read(&text), Some(date));
        }
    }
}
