//! Makes text of a line: mark, time, level, message, fields. Knows nothing of entries.

use std::fmt::Write;

use tracing_core::Level;

use super::entry::{NOTICE_BYTES, unix_seconds};
use crate::line::{LogLine, SpanFields, Value};
use crate::protocol::text::{
    Astral, ENTRY_BYTES, LINE_MARK, TELLS_CUT, push_cut, push_safe, split_at_boundary,
};

/// How a line states its time. The portal stamps an entry with the time of the call, which may be
/// minutes after the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineTime {
    /// In the time zone of the reader: the portal converts its `[timestamp=..]` tag when it shows the
    /// log (server behaviour). If the log is read in another way, it shows the tag itself, with the time
    /// in UTC inside. The default.
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
    /// Longest line, in bytes.
    line_bytes: usize,
    raw: Capped,
    safe: String,
    stamp: String,
    stamp_second: Option<i64>,
}

impl Renderer {
    pub(crate) fn new(time: LineTime, astral: Astral, line_bytes: usize) -> Self {
        Renderer {
            time,
            astral,
            line_bytes,
            raw: Capped { text: String::new(), most: line_bytes, more: 0 },
            safe: String::new(),
            stamp: String::new(),
            stamp_second: None,
        }
    }

    /// Makes `line` one safe line without a line break, and says how long it is.
    pub(crate) fn render(&mut self, line: &LogLine) -> usize {
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
        let head = self.safe.len();
        push_safe(&mut self.safe, self.raw.text.trim_end(), self.astral);
        if self.raw.more > 0 || self.safe.len() > self.line_bytes {
            self.cut(head);
        }
        self.safe.len()
    }

    /// The line that was made last.
    pub(crate) fn text(&self) -> &str {
        &self.safe
    }

    /// Makes the text behind `head` once more, as much of it as there is room for, and tells the rest.
    #[cold]
    fn cut(&mut self, head: usize) {
        let room = self.line_bytes.saturating_sub(TELLS_CUT);
        self.safe.truncate(head);
        // Piece by piece, since only then it is known how long its safe form is.
        let (mut rest, mut piece) = (self.raw.text.as_str(), PIECE);
        while !rest.is_empty() && piece > 0 {
            let before = self.safe.len();
            let (next, after) = split_at_boundary(rest, piece);
            push_safe(&mut self.safe, next, self.astral);
            if next.is_empty() || self.safe.len() > room {
                self.safe.truncate(before);
                piece /= 4;
            } else {
                rest = after;
            }
        }
        push_cut(&mut self.safe, rest.len() + self.raw.more);
        self.safe.shrink_to(self.line_bytes);
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
fn write_body(out: &mut Capped, line: &LogLine) {
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
    out: &'a mut Capped,
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
        let separator = match (self.any, self.out.text.is_empty()) {
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

fn write_value(out: &mut Capped, value: Value<'_>) {
    let _ = match value {
        Value::I64(n) => write!(out, "{n}"),
        Value::U64(n) => write!(out, "{n}"),
        Value::I128(n) => write!(out, "{n}"),
        Value::U128(n) => write!(out, "{n}"),
        Value::F64(n) => write!(out, "{n:?}"),
        Value::Bool(b) => write!(out, "{b}"),
        Value::Str(text, cut) => {
            out.push_str(text);
            match out.more {
                _ if cut == 0 => {}
                0 => push_cut(out, cut),
                _ => out.more += cut,
            }
            Ok(())
        }
    };
}

/// Text up to a limit, and how many bytes were not taken.
#[derive(Debug)]
struct Capped {
    text: String,
    most: usize,
    more: usize,
}

impl Capped {
    fn clear(&mut self) {
        self.text.clear();
        self.more = 0;
    }

    fn push_str(&mut self, text: &str) {
        let room = if self.more == 0 { self.most.saturating_sub(self.text.len()) } else { 0 };
        let kept = match text.len() <= room {
            true => text,
            false => split_at_boundary(text, room).0,
        };
        self.text.push_str(kept);
        self.more += text.len() - kept.len();
    }

    fn push(&mut self, c: char) {
        self.push_str(c.encode_utf8(&mut [0; 4]));
    }
}

impl Write for Capped {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

/// Longest line, unless the user says otherwise: it fits one entry. In bytes.
pub(crate) const LINE_BYTES: usize = ENTRY_BYTES - NOTICE_BYTES;
/// Bytes of a long line that are made safe at a time.
const PIECE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Tag;

    fn rendered(text: &str, line_bytes: usize) -> String {
        let mut renderer = Renderer::new(LineTime::Utc, Astral::Escape, line_bytes);
        let len = renderer.render(&LogLine::saying(&Tag::detached("t", None), text));
        assert_eq!(len, renderer.text().len());
        renderer.text().to_owned()
    }

    #[test]
    fn a_line_up_to_its_limit_is_whole() {
        let head = "• 00:00:00 UTC ".len();
        for len in [0, 1, 300, 983] {
            let text = "x".repeat(len);
            assert_eq!(rendered(&text, 1_000).len(), head + len, "{len}");
        }
    }

    /// Three lines of a mebibyte once made 55 entries, more than the portal keeps.
    #[test]
    fn a_longer_line_is_cut_and_tells_how_much_is_missing() {
        for (text, shown) in [("x", "x"), ("слово ", "слово "), ("\u{1}", "\\u{1}")] {
            for times in [2_000, 100_000] {
                let line = rendered(&text.repeat(times), 1_000);
                assert!(line.len() <= 1_000 && line.len() > 900, "{} of {text:?}", line.len());
                let (kept, cut) = line.rsplit_once("… (").unwrap();
                let kept = kept.strip_prefix("• 00:00:00 UTC ").unwrap();
                let kept = kept.matches(shown).count();
                let cut: usize = cut.strip_suffix(" bytes more)").unwrap().parse().unwrap();
                assert_eq!(kept * text.len() + cut, times * text.len(), "{text:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_longer_than_its_limit(text: String, times in 1..200_usize, most in 256..2_000_usize) {
            let line = rendered(&text.repeat(times), most);
            proptest::prop_assert!(line.len() <= most);
        }
    }
}
