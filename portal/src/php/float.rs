//! How PHP writes a float, which is not how Rust does.

/// Significant digits of a cast to string: PHP's stock `precision`.
const PRECISION: usize = 14;

/// A float in JSON: the shortest text that reads back as the same float (PHP's stock
/// `serialize_precision`).
pub(crate) fn json_float(number: f64) -> String {
    let shortest = format!("{number:e}");
    let mantissa = shortest.bytes().take_while(|byte| *byte != b'e');
    let digits = mantissa.filter(u8::is_ascii_digit).count();
    // Of two that are equally near, PHP takes the even one, and Rust does so only if it is told
    // how many digits there are to be.
    let even = format!("{number:.*e}", digits.saturating_sub(1));
    let scientific = if even.parse() == Ok(number) { &even } else { &shortest };
    written(scientific, 17, 'e')
}

/// A float cast to string: rounded to 14 digits.
pub(crate) fn string_float(number: f64) -> String {
    written(&format!("{number:.*e}", PRECISION - 1), 14, 'E')
}

/// Lays out a number that Rust has written as `d.ddde±x`: plain where its point lies within or
/// little before its digits, with an exponent elsewhere.
fn written(scientific: &str, precision: i32, mark: char) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let digits = mantissa.replace('.', "");
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    // Rust writes an exponent for every finite number, and JSON has no others.
    let point = exponent.parse::<i32>().unwrap_or_default() + 1;
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let plain = if point < 0 { point >= -3 } else { point <= precision };
    if !plain {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { "0" } else { rest };
        let direction = if point > 0 { '+' } else { '-' };
        return format!("{sign}{first}.{rest}{mark}{direction}{}", (point - 1).abs());
    }
    if point <= 0 {
        return format!("{sign}0.{}{digits}", zeros(-point));
    }
    if length <= point {
        return format!("{sign}{digits}{}", zeros(point - length));
    }
    let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or_default());
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_php_does() {
        for (number, json, string) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (10.0, "10", "10"),
            (0.5, "0.5", "0.5"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1.0e-5", "1.0E-5"),
            (0.000_079, "7.9e-5", "7.9E-5"),
            (-1.25e-10, "-1.25e-10", "-1.25E-10"),
            (1e14, "100000000000000", "1.0E+14"),
            (1e16, "10000000000000000", "1.0E+16"),
            (1e17, "1.0e+17", "1.0E+17"),
            (0.1 + 0.2, "0.30000000000000004", "0.3"),
            (2_619_276_918_156_889.0 / 4.0, "654819229539222.2", "6.5481922953922E+14"),
            (1_700_000_000.25, "1700000000.25", "1700000000.25"),
            (1_700_000_000.256_789, "1700000000.256789", "1700000000.2568"),
        ] {
            assert_eq!(
                (json_float(number).as_str(), string_float(number).as_str()),
                (json, string)
            );
        }
    }
}
