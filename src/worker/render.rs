//! Makes text of a line: mark, time, level, message, fields. Knows nothing of entries.

use std::fmt::Write;

use tracing_core::Level;

use super::entry::unix_seconds;
use crate::line::{LogLine, SpanFields, Value};
use crate::protocol::text::{Astral, LINE_MARK, push_safe};

/// How a line states its time. The portal stamps an entry with the time of the call, which may be
/// minutes after the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineTime {
    /// In the time zone of whoever reads the log: the portal converts its `[timestamp=..]` tag when
    /// it shows the log (server behaviour). Read by other means, the tag stands there as it is, with
    /// the time in UTC inside. The default.
    #[default]
    Viewer,
    /// The time of day in UTC, as plain text.
    Utc,
}

/// Renders lines. Holds scratch space and the last second's text, since lines come in bursts.
#[derive(Debug)]
pub(crate) struct Renderer {
    time: LineTime,
    astral: Astral,
    raw: String,
    safe: String,
    stamp: String,
    stamp_second: Option<i64>,
}

impl Renderer {
    pub(crate) fn new(time: LineTime, astral: Astral) -> Self {
        Renderer {
            time,
            astral,
            raw: String::new(),
            safe: String::new(),
            stamp: String::new(),
            stamp_second: None,
        }
    }

    /// `line` as one safe line, without a line break.
    pub(crate) fn render(&mut self, line: &LogLine) -> &str {
        self.restamp(line);
        self.raw.clear();
        write_body(&mut self.raw, line);
        self.safe.clear();
        self.safe.push_str(&self.stamp);
        match *line.metadata.level() {
            Level::ERROR => self.safe.push_str("ERROR: "),
            Level::WARN => self.safe.push_str("WARNING: "),
            _ => {}
        }
        push_safe(&mut self.safe, self.raw.trim_end(), self.astral);
        &self.safe
    }

    /// Brings `stamp` to the second of `line`: "• [timestamp=5]00:00:05 UTC[/timestamp] ".
    fn restamp(&mut self, line: &LogLine) {
        let second = unix_seconds(line.at);
        if self.stamp_second == Some(second) {
            return;
        }
        self.stamp_second = Some(second);
        self.stamp.clear();
        self.stamp.push(LINE_MARK);
        self.stamp.push(' ');
        let _ = match self.time {
            LineTime::Utc => super::entry::write_utc(&mut self.stamp, line.at),
            LineTime::Viewer => write!(self.stamp, "[timestamp={second}]")
                .and_then(|()| super::entry::write_utc(&mut self.stamp, line.at))
                .and_then(|()| self.stamp.write_str("[/timestamp]")),
        };
        self.stamp.push(' ');
    }
}

/// "charging card (order_id=42, amount=99.5; shipping: carrier=DHL)"
fn write_body(out: &mut String, line: &LogLine) {
    for (name, value) in line.fields() {
        if name == MESSAGE {
            write_value(out, value);
        }
    }
    let mut list = FieldList { out, any: false };
    for (name, value) in line.fields() {
        if name != MESSAGE {
            list.field(", ", name, value);
        }
    }
    for span in line.spans() {
        list.span(span);
    }
    list.close();
}

/// The field that `tracing` gives the text of an event.
const MESSAGE: &str = "message";

struct FieldList<'a> {
    out: &'a mut String,
    any: bool,
}

impl FieldList<'_> {
    fn span(&mut self, span: &SpanFields) {
        for (n, (name, value)) in span.fields().enumerate() {
            if n == 0 {
                self.separate("; ");
                self.out.push_str(span.metadata.name());
                self.out.push_str(": ");
                self.pair(name, value);
            } else {
                self.field(", ", name, value);
            }
        }
    }

    fn field(&mut self, separator: &str, name: &str, value: Value<'_>) {
        self.separate(separator);
        self.pair(name, value);
    }

    fn pair(&mut self, name: &str, value: Value<'_>) {
        self.out.push_str(name.strip_prefix("r#").unwrap_or(name));
        self.out.push('=');
        write_value(self.out, value);
    }

    fn separate(&mut self, separator: &str) {
        let separator = match (self.any, self.out.is_empty()) {
            (true, _) => separator,
            (false, false) => " (",
            (false, true) => "(",
        };
        self.out.push_str(separator);
        self.any = true;
    }

    fn close(self) {
        if self.any {
            self.out.push(')');
        }
    }
}

fn write_value(out: &mut String, value: Value<'_>) {
    let _ = match value {
        Value::I64(n) => write!(out, "{n}"),
        Value::U64(n) => write!(out, "{n}"),
        Value::I128(n) => write!(out, "{n}"),
        Value::U128(n) => write!(out, "{n}"),
        Value::F64(n) => write!(out, "{n:?}"),
        Value::Bool(b) => write!(out, "{b}"),
        Value::Str(text, 0) => out.write_str(text),
        Value::Str(text, cut) => write!(out, "{text}… ({cut} bytes more)"),
    };
}
