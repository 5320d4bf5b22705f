//! How a line shows its time.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::InvalidOption;

/// How a line shows its time. The portal stamps an entry with the time of the call, which may be
/// minutes after the event.
///
/// As text, in a configuration: `viewer`, `utc`, `none`, or an offset such as `+03:00`.
///
/// ```
/// use tracing_bizproc::format::{LineTime, UtcOffset};
///
/// # fn main() -> Result<(), tracing_bizproc::error::InvalidOption> {
/// assert_eq!("+03:00".parse::<LineTime>()?, LineTime::Offset(UtcOffset::hours(3)));
/// assert_eq!(LineTime::Viewer.to_string(), "viewer");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineTime {
    /// In the time zone of the reader: the portal converts its `[timestamp=..]` tag when it shows the
    /// log (server behaviour). If the log is read in another way, the tag itself is shown, with the time in
    /// UTC inside. The default.
    #[default]
    Viewer,
    /// The time of day in UTC, as plain text: `12:00:05 UTC`.
    Utc,
    /// The time of day at a fixed distance from UTC, as plain text: `15:00:05 +03:00`.
    Offset(UtcOffset),
    /// No time. The portal still shows the time of the entry. A notice about missing lines still has its
    /// time, in UTC.
    None,
}

/// An offset from UTC. For time zones without daylight saving time: Moscow has 3 hours.
///
/// ```
/// use tracing_bizproc::format::UtcOffset;
///
/// assert_eq!(UtcOffset::hours(3).to_string(), "+03:00");
/// assert_eq!(UtcOffset::minutes(-210).to_string(), "-03:30");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UtcOffset {
    minutes: i16,
}

impl UtcOffset {
    /// This number of hours east of UTC; west if it is negative. `Builder::build` accepts up to 18 hours.
    pub const fn hours(hours: i8) -> UtcOffset {
        UtcOffset { minutes: hours as i16 * 60 }
    }

    /// This number of minutes east of UTC; west if it is negative. `Builder::build` accepts up to 18 hours.
    pub const fn minutes(minutes: i16) -> UtcOffset {
        UtcOffset { minutes }
    }

    fn seconds(self) -> i64 {
        i64::from(self.minutes) * 60
    }
}

impl LineTime {
    pub(crate) fn is_valid(self) -> bool {
        match self {
            LineTime::Offset(offset) => offset.minutes.unsigned_abs() <= MOST_MINUTES,
            LineTime::Viewer | LineTime::Utc | LineTime::None => true,
        }
    }
}

/// Writes the time of day in this form, or nothing.
pub(crate) fn write_clock(out: &mut String, time: LineTime, at: SystemTime) -> fmt::Result {
    let second = unix_seconds(at);
    match time {
        LineTime::Viewer => {
            write!(out, "[timestamp={second}]")?;
            write_time_of_day(out, second)?;
            out.write_str(" UTC[/timestamp]")
        }
        LineTime::Utc => {
            write_time_of_day(out, second)?;
            out.write_str(" UTC")
        }
        LineTime::Offset(offset) => {
            write_time_of_day(out, second.saturating_add(offset.seconds()))?;
            write!(out, " {offset}")
        }
        LineTime::None => Ok(()),
    }
}

fn write_time_of_day(out: &mut impl Write, second: i64) -> fmt::Result {
    let day = second.rem_euclid(86_400);
    write!(out, "{:02}:{:02}:{:02}", day / 3_600, day / 60 % 60, day % 60)
}

/// Writes date and time of day in this form; in UTC if it has no zone.
pub(super) fn write_date(out: &mut impl Write, time: LineTime, second: i64) -> fmt::Result {
    let offset = match time {
        LineTime::Offset(offset) => offset,
        _ => UtcOffset::default(),
    };
    let local = second.saturating_add(offset.seconds());
    let (year, month, day) = date(local.div_euclid(86_400));
    write!(out, "{year:04}-{month:02}-{day:02} ")?;
    write_time_of_day(out, local)?;
    match time {
        LineTime::Offset(offset) => write!(out, " {offset}"),
        _ => out.write_str(" UTC"),
    }
}

/// Writes a time in the format of RFC 3339, in UTC with milliseconds.
pub(super) fn write_rfc3339(out: &mut dyn Write, at: SystemTime) -> fmt::Result {
    // In i128, because a clock may have any value.
    let milliseconds = match at.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i128,
        Err(before) => -(before.duration().as_millis() as i128),
    };
    let second = milliseconds.div_euclid(1_000) as i64;
    let (year, month, day) = date(second.div_euclid(86_400));
    let of_day = second.rem_euclid(86_400);
    write!(
        out,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60,
        milliseconds.rem_euclid(1_000)
    )
}

/// Year, month and day of a day that is counted from 1970-01-01, by the Gregorian calendar.
fn date(days: i64) -> (i64, i64, i64) {
    // Counted in years that begin in March, so that the leap day is the last one.
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// Whole seconds since 1970, negative before it. Works with every value of a clock.
pub(crate) fn unix_seconds(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |s| -s),
    }
}

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minutes < 0 { '-' } else { '+' };
        let minutes = self.minutes.unsigned_abs();
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl FromStr for UtcOffset {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        parse_offset(text).ok_or_else(|| InvalidOption::new(text, "an offset such as +03:00"))
    }
}

fn parse_offset(text: &str) -> Option<UtcOffset> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let number = |digits: &str| -> Option<i16> {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if plain { digits.parse().ok() } else { None }
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minutes = hours.checked_mul(60)?.checked_add((minutes < 60).then_some(minutes)?)?;
    (minutes.unsigned_abs() <= MOST_MINUTES).then(|| UtcOffset::minutes(sign * minutes))
}

impl fmt::Display for LineTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineTime::Viewer => f.write_str("viewer"),
            LineTime::Utc => f.write_str("utc"),
            LineTime::None => f.write_str("none"),
            LineTime::Offset(offset) => offset.fmt(f),
        }
    }
}

impl FromStr for LineTime {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        match text.to_ascii_lowercase().as_str() {
            "viewer" => Ok(LineTime::Viewer),
            "utc" => Ok(LineTime::Utc),
            "none" => Ok(LineTime::None),
            other => parse_offset(other).map(LineTime::Offset).ok_or_else(|| {
                InvalidOption::new(text, "viewer, utc, none, or an offset such as +03:00")
            }),
        }
    }
}

/// No zone is further from UTC than 14 hours. Libraries for ISO 8601 accept 18.
const MOST_MINUTES: u16 = 18 * 60;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn clock(time: LineTime, at: SystemTime) -> String {
        let mut out = String::new();
        write_clock(&mut out, time, at).unwrap();
        out
    }

    #[test]
    fn each_form_shows_the_same_time() {
        let at = UNIX_EPOCH + Duration::from_secs(86_400 * 3 + 22 * 3_600 + 5);
        assert_eq!(clock(LineTime::Viewer, at), "[timestamp=338405]22:00:05 UTC[/timestamp]");
        assert_eq!(clock(LineTime::Utc, at), "22:00:05 UTC");
        assert_eq!(clock(LineTime::Offset(UtcOffset::hours(3)), at), "01:00:05 +03:00");
        assert_eq!(clock(LineTime::Offset(UtcOffset::minutes(-210)), at), "18:30:05 -03:30");
        assert_eq!(clock(LineTime::None, at), "");
    }

    #[test]
    fn times_before_1970_do_not_panic() {
        assert_eq!(clock(LineTime::Utc, UNIX_EPOCH - Duration::from_secs(1)), "23:59:59 UTC");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let moment = |second: i64| {
            let mut out = String::new();
            write_date(&mut out, LineTime::Utc, second).unwrap();
            out
        };
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(moment(4_107_542_400), "2100-03-01 00:00:00 UTC");
        assert_eq!(moment(-1), "1969-12-31 23:59:59 UTC");
        let mut out = String::new();
        let at = UNIX_EPOCH + Duration::from_millis(1_764_244_805_042);
        write_rfc3339(&mut out, at).unwrap();
        assert_eq!(out, "2025-11-27T12:00:05.042Z");
    }

    #[test]
    fn an_invalid_line_time_names_the_expected_values() {
        for wrong in ["", "+", "+3:60", "03:00", "+19", "+-3", "zone", "+1:00:00", "+٣"] {
            let error = wrong.parse::<LineTime>().unwrap_err().to_string();
            assert!(error.contains("viewer, utc, none"), "{error}");
        }
        for right in ["viewer", "utc", "none", "+03:00", "-11:30", "+00:00"] {
            assert_eq!(right.parse::<LineTime>().unwrap().to_string(), right);
        }
        assert_eq!("+3".parse(), Ok(LineTime::Offset(UtcOffset::hours(3))));
        assert!(!LineTime::Offset(UtcOffset::hours(19)).is_valid());
    }
}
