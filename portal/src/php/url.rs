//! `parse_url`: only what a batch command needs of it.

use std::borrow::Cow;

/// What a batch reads of a command: the method and its query.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Url<'a> {
    pub(crate) path: Option<Cow<'a, [u8]>>,
    pub(crate) query: Option<Cow<'a, [u8]>>,
}

/// PHP's `parse_url`; nothing where PHP returns false.
///
/// Text after a raw `#` is lost, and control bytes become underscores.
pub(crate) fn parse_url(url: &[u8]) -> Option<Url<'_>> {
    let colon = memchr::memchr(b':', url);
    match colon {
        Some(at) if at > 0 => {
            let scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+.-".contains(byte);
            if url[..at].iter().all(scheme) {
                return with_scheme(url, at);
            }
            let tail = memchr::memchr2(b'?', b'#', url).unwrap_or(url.len());
            if at + 1 < url.len() && at < tail {
                return maybe_port(url, at);
            }
            if url.starts_with(b"//") { after_host(&url[2..]) } else { Some(just_path(url)) }
        }
        Some(at) => maybe_port(url, at),
        None if url.starts_with(b"//") => after_host(&url[2..]),
        None => Some(just_path(url)),
    }
}

/// `scheme:...`, which may still turn out to be `host:port`.
fn with_scheme(url: &[u8], colon: usize) -> Option<Url<'_>> {
    let rest = &url[colon + 1..];
    if rest.is_empty() {
        return Some(Url::default());
    }
    if rest[0] != b'/' {
        let digits = rest.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        if digits < 6 && matches!(rest.get(digits), None | Some(b'/')) {
            return maybe_port(url, colon);
        }
        return Some(just_path(rest));
    }
    if rest.get(1) != Some(&b'/') {
        return Some(just_path(rest));
    }
    if url[..colon].eq_ignore_ascii_case(b"file") && rest.get(2) == Some(&b'/') {
        let drive = rest.get(4) == Some(&b':');
        return Some(just_path(&rest[if drive { 3 } else { 2 }..]));
    }
    after_host(&rest[2..])
}

/// A colon before any `?` or `#`: `host:port/path`, or a path with a colon.
fn maybe_port(url: &[u8], colon: usize) -> Option<Url<'_>> {
    let rest = &url[colon + 1..];
    let digits = rest.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    let relative = url.strip_prefix(b"//");
    if (1..6).contains(&digits) && matches!(rest.get(digits), None | Some(b'/')) {
        let port: u32 = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        if port > 65_535 {
            return None;
        }
        return after_host(relative.unwrap_or(url));
    }
    if rest.is_empty() {
        return None;
    }
    match relative {
        Some(rest) => after_host(rest),
        None => Some(just_path(url)),
    }
}

/// `user@host:port/path?query`
fn after_host(rest: &[u8]) -> Option<Url<'_>> {
    let end = memchr::memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
    let authority = &rest[..end];
    let host = match authority.iter().rposition(|byte| *byte == b'@') {
        Some(at) => &authority[at + 1..],
        None => authority,
    };
    let bracketed = host.first() == Some(&b'[') && host.last() == Some(&b']');
    let name = match host.iter().rposition(|byte| *byte == b':').filter(|_| !bracketed) {
        Some(at) => {
            let port = &host[at + 1..];
            let number = leading_integer(port).filter(|number| (0..=65_535).contains(number));
            if !port.is_empty() && (port.len() > 5 || number.is_none()) {
                return None;
            }
            &host[..at]
        }
        None => host,
    };
    if name.is_empty() {
        return None;
    }
    if end == rest.len() { Some(Url::default()) } else { Some(just_path(&rest[end..])) }
}

/// C's `strtol`: blanks, a sign, and digits as far as they go; nothing if there are none.
fn leading_integer(text: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut digits = digits.iter().take_while(|byte| byte.is_ascii_digit()).peekable();
    digits.peek()?;
    let value = digits.fold(0_i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    });
    Some(if negative { -value } else { value })
}

fn just_path(rest: &[u8]) -> Url<'_> {
    let whole_is_empty = rest.is_empty();
    let rest = match memchr::memchr(b'#', rest) {
        Some(at) => &rest[..at],
        None => rest,
    };
    let (path, query) = match memchr::memchr(b'?', rest) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let path = (!path.is_empty() || whole_is_empty).then(|| without_controls(path));
    Url { path, query: query.map(without_controls) }
}

fn without_controls(text: &[u8]) -> Cow<'_, [u8]> {
    // Without an early end the search is a few vector instructions.
    if !text.iter().fold(false, |found, byte| found | byte.is_ascii_control()) {
        return Cow::Borrowed(text);
    }
    let cleaned = text.iter().map(|byte| if byte.is_ascii_control() { b'_' } else { *byte });
    Cow::Owned(cleaned.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_php_does() {
        for (url, path, query) in [
            ("bizproc.activity.log?A=1&B=2", Some("bizproc.activity.log"), Some("A=1&B=2")),
            ("m?a=b?c", Some("m"), Some("a=b?c")),
            ("m?a=1#rest&b=2", Some("m"), Some("a=1")),
            ("m?a=12:30 o'clock", Some("m"), Some("a=12:30 o'clock")),
            ("m?a=x\ny", Some("m"), Some("a=x_y")),
            ("m", Some("m"), None),
            ("m?", Some("m"), Some("")),
            ("", Some(""), None),
            ("?a=1", None, Some("a=1")),
            ("/m?a=1", Some("/m"), Some("a=1")),
            ("https://host/m?a=1", Some("/m"), Some("a=1")),
        ] {
            let text = |part: Option<Cow<'_, [u8]>>| {
                part.map(|bytes| String::from_utf8(bytes.into_owned()).unwrap())
            };
            let found = parse_url(url.as_bytes()).unwrap();
            assert_eq!(
                (text(found.path), text(found.query)),
                (path.map(str::to_owned), query.map(str::to_owned)),
                "{url}"
            );
        }
        for (url, taken) in [
            ("//h:80x/m", true),
            ("//h:-1/m", false),
            ("//h:x/m", false),
            ("//h:/m", true),
            ("//h:99999/m", false),
        ] {
            assert_eq!(parse_url(url.as_bytes()).is_some(), taken, "{url}");
        }
        assert_eq!(parse_url(b"http:///x"), None);
        assert_eq!(parse_url(b"x:99999"), None);
    }
}
