//! `$result[..]` and its kind: what a batch puts into the text of a command before it runs.

use std::borrow::Cow;

use crate::php::{Array, Value};
use crate::settings::Substitution;

/// PHP's uncaught TypeError, which ends the hit: an array was to replace a part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TypeError;

/// The parameters of a command, with the references to earlier results resolved.
///
/// `sections` holds what the batch has so far, under `result`, `next`, `total`, `time`, `error`
/// (and `error_description`, once a command has failed).
pub(crate) fn substitute<'a>(
    params: Array<'a>,
    sections: &Array<'static>,
    variant: Substitution,
) -> Result<Array<'a>, TypeError> {
    let mut resolved = Array::new();
    for (key, value) in params.into_iter() {
        let value = match value {
            Value::Array(inner) => Value::Array(substitute(inner, sections, variant)?),
            Value::Text(text) => resolve(text, sections, variant)?,
            other => other,
        };
        resolved.insert(key, value);
    }
    Ok(resolved)
}

fn resolve<'a>(
    text: Cow<'a, [u8]>,
    sections: &Array<'static>,
    variant: Substitution,
) -> Result<Value<'a>, TypeError> {
    if memchr::memchr(b'$', &text).is_none() {
        return Ok(Value::Text(text));
    }
    let mut resolved = text.to_vec();
    for reference in references(&text, sections) {
        let keys = bracketed(reference.run);
        if keys.is_empty() {
            continue;
        }
        let found = walk(sections.get(reference.section), &keys);
        if reference.whole == resolved {
            return Ok(found);
        }
        let replacement = match (&found, variant) {
            (Value::Text(_) | Value::Int(_) | Value::Float(_), _) => found.to_bytes(),
            (_, Substitution::Newer) => continue,
            (_, Substitution::Older) => found.to_bytes(),
        };
        let replacement = replacement.ok_or(TypeError)?;
        resolved = replace_all(&resolved, reference.whole, &replacement);
    }
    Ok(Value::Text(Cow::Owned(resolved)))
}

struct Reference<'a> {
    /// `$result[c0][x]`, up to the next space.
    whole: &'a [u8],
    /// `result`, as it is written.
    section: &'a [u8],
    /// `[c0][x]`
    run: &'a [u8],
}

/// What the portal's expression finds: a dollar, the name of a section in any case, and all that
/// follows without a space.
fn references<'a>(text: &'a [u8], sections: &Array<'static>) -> Vec<Reference<'a>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(dollar) = memchr::memchr(b'$', &text[at..]).map(|offset| at + offset) {
        let after = &text[dollar + 1..];
        let name = sections.iter().find_map(|(key, _)| {
            let name = key.to_bytes();
            let start = after.get(..name.len())?;
            start.eq_ignore_ascii_case(&name).then_some(start)
        });
        let Some(section) = name else {
            at = dollar + 1;
            continue;
        };
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
        let end = after.iter().position(space).unwrap_or(after.len());
        found.push(Reference {
            whole: &text[dollar..dollar + 1 + end],
            section,
            run: &after[section.len()..end],
        });
        at = dollar + 1 + end;
    }
    found
}

/// The contents of the non-empty brackets.
fn bracketed(run: &[u8]) -> Vec<&[u8]> {
    let mut keys = Vec::new();
    let mut at = 0;
    while let Some(open) = memchr::memchr(b'[', &run[at..]).map(|offset| at + offset) {
        match memchr::memchr(b']', &run[open + 1..]) {
            Some(0) => at = open + 1,
            Some(length) => {
                keys.push(&run[open + 1..open + 1 + length]);
                at = open + length + 2;
            }
            None => break,
        }
    }
    keys
}

/// Follows the keys as far as they lead; `isset` stops at null and at what is not there.
fn walk(section: Option<&Value<'static>>, keys: &[&[u8]]) -> Value<'static> {
    let mut found = section.cloned().unwrap_or(Value::Null);
    for key in keys {
        let next = match &found {
            Value::Array(array) => array.get(key).filter(|value| **value != Value::Null).cloned(),
            // A string has its bytes under the numbers 0, 1, 2, ..
            Value::Text(text) => byte_at(text, key),
            _ => None,
        };
        match next {
            Some(next) => found = next,
            None => break,
        }
    }
    found
}

fn byte_at(text: &[u8], key: &[u8]) -> Option<Value<'static>> {
    // Any way of writing an integer will do here: `01`, `+1`.
    let index: i64 = std::str::from_utf8(key).ok()?.parse().ok()?;
    let index = if index < 0 { index + text.len() as i64 } else { index };
    let byte = text.get(usize::try_from(index).ok()?)?;
    Some(Value::Text(Cow::Owned(vec![*byte])))
}

fn replace_all(text: &[u8], search: &[u8], replacement: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, search) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(replacement);
        rest = &rest[at + search.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::php::{Key, json_encode};
    use crate::rest::answer::error_pair;

    /// After `c0` was done at 1700000000.25 and `c1` has failed.
    fn sections(failed: bool) -> Array<'static> {
        let time: Array<'static> = [("start", Value::Float(1_700_000_000.25))].into();
        let mut sections: Array<'static> = [
            ("result", Value::Array([("c0", Value::Bool(true))].into())),
            ("next", Value::Array(Array::new())),
            ("total", Value::Array(Array::new())),
            ("time", Value::Array([("c0", Value::Array(time))].into())),
            ("error", Value::Array(Array::new())),
        ]
        .into();
        if failed {
            let error = error_pair("404", "gone");
            for (name, value) in
                [("error", Value::Array(error)), ("error_description", Value::text("gone"))]
            {
                let key = Key::from_bytes(Cow::Borrowed(name.as_bytes()));
                let c1 = Key::from_bytes(Cow::Borrowed(&b"c1"[..]));
                sections.array_at(Some(key)).insert(c1, value);
            }
        }
        sections
    }

    fn resolved(text: &str, failed: bool, variant: Substitution) -> String {
        let text = Cow::Borrowed(text.as_bytes());
        match resolve(text, &sections(failed), variant) {
            Ok(value) => String::from_utf8(json_encode(&value)).unwrap(),
            Err(TypeError) => "TypeError".to_owned(),
        }
    }

    #[test]
    fn references_are_resolved_in_both_variants() {
        for (text, newer, older) in [
            ("no reference", "\"no reference\"", "\"no reference\""),
            ("$5 paid", "\"$5 paid\"", "\"$5 paid\""),
            ("$result", "\"$result\"", "\"$result\""),
            ("$result[]", "\"$result[]\"", "\"$result[]\""),
            ("$result [c0]", "\"$result [c0]\"", "\"$result [c0]\""),
            ("$result[c0]", "true", "true"),
            ("$result[nope]", r#"{"c0":true}"#, r#"{"c0":true}"#),
            ("$RESULT[c0]", "null", "null"),
            ("$next[c0]", "[]", "[]"),
            ("x $result[c0] y", "\"x $result[c0] y\"", "\"x 1 y\""),
            ("x $RESULT[c0] y", "\"x $RESULT[c0] y\"", "\"x  y\""),
            ("x $time[c0][start] y", "\"x 1700000000.25 y\"", "\"x 1700000000.25 y\""),
            ("x $timeout[c0][start]", "\"x 1700000000.25\"", "\"x 1700000000.25\""),
            ("x $time[c0] y", "\"x $time[c0] y\"", "TypeError"),
            ("x $errors[0] y", "\"x $errors[0] y\"", "TypeError"),
            ("a $time[c0][start]\n$time[c0][start]", "\"a 1700000000.25\\n1700000000.25\"", ""),
        ] {
            let older = if older.is_empty() { newer } else { older };
            assert_eq!(resolved(text, false, Substitution::Newer), newer, "{text}");
            assert_eq!(resolved(text, false, Substitution::Older), older, "{text}");
        }
    }

    #[test]
    fn errors_can_be_referred_to_once_a_command_has_failed() {
        for (text, expected) in [
            ("x $error[c1][error] y", "\"x 404 y\""),
            ("$error[c1][error]", "\"404\""),
            ("x $error_description[c1][error] y", "\"x 404 y\""),
            ("x $error[c1][error][0] y", "\"x 4 y\""),
        ] {
            assert_eq!(resolved(text, true, Substitution::Newer), expected, "{text}");
        }
    }
}
