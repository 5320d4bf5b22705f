//! `parse_str`: query strings and form bodies into arrays.

use std::borrow::Cow;

use super::{Array, Key, Value};

/// PHP's stock `max_input_vars`: fields past it are ignored.
const MAX_INPUT_VARS: usize = 1000;
/// PHP's stock `max_input_nesting_level`: a field nested deeper is ignored.
const MAX_NESTING: usize = 64;

/// The fields of a query string, as PHP's `parse_str` registers them.
pub(crate) fn parse_str(query: &[u8]) -> Array<'_> {
    // PHP reads the query as a C string.
    parse_form(&query[..memchr::memchr(0, query).unwrap_or(query.len())])
}

/// The fields of a form's body, as PHP registers them in `$_POST`.
pub(crate) fn parse_form(body: &[u8]) -> Array<'_> {
    let mut fields = Array::new();
    let mut rest = body;
    let mut count = 0;
    while !rest.is_empty() && count < MAX_INPUT_VARS {
        let end = memchr::memchr(b'&', rest).unwrap_or(rest.len());
        let pair = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        if pair.is_empty() {
            continue;
        }
        count += 1;
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], url_decode(&pair[at + 1..])),
            None => (pair, Cow::Borrowed(&b""[..])),
        };
        register(&mut fields, url_decode(name), value);
    }
    fields
}

/// `urldecode()`: `+` is a space, `%XX` a byte, anything else itself.
pub(crate) fn url_decode(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr2(b'%', b'+', text) else {
        return Cow::Borrowed(text);
    };
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                match (HEX[usize::from(*high)], HEX[usize::from(*low)]) {
                    (high @ 0..16, low @ 0..16) => {
                        decoded.push(high << 4 | low);
                        rest = after;
                    }
                    _ => decoded.push(b'%'),
                }
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(*byte),
        }
    }
    Cow::Owned(decoded)
}

/// The value of each hexadecimal digit; 255 for every other byte.
const HEX: [u8; 256] = {
    let mut values = [255; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// Registers one field under its name, which may say `name[key][]`.
pub(crate) fn register<'a>(fields: &mut Array<'a>, name: Cow<'a, [u8]>, value: Cow<'a, [u8]>) {
    // A plain name, which is what nearly every field has, is not copied.
    let plain = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    if plain && !name.is_empty() {
        fields.insert(Key::from_bytes(name), Value::Text(value));
        return;
    }
    let Some(path) = name_path(&name) else { return };
    let Some((last, parents)) = path.split_last() else { return };
    let mut array = fields;
    for step in parents {
        array = array.array_at(step.as_deref().map(owned_key));
    }
    match last {
        Some(key) => array.insert(owned_key(key), Value::Text(value)),
        None => array.push(Value::Text(value)),
    }
}

fn owned_key(key: &[u8]) -> Key<'static> {
    Key::from_bytes(Cow::Owned(key.to_vec()))
}

/// The steps of a field's name: `a[b][]` is `a`, `b`, next index. Nothing if PHP drops the field.
fn name_path(name: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let start = name.iter().position(|byte| *byte != b' ')?;
    // PHP reads the name as a C string.
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let name = name.get(start..end)?;

    let bracket = name.iter().position(|byte| *byte == b'[').unwrap_or(name.len());
    let mut base: Vec<u8> = name[..bracket].iter().map(|byte| underscored(*byte)).collect();
    if base.is_empty() {
        return None;
    }
    let mut keys = Vec::new();
    let mut rest = &name[bracket..];
    while rest.first() == Some(&b'[') {
        if keys.len() + 1 > MAX_NESTING {
            return None;
        }
        let inside = &rest[1..];
        let Some(close) = inside.iter().position(|byte| *byte == b']') else {
            // A bracket that is never closed is part of the name, if it is the first one.
            if keys.is_empty() {
                base.push(b'_');
                base.extend(inside.iter().map(|byte| underscored(*byte)));
            }
            break;
        };
        // One blank alone is as good as nothing: the next index.
        let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
        let next = close == 0 || (close == 1 && blank(&inside[0]));
        keys.push((!next).then(|| inside[..close].to_vec()));
        rest = &inside[close + 1..];
    }
    let mut path = vec![Some(base)];
    path.extend(keys);
    Some(path)
}

fn underscored(byte: u8) -> u8 {
    if matches!(byte, b' ' | b'.' | b'[') { b'_' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::php::json_encode;

    fn parsed(query: &str) -> String {
        String::from_utf8(json_encode(&Value::Array(parse_str(query.as_bytes())))).unwrap()
    }

    #[test]
    fn fields_are_registered_as_php_does() {
        for (query, json) in [
            ("a=1&b=x+y%20z", r#"{"a":"1","b":"x y z"}"#),
            ("a", r#"{"a":""}"#),
            ("&&a=1&", r#"{"a":"1"}"#),
            ("a=1=2", r#"{"a":"1=2"}"#),
            ("a=%zz%4", r#"{"a":"%zz%4"}"#),
            ("=x", "[]"),
            ("a=1&a=2", r#"{"a":"2"}"#),
            ("a[]=1&a[]=2", r#"{"a":["1","2"]}"#),
            ("a[x][y]=1", r#"{"a":{"x":{"y":"1"}}}"#),
            ("a[x]z=1", r#"{"a":{"x":"1"}}"#),
            ("a[x=1", r#"{"a_x":"1"}"#),
            ("a[ x]=1&a[ ]=2", r#"{"a":{" x":"1","0":"2"}}"#),
            ("a.b c=1", r#"{"a_b_c":"1"}"#),
            ("+a=1", r#"{"a":"1"}"#),
            ("[x]=1", "[]"),
            ("a=1&a[x]=2", r#"{"a":{"x":"2"}}"#),
            ("a[5]=1&a[]=2", r#"{"a":{"5":"1","6":"2"}}"#),
            ("0=x&1=y", r#"["x","y"]"#),
            ("a%5Bx%5D=1", r#"{"a":{"x":"1"}}"#),
            ("a%00b=1", r#"{"a":"1"}"#),
            ("a=1\0&b=2", r#"{"a":"1"}"#),
        ] {
            assert_eq!(parsed(query), json, "{query}");
        }
    }

    #[test]
    fn fields_past_the_thousandth_are_ignored() {
        let query: Vec<String> = (0..1100).map(|n| format!("f{n}=1")).collect();
        assert_eq!(parse_str(query.join("&").as_bytes()).iter().count(), 1000);
    }
}
