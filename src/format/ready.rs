//! The built-in formats.

use std::fmt::{self, Write};

use super::time::write_rfc3339;
use super::{Field, Format, Line, Sink, Value};
use crate::protocol::text;

/// The message, then the fields, then the fields of the spans around it, innermost first. The default.
///
/// ```text
/// WARNING: The bank asks for a second factor (code=7; authorise: attempt=1; payment: provider=Kassa)
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Story;

impl Format for Story {
    fn format(&self, line: &Line<'_>, mut out: &mut dyn Write) -> fmt::Result {
        Story::write(&mut out, line)
    }
}

/// Only the message. An event without a message shows its fields.
///
/// ```text
/// WARNING: The bank asks for a second factor
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageOnly;

impl Format for MessageOnly {
    fn format(&self, line: &Line<'_>, mut out: &mut dyn Write) -> fmt::Result {
        match line.message() {
            Some(message) => {
                write_level(&mut out, line)?;
                message.write(&mut out)
            }
            None => Story::write(&mut out, line),
        }
    }
}

/// Everything: level, target, message, fields, and the place in the code. For the developers of the app.
///
/// ```text
/// WARN shop::payment: The bank asks for a second factor (code=7; payment: provider=Kassa) src/payment.rs:42
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Full;

impl Format for Full {
    fn format(&self, line: &Line<'_>, mut out: &mut dyn Write) -> fmt::Result {
        write!(out, "{} {}: ", line.level(), line.target())?;
        write_text(&mut out, line)?;
        match (line.file(), line.line_number()) {
            (Some(file), Some(number)) => write!(out, " {file}:{number}"),
            (Some(file), None) => write!(out, " {file}"),
            _ => Ok(()),
        }
    }
}

/// A JSON object: for a program that reads the log.
///
/// The members are `time` (RFC 3339, UTC), `level`, `target`, `message` if there is one, `fields`, and
/// `spans` with `name` and `fields`, innermost first. Numbers are numbers, with all their digits. Text
/// is not changed: characters that a log must not contain are written as JSON escapes.
///
/// The mark of the line is before the object. The object has the time, so use
/// [`LineTime::None`](super::LineTime::None) with it. An object that is longer than
/// [`line_bytes`](crate::Builder::line_bytes) is cut like every line, and then it is not valid JSON.
///
/// ```text
/// {"time":"2026-11-27T12:00:05.042Z","level":"WARN","target":"shop::payment","message":"..","fields":{"code":7},"spans":[{"name":"payment","fields":{"provider":"Kassa"}}]}
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

impl Format for Json {
    fn format(&self, line: &Line<'_>, out: &mut dyn Write) -> fmt::Result {
        out.write_str("{\"time\":\"")?;
        write_rfc3339(out, line.time())?;
        write!(out, "\",\"level\":\"{}\",\"target\":", line.level())?;
        write_string(out, line.target())?;
        if let Some(message) = line.message() {
            out.write_str(",\"message\":")?;
            write_string(out, &message.to_string())?;
        }
        out.write_str(",\"fields\":")?;
        write_object(out, line.fields())?;
        out.write_str(",\"spans\":[")?;
        for (n, span) in line.spans().enumerate() {
            out.write_str(if n == 0 { "{\"name\":" } else { ",{\"name\":" })?;
            write_string(out, span.name())?;
            out.write_str(",\"fields\":")?;
            write_object(out, span.fields())?;
            out.write_char('}')?;
        }
        out.write_str("]}")
    }
}

impl Story {
    /// "WARNING: charging card (order_id=42, amount=99.5; shipping: carrier=DHL)"
    #[inline]
    pub(crate) fn write(out: &mut impl Sink, line: &Line<'_>) -> fmt::Result {
        write_level(out, line)?;
        write_text(out, line)
    }
}

fn write_level(out: &mut impl Sink, line: &Line<'_>) -> fmt::Result {
    match line.level_word() {
        "" => Ok(()),
        word => write!(out, "{word}: "),
    }
}

fn write_text(out: &mut impl Sink, line: &Line<'_>) -> fmt::Result {
    let message = line.message();
    if let Some(message) = message {
        message.write(out)?;
    }
    let mut list = FieldList { out, open: if message.is_some() { " (" } else { "(" }, any: false };
    for field in line.fields() {
        list.field(", ", &field)?;
    }
    for span in line.spans() {
        for (n, field) in span.fields().enumerate() {
            if n == 0 {
                list.separate("; ")?;
                list.out.write_str(span.name())?;
                list.out.write_str(": ")?;
                list.pair(&field)?;
            } else {
                list.field(", ", &field)?;
            }
        }
    }
    list.close()
}

/// Fields in parentheses. Without a field there are no parentheses.
struct FieldList<'a, W> {
    out: &'a mut W,
    open: &'static str,
    any: bool,
}

impl<W: Sink> FieldList<'_, W> {
    fn field(&mut self, separator: &str, field: &Field<'_>) -> fmt::Result {
        self.separate(separator)?;
        self.pair(field)
    }

    fn pair(&mut self, field: &Field<'_>) -> fmt::Result {
        self.out.write_str(field.name())?;
        self.out.write_char('=')?;
        field.write(self.out)
    }

    fn separate(&mut self, separator: &str) -> fmt::Result {
        let separator = if self.any { separator } else { self.open };
        self.any = true;
        self.out.write_str(separator)
    }

    fn close(self) -> fmt::Result {
        if self.any { self.out.write_char(')') } else { Ok(()) }
    }
}

fn write_object<'a>(out: &mut dyn Write, fields: impl Iterator<Item = Field<'a>>) -> fmt::Result {
    out.write_char('{')?;
    for (n, field) in fields.enumerate() {
        if n > 0 {
            out.write_char(',')?;
        }
        write_string(out, field.name())?;
        out.write_char(':')?;
        match field.value() {
            Value::I64(n) => write!(out, "{n}")?,
            Value::U64(n) => write!(out, "{n}")?,
            Value::I128(n) => write!(out, "{n}")?,
            Value::U128(n) => write!(out, "{n}")?,
            Value::Bool(b) => write!(out, "{b}")?,
            Value::F64(n) if n.is_finite() => write!(out, "{n:?}")?,
            Value::Str(text) => write_string(out, text)?,
            _ => write_string(out, &field.to_string())?,
        }
    }
    out.write_char('}')
}

/// A JSON string. Characters that a log must not contain are written as escapes.
fn write_string(out: &mut dyn Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    let mut copied = 0;
    for (at, c) in text.char_indices() {
        let next = at + c.len_utf8();
        if !matches!(c, '"' | '\\') && text::stays(c, &text[..at], &text[next..]) {
            continue;
        }
        out.write_str(&text[copied..at])?;
        copied = next;
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
    }
    out.write_str(&text[copied..])?;
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

    use super::*;
    use crate::format::{Language, LineTime, Words};
    use crate::line::{LogLine, Tag};
    use crate::protocol::text::{Astral, push_safe};

    fn safe_json(message: &str) -> String {
        let line = LogLine::saying(&Tag::detached("t", None), message);
        let words = Words::of(Language::English, LineTime::None);
        let (mut raw, mut safe) = (String::new(), String::new());
        Json.format(&Line::new(&line, &words), &mut raw).unwrap();
        push_safe(&mut safe, &raw, Astral::Escape);
        assert_eq!(safe, raw, "nothing is left to be made safe");
        safe
    }

    proptest::proptest! {
        #[test]
        fn any_text_survives_json_and_what_makes_lines_safe(
            pieces in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::prelude::any::<char>().prop_map(String::from),
                    proptest::sample::select(vec![
                        "$", "$result[c0]", "{=", "[timestamp=1]", "[", "{", "•", "\n", "\"", "\\",
                        "\t", "\u{202e}", "\u{2060}", "😀", "Заказ ", "resſult", "\u{feff}", "\u{fe0f}",
                        "✔", "1", "\u{20e3}",
                    ]).prop_map(String::from),
                ],
                1..20,
            )
        ) {
            let text = pieces.concat();
            let json: serde_json::Value = serde_json::from_str(&safe_json(&text)).unwrap();
            proptest::prop_assert_eq!(json["message"].as_str(), Some(text.as_str()));
        }
    }
}
