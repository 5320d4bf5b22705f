//! How PHP writes floats, which is not how Rust does.

/// Significant digits of a cast to string: PHP's stock `precision`.
const PRECISION: usize = 14;
/// From this many digits before the point on, JSON has an exponent.
const JSON_DIGITS: i32 = 17;

/// `(string) $float`: 14 significant digits, and an exponent as `1.0E+25`.
pub(crate) fn float_to_text(float: f64) -> String {
    if !float.is_finite() {
        return if float.is_nan() {
            "NAN"
        } else if float > 0.0 {
            "INF"
        } else {
            "-INF"
        }
        .to_owned();
    }
    let scientific = format!("{float:.*e}", PRECISION - 1);
    written(&scientific, PRECISION as i32, 'E')
}

/// `json_encode($float)` with PHP's stock `serialize_precision`: as many digits as it takes to
/// read the same float again, and an exponent as `1.0e+25`.
pub(crate) fn float_to_json(float: f64) -> String {
    let shortest = format!("{float:e}");
    let mantissa = shortest.bytes().take_while(|byte| *byte != b'e');
    let digits = mantissa.filter(u8::is_ascii_digit).count();
    // Of two that are equally near, PHP takes the even one, and Rust does so only if it is told
    // how many digits there are to be.
    let even = format!("{float:.*e}", digits - 1);
    let scientific = if even.parse() == Ok(float) { even } else { shortest };
    written(&scientific, JSON_DIGITS, 'e')
}

/// Rewrites Rust's `-1.25e-7`.
fn written(scientific: &str, most_digits: i32, exponent_mark: char) -> String {
    let (mantissa, exponent) = scientific.split_once('e').expect("LowerExp writes an exponent");
    let exponent: i32 = exponent.parse().expect("LowerExp writes a decimal exponent");
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return format!("{sign}0");
    }
    let before_point = exponent + 1;
    if before_point > most_digits || before_point < -3 {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { "0" } else { rest };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}.{rest}{exponent_mark}{exponent_sign}{}", exponent.abs());
    }
    let Ok(before_point @ 1..) = usize::try_from(before_point) else {
        let zeros = "0".repeat(before_point.unsigned_abs() as usize);
        return format!("{sign}0.{zeros}{digits}");
    };
    if digits.len() <= before_point {
        return format!("{sign}{digits}{}", "0".repeat(before_point - digits.len()));
    }
    let (whole, fraction) = digits.split_at(before_point);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_php_does() {
        for (float, text, json) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (10.0, "10", "10"),
            (0.1 + 0.2, "0.3", "0.30000000000000004"),
            (1_700_000_000.254_321, "1700000000.2543", "1700000000.254321"),
            (-0.0001, "-0.0001", "-0.0001"),
            (0.000_012, "1.2E-5", "1.2e-5"),
            (1e14, "1.0E+14", "100000000000000"),
            (1e25, "1.0E+25", "1.0e+25"),
        ] {
            assert_eq!(
                (float_to_text(float).as_str(), float_to_json(float).as_str()),
                (text, json)
            );
        }
    }
}
