//! Times as people write them: `500ms`, `10s`, `1h30min`.

use std::fmt::{self, Write};
use std::time::Duration;

/// Reads a time. Every number needs a unit.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let (number, behind) = rest.split_at(digits);
        let behind = behind.trim_start();
        let end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let (_, nanoseconds) =
            UNITS.iter().find(|(names, _)| names.split(' ').any(|name| name == unit))?;
        sum = sum.checked_add(times(number, *nanoseconds)?)?;
        rest = behind.trim_start();
        if rest.is_empty() {
            return Some(sum);
        }
    }
}

/// A number of units. Whole numbers are exact.
fn times(number: &str, nanoseconds: u64) -> Option<Duration> {
    if let Ok(number) = number.parse::<u64>() {
        let all = u128::from(number) * u128::from(nanoseconds);
        let seconds = u64::try_from(all / 1_000_000_000).ok()?;
        return Some(Duration::new(seconds, (all % 1_000_000_000) as u32));
    }
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * nanoseconds as f64 / 1e9).ok()
}

/// Writes a time so that [`parse`] reads the same.
pub(super) fn write(out: &mut impl Write, time: Duration) -> fmt::Result {
    let mut rest = time.as_nanos();
    if rest == 0 {
        return out.write_str("0s");
    }
    for (names, nanoseconds) in UNITS {
        let unit = u128::from(*nanoseconds);
        if rest >= unit {
            let name = names.split(' ').next().unwrap_or(names);
            write!(out, "{}{name}", rest / unit)?;
            rest %= unit;
        }
    }
    Ok(())
}

/// Units: their names, of which the first one is used for writing, and their nanoseconds.
const UNITS: &[(&str, u64)] = &[
    ("d day days", 86_400_000_000_000),
    ("h hour hours", 3_600_000_000_000),
    ("min m minute minutes", 60_000_000_000),
    ("s sec second seconds", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("1.5 s", 1_500),
            ("5min", 300_000),
            ("5m", 300_000),
            ("1h30min", 5_400_000),
            (" 1 hour 30 minutes ", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in
            ["", "10", "s", "10 parsecs", "-1s", "1,5s", ".s", "1s2", "99999999999999999999d"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_written_time_is_read_again(nanoseconds: u64) {
            let time = Duration::from_nanos(nanoseconds);
            let mut text = String::new();
            write(&mut text, time).unwrap();
            proptest::prop_assert_eq!(parse(&text), Some(time), "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9.a-z µ]{0,30}") {
            let _ = parse(&text);
        }
    }
}
