//! `json_encode` with PHP's default flags.

use std::io::Write as _;

use super::float::json_float;
use super::{Array, Value};

/// The JSON that PHP writes by default: slashes and everything beyond ASCII are escaped, an
/// empty array is `[]`, and an array with keys 0, 1, 2, .. is a list.
pub(crate) fn json_encode(value: &Value<'_>) -> Vec<u8> {
    let mut json = Vec::new();
    write_value(&mut json, value);
    json
}

fn write_value(json: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => json.extend_from_slice(b"null"),
        Value::Bool(truth) => json.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Value::Int(number) => json.extend_from_slice(number.to_string().as_bytes()),
        Value::Float(number) => json.extend_from_slice(json_float(*number).as_bytes()),
        Value::Text(bytes) => write_text(json, &String::from_utf8_lossy(bytes)),
        Value::Array(array) => write_array(json, array),
    }
}

fn write_array(json: &mut Vec<u8>, array: &Array<'_>) {
    let list = array.is_list();
    json.push(if list { b'[' } else { b'{' });
    for (index, (key, value)) in array.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        if !list {
            write_text(json, &String::from_utf8_lossy(&key.to_bytes()));
            json.push(b':');
        }
        write_value(json, value);
    }
    json.push(if list { b']' } else { b'}' });
}

fn write_text(json: &mut Vec<u8>, text: &str) {
    json.push(b'"');
    for character in text.chars() {
        match character {
            '"' => json.extend_from_slice(b"\\\""),
            '\\' => json.extend_from_slice(b"\\\\"),
            '/' => json.extend_from_slice(b"\\/"),
            '\u{8}' => json.extend_from_slice(b"\\b"),
            '\u{c}' => json.extend_from_slice(b"\\f"),
            '\n' => json.extend_from_slice(b"\\n"),
            '\r' => json.extend_from_slice(b"\\r"),
            '\t' => json.extend_from_slice(b"\\t"),
            ' '..='\u{7f}' => json.push(character as u8),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(json, "\\u{unit:04x}").expect("writing to memory cannot fail");
                }
            }
        }
    }
    json.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::php::Key;

    #[test]
    fn text_is_escaped_as_php_does() {
        let json = json_encode(&Value::text("a/b\"\\\n\u{1}\u{7f} Ж😀"));
        let expected = r#""a\/b\"\\\n\u0001"#.to_owned() + "\u{7f}" + r#" \u0416\ud83d\ude00""#;
        assert_eq!(String::from_utf8(json).unwrap(), expected);
    }

    #[test]
    fn integer_keys_without_holes_are_a_list_and_with_holes_an_object() {
        let mut array = Array::new();
        assert_eq!(json_encode(&Value::Array(array.clone())), b"[]");
        array.insert(Key::Int(0), Value::Bool(true));
        assert_eq!(json_encode(&Value::Array(array.clone())), b"[true]");
        array.insert(Key::Int(2), Value::Float(10.0));
        assert_eq!(json_encode(&Value::Array(array)), br#"{"0":true,"2":10}"#);
    }
}
