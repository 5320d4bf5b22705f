//! What the portal makes of an entry's text when it shows it.
//!
//! HTML is escaped, so nothing in a text becomes markup. Two notations change (server behaviour):
//! `[timestamp=N]..[/timestamp]` becomes a date of the viewer's, and `{=user:user_5}` a name.

use serde_json::{Value, json};

/// The pieces of a text that is not shown as it is: `text`, `time` (with `unix`) or `name`.
/// Nothing for a text without any of the notations.
pub(crate) fn segments(text: &str) -> Option<Value> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let found = match next {
            '[' => timestamp(rest),
            '{' => inline_value(rest),
            _ => None,
        };
        match found {
            Some((piece, length)) => {
                flush(&mut pieces, &mut plain);
                pieces.push(piece);
                rest = &rest[length..];
            }
            None => {
                plain.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    if pieces.is_empty() {
        return None;
    }
    flush(&mut pieces, &mut plain);
    Some(Value::Array(pieces))
}

fn flush(pieces: &mut Vec<Value>, plain: &mut String) {
    if !plain.is_empty() {
        pieces.push(json!({"kind": "text", "text": std::mem::take(plain)}));
    }
}

/// `[timestamp=N]..[/timestamp]`, in any case; it reaches to the last end tag of its line.
fn timestamp(text: &str) -> Option<(Value, usize)> {
    const OPEN: &str = "[timestamp=";
    const CLOSE: &str = "[/timestamp]";
    if !text.get(..OPEN.len())?.eq_ignore_ascii_case(OPEN) {
        return None;
    }
    let line = text.split('\n').next().unwrap_or(text);
    let digits = line[OPEN.len()..].bytes().take_while(u8::is_ascii_digit).count();
    let opened = OPEN.len() + digits;
    let unix: i64 = line[OPEN.len()..opened].parse().ok()?;
    let inside = line[opened..].strip_prefix(']')?;
    let end = inside.to_ascii_lowercase().rfind(CLOSE)?;
    let piece = json!({"kind": "time", "unix": unix, "text": inside[..end]});
    Some((piece, opened + 1 + end + CLOSE.len()))
}

/// `{=object:field>modifier,modifier}`; only the objects `user` and `group` change.
fn inline_value(text: &str) -> Option<(Value, usize)> {
    let end = text.find('}')?;
    let inside = text[..end].strip_prefix("{=")?.trim_start();
    let (object, rest) = inside.split_once(':')?;
    let (field, modifiers) = match rest.split_once('>') {
        Some((field, modifiers)) => (field.trim(), modifiers),
        None => (rest.trim(), ""),
    };
    let word = |text: &str, more: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || more.as_bytes().contains(&b))
    };
    let known_modifiers =
        modifiers.is_empty() || modifiers.split(',').all(|one| word(one.trim(), ""));
    if !matches!(object.trim_end(), "user" | "group") || !word(field, ".") || !known_modifiers {
        return None;
    }
    let name = match field.strip_prefix("user_").and_then(|id| id.parse::<u64>().ok()) {
        Some(id) => format!("User {id}"),
        None => field.to_owned(),
    };
    Some((json!({"kind": "name", "text": name}), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AS_IT_IS: &str = "as it is";

    fn shown(text: &str) -> String {
        let Some(pieces) = segments(text) else { return AS_IT_IS.to_owned() };
        let pieces = pieces.as_array().unwrap().iter().map(|piece| match &piece["unix"] {
            Value::Null => format!("{}({})", piece["kind"], piece["text"]),
            unix => format!("{}({unix}, {})", piece["kind"], piece["text"]),
        });
        pieces.collect::<Vec<_>>().join(" ").replace('"', "")
    }

    #[test]
    fn timestamps_and_names_are_converted_and_nothing_else_is() {
        for (text, expected) in [
            ("plain <b>", AS_IT_IS),
            ("a [timestamp=5]x[/timestamp] b", "text(a ) time(5, x) text( b)"),
            ("[TimeStamp=5]x[/TIMESTAMP]", "time(5, x)"),
            // Greedy: one line holds one.
            (
                "[timestamp=5]x[/timestamp] y [timestamp=6]z[/timestamp]",
                "time(5, x[/timestamp] y [timestamp=6]z)",
            ),
            ("[timestamp=5]x\n[/timestamp]", AS_IT_IS),
            ("[timestamp=x]y[/timestamp]", AS_IT_IS),
            ("{=user:user_5}", "name(User 5)"),
            ("by {= user : user_5 > printable, x }!", "text(by ) name(User 5) text(!)"),
            ("{=user:boss.name}", "name(boss.name)"),
            ("{=document:ID}", AS_IT_IS),
            ("{\u{2060}=user:user_5}", AS_IT_IS),
            ("[\u{2060}timestamp=5]x[/timestamp]", AS_IT_IS),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
