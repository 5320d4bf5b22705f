//! PHP's text functions.

/// `trim()`: ASCII space, tab, newline, carriage return, NUL and vertical tab, at both ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let trimmed = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0 | 0x0b);
    let Some(start) = bytes.iter().position(|byte| !trimmed(byte)) else { return &[] };
    let end = bytes.iter().rposition(|byte| !trimmed(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trim_takes_ascii_space_only() {
        assert_eq!(trim(b" \t\n\r\0\x0bx y\x0c \n"), b"x y\x0c");
        assert_eq!(trim("\u{a0}x".as_bytes()), "\u{a0}x".as_bytes());
        assert_eq!(trim(b" \n "), b"");
    }
}
