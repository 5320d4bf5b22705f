//! Makes text of a line: its mark, its time, and what the format writes. Knows nothing of entries.

use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::format::{Format, Line, Story, Words, unix_seconds, write_clock};
use crate::line::LogLine;
use crate::protocol::text::{LINE_MARK, push_safe};
use crate::stats::Stats;

/// Renders lines. Holds scratch space and the last second's text, since lines come in bursts.
pub(crate) struct Renderer {
    words: Words,
    /// `None`: [`Story`], which is written without detours.
    format: Option<Arc<dyn Format>>,
    /// Behind each line's time. Safe.
    prefix: String,
    stats: Arc<Stats>,
    raw: String,
    safe: String,
    stamp: String,
    stamp_second: Option<i64>,
}

impl Renderer {
    pub(crate) fn new(
        words: Words,
        format: Option<Arc<dyn Format>>,
        prefix: &str,
        stats: Arc<Stats>,
    ) -> Self {
        let mut safe_prefix = String::new();
        push_safe(&mut safe_prefix, prefix, words.astral());
        Renderer {
            words,
            format,
            prefix: safe_prefix,
            stats,
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
        let view = Line::new(line, &self.words);
        match &self.format {
            Some(format) if write_own(&mut self.raw, &**format, &view, &self.words) => {}
            Some(_) => {
                self.stats.format_failed();
                self.raw.clear();
                write_story(&mut self.raw, &view);
            }
            None => write_story(&mut self.raw, &view),
        }
        self.safe.clear();
        self.safe.push_str(&self.stamp);
        push_safe(&mut self.safe, self.raw.trim_end(), self.words.astral());
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
        let bare = self.stamp.len();
        // Writing to a String cannot fail.
        let _ = write_clock(&mut self.stamp, self.words.time(), line.at);
        if self.stamp.len() > bare {
            self.stamp.push(' ');
        }
        self.stamp.push_str(&self.prefix);
    }
}

/// Writes what a format of the app's makes of a line; `false` when it failed.
fn write_own(out: &mut String, format: &dyn Format, line: &Line<'_>, words: &Words) -> bool {
    let mut sink = Sink { out, missing: 0 };
    let written = catch_unwind(AssertUnwindSafe(|| format.format(line, &mut sink)));
    let missing = sink.missing;
    if missing > 0 && written.is_ok() {
        // Its error was our "enough".
        let _ = write!(out, "… ({})", words.more_bytes(missing));
        return true;
    }
    matches!(written, Ok(Ok(())))
}

fn write_story(out: &mut String, line: &Line<'_>) {
    // A String takes all, so that only a value's own `Display` could fail: what it wrote stands.
    let _ = Story::write(out, line);
}

/// Takes what a format writes, up to a limit, so that one that never ends does end.
struct Sink<'a> {
    out: &'a mut String,
    missing: u64,
}

impl Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.missing == 0 && text.len() <= MOST_BYTES.saturating_sub(self.out.len()) {
            self.out.push_str(text);
            return Ok(());
        }
        let room = if self.missing == 0 { MOST_BYTES.saturating_sub(self.out.len()) } else { 0 };
        let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        let kept = &text[..end.unwrap_or(0)];
        self.out.push_str(kept);
        self.missing += (text.len() - kept.len()) as u64;
        Err(fmt::Error)
    }
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renderer").field("words", &self.words).finish_non_exhaustive()
    }
}

/// Most that is kept of what a format writes for a line.
const MOST_BYTES: usize = 1 << 20;
