//! Reads a form as PHP does, nested keys included.
//!
//! The rules are those of PHP's `parse_str`. If PHP would silently drop or overwrite a value, this returns an
//! error, so that a request that was cut is not accepted.

use super::Bounds;
use super::property::{Array, Node};
use crate::error::RequestError;

/// Reads `body` within the limits.
pub(super) fn parse(body: &[u8]) -> Result<Array, RequestError> {
    let limits = Bounds::default();
    let mut root = Array::default();
    for pair in body.split(|&b| b == b'&').filter(|pair| !pair.is_empty()) {
        limits.count()?;
        let (name, value) = match pair.iter().position(|&b| b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        let name = decode(name)?;
        if let Some(path) = Path::of(&name) {
            insert(&mut root, &path, decode(value)?)?;
        }
    }
    Ok(root)
}

/// The keys that lead to a value: `auth[access_token]` is `auth`, then `access_token`; an empty one
/// appends.
struct Path<'a> {
    first: String,
    rest: Vec<Option<&'a str>>,
}

impl<'a> Path<'a> {
    /// `None`: PHP ignores this name.
    fn of(name: &'a str) -> Option<Self> {
        let name = name.trim_start_matches(' ');
        // PHP's names end at a zero byte.
        let name = name.split('\0').next().unwrap_or_default();
        let open = name.find('[').unwrap_or(name.len());
        let first = name[..open].replace([' ', '.'], "_");
        if first.is_empty() {
            return None;
        }
        let mut path = Path { first, rest: Vec::new() };
        let mut tail = &name[open..];
        while let Some(inside) = tail.strip_prefix('[') {
            // A single space as a key is ignored.
            let blank = inside.strip_prefix([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
            if let Some(after) = blank.unwrap_or(inside).strip_prefix(']') {
                path.rest.push(None);
                tail = after;
            } else if let Some((key, after)) = inside.split_once(']') {
                path.rest.push(Some(key));
                tail = after;
            } else {
                if path.rest.is_empty() {
                    // A bracket that is not closed is part of the name.
                    let inside = inside.replace([' ', '.', '['], "_");
                    path.first = format!("{}_{inside}", path.first);
                }
                break;
            }
        }
        Some(path)
    }
}

fn insert(root: &mut Array, path: &Path<'_>, value: String) -> Result<(), RequestError> {
    if path.rest.len() > Bounds::DEPTH {
        return Err(RequestError::TooDeep);
    }
    let mut array = root;
    let mut key = path.first.clone();
    for next in &path.rest {
        if array.get_mut(&key).is_none() {
            array.push(key.clone(), Node::Array(Array::default()));
        }
        array = match array.get_mut(&key) {
            Some(Node::Array(inner)) => inner,
            _ => return Err(RequestError::Duplicate),
        };
        key = next.map_or_else(|| array.next_index(), str::to_owned);
    }
    array.push(key, Node::Text(value)).map(|_| ()).ok_or(RequestError::Duplicate)
}

/// Percent-decoding, with `+` for a space. A `%` without two digits is kept.
fn decode(text: &[u8]) -> Result<String, RequestError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [b'%', high, low, tail @ ..] if is_hex(*high) && is_hex(*low) => {
                bytes.push(hex(*high) << 4 | hex(*low));
                tail
            }
            [b'+', tail @ ..] => {
                bytes.push(b' ');
                tail
            }
            [b, tail @ ..] => {
                bytes.push(*b);
                tail
            }
            [] => break,
        };
    }
    String::from_utf8(bytes).map_err(|_| RequestError::NotUtf8)
}

fn is_hex(b: u8) -> bool {
    b.is_ascii_hexdigit()
}

fn hex(b: u8) -> u8 {
    match b {
        b'0'..=b'9' => b - b'0',
        _ => (b | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json;
    use super::super::property::Property;
    use super::*;
    use crate::php::{self, Source, hex};

    fn read(body: &str) -> Result<Property, RequestError> {
        parse(body.as_bytes()).map(|array| Node::Array(array).into())
    }

    /// Pieces of forms. Some of their combinations are not valid forms.
    fn bodies() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a", "b", "auth", "0", "1", "7", "07", "-1", "99", "[", "]", "[]", "[ ]", "[x]", "[0]",
            "[1]", "[a.b]", "[a b]", "%5B", "%5D", "=", "=", "=", "&", "&", "&", "+", "%20", " ",
            ".", "%2", "%zz", "%00", "%D0%B6", "ж", "_", "[[", "]]", "%26", "%3D", ";",
        ]);
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn a_form_is_read_as_php_reads_it() {
        let mut source = Source::new();
        let bodies: Vec<String> =
            (0..3_000).map(|_| source.draw(bodies())).filter(|body| read(body).is_ok()).collect();
        assert!(bodies.len() > 1_000, "{}", bodies.len());
        let asked = bodies.iter().map(|body| hex(body).into_bytes()).collect();
        let Some(answers) = php::ask("form.php", asked) else { return };
        for (body, answer) in bodies.iter().zip(answers) {
            // An empty array is a list to PHP.
            let answer = if answer == "[]" {
                Property::List(Vec::new())
            } else {
                let answer = format!("{{\"fields\":{answer}}}");
                let fields = json::parse(answer.as_bytes()).unwrap().take("fields").unwrap();
                fields.into()
            };
            assert_eq!(read(body).unwrap(), answer, "{body:?}");
        }
    }

    #[test]
    fn what_php_would_drop_or_overwrite_is_refused() {
        for (body, is_expected) in [
            ("a=1&a=2", (|error| matches!(error, RequestError::Duplicate)) as fn(_) -> bool),
            ("a[x]=1&a[x]=2", |error| matches!(error, RequestError::Duplicate)),
            ("a=1&a[x]=2", |error| matches!(error, RequestError::Duplicate)),
            ("a[x]=1&a=2", |error| matches!(error, RequestError::Duplicate)),
            ("a=%FF", |error| matches!(error, RequestError::NotUtf8)),
            ("%FF=a", |error| matches!(error, RequestError::NotUtf8)),
        ] {
            assert!(is_expected(read(body).unwrap_err()), "{body}");
        }
        let deep = |levels| format!("a{}=1", "[x]".repeat(levels));
        assert!(read(&deep(Bounds::DEPTH)).is_ok());
        assert!(matches!(read(&deep(Bounds::DEPTH + 1)), Err(RequestError::TooDeep)));
        assert!(matches!(read(&deep(100_000)), Err(RequestError::TooDeep)));
        assert!(read(&"a[]=1&".repeat(Bounds::FIELDS)).is_ok());
        assert!(matches!(read(&"a[]=1&".repeat(Bounds::FIELDS + 1)), Err(RequestError::TooMany)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&body);
        }
    }
}
