//! `multipart/form-data`: fields only; files have no place in the calls of this portal.

use std::borrow::Cow;

use crate::php::{Array, register};

/// The fields of a multipart body. What PHP cannot read is left out.
pub(crate) fn fields<'a>(content_type: &str, body: &'a [u8]) -> Array<'a> {
    let mut fields = Array::new();
    let Some(boundary) = boundary(content_type) else { return fields };
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let mut rest = match find(body, &delimiter) {
        Some(at) => &body[at + delimiter.len()..],
        None => return fields,
    };
    let next = [b"\r\n", delimiter.as_slice()].concat();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let end = find(part, &next).unwrap_or_else(|| unfinished(part, &next));
        match read_part(&part[..end]) {
            Part::Field { name, value } => {
                register(&mut fields, Cow::Borrowed(name), Cow::Borrowed(value));
            }
            Part::File => {}
            // PHP reads no further ("Mime headers garbled").
            Part::Garbled => break,
        }
        rest = part.get(end + next.len()..).unwrap_or_default();
    }
    fields
}

/// Where the last part of a body ends that was cut off: before what may have become a delimiter.
fn unfinished(part: &[u8], delimiter: &[u8]) -> usize {
    let may_begin = |at: &usize| delimiter.starts_with(&part[*at..]);
    let from = part.len().saturating_sub(delimiter.len());
    (from..part.len()).find(may_begin).unwrap_or(part.len())
}

fn boundary(content_type: &str) -> Option<&str> {
    let at = content_type.to_ascii_lowercase().find("boundary=")?;
    let boundary = content_type[at + "boundary=".len()..].split([';', ',']).next()?.trim();
    let boundary = boundary.trim_matches('"');
    (!boundary.is_empty()).then_some(boundary)
}

enum Part<'a> {
    Field { name: &'a [u8], value: &'a [u8] },
    File,
    Garbled,
}

fn read_part(part: &[u8]) -> Part<'_> {
    let Some((headers, value)) = headers_and_value(part) else { return Part::Garbled };
    let disposition = headers.split(|byte| *byte == b'\n').find(|header| {
        header.get(..20).is_some_and(|name| name.eq_ignore_ascii_case(b"content-disposition:"))
    });
    let disposition = disposition.unwrap_or_default();
    let has = |name: &[u8]| find(disposition, name).map(|at| &disposition[at + name.len()..]);
    if has(b"filename=").is_some() {
        return Part::File;
    }
    let Some(name) = has(b" name=").or_else(|| has(b";name=")) else { return Part::Garbled };
    let (name, end): (_, fn(&u8) -> bool) = match name.strip_prefix(b"\"") {
        Some(quoted) => (quoted, |byte| *byte == b'"'),
        None => (name, |byte| matches!(byte, b';' | b'\r')),
    };
    let name = &name[..name.iter().position(end).unwrap_or(name.len())];
    Part::Field { name, value }
}

fn headers_and_value(part: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(value) = part.strip_prefix(b"\r\n") {
        return Some((b"", value));
    }
    let at = find(part, b"\r\n\r\n")?;
    Some((&part[..at], &part[at + 4..]))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::php::{Value, json_encode};

    #[test]
    fn fields_are_read_and_files_are_left_out() {
        let body =
            b"preamble\r\n--xyz\r\nContent-Disposition: form-data; name=\"EVENT_TOKEN\"\r\n\r\n\
            a|b|c.d\r\n--xyz\r\nContent-Disposition: form-data; name=\"cmd[c0]\"\r\n\
            Content-Type: text/plain\r\n\r\nline 1\r\nline 2\r\n--xyz\r\nContent-Disposition: \
            form-data; name=\"f\"; filename=\"x\"\r\n\r\nfile\r\n--xyz--\r\n";
        let fields = fields("multipart/form-data; boundary=xyz", body);
        assert_eq!(
            String::from_utf8(json_encode(&Value::Array(fields))).unwrap(),
            r#"{"EVENT_TOKEN":"a|b|c.d","cmd":{"c0":"line 1\r\nline 2"}}"#
        );
    }

    #[test]
    fn a_body_that_ends_too_early_keeps_what_came() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1";
        for end in ["", "\r", "\r\n--", "\r\n--x"] {
            let body = [&body[..], end.as_bytes()].concat();
            let fields = fields("multipart/form-data; boundary=x", &body);
            assert_eq!(json_encode(&Value::Array(fields)), br#"{"a":"1"}"#);
        }
        assert!(fields("multipart/form-data", body).is_empty());
    }
}
