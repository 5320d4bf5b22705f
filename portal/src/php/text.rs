//! PHP's text functions.

use std::sync::Arc;

/// `trim()`: ASCII space, tab, newline, carriage return, NUL and vertical tab, at both ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let trimmed = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0 | 0x0b);
    let Some(start) = bytes.iter().position(|byte| !trimmed(byte)) else { return &[] };
    let end = bytes.iter().rposition(|byte| !trimmed(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// The text that bytes are, with a replacement character for what is none.
pub(crate) fn lossy(bytes: &[u8]) -> Arc<str> {
    // Nearly always the bytes are fine, and that is found out faster than it is mended.
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes).into(),
    }
}

/// `urlencode()`: a space is `+`, and what is neither a letter, a digit nor `-_.` is `%XX`.
pub(crate) fn urlencode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                encoded.push(byte as char);
            }
            b' ' => encoded.push('+'),
            _ => {
                encoded.push('%');
                for digit in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(digit.into(), 16).expect("four bits");
                    encoded.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urlencode_is_the_one_of_forms() {
        assert_eq!(urlencode("a b+c~[é]"), "a+b%2Bc%7E%5B%C3%A9%5D");
    }

    #[test]
    fn trim_takes_ascii_space_only() {
        assert_eq!(trim(b" \t\n\r\0\x0bx y\x0c \n"), b"x y\x0c");
        assert_eq!(trim("\u{a0}x".as_bytes()), "\u{a0}x".as_bytes());
        assert_eq!(trim(b" \n "), b"");
    }
}
