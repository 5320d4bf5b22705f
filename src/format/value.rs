//! How a value is shown to the owner of a process.

use std::fmt::{self, Write};

use super::time::write_date;
use super::wording::Words;
use crate::line::Value;

/// Receives values.
pub(crate) trait Sink: Write {
    /// Says that this many bytes of a value are missing.
    fn write_missing(&mut self, bytes: u64, words: &Words) -> fmt::Result {
        write!(self, "… ({})", words.more_bytes(bytes))
    }
}

impl Sink for String {}
impl Sink for fmt::Formatter<'_> {}
impl Sink for &mut dyn Write {}

/// Writes a value as the log shows it.
#[inline]
pub(super) fn write(out: &mut impl Sink, value: Value<'_>, words: &Words) -> fmt::Result {
    match value {
        Value::I64(n) => write!(out, "{n}"),
        Value::U64(n) => write!(out, "{n}"),
        Value::I128(n) => write!(out, "{n}"),
        Value::U128(n) => write!(out, "{n}"),
        Value::F64(n) => write_float(out, n),
        Value::Bool(b) => write!(out, "{b}"),
        Value::Str(text) => match moment(text) {
            Some(second) => write_date(out, words.time(), second),
            None => out.write_str(text),
        },
        Value::Cut { text, missing } => {
            out.write_str(text)?;
            out.write_missing(missing, words)
        }
        Value::Unwritable => write!(out, "({})", words.unwritable()),
    }
}

/// The shortest digits for the number, as people write it. An `f64` has 17 significant digits, and the last
/// two are mostly noise, as in 0.1 + 0.2 = 0.30000000000000004.
fn write_float(out: &mut impl Write, n: f64) -> fmt::Result {
    if n == 0.0 {
        return out.write_char('0');
    }
    if !(1e-7..1e21).contains(&n.abs()) {
        // NaN, inf, 1e300: without three hundred zeros.
        return write!(out, "{n:?}");
    }
    let mut text = Short::default();
    write!(text, "{n}")?;
    if text.digits() <= SURE_DIGITS {
        return out.write_str(text.as_str());
    }
    let single = n as f32;
    if f64::from(single) == n && n.fract() != 0.0 {
        // It was an `f32`. The conversion has added the other digits.
        return write!(out, "{single}");
    }
    let mut rounded = Short::default();
    write!(rounded, "{n:.*e}", SURE_DIGITS - 1)?;
    match rounded.as_str().parse::<f64>() {
        Ok(rounded) => write!(out, "{rounded}"),
        Err(_) => out.write_str(text.as_str()),
    }
}

/// A decimal number with this many digits does not change when it is converted to `f64` and back.
const SURE_DIGITS: usize = 15;

/// A number's text on the stack.
#[derive(Default)]
struct Short {
    bytes: [u8; 32],
    len: usize,
}

impl Short {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    /// Significant digits.
    fn digits(&self) -> usize {
        let text = self.as_str().trim_start_matches(['-', '0', '.']);
        let fraction = text.contains('.') || self.as_str().contains('.');
        let text = if fraction { text } else { text.trim_end_matches('0') };
        text.bytes().filter(u8::is_ascii_digit).count()
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// The second of a `SystemTime`, which can be logged only as `?time`. If its `Debug` output changes in
/// another version of Rust, the output is shown as it is.
fn moment(text: &str) -> Option<i64> {
    let rest = text.strip_prefix("SystemTime { tv_sec: ")?;
    let (seconds, rest) = rest.split_once(", tv_nsec: ")?;
    let nanoseconds = rest.strip_suffix(" }")?;
    let plain = nanoseconds.len() <= 9 && nanoseconds.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| seconds.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::format::{Language, LineTime, UtcOffset};

    fn shown(value: Value<'_>) -> String {
        let mut out = String::new();
        let words = Words::of(Language::English, LineTime::Offset(UtcOffset::hours(3)));
        write(&mut out, value, &words).unwrap();
        out
    }

    #[test]
    fn floats_read_as_people_write_numbers() {
        for (n, text) in [
            (99.5, "99.5"),
            (100.0, "100"),
            (0.1 + 0.2, "0.3"),
            (f64::from(0.1_f32), "0.1"),
            (f64::from(19.99_f32), "19.99"),
            (2_097_152.25, "2097152.25"),
            (1_234_567.89, "1234567.89"),
            (123_456_789_012.34, "123456789012.34"),
            (-1.1 * 3.0, "-3.3"),
            (1.0 / 3.0, "0.333333333333333"),
            (1e15, "1000000000000000"),
            (9_007_199_254_740_991.0, "9007199254740990"),
            (0.000_001, "0.000001"),
            (1e300, "1e300"),
            (1e-9, "1e-9"),
            (0.0, "0"),
            (-0.0, "0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(shown(Value::F64(n)), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_number_with_up_to_15_digits_is_shown_as_it_was_written(
            digits in 0u64..1_000_000_000_000_000, scale in 0u32..8,
        ) {
            let written = digits as f64 / 10f64.powi(scale as i32);
            let back: f64 = shown(Value::F64(written)).parse().unwrap();
            proptest::prop_assert_eq!(back, written);
        }

        #[test]
        fn any_float_is_shown_to_15_digits(bits: u64) {
            let n = f64::from_bits(bits);
            let back: f64 = shown(Value::F64(n)).parse().unwrap();
            proptest::prop_assert!(n.is_nan() || n == back || (back / n - 1.0).abs() < 1e-7);
        }
    }

    #[test]
    fn a_system_time_is_a_date() {
        let time = UNIX_EPOCH + Duration::from_secs(1_764_244_805);
        assert_eq!(shown(Value::Str(&format!("{time:?}"))), "2025-11-27 15:00:05 +03:00");
        let odd = "SystemTime { tv_sec: soon, tv_nsec: 0 }";
        assert_eq!(shown(Value::Str(odd)), odd);
        let _: SystemTime = time;
    }

    #[test]
    fn a_cut_value_says_how_much_is_missing() {
        assert_eq!(shown(Value::Cut { text: "be", missing: 7 }), "be… (7 bytes more)");
        assert_eq!(shown(Value::Unwritable), "(could not be written)");
    }
}
