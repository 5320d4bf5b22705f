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
        let Some(end) = find(part, &next) else { break };
        if let Some((name, value)) = read_part(&part[..end]) {
            register(&mut fields, name, Cow::Borrowed(value));
        }
        rest = &part[end + next.len()..];
    }
    fields
}

fn boundary(content_type: &str) -> Option<&str> {
    let at = content_type.to_ascii_lowercase().find("boundary=")?;
    let boundary = content_type[at + "boundary=".len()..].split([';', ',']).next()?.trim();
    let boundary = boundary.trim_matches('"');
    (!boundary.is_empty()).then_some(boundary)
}

fn read_part(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let (headers, value) = match part.strip_prefix(b"\r\n") {
        Some(value) => (&b""[..], value),
        None => {
            let at = find(part, b"\r\n\r\n")?;
            (&part[..at], &part[at + 4..])
        }
    };
    let disposition = headers.split(|byte| *byte == b'\n').find(|header| {
        header.get(..20).is_some_and(|name| name.eq_ignore_ascii_case(b"content-disposition:"))
    })?;
    let has = |name: &[u8]| find(disposition, name).map(|at| &disposition[at + name.len()..]);
    if has(b"filename=").is_some() {
        return None;
    }
    let name = has(b" name=").or_else(|| has(b";name="))?;
    let name = match name.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|byte| *byte == b'"').next()?,
        None => name.split(|byte| matches!(byte, b';' | b'\r')).next()?,
    };
    Some((name, value))
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
    fn a_body_that_ends_too_early_loses_its_last_field() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1";
        assert!(fields("multipart/form-data; boundary=x", body).is_empty());
        assert!(fields("multipart/form-data", body).is_empty());
    }
}
